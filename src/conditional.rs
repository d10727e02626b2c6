//! Writes that depend on what is there: [`Store::put_if_absent`], [`Store::compare_and_swap`],
//! [`Store::update`], [`Store::rename`].
//!
//! Each looks a key up without a lock, makes up what to write, and writes it under the writer's lock if
//! the key's entry is still what it was; else it begins again. So no code of a caller runs under a lock,
//! and whoever has to begin again does so because another write got through. A compaction that moves the record
//! makes it begin again too, once.

use crate::error::Result;
use crate::index::Seen;
use crate::record::{BatchPart, Record};
use crate::store::Store;
use crate::value::Value;

/// What [`Store::compare_and_swap`] came to.
#[derive(Clone, Debug)]
#[must_use = "the value may have been another"]
pub enum Swap {
    /// The value was as expected, and is the new one.
    Done,
    /// The value is this one instead, and nothing was written.
    Differs(Option<Value>),
}

impl Swap {
    /// Whether the value was as expected.
    pub fn is_done(&self) -> bool {
        matches!(self, Swap::Done)
    }
}

impl Store {
    /// Gives `key` a value if it has none; answers whether it had none. Of several threads that do this at once, one
    /// is told so.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// assert!(store.put_if_absent("leader", "a")?);
    /// assert!(!store.put_if_absent("leader", "b")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Store::get`] and [`Store::put`].
    pub fn put_if_absent(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.compare_and_swap(key, None::<&[u8]>, Some(value))?.is_done())
    }

    /// Gives `key` the value `new`, or deletes it for `None`, if its value is `expected`, `None` meaning that
    /// it has none. Nobody writes the key in between. Otherwise answers the value that it has.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// use zerocask::Swap;
    /// store.put("state", "idle")?;
    /// assert!(store.compare_and_swap("state", Some("idle"), Some("busy"))?.is_done());
    /// match store.compare_and_swap("state", Some("idle"), Some("busy"))? {
    ///     Swap::Differs(Some(found)) => assert_eq!(found, "busy"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Store::get`] and [`Store::put`].
    pub fn compare_and_swap(
        &self,
        key: impl AsRef<[u8]>,
        expected: Option<impl AsRef<[u8]>>,
        new: Option<impl AsRef<[u8]>>,
    ) -> Result<Swap> {
        let (key, new) = (key.as_ref(), new.as_ref().map(AsRef::as_ref));
        let expected = expected.as_ref().map(AsRef::as_ref);
        loop {
            let seen = self.see(key)?;
            let found = live_value(&seen);
            if found.as_deref() != expected {
                return Ok(Swap::Differs(found));
            }
            let record = match new {
                Some(new) => self.put_of(key, new, 1, None)?,
                None => Record::tombstone(0, key),
            };
            if self.write_seen(&seen, record)? {
                return Ok(Swap::Done);
            }
        }
    }

    /// Gives `key` the value that `change` makes of the one it has, or of `None`; deletes it for `None`.
    /// Answers the value that it had. Nobody writes the key in between. If the old value is aligned, so is the new
    /// one, and it expires when that would have; where there was none, as by a put.
    ///
    /// `change` runs again, with the newer value, when another write was faster: it should have no effects of its own. It runs
    /// under no lock and may use the store.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// let add_one = |old: Option<&[u8]>| {
    ///     let count = old.and_then(|old| old.try_into().ok()).map_or(0, u64::from_le_bytes);
    ///     Some((count + 1).to_le_bytes())
    /// };
    /// store.update("visits", add_one)?;
    /// let before = store.update("visits", add_one)?;
    /// assert_eq!(before.as_deref(), Some(&1u64.to_le_bytes()[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Store::get`] and [`Store::put`].
    pub fn update<V: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        mut change: impl FnMut(Option<&[u8]>) -> Option<V>,
    ) -> Result<Option<Value>> {
        let key = key.as_ref();
        loop {
            let seen = self.see(key)?;
            let found = live_value(&seen);
            let new = change(found.as_deref());
            let record = match &new {
                None => Record::tombstone(0, key),
                Some(new) => {
                    let put = self.put_of(key, new.as_ref(), 1, None)?;
                    match seen.frame()?.filter(|_| !put.is_tombstone()) {
                        Some(old) => put.in_place_of(&old.record()),
                        None => put,
                    }
                }
            };
            if self.write_seen(&seen, record)? {
                return Ok(found);
            }
        }
    }

    /// Gives the value of `old` to `new`, instead of the one that this may have, and deletes `old`: both or, after a
    /// crash, neither. The value keeps its alignment and its expiry. Answers false, with nothing done, if `old` has no value. A key is renamed to itself
    /// by leaving it as it is.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// store.put("draft", "text")?;
    /// assert!(store.rename("draft", "final")?);
    /// assert!(store.get("draft")?.is_none());
    /// assert_eq!(store.get("final")?.as_deref(), Some(&b"text"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Store::get`] and [`Store::write`].
    pub fn rename(&self, old: impl AsRef<[u8]>, new: impl AsRef<[u8]>) -> Result<bool> {
        let (old, new) = (old.as_ref(), new.as_ref());
        loop {
            let seen = self.see(old)?;
            let Some(frame) = seen.frame()? else { return Ok(false) };
            if old == new {
                return Ok(true);
            }
            let renamed = Record { key: new, ..frame.record() };
            let mut records = vec![renamed, Record::tombstone(0, old)];
            for (n, record) in records.iter_mut().enumerate() {
                record.batch = BatchPart::of(n, 2);
            }
            if self.inner_log().write_if(&seen, records, self.durability())? {
                return Ok(true);
            }
        }
    }

    /// Deletes a key if its value is as `condition` says, and gives that.
    pub(crate) fn delete_if(
        &self,
        key: &[u8],
        mut condition: impl FnMut(&[u8]) -> bool,
    ) -> Result<Option<Value>> {
        loop {
            let seen = self.see(key)?;
            let Some(found) = live_value(&seen).filter(|value| condition(value)) else {
                return Ok(None);
            };
            if self.write_seen(&seen, Record::tombstone(0, key))? {
                return Ok(Some(found));
            }
        }
    }

    /// Writes a record of a key whose entry was seen, but for a tombstone of nothing.
    fn write_seen(&self, seen: &Seen<'_>, record: Record<'_>) -> Result<bool> {
        let is_needless = record.is_tombstone() && seen.hit().is_none();
        let records = if is_needless { Vec::new() } else { vec![record] };
        self.inner_log().write_if(seen, records, self.durability())
    }
}

fn live_value(seen: &Seen<'_>) -> Option<Value> {
    let hit = seen.live()?;
    Some(Value::new(hit.region.clone().into_owned(), hit.extent.value.clone()))
}
