//! Repair: what it saves, what it says that it could not, and that nothing is lost on the way.

mod keep;
mod manifest;
mod model;
mod salvage;
mod sweeps;

use std::ops::ControlFlow;
use std::sync::Arc;

use super::hazards::{half_dead, segment};
use super::support::{Contents, Machine, contents};
use super::verify::{go_on, verify};
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::fs::sim::Op;
use crate::options::{ReadMode, Recovery};
use crate::progress::Progress;
use crate::repair::{RepairReport, repair_on};

fn repair_with(
    machine: &Machine,
    told: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<RepairReport> {
    let fs: Arc<dyn Fs> = Arc::new(machine.fs.clone());
    repair_on(&fs, Machine::dir(), &machine.options, machine.hash_mask, told)
}

fn try_repair(machine: &Machine) -> Result<RepairReport> {
    repair_with(machine, go_on)
}

/// Repairs, and sees that nothing is damaged any more.
fn repair(machine: &Machine) -> RepairReport {
    let report = try_repair(machine).unwrap();
    let after = verify(machine);
    assert!(after.is_clean(), "{after}");
    report
}

/// What the strictest opening finds.
fn strictly(machine: &Machine) -> Contents {
    let mut machine = machine.clone();
    machine.options = machine.options.recovery(Recovery::Strict);
    contents(&machine.open().unwrap())
}

fn pairs(pairs: &[(&str, &str)]) -> Contents {
    pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn read(machine: &Machine, name: &str) -> Vec<u8> {
    machine.fs.read(&Machine::path(name)).unwrap()
}

/// Whether some file holds exactly these bytes.
fn is_kept(machine: &Machine, bytes: &[u8]) -> bool {
    machine.fs.names(Machine::dir()).iter().any(|name| read(machine, name) == bytes)
}

/// A machine that died before it had removed the inputs of a compaction, and then lost an output.
fn orphaned_inputs() -> Machine {
    let machine = Machine::new(256);
    half_dead(&machine);
    let store = machine.open().unwrap();
    let inputs: Vec<_> =
        machine.data().into_iter().map(|name| (read(&machine, &name), name)).collect();
    store.compact().unwrap();
    store.close().unwrap();
    let outputs = machine.data();
    for (bytes, name) in &inputs {
        machine.fs.write(&Machine::path(name), bytes);
    }
    assert!(outputs.len() > 1 && machine.data().len() == inputs.len() + outputs.len());
    machine.fs.remove_file(&Machine::path(&outputs[0]));
    machine
}

fn lost(report: &RepairReport) -> Vec<(&str, bool)> {
    let key = |key| std::str::from_utf8(key).unwrap();
    report.lost.iter().map(|lost| (key(&lost.key), lost.stale)).collect()
}

#[test]
fn a_store_without_damage_is_left_as_it_is() {
    let machine = Machine::new(256);
    half_dead(&machine);
    machine.open().unwrap().close().unwrap();
    let unclosed = {
        let machine = machine.copy();
        let store = machine.open().unwrap();
        store.put("key", "value").unwrap();
        let killed = machine.kill();
        drop(store);
        killed
    };
    for machine in [machine, unclosed] {
        let before = machine.fs.operations();
        let report = try_repair(&machine).unwrap();
        assert_eq!(report, RepairReport::default());
        assert!(report.is_clean() && report.is_whole());
        assert_eq!(machine.fs.operations(), before);
    }
}

#[test]
fn whatever_byte_of_a_segment_is_bad_the_rest_is_saved_and_what_is_not_is_said() {
    let machine = Machine::new(256);
    let expected = half_dead(&machine);
    machine.open().unwrap().close().unwrap();
    let mut whole = 0;
    for name in machine.data() {
        for byte in 0..read(&machine, &name).len() {
            let machine = machine.copy();
            machine.flip(&name, byte);
            let (bad, names) = (read(&machine, &name), machine.data());
            let report = repair(&machine);
            let found = strictly(&machine);
            assert!(
                !report.is_clean()
                    && report.set_aside == [Machine::path(&format!("{name}.damaged"))]
            );
            assert_eq!(read(&machine, &format!("{name}.damaged")), bad);
            let kept = names.iter().filter(|other| **other != name);
            assert!(kept.clone().all(|name| machine.data().contains(name)), "good ones stay");
            if report.is_whole() {
                whole += 1;
                assert_eq!(found, expected, "{name} byte {byte}");
            } else if report.gone.is_empty() {
                // One record is bad: no other key has changed.
                let changed = expected.iter().filter(|(key, value)| found.get(*key) != Some(value));
                let new = found.keys().filter(|key| !expected.contains_key(*key));
                assert!(changed.count() + new.count() <= 1, "{name} byte {byte}: {found:?}");
                assert_eq!(report.lost.len(), 1);
            }
            // No value is there that nobody has put.
            let put = |(key, value): (&Vec<u8>, &Vec<u8>)| value.starts_with(key);
            assert!(found.iter().all(put), "{name} byte {byte}: {found:?}");
            assert_eq!(try_repair(&machine).unwrap(), RepairReport::default());
        }
    }
    assert!(whole > 100, "bad records that no longer counted cost nothing");
}

#[test]
fn what_a_newer_version_wrote_or_the_disk_cannot_read_is_refused_and_left_as_it_is() {
    let refused = |machine: &Machine| {
        let before = machine.fs.operations();
        let error = try_repair(machine).unwrap_err();
        assert_eq!(machine.fs.operations(), before);
        error
    };
    let mut machine = Machine::new(4096);
    segment(&machine, |store| store.put("key", "value").unwrap());
    let sound = machine.copy();
    machine.flip("MANIFEST", 8);
    assert!(matches!(refused(&machine), Error::Unsupported { .. }));
    machine = sound.copy();
    let mut bytes = read(&machine, "00000001.data");
    bytes[12] |= 0x80;
    let crc = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_be_bytes());
    machine.fs.write(&Machine::path("00000001.data"), &bytes);
    assert!(matches!(refused(&machine), Error::Unsupported { offset: 0, .. }));
    machine = sound.copy();
    machine.options = machine.options.read_mode(ReadMode::Copy);
    machine.flip("MANIFEST", 30);
    machine.fs.fail_next(Op::Read, "00000001.data", 5);
    match refused(&machine) {
        Error::Io { path, .. } => assert_eq!(path, Machine::path("00000001.data")),
        error => panic!("{error}"),
    }
    assert_eq!(repair(&machine).damage.len(), 1);
}

#[test]
fn a_directory_that_is_none_or_open_is_refused() {
    let machine = Machine::new(4096);
    assert!(matches!(try_repair(&machine), Err(Error::NotFound { .. })));
    assert!(machine.fs.names(Machine::dir()).is_empty(), "no lock file was made");
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    machine.flip("MANIFEST", 30);
    assert!(matches!(try_repair(&machine), Err(Error::Locked { .. })));
}

#[test]
fn a_repair_says_how_far_it_is_and_stops_at_will() {
    let machine = Machine::new(256);
    half_dead(&machine);
    machine.open().unwrap().close().unwrap();
    let name = machine.data()[1].clone();
    machine.flip(&name, 30);
    let mut last = Progress::default();
    let machine_before = machine.copy();
    let mut calls = 0;
    repair_with(&machine, |progress| {
        assert!(progress.done > last.done);
        last = progress;
        calls += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(last.done, last.total);
    for stop in 1..=calls {
        let machine = machine_before.copy();
        let mut left = stop;
        let stopped = repair_with(&machine, |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(stopped, Err(Error::Stopped)));
        assert!(!verify(&machine).is_clean());
        assert_eq!(repair(&machine).damage.len(), 1);
    }
}
