//! What goes is kept under another name.

use std::path::PathBuf;

use super::{orphaned_inputs, read, repair, strictly, try_repair};
use crate::directory::Directory;
use crate::error::Error;
use crate::tests::hazards::{half_dead, segment, spoil};
use crate::tests::support::Machine;
use crate::tests::verify::verify;

#[test]
fn names_that_are_taken_are_left_to_those_who_have_them() {
    for links in [true, false] {
        let machine = Machine::new(4096);
        segment(&machine, |store| store.put("key", "intact").unwrap());
        spoil(&machine, "00000001.data", "intact");
        let bytes = read(&machine, "00000001.data");
        for name in ["00000001.data.damaged", "00000001.data.2.damaged"] {
            machine.fs.write(&Machine::path(name), b"from before");
        }
        if !links {
            machine.fs.refuse_links();
        }
        let report = repair(&machine);
        assert_eq!(report.set_aside, [Machine::path("00000001.data.3.damaged")]);
        assert_eq!(read(&machine, "00000001.data.3.damaged"), bytes);
        assert_eq!(read(&machine, "00000001.data.damaged"), b"from before");
        assert_eq!(read(&machine, "00000001.data.2.damaged"), b"from before");
        assert!(machine.data().is_empty());
    }
}

#[test]
fn the_original_stays_where_its_copy_cannot_be_made() {
    let machine = Machine::new(256);
    let expected = half_dead(&machine);
    machine.open().unwrap().close().unwrap();
    let name = machine.data()[0].clone();
    machine.flip(&name, 30);
    let files =
        || -> Vec<PathBuf> { machine.data().iter().map(|name| Machine::path(name)).collect() };
    let before = files();
    machine.fs.set_capacity(Some(machine.fs.total_len()));
    assert!(matches!(try_repair(&machine), Err(Error::Io { .. })));
    assert_eq!(files(), before);
    machine.fs.set_capacity(None);
    assert!(repair(&machine).is_whole());
    assert_eq!(strictly(&machine), expected);
}

#[test]
fn files_that_no_manifest_lists_are_kept_while_something_is_damaged() {
    let machine = orphaned_inputs();
    assert!(matches!(machine.open(), Err(Error::MissingSegment { .. })));
    let leftovers = verify(&machine).leftovers;
    let orphans: Vec<_> = leftovers.iter().map(|path| machine.fs.read(path).unwrap()).collect();
    assert!(orphans.len() > 1);
    let report = repair(&machine);
    assert!(!report.is_whole() && report.recovery.removed.is_empty());
    for (path, bytes) in leftovers.iter().zip(&orphans) {
        let kept = Directory::damaged(path, 1);
        assert_eq!(machine.fs.read(&kept).as_ref(), Some(bytes));
        assert!(report.set_aside.contains(&kept) && machine.fs.read(path).is_none());
    }
}

#[test]
fn an_opening_that_finds_damage_leaves_what_no_manifest_lists() {
    let machine = Machine::new(256);
    half_dead(&machine);
    machine.open().unwrap().close().unwrap();
    let orphan = Machine::path("00000000.data");
    machine.fs.write(&orphan, b"an orphan");
    let name = machine.data()[2].clone();
    machine.flip(&name, 30);
    let store = machine.open().unwrap();
    assert!(store.recovery_report().removed.is_empty() && machine.fs.read(&orphan).is_some());
    store.close().unwrap();
    machine.flip(&name, 30);
    assert_eq!(machine.open().unwrap().recovery_report().removed, [orphan]);
}

#[test]
fn what_was_done_is_noted_in_the_directory() {
    let machine = Machine::new(4096);
    segment(&machine, |store| store.put("key", "intact").unwrap());
    let sound = machine.copy();
    spoil(&machine, "00000001.data", "intact");
    let report = repair(&machine);
    assert_eq!(read(&machine, "REPAIR.damaged"), report.to_string().into_bytes());
    assert!(report.to_string().contains("key \"key\" has no value now"));
    sound.flip("MANIFEST", 30);
    let report = repair(&sound);
    assert!(report.is_whole() && report.to_string().ends_with("the manifest was made anew"));
    assert_eq!(read(&sound, "REPAIR.damaged"), report.to_string().into_bytes());
}
