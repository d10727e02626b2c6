//! One test per hazard that has bitten other Bitcasks, named after it. docs/design.md lists the
//! hazards and the rule against each; `tests/mutations` breaks each rule and sees the test fail.

use std::time::Duration;

use super::support::{Contents, Machine, contents, encode, value};
use crate::error::{Damage, Error};
use crate::fs::sim::Op;
use crate::options::{Durability, Recovery, Verify};
use crate::record::{BatchPart, MAX_KEY_LEN, MAX_VALUE_LEN, Record};
use crate::store::Store;

/// More than any sweep over the operations of a test needs.
pub(super) const MANY: u64 = 10_000;

/// A segment of its own for whatever `write` does.
pub(super) fn segment(machine: &Machine, write: impl FnOnce(&Store)) {
    let store = machine.open().unwrap();
    write(&store);
    store.close().unwrap();
}

/// Fills the rest of a segment so that the next opening does not take it up as a small one.
fn fill(store: &Store, name: &str) {
    store.put(format!("fill {name}"), "#".repeat(300)).unwrap();
}

/// A machine whose first segment holds `key` and a bad, live record, so that compaction keeps it.
fn with_kept_first_segment(key: &str) -> Machine {
    let machine = Machine::new(512);
    segment(&machine, |store| {
        store.put(key, "old").unwrap();
        store.put("bad", "intact").unwrap();
        fill(store, "1");
    });
    machine
}

pub(super) fn spoil(machine: &Machine, name: &str, text: &str) {
    machine.flip(name, machine.find(name, text.as_bytes()).unwrap());
}

#[test]
fn hazard_01_a_tombstone_stays_while_an_older_segment_outside_the_merge_holds_the_key() {
    let machine = with_kept_first_segment("key");
    segment(&machine, |store| {
        assert!(store.delete("key").unwrap());
        fill(store, "2");
    });
    spoil(&machine, "00000001.data", "intact");

    let store = machine.open().unwrap();
    let report = store.compact().unwrap();
    assert_eq!(report.segments_kept, [Machine::path("00000001.data")]);
    assert_eq!(value(&store, "key"), None);
    store.close().unwrap();
    let store = machine.open().unwrap();
    assert_eq!(value(&store, "key"), None, "resurrected");

    // Once nothing bad is live, everything takes part and no tombstone is left.
    store.put("bad", "mended").unwrap();
    let report = store.compact().unwrap();
    assert!(report.segments_kept.is_empty());
    assert_eq!(report.records_after, store.len() as u64);
    store.close().unwrap();
    assert_eq!(value(&machine.open().unwrap(), "key"), None, "resurrected");
}

#[test]
fn hazard_01_an_expired_record_stays_while_an_older_segment_outside_the_merge_holds_the_key() {
    let machine = Machine::new(512);
    let old = Record::plain(1, b"key", b"old");
    let bad = Record::plain(1, b"bad", b"intact");
    let expired = Record { expires_at: Some(1000), ..Record::plain(2, b"key", b"new") };
    let filler = [b'#'; 300];
    let filler = Record::plain(3, b"fill", &filler);
    machine.write_records("00000001.data", &[old, bad, filler]);
    machine.write_records("00000002.data", &[expired, filler]);
    machine.write_records("00000003.data", &[filler]);
    machine.time.set(2000);
    spoil(&machine, "00000001.data", "intact");

    let store = machine.open().unwrap();
    assert_eq!(store.compact().unwrap().segments_kept.len(), 1);
    assert_eq!(value(&store, "key"), None);
    store.close().unwrap();
    let store = machine.open().unwrap();
    assert_eq!(value(&store, "key"), None, "resurrected");
    store.delete("bad").unwrap();
    store.compact().unwrap();
    assert_eq!(store.len(), 1, "an expired record counts as dead once nothing older is left");
}

#[test]
fn hazard_01_what_a_put_with_a_time_has_replaced_does_not_come_back_when_that_has_passed() {
    let machine = with_kept_first_segment("key");
    segment(&machine, |store| {
        store.put_with_ttl("key", "new", Duration::from_micros(1000)).unwrap();
        fill(store, "2");
    });
    spoil(&machine, "00000001.data", "intact");
    machine.time.set(2 << 20);
    for _ in 0..3 {
        let store = machine.open().unwrap();
        let (replaced, expired) = (20 + 3 + 3, 28 + 3 + 3);
        assert_eq!(store.stats().dead_bytes, replaced + expired);
        assert_eq!(store.compact().unwrap().segments_kept.len(), 1);
        assert_eq!(value(&store, "key"), None);
        store.close().unwrap();
        assert_eq!(value(&machine.open().unwrap(), "key"), None, "resurrected");
    }
    let store = machine.open().unwrap();
    store.put("bad", "mended").unwrap();
    let report = store.compact().unwrap();
    assert_eq!((report.records_after, store.len()), (3, 3), "two fillings and the mended one");
    store.close().unwrap();
    assert_eq!(value(&machine.open().unwrap(), "key"), None, "resurrected");
}

#[test]
fn hazard_01_deleting_an_expired_key_writes_a_tombstone() {
    let machine = Machine::new(4096);
    let expired = Record { expires_at: Some(1000), ..Record::plain(2, b"key", b"value") };
    machine.write_records("00000001.data", &[expired]);
    machine.time.set(2000);
    let store = machine.open().unwrap();
    assert!(!store.delete("key").unwrap(), "it was not there");
    store.close().unwrap();
    // The clock of another machine is behind.
    machine.time.set(0);
    assert_eq!(value(&machine.open().unwrap(), "key"), None);
}

#[test]
fn hazard_02_a_tombstone_carried_forward_does_not_kill_a_newer_put() {
    let machine = with_kept_first_segment("key");
    segment(&machine, |store| {
        store.delete("key").unwrap();
        fill(store, "2");
    });
    segment(&machine, |store| {
        store.put("key", "new").unwrap();
        store.put("bad too", "intact").unwrap();
        fill(store, "3");
    });
    spoil(&machine, "00000001.data", "intact");
    spoil(&machine, "00000003.data", "intact");
    let store = machine.open().unwrap();
    assert_eq!(store.compact().unwrap().segments_kept.len(), 2);
    store.close().unwrap();
    assert_eq!(value(&machine.open().unwrap(), "key").as_deref(), Some("new"));
}

/// Three segments with keys `a` to `f`, half of them dead.
pub(super) fn half_dead(machine: &Machine) -> Contents {
    let store = machine.open().unwrap();
    for round in 0..3 {
        for key in ["a", "b", "c", "d", "e", "f"] {
            store.put(key, format!("{key}{round}").repeat(20)).unwrap();
        }
    }
    store.delete("f").unwrap();
    store.sync().unwrap();
    contents(&store)
}

#[test]
fn hazard_03_a_delete_or_put_during_a_compaction_wins_over_the_copy() {
    let mut machine = Machine::new(256);
    half_dead(&machine);
    let store = machine.open().unwrap();
    let writer = store.clone();
    machine.fs.before(Op::Rename, ".data", move || {
        writer.put("a", "put meanwhile").unwrap();
        assert!(writer.delete("b").unwrap());
        writer.put("f", "back again").unwrap();
    });
    let report = store.compact().unwrap();
    assert!(report.segments_written > 1);
    let check = |store: &Store| {
        assert_eq!(value(store, "a").as_deref(), Some("put meanwhile"));
        assert_eq!(value(store, "b"), None);
        assert_eq!(value(store, "f").as_deref(), Some("back again"));
        assert_eq!(store.len(), 5);
    };
    check(&store);
    check(&reopen(store, &mut machine));
}

/// Another process after this handle is gone.
pub(super) fn reopen(store: Store, machine: &mut Machine) -> Store {
    drop(store);
    machine.fs = machine.fs.kill();
    machine.open().unwrap()
}

#[test]
fn hazard_04_outputs_lie_above_all_that_was_sealed_and_below_what_is_written_meanwhile() {
    let mut machine = Machine::new(256);
    half_dead(&machine);
    let store = machine.open().unwrap();
    store.put("b", "not sealed yet").unwrap();
    let sealed = machine.data();
    let writer = store.clone();
    machine.fs.before(Op::Create, ".data.tmp", move || writer.put("a", "meanwhile").unwrap());
    store.compact().unwrap();
    let after = machine.data();
    assert!(after.iter().all(|name| !sealed.contains(name)));
    let active = after.last().unwrap();
    assert!(machine.find(active, b"meanwhile").is_some(), "the highest id is the active one");
    assert!(after.len() > 2 && after.first() > sealed.last());
    assert_eq!(value(&reopen(store, &mut machine), "a").as_deref(), Some("meanwhile"));
}

#[test]
fn hazard_05_compaction_does_not_trust_what_is_not_durable() {
    for seed in 0..40 {
        let machine = Machine::new(4096);
        let store = machine.open().unwrap();
        store.put("first", "copied before the put").unwrap();
        store.put("key", "old").unwrap();
        store.put("gone", "old").unwrap();
        store.delete("gone").unwrap();
        store.sync().unwrap();
        let writer = store.clone();
        // After the first record was copied, before it is decided whether the second is.
        machine.fs.before(Op::Create, ".data.tmp", move || writer.put("key", "new").unwrap());
        store.compact().unwrap();
        let machine = machine.crash(seed);
        let store = machine.open().unwrap();
        assert_eq!(value(&store, "key").as_deref(), Some("new"), "seed {seed}");
        assert_eq!((value(&store, "gone"), store.len()), (None, 2));
    }
}

#[test]
fn hazard_06_a_crash_at_any_step_of_a_compaction_leaves_the_contents_as_they_were() {
    for step in 0..MANY {
        let machine = Machine::new(256);
        let expected = half_dead(&machine);
        let store = machine.open().unwrap();
        machine.fs.crash_at(step);
        let compacted = store.compact();
        let was_down = machine.fs.is_down();
        assert!(compacted.is_ok() || was_down);
        // The seeds give other outcomes of the same crash; the last one, no power loss at all.
        let crashes = (0..6).map(|seed| machine.crash(seed));
        for machine in crashes.chain(std::iter::once_with(|| machine.kill())) {
            let store = machine.open().unwrap();
            assert_eq!(contents(&store), expected, "step {step}");
            let files = machine.data();
            drop(store);
            let store = machine.open().unwrap();
            assert_eq!(machine.data(), files, "recovery twice is recovery once");
            assert_eq!(contents(&store), expected);
            store.compact().unwrap();
            let live = expected.iter().map(|(key, value)| 20 + key.len() + value.len());
            assert_eq!(machine.total_len(".data"), live.sum::<usize>() as u64);
        }
        if !was_down {
            assert!(step > 10, "the sweep met the compaction");
            return;
        }
    }
    panic!("the sweep did not end");
}

#[test]
fn hazard_06_inputs_are_removed_after_the_manifest_and_oldest_first() {
    let machine = Machine::new(256);
    half_dead(&machine);
    let store = machine.open().unwrap();
    let sealed = machine.data();
    let before = machine.fs.trace().len();
    store.compact().unwrap();
    let trace = machine.fs.trace().split_off(before);
    let is_manifest =
        |(op, path): &(Op, _)| *op == Op::Rename && *path == Machine::path("MANIFEST");
    let commit = trace.iter().rposition(is_manifest).unwrap();
    let removed = |steps: &[(Op, std::path::PathBuf)]| -> Vec<String> {
        let removals = steps.iter().filter(|(op, path)| {
            *op == Op::Remove && path.extension().is_some_and(|e| e == "data")
        });
        removals.map(|(_, path)| path.file_name().unwrap().to_str().unwrap().into()).collect()
    };
    assert!(removed(&trace[..commit]).is_empty());
    assert_eq!(removed(&trace[commit..]), sealed);
}

#[test]
fn hazard_06_a_segment_with_a_bad_live_record_is_no_input_and_is_reported() {
    let machine = Machine::new(512);
    segment(&machine, |store| {
        store.put("bad", "intact").unwrap();
        store.put("good", "fine").unwrap();
        store.put("stale", "1").unwrap();
        fill(store, "1");
    });
    segment(&machine, |store| {
        store.put("stale", "dead").unwrap();
        store.put("stale", "2").unwrap();
        fill(store, "2");
    });
    let store = machine.open().unwrap();
    // Goes bad while the store is open: not even its key's entry can be found by what it says.
    spoil(&machine, "00000001.data", "bad");
    let report = store.compact().unwrap();
    assert_eq!(report.segments_kept, [Machine::path("00000001.data")]);
    assert_eq!((report.segments_removed, report.segments_written), (1, 1));
    assert!(matches!(store.get("bad"), Err(Error::Corrupt { .. })));
    assert_eq!(value(&store, "good").as_deref(), Some("fine"));
    assert_eq!(value(&store, "stale").as_deref(), Some("2"));
}

#[test]
fn hazard_07_data_and_directory_are_durable_before_the_manifest_names_them() {
    for step in 0..MANY {
        let machine = Machine::new(256);
        let store = machine.open().unwrap();
        machine.fs.crash_at(step);
        let put = |n: &u32| store.put(n.to_string(), "#".repeat(60)).is_ok();
        let done = (0..20).take_while(put).count();
        let sealed = machine.data().len().saturating_sub(1);
        for seed in 0..20 {
            let machine = machine.crash(seed);
            let store = machine.open().unwrap_or_else(|error| panic!("step {step}: {error}"));
            assert!(store.recovery_report().damage.is_empty());
            // Three records to a segment, and those of sealed ones are durable.
            assert!(store.len() >= (sealed * 3).min(done), "step {step}: {}", store.len());
        }
        if done == 20 {
            return;
        }
    }
    panic!("the sweep did not end");
}

#[test]
fn hazard_07_what_a_manifest_drops_is_removed_only_when_that_manifest_is_durable() {
    for step in 0..MANY {
        let machine = Machine::new(256);
        let expected = half_dead(&machine);
        let store = machine.open().unwrap();
        machine.fs.crash_at(step);
        let _ = store.compact();
        let was_down = machine.fs.is_down();
        if !was_down {
            // It is not to come later.
            machine.fs.crash_at(MANY);
        }
        // The process is killed there; the next one finds what the cache has; then the power fails.
        let machine = machine.kill();
        assert_eq!(contents(&machine.open().unwrap()), expected);
        for seed in 0..20 {
            let store = machine.crash(seed).open().unwrap_or_else(|e| panic!("step {step}: {e}"));
            assert_eq!(contents(&store), expected, "step {step}");
        }
        if !was_down {
            return;
        }
    }
    panic!("the sweep did not end");
}

#[test]
fn hazard_08_ids_are_never_used_again() {
    let mut machine = Machine::new(256);
    let mut made = Vec::new();
    for round in 0..30 {
        let store = machine.open().unwrap();
        for key in ["a", "b", "c", "d"] {
            store.put(key, format!("{round}").repeat(40)).unwrap();
        }
        machine.fs.crash_at(round);
        let _ = store.compact();
        drop(store);
        made.extend(machine.fs.trace().into_iter().filter_map(|(op, path)| {
            let is_new = matches!(op, Op::Create | Op::Rename)
                && path.extension().is_some_and(|extension| extension == "data");
            is_new.then(|| path.file_name().unwrap().to_str().unwrap().to_owned())
        }));
        machine = machine.kill();
    }
    let all = made.len();
    made.sort();
    made.dedup();
    assert_eq!(made.len(), all);
    assert!(all > 60);
}

#[test]
fn hazard_08_ids_and_names_compare_as_numbers() {
    let mut machine = Machine::new(4096);
    machine.write_records("99999999.data", &[Record::plain(2, b"key", b"old")]);
    machine.write_records("100000000.data", &[Record::plain(1, b"key", b"new")]);
    let store = machine.open().unwrap();
    assert_eq!(value(&store, "key").as_deref(), Some("new"));
    fill(&store, "next");
    assert!(machine.data().contains(&"100000001.data".to_owned()));
    assert_eq!(value(&reopen(store, &mut machine), "key").as_deref(), Some("new"));
}

#[test]
fn hazard_09_a_clock_that_steps_back_or_stands_still_changes_no_order_and_revives_nothing() {
    let mut machine = Machine::new(100);
    let dies = Record { expires_at: Some(1000), ..Record::plain(0, b"dies", b"at 1000") };
    machine.write_records("00000001.data", &[dies]);
    machine.time.set(500);
    let store = machine.open().unwrap();
    assert_eq!(value(&store, "dies").as_deref(), Some("at 1000"));
    machine.time.set(1000);
    assert_eq!((value(&store, "dies"), store.keys().count()), (None, 0));
    for (time, text) in [(900, "first"), (100, "second"), (100, "third"), (0, "fourth")] {
        machine.time.set(time);
        store.put("key", text).unwrap();
        assert_eq!(value(&store, "dies"), None, "revived at {time}");
    }
    assert_eq!(value(&store, "key").as_deref(), Some("fourth"));
    let store = reopen(store, &mut machine);
    assert_eq!(value(&store, "key").as_deref(), Some("fourth"));
    store.compact().unwrap();
    assert_eq!(value(&reopen(store, &mut machine), "key").as_deref(), Some("fourth"));
}

#[test]
fn hazard_09_an_opened_store_s_time_is_no_earlier_than_its_newest_write() {
    for ends in ["closed", "killed", "compacted"] {
        let mut machine = Machine::new(4096);
        let store = machine.open().unwrap();
        store.put_with_ttl("dies", "at 1000", Duration::from_micros(1000)).unwrap();
        store.put_with_ttl("lives", "to 2000", Duration::from_micros(2000)).unwrap();
        machine.time.set(1000);
        store.put("last", "written at 1000").unwrap();
        assert_eq!(value(&store, "dies"), None);
        match ends {
            "closed" => store.close().unwrap(),
            "compacted" => {
                store.delete("last").unwrap();
                store.put("last", "written at 1000").unwrap();
                store.compact().unwrap();
                store.close().unwrap();
            }
            _ => {
                drop(store);
                machine = machine.kill();
            }
        }
        machine.time.set(0);
        let store = machine.open().unwrap();
        assert_eq!((value(&store, "dies"), store.keys().count()), (None, 2), "{ends}: revived");
        assert_eq!(value(&store, "lives").as_deref(), Some("to 2000"));
        assert!(!store.touch("dies", Duration::MAX).unwrap());
        store.put_with_ttl("new", "for 5", Duration::from_micros(5)).unwrap();
        machine.time.set(1004);
        assert!(store.contains_key("new").unwrap(), "its time begins at 1000");
        machine.time.set(1005);
        assert!(!store.contains_key("new").unwrap());
    }
}

/// A clock that was wrong by more than an hour for a moment must not expire everything, nor stop time, for good.
#[test]
fn hazard_09_a_time_far_ahead_in_the_log_is_not_believed() {
    const HOUR: u64 = 3_600_000_000;
    let now = 5 * HOUR;
    for (ahead, is_believed) in [(HOUR, true), (HOUR + 1, false), (u64::MAX - now, false)] {
        let machine = Machine::new(4096);
        machine.time.set(now);
        let key = Record { expires_at: Some(now + 1000), ..Record::plain(now, b"key", b"value") };
        machine.write_records("00000001.data", &[key, Record::plain(now + ahead, b"wrong", b"x")]);
        assert_eq!(machine.open().unwrap().contains_key("key").unwrap(), !is_believed, "{ahead}");
        if is_believed {
            continue;
        }
        // It is the last write that counts, so that this one stands in nobody's way.
        let store = machine.open().unwrap();
        machine.time.set(now + 1000);
        store.put("right", "x").unwrap();
        store.close().unwrap();
        machine.time.set(now);
        assert!(!machine.open().unwrap().contains_key("key").unwrap(), "revived");
    }
}

/// A killed machine with five records in its tail, and where each of them ends.
fn with_tail() -> (Machine, Vec<(usize, Contents)>) {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    let mut prefixes = vec![(0, Contents::new())];
    for (key, value) in [("a", "1"), ("b", "two"), ("a", "three"), ("b", ""), ("", "no key")] {
        store.put(key, value).unwrap();
        let len = machine.fs.read(&Machine::path("00000001.data")).unwrap().len();
        prefixes.push((len, contents(&store)));
    }
    (machine.kill(), prefixes)
}

/// Opens a copy of the machine with this tail and sees the last prefix that ends at or before `end`.
fn assert_prefix(machine: &Machine, tail: &[u8], prefixes: &[(usize, Contents)], end: usize) {
    for recovery in [Recovery::Lenient, Recovery::Strict] {
        let mut machine = machine.copy();
        machine.options = machine.options.recovery(recovery);
        machine.fs.write(&Machine::path("00000001.data"), tail);
        let store = machine.open().unwrap();
        let (good_end, expected) = prefixes.iter().rfind(|(len, _)| *len <= end).unwrap();
        assert_eq!(contents(&store), *expected);
        let cuts = &store.recovery_report().cuts;
        let rest = &tail[*good_end..];
        if rest.iter().all(|&byte| byte == 0) {
            assert!(cuts.is_empty());
        } else {
            assert_eq!((cuts[0].offset, cuts[0].bytes), (*good_end as u64, rest.len() as u64));
            assert_eq!(machine.fs.read(&cuts[0].set_aside).unwrap(), rest);
        }
        // It is settled now.
        drop(store);
        let machine = machine.kill();
        let store = machine.open().unwrap();
        assert_eq!(contents(&store), *expected);
        assert!(store.recovery_report().is_clean());
    }
}

#[test]
fn hazard_10_a_torn_tail_is_cut_at_its_last_whole_record_wherever_it_is_torn() {
    let (machine, prefixes) = with_tail();
    let tail = machine.fs.read(&Machine::path("00000001.data")).unwrap();
    for len in 0..=tail.len() {
        assert_prefix(&machine, &tail[..len], &prefixes, len);
        // As a file system that had extended the file leaves it.
        let mut zeros = tail[..len].to_vec();
        zeros.resize(tail.len() + 100, 0);
        let good = zeros.iter().zip(&tail).take_while(|(a, b)| a == b).count();
        assert_prefix(&machine, &zeros, &prefixes, good);
    }
}

#[test]
fn hazard_10_any_flipped_bit_ends_the_log_before_its_record() {
    let (machine, prefixes) = with_tail();
    let tail = machine.fs.read(&Machine::path("00000001.data")).unwrap();
    for bit in 0..tail.len() * 8 {
        let mut bad = tail.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_prefix(&machine, &bad, &prefixes, bit / 8);
    }
}

#[test]
fn hazard_10_a_bad_record_in_a_sealed_segment_is_corrupt_and_hides_no_older_value() {
    let machine = Machine::new(4096);
    machine.write_records(
        "00000001.data",
        &[Record::plain(1, b"key", b"older"), Record::plain(1, b"other", b"sound")],
    );
    let newer = [Record::plain(2, b"key", b"newer"), Record::plain(2, b"last", b"sound")];
    machine.write_records("00000002.data", &newer);
    let offset = machine.find("00000002.data", b"newer").unwrap();
    machine.flip("00000002.data", offset);
    let path = Machine::path("00000002.data");

    for verify in [Verify::Once, Verify::Always, Verify::Never] {
        let mut machine = machine.copy();
        machine.options = machine.options.verify(verify);
        let store = machine.open().unwrap();
        let damage = &store.recovery_report().damage;
        assert_eq!((damage.len(), &damage[0].path, damage[0].offset), (1, &path, 0));
        assert!(matches!(damage[0].damage, Damage::Checksum { .. }));
        assert_eq!(value(&store, "other").as_deref(), Some("sound"));
        assert_eq!(value(&store, "last").as_deref(), Some("sound"));
        if verify != Verify::Never {
            match store.get("key") {
                Err(Error::Corrupt { path: at, offset: 0, damage: Damage::Checksum { .. } }) => {
                    assert_eq!(at, path);
                }
                other => panic!("{other:?}"),
            }
            assert!(matches!(store.contains_key("key"), Err(Error::Corrupt { .. })));
        }
        // It can be put and deleted again.
        store.put("key", "mended").unwrap();
        assert_eq!(value(&store, "key").as_deref(), Some("mended"));
        let store = reopen(store, &mut machine);
        assert_eq!(value(&store, "key").as_deref(), Some("mended"));
    }
    let mut strict = machine.copy();
    strict.options = strict.options.recovery(Recovery::Strict);
    assert!(matches!(strict.open(), Err(Error::Corrupt { offset: 0, .. })));
    let store = machine.open();
    assert!(store.unwrap().delete("key").unwrap());
}

#[test]
fn hazard_10_behind_a_bad_record_with_wrong_sizes_nothing_is_guessed() {
    let machine = Machine::new(4096);
    // The value holds a whole record, which must not be taken for one.
    let mut inside = encode(&[Record::plain(9, b"forged", b"from a value")]);
    inside.resize(0x75, b'.');
    let first = Record::plain(1, b"first", b"sound");
    let bad = Record::plain(2, b"bad", &inside);
    let last = Record::plain(3, b"last", b"out of reach");
    let len = encode(&[first]).len();
    machine.write_records("00000001.data", &[first, bad, last]);
    machine.write_records("00000002.data", &[first]);
    // The value's size, which is 0x20 now.
    machine.flip("00000001.data", len + 19);
    let store = machine.open().unwrap();
    let damage = &store.recovery_report().damage;
    assert_eq!((damage.len(), damage[0].offset), (1, len as u64));
    assert_eq!(contents(&store), Contents::from([(b"first".to_vec(), b"sound".to_vec())]));
    let report = store.compact().unwrap();
    assert_eq!(report.segments_kept, [Machine::path("00000001.data")]);
}

pub(super) fn part(part: BatchPart, key: &'static str) -> Record<'static> {
    Record { batch: part, ..Record::plain(1, key.as_bytes(), b"value") }
}

#[test]
fn hazard_11_a_batch_of_which_a_record_is_missing_is_not_applied_at_all() {
    use BatchPart::{First, Last, Middle, Single};
    let whole = [part(First, "a"), part(Middle, "b"), part(Middle, "c"), part(Last, "d")];
    for missing in 0..=whole.len() {
        for as_tail in [false, true] {
            let mut records = vec![part(Single, "before")];
            records
                .extend(whole.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, r)| *r));
            records.push(part(Single, "after"));
            let mut machine = Machine::new(4096);
            if as_tail {
                drop(machine.open().unwrap());
            }
            machine.write_records("00000001.data", &records);
            let store = machine.open().unwrap();
            assert_eq!(store.recovery_report().unclean, as_tail);
            let unapplied = store.recovery_report().unapplied_batch_records;
            match missing {
                // A middle that is missing cannot be told from one that never was.
                1 | 2 => assert_eq!((store.len(), unapplied), (5, 0)),
                4 => assert_eq!((store.len(), unapplied), (6, 0)),
                _ => assert_eq!((store.len(), unapplied), (2, 3)),
            }
            let expected = contents(&store);
            store.compact().unwrap();
            assert_eq!(contents(&reopen(store, &mut machine)), expected);
        }
    }
}

#[test]
fn hazard_11_two_batches_never_fuse() {
    use BatchPart::{First, Last, Middle, Single};
    let cases: [(&[Record<'_>], &[Record<'_>], &[&str]); 4] = [
        // A batch without an end before a whole one.
        (&[part(First, "a"), part(First, "b"), part(Last, "c")], &[], &["b", "c"]),
        // A single between.
        (&[part(First, "a"), part(Single, "b"), part(Last, "c")], &[], &["b"]),
        // Across segments.
        (&[part(First, "a"), part(Middle, "b")], &[part(Last, "c")], &[]),
        (&[part(First, "a")], &[part(First, "b"), part(Last, "c")], &["b", "c"]),
    ];
    for (one, two, expected) in cases {
        let machine = Machine::new(4096);
        machine.write_records("00000001.data", one);
        machine.write_records("00000002.data", two);
        let store = machine.open().unwrap();
        let keys: Vec<_> = contents(&store).into_keys().collect();
        assert_eq!(keys, expected.iter().map(|key| key.as_bytes().to_vec()).collect::<Vec<_>>());
    }
    // A bad record between.
    let machine = Machine::new(4096);
    let records = [part(First, "a"), part(Middle, "bad"), part(Last, "c"), part(Single, "d")];
    machine.write_records("00000001.data", &records);
    machine.write_records("00000002.data", &[]);
    machine.flip("00000001.data", encode(&records[..1]).len() + 5);
    let store = machine.open().unwrap();
    assert_eq!((value(&store, "a"), value(&store, "c")), (None, None));
    assert_eq!(value(&store, "d").as_deref(), Some("value"));
}

#[test]
fn hazard_13_a_slice_stays_valid_when_its_segment_is_gone() {
    let machine = Machine::new(256);
    let expected = half_dead(&machine);
    let store = machine.open().unwrap();
    let held: Vec<_> = expected.keys().map(|key| store.get(key).unwrap().unwrap()).collect();
    let files = machine.data();
    for round in 0..5 {
        for key in expected.keys() {
            store.put(key, format!("{round}").repeat(50)).unwrap();
        }
        store.compact().unwrap();
        assert!(machine.data().iter().all(|name| !files.contains(name)));
        assert!(store.stats().pinned_segments > 0 && store.stats().pinned_bytes > 0);
        assert!(held.iter().zip(expected.values()).all(|(held, value)| *held == **value));
    }
    drop(held);
    assert_eq!(store.stats().pinned_segments, 0);
}

#[test]
fn hazard_18_sync_covers_segments_that_rotated_since_the_last_one_and_directory_entries() {
    for seed in 0..60 {
        for puts in [1, 2, 20] {
            let machine = Machine::new(256);
            let store = machine.open().unwrap();
            for n in 0..puts {
                store.put(format!("{n}"), "#".repeat(60)).unwrap();
            }
            store.sync().unwrap();
            let store = machine.crash(seed).open().unwrap();
            assert_eq!(store.len(), puts, "seed {seed}");
        }
    }
}

#[test]
fn hazard_18_a_synced_put_survives_a_power_loss() {
    for seed in 0..60 {
        let mut machine = Machine::new(256);
        machine.options = machine.options.durability(Durability::Synced);
        let store = machine.open().unwrap();
        for n in 0..7 {
            store.put(format!("{n}"), "#".repeat(60)).unwrap();
        }
        store.delete("3").unwrap();
        let expected = contents(&store);
        assert_eq!(contents(&machine.crash(seed).open().unwrap()), expected, "seed {seed}");
    }
}

#[test]
fn hazard_19_a_value_read_from_the_append_buffer_never_changes() {
    let mut machine = Machine::new(1 << 20);
    machine.options = machine.options.durability(Durability::Buffered);
    let store = machine.open().unwrap();
    let mut held = Vec::new();
    for n in 0..2000u32 {
        let text = format!("{n:08}").repeat(40);
        store.put(n.to_be_bytes(), &text).unwrap();
        held.push((store.get(n.to_be_bytes()).unwrap().unwrap(), text));
        if n % 97 == 0 {
            store.flush().unwrap();
        }
    }
    assert!(machine.data().len() == 1 && store.stats().buffered_bytes > 0);
    assert!(held.iter().all(|(value, text)| *value == text.as_str()));
}

#[test]
fn hazard_20_a_file_shorter_than_the_manifest_says_is_refused_and_nothing_is_removed() {
    let machine = Machine::new(256);
    half_dead(&machine);
    machine.open().unwrap().close().unwrap();
    machine.write_records("00000000.data", &[Record::plain(1, b"an", b"orphan")]);
    let name = machine.data().pop().unwrap();
    let bytes = machine.fs.read(&Machine::path(&name)).unwrap();
    let names = machine.fs.names(Machine::dir());
    for len in [0, 1, bytes.len() - 1] {
        machine.fs.write(&Machine::path(&name), &bytes[..len]);
        let (expected, found) = (bytes.len() as u64, len as u64);
        match machine.open() {
            Err(Error::Inconsistent { path, damage }) => {
                assert_eq!(path, Machine::path(&name));
                assert_eq!(damage, Damage::Length { expected, found });
            }
            other => panic!("{other:?}"),
        }
    }
    machine.fs.remove_file(&Machine::path(&name));
    match machine.open() {
        Err(Error::MissingSegment { path }) => assert_eq!(path, Machine::path(&name)),
        other => panic!("{other:?}"),
    }
    let left: Vec<_> = names.into_iter().filter(|other| *other != name).collect();
    assert_eq!(machine.fs.names(Machine::dir()), left, "the orphan is still there");
    machine.fs.write(&Machine::path(&name), &bytes);
    assert_eq!(machine.open().unwrap().len(), 5);
    assert!(!machine.data().contains(&"00000000.data".to_owned()));
}

#[test]
fn hazard_20_no_file_is_cut_that_a_reader_may_look_at() {
    let machine = Machine::new(1024);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    let held = store.get("key").unwrap().unwrap();
    let len = machine.total_len(".data");
    machine.fs.set_capacity(Some(machine.fs.total_len() + 10));
    assert!(matches!(store.put("more", "than fits in ten bytes"), Err(Error::Io { .. })));
    assert_eq!(machine.total_len(".data"), len, "what was half-written is gone");
    assert_eq!(held, "value");
    assert_eq!(value(&store, "more"), None);
    machine.fs.set_capacity(None);
    store.put("more", "fits now").unwrap();
    let expected = contents(&store);
    drop(store);
    let cuts = machine.fs.trace().into_iter().filter(|(op, _)| *op == Op::SetLen).count();
    assert_eq!(cuts, 1, "only the failed write was cut off");
    assert_eq!(contents(&machine.open().unwrap()), expected);
}

#[test]
fn hazard_20_files_of_no_length_are_opened() {
    let machine = Machine::new(1024);
    machine.write_records("00000001.data", &[]);
    machine.write_records("00000002.data", &[Record::plain(1, b"key", b"value")]);
    machine.write_records("00000003.data", &[]);
    assert_eq!(value(&machine.open().unwrap(), "key").as_deref(), Some("value"));
    assert_eq!(machine.open().unwrap().len(), 1);
}

#[test]
fn hazard_22_sizes_at_the_limits_work_and_beyond_them_are_refused_before_anything_is_written() {
    let mut machine = Machine::new(4096);
    let store = machine.open().unwrap();
    let key = vec![b'k'; MAX_KEY_LEN];
    store.put(&key, "value").unwrap();
    store.put("large", vec![7; 1 << 20]).unwrap();
    store.put("after", "a record larger than a segment").unwrap();
    let before = machine.fs.operations();
    let too_long = vec![0; MAX_KEY_LEN + 1];
    assert!(
        matches!(store.put(&too_long, "x"), Err(Error::KeyTooLong { len, .. }) if len == 1 << 24)
    );
    assert!(matches!(store.delete(&too_long), Err(Error::KeyTooLong { .. })));
    assert_eq!(store.get(&too_long).unwrap(), None);
    // Zeroed memory that nothing touches costs nothing.
    let too_long = vec![0; MAX_VALUE_LEN + 1];
    assert!(
        matches!(store.put("x", too_long), Err(Error::ValueTooLong { len, .. }) if len == 1 << 32)
    );
    assert_eq!(machine.fs.operations(), before);
    store.compact().unwrap();
    let check = |store: &Store| {
        assert_eq!(value(store, std::str::from_utf8(&key).unwrap()).as_deref(), Some("value"));
        assert_eq!(store.get("large").unwrap().unwrap(), vec![7; 1 << 20]);
        assert_eq!(store.len(), 3);
    };
    check(&store);
    check(&reopen(store, &mut machine));
}
