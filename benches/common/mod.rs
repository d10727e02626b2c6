//! What both benches need: keys and values made from numbers, random orders, directories.

#![allow(dead_code)] // Each bench uses a part of it.

use std::hint::black_box;

use tempfile::TempDir;
use zerocask::{Durability, Options, Store};

/// Length of the keys that the benches use unless they say otherwise.
pub(crate) const KEY_LEN: usize = 24;

/// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
    }

    /// The numbers below `n` in a random order (Fisher and Yates).
    pub(crate) fn order(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            order.swap(i, (self.next() % (i as u64 + 1)) as usize);
        }
        order
    }
}

/// Byte strings of one length, back to back.
pub(crate) struct Flat {
    bytes: Vec<u8>,
    len: usize,
}

impl Flat {
    /// `n` random strings of `len` bytes. Those of different seeds differ.
    pub(crate) fn random(seed: u64, n: usize, len: usize) -> Self {
        let mut bytes = vec![0; n * len];
        Random(seed).fill(&mut bytes);
        Flat { bytes, len }
    }

    pub(crate) fn get(&self, i: u32) -> &[u8] {
        &self.bytes[i as usize * self.len..][..self.len]
    }

    pub(crate) fn count(&self) -> usize {
        self.bytes.len() / self.len
    }

    /// The same strings in another order.
    pub(crate) fn reordered(&self, order: &[u32]) -> Flat {
        let bytes = order.iter().flat_map(|&i| self.get(i)).copied().collect();
        Flat { bytes, len: self.len }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.bytes.chunks_exact(self.len)
    }
}

/// Reads a value's first and last byte.
#[inline]
pub(crate) fn touch(value: &[u8]) -> u64 {
    black_box(u64::from(value[0]) + u64::from(value[value.len() - 1]))
}

/// An empty directory where `TMPDIR` says.
pub(crate) fn fresh_dir() -> TempDir {
    tempfile::Builder::new().prefix("zerocask-bench-").tempdir().unwrap()
}

pub(crate) fn buffered() -> Options {
    Options::new().durability(Durability::Buffered)
}

/// A store of all keys, put in the given order and flushed.
pub(crate) fn fill(store: &Store, keys: &Flat, values: &Flat, order: &[u32]) {
    for &i in order {
        store.put(keys.get(i), values.get(i)).unwrap();
    }
    store.flush().unwrap();
}

/// Whether this run is to measure, and not only to show that the bench works: `cargo bench` says so.
pub(crate) fn is_measuring() -> bool {
    let has = |flag: &str| std::env::args().any(|arg| arg == flag);
    has("--bench") && !has("--test")
}
