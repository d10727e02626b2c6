//! How much of the log is durable, and whose turn it is to make it more.
//!
//! Positions count the bytes that have been appended since the store was opened, over all segments.
//!
//! Invariants:
//! - What stands below `until` survives a power loss.
//! - One thread syncs at a time. Who comes meanwhile waits, and what it appended before is durable by
//!   the next sync, whoever makes that: so all who wait share one.

use parking_lot::{Condvar, Mutex};

use crate::error::Result;

#[derive(Default)]
pub(crate) struct Durable {
    state: Mutex<State>,
    /// A sync is over, or something else made more durable.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    until: u64,
    is_syncing: bool,
}

impl Durable {
    /// Up to which position the log is durable.
    pub(crate) fn until(&self) -> u64 {
        self.state.lock().until
    }

    /// The log has become durable up to here.
    pub(crate) fn note(&self, position: u64) {
        let mut state = self.state.lock();
        state.until = state.until.max(position);
        self.changed.notify_all();
    }

    /// Returns when the log is durable up to `position`, by others' syncs or by `sync`, which makes all that is
    /// handed to the system when it begins durable, `position` with it, and answers up to where that is.
    pub(crate) fn reach(&self, position: u64, sync: impl FnOnce() -> Result<u64>) -> Result<()> {
        let mut state = self.state.lock();
        while state.is_syncing && state.until < position {
            self.changed.wait(&mut state);
        }
        if state.until >= position {
            return Ok(());
        }
        state.is_syncing = true;
        drop(state);
        let _turn = Turn(self);
        self.note(sync()?);
        Ok(())
    }
}

/// Ends when dropped, also by a panic: nobody may wait for ever.
struct Turn<'a>(&'a Durable);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state.lock().is_syncing = false;
        self.0.changed.notify_all();
    }
}
