//! Ranges and prefixes, of keys that are sorted when asked for and of keys that are kept in order.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::support::Machine;
use crate::error::Error;
use crate::range::Range;
use crate::record::Record;
use crate::store::Store;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn machines() -> impl Iterator<Item = Machine> {
    [false, true].into_iter().map(|ordered| {
        let machine = Machine::new(4096);
        let options = machine.options.clone().ordered(ordered);
        Machine { options, ..machine }
    })
}

fn pairs(range: Range<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let own = |pair: crate::Result<(crate::Value, crate::Value)>| {
        pair.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()
    };
    range.map(own).collect()
}

fn all_ordered(store: &Store) -> Vec<Vec<u8>> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    let keys = store.index().ordered().unwrap().some(&all, usize::MAX, false);
    keys.into_iter().map(Vec::from).collect()
}

/// Short keys of few different bytes, so that many are prefixes of others; 255 has nothing behind it.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0u8), Just(7), Just(254), Just(255)], 0..4)
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
        Just(Bound::Unbounded)
    ]
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(300) })]

    #[test]
    fn a_range_is_that_of_a_map(
        writes in prop::collection::vec((key(), prop::option::weighted(0.7, any::<u8>())), 0..60),
        start in bound(),
        end in bound(),
        beginning in key(),
        from_end in prop::collection::vec(any::<bool>(), 0..80),
        reopen: bool,
    ) {
        for machine in machines() {
            let (mut store, mut map) = (machine.open().unwrap(), Map::new());
            for (key, value) in &writes {
                match value {
                    Some(value) => {
                        store.put(key, [*value]).unwrap();
                        map.insert(key.clone(), vec![*value]);
                    }
                    None => prop_assert_eq!(store.delete(key).unwrap(), map.remove(key).is_some()),
                }
            }
            if reopen {
                store.close().unwrap();
                store = machine.open().unwrap();
            }
            let bounds = (start.clone(), end.clone());
            let mut expected: Vec<_> = map.clone().into_iter().filter(|(key, _)| {
                use std::ops::RangeBounds;
                RangeBounds::<Vec<u8>>::contains(&bounds, key)
            }).collect();
            prop_assert_eq!(pairs(store.range(bounds.clone())), &expected[..]);
            let mut range = store.range(bounds);
            for from_end in &from_end {
                let (found, expected) = if *from_end {
                    (range.next_back(), expected.pop())
                } else {
                    let is_empty = expected.is_empty();
                    (range.next(), (!is_empty).then(|| expected.remove(0)))
                };
                let found = found.map(|pair| pair.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap());
                prop_assert_eq!(found, expected);
            }
            let expected: Vec<_> =
                map.clone().into_iter().filter(|(key, _)| key.starts_with(&beginning)).collect();
            prop_assert_eq!(pairs(store.prefix(&beginning)), expected);
        }
    }
}

#[test]
fn more_keys_than_are_taken_at_a_time_come_from_both_ends() {
    for machine in machines() {
        let store = machine.open().unwrap();
        (0..1000u16).for_each(|n| store.put(n.to_be_bytes(), "x").unwrap());
        let number = |pair: Option<crate::Result<(crate::Value, crate::Value)>>| {
            u16::from_be_bytes((*pair.unwrap().unwrap().0).try_into().unwrap())
        };
        let mut range = store.range::<&[u8]>(..);
        for n in 0..500 {
            assert_eq!(number(range.next()), n);
            assert_eq!(number(range.next_back()), 999 - n);
        }
        assert!(range.next().is_none() && range.next_back().is_none());
    }
}

#[test]
fn what_changes_on_the_way_is_seen_as_it_is_then() {
    for machine in machines() {
        let store = machine.open().unwrap();
        for key in ["a", "b", "c"] {
            store.put(key, "old").unwrap();
        }
        let mut range = store.range::<&str>(..);
        assert_eq!(range.next().unwrap().unwrap().0, "a");
        store.delete("b").unwrap();
        store.put("c", "new").unwrap();
        store.compact().unwrap();
        let (key, value) = range.next().unwrap().unwrap();
        assert!(key == "c" && value == "new");
        assert!(range.next().is_none());
    }
}

#[test]
fn a_range_of_a_closed_store_ends_with_that() {
    for machine in machines() {
        let store = machine.open().unwrap();
        store.put("a", "x").unwrap();
        let mut range = store.range::<&str>(..);
        store.clone().close().unwrap();
        assert!(matches!(range.next(), Some(Err(Error::Closed))) && range.next_back().is_none());
    }
}

#[test]
fn a_bad_record_hides_no_other() {
    for machine in machines() {
        let records = ["a", "b", "c"].map(|key| Record::plain(1, key.as_bytes(), b"value"));
        machine.write_records("00000001.data", &records);
        machine.flip("00000001.data", machine.find("00000001.data", b"bvalue").unwrap() + 2);
        machine.write_records("00000002.data", &[Record::plain(1, b"d", b"value")]);
        let store = machine.open().unwrap();
        let (good, bad): (Vec<_>, Vec<_>) = store.range::<&str>(..).partition(Result::is_ok);
        assert_eq!((good.len(), bad.len()), (3, 1));
        assert!(matches!(bad[0], Err(Error::Corrupt { .. })));
    }
}

#[test]
fn the_order_has_no_key_that_is_gone() {
    let Some(machine) = machines().nth(1) else { return };
    let expiring = |key, at| Record { expires_at: Some(at), ..Record::plain(1, key, b"value") };
    machine.write_records("00000001.data", &[expiring(b"a", 100), Record::plain(1, b"b", b"x")]);
    let store = machine.open().unwrap();
    store.put("c", "x").unwrap();
    store.put("d", "x").unwrap();
    store.delete("d").unwrap();
    machine.time.set(100);
    assert_eq!(pairs(store.range::<&str>(..)).len(), 2);
    store.compact().unwrap();
    assert_eq!(all_ordered(&store), [b"b", b"c"]);
    let reading = machine.read_only().open().unwrap();
    assert_eq!(all_ordered(&reading), [b"b", b"c"]);
    store.delete("b").unwrap();
    store.put("e", "x").unwrap();
    store.compact().unwrap();
    reading.refresh().unwrap();
    assert_eq!(all_ordered(&reading), [b"c", b"e"]);
    store.clear().unwrap();
    assert!(all_ordered(&store).is_empty());
}

#[test]
fn no_key_leaves_the_order_that_is_there_again() {
    let Some(machine) = machines().nth(1) else { return };
    let store = machine.open().unwrap();
    thread::scope(|scope| {
        for thread in 0..2u8 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..3000u32 {
                    let key = [thread, (n % 3) as u8];
                    store.put(key, n.to_be_bytes()).unwrap();
                    if n % 2 == 0 {
                        store.delete(key).unwrap();
                    }
                }
            });
        }
        (0..50).for_each(|_| drop(store.compact().unwrap()));
    });
    let mut keys: Vec<_> = store.keys().map(|key| key.unwrap().to_vec()).collect();
    keys.sort();
    assert_eq!(all_ordered(&store), keys);
}
