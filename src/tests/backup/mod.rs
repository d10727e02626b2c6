//! Backups: what they hold, and how it gets there.

mod refusals;
mod sweeps;

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::hazards::half_dead;
use super::support::{Contents, Machine, contents};
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

#[test]
fn where_files_cannot_be_linked_they_are_copied() {
    let machine = Machine::new(256);
    half_dead(&machine);
    let store = machine.open().unwrap();
    machine.fs.refuse_links();
    machine.fs.write(&dest().join("00000001.data.tmp"), b"half a copy");
    let report = backup(&store).unwrap();
    assert_eq!((report.linked, report.copied), (0, report.segments));
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

#[test]
fn a_file_of_the_backup_that_cannot_be_looked_at_is_not_one_that_is_lost() {
    const EMFILE: i32 = 24;
    for op in [Op::Open, Op::Len] {
        let machine = Machine::new(256);
        let expected = half_dead(&machine);
        let store = machine.open().unwrap();
        machine.fs.refuse_links();
        backup(&store).unwrap();
        // As where the process has too many files open: nothing can be opened or made.
        let name = dest().join(&data_files(&machine)[1]);
        machine.fs.fail_next(op, name.to_str().unwrap(), EMFILE);
        machine.fs.fail_next(Op::Create, ".data.tmp", EMFILE);
        match backup(&store) {
            Err(Error::TooManyOpenFiles { path, .. }) => assert_eq!(path, name),
            other => panic!("{other:?}"),
        }
        machine.fs.disarm();
        assert_eq!(backed_up(&machine), expected);
    }
}

#[test]
fn what_comes_in_the_place_of_a_short_file_is_whole_before_it_has_its_name() {
    let machine = Machine::new(256);
    let expected = half_dead(&machine);
    let store = machine.open().unwrap();
    backup(&store).unwrap();
    let path = dest().join(&data_files(&machine)[1]);
    let short = machine.fs.read(&path).unwrap()[..30].to_vec();
    machine.fs.remove_file(&path);
    machine.fs.write(&path, &short);
    for links in [true, false] {
        if !links {
            machine.fs.refuse_links();
            machine.fs.remove_file(&path);
            machine.fs.write(&path, &short);
        }
        machine.fs.fail_next(Op::Rename, ".data", ErrorKind::StorageFull);
        assert!(matches!(backup(&store), Err(Error::Io { .. })));
        assert_eq!(machine.fs.read(&path).unwrap(), short);
        let report = backup(&store).unwrap();
        assert_eq!((report.linked, report.copied), if links { (1, 0) } else { (0, 1) });
        assert_eq!(backed_up(&machine), expected);
    }
}

#[test]
fn a_backup_says_how_far_it_is_and_stops_at_will() {
    let (machine, store, before) = sweeps::changed_since_backup(true);
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
