//! Read-only stores that have seen what was taken back afterwards: by a failed write, by a segment that could
//! not be begun, by a repair.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::hazards::{segment, spoil};
use super::looks::at_each_look;
use super::read_only::Reading;
use super::support::{Machine, contents, encode, value};
use crate::fs::Fs;
use crate::fs::sim::{Op, SimFs};
use crate::options::{Durability, ReadMode};
use crate::record::Record;
use crate::repair::repair_on;
use crate::store::Store;

/// The disk fills up while a writer flushes these writes and another record; a read-only store looks before
/// what fitted is cut off again; then the writer dies, and another one recovers. Answers that and the reader.
fn recovered_after(mode: ReadMode, write: fn(&Store)) -> (Store, Reading) {
    let mut machine = Machine::new(4096);
    machine.options = machine.options.read_mode(mode).durability(Durability::Buffered);
    segment(&machine, |store| {
        store.put("key", "old").unwrap();
        store.put("fill", "#".repeat(3000)).unwrap();
    });
    let writer = machine.open().unwrap();
    let reading = Arc::new(Reading::open(&machine).unwrap());
    write(&writer);
    writer.put("other", "#".repeat(500)).unwrap();
    machine.fs.set_capacity(Some(machine.fs.total_len() + 200));
    let meanwhile = Arc::clone(&reading);
    machine.fs.before(Op::SetLen, "00000002.data", move || _ = meanwhile.refresh());
    assert!(writer.flush().is_err());
    assert_ne!(value(&reading.store, "key").as_deref(), Some("old"), "it has seen a part");
    let machine = machine.end_process();
    machine.fs.set_capacity(None);
    let writer = machine.open().unwrap();
    assert_eq!(value(&writer, "key").as_deref(), Some("old"));
    writer.put("next", "value").unwrap();
    writer.flush().unwrap();
    (writer, Arc::into_inner(reading).unwrap())
}

#[test]
fn a_failed_write_that_a_recovery_did_not_find_is_taken_back() {
    for mode in [ReadMode::Mapped, ReadMode::Copy] {
        let writes: [fn(&Store); 2] = [
            |store| store.put("key", "withdrawn").unwrap(),
            |store| assert!(store.delete("key").unwrap()),
        ];
        for write in writes {
            let (writer, reading) = recovered_after(mode, write);
            assert_eq!(reading.refreshed(), contents(&writer));
            assert!(!reading.refresh());
        }
    }
}

/// The disk is full while a small segment is copied into the next one; a read-only store looks at the copy.
#[test]
fn what_a_segment_held_that_could_not_be_begun_is_still_in_the_one_that_it_took_up() {
    for mode in [ReadMode::Mapped, ReadMode::Copy] {
        let mut machine = Machine::new(4 << 20);
        machine.options = machine.options.read_mode(mode);
        segment(&machine, |store| {
            store.put("one", "1".repeat(100_000)).unwrap();
            store.put("two", "2".repeat(100_000)).unwrap();
        });
        let writer = machine.open().unwrap();
        let reading = Arc::new(Reading::open(&machine).unwrap());
        machine.fs.set_capacity(Some(machine.fs.total_len() + 150_000));
        let (meanwhile, fs) = (Arc::clone(&reading), machine.fs.clone());
        machine.fs.before(Op::Remove, "00000002.data", move || {
            assert!(meanwhile.refresh(), "there is a copy of the first key");
            fs.set_capacity(None);
        });
        assert!(writer.put("three", "3").is_err());
        assert_eq!(reading.refreshed(), contents(&writer));
        writer.backup("/machine/backup", |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(reading.refreshed(), contents(&writer), "the manifest is another");
        writer.put("three", "3").unwrap();
        assert_eq!(reading.refreshed(), contents(&writer));
    }
}

/// A deletion that failed is in the file still, whole, when the file is given up because nothing else is in it.
#[test]
fn a_failed_write_is_cut_off_before_its_file_is_given_up() {
    // No write that would take back what failed comes between.
    let ends: [fn(&Store); 2] =
        [|store| drop(store.compact().unwrap()), |store| store.clone().close().unwrap()];
    for end in ends {
        let machine = Machine::new(512);
        segment(&machine, |store| {
            store.put("key", "value").unwrap();
            store.put("fill", "#".repeat(400)).unwrap();
        });
        let writer = machine.open().unwrap();
        let reading = Reading::open(&machine).unwrap();
        // How much of a write that fails is written, is the disk's choice.
        for cuts in (0..100).map(|attempt| attempt.min(1)) {
            machine.fs.fail_at(0, Some(Op::Write), ErrorKind::Other);
            machine.fs.fail_at(cuts, Some(Op::SetLen), ErrorKind::Other);
            assert!(writer.delete("key").is_err());
            assert!(!machine.fs.is_armed());
            if reading.refreshed().len() == 1 {
                break;
            }
        }
        assert_eq!(reading.store.len(), 1, "the deletion shows");
        let expected = contents(&writer);
        end(&writer);
        assert_eq!(reading.refreshed(), expected);
    }
}

/// Nobody keeps them where the process ends before a manifest says so. A read-only store has seen the higher of two:
/// what comes in the lower one is news.
#[test]
fn ids_that_are_given_up_may_be_used_again() {
    let mut seen = [0; 2];
    for (seed, cut) in (0..20).flat_map(|seed| [(seed, false), (seed, true)]) {
        let machine = Machine { fs: SimFs::new(seed), ..Machine::new(512) };
        segment(&machine, |store| {
            store.put("key", "value").unwrap();
            store.put("fill", "#".repeat(400)).unwrap();
        });
        // No entry says that copies of this are gone.
        segment(&machine, |store| assert!(store.delete("key").unwrap()));
        let writer = machine.open().unwrap();
        let reading = Arc::new(Reading::open(&machine).unwrap());
        machine.fs.fail_next(Op::Create, "00000003.data", ErrorKind::Other);
        assert!(writer.put("new", "value").is_err());
        machine.fs.fail_next(Op::Write, "00000004.data", ErrorKind::Other);
        if !cut {
            machine.fs.fail_next(Op::SetLen, "00000004.data", ErrorKind::Other);
        }
        let op = if cut { Op::SetLen } else { Op::Remove };
        let (meanwhile, has_seen) = (Arc::clone(&reading), Arc::<AtomicBool>::default());
        let sees = Arc::clone(&has_seen);
        machine.fs.before(op, "00000004.data", move || {
            sees.store(meanwhile.store.refresh().unwrap().records > 0, Ordering::Relaxed);
        });
        assert!(writer.put("new", "value").is_err());
        assert!(!machine.fs.is_armed());
        seen[usize::from(has_seen.load(Ordering::Relaxed))] += 1;
        assert_eq!(reading.refreshed(), contents(&writer));
        writer.close().unwrap();
        segment(&machine, |store| store.put("new", "value").unwrap());
        assert!(machine.find("00000003.data", b"new").is_some());
        reading.refresh();
        assert_eq!(value(&reading.store, "new").as_deref(), Some("value"));
        assert_eq!(contents(&reading.store), contents(&machine.open().unwrap()));
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

/// Every value that readers find for a key while a store is refreshed, one after the other: looked up at each
/// look that the refresh takes at the disk.
fn watched(reading: &Reading, key: &'static str) -> Vec<Option<String>> {
    let (fs, seen) = (&reading.machine.fs, Arc::<Mutex<Vec<_>>>::default());
    let (store, seeing) = (reading.store.clone(), Arc::clone(&seen));
    at_each_look(fs, move || {
        // Its own looks, under `ReadMode::Copy`, do not count.
        seeing.lock().push(value(&store, key));
    });
    reading.refresh();
    fs.forget_look();
    let mut seen = std::mem::take(&mut *seen.lock());
    seen.push(value(&reading.store, key));
    assert!(seen.len() > 9, "{seen:?}");
    seen.dedup();
    seen
}

#[test]
fn no_key_goes_back_on_the_way_while_everything_is_read_anew() {
    for mode in [ReadMode::Mapped, ReadMode::Copy] {
        let mut machine = Machine::new(4096);
        machine.options = machine.options.read_mode(mode);
        for n in 0..3 {
            segment(&machine, |store| {
                store.put("key", format!("version {n}")).unwrap();
                store.put(format!("fill {n}"), "#".repeat(3000)).unwrap();
                store.put("deleted", "value").unwrap();
                store.delete("deleted").unwrap();
            });
        }
        let path = Machine::path("00000004.data");
        let put =
            |key: &str, value: &str| encode(&[Record::plain(1, key.as_bytes(), value.as_bytes())]);
        let (kept, newer) = (put("key", "version 3"), put("key", "version 4"));
        let other = put("other", "value");
        for (kept, withdrawn, key, expected) in [
            (&kept, &other, "key", &[Some("version 3")][..]),
            (&kept, &other, "deleted", &[None]),
            (&kept, &other, "other", &[Some("value"), None]),
            (&kept, &newer, "key", &[Some("version 4"), Some("version 3")]),
            (&Vec::new(), &other, "key", &[Some("version 2")]),
            (&Vec::new(), &newer, "key", &[Some("version 4"), Some("version 2")]),
        ] {
            machine.fs.write(&path, &[&kept[..], withdrawn].concat());
            let reading = Reading::open(&machine).unwrap();
            machine.fs.write(&path, kept);
            let seen = watched(&reading, key);
            assert_eq!(seen.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn a_snapshot_keeps_what_was_taken_back_and_the_order_of_keys_does_not() {
    for mode in [ReadMode::Mapped, ReadMode::Copy] {
        let mut machine = Machine::new(4096);
        machine.options = machine.options.read_mode(mode).ordered(true);
        segment(&machine, |store| {
            store.put("key", "old").unwrap();
            store.put("fill", "#".repeat(3000)).unwrap();
        });
        let path = Machine::path("00000002.data");
        let put = |key: &str| encode(&[Record::plain(1, key.as_bytes(), b"new")]);
        machine.fs.write(&path, &[put("key"), put("other")].concat());
        let reading = Reading::open(&machine).unwrap();
        let snapshot = reading.store.snapshot().unwrap();
        machine.fs.write(&path, &[put("a"), put("z")].concat());
        let keys = ["a", "fill", "key", "z"].map(|key| key.as_bytes().to_vec());
        assert!(reading.refreshed().into_keys().eq(keys.clone()));
        let ranged = reading.store.range::<&str>(..).map(|pair| pair.unwrap().0.to_vec());
        assert!(ranged.eq(keys));
        for (key, then) in [("key", true), ("other", true), ("a", false), ("fill", true)] {
            assert_eq!(snapshot.contains_key(key).unwrap(), then, "{key}");
        }
        assert_eq!(snapshot.get("key").unwrap().unwrap(), "new");
        assert_eq!((snapshot.len(), snapshot.iter().count()), (3, 3));
        assert_eq!(value(&reading.store, "key").as_deref(), Some("old"));
    }
}

/// A repair lets a key have its newest good record, also if the bad one deletes it.
#[test]
fn what_a_repair_could_not_save_is_taken_back_in_open_stores_too() {
    let damaged = [Record::plain(2, b"key", b"bad"), Record::tombstone(2, b"key")];
    for bad in damaged {
        for (mode, older) in
            [(ReadMode::Mapped, true), (ReadMode::Copy, true), (ReadMode::Mapped, false)]
        {
            let mut machine = Machine::new(4096);
            machine.options = machine.options.read_mode(mode);
            if older {
                machine.write_records("00000001.data", &[Record::plain(1, b"key", b"old")]);
            }
            let stays = Record::plain(2, b"stays", b"value");
            machine.write_records("00000002.data", &[bad, stays]);
            machine.open().unwrap().close().unwrap();
            let reading = Reading::open(&machine).unwrap();
            // Its timestamp.
            machine.flip("00000002.data", 5);
            let fs: Arc<dyn Fs> = Arc::new(machine.fs.clone());
            let told = |_| ControlFlow::Continue(());
            let (options, mask) = (&machine.options, machine.hash_mask);
            let report = repair_on(&fs, Machine::dir(), options, mask, told).unwrap();
            assert_eq!(report.lost[0].stale, older);
            let expected = contents(&Reading::open(&machine).unwrap().store);
            assert_eq!(expected.len(), 1 + usize::from(older));
            assert_eq!(reading.refreshed(), expected);
            assert!(!reading.refresh());
        }
    }
}

/// Nothing older stays, so that nothing has to say that the keys were deleted.
#[test]
fn keys_that_a_compaction_forgets_are_no_reason_to_read_anew() {
    let machine = Machine::new(512);
    let writer = machine.open().unwrap();
    for n in 0..6 {
        writer.put(format!("key {n}"), "#".repeat(200)).unwrap();
    }
    let reading = Reading::open(&machine).unwrap();
    let segments = reading.store.stats().segments;
    for n in 0..5 {
        writer.delete(format!("key {n}")).unwrap();
    }
    writer.compact().unwrap();
    assert_eq!(writer.stats().dead_bytes, 0);
    let refreshed = reading.store.refresh().unwrap();
    assert_eq!(refreshed.segments_gone, segments, "{refreshed:?}");
    assert_eq!(contents(&reading.store), contents(&writer));
}

/// A compaction keeps the first segment, for its damage, and with it what deletes a key. Who reads anew comes
/// upon the damage.
#[test]
fn what_a_compaction_lets_go_is_no_reason_to_read_anew() {
    let machine = Machine::new(512);
    segment(&machine, |store| {
        store.put("bad", "intact").unwrap();
        store.put("fill", "#".repeat(300)).unwrap();
    });
    let writer = machine.open().unwrap();
    for n in 0..6 {
        writer.put(format!("key {n}"), "#".repeat(200)).unwrap();
    }
    let reading = Reading::open(&machine).unwrap();
    spoil(&machine, "00000001.data", "intact");
    for n in 0..5 {
        writer.delete(format!("key {n}")).unwrap();
    }
    assert_eq!(writer.compact().unwrap().segments_kept.len(), 1);
    let refreshed = reading.store.refresh().unwrap();
    assert!(refreshed.segments_gone > 1 && refreshed.damage.is_empty(), "{refreshed:?}");
    assert_eq!(reading.store.len(), 3);
}
