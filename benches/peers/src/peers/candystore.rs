//! candystore.

use std::path::Path;

use candystore::{CandyStore, Config, MAX_VALUE_LEN};

use crate::keys::{Records, Shape};
use crate::peer::{Peer, Result, Session, Use};

pub(crate) const SETTINGS: &str = "Index made for the number of keys, data files of 64 MiB (the default; reopening reads what the last one has room for), no checkpoints \
    and no compaction in the background. Values above 65,471 bytes by `set_big` and `get_big`, the only way \
    in (written in pieces). Bulk: `set`, there is no other way. A durable put is a `set` and a `flush`.";

pub(crate) struct Candystore {
    store: CandyStore,
    is_big: bool,
}

impl Peer for Candystore {
    type Session<'a> = &'a Candystore;

    fn open(dir: &Path, shape: Shape) -> Result<Self> {
        let config = Config {
            initial_capacity: shape.keys,
            compaction_throughput_bytes_per_sec: 0,
            checkpoint_interval: None,
            checkpoint_delta_bytes: None,
            ..Config::default()
        };
        let store = CandyStore::open(dir, config)?;
        Ok(Candystore { store, is_big: shape.value_len > MAX_VALUE_LEN })
    }

    fn load(&self, records: &Records) -> Result<()> {
        for (key, value) in records.iter() {
            self.put(key, value)?;
        }
        Ok(())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.is_big {
            self.store.set_big(key, value)?;
        } else {
            self.store.set(key, value)?;
        }
        Ok(())
    }

    fn put_durably(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put(key, value)?;
        Ok(self.store.flush()?)
    }

    /// A write goes to the file at once.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn session(&self, _: Use) -> Result<Self::Session<'_>> {
        Ok(self)
    }

    fn iterate(&self, mut visit: impl FnMut(&[u8], &[u8])) -> Result<usize> {
        let mut count = 0;
        for entry in self.store.iter_items() {
            let (key, value) = entry?;
            visit(&key, &value);
            count += 1;
        }
        Ok(count)
    }

    fn close(self) -> Result<()> {
        Ok(self.store.checkpoint()?)
    }
}

impl Session for &Candystore {
    fn get(&mut self, key: &[u8], mut visit: impl FnMut(&[u8])) -> Result<bool> {
        let value = if self.is_big { self.store.get_big(key)? } else { self.store.get(key)? };
        Ok(value.map(|value| visit(&value)).is_some())
    }
}
