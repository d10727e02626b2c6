//! redb.

use std::path::Path;

use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

use super::CACHE_BYTES;
use crate::keys::{Records, Shape};
use crate::peer::{Peer, Result, Session, Use};

pub(crate) const SETTINGS: &str = "Cache of 4 GiB. Reads: transaction and table kept open; in mixes given \
    up before each own write and opened anew after it. Bulk: sorted, `Durability::None`, a transaction for \
    every 64 MiB. Put: a transaction each, `Durability::None`, or `Immediate` where it is to be durable. It hands nothing to the operating system \
    without a sync, so the one durable commit that makes all of it stay comes when the store is closed, and \
    is not timed.";

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("t");
const BULK_BYTES: usize = 64 << 20;

pub(crate) struct Redb(Database);

impl Redb {
    fn write<'a>(
        &self,
        records: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        durability: Durability,
    ) -> Result<()> {
        let mut txn = self.0.begin_write()?;
        txn.set_durability(durability)?;
        {
            let mut table = txn.open_table(TABLE)?;
            for (key, value) in records {
                table.insert(key, value)?;
            }
        }
        Ok(txn.commit()?)
    }

    fn table(&self) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>> {
        // The table keeps its transaction.
        Ok(self.0.begin_read()?.open_table(TABLE)?)
    }
}

impl Peer for Redb {
    type Session<'a> = Reader<'a>;

    fn open(dir: &Path, _: Shape) -> Result<Self> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(dir.join("redb"))?;
        Ok(Redb(database))
    }

    fn load(&self, records: &Records) -> Result<()> {
        let per_txn = (BULK_BYTES / records.shape.value_len).max(1);
        for batch in records.sorted().chunks(per_txn) {
            let batch = batch.iter().map(|&i| (records.key(i), records.value(i)));
            self.write(batch, Durability::None)?;
        }
        Ok(())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.write(std::iter::once((key, value)), Durability::None)
    }

    fn put_durably(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.write(std::iter::once((key, value)), Durability::Immediate)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn session(&self, _: Use) -> Result<Self::Session<'_>> {
        Ok(Reader { peer: self, table: None })
    }

    fn iterate(&self, mut visit: impl FnMut(&[u8], &[u8])) -> Result<usize> {
        let mut count = 0;
        for entry in self.table()?.iter()? {
            let (key, value) = entry?;
            visit(key.value(), value.value());
            count += 1;
        }
        Ok(count)
    }

    fn close(self) -> Result<()> {
        let mut txn = self.0.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        Ok(txn.commit()?)
    }
}

pub(crate) struct Reader<'a> {
    peer: &'a Redb,
    table: Option<ReadOnlyTable<&'static [u8], &'static [u8]>>,
}

impl Session for Reader<'_> {
    fn get(&mut self, key: &[u8], mut visit: impl FnMut(&[u8])) -> Result<bool> {
        let table = match &mut self.table {
            Some(table) => table,
            none => none.insert(self.peer.table()?),
        };
        let value = table.get(key)?;
        Ok(value.map(|value| visit(value.value())).is_some())
    }

    fn let_go(&mut self) {
        self.table = None;
    }
}
