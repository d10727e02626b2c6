//! A manifest that is lost, or lists what is not there.

use std::ops::ControlFlow;
use std::path::Path;

use super::{is_kept, lost, pairs, read, repair, strictly};
use crate::error::{Damage, Error};
use crate::record::Record;
use crate::tests::hazards::{half_dead, segment, spoil};
use crate::tests::support::{Machine, encode};

#[test]
fn a_manifest_that_is_damaged_or_lost_is_made_anew_and_ids_are_not_used_again() {
    let base = Machine::new(256);
    let expected = half_dead(&base);
    base.open().unwrap().close().unwrap();
    let len = read(&base, "MANIFEST").len();
    for byte in (0..len).filter(|byte| !(8..12).contains(byte)).map(Some).chain([None]) {
        let machine = base.copy();
        match byte {
            Some(byte) => machine.flip("MANIFEST", byte),
            None => {
                machine.fs.remove_file(&Machine::path("MANIFEST"));
                machine.fs.write(&Machine::path("MANIFEST.tmp"), b"");
            }
        }
        for name in ["00000040.cut", "00000041.hint", "00000042.data.damaged", "00000050.txt"] {
            machine.fs.write(&Machine::path(name), b"");
        }
        assert!(machine.open().is_err());
        let before = byte.map(|_| read(&machine, "MANIFEST"));
        let report = repair(&machine);
        assert!(report.manifest_rebuilt && report.is_whole() && !report.is_clean());
        assert_eq!(byte.map(|_| read(&machine, "MANIFEST.damaged")), before);
        assert_eq!(strictly(&machine), expected);
        machine.open().unwrap().put("next", "#".repeat(300)).unwrap();
        assert!(machine.data().contains(&"00000043.data".to_owned()), "{:?}", machine.data());
    }
}

#[test]
fn without_a_manifest_damaged_segments_are_mended_as_with_one() {
    let machine = Machine::new(256);
    let mut expected = half_dead(&machine);
    machine.open().unwrap().close().unwrap();
    // The newest record of b, and the tombstone of f, which is the last.
    let bad =
        machine.data().into_iter().rfind(|name| machine.find(name, b"b2b2").is_some()).unwrap();
    spoil(&machine, &bad, "b2b2");
    machine.flip("MANIFEST", 30);
    let torn = machine.data().pop().unwrap();
    let bytes = read(&machine, &torn);
    machine.fs.write(&Machine::path(&torn), &bytes[..bytes.len() - 1]);
    let report = repair(&machine);
    assert_eq!(lost(&report), [("b", true)]);
    let [gone] = &report.gone[..] else { panic!("{report}") };
    let end = bytes.len() - encode(&[Record::tombstone(1, b"f")]).len();
    assert_eq!((&gone.path, gone.offset), (&Machine::path(&torn), end as u64));
    expected.insert(b"b".to_vec(), b"b1".repeat(20));
    expected.insert(b"f".to_vec(), b"f2".repeat(20));
    assert_eq!(strictly(&machine), expected);
}

#[test]
fn files_that_are_missing_short_or_others_are_taken_as_they_are() {
    let base = Machine::new(256);
    let expected = half_dead(&base);
    base.open().unwrap().close().unwrap();
    let name = base.data()[1].clone();
    let bytes = read(&base, &name);
    let check = |machine: &Machine, whole_file: Damage| {
        let manifest = read(machine, "MANIFEST");
        assert!(machine.open().is_err());
        let report = repair(machine);
        assert!(report.manifest_rebuilt && !report.is_whole());
        assert_eq!(report.gone[0].damage, whole_file);
        assert_eq!(read(machine, "MANIFEST.damaged"), manifest);
        strictly(machine)
    };
    let machine = base.copy();
    machine.fs.remove_file(&Machine::path(&name));
    check(&machine, Damage::Missing);
    for len in 0..bytes.len() {
        let machine = base.copy();
        machine.fs.write(&Machine::path(&name), &bytes[..len]);
        let expected_len = bytes.len() as u64;
        let found = check(&machine, Damage::Length { expected: expected_len, found: len as u64 });
        assert!(is_kept(&machine, &bytes[..len]), "{len}");
        assert!(found.iter().all(|(key, value)| value.starts_with(key)));
    }
    let machine = base.copy();
    machine.forget_companions();
    let pad = vec![b'#'; bytes.len() - encode(&[Record::plain(1, b"another", b"")]).len()];
    machine.write_records(&name, &[Record::plain(1, b"another", &pad)]);
    let found = check(&machine, Damage::Field { field: "records", expected: 4, found: 1 });
    assert_eq!(found.get(&b"another"[..]), Some(&pad));
    assert!(expected.keys().filter(|key| found.contains_key(*key)).count() >= 3);
}

#[test]
fn what_a_torn_end_hides_where_the_manifest_is_lost_is_reported_as_gone() {
    let machine = Machine::new(4096);
    let filler = "#".repeat(3000);
    segment(&machine, |store| {
        store.put("deleted", "old").unwrap();
        store.put("fill", &filler).unwrap();
    });
    segment(&machine, |store| {
        store.put("first", "value").unwrap();
        store.delete("deleted").unwrap();
        store.put("more", &filler).unwrap();
    });
    let [_, last] = &machine.data()[..] else { panic!("{:?}", machine.data()) };
    // The first record's value claims to be longer than the file, as one that was cut short by a crash.
    machine.flip(last, 16);
    machine.flip("MANIFEST", 30);
    let bytes = read(&machine, last);
    let report = repair(&machine);
    let [gone] = &report.gone[..] else { panic!("{report}") };
    assert_eq!((&gone.path, gone.offset), (&Machine::path(last), 0));
    assert!(is_kept(&machine, &bytes));
    assert_eq!(strictly(&machine), pairs(&[("deleted", "old"), ("fill", &filler)]));
}

#[test]
fn zeros_at_the_end_of_the_last_file_are_no_loss_where_the_manifest_is_lost() {
    let machine = Machine::new(256);
    let expected = half_dead(&machine);
    machine.open().unwrap().close().unwrap();
    machine.flip("MANIFEST", 30);
    let last = machine.data().pop().unwrap();
    let bytes = [read(&machine, &last), vec![0; 1000]].concat();
    machine.fs.write(&Machine::path(&last), &bytes);
    assert!(repair(&machine).is_whole());
    assert_eq!(strictly(&machine), expected);
    assert!(machine.data().contains(&last));
}

#[test]
fn of_a_first_backup_that_was_interrupted_what_is_missing_is_said() {
    let machine = Machine::new(256);
    let expected = half_dead(&machine);
    let store = machine.open().unwrap();
    let files = store.stats().segments;
    let dest = Path::new("/machine/backup");
    for brought in 1..=files {
        let machine = machine.copy();
        let store = machine.open().unwrap();
        let mut left = brought;
        let stopped = store.backup(dest, |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(stopped, Err(Error::Stopped)));
        for name in machine.fs.names(Machine::dir()) {
            machine.fs.remove_file(&Machine::path(&name));
        }
        // Where the helpers look for a store.
        for name in machine.fs.names(dest) {
            machine.fs.write(&Machine::path(&name), &machine.fs.read(&dest.join(&name)).unwrap());
        }
        drop(store);
        assert!(matches!(machine.open(), Err(Error::MissingManifest { .. })));
        let report = repair(&machine);
        let missing = files - machine.data().len();
        assert!(report.manifest_rebuilt && report.gone.len() == missing, "{report}");
        assert!(report.gone.iter().all(|fault| fault.damage == Damage::Missing));
        assert_eq!(strictly(&machine) == expected, missing == 0);
        assert!(machine.names(".tmp").is_empty());
    }
}
