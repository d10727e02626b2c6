//! What is looked at: the store as it is, or as it was when a snapshot was made.

use std::vec;

use crate::error::{Error, Result};
use crate::index::{Entry, Extent, Hit, Pair};
use crate::log::Log;
use crate::past::Past;
use crate::value::Value;

#[derive(Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) log: &'a Log,
    past: Option<&'a Past>,
}

/// A key and its value, where they are.
pub(crate) struct KeyValue {
    pub(crate) key: Value,
    pub(crate) value: Value,
}

impl<'a> Sight<'a> {
    pub(crate) fn now(log: &'a Log) -> Self {
        Sight { log, past: None }
    }

    pub(crate) fn of(log: &'a Log, past: &'a Past) -> Self {
        Sight { log, past: Some(past) }
    }

    /// All entries, in no order.
    pub(crate) fn walk(self) -> Walk<'a> {
        Walk { sight: self, next: Some(0), entries: Vec::new().into_iter(), told_closed: false }
    }

    /// The value of a key, with the key as it is stored.
    pub(crate) fn find(self, key: &[u8]) -> Result<Option<KeyValue>> {
        let index = &self.log.index;
        let hit = match self.past {
            None => index.see(key, |extent| self.is_live(extent))?.into_hit(),
            Some(past) => index.find_past(past, key)?,
        };
        match hit {
            Some(hit) => Ok(self.show(index.pair(hit)?)),
            None => Ok(None),
        }
    }

    pub(crate) fn is_now(self) -> bool {
        self.past.is_none()
    }

    /// Whether a record counts.
    pub(crate) fn is_live(self, extent: &Extent) -> bool {
        match self.past {
            None => self.log.is_live(extent),
            Some(past) => extent.expires_at.is_none_or(|at| at > past.time),
        }
    }

    fn show(self, pair: Pair) -> Option<KeyValue> {
        let Pair { key, hit: Hit { region, extent, .. } } = pair;
        let region = region.into_owned();
        self.is_live(&extent).then(|| KeyValue {
            key: Value::new(region.clone(), key),
            value: Value::new(region, extent.value),
        })
    }
}

/// Every key that is there from the beginning to the end, exactly once.
pub(crate) struct Walk<'a> {
    sight: Sight<'a>,
    /// The lowest hash that has not been visited. A key never changes its hash.
    next: Option<u64>,
    /// Of the hashes before that, as they were when they were visited.
    entries: vec::IntoIter<Result<Entry>>,
    told_closed: bool,
}

impl Walk<'_> {
    fn read(&self, held: Result<Entry>) -> Result<Option<KeyValue>> {
        Ok(self.sight.show(self.sight.log.index.read_entry(&held?)?))
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<KeyValue>;

    fn next(&mut self) -> Option<Self::Item> {
        let Sight { log, past } = self.sight;
        if log.is_closed() {
            let told = std::mem::replace(&mut self.told_closed, true);
            return (!told).then_some(Err(Error::Closed));
        }
        loop {
            while let Some(held) = self.entries.next() {
                if let Some(seen) = self.read(held).transpose() {
                    return Some(seen);
                }
            }
            let (entries, next) = log.index.entries_from(self.next?, past);
            (self.entries, self.next) = (entries.into_iter(), next);
        }
    }
}
