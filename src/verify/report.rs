//! What looking through a store finds.

use std::fmt;
use std::path::PathBuf;

use crate::error::Damage;

/// What [`crate::verify()`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// There is no manifest, nor a sign that there was one: bare data files, which the next opening
    /// adopts.
    pub bare: bool,
    /// Data files looked through.
    pub segments: usize,
    /// Records in them that could be read, whatever their checksums say; with those that no longer
    /// count.
    pub records: u64,
    /// Bytes in them that count.
    pub bytes: u64,
    /// Sound records of batches that are not whole, which do not count.
    pub unapplied_batch_records: u64,
    /// What is damaged, in the order of the log. Nothing else in this report is damage.
    pub damage: Vec<Fault>,
    /// What a crash left at the end of the log. The next opening sets it aside.
    pub torn: Vec<Torn>,
    /// Files that no longer count, or never did. The next opening removes them.
    pub leftovers: Vec<PathBuf>,
    /// Files that recovery or [`crate::repair()`] set aside, for a person to look at.
    pub set_aside: Vec<PathBuf>,
    /// Files that are none of the store's.
    pub foreign: Vec<PathBuf>,
}

impl VerifyReport {
    /// Whether nothing is damaged. A store that was not closed is clean all the same.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty()
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VerifyReport { segments, records, bytes, .. } = self;
        let verdict = if self.is_clean() { "clean" } else { "damaged" };
        write!(f, "{verdict}: {records} records in {segments} segments of {bytes} bytes")?;
        self.damage.iter().try_for_each(|fault| write!(f, "\n{fault}"))?;
        self.torn.iter().try_for_each(|torn| write!(f, "\n{torn}"))
    }
}

/// Damage in a file of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The manifest, or the data file.
    pub path: PathBuf,
    /// Where the bad record begins; 0 if it is the file as a whole that is bad.
    pub offset: u64,
    /// What is wrong.
    pub damage: Damage,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { path, offset, damage } = self;
        write!(f, "{} at offset {offset}: {damage}", path.display())
    }
}

/// The end of the log as a crash left it: the normal end of a store that was not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Torn {
    /// The data file.
    pub path: PathBuf,
    /// Where the last good record ends.
    pub offset: u64,
    /// How many bytes follow it.
    pub bytes: u64,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Torn { path, offset, bytes } = self;
        write!(f, "{}: the log ends at offset {offset}, before {bytes} bytes", path.display())
    }
}
