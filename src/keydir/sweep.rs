//! Which page a hash is in, while the number of pages grows.
//!
//! Pages hold equal ranges of hashes in ascending order. The step from one number of pages to the
//! next, by a sixth, is a sweep: from the highest range down, the new pages are filled one at a time
//! from the one or two old ones that held their hashes. Below the frontier the old pages count, from
//! it on the new ones. So the load stays the same at every number of entries, and no change waits
//! for more than a page.
//!
//! Invariants:
//! - **K6**: a page word changes whenever its page is replaced, and is null once its page is no
//!   longer to be looked at. It never comes back to an earlier value: versions see to that.
//! - An old page keeps what has been copied from it until its word is null: a reader may come by the
//!   frontier of a moment ago.
//! - A new page is in its word before the frontier moves to it; the frontier moves before an old word
//!   becomes null.

use std::ops::RangeInclusive;
use std::ptr::NonNull;

use super::page::{Home, PAGE_LEN, PAGE_SLOTS, Page, PageRef};
use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Pages that have room for so many entries, and for more before the first step.
pub(super) fn pages_for(entries: usize) -> usize {
    (entries * 100).div_ceil(PAGE_SLOTS * LOAD_PERCENT).max(1)
}

/// Of the slots of the pages, so many hundredths are to be used: more makes probes long, less makes
/// an entry cost more than 24 bytes.
const LOAD_PERCENT: usize = 77;

/// The step from one number of pages to the next.
pub(super) struct Sweep {
    /// The old one and the new one.
    tables: [PageTable; 2],
    /// The first new page that counts.
    frontier: AtomicUsize,
    /// The last hash below the frontier, which is all that a reader has to know of it. When there is
    /// none it is 0, whose old page is closed, and the next sweep begins.
    last_old: AtomicU64,
}

/// The pages of all hashes, in ascending order of hashes.
pub(super) struct PageTable {
    words: std::sync::Arc<[AtomicPtr<Page>]>,
}

/// What stands in a [`PageTable`]: a page's address, with a version in the bits that no address uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(*mut Page);

/// Bits of a word above every address that a process is given.
const HIGH_SHIFT: u32 = 48;
const LOW_BITS: u32 = PAGE_LEN.trailing_zeros();
const LOW_MASK: usize = PAGE_LEN - 1;
const HIGH_MASK: usize = usize::MAX << HIGH_SHIFT;

/// A page that counts: in which table, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) is_new: bool,
    pub(super) index: usize,
}

impl Word {
    const NONE: Word = Word(std::ptr::null_mut());

    fn new(page: PageRef, version: u32) -> Self {
        let (low, high) = (version as usize & LOW_MASK, version as usize >> LOW_BITS);
        Word(page.as_ptr().map_addr(|address| {
            debug_assert_eq!(address & (LOW_MASK | HIGH_MASK), 0);
            address | low | high << HIGH_SHIFT
        }))
    }

    #[inline]
    pub(super) fn page(self) -> Option<PageRef> {
        let page = self.0.map_addr(|address| address & !(LOW_MASK | HIGH_MASK));
        NonNull::new(page).map(PageRef::new)
    }

    fn version(self) -> u32 {
        let address = self.0.addr();
        ((address & LOW_MASK) | (address >> HIGH_SHIFT) << LOW_BITS) as u32
    }
}

impl PageTable {
    fn new(len: usize) -> Self {
        let word = || AtomicPtr::new(Word::NONE.0);
        PageTable { words: std::iter::repeat_with(word).take(len).collect() }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    /// The page of a hash, and its home there.
    #[inline(always)]
    fn locate(&self, hash: u64) -> (usize, Home) {
        let pages = u128::from(hash) * self.len() as u128;
        ((pages >> 64) as usize, Home::at(pages as u64))
    }

    pub(super) fn index(&self, hash: u64) -> usize {
        Self::index_of(hash, self.len())
    }

    /// The page of a hash, of so many.
    pub(super) fn index_of(hash: u64, pages: usize) -> usize {
        ((u128::from(hash) * pages as u128) >> 64) as usize
    }

    /// Where a hash belongs in its page.
    pub(super) fn home(&self, hash: u64) -> Home {
        self.locate(hash).1
    }

    /// The hashes of a page.
    pub(super) fn hashes(&self, page: usize) -> RangeInclusive<u64> {
        Self::hashes_of(page, self.len())
    }

    /// The hashes of a page, of so many.
    pub(super) fn hashes_of(page: usize, pages: usize) -> RangeInclusive<u64> {
        let first_of = |page: usize| ((page as u128) << 64).div_ceil(pages as u128);
        first_of(page) as u64..=(first_of(page + 1) - 1) as u64
    }

    /// Puts a page where there was none, or another.
    pub(super) fn set(&self, index: usize, page: PageRef) {
        let version = self.word(index).version().wrapping_add(1);
        self.words[index].store(Word::new(page, version).0, Ordering::Release);
    }

    /// Takes the page out, for good.
    fn close(&self, index: usize) -> Option<PageRef> {
        let page = self.word(index).page();
        self.words[index].store(Word::NONE.0, Ordering::Release);
        page
    }

    pub(super) fn word(&self, index: usize) -> Word {
        Word(self.words[index].load(Ordering::Acquire))
    }

    fn again(&self) -> Self {
        PageTable { words: std::sync::Arc::clone(&self.words) }
    }
}

impl Sweep {
    /// The first one, of a key directory of so many pages, which are still to be put there.
    pub(super) fn first(pages: usize) -> Self {
        Self::starting(PageTable::new(pages))
    }

    /// The one to begin when this one is over.
    pub(super) fn next(&self) -> Self {
        Self::starting(self.to().again())
    }

    fn starting(from: PageTable) -> Self {
        let to = PageTable::new(from.len() + (from.len() / 6).max(1));
        let frontier = AtomicUsize::new(to.len());
        Sweep { tables: [from, to], frontier, last_old: AtomicU64::new(u64::MAX) }
    }

    #[inline]
    pub(super) fn from(&self) -> &PageTable {
        &self.tables[0]
    }

    #[inline]
    pub(super) fn to(&self) -> &PageTable {
        &self.tables[1]
    }

    /// For writers.
    pub(super) fn frontier(&self) -> usize {
        self.frontier.load(Ordering::Relaxed)
    }

    pub(super) fn is_over(&self) -> bool {
        self.frontier() == 0
    }

    /// How many entries the pages are to hold before the next step.
    pub(super) fn room(&self) -> usize {
        let (from, to, frontier) = (self.from().len(), self.to().len(), self.frontier());
        // In units of the `to.len()`th part of a slot.
        let slots = PAGE_SLOTS as u128 * ((to - frontier) * to + frontier * from) as u128;
        (slots * LOAD_PERCENT as u128 / (100 * to as u128)) as usize
    }

    /// The word of the page that holds a hash, and its home there.
    #[inline(always)]
    pub(super) fn locate(&self, hash: u64) -> (&AtomicPtr<Page>, Home) {
        // Without a branch: which side a hash is on cannot be foreseen.
        let side = usize::from(hash > self.last_old.load(Ordering::Acquire));
        let table = &self.tables[side];
        let (index, home) = table.locate(hash);
        (&table.words[index], home)
    }

    #[inline]
    pub(super) fn load(word: &AtomicPtr<Page>) -> Word {
        Word(word.load(Ordering::Acquire))
    }

    /// Whether a word is what it was when a page was reached by it. To be asked behind a fence.
    #[inline]
    pub(super) fn is_still(word: &AtomicPtr<Page>, seen: Word) -> bool {
        word.load(Ordering::Relaxed) == seen.0
    }

    pub(super) fn place(&self, hash: u64) -> Place {
        let index = self.to().index(hash);
        let is_new = index >= self.frontier();
        Place { is_new, index: if is_new { index } else { self.from().index(hash) } }
    }

    pub(super) fn table(&self, place: Place) -> &PageTable {
        &self.tables[usize::from(place.is_new)]
    }

    /// The hashes for which the page at `place` counts.
    pub(super) fn hashes(&self, place: Place) -> RangeInclusive<u64> {
        let hashes = self.table(place).hashes(place.index);
        if place.is_new {
            return hashes;
        }
        let last_old = self.last_old.load(Ordering::Relaxed);
        *hashes.start()..=last_old.min(*hashes.end())
    }

    /// The new page that the next step fills, and the old ones that hold its hashes.
    pub(super) fn next_step(&self) -> Option<(usize, RangeInclusive<usize>)> {
        let new = self.frontier().checked_sub(1)?;
        let hashes = self.to().hashes(new);
        Some((new, self.from().index(*hashes.start())..=self.from().index(*hashes.end())))
    }

    /// The hashes that both a new page and an old one hold.
    pub(super) fn common(&self, new: usize, old: usize) -> RangeInclusive<u64> {
        let (new, old) = (self.to().hashes(new), self.from().hashes(old));
        *new.start().max(old.start())..=*new.end().min(old.end())
    }

    /// Lets the new page at the frontier count, and gives the old ones that none need any more.
    pub(super) fn advance(&self, page: PageRef) -> Vec<PageRef> {
        let Some((new, old)) = self.next_step() else { return Vec::new() };
        self.to().set(new, page);
        let start = *self.to().hashes(new).start();
        self.frontier.store(new, Ordering::Relaxed);
        self.last_old.store(start.saturating_sub(1), Ordering::Release);
        let is_over = |&old: &usize| *self.from().hashes(old).start() >= start;
        old.filter(is_over).filter_map(|old| self.from().close(old)).collect()
    }
}
