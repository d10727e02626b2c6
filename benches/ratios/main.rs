//! The figures that the store promises, each against something everybody has, in one run:
//! `cargo bench --bench ratios [-- get] [-- put] [-- iteration] [-- writes] [-- openings] [-- size] [-- access] [-- memory]
//! [-- growth] [-- count] [-- segments] [-- compaction]`,
//! and with `--features serde,tokio` `[-- layers]`. Prints markdown.
//!
//! Machines are noisy, so no time here is compared with one of another moment: A and B take turns in
//! one process, each round gives one ratio, and the median of those counts. Data files lie where
//! `TMPDIR` says, which should be a disk. Memory is what the kernel says of a process of its own.

#![allow(clippy::unwrap_used, clippy::panic)] // A bench that fails has to stop.

#[path = "../common/mod.rs"]
mod common;
mod compaction;
mod count;
mod iteration;
#[cfg(all(feature = "serde", feature = "tokio"))]
mod layers;
mod openings;
mod segments;
mod writes;

use std::collections::HashMap;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Flat, KEY_LEN, Random, buffered, fill, fresh_dir, touch};
use zerocask::{Access, Store, record};

const VALUE_LEN: usize = 150;
/// crc32, timestamp, key size, value size.
const HEADER_LEN: usize = 20;

/// What to run: everything, or next to nothing.
struct Plan {
    records: usize,
    /// The first is not counted.
    rounds: usize,
    /// Synced puts of a round.
    writes: usize,
    /// Of each of two sizes.
    sized: usize,
    /// How many gets from a cold store.
    cold_gets: &'static [usize],
    /// The first is not counted.
    cold_rounds: usize,
    /// Keys and the length of each.
    memory: &'static [(usize, usize)],
    /// Keys put one by one, each timed.
    growth: u64,
    openings: openings::Plan,
    segments: &'static [usize],
    rotations: usize,
}

const MEASURE: Plan = Plan {
    records: 1_000_000,
    rounds: 12,
    writes: 2_000,
    sized: 20_000,
    cold_gets: &[1_000, 20_000],
    cold_rounds: 6,
    memory: &[
        (1_000_000, KEY_LEN),
        (1_300_000, KEY_LEN),
        (1_700_000, KEY_LEN),
        (2_000_000, KEY_LEN),
        (5_000_000, KEY_LEN),
        (1_000_000, 1024),
    ],
    growth: 10_000_000,
    openings: openings::Plan { keys: [50_000, 5_000_000], tail: 64 << 20, rounds: 5 },
    segments: &[10, 1_000, 10_000],
    rotations: 100,
};

const SMOKE: Plan = Plan {
    records: 1000,
    rounds: 2,
    writes: 20,
    sized: 100,
    cold_gets: &[10],
    cold_rounds: 2,
    memory: &[(1000, KEY_LEN)],
    growth: 1000,
    openings: openings::Plan { keys: [500, 2000], tail: 64 << 10, rounds: 1 },
    segments: &[10],
    rotations: 3,
};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [child, phase, keys, key_len, dir] = &args[..]
        && child == "--memory-child"
    {
        memory_child(phase, keys.parse().unwrap(), key_len.parse().unwrap(), Path::new(dir));
        return;
    }
    if let [child, dir, keys, tail] = &args[..]
        && child == "--openings-child"
    {
        openings::child(Path::new(dir), keys.parse().unwrap(), tail.parse().unwrap());
        return;
    }
    let plan = if common::is_measuring() { MEASURE } else { SMOKE };
    let named: Vec<_> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|arg| name == *arg);
    if wanted("get") {
        compare_get(&plan);
    }
    if wanted("put") {
        compare_put(&plan);
    }
    if wanted("iteration") {
        iteration::compare(plan.records, plan.rounds);
    }
    if wanted("writes") {
        writes::compare(plan.writes, plan.rounds);
    }
    #[cfg(all(feature = "serde", feature = "tokio"))]
    if wanted("layers") {
        layers::compare(plan.records, plan.rounds);
    }
    if wanted("openings") {
        openings::compare(&plan.openings);
    }
    if wanted("size") {
        compare_sizes(&plan);
    }
    if wanted("access") {
        compare_access(&plan);
    }
    if wanted("memory") {
        measure_memory(&plan);
    }
    if wanted("growth") {
        measure_growth(&plan);
    }
    if wanted("count") {
        count::compare(plan.records, plan.rounds);
    }
    if wanted("segments") {
        segments::measure(plan.segments, plan.rotations);
    }
    if wanted("compaction") {
        compaction::compare(plan.records, plan.rounds);
    }
}

/// Rounds of A and B in turn.
pub(crate) struct Rounds {
    /// Nanoseconds for each operation of A and of B, a pair for each round.
    times: Vec<(f64, f64)>,
}

impl Rounds {
    /// Runs both `rounds` times, each first in every second round, and forgets the first round.
    pub(crate) fn run(
        rounds: usize,
        ops: usize,
        mut a: impl FnMut() -> f64,
        mut b: impl FnMut() -> f64,
    ) -> Self {
        let mut times = Vec::new();
        for round in 0..rounds {
            let pair = if round % 2 == 0 {
                let first = a();
                (first, b())
            } else {
                let first = b();
                (a(), first)
            };
            times.push((pair.0 / ops as f64, pair.1 / ops as f64));
        }
        times.remove(0);
        Rounds { times }
    }

    pub(crate) fn print(&self, what: &str, target: f64) {
        let a = median(self.times.iter().map(|(a, _)| *a));
        let b = median(self.times.iter().map(|(_, b)| *b));
        let ratios = || self.times.iter().map(|(a, b)| a / b);
        let least = ratios().fold(f64::INFINITY, f64::min);
        let most = ratios().fold(0.0, f64::max);
        let ratio = median(ratios());
        println!(
            "| {what} | {a:.0} | {b:.0} | **{ratio:.2}** | {least:.2} to {most:.2} | {} | ≤ {target} |",
            self.times.len()
        );
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Runs `f`; the nanoseconds that it took.
pub(crate) fn time(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_nanos() as f64
}

/// `get`, the first and the last byte of its value read, against a `HashMap` of vectors: keys put in
/// one random order, asked for in another, by one thread, all of it in memory.
fn compare_get(plan: &Plan) {
    let keys = Flat::random(1, plan.records, KEY_LEN);
    let values = Flat::random(2, plan.records, VALUE_LEN);
    let inserted = Random(3).order(plan.records);
    let dir = fresh_dir();
    let fresh = buffered().open(dir.path()).unwrap();
    fill(&fresh, &keys, &values, &inserted);
    let mut map: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    for &i in &inserted {
        map.insert(keys.get(i).to_vec(), values.get(i).to_vec());
    }
    drop(values);
    let queries = keys.reordered(&Random(4).order(plan.records));
    drop(keys);

    println!("\n### get: {} records of {KEY_LEN} + {VALUE_LEN} bytes\n", plan.records);
    print_head("the store", "`HashMap::get`");
    compare_one_get(plan, "just written", &fresh, &map, &queries);
    fresh.close().unwrap();
    let reopened = Store::open(dir.path()).unwrap();
    compare_one_get(plan, "reopened", &reopened, &map, &queries);
}

fn compare_one_get(
    plan: &Plan,
    what: &str,
    store: &Store,
    map: &HashMap<Vec<u8>, Vec<u8>>,
    queries: &Flat,
) {
    assert_eq!(
        (store.len(), map.len(), queries.count()),
        (plan.records, plan.records, plan.records)
    );
    let from_store = || {
        time(|| {
            for key in queries.iter() {
                touch(&store.get(key).unwrap().unwrap());
            }
        })
    };
    let from_map = || {
        time(|| {
            for key in queries.iter() {
                touch(map.get(key).unwrap());
            }
        })
    };
    let reader = store.reader();
    let from_reader = || {
        time(|| {
            for key in queries.iter() {
                touch(reader.get(key).unwrap().unwrap());
            }
        })
    };
    let batches: Vec<&[u8]> = queries.iter().collect();
    let from_batches = || {
        time(|| {
            for keys in batches.chunks(64) {
                let touch_each = |_, value: Option<&[u8]>| {
                    touch(value.unwrap());
                };
                reader.get_many(keys, touch_each).unwrap();
            }
        })
    };
    let rounds =
        |a: &dyn Fn() -> f64, b: &dyn Fn() -> f64| Rounds::run(plan.rounds, plan.records, a, b);
    rounds(&from_store, &from_map).print(&format!("`Store::get`, {what}"), 0.6);
    rounds(&from_reader, &from_map).print(&format!("`Reader::get`, {what}"), 0.33);
    rounds(&from_batches, &from_reader).print("`get_many` of 64 against `Reader::get`", 0.4);
}

/// Buffered puts into a new store against appending as many bytes to a file; both flushed to the
/// operating system at the end, neither synced.
fn compare_put(plan: &Plan) {
    let keys = Flat::random(1, plan.records, KEY_LEN);
    let values = Flat::random(2, plan.records, VALUE_LEN);
    let order = Random(3).order(plan.records);
    let to_store = || {
        let dir = fresh_dir();
        let store = buffered().open(dir.path()).unwrap();
        time(|| fill(&store, &keys, &values, &order))
    };
    let to_file = || {
        let dir = fresh_dir();
        let mut file = BufWriter::new(File::create_new(dir.path().join("log")).unwrap());
        time(|| {
            for &i in &order {
                let (key, value) = (keys.get(i), values.get(i));
                let mut header = [0; HEADER_LEN];
                header[4..12].copy_from_slice(&u64::from(i).to_be_bytes());
                header[12..16].copy_from_slice(&(key.len() as u32).to_be_bytes());
                header[16..].copy_from_slice(&(value.len() as u32).to_be_bytes());
                file.write_all(&header).unwrap();
                file.write_all(key).unwrap();
                file.write_all(value).unwrap();
            }
            file.flush().unwrap();
        })
    };
    assert_eq!(
        record::Record::plain(0, keys.get(0), values.get(0)).len_at(0),
        (HEADER_LEN + KEY_LEN + VALUE_LEN) as u64
    );
    println!("\n### put: {} records of {KEY_LEN} + {VALUE_LEN} bytes\n", plan.records);
    print_head("`Store::put`", "`BufWriter`");
    Rounds::run(plan.rounds, plan.records, to_store, to_file).print("buffered, then flushed", 2.0);
}

/// Gets of large values against gets of small ones of the same store, put in turn, so that either are as
/// many and lie as far from each other.
fn compare_sizes(plan: &Plan) {
    const LARGE_LEN: usize = 64 << 10;
    let dir = fresh_dir();
    let store = buffered().open(dir.path()).unwrap();
    let keys = [Flat::random(1, plan.sized, KEY_LEN), Flat::random(2, plan.sized, KEY_LEN)];
    let value = vec![b'v'; LARGE_LEN];
    for (large, small) in keys[0].iter().zip(keys[1].iter()) {
        store.put(large, &value).unwrap();
        store.put(small, &value[..VALUE_LEN]).unwrap();
    }
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let reader = store.reader();
    let [large, small] = keys.map(|keys| keys.reordered(&Random(4).order(plan.sized)));
    let get_all = |queries: &Flat| {
        time(|| {
            for key in queries.iter() {
                black_box(reader.get(key).unwrap().unwrap()[0]);
            }
        })
    };
    println!(
        "\n### size: {} values of {LARGE_LEN} bytes, and as many of {VALUE_LEN}\n",
        plan.sized
    );
    print_head("the large", "the small");
    // The first round, which is not counted, checks the records.
    let rounds = Rounds::run(5 * plan.rounds, plan.sized, || get_all(&large), || get_all(&small));
    rounds.print("`Reader::get`, the value's first byte read", 1.5);
}

/// Random gets of a store of which nothing is in memory, under [`Access::Random`] and under
/// [`Access::Normal`]: their times, and what is read from the disk for each get.
fn compare_access(plan: &Plan) {
    let keys = Flat::random(1, plan.records, KEY_LEN);
    let values = Flat::random(2, plan.records, VALUE_LEN);
    let order = Random(3).order(plan.records);
    println!("\n### access: {} records of {KEY_LEN} + {VALUE_LEN} bytes, cold\n", plan.records);
    print_head("`Access::Random`", "`Access::Normal`");
    for &gets in plan.cold_gets {
        let queries = keys.reordered(&Random(4).order(plan.records)[..gets]);
        let mut read = [Vec::new(), Vec::new()];
        let [random_read, normal_read] = &mut read;
        let get_cold = |access: Access, bytes_read: &mut Vec<f64>| {
            let dir = fresh_dir();
            // Opening reads all of a store, so one that is just written takes its place: no page of its
            // mappings has been touched.
            let store = buffered().segment_size(32 << 20).access(access).open(dir.path()).unwrap();
            fill(&store, &keys, &values, &order);
            store.sync().unwrap();
            forget_cached(dir.path());
            let before = bytes_read_from_disk();
            let time = time(|| {
                for key in queries.iter() {
                    touch(&store.get(key).unwrap().unwrap());
                }
            });
            bytes_read.push((bytes_read_from_disk() - before) as f64 / gets as f64);
            time
        };
        let rounds = Rounds::run(
            plan.cold_rounds,
            gets,
            || get_cold(Access::Random, random_read),
            || get_cold(Access::Normal, normal_read),
        );
        rounds.print(&format!("first {gets} gets"), 1.0);
        let [random, normal] = read.map(|bytes| median(bytes.into_iter()));
        println!(
            "| … bytes read for each | {random:.0} | {normal:.0} | {:.3} | | | |",
            random / normal
        );
    }
}

/// Drops the files' pages from the system's cache. Clean pages that nobody has mapped in go.
fn forget_cached(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let file = File::open(entry.unwrap().path()).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

/// What this process has had read from disks.
fn bytes_read_from_disk() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    let Some(line) = line else { panic!("no read_bytes in /proc/self/io: this needs Linux") };
    line.parse().unwrap()
}

pub(crate) fn print_head(a: &str, b: &str) {
    println!("| | {a}, ns | {b}, ns | ratio (median) | rounds from | rounds | target |");
    println!("|---|---:|---:|---:|---|---:|---:|");
}

/// Anonymous memory for each key, of stores just written and reopened, each in a new process.
fn measure_memory(plan: &Plan) {
    println!("\n### memory: bytes for each key, values of 8 bytes\n");
    println!(
        "| keys | key length | just written | reopened | `key_directory_bytes` | target | reopened with `ordered` |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    for &(keys, key_len) in plan.memory {
        let dir = fresh_dir();
        let child = |phase: &str| {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--memory-child", phase, &keys.to_string(), &key_len.to_string()]);
            let output = child.arg(dir.path()).stderr(Stdio::inherit()).output().unwrap();
            assert!(output.status.success(), "{}", output.status);
            String::from_utf8(output.stdout).unwrap()
        };
        let written = child("write");
        let [reopened, ordered] = ["open", "open-ordered"].map(child);
        let field = |line: &str, n: usize| line.split_whitespace().nth(n).unwrap().to_owned();
        println!(
            "| {keys} | {key_len} | **{}** | **{}** | {} | ≤ 24 | {} |",
            field(&written, 0),
            field(&reopened, 0),
            field(&reopened, 1),
            field(&ordered, 0)
        );
    }
}

fn memory_child(phase: &str, keys: usize, key_len: usize, dir: &Path) {
    let before = anonymous_bytes();
    let store = buffered().ordered(phase == "open-ordered").open(dir).unwrap();
    if phase == "write" {
        let mut key = vec![0; key_len];
        for i in 0..keys as u64 {
            Random(i).fill(&mut key);
            store.put(&key, i.to_be_bytes()).unwrap();
        }
        store.flush().unwrap();
    }
    let after = anonymous_bytes();
    assert_eq!(store.len(), keys);
    let of_each = |bytes: usize| bytes as f64 / keys as f64;
    let directory = store.stats().key_directory_bytes;
    println!("{:.1} {:.1}", of_each(after.saturating_sub(before)), of_each(directory));
    store.close().unwrap();
}

/// What of this process's memory is backed by no file.
fn anonymous_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let Some(line) = line else { panic!("no RssAnon in /proc/self/status: this needs Linux") };
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// The slowest of many puts while the key directory grows, beside as many that find their keys there.
fn measure_growth(plan: &Plan) {
    const RECORD_LEN: u64 = HEADER_LEN as u64 + 16;
    let keys = plan.growth;
    let dir = fresh_dir();
    // One segment, so that no put waits for a disk.
    let store = buffered().segment_size(keys * RECORD_LEN * 3).open(dir.path()).unwrap();
    println!("\n### growth: {keys} puts, each timed\n");
    println!(
        "| | timed by | slower than 1 ms | slowest, ms | slower than 20 µs | their median, µs |"
    );
    println!("|---|---|---:|---:|---:|---:|");
    for what in ["new keys", "keys that are there"] {
        let mut slow: [[Slow; 2]; 2] = Default::default();
        let (mut clock, mut processor) = (Instant::now(), processor_time());
        for i in 0..keys {
            store.put(Random(i).next().to_be_bytes(), i.to_be_bytes()).unwrap();
            let times = [clock.elapsed(), processor_time() - processor];
            if times.iter().any(|&time| time > Slow::LEAST) {
                // It was full and its content has been written: that is what the put waited for.
                let is_buffer_new = store.stats().buffered_bytes <= RECORD_LEN;
                let [by_clock, by_processor] = &mut slow[usize::from(is_buffer_new)];
                by_clock.note(times[0]);
                by_processor.note(times[1]);
            }
            (clock, processor) = (Instant::now(), processor_time());
        }
        for (puts, slow) in ["", ", writing the append buffer to the file"].iter().zip(slow) {
            for (timed_by, slow) in ["the clock", "its processor's time"].iter().zip(slow) {
                slow.print(&format!("{what}{puts}"), timed_by);
            }
        }
    }
    assert_eq!(store.len() as u64, keys);
    store.close().unwrap();
}

/// The slow ones of many operations.
#[derive(Default)]
struct Slow {
    times: Vec<Duration>,
}

impl Slow {
    /// What is slow.
    const LEAST: Duration = Duration::from_micros(20);

    fn note(&mut self, time: Duration) {
        if time > Self::LEAST {
            self.times.push(time);
        }
    }

    fn print(self, what: &str, timed_by: &str) {
        let count = self.times.len();
        let stalls = self.times.iter().filter(|time| time.as_millis() > 0).count();
        let slowest = self.times.iter().max().copied().unwrap_or_default().as_secs_f64() * 1e3;
        let times = self.times.iter().map(|time| time.as_secs_f64() * 1e6);
        let median = if count > 0 { median(times) } else { 0.0 };
        println!("| {what} | {timed_by} | {stalls} | {slowest:.2} | {count} | {median:.0} |");
    }
}

/// What this thread has used.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
