//! sled.

use std::path::Path;

use sled::{Config, Db, Mode};

use super::CACHE_BYTES;
use crate::keys::{Records, Shape};
use crate::peer::{Peer, Result, Session, Use};

pub(crate) const SETTINGS: &str = "Cache of 4 GiB, `Mode::HighThroughput`, no flushing in the background. \
    Bulk: sorted inserts. A durable put is an insert and a `flush`. It hands nothing to the operating system without a sync; that comes when the store \
    is closed, and is not timed.";

pub(crate) struct Sled(Db);

impl Peer for Sled {
    type Session<'a> = &'a Db;

    fn open(dir: &Path, _: Shape) -> Result<Self> {
        let config = Config::new().path(dir.join("sled")).cache_capacity(CACHE_BYTES as u64);
        Ok(Sled(config.mode(Mode::HighThroughput).flush_every_ms(None).open()?))
    }

    fn load(&self, records: &Records) -> Result<()> {
        for i in records.sorted() {
            self.put(records.key(i), records.value(i))?;
        }
        Ok(())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.insert(key, value)?;
        Ok(())
    }

    fn put_durably(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put(key, value)?;
        self.0.flush()?;
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn session(&self, _: Use) -> Result<Self::Session<'_>> {
        Ok(&self.0)
    }

    fn iterate(&self, mut visit: impl FnMut(&[u8], &[u8])) -> Result<usize> {
        let mut count = 0;
        for entry in self.0.iter() {
            let (key, value) = entry?;
            visit(&key, &value);
            count += 1;
        }
        Ok(count)
    }

    fn close(self) -> Result<()> {
        self.0.flush()?;
        Ok(())
    }
}

impl Session for &Db {
    fn get(&mut self, key: &[u8], mut visit: impl FnMut(&[u8])) -> Result<bool> {
        let value = sled::Tree::get(self, key)?;
        Ok(value.map(|value| visit(&value)).is_some())
    }
}
