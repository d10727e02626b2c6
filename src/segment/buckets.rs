//! How many records expire, and their bytes, by the time at which they do.
//!
//! A bucket holds what expires within an interval of time: a second at first, and twice as much whenever there
//! are too many buckets. So a segment's cost a few KiB at the most, whatever the times.
//!
//! Invariants:
//! - What was added and is taken out with the same time is gone, whatever was merged in between.
//! - A bucket counts when the last moment of its interval has come: what counts has expired.

use std::collections::BTreeMap;

use super::Amount;

/// The logarithm of the first width, in microseconds: 1.05 s.
const FIRST_WIDTH: u32 = 20;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Buckets {
    /// None is empty. The key is that of every time in the interval, without its low bits.
    amounts: BTreeMap<u64, Amount>,
    /// The low bits that are left out.
    width: u32,
}

impl Default for Buckets {
    fn default() -> Self {
        Buckets { amounts: BTreeMap::new(), width: FIRST_WIDTH }
    }
}

impl Buckets {
    /// Of a segment, at the most.
    pub(crate) const MOST: usize = 1024;

    /// Adds a record that expires at a time in microseconds since the epoch.
    pub(super) fn add(&mut self, expires_at: u64, len: u64) {
        self.amounts.entry(expires_at >> self.width).or_default().add(Amount::record(len));
        while self.amounts.len() > Self::MOST {
            self.widen();
        }
    }

    /// Takes out what was added with this time. What never was, a record that has gone bad since say, takes
    /// no more than there is.
    pub(super) fn take_out(&mut self, expires_at: u64, len: u64) {
        let bucket = expires_at >> self.width;
        if let Some(amount) = self.amounts.get_mut(&bucket) {
            amount.take(Amount::record(len));
            if amount.bytes == 0 {
                self.amounts.remove(&bucket);
            }
        }
    }

    /// What is in the buckets that have passed at `now`.
    pub(super) fn passed(&self, now: u64) -> Amount {
        let last_moment = |bucket: u64| bucket << self.width | ((1 << self.width) - 1);
        let passed = self.amounts.iter().take_while(|(bucket, _)| last_moment(**bucket) <= now);
        let mut sum = Amount::default();
        passed.for_each(|(_, amount)| sum.add(*amount));
        sum
    }

    /// How many low bits of a time play no part.
    pub(crate) fn width(&self) -> u32 {
        self.width
    }

    /// What is in each bucket.
    pub(crate) fn parts(&self) -> impl ExactSizeIterator<Item = (u64, Amount)> {
        self.amounts.iter().map(|(bucket, amount)| (*bucket, *amount))
    }

    /// As they were when these were their parts; `None` if they cannot have been.
    pub(crate) fn of_parts(width: u32, parts: Vec<(u64, Amount)>) -> Option<Self> {
        let (count, most) = (parts.len(), u64::MAX.checked_shr(width)?);
        let is_right = |(bucket, amount): &(u64, Amount)| *bucket <= most && amount.bytes > 0;
        let are_right = width >= FIRST_WIDTH
            && count <= Self::MOST
            && parts.iter().all(is_right)
            && parts.is_sorted_by_key(|(bucket, _)| *bucket);
        let amounts = BTreeMap::from_iter(parts);
        (are_right && amounts.len() == count).then_some(Buckets { amounts, width })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.amounts.is_empty()
    }

    fn widen(&mut self) {
        self.width += 1;
        for (bucket, amount) in std::mem::take(&mut self.amounts) {
            self.amounts.entry(bucket >> 1).or_default().add(amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1 << FIRST_WIDTH;

    /// Times close together, far apart, and at the ends of the numbers.
    fn time() -> impl Strategy<Value = u64> {
        prop_oneof![
            1 => 0..4 * SECOND,
            4 => 0..(5000 * SECOND),
            4 => any::<u64>(),
            1 => Just(u64::MAX),
            1 => (0u32..64).prop_map(|log2| 1 << log2),
        ]
    }

    /// What has expired at `now` of records that are there.
    fn expired(records: &[(u64, u64)], now: u64) -> Amount {
        let mut sum = Amount::default();
        let expired = records.iter().filter(|(at, _)| *at <= now);
        expired.for_each(|(_, len)| sum.add(Amount::record(*len)));
        sum
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_has_passed_has_expired_and_what_expired_a_width_ago_has_passed(
            records in prop::collection::vec((time(), 1u64..1000), 0..2000),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..300),
            times in prop::collection::vec(time(), 1..20),
        ) {
            let (mut buckets, mut records) = (Buckets::default(), records);
            for (at, len) in &records {
                buckets.add(*at, *len);
            }
            for one in &gone {
                if !records.is_empty() {
                    let (at, len) = records.swap_remove(one.index(records.len()));
                    buckets.take_out(at, len);
                }
            }
            prop_assert!(buckets.amounts.len() <= Buckets::MOST);
            prop_assert!(buckets.amounts.values().all(|one| one.bytes > 0 && one.records > 0));
            let width = 1u64 << buckets.width;
            let ends = records.iter().flat_map(|(at, _)| [*at, at.saturating_sub(1)]);
            let last = buckets.amounts.keys().map(|bucket| bucket * width + (width - 1));
            let ends = ends.step_by(31).chain(last.step_by(17));
            for now in times.iter().copied().chain(ends) {
                let passed = buckets.passed(now);
                let most = expired(&records, now);
                prop_assert!(passed.bytes <= most.bytes && passed.records <= most.records);
                let before = now.checked_sub(width - 1);
                let least = before.map_or(Amount::default(), |before| expired(&records, before));
                prop_assert!(passed.bytes >= least.bytes && passed.records >= least.records);
            }
            for (at, len) in records {
                buckets.take_out(at, len);
            }
            prop_assert!(buckets.amounts.is_empty());
        }
    }

    #[test]
    fn a_bucket_counts_from_its_last_moment_on() {
        let mut buckets = Buckets::default();
        buckets.add(SECOND, 1);
        buckets.add(2 * SECOND - 1, 10);
        buckets.add(2 * SECOND, 100);
        assert_eq!(buckets.passed(2 * SECOND - 2).bytes, 0, "some of it has not expired");
        assert_eq!(buckets.passed(2 * SECOND - 1), Amount { records: 2, bytes: 11 });
        assert_eq!(buckets.passed(u64::MAX), Amount { records: 3, bytes: 111 });
    }

    #[test]
    fn buckets_widen_when_there_are_too_many_and_a_few_outliers_do_not_widen_them() {
        let mut buckets = Buckets::default();
        for n in 0..1000 {
            buckets.add(n * SECOND, 1);
            buckets.add(u64::MAX - n, 1);
        }
        assert_eq!(buckets.width, FIRST_WIDTH);
        for n in 0..3000 {
            buckets.add(n * SECOND, 1);
        }
        assert_eq!(buckets.width, FIRST_WIDTH + 2);
        assert_eq!(buckets.passed(4 * SECOND).bytes, 8, "four seconds are a bucket");
    }

    #[test]
    fn what_was_never_added_takes_nothing_but_what_is_there() {
        let mut buckets = Buckets::default();
        buckets.add(0, 5);
        buckets.take_out(SECOND, 3);
        buckets.take_out(1, 9);
        assert_eq!(buckets.passed(u64::MAX), Amount::default());
        buckets.add(0, 5);
        assert_eq!(buckets.passed(u64::MAX), Amount::record(5));
    }
}
