//! What expires: where and when it is absent, what it counts as, and what gives it another time.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::hazards::{reopen, segment, spoil};
use super::support::{Contents, Machine, contents, unexpired, value};
use crate::batch::Batch;
use crate::error::Error;
use crate::expiry::Expiry;
use crate::fs::sim::Op;
use crate::options::{Durability, EmptyValues, ReadMode, Verify};
use crate::reader::Reader;
use crate::record::{Frame, Record};
use crate::store::Store;

/// The width of a bucket of expiring bytes, in microseconds.
const BUCKET: u64 = 1 << 20;

fn micros(n: u64) -> Duration {
    Duration::from_micros(n)
}

fn expiry(store: &Store, key: &str) -> Option<Option<u64>> {
    store.expires_at(key).unwrap().map(|expiry| match expiry {
        Expiry::Never => None,
        Expiry::At(time) => Some(time.duration_since(UNIX_EPOCH).unwrap().as_micros() as u64),
    })
}

/// The newest record of a key in the data files.
fn newest<T>(machine: &Machine, key: &str, of: impl Fn(&Frame<'_>) -> T) -> Option<T> {
    let mut newest = None;
    for_each_record(machine, &machine.data(), |frame| {
        if frame.key() == key.as_bytes() {
            newest = Some(of(frame));
        }
    });
    newest
}

/// Shows all records in these data files, in the order of the log.
fn for_each_record(machine: &Machine, names: &[String], mut sink: impl FnMut(&Frame<'_>)) {
    for name in names {
        let bytes = machine.fs.read(&Machine::path(name)).unwrap();
        let mut offset = 0;
        while offset < bytes.len() {
            let frame = Frame::read(&bytes[offset..], offset as u64).unwrap();
            sink(&frame);
            offset += frame.len() as usize;
        }
    }
}

/// Whether a key is there, as every way of reading has it.
fn is_seen(store: &Store, reader: &Reader, key: &str) -> bool {
    let mut by_reader = Vec::new();
    reader.get_many(&[key], |_, value| by_reader.push(value.is_some())).unwrap();
    let (mut pairs, mut by_slices) = (store.iter(), false);
    while let Some(pair) = pairs.next_slices() {
        by_slices |= pair.unwrap().0 == key.as_bytes();
    }
    let ways = [
        store.get(key).unwrap().is_some(),
        store.contains_key(key).unwrap(),
        store.get_many(&[key]).next().unwrap().unwrap().is_some(),
        store.contains_many(&[key]).unwrap()[0],
        store.expires_at(key).unwrap().is_some(),
        store.keys().any(|found| found.unwrap() == key),
        store.iter().any(|pair| pair.unwrap().0 == key),
        by_slices,
        store.prefix(key).next().is_some(),
        store.range(key..=key).next().is_some(),
        store.snapshot().unwrap().get(key).unwrap().is_some(),
        reader.get(key).unwrap().is_some(),
        reader.contains_key(key).unwrap(),
        by_reader[0],
    ];
    assert!(ways.iter().all(|way| *way == ways[0]), "{key}: {ways:?}");
    ways[0]
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Place {
    Buffered,
    Flushed,
    Sealed,
    Compacted,
    TakenUp,
    Recovered,
}

const PLACES: [Place; 6] = [
    Place::Buffered,
    Place::Flushed,
    Place::Sealed,
    Place::Compacted,
    Place::TakenUp,
    Place::Recovered,
];

/// A store in which what `write` does lies there.
fn store_with(machine: &mut Machine, place: Place, write: impl Fn(&Store)) -> Store {
    machine.options = machine.options.clone().durability(Durability::Buffered);
    let store = machine.open().unwrap();
    write(&store);
    match place {
        Place::Buffered => store,
        Place::Flushed => {
            store.flush().unwrap();
            store
        }
        Place::Sealed => reopen(store, machine),
        Place::Compacted => {
            store.put("stale", "x").unwrap();
            store.delete("stale").unwrap();
            assert_eq!(store.compact().unwrap().segments_written, 1);
            store
        }
        Place::TakenUp => {
            let store = reopen(store, machine);
            store.put("next", "x").unwrap();
            assert_eq!(store.stats().segments, 1);
            store
        }
        Place::Recovered => {
            store.flush().unwrap();
            drop(std::mem::replace(machine, machine.kill()));
            let store = machine.open().unwrap();
            assert!(store.recovery_report().unclean);
            store
        }
    }
}

#[test]
fn what_has_expired_is_absent_to_every_way_of_reading_wherever_its_record_lies() {
    for (read_mode, hash_mask) in [(ReadMode::Mapped, u64::MAX), (ReadMode::Copy, 0)] {
        for place in PLACES {
            let mut machine = Machine::new(1 << 16);
            machine.hash_mask = hash_mask;
            machine.options = machine.options.read_mode(read_mode);
            let store = store_with(&mut machine, place, |store| {
                store.put_with_ttl("key", "value", micros(1000)).unwrap();
                store.put("other", "stays").unwrap();
            });
            let reader = store.reader();
            machine.time.set(999);
            assert!(is_seen(&store, &reader, "key"), "{place:?}");
            assert_eq!(expiry(&store, "key"), Some(Some(1000)));
            let held = store.get("key").unwrap().unwrap();
            let slice = held.slice(1..).unwrap();

            for (now, stepped) in [(1000, "forward"), (2000, "forward"), (0, "back")] {
                machine.time.set(now);
                assert!(!is_seen(&store, &reader, "key"), "{place:?}, {stepped} to {now}");
                assert!(!is_seen(&store, &store.reader(), "key"));
                assert!(is_seen(&store, &reader, "other"));
                assert!(!store.touch("key", Duration::MAX).unwrap());
                assert!(!store.persist("key").unwrap());
            }
            assert!(!store.delete("key").unwrap(), "it was not there");
            assert!(!is_seen(&store, &reader, "key"));
            assert_eq!((&*held, &*slice), (&b"value"[..], &b"alue"[..]), "what is in hand stays");
        }
    }
}

#[test]
fn what_has_expired_is_absent_to_read_only_stores_and_in_backups() {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.put_with_ttl("sealed", "value", micros(1000)).unwrap();
    let backup = Machine::dir().with_file_name("backup");
    store.backup(&backup, |_| std::ops::ControlFlow::Continue(())).unwrap();
    store.put_with_ttl("active", "value", micros(2000)).unwrap();
    let following = machine.read_only().open().unwrap();
    let copy = machine.open_at(&backup).unwrap();
    let seen = |store: &Store, key| is_seen(store, &store.reader(), key);
    assert!(seen(&following, "sealed") && seen(&following, "active") && seen(&copy, "sealed"));
    assert!(matches!(following.touch("sealed", micros(1)), Err(Error::ReadOnly)));
    machine.time.set(1000);
    assert!(!seen(&following, "sealed") && seen(&following, "active") && !seen(&copy, "sealed"));
    store.touch("active", micros(500)).unwrap();
    machine.time.set(1500);
    assert!(seen(&following, "active"), "as far as it knows");
    following.refresh().unwrap();
    assert!(!seen(&following, "active"));
    store.compact().unwrap();
    following.refresh().unwrap();
    assert_eq!((following.keys().count(), store.keys().count()), (0, 0));
}

/// What a read-only store reads of a writer whose clock is ahead keeps its own from going back.
#[test]
fn a_read_only_store_s_time_is_no_earlier_than_what_it_reads() {
    for seals in [false, true] {
        let machine = Machine::new(4096);
        let store = machine.open().unwrap();
        store.put_with_ttl("key", "value", micros(1000)).unwrap();
        let following = machine.read_only().open().unwrap();
        machine.time.set(1000);
        store.put("later", "x").unwrap();
        if seals {
            store.close().unwrap();
        }
        machine.time.set(0);
        assert_eq!(value(&following, "key").as_deref(), Some("value"));
        following.refresh().unwrap();
        assert_eq!(value(&following, "key"), None, "sealed: {seals}");
    }
}

#[test]
fn times_are_counted_from_the_call_and_end_where_the_numbers_do() {
    let machine = Machine::new(4096);
    machine.time.set(500);
    let store = machine.open().unwrap();
    let nanos = Duration::from_nanos(1);
    for (ttl, at) in [(micros(7), 507), (nanos, 501), (Duration::MAX, u64::MAX)] {
        store.put_with_ttl("key", "value", ttl).unwrap();
        assert_eq!(expiry(&store, "key"), Some(Some(at)));
    }
    store.put_with_ttl("key", "gone", Duration::ZERO).unwrap();
    assert_eq!(expiry(&store, "key"), None, "with the value that it had");
    store.put("key", "stays").unwrap();
    assert_eq!(expiry(&store, "key"), Some(None));
    assert!(store.touch("key", micros(7)).unwrap());
    machine.time.set(506);
    assert!(store.touch("key", micros(7)).unwrap(), "from now on, not from then");
    assert_eq!(expiry(&store, "key"), Some(Some(513)));
    assert!(store.touch("key", Duration::MAX).unwrap());
    assert_eq!(expiry(&store, "key"), Some(Some(u64::MAX)));
    assert!(store.touch("key", Duration::ZERO).unwrap());
    assert_eq!(expiry(&store, "key"), None);
}

#[test]
fn the_default_time_is_that_of_every_put_that_has_none_of_its_own() {
    let mut machine = Machine::new(4096);
    segment(&machine, |store| store.put("before", "x").unwrap());
    machine.options = machine.options.default_ttl(Some(micros(1000)));
    let store = machine.open().unwrap();
    machine.time.set(100);
    store.put("put", "x").unwrap();
    store.put_with("with", "x", Durability::Synced).unwrap();
    store.put_aligned("aligned", "x", 8).unwrap();
    store.put_as("typed", &7u64).unwrap();
    store.put_with_ttl("own", "x", micros(5)).unwrap();
    let mut batch = Batch::new();
    batch.put("b put", "x").put_aligned("b aligned", "x", 8).put_with_ttl("b own", "x", micros(5));
    store.write(&batch).unwrap();
    store.put("touched", "x").unwrap();
    store.touch("touched", micros(9)).unwrap();
    store.put("persisted", "x").unwrap();
    store.persist("persisted").unwrap();
    store.put_if_absent("if absent", "x").unwrap();
    store.update("updated", |_| Some("x")).unwrap();
    store.update("own", |_| Some("y")).unwrap();
    store.update("before", |_| Some("y")).unwrap();
    for _ in 0..2 {
        for key in ["put", "with", "aligned", "typed", "b put", "b aligned", "if absent", "updated"]
        {
            assert_eq!(expiry(&store, key), Some(Some(1100)), "{key}");
        }
        for (key, at) in [("own", 105), ("b own", 105), ("touched", 109)] {
            assert_eq!(expiry(&store, key), Some(Some(at)), "{key}");
        }
        assert_eq!([expiry(&store, "persisted"), expiry(&store, "before")], [Some(None); 2]);
        store.compact().unwrap();
    }
    // What deletes has no time.
    store.put("put", "").unwrap();
    store.write(Batch::new().put("b put", "").put_with_ttl("own", "", micros(5))).unwrap();
    store.flush().unwrap();
    for key in ["put", "b put", "own"] {
        let tombstone = newest(&machine, key, |frame| (frame.is_tombstone(), frame.expires_at()));
        assert_eq!(tombstone, Some((true, None)));
    }
}

#[test]
fn a_new_time_changes_nothing_else_wherever_the_record_lies() {
    let large = "v".repeat(70_000);
    for place in PLACES {
        let mut machine = Machine::new(1 << 20);
        machine.options = machine.options.empty_values(EmptyValues::Stored);
        let store = store_with(&mut machine, place, |store| {
            store.put("k", "v").unwrap();
            store.put_aligned("aligned", "value", 64).unwrap();
            store.put_aligned("large", &large, 128).unwrap();
            store.put("empty", "").unwrap();
            let mut batch = Batch::new();
            batch.put_with_ttl("batch 1", "1", micros(5000)).put_with_ttl(
                "batch 2",
                "2",
                micros(1),
            );
            store.write(&batch).unwrap();
        });
        let expected = contents(&store);
        let assert_kept = |machine: &Machine, store: &Store, expires_at: Option<u64>| {
            assert_eq!(contents(store), expected, "{place:?}");
            for (key, align) in [("aligned", 64), ("large", 128)] {
                let value = store.get(key).unwrap().unwrap();
                assert_eq!(value.as_ptr() as usize % align, 0, "{key}");
                let kept = newest(machine, key, |frame| frame.record().align.unwrap().bytes());
                assert_eq!(kept, Some(align));
            }
            for key in expected.keys() {
                let key = str::from_utf8(key).unwrap();
                assert_eq!(expiry(store, key), Some(expires_at));
                let is_single = newest(machine, key, |frame| {
                    frame.verify().unwrap();
                    frame.record() == frame.record().as_single()
                });
                assert!(is_single.unwrap());
            }
        };
        for key in expected.keys() {
            assert!(store.touch(key, micros(3000)).unwrap());
        }
        store.flush().unwrap();
        assert_kept(&machine, &store, Some(3000));
        let store = reopen(store, &mut machine);
        store.compact().unwrap();
        assert_kept(&machine, &store, Some(3000));
        for key in expected.keys() {
            assert!(store.persist(key).unwrap());
        }
        machine.time.set(4000);
        store.flush().unwrap();
        assert_kept(&machine, &store, None);
        let store = reopen(store, &mut machine);
        assert_kept(&machine, &store, None);
    }
}

#[test]
fn a_new_time_is_written_only_where_it_is_one() {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.put("stays", "value").unwrap();
    store.put_with_ttl("gone", "value", Duration::ZERO).unwrap();
    let bytes = store.stats().bytes;
    assert!(store.persist("stays").unwrap());
    for key in ["gone", "absent"] {
        assert!(!store.persist(key).unwrap() && !store.touch(key, micros(1)).unwrap());
    }
    assert_eq!(store.stats().bytes, bytes);
    // It answers as it does because of what is buffered, and gets that as far as itself.
    store.put_with("buffered", "value", Durability::Buffered).unwrap();
    assert!(store.persist("buffered").unwrap());
    assert_eq!(store.stats().buffered_bytes, 0);
    store.clone().close().unwrap();
    assert!(matches!(store.touch("stays", micros(1)), Err(Error::Closed)));
    assert!(matches!(store.expires_at("stays"), Err(Error::Closed)));
}

#[test]
fn a_bad_record_gets_no_new_time_and_no_new_checksum() {
    for verify in [Verify::Once, Verify::Never] {
        let mut machine = Machine::new(4096);
        machine.options = machine.options.verify(verify);
        segment(&machine, |store| store.put("key", "intact").unwrap());
        let store = machine.open().unwrap();
        assert_eq!(value(&store, "key").as_deref(), Some("intact"), "it is checked, and goes bad");
        spoil(&machine, "00000001.data", "intact");
        let bytes = store.stats().bytes;
        assert!(matches!(store.touch("key", micros(1)), Err(Error::Corrupt { .. })), "{verify:?}");
        assert!(matches!(store.persist("key"), Err(Error::Corrupt { .. })));
        assert_eq!(store.stats().bytes, bytes);
    }
}

#[test]
fn no_write_comes_between_the_look_and_the_new_time() {
    for persists in [false, true] {
        for (newer, found) in [(Some("new"), Some("new".to_owned())), (None, None)] {
            let mut machine = Machine::new(4096);
            // So that the look is one at the disk.
            machine.options = machine.options.read_mode(ReadMode::Copy);
            let store = machine.open().unwrap();
            store.put_with_ttl("key", "old", micros(1000)).unwrap();
            let beside = store.clone();
            machine.fs.at_look(0, move || match newer {
                Some(newer) => beside.put_with_ttl("key", newer, micros(7)).unwrap(),
                None => assert!(beside.delete("key").unwrap()),
            });
            let is_there = match persists {
                true => store.persist("key").unwrap(),
                false => store.touch("key", micros(2000)).unwrap(),
            };
            assert!(!machine.fs.forget_look(), "there was a look");
            assert_eq!((is_there, value(&store, "key")), (found.is_some(), found.clone()));
            let expires_at = if persists { None } else { Some(2000) };
            assert_eq!(expiry(&store, "key"), found.map(|_| expires_at));
        }
    }
}

/// Also not those who have looked already and have not written yet.
#[test]
fn what_expires_between_a_look_and_a_write_was_absent() {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.put_with_ttl("key", "value", micros(1000)).unwrap();
    let mut seen = Vec::new();
    let before = store.update("key", |old| {
        seen.push(old.is_some());
        machine.time.set(1000);
        assert!(store.get("key").unwrap().is_none(), "others see it expire");
        Some("new")
    });
    assert!(before.unwrap().is_none());
    assert_eq!((seen, expiry(&store, "key")), (vec![true, false], Some(None)));
}

/// Bytes of the store's data files, and those of them that do not count, as the files themselves have it.
fn truth(machine: &Machine, store: &Store, now: u64) -> [(u64, u64); 2] {
    let mut names = machine.data();
    if names.len() > store.stats().segments {
        // The active segment has taken it up, and is not sealed yet.
        names.remove(names.len() - 2);
    }
    let (mut records, mut bytes, mut live) = (0, 0, BTreeMap::new());
    for_each_record(machine, &names, |frame| {
        records += 1;
        bytes += frame.len();
        let counts = !frame.is_tombstone();
        // The last moment of its bucket.
        let passes = frame.expires_at().map(|at| at | (BUCKET - 1));
        let is_live = counts && passes.is_none_or(|last| last > now);
        live.insert(frame.key().to_vec(), if is_live { frame.len() } else { 0 });
    });
    let live_records = live.values().filter(|len| **len > 0).count() as u64;
    [(records, bytes), (records - live_records, bytes - live.values().sum::<u64>())]
}

/// Records and their bytes: all, and those that are dead.
fn counted(store: &Store) -> [(u64, u64); 2] {
    let stats = store.stats();
    [(stats.records, stats.bytes), (stats.dead_records, stats.dead_bytes)]
}

#[test]
fn expired_bytes_are_dead_and_compaction_returns_them() {
    let machine = Machine::new(1 << 20);
    let store = machine.open().unwrap();
    store.put_with_ttl("one", "x".repeat(100), micros(1)).unwrap();
    store.put_with_ttl("two", "x".repeat(100), micros(BUCKET - 1)).unwrap();
    store.put_with_ttl("next", "x".repeat(100), micros(BUCKET)).unwrap();
    store.put("stays", "x").unwrap();
    let len = 28 + 3 + 100;
    machine.time.set(BUCKET - 2);
    assert_eq!(store.stats().dead_bytes, 0, "not all of the bucket has expired");
    assert_eq!(store.compact().unwrap().segments_written, 0, "nothing is dead");
    machine.time.set(BUCKET - 1);
    assert_eq!(store.stats().dead_bytes, 2 * len);
    let report = store.compact().unwrap();
    assert_eq!(report.bytes_before - report.bytes_after, 2 * len);
    assert_eq!((store.len(), store.stats().dead_bytes), (2, 0));
    machine.time.set(2 * BUCKET);
    assert_eq!(store.stats().dead_bytes, len + 1, "the copy is counted, too");
    store.compact().unwrap();
    assert_eq!((store.len(), counted(&store)[0]), (1, (1, 20 + 5 + 1)));
}

/// What is written while a compaction copies is counted in the copies.
#[test]
fn expiring_records_replaced_beside_a_compaction_are_counted_once() {
    for mode in [ReadMode::Mapped, ReadMode::Copy] {
        let mut machine = Machine::new(1 << 20);
        machine.options = machine.options.read_mode(mode);
        let store = machine.open().unwrap();
        for key in ["put", "deleted", "touched", "stays"] {
            store.put_with_ttl(key, "x".repeat(100), micros(1000)).unwrap();
        }
        store.put("fill", "x".repeat(1000)).unwrap();
        store.delete("absent").unwrap();
        store.put("fill", "y".repeat(1000)).unwrap();
        let meanwhile = store.clone();
        machine.fs.before(Op::Rename, ".data", move || {
            meanwhile.put("put", "again").unwrap();
            assert!(meanwhile.delete("deleted").unwrap());
            assert!(meanwhile.touch("touched", micros(10 * BUCKET)).unwrap());
        });
        assert_eq!(store.compact().unwrap().segments_written, 1);
        assert_eq!(counted(&store), truth(&machine, &store, 0));
        machine.time.set(BUCKET);
        assert_eq!(counted(&store), truth(&machine, &store, BUCKET));
        machine.time.set(11 * BUCKET);
        assert_eq!(counted(&store), truth(&machine, &store, 11 * BUCKET));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put { key: u8, len: usize, ttl: Option<u64> },
    Batch { writes: Vec<(u8, Option<u64>)> },
    Delete { key: u8 },
    Touch { key: u8, ttl: u64 },
    Persist { key: u8 },
    Later { micros: u64 },
    Compact,
    Reopen,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let ttl = || prop_oneof![0..BUCKET, 0..20 * BUCKET, Just(u64::MAX)];
    let maybe = || prop::option::weighted(0.8, ttl());
    let key = || 0u8..8;
    let writes = prop::collection::vec((key(), maybe()), 0..5);
    prop_oneof![
        8 => (key(), 0usize..100, maybe()).prop_map(|(key, len, ttl)| Step::Put { key, len, ttl }),
        2 => writes.prop_map(|writes| Step::Batch { writes }),
        2 => key().prop_map(|key| Step::Delete { key }),
        3 => (key(), ttl()).prop_map(|(key, ttl)| Step::Touch { key, ttl }),
        1 => key().prop_map(|key| Step::Persist { key }),
        3 => (0..4 * BUCKET).prop_map(|micros| Step::Later { micros }),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    /// Whatever wrote, copied or read them, the bytes that count are known without a look at them.
    #[test]
    fn dead_bytes_are_those_that_do_not_count_in_the_files(
        segment_size in 100u64..2000,
        hash_mask in prop_oneof![Just(u64::MAX), Just(0)],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut machine = Machine::new(segment_size);
        machine.hash_mask = hash_mask;
        let mut store = machine.open().unwrap();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Put { key, len, ttl: Some(ttl) } => {
                    store.put_with_ttl([key], vec![b'x'; len], micros(ttl)).unwrap();
                }
                Step::Put { key, len, ttl: None } => store.put([key], vec![b'x'; len]).unwrap(),
                Step::Batch { writes } => {
                    let mut batch = Batch::new();
                    for (key, ttl) in writes {
                        match ttl {
                            Some(ttl) => batch.put_with_ttl([key], "batch", micros(ttl)),
                            None => batch.delete([key]),
                        };
                    }
                    store.write(&batch).unwrap();
                }
                Step::Delete { key } => drop(store.delete([key]).unwrap()),
                Step::Touch { key, ttl } => drop(store.touch([key], micros(ttl)).unwrap()),
                Step::Persist { key } => drop(store.persist([key]).unwrap()),
                Step::Later { micros } => {
                    now += micros;
                    machine.time.set(now);
                }
                Step::Compact => {
                    let unchanged = unexpired(&store);
                    let dead = store.stats().dead_bytes;
                    let report = store.compact().unwrap();
                    prop_assert_eq!(unexpired(&store), unchanged);
                    prop_assert_eq!(store.stats().dead_bytes, 0);
                    prop_assert!(dead == 0 || report.bytes_after < report.bytes_before);
                }
                Step::Reopen => store = reopen(store, &mut machine),
                Step::Kill => {
                    drop(store);
                    machine = machine.kill();
                    store = machine.open().unwrap();
                }
            }
            prop_assert_eq!(counted(&store), truth(&machine, &store, now));
            let following = machine.read_only().open().unwrap();
            prop_assert_eq!(counted(&following), truth(&machine, &following, now));
        }
    }
}

/// A record that expires and replaces a plain one, and the other way round, over every kind of copy.
#[test]
fn what_has_expired_stays_absent_through_every_copy_and_what_replaced_it_stays() {
    let mut machine = Machine::new(600);
    let store = machine.open().unwrap();
    let keys = ["a", "b", "c", "d", "e", "f", "g"];
    for key in keys {
        store.put(key, format!("old {key}").repeat(20)).unwrap();
    }
    for key in keys {
        store.put_with_ttl(key, format!("new {key}").repeat(20), micros(1000)).unwrap();
    }
    store.put("a", "again").unwrap();
    store.persist("b").unwrap();
    machine.time.set(1000);
    let expected = Contents::from([
        (b"a".to_vec(), b"again".to_vec()),
        (b"b".to_vec(), "new b".repeat(20).into_bytes()),
    ]);
    let mut store = store;
    for round in 0..6 {
        assert_eq!(unexpired(&store), expected, "round {round}");
        match round % 3 {
            0 => store = reopen(store, &mut machine),
            1 => drop(store.compact().unwrap()),
            _ => {
                drop(store);
                machine = machine.kill();
                store = machine.open().unwrap();
            }
        }
    }
    assert_eq!(store.len(), 2, "they have been dropped");
}

/// Of a record that is written as a plain one would be, nothing is different.
#[test]
fn a_put_without_a_time_writes_what_it_always_did() {
    let machine = Machine::new(4096);
    machine.time.set(77);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    let record = Record::plain(77, b"key", b"value");
    let mut bytes = vec![0; record.len_at(0) as usize];
    record.encode_into(0, &mut bytes);
    assert_eq!(machine.fs.read(&Machine::path("00000001.data")).unwrap(), bytes);
}

/// No put writes one, but other programs may have.
#[test]
fn a_tombstone_with_a_time_is_dead_once_and_deletes_for_good() {
    let machine = Machine::new(600);
    let filler = [b'#'; 400];
    let bad = Record::plain(1, b"bad", b"intact");
    let tombstone = Record { expires_at: Some(1000), ..Record::tombstone(2, b"key") };
    machine.write_records("00000001.data", &[Record::plain(1, b"key", b"old"), bad]);
    machine.write_records("00000002.data", &[tombstone, Record::plain(2, b"fill", &filler)]);
    machine.write_records("00000003.data", &[]);
    spoil(&machine, "00000001.data", "intact");
    let store = machine.open().unwrap();
    let dead = store.stats().dead_bytes;
    for now in [0, 2 * BUCKET] {
        machine.time.set(now);
        // The first segment stays, and so does what deletes its key.
        assert_eq!(store.compact().unwrap().segments_kept.len(), 1);
        assert_eq!(unexpired_keys(&store), ["fill"]);
        assert_eq!(store.stats().dead_bytes, dead);
    }
}

fn unexpired_keys(store: &Store) -> Vec<String> {
    store.keys().flatten().map(|key| String::from_utf8(key.to_vec()).unwrap()).collect()
}
