//! LMDB, by heed.

use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, WithTls};

use crate::keys::{Records, Shape};
use crate::peer::{Peer, Result, Session, Use};

pub(crate) const SETTINGS: &str = "`WRITE_MAP`, `NO_SYNC`, map of 32 GiB, readahead left on (all is in \
    memory), TLS readers. Reads: one read transaction kept open; in mixes it is given up before each own \
    write and begun anew after it. Bulk: sorted, `APPEND`, a transaction for every 64 MiB. Put: a write \
    transaction each; a durable one is followed by `force_sync`, outside the transaction, which threads may share.";

/// Address space, not memory; the file is sparse.
const MAP_BYTES: usize = 32 << 30;
const BULK_BYTES: usize = 64 << 20;

type Table = Database<'static, Bytes, Bytes>;

pub(crate) struct Lmdb {
    env: Env<WithTls>,
    table: Table,
}

impl Peer for Lmdb {
    type Session<'a> = Reader<'a>;

    #[expect(unsafe_code, reason = "LMDB maps its file")]
    fn open(dir: &Path, _: Shape) -> Result<Self> {
        let mut options = EnvOpenOptions::new().read_txn_with_tls();
        options.map_size(MAP_BYTES);
        // SAFETY: the machine does not stop in the middle of a bench, and if it did nobody would read the
        // file again.
        unsafe { options.flags(EnvFlags::WRITE_MAP | EnvFlags::NO_SYNC) };
        // SAFETY: the directory is this run's own; no other program touches it.
        let env = unsafe { options.open(dir)? };
        let txn = env.write_txn()?;
        let table = env
            .create_databases_and_commit(txn, |opener, txn| {
                let table = opener.create_database::<Bytes, Bytes>(txn, None)?;
                heed::Result::Ok(CommitOrAbort::<_, ()>::Commit(table))
            })?
            .unwrap_commit();
        Ok(Lmdb { env, table })
    }

    fn load(&self, records: &Records) -> Result<()> {
        let per_txn = (BULK_BYTES / records.shape.value_len).max(1);
        for batch in records.sorted().chunks(per_txn) {
            let mut txn = self.env.write_txn()?;
            for &i in batch {
                let (key, value) = (records.key(i), records.value(i));
                self.table.put_with_flags(&mut txn, PutFlags::APPEND, key, value)?;
            }
            txn.commit()?;
        }
        Ok(())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut txn = self.env.write_txn()?;
        self.table.put(&mut txn, key, value)?;
        Ok(txn.commit()?)
    }

    fn put_durably(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put(key, value)?;
        Ok(self.env.force_sync()?)
    }

    /// The map is the page cache.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn session(&self, _: Use) -> Result<Self::Session<'_>> {
        Ok(Reader { peer: self, txn: None })
    }

    fn iterate(&self, mut visit: impl FnMut(&[u8], &[u8])) -> Result<usize> {
        let txn = self.env.read_txn()?;
        let mut count = 0;
        for entry in self.table.iter(&txn)? {
            let (key, value) = entry?;
            visit(key, value);
            count += 1;
        }
        Ok(count)
    }

    fn close(self) -> Result<()> {
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

pub(crate) struct Reader<'a> {
    peer: &'a Lmdb,
    txn: Option<RoTxn<'a, WithTls>>,
}

impl Session for Reader<'_> {
    fn get(&mut self, key: &[u8], mut visit: impl FnMut(&[u8])) -> Result<bool> {
        let txn = match &mut self.txn {
            Some(txn) => txn,
            none => none.insert(self.peer.env.read_txn()?),
        };
        let value = self.peer.table.get(txn, key)?;
        Ok(value.map(&mut visit).is_some())
    }

    fn let_go(&mut self) {
        self.txn = None;
    }
}
