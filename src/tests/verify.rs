//! `verify`: that it finds what an opening would, calls nothing else damage, and changes nothing.

use std::io::ErrorKind;
use std::ops::ControlFlow;

use super::hazards::{half_dead, spoil};
use super::support::{Machine, encode, value};
use crate::error::{Damage, Error, Result};
use crate::fs::Reading;
use crate::fs::sim::Op;
use crate::options::ReadMode;
use crate::progress::Progress;
use crate::record::{BatchPart, Record};
use crate::store::Store;
use crate::verify::{Fault, VerifyReport, verify_on};

pub(super) fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn try_verify(machine: &Machine) -> Result<VerifyReport> {
    let before = machine.fs.operations();
    let report = verify_on(&machine.fs, Machine::dir(), Reading::new(&machine.options), go_on);
    assert_eq!(machine.fs.operations(), before, "verifying changes nothing");
    report
}

pub(super) fn verify(machine: &Machine) -> VerifyReport {
    try_verify(machine).unwrap()
}

/// A closed store of three segments, and the name of the middle one.
fn closed(machine: &Machine) -> String {
    half_dead(machine);
    machine.open().unwrap().close().unwrap();
    assert!(verify(machine).is_clean());
    machine.data()[machine.data().len() / 2].clone()
}

fn faults(report: &VerifyReport) -> Vec<(String, u64, Damage)> {
    let name = |fault: &Fault| fault.path.file_name().unwrap().to_str().unwrap().to_owned();
    report.damage.iter().map(|fault| (name(fault), fault.offset, fault.damage)).collect()
}

#[test]
fn a_closed_store_is_clean_and_everything_in_it_is_counted() {
    let machine = Machine::new(256);
    half_dead(&machine);
    let store = machine.open().unwrap();
    let stats = store.stats();
    store.close().unwrap();
    let report = verify(&machine);
    assert_eq!((report.segments, report.records), (stats.segments, 19));
    assert_eq!(report.bytes, stats.bytes);
    let expected = VerifyReport {
        segments: report.segments,
        records: 19,
        bytes: report.bytes,
        ..VerifyReport::default()
    };
    assert_eq!(report, expected);
}

#[test]
fn what_verify_finds_is_what_an_opening_finds_at_every_byte_of_a_segment() {
    let machine = Machine::new(256);
    let name = closed(&machine);
    let len = machine.fs.read(&Machine::path(&name)).unwrap().len();
    for byte in 0..len {
        let machine = machine.copy();
        machine.flip(&name, byte);
        let report = verify(&machine);
        let store = machine.open().unwrap();
        let found = store.recovery_report().damage.iter();
        let found = found.map(|bad| (bad.path.clone(), bad.offset, bad.damage));
        let told = report.damage.iter().map(|bad| (bad.path.clone(), bad.offset, bad.damage));
        assert_eq!(told.collect::<Vec<_>>(), found.collect::<Vec<_>>(), "byte {byte}");
        assert!(!report.is_clean(), "byte {byte}");
        assert_eq!(report.records, store.recovery_report().records, "byte {byte}");
    }
}

#[test]
fn a_manifest_that_is_not_what_was_written_is_damage_at_every_byte() {
    let machine = Machine::new(256);
    closed(&machine);
    let sound = verify(&machine);
    let len = machine.fs.read(&Machine::path("MANIFEST")).unwrap().len();
    for byte in (0..len).filter(|byte| !(8..12).contains(byte)) {
        machine.flip("MANIFEST", byte);
        let report = verify(&machine);
        let [(name, 0, _)] = &faults(&report)[..] else { panic!("byte {byte}: {report}") };
        assert_eq!(name, "MANIFEST");
        assert_eq!(report.records, sound.records, "the data files are looked through all the same");
        machine.flip("MANIFEST", byte);
    }
    machine.flip("MANIFEST", 8);
    assert!(matches!(try_verify(&machine), Err(Error::Unsupported { .. })), "a later version");
}

#[test]
fn a_listed_file_that_is_missing_or_short_or_another_is_damage() {
    let machine = Machine::new(256);
    let name = closed(&machine);
    let path = Machine::path(&name);
    let bytes = machine.fs.read(&path).unwrap();
    for len in 0..bytes.len() {
        machine.fs.write(&path, &bytes[..len]);
        let damage = Damage::Length { expected: bytes.len() as u64, found: len as u64 };
        assert_eq!(faults(&verify(&machine))[0], (name.clone(), 0, damage));
    }
    let more = [&bytes[..], b"what is behind the listed length does not count"].concat();
    machine.fs.write(&path, &more);
    assert!(verify(&machine).is_clean());

    machine.fs.remove_file(&path);
    let report = verify(&machine);
    assert_eq!(faults(&report), [(name.clone(), 0, Damage::Missing)]);
    assert_eq!(report.segments, machine.data().len(), "it was not looked through");

    // Sound records, and not those that were there.
    let pad = vec![b'#'; bytes.len() - 25];
    machine.write_records(&name, &[Record::plain(1, b"other", &pad)]);
    let found = faults(&verify(&machine));
    assert!(matches!(found[..], [(_, 0, Damage::Field { field: "records", .. })]), "{found:?}");
    let mut other = bytes.clone();
    let end = encode(&[Record::plain(0, b"a", &b"a0".repeat(20))]).len();
    other[11] ^= 1;
    let crc = crc32fast::hash(&other[4..end]);
    other[..4].copy_from_slice(&crc.to_be_bytes());
    machine.fs.write(&path, &other);
    let found = faults(&verify(&machine));
    assert!(matches!(found[..], [(_, 0, Damage::Checksum { .. })]), "{found:?}");
}

#[test]
fn a_store_that_was_not_closed_is_clean_and_its_torn_end_is_where_opening_cuts_it() {
    let machine = Machine::new(1 << 16);
    let store = machine.open().unwrap();
    for n in 0..3 {
        store.put(format!("{n}"), "value").unwrap();
    }
    let machine = machine.kill();
    drop(store);
    let bytes = machine.fs.read(&Machine::path("00000001.data")).unwrap();
    for len in 0..=bytes.len() {
        for zeros in [0, 100] {
            let machine = machine.copy();
            let mut bytes = bytes[..len].to_vec();
            bytes.resize(len + zeros, 0);
            machine.fs.write(&Machine::path("00000001.data"), &bytes);
            // What follows a torn file does not count.
            machine.write_records("00000002.data", &[Record::plain(1, b"key", b"value")]);
            let report = verify(&machine);
            assert!(report.is_clean(), "{report}");
            let store = machine.open().unwrap();
            let cuts = store.recovery_report().cuts.iter();
            let cuts = cuts.map(|cut| (cut.path.clone(), cut.offset, cut.bytes));
            let torn = report.torn.iter().map(|torn| (torn.path.clone(), torn.offset, torn.bytes));
            assert_eq!(torn.collect::<Vec<_>>(), cuts.collect::<Vec<_>>(), "{len} and {zeros}");
        }
    }
}

#[test]
fn what_a_newer_version_wrote_into_the_log_is_damage_and_no_torn_end() {
    let machine = Machine::new(4096);
    machine.open().unwrap().close().unwrap();
    let mut bytes = encode(&[Record::plain(1, b"1", b"v")]);
    bytes[12] |= 0x80;
    let crc = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_be_bytes());
    machine.fs.write(&Machine::path("00000001.data"), &bytes);
    let report = verify(&machine);
    assert_eq!(faults(&report), [("00000001.data".to_owned(), 0, Damage::ReservedFlag)]);
    assert!(report.torn.is_empty());
}

#[test]
fn bare_data_files_are_clean_unless_something_shows_that_they_had_a_manifest() {
    let machine = Machine::new(4096);
    let records = [Record::plain(1, b"key", b"value"), Record::plain(1, b"more", b"value")];
    machine.write_records("00000001.data", &records);
    let bytes = encode(&records);
    machine.fs.write(&Machine::path("00000002.data"), &bytes[..bytes.len() - 1]);
    let report = verify(&machine);
    assert!(report.bare && report.is_clean(), "{report}");
    assert_eq!((report.segments, report.records, report.torn.len()), (2, 3, 1));
    assert!(!machine.fs.names(Machine::dir()).contains(&"LOCK".to_owned()), "none was made");

    machine.fs.write(&Machine::path("00000001.hint"), b"");
    let report = verify(&machine);
    assert!(!report.bare);
    assert_eq!(faults(&report), [("MANIFEST".to_owned(), 0, Damage::Missing)]);

    // Cut short, the first of the files is damaged.
    machine.fs.write(&Machine::path("00000001.data"), &bytes[..bytes.len() - 1]);
    assert_eq!(verify(&machine).damage.len(), 2);
}

#[test]
fn half_a_batch_is_counted_and_no_damage() {
    let machine = Machine::new(4096);
    let part = |batch, key| Record { batch, ..Record::plain(1, key, b"value") };
    let records = [part(BatchPart::First, b"1"), part(BatchPart::Single, b"2")];
    machine.write_records("00000001.data", &records);
    let report = verify(&machine);
    assert_eq!((report.records, report.unapplied_batch_records), (2, 1));
    assert!(report.is_clean());
}

#[test]
fn other_files_are_told_apart() {
    let machine = Machine::new(256);
    closed(&machine);
    let names =
        ["00000000.data", "00000009.data.tmp", "MANIFEST.first", "00000001.cut", "1.data", "notes"];
    for name in names {
        machine.fs.write(&Machine::path(name), b"anything");
    }
    let paths = |names: &[&str]| names.iter().map(|name| Machine::path(name)).collect::<Vec<_>>();
    let report = verify(&machine);
    assert!(report.is_clean(), "{report}");
    let leftovers = paths(&["00000009.data.tmp", "MANIFEST.first", "00000000.data"]);
    assert_eq!(report.leftovers, leftovers);
    assert_eq!(report.set_aside, paths(&["00000001.cut"]));
    assert_eq!(report.foreign, paths(&["1.data", "notes"]));
    machine.open().unwrap().close().unwrap();
    assert!(verify(&machine).leftovers.is_empty());
}

#[test]
fn bytes_that_cannot_be_read_are_damage_and_the_rest_is_looked_through() {
    let mut machine = Machine::new(256);
    closed(&machine);
    machine.options = machine.options.read_mode(ReadMode::Copy);
    let sound = verify(&machine);
    let name = machine.data()[1].clone();
    machine.fs.fail_next(Op::Read, &name, 5);
    let report = verify(&machine);
    assert_eq!(
        faults(&report),
        [(name, 0, Damage::Unread { kind: std::io::Error::from_raw_os_error(5).kind() })]
    );
    assert!(report.records < sound.records && report.records > sound.records / 2);
    // That there is no memory for it says nothing of what is in a file.
    machine.fs.fail_next(Op::Read, "00000001", ErrorKind::OutOfMemory);
    assert!(matches!(try_verify(&machine), Err(Error::Io { .. })));
}

#[test]
fn progress_ends_with_everything_done_and_stops_at_will() {
    let machine = Machine::new(256);
    closed(&machine);
    let reading = Reading::new(&machine.options);
    let mut last = Progress::default();
    let report = verify_on(&machine.fs, Machine::dir(), reading, |progress| {
        assert!(progress.done > last.done && progress.total >= last.total);
        last = progress;
        ControlFlow::Continue(())
    });
    assert_eq!((last.done, last.total), (report.unwrap().bytes, last.done));
    let mut calls = 0;
    let stopped = verify_on(&machine.fs, Machine::dir(), reading, |_| {
        calls += 1;
        ControlFlow::Break(())
    });
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(calls, 1);
}

#[test]
fn a_store_that_is_open_is_refused_and_a_lock_that_cannot_be_taken_is_done_without() {
    let machine = Machine::new(256);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    assert!(matches!(try_verify(&machine), Err(Error::Locked { .. })));
    store.close().unwrap();
    for kind in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
        machine.fs.fail_next(Op::Lock, "LOCK", kind);
        assert_eq!(verify(&machine).records, 1);
        assert!(!machine.fs.is_armed());
    }
    machine.fs.fail_next(Op::Lock, "LOCK", ErrorKind::OutOfMemory);
    assert!(matches!(try_verify(&machine), Err(Error::Io { .. })));
    // It holds the lock as long.
    let other = machine.clone();
    let report = verify_on(&machine.fs, Machine::dir(), Reading::new(&machine.options), |_| {
        assert!(matches!(other.open(), Err(Error::Locked { .. })));
        ControlFlow::Continue(())
    });
    assert!(report.unwrap().is_clean());
    assert_eq!(value(&machine.open().unwrap(), "key").as_deref(), Some("value"));
}

#[test]
fn without_the_lock_the_log_is_not_mapped() {
    let mut machine = Machine::new(4096);
    machine.options = machine.options.read_mode(ReadMode::Mapped);
    let killed = |store: Store| {
        let killed = machine.kill();
        drop(store);
        killed
    };
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    let unclosed = killed(store);
    let bare = Machine::new(4096);
    bare.write_records("00000001.data", &[Record::plain(1, b"key", b"value")]);
    for mut machine in [unclosed, bare] {
        machine.options = machine.options.read_mode(ReadMode::Mapped);
        let map_fails = |machine: &Machine| {
            machine.fs.fail_next(Op::Map, "00000001.data", ErrorKind::Other);
            let report = try_verify(machine);
            machine.fs.disarm();
            report.is_err()
        };
        let lock = Machine::path("LOCK");
        machine.fs.write(&lock, b"");
        assert!(map_fails(&machine), "nobody else writes to it");
        machine.fs.fail_next(Op::Lock, "LOCK", ErrorKind::PermissionDenied);
        assert!(!map_fails(&machine));
        machine.fs.remove_file(&lock);
        assert!(!map_fails(&machine));
    }
}

#[test]
fn where_there_is_no_store_that_is_an_error() {
    let machine = Machine::new(256);
    assert!(matches!(try_verify(&machine), Err(Error::NotFound { .. })));
    machine.fs.write(&Machine::path("00000001.data.tmp"), b"");
    assert!(matches!(try_verify(&machine), Err(Error::NotFound { .. })));
}

#[test]
fn damage_of_the_middle_hides_nothing_of_the_rest() {
    let machine = Machine::new(256);
    closed(&machine);
    let names = machine.data();
    spoil(&machine, &names[0], "b0b0");
    spoil(&machine, &names[3], "2");
    let found = faults(&verify(&machine));
    let found: Vec<_> = found.iter().map(|(name, ..)| name).collect();
    assert_eq!(found, [&names[0], &names[3]]);
}
