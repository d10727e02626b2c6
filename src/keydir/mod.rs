//! The key directory: a concurrent table from 64-bit hashes to locations.
//!
//! It stores no key. Two keys with one hash have two entries; the caller tells them apart by the
//! records that the locations name. An entry is 16 bytes, whatever the key's length.
//!
//! Invariants (docs/design.md, "Key directory"):
//! - Every change goes through [`KeyDirectory::change`], which sees the old and the new location.
//! - A change that names an old location happens only if the entry is still there; whether it is
//!   verified plays no part.
//! - A visitor runs under the shard's lock: while it runs, no location it was shown is changed.
//!
//! Must not know: keys, records, files.

mod hash;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parking_lot::RwLock;

pub(crate) use hash::KeyHasher;

use crate::location::Location;

const SHARDS: usize = 64;
/// The table inside a shard uses a hash's lowest bits and its top seven; a shard is chosen by
/// others, so that neither loses entropy.
const SHARD_SHIFT: u32 = 48;

pub(crate) struct KeyDirectory {
    shards: Box<[Shard]>,
    /// Entries in all shards.
    len: AtomicUsize,
}

/// Aligned so that no two locks share a cache line.
#[repr(align(128))]
struct Shard {
    slots: RwLock<HashTable<Slot>>,
}

struct Slot {
    hash: u64,
    /// Atomic because the verified bit is set under the shared lock.
    location: AtomicU64,
}

impl Slot {
    fn new(hash: u64, location: Location) -> Self {
        Slot { hash, location: AtomicU64::new(location.bits()) }
    }

    fn location(&self) -> Location {
        Location::from_bits(self.location.load(Ordering::Relaxed))
    }

    fn is_at(&self, hash: u64, location: Location) -> bool {
        self.hash == hash && self.location().is_same_place(location)
    }
}

impl KeyDirectory {
    pub(crate) fn new() -> Self {
        let shard = || Shard { slots: RwLock::new(HashTable::new()) };
        KeyDirectory { shards: (0..SHARDS).map(|_| shard()).collect(), len: AtomicUsize::new(0) }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Shows the location of every entry with this hash.
    #[inline]
    pub(crate) fn visit(&self, hash: u64, mut visitor: impl FnMut(Location)) {
        let slots = self.shard(hash).slots.read();
        slots
            .iter_hash(hash)
            .filter(|slot| slot.hash == hash)
            .for_each(|slot| visitor(slot.location()));
    }

    /// Whether an entry with this hash stands at exactly this place.
    pub(crate) fn is_at(&self, hash: u64, location: Location) -> bool {
        self.shard(hash).slots.read().find(hash, |slot| slot.is_at(hash, location)).is_some()
    }

    /// The one way to change an entry: from `None` to insert it, to `None` to remove it. Answers
    /// false, having done nothing, if the entry is no longer at the old location.
    pub(crate) fn change(&self, hash: u64, old: Option<Location>, new: Option<Location>) -> bool {
        let mut slots = self.shard(hash).slots.write();
        let Some(old) = old else {
            if let Some(new) = new {
                slots.insert_unique(hash, Slot::new(hash, new), |slot| slot.hash);
                self.len.fetch_add(1, Ordering::Relaxed);
            }
            return true;
        };
        let Entry::Occupied(mut slot) =
            slots.entry(hash, |slot| slot.is_at(hash, old), |slot| slot.hash)
        else {
            return false;
        };
        match new {
            Some(new) => *slot.get_mut().location.get_mut() = new.bits(),
            None => {
                slot.remove();
                self.len.fetch_sub(1, Ordering::Relaxed);
            }
        }
        true
    }

    /// Notes that the record at `location`, if an entry is still there, has passed its check.
    #[cold]
    pub(crate) fn mark_verified(&self, hash: u64, location: Location) {
        let slots = self.shard(hash).slots.read();
        if let Some(slot) = slots.find(hash, |slot| slot.is_at(hash, location)) {
            // Under the shared lock only this bit ever changes.
            slot.location.store(location.verified().bits(), Ordering::Relaxed);
        }
    }

    /// How many shards there are, for [`KeyDirectory::visit_shard`].
    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Shows every location in one shard.
    pub(crate) fn visit_shard(&self, shard: usize, mut visitor: impl FnMut(Location)) {
        if let Some(shard) = self.shards.get(shard) {
            shard.slots.read().iter().for_each(|slot| visitor(slot.location()));
        }
    }

    /// Bytes of memory that the tables take.
    pub(crate) fn memory(&self) -> usize {
        let tables = self.shards.iter().map(|shard| shard.slots.read().allocation_size());
        tables.sum::<usize>() + size_of_val(&*self.shards)
    }

    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[(hash >> SHARD_SHIFT) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::SegmentSlot;

    fn at(offset: u64) -> Location {
        Location::new(SegmentSlot::from_index(0).unwrap(), offset).unwrap()
    }

    fn places(keydir: &KeyDirectory, hash: u64) -> Vec<u64> {
        let mut found = Vec::new();
        keydir.visit(hash, |location| found.push(location.offset()));
        found.sort_unstable();
        found
    }

    #[test]
    fn entries_of_one_hash_live_side_by_side() {
        let keydir = KeyDirectory::new();
        assert!(keydir.change(7, None, Some(at(1))));
        assert!(keydir.change(7, None, Some(at(2))));
        assert!(keydir.change(8, None, Some(at(3))));
        assert_eq!(places(&keydir, 7), [1, 2]);
        assert!(keydir.change(7, Some(at(1)), None));
        assert_eq!((places(&keydir, 7), places(&keydir, 8)), (vec![2], vec![3]));
        assert_eq!(keydir.len(), 2);
    }

    #[test]
    fn a_change_from_a_place_that_the_entry_has_left_does_nothing() {
        let keydir = KeyDirectory::new();
        keydir.change(7, None, Some(at(1)));
        assert!(keydir.change(7, Some(at(1)), Some(at(2))));
        assert!(!keydir.change(7, Some(at(1)), Some(at(3))));
        assert!(!keydir.change(7, Some(at(1)), None));
        assert_eq!((places(&keydir, 7), keydir.len()), (vec![2], 1));
    }

    #[test]
    fn whether_it_is_verified_does_not_make_it_another_place() {
        let keydir = KeyDirectory::new();
        keydir.change(7, None, Some(at(1)));
        keydir.mark_verified(7, at(1));
        keydir.visit(7, |location| assert!(location.is_verified()));
        assert!(keydir.is_at(7, at(1)));
        assert!(keydir.change(7, Some(at(1)), Some(at(2))));
        keydir.mark_verified(7, at(1));
        keydir.visit(7, |location| assert!(!location.is_verified()));
    }
}
