//! fjall 3.

use std::path::Path;

use fjall::config::{CompressionPolicy, HashRatioPolicy, PartitioningPolicy, PinningPolicy};
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
};

use super::CACHE_BYTES;
use crate::keys::{Records, Shape};
use crate::peer::{Peer, Result, Session, Use};

pub(crate) const SETTINGS: &str = "Block cache of 4 GiB, no compression, hash index in data blocks (ratio \
    0.75), index and filters pinned and not partitioned, default Bloom filters, values from 4 KiB on in \
    blob files, journal handed over by hand. Bulk: sorted, by ingestion. Put: `insert`, not synced; a durable one is followed by `PersistMode::SyncData`.";

/// From this length on values are kept apart from keys.
const BLOB_LEN: usize = 4096;

pub(crate) struct Fjall {
    database: Database,
    keyspace: Keyspace,
}

fn options(shape: Shape) -> KeyspaceCreateOptions {
    let blobs = (shape.value_len >= BLOB_LEN).then(|| {
        let options = KvSeparationOptions::default().compression(CompressionType::None);
        options.separation_threshold(BLOB_LEN as u32)
    });
    KeyspaceCreateOptions::default()
        .data_block_compression_policy(CompressionPolicy::disabled())
        .data_block_hash_ratio_policy(HashRatioPolicy::all(0.75))
        .index_block_pinning_policy(PinningPolicy::all(true))
        .filter_block_pinning_policy(PinningPolicy::all(true))
        .index_block_partitioning_policy(PartitioningPolicy::all(false))
        .filter_block_partitioning_policy(PartitioningPolicy::all(false))
        .manual_journal_persist(true)
        .with_kv_separation(blobs)
}

impl Peer for Fjall {
    type Session<'a> = &'a Keyspace;

    fn open(dir: &Path, shape: Shape) -> Result<Self> {
        let database = Database::builder(dir)
            .cache_size(CACHE_BYTES as u64)
            .manual_journal_persist(true)
            .open()?;
        let keyspace = database.keyspace("t", || options(shape))?;
        Ok(Fjall { database, keyspace })
    }

    fn load(&self, records: &Records) -> Result<()> {
        let mut ingestion = self.keyspace.start_ingestion()?;
        for i in records.sorted() {
            ingestion.write(records.key(i), records.value(i))?;
        }
        Ok(ingestion.finish()?)
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.keyspace.insert(key, value)?)
    }

    fn put_durably(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put(key, value)?;
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.database.persist(PersistMode::Buffer)?)
    }

    fn session(&self, _: Use) -> Result<Self::Session<'_>> {
        Ok(&self.keyspace)
    }

    fn iterate(&self, mut visit: impl FnMut(&[u8], &[u8])) -> Result<usize> {
        let mut count = 0;
        for entry in self.keyspace.iter() {
            let (key, value) = entry.into_inner()?;
            visit(&key, &value);
            count += 1;
        }
        Ok(count)
    }

    fn close(self) -> Result<()> {
        self.flush()
    }
}

impl Session for &Keyspace {
    fn get(&mut self, key: &[u8], mut visit: impl FnMut(&[u8])) -> Result<bool> {
        let value = Keyspace::get(self, key)?;
        Ok(value.map(|value| visit(&value)).is_some())
    }
}
