//! A key directory made of entries that are known already: all at once, or page by page as they are asked for.
//!
//! Invariant **K9** (docs/design.md, "Key directory"): a page that waits is loaded, whole, under the writer's lock, before
//! anybody looks at one of its hashes or changes it. Only pages of the first sweep's old table wait, and none when that
//! sweep is over.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::arena::Arena;
use super::page::{Filling, PageRef};
use super::sweep::{PageTable, Sweep, pages_for};
use super::{KeyDirectory, Usage, Writer, usages};
use crate::location::Location;
use crate::sync::{AtomicPtr, AtomicUsize, Mutex, Ordering};
use crate::threads;

/// Fewer entries are put into their pages by one thread.
const ENTRIES_OF_A_THREAD: usize = if cfg!(any(test, fuzzing)) { 16 } else { 100_000 };

/// The entries of a key directory, in parts of equal ranges of hashes, in ascending order: one for each page.
pub(crate) trait Shards: Send {
    /// How many there are in each part.
    fn lens(&self) -> &[u32];

    /// The entries of a part: hash and location. Asked once for each.
    fn load(&mut self, shard: usize) -> Vec<(u64, Location)>;
}

/// How many shards suit so many entries.
pub(crate) fn shards_for(entries: usize) -> usize {
    pages_for(entries)
}

/// The hashes of one of `count` shards.
pub(crate) fn shard_hashes(shard: usize, count: usize) -> RangeInclusive<u64> {
    PageTable::hashes_of(shard, count)
}

/// The shard of a hash.
pub(crate) fn shard_of(hash: u64, count: usize) -> usize {
    PageTable::index_of(hash, count)
}

impl KeyDirectory {
    /// Of entries that are given in runs, all in ascending order of hashes.
    pub(crate) fn of_sorted(runs: &[Vec<(u64, Location)>]) -> Self {
        let entries = runs.iter().map(Vec::len).sum();
        let sweep = Sweep::first(pages_for(entries));
        let mut arena = Arena::default();
        let pages: Vec<_> = (0..sweep.from().len()).map(|_| arena.take()).collect();
        let directory = Self::with(arena, sweep, entries, None);
        directory.fill_all(&pages, runs, entries);
        directory
    }

    /// Of entries that are loaded page by page, when one of them is asked for.
    pub(crate) fn of_shards(shards: Box<dyn Shards>) -> Self {
        let lens = shards.lens();
        let (entries, sweep) =
            (lens.iter().map(|len| *len as usize).sum(), Sweep::first(lens.len()));
        Self::with(Arena::default(), sweep, entries, Some(shards))
    }

    fn with(arena: Arena, sweep: Sweep, entries: usize, shards: Option<Box<dyn Shards>>) -> Self {
        let sweep = Arc::new(sweep);
        let current = Arc::as_ptr(&sweep).cast_mut();
        let (from, to) = (usages(sweep.from().len()), usages(sweep.to().len()));
        let (room, waiting) = (sweep.room(), shards.as_ref().map_or(0, |_| from.len()));
        let (sweeps, overlays) = (vec![sweep], Vec::new());
        let writer = Writer { arena, sweeps, from, to, room, overlays, shards };
        KeyDirectory {
            sweep: AtomicPtr::new(current),
            len: AtomicUsize::new(entries),
            waiting: AtomicUsize::new(waiting),
            writer: Mutex::new(writer),
        }
    }

    /// Fills all pages, by several threads if that pays, and lets them count.
    fn fill_all(&self, pages: &[PageRef], runs: &[Vec<(u64, Location)>], entries: usize) {
        let mut writer = self.writer.lock();
        let table = self.sweep().from();
        let wanted = (entries / ENTRIES_OF_A_THREAD).clamp(1, pages.len());
        let threads = threads::available().min(wanted);
        let (share, next) = (pages.len().div_ceil(threads), AtomicUsize::new(0));
        let fill = || {
            let mut filled = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let first = n * share;
                if first >= pages.len() {
                    return filled;
                }
                let last = pages.len().min(first + share);
                let share = Share { first, pages: &pages[first..last] };
                filled.push((n, self.fill_share(&share, table, runs)));
            }
        };
        let filled = threads::together(threads, fill);
        let mut filled: Vec<_> = filled.into_iter().flatten().collect();
        filled.sort_by_key(|(n, _)| *n);
        let filled: Vec<_> = filled.into_iter().map(|(_, filled)| filled).collect();
        let counts = filled.iter().flat_map(|filled| &filled.counts);
        for (index, (entries, page)) in counts.zip(pages).enumerate() {
            writer.from[index].entries = *entries;
            table.set(index, *page);
        }
        for (hash, location) in filled.into_iter().flat_map(|filled| filled.left) {
            let index = table.index(hash);
            self.fill(&mut writer.arena, pages[index], table.home(hash), hash, location);
            writer.from[index].entries += 1;
        }
    }

    fn fill_share<'r>(
        &self,
        share: &Share<'_>,
        table: &PageTable,
        runs: &'r [Vec<(u64, Location)>],
    ) -> Filled {
        let mut filled = Filled::default();
        let first = *table.hashes(share.first).start();
        let from_first = |run: &'r Vec<_>| &run[run.partition_point(|(hash, _)| *hash < first)..];
        let mut entries = runs.iter().flat_map(from_first).peekable();
        for (n, page) in share.pages.iter().enumerate() {
            let hashes = table.hashes(share.first + n);
            let mut filling = Filling::new(self.page(*page));
            let mut count = 0;
            while let Some(&(hash, location)) = entries.next_if(|(hash, _)| hashes.contains(hash)) {
                match filling.fill(table.home(hash), hash, location) {
                    true => count += 1,
                    false => filled.left.push((hash, location)),
                }
            }
            filled.counts.push(count);
        }
        filled
    }

    /// Fetches the page of a hash, if it waits.
    #[cold]
    #[inline(never)]
    pub(super) fn fetch(&self, hash: u64) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.load(&mut self.writer.lock(), hash);
        }
    }

    /// Loads the page of a hash, if it waits.
    pub(super) fn load(&self, writer: &mut Writer, hash: u64) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.load_waiting(writer, hash);
        }
    }

    #[cold]
    fn load_waiting(&self, writer: &mut Writer, hash: u64) {
        let sweep = self.sweep();
        let place = sweep.place(hash);
        let table = sweep.table(place);
        if place.is_new || table.word(place.index).page().is_some() {
            return;
        }
        let Some(shards) = &mut writer.shards else { return };
        let expected = shards.lens()[place.index] as usize;
        let entries = shards.load(place.index);
        let page = writer.arena.take();
        let mut filling = Filling::new(self.page(page));
        for &(hash, location) in &entries {
            let home = table.home(hash);
            if !filling.fill(home, hash, location) {
                self.fill(&mut writer.arena, page, home, hash, location);
            }
        }
        // What cannot be read any more may be fewer.
        self.len.store(self.len() - expected + entries.len(), Ordering::Relaxed);
        writer.from[place.index] = Usage { entries: entries.len(), removed: 0 };
        table.set(place.index, page);
        let left = self.waiting.load(Ordering::Relaxed) - 1;
        self.waiting.store(left, Ordering::Release);
        if left == 0 {
            writer.shards = None;
        }
    }

    /// How many pages wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// Pages that one thread fills.
struct Share<'p> {
    /// The first one's index.
    first: usize,
    pages: &'p [PageRef],
}

#[derive(Default)]
struct Filled {
    /// Entries in each page.
    counts: Vec<usize>,
    /// Those that found no slot in their page.
    left: Vec<(u64, Location)>,
}
