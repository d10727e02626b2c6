//! The table of segments: which segment the slot of a location means.
//!
//! Invariants (docs/design.md, "Key directory"):
//! - **K2**: a location in the key directory names a slot that is taken. Who first takes a [`Slots`] and
//!   then looks into the key directory finds the segment there, or no segment because it came
//!   later: then a newer `Slots` has it.
//! - [`Table::retire_all`] is the one gate through which a segment leaves; no location may name it then.
//! - **K3**: a slot is used again only when nobody holds memory of the segment that was in it, nor a
//!   [`Slots`] in which it is. So who holds either never meets another segment there.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Weak};

use super::Segment;
use crate::fs::{Reading, Region};
use crate::location::SegmentSlot;
use crate::sync::{ArcSwap, Guard, Mutex};

/// The segments at one moment, kept alive.
#[derive(Clone, Default)]
pub(crate) struct Slots {
    segments: Vec<Option<Arc<Segment>>>,
    /// Those of the segments, where they have one: one step less for who reads.
    mappings: Vec<Option<Arc<Region>>>,
}

impl Slots {
    #[inline]
    pub(crate) fn get(&self, slot: SegmentSlot) -> Option<&Arc<Segment>> {
        self.segments.get(slot.index())?.as_ref()
    }

    /// The mapping of the segment's file, if there is one.
    #[inline(always)]
    pub(crate) fn mapping(&self, slot: SegmentSlot) -> Option<&Arc<Region>> {
        self.mappings.get(slot.index())?.as_ref()
    }

    fn list(&self) -> Vec<(SegmentSlot, Arc<Segment>)> {
        let taken = self.segments.iter().enumerate().filter_map(|(index, segment)| {
            Some((SegmentSlot::from_index(index)?, Arc::clone(segment.as_ref()?)))
        });
        let mut list: Vec<_> = taken.collect();
        list.sort_by_key(|(_, segment)| segment.id());
        list
    }

    fn put(&mut self, slot: SegmentSlot, segment: Option<Arc<Segment>>) {
        if self.segments.len() <= slot.index() {
            self.segments.resize(slot.index() + 1, None);
            self.mappings.resize(slot.index() + 1, None);
        }
        let mapping = segment.as_ref().and_then(|segment| segment.view().mapping());
        self.mappings[slot.index()] = mapping.cloned();
        self.segments[slot.index()] = segment;
    }
}

pub(crate) struct Table {
    slots: ArcSwap<Slots>,
    /// Also serialises changes of `slots`.
    retired: Mutex<Vec<Leaving>>,
    keepers: Mutex<Vec<Weak<Keeper>>>,
}

/// Keeps the segments that leave while it is there.
#[derive(Default)]
pub(crate) struct Keeper {
    left: Mutex<HashMap<SegmentSlot, Arc<Segment>>>,
}

impl Keeper {
    /// The segment of a slot, if it has left.
    pub(crate) fn get(&self, slot: SegmentSlot) -> Option<Arc<Segment>> {
        self.left.lock().get(&slot).cloned()
    }

    /// These segments, and those that have left.
    pub(crate) fn with(&self, slots: &Slots) -> Slots {
        let mut slots = slots.clone();
        for (slot, segment) in self.left.lock().iter() {
            // One that had not left yet when these were taken may have become another view since.
            if slots.get(*slot).is_none() {
                slots.put(*slot, Some(Arc::clone(segment)));
            }
        }
        slots
    }
}

struct Leaving {
    slot: SegmentSlot,
    /// The segment's path, which all memory that shows the segment shares: mappings and chunks.
    path: Weak<Path>,
    bytes: u64,
}

impl Leaving {
    fn is_held(&self) -> bool {
        self.path.strong_count() > 0
    }
}

/// Segments that are gone from the store but whose memory readers still hold.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Retired {
    pub(crate) segments: usize,
    pub(crate) bytes: u64,
}

impl Table {
    pub(crate) fn new() -> Self {
        Table { slots: ArcSwap::default(), retired: Mutex::default(), keepers: Mutex::default() }
    }

    /// Gives the segment a slot; `None` if all are taken.
    pub(crate) fn add(&self, segment: Arc<Segment>) -> Option<SegmentSlot> {
        self.add_all([segment])?.pop()
    }

    /// Gives each segment a slot; `None`, and no segment added, if too few are left.
    pub(crate) fn add_all(
        &self,
        segments: impl IntoIterator<Item = Arc<Segment>>,
    ) -> Option<Vec<SegmentSlot>> {
        let mut retired = self.retired.lock();
        let mut slots = Slots::clone(&self.slots.load());
        let mut free = retired.iter().filter(|leaving| !leaving.is_held()).map(|l| l.slot);
        let mut given = Vec::new();
        for segment in segments {
            let slot = match free.next() {
                Some(slot) => slot,
                None => SegmentSlot::from_index(slots.segments.len())?,
            };
            slots.put(slot, Some(segment));
            given.push(slot);
        }
        // The slots that are used again come first, in this order.
        let mut used = given.iter().peekable();
        retired.retain(|leaving| used.next_if(|slot| **slot == leaving.slot).is_none());
        self.slots.store(Arc::new(slots));
        Some(given)
    }

    /// Puts another view of the same file in a slot, as when the active segment is sealed. Its
    /// offsets mean the same records.
    pub(crate) fn replace(&self, slot: SegmentSlot, segment: Arc<Segment>) {
        let _changes = self.retired.lock();
        self.put(slot, Some(segment));
    }

    /// Lets sealed segments be mapped for which there was no mapping left, as many as there are mappings now.
    pub(crate) fn map_more(&self, reading: Reading) {
        let _changes = self.retired.lock();
        let mut unmapped = self.list();
        unmapped.retain(|(_, segment)| segment.view().is_unmapped() && !segment.is_active());
        if unmapped.is_empty() {
            return;
        }
        let mut slots = Slots::clone(&self.slots.load());
        // The newest first: what was written last is most likely to be read.
        let newest_first = unmapped.into_iter().rev();
        let mapped = newest_first.map_while(|(slot, segment)| {
            segment.map_anew(reading).map(|segment| (slot, Arc::new(segment)))
        });
        mapped.for_each(|(slot, segment)| slots.put(slot, Some(segment)));
        self.slots.store(Arc::new(slots));
    }

    /// Takes a segment out. No location names it any more.
    pub(crate) fn retire(&self, slot: SegmentSlot) {
        self.retire_all([slot]);
    }

    /// Takes segments out, at the cost of one. No location names any of them any more.
    pub(crate) fn retire_all(&self, leaving: impl IntoIterator<Item = SegmentSlot>) {
        let mut retired = self.retired.lock();
        let mut slots = Slots::clone(&self.slots.load());
        let mut keepers = Vec::new();
        self.keepers.lock().retain(|keeper| {
            keepers.extend(keeper.upgrade());
            keeper.strong_count() > 0
        });
        for slot in leaving {
            let Some(segment) = slots.get(slot).cloned() else { continue };
            let (path, bytes) = (Arc::downgrade(segment.path()), segment.usage().bytes());
            retired.push(Leaving { slot, path, bytes });
            for keeper in &keepers {
                keeper.left.lock().insert(slot, Arc::clone(&segment));
            }
            slots.put(slot, None);
        }
        self.slots.store(Arc::new(slots));
    }

    /// Keeps all segments that are there from being let go while the answer is held.
    pub(crate) fn keeper(&self) -> Arc<Keeper> {
        let keeper = Arc::default();
        self.keepers.lock().push(Arc::downgrade(&keeper));
        keeper
    }

    pub(crate) fn get(&self, slot: SegmentSlot) -> Option<Arc<Segment>> {
        self.slots.load().get(slot).cloned()
    }

    /// The segments as they are, for one look-up.
    #[inline]
    pub(crate) fn now(&self) -> Guard<Arc<Slots>> {
        self.slots.load()
    }

    /// The segments as they are, for keeping.
    pub(crate) fn snapshot(&self) -> Arc<Slots> {
        self.slots.load_full()
    }

    /// Whether nothing has changed since.
    pub(crate) fn is_now(&self, slots: &Slots) -> bool {
        std::ptr::eq(&**self.slots.load(), slots)
    }

    /// All segments with their slots, in id order.
    pub(crate) fn list(&self) -> Vec<(SegmentSlot, Arc<Segment>)> {
        self.slots.load().list()
    }

    pub(crate) fn retired(&self) -> Retired {
        let retired = self.retired.lock();
        let held = retired.iter().filter(|leaving| leaving.is_held());
        held.fold(Retired::default(), |sum, leaving| Retired {
            segments: sum.segments + 1,
            bytes: sum.bytes + leaving.bytes,
        })
    }

    fn put(&self, slot: SegmentSlot, segment: Option<Arc<Segment>>) {
        let mut slots = Slots::clone(&self.slots.load());
        slots.put(slot, segment);
        self.slots.store(Arc::new(slots));
    }
}
