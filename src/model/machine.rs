//! A machine with one store on its simulated disk, under a clock that stands still unless it is set.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::TimeSource;
use crate::error::Result;
use crate::fs::sim::SimFs;
use crate::options::Options;
use crate::record::Record;
use crate::store::{Ground, Store};
use crate::upkeep::Driver;

pub(crate) type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Default)]
pub(crate) struct ManualTime(Arc<AtomicU64>);

impl ManualTime {
    pub(crate) fn set(&self, micros: u64) {
        self.0.store(micros, Ordering::Relaxed);
    }
}

impl TimeSource for ManualTime {
    fn micros(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) fs: SimFs,
    pub(crate) time: ManualTime,
    pub(crate) options: Options,
    pub(crate) hash_mask: u64,
    pub(crate) driver: Driver,
}

impl Machine {
    pub(crate) fn with(options: Options) -> Self {
        let (fs, time) = (SimFs::new(1), ManualTime::default());
        Machine { fs, time, options, hash_mask: u64::MAX, driver: Driver::Nobody }
    }

    pub(crate) fn dir() -> &'static Path {
        Path::new("/machine/store")
    }

    pub(crate) fn open(&self) -> Result<Store> {
        self.open_at(Self::dir())
    }

    pub(crate) fn open_at(&self, dir: &Path) -> Result<Store> {
        let ground = Ground {
            fs: Arc::new(self.fs.clone()),
            time: Box::new(self.time.clone()),
            hash_mask: self.hash_mask,
            driver: self.driver,
        };
        Store::open_on(ground, dir, &self.options)
    }

    /// The machine after a power loss; `seed` decides what of the unsynced reached the disk.
    pub(crate) fn crash(&self, seed: u64) -> Self {
        Machine { fs: self.fs.crash(seed), ..self.clone() }
    }

    /// The machine after the process was killed.
    pub(crate) fn kill(&self) -> Self {
        Machine { fs: self.fs.kill(), ..self.clone() }
    }
}

/// Everything in a store in which nothing has expired, by iteration, with each key looked up as well.
#[cfg(test)]
pub(crate) fn contents(store: &Store) -> Contents {
    let contents = unexpired(store);
    assert_eq!(contents.len(), store.len(), "keys() and len() agree");
    contents
}

/// As `contents`, of any store.
pub(crate) fn unexpired(store: &Store) -> Contents {
    let keys = store.keys().map(|key| key.unwrap().to_vec());
    keys.map(|key| (key.clone(), store.get(&key).unwrap().unwrap().to_vec())).collect()
}

/// Records one behind the other, from the beginning of a file.
pub(crate) fn encode(records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        let offset = bytes.len();
        bytes.resize(offset + record.len_at(offset as u64) as usize, 0);
        record.encode_into(offset as u64, &mut bytes[offset..]);
    }
    bytes
}
