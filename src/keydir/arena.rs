//! The memory of the key directory's pages.
//!
//! Pages are carved from blocks of anonymous memory, each as large as all before it together, that
//! begin on a boundary of 2 MiB and ask for huge pages: without them every miss of a large table is a
//! miss of the TLB as well. The first block is small and asks for none, so that a small store does not
//! cost 2 MiB. Pages come back and are handed out again; memory goes back when the arena does.
//!
//! The system clears a huge page when it is first touched, and may have to find it first: milliseconds
//! on a virtual machine. So that no change waits for it, a thread touches the next strip of pages
//! before the one in use ends.

use std::alloc::{Layout, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::page::{PAGE_LEN, Page, PageRef};
use crate::sync::{Ordering, fence};

/// Pages of a strip, of which every block has a whole number: those of a huge page.
pub(super) const STRIP: usize = if cfg!(loom) { 1 } else { (2 << 20) / PAGE_LEN };
/// So many pages before the end of a strip the next is touched: enough that it is done in time, and few,
/// as it is memory that may never be needed.
const AHEAD: usize = STRIP / 4;

#[derive(Default)]
pub(super) struct Arena {
    blocks: Vec<Arc<Block>>,
    /// Pages that have been used, counted over all blocks.
    used: usize,
    /// Pages of the strips that are in use or have been touched for it.
    touched: usize,
    toucher: Option<JoinHandle<()>>,
    free: Vec<PageRef>,
}

impl Arena {
    /// An empty page.
    pub(super) fn take(&mut self) -> PageRef {
        match self.free.pop() {
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
        }
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
            next = link;
        }
    }

    /// Bytes of the pages that have been used; up to 2.4 MiB more are ready.
    pub(super) fn memory(&self) -> usize {
        self.used * PAGE_LEN
    }

    fn unused_page(&mut self) -> PageRef {
        if self.used + AHEAD >= self.touched {
            self.touch_strip();
        }
        let Some(page) = self.page(self.used) else {
            // As any collection of the standard library does when there is no memory.
            handle_alloc_error(Layout::new::<Page>())
        };
        self.used += 1;
        PageRef::new(page)
    }

    /// Readies the next strip, in a new block if need be, as far as there is memory.
    fn touch_strip(&mut self) {
        let pages = self.blocks.iter().map(|block| block.pages()).sum();
        if self.touched == pages {
            // Where there is no room for as much again, a little may do.
            let block = Block::new(pages).or_else(|| Block::new(STRIP));
            self.blocks.extend(block.map(Arc::new));
        }
        if let Some((block, first)) = self.block_of(self.touched) {
            let is_idle = self.toucher.as_ref().is_none_or(JoinHandle::is_finished);
            // The first strip is about to be used, and the pages of a small store are to come one by one.
            if self.touched > 0 && is_idle {
                self.toucher = Arc::clone(block).touch(first);
            }
            self.touched += STRIP;
        }
    }

    /// The memory of a page, if it has been mapped.
    fn page(&self, page: usize) -> Option<NonNull<Page>> {
        let (block, index) = self.block_of(page)?;
        block.page(index)
    }

    /// Waits until what is being touched has been.
    #[cfg(test)]
    pub(super) fn touched_all(&mut self) {
        self.toucher.take().expect("a strip is being touched").join().unwrap();
    }

    /// The block of a page, and which it is there.
    fn block_of(&self, mut page: usize) -> Option<(&Arc<Block>, usize)> {
        for block in &self.blocks {
            if page < block.pages() {
                return Some((block, page));
            }
            page -= block.pages();
        }
        None
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // No thread is to outlive the store. It has nothing to say, not even by a panic.
        self.toucher.take().map(JoinHandle::join);
    }
}

#[cfg(not(loom))]
use mapped::Block;

#[cfg(not(loom))]
mod mapped {
    use memmap2::{MmapMut, MmapRaw};

    use super::{Arc, JoinHandle, NonNull, PAGE_LEN, Page, STRIP};

    /// What the processor maps by one entry of its TLB.
    const HUGE_PAGE_LEN: usize = 2 << 20;

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
            let alignment = if is_first { PAGE_LEN } else { HUGE_PAGE_LEN };
            let pages = have.max(STRIP);
            let len = pages * PAGE_LEN;
            let map = MmapRaw::from(MmapMut::map_anon(len + alignment).ok()?);
            let skip = map.as_ptr().align_offset(alignment);
            #[cfg(target_os = "linux")]
            {
                use memmap2::Advice::{HugePage, NoHugePage};
                // What the system does not know works all the same.
                let _ = map.advise_range(if is_first { NoHugePage } else { HugePage }, skip, len);
            }
            Some(Block { map, skip, pages })
        }

        pub(super) fn pages(&self) -> usize {
            self.pages
        }

        /// The page at `index`, all zeros when it has never been used.
        pub(super) fn page(&self, index: usize) -> Option<NonNull<Page>> {
            NonNull::new(self.map.as_mut_ptr().wrapping_add(self.offset(index)).cast())
        }

        /// Lets a thread have the strip that begins at a page brought into memory.
        #[cfg(target_os = "linux")]
        pub(super) fn touch(self: Arc<Self>, first: usize) -> Option<JoinHandle<()>> {
            let touch = move || {
                let (offset, len) = (self.offset(first), STRIP * PAGE_LEN);
                let _ = self.map.advise_range(memmap2::Advice::PopulateWrite, offset, len);
            };
            // Where this fails, or that, the first change that comes there waits.
            std::thread::Builder::new().name("zerocask-touch".into()).spawn(touch).ok()
        }

        #[cfg(not(target_os = "linux"))]
        pub(super) fn touch(self: Arc<Self>, _first: usize) -> Option<JoinHandle<()>> {
            None
        }

        fn offset(&self, page: usize) -> usize {
            self.skip + page * PAGE_LEN
        }
    }
}

#[cfg(loom)]
use boxed::Block;

#[cfg(loom)]
mod boxed {
    use super::{Arc, JoinHandle, NonNull, Page};

    /// A single page: loom's atomics have to be constructed.
    pub(super) struct Block {
        page: NonNull<Page>,
    }

    // SAFETY: it owns a `Page`, which is Send.
    #[expect(unsafe_code, reason = "an address is not Send by itself")]
    unsafe impl Send for Block {}

    // SAFETY: all that it shows of the `Page` is where it is.
    #[expect(unsafe_code, reason = "an address is not Sync by itself")]
    unsafe impl Sync for Block {}

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

        pub(super) fn touch(self: Arc<Self>, _first: usize) -> Option<JoinHandle<()>> {
            None
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
