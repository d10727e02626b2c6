//! The wall clock, behind a trait so that a test can stop it or turn it back.
//!
//! Time stamps records and expires them. It never decides which of two records is newer: that is
//! the order of the log. Readings through [`Clock::now`] never go backwards within one store, so
//! that what has expired stays expired when the machine's clock is set back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the time comes from: microseconds since the Unix epoch.
pub(crate) trait TimeSource: Send + Sync + 'static {
    fn micros(&self) -> u64;
}

pub(crate) struct SystemTimeSource;

impl TimeSource for SystemTimeSource {
    fn micros(&self) -> u64 {
        // A clock before 1970 reads 0; past the year 586,524 it stands still.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
    }
}

pub(crate) struct Clock {
    source: Box<dyn TimeSource>,
    latest: AtomicU64,
}

impl Clock {
    pub(crate) fn new(source: Box<dyn TimeSource>) -> Self {
        Clock { source, latest: AtomicU64::new(0) }
    }

    /// Microseconds since the Unix epoch, never less than an earlier answer.
    pub(crate) fn now(&self) -> u64 {
        let now = self.source.micros();
        let latest = self.latest.load(Ordering::Relaxed);
        if now <= latest {
            return latest;
        }
        self.latest.fetch_max(now, Ordering::Relaxed).max(now)
    }
}
