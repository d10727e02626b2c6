//! What fails at the worst moment: disks that are full, syncs and removals that fail, records that go
//! bad between two looks at them, programs that are always killed.

use std::io::ErrorKind;
use std::sync::Arc;

use parking_lot::Mutex;

use super::hazards::{MANY, half_dead, reopen};
use super::support::{Machine, contents, encode, value};
use crate::error::{Error, Result};
use crate::fs::sim::{Op, SimFs};
use crate::options::{Durability, ReadMode, Verify};
use crate::record::{BatchPart, Record};
use crate::store::Store;

/// A store to which `a` was written durably, and of which a write of `b` has failed though all of it was done, as has
/// its removal at first; unless the disk has done less.
fn with_failed_write(seed: u64) -> Option<(Machine, Store)> {
    let machine = Machine { fs: SimFs::new(seed), ..Machine::new(4096) };
    let store = machine.open().unwrap();
    store.put("a", "1").unwrap();
    store.sync().unwrap();
    machine.fs.fail_next(Op::Write, "00000001.data", ErrorKind::Other);
    machine.fs.fail_at(1, Some(Op::SetLen), ErrorKind::Other);
    assert!(store.put_with("b", "fails", Durability::Flushed).is_err());
    machine.find("00000001.data", b"bfails").is_some().then_some((machine, store))
}

#[test]
fn what_a_failed_write_left_does_not_stand_in_for_what_was_written_in_its_place() {
    let mut whole = 0;
    for seed in 0..20 {
        let Some((machine, store)) = with_failed_write(seed) else { continue };
        whole += 1;
        store.put("b", "lasts").unwrap();
        store.put("c", "3").unwrap();
        for luck in 0..100 {
            let store = machine.crash(luck).open().unwrap();
            let b = value(&store, "b");
            if value(&store, "c").is_some() {
                assert_eq!(b.as_deref(), Some("lasts"), "seed {seed}, luck {luck}");
            }
        }
    }
    assert!(whole > 0);
}

/// A call, and whether a power loss after it takes nothing back.
type Call = (fn(&Store) -> Result<()>, bool);

#[test]
fn what_a_failed_write_left_does_not_come_back_after_a_call_that_had_nothing_to_write() {
    let calls: [Call; 4] = [
        (|store| store.delete_with("b", Durability::Flushed).map(drop), false),
        (|store| store.delete_with("b", Durability::Synced).map(drop), true),
        (Store::flush, false),
        (Store::sync, true),
    ];
    for (call, outlives_power_loss) in calls {
        let mut whole = 0;
        for seed in 0..20 {
            let Some((machine, store)) = with_failed_write(seed) else { continue };
            whole += 1;
            call(&store).unwrap();
            let died: Vec<_> = match outlives_power_loss {
                true => (0..20).map(|luck| machine.crash(luck)).collect(),
                false => vec![machine.end_process()],
            };
            for machine in died {
                let store = machine.open().unwrap();
                assert_eq!((value(&store, "a").as_deref(), value(&store, "b")), (Some("1"), None));
            }
        }
        assert!(whole > 0);
    }
}

#[test]
fn a_failed_sync_poisons_and_reads_go_on() {
    for op in [Op::Sync, Op::SyncDir] {
        let machine = Machine::new(4096);
        let store = machine.open().unwrap();
        store.put("key", "value").unwrap();
        machine.fs.fail_next(op, "", ErrorKind::Other);
        assert!(matches!(store.sync(), Err(Error::Poisoned { .. })));
        assert!(matches!(store.put("key", "again"), Err(Error::Poisoned { .. })));
        assert!(matches!(store.delete("key"), Err(Error::Poisoned { .. })));
        assert!(matches!(store.compact(), Err(Error::Poisoned { .. })));
        assert!(matches!(store.sync(), Err(Error::Poisoned { .. })));
        assert_eq!(value(&store, "key").as_deref(), Some("value"));
        let before = machine.fs.operations();
        assert!(matches!(store.close(), Err(Error::Poisoned { .. })));
        assert_eq!(machine.fs.operations(), before, "closing a poisoned store writes nothing");
        let store = machine.open().unwrap();
        store.put("key", "again").unwrap();
    }
}

#[test]
fn after_a_failure_at_any_step_of_a_compaction_nothing_is_lost() {
    for step in 0..MANY {
        let machine = Machine::new(256);
        let expected = half_dead(&machine);
        let store = machine.open().unwrap();
        machine.fs.fail_at(step, None, ErrorKind::StorageFull);
        let compacted = store.compact();
        let fired = !machine.fs.is_armed();
        machine.fs.disarm();
        assert_eq!(contents(&store), expected, "step {step}");
        let usable = !matches!(compacted, Err(Error::Poisoned { .. }));
        if usable {
            store.put("a", "after").unwrap();
            store.compact().unwrap();
            assert_eq!(value(&store, "a").as_deref(), Some("after"));
            store.put("a", &expected[&b"a"[..]]).unwrap();
        }
        let machine = {
            drop(store);
            machine.crash(step)
        };
        let store = machine.open().unwrap();
        if !usable || value(&store, "a").as_deref() != Some("after") {
            assert_eq!(contents(&store), expected, "step {step}");
        }
        if compacted.is_ok() && !fired {
            assert!(step > 10, "the sweep met the compaction");
            return;
        }
    }
    panic!("the sweep did not end");
}

#[test]
fn a_full_disk_refuses_the_write_and_loses_nothing() {
    let base = {
        let machine = Machine::new(256);
        half_dead(&machine);
        machine.fs.total_len()
    };
    for room in 0..600 {
        let mut machine = Machine::new(256);
        let mut expected = half_dead(&machine);
        let store = machine.open().unwrap();
        machine.fs.set_capacity(Some(base + room));
        for n in 0..5 {
            let text = format!("{n}").repeat(90);
            match store.put("a", &text) {
                Ok(()) => drop(expected.insert(b"a".to_vec(), text.into_bytes())),
                Err(Error::Io { .. }) => {}
                Err(error) => panic!("room {room}: {error}"),
            }
            assert_eq!(contents(&store), expected);
        }
        let _ = store.compact();
        assert_eq!(contents(&store), expected, "room {room}");
        machine.fs.set_capacity(None);
        store.put("a", "after").unwrap();
        expected.insert(b"a".to_vec(), b"after".to_vec());
        assert_eq!(contents(&reopen(store, &mut machine)), expected, "room {room}");
    }
}

#[test]
fn a_sync_that_comes_after_a_failed_one_promises_nothing() {
    let mut machine = Machine::new(4096);
    machine.options = machine.options.durability(Durability::Synced);
    let store = machine.open().unwrap();
    store.put("first", "x").unwrap();
    let other_put = Arc::new(Mutex::new(None));
    let (fs, other, running) = (machine.fs.clone(), store.clone(), Arc::clone(&other_put));
    // While this thread's sync runs, another writes, and waits for its turn to sync.
    machine.fs.before(Op::Sync, ".data", move || {
        let writer = other.clone();
        *running.lock() = Some(std::thread::spawn(move || writer.put("b", "other thread")));
        while !other.contains_key("b").unwrap() {
            std::thread::yield_now();
        }
        fs.fail_next(Op::Sync, ".data", ErrorKind::Other);
    });
    assert!(matches!(store.put("a", "this thread"), Err(Error::Poisoned { .. })));
    let other_put = other_put.lock().take().unwrap().join().unwrap();
    assert!(matches!(other_put, Err(Error::Poisoned { .. })), "the failed sync dropped its pages");
}

#[test]
fn a_poisoned_compaction_removes_nothing() {
    let mut machine = Machine::new(4096);
    machine.options = machine.options.durability(Durability::Synced);
    let store = machine.open().unwrap();
    store.put("a", "1").unwrap();
    store.put("a", "2").unwrap();
    let (other, fs) = (store.clone(), machine.fs.clone());
    machine.fs.before(Op::Create, ".data.tmp", move || {
        other.put("b", "starts the active segment").unwrap();
        let again = fs.clone();
        fs.before(Op::Create, "MANIFEST.tmp", move || {
            again.fail_next(Op::Sync, ".data", ErrorKind::Other);
            assert!(other.put("c", "x").is_err());
        });
    });
    let before = machine.data();
    assert!(matches!(store.compact(), Err(Error::Poisoned { .. })));
    assert!(before.iter().all(|name| machine.data().contains(name)));
    assert_eq!(value(&store, "a").as_deref(), Some("2"));
}

#[test]
fn openings_that_fail_for_want_of_space_take_no_more_of_it_each_time() {
    let machine = Machine::new(1 << 24);
    let store = machine.open().unwrap();
    for n in 0..40 {
        store.put(format!("{n}"), "v".repeat(20_000)).unwrap();
    }
    drop((store, machine.fs.crash_at(0)));
    let machine = machine.kill();
    let base = machine.fs.total_len();
    machine.fs.set_capacity(Some(base + 700_000));
    for _ in 0..5 {
        assert!(matches!(machine.open(), Err(Error::Io { .. })));
    }
    machine.fs.set_capacity(Some(base + 850_000));
    assert_eq!(machine.open().unwrap().len(), 40);
}

#[test]
fn leftovers_make_room_for_recovery() {
    let machine = Machine::new(1 << 16);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    let machine = machine.kill();
    drop(store);
    machine.fs.write(&Machine::path("00000009.data.tmp"), &vec![7; 10_000]);
    machine.fs.set_capacity(Some(machine.fs.total_len()));
    assert_eq!(value(&machine.open().unwrap(), "key").as_deref(), Some("value"));
}

/// A store of four small records in one segment.
fn four(machine: &Machine) -> crate::store::Store {
    let store = machine.open().unwrap();
    for key in ["a", "b", "c", "d"] {
        store.put(key, format!("value-{key}")).unwrap();
    }
    store
}

/// Makes `c` go bad after its segment was found sound, when the file of the copies is made.
fn spoil_when_made(machine: &Machine, name: &str) {
    let copy = machine.clone();
    machine.fs.before(Op::Create, name, move || {
        copy.flip("00000001.data", copy.find("00000001.data", b"value-c").unwrap());
    });
}

#[test]
fn a_record_that_goes_bad_while_it_is_compacted_is_corrupt_and_not_lost() {
    let machine = Machine::new(4096);
    let store = four(&machine);
    store.put("a", "again").unwrap();
    spoil_when_made(&machine, ".data.tmp");
    if machine.options.read_mode == ReadMode::Copy {
        // What is copied has been read before, whole.
        store.compact().unwrap();
        assert_eq!(value(&store, "c").as_deref(), Some("value-c"));
    } else {
        assert!(matches!(store.compact(), Err(Error::Corrupt { .. })));
        assert!(matches!(store.get("c"), Err(Error::Corrupt { .. })));
    }
    assert_eq!(value(&store, "d").as_deref(), Some("value-d"));
}

#[test]
fn a_record_that_goes_bad_while_it_is_taken_up_is_corrupt_and_not_lost() {
    let machine = Machine::new(4096);
    four(&machine).close().unwrap();
    let mut checking = machine.clone();
    checking.options = checking.options.verify(Verify::Always);
    let store = checking.open().unwrap();
    spoil_when_made(&machine, "00000002.data");
    assert!(matches!(store.put("e", "v"), Err(Error::Corrupt { .. })));
    assert!(matches!(store.get("c"), Err(Error::Corrupt { .. })));
    store.put("e", "v").unwrap();
    assert_eq!(value(&store, "d").as_deref(), Some("value-d"));
}

#[test]
fn a_segment_taken_up_goes_even_if_nothing_could_be_written_after_it() {
    let mut machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.put("gone", "x").unwrap();
    store.delete("gone").unwrap();
    store.close().unwrap();
    let store = machine.open().unwrap();
    machine.fs.set_capacity(Some(machine.fs.total_len()));
    assert!(store.put("key", "value").is_err());
    machine.fs.set_capacity(None);
    // It needs more room than the empty active segment has.
    store.put("key", "v".repeat(20_000)).unwrap();
    store.compact().unwrap();
    assert_eq!(machine.total_len(".data"), 20 + 3 + 20_000);
    assert_eq!(reopen(store, &mut machine).len(), 1);
}

#[test]
fn a_recovered_segment_is_a_read_only_file() {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    let machine = machine.kill();
    drop(store);
    let _store = machine.open().unwrap();
    assert!(machine.fs.is_read_only(&Machine::path(&machine.data()[0])));
}

#[test]
fn a_program_that_is_always_killed_does_not_leave_a_segment_each_time() {
    let mut machine = Machine::new(1 << 20);
    for n in 0..50 {
        let store = machine.open().unwrap();
        store.put(format!("{}", n % 5), format!("{n}")).unwrap();
        if n % 7 == 0 {
            store.delete("4").unwrap();
        }
        machine = machine.kill();
        drop(store);
        assert_eq!(
            machine.data().len(),
            if n == 0 { 1 } else { 2 },
            "the small one and the active"
        );
        // Five records of 22 or 23 bytes and their copies; a tombstone or two.
        assert!(machine.total_len(".data") < 300);
    }
    let store = machine.open().unwrap();
    let expected = [("0", "45"), ("1", "46"), ("2", "47"), ("3", "48")];
    expected.iter().for_each(|(k, v)| assert_eq!(value(&store, k).as_deref(), Some(*v)));
    assert_eq!(value(&store, "4"), None, "deleted in the last round");
}

#[test]
fn what_opening_found_bad_is_an_error_whatever_is_verified() {
    let mut machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    store.put("gone", "value").unwrap();
    store.delete("gone").unwrap();
    store.put("last", "value").unwrap();
    store.close().unwrap();
    machine.flip("00000001.data", 4);
    machine.flip("00000001.data", 28 + 29 + 4);
    machine.options = machine.options.verify(Verify::Never);
    let store = machine.open().unwrap();
    assert!(matches!(store.get("key"), Err(Error::Corrupt { .. })));
    assert!(matches!(store.get("gone"), Err(Error::Corrupt { .. })));
    store.put("key", "mended").unwrap();
    assert_eq!(value(&store, "key").as_deref(), Some("mended"));
}

#[test]
fn a_half_made_segment_that_cannot_be_removed_does_not_end_the_log_before_what_follows() {
    // How much of a write that fails is written, and so whether a record is torn, is the disk's choice.
    for luck in 0..20 {
        let machine = Machine::new(1 << 16);
        let store = machine.open().unwrap();
        for n in 0..20 {
            store.put(format!("{n}"), "value".repeat(20)).unwrap();
        }
        store.close().unwrap();
        let machine = machine.crash(luck);
        let store = machine.open().unwrap();
        for op in [Op::Write, Op::SetLen, Op::Remove] {
            machine.fs.fail_next(op, "00000002.data", ErrorKind::Other);
        }
        assert!(store.put("new", "v").is_err());
        assert!(!machine.fs.is_armed());
        store.put("new", "w").unwrap();
        store.sync().unwrap();
        let machine = machine.kill();
        drop(store);
        assert_eq!(value(&machine.open().unwrap(), "new").as_deref(), Some("w"));
    }
}

#[test]
fn outputs_of_large_records_are_no_larger_than_one_of_them_needs() {
    let machine = Machine::new(1024);
    let store = machine.open().unwrap();
    for n in 0..100 {
        store.put(format!("{n:03}"), "v".repeat(600)).unwrap();
    }
    store.delete("000").unwrap();
    store.compact().unwrap();
    let len = |name: &String| machine.fs.read(&Machine::path(name)).unwrap().len();
    assert!(machine.data().iter().all(|name| len(name) <= 1024));
}

#[test]
fn a_second_compaction_finds_nothing_to_do() {
    for lens in [&[350, 800, 800, 350][..], &[10, 10, 2000, 10], &[1], &[900, 50, 900, 60]] {
        let machine = Machine::new(1000);
        let store = machine.open().unwrap();
        for (n, &len) in lens.iter().enumerate() {
            store.put(format!("{n}"), "v".repeat(len)).unwrap();
        }
        store.put("dead", "x").unwrap();
        store.delete("dead").unwrap();
        assert!(store.compact().unwrap().segments_removed > 0);
        let report = store.compact().unwrap();
        assert_eq!((report.segments_removed, report.segments_written), (0, 0));
    }
}

#[test]
fn a_torn_batch_is_set_aside_whole() {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    store.close().unwrap();
    let part = |batch, key| Record { batch, ..Record::plain(1, key, b"value") };
    let single = part(BatchPart::Single, b"before");
    let all = encode(&[single, part(BatchPart::First, b"1"), part(BatchPart::Last, b"2")]);
    for (rest, zeros) in [(1, 0), (26, 0), (1, 50), (26, 50)] {
        let machine = machine.copy();
        let mut bytes = all[..all.len() - rest].to_vec();
        bytes.resize(bytes.len() + zeros, 0);
        machine.fs.write(&Machine::path("00000002.data"), &bytes);
        let store = machine.open().unwrap();
        assert_eq!(store.len(), 2);
        let cut = machine.fs.read(&Machine::path("00000002.cut")).unwrap();
        assert_eq!(cut, bytes[encode(&[single]).len()..]);
    }
}

#[test]
fn a_tail_of_a_newer_version_is_refused_and_nothing_is_changed() {
    let machine = Machine::new(4096);
    machine.open().unwrap().close().unwrap();
    let mut bytes = encode(&[Record::plain(1, b"1", b"v"), Record::plain(1, b"2", b"v")]);
    let at = bytes.len() / 2;
    bytes[at + 12] |= 0x80;
    let crc = crc32fast::hash(&bytes[at + 4..]);
    bytes[at..at + 4].copy_from_slice(&crc.to_be_bytes());
    machine.fs.write(&Machine::path("00000005.data"), &bytes);
    machine.fs.write(&Machine::path("00000000.data"), b"an orphan");
    let before = machine.fs.operations();
    match machine.open() {
        Err(Error::Unsupported { path, offset, .. }) => {
            assert_eq!((path, offset), (Machine::path("00000005.data"), at as u64));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(machine.fs.operations(), before);
}

#[test]
fn a_recovered_copy_that_reads_bad_fails_the_opening_and_its_sources_stay() {
    let machine = Machine::new(4096);
    four(&machine).close().unwrap();
    let store = machine.open().unwrap();
    store.put("e", "value-e").unwrap();
    let machine = machine.kill();
    drop(store);
    let before = machine.data();
    let copy = machine.clone();
    machine.fs.before(Op::Rename, ".data", move || {
        let name = &copy.names(".data.tmp")[0];
        copy.flip(name, copy.find(name, b"value-c").unwrap());
    });
    assert!(matches!(machine.open(), Err(Error::Corrupt { .. })));
    assert!(before.iter().all(|name| machine.data().contains(name)));
    let store = machine.open().unwrap();
    assert_eq!((value(&store, "c").as_deref(), store.len()), (Some("value-c"), 5));
}
