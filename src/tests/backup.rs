//! Backups: what they hold, what an interruption leaves of them, what is no place for one.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::hazards::{MANY, half_dead};
use super::support::{Contents, Machine, contents, value};
use super::verify::go_on;
use crate::backup::BackupReport;
use crate::error::{Error, Result};
use crate::fs::Reading;
use crate::fs::sim::Op;
use crate::record::Record;
use crate::store::Store;
use crate::verify::verify_on;

fn dest() -> &'static Path {
    Path::new("/machine/backup")
}

fn backup(store: &Store) -> Result<BackupReport> {
    store.backup(dest(), go_on)
}

fn open_backup(machine: &Machine) -> Result<Store> {
    let mut machine = machine.clone();
    machine.options = machine.options.create(false);
    machine.open_at(dest())
}

/// What the backup holds; it is clean, and opening it finds nothing to do.
fn backed_up(machine: &Machine) -> Contents {
    let report = verify_on(&machine.fs, dest(), Reading::new(&machine.options), go_on).unwrap();
    assert!(report.is_clean() && report.torn.is_empty(), "{report}");
    let store = open_backup(machine).unwrap();
    contents(&store)
}

/// Another machine with the files of the store and of its backup.
fn copy(machine: &Machine) -> Machine {
    let copy = machine.copy();
    for name in machine.fs.names(dest()) {
        let path = dest().join(name);
        copy.fs.write(&path, &machine.fs.read(&path).unwrap());
    }
    copy
}

fn data_files(machine: &Machine) -> Vec<String> {
    let names = machine.fs.names(dest()).into_iter();
    names.filter(|name| name.ends_with(".data")).collect()
}

#[test]
fn a_backup_is_a_store_that_holds_what_was_there_and_shares_its_files() {
    let machine = Machine::new(256);
    half_dead(&machine);
    let store = machine.open().unwrap();
    store.put("active", "of the segment that was not sealed").unwrap();
    let expected = contents(&store);
    let before = machine.fs.total_len();
    let report = backup(&store).unwrap();
    let stats = store.stats();
    assert_eq!((report.segments, report.bytes), (stats.segments, stats.bytes));
    assert_eq!(
        (report.linked, report.copied, report.unchanged, report.removed),
        (stats.segments, 0, 0, 0)
    );
    let manifest = machine.fs.read(&dest().join("MANIFEST")).unwrap().len() as u64;
    assert!(machine.fs.total_len() <= before + 2 * manifest, "no data takes room twice");

    store.put("a", "changed later").unwrap();
    store.delete("b").unwrap();
    store.compact().unwrap();
    assert_eq!(backed_up(&machine), expected);
    // Nor does the store see what becomes of its backup.
    let current = contents(&store);
    let copy = open_backup(&machine).unwrap();
    copy.put("a", "changed in the backup").unwrap();
    copy.delete("c").unwrap();
    copy.compact().unwrap();
    copy.close().unwrap();
    assert_eq!(contents(&store), current);
    store.close().unwrap();
    assert_eq!(contents(&machine.open().unwrap()), current);
}

#[test]
fn a_backup_of_nothing_is_an_empty_store() {
    let machine = Machine::new(256);
    let store = machine.open().unwrap();
    assert_eq!(backup(&store).unwrap(), BackupReport::default());
    assert_eq!(backed_up(&machine), Contents::new());
}

#[test]
fn a_second_backup_brings_what_is_new_and_removes_what_is_gone() {
    let machine = Machine::new(256);
    half_dead(&machine);
    let store = machine.open().unwrap();
    let first = backup(&store).unwrap();
    let again = backup(&store).unwrap();
    assert_eq!(again, BackupReport { unchanged: first.segments, linked: 0, ..first });

    store.put("new", "x".repeat(200)).unwrap();
    let second = backup(&store).unwrap();
    assert_eq!((second.unchanged, second.linked, second.removed), (first.segments, 1, 0));
    assert_eq!(backed_up(&machine), contents(&store));

    store.compact().unwrap();
    let third = backup(&store).unwrap();
    assert_eq!((third.unchanged, third.linked), (0, store.stats().segments));
    assert_eq!(third.removed, second.segments);
    assert_eq!(data_files(&machine), machine.data());
    assert_eq!(backed_up(&machine), contents(&store));
}

#[test]
fn what_is_written_while_a_backup_runs_is_not_in_it_and_removes_nothing_of_it() {
    let mut machine = Machine::new(1 << 16);
    half_dead(&machine);
    machine.open().unwrap().close().unwrap();
    machine.options = machine.options.segment_size(1 << 12);
    let store = machine.open().unwrap();
    let expected = contents(&store);
    // Nothing has been appended: the first append might take up the segment that is being linked.
    assert_eq!(store.stats().segments, 1);
    let writer = store.clone();
    machine.fs.before(Op::Link, ".data", move || {
        for n in 0..100 {
            writer.put(format!("{n}"), "x".repeat(100)).unwrap();
        }
        writer.delete("a").unwrap();
        assert!(writer.stats().segments > 2);
    });
    let report = backup(&store).unwrap();
    assert_eq!((report.segments, report.linked), (1, 1));
    assert_eq!(backed_up(&machine), expected);
    assert_eq!(store.len(), expected.len() + 99);
}

#[test]
fn a_compaction_waits_for_the_backup() {
    let machine = Machine::new(256);
    half_dead(&machine);
    let store = machine.open().unwrap();
    let expected = contents(&store);
    let compaction = Arc::new(Mutex::new(None));
    let (other, running) = (store.clone(), Arc::clone(&compaction));
    machine.fs.before(Op::Link, ".data", move || {
        let compacting = std::thread::spawn(move || other.compact().unwrap());
        // Time enough for one that does not wait, which would remove what is to be linked next.
        for _ in 0..100_000 {
            assert!(!compacting.is_finished());
            std::thread::yield_now();
        }
        *running.lock() = Some(compacting);
    });
    let report = backup(&store).unwrap();
    assert_eq!(report.linked, report.segments);
    assert_eq!(backed_up(&machine), expected);
    assert!(compaction.lock().take().unwrap().join().unwrap().segments_removed > 0);
    assert_eq!(contents(&store), expected);
}

/// A store with a backup, and much that is new since.
fn changed_since_backup() -> (Machine, Store, Contents) {
    let machine = Machine::new(256);
    half_dead(&machine);
    let store = machine.open().unwrap();
    let before = contents(&store);
    backup(&store).unwrap();
    store.delete("a").unwrap();
    store.put("b", "new").unwrap();
    store.compact().unwrap();
    store.put("c", "newer").unwrap();
    (machine, store, before)
}

#[test]
fn a_crash_at_any_step_of_the_first_backup_leaves_none_or_all_of_it() {
    for step in 0..MANY {
        let machine = Machine::new(256);
        let expected = half_dead(&machine);
        let store = machine.open().unwrap();
        machine.fs.crash_at(step);
        let done = backup(&store).is_ok();
        for seed in 0..6 {
            let machine = machine.crash(seed);
            match open_backup(&machine) {
                Ok(store) => assert_eq!(contents(&store), expected, "step {step}"),
                Err(Error::NotFound { .. } | Error::MissingManifest { .. }) => assert!(!done),
                Err(error) => panic!("step {step}: {error}"),
            }
            let store = machine.open().unwrap();
            assert_eq!(contents(&store), expected);
            backup(&store).unwrap();
            assert_eq!(backed_up(&machine), expected, "step {step}");
        }
        if done {
            assert!(step > 10, "the sweep met the backup");
            return;
        }
    }
    panic!("the sweep did not end");
}

#[test]
fn a_crash_at_any_step_of_a_later_backup_leaves_the_last_one_or_the_new_one() {
    for step in 0..MANY {
        let (machine, store, before) = changed_since_backup();
        store.sync().unwrap();
        let after = contents(&store);
        machine.fs.crash_at(step);
        let done = backup(&store).is_ok();
        let mut outcomes: Vec<_> = (0..6).map(|seed| machine.crash(seed)).collect();
        outcomes.push(machine.kill());
        for machine in outcomes {
            let unopened = copy(&machine);
            let found = contents(&open_backup(&machine).unwrap());
            assert!(found == after || (found == before && !done), "step {step}: {found:?}");
            // Whether it was opened meanwhile or not, the next one is as any other.
            for machine in [machine, unopened] {
                let store = machine.open().unwrap();
                assert_eq!(contents(&store), after);
                let report = backup(&store).unwrap();
                assert_eq!(report.linked + report.unchanged, report.segments);
                assert_eq!(backed_up(&machine), after, "step {step}");
                assert_eq!(data_files(&machine).len(), report.segments);
            }
        }
        if done {
            assert!(step > 10, "the sweep met the backup");
            return;
        }
    }
    panic!("the sweep did not end");
}

#[test]
fn a_failure_at_any_step_of_a_backup_leaves_the_last_one_or_the_new_one_and_the_store_as_it_was() {
    for step in 0..MANY {
        let (mut machine, mut store, before) = changed_since_backup();
        let after = contents(&store);
        machine.fs.fail_at(step, None, ErrorKind::StorageFull);
        let result = backup(&store);
        let fired = !machine.fs.is_armed();
        machine.fs.disarm();
        let found = backed_up(&machine);
        assert!(found == after || (found == before && result.is_err()), "step {step}");
        assert_eq!(contents(&store), after);
        if let Err(Error::Poisoned { .. }) = result {
            // It was the sealing of the store's own segment that failed.
            drop(store);
            machine = machine.kill();
            store = machine.open().unwrap();
        }
        store.put("usable", "still").unwrap();
        backup(&store).unwrap();
        assert_eq!(backed_up(&machine), contents(&store), "step {step}");
        if !fired {
            assert!(result.is_ok() && step > 10, "the sweep met the backup");
            return;
        }
    }
    panic!("the sweep did not end");
}

#[test]
fn where_files_cannot_be_linked_they_are_copied() {
    let machine = Machine::new(256);
    half_dead(&machine);
    let store = machine.open().unwrap();
    let n = store.stats().segments;
    for _ in 0..n {
        machine.fs.fail_next(Op::Link, "", ErrorKind::CrossesDevices);
    }
    machine.fs.write(&dest().join("00000001.data.tmp"), b"half a copy");
    let report = backup(&store).unwrap();
    assert_eq!((report.linked, report.copied), (0, report.segments));
    assert!(machine.fs.is_armed() == (report.segments < n));
    let expected = contents(&store);
    assert_eq!(backed_up(&machine), expected);
    assert!(data_files(&machine).iter().all(|name| machine.fs.is_read_only(&dest().join(name))));
    // What becomes of one copy does not touch the other.
    for name in machine.data() {
        machine.flip(&name, 30);
    }
    assert_eq!(backed_up(&machine), expected);
}

#[test]
fn a_copy_is_as_long_as_the_segment_and_no_longer() {
    let machine = Machine::new(256);
    machine.write_records("00000001.data", &[Record::plain(1, b"key", b"value")]);
    let path = Machine::path("00000001.data");
    let mut bytes = machine.fs.read(&path).unwrap();
    let len = bytes.len();
    bytes.extend([7; 5]);
    machine.fs.write(&path, &bytes);
    let store = machine.open().unwrap();
    machine.fs.fail_next(Op::Link, "", ErrorKind::Unsupported);
    assert_eq!(backup(&store).unwrap().bytes, len as u64);
    assert_eq!(machine.fs.read(&dest().join("00000001.data")).unwrap(), bytes[..len]);
}

#[test]
fn a_file_that_the_backup_has_lost_is_brought_again() {
    let machine = Machine::new(256);
    half_dead(&machine);
    let store = machine.open().unwrap();
    let first = backup(&store).unwrap();
    machine.fs.remove_file(&dest().join(&data_files(&machine)[0]));
    let again = backup(&store).unwrap();
    assert_eq!((again.unchanged, again.linked), (first.segments - 1, 1));
    assert_eq!(backed_up(&machine), contents(&store));
}

fn assert_not_a_backup(machine: &Machine, store: &Store) {
    let files = || {
        let names = machine.fs.names(dest()).into_iter().filter(|name| name != "LOCK");
        names.map(|name| machine.fs.read(&dest().join(name)).unwrap()).collect::<Vec<_>>()
    };
    let before = files();
    match backup(store) {
        Err(Error::NotABackup { path }) => assert_eq!(path, dest()),
        other => panic!("{other:?}"),
    }
    assert_eq!(files(), before);
}

#[test]
fn what_is_no_backup_of_this_store_is_refused_and_left_as_it_is() {
    let machine = Machine::new(256);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    // Bare data files.
    machine.fs.write(&dest().join("00000001.data"), b"");
    assert_not_a_backup(&machine, &store);
    // Of which the manifest was lost.
    machine.fs.write(&dest().join("MANIFEST.tmp"), b"");
    assert_not_a_backup(&machine, &store);
    machine.fs.remove_file(&dest().join("00000001.data"));
    machine.fs.remove_file(&dest().join("MANIFEST.tmp"));
    // Another store.
    machine.open_at(dest()).unwrap().put("other", "store").unwrap();
    assert_not_a_backup(&machine, &store);
    // One whose manifest cannot be read.
    machine.fs.write(&dest().join("MANIFEST"), b"?");
    assert!(matches!(backup(&store), Err(Error::Inconsistent { .. })));
    assert_eq!(value(&store, "key").as_deref(), Some("value"));
}

#[test]
fn a_backup_that_was_written_to_is_refused() {
    let prepared = || {
        let machine = Machine::new(256);
        half_dead(&machine);
        let store = machine.open().unwrap();
        backup(&store).unwrap();
        let copy = open_backup(&machine).unwrap();
        copy.put("only", "in the backup").unwrap();
        (machine, store, copy)
    };
    // It is ahead of the store.
    let (machine, store, copy) = prepared();
    copy.close().unwrap();
    assert_not_a_backup(&machine, &store);
    // It has another file under an id that the store has used since.
    store.put("only", "x".repeat(200)).unwrap();
    store.put("more", "x".repeat(200)).unwrap();
    assert_not_a_backup(&machine, &store);
    // It was not closed, so its log is behind what its manifest lists.
    let (machine, store, copy) = prepared();
    let machine = {
        drop(store);
        machine.kill()
    };
    drop(copy);
    let store = machine.open().unwrap();
    for n in 0..9 {
        store.put(format!("{n}"), "x".repeat(200)).unwrap();
    }
    assert_not_a_backup(&machine, &store);
}

#[test]
fn a_destination_in_the_store_or_in_use_is_refused() {
    let machine = Machine::new(256);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    let names = machine.fs.names(Machine::dir());
    for path in [Machine::dir().to_path_buf(), Machine::path("backup"), Machine::path("a/b")] {
        match store.backup(&path, go_on) {
            Err(Error::BackupInside { path: inside, store }) => {
                assert_eq!((inside, store), (path, PathBuf::from(Machine::dir())));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(machine.fs.names(Machine::dir()), names);
    backup(&store).unwrap();
    let open = open_backup(&machine).unwrap();
    assert!(matches!(backup(&store), Err(Error::Locked { .. })));
    drop(open);
    backup(&store).unwrap();
    let other = store.clone();
    store.close().unwrap();
    assert!(matches!(backup(&other), Err(Error::Closed)));
}

#[test]
fn a_backup_says_how_far_it_is_and_stops_at_will() {
    let (machine, store, before) = changed_since_backup();
    for links in [true, false] {
        let mut calls = 0;
        let stopped = store.backup(dest(), |_| {
            calls += 1;
            ControlFlow::Break(())
        });
        assert!(matches!(stopped, Err(Error::Stopped)) && calls == 1);
        assert_eq!(backed_up(&machine), before);
        if !links {
            machine.fs.fail_next(Op::Link, "", ErrorKind::CrossesDevices);
        }
    }
    let mut last = (0, 0);
    let report = store.backup(dest(), |progress| {
        assert!(progress.done > last.0);
        last = (progress.done, progress.total);
        ControlFlow::Continue(())
    });
    let report = report.unwrap();
    assert_eq!((last, report.copied), ((report.bytes, report.bytes), 1));
}
