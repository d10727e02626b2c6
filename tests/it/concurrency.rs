//! Readers beside a writer and a compactor. A value says which key and version it is, so a reader
//! can tell whether it may see it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use zerocask::{Durability, Iter, Options, Reader, Store, Value, Verify};

use crate::support::{open, options};

const KEYS: usize = 200;
const WRITES: u64 = 60_000;

/// The versions of one key: the last that was begun, and the last that is done.
#[derive(Default)]
struct Versions {
    begun: AtomicU64,
    done: AtomicU64,
}

/// Every fifth version of a key is its absence, the first included.
fn is_absent(version: u64) -> bool {
    version.is_multiple_of(5)
}

fn key(n: usize) -> String {
    format!("key {n}")
}

fn value(n: usize, version: u64) -> String {
    format!("{n} {version} ").repeat(1 + (n * 7 + version as usize) % 60)
}

/// Reads some keys and sees that each answer is one of those that were right meanwhile.
fn check<V: AsRef<[u8]>>(
    ns: &[usize],
    versions: &[Versions],
    read: impl FnOnce(&[String]) -> Vec<Option<V>>,
) {
    let keys: Vec<String> = ns.iter().map(|&n| key(n)).collect();
    let done: Vec<u64> = ns.iter().map(|&n| versions[n].done.load(Ordering::SeqCst)).collect();
    let found = read(&keys);
    assert_eq!(found.len(), ns.len());
    for ((&n, done), found) in ns.iter().zip(done).zip(found) {
        let begun = versions[n].begun.load(Ordering::SeqCst);
        match found {
            None => assert!((done..=begun).any(is_absent), "key {n}: lost in {done}..={begun}"),
            Some(found) => {
                let text = std::str::from_utf8(found.as_ref()).unwrap();
                let version: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
                assert_eq!(text, value(n, version), "torn or foreign");
                assert!((done..=begun).contains(&version), "{version} not in {done}..={begun}");
            }
        }
    }
}

fn get(store: &Store, keys: &[String]) -> Vec<Option<Value>> {
    keys.iter().map(|key| store.get(key).unwrap()).collect()
}

fn get_many(store: &Store, keys: &[String]) -> Vec<Option<Value>> {
    store.get_many(keys).map(Result::unwrap).collect()
}

fn reader_get<'r>(reader: &'r Reader, keys: &[String]) -> Vec<Option<&'r [u8]>> {
    keys.iter().map(|key| reader.get(key).unwrap()).collect()
}

fn reader_get_many<'r>(reader: &'r Reader, keys: &[String]) -> Vec<Option<&'r [u8]>> {
    let mut found = Vec::new();
    reader.get_many(keys, |_, value| found.push(value)).unwrap();
    found
}

/// Reads until it is over, in every way there is; each thread refreshes its reader after a number of reads
/// of its own, the first one seldom.
fn read(seed: usize, store: &Store, versions: &[Versions], over: &AtomicBool, reads: &AtomicU64) {
    let mut reader = store.reader();
    let mut n = seed;
    for round in 1.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        n = (n * 31 + 17) % KEYS;
        check(&[n], versions, |keys| get(store, keys));
        check(&[n], versions, |keys| reader_get(&reader, keys));
        if round % 50 == 0 {
            let batch: Vec<usize> = (n..n + 70).map(|n| n % KEYS).collect();
            check(&batch, versions, |keys| get_many(store, keys));
            check(&batch, versions, |keys| reader_get_many(&reader, keys));
        }
        if round % (5000 >> (4 * seed)) == 0 {
            reader.refresh();
        }
        reads.fetch_add(1, Ordering::Relaxed);
        n += seed;
    }
}

fn run(options: &Options) {
    let dir = tempfile::tempdir().unwrap();
    let store = options.open(dir.path()).unwrap();
    let versions: Vec<Versions> = (0..KEYS).map(|_| Versions::default()).collect();
    let over = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    let compactions = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for seed in 0..3usize {
            let (store, versions, over, reads) = (store.clone(), &versions, &over, &reads);
            scope.spawn(move || read(seed, &store, versions, over, reads));
        }
        let (compactor, over_ref, compactions) = (store.clone(), &over, &compactions);
        scope.spawn(move || {
            while !over_ref.load(Ordering::Relaxed) {
                compactor.compact().unwrap();
                compactions.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut n = 0;
        for write in 0..WRITES {
            n = (n * 13 + write as usize) % KEYS;
            let version = versions[n].begun.fetch_add(1, Ordering::SeqCst) + 1;
            if is_absent(version) {
                assert!(store.delete(key(n)).unwrap());
            } else {
                store.put(key(n), value(n, version)).unwrap();
            }
            versions[n].done.store(version, Ordering::SeqCst);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(reads.into_inner() > 1000 && compactions.into_inner() > 3);

    let check_all = |store: &Store| {
        let all: Vec<usize> = (0..KEYS).collect();
        check(&all, &versions, |keys| get(store, keys));
        check(&all, &versions, |keys| get_many(store, keys));
        check(&all, &versions, |keys| {
            reader_get_many(&store.reader(), keys)
                .into_iter()
                .map(|v| v.map(<[u8]>::to_vec))
                .collect()
        });
        let live = versions.iter().filter(|v| !is_absent(v.done.load(Ordering::SeqCst))).count();
        assert_eq!((store.len(), store.keys().count()), (live, live));
    };
    check_all(&store);
    store.close().unwrap();
    let store = options.open(dir.path()).unwrap();
    check_all(&store);
    let report = store.compact().unwrap();
    assert_eq!(report.records_after, store.len() as u64);
    check_all(&store);
}

#[test]
fn readers_beside_a_writer_and_a_compactor_see_only_what_was_right_meanwhile() {
    let options = options().segment_size(32 << 10).durability(Durability::Buffered);
    run(&options);
    run(&options.verify(Verify::Always));
}

#[test]
fn hazard_13_a_get_never_misses_a_key_whose_segment_is_being_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().segment_size(4096).open(dir.path()).unwrap();
    for n in 0..100 {
        store.put(key(n), value(n, 1)).unwrap();
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for n in 0..100 {
                        assert_eq!(store.get(key(n)).unwrap().unwrap(), value(n, 1).as_str());
                    }
                }
            });
        }
        for round in 0..100 {
            // Something dead, so that everything is rewritten.
            store.put("dead", round.to_string()).unwrap();
            store.put("dead", "again").unwrap();
            assert!(store.compact().unwrap().segments_removed > 0);
        }
        over.store(true, Ordering::Relaxed);
    });
}

const STAYING: usize = 300;

/// Which of the keys that stay a key is, if it is one.
fn staying(found: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(found).unwrap();
    let n = text.strip_prefix("key ").map(|n| n.parse().unwrap());
    assert!(n.is_some() || text.starts_with("comes and goes "));
    n
}

/// Goes through all keys at once.
fn walk(store: &Store) -> [u32; STAYING] {
    let mut seen = [0; STAYING];
    for found in store.keys() {
        if let Some(n) = staying(&found.unwrap()) {
            seen[n] += 1;
        }
    }
    seen
}

/// Goes through all keys and values in parts, some beside others.
fn walk_parts(store: &Store) -> [u32; STAYING] {
    let mut seen = [0; STAYING];
    let count = |mut part: Iter<'_>| {
        let mut seen = Vec::new();
        while let Some(found) = part.next_slices() {
            let (key, value) = found.unwrap();
            let n = staying(key);
            let (begin, rest) = value.split_at(5);
            assert!(n.is_none() || begin == b"stays" || begin == b"again");
            assert!(rest.iter().all(|byte| matches!(byte, b' ' | b'0'..=b'9')));
            seen.extend(n);
        }
        seen
    };
    std::thread::scope(|scope| {
        let mut parts = store.iter().split(4);
        let others = parts.split_off(2);
        let other = scope.spawn(move || others.into_iter().flat_map(count).collect::<Vec<_>>());
        for part in parts {
            count(part).into_iter().for_each(|n| seen[n] += 1);
        }
        other.join().unwrap().into_iter().for_each(|n| seen[n] += 1);
    });
    seen
}

#[test]
fn walks_beside_a_writer_and_a_compactor_show_every_key_that_stays_exactly_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = options().segment_size(64 << 10).durability(Durability::Buffered);
    let store = options.open(dir.path()).unwrap();
    (0..STAYING).for_each(|n| store.put(key(n), "stays").unwrap());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let walkers = [walk, walk_parts].map(|walk| {
            let (store, over) = (&store, &over);
            scope.spawn(move || {
                let mut walks = 0;
                while walks < 3 || !over.load(Ordering::Relaxed) {
                    assert_eq!(walk(store), [1; STAYING]);
                    walks += 1;
                }
            })
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                store.compact().unwrap();
            }
        });
        // So many that the key directory grows, and its pages are rebuilt.
        for n in 0..20_000 {
            store.put(format!("comes and goes {n}"), "again").unwrap();
            store.put(key(n % STAYING), format!("again {n}")).unwrap();
            if n >= 5000 {
                assert!(store.delete(format!("comes and goes {}", n - 5000)).unwrap());
            }
        }
        over.store(true, Ordering::Relaxed);
        walkers.into_iter().for_each(|walker| walker.join().unwrap());
    });
    assert_eq!(store.keys().count(), STAYING + 5000);
}

#[test]
fn writers_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().segment_size(16 << 10).open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0..500 {
                    store.put(format!("{thread} {n}"), format!("value {n}")).unwrap();
                    if n % 3 == 0 {
                        assert!(store.delete(format!("{thread} {n}")).unwrap());
                    }
                }
            });
        }
    });
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(store.len(), 4 * (500 - 167));
    assert_eq!(store.get("3 499").unwrap().unwrap(), "value 499");
}
