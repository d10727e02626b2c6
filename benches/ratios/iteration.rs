//! Going through all of a store, each way against one bare pass over mappings of its files, which knows nothing but how
//! long records are.

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::thread;

use memmap2::Mmap;
use zerocask::{Iter, Store};

use super::common::{Flat, KEY_LEN, Random, buffered, fill, fresh_dir, touch};
use super::{HEADER_LEN, Rounds, VALUE_LEN, print_head, time};

pub(super) fn compare(records: usize, rounds: usize) {
    let dir = fresh_dir();
    let store = buffered().open(dir.path()).unwrap();
    let (keys, values) = (Flat::random(1, records, KEY_LEN), Flat::random(2, records, VALUE_LEN));
    fill(&store, &keys, &values, &Random(3).order(records));
    drop((keys, values));
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let maps = mappings(dir.path());

    println!("\n### iteration: {records} records of {KEY_LEN} + {VALUE_LEN} bytes\n");
    print_head("the store", "bare");
    let run = |what: &str, target: f64, way: &dyn Fn() -> usize| {
        let all = || time(|| assert_eq!(way(), records));
        let bare = || time(|| assert_eq!(pass(&maps), records));
        Rounds::run(rounds, records, all, bare).print(what, target);
    };
    run("`Iter::next_slices`", 3.0, &|| slices(store.iter()));
    run("… in two parts by two threads", 2.0, &|| {
        thread::scope(|scope| {
            let parts = store.iter().split(2).into_iter();
            let running: Vec<_> = parts.map(|part| scope.spawn(|| slices(part))).collect();
            running.into_iter().map(|part| part.join().unwrap()).sum()
        })
    });
    run("`Store::iter`", 6.0, &|| {
        let mut count = 0;
        for pair in store.iter() {
            let (key, value) = pair.unwrap();
            touch_both(&key, &value);
            count += 1;
        }
        count
    });
    run("`Keys::next_slice`", 3.0, &|| {
        let (mut keys, mut count) = (store.keys(), 0);
        while let Some(key) = keys.next_slice() {
            touch(key.unwrap());
            count += 1;
        }
        count
    });
    run("`Store::keys`", 5.0, &|| {
        let mut count = 0;
        for key in store.keys() {
            touch(&key.unwrap());
            count += 1;
        }
        count
    });
    run("`Store::keys`, and a `get` of each", 30.0, &|| {
        let mut count = 0;
        for key in store.keys() {
            touch(&store.get(key.unwrap()).unwrap().unwrap());
            count += 1;
        }
        count
    });
    let snapshot = store.snapshot().unwrap();
    run("`Snapshot::iter`, `next_slices`", 3.0, &|| slices(snapshot.iter()));
    drop(snapshot);
    store.close().unwrap();
}

fn slices(mut pairs: Iter<'_>) -> usize {
    let mut count = 0;
    while let Some(pair) = pairs.next_slices() {
        let (key, value) = pair.unwrap();
        touch_both(key, value);
        count += 1;
    }
    count
}

fn touch_both(key: &[u8], value: &[u8]) -> u64 {
    touch(key).wrapping_add(touch(value))
}

/// The data files, all of them in memory.
fn mappings(dir: &Path) -> Vec<Mmap> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let data = names.filter(|path| path.extension().is_some_and(|extension| extension == "data"));
    let map = |path| {
        let file = File::open(path).unwrap();
        // SAFETY: nobody else knows the directory, and the store that has it open writes nothing.
        #[expect(unsafe_code, reason = "a mapping without a store")]
        let map = unsafe { Mmap::map(&file) }.unwrap();
        black_box(map.iter().step_by(4096).map(|&byte| u64::from(byte)).sum::<u64>());
        map
    };
    data.map(map).collect()
}

fn pass(maps: &[Mmap]) -> usize {
    let mut count = 0;
    for map in maps {
        let mut rest = &map[..];
        while let Some((header, behind)) = rest.split_first_chunk::<HEADER_LEN>() {
            let len = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|n| header[at + n])) as usize;
            let (key, behind) = behind.split_at(len(12));
            let (value, behind) = behind.split_at(len(16));
            touch_both(key, value);
            (rest, count) = (behind, count + 1);
        }
    }
    count
}
