//! Openings: of a store that was closed, to the first get, at two sizes; and of one whose process died, by what is left
//! of the files that make it quick.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;
use zerocask::Store;

use crate::common::{Flat, KEY_LEN, Random, buffered, fresh_dir, touch};
use crate::median;

const VALUE_LEN: usize = 150;

pub(crate) struct Plan {
    /// Keys of the small store, and of the large one.
    pub(crate) keys: [usize; 2],
    /// Bytes of the log that is not sealed when the process dies.
    pub(crate) tail: u64,
    pub(crate) rounds: usize,
}

/// What is left beside the segments.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    All,
    Hints,
    Nothing,
}

impl Left {
    fn has(self, name: &str) -> bool {
        match self {
            Left::All => true,
            Left::Hints => name != "KEYDIR",
            Left::Nothing => name != "KEYDIR" && !name.ends_with(".hint"),
        }
    }
}

fn keys(count: usize) -> Flat {
    Flat::random(1, count, KEY_LEN)
}

/// Dies with a log that is not sealed.
pub(crate) fn child(dir: &Path, count: usize, tail: u64) {
    let (keys, mut random) = (keys(count), Random(7));
    let store = buffered().open(dir).unwrap();
    let value = [7; VALUE_LEN];
    let before = store.stats().bytes;
    while store.stats().bytes < before + tail {
        for _ in 0..1000 {
            store.put(keys.get((random.next() % count as u64) as u32), value).unwrap();
        }
    }
    store.flush().unwrap();
    std::process::abort();
}

/// A closed store.
fn make(count: usize) -> TempDir {
    let (dir, keys) = (fresh_dir(), keys(count));
    let store = buffered().open(dir.path()).unwrap();
    let mut value = [0; VALUE_LEN];
    let mut random = Random(3);
    for key in keys.iter() {
        random.fill(&mut value);
        store.put(key, value).unwrap();
    }
    store.close().unwrap();
    dir
}

/// The same store once more: sealed files never change, so a second name will do.
fn again(base: &Path, left: Left) -> TempDir {
    let dir = tempfile::Builder::new().prefix("again-").tempdir_in(base.parent().unwrap()).unwrap();
    for entry in fs::read_dir(base).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name != "LOCK" && left.has(&name) {
            fs::hard_link(entry.path(), dir.path().join(name)).unwrap();
        }
    }
    dir
}

/// Nanoseconds from the call of open to the first value.
fn open(dir: &Path, key: &[u8]) -> (f64, Store) {
    let start = Instant::now();
    let store = buffered().open(dir).unwrap();
    touch(&store.get(key).unwrap().unwrap());
    (start.elapsed().as_nanos() as f64, store)
}

pub(crate) fn compare(plan: &Plan) {
    println!("\n## Opening\n");
    let [few, many] = plan.keys;
    let (small, large) = (make(few), make(many));
    let (of_small, of_large) = (keys(few), keys(many));
    let mut random = Random(5);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..plan.rounds * 4 {
        for (n, (dir, keys)) in [(&small, &of_small), (&large, &of_large)].iter().enumerate() {
            let key = keys.get((random.next() % keys.count() as u64) as u32);
            let (time, store) = open(dir.path(), key);
            assert!(store.recovery_report().checkpoint);
            store.close().unwrap();
            times[n].push(time);
        }
    }
    let ratios: Vec<_> = times[0].iter().zip(&times[1]).map(|(few, many)| many / few).collect();
    println!("| closed, to the first get | median, µs | range |\n|---|---:|---:|");
    for (keys, times) in plan.keys.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let (least, most) = (times[0], times[times.len() - 1]);
        println!(
            "| {keys} keys | {:.0} | {:.0} to {:.0} |",
            median(times.iter().copied()) / 1e3,
            least / 1e3,
            most / 1e3
        );
    }
    println!("\nRatio of the two, median: {:.2}.\n", median(ratios.iter().copied()));

    let killed = Command::new(std::env::current_exe().unwrap())
        .args(["--openings-child", large.path().to_str().unwrap()])
        .args([many.to_string(), plan.tail.to_string()])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!killed.success(), "it dies");
    let lefts = [Left::All, Left::Hints, Left::Nothing];
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..plan.rounds {
        for (times, left) in times.iter_mut().zip(lefts) {
            let dir = again(large.path(), left);
            let key = of_large.get((random.next() % many as u64) as u32);
            let (time, store) = open(dir.path(), key);
            let report = store.recovery_report();
            assert!(report.unclean && report.checkpoint == (left == Left::All));
            assert_eq!(report.hints > 0, left == Left::Hints);
            assert_eq!(store.len(), many);
            times.push(time);
        }
    }
    println!(
        "| after kill -9, {} MiB not sealed | median, ms | ns for each key | of a scan |",
        plan.tail >> 20
    );
    println!("|---|---:|---:|---:|");
    let names = ["by the checkpoint", "by hints", "by reading all of it"];
    for (name, times_of) in names.iter().zip(&times) {
        let ratios: Vec<_> =
            times_of.iter().zip(&times[2]).map(|(time, scan)| time / scan).collect();
        let time = median(times_of.iter().copied());
        let of_key = time / many as f64;
        println!(
            "| {name} | {:.0} | {of_key:.0} | {:.2} |",
            time / 1e6,
            median(ratios.iter().copied())
        );
    }
}
