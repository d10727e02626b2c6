//! The bare limit: values back to back in one mapped file, and where to look known beforehand. No key, no
//! hash, no check; the first cache line of each value is touched. No store can be faster by one thread
//! that asks in a random order.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::OnceLock;

use memmap2::Mmap;

use crate::keys::{Records, Shape};
use crate::peer::{Peer, Result, Session, Use};

pub(crate) const SETTINGS: &str =
    "An array of offsets, in the order of the queries, into one mapping of all values.";

const FILE: &str = "values";

pub(crate) struct Limit {
    file: File,
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
        Ok(Limit { file, map: OnceLock::new(), value_len: shape.value_len })
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

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn session(&self, _: Use) -> Result<Self::Session<'_>> {
        let reader =
            Reader { map: self.map()?, value_len: self.value_len, offsets: Vec::new(), next: 0 };
        Ok(reader)
    }

    fn iterate(&self, _: impl FnMut(&[u8])) -> Result<usize> {
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
