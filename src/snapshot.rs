//! [`Snapshot`]: the store as it was.

use std::fmt;
use std::ops::RangeBounds;

use crate::error::{Error, Result};
use crate::keys::{Iter, Keys};
use crate::past::Past;
use crate::range::Range;
use crate::sight::Sight;
use crate::store::Store;
use crate::value::Value;

/// The store as it was at one moment, whatever is written, deleted or compacted since. Made by
/// [`Store::snapshot`].
///
/// Taking one costs next to nothing, however many keys there are, and writes go on as before. **What it holds back:**
/// each key that is changed while it lives takes about 80 bytes of memory in it, once
/// ([`Snapshot::changed`], [`crate::Stats::snapshot_changes`]), and segments that compaction removes keep their
/// disk space until it is dropped ([`crate::Stats::pinned_bytes`]). Each change is noted in every snapshot that lives.
///
/// It is not on disk: it ends with the process. It keeps the store from being dropped, not from being closed.
pub struct Snapshot {
    store: Store,
    past: Past,
}

impl Snapshot {
    pub(crate) fn new(store: Store, past: Past) -> Self {
        Snapshot { store, past }
    }

    /// The value that `key` had; `None` if it had none, or one that had expired by then.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        if self.store.inner_log().is_closed() {
            return Err(Error::Closed);
        }
        Ok(self.sight().find(key.as_ref())?.map(|seen| seen.value))
    }

    /// Whether `key` had a value.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// How many keys there were, counted as by [`Store::len`].
    pub fn len(&self) -> usize {
        self.past.len
    }

    /// Whether there was no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All keys that there were, in no order.
    pub fn keys(&self) -> Keys<'_> {
        Keys::new(self.sight())
    }

    /// All keys that there were with their values, in no order.
    pub fn iter(&self) -> Iter<'_> {
        Iter::new(self.sight())
    }

    /// As [`Store::prefix`], of the keys that there were. They have to be sorted, also in a store that keeps its keys in
    /// order.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Range<'_> {
        Range::prefix(self.sight(), prefix.as_ref())
    }

    /// As [`Store::range`], of the keys that there were; sorted as by [`Snapshot::prefix`].
    pub fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Range<'_> {
        Range::within(self.sight(), range)
    }

    /// How many keys have changed since, and take memory here for it.
    pub fn changed(&self) -> usize {
        self.past.changed()
    }

    fn sight(&self) -> Sight<'_> {
        Sight::of(self.store.inner_log(), &self.past)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.past.end(&self.store.index().keydir);
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("store", &self.store).finish_non_exhaustive()
    }
}
