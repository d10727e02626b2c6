//! The golden bytes of `tests/golden`: what the format's other implementations write and read.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use zerocask::record::{Alignment, BatchPart, Frame, Record};
use zerocask::{Recovery, Store};

use crate::support::options;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn json(name: &str) -> Json {
    serde_json::from_slice(&std::fs::read(golden(name)).unwrap()).unwrap()
}

fn unhex(hex: &Json) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    let pair = |i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(pair).collect()
}

/// Calls `check` with each vector's name, offset, record and bytes.
fn each_vector(check: impl Fn(&str, u64, Record<'_>, &[u8])) {
    let vectors = json("records.json");
    let vectors = vectors.as_array().unwrap();
    assert_eq!(vectors.len(), 10);
    for vector in vectors {
        let (key, value) = (unhex(&vector["key"]), unhex(&vector["value"]));
        let flags = vector["flags"].as_u64().unwrap();
        let batch = [BatchPart::Single, BatchPart::First, BatchPart::Middle, BatchPart::Last];
        let record = Record {
            timestamp: vector["timestamp"].as_u64().unwrap(),
            key: &key,
            value: &value,
            marked_value: flags & 1 != 0,
            batch: batch[(flags >> 1 & 3) as usize],
            expires_at: vector["expires_at"].as_u64(),
            align: Alignment::new(1 << (flags >> 4 & 7)),
        };
        assert_eq!(record.expires_at.is_some(), flags & 8 != 0);
        let offset = vector["offset"].as_u64().unwrap();
        check(vector["name"].as_str().unwrap(), offset, record, &unhex(&vector["record"]));
    }
}

#[test]
fn every_vector_encodes_to_its_bytes() {
    each_vector(|name, offset, record, bytes| {
        let mut out = vec![0xaa; record.len_at(offset) as usize];
        record.encode_into(offset, &mut out);
        assert_eq!(out, bytes, "{name}");
    });
}

#[test]
fn every_vector_decodes_to_its_record() {
    each_vector(|name, offset, record, bytes| {
        // What follows a record plays no part.
        let mut longer = bytes.to_vec();
        longer.extend_from_slice(b"more");
        for bytes in [bytes, &longer] {
            let frame = Frame::read(bytes, offset).unwrap();
            assert_eq!(frame.verify(), Ok(()), "{name}");
            assert_eq!(frame.record(), record, "{name}");
            assert_eq!(frame.is_tombstone(), name == "tombstone");
            assert_eq!(frame.len(), record.len_at(offset));
        }
    });
}

#[test]
fn no_vector_survives_a_flipped_bit_or_a_cut() {
    each_vector(|name, offset, _, bytes| {
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            let sound = Frame::read(&bad, offset).is_ok_and(|frame| frame.verify().is_ok());
            assert!(!sound, "{name}: bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Frame::read(&bytes[..len], offset).is_err(), "{name}: cut to {len}");
        }
    });
}

fn copy_of_plain() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["00000001.data", "00000002.data", "00000010.data"] {
        std::fs::copy(golden("plain").join(name), dir.path().join(name)).unwrap();
    }
    dir
}

fn assert_plain(store: &Store) {
    let expected = json("plain/expected.json");
    let live = expected["live"].as_object().unwrap();
    for (key, value) in live {
        assert_eq!(store.get(key).unwrap().unwrap(), value.as_str().unwrap(), "{key}");
    }
    for key in expected["absent"].as_array().unwrap() {
        assert_eq!(store.get(key.as_str().unwrap()).unwrap(), None);
    }
    assert_eq!(store.len(), live.len());
}

#[test]
fn a_directory_of_bare_data_files_is_adopted_in_id_order_with_its_torn_tail_set_aside() {
    for recovery in [Recovery::Lenient, Recovery::Strict] {
        let dir = copy_of_plain();
        let before = std::fs::read(dir.path().join("00000010.data")).unwrap();
        let options = options().recovery(recovery);
        let store = options.open(dir.path()).unwrap();
        assert_plain(&store);
        let report = store.recovery_report();
        assert!(report.adopted && report.damage.is_empty());
        let [cut] = &report.cuts[..] else { panic!("one cut: {report:?}") };
        assert_eq!(std::fs::read(&cut.set_aside).unwrap(), &before[cut.offset as usize..]);
        store.close().unwrap();

        let store = options.open(dir.path()).unwrap();
        assert_plain(&store);
        assert!(store.recovery_report().is_clean() && !store.recovery_report().adopted);
        store.put("fig", "green").unwrap();
        store.compact().unwrap();
        store.close().unwrap();
        let store = options.open(dir.path()).unwrap();
        assert_eq!((store.len(), store.get("fig").unwrap().unwrap().len()), (4, 5));
    }
}
