//! Iteration over keys.

use std::vec;

use crate::error::{Error, Result};
use crate::index::Entry;
use crate::log::Log;
use crate::value::Value;

/// The keys of a store, in no order. Made by [`crate::Store::keys`].
///
/// A key that is there from the iterator's making to its end comes exactly once; one that is put or
/// deleted meanwhile comes once or not at all. An item is an error if the key's record is corrupt, and the
/// last one if the store was closed.
pub struct Keys<'a> {
    log: &'a Log,
    /// The lowest hash that has not been visited. A key never changes its hash.
    next: Option<u64>,
    /// Of the hashes before that, as they were when they were visited.
    entries: vec::IntoIter<Result<Entry>>,
    told_closed: bool,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(log: &'a Log) -> Self {
        Keys { log, next: Some(0), entries: Vec::new().into_iter(), told_closed: false }
    }
}

impl Keys<'_> {
    /// The key, unless it has expired.
    fn read(&self, held: Result<Entry>) -> Result<Option<Value>> {
        let (location, segment) = held?;
        let pin = segment.pin(location.offset())?;
        let (range, expires_at) = self.log.index.read_key(location, &pin)?;
        let is_live = expires_at.is_none_or(|at| at > self.log.clock.now());
        Ok(is_live.then(|| Value::new(pin.region.into_owned(), range)))
    }
}

impl Iterator for Keys<'_> {
    type Item = Result<Value>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.log.is_closed() {
            let told = std::mem::replace(&mut self.told_closed, true);
            return (!told).then_some(Err(Error::Closed));
        }
        loop {
            while let Some(held) = self.entries.next() {
                if let Some(key) = self.read(held).transpose() {
                    return Some(key);
                }
            }
            let (entries, next) = self.log.index.entries_from(self.next?);
            (self.entries, self.next) = (entries.into_iter(), next);
        }
    }
}
