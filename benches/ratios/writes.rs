//! Writes at each level of durability, against the least that the system lets one do for the same.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex};
use std::thread;

use tempfile::TempDir;
use zerocask::{Batch, Durability, Options, Store};

use crate::common::{Random, fresh_dir};
use crate::{Rounds, print_head, time};

const VALUE_LEN: usize = 150;
/// Header, key and value.
const RECORD_LEN: usize = 20 + 8 + VALUE_LEN;
const THREADS: usize = 8;
const BATCH: usize = 1_000;
/// So many times as many puts as are compared one by one.
const LOAD: usize = 5;

pub(crate) fn compare(writes: usize, rounds: usize) {
    println!("\n### writes of {RECORD_LEN} bytes\n");
    print_head("the store", "the system");
    let many = writes * 100;

    let puts =
        |durability, writes| move || with_store(durability, |store| put_all(store, 0, writes));
    let bare = |act: fn(&File, usize), writes| move || with_file(writes, |file| act(file, writes));
    let compare = |what: &str, target, count, a: &dyn Fn() -> f64, b: &dyn Fn() -> f64| {
        Rounds::run(rounds, count, a, b).print(what, target);
    };
    compare(
        "`Synced` put against a write and `fdatasync`, the file's length set before",
        1.1,
        writes,
        &puts(Durability::Synced, writes),
        &bare(write_and_sync, writes),
    );
    compare(
        &format!("`Synced` puts by {THREADS} threads against the same, who share an `fdatasync`"),
        1.15,
        writes,
        &|| with_store(Durability::Synced, |store| put_by_threads(store, writes)),
        &|| with_file(writes, |file| sync_by_threads(file, writes)),
    );
    compare(
        &format!("`Synced` puts by {THREADS} threads against those by one"),
        1.0 / 3.0,
        writes,
        &|| with_store(Durability::Synced, |store| put_by_threads(store, writes)),
        &puts(Durability::Synced, writes),
    );
    compare(
        &format!("`Synced` batch of {BATCH} against a write of as many bytes and `fdatasync`"),
        1.5,
        writes / 20,
        &|| with_store(Durability::Synced, |store| write_batches(store, writes / 20)),
        &|| with_file(writes / 20 * BATCH, |file| write_runs(file, writes / 20)),
    );
    compare(
        "`Flushed` put against a `write`",
        1.25,
        many,
        &puts(Durability::Flushed, many),
        &bare(write_each, many),
    );
    compare(
        "`Buffered` put against a `write`",
        0.5,
        many,
        &puts(Durability::Buffered, many),
        &bare(write_each, many),
    );
    compare(
        "bulk load, `Buffered` with one sync at the end, against a `BufWriter` with one",
        1.5,
        many * LOAD,
        &|| {
            with_store(Durability::Buffered, |store| {
                put_all(store, 0, many * LOAD);
                store.sync().unwrap();
            })
        },
        &|| append_all(many * LOAD),
    );
    println!("\n### writes that depend on what is there\n");
    print_head("`update`", "the two");
    compare(
        "`Buffered` `update` against `get` and `put`",
        1.2,
        many,
        &|| {
            with_full_store(many, |store, key| {
                drop(store.update(key, |old| Some(other(old))).unwrap())
            })
        },
        &|| {
            with_full_store(many, |store, key| {
                let new = other(store.get(key).unwrap().as_deref());
                store.put(key, new).unwrap();
            })
        },
    );
}

/// The time of what `act` does with every key of a store.
fn with_full_store(keys: usize, act: impl Fn(&Store, [u8; 8])) -> f64 {
    let (_dir, store) = new_store(Durability::Buffered);
    put_all(&store, 0, keys);
    time(|| (0..keys).for_each(|n| act(&store, key(n))))
}

fn other(old: Option<&[u8]>) -> [u8; VALUE_LEN] {
    [old.map_or(0, |old| old[0].wrapping_add(1)); VALUE_LEN]
}

fn key(n: usize) -> [u8; 8] {
    Random(n as u64).next().to_be_bytes()
}

/// The time of what `act` does with a new store.
fn with_store(durability: Durability, act: impl FnOnce(&Store)) -> f64 {
    let (_dir, store) = new_store(durability);
    time(|| act(&store))
}

fn new_store(durability: Durability) -> (TempDir, Store) {
    let dir = fresh_dir();
    let store = Options::new().durability(durability).open(dir.path()).unwrap();
    store.put_with("first", "x", Durability::Synced).unwrap();
    (dir, store)
}

/// The time of what `act` does with a new file of the length of so many records.
fn with_file(records: usize, act: impl FnOnce(&File)) -> f64 {
    let dir: TempDir = fresh_dir();
    let file = File::create_new(dir.path().join("log")).unwrap();
    file.set_len((records * RECORD_LEN) as u64).unwrap();
    file.sync_all().unwrap();
    time(|| act(&file))
}

fn put_all(store: &Store, first: usize, writes: usize) {
    for n in first..first + writes {
        store.put(key(n), [n as u8; VALUE_LEN]).unwrap();
    }
}

fn put_by_threads(store: &Store, writes: usize) {
    let each = writes / THREADS;
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || put_all(store, thread * each, each));
        }
    });
}

fn write_batches(store: &Store, batches: usize) {
    let mut writes = Batch::new();
    for batch in 0..batches {
        writes.clear();
        for n in batch * BATCH..(batch + 1) * BATCH {
            writes.put(key(n), [n as u8; VALUE_LEN]);
        }
        store.write(&writes).unwrap();
    }
}

fn write_at(file: &File, n: usize) {
    file.write_all_at(&[n as u8; RECORD_LEN], (n * RECORD_LEN) as u64).unwrap();
}

fn write_each(file: &File, writes: usize) {
    (0..writes).for_each(|n| write_at(file, n));
}

fn write_and_sync(file: &File, writes: usize) {
    for n in 0..writes {
        write_at(file, n);
        file.sync_data().unwrap();
    }
}

/// The time of appending as many records to a new file, which is durable then.
fn append_all(records: usize) -> f64 {
    let dir: TempDir = fresh_dir();
    let mut file = BufWriter::new(File::create_new(dir.path().join("log")).unwrap());
    time(|| {
        for n in 0..records {
            file.write_all(&[n as u8; RECORD_LEN]).unwrap();
        }
        file.flush().unwrap();
        file.get_ref().sync_data().unwrap();
    })
}

fn write_runs(file: &File, runs: usize) {
    let run = vec![7; BATCH * RECORD_LEN];
    for n in 0..runs {
        file.write_all_at(&run, (n * run.len()) as u64).unwrap();
        file.sync_data().unwrap();
    }
}

/// What threads that share syncs have to agree on.
#[derive(Default)]
struct Group {
    written: usize,
    synced: usize,
    is_syncing: bool,
}

fn sync_by_threads(file: &File, writes: usize) {
    let (group, changed) = (Mutex::new(Group::default()), Condvar::new());
    let write = || {
        let mut now = group.lock().unwrap();
        let mine = now.written;
        write_at(file, mine);
        now.written += 1;
        while now.synced <= mine {
            if now.is_syncing {
                now = changed.wait(now).unwrap();
                continue;
            }
            now.is_syncing = true;
            let written = now.written;
            drop(now);
            file.sync_data().unwrap();
            now = group.lock().unwrap();
            (now.synced, now.is_syncing) = (written, false);
            changed.notify_all();
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..writes / THREADS).for_each(|_| write()));
        }
    });
}
