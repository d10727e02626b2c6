//! What every store has to do to be measured. Knows no store and no work.

use std::error::Error;
use std::path::Path;

use crate::keys::{Records, Shape};

/// What goes wrong in a bench ends the child that it goes wrong in; so any error will do.
pub(crate) type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// What a thread reads for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Nobody writes while the session lasts.
    Reading,
    /// Somebody does, and what is written is to be seen.
    Mixed,
}

/// A store, open.
pub(crate) trait Peer: Sized + Sync {
    type Session<'a>: Session
    where
        Self: 'a;

    /// Opens the store in `dir`, which may be empty. `shape` is what it holds, or will.
    fn open(dir: &Path, shape: Shape) -> Result<Self>;

    /// Puts all records at once, in whatever order and batches are best.
    fn load(&self, records: &Records) -> Result<()>;

    /// One put, seen by all threads when this returns, not durable.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()>;

    /// One put that a power loss does not take when this has returned, seen by all threads. Many threads may at once.
    fn put_durably(&self, _key: &[u8], _value: &[u8]) -> Result<()> {
        Err("it makes no put durable by itself".into())
    }

    /// Hands what was written to the operating system, if that is possible without a sync.
    fn flush(&self) -> Result<()>;

    /// What one thread reads through. Used on the thread that makes it.
    fn session(&self, using: Use) -> Result<Self::Session<'_>>;

    /// Visits every key with its value; how many there were.
    fn iterate(&self, visit: impl FnMut(&[u8], &[u8])) -> Result<usize>;

    /// Rewrites the store without what is dead, if that is done on demand.
    fn compact(&self) -> Result<()> {
        Ok(())
    }

    /// What is done between loading and reading, and not timed.
    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn close(self) -> Result<()>;
}

/// One thread's way to read a store.
pub(crate) trait Session {
    /// How many keys are asked for in one call.
    const BATCH: usize = 1;

    /// Shows the value to `visit`; whether there is one.
    fn get(&mut self, key: &[u8], visit: impl FnMut(&[u8])) -> Result<bool>;

    /// Shows the values of those keys that have one; how many have.
    fn get_many(&mut self, keys: &[&[u8]], mut visit: impl FnMut(&[u8])) -> Result<usize> {
        let mut found = 0;
        for key in keys {
            found += usize::from(self.get(key, &mut visit)?);
        }
        Ok(found)
    }

    /// Lets go of what keeps this thread from seeing what it is about to write.
    fn let_go(&mut self) {}

    /// The records that the next gets ask for. For the bare limit, which has no other way to know.
    fn expect(&mut self, _order: &[u32]) {}
}
