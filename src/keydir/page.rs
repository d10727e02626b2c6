//! A page of the key directory: an open-addressing table of a fixed number of 16-byte slots.
//!
//! Slots lie in lines, one to a cache line. A hash's home is the line at that part of the page's lines
//! at which it is itself in the page's range of hashes, so that entries lie nearly in order of their
//! hashes. A probe goes on from line to line until it meets an empty slot. A page of which every slot
//! is taken goes on in another, to which it has a link.
//!
//! Every line has a filter: 32 bits, of which each hash whose home it is sets one. So most hashes that
//! are not there need no look at a line; a sixteenth of the memory says so, which caches hold longer.
//!
//! Invariants (docs/design.md, "Key directory"):
//! - **K5**: a page's memory is never given back while the key directory lives. It may be cleared and
//!   used for other hashes while a reader still looks at it: the reader finds out afterwards.
//! - A slot's hash is stored before its location. Slots of a line are taken in their order.
//! - No slot becomes empty again while the page is in use: a removed entry's stays, marked, and a
//!   later entry may take it. So between an entry's home and its slot no slot is empty.
//! - An entry's bit is set, in the first page of a chain, before the entry is there. No bit is taken back
//!   while the page is in use.
//! - One writer at a time changes a page, but for the verified bit of a location, which anybody sets
//!   by compare-exchange.

use std::ops::{ControlFlow, RangeInclusive};
use std::ptr::{self, NonNull};

use crate::location::Location;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Bytes of a page, and its alignment: the bits of its address that a page word uses otherwise are 0.
/// Models build theirs on a small stack.
pub(super) const PAGE_LEN: usize = if cfg!(loom) { 512 } else { 64 << 10 };
/// Slots in a line: four fill a cache line. Models are kept small.
const LINE_SLOTS: usize = if cfg!(loom) { 2 } else { 4 };
/// Lines in a page; the rest of it holds the filters and the link. Few in tests, so that they meet
/// every case.
const LINES: usize = if cfg!(loom) {
    1
} else if cfg!(any(test, fuzzing)) {
    3
} else {
    (PAGE_LEN - 64) / (64 + 4)
};
/// Slots in a page.
pub(super) const PAGE_SLOTS: usize = LINES * LINE_SLOTS;

/// The location of a slot that was never used: it ends a probe.
const EMPTY: u64 = 0;
/// The location of a slot whose entry was removed.
const REMOVED: u64 = 1;

#[cfg_attr(not(loom), repr(C, align(65536)))]
#[cfg_attr(loom, repr(C, align(512)))]
pub(super) struct Page {
    lines: [Line; LINES],
    /// Of each line.
    filters: [AtomicU32; LINES],
    /// Where entries are that found no slot here, or null.
    link: AtomicPtr<Page>,
}

const _: () = assert!(size_of::<Page>() == PAGE_LEN);

#[repr(C, align(64))]
struct Line {
    slots: [Slot; LINE_SLOTS],
}

/// Zero bytes are an empty slot.
#[repr(C)]
pub(super) struct Slot {
    hash: AtomicU64,
    location: AtomicU64,
}

/// The line of a page where a hash belongs.
#[derive(Clone, Copy)]
pub(super) struct Home(usize);

impl Home {
    /// That of the hash which is this many 2^64ths into the page's range.
    #[inline(always)]
    pub(super) fn at(fraction: u64) -> Self {
        Home(((u128::from(fraction) * LINES as u128) >> 64) as usize)
    }
}

/// A page, wherever it is kept. Only [`super::arena::Arena`] makes them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct PageRef(NonNull<Page>);

// SAFETY: it is the address of a `Page`, which is `Sync`, being all atomics.
#[expect(unsafe_code, reason = "an address is not Send by itself")]
unsafe impl Send for PageRef {}

// SAFETY: as above; what it shows of the `Page` is where it is.
#[expect(unsafe_code, reason = "an address is not Sync by itself")]
unsafe impl Sync for PageRef {}

impl PageRef {
    #[inline]
    pub(super) fn new(page: NonNull<Page>) -> Self {
        PageRef(page)
    }

    #[inline]
    pub(super) fn as_ptr(self) -> *mut Page {
        self.0.as_ptr()
    }

    /// # Safety
    /// The key directory that the page belongs to outlives `'a` (K5).
    #[expect(unsafe_code, reason = "pages are reached by address")]
    #[inline]
    pub(super) unsafe fn get<'a>(self) -> &'a Page {
        // SAFETY: by K5 and the caller's promise the page is mapped and initialised for 'a; all of
        // it is atomics, so sharing it is sound whoever writes to it.
        unsafe { self.0.as_ref() }
    }
}

impl Slot {
    /// Fills a slot that is empty or whose entry was removed.
    pub(super) fn fill(&self, hash: u64, location: Location) {
        self.hash.store(hash, Ordering::Relaxed);
        self.location.store(location.bits(), Ordering::Release);
    }

    /// Lets the entry name another place, or removes it.
    pub(super) fn set(&self, location: Option<Location>) {
        let bits = location.map_or(REMOVED, Location::bits);
        self.location.store(bits, Ordering::Release);
    }

    /// Notes that the record there has passed its check, if it is still there.
    pub(super) fn verify(&self, location: Location) {
        let (from, to) = (location.bits(), location.verified().bits());
        // Failing means that a writer was faster, or another reader.
        let _ = self.location.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.location.load(Ordering::Relaxed) == EMPTY
    }
}

impl Line {
    /// Which slots have this hash, as bits, and whether a probe ends here: slots of a line are taken in
    /// their order, so that the last one tells. Without a branch: which slot it is cannot be
    /// foreseen, and a wrong guess is found out only when the line has come from memory; until then
    /// everything done ahead would be in vain.
    #[inline(always)]
    fn look(&self, hash: u64) -> (u32, bool) {
        let mut matches = 0;
        for (n, slot) in self.slots.iter().enumerate() {
            matches |= u32::from(slot.hash.load(Ordering::Relaxed) == hash) << n;
        }
        (matches, self.is_last())
    }

    /// Whether a probe ends here.
    #[inline(always)]
    fn is_last(&self) -> bool {
        self.slots[LINE_SLOTS - 1].location.load(Ordering::Acquire) == EMPTY
    }

    /// The first slot that an entry may take.
    fn vacancy(&self) -> Option<&Slot> {
        // Without a branch for each, as how many are taken cannot be foreseen either.
        let mut vacant = 0;
        for (n, slot) in self.slots.iter().enumerate() {
            vacant |= u32::from(slot.location.load(Ordering::Relaxed) <= REMOVED) << n;
        }
        self.slots.get(vacant.trailing_zeros() as usize)
    }
}

impl Page {
    #[cfg(loom)]
    pub(super) fn empty() -> Self {
        let slot = || Slot { hash: AtomicU64::new(0), location: AtomicU64::new(EMPTY) };
        let line = || Line { slots: std::array::from_fn(|_| slot()) };
        let filters = std::array::from_fn(|_| AtomicU32::new(0));
        let link = AtomicPtr::new(ptr::null_mut());
        Page { lines: std::array::from_fn(|_| line()), filters, link }
    }

    /// Whether the page may have an entry of this hash.
    #[inline(always)]
    pub(super) fn may_have(&self, home: Home, hash: u64) -> bool {
        // On its way while the filter is asked: nearly every hash that somebody looks up is there.
        crate::fs::prefetch(&self.lines[home.0]);
        self.filters[home.0].load(Ordering::Acquire) & filter_bit(hash) != 0
    }

    /// Lets [`Page::may_have`] know of an entry that is about to be filled in.
    pub(super) fn announce(&self, home: Home, hash: u64) {
        let filter = &self.filters[home.0];
        filter.store(filter.load(Ordering::Relaxed) | filter_bit(hash), Ordering::Release);
    }

    /// Shows the entries of this hash until one is enough.
    #[inline(always)]
    pub(super) fn probe<'a, B>(
        &'a self,
        home: Home,
        hash: u64,
        mut visitor: impl FnMut(&'a Slot, Location) -> ControlFlow<B>,
    ) -> Option<B> {
        let mut page = self;
        loop {
            let mut at = home.0;
            for _ in 0..LINES {
                let line = &page.lines[at];
                let (mut matches, is_last) = line.look(hash);
                while matches != 0 {
                    let slot = &line.slots[matches.trailing_zeros() as usize % LINE_SLOTS];
                    let location = slot.location.load(Ordering::Acquire);
                    if let Some(location) = Location::from_bits(location)
                        && let ControlFlow::Break(found) = visitor(slot, location)
                    {
                        return Some(found);
                    }
                    matches &= matches - 1;
                }
                if is_last {
                    return None;
                }
                at = after(at);
            }
            page = page.linked()?;
        }
    }

    /// The first slot that an entry at home here may take; none if all are taken.
    pub(super) fn vacancy(&self, home: Home) -> Option<&Slot> {
        let mut page = self;
        loop {
            let mut at = home.0;
            for _ in 0..LINES {
                if let Some(slot) = page.lines[at].vacancy() {
                    return Some(slot);
                }
                at = after(at);
            }
            page = page.linked()?;
        }
    }

    /// Shows every entry at home in some lines, among others.
    pub(super) fn visit(
        &self,
        homes: RangeInclusive<Home>,
        mut visitor: impl FnMut(u64, Location),
    ) {
        let (first, others) = (homes.start().0, homes.end().0 - homes.start().0);
        for page in self.chain() {
            let mut at = first;
            for n in 0..LINES {
                let line = &page.lines[at];
                for slot in &line.slots {
                    let location = slot.location.load(Ordering::Acquire);
                    if let Some(location) = Location::from_bits(location) {
                        visitor(slot.hash.load(Ordering::Relaxed), location);
                    }
                }
                // No probe from one of the homes goes past it.
                if n >= others && line.is_last() {
                    break;
                }
                at = after(at);
            }
        }
    }

    /// Asks the processor for a line and its filter.
    #[inline]
    pub(super) fn prefetch(&self, home: Home) {
        crate::fs::prefetch(&self.lines[home.0]);
        crate::fs::prefetch(&self.filters[home.0]);
    }

    /// Empties a page that is in use no more.
    pub(super) fn clear(&self) {
        for slot in self.lines.iter().flat_map(|line| &line.slots) {
            slot.location.store(EMPTY, Ordering::Relaxed);
        }
        for filter in &self.filters {
            filter.store(0, Ordering::Relaxed);
        }
        self.link.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// Lets the chain of pages that begins here go on in `next`, which is empty.
    pub(super) fn extend(&self, next: PageRef) {
        let last = self.chain().last().unwrap_or(self);
        last.link.store(next.as_ptr(), Ordering::Release);
    }

    pub(super) fn link(&self) -> Option<PageRef> {
        NonNull::new(self.link.load(Ordering::Acquire)).map(PageRef)
    }

    fn chain(&self) -> impl Iterator<Item = &Page> {
        std::iter::successors(Some(self), |page| page.linked())
    }

    /// Out of line: pages that overflow are as rare as the hash is good.
    #[cold]
    #[inline(never)]
    fn linked(&self) -> Option<&Page> {
        let page = self.link()?;
        // SAFETY: both pages belong to one key directory, which lives as long as this borrow (K5).
        #[expect(unsafe_code, reason = "pages are reached by address")]
        Some(unsafe { page.get() })
    }
}

/// A page that nobody else sees yet, while it is filled: it is known how many slots of each line are taken, and
/// none has to be looked at.
pub(super) struct Filling<'a> {
    page: &'a Page,
    taken: [u8; LINES],
}

impl<'a> Filling<'a> {
    /// `page` is empty.
    pub(super) fn new(page: &'a Page) -> Self {
        Filling { page, taken: [0; LINES] }
    }

    /// Puts an entry into the page; false if it is full.
    #[inline(always)]
    pub(super) fn fill(&mut self, home: Home, hash: u64, location: Location) -> bool {
        self.page.announce(home, hash);
        let mut at = home.0;
        for _ in 0..LINES {
            let taken = &mut self.taken[at];
            if let Some(slot) = self.page.lines[at].slots.get(usize::from(*taken)) {
                slot.fill(hash, location);
                *taken += 1;
                return true;
            }
            at = after(at);
        }
        false
    }
}

/// From the lowest bits, which play no part in the choice of the page and the line.
#[inline]
fn filter_bit(hash: u64) -> u32 {
    1 << (hash % 32)
}

#[inline]
fn after(line: usize) -> usize {
    if line + 1 == LINES { 0 } else { line + 1 }
}
