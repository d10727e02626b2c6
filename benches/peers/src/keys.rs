//! Keys, values and orders, the same in every run and for every store.
//!
//! Keys lie back to back, in the order in which they will be asked for, so that reading the
//! question costs each store the same next to nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Length of every key, in bytes.
pub(crate) const KEY_LEN: usize = 24;

/// Values are slices of a pool of so many random bytes: they do not compress, and cost nothing to make.
const POOL_LEN: usize = 4 << 20;

const KEYS_SEED: u64 = 1;
const ABSENT_SEED: u64 = 2;
const VALUES_SEED: u64 = 3;

/// `SplitMix64` (Steele, Lea and Flood, 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// From 0 to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
    }

    /// The numbers below `n` in a random order (Fisher and Yates).
    pub(crate) fn order(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

/// Byte strings of one length, back to back.
pub(crate) struct Flat {
    bytes: Vec<u8>,
    len: usize,
}

impl Flat {
    fn random(seed: u64, n: usize, len: usize) -> Self {
        let mut bytes = vec![0; n * len];
        Random(seed).fill(&mut bytes);
        Flat { bytes, len }
    }

    pub(crate) fn get(&self, i: u32) -> &[u8] {
        &self.bytes[i as usize * self.len..][..self.len]
    }

    pub(crate) fn count(&self) -> usize {
        self.bytes.len() / self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.bytes.chunks_exact(self.len)
    }

    /// Those that `order` names, in that order.
    pub(crate) fn reordered(&self, order: &[u32]) -> Flat {
        let mut bytes = Vec::with_capacity(order.len() * self.len);
        for &i in order {
            bytes.extend_from_slice(self.get(i));
        }
        Flat { bytes, len: self.len }
    }
}

/// How many keys, and how long their values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) keys: usize,
    pub(crate) value_len: usize,
}

impl Shape {
    /// A name for a directory.
    pub(crate) fn slug(self) -> String {
        format!("{}x{}", self.keys, self.value_len)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.keys {
            keys if keys >= 1_000_000 && keys % 100_000 == 0 => {
                write!(f, "{} M", keys as f64 / 1e6)?;
            }
            keys if keys >= 1000 && keys % 1000 == 0 => write!(f, "{} k", keys / 1000)?,
            keys => write!(f, "{keys}")?,
        }
        match self.value_len {
            len if len >= 1024 && len % 1024 == 0 => write!(f, " × {} KiB", len / 1024),
            len => write!(f, " × {len} B"),
        }
    }
}

/// What a store of one shape holds. Records come in the order of their numbers, which is random to
/// whatever sorts or hashes keys.
pub(crate) struct Records {
    pub(crate) shape: Shape,
    pub(crate) keys: Flat,
    pool: Vec<u8>,
}

impl Records {
    pub(crate) fn new(shape: Shape) -> Self {
        let mut pool = vec![0; POOL_LEN + shape.value_len];
        Random(VALUES_SEED).fill(&mut pool);
        Records { shape, keys: Flat::random(KEYS_SEED, shape.keys, KEY_LEN), pool }
    }

    pub(crate) fn key(&self, i: u32) -> &[u8] {
        self.keys.get(i)
    }

    /// The value that record `i` is loaded with.
    pub(crate) fn value(&self, i: u32) -> &[u8] {
        self.value_of_update(u64::from(i))
    }

    /// The value of the `n`th update of a run; those of loading have the numbers of their records.
    pub(crate) fn value_of_update(&self, n: u64) -> &[u8] {
        &self.pool[Random(n).below(POOL_LEN)..][..self.shape.value_len]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (0..self.shape.keys as u32).map(|i| (self.key(i), self.value(i)))
    }

    /// The records' numbers in the order of their keys, for stores that like to be loaded so. Making
    /// it is a part of loading.
    pub(crate) fn sorted(&self) -> Vec<u32> {
        // By the first eight bytes, beside the number: keys themselves only where those are equal.
        let head = |i: u32| {
            let mut head = [0; 8];
            head.copy_from_slice(&self.key(i)[..8]);
            u64::from_be_bytes(head)
        };
        let mut heads: Vec<(u64, u32)> =
            (0..self.shape.keys as u32).map(|i| (head(i), i)).collect();
        heads.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| self.key(a.1).cmp(self.key(b.1))));
        heads.into_iter().map(|(_, i)| i).collect()
    }

    /// So many keys that no record has.
    pub(crate) fn absent(&self, n: usize) -> Flat {
        Flat::random(ABSENT_SEED, n, KEY_LEN)
    }
}

/// Ranks from 0 to below `n`, rank `r` about as often as 1/(r+1)^0.99 (Gray et al., 1994, as in YCSB).
pub(crate) struct Zipf {
    n: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    const THETA: f64 = 0.99;

    pub(crate) fn new(n: usize) -> Self {
        let zeta_of = |n: usize| (1..=n).map(|i| (i as f64).powf(-Self::THETA)).sum::<f64>();
        let (zeta, zeta_two) = (zeta_of(n), zeta_of(2));
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - Self::THETA)) / (1.0 - zeta_two / zeta);
        Zipf { n: n as f64, zeta, alpha: 1.0 / (1.0 - Self::THETA), eta }
    }

    pub(crate) fn rank(&self, random: &mut Random) -> usize {
        let u = random.unit();
        let scaled = u * self.zeta;
        if scaled < 1.0 {
            0
        } else if scaled < 1.0 + 0.5f64.powf(Self::THETA) {
            1
        } else {
            let rank = self.n * (self.eta * u - self.eta + 1.0).powf(self.alpha);
            (rank as usize).min(self.n as usize - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_is_the_order_of_the_keys() {
        let records = Records::new(Shape { keys: 5000, value_len: 8 });
        let sorted = records.sorted();
        assert!(sorted.windows(2).all(|pair| records.key(pair[0]) < records.key(pair[1])));
        assert_eq!(sorted.len(), 5000);
    }

    #[test]
    fn zipf_draws_ranks_as_often_as_it_says() {
        let (n, draws) = (1000, 200_000);
        let zipf = Zipf::new(n);
        let mut random = Random(7);
        let mut counts = vec![0usize; n];
        for _ in 0..draws {
            counts[zipf.rank(&mut random)] += 1;
        }
        let zeta: f64 = (1..=n).map(|i| (i as f64).powf(-Zipf::THETA)).sum();
        for rank in [0, 1] {
            let expected = draws as f64 * ((rank + 1) as f64).powf(-Zipf::THETA) / zeta;
            assert!((counts[rank] as f64 / expected - 1.0).abs() < 0.05, "{rank}: {counts:?}");
        }
        // The method is exact for the first two and close for the rest together.
        let tail: usize = counts[100..].iter().sum();
        let zeta_tail: f64 = (101..=n).map(|i| (i as f64).powf(-Zipf::THETA)).sum();
        assert!((tail as f64 / (draws as f64 * zeta_tail / zeta) - 1.0).abs() < 0.1);
    }
}
