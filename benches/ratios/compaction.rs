//! Compaction: against a copy of what is live, beside gets, and how much room a store takes that compacts by itself.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;
use zerocask::{Compaction, CompactionPolicy, Durability, Options, Store};

use crate::common::{Random, fresh_dir, touch};
use crate::{Rounds, VALUE_LEN, median, print_head, time};

const KEY_LEN: usize = 8;
const SEGMENT_SIZE: u64 = 32 << 20;
/// `read` and `write` by so much, as `cp` does.
const COPIED_AT_ONCE: usize = 128 << 10;

pub(crate) fn compare(records: usize, rounds: usize) {
    for (records, value_len) in [(records, VALUE_LEN), (records / 10, 4096)] {
        let live = (records * record_len(value_len)) as f64 / 1e6;
        let len = record_len(value_len);
        println!("\n### compaction, every other record of {len} bytes dead, {live:.0} MB live\n");
        print_head("`compact`", "`read` and `write` of what is live, `fsync`");
        let compact = || compact(records, value_len);
        let rounds = Rounds::run(rounds, records, compact, || copy(records, value_len));
        rounds.print("a live record", 1.67);
    }
    beside_gets(records, rounds);
    zipf(records * 2, records * 8);
}

fn record_len(value_len: usize) -> usize {
    20 + KEY_LEN + value_len
}

fn options(compaction: Compaction) -> Options {
    Options::new()
        .segment_size(SEGMENT_SIZE)
        .durability(Durability::Buffered)
        .compaction(compaction)
}

fn key(n: u64) -> [u8; KEY_LEN] {
    n.to_be_bytes()
}

/// With so many live records, each behind one that is dead.
fn half_dead(records: usize, value_len: usize) -> (TempDir, Store) {
    let dir = fresh_dir();
    let store = options(Compaction::Manual).open(dir.path()).unwrap();
    let value = vec![7; value_len];
    for n in 0..2 * records as u64 {
        store.put(key(n), &value).unwrap();
    }
    for n in 0..records as u64 {
        store.delete(key(2 * n)).unwrap();
    }
    store.sync().unwrap();
    (dir, store)
}

/// Lets the system have memory at hand for a file of so many bytes. A virtual machine's host may have taken back what lay
/// unused for two seconds, and to get a page from it takes longer than to fill it.
fn get_memory_ready(dir: &Path, bytes: usize) {
    let path = dir.join("memory");
    for _ in 0..3 {
        fs::write(&path, vec![7; bytes]).unwrap();
        fs::remove_file(&path).unwrap();
    }
}

fn compact(records: usize, value_len: usize) -> f64 {
    let (dir, store) = half_dead(records, value_len);
    get_memory_ready(dir.path(), records * record_len(value_len));
    time(|| assert_eq!(store.compact().unwrap().records_after, records as u64))
}

fn copy(records: usize, value_len: usize) -> f64 {
    let dir = fresh_dir();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let mut file = File::create(&from).unwrap();
    file.write_all(&vec![7; records * record_len(value_len)]).unwrap();
    file.sync_all().unwrap();
    get_memory_ready(dir.path(), records * record_len(value_len));
    time(|| {
        let (mut from, mut to) = (File::open(&from).unwrap(), File::create(&to).unwrap());
        let mut buffer = vec![0; COPIED_AT_ONCE];
        loop {
            match from.read(&mut buffer).unwrap() {
                0 => break,
                len => to.write_all(&buffer[..len]).unwrap(),
            }
        }
        to.sync_all().unwrap();
    })
}

/// The slowest gets in a hundred, alone and beside compactions.
fn beside_gets(records: usize, rounds: usize) {
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..rounds.min(5) {
        let (_dir, store) = half_dead(records, VALUE_LEN);
        alone.push(percentile(&store, records, &AtomicBool::new(false)));
        let is_over = AtomicBool::new(false);
        beside.push(thread::scope(|scope| {
            scope.spawn(|| {
                store.compact().unwrap();
                is_over.store(true, Ordering::Relaxed);
            });
            percentile(&store, records, &is_over)
        }));
    }
    let (alone, beside) = (median(alone.into_iter()), median(beside.into_iter()));
    println!(
        "\np99 of a get: {alone:.0} ns alone, {beside:.0} ns beside a compaction: {:.2} times (≤ 2)",
        beside / alone
    );
}

/// Of gets until it is over, or of as many as there are records.
fn percentile(store: &Store, records: usize, is_over: &AtomicBool) -> f64 {
    let (mut random, mut times, reader) = (Random(5), Vec::new(), store.reader());
    while times.len() < records && !is_over.load(Ordering::Relaxed) {
        let key = key(random.next() % records as u64 * 2 + 1);
        let began = Instant::now();
        touch(reader.get(key).unwrap().unwrap());
        times.push(began.elapsed().as_nanos() as f64);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() * 99 / 100]
}

/// Overwrites and, one in ten, deletes; the keys by Zipf's law.
fn zipf(keys: usize, writes: usize) {
    let dir = fresh_dir();
    let store = options(Compaction::Auto(CompactionPolicy::new())).open(dir.path()).unwrap();
    let mut random = Random(6);
    let mut value = [0; VALUE_LEN];
    for n in 0..keys as u64 {
        store.put(key(n), value).unwrap();
    }
    let (mut most, mut sum, mut samples) = (0.0_f64, 0.0, 0);
    let mut order = Random(7).order(keys);
    order.rotate_left(keys / 3);
    let began = Instant::now();
    for n in 0..writes {
        // The inverse of Zipf's distribution with exponent 1, nearly.
        let rank = (keys as f64).powf(random.next() as f64 / u64::MAX as f64) as usize - 1;
        let key = key(u64::from(order[rank.min(keys - 1)]));
        if random.next().is_multiple_of(10) {
            store.delete(key).unwrap();
        } else {
            random.fill(&mut value[..8]);
            store.put(key, value).unwrap();
        }
        if n % 10_000 == 0 {
            let ratio =
                disk_bytes(dir.path()) as f64 / (store.len() * record_len(VALUE_LEN)) as f64;
            (most, sum, samples) = (most.max(ratio), sum + ratio, samples + 1);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let compaction = store.stats().compaction;
    println!(
        "\nZipf: {keys} keys, {writes} writes in {seconds:.1} s; the files take {:.2} times what is live, {most:.2} times at the most (≤ 2.2); \
         {} compactions wrote {:.0} MB and freed {:.0} MB, {} failed; {} segments",
        sum / f64::from(samples),
        compaction.runs,
        compaction.bytes_written as f64 / 1e6,
        compaction.bytes_freed as f64 / 1e6,
        compaction.failures,
        store.stats().segments,
    );
    store.close().unwrap();
}

/// All files, those under way too.
fn disk_bytes(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata());
    files.map(|metadata| metadata.map_or(0, |metadata| metadata.len())).sum()
}
