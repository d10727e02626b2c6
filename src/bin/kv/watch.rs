//! `kv watch`: what another process changes in a store, found by looking again and again.
//!
//! Nobody tells a read-only store what is written. A look costs next to nothing where nothing was; otherwise it reads
//! every record, and tells how those with the prefix differ from what the look before found. Between looks it keeps a
//! hash of each value, not the value, which would hold files that the owner has removed.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::thread;
use std::time::{Duration, SystemTime};

use zerocask::{Expiry, Kind, Store, Value};

use crate::answer::{Outcome, Shape, to_stdout};
use crate::change::Change;
use crate::expiry;
use crate::failure::{Failure, Result};

/// What is to be told, and when.
pub(crate) struct Wanted {
    pub(crate) prefix: Vec<u8>,
    /// What is there already, as if it had been put now.
    pub(crate) existing: bool,
    pub(crate) values: bool,
    /// So many changes at the most.
    pub(crate) limit: usize,
    /// Between two looks.
    pub(crate) interval: Duration,
}

/// Tells of changes until there have been enough of them, or nobody reads on.
pub(crate) fn watch(shape: Shape, store: &Store, wanted: &Wanted) -> Result<Outcome> {
    let mut looks = Looks::new(store, &wanted.prefix);
    to_stdout(|out| {
        let (mut left, mut tell) = (wanted.limit, wanted.existing);
        while left > 0 {
            let changes = looks.next()?;
            let told = if tell { left.min(changes.len()) } else { 0 };
            for (key, change) in &changes[..told] {
                let change = match change {
                    Some((value, expiry)) => Change {
                        kind: Kind::Put,
                        key,
                        value: wanted.values.then_some(&value[..]),
                        expires_at: expiry::micros(*expiry),
                    },
                    None => Change { kind: Kind::Delete, key, value: None, expires_at: None },
                };
                change.write(shape, None, out).map_err(Failure::Stdout)?;
            }
            // Whoever reads them waits for them.
            out.flush().map_err(Failure::Stdout)?;
            (left, tell) = (left - told, true);
            if left > 0 {
                drop(changes);
                thread::sleep(wanted.interval);
            }
        }
        Ok(())
    })?;
    Ok(Outcome::Done)
}

/// A key, and what it has now, if it is there.
type Found = (Box<[u8]>, Option<(Value, Expiry)>);

struct Looks<'a> {
    store: &'a Store,
    prefix: &'a [u8],
    hasher: RandomState,
    /// What the last look found: keys, and hashes of their values and expiry.
    seen: Option<BTreeMap<Box<[u8]>, u64>>,
    /// From then on one of them is not there any more.
    first_expiry: Option<SystemTime>,
}

impl<'a> Looks<'a> {
    fn new(store: &'a Store, prefix: &'a [u8]) -> Self {
        Looks { store, prefix, hasher: RandomState::new(), seen: None, first_expiry: None }
    }

    /// What has changed since the last look, everything at first: what was put, then what has gone, each in the order
    /// of the keys.
    fn next(&mut self) -> Result<Vec<Found>> {
        let is_news = !self.store.refresh()?.is_empty();
        let has_expired = self.first_expiry.is_some_and(|time| time <= SystemTime::now());
        if self.seen.is_some() && !is_news && !has_expired {
            return Ok(Vec::new());
        }
        let (mut seen, mut first_expiry, mut changes) = (BTreeMap::new(), None, Vec::new());
        let mut before = self.seen.take().unwrap_or_default();
        for pair in self.store.prefix(self.prefix) {
            // Of one that cannot be read nobody knows whether it has gone.
            let (key, value) = pair?;
            // Unless it has expired since.
            let Some(expiry) = self.store.expires_at(&key)? else { continue };
            if let Expiry::At(time) = expiry {
                first_expiry = Some(first_expiry.map_or(time, |first| time.min(first)));
            }
            let hash = self.hasher.hash_one((&value[..], expiry::micros(expiry)));
            if before.remove(&key[..]) != Some(hash) {
                changes.push((key[..].into(), Some((value, expiry))));
            }
            seen.insert(key[..].into(), hash);
        }
        changes.extend(before.into_keys().map(|key| (key, None)));
        (self.seen, self.first_expiry) = (Some(seen), first_expiry);
        Ok(changes)
    }
}
