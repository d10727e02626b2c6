//! Iteration in no order: each key that stays comes exactly once, in whatever way and parts the store is gone through, and
//! whatever is done between two keys.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::hazards::{segment, spoil};
use super::support::{Contents, Machine, contents};
use crate::error::{Error, Result};
use crate::keys::{Iter, Keys};
use crate::options::{Durability, Verify};
use crate::store::Store;

/// They are there all the while.
const STAYING: u8 = 40;
/// These come and go.
const OTHERS: u8 = 20;

#[derive(Clone, Debug)]
enum Step {
    /// Asks one of the parts for so many of its keys, by slices or not.
    Show(usize, usize, bool),
    /// Makes two of the rest of a part.
    Split(usize),
    Put(u8, usize),
    Delete(u8),
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![8 => 1usize..60, 1 => 200usize..2000];
    prop_oneof![
        8 => (0usize..8, 1usize..9, any::<bool>()).prop_map(|(part, keys, slices)| Step::Show(part, keys, slices)),
        1 => (0usize..8).prop_map(Step::Split),
        6 => (0..STAYING + OTHERS, len).prop_map(|(key, len)| Step::Put(key, len)),
        3 => (STAYING..STAYING + OTHERS).prop_map(Step::Delete),
        2 => Just(Step::Compact),
    ]
}

/// Where hashes may have bits: everywhere; at the top, so that some are shared and lie in different pages; at the bottom, so that all
/// are in one page.
fn hash_mask() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(u64::MAX), 1 => Just(0xF8 << 56), 1 => Just(7u64)]
}

fn key(n: u8) -> Vec<u8> {
    format!("key {n}").into_bytes()
}

/// A value tells which write it is of.
fn value(write: usize, len: usize) -> Vec<u8> {
    format!("{write} ").into_bytes().into_iter().chain(std::iter::repeat_n(b'.', len)).collect()
}

/// A key, and its value if that is shown too.
type Shown = (Vec<u8>, Option<Vec<u8>>);

/// A way to go through the store, in parts.
trait Part<'a>: Sized {
    fn halves(self) -> Vec<Self>;
    fn show(&mut self, slices: bool) -> Option<Result<Shown>>;
}

impl<'a> Part<'a> for Keys<'a> {
    fn halves(self) -> Vec<Self> {
        self.split(2)
    }

    fn show(&mut self, slices: bool) -> Option<Result<Shown>> {
        Some(match slices {
            true => self.next_slice()?.map(|key| (key.to_vec(), None)),
            false => self.next()?.map(|key| (key.to_vec(), None)),
        })
    }
}

impl<'a> Part<'a> for Iter<'a> {
    fn halves(self) -> Vec<Self> {
        self.split(2)
    }

    fn show(&mut self, slices: bool) -> Option<Result<Shown>> {
        Some(match slices {
            true => self.next_slices()?.map(|(key, value)| (key.to_vec(), Some(value.to_vec()))),
            false => self.next()?.map(|(key, value)| (key.to_vec(), Some(value.to_vec()))),
        })
    }
}

/// All that a way shows while the steps are done.
fn shown<'a>(
    mut parts: Vec<impl Part<'a>>,
    steps: &[Step],
    mut write: impl FnMut(&Step),
) -> Vec<Shown> {
    let mut shown = Vec::new();
    for step in steps {
        match *step {
            Step::Show(part, keys, slices) => {
                let part = part % parts.len();
                shown.extend((0..keys).map_while(|_| parts[part].show(slices)).map(Result::unwrap));
            }
            Step::Split(part) => {
                let part = parts.swap_remove(part % parts.len());
                parts.extend(part.halves());
            }
            _ => write(step),
        }
    }
    for part in &mut parts {
        while let Some(found) = part.show(true) {
            shown.push(found.unwrap());
        }
        assert!(part.show(false).is_none() && part.show(true).is_none(), "the end is the end");
    }
    shown
}

/// The values that each key has had.
type History = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// Writes, and keeps what was written.
fn write(store: &Store, history: &mut History, writes: &mut usize, step: &Step) {
    match *step {
        Step::Put(n, len) => {
            *writes += 1;
            store.put(key(n), value(*writes, len)).unwrap();
            history.entry(key(n)).or_default().push(value(*writes, len));
        }
        Step::Delete(n) => drop(store.delete(key(n)).unwrap()),
        _ => drop(store.compact().unwrap()),
    }
}

/// That each key that stayed has come once, any other at the most once, and each with a value that it had.
fn check(shown: &[Shown], history: &History) {
    let mut times: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (key, value) in shown {
        *times.entry(key).or_default() += 1;
        let had = history.get(key).unwrap();
        assert!(value.as_ref().is_none_or(|value| had.contains(value)), "{key:?}: {value:?}");
    }
    for n in 0..STAYING {
        assert_eq!(times.get(&key(n)[..]), Some(&1), "key {n}");
    }
    assert!(times.values().all(|&times| times == 1), "{times:?}");
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(200) })]

    #[test]
    fn what_stays_comes_exactly_once_in_one_of_the_parts_whatever_is_done_meanwhile(
        steps in prop::collection::vec(step(), 0..80),
        before in prop::collection::vec(step(), 0..40),
        parts in 0usize..5,
        hash_mask in hash_mask(),
        buffered: bool,
    ) {
        let mut machine = Machine { hash_mask, ..Machine::new(4096) };
        if buffered {
            machine.options = machine.options.durability(Durability::Buffered);
        }
        for with_values in [false, true] {
            let machine = machine.copy();
            let store = machine.open().unwrap();
            let (mut history, mut writes) = (History::new(), 0);
            for n in 0..STAYING {
                write(&store, &mut history, &mut writes, &Step::Put(n, 10));
            }
            for step in before.iter().filter(|step| !matches!(step, Step::Show(..) | Step::Split(_))) {
                write(&store, &mut history, &mut writes, step);
            }
            // What it has from here on.
            let now = contents(&store);
            history = now.iter().map(|(key, value)| (key.clone(), vec![value.clone()])).collect();
            let snapshot = store.snapshot().unwrap();
            let write_one = |step: &Step| write(&store, &mut history, &mut writes, step);
            let found = match with_values {
                false => shown(store.keys().split(parts), &steps, write_one),
                true => shown(store.iter().split(parts), &steps, write_one),
            };
            check(&found, &history);

            // A snapshot's parts are all that there was.
            let write_one = |step: &Step| write(&store, &mut history, &mut writes, step);
            let found = shown(snapshot.iter().split(parts), &steps, write_one);
            let contents: Contents =
                found.iter().map(|(key, value)| (key.clone(), value.clone().unwrap())).collect();
            prop_assert_eq!(found.len(), now.len());
            prop_assert_eq!(contents, now);
        }
    }
}

#[test]
fn a_record_is_checked_when_it_comes_by_and_a_bad_one_is_an_error_in_its_place() {
    for verify in [Verify::Once, Verify::Always, Verify::Never] {
        let machine = Machine::new(4096);
        let machine = Machine { options: machine.options.clone().verify(verify), ..machine };
        let store = machine.open().unwrap();
        let keys = ["a", "b", "c"];
        keys.iter().for_each(|key| store.put(key, format!("value of {key}")).unwrap());
        store.flush().unwrap();
        let seen = |key: &str| {
            let index = store.index();
            index.keydir.first(index.hash(key.as_bytes())).unwrap().is_verified()
        };
        let is_marked = verify == Verify::Never;
        assert!(keys.iter().all(|key| seen(key) == is_marked), "{verify:?}");

        spoil(&machine, "00000001.data", "value of b");
        let is_bad = verify != Verify::Never;
        for slices in [false, true] {
            let (mut pairs, mut keys) = (store.iter(), store.keys());
            let found: Vec<_> = std::iter::from_fn(|| pairs.show(slices)).collect();
            let found_keys: Vec<_> = std::iter::from_fn(|| keys.show(slices)).collect();
            assert_eq!((found.len(), found_keys.len()), (3, 3), "one for each key");
            let corrupt = |item: &Result<_>| matches!(item, Err(Error::Corrupt { .. }));
            assert_eq!(found.iter().filter(|item| corrupt(item)).count(), usize::from(is_bad));
            assert_eq!(found_keys.iter().filter(|item| corrupt(item)).count(), usize::from(is_bad));
        }
        // Who has passed need not be looked at again.
        let is_marked = verify != Verify::Always;
        assert!(["a", "c"].iter().all(|key| seen(key) == is_marked), "{verify:?}");
        assert_eq!(seen("b"), verify == Verify::Never);
    }
}

#[test]
fn records_of_every_kind_come_as_slices_as_they_do_as_values() {
    // So small that what is sealed stays where it is.
    let mut machine = Machine::new(16 << 10);
    segment(&machine, |store| {
        store.put("plain", "value").unwrap();
        store.put("", "of the empty key").unwrap();
        store.put_aligned("aligned", [7; 300], 64).unwrap();
        store.put_with_ttl("expires", "soon", std::time::Duration::from_secs(1)).unwrap();
        store.put("large", vec![b'l'; 9000]).unwrap();
    });
    machine.options = machine.options.durability(Durability::Buffered);
    for read_only in [false, true] {
        let machine = if read_only { machine.read_only() } else { machine.clone() };
        let store = machine.open().unwrap();
        if !read_only {
            store.put("in the file", "flushed").unwrap();
            store.flush().unwrap();
            // So many that one comes before one in a mapping.
            (0..20).for_each(|n| store.put([n], "not flushed").unwrap());
        }
        for time in [0, 2_000_000] {
            machine.time.set(time);
            let by_value: Contents = store
                .iter()
                .map(|pair| pair.unwrap())
                .map(|(k, v)| (k.to_vec(), v.to_vec()))
                .collect();
            let (mut pairs, mut by_slice) = (store.iter(), Contents::new());
            while let Some(pair) = pairs.next_slices() {
                let (key, value) = pair.unwrap();
                by_slice.insert(key.to_vec(), value.to_vec());
            }
            let (mut keys, mut by_key) = (store.keys(), Vec::new());
            while let Some(key) = keys.next_slice() {
                by_key.push(key.unwrap().to_vec());
            }
            by_key.sort();
            assert_eq!(by_slice, by_value);
            assert!(by_key.iter().eq(by_value.keys()));
            assert_eq!(by_value.contains_key(&b"expires"[..]), time == 0);
            let expected: BTreeMap<_, _> = [
                ("plain", b"value".to_vec()),
                ("", b"of the empty key".to_vec()),
                ("aligned", vec![7; 300]),
                ("large", vec![b'l'; 9000]),
            ]
            .into();
            for (key, value) in expected {
                assert_eq!(by_value.get(key.as_bytes()), Some(&value), "{key}");
            }
        }
        machine.time.set(0);
        store.close().unwrap();
    }
}

#[test]
fn what_a_read_only_store_holds_in_pieces_comes_as_slices() {
    const LEN: usize = 9 << 20;
    let machine = Machine::new(64 << 20);
    let store = machine.open().unwrap();
    (0..3).for_each(|n| store.put([n], vec![n; LEN]).unwrap());
    store.flush().unwrap();
    let reading = machine.read_only().open().unwrap();
    let (mut pairs, mut found) = (reading.iter(), Vec::new());
    while let Some(pair) = pairs.next_slices() {
        let (key, value) = pair.unwrap();
        assert!(value.len() == LEN && value.iter().all(|byte| [*byte] == key));
        found.push(key.to_vec());
    }
    found.sort();
    assert_eq!(found, [[0], [1], [2]]);
}

#[test]
fn a_walk_keeps_the_segments_of_its_page_until_it_has_ended() {
    let store = Machine::new(4096).open().unwrap();
    (0..9).for_each(|n| store.put([n], [n; 50]).unwrap());
    store.put([0], [100; 50]).unwrap();
    let mut walk = store.iter();
    let first = walk.next_slices().unwrap().unwrap();
    let first = (first.0.to_vec(), first.1.to_vec());
    store.compact().unwrap();
    assert_eq!(store.stats().pinned_segments, 1);
    let mut found = vec![first];
    while let Some(pair) = walk.next_slices() {
        found.push(pair.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap());
    }
    assert_eq!(store.stats().pinned_segments, 0, "it has ended");
    found.sort();
    assert_eq!((found.len(), &found[0].1[..]), (9, &[100; 50][..]));
    assert!(walk.next().is_none());
}

#[test]
fn the_end_of_the_store_is_told_once() {
    let store = Machine::new(4096).open().unwrap();
    (0..9).for_each(|n| store.put([n], "value").unwrap());
    let other = store.clone();
    let mut parts = other.iter().split(2);
    parts.push(other.iter());
    parts[0].next_slices();
    store.close().unwrap();
    for part in &mut parts {
        assert!(matches!(part.next_slices(), Some(Err(Error::Closed))));
        assert!(part.next_slices().is_none() && part.next().is_none());
    }
}

#[test]
fn parts_go_to_other_threads() {
    fn goes<T: Send>(_: &T) {}
    let store = Machine::new(4096).open().unwrap();
    goes(&store.iter());
    goes(&store.keys());
    for parts in [0, 1, 7] {
        assert_eq!(store.keys().split(parts).len(), parts.max(1));
    }
}
