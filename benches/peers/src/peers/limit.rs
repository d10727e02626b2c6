//! The bare limit: values back to back in one mapped file, and where to look known beforehand. No key, no
//! hash, no check; the first cache line of each value is touched. No store can be faster by one thread
//! that asks in a random order.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Condvar, Mutex, OnceLock};

use memmap2::Mmap;

use crate::keys::{Records, Shape};
use crate::peer::{Peer, Result, Session, Use};

pub(crate) const SETTINGS: &str = "An array of offsets, in the order of the queries, into one mapping of all values. A durable put appends key and value to a \
    file whose length was set before, and waits for an `fdatasync`, which threads share.";

const FILE: &str = "values";
/// Longer than what is put durably.
const DURABLE_LEN: u64 = 16 << 20;

/// What threads that share syncs have to agree on.
#[derive(Default)]
struct Group {
    written: u64,
    synced: u64,
    is_syncing: bool,
}

pub(crate) struct Limit {
    file: File,
    group: Mutex<Group>,
    changed: Condvar,
    map: OnceLock<Mmap>,
    value_len: usize,
}

impl Limit {
    #[expect(unsafe_code, reason = "the limit is a mapping")]
    fn map(&self) -> Result<&Mmap> {
        if self.map.get().is_none() {
            // SAFETY: the file is this run's own, and nobody writes it once it is mapped.
            let map = unsafe { Mmap::map(&self.file)? };
            return Ok(self.map.get_or_init(|| map));
        }
        self.map.get().ok_or_else(|| "the mapping is gone".into())
    }
}

impl Peer for Limit {
    type Session<'a> = Reader<'a>;

    fn open(dir: &Path, shape: Shape) -> Result<Self> {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false);
        let file = file.open(dir.join(FILE))?;
        let (group, changed) = (Mutex::default(), Condvar::new());
        Ok(Limit { file, group, changed, map: OnceLock::new(), value_len: shape.value_len })
    }

    fn load(&self, records: &Records) -> Result<()> {
        let mut file = BufWriter::new(&self.file);
        for (_, value) in records.iter() {
            file.write_all(value)?;
        }
        Ok(file.flush()?)
    }

    fn put(&self, _: &[u8], _: &[u8]) -> Result<()> {
        Err("the bare limit cannot put".into())
    }

    fn put_durably(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let record = [key, value].concat();
        let mut group = self.group.lock().map_err(|_| "a thread panicked")?;
        if group.written == 0 {
            self.file.set_len(DURABLE_LEN)?;
            self.file.sync_all()?;
        }
        self.file.write_all_at(&record, group.written)?;
        group.written += record.len() as u64;
        let end = group.written;
        while group.synced < end {
            if group.is_syncing {
                group = self.changed.wait(group).map_err(|_| "a thread panicked")?;
                continue;
            }
            group.is_syncing = true;
            let written = group.written;
            drop(group);
            self.file.sync_data()?;
            group = self.group.lock().map_err(|_| "a thread panicked")?;
            (group.synced, group.is_syncing) = (written, false);
            self.changed.notify_all();
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn session(&self, _: Use) -> Result<Self::Session<'_>> {
        let reader =
            Reader { map: self.map()?, value_len: self.value_len, offsets: Vec::new(), next: 0 };
        Ok(reader)
    }

    fn iterate(&self, _: impl FnMut(&[u8], &[u8])) -> Result<usize> {
        Err("the bare limit does not iterate".into())
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

pub(crate) struct Reader<'a> {
    map: &'a [u8],
    value_len: usize,
    offsets: Vec<usize>,
    next: usize,
}

impl Session for Reader<'_> {
    fn get(&mut self, _: &[u8], mut visit: impl FnMut(&[u8])) -> Result<bool> {
        let offset = self.offsets[self.next];
        self.next += 1;
        visit(&self.map[offset..=offset]);
        Ok(true)
    }

    fn expect(&mut self, order: &[u32]) {
        self.offsets = order.iter().map(|&i| i as usize * self.value_len).collect();
        self.next = 0;
    }
}
