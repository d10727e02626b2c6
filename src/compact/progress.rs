//! What compactions have done so far, as figures.

use parking_lot::Mutex;

use super::CompactionReport;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Compactions of a store since it was opened, its own and those that were asked for. See [`crate::Stats::compaction`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// How many failed; the store's own are tried again. Why, the log says (`tracing`).
    pub failures: u64,
    /// How the last one ended; `None`: there was none.
    pub last: Option<CompactionOutcome>,
}

/// How a compaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompactionOutcome {
    /// It has rewritten what it was to, or found nothing to do.
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
        *self.now.lock()
    }

    pub(super) fn begin(&self) {
        let mut now = self.now.lock();
        (now.is_running, now.progress) = (true, Progress::default());
    }

    pub(super) fn note(&self, progress: Progress) {
        self.now.lock().progress = progress;
    }

    pub(super) fn end(&self, result: &Result<CompactionReport>) {
        let mut now = self.now.lock();
        now.is_running = false;
        now.last = Some(match result {
            Ok(report) => {
                now.runs += u64::from(report.segments_removed > 0);
                now.bytes_written += report.bytes_written;
                now.bytes_freed += report.bytes_before.saturating_sub(report.bytes_after);
                CompactionOutcome::Done
            }
            Err(Error::Stopped) => CompactionOutcome::Stopped,
            Err(_) => {
                now.failures += 1;
                CompactionOutcome::Failed
            }
        });
    }
}
