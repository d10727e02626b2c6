//! The thread that makes durable, a while later, what [`crate::Durability::Interval`] has let return.
//!
//! It begins with the first such write and ends when the store is closed.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

#[derive(Default)]
pub(crate) struct Interval {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// When there is something to do next.
    due: Option<Instant>,
    is_closed: bool,
}

impl Interval {
    /// Has `act` done by the thread, this long from now at the latest; the same act each time.
    pub(crate) fn act_within(
        &self,
        time: Duration,
        act: impl Fn() + Send + 'static,
    ) -> io::Result<()> {
        // Later than a clock can say is never.
        let Some(at) = Instant::now().checked_add(time) else { return Ok(()) };
        let mut thread = self.thread.lock();
        if thread.as_ref().is_none_or(JoinHandle::is_finished) {
            let shared = Arc::clone(&self.shared);
            let named = thread::Builder::new().name("zerocask-sync".into());
            *thread = Some(named.spawn(move || shared.run(act))?);
        }
        let mut state = self.shared.state.lock();
        if state.due.is_none_or(|due| at < due) {
            state.due = Some(at);
            self.shared.changed.notify_one();
        }
        Ok(())
    }

    /// Returns when the thread is at its end. Not to be called by it.
    pub(crate) fn close(&self) {
        self.shared.state.lock().is_closed = true;
        self.shared.changed.notify_one();
        // It has nothing to say, not even by a panic.
        self.thread.lock().take().map(JoinHandle::join);
    }
}

impl Shared {
    fn run(&self, act: impl Fn()) {
        let mut state = self.state.lock();
        while !state.is_closed {
            match state.due {
                None => self.changed.wait(&mut state),
                Some(due) if Instant::now() < due => {
                    self.changed.wait_until(&mut state, due);
                }
                Some(_) => {
                    state.due = None;
                    drop(state);
                    act();
                    state = self.state.lock();
                }
            }
        }
    }
}
