//! Compaction: live records into new segments, stale ones away. What to do ([`plan`]) is apart from
//! doing it ([`run`]), and from what came of all of them ([`totals`]).

mod plan;
mod run;
mod totals;

use std::path::PathBuf;

pub(crate) use run::run;
pub use totals::LastCompaction;
pub(crate) use totals::Totals;

/// What a compaction did. See [`crate::Store::compact`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactionReport {
    /// Records in the data files before, tombstones and stale ones included.
    pub records_before: u64,
    /// Records in the data files after, those written meanwhile not counted.
    pub records_after: u64,
    /// Bytes of the data files before.
    pub bytes_before: u64,
    /// Bytes of the data files after, those written meanwhile not counted.
    pub bytes_after: u64,
    /// Bytes of the segments that were written.
    pub bytes_written: u64,
    /// Segments that are gone.
    pub segments_removed: usize,
    /// Segments that were written.
    pub segments_written: usize,
    /// Segments that hold damage and were therefore kept as they are.
    pub segments_kept: Vec<PathBuf>,
}
