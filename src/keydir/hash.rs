//! The keyed hash: which 64 bits stand for a key.
//!
//! SipHash-1-3 (Aumasson and Bernstein, <https://131002.net/siphash/>) over the key's bytes, under
//! the store's random 128-bit seed: stable, so that a hash may be stored, and a pseudo-random
//! function, so that who chooses the keys cannot choose where they collide. docs/format.md freezes
//! it, with vectors.

use siphasher::sip::SipHasher13;

#[derive(Clone, Copy)]
pub(crate) struct KeyHasher {
    sip: SipHasher13,
    /// All ones, except in tests that want collisions.
    mask: u64,
}

impl KeyHasher {
    pub(crate) fn new(seed: &[u8; 16], mask: u64) -> Self {
        KeyHasher { sip: SipHasher13::new_with_key(seed), mask }
    }

    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.sip.hash(key) & self.mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of docs/format.md.
    #[test]
    fn the_hash_is_the_frozen_one() {
        let seed: [u8; 16] = std::array::from_fn(|i| i as u8);
        let hasher = KeyHasher::new(&seed, u64::MAX);
        let bytes: Vec<u8> = (0..64).collect();
        let hashes = [0, 1, 8, 24, 63].map(|len| hasher.hash(&bytes[..len]));
        assert_eq!(hashes, HASHES);
        assert_ne!(KeyHasher::new(&[0; 16], u64::MAX).hash(b"key"), hasher.hash(b"key"));
    }

    const HASHES: [u64; 5] = [
        0xabac_0158_050f_c4dc,
        0xc9f4_9bf3_7d57_ca93,
        0x3690_9511_8d29_9a8e,
        0xf464_aeb2_6734_9c8c,
        0x9d19_9062_b7bb_b3a8,
    ];
}
