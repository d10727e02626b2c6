//! The memory of the key directory's pages.
//!
//! Pages are carved from blocks of anonymous memory, each as large as all before it together, that
//! begin on a boundary of 2 MiB and ask for huge pages: without them every miss of a large table is a
//! miss of the TLB as well. The first block is small and asks for none, so that a small store does not
//! cost 2 MiB. Pages come back and are handed out again; memory goes back when the arena does.

use std::alloc::{Layout, handle_alloc_error};
use std::ptr::NonNull;

use super::page::{PAGE_LEN, Page, PageRef};
use crate::sync::{Ordering, fence};

#[derive(Default)]
pub(super) struct Arena {
    blocks: Vec<Block>,
    /// Pages that nobody has used yet, at the end of the last block.
    unused: usize,
    free: Vec<PageRef>,
    taken: usize,
}

impl Arena {
    /// An empty page.
    pub(super) fn take(&mut self) -> PageRef {
        let page = match self.free.pop() {
            Some(page) => {
                // SAFETY: the arena's own page, while the arena is borrowed (K5).
                #[expect(unsafe_code, reason = "pages are reached by address")]
                let cleared = unsafe { page.get() };
                // A reader that sees anything written to the page from here on sees, behind its own
                // fence, that the page word it came by has changed.
                fence(Ordering::Release);
                cleared.clear();
                page
            }
            None => self.unused_page(),
        };
        self.taken += 1;
        page
    }

    /// Takes a page back, and those it links to. No page word names it any more; readers may
    /// still be looking at it.
    pub(super) fn give_back(&mut self, page: PageRef) {
        let mut next = Some(page);
        while let Some(page) = next {
            // SAFETY: the arena's own page, while the arena is borrowed (K5).
            #[expect(unsafe_code, reason = "pages are reached by address")]
            let link = unsafe { page.get() }.link();
            self.free.push(page);
            self.taken -= 1;
            next = link;
        }
    }

    /// Bytes of memory that pages have been carved from.
    pub(super) fn memory(&self) -> usize {
        (self.taken + self.free.len()) * PAGE_LEN
    }

    fn unused_page(&mut self) -> PageRef {
        let pages = self.blocks.iter().map(Block::pages).sum();
        if self.unused == 0
            // Where there is no room for as much again, a little may do.
            && let Some(block) = Block::new(pages).or_else(|| Block::new(1))
        {
            self.unused = block.pages();
            self.blocks.push(block);
        }
        let block = self.blocks.last();
        let page = block.and_then(|block| block.page(block.pages() - self.unused));
        let Some(page) = page else {
            // As any collection of the standard library does when there is no memory.
            handle_alloc_error(Layout::new::<Page>())
        };
        self.unused -= 1;
        PageRef::new(page)
    }
}

#[cfg(not(loom))]
use mapped::Block;

#[cfg(not(loom))]
mod mapped {
    use memmap2::{MmapMut, MmapRaw};

    use super::{NonNull, PAGE_LEN, Page};

    /// What the processor maps by one entry of its TLB.
    const HUGE_PAGE_LEN: usize = 2 << 20;
    /// Pages of the first block.
    const FIRST: usize = 16;

    pub(super) struct Block {
        map: MmapRaw,
        /// Bytes before the first page.
        skip: usize,
        pages: usize,
    }

    impl Block {
        /// A block for an arena that has this many pages; `None` if there is no memory.
        pub(super) fn new(have: usize) -> Option<Self> {
            let is_first = have == 0;
            let (len, alignment) = match have * PAGE_LEN {
                0 => (FIRST * PAGE_LEN, PAGE_LEN),
                have => (have.next_multiple_of(HUGE_PAGE_LEN), HUGE_PAGE_LEN),
            };
            let map = MmapRaw::from(MmapMut::map_anon(len + alignment).ok()?);
            let skip = map.as_ptr().align_offset(alignment);
            #[cfg(target_os = "linux")]
            if !is_first {
                // Without huge pages it works all the same.
                let _ = map.advise_range(memmap2::Advice::HugePage, skip, len);
            }
            Some(Block { map, skip, pages: len / PAGE_LEN })
        }

        pub(super) fn pages(&self) -> usize {
            self.pages
        }

        /// The page at `index`, all zeros when it has never been used.
        pub(super) fn page(&self, index: usize) -> Option<NonNull<Page>> {
            let start = (index < self.pages).then_some(self.skip + index * PAGE_LEN)?;
            NonNull::new(self.map.as_mut_ptr().wrapping_add(start).cast())
        }
    }
}

#[cfg(loom)]
use boxed::Block;

#[cfg(loom)]
mod boxed {
    use super::{NonNull, Page};

    /// A single page: loom's atomics have to be constructed.
    pub(super) struct Block {
        page: NonNull<Page>,
    }

    // SAFETY: it owns a `Page`, which is Send.
    #[expect(unsafe_code, reason = "an address is not Send by itself")]
    unsafe impl Send for Block {}

    impl Block {
        pub(super) fn new(_have: usize) -> Option<Self> {
            Some(Block { page: NonNull::from(Box::leak(Box::new(Page::empty()))) })
        }

        pub(super) fn pages(&self) -> usize {
            1
        }

        pub(super) fn page(&self, _index: usize) -> Option<NonNull<Page>> {
            Some(self.page)
        }
    }

    impl Drop for Block {
        fn drop(&mut self) {
            // SAFETY: made by `Box::leak`, and with the arena the key directory goes, which is the
            // last that could reach the page (K5).
            #[expect(unsafe_code, reason = "the page was leaked from a box")]
            drop(unsafe { Box::from_raw(self.page.as_ptr()) });
        }
    }
}
