//! Removing many keys: [`Store::retain`], [`Store::drain`], [`Store::clear`].

use crate::error::Result;
use crate::keys::Keys;
use crate::sight::Sight;
use crate::store::Store;
use crate::value::Value;

/// Takes keys out of a store. Made by [`Store::drain`].
pub struct Drain<'a> {
    store: &'a Store,
    keys: Keys<'a>,
}

impl Store {
    /// Deletes the keys for which `keep` answers false, and says how many. A key is deleted with the value that `keep` saw:
    /// nobody writes it in between. Each is a delete of its own, with its tombstone; what survives a crash is what would of
    /// so many deletes. Keys that are put meanwhile may be seen or not.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// store.write(zerocask::Batch::new().put("a", "1").put("b", "22").put("c", "333"))?;
    /// assert_eq!(store.retain(|key, value| key != b"a" && value.len() < 3)?, 2);
    /// assert_eq!(store.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Store::get`] and [`Store::delete`]; what was deleted before stays deleted.
    pub fn retain(&self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) -> Result<usize> {
        let (mut keys, mut deleted) = (self.keys(), 0);
        while let Some(key) = keys.next_slice() {
            let key = key?;
            let gone = self.delete_if(key, |value| !keep(key, value))?;
            deleted += usize::from(gone.is_some());
        }
        Ok(deleted)
    }

    /// Takes all keys out, one when the iterator is asked for the next: gives it, with the value that it had when it was deleted.
    /// What the iterator has not come to stays.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// store.put("job", "to do")?;
    /// for taken in store.drain() {
    ///     assert_eq!(taken?.1, "to do");
    /// }
    /// assert!(store.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain(&self) -> Drain<'_> {
        Drain { store: self, keys: Keys::new(Sight::now(self.inner_log())) }
    }

    /// Removes everything, in one step: a crash leaves all of it or nothing. Durable when this has returned. Writes wait meanwhile, and it waits
    /// for a compaction that was asked for. Values in hand, readers' slices and snapshots stay valid.
    ///
    /// # Errors
    /// [`crate::Error::Io`], after which all is there still; [`crate::Error::Poisoned`]; [`crate::Error::Closed`].
    pub fn clear(&self) -> Result<()> {
        let woken = self.uncompacted(|log| log.clear())?;
        woken.wake();
        Ok(())
    }
}

impl Iterator for Drain<'_> {
    type Item = Result<(Value, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        for key in &mut self.keys {
            let taken = key.and_then(|key| {
                let value = self.store.delete_if(&key, |_| true)?;
                Ok(value.map(|value| (key, value)))
            });
            if let Some(taken) = taken.transpose() {
                return Some(taken);
            }
        }
        None
    }
}
