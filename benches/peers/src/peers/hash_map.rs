//! A `HashMap` of vectors behind a lock: nothing on disk. The hasher is the parameter.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::keys::{Records, Shape};
use crate::peer::{Peer, Result, Session, Use};

pub(crate) const SETTINGS: &str = "`RwLock<HashMap<Vec<u8>, Vec<u8>>>`, both of std, made for the number of \
    keys. While nobody writes, the lock is taken once for all reads; in mixes it is taken for each. An \
    update overwrites the value in place.";

pub(crate) const FOLD_SETTINGS: &str = "The same with `foldhash::fast::RandomState`.";

type Map<S> = HashMap<Vec<u8>, Vec<u8>, S>;

pub(crate) struct Locked<S>(RwLock<Map<S>>);

pub(crate) type Std = Locked<RandomState>;
pub(crate) type Fold = Locked<foldhash::fast::RandomState>;

impl<S> Locked<S> {
    fn read(&self) -> RwLockReadGuard<'_, Map<S>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: BuildHasher + Default + Send + Sync> Peer for Locked<S> {
    type Session<'a>
        = Reader<'a, S>
    where
        S: 'a;

    fn open(_: &Path, shape: Shape) -> Result<Self> {
        Ok(Locked(RwLock::new(Map::with_capacity_and_hasher(shape.keys, S::default()))))
    }

    fn load(&self, records: &Records) -> Result<()> {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in records.iter() {
            map.insert(key.to_vec(), value.to_vec());
        }
        Ok(())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = map.get_mut(key) {
            old.clear();
            old.extend_from_slice(value);
        } else {
            map.insert(key.to_vec(), value.to_vec());
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn session(&self, using: Use) -> Result<Self::Session<'_>> {
        Ok(match using {
            Use::Reading => Reader::Holding(self.read()),
            Use::Mixed => Reader::Taking(self),
        })
    }

    fn iterate(&self, mut visit: impl FnMut(&[u8], &[u8])) -> Result<usize> {
        let map = self.read();
        map.iter().for_each(|(key, value)| visit(key, value));
        Ok(map.len())
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

pub(crate) enum Reader<'a, S> {
    Holding(RwLockReadGuard<'a, Map<S>>),
    Taking(&'a Locked<S>),
}

impl<S: BuildHasher> Session for Reader<'_, S> {
    fn get(&mut self, key: &[u8], mut visit: impl FnMut(&[u8])) -> Result<bool> {
        Ok(match self {
            Reader::Holding(map) => map.get(key).map(|value| visit(value)).is_some(),
            Reader::Taking(map) => map.read().get(key).map(|value| visit(value)).is_some(),
        })
    }
}
