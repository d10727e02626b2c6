//! A store on a simulated disk, under a clock that the test sets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::TimeSource;
use crate::error::Result;
use crate::fs::sim::SimFs;
use crate::options::{Options, ReadMode};
use crate::record::Record;
use crate::store::{Ground, Store};

pub(super) type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Default)]
pub(super) struct ManualTime(Arc<AtomicU64>);

impl ManualTime {
    pub(super) fn set(&self, micros: u64) {
        self.0.store(micros, Ordering::Relaxed);
    }
}

impl TimeSource for ManualTime {
    fn micros(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The mode that this run of the tests is for: `ZEROCASK_TEST_READ_MODE`, "mapped" or "copy".
pub(super) fn read_mode() -> ReadMode {
    match std::env::var("ZEROCASK_TEST_READ_MODE").as_deref() {
        Ok("copy") => ReadMode::Copy,
        Ok("mapped") | Err(std::env::VarError::NotPresent) => ReadMode::Mapped,
        other => panic!("ZEROCASK_TEST_READ_MODE is mapped or copy, not {other:?}"),
    }
}

/// A machine with one store on its disk.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) fs: SimFs,
    pub(super) time: ManualTime,
    pub(super) options: Options,
    pub(super) hash_mask: u64,
}

impl Machine {
    pub(super) fn new(segment_size: u64) -> Self {
        let options = Options::new().segment_size(segment_size).read_mode(read_mode());
        let (fs, time) = (SimFs::new(1), ManualTime::default());
        Machine { fs, time, options, hash_mask: u64::MAX }
    }

    pub(super) fn dir() -> &'static Path {
        Path::new("/machine/store")
    }

    pub(super) fn path(name: &str) -> PathBuf {
        Self::dir().join(name)
    }

    pub(super) fn open(&self) -> Result<Store> {
        self.open_at(Self::dir())
    }

    pub(super) fn open_at(&self, dir: &Path) -> Result<Store> {
        let ground = Ground {
            fs: Arc::new(self.fs.clone()),
            time: Box::new(self.time.clone()),
            hash_mask: self.hash_mask,
        };
        Store::open_on(ground, dir, &self.options)
    }

    /// The machine after a power loss; `seed` decides what of the unsynced reached the disk.
    pub(super) fn crash(&self, seed: u64) -> Self {
        Machine { fs: self.fs.crash(seed), ..self.clone() }
    }

    /// The machine after the process was killed.
    pub(super) fn kill(&self) -> Self {
        Machine { fs: self.fs.kill(), ..self.clone() }
    }

    /// The machine as a process finds it that may not write.
    pub(super) fn read_only(&self) -> Self {
        let options = self.options.clone().read_only(true);
        Machine { fs: self.fs.process_that_reads(), options, ..self.clone() }
    }

    /// The machine for the next process, after that of this handle was killed. Others live on.
    pub(super) fn end_process(&self) -> Self {
        self.fs.end_process();
        Machine { fs: self.fs.process(), ..self.clone() }
    }

    /// Another machine with the same files, all of them durable.
    pub(super) fn copy(&self) -> Self {
        let fs = SimFs::new(0);
        for name in self.fs.names(Self::dir()) {
            let path = Self::path(&name);
            fs.write(&path, &self.fs.read(&path).unwrap());
        }
        Machine { fs, ..self.clone() }
    }

    /// The lengths of the files with this extension, added up.
    pub(super) fn total_len(&self, extension: &str) -> u64 {
        let names = self.names(extension).into_iter();
        names.map(|name| self.fs.read(&Self::path(&name)).unwrap().len() as u64).sum()
    }

    pub(super) fn names(&self, extension: &str) -> Vec<String> {
        let names = self.fs.names(Self::dir()).into_iter();
        names.filter(|name| name.ends_with(extension)).collect()
    }

    pub(super) fn data(&self) -> Vec<String> {
        self.names(".data")
    }

    /// Changes a byte of a file in place, as a bad disk does.
    pub(super) fn flip(&self, name: &str, byte: usize) {
        let path = Self::path(name);
        let mut bytes = self.fs.read(&path).unwrap();
        bytes[byte] ^= 0x55;
        self.fs.write(&path, &bytes);
    }

    /// The offset at which `needle` first stands in a file.
    pub(super) fn find(&self, name: &str, needle: &[u8]) -> Option<usize> {
        let bytes = self.fs.read(&Self::path(name)).unwrap();
        bytes.windows(needle.len()).position(|window| window == needle)
    }

    /// Writes a bare data file of these records.
    pub(super) fn write_records(&self, name: &str, records: &[Record<'_>]) {
        self.fs.write(&Self::path(name), &encode(records));
    }
}

pub(super) fn encode(records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        let offset = bytes.len();
        bytes.resize(offset + record.len_at(offset as u64) as usize, 0);
        record.encode_into(offset as u64, &mut bytes[offset..]);
    }
    bytes
}

/// Everything in a store in which nothing has expired, by iteration, with each key looked up as well.
pub(super) fn contents(store: &Store) -> Contents {
    let contents = unexpired(store);
    assert_eq!(contents.len(), store.len(), "keys() and len() agree");
    contents
}

/// As `contents`, of any store.
pub(super) fn unexpired(store: &Store) -> Contents {
    let keys = store.keys().map(|key| key.unwrap().to_vec());
    keys.map(|key| (key.clone(), store.get(&key).unwrap().unwrap().to_vec())).collect()
}

pub(super) fn value(store: &Store, key: &str) -> Option<String> {
    store.get(key).unwrap().map(|value| String::from_utf8(value.to_vec()).unwrap())
}
