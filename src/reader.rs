//! [`Reader`]: many reads of one thread, as slices.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use elsa::FrozenVec;

use crate::batch_read::{self, Asked};
use crate::counters::Tally;
use crate::error::Result;
use crate::fs::Region;
use crate::index::{Hit, Look};
use crate::location::Location;
use crate::segment::Slots;
use crate::store::Store;

/// Reads that hand out slices of the store's memory. Made by [`Store::reader`].
///
/// The fastest way to read: where [`Store::get`] counts a reference to the memory of every value up and down,
/// a reader holds all of it from the beginning, so that a `get` executes no locked instruction,
/// and the processor overlaps the cache misses of one with those of the next. It sees what is written
/// after it was made, as `get` does.
///
/// **What it holds back.** Segments that compaction removes keep their memory and disk space until every
/// reader that was made before is dropped or refreshed ([`crate::Stats::pinned_bytes`]); so does what it has
/// handed out of the append buffer, 256 KiB at a time, and, with [`crate::ReadMode::Copy`], every
/// value that it has read. Refresh a long-lived reader now and then; make a short-lived one as often as you
/// like (some tens of nanoseconds). It keeps the store from being dropped, but not from being closed.
///
/// It can be sent to another thread; each thread needs its own.
pub struct Reader {
    store: Store,
    /// The segments when it was made or refreshed, and whenever since a key was in none of them. The
    /// last ones count; slices in hand may be of any.
    tables: FrozenVec<Arc<Slots>>,
    /// Memory of slices in hand that is not the segments' own.
    held: FrozenVec<Arc<Region>>,
    tally: Tally,
}

impl Reader {
    pub(crate) fn new(store: Store) -> Self {
        let tables = FrozenVec::new();
        tables.push(store.index().segments.snapshot());
        let tally = Tally::new(store.reads());
        Reader { store, tables, held: FrozenVec::new(), tally }
    }

    /// The value of `key`; `None` if it has none. Takes no lock and waits for nobody, but for an
    /// instant where the record is in the append buffer still.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    #[inline(always)]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<&[u8]>> {
        let key = key.as_ref();
        let index = self.store.index_if_open()?;
        let hash = index.hash(key);
        let table = self.table();
        self.read(table, hash, index.keydir.first(hash), key)
    }

    /// The value of a key of which the first entry of its hash has been looked up since `table` was taken.
    #[inline(always)]
    fn read<'r>(
        &'r self,
        table: &'r Slots,
        hash: u64,
        location: Option<Location>,
        key: &[u8],
    ) -> Result<Option<&'r [u8]>> {
        self.tally.note_get(self.store.reads());
        let Some(location) = location else {
            self.tally.note_miss();
            return Ok(None);
        };
        match self.store.index().quick(table, location, key) {
            Some((_, _, value)) => Ok(Some(value)),
            None => self.get_slowly(hash, key),
        }
    }

    #[cold]
    #[inline(never)]
    fn get_slowly(&self, hash: u64, key: &[u8]) -> Result<Option<&[u8]>> {
        let look = self.store.index().find(self.table(), hash, key);
        let found = look.and_then(|look| self.finish(hash, key, look));
        if let Ok(None) = found {
            self.tally.note_miss();
        }
        found
    }

    /// Whether `key` has a value. Costs what [`Reader::get`] does, and fails as it does.
    #[inline]
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// Looks many keys up at once, several times as fast as one after another, because the cache
    /// misses of a batch overlap. Shows `visitor` each key's place in `keys` and its value, in that order.
    /// A batch is of 64 keys; what is written while it is shown, by `visitor` say, may be seen in the next.
    ///
    /// # Errors
    /// Those of [`Store::get`]: of the first key that has one. The keys before it have been shown.
    pub fn get_many<'r, K: AsRef<[u8]>>(
        &'r self,
        keys: &[K],
        mut visitor: impl FnMut(usize, Option<&'r [u8]>),
    ) -> Result<()> {
        let index = self.store.index_if_open()?;
        for (batch, keys) in keys.chunks(batch_read::LEN).enumerate() {
            let table = self.table();
            let asked = Asked::new(index, table, keys);
            for (n, key) in keys.iter().enumerate() {
                let value = self.read(table, asked.hash(n), asked.location(n), key.as_ref())?;
                visitor(batch * batch_read::LEN + n, value);
            }
        }
        Ok(())
    }

    /// Lets go of everything that it holds back, and sees the store as it is. No slice may be in hand:
    /// the borrow checker sees to that.
    pub fn refresh(&mut self) {
        self.tally.hand_over(self.store.reads());
        self.held = FrozenVec::new();
        self.tables = FrozenVec::new();
        self.tables.push(self.store.index().segments.snapshot());
    }

    #[inline(always)]
    fn table(&self) -> &Slots {
        match self.tables.last() {
            Some(table) => table,
            None => self.newer_table(),
        }
    }

    #[cold]
    fn newer_table(&self) -> &Slots {
        self.tables.push_get(self.store.index().segments.snapshot())
    }

    /// Hands out what a look among the last table came to.
    #[inline]
    fn finish<'r>(&'r self, hash: u64, key: &[u8], look: Look<'r>) -> Result<Option<&'r [u8]>> {
        let hit = match look {
            Look::Absent => return Ok(None),
            Look::Found(hit) => hit,
            Look::Outdated => match self.find_later(hash, key)? {
                Some(hit) => hit,
                None => return Ok(None),
            },
        };
        let is_live = self.store.is_live(&hit.extent);
        Ok(is_live.then(|| self.slice(hit.region, hit.extent.value)))
    }

    #[cold]
    fn find_later(&self, hash: u64, key: &[u8]) -> Result<Option<Hit<'_>>> {
        let index = self.store.index();
        loop {
            match index.find(self.newer_table(), hash, key)? {
                Look::Found(hit) => return Ok(Some(hit)),
                Look::Absent => return Ok(None),
                Look::Outdated => {}
            }
        }
    }

    #[inline]
    fn slice<'r>(&'r self, region: Cow<'r, Arc<Region>>, range: Range<usize>) -> &'r [u8] {
        let region = match region {
            Cow::Borrowed(region) => region,
            Cow::Owned(region) => self.hold(region),
        };
        region.get(range).unwrap_or_default()
    }

    #[cold]
    fn hold(&self, region: Arc<Region>) -> &Region {
        match self.held.last() {
            Some(last) if std::ptr::eq(last, &*region) => last,
            _ => self.held.push_get(region),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.tally.hand_over(self.store.reads());
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("store", &self.store).finish_non_exhaustive()
    }
}
