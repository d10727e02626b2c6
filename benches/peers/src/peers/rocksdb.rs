//! RocksDB, read key by key ([`Single`]) and by `batched_multi_get_cf` ([`Batch`]).

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DataBlockIndexType, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::CACHE_BYTES;
use crate::keys::{Records, Shape};
use crate::peer::{Peer, Result, Session, Use};

pub(crate) const SETTINGS: &str = "Block cache of 4 GiB, no compression, Bloom filters of 10 bits, hash index \
    in data blocks (ratio 0.75), values from 4 KiB on in blob files, write buffer of 128 MiB, log written \
    without sync and handed over by hand. Reads: `get_pinned_opt`. Bulk: sorted, batches of 1 MiB, no log; \
    then, not timed, a full compaction.";

const BLOB_LEN: usize = 4096;
const BULK_BYTES: usize = 1 << 20;
const FAMILY: &str = "default";

pub(crate) struct Single {
    db: DB,
    write: WriteOptions,
}

pub(crate) struct Batch(Single);

fn options(shape: Shape) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
    table.set_bloom_filter(10.0, false);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    table.set_data_block_hash_ratio(0.75);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(128 << 20);
    options.set_max_open_files(-1);
    options.increase_parallelism(2);
    options.set_manual_wal_flush(true);
    if shape.value_len >= BLOB_LEN {
        options.set_enable_blob_files(true);
        options.set_min_blob_size(BLOB_LEN as u64);
    }
    options
}

impl Single {
    fn family(&self) -> Result<&ColumnFamily> {
        self.db.cf_handle(FAMILY).ok_or_else(|| "the default column family is missing".into())
    }
}

impl Peer for Single {
    type Session<'a> = Reader<'a>;

    fn open(dir: &Path, shape: Shape) -> Result<Self> {
        let options = options(shape);
        let family = ColumnFamilyDescriptor::new(FAMILY, options.clone());
        let db = DB::open_cf_descriptors(&options, dir, [family])?;
        Ok(Single { db, write: WriteOptions::default() })
    }

    fn load(&self, records: &Records) -> Result<()> {
        let per_batch = (BULK_BYTES / records.shape.value_len).max(1);
        for numbers in records.sorted().chunks(per_batch) {
            let mut batch = WriteBatch::default();
            for &i in numbers {
                batch.put(records.key(i), records.value(i));
            }
            self.db.write_without_wal(batch)?;
        }
        Ok(self.db.flush()?)
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.db.put_opt(key, value, &self.write)?)
    }

    fn put_durably(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut write = WriteOptions::default();
        write.set_sync(true);
        Ok(self.db.put_opt(key, value, &write)?)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.db.flush_wal(false)?)
    }

    fn session(&self, _: Use) -> Result<Self::Session<'_>> {
        Ok(Reader { db: &self.db, options: ReadOptions::default() })
    }

    fn iterate(&self, mut visit: impl FnMut(&[u8], &[u8])) -> Result<usize> {
        let mut entries = self.db.raw_iterator_opt(ReadOptions::default());
        let mut count = 0;
        entries.seek_to_first();
        while let Some((key, value)) = entries.item() {
            visit(key, value);
            count += 1;
            entries.next();
        }
        entries.status()?;
        Ok(count)
    }

    fn settle(&self) -> Result<()> {
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
        Ok(())
    }

    fn close(self) -> Result<()> {
        Ok(self.db.flush()?)
    }
}

pub(crate) struct Reader<'a> {
    db: &'a DB,
    options: ReadOptions,
}

impl Session for Reader<'_> {
    fn get(&mut self, key: &[u8], mut visit: impl FnMut(&[u8])) -> Result<bool> {
        let value = self.db.get_pinned_opt(key, &self.options)?;
        Ok(value.map(|value| visit(&value)).is_some())
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
        Ok(BatchReader { single: self.0.session(using)?, family: self.0.family()? })
    }

    fn iterate(&self, visit: impl FnMut(&[u8], &[u8])) -> Result<usize> {
        self.0.iterate(visit)
    }

    fn settle(&self) -> Result<()> {
        self.0.settle()
    }

    fn close(self) -> Result<()> {
        self.0.close()
    }
}

pub(crate) struct BatchReader<'a> {
    single: Reader<'a>,
    family: &'a ColumnFamily,
}

impl Session for BatchReader<'_> {
    const BATCH: usize = 64;

    fn get(&mut self, key: &[u8], visit: impl FnMut(&[u8])) -> Result<bool> {
        self.single.get(key, visit)
    }

    fn get_many(&mut self, keys: &[&[u8]], mut visit: impl FnMut(&[u8])) -> Result<usize> {
        let Reader { db, options } = &self.single;
        let mut found = 0;
        for value in db.batched_multi_get_cf_opt(self.family, keys.iter().copied(), false, options)
        {
            if let Some(value) = value? {
                visit(&value);
                found += 1;
            }
        }
        Ok(found)
    }
}
