//! The key directory: a concurrent table from 64-bit hashes to locations.
//!
//! It stores no key. Two keys with one hash have two entries; the caller tells them apart by the
//! records that the locations name. An entry is a 16-byte slot, whatever the key's length.
//!
//! Readers take no lock, wait for nobody (but hash 0, for the instant between two sweeps) and execute no
//! locked instruction. They reach a page by
//! its word, look into it, and look at the word again: if it has changed, so may have what they read,
//! and they start over. Writers take turns.
//!
//! Invariants (docs/design.md, "Key directory"):
//! - **K1**: every change of a place goes through [`Changes::change`], which sees the old and the
//!   new one, and happens only if the entry is still where `old` says; whether it is verified plays no part.
//! - An entry that is there all the while is found, also while pages are swept or rebuilt.
//! - **K9**: a page that waits is loaded, whole, before anybody looks at one of its hashes or changes it. Only pages
//!   of the first sweep's old table wait.
//! - What a reader is shown was there at some moment since it asked; or it is the location of another
//!   hash's entry, which took the slot of a removed one just then. The caller compares keys (K4).
//!
//! Must not know: keys, records, files.

mod arena;
mod hash;
mod load;
#[cfg(test)]
mod load_tests;
mod overlay;
mod page;
mod sweep;
#[cfg(test)]
mod tests;

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

pub(crate) use hash::KeyHasher;
pub(crate) use load::{Shards, shard_hashes, shard_of, shards_for};
pub(crate) use overlay::Overlay;

use crate::location::Location;
use crate::sync::{AtomicPtr, AtomicUsize, Mutex, MutexGuard, Ordering, fence};
use arena::Arena;
use page::{Filling, Home, PAGE_SLOTS, Page, PageRef, Slot};
use sweep::{PageTable, Place, Sweep};

/// In the order of the pages.
pub(crate) const ALL_HASHES: RangeInclusive<u64> = 0..=u64::MAX;

pub(crate) struct KeyDirectory {
    /// The sweep that goes on.
    sweep: AtomicPtr<Sweep>,
    /// Entries. Changed by writers only.
    len: AtomicUsize,
    /// Pages that are not there before somebody wants one of their hashes (K9).
    waiting: AtomicUsize,
    writer: Mutex<Writer>,
}

/// What a change needs.
struct Writer {
    arena: Arena,
    /// **K7**: every sweep is kept while the key directory lives, because a reader may be looking at it.
    /// All together weigh a thousandth of the pages.
    sweeps: Vec<Arc<Sweep>>,
    /// Of the pages of the current sweep.
    from: Vec<Usage>,
    to: Vec<Usage>,
    /// Entries from which on the sweep has to go on.
    room: usize,
    /// Of those who want to know what entries were.
    overlays: Vec<Arc<Overlay>>,
    /// Where the entries of waiting pages come from, while there are any.
    shards: Option<Box<dyn Shards>>,
}

/// The turn of one who changes entries.
pub(crate) struct Changes<'a> {
    keydir: &'a KeyDirectory,
    writer: MutexGuard<'a, Writer>,
}

/// How the slots of a page, and of those it links to, are used. What a sweep has copied from it is still in it.
#[derive(Clone, Copy, Default)]
struct Usage {
    entries: usize,
    removed: usize,
}

/// What an entry is changed from.
#[derive(Clone, Copy)]
pub(crate) enum Old {
    /// No entry has the hash.
    NoSuchHash,
    /// Those that have it are other keys'.
    NoSuchKey,
    /// An entry that has it stands there.
    At(Location),
    /// One that has it stands there, and is to name a copy of the same record.
    CopiedFrom(Location),
}

impl KeyDirectory {
    pub(crate) fn new() -> Self {
        Self::of_sorted(&[])
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// The location of the first entry with this hash, which nearly always is the only one.
    #[inline(always)]
    pub(crate) fn first(&self, hash: u64) -> Option<Location> {
        self.read(hash, |page, home| {
            if !page.may_have(home, hash) {
                return None;
            }
            page.probe(home, hash, |_, location| ControlFlow::Break(location))
        })
    }

    /// The location of every entry with this hash.
    pub(crate) fn all(&self, hash: u64) -> Vec<Location> {
        self.read(hash, |page, home| {
            let mut found = Vec::new();
            page.probe(home, hash, |_, location| {
                found.push(location);
                ControlFlow::<()>::Continue(())
            });
            found
        })
    }

    /// Whether an entry with this hash stands at exactly this place.
    pub(crate) fn is_at(&self, hash: u64, location: Location) -> bool {
        self.read(hash, |page, home| find(page, home, hash, location).is_some())
    }

    /// Notes that the record at `location`, if an entry is still there, has passed its check. The
    /// caller holds the record's memory, so that no other record comes to stand there.
    #[cold]
    pub(crate) fn mark_verified(&self, hash: u64, location: Location) {
        self.read(hash, |page, home| {
            if let Some(slot) = find(page, home, hash, location) {
                slot.verify(location);
            }
        });
    }

    /// Asks the processor for the entries of this hash, which somebody is about to look at.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        let (word, home) = self.sweep().locate(hash);
        if let Some(page) = Sweep::load(word).page() {
            self.page(page).prefetch(home);
        }
    }

    /// Changes an entry; `None` removes it. Answers false, having done nothing, if things are no longer as `old` says.
    pub(crate) fn change(&self, hash: u64, old: Old, new: Option<Location>) -> bool {
        self.changes().change(hash, old, new)
    }

    /// For several changes: others wait meanwhile.
    pub(crate) fn changes(&self) -> Changes<'_> {
        Changes { keydir: self, writer: self.writer.lock() }
    }

    /// Shows every entry: its hash and location. Changes wait now and then.
    pub(crate) fn visit_all(&self, mut visitor: impl FnMut(u64, Location)) {
        let mut rest = Some(ALL_HASHES);
        while let Some(hashes) = rest {
            rest = self.visit_first(hashes, &mut visitor);
        }
    }

    /// Shows every entry of the first ones of some hashes, and gives the others, if there are any. Changes wait
    /// meanwhile.
    pub(crate) fn visit_first(
        &self,
        hashes: RangeInclusive<u64>,
        visitor: impl FnMut(u64, Location),
    ) -> Option<RangeInclusive<u64>> {
        let mut no_changes = self.writer.lock();
        self.visit_page(&mut no_changes, hashes, visitor)
    }

    /// As [`KeyDirectory::visit_first`], entries as they were when the overlay was begun.
    pub(crate) fn visit_past_first(
        &self,
        overlay: &Overlay,
        hashes: RangeInclusive<u64>,
        mut visitor: impl FnMut(u64, Location),
    ) -> Option<RangeInclusive<u64>> {
        let mut no_changes = self.writer.lock();
        let overlay = overlay.changed.lock();
        let (from, end) = (*hashes.start(), *hashes.end());
        let rest = self.visit_page(&mut no_changes, hashes, |hash, location| {
            if !overlay.has(hash) {
                visitor(hash, location);
            }
        });
        let last = rest.as_ref().map_or(end, |rest| *rest.start() - 1);
        overlay.visit(from..=last, visitor);
        rest
    }

    /// Shows every entry of those of the hashes that are in the page of the first one, and gives the others.
    fn visit_page(
        &self,
        writer: &mut Writer,
        hashes: RangeInclusive<u64>,
        visitor: impl FnMut(u64, Location),
    ) -> Option<RangeInclusive<u64>> {
        let (from, end) = (*hashes.start(), *hashes.end());
        self.load(writer, from);
        let sweep = self.sweep();
        let place = sweep.place(from);
        let last = end.min(*sweep.hashes(place).end());
        // An old page still has the entries that the sweep has copied.
        self.visit(sweep.table(place), place.index, from..=last, visitor);
        (last < end).then(|| last + 1..=end)
    }

    /// Begins to keep what entries are, and says how many there are.
    pub(crate) fn begin_overlay(&self) -> (Arc<Overlay>, usize) {
        let overlay = Arc::<Overlay>::default();
        let mut writer = self.writer.lock();
        writer.overlays.push(Arc::clone(&overlay));
        (overlay, self.len())
    }

    /// Nobody wants to know any more.
    pub(crate) fn end_overlay(&self, overlay: &Arc<Overlay>) {
        self.writer.lock().overlays.retain(|other| !Arc::ptr_eq(other, overlay));
    }

    /// The location of every entry with this hash when the overlay was begun.
    pub(crate) fn all_past(&self, overlay: &Overlay, hash: u64) -> Vec<Location> {
        // In this order (K8).
        let now = self.all(hash);
        overlay.get(hash).unwrap_or(now)
    }

    /// How many overlays there are, and how many hashes they have.
    pub(crate) fn overlays(&self) -> (usize, usize) {
        let writer = self.writer.lock();
        (writer.overlays.len(), writer.overlays.iter().map(|overlay| overlay.len()).sum())
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory(&self) -> usize {
        let writer = self.writer.lock();
        let words = writer.sweeps.iter().map(|sweep| sweep.to().len() * size_of::<usize>());
        writer.arena.memory() + words.sum::<usize>()
    }

    fn insert(&self, writer: &mut Writer, hash: u64, location: Location) {
        while self.len() >= writer.room {
            self.step(writer);
        }
        let sweep = self.sweep();
        let place = sweep.place(hash);
        if writer.usage(place).is_worn() {
            self.rebuild(writer, place);
        }
        let table = sweep.table(place);
        if let Some(page) = table.word(place.index).page() {
            let home = table.home(hash);
            let took_removed = self.fill(&mut writer.arena, page, home, hash, location);
            let usage = writer.usage(place);
            usage.entries += 1;
            usage.removed = usage.removed.saturating_sub(usize::from(took_removed));
        }
        self.len.store(self.len() + 1, Ordering::Relaxed);
    }

    fn replace(
        &self,
        writer: &mut Writer,
        hash: u64,
        old: Location,
        new: Option<Location>,
    ) -> bool {
        let Some(slot) = self.read(hash, |page, home| find(page, home, hash, old)) else {
            return false;
        };
        slot.set(new);
        if new.is_none() {
            let usage = writer.usage(self.sweep().place(hash));
            usage.entries = usage.entries.saturating_sub(1);
            usage.removed += 1;
            self.len.store(self.len() - 1, Ordering::Relaxed);
        }
        true
    }

    /// Puts an entry into a page or one that it links to; answers whether it took the slot of a
    /// removed one.
    fn fill(
        &self,
        arena: &mut Arena,
        page: PageRef,
        home: Home,
        hash: u64,
        location: Location,
    ) -> bool {
        let page = self.page(page);
        page.announce(home, hash);
        loop {
            if let Some(slot) = page.vacancy(home) {
                let took_removed = !slot.is_empty();
                slot.fill(hash, location);
                return took_removed;
            }
            page.extend(arena.take());
        }
    }

    /// Fills the next new page and lets it count.
    fn step(&self, writer: &mut Writer) {
        let sweep = self.sweep();
        if let Some((new, old)) = sweep.next_step() {
            old.clone().for_each(|old| self.load(writer, *sweep.from().hashes(old).start()));
            let from = old.map(|old| (sweep.from(), old, sweep.common(new, old)));
            let (page, entries) = self.copy(&mut writer.arena, from, sweep.to());
            writer.to[new].entries += entries;
            for page in sweep.advance(page) {
                writer.arena.give_back(page);
            }
        }
        if sweep.is_over() {
            let next = Arc::new(sweep.next());
            writer.from = std::mem::replace(&mut writer.to, usages(next.to().len()));
            self.sweep.store(Arc::as_ptr(&next).cast_mut(), Ordering::Release);
            writer.sweeps.push(next);
        }
        writer.room = self.sweep().room();
    }

    /// Replaces a page by one without removed entries. What the sweep has copied elsewhere stays: a
    /// reader that looked at the frontier before it passed still expects it there.
    fn rebuild(&self, writer: &mut Writer, place: Place) {
        let table = self.sweep().table(place);
        let all = [(table, place.index, table.hashes(place.index))];
        let (page, entries) = self.copy(&mut writer.arena, all, table);
        let old = table.word(place.index).page();
        table.set(place.index, page);
        old.into_iter().for_each(|old| writer.arena.give_back(old));
        *writer.usage(place) = Usage { entries, removed: 0 };
    }

    /// Copies the entries of some hashes of some tables' pages to a new page of a table, and counts them.
    fn copy<'t>(
        &self,
        arena: &mut Arena,
        from: impl IntoIterator<Item = (&'t PageTable, usize, RangeInclusive<u64>)>,
        to: &PageTable,
    ) -> (PageRef, usize) {
        let page = arena.take();
        let mut filling = Filling::new(self.page(page));
        let mut copied = 0;
        for (table, index, hashes) in from {
            self.visit(table, index, hashes, |hash, location| {
                let home = to.home(hash);
                if !filling.fill(home, hash, location) {
                    self.fill(arena, page, home, hash, location);
                }
                copied += 1;
            });
        }
        (page, copied)
    }

    /// Shows the entries of some hashes, all of them a page's.
    fn visit(
        &self,
        table: &PageTable,
        index: usize,
        hashes: RangeInclusive<u64>,
        mut visitor: impl FnMut(u64, Location),
    ) {
        if let Some(page) = table.word(index).page() {
            let homes = table.home(*hashes.start())..=table.home(*hashes.end());
            self.page(page).visit(homes, |hash, location| {
                if hashes.contains(&hash) {
                    visitor(hash, location);
                }
            });
        }
    }

    /// Looks into the page of a hash, until nothing has come between.
    #[inline(always)]
    fn read<'a, T>(&'a self, hash: u64, look: impl Fn(&'a Page, Home) -> T) -> T {
        loop {
            let (word, home) = self.sweep().locate(hash);
            let seen = Sweep::load(word);
            // Null when the sweep has just gone past: then it is seen there next time. Or when the page waits.
            let Some(page) = seen.page() else {
                self.fetch(hash);
                continue;
            };
            let found = look(self.page(page), home);
            fence(Ordering::Acquire);
            if Sweep::is_still(word, seen) {
                return found;
            }
        }
    }

    #[inline(always)]
    fn sweep(&self) -> &Sweep {
        let sweep = self.sweep.load(Ordering::Acquire);
        // SAFETY: it is the address of one of the writer's sweeps, which live as long as this (K7),
        // and was stored after the sweep had been made.
        #[expect(unsafe_code, reason = "the current sweep is reached by address")]
        unsafe {
            &*sweep
        }
    }

    #[inline(always)]
    fn page(&self, page: PageRef) -> &Page {
        // SAFETY: the page is one of this key directory's arena, which lives as long (K5).
        #[expect(unsafe_code, reason = "pages are reached by address")]
        unsafe {
            page.get()
        }
    }
}

impl Changes<'_> {
    /// The one way to change an entry, as [`KeyDirectory::change`].
    pub(crate) fn change(&mut self, hash: u64, old: Old, new: Option<Location>) -> bool {
        let Changes { keydir, writer } = self;
        keydir.load(writer, hash);
        if !matches!(old, Old::CopiedFrom(_)) {
            writer.overlays.iter().for_each(|overlay| overlay.note(hash, || keydir.all(hash)));
        }
        match (old, new) {
            (Old::NoSuchHash, _) if keydir.first(hash).is_some() => false,
            (Old::NoSuchHash | Old::NoSuchKey, None) => true,
            (Old::NoSuchHash | Old::NoSuchKey, Some(new)) => {
                keydir.insert(writer, hash, new);
                true
            }
            (Old::At(old) | Old::CopiedFrom(old), new) => keydir.replace(writer, hash, old, new),
        }
    }
}

impl Usage {
    /// Removed entries make probes long, or soon will.
    fn is_worn(self) -> bool {
        self.removed > PAGE_SLOTS / 16 && self.entries + self.removed > PAGE_SLOTS * 7 / 8
    }
}

impl Writer {
    fn usage(&mut self, place: Place) -> &mut Usage {
        let usages = if place.is_new { &mut self.to } else { &mut self.from };
        &mut usages[place.index]
    }
}

fn usages(pages: usize) -> Vec<Usage> {
    vec![Usage::default(); pages]
}

/// The slot of the entry that stands at a place.
fn find(page: &Page, home: Home, hash: u64, location: Location) -> Option<&Slot> {
    page.probe(home, hash, |slot, found| {
        if found.is_same_place(location) {
            ControlFlow::Break(slot)
        } else {
            ControlFlow::Continue(())
        }
    })
}
