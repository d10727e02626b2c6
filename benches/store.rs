//! What each operation costs, for criterion. `cargo bench --bench store [-- FILTER]`.
//!
//! Times are those of a warm page cache. Opening and compacting read, check and copy every record;
//! what a compaction writes is synced, so its time is also the disk's.

#![allow(clippy::unwrap_used, missing_docs)] // A bench that fails has to stop.

mod common;

use std::cell::OnceCell;
use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use common::{Flat, KEY_LEN, Random, buffered, fresh_dir, touch};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use tempfile::TempDir;
use zerocask::{Durability, Options, Store};

/// How many keys, and how long their values.
#[derive(Clone, Copy)]
struct Size {
    value: usize,
    keys: usize,
}

/// One million keys with small values only: larger ones would measure the disk.
const SIZES: [Size; 4] = [
    Size { value: 150, keys: 100_000 },
    Size { value: 150, keys: 1_000_000 },
    Size { value: 4 << 10, keys: 100_000 },
    Size { value: 64 << 10, keys: 10_000 },
];

const SMOKE_SIZES: [Size; 2] = [Size { value: 150, keys: 200 }, Size { value: 64 << 10, keys: 10 }];

/// A store that puts are measured on is replaced when it has taken so many bytes.
const PUT_BYTES: usize = 128 << 20;

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B x {}", self.value, self.keys)
    }
}

impl Size {
    fn bytes(self) -> u64 {
        ((KEY_LEN + self.value) * self.keys) as u64
    }
}

/// Keys and one value of a size, and a store of them, made when first asked for.
struct Fixture {
    size: Size,
    keys: Flat,
    absent: Flat,
    value: Vec<u8>,
    filled: OnceCell<(TempDir, Store)>,
}

impl Fixture {
    fn new(size: Size) -> Self {
        let shuffled = Random(1).order(size.keys);
        Fixture {
            size,
            keys: Flat::random(2, size.keys, KEY_LEN).reordered(&shuffled),
            absent: Flat::random(3, size.keys, KEY_LEN),
            value: Flat::random(4, 1, size.value).get(0).to_vec(),
            filled: OnceCell::new(),
        }
    }

    fn fill(&self, store: &Store) {
        for i in Random(5).order(self.size.keys) {
            store.put(self.keys.get(i), &self.value).unwrap();
        }
        store.flush().unwrap();
    }

    fn store(&self) -> &Store {
        let (_, store) = self.filled.get_or_init(|| {
            let dir = fresh_dir();
            let store = buffered().open(dir.path()).unwrap();
            self.fill(&store);
            // The first read of a record checks it.
            self.keys.iter().for_each(|key| drop(store.get(key).unwrap()));
            (dir, store)
        });
        store
    }
}

fn main() {
    let measured = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(500));
    let mut c = measured.measurement_time(Duration::from_secs(2)).configure_from_args();
    let sizes = if common::is_measuring() { &SIZES[..] } else { &SMOKE_SIZES[..] };
    for &size in sizes {
        let fixture = Fixture::new(size);
        get(&mut c, &fixture);
        iterate(&mut c, &fixture);
        put(&mut c, "put", Durability::Buffered, &fixture);
        put(&mut c, "put+flush", Durability::Flushed, &fixture);
        open(&mut c, &fixture);
        compact(&mut c, &fixture);
    }
    c.final_summary();
}

fn get(c: &mut Criterion, fixture: &Fixture) {
    for (name, keys) in [("get hit", &fixture.keys), ("get miss", &fixture.absent)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(fixture.size), |b| {
            let store = fixture.store();
            let mut queries = keys.iter().cycle();
            b.iter(|| {
                let value = store.get(queries.next().unwrap()).unwrap();
                value.map(|value| touch(&value))
            });
        });
        group.finish();
    }
}

/// All keys from `keys`, and each one's value from `get`.
fn iterate(c: &mut Criterion, fixture: &Fixture) {
    let mut group = c.benchmark_group("iterate by get");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(fixture.size.keys as u64));
    group.bench_function(BenchmarkId::from_parameter(fixture.size), |b| {
        let store = fixture.store();
        b.iter(|| {
            for key in store.keys() {
                touch(&store.get(key.unwrap()).unwrap().unwrap());
            }
        });
    });
    group.finish();
}

/// Puts of new keys into a store that starts empty.
fn put(c: &mut Criterion, name: &str, durability: Durability, fixture: &Fixture) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes((KEY_LEN + fixture.size.value) as u64));
    group.bench_function(BenchmarkId::from_parameter(fixture.size), |b| {
        let options = Options::new().durability(durability);
        let most = PUT_BYTES / (KEY_LEN + fixture.size.value);
        let per_store = fixture.size.keys.min(most) as u64;
        b.iter_custom(|puts| {
            let mut left = puts;
            let mut elapsed = Duration::ZERO;
            while left > 0 {
                let dir = fresh_dir();
                let store = options.open(dir.path()).unwrap();
                let batch = left.min(per_store);
                let start = Instant::now();
                for key in fixture.keys.iter().take(batch as usize) {
                    store.put(key, &fixture.value).unwrap();
                }
                elapsed += start.elapsed();
                left -= batch;
            }
            elapsed
        });
    });
    group.finish();
}

fn open(c: &mut Criterion, fixture: &Fixture) {
    let mut group = c.benchmark_group("open");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(fixture.size.keys as u64));
    group.bench_function(BenchmarkId::from_parameter(fixture.size), |b| {
        let dir = fresh_dir();
        let store = buffered().open(dir.path()).unwrap();
        fixture.fill(&store);
        store.close().unwrap();
        b.iter_custom(|times| {
            let one = |_| {
                let start = Instant::now();
                let store = black_box(Store::open(dir.path()).unwrap());
                let elapsed = start.elapsed();
                assert_eq!(store.len(), fixture.size.keys);
                elapsed
            };
            (0..times).map(one).sum()
        });
    });
    group.finish();
}

/// Of a store in which every second key has been put twice.
fn compact(c: &mut Criterion, fixture: &Fixture) {
    let mut group = c.benchmark_group("compact");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(1));
    group.throughput(Throughput::Bytes(fixture.size.bytes()));
    group.bench_function(BenchmarkId::from_parameter(fixture.size), |b| {
        let dir = fresh_dir();
        let store = buffered().open(dir.path()).unwrap();
        fixture.fill(&store);
        b.iter_custom(|times| {
            let one = |_| {
                for key in fixture.keys.iter().step_by(2) {
                    store.put(key, &fixture.value).unwrap();
                }
                store.sync().unwrap();
                let start = Instant::now();
                let report = store.compact().unwrap();
                let elapsed = start.elapsed();
                black_box(report);
                elapsed
            };
            (0..times).map(one).sum()
        });
    });
    group.finish();
}
