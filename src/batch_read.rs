//! Looking many keys up in stages, so that their cache misses overlap: first all slots are asked
//! for, then all slots read and all records asked for, then all records compared.

use crate::index::Index;
use crate::location::Location;
use crate::segment::Slots;

/// Keys in a batch: more misses than the processor can have under way at a time.
pub(crate) const LEN: usize = 64;

/// Keys that have been asked for, at most [`LEN`].
pub(crate) struct Asked {
    hashes: [u64; LEN],
    locations: [Option<Location>; LEN],
}

impl Asked {
    #[inline]
    pub(crate) fn new<K: AsRef<[u8]>>(index: &Index, slots: &Slots, keys: &[K]) -> Self {
        let mut asked = Asked { hashes: [0; LEN], locations: [None; LEN] };
        for (hash, key) in asked.hashes.iter_mut().zip(keys) {
            *hash = index.hash(key.as_ref());
            index.keydir.prefetch(*hash);
        }
        for (location, &hash) in asked.locations.iter_mut().zip(&asked.hashes).take(keys.len()) {
            *location = index.keydir.first(hash);
            if let Some(location) = *location
                && let Some(region) = slots.mapping(location.slot())
            {
                region.prefetch(location.offset() as usize);
            }
        }
        asked
    }

    #[inline]
    pub(crate) fn hash(&self, n: usize) -> u64 {
        self.hashes[n]
    }

    /// Where the first entry of the `n`th key's hash stands.
    #[inline]
    pub(crate) fn location(&self, n: usize) -> Option<Location> {
        self.locations[n]
    }
}
