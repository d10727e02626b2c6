//! A snapshot shows what was there, whatever comes after it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::support::{Contents, Machine, contents};
use crate::batch::Batch;
use crate::error::Error;
use crate::record::Record;
use crate::snapshot::Snapshot;
use crate::store::Store;

const KEYS: u8 = 8;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, usize),
    Delete(u8),
    Batch(Vec<(u8, Option<usize>)>),
    Flush,
    Compact,
    Clear,
    Take,
    Drop(usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![8 => 1usize..60, 1 => 200usize..2000];
    let write = (0..KEYS, prop::option::weighted(0.7, len.clone()));
    prop_oneof![
        12 => (0..KEYS, len).prop_map(|(key, len)| Step::Put(key, len)),
        5 => (0..KEYS).prop_map(Step::Delete),
        3 => prop::collection::vec(write, 1..6).prop_map(Step::Batch),
        1 => Just(Step::Flush),
        4 => Just(Step::Compact),
        1 => Just(Step::Clear),
        4 => Just(Step::Take),
        2 => (0usize..4).prop_map(Step::Drop),
        1 => Just(Step::Reopen),
    ]
}

fn key(n: u8) -> Vec<u8> {
    vec![b'k'; usize::from(n)]
}

/// Everything in a snapshot, by each way to look at it.
fn all(snapshot: &Snapshot) -> Contents {
    let own = |pair: crate::Result<(crate::Value, crate::Value)>| {
        let (key, value) = pair.unwrap();
        (key.to_vec(), value.to_vec())
    };
    let by_iter: Vec<_> = snapshot.iter().map(own).collect();
    let found: Contents = by_iter.iter().cloned().collect();
    assert_eq!(by_iter.len(), found.len(), "no key comes twice");
    let by_get = (0..KEYS).filter_map(|n| Some((key(n), snapshot.get(key(n)).unwrap()?.to_vec())));
    assert_eq!(by_get.collect::<Contents>(), found);
    let in_order = snapshot.range::<&[u8]>(..).map(own);
    assert!(in_order.eq(found.iter().map(|(key, value)| (key.clone(), value.clone()))));
    assert_eq!(snapshot.keys().count(), found.len());
    found
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(200) })]

    #[test]
    fn every_snapshot_keeps_what_was_there_when_it_was_taken(
        steps in prop::collection::vec(step(), 1..60),
        segment_size in 64u64..900,
        hash_mask in prop_oneof![Just(u64::MAX), Just(1), Just(0)],
        ordered: bool,
    ) {
        let mut machine = Machine { hash_mask, ..Machine::new(segment_size) };
        machine.options = machine.options.ordered(ordered);
        let mut store = machine.open().unwrap();
        let mut taken: Vec<(Snapshot, Contents)> = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            let value = |len: usize| format!("<{n}>").bytes().cycle().take(len).collect::<Vec<_>>();
            match step {
                Step::Put(k, len) => store.put(key(*k), value(*len)).unwrap(),
                Step::Delete(k) => drop(store.delete(key(*k)).unwrap()),
                Step::Batch(writes) => {
                    let mut batch = Batch::new();
                    for (k, len) in writes {
                        match len {
                            Some(len) => batch.put(key(*k), value(*len)),
                            None => batch.delete(key(*k)),
                        };
                    }
                    store.write(&batch).unwrap();
                }
                Step::Flush => store.flush().unwrap(),
                Step::Compact => {
                    let before: Vec<_> = taken.iter().map(|(s, _)| s.changed()).collect();
                    store.compact().unwrap();
                    let after: Vec<_> = taken.iter().map(|(s, _)| s.changed()).collect();
                    prop_assert_eq!(before, after, "a compaction changes nothing");
                }
                Step::Clear => store.clear().unwrap(),
                Step::Take => taken.push((store.snapshot().unwrap(), contents(&store))),
                Step::Drop(at) if *at < taken.len() => drop(taken.remove(*at)),
                Step::Drop(_) => {}
                Step::Reopen => {
                    taken.clear();
                    store.close().unwrap();
                    store = machine.open().unwrap();
                }
            }
            prop_assert_eq!(store.stats().snapshots, taken.len());
            for (snapshot, expected) in &taken {
                prop_assert_eq!(&all(snapshot), expected);
                prop_assert_eq!(snapshot.len(), expected.len());
            }
        }
        taken.clear();
        prop_assert_eq!(store.stats().snapshot_changes, 0);
        prop_assert_eq!(store.stats().pinned_bytes, 0);
    }
}

#[test]
fn nothing_grows_but_by_what_changes() {
    let store = Machine::new(2048).open().unwrap();
    (0..100u8).for_each(|n| store.put([n], "old").unwrap());
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.changed(), 0);
    for _ in 0..5 {
        store.put([1], "new").unwrap();
        store.delete([2]).unwrap();
        store.put("new", "new").unwrap();
    }
    assert_eq!((snapshot.changed(), store.stats().snapshot_changes), (3, 3));
    store.compact().unwrap();
    assert!(store.stats().pinned_segments > 0);
    assert_eq!(snapshot.changed(), 3);
    assert_eq!(snapshot.get([2]).unwrap().unwrap(), "old");
    drop(snapshot);
    let stats = store.stats();
    assert_eq!((stats.snapshots, stats.snapshot_changes, stats.pinned_segments), (0, 0, 0));
}

#[test]
fn what_expires_later_is_there_and_what_had_expired_is_not() {
    let machine = Machine::new(2048);
    let expiring = |key, at| Record { expires_at: Some(at), ..Record::plain(1, key, b"value") };
    machine.write_records("00000001.data", &[expiring(b"a", 100), expiring(b"b", 200)]);
    machine.time.set(100);
    let store = machine.open().unwrap();
    let snapshot = store.snapshot().unwrap();
    machine.time.set(200);
    store.put("c", "dead soon").unwrap();
    store.delete("c").unwrap();
    store.compact().unwrap();
    assert_eq!(contents(&store), Contents::new());
    let found: Vec<_> = snapshot.iter().map(|pair| pair.unwrap().0.to_vec()).collect();
    assert_eq!(found, [b"b"]);
    assert!(snapshot.get("a").unwrap().is_none() && snapshot.contains_key("b").unwrap());
}

#[test]
fn a_snapshot_of_a_closed_store_says_so() {
    let store = Machine::new(512).open().unwrap();
    store.put("a", "1").unwrap();
    let snapshot = store.snapshot().unwrap();
    store.clone().close().unwrap();
    assert!(matches!(snapshot.get("a"), Err(Error::Closed)));
    assert!(matches!(snapshot.iter().next(), Some(Err(Error::Closed))));
    let mut range = snapshot.range::<&[u8]>(..);
    assert!(matches!(range.next(), Some(Err(Error::Closed))) && range.next().is_none());
    assert!(matches!(store.snapshot(), Err(Error::Closed)));
}

#[test]
fn a_read_only_store_has_snapshots_too() {
    let machine = Machine::new(256);
    let writer = machine.open().unwrap();
    writer.put("a", "old").unwrap();
    writer.put("b", "old").unwrap();
    let reading = machine.read_only().open().unwrap();
    let snapshot = reading.snapshot().unwrap();
    for n in 0..20 {
        writer.put("a", format!("new {n}")).unwrap();
    }
    writer.delete("b").unwrap();
    writer.compact().unwrap();
    reading.refresh().unwrap();
    assert_eq!(reading.get("a").unwrap().unwrap(), "new 19");
    assert_eq!(reading.get("b").unwrap(), None);
    assert_eq!(snapshot.get("a").unwrap().unwrap(), "old");
    assert_eq!(snapshot.get("b").unwrap().unwrap(), "old");
}

/// What the batches below keep true at every moment between them.
fn check_sum(snapshot: &Snapshot, keys: u8) {
    let number = |bytes: &[u8]| i64::from_be_bytes(bytes.try_into().unwrap());
    let by_get = (0..keys).map(|n| number(&snapshot.get([n]).unwrap().unwrap())).sum::<i64>();
    let by_iter: i64 = snapshot.iter().map(|pair| number(&pair.unwrap().1)).sum();
    assert_eq!((by_get, by_iter), (0, 0));
}

#[test]
fn beside_a_writer_and_a_compactor_a_snapshot_is_of_one_moment() {
    const ACCOUNTS: u8 = 40;
    let store: Store = Machine::new(4096).open().unwrap();
    let mut batch = Batch::new();
    for n in 0..ACCOUNTS {
        batch.put([n], 0i64.to_be_bytes());
    }
    store.write(&batch).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut balance = [0i64; ACCOUNTS as usize];
            for n in 0..6000usize {
                let (from, to) = (n * 7 % 40, (n * 11 + 1) % 40);
                (balance[from], balance[to]) = match from == to {
                    true => continue,
                    false => (balance[from] - n as i64, balance[to] + n as i64),
                };
                let mut batch = Batch::new();
                batch.put([from as u8], balance[from].to_be_bytes());
                batch.put([to as u8], balance[to].to_be_bytes());
                store.write(&batch).unwrap();
            }
            over.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                store.compact().unwrap();
            }
        });
        let mut kept = Vec::new();
        while !over.load(Ordering::Relaxed) {
            kept.push(store.snapshot().unwrap());
            kept.iter().for_each(|snapshot| check_sum(snapshot, ACCOUNTS));
            if kept.len() == 4 {
                kept.remove(0);
            }
        }
    });
}
