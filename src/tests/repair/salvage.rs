//! What counts in damaged segments, and what is said of the rest.

use super::{lost, pairs, read, repair, strictly};
use crate::record::{BatchPart, Record};
use crate::tests::hazards::{part, segment, spoil};
use crate::tests::support::{Contents, Machine, contents, encode, value};

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
fn of_a_key_that_is_bad_and_then_in_half_a_batch_what_was_good_before_both_counts() {
    let old = Record::plain(1, b"key", b"old");
    let put = Record::plain(1, b"key", b"good");
    let deleted = Record::tombstone(1, b"key");
    let bad = Record::plain(1, b"key", b"intact");
    let parts = [(BatchPart::First, "key"), (BatchPart::Middle, "y"), (BatchPart::Last, "z")];
    let half: Vec<_> = parts.iter().map(|&(batch, key)| part(batch, key)).collect();
    for (before, expected) in [(put, Some("good")), (deleted, None)] {
        let machine = Machine::new(4096);
        machine.write_records("00000001.data", &[old]);
        machine.write_records("00000002.data", &[before, bad, Record::plain(1, b"x", b"x")]);
        machine.write_records("00000003.data", &half);
        machine.write_records("00000004.data", &[Record::plain(1, b"last", b"value")]);
        spoil(&machine, "00000002.data", "intact");
        machine.flip("00000003.data", encode(&half[..1]).len() + 5);
        for hash_mask in [u64::MAX, 0] {
            let mut machine = machine.copy();
            machine.hash_mask = hash_mask;
            let report = repair(&machine);
            let stale = expected.is_some();
            assert_eq!(lost(&report), [("key", stale), ("y", false), ("z", false)]);
            assert_eq!(report.lost[0].path, Machine::path("00000003.data"));
            let mut all = pairs(&[("x", "x"), ("last", "value")]);
            all.extend(expected.map(|value| (b"key".to_vec(), value.as_bytes().to_vec())));
            assert_eq!(strictly(&machine), all, "with hashes of {hash_mask:x}");
        }
    }
}
