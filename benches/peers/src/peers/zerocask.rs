//! zerocask itself, in each of the ways to read it: [`Get`], [`Reading`], [`Many`], [`StoreMany`].
//!
//! All of them write alike and share their data.

use std::path::Path;

use zerocask::{Durability, Options, Store};

use crate::keys::{Records, Shape};
use crate::peer::{Peer, Result, Session, Use};

pub(crate) const SETTINGS: &str = "`Durability::Buffered`, or `Synced` where a put is to be durable, all else by default. A reader is refreshed at every \
    64th own write. Iteration is `Iter::next_slices`.";

/// Own writes between two refreshes of a reader.
const REFRESH_EVERY: u32 = 64;

/// `Store::get`.
pub(crate) struct Get(Store);

impl Peer for Get {
    type Session<'a> = &'a Store;

    fn open(dir: &Path, _: Shape) -> Result<Self> {
        Ok(Get(Options::new().durability(Durability::Buffered).open(dir)?))
    }

    fn load(&self, records: &Records) -> Result<()> {
        for (key, value) in records.iter() {
            self.0.put(key, value)?;
        }
        Ok(())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.0.put(key, value)?)
    }

    fn put_durably(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.0.put_with(key, value, Durability::Synced)?)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.0.flush()?)
    }

    fn session(&self, _: Use) -> Result<Self::Session<'_>> {
        Ok(&self.0)
    }

    fn iterate(&self, mut visit: impl FnMut(&[u8], &[u8])) -> Result<usize> {
        let mut count = 0;
        let mut pairs = self.0.iter();
        while let Some(pair) = pairs.next_slices() {
            let (key, value) = pair?;
            visit(key, value);
            count += 1;
        }
        Ok(count)
    }

    fn compact(&self) -> Result<()> {
        self.0.compact()?;
        Ok(())
    }

    fn close(self) -> Result<()> {
        Ok(self.0.close()?)
    }
}

impl Session for &Store {
    fn get(&mut self, key: &[u8], mut visit: impl FnMut(&[u8])) -> Result<bool> {
        let value = Store::get(self, key)?;
        Ok(value.map(|value| visit(&value)).is_some())
    }
}

/// A peer that is [`Get`] but for what it reads through.
macro_rules! reads_through {
    ($(#[$doc:meta])* $peer:ident, $session:ty, $store:ident => $make:expr) => {
        $(#[$doc])*
        pub(crate) struct $peer(Get);

        impl Peer for $peer {
            type Session<'a> = $session;

            fn open(dir: &Path, shape: Shape) -> Result<Self> {
                Get::open(dir, shape).map($peer)
            }

            fn load(&self, records: &Records) -> Result<()> {
                self.0.load(records)
            }

            fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
                self.0.put(key, value)
            }

            fn flush(&self) -> Result<()> {
                self.0.flush()
            }

            fn session(&self, _: Use) -> Result<Self::Session<'_>> {
                let $store = &self.0.0;
                Ok($make)
            }

            fn iterate(&self, visit: impl FnMut(&[u8], &[u8])) -> Result<usize> {
                self.0.iterate(visit)
            }

            fn compact(&self) -> Result<()> {
                self.0.compact()
            }

            fn close(self) -> Result<()> {
                self.0.close()
            }
        }
    };
}

reads_through!(
    /// `Reader::get`.
    Reading, Reader, store => Reader { reader: store.reader(), writes: 0 }
);
reads_through!(
    /// `Reader::get_many`.
    Many, ManyReader, store => ManyReader(store.reader())
);
reads_through!(
    /// `Store::get_many`.
    StoreMany, StoreManyReader<'a>, store => StoreManyReader(store)
);

pub(crate) struct Reader {
    reader: zerocask::Reader,
    writes: u32,
}

impl Session for Reader {
    fn get(&mut self, key: &[u8], visit: impl FnMut(&[u8])) -> Result<bool> {
        let value = self.reader.get(key)?;
        Ok(value.map(visit).is_some())
    }

    fn let_go(&mut self) {
        self.writes += 1;
        if self.writes.is_multiple_of(REFRESH_EVERY) {
            self.reader.refresh();
        }
    }
}

pub(crate) struct ManyReader(zerocask::Reader);

impl Session for ManyReader {
    const BATCH: usize = 64;

    fn get(&mut self, key: &[u8], visit: impl FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.get(key)?.map(visit).is_some())
    }

    fn get_many(&mut self, keys: &[&[u8]], mut visit: impl FnMut(&[u8])) -> Result<usize> {
        let mut found = 0;
        self.0.get_many(keys, |_, value| {
            if let Some(value) = value {
                visit(value);
                found += 1;
            }
        })?;
        Ok(found)
    }
}

pub(crate) struct StoreManyReader<'a>(&'a Store);

impl Session for StoreManyReader<'_> {
    const BATCH: usize = 64;

    fn get(&mut self, key: &[u8], mut visit: impl FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.get(key)?.map(|value| visit(&value)).is_some())
    }

    fn get_many(&mut self, keys: &[&[u8]], mut visit: impl FnMut(&[u8])) -> Result<usize> {
        let mut found = 0;
        for value in self.0.get_many(keys) {
            if let Some(value) = value? {
                visit(&value);
                found += 1;
            }
        }
        Ok(found)
    }
}
