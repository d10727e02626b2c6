//! The key directory: a concurrent table from 64-bit hashes to locations.
//!
//! It stores no key. Two keys with one hash have two entries; the caller tells them apart by the
//! records that the locations name. An entry is 16 bytes, whatever the key's length.
//!
//! Invariants (docs/design.md, "Key directory"):
//! - Every change of a place goes through [`KeyDirectory::change`], which sees the old and the new one.
//! - A change that names an old location happens only if the entry is still there; whether it is
//!   verified plays no part.
//! - A visitor runs under the shard's lock: while it runs, no location it was shown is changed.
//!
//! Must not know: keys, records, files.

mod hash;
mod slots;

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

pub(crate) use hash::KeyHasher;

use crate::location::Location;
use slots::Slots;

/// So many that growing one, which is done under its lock, takes little time.
const SHARDS: usize = 256;
/// A table uses a hash's low half; a shard is chosen by the top, so that neither loses entropy.
const SHARD_SHIFT: u32 = 56;

pub(crate) struct KeyDirectory {
    shards: Box<[Shard]>,
    /// Entries in all shards.
    len: AtomicUsize,
}

/// Aligned so that no two locks share a cache line.
#[repr(align(64))]
#[derive(Default)]
struct Shard {
    slots: RwLock<Slots>,
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
}

impl KeyDirectory {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        KeyDirectory { shards, len: AtomicUsize::new(0) }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Shows the location of every entry with this hash.
    #[inline]
    pub(crate) fn visit(&self, hash: u64, visitor: impl FnMut(Location)) {
        self.shard(hash).slots.read().visit(hash, visitor);
    }

    /// Whether an entry with this hash stands at exactly this place.
    pub(crate) fn is_at(&self, hash: u64, location: Location) -> bool {
        self.shard(hash).slots.read().contains(hash, location)
    }

    /// Makes use of the location of the first entry with this hash, which nearly always is the only
    /// one, under the shard's lock.
    #[inline]
    pub(crate) fn first<T>(&self, hash: u64, make_use: impl FnOnce(Location) -> T) -> Option<T> {
        self.shard(hash).slots.read().first(hash).map(make_use)
    }

    /// Asks the processor for the entries of this hash, which somebody is about to look at.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.shard(hash).slots.read().prefetch(hash);
    }

    /// The one way to change an entry; `None` removes it. Answers false, having done nothing, if
    /// things are no longer as `old` says.
    pub(crate) fn change(&self, hash: u64, old: Old, new: Option<Location>) -> bool {
        let mut slots = self.shard(hash).slots.write();
        match (old, new) {
            (Old::NoSuchHash, _) if slots.first(hash).is_some() => false,
            (Old::NoSuchHash | Old::NoSuchKey, None) => true,
            (Old::NoSuchHash | Old::NoSuchKey, Some(new)) => {
                slots.insert(hash, new);
                self.len.fetch_add(1, Ordering::Relaxed);
                true
            }
            (Old::At(old), Some(new)) => slots.replace(hash, old, new),
            (Old::At(old), None) => {
                let removed = slots.remove(hash, old);
                self.len.fetch_sub(usize::from(removed), Ordering::Relaxed);
                removed
            }
        }
    }

    /// Notes that the record at `location`, if an entry is still there, has passed its check.
    #[cold]
    pub(crate) fn mark_verified(&self, hash: u64, location: Location) {
        self.shard(hash).slots.write().replace(hash, location, location.verified());
    }

    /// How many shards there are, for [`KeyDirectory::visit_shard`].
    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Shows every location in one shard.
    pub(crate) fn visit_shard(&self, shard: usize, visitor: impl FnMut(Location)) {
        if let Some(shard) = self.shards.get(shard) {
            shard.slots.read().visit_all(visitor);
        }
    }

    /// Bytes of memory that the tables take.
    pub(crate) fn memory(&self) -> usize {
        let tables = self.shards.iter().map(|shard| shard.slots.read().memory());
        tables.sum::<usize>() + size_of_val(&*self.shards)
    }

    #[inline]
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
        assert!(keydir.change(7, Old::NoSuchKey, Some(at(1))));
        assert!(keydir.change(7, Old::NoSuchKey, Some(at(2))));
        assert!(!keydir.change(7, Old::NoSuchHash, Some(at(3))));
        assert!(keydir.change(8, Old::NoSuchHash, Some(at(3))));
        assert_eq!(places(&keydir, 7), [1, 2]);
        assert!(keydir.change(7, Old::At(at(1)), None));
        assert_eq!((places(&keydir, 7), places(&keydir, 8)), (vec![2], vec![3]));
        assert_eq!(keydir.len(), 2);
    }

    #[test]
    fn a_change_from_a_place_that_the_entry_has_left_does_nothing() {
        let keydir = KeyDirectory::new();
        keydir.change(7, Old::NoSuchKey, Some(at(1)));
        assert!(keydir.change(7, Old::At(at(1)), Some(at(2))));
        assert!(!keydir.change(7, Old::At(at(1)), Some(at(3))));
        assert!(!keydir.change(7, Old::At(at(1)), None));
        assert_eq!((places(&keydir, 7), keydir.len()), (vec![2], 1));
    }

    #[test]
    fn whether_it_is_verified_does_not_make_it_another_place() {
        let keydir = KeyDirectory::new();
        keydir.change(7, Old::NoSuchKey, Some(at(1)));
        keydir.mark_verified(7, at(1));
        keydir.visit(7, |location| assert!(location.is_verified()));
        assert!(keydir.is_at(7, at(1)));
        assert!(keydir.change(7, Old::At(at(1)), Some(at(2))));
        keydir.mark_verified(7, at(1));
        keydir.visit(7, |location| assert!(!location.is_verified()));
    }
}
