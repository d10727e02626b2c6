//! Reading without mappings, and what goes wrong then. The rest of the tests runs in this mode too:
//! `ZEROCASK_TEST_READ_MODE=copy`.

use std::error::Error as _;

use super::hazards::reopen;
use super::support::{Machine, contents, value};
use crate::error::{Damage, Error};
use crate::fs::sim::Op;
use crate::options::{Durability, ReadMode, Verify};
use crate::record::{Alignment, Record};
use crate::store::Store;

const EIO: i32 = 5;

fn copying(segment_size: u64) -> Machine {
    let mut machine = Machine::new(segment_size);
    machine.options = machine.options.read_mode(ReadMode::Copy);
    machine
}

/// The next reads of data files fail, as many as one lookup makes.
fn fail_reads(machine: &Machine) {
    (0..2).for_each(|_| machine.fs.fail_next(Op::Read, ".data", EIO));
}

fn assert_failed_read<T: std::fmt::Debug>(result: Result<T, Error>, name: &str) {
    match result {
        Err(error @ Error::Io { .. }) => {
            let text = error.to_string();
            assert!(text.contains(name) && text.contains("offset"), "{text}");
            let read = error.source().and_then(|source| source.source()).unwrap();
            assert!(read.to_string().contains("os error 5"), "{read}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_read_that_fails_is_an_error_with_path_and_offset_and_never_absent() {
    let mut machine = copying(4096);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    let check = |store: &Store| {
        fail_reads(&machine);
        assert_failed_read(store.get("key"), "00000001.data");
        fail_reads(&machine);
        assert_failed_read(store.contains_key("key"), "00000001.data");
        fail_reads(&machine);
        assert_failed_read(store.keys().next().unwrap(), "00000001.data");
        fail_reads(&machine);
        assert_eq!(store.get("other").unwrap(), None, "what is not there is not read");
        machine.fs.disarm();
        assert_eq!(value(store, "key").as_deref(), Some("value"));
    };
    check(&store);
    store.close().unwrap();
    check(&machine.open().unwrap());
    machine.options = machine.options.verify(Verify::Never);
    machine.forget_companions();
    fail_reads(&machine);
    assert_failed_read(machine.open(), "00000001.data");
}

#[test]
fn a_record_can_be_read_although_what_lies_behind_it_cannot() {
    let machine = copying(4096);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    store.put("large", vec![7; 2000]).unwrap();
    machine.fs.fail_next(Op::Read, ".data", EIO);
    assert_eq!(value(&store, "key").as_deref(), Some("value"));
    assert!(!machine.fs.is_armed());
}

#[test]
fn a_put_or_delete_replaces_a_record_that_cannot_be_read() {
    let mut machine = copying(4096);
    let store = machine.open().unwrap();
    store.put("a", "old").unwrap();
    store.put("b", "old").unwrap();
    fail_reads(&machine);
    store.put("a", "new").unwrap();
    (0..2).for_each(|_| fail_reads(&machine));
    assert!(store.delete("b").unwrap());
    assert!(!machine.fs.is_armed());
    let check = |store: &Store| {
        assert_eq!((value(store, "a").as_deref(), value(store, "b")), (Some("new"), None));
        assert_eq!(store.len(), 1);
    };
    check(&store);
    check(&reopen(store, &mut machine));
}

#[test]
fn what_a_record_claims_beyond_its_file_is_corrupt_and_not_read() {
    let machine = copying(1 << 20);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    store.put("behind", vec![7; 10_000]).unwrap();
    let there = machine.total_len(".data");
    // The high byte of the value's length.
    machine.flip("00000001.data", 16);
    machine.fs.fail_at(1, Some(Op::Read), EIO);
    match store.get("key") {
        Err(Error::Corrupt { offset: 0, damage: Damage::Length { expected, found }, .. }) => {
            assert!(expected > 0x5500_0000);
            assert_eq!(found, there);
        }
        other => panic!("{other:?}"),
    }
    assert!(machine.fs.is_armed(), "one read showed it");
}

#[test]
fn no_file_is_mapped() {
    for durability in [Durability::Buffered, Durability::Flushed] {
        let mut machine = copying(400);
        machine.options = machine.options.durability(durability);
        machine.write_records("00000001.data", &[Record::plain(1, b"adopted", b"value")]);
        machine.fs.fail_next(Op::Map, "", EIO);
        let mut store = machine.open().unwrap();
        for round in 0..3 {
            for n in 0..20 {
                store.put(format!("{n}"), format!("{round}")).unwrap();
            }
            store.compact().unwrap();
            store.put("tail", "x").unwrap();
            store.flush().unwrap();
            store.warm_up(|_| std::ops::ControlFlow::Continue(())).unwrap();
            assert!(machine.fs.is_armed());
            machine.fs = machine.fs.kill();
            drop(store);
            machine.fs.fail_next(Op::Map, "", EIO);
            store = machine.open().unwrap();
            assert_eq!(contents(&store).len(), 22);
        }
        assert!(machine.fs.is_armed());
    }
}

#[test]
fn a_value_keeps_its_bytes_when_its_file_changes() {
    let machine = copying(4096);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    store.flush().unwrap();
    let held = store.get("key").unwrap().unwrap();
    machine.flip("00000001.data", machine.find("00000001.data", b"value").unwrap());
    assert_eq!(held, "value");
}

#[test]
fn a_prefetch_asks_once_for_records_that_lie_together_and_for_none_that_are_not_there() {
    let machine = copying(1 << 20);
    let store = machine.open().unwrap();
    for n in 0..100 {
        store.put(format!("{n}"), "small").unwrap();
    }
    store.put("far", vec![1; 60_000]).unwrap();
    store.put("farther", vec![1; 10]).unwrap();
    store.flush().unwrap();
    machine.fs.fail_at(0, Some(Op::WillNeed), EIO);
    store.prefetch(["absent"]).unwrap();
    store.prefetch::<&str>([]).unwrap();
    assert!(matches!(store.prefetch(["5"]), Err(Error::Io { action: "ask for", .. })));
    machine.fs.fail_at(1, Some(Op::WillNeed), EIO);
    store.prefetch((0..100).map(|n| n.to_string())).unwrap();
    assert!(machine.fs.is_armed(), "asked once");
    assert!(store.prefetch(["farther"]).is_err());
    machine.fs.fail_at(1, Some(Op::WillNeed), EIO);
    assert!(store.prefetch(["farther", "1"]).is_err(), "asked twice");
    store.clone().close().unwrap();
    assert!(matches!(store.prefetch(["5"]), Err(Error::Closed)));
}

#[test]
fn what_is_aligned_in_the_file_is_aligned_in_memory_in_either_mode() {
    for read_mode in [ReadMode::Mapped, ReadMode::Copy] {
        let mut machine = Machine::new(1 << 20);
        machine.options = machine.options.read_mode(read_mode);
        let align = Alignment::new(128);
        let records = [b"a", b"b", b"c"]
            .map(|key| Record { align, ..Record::plain(1, key, b"of no round length") });
        machine.write_records("00000001.data", &records);
        let store = machine.open().unwrap();
        for key in ["a", "b", "c"] {
            let value = store.get(key).unwrap().unwrap();
            assert_eq!(value, "of no round length");
            assert_eq!(value.as_ptr().addr() % 128, 0);
        }
    }
}
