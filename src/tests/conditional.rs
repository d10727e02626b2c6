//! Writes that depend on what is there, against all that may come between.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::support::{Contents, Machine, contents, encode, value};
use crate::conditional::Swap;
use crate::options::{Durability, EmptyValues};
use crate::record::{Alignment, BatchPart, Frame, Record};
use crate::store::Store;

const THREADS: usize = 4;

fn machines() -> impl Iterator<Item = Machine> {
    // Of colliding keys the right one has to be looked at.
    [u64::MAX, 1, 0].into_iter().map(|hash_mask| Machine { hash_mask, ..Machine::new(512) })
}

fn is_swapped(store: &Store, key: &str, expected: Option<&str>, new: Option<&str>) -> bool {
    match store.compare_and_swap(key, expected, new).unwrap() {
        Swap::Done => true,
        Swap::Differs(found) => {
            assert_eq!(found, store.get(key).unwrap());
            assert_ne!(found.as_deref(), expected.map(str::as_bytes));
            false
        }
    }
}

#[test]
fn a_value_is_swapped_if_it_is_as_expected() {
    for machine in machines() {
        let store = machine.open().unwrap();
        for other in ["b", "c"] {
            store.put(other, "other").unwrap();
        }
        assert!(!is_swapped(&store, "a", Some("x"), Some("1")));
        assert!(is_swapped(&store, "a", None, Some("1")));
        assert!(!is_swapped(&store, "a", None, Some("2")));
        assert!(!is_swapped(&store, "a", Some("2"), None));
        assert_eq!(value(&store, "a").as_deref(), Some("1"));
        assert!(is_swapped(&store, "a", Some("1"), Some("2")));
        assert_eq!(value(&store, "a").as_deref(), Some("2"));
        assert!(is_swapped(&store, "a", Some("2"), None));
        assert_eq!(value(&store, "a"), None);
        assert!(store.put_if_absent("a", "3").unwrap());
        assert!(!store.put_if_absent("a", "4").unwrap());
        assert_eq!(value(&store, "a").as_deref(), Some("3"));
        assert_eq!(value(&store, "b").as_deref(), Some("other"));
        let expected = contents(&store);
        drop(store);
        assert_eq!(contents(&machine.open().unwrap()), expected);
    }
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let machine = Machine::new(512);
    let store = machine.open().unwrap();
    assert!(is_swapped(&store, "a", None, None));
    assert!(store.put_if_absent("a", "").unwrap());
    assert!(store.update("a", |_| None::<&[u8]>).unwrap().is_none());
    assert!(!store.rename("a", "b").unwrap());
    store.put("b", "1").unwrap();
    let bytes = store.stats().bytes;
    assert!(store.rename("b", "b").unwrap());
    assert!(!is_swapped(&store, "b", None, Some("2")));
    assert_eq!(store.stats().bytes, bytes);
    assert_eq!(machine.data().len(), 1);
}

#[test]
fn an_empty_value_follows_the_rule() {
    for (rule, found) in [(EmptyValues::Delete, None), (EmptyValues::Stored, Some(String::new()))] {
        let mut machine = Machine::new(512);
        machine.options = machine.options.empty_values(rule);
        let store = machine.open().unwrap();
        assert!(store.put_if_absent("a", "").unwrap());
        assert_eq!(value(&store, "a"), found);
        store.put("b", "1").unwrap();
        store.update("b", |_| Some("")).unwrap();
        assert_eq!(value(&store, "b"), found);
    }
}

#[test]
fn an_update_sees_the_newest_value_also_when_another_write_comes_between() {
    let store = Machine::new(512).open().unwrap();
    let mut seen = Vec::new();
    let before = store.update("a", |old| {
        seen.push(old.map(<[u8]>::to_vec));
        // It runs under no lock.
        match seen.len() {
            1 => store.put("a", "1").unwrap(),
            2 => drop(store.delete("a").unwrap()),
            3 => store.put("a", "1").unwrap(),
            4 => store.put("a", "2").unwrap(),
            _ => {}
        }
        Some([old.unwrap_or_default(), b"+"].concat())
    });
    assert_eq!(before.unwrap().as_deref(), Some(&b"2"[..]));
    let [one, two] = ["1", "2"].map(|value| Some(value.as_bytes().to_vec()));
    assert_eq!(seen, [None, one.clone(), None, one, two]);
    assert_eq!(value(&store, "a").as_deref(), Some("2+"));
}

#[test]
fn a_compaction_between_costs_an_update_another_turn_and_nothing_else() {
    let store = Machine::new(512).open().unwrap();
    store.put("a", "1").unwrap();
    store.put("b", "1").unwrap();
    store.put("b", "2").unwrap();
    let mut turns = 0;
    let update = store.update("a", |old| {
        turns += 1;
        if turns == 1 {
            assert_eq!(store.compact().unwrap().segments_written, 1);
        }
        Some([old.unwrap(), b"+"].concat())
    });
    assert_eq!(update.unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!((turns, value(&store, "a").as_deref()), (2, Some("1+")));
}

#[test]
fn what_has_expired_is_absent() {
    let machine = Machine::new(512);
    let expiring = |key, at| Record { expires_at: Some(at), ..Record::plain(1, key, b"old") };
    let records = [expiring(b"a", 100), expiring(b"b", 100), expiring(b"c", 200)];
    machine.write_records("00000001.data", &records);
    machine.time.set(100);
    let store = machine.open().unwrap();
    assert!(!store.rename("a", "x").unwrap());
    assert!(store.put_if_absent("a", "new").unwrap());
    assert!(!store.put_if_absent("c", "new").unwrap());
    // What an update makes of nothing does not expire as the old value did.
    assert!(store.update("b", |old| old.is_none().then_some("new")).unwrap().is_none());
    store.update("c", |old| old.map(|_| "new")).unwrap();
    assert_eq!(value(&store, "c").as_deref(), Some("new"));
    machine.time.set(200);
    let expected = [(b"a".to_vec(), b"new".to_vec()), (b"b".to_vec(), b"new".to_vec())];
    let found = ["a", "b", "c"].map(|key| value(&store, key));
    assert_eq!(found, [Some("new".to_owned()), Some("new".to_owned()), None]);
    store.compact().unwrap();
    assert_eq!(contents(&store), Contents::from(expected));
}

#[test]
fn an_update_and_a_renaming_keep_alignment_and_expiry_and_a_swap_does_not() {
    let machine = Machine::new(512);
    let (align, expires_at) = (Alignment::new(64), Some(1000));
    let old = |key| Record { align, expires_at, ..Record::plain(1, key, b"old") };
    machine.write_records("00000001.data", &[old(b"a"), old(b"b"), old(b"c")]);
    let store = machine.open().unwrap();
    store.update("a", |_| Some("new")).unwrap();
    assert!(store.rename("b", "d").unwrap());
    assert!(is_swapped(&store, "c", Some("old"), Some("new")));
    store.close().unwrap();
    let name = machine.data().pop().unwrap();
    let bytes = machine.fs.read(&Machine::path(&name)).unwrap();
    let (mut offset, mut found) = (0, Vec::new());
    while offset < bytes.len() {
        let frame = Frame::read(&bytes[offset..], offset as u64).unwrap();
        let Record { key, value, batch, expires_at, align, .. } = frame.record();
        if found.len() >= 3 || name != "00000001.data" {
            found.push((key.to_vec(), value.to_vec(), batch, expires_at, align));
        }
        offset += frame.len() as usize;
    }
    let written = &found[found.len() - 4..];
    use BatchPart::{First, Last, Single};
    let expected = [
        (b"a".to_vec(), b"new".to_vec(), Single, expires_at, align),
        (b"d".to_vec(), b"old".to_vec(), First, expires_at, align),
        (b"b".to_vec(), Vec::new(), Last, None, None),
        (b"c".to_vec(), b"new".to_vec(), Single, None, None),
    ];
    assert_eq!(written, expected);
}

#[test]
fn power_lost_at_any_operation_leaves_a_renaming_done_or_not() {
    for len in (215..250).step_by(5) {
        crash_renaming(len);
    }
}

/// With a record of some length before it, so that the renaming's records lie in one sector or in two.
fn crash_renaming(len: usize) {
    let ready = || {
        let mut machine = Machine::new(2000);
        machine.options = machine.options.durability(Durability::Synced);
        let store = machine.open().unwrap();
        store.put("a", "x".repeat(90)).unwrap();
        store.put("b", "old").unwrap();
        store.put("c", "x".repeat(len)).unwrap();
        (machine, store)
    };
    let (_, store) = ready();
    let before = contents(&store);
    store.rename("a", "b").unwrap();
    let after = contents(&store);
    assert_ne!(before, after);
    for operation in 0.. {
        let (machine, store) = ready();
        machine.fs.crash_at(operation);
        let renamed = store.rename("a", "b");
        if !machine.fs.is_down() {
            break;
        }
        drop(store);
        for seed in 0..8 {
            let found = contents(&machine.crash(seed).open().unwrap());
            assert!(found == after || found == before && renamed.is_err(), "at {operation}");
        }
    }
}

#[test]
fn a_record_that_went_bad_is_not_passed_on() {
    let machine = Machine::new(512);
    machine.write_records("00000001.data", &[Record::plain(1, b"a", b"value")]);
    let store = machine.open().unwrap();
    assert_eq!(value(&store, "a").as_deref(), Some("value"));
    // Since it was checked.
    machine.flip("00000001.data", machine.find("00000001.data", b"value").unwrap());
    assert!(store.rename("a", "b").is_err());
    assert!(store.update("a", |_| Some("new")).is_err());
    assert_eq!(value(&store, "b"), None);
}

#[test]
fn of_many_threads_each_adds_what_it_adds_beside_compactions() {
    const ADDED: u64 = 400;
    let store = Machine::new(2048).open().unwrap();
    let add = |old: Option<&[u8]>| {
        let old = old.map_or(0, |old| u64::from_be_bytes(old.try_into().unwrap()));
        Some((old + 1).to_be_bytes())
    };
    let adding = AtomicUsize::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                (0..ADDED).for_each(|_| drop(store.update("count", add).unwrap()));
                adding.fetch_sub(1, Ordering::Relaxed);
            });
        }
        while adding.load(Ordering::Relaxed) > 0 {
            store.compact().unwrap();
        }
    });
    let count = store.get("count").unwrap().unwrap();
    assert_eq!(count, (ADDED * THREADS as u64).to_be_bytes());
}

#[test]
fn of_many_threads_one_wins() {
    const KEYS: usize = 200;
    let store = Machine::new(2048).open().unwrap();
    let wins = AtomicUsize::new(0);
    let win = |won: bool| {
        wins.fetch_add(won.into(), Ordering::Relaxed);
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, win) = (&store, &win);
            scope.spawn(move || {
                for key in 0..KEYS {
                    let (from, to) = (format!("{key}"), format!("{key} of {thread}"));
                    win(store.put_if_absent(&from, &to).unwrap());
                    win(store.rename(&from, &to).unwrap());
                }
            });
        }
    });
    // Each put is renamed at once by its thread or another, after which the next one is put.
    let found = contents(&store);
    let renamed = found.keys().filter(|key| key.contains(&b' ')).count();
    assert!(renamed >= KEYS && wins.into_inner() >= 2 * KEYS);
    let values: std::collections::HashSet<_> = found.values().collect();
    assert_eq!(values.len(), found.len(), "no value is in two places");
}

#[test]
fn a_plain_record_stands_in_the_file_as_any_put() {
    let store = Machine::new(512).open().unwrap();
    store.put_if_absent("a", "1").unwrap();
    let expected = encode(&[Record::plain(0, b"a", b"1")]).len() as u64;
    assert_eq!(store.stats().bytes, expected);
}
