//! What only tests ask of a machine with a store, and of the store.

use std::path::PathBuf;

use crate::fs::sim::SimFs;
pub(super) use crate::model::machine::{Contents, Machine, contents, encode, unexpired};
use crate::options::{Options, ReadMode};
use crate::record::Record;
use crate::store::Store;

/// The mode that this run of the tests is for: `ZEROCASK_TEST_READ_MODE`, "mapped" or "copy".
pub(super) fn read_mode() -> ReadMode {
    match std::env::var("ZEROCASK_TEST_READ_MODE").as_deref() {
        Ok("copy") => ReadMode::Copy,
        Ok("mapped") | Err(std::env::VarError::NotPresent) => ReadMode::Mapped,
        other => panic!("ZEROCASK_TEST_READ_MODE is mapped or copy, not {other:?}"),
    }
}

impl Machine {
    pub(super) fn new(segment_size: u64) -> Self {
        Machine::with(Options::new().segment_size(segment_size).read_mode(read_mode()))
    }

    pub(super) fn path(name: &str) -> PathBuf {
        Self::dir().join(name)
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

    /// Removes what lets an opening do without a look at the segments themselves.
    pub(super) fn forget_companions(&self) {
        for name in self.fs.names(Self::dir()) {
            if name == "KEYDIR" || name.ends_with(".hint") {
                self.fs.remove_file(&Self::path(&name));
            }
        }
    }

    /// Changes a byte of a file in place, as a bad disk does; the next opening looks at it.
    pub(super) fn flip(&self, name: &str, byte: usize) {
        self.forget_companions();
        self.flip_unseen(name, byte);
    }

    /// As [`Machine::flip`], where the next opening may not look at the file.
    pub(super) fn flip_unseen(&self, name: &str, byte: usize) {
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

pub(super) fn value(store: &Store, key: &str) -> Option<String> {
    store.get(key).unwrap().map(|value| String::from_utf8(value.to_vec()).unwrap())
}
