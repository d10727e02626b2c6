//! Arbitrary bytes as the files of a directory (`src/lib.rs` says how), opened, used and reopened.
//!
//! Nothing panics or hangs. An opening that fails loses no data file; one that succeeds shows the
//! same contents the next time. Puts, deletes, a compaction, closing and reopening change what they
//! should and nothing else. Who follows the log from its start comes to the same contents, or to damage. Verifying finds damage where a strict opening refuses, and changes nothing; after a
//! repair a strict opening refuses nothing any more, and what could be read before is there.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use libfuzzer_sys::{Corpus, fuzz_target};
use tempfile::TempDir;
use zerocask::{
    Durability, EmptyValues, Error, Expiry, Options, Position, Recovery, Store, Verify,
};
use zerocask_fuzz::Files;

/// Where files are in memory, if there is such a place.
const MEMORY: &str = "/dev/shm";

fuzz_target!(|input: &[u8]| -> Corpus {
    let (bits, files) = Files::parse(input);
    if files.ids_left() < 1000 {
        return Corpus::Reject;
    }
    let lenient = run(&files, &options(bits).recovery(Recovery::Lenient), input);
    let strict = run(&files, &options(bits).recovery(Recovery::Strict), input);
    if let Some(strict) = &strict {
        assert_eq!(Some(strict), lenient.as_ref(), "what Strict opens, Lenient opens alike");
        assert_eq!(strict.corrupt, 0, "Strict opens nothing that is damaged");
    }
    mend(&files, &options(bits), lenient.as_ref(), strict.is_some());
    Corpus::Keep
});

fn options(bits: u8) -> Options {
    let segment_size = [64, 300, 4096, 256 << 20][usize::from(bits & 3)];
    Options::new()
        .segment_size(segment_size)
        .durability(if bits & 4 == 0 { Durability::Buffered } else { Durability::Flushed })
        .verify(if bits & 8 == 0 { Verify::Once } else { Verify::Always })
        .empty_values(if bits & 16 == 0 { EmptyValues::Delete } else { EmptyValues::Stored })
}

fn fresh_dir() -> TempDir {
    let builder = tempfile::Builder::new().prefix("zerocask-fuzz-").to_owned();
    let in_memory = Path::new(MEMORY).is_dir();
    if in_memory { builder.tempdir_in(MEMORY) } else { builder.tempdir() }.unwrap()
}

/// What can be read of a store.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Contents {
    /// `None`: its record is corrupt.
    values: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Entries whose key cannot be read.
    corrupt: usize,
}

impl Contents {
    fn of(store: &Store) -> Contents {
        let mut contents = Contents::default();
        for key in store.keys() {
            let Ok(key) = key else {
                contents.corrupt += 1;
                continue;
            };
            let value = match store.get(&key) {
                Ok(value) => Some(value.expect("a key that is listed has a value").to_vec()),
                Err(_) => None,
            };
            let twice = contents.values.insert(key.to_vec(), value);
            assert!(twice.is_none(), "{key:?} is listed twice");
        }
        assert!(contents.values.len() + contents.corrupt <= store.len());
        contents
    }
}

/// Follows the log from its start, and on. Nothing that may have expired is compared, and nothing behind damage.
fn follow(store: &Store, contents: &Contents) {
    let (mut values, mut expiring) = (BTreeMap::new(), BTreeSet::new());
    let mut position = Position::START;
    let mut is_sound = true;
    for entry in store.log(position) {
        let Ok(entry) = entry else {
            is_sound = false;
            continue;
        };
        assert!(entry.next >= position);
        position = entry.next;
        if entry.expires_at != Expiry::Never {
            expiring.insert(entry.key.to_vec());
        }
        match entry.value {
            Some(value) => values.insert(entry.key.to_vec(), Some(value.to_vec())),
            None => values.remove(&*entry.key),
        };
    }
    if is_sound {
        let is_compared = |(key, _): &(&Vec<u8>, _)| !expiring.contains(*key);
        assert!(values.iter().filter(is_compared).eq(contents.values.iter().filter(is_compared)));
        assert_eq!(store.log(store.end().unwrap()).count(), 0);
    }
}

/// Opens and uses a fresh copy of the files. Answers what the first opening found.
fn run(files: &Files, options: &Options, input: &[u8]) -> Option<Contents> {
    let dir = fresh_dir();
    files.write_to(dir.path());
    let store = match options.open(dir.path()) {
        Ok(store) => store,
        Err(error) => {
            assert!(!format!("{error} {error:?}").is_empty());
            for (name, content) in files.data() {
                let kept = fs::read(dir.path().join(name)).ok();
                assert_eq!(kept.as_deref(), Some(content), "{name} after {error}");
            }
            return None;
        }
    };
    assert!(format!("{:?} {:?}", store.recovery_report(), store.stats()).len() > 2);
    let found = Contents::of(&store);
    assert_eq!(Contents::of(&store), found, "reading changes nothing");
    store.close().unwrap();

    let store = options.open(dir.path()).unwrap();
    let report = store.recovery_report();
    assert!(!report.unclean && !report.adopted && report.cuts.is_empty(), "{report:?}");
    assert_eq!(Contents::of(&store), found, "the second opening finds what the first found");

    follow(&store, &found);
    let model = write(&store, &found, input);
    follow(&store, &check(&store, &model));
    let report = store.compact().unwrap();
    assert!(format!("{report:?}").len() > 2);
    follow(&store, &check(&store, &model));
    // Behind a compaction too.
    let model = write(&store, &model, &input[input.len() / 2..]);
    let before = check(&store, &model);
    store.close().unwrap();
    let store = options.open(dir.path()).unwrap();
    assert_eq!(check(&store, &model), before, "closing and reopening changes nothing");
    drop(store);
    Some(found)
}

/// Verifies and repairs a fresh copy of the files.
fn mend(files: &Files, options: &Options, lenient: Option<&Contents>, is_sound: bool) {
    let dir = fresh_dir();
    files.write_to(dir.path());
    let verified = zerocask::verify(dir.path(), |_| ControlFlow::Continue(()));
    for (name, content) in files.data() {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), content);
    }
    let verified = match verified {
        Ok(report) => report,
        Err(Error::NotFound { .. } | Error::Unsupported { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(verified.is_clean(), is_sound, "{verified}");
    let repaired = match zerocask::repair(dir.path(), |_| ControlFlow::Continue(())) {
        Ok(report) => report,
        Err(Error::Unsupported { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(repaired.damage, verified.damage);
    let store = options.clone().recovery(Recovery::Strict).open(dir.path()).unwrap();
    let contents = Contents::of(&store);
    assert_eq!(contents.corrupt, 0);
    let Some(lenient) = lenient else { return };
    if repaired.is_whole() {
        assert_eq!(&contents, lenient, "{repaired}");
    }
    for (key, value) in &lenient.values {
        if value.is_some() {
            assert_eq!(contents.values.get(key), Some(value), "{key:?}, {repaired}");
        }
    }
    drop(store);
    let again = zerocask::repair(dir.path(), |_| ControlFlow::Continue(())).unwrap();
    assert!(again.is_clean(), "{again}");
}

/// Puts and deletes old keys and new ones, as the bytes say. Answers what should be there then.
fn write(store: &Store, contents: &Contents, input: &[u8]) -> Contents {
    let mut model = contents.clone();
    let mut keys: Vec<Vec<u8>> = contents.values.keys().take(8).cloned().collect();
    keys.extend([&b""[..], b"apple", b"new", &[0; 100]].map(<[u8]>::to_vec));
    for (n, &byte) in input.iter().rev().take(12).enumerate() {
        let key = &keys[(n * 5 + usize::from(byte >> 2)) % keys.len()];
        match byte & 3 {
            0 => {
                let was_there = store.delete(key).unwrap();
                let known = model.values.remove(key);
                assert!(was_there || !matches!(known, Some(Some(_))), "{key:?}");
                assert_eq!(store.get(key).unwrap(), None);
            }
            size => {
                let value = vec![byte; usize::from(byte) << (size * 2)];
                let value = if value.is_empty() { vec![1] } else { value };
                store.put(key, &value).unwrap();
                assert_eq!(store.get(key).unwrap().unwrap(), value);
                model.values.insert(key.clone(), Some(value));
            }
        }
    }
    model
}

/// The store holds what the model holds. A write may have replaced a corrupt entry.
fn check(store: &Store, model: &Contents) -> Contents {
    let contents = Contents::of(store);
    assert_eq!(contents.values, model.values);
    assert!(contents.corrupt <= model.corrupt);
    contents
}
