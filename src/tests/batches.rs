//! Batches happen together or not at all.

use super::support::{Contents, Machine, contents};
use crate::batch::Batch;
use crate::error::Error;
use crate::options::EmptyValues;
use crate::record::{BatchPart, Frame};
use crate::store::Store;

/// Moves everything from "a" to "b", in records of some length.
fn moving(len: usize) -> Batch {
    let mut batch = Batch::new();
    batch.delete("a").put("b", "x".repeat(len)).put_aligned("c", "y".repeat(len), 64);
    batch
}

fn before(store: &Store) -> Contents {
    store.put("a", "old").unwrap();
    store.put("c", "old").unwrap();
    contents(store)
}

#[test]
fn a_batch_is_a_run_from_a_first_to_a_last_and_a_batch_of_one_a_single() {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.write(Batch::new().put("a", "1")).unwrap();
    store.write(Batch::new().put("b", "2").delete("none").put("a", "3").delete("b")).unwrap();
    store.write(&Batch::new()).unwrap();
    let bytes = machine.fs.read(&Machine::path("00000001.data")).unwrap();
    let (mut offset, mut parts) = (0, Vec::new());
    while offset < bytes.len() {
        let frame = Frame::read(&bytes[offset..], offset as u64).unwrap();
        frame.verify().unwrap();
        parts.push(frame.batch());
        offset += frame.len() as usize;
    }
    use BatchPart::{First, Last, Middle, Single};
    assert_eq!(parts, [Single, First, Middle, Middle, Last]);
    assert_eq!(contents(&store), Contents::from([(b"a".to_vec(), b"3".to_vec())]));
}

#[test]
fn a_batch_lies_in_one_segment_however_long_it_is() {
    for len in [10, 300, 5000, 300_000] {
        let mut machine = Machine::new(256);
        let store = machine.open().unwrap();
        for n in 0..3 {
            store.put([n], [n; 60]).unwrap();
        }
        store.write(&moving(len)).unwrap();
        store.put("after", "x").unwrap();
        let expected = contents(&store);
        assert_eq!(expected[&b"b"[..]].len(), len);
        drop(store);
        // The run is whole wherever it lies, or opening would not apply it.
        machine = machine.kill();
        assert_eq!(contents(&machine.open().unwrap()), expected, "{len}");
    }
}

#[test]
fn of_a_batch_that_cannot_be_written_nothing_is_there() {
    for len in [10, 300, 100_000, 300_000] {
        for room in (0..500).chain((500..1_000_000).step_by(19_973)) {
            let mut machine = Machine::new(1 << 20);
            let store = machine.open().unwrap();
            let expected = before(&store);
            store.flush().unwrap();
            machine.fs.set_capacity(Some(machine.fs.total_len() + room));
            let written = store.write(&moving(len));
            if let Err(error) = &written {
                assert!(matches!(error, Error::Io { .. }), "{error}");
                assert_eq!(contents(&store), expected, "{len} bytes, room for {room}");
            }
            machine.fs.set_capacity(None);
            store.put("after", "x").unwrap();
            let expected = contents(&store);
            assert_eq!(expected.contains_key(&b"a"[..]), written.is_err());
            drop(store);
            machine = machine.kill();
            assert_eq!(contents(&machine.open().unwrap()), expected, "{len}, {room}");
        }
    }
}

#[test]
fn what_a_batch_cannot_hold_is_refused_whole() {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    let long = vec![0; crate::record::MAX_KEY_LEN + 1];
    let refused = store.write(Batch::new().put("a", "1").delete(&long));
    assert!(matches!(refused, Err(Error::KeyTooLong { .. })));
    let refused = store.write(Batch::new().put("a", "1").put_aligned("b", "2", 3));
    assert!(matches!(refused, Err(Error::InvalidAlignment { found: 3, .. })));
    assert_eq!(contents(&store), Contents::new());
}

#[test]
fn empty_values_in_a_batch_follow_the_rule() {
    for (rule, kept) in [(EmptyValues::Delete, false), (EmptyValues::Stored, true)] {
        let mut machine = Machine::new(4096);
        machine.options = machine.options.empty_values(rule);
        let store = machine.open().unwrap();
        store.put("a", "1").unwrap();
        store.write(Batch::new().put("b", "2").put_aligned("a", "", 8)).unwrap();
        assert_eq!(store.contains_key("a").unwrap(), kept);
        store.close().unwrap();
        assert_eq!(machine.open().unwrap().contains_key("a").unwrap(), kept);
    }
}
