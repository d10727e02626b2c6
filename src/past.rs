//! The store as it was at one moment: what a snapshot keeps while writes and compactions go on.
//!
//! Beginning takes nothing from the key directory; from then on every key that changes has what it was put
//! aside (K8), and every segment that leaves is kept. An entry that a compaction moves has not changed:
//! the copy is the same record. So nothing grows but by what is written or removed meanwhile.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::keydir::{KeyDirectory, Overlay};
use crate::location::{Location, SegmentSlot};
use crate::segment::{Keeper, Segment, Slots, Table};

pub(crate) struct Past {
    overlay: Arc<Overlay>,
    keeper: Arc<Keeper>,
    /// What had expired by then is absent, and what has not is there, in microseconds since the epoch.
    pub(crate) time: u64,
    /// How many entries there were.
    pub(crate) len: usize,
}

impl Past {
    /// The moment is now. The caller sees to it that nobody is in the middle of a batch.
    pub(crate) fn begin(keydir: &KeyDirectory, segments: &Table, time: u64) -> Self {
        // First, because an entry that is put aside names a segment that must not leave.
        let keeper = segments.keeper();
        let (overlay, len) = keydir.begin_overlay();
        Past { overlay, keeper, time, len }
    }

    pub(crate) fn end(&self, keydir: &KeyDirectory) {
        keydir.end_overlay(&self.overlay);
    }

    /// The location of every entry that had this hash, or of copies of their records.
    pub(crate) fn all(&self, keydir: &KeyDirectory, hash: u64) -> Vec<Location> {
        keydir.all_past(&self.overlay, hash)
    }

    /// As [`KeyDirectory::visit_first`], entries as they were.
    pub(crate) fn visit_first(
        &self,
        keydir: &KeyDirectory,
        hashes: RangeInclusive<u64>,
        visitor: impl FnMut(u64, Location),
    ) -> Option<RangeInclusive<u64>> {
        keydir.visit_past_first(&self.overlay, hashes, visitor)
    }

    /// The segments of now with those that have left since then.
    pub(crate) fn segments(&self, slots: &Slots) -> Slots {
        self.keeper.with(slots)
    }

    /// The segment that a location of then means, among the segments of now and those that have left; `None` if it came
    /// after `slots`.
    pub(crate) fn segment(&self, slots: &Slots, slot: SegmentSlot) -> Option<Arc<Segment>> {
        slots.get(slot).cloned().or_else(|| self.keeper.get(slot))
    }

    /// How many hashes had entries put aside.
    pub(crate) fn changed(&self) -> usize {
        self.overlay.len()
    }
}
