//! What entries were at one moment, kept by their hashes from their first change after it.
//!
//! Invariant **K8**: the entries of a hash are noted before the first of them changes, both by who holds the
//! writer's lock. So who reads an entry and then finds its hash not noted has read what it was at
//! that moment; and a hash that is noted stays as it was noted.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::location::Location;
use crate::sync::Mutex;

#[derive(Default)]
pub(crate) struct Overlay {
    pub(super) changed: Mutex<Changed>,
}

/// The locations of all entries with a hash, of each that may have changed: nearly always one, or none.
#[derive(Default)]
pub(super) struct Changed(BTreeMap<u64, Vec<Location>>);

impl Overlay {
    /// The entries of a hash, if they may have changed since.
    pub(super) fn get(&self, hash: u64) -> Option<Vec<Location>> {
        self.changed.lock().0.get(&hash).cloned()
    }

    pub(super) fn note(&self, hash: u64, now: impl FnOnce() -> Vec<Location>) {
        self.changed.lock().0.entry(hash).or_insert_with(now);
    }

    /// How many hashes it has.
    pub(crate) fn len(&self) -> usize {
        self.changed.lock().len()
    }
}

impl Changed {
    pub(super) fn has(&self, hash: u64) -> bool {
        self.0.contains_key(&hash)
    }

    /// Shows the entries of some of the hashes.
    pub(super) fn visit(
        &self,
        hashes: RangeInclusive<u64>,
        mut visitor: impl FnMut(u64, Location),
    ) {
        for (&hash, locations) in self.0.range(hashes) {
            locations.iter().for_each(|&location| visitor(hash, location));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
