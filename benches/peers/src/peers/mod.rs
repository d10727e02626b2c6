//! One file for each store, with its settings and why they are what somebody who knows it would choose.

pub(crate) mod candystore;
pub(crate) mod fjall;
pub(crate) mod hash_map;
pub(crate) mod limit;
pub(crate) mod lmdb;
pub(crate) mod redb;
#[cfg(feature = "rocksdb")]
pub(crate) mod rocksdb;
pub(crate) mod simd_r_drive;
pub(crate) mod sled;
pub(crate) mod zerocask;

/// Block caches of stores that have one: more than any shape that is measured takes.
const CACHE_BYTES: usize = 4 << 30;
