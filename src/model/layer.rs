//! What stands between a run and its store.

use super::machine::{Contents, unexpired};
use crate::batch::Batch;
use crate::error::Result;
use crate::store::Store;

/// A layer above the store. What it has no method for is asked of the store.
pub(crate) trait Layer {
    /// The bytes that the store holds for these, of a key or of a value.
    fn encoded(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    /// What the layer aligns the values of a key to.
    fn align(&self, _key: &[u8]) -> usize {
        1
    }

    /// The value of each key that the layer shows. Here and below in encoded bytes.
    fn contents(&self, store: &Store) -> Contents;
    fn put(&self, store: &Store, key: &[u8], value: &[u8]) -> Result<()>;
    fn delete(&self, store: &Store, key: &[u8]) -> Result<bool>;

    fn write(&self, store: &Store, batch: &Batch) -> Result<()> {
        store.write(batch)
    }

    fn flush(&self, store: &Store) -> Result<()>;
    fn sync(&self, store: &Store) -> Result<()>;
    fn compact(&self, store: &Store) -> Result<()>;
    fn close(&self, store: &Store) -> Result<()>;
}

/// None.
pub(crate) struct Bare;

impl Layer for Bare {
    /// Every other key's values are aligned, each to something else.
    fn align(&self, key: &[u8]) -> usize {
        if key.len().is_multiple_of(2) { 1 } else { 1 << key.len() }
    }

    fn contents(&self, store: &Store) -> Contents {
        unexpired(store)
    }

    fn put(&self, store: &Store, key: &[u8], value: &[u8]) -> Result<()> {
        store.put_aligned(key, value, self.align(key))
    }

    fn delete(&self, store: &Store, key: &[u8]) -> Result<bool> {
        store.delete(key)
    }

    fn flush(&self, store: &Store) -> Result<()> {
        store.flush()
    }

    fn sync(&self, store: &Store) -> Result<()> {
        store.sync()
    }

    fn compact(&self, store: &Store) -> Result<()> {
        store.compact().map(drop)
    }

    fn close(&self, store: &Store) -> Result<()> {
        store.clone().close()
    }
}
