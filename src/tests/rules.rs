//! Rules that no hazard of the list stands for: collisions, what opening writes and takes over, empty
//! values, modes of files, what a reader sees when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::hazards::{MANY, half_dead, part, reopen, segment, spoil};
use super::support::{Contents, Machine, contents, encode, value};
use crate::error::{Damage, Error};
use crate::fs::sim::Op;
use crate::options::{Durability, EmptyValues, Verify};
use crate::record::{BatchPart, Record};

#[test]
fn a_full_collision_of_hashes_keeps_keys_apart() {
    let mut machine = Machine::new(300);
    machine.hash_mask = 0;
    let store = machine.open().unwrap();
    for n in 0..20 {
        store.put(format!("{n}"), format!("value {n}")).unwrap();
    }
    for n in (0..20).step_by(2) {
        assert!(store.delete(format!("{n}")).unwrap());
        store.put(format!("{}", n + 1), format!("again {n}")).unwrap();
    }
    let expected = contents(&store);
    assert_eq!(expected.len(), 10);
    store.compact().unwrap();
    assert_eq!(contents(&store), expected);
    assert_eq!(store.get("absent").unwrap(), None);
    assert_eq!(contents(&reopen(store, &mut machine)), expected);
}

#[test]
fn among_colliding_keys_a_corrupt_record_is_never_taken_for_absence() {
    let mut machine = Machine::new(4096);
    machine.hash_mask = 0;
    // In the other order the sound one would replace the bad one, as any put of that hash does.
    let records = [Record::plain(1, b"good", b"sound"), Record::plain(1, b"bad", b"intact")];
    machine.write_records("00000001.data", &records);
    machine.write_records("00000002.data", &[]);
    spoil(&machine, "00000001.data", "bad");
    for verify in [Verify::Once, Verify::Never] {
        let mut machine = machine.copy();
        machine.options = machine.options.verify(verify);
        let store = machine.open().unwrap();
        assert!(matches!(store.get("bad"), Err(Error::Corrupt { .. })));
        // An exact match is written in place of itself, not of the bad record.
        store.put("good", "better").unwrap();
        assert!(matches!(store.get("bad"), Err(Error::Corrupt { .. })));
        store.put("bad", "mended").unwrap();
        assert_eq!(value(&store, "bad").as_deref(), Some("mended"));
        assert_eq!(value(&store, "good").as_deref(), Some("better"));
        assert_eq!(store.len(), 2);
    }
}

#[test]
fn a_record_that_was_checked_and_goes_bad_later_is_never_taken_for_absence() {
    for verify in [Verify::Once, Verify::Always, Verify::Never] {
        let mut machine = Machine::new(4096);
        machine.options = machine.options.verify(verify);
        segment(&machine, |store| store.put("key", "value").unwrap());
        let store = machine.open().unwrap();
        assert_eq!(value(&store, "key").as_deref(), Some("value"));
        spoil(&machine, "00000001.data", "key");
        // It is not taken for the sound record of another key.
        let found = store.get("key");
        let Err(Error::Corrupt { damage: Damage::Checksum { .. }, .. }) = found else {
            panic!("{verify:?}: {found:?}")
        };
        store.put("key", "mended").unwrap();
        assert_eq!(value(&store, "key").as_deref(), Some("mended"));
    }
}

#[test]
fn an_opening_of_a_clean_store_writes_nothing() {
    let machine = Machine::new(256);
    half_dead(&machine);
    machine.open().unwrap().close().unwrap();
    let before = machine.fs.trace().len();
    let store = machine.open().unwrap();
    assert!(store.recovery_report().is_clean());
    assert_eq!(store.len(), 5);
    store.close().unwrap();
    let done = machine.fs.trace().split_off(before);
    // So that the manifest stays, whoever renamed it.
    assert_eq!(done, [(Op::SyncDir, Machine::dir().to_path_buf())]);
}

#[test]
fn a_small_newest_segment_is_taken_up_rather_than_left_as_one_of_thousands() {
    let machine = Machine::new(1 << 20);
    let mut expected = Contents::new();
    for n in 0..50u32 {
        segment(&machine, |store| {
            store.put(n.to_string(), "value").unwrap();
            store.put("overwritten", n.to_string()).unwrap();
            store.put("gone", "soon").unwrap();
            store.delete("gone").unwrap();
        });
        expected.insert(n.to_string().into_bytes(), b"value".to_vec());
        expected.insert(b"overwritten".to_vec(), n.to_string().into_bytes());
        assert_eq!(machine.data().len(), 1);
    }
    let store = machine.open().unwrap();
    assert_eq!(contents(&store), expected);
    assert_eq!(
        store.stats().dead_bytes,
        33 + 28 + 24,
        "two puts and a tombstone of the last round"
    );
}

#[test]
fn a_crash_at_any_step_of_opening_leaves_the_next_one_the_same_work() {
    for adopt in [false, true] {
        for step in 0..MANY {
            let machine = Machine::new(512);
            let mut records = vec![part(BatchPart::Single, "a"), part(BatchPart::Single, "b")];
            if !adopt {
                segment(&machine, |store| store.put("sealed", "value").unwrap());
            }
            let name = if adopt { "00000001.data" } else { "00000002.data" };
            let mut bytes = encode(&records);
            records.push(part(BatchPart::Single, "torn"));
            let torn = encode(&records);
            bytes.extend_from_slice(&torn[bytes.len()..torn.len() - 3]);
            machine.fs.write(&Machine::path(name), &bytes);
            machine.fs.crash_at(step);
            let opened = machine.open();
            let was_down = machine.fs.is_down();
            let wants = if adopt { 2 } else { 3 };
            drop(opened);
            for luck in 0..8 {
                let machine = machine.crash(luck);
                let store = machine.open().unwrap_or_else(|error| panic!("step {step}: {error}"));
                assert_eq!(store.len(), wants);
                let cut = machine.fs.read(&Machine::path(&name.replace("data", "cut"))).unwrap();
                assert_eq!(cut.len(), torn.len() - 3 - encode(&records[..2]).len());
                assert!(machine.names(".tmp").is_empty() && machine.names(".first").is_empty());
                store.close().unwrap();
                assert_eq!(machine.open().unwrap().len(), wants);
            }
            if !was_down {
                assert!(step > 5);
                break;
            }
        }
    }
}

#[test]
fn data_files_whose_manifest_is_lost_are_not_taken_for_bare_ones() {
    for witness in ["KEYDIR", "00000001.hint", "00000003.data.tmp", "MANIFEST.tmp"] {
        let machine = Machine::new(512);
        machine.write_records("00000001.data", &[part(BatchPart::Single, "a")]);
        machine.fs.write(&Machine::path(witness), b"");
        match machine.open() {
            Err(Error::MissingManifest { witness: found, .. }) => {
                assert_eq!(found, Machine::path(witness));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(machine.data().len(), 1);
    }
}

#[test]
fn an_unlisted_segment_is_an_orphan_below_the_next_id_and_the_tail_from_there_on() {
    let machine = Machine::new(512);
    segment(&machine, |store| store.put("key", "sealed").unwrap());
    segment(&machine, |store| store.put("key", "newer").unwrap());
    let [newest] = &machine.data()[..] else { panic!("{:?}", machine.data()) };
    assert_eq!(newest, "00000002.data");
    machine.write_records("00000001.data", &[part(BatchPart::Single, "orphan")]);
    machine.write_records("00000003.data", &[part(BatchPart::Single, "tail")]);
    let store = machine.open().unwrap();
    assert_eq!(value(&store, "orphan"), None);
    assert_eq!(value(&store, "tail").as_deref(), Some("value"));
    assert_eq!(value(&store, "key").as_deref(), Some("newer"));
    assert_eq!(machine.data(), ["00000004.data"], "the tail's copy took up the small segment");
}

#[test]
fn the_rule_for_empty_values_and_its_option() {
    let mut machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    store.put("key", "").unwrap();
    store.put("never there", "").unwrap();
    assert_eq!((value(&store, "key"), store.len()), (None, 0));
    store.close().unwrap();
    machine.options = machine.options.empty_values(EmptyValues::Stored);
    let store = machine.open().unwrap();
    store.put("key", "").unwrap();
    store.put("", "").unwrap();
    assert_eq!(
        (value(&store, "key").as_deref(), value(&store, "").as_deref()),
        (Some(""), Some(""))
    );
    let store = reopen(store, &mut machine);
    store.put("more", "x").unwrap();
    store.delete("more").unwrap();
    store.compact().unwrap();
    assert_eq!(value(&reopen(store, &mut machine), "").as_deref(), Some(""));
}

#[test]
fn sealed_segments_are_read_only_files() {
    let machine = Machine::new(256);
    half_dead(&machine);
    let store = machine.open().unwrap();
    store.compact().unwrap();
    let sealed = machine.data();
    store.put("key", "value").unwrap();
    for name in machine.data() {
        let path = Machine::path(&name);
        assert_eq!(machine.fs.is_read_only(&path), sealed.contains(&name), "{name}");
    }
}

/// A reader that meets the active segment in every state: buffered, flushed, sealed, compacted.
#[test]
fn reads_see_every_write_at_once_in_every_state_of_its_segment() {
    let version = Arc::new(AtomicU64::new(0));
    let mut machine = Machine::new(2000);
    machine.options = machine.options.durability(Durability::Buffered);
    let store = machine.open().unwrap();
    for n in 1..2000u64 {
        let key = format!("{}", n % 7);
        store.put(&key, n.to_string()).unwrap();
        version.store(n, Ordering::Relaxed);
        for back in 0..n.min(7) {
            let n = version.load(Ordering::Relaxed) - back;
            assert_eq!(value(&store, &format!("{}", n % 7)), Some(n.to_string()));
        }
        match n % 50 {
            10 => store.flush().unwrap(),
            20 => store.sync().unwrap(),
            30 => drop(store.compact().unwrap()),
            _ => {}
        }
    }
}
