//! Where a record lies: the id of a segment file, the slot of a segment in memory, and the
//! packed word that a key directory entry holds.
//!
//! A [`Location`] is one `u64`, so that an entry of the key directory is two words:
//!
//! ```text
//!  63         62 ........ 40   39 ........ 0
//! [verified] [segment slot  ] [offset        ]
//! ```
//!
//! Invariants: segment slots count from 1, so a packed location is never below `1 << 40`; the
//! values 0 and 1 are free for a table's own marks. `verified` says that the record's CRC has been
//! checked since the store was opened; two locations that differ in it alone are the same place.

use std::fmt;
use std::num::NonZeroU64;

const OFFSET_BITS: u32 = 40;
const SLOT_BITS: u32 = 23;
const VERIFIED: u64 = 1 << 63;

/// The number of a segment file, `{id:08}.data`. Higher means newer; never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentId(u64);

impl SegmentId {
    /// The id of a new store's first segment.
    pub(crate) const FIRST: SegmentId = SegmentId(1);

    pub(crate) const fn new(id: u64) -> Self {
        SegmentId(id)
    }

    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    /// The id `n` further on, or `None` at the end of the numbers.
    pub(crate) fn checked_add(self, n: u64) -> Option<Self> {
        self.0.checked_add(n).map(SegmentId)
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}", self.0)
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {self}")
    }
}

/// A place in the table of segments, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct SegmentSlot(u32);

impl SegmentSlot {
    pub(crate) const MAX: u32 = (1 << SLOT_BITS) - 1;

    /// The slot at `index` (from 0) of the table, or `None` past the last that a location can name.
    pub(crate) fn from_index(index: usize) -> Option<Self> {
        let number = u32::try_from(index).ok()?.checked_add(1)?;
        (number <= Self::MAX).then_some(SegmentSlot(number))
    }

    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0 as usize - 1
    }
}

/// A segment slot and an offset in that segment's file, packed.
#[derive(Clone, Copy)]
pub(crate) struct Location(NonZeroU64);

impl Location {
    /// No segment file that is written grows to this many bytes.
    pub(crate) const OFFSET_LIMIT: u64 = 1 << OFFSET_BITS;

    /// `None` when the offset does not fit.
    pub(crate) fn new(slot: SegmentSlot, offset: u64) -> Option<Self> {
        let bits = (u64::from(slot.0) << OFFSET_BITS) | offset;
        (offset < Self::OFFSET_LIMIT).then(|| Self::from_bits(bits))?
    }

    /// What [`Location::bits`] gave; `None` for a table's own marks, 0 and 1.
    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).filter(|bits| bits.get() > 1).map(Location)
    }

    #[inline]
    pub(crate) fn bits(self) -> u64 {
        self.0.get()
    }

    #[inline]
    pub(crate) fn slot(self) -> SegmentSlot {
        SegmentSlot(((self.bits() & !VERIFIED) >> OFFSET_BITS) as u32)
    }

    #[inline]
    pub(crate) fn offset(self) -> u64 {
        self.bits() & (Self::OFFSET_LIMIT - 1)
    }

    #[inline]
    pub(crate) fn is_verified(self) -> bool {
        self.bits() & VERIFIED != 0
    }

    #[inline]
    pub(crate) fn verified(self) -> Self {
        Location(self.0 | VERIFIED)
    }

    /// Whether there is a slot in it: bits that come from elsewhere may have none.
    pub(crate) fn has_slot(self) -> bool {
        self.slot().0 > 0
    }

    #[inline]
    pub(crate) fn unverified(self) -> Self {
        // The slot is never 0.
        NonZeroU64::new(self.bits() & !VERIFIED).map_or(self, Location)
    }

    /// The same offset in another segment, as verified as this.
    pub(crate) fn in_slot(self, slot: SegmentSlot) -> Option<Self> {
        let moved = Location::new(slot, self.offset())?;
        Some(if self.is_verified() { moved.verified() } else { moved })
    }

    /// Whether both name the same record, verified or not.
    #[inline]
    pub(crate) fn is_same_place(self, other: Location) -> bool {
        (self.bits() ^ other.bits()) & !VERIFIED == 0
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_verified() { " verified" } else { "" };
        write!(f, "slot {} @ {}{mark}", self.slot().0, self.offset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_gives_back_what_was_packed_at_both_ends_of_its_range() {
        for index in [0, 1, SegmentSlot::MAX as usize - 1] {
            for offset in [0, 1, Location::OFFSET_LIMIT - 1] {
                let slot = SegmentSlot::from_index(index).unwrap();
                let location = Location::new(slot, offset).unwrap();
                assert!(location.bits() > 1, "0 and 1 are a table's own marks");
                for l in [location, location.verified()] {
                    assert_eq!((l.slot(), l.offset()), (slot, offset));
                    assert!(l.is_same_place(location));
                }
                assert!(!location.is_verified() && location.verified().is_verified());
            }
        }
        assert!(SegmentSlot::from_index(SegmentSlot::MAX as usize).is_none());
        let first = SegmentSlot::from_index(0).unwrap();
        assert!(Location::new(first, Location::OFFSET_LIMIT).is_none());
    }

    #[test]
    fn ids_compare_as_numbers_not_as_names() {
        let (small, large) = (SegmentId::new(99_999_999), SegmentId::new(100_000_000));
        assert!(small < large && small.to_string() > large.to_string());
    }
}
