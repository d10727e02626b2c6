//! What a store does for itself: the thread that does it, and one turn of it.
//!
//! The thread sleeps until the store's bell rings, because a segment was sealed say, and from then on, while there is something that
//! expires or something has failed, a minute at the most. It does not keep the store alive, and ends when the store is closed.
//!
//! Invariants:
//! - A store that is opened and read is left as it is but for hints: nothing else is done before something has been sealed, or
//!   somebody has held back what was under way.
//! - A turn is a function of the store: without a thread, whoever wants one takes it.
//! - What fails is said and tried again later. Nothing here ends the thread but the end of the store.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::bell::Bell;
use crate::compact::Compactor;
use crate::error::Error;
use crate::location::SegmentId;
use crate::log::Log;
use crate::policy::CompactionPolicy;
use crate::progress::Progress;

/// What expires is looked for so often, and what has failed is tried again.
const LOOKED_AFTER: Duration = Duration::from_secs(60);
/// So much goes by unlimited, so that nobody waits for less than a clock can tell.
const BURST: u64 = 64 << 10;
/// Whether the limit holds is looked at again so often.
const RESTED_AT_ONCE: Duration = Duration::from_millis(50);

/// Who takes the turns of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Driver {
    /// A thread of the store's.
    Thread,
    /// Whoever has the store.
    #[cfg(any(test, fuzzing))]
    Caller,
    #[cfg(any(test, fuzzing))]
    Nobody,
}

impl Driver {
    pub(crate) fn takes_turns(self) -> bool {
        #[cfg(any(test, fuzzing))]
        return self != Driver::Nobody;
        #[cfg(not(any(test, fuzzing)))]
        true
    }
}

/// What looks after a store.
pub(crate) struct Upkeep {
    bell: Arc<Bell>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Upkeep {
    /// Without a thread.
    pub(crate) fn new(bell: Arc<Bell>) -> Self {
        Upkeep { bell, thread: Mutex::default() }
    }

    /// Lets a thread take the turns.
    pub(crate) fn begin(
        &self,
        log: &Arc<Log>,
        compactor: &Arc<Compactor>,
        policy: Option<CompactionPolicy>,
    ) -> io::Result<()> {
        let (bell, log, compactor) =
            (Arc::clone(&self.bell), Arc::downgrade(log), Arc::clone(compactor));
        let named = thread::Builder::new().name("zerocask-upkeep".into());
        let thread = named.spawn(move || run(&bell, &log, &compactor, policy.as_ref()))?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Returns when nothing is done any more. What is under way is laid down.
    pub(crate) fn close(&self) {
        self.bell.close();
        // It has nothing to say, not even by a panic.
        self.thread.lock().take().map(JoinHandle::join);
    }
}

fn run(bell: &Bell, log: &Weak<Log>, compactor: &Compactor, policy: Option<&CompactionPolicy>) {
    if let Some(log) = log.upgrade() {
        // What the opening has missed.
        let begun = bell.work(|| write_hints(&log, compactor, || bell.must_stop()));
        if begun.is_none() || log.companions.wants_hints() {
            bell.ring();
        }
    }
    let mut again = None;
    while bell.wait(again) {
        let Some(log) = log.upgrade() else { return };
        let mut pace = Pace::begin(policy.and_then(|policy| policy.bytes_per_second));
        let turn = bell.work(|| {
            turn(&log, compactor, policy, |progress| {
                let is_pressing = || policy.is_some_and(|it| compactor.is_pressing(&log, it));
                pace.keep(progress, bell, is_pressing);
                if bell.must_stop() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        });
        let was_stopped = matches!(turn, None | Some(Err(Error::Stopped)));
        if was_stopped {
            // When nobody minds any more.
            bell.ring();
        }
        let has_failed = !was_stopped && matches!(turn, Some(Err(_)));
        if has_failed {
            // It may have sealed something itself.
            bell.silence();
        }
        let is_poisoned = log.commits.poison().check().is_err();
        let segments = log.index.segments.list();
        let is_due = has_failed || segments.iter().any(|(_, it)| it.usage().has_expiring());
        again = (is_due && !is_poisoned).then_some(LOOKED_AFTER);
    }
}

/// Does all that is to be done now, one thing after the other, until `told` ends it.
pub(crate) fn turn(
    log: &Log,
    compactor: &Compactor,
    policy: Option<&CompactionPolicy>,
    mut told: impl FnMut(Progress) -> ControlFlow<()> + Send,
) -> Result<(), Error> {
    loop {
        // Nothing is written or removed any more.
        log.commits.poison().check()?;
        // Of what has been sealed, and of what a compaction has written.
        let mut was_stopped = false;
        write_hints(log, compactor, || {
            was_stopped = told(Progress::default()).is_break();
            was_stopped
        });
        if was_stopped {
            return Err(Error::Stopped);
        }
        match policy.and_then(|policy| compactor.compact_due(log, policy, &mut told)) {
            None => return Ok(()),
            Some(report) => drop(report?),
        }
    }
}

/// Writes the hints of all segments that have none, unless somebody is at something that no compaction may run beside: whoever is
/// has told the bell, too, and is not to be waited for.
fn write_hints(log: &Log, compactor: &Compactor, stops: impl FnMut() -> bool) {
    if let Some(_no_compaction) = compactor.try_alone() {
        log.write_hints(SegmentId::new(0), stops);
    }
}

/// Keeps to so many bytes in a second.
struct Pace {
    per_second: Option<u64>,
    since: Instant,
    /// What had gone by then.
    done: u64,
    /// What had gone when it was looked at last.
    last: u64,
    /// When it was asked last whether it is pressing, and the answer.
    asked: Option<(Instant, bool)>,
}

impl Pace {
    fn begin(per_second: Option<u64>) -> Self {
        Pace { per_second, since: Instant::now(), done: 0, last: 0, asked: None }
    }

    /// Waits if too much has gone by, unless that is pressing.
    fn keep(&mut self, progress: Progress, bell: &Bell, is_pressing: impl Fn() -> bool) {
        let Some(per_second) = self.per_second else { return };
        if progress.done < self.last {
            // Another run has begun.
            (self.since, self.done) = (Instant::now(), 0);
        }
        self.last = progress.done;
        while let Some(time) = self.too_early(progress.done - self.done, per_second) {
            if bell.must_stop() {
                return;
            }
            if self.is_pressing(&is_pressing) {
                (self.since, self.done) = (Instant::now(), progress.done);
                return;
            }
            bell.rest(time.min(RESTED_AT_ONCE));
        }
    }

    /// Whether it is, or was an instant ago: to ask takes a look at each segment.
    fn is_pressing(&mut self, ask: impl Fn() -> bool) -> bool {
        match self.asked {
            Some((asked, answer)) if asked.elapsed() < RESTED_AT_ONCE => answer,
            _ => self.asked.insert((Instant::now(), ask())).1,
        }
    }

    /// How much too early so many bytes have gone by.
    fn too_early(&self, bytes: u64, per_second: u64) -> Option<Duration> {
        let bytes = bytes.checked_sub(BURST)?;
        let at = Duration::try_from_secs_f64(bytes as f64 / per_second.max(1) as f64);
        let at = at.unwrap_or(Duration::MAX);
        at.checked_sub(self.since.elapsed()).filter(|time| !time.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(done: u64) -> Progress {
        Progress { done, ..Progress::default() }
    }

    #[test]
    fn each_run_has_a_pace_of_its_own() {
        let bell = Bell::default();
        // Nobody waits.
        bell.close();
        let mut pace = Pace::begin(Some(1));
        pace.keep(at(1 << 30), &bell, || false);
        assert!(pace.too_early(1 << 30, 1).is_some());
        let began = pace.since;
        pace.keep(at(1 << 29), &bell, || false);
        assert_ne!(pace.since, began, "what the first had left over is not the second's");
    }

    #[test]
    fn what_is_pressing_is_asked_once_in_a_while() {
        let bell = Bell::default();
        let (mut pace, asked) = (Pace::begin(Some(1)), std::cell::Cell::new(0));
        for done in 1..100u64 {
            pace.keep(at(done << 30), &bell, || {
                asked.set(asked.get() + 1);
                true
            });
        }
        assert!((1..50).contains(&asked.get()), "{}", asked.get());
    }
}
