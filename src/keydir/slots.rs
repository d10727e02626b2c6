//! One shard's table: open addressing with linear probing over 16-byte slots.
//!
//! Four slots share a cache line, so that a lookup costs about one miss. A slot's home follows from
//! its hash's low 32 bits, scaled to the number of slots, which need not be a power of two: the
//! table grows by half at a time, when it is three quarters full, and never shrinks.
//!
//! Invariants:
//! - Between an entry's home and its slot no slot is empty. Removal closes the gap it makes.
//! - At least a quarter of the slots is empty, so every probe ends.

use crate::fs::prefetch;
use crate::location::Location;

/// Slots of the smallest table.
const MIN_SLOTS: usize = 8;

#[derive(Default)]
pub(super) struct Slots {
    slots: Box<[Slot]>,
    len: usize,
}

#[derive(Clone, Copy)]
struct Slot {
    hash: u64,
    /// A location, or 0: no location is.
    location: u64,
}

impl Slot {
    const EMPTY: Slot = Slot { hash: 0, location: 0 };

    fn is_empty(self) -> bool {
        self.location == 0
    }

    fn location(self) -> Location {
        Location::from_bits(self.location)
    }
}

impl Slots {
    /// Shows the location of every entry with this hash.
    #[inline]
    pub(super) fn visit(&self, hash: u64, mut visitor: impl FnMut(Location)) {
        self.probe(hash).filter(|(_, slot)| slot.hash == hash).for_each(|(_, slot)| {
            visitor(slot.location());
        });
    }

    /// The location of the first entry with this hash. Nearly always it is the only one.
    #[inline]
    pub(super) fn first(&self, hash: u64) -> Option<Location> {
        let mut at = self.home(hash);
        loop {
            let slot = self.slots.get(at)?;
            if slot.is_empty() {
                return None;
            }
            if slot.hash == hash {
                return Some(slot.location());
            }
            at = self.after(at);
        }
    }

    /// Asks the processor for the slots where this hash belongs.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(slot) = self.slots.get(self.home(hash)) {
            prefetch(slot);
        }
    }

    pub(super) fn visit_all(&self, visitor: impl FnMut(Location)) {
        self.slots
            .iter()
            .filter(|slot| !slot.is_empty())
            .map(|slot| slot.location())
            .for_each(visitor);
    }

    pub(super) fn contains(&self, hash: u64, location: Location) -> bool {
        self.find(hash, location).is_some()
    }

    pub(super) fn insert(&mut self, hash: u64, location: Location) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        self.place(Slot { hash, location: location.bits() });
        self.len += 1;
    }

    /// False if there is no entry of this hash at the old place.
    pub(super) fn replace(&mut self, hash: u64, old: Location, new: Location) -> bool {
        let found = self.find(hash, old);
        found.is_some_and(|at| {
            self.slots[at].location = new.bits();
            true
        })
    }

    /// False if there is no entry of this hash at this place.
    pub(super) fn remove(&mut self, hash: u64, location: Location) -> bool {
        let Some(mut gap) = self.find(hash, location) else { return false };
        self.len -= 1;
        let mut at = gap;
        loop {
            at = self.after(at);
            let slot = self.slots[at];
            if slot.is_empty() {
                break;
            }
            // An entry may fill the gap unless its home lies behind it.
            let home = self.home(slot.hash);
            if self.distance(home, at) >= self.distance(gap, at) {
                self.slots[gap] = slot;
                gap = at;
            }
        }
        self.slots[gap] = Slot::EMPTY;
        true
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.slots)
    }

    fn find(&self, hash: u64, location: Location) -> Option<usize> {
        let is_at = |slot: Slot| slot.hash == hash && slot.location().is_same_place(location);
        self.probe(hash).find(|(_, slot)| is_at(*slot)).map(|(at, _)| at)
    }

    /// The slots from a hash's home to the first empty one.
    #[inline]
    fn probe(&self, hash: u64) -> impl Iterator<Item = (usize, Slot)> {
        let home = self.home(hash);
        let (before, from_home) = self.slots.split_at(home.min(self.slots.len()));
        let from_home = from_home.iter().enumerate().map(move |(n, slot)| (home + n, *slot));
        let wrapped = before.iter().copied().enumerate();
        from_home.chain(wrapped).take_while(|(_, slot)| !slot.is_empty())
    }

    /// Puts an entry into the first empty slot from its home on. There is one.
    fn place(&mut self, entry: Slot) {
        let mut at = self.home(entry.hash);
        while !self.slots[at].is_empty() {
            at = self.after(at);
        }
        self.slots[at] = entry;
    }

    #[cold]
    fn grow(&mut self) {
        let slots = (self.slots.len() + self.slots.len() / 2).max(MIN_SLOTS);
        let old = std::mem::replace(&mut self.slots, vec![Slot::EMPTY; slots].into_boxed_slice());
        // In the order of the old table, which is nearly that of the new one: homes keep their order.
        old.iter().filter(|slot| !slot.is_empty()).for_each(|slot| self.place(*slot));
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash & u64::from(u32::MAX)) * self.slots.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    /// Steps from one slot to another, going forward.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::location::SegmentSlot;

    fn at(offset: u64) -> Location {
        Location::new(SegmentSlot::from_index(0).unwrap(), offset).unwrap()
    }

    proptest! {
        /// Few homes, so that probes are long, wrap around and are torn open by removals.
        #[test]
        fn the_table_behaves_as_a_set(
            steps in prop::collection::vec((any::<bool>(), 0u64..12, 0u64..12), 1..400),
        ) {
            let mut table = Slots::default();
            let mut model = BTreeSet::new();
            for (insert, home, offset) in steps {
                // Spread over the range of homes, the last ones included.
                let hash = home * (u64::from(u32::MAX) / 11);
                if insert && model.insert((hash, offset)) {
                    table.insert(hash, at(offset));
                } else {
                    prop_assert_eq!(table.remove(hash, at(offset)), model.remove(&(hash, offset)));
                }
                prop_assert_eq!(table.len, model.len());
                let mut found = BTreeSet::new();
                for home in 0..12 {
                    let hash = home * (u64::from(u32::MAX) / 11);
                    table.visit(hash, |location| assert!(found.insert((hash, location.offset()))));
                }
                prop_assert_eq!(&found, &model);
                let mut all = Vec::new();
                table.visit_all(|location| all.push(location.offset()));
                all.sort_unstable();
                let mut offsets: Vec<_> = model.iter().map(|(_, offset)| *offset).collect();
                offsets.sort_unstable();
                prop_assert_eq!(all, offsets);
            }
        }
    }

    #[test]
    fn a_table_takes_at_most_32_bytes_an_entry_once_it_has_grown() {
        let mut table = Slots::default();
        let mut hash = 1u64;
        for n in 0..100_000 {
            hash = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(n);
            table.insert(hash ^ (hash >> 29), at(n));
            assert!(n < 100 || table.memory() <= 33 * (n as usize + 1), "at {n}");
        }
    }
}
