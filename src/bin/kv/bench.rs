//! `kv bench`: how fast this machine puts and gets, in a store of its own that goes again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use zerocask::{Durability, Options, Reader, Store};

use crate::answer::{Answer, Outcome, Shape};
use crate::failure::{Failure, Result};
use crate::opening::on_store;

/// As in the project's other benchmarks.
const KEY_LEN: usize = 24;

/// Between two looks at the clock.
const GETS_AT_A_TIME: usize = 1000;

/// How much is done.
pub(crate) struct Load {
    pub(crate) records: u32,
    pub(crate) value_bytes: usize,
    /// For all gets together.
    pub(crate) time: Duration,
}

/// Below `parent`, or where temporary files are.
pub(crate) fn bench(shape: Shape, parent: Option<&Path>, load: &Load) -> Result<Outcome> {
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
    let dir = temporary(&parent).map_err(Failure::write(&parent))?;
    let options = Options::new().durability(Durability::Buffered);
    let (put, get, read) = on_store(dir.path(), &options, |store| {
        let put = put(store, load)?;
        let get = timed(load, |key, expected| {
            let value = store.get(key)?;
            check(value.as_deref(), expected)
        })?;
        let reader: Reader = store.reader();
        let read = timed(load, |key, expected| check(reader.get(key)?, expected))?;
        Ok((put, get, read))
    })?;
    dir.close().map_err(Failure::write(&parent))?;

    let phases = [("put", put), ("get", get), ("reader_get", read)];
    let mut answer = Answer::default();
    answer.add("records", load.records);
    answer.add("key_bytes", KEY_LEN);
    answer.add("value_bytes", load.value_bytes);
    for (name, phase) in &phases {
        let (rate, ns) = (phase.rate().round(), phase.ns().round());
        answer.add(name, json!({ "ops": phase.ops, "ops_per_s": rate, "ns": ns }));
    }
    answer.print_or(shape, |out| {
        let (records, len) = (load.records, load.value_bytes);
        writeln!(out, "{records} records of {KEY_LEN} + {len} bytes, one thread, random order")?;
        phases.iter().try_for_each(|(name, phase)| {
            let (rate, ns) = (phase.rate(), phase.ns());
            writeln!(out, "{name:10} {rate:>12.0} ops/s {ns:>10.1} ns")
        })
    })?;
    Ok(Outcome::Done)
}

fn temporary(parent: &PathBuf) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("kv-bench-").tempdir_in(parent)
}

/// So many operations in a time.
struct Phase {
    ops: u64,
    time: Duration,
}

impl Phase {
    fn rate(&self) -> f64 {
        self.ops as f64 / self.time.as_secs_f64().max(f64::EPSILON)
    }

    fn ns(&self) -> f64 {
        self.time.as_nanos() as f64 / self.ops.max(1) as f64
    }
}

/// Puts all records, in an order that is none of their keys', and makes them durable.
fn put(store: &Store, load: &Load) -> Result<Phase> {
    let mut value = vec![b'v'; load.value_bytes];
    let start = Instant::now();
    for n in 0..load.records {
        mark(&mut value, n);
        store.put(key(n), &value)?;
    }
    store.sync()?;
    Ok(Phase { ops: load.records.into(), time: start.elapsed() })
}

/// Gets random records for half of the time.
fn timed(load: &Load, get: impl Fn([u8; KEY_LEN], &[u8]) -> Result<()>) -> Result<Phase> {
    let mut expected = vec![b'v'; load.value_bytes.min(MARK_LEN)];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let (start, mut ops) = (Instant::now(), 0);
    while start.elapsed() < load.time / 2 {
        for _ in 0..GETS_AT_A_TIME {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let n = ((state >> 32) * u64::from(load.records)) >> 32;
            let n = u32::try_from(n).unwrap_or_default();
            mark(&mut expected, n);
            get(key(n), &expected)?;
        }
        ops += GETS_AT_A_TIME as u64;
    }
    Ok(Phase { ops, time: start.elapsed() })
}

const MARK_LEN: usize = 4;

/// Values begin with their number, as far as it fits.
fn mark(value: &mut [u8], n: u32) {
    value.iter_mut().zip(n.to_le_bytes()).for_each(|(byte, of_n)| *byte = of_n);
}

fn check(value: Option<&[u8]>, expected: &[u8]) -> Result<()> {
    match value.is_some_and(|value| value.starts_with(expected)) {
        true => Ok(()),
        false => Err(Failure::Mismatch),
    }
}

/// A key of its own for each number, far from the next number's.
fn key(n: u32) -> [u8; KEY_LEN] {
    let mut key = [b'k'; KEY_LEN];
    let spread = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    key[..8].copy_from_slice(&spread.to_be_bytes());
    key
}
