//! The wall clock, behind a trait so that a test can stop it or turn it back.
//!
//! Time stamps records and expires them. It never decides which of two records is newer: that is
//! the order of the log. Readings through [`Clock::now`] never go backwards within one store, so
//! that what has expired stays expired when the machine's clock is set back. Nor do they begin before the newest
//! write in the log, unless that claims a time so far ahead that it rather was wrong.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far ahead of the machine's clock the log may be and is believed, in microseconds: an hour. More than a
/// clock is set back by in passing, and little to wait where the log is wrong: as long, time stands still.
const BELIEVED_AHEAD: u64 = 3_600_000_000;

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

    /// Lets it be no earlier than something that was written, which was `written` then.
    pub(crate) fn catch_up(&self, written: u64) {
        let now = self.source.micros();
        let ahead = written.saturating_sub(now);
        if ahead > BELIEVED_AHEAD {
            tracing::warn!(now, written, "the log is hours ahead of the clock, which is believed");
        } else if ahead > 0 {
            self.latest.fetch_max(written, Ordering::Relaxed);
        }
    }
}

/// The time that is `ttl` after `now`, in microseconds, rounded up; at the end of the numbers, the last one.
pub(crate) fn after(now: u64, ttl: Duration) -> u64 {
    now.saturating_add(u64::try_from(ttl.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up_and_end_with_the_numbers() {
        let nanos = |n| after(1000, Duration::from_nanos(n));
        assert_eq!([nanos(0), nanos(1), nanos(1000), nanos(1001)], [1000, 1001, 1001, 1002]);
        assert_eq!(after(1, Duration::MAX), u64::MAX);
        assert_eq!(after(1, Duration::from_micros(u64::MAX - 1)), u64::MAX);
        assert_eq!(after(u64::MAX, Duration::from_micros(1)), u64::MAX);
        assert_eq!(after(1, Duration::from_micros(u64::MAX - 2)), u64::MAX - 1);
    }
}
