//! What an opening has to report.

use std::fmt;
use std::path::PathBuf;

use crate::error::Damage;

/// What opening found, beyond a store that had been closed. See [`crate::Store::recovery_report`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// The directory held bare data files and no manifest, and has one now.
    pub adopted: bool,
    /// The store had not been closed; its newest records were copied to a fresh segment.
    pub unclean: bool,
    /// The key directory is the one of the checkpoint; what came behind it was replayed.
    pub checkpoint: bool,
    /// Segment files that make the store.
    pub segments: usize,
    /// Of these, those of which a hint was read instead.
    pub hints: usize,
    /// Records in them, with those that no longer count.
    pub records: u64,
    /// Sound records of batches that are not whole, which were not applied.
    pub unapplied_batch_records: u64,
    /// What was set aside from behind the last good record.
    pub cuts: Vec<Cut>,
    /// Bad records elsewhere.
    pub damage: Vec<DamagedRecord>,
    /// Files of an interrupted operation that were removed.
    pub removed: Vec<PathBuf>,
}

impl RecoveryReport {
    /// Whether nothing was amiss: the store had been closed and every record is sound.
    pub fn is_clean(&self) -> bool {
        !self.unclean
            && self.unapplied_batch_records == 0
            && self.cuts.is_empty()
            && self.damage.is_empty()
            && self.removed.is_empty()
    }
}

/// The end of the log as a crash left it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// The segment file.
    pub path: PathBuf,
    /// Where the last good record ended.
    pub offset: u64,
    /// How many bytes followed it.
    pub bytes: u64,
    /// Where they are now.
    pub set_aside: PathBuf,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cut { path, offset, bytes, set_aside } = self;
        let (path, set_aside) = (path.display(), set_aside.display());
        write!(f, "{path}: the log ends at offset {offset}, {bytes} bytes are in {set_aside}")
    }
}

/// A bad record in a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedRecord {
    /// The segment file.
    pub path: PathBuf,
    /// Where the record begins.
    pub offset: u64,
    /// What is wrong. After [`Damage::Unreadable`] older values of lost keys may show.
    pub damage: Damage,
}
