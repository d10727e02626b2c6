//! What came of all compactions since the store was opened, and of the last one.
//!
//! Must not know: what a compaction does.

use parking_lot::Mutex;

use super::CompactionReport;
use crate::clock::Clock;
use crate::error::Result;

/// What came of a compaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LastCompaction {
    /// When it ended, in microseconds since the Unix epoch.
    pub ended_at_micros: u64,
    /// How long it took, in microseconds.
    pub took_micros: u64,
    /// Why it failed, if it did: the figures below are 0 then, and the store is as it was before.
    pub error: Option<String>,
    /// Records in the data files before.
    pub records_before: u64,
    /// Records in the data files after, those written meanwhile not counted.
    pub records_after: u64,
    /// Bytes of the data files before.
    pub bytes_before: u64,
    /// Bytes of the data files after, those written meanwhile not counted.
    pub bytes_after: u64,
    /// Bytes of the segments that it wrote.
    pub bytes_written: u64,
    /// Segments that are gone.
    pub segments_removed: usize,
    /// Segments that it wrote.
    pub segments_written: usize,
    /// Segments that hold damage and were kept as they are.
    pub segments_kept: usize,
}

#[derive(Clone, Default)]
pub(crate) struct Figures {
    /// Failed ones included.
    pub(crate) compactions: u64,
    pub(crate) failed: u64,
    pub(crate) bytes_written: u64,
    pub(crate) last: Option<LastCompaction>,
}

#[derive(Default)]
pub(crate) struct Totals(Mutex<Figures>);

impl Totals {
    /// Runs a compaction and keeps what came of it.
    pub(crate) fn of(
        &self,
        clock: &Clock,
        compact: impl FnOnce() -> Result<CompactionReport>,
    ) -> Result<CompactionReport> {
        let began = clock.now();
        let done = compact();
        let ended_at_micros = clock.now();
        let last = LastCompaction {
            ended_at_micros,
            took_micros: ended_at_micros - began,
            ..done.as_ref().map_or_else(LastCompaction::failed, LastCompaction::reported)
        };
        let mut figures = self.0.lock();
        figures.compactions += 1;
        figures.failed += u64::from(done.is_err());
        figures.bytes_written += last.bytes_written;
        figures.last = Some(last);
        done
    }

    pub(crate) fn figures(&self) -> Figures {
        self.0.lock().clone()
    }
}

impl LastCompaction {
    fn failed(error: &crate::Error) -> Self {
        LastCompaction { error: Some(error.to_string()), ..LastCompaction::default() }
    }

    fn reported(report: &CompactionReport) -> Self {
        LastCompaction {
            records_before: report.records_before,
            records_after: report.records_after,
            bytes_before: report.bytes_before,
            bytes_after: report.bytes_after,
            bytes_written: report.bytes_written,
            segments_removed: report.segments_removed,
            segments_written: report.segments_written,
            segments_kept: report.segments_kept.len(),
            ..LastCompaction::default()
        }
    }
}
