//! Values that are aligned, and seen as types, wherever the store has moved them.

use proptest::prelude::*;
use proptest::test_runner::Config;
use zerocask::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use zerocask::{Durability, EmptyValues, Error, Misfit, Store, view, view_slice};

use crate::support;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, PartialEq, Debug)]
#[zerocopy(crate = "zerocask::zerocopy")]
#[repr(C, align(64))]
struct Line {
    words: [u64; 8],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Debug)]
#[zerocopy(crate = "zerocask::zerocopy")]
#[repr(C, align(256))]
struct TooAligned {
    bytes: [u8; 256],
}

const ALIGNMENTS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// A value of an alignment, under a key that is no other's.
#[derive(Clone, Debug)]
struct Put {
    key: Vec<u8>,
    value: Vec<u8>,
    align: usize,
}

fn put() -> impl Strategy<Value = Put> {
    // The largest go to the file past the append buffer.
    let len = prop_oneof![8 => 1usize..300, 1 => 60_000usize..70_000];
    let align = prop::sample::select(&ALIGNMENTS[..]);
    (0usize..300, len, align, any::<u8>()).prop_map(|(key_len, len, align, fill)| Put {
        key: vec![b'k'; key_len],
        value: vec![fill; len],
        align,
    })
}

fn assert_all(store: &Store, puts: &[Put], when: &str) {
    for Put { key, value, align } in puts {
        let found = store.get(key).unwrap().unwrap();
        assert_eq!(found, *value, "{when}");
        assert_eq!(found.as_ptr() as usize % align, 0, "{when}: not aligned to {align}");
    }
}

proptest! {
    #![proptest_config(Config { cases: 48, failure_persistence: None, ..Config::default() })]

    #[test]
    fn values_are_aligned_from_the_buffer_to_the_file_and_in_every_copy(
        mut puts in prop::collection::vec(put(), 1..40),
        buffered in any::<bool>(),
        segment_size in prop_oneof![Just(4 << 10), Just(256 << 10), Just(4 << 20)],
    ) {
        puts.sort_by_key(|put| put.key.len());
        puts.dedup_by_key(|put| put.key.len());
        let durability = if buffered { Durability::Buffered } else { Durability::Flushed };
        let options = support::options().segment_size(segment_size).durability(durability);
        let dir = tempfile::tempdir().unwrap();
        let store = options.open(dir.path()).unwrap();
        for (n, Put { key, value, align }) in puts.iter().enumerate() {
            store.put_aligned(key, value, *align).unwrap();
            assert_all(&store, &puts[..=n], "put");
        }
        store.flush().unwrap();
        assert_all(&store, &puts, "flushed");
        store.close().unwrap();
        let store = options.open(dir.path()).unwrap();
        assert_all(&store, &puts, "opened again");
        // The first takes up a small segment; both move what follows by less than an alignment.
        store.put("other", "dead").unwrap();
        assert_all(&store, &puts, "taken up");
        store.put("other", "live").unwrap();
        assert!(store.compact().unwrap().segments_written > 0);
        assert_all(&store, &puts, "compacted");
        store.close().unwrap();
        assert_all(&options.open(dir.path()).unwrap(), &puts, "compacted and opened again");
    }
}

#[test]
fn what_was_put_as_a_type_is_viewed_as_it() {
    let dir = tempfile::tempdir().unwrap();
    let line = Line { words: [1, 2, 3, 4, 5, 6, 7, u64::MAX] };
    let lines = vec![line.clone(); 100];
    let floats = [f32::MIN, -0.0, 1.5];
    let store = support::open(dir.path()).unwrap();
    store.put_as("", &line).unwrap();
    store.put_as("lines", &lines[..]).unwrap();
    store.put_as("floats", &floats).unwrap();
    store.put_as("text", "plain").unwrap();
    let check = |store: &Store| {
        let get = |key| store.get(key).unwrap().unwrap();
        assert_eq!(get("").view::<Line>().unwrap(), &line);
        assert_eq!(get("").view_slice::<Line>().unwrap(), std::slice::from_ref(&line));
        assert_eq!(get("lines").view_slice::<Line>().unwrap(), lines);
        assert_eq!(get("floats").view::<[f32; 3]>().unwrap(), &floats);
        assert_eq!(get("floats").view_slice::<f32>().unwrap(), floats);
        let value = get("lines");
        let viewed = value.view_slice::<Line>().unwrap();
        assert_eq!(viewed.as_ptr().cast(), value.as_ptr(), "not a copy");
    };
    check(&store);
    store.close().unwrap();
    let store = support::open(dir.path()).unwrap();
    check(&store);
    assert!(store.delete("text").unwrap());
    store.compact().unwrap();
    check(&store);
}

#[test]
fn what_does_not_fit_is_an_error_that_says_what_did_not() {
    let line = [Line { words: [7; 8] }];
    let bytes = line.as_bytes();
    let misfit = |error: Error| match error {
        Error::View { type_name, misfit } => (type_name, misfit),
        other => panic!("{other:?}"),
    };
    for len in (0..8).chain(9..=64) {
        let found = misfit(view::<u64>(&bytes[..len]).unwrap_err());
        assert_eq!(found, ("u64", Misfit::Size { expected: 8, found: len }));
    }
    for len in (1..64).filter(|len| len % 8 != 0) {
        let found = misfit(view_slice::<u64>(&bytes[..len]).unwrap_err());
        assert_eq!(found, ("u64", Misfit::ElementSize { expected: 8, found: len }));
    }
    for start in 0..56usize {
        let bytes = &bytes[start..start + 8];
        if start % 8 == 0 {
            assert_eq!(view_slice::<u64>(bytes).unwrap(), [*view::<u64>(bytes).unwrap()]);
            continue;
        }
        let found = 1 << start.trailing_zeros();
        let expected = ("u64", Misfit::Alignment { expected: 8, found });
        assert_eq!(misfit(view::<u64>(bytes).unwrap_err()), expected);
        assert_eq!(misfit(view_slice::<u64>(bytes).unwrap_err()), expected);
    }
    let error = view::<u64>(&bytes[4..12]).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot view the bytes as u64: expected an address that is a multiple of 8, found one that \
         is a multiple of 4; put the value with put_as, or put_aligned and 8"
    );
}

#[test]
fn no_bytes_are_an_empty_slice_wherever_they_lie_and_stored_whatever_the_rule() {
    for rule in [EmptyValues::Delete, EmptyValues::Stored] {
        let dir = tempfile::tempdir().unwrap();
        let options = support::options().empty_values(rule);
        let store = options.open(dir.path()).unwrap();
        store.put_as("floats", &[0f32; 0]).unwrap();
        store.put_as("unit", &()).unwrap();
        store.close().unwrap();
        let store = options.open(dir.path()).unwrap();
        let value = store.get("floats").unwrap().unwrap();
        assert_eq!((value.len(), store.len()), (0, 2));
        assert!(value.view_slice::<f64>().unwrap().is_empty());
        store.get("unit").unwrap().unwrap().view::<()>().unwrap();
        // An aligned put without a type follows the store's rule.
        store.put_aligned("floats", "", 4).unwrap();
        assert_eq!(store.contains_key("floats").unwrap(), rule == EmptyValues::Stored);
    }
    let bytes = [0u8; 8];
    for start in 0..8 {
        assert!(view_slice::<u64>(&bytes[start..start]).unwrap().is_empty());
    }
}

#[test]
fn alignments_that_no_record_has_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path()).unwrap();
    for align in [0, 3, 12, 127, 129, 256, usize::MAX, 1 << 63] {
        match store.put_aligned("key", "value", align) {
            Err(Error::InvalidAlignment { found, max: 128 }) => assert_eq!(found, align),
            other => panic!("{other:?}"),
        }
    }
    let refused = |result: Result<(), Error>| {
        assert!(matches!(result, Err(Error::InvalidAlignment { found: 256, max: 128 })));
    };
    let value = TooAligned { bytes: [0; 256] };
    refused(store.put_as("key", &value));
    refused(store.put_as("key", &[value][..0]));
    // Even where the bytes happen to lie well.
    let value = [TooAligned { bytes: [0; 256] }];
    refused(view::<TooAligned>(value.as_bytes()).map(drop));
    refused(view_slice::<TooAligned>(value.as_bytes()).map(drop));
    refused(view_slice::<TooAligned>(&[]).map(drop));
    assert!(store.is_empty() && store.stats().bytes == 0);
}
