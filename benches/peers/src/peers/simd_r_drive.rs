//! simd-r-drive, read key by key ([`Single`]) and by `batch_read` ([`Batch`]).

use std::path::Path;

use simd_r_drive::DataStore;
use simd_r_drive::traits::{DataStoreReader as _, DataStoreWriter as _};

use crate::keys::{Records, Shape};
use crate::peer::{Peer, Result, Session, Use};

pub(crate) const SETTINGS: &str = "It has none. Bulk: `batch_write` of 16 MiB at a time. Put: `write`, which \
    hands the record over and maps the whole file anew. It keeps and compares no keys, but their hashes of \
    80 bits. Iteration shows values without their keys.";

const BULK_BYTES: usize = 16 << 20;

pub(crate) struct Single(DataStore);

pub(crate) struct Batch(Single);

impl Peer for Single {
    type Session<'a> = &'a DataStore;

    fn open(dir: &Path, _: Shape) -> Result<Self> {
        Ok(Single(DataStore::open(&dir.join("simd-r-drive"))?))
    }

    fn load(&self, records: &Records) -> Result<()> {
        let per_batch = (BULK_BYTES / records.shape.value_len).max(1);
        let all: Vec<_> = records.iter().collect();
        for batch in all.chunks(per_batch) {
            self.0.batch_write(batch)?;
        }
        Ok(())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.write(key, value)?;
        Ok(())
    }

    /// A write goes to the file at once.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn session(&self, _: Use) -> Result<Self::Session<'_>> {
        Ok(&self.0)
    }

    fn iterate(&self, mut visit: impl FnMut(&[u8], &[u8])) -> Result<usize> {
        let mut count = 0;
        for entry in self.0.iter_entries() {
            // It keeps no keys.
            visit(&[], entry.as_slice());
            count += 1;
        }
        Ok(count)
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Session for &DataStore {
    fn get(&mut self, key: &[u8], mut visit: impl FnMut(&[u8])) -> Result<bool> {
        let value = self.read(key)?;
        Ok(value.map(|value| visit(value.as_slice())).is_some())
    }
}

impl Peer for Batch {
    type Session<'a> = BatchReader<'a>;

    fn open(dir: &Path, shape: Shape) -> Result<Self> {
        Single::open(dir, shape).map(Batch)
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

    fn session(&self, using: Use) -> Result<Self::Session<'_>> {
        self.0.session(using).map(BatchReader)
    }

    fn iterate(&self, visit: impl FnMut(&[u8], &[u8])) -> Result<usize> {
        self.0.iterate(visit)
    }

    fn close(self) -> Result<()> {
        self.0.close()
    }
}

pub(crate) struct BatchReader<'a>(&'a DataStore);

impl Session for BatchReader<'_> {
    const BATCH: usize = 64;

    fn get(&mut self, key: &[u8], visit: impl FnMut(&[u8])) -> Result<bool> {
        Session::get(&mut self.0, key, visit)
    }

    fn get_many(&mut self, keys: &[&[u8]], mut visit: impl FnMut(&[u8])) -> Result<usize> {
        let mut found = 0;
        for value in self.0.batch_read(keys)?.into_iter().flatten() {
            visit(value.as_slice());
            found += 1;
        }
        Ok(found)
    }
}
