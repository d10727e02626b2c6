//! Wakes who looks after the store beside those who use it, and tells him to stop.
//!
//! Invariants:
//! - Who works asks often whether he has to stop, and lays down unfinished what he is at.
//! - Nothing else is waited for under the lock, which is held for an instant: whoever rings may hold any other.
//!
//! Must not know: what there is to do.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

#[derive(Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// There may be something to do.
    has_rung: bool,
    is_paused: bool,
    is_closed: bool,
    /// How many want nothing to be done meanwhile.
    holds: usize,
    /// Somebody is at work.
    is_busy: bool,
}

impl State {
    fn must_stop(&self) -> bool {
        self.is_closed || self.is_paused || self.holds > 0
    }
}

/// Nothing is begun while it is there, and what is under way ends soon.
#[must_use]
pub(crate) struct Hold<'a>(&'a Bell);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.holds -= 1);
    }
}

impl Bell {
    /// Tells that there may be something to do.
    pub(crate) fn ring(&self) {
        self.change(|state| state.has_rung = true);
    }

    /// What there may be to do can wait.
    pub(crate) fn silence(&self) {
        self.change(|state| state.has_rung = false);
    }

    pub(crate) fn hold(&self) -> Hold<'_> {
        self.change(|state| state.holds += 1);
        Hold(self)
    }

    /// Nothing is begun until [`Bell::resume`]. Returns when nothing is under way.
    pub(crate) fn pause(&self) {
        let mut state = self.state.lock();
        state.is_paused = true;
        self.changed.notify_all();
        while state.is_busy {
            self.changed.wait(&mut state);
        }
    }

    pub(crate) fn resume(&self) {
        self.change(|state| {
            state.is_paused = false;
            state.has_rung = true;
        });
    }

    /// Nothing is begun any more.
    pub(crate) fn close(&self) {
        self.change(|state| state.is_closed = true);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.state.lock().is_paused
    }

    /// For who works: whether he has to stop.
    pub(crate) fn must_stop(&self) -> bool {
        self.state.lock().must_stop()
    }

    /// For who works: waits, or less if he has to stop.
    pub(crate) fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.state.lock();
        while !state.must_stop() && Instant::now() < until {
            self.changed.wait_until(&mut state, until);
        }
    }

    /// Does something unless nothing may be begun.
    pub(crate) fn work<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        let mut state = self.state.lock();
        if state.must_stop() {
            return None;
        }
        state.is_busy = true;
        drop(state);
        let _done = Done(self);
        Some(act())
    }

    /// Waits until the bell has rung, or for `time` if that is given; not while nothing may be begun. False: there is nothing to
    /// be done any more.
    pub(crate) fn wait(&self, time: Option<Duration>) -> bool {
        let until = time.and_then(|time| Instant::now().checked_add(time));
        let mut state = self.state.lock();
        loop {
            let is_due = state.has_rung || until.is_some_and(|until| until <= Instant::now());
            if state.is_closed {
                return false;
            }
            if is_due && !state.must_stop() {
                state.has_rung = false;
                return true;
            }
            match until {
                Some(until) if !is_due => drop(self.changed.wait_until(&mut state, until)),
                _ => self.changed.wait(&mut state),
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }
}

/// Also after a panic.
struct Done<'a>(&'a Bell);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.is_busy = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;

    const NEVER: Option<Duration> = None;
    const NOW: Option<Duration> = Some(Duration::ZERO);

    #[test]
    fn it_is_heard_once_and_a_time_that_has_come_is_heard_too() {
        let bell = Bell::default();
        bell.ring();
        bell.ring();
        assert!(bell.wait(NEVER));
        assert!(!bell.state.lock().has_rung);
        assert!(bell.wait(NOW));
        bell.close();
        bell.ring();
        assert!(!bell.wait(NOW) && bell.must_stop());
    }

    #[test]
    fn nothing_is_begun_while_it_is_paused_or_held_and_what_came_meanwhile_is_heard_afterwards() {
        let bell = Bell::default();
        bell.pause();
        bell.ring();
        assert!(bell.must_stop() && bell.work(|| ()).is_none());
        bell.resume();
        let (first, second) = (bell.hold(), bell.hold());
        drop(first);
        assert!(bell.must_stop() && bell.work(|| ()).is_none());
        drop(second);
        assert!(bell.wait(NEVER));
        assert_eq!(bell.work(|| bell.must_stop()), Some(false));
    }

    #[test]
    fn a_pause_waits_for_what_is_under_way_which_need_not_rest_as_long() {
        let bell = Arc::new(Bell::default());
        let (began, has_begun) = channel();
        let worker = thread::spawn({
            let bell = Arc::clone(&bell);
            move || {
                bell.work(|| {
                    began.send(()).unwrap();
                    bell.rest(Duration::from_secs(3600));
                })
            }
        });
        has_begun.recv().unwrap();
        bell.pause();
        assert!(!bell.state.lock().is_busy);
        worker.join().unwrap().unwrap();
    }
}
