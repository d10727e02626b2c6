//! Removing many keys at once.

use super::support::{Contents, Machine, contents, value};
use crate::error::Error;
use crate::fs::sim::Op;
use crate::store::Store;

fn filled(segment_size: u64) -> (Machine, Store, Contents) {
    let machine = Machine::new(segment_size);
    let store = machine.open().unwrap();
    for n in 0..30u8 {
        store.put([n], [n; 20]).unwrap();
    }
    for n in (0..30).step_by(3) {
        store.delete([n]).unwrap();
    }
    let held = contents(&store);
    (machine, store, held)
}

#[test]
fn retain_deletes_what_it_is_told_with_the_value_that_it_saw() {
    let (machine, store, mut expected) = filled(256);
    let mut asked = Vec::new();
    let deleted = store.retain(|key, value| {
        asked.push(key.to_vec());
        assert_eq!(value, [key[0]; 20]);
        key[0] % 2 == 0
    });
    let before = expected.len();
    expected.retain(|key, _| key[0] % 2 == 0);
    assert_eq!(deleted.unwrap(), before - expected.len());
    assert_eq!(asked.len(), before);
    drop(store);
    assert_eq!(contents(&machine.open().unwrap()), expected);
}

#[test]
fn what_is_written_while_retain_decides_is_decided_anew() {
    let store = Machine::new(256).open().unwrap();
    store.put("a", "bad").unwrap();
    let mut seen = Vec::new();
    let deleted = store.retain(|_, value| {
        seen.push(value.to_vec());
        if seen.len() == 1 {
            store.put("a", "good").unwrap();
        }
        value == b"good"
    });
    assert_eq!((deleted.unwrap(), seen), (0, vec![b"bad".to_vec(), b"good".to_vec()]));
    assert_eq!(value(&store, "a").as_deref(), Some("good"));
}

#[test]
fn drain_takes_what_it_gives_and_leaves_the_rest() {
    let (machine, store, mut expected) = filled(256);
    for taken in store.drain().take(5) {
        let (key, value) = taken.unwrap();
        assert_eq!(expected.remove(&*key).unwrap(), *value);
    }
    assert_eq!(contents(&store), expected);
    for taken in store.drain() {
        let (key, value) = taken.unwrap();
        assert_eq!(expected.remove(&*key).unwrap(), *value);
    }
    assert!(expected.is_empty() && store.is_empty());
    drop(store);
    assert!(machine.open().unwrap().is_empty());
}

#[test]
fn clearing_leaves_nothing_and_the_store_goes_on() {
    let (machine, store, held) = filled(256);
    let (in_hand, reader) = (store.get([1]).unwrap().unwrap(), store.reader());
    let slice = reader.get([2]).unwrap().unwrap();
    store.clear().unwrap();
    assert!(contents(&store).is_empty() && machine.data().is_empty());
    assert_eq!((&*in_hand, slice), (&held[&[1][..]][..], &held[&[2][..]][..]));
    assert_eq!(reader.get([2]).unwrap(), None);
    store.put("a", "1").unwrap();
    store.clear().unwrap();
    store.clear().unwrap();
    store.put("b", "2").unwrap();
    let expected = contents(&store);
    drop((reader, store));
    assert_eq!(contents(&machine.open().unwrap()), expected);
}

#[test]
fn a_reader_of_the_files_sees_the_clearing() {
    let (machine, store, held) = filled(256);
    store.flush().unwrap();
    let reading = machine.read_only().open().unwrap();
    assert_eq!(contents(&reading), held);
    store.clear().unwrap();
    store.put("new", "1").unwrap();
    reading.refresh().unwrap();
    assert_eq!(contents(&reading), contents(&store));
}

#[test]
fn power_lost_at_any_operation_leaves_all_or_nothing() {
    for operation in 0.. {
        let (machine, store, held) = filled(256);
        store.sync().unwrap();
        machine.fs.crash_at(operation);
        let cleared = store.clear();
        if !machine.fs.is_down() {
            break;
        }
        drop(store);
        for seed in 0..6 {
            let found = contents(&machine.crash(seed).open().unwrap());
            assert!(found.is_empty() || found == held && cleared.is_err(), "at {operation}");
        }
    }
}

#[test]
fn what_cannot_be_cleared_is_all_there() {
    let (machine, store, held) = filled(256);
    machine.fs.fail_next(Op::Create, "MANIFEST.tmp", std::io::ErrorKind::StorageFull);
    assert!(matches!(store.clear(), Err(Error::Io { .. })));
    assert_eq!(contents(&store), held);
    store.put("after", "x").unwrap();
    let expected = contents(&store);
    drop(store);
    assert_eq!(contents(&machine.kill().open().unwrap()), expected);
}
