//! The ways to go through a store and its snapshots.

use std::ops::{Bound, RangeBounds};

use super::Run;
use super::machine::Contents;
use crate::error::Result;
use crate::keys::{Iter, Keys};
use crate::range::Range;
use crate::value::Value;

/// At a time.
const SNAPSHOTS: usize = 3;

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl Run {
    pub(super) fn take_snapshot(&mut self, in_place_of: usize) {
        if self.snapshots.len() == SNAPSHOTS {
            self.snapshots.remove(in_place_of % SNAPSHOTS);
        }
        self.snapshots.push((self.store.snapshot().unwrap(), self.values()));
        assert_eq!(self.store.stats().snapshots, self.snapshots.len());
    }

    pub(super) fn check_snapshots(&self) {
        for (snapshot, expected) in &self.snapshots {
            let found = snapshot.iter().map(own);
            assert_eq!(found.collect::<Contents>(), *expected);
        }
    }

    pub(super) fn scan(&self, start: Bound<u8>, end: Bound<u8>) {
        let (start, end) = (start.map(|key| self.key(key)), end.map(|key| self.key(key)));
        let bounds = (as_slice(&start), as_slice(&end));
        let store = &self.store;
        let range = |within: Bounds<'_>| store.range::<&[u8]>(within);
        let prefix = |bytes: &[u8]| store.prefix(bytes);
        check(&self.values(), bounds, store.keys(), store.iter(), range, prefix);
        for (snapshot, expected) in &self.snapshots {
            let range = |within: Bounds<'_>| snapshot.range::<&[u8]>(within);
            let prefix = |bytes: &[u8]| snapshot.prefix(bytes);
            check(expected, bounds, snapshot.keys(), snapshot.iter(), range, prefix);
            for key in expected.keys().chain(self.values().keys()) {
                let found = snapshot.get(key).unwrap();
                assert_eq!(found.as_deref(), expected.get(key).map(|value| &value[..]));
            }
        }
    }

    fn values(&self) -> Contents {
        self.now().into_iter().map(|(key, (value, _))| (key, value)).collect()
    }
}

/// That each way comes to what it should, and to nothing twice.
fn check<'s>(
    expected: &Contents,
    bounds: Bounds<'_>,
    keys: Keys<'s>,
    iter: Iter<'s>,
    range: impl Fn(Bounds<'_>) -> Range<'s>,
    prefix: impl Fn(&[u8]) -> Range<'s>,
) {
    let all: Vec<_> = expected.clone().into_iter().collect();
    let mut keys: Vec<_> = keys.map(|key| key.unwrap().to_vec()).collect();
    keys.sort_unstable();
    assert!(keys.iter().eq(expected.keys()), "{keys:?}\nexpected {expected:?}");
    let mut pairs: Vec<_> = iter.map(own).collect();
    pairs.sort_unstable();
    assert_eq!(pairs, all);

    let within = all.iter().filter(|(key, _)| RangeBounds::<[u8]>::contains(&bounds, &key[..]));
    let within: Vec<_> = within.cloned().collect();
    assert_eq!(range(bounds).map(own).collect::<Vec<_>>(), within);
    assert!(range(bounds).rev().map(own).eq(within.iter().rev().cloned()));
    // From both ends in turn, they meet in the middle.
    let (mut both, mut from_end) = (range(bounds), Vec::new());
    let mut from_start = Vec::new();
    while let Some(pair) = both.next() {
        from_start.push(own(pair));
        from_end.extend(both.next_back().map(own));
    }
    from_start.extend(from_end.into_iter().rev());
    assert_eq!(from_start, within);

    if let Bound::Included(start) | Bound::Excluded(start) = bounds.0 {
        let begin_so = all.iter().filter(|(key, _)| key.starts_with(start)).cloned();
        assert!(prefix(start).map(own).eq(begin_so.clone()));
        assert!(prefix(start).rev().map(own).eq(begin_so.rev()));
    }
}

fn own(pair: Result<(Value, Value)>) -> (Vec<u8>, Vec<u8>) {
    let (key, value) = pair.unwrap();
    (key.to_vec(), value.to_vec())
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(|key| &key[..])
}
