//! What compactions have done so far, as figures.

use parking_lot::Mutex;

use super::CompactionReport;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Compactions of a store since it was opened, its own and those that were asked for. See [`crate::Stats::compaction`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CompactionStats {
    /// One runs now.
    pub is_running: bool,
    /// The store's own are paused ([`crate::Store::pause_compaction`]).
    pub is_paused: bool,
    /// Bytes that the one that runs, or the last one, has read and written, of those that it has to.
    pub progress: Progress,
    /// How many have rewritten something.
    pub runs: u64,
    /// Bytes that they have written.
    pub bytes_written: u64,
    /// By how many bytes the files are shorter for that.
    pub bytes_freed: u64,
    /// How many failed; the store's own are tried again.
    pub failures: u64,
    /// What came of the last one; `None`: there was none.
    pub last: Option<LastCompaction>,
}

/// What came of a compaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LastCompaction {
    /// How it ended. The figures of bytes and segments are 0 if it is not done: the store is as it was before.
    pub outcome: CompactionOutcome,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// When it ended, in microseconds since the Unix epoch.
    pub ended_at_micros: u64,
    /// How long it took, in microseconds.
    pub took_micros: u64,
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

/// How a compaction ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CompactionOutcome {
    /// It has rewritten what it was to, or found nothing to do.
    #[default]
    Done,
    /// It was stopped: by a pause, by something that does not run beside it, or because the store was closed.
    Stopped,
    /// With an error, after which the store is as before.
    Failed,
}

#[derive(Default)]
pub(super) struct Figures {
    now: Mutex<CompactionStats>,
}

impl Figures {
    pub(super) fn get(&self) -> CompactionStats {
        self.now.lock().clone()
    }

    pub(super) fn note(&self, progress: Progress) {
        self.now.lock().progress = progress;
    }

    /// Runs a compaction and keeps what came of it.
    pub(super) fn of(
        &self,
        clock: &Clock,
        compact: impl FnOnce() -> Result<CompactionReport>,
    ) -> Result<CompactionReport> {
        let began = clock.now();
        let mut now = self.now.lock();
        (now.is_running, now.progress) = (true, Progress::default());
        drop(now);
        let result = compact();
        let mut now = self.now.lock();
        now.is_running = false;
        match &result {
            Ok(report) => {
                now.runs += u64::from(report.segments_removed > 0);
                now.bytes_written += report.bytes_written;
                now.bytes_freed += report.bytes_before.saturating_sub(report.bytes_after);
            }
            Err(Error::Stopped) => {}
            Err(_) => now.failures += 1,
        }
        let ended_at_micros = clock.now();
        let took_micros = ended_at_micros - began;
        let came = LastCompaction::of(&result);
        now.last = Some(LastCompaction { ended_at_micros, took_micros, ..came });
        result
    }
}

impl LastCompaction {
    /// But for its times.
    fn of(result: &Result<CompactionReport>) -> Self {
        match result {
            Ok(report) => LastCompaction {
                bytes_before: report.bytes_before,
                bytes_after: report.bytes_after,
                bytes_written: report.bytes_written,
                segments_removed: report.segments_removed,
                segments_written: report.segments_written,
                segments_kept: report.segments_kept.len(),
                ..LastCompaction::default()
            },
            Err(Error::Stopped) => {
                LastCompaction { outcome: CompactionOutcome::Stopped, ..LastCompaction::default() }
            }
            Err(error) => LastCompaction {
                outcome: CompactionOutcome::Failed,
                error: Some(error.to_string()),
                ..LastCompaction::default()
            },
        }
    }
}
