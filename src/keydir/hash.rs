//! The keyed hash: which 64 bits stand for a key.
//!
//! rapidhash V3 (Nicolas De Carli, <https://github.com/Nicoshev/rapidhash>), its seed and its secrets
//! made from the store's random 128 bits: stable, so that a hash may be stored, and a quarter of
//! the instructions of SipHash-1-3, so that the processor gets on to the next key. Collisions that hold for every
//! seed are known for its default secrets only. docs/format.md freezes it, with vectors.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_inline};

#[derive(Clone)]
pub(crate) struct KeyHasher {
    secrets: RapidSecrets,
    /// All ones, except in tests that want collisions.
    mask: u64,
}

impl KeyHasher {
    pub(crate) fn new(seed: &[u8; 16], mask: u64) -> Self {
        let [low, high] = zerocopy::transmute!(*seed);
        let secrets = RapidSecrets::seed(u64::from_le_bytes(low)).secrets;
        KeyHasher { secrets: RapidSecrets { seed: u64::from_le_bytes(high), secrets }, mask }
    }

    #[inline(always)]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        rapidhash_v3_inline::<true, false, false>(key, &self.secrets) & self.mask
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
        0x8eec_ce85_f2c7_14dd,
        0x77aa_25a7_afb3_ef4f,
        0xb388_fcf0_de98_e36d,
        0x5a0f_ad4e_37b7_7f2c,
        0x0a41_601e_46c2_3df1,
    ];
}
