//! Repair: what it saves, what it says that it could not, and that nothing is lost on the way.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::hazards::{MANY, half_dead, part, segment, spoil};
use super::support::{Contents, Machine, contents, encode, value};
use super::verify::{go_on, verify};
use crate::error::{Damage, Error, Result};
use crate::fs::Fs;
use crate::fs::sim::Op;
use crate::options::{ReadMode, Recovery};
use crate::progress::Progress;
use crate::record::{BatchPart, Record};
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
fn hazard_21_salvage_revives_no_stale_version() {
    let machine = Machine::new(4096);
    let filler = "#".repeat(3000);
    segment(&machine, |store| {
        store.put("changed", "old").unwrap();
        store.put("deleted", "old").unwrap();
        store.put("kept", "value").unwrap();
        store.put("bad", "intact").unwrap();
        store.put("fill", &filler).unwrap();
    });
    segment(&machine, |store| {
        store.put("changed", "new").unwrap();
        store.delete("deleted").unwrap();
        store.put("bad", "newer").unwrap();
        store.put("fill", &filler).unwrap();
    });
    assert_eq!(machine.data().len(), 2);
    spoil(&machine, "00000001.data", "intact");
    let report = repair(&machine);
    assert!(report.is_whole());
    assert_eq!(report.salvaged_records, 1, "only what counts is copied");
    let expected = [("changed", "new"), ("kept", "value"), ("bad", "newer"), ("fill", &filler)];
    assert_eq!(strictly(&machine), pairs(&expected));
}

#[test]
fn hazard_21_a_tombstone_in_a_damaged_segment_goes_on_hiding_what_is_older() {
    let machine = Machine::new(4096);
    let filler = "#".repeat(3000);
    segment(&machine, |store| {
        store.put("deleted", "old").unwrap();
        store.put("again", "old").unwrap();
        store.put("fill", &filler).unwrap();
    });
    segment(&machine, |store| {
        store.delete("deleted").unwrap();
        store.delete("again").unwrap();
        store.put("bad", "intact").unwrap();
        store.put("fill", &filler).unwrap();
    });
    segment(&machine, |store| {
        store.put("again", "new").unwrap();
        store.put("bad", "mended").unwrap();
        store.put("fill", &filler).unwrap();
    });
    spoil(&machine, "00000002.data", "intact");
    let report = repair(&machine);
    assert!(report.is_whole());
    assert_eq!(report.salvaged_records, 1, "a tombstone of a key that is back would kill it");
    let expected = pairs(&[("again", "new"), ("bad", "mended"), ("fill", &filler)]);
    assert_eq!(strictly(&machine), expected);
    let store = machine.open().unwrap();
    store.compact().unwrap();
    assert_eq!(contents(&store), expected);
}

#[test]
fn a_key_whose_newest_record_is_bad_has_the_newest_good_one_before_it_and_is_named() {
    let machine = Machine::new(4096);
    let text = |n: u32| format!("version {n} of it");
    let records = |from: u32| -> Vec<_> { (from..from + 3).map(text).collect() };
    for (name, from) in [("00000001.data", 0), ("00000002.data", 3), ("00000003.data", 6)] {
        let values = records(from);
        let records: Vec<_> =
            values.iter().map(|value| Record::plain(1, b"key", value.as_bytes())).collect();
        machine.write_records(name, &records);
    }
    let sizes = 9;
    for bad in 0..1u32 << sizes {
        // The newest of them among others. Of two bad ones in a row the second is out of reach.
        let in_a_row = (0..3).map(|n| bad >> (3 * n) & 7).any(|three| three & (three << 1) != 0);
        if bad & (1 << (sizes - 1)) == 0 || in_a_row {
            continue;
        }
        let machine = machine.copy();
        for n in (0..sizes).filter(|n| bad & (1 << n) != 0) {
            spoil(&machine, &format!("{:08}.data", n / 3 + 1), &text(n));
        }
        let report = repair(&machine);
        let newest_good = (0..sizes).rfind(|n| bad & (1 << n) == 0);
        assert_eq!(lost(&report), [("key", newest_good.is_some())], "{bad:b}");
        assert_eq!(report.lost[0].path, Machine::path("00000003.data"));
        let store = machine.open().unwrap();
        assert_eq!(value(&store, "key"), newest_good.map(text), "{bad:b}");
        assert_eq!(
            store.recovery_report().records,
            u64::from(newest_good.is_some()) + good_segments(bad)
        );
    }
}

/// Records in segments of three in which nothing is bad, but for those whose newest counts.
fn good_segments(bad: u32) -> u64 {
    let good = |segment: u32| bad >> (3 * segment) & 7 == 0;
    let newest = (0..9u32).rfind(|n| bad & (1 << n) == 0).map(|n| n / 3);
    let stays = |segment: &u32| good(*segment);
    let records: u64 = 3 * (0..3).filter(stays).count() as u64;
    // Where the newest good one is in a segment that stays, it was not copied.
    records - u64::from(newest.is_some_and(good))
}

#[test]
fn a_deletion_that_is_bad_is_lost_as_any_other_record() {
    let machine = Machine::new(4096);
    machine.write_records("00000001.data", &[Record::plain(1, b"key", b"deleted")]);
    let records = [Record::tombstone(1, b"key"), Record::plain(1, b"other", b"value")];
    machine.write_records("00000002.data", &records);
    machine.flip("00000002.data", 5);
    let report = repair(&machine);
    assert_eq!(lost(&report), [("key", true)]);
    assert_eq!(strictly(&machine), pairs(&[("key", "deleted"), ("other", "value")]));

    // One before it that is good hides what is older still.
    let machine = Machine::new(4096);
    machine.write_records("00000001.data", &[Record::plain(1, b"key", b"deleted")]);
    machine.write_records("00000002.data", &[Record::tombstone(1, b"key")]);
    machine.write_records("00000003.data", &[Record::plain(1, b"key", b"intact")]);
    spoil(&machine, "00000003.data", "intact");
    assert_eq!(lost(&repair(&machine)), [("key", false)]);
    assert_eq!(strictly(&machine), Contents::new());
}

#[test]
fn what_a_bad_record_hides_is_reported_as_gone() {
    let machine = Machine::new(4096);
    let old = [Record::plain(1, b"a", b"old"), Record::plain(1, b"b", b"old")];
    let new = [Record::plain(1, b"a", b"new"), Record::plain(1, b"b", b"new")];
    machine.write_records("00000001.data", &old);
    machine.write_records("00000002.data", &new);
    machine.write_records("00000003.data", &[]);
    // A size that leads nowhere.
    machine.flip("00000002.data", 18);
    let report = repair(&machine);
    let [gone] = &report.gone[..] else { panic!("{report}") };
    assert_eq!((&gone.path, gone.offset), (&Machine::path("00000002.data"), 0));
    assert!(!report.is_whole() && report.lost.is_empty());
    assert_eq!(strictly(&machine), pairs(&[("a", "old"), ("b", "old")]));
}

#[test]
fn of_a_batch_of_which_a_record_is_bad_every_key_is_named() {
    let machine = Machine::new(4096);
    machine.write_records("00000001.data", &[Record::plain(1, b"1", b"old")]);
    let parts = [(BatchPart::First, "1"), (BatchPart::Middle, "2"), (BatchPart::Last, "3")];
    let mut records: Vec<_> = parts.iter().map(|&(batch, key)| part(batch, key)).collect();
    records.push(Record::plain(1, b"single", b"value"));
    machine.write_records("00000002.data", &records);
    machine.write_records("00000003.data", &[Record::plain(1, b"3", b"newer")]);
    let len = encode(&records[..1]).len();
    machine.flip("00000002.data", len + 5);
    let report = repair(&machine);
    assert_eq!(lost(&report), [("1", true), ("2", false)], "3 has a newer value");
    assert_eq!(strictly(&machine), pairs(&[("1", "old"), ("3", "newer"), ("single", "value")]));
}

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
    assert_eq!(report.recovery.cuts.len(), 1, "the end of the last file is that of the log");
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
    let pad = vec![b'#'; bytes.len() - encode(&[Record::plain(1, b"another", b"")]).len()];
    machine.write_records(&name, &[Record::plain(1, b"another", &pad)]);
    let found = check(&machine, Damage::Field { field: "records", expected: 4, found: 1 });
    assert_eq!(found.get(&b"another"[..]), Some(&pad));
    assert!(expected.keys().filter(|key| found.contains_key(*key)).count() >= 3);
}

#[test]
fn the_log_behind_damaged_segments_is_newer_than_what_is_salvaged() {
    let machine = Machine::new(4096);
    segment(&machine, |store| {
        store.put("a", "old").unwrap();
        store.put("b", "old").unwrap();
        store.put("c", "value").unwrap();
        store.put("bad", "intact").unwrap();
        store.put("fill", "#".repeat(3000)).unwrap();
    });
    let store = machine.open().unwrap();
    store.put("a", "new").unwrap();
    store.delete("b").unwrap();
    store.put("last", "torn").unwrap();
    let machine = machine.kill();
    drop(store);
    spoil(&machine, "00000001.data", "intact");
    let log = machine.data().pop().unwrap();
    let bytes = read(&machine, &log);
    machine.fs.write(&Machine::path(&log), &bytes[..bytes.len() - 1]);
    let report = repair(&machine);
    assert_eq!(lost(&report), [("bad", false)]);
    assert!(report.recovery.unclean && report.recovery.cuts.len() == 1);
    let filler = "#".repeat(3000);
    assert_eq!(strictly(&machine), pairs(&[("a", "new"), ("c", "value"), ("fill", &filler)]));
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
            (0..3).for_each(|_| machine.fs.fail_next(Op::Link, "", ErrorKind::Unsupported));
        }
        let report = repair(&machine);
        assert_eq!(report.set_aside, [Machine::path("00000001.data.3.damaged")]);
        assert_eq!(read(&machine, "00000001.data.3.damaged"), bytes);
        assert_eq!(read(&machine, "00000001.data.damaged"), b"from before");
        assert_eq!(read(&machine, "00000001.data.2.damaged"), b"from before");
        assert!(!machine.fs.is_armed() && machine.data().is_empty());
    }
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

/// Directories to repair, each with what has to be kept of it.
fn damaged_machines() -> Vec<(Machine, Vec<Vec<u8>>)> {
    let closed = Machine::new(256);
    half_dead(&closed);
    closed.open().unwrap().close().unwrap();
    let name = |n: usize| closed.data()[n].clone();

    let unclosed = closed.copy();
    let store = unclosed.open().unwrap();
    store.put("a", "in the log").unwrap();
    store.delete("b").unwrap();
    let unclosed = unclosed.kill();
    drop(store);
    unclosed.fs.write(&Machine::path("00000000.data"), b"an orphan");
    for n in [1, 3] {
        unclosed.flip(&name(n), 30);
    }

    let without_manifest = closed.copy();
    without_manifest.flip("MANIFEST", 40);
    without_manifest.flip(&name(0), 30);

    let lost_manifest = closed.copy();
    lost_manifest.fs.remove_file(&Machine::path("MANIFEST"));
    lost_manifest.fs.write(&Machine::path("00000009.hint"), b"");
    lost_manifest.flip(&name(1), 18);

    let missing = closed.copy();
    missing.fs.remove_file(&Machine::path(&name(0)));
    missing.flip(&name(2), 30);

    let machines = [unclosed, without_manifest, lost_manifest, missing].into_iter();
    let with_files = machines.map(|machine| {
        let damage = verify(&machine).damage.into_iter();
        let paths = damage.filter_map(|fault| machine.fs.read(&fault.path));
        let files = paths.collect();
        (machine, files)
    });
    with_files.collect()
}

fn outcomes(machine: &Machine) -> Vec<Machine> {
    let mut outcomes: Vec<_> = (0..4).map(|seed| machine.crash(seed)).collect();
    outcomes.push(machine.kill());
    outcomes
}

#[test]
fn a_crash_at_any_step_of_a_repair_loses_nothing_and_the_next_one_comes_to_the_same() {
    for (damaged, files) in damaged_machines() {
        let expected = {
            let machine = damaged.copy();
            repair(&machine);
            strictly(&machine)
        };
        for step in 0..MANY {
            let machine = damaged.copy();
            machine.fs.crash_at(step);
            let done = try_repair(&machine).is_ok();
            for machine in outcomes(&machine) {
                for opened in [false, true] {
                    let machine = machine.copy();
                    if opened {
                        // It may refuse; it may not lose anything.
                        drop(machine.open());
                    }
                    assert!(files.iter().all(|file| is_kept(&machine, file)), "step {step}");
                    repair(&machine);
                    assert_eq!(strictly(&machine), expected, "step {step}, opened: {opened}");
                    assert!(files.iter().all(|file| is_kept(&machine, file)), "step {step}");
                }
            }
            if done {
                assert!(step > 10, "the sweep met the repair");
                break;
            }
        }
    }
}

#[test]
fn a_failure_at_any_step_of_a_repair_loses_nothing_and_the_next_one_comes_to_the_same() {
    for (damaged, files) in damaged_machines() {
        let expected = {
            let machine = damaged.copy();
            repair(&machine);
            strictly(&machine)
        };
        for step in 0..MANY {
            let machine = damaged.copy();
            machine.fs.fail_at(step, None, ErrorKind::StorageFull);
            let result = try_repair(&machine);
            let fired = !machine.fs.is_armed();
            machine.fs.disarm();
            if result.is_err() {
                repair(&machine);
            }
            assert_eq!(strictly(&machine), expected, "step {step}");
            assert!(files.iter().all(|file| is_kept(&machine, file)), "step {step}");
            if !fired {
                assert!(result.is_ok() && step > 10, "the sweep met the repair");
                break;
            }
        }
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
