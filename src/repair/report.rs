//! What a repair found and did.

use std::fmt;
use std::path::PathBuf;

use crate::recover::RecoveryReport;
use crate::verify::Fault;

/// What [`crate::repair()`] did. If there was damage, its text is also in the directory, as `REPAIR.damaged`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// The damage that was there. Empty: nothing was done.
    pub damage: Vec<Fault>,
    /// The manifest was lost, damaged, or untrue, and was made anew.
    pub manifest_rebuilt: bool,
    /// What indexing the directory found, and what was put right as any opening does.
    pub recovery: RecoveryReport,
    /// Records that were copied out of damaged files.
    pub salvaged_records: u64,
    /// Keys whose newest record could not be saved, in the order of the log.
    pub lost: Vec<LostRecord>,
    /// What may have cost records of which nobody knows the keys: unreadable ranges, files that are
    /// missing, cut short, or not those that were listed; where the manifest was lost, also the torn end of the last
    /// file. Older values of such keys may show, deleted ones too.
    pub gone: Vec<Fault>,
    /// Where the damaged files are now, and those that no manifest listed. The store has no more use for them.
    pub set_aside: Vec<PathBuf>,
}

impl RepairReport {
    /// Whether there was no damage, and nothing was done.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty()
    }

    /// Whether everything could be saved.
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty() && self.gone.is_empty()
    }
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.is_clean(), self.is_whole()) {
            (true, _) => return f.write_str("clean: nothing was done"),
            (_, true) => "repaired",
            (_, false) => "repaired, with losses",
        };
        write!(f, "{verdict}: {} records salvaged", self.salvaged_records)?;
        if self.manifest_rebuilt {
            f.write_str("\nthe manifest was made anew")?;
        }
        self.lost.iter().try_for_each(|lost| write!(f, "\n{lost}"))?;
        self.gone.iter().try_for_each(|fault| write!(f, "\nlost with it: {fault}"))
    }
}

/// A key whose newest record was bad, or of a batch of which another record was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostRecord {
    /// The key, as the record has it: that may be what is wrong with it.
    pub key: Vec<u8>,
    /// The data file, as it was called before.
    pub path: PathBuf,
    /// Where the record begins in it.
    pub offset: u64,
    /// The key has an older value now. Otherwise it has none.
    pub stale: bool,
}

impl fmt::Display for LostRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LostRecord { key, path, offset, stale } = self;
        let now = if *stale { "has an older value now" } else { "has no value now" };
        write!(f, "{} at offset {offset}: key \"{}\" {now}", path.display(), key.escape_ascii())
    }
}
