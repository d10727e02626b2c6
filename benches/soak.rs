//! A store under load for a while: `cargo bench --bench soak [-- --seconds 600 --keys 2000000]`.
//!
//! A process overwrites and deletes keys by Zipf's law as fast as it can, while the store compacts by itself. Another looks at the files and at the first
//! one's memory every half second. In the middle the first is killed by SIGKILL; then another goes on from what is there,
//! and closes. Both times every key and value is compared with what the writes, which are the same in every run, make of them.

#![allow(clippy::unwrap_used, clippy::panic)] // A bench that fails has to stop.

#[path = "common/mod.rs"]
mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use common::Random;
use zerocask::{Options, Store};

const VALUE_LEN: usize = 150;
/// Of so many writes one deletes.
const DELETES: u64 = 10;
/// YCSB's.
const THETA: f64 = 0.99;
const SEGMENT_SIZE: u64 = 32 << 20;
/// The child says after so many writes how far it is; so many may be there that it has not spoken of.
const TOLD_AFTER: u64 = 1000;
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The writes, one after the other: the same in every run. The first ones put each key once.
struct Writes {
    keys: u64,
    random: Random,
    zeta: f64,
    next: u64,
}

struct OneWrite {
    number: u64,
    key: u64,
    deletes: bool,
}

impl Writes {
    fn new(keys: u64) -> Self {
        let zeta = (1..=keys).map(|rank| (rank as f64).powf(-THETA)).sum();
        Writes { keys, random: Random(11), zeta, next: 0 }
    }

    /// After Gray and others, "Quickly generating billion-record synthetic databases" (1994), as YCSB does.
    fn rank(&mut self) -> u64 {
        let uniform = (self.random.next() >> 11) as f64 / (1u64 << 53) as f64;
        let (n, zeta2) = (self.keys as f64, 1.0 + 0.5f64.powf(THETA));
        let eta = (1.0 - (2.0 / n).powf(1.0 - THETA)) / (1.0 - zeta2 / self.zeta);
        match uniform * self.zeta {
            z if z < 1.0 => 0,
            z if z < zeta2 => 1,
            _ => ((n * (eta * uniform - eta + 1.0).powf(1.0 / (1.0 - THETA))) as u64)
                .min(self.keys - 1),
        }
    }

    fn next(&mut self) -> OneWrite {
        self.next += 1;
        let number = self.next;
        if number <= self.keys {
            return OneWrite { number, key: number - 1, deletes: false };
        }
        // Ranks that are near each other are far apart in the log.
        let key = self.rank().wrapping_mul(0x9E37_79B9_7F4A_7C15) % self.keys;
        OneWrite { number, key, deletes: self.random.next().is_multiple_of(DELETES) }
    }
}

fn key(number: u64) -> [u8; 24] {
    let mut key = *b"key 00000000000000000000";
    key[4..12].copy_from_slice(&number.to_be_bytes());
    key
}

/// What a write puts: its number, and what follows from it.
fn value(number: u64) -> [u8; VALUE_LEN] {
    let mut value = [0; VALUE_LEN];
    Random(number).fill(&mut value[8..]);
    value[..8].copy_from_slice(&number.to_be_bytes());
    value
}

fn options() -> Options {
    Options::new().segment_size(SEGMENT_SIZE)
}

/// Writes from a number on, until its input ends; then closes.
fn child(dir: &Path, keys: u64, from: u64) {
    let store = options().open(dir).unwrap();
    let mut writes = Writes::new(keys);
    while writes.next < from {
        writes.next();
    }
    let ended = std::thread::spawn(|| std::io::stdin().lock().read_line(&mut String::new()));
    let mut out = std::io::stdout().lock();
    while !ended.is_finished() {
        for _ in 0..TOLD_AFTER {
            let write = writes.next();
            match write.deletes {
                true => drop(store.delete(key(write.key)).unwrap()),
                false => store.put(key(write.key), value(write.number)).unwrap(),
            }
        }
        let stats = (writes.next / TOLD_AFTER).is_multiple_of(50).then(|| store.stats());
        let live = stats.map_or(0, |stats| stats.bytes - stats.dead_bytes);
        writeln!(out, "{} {live}", writes.next).unwrap();
    }
    let stats = store.stats();
    store.close().unwrap();
    let (written, copied) = (stats.written_bytes, stats.compaction.bytes_written);
    writeln!(out, "end {} {written} {copied}", writes.next).unwrap();
    writeln!(out, "{stats}").unwrap();
}

/// The values' writes by key, 0 where there is none, after each value has been looked at.
fn found(store: &Store, keys: u64) -> Vec<u64> {
    let mut found = vec![0; keys as usize];
    let mut iter = store.iter();
    while let Some(pair) = iter.next_slices() {
        let (of, bytes) = pair.unwrap();
        let number = u64::from_be_bytes(bytes[..8].try_into().unwrap());
        assert_eq!(bytes, value(number), "the value of {of:?}");
        let index = u64::from_be_bytes(of[4..12].try_into().unwrap());
        assert_eq!(of, key(index));
        assert_eq!(std::mem::replace(&mut found[index as usize], number), 0, "once");
    }
    found
}

/// After which write the store stands: one from `told` on. Every key is as that has left it.
fn check(dir: &Path, keys: u64, told: u64) -> u64 {
    let start = Instant::now();
    let store = options().open(dir).unwrap();
    let opened = start.elapsed();
    let found = found(&store, keys);
    let report = store.recovery_report();
    println!(
        "- opened in {:.0} ms ({}), {} keys, all of them right",
        opened.as_secs_f64() * 1e3,
        match (report.unclean, report.checkpoint) {
            (_, true) => "by the checkpoint".to_owned(),
            (_, false) => format!("{} of {} segments by hints", report.hints, report.segments),
        },
        store.len(),
    );
    let (mut writes, mut expected) = (Writes::new(keys), vec![0; keys as usize]);
    let mut wrong = found.iter().filter(|number| **number != 0).count();
    loop {
        if writes.next >= told && wrong == 0 {
            store.close().unwrap();
            return writes.next;
        }
        assert!(writes.next < told + 2 * TOLD_AFTER, "{wrong} keys are not as any write left them");
        let write = writes.next();
        let (now, is) = (&mut expected[write.key as usize], found[write.key as usize]);
        wrong -= usize::from(*now != is);
        *now = if write.deletes { 0 } else { write.number };
        wrong += usize::from(*now != is);
    }
}

/// What was seen, each time that it was looked.
#[derive(Default)]
struct Seen {
    /// Bytes of all files for each that is live.
    space: Vec<f64>,
    /// Of data files alone.
    data: Vec<f64>,
    anonymous: Vec<u64>,
}

fn start(dir: &Path, keys: u64, from: u64) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--soak-child", dir.to_str().unwrap(), &keys.to_string(), &from.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// Looks at the child for a while; answers how far it has said that it is.
fn watch(
    dir: &Path,
    keys: u64,
    (child, out): &mut (Child, BufReader<ChildStdout>),
    time: Duration,
    seen: &mut Seen,
) -> u64 {
    let (began, mut looked, mut line) = (Instant::now(), Instant::now(), String::new());
    loop {
        line.clear();
        out.read_line(&mut line).unwrap();
        let mut words = line.split_whitespace().map(|word| word.parse::<u64>().unwrap());
        let (number, live) = (words.next().unwrap(), words.next().unwrap());
        // While keys are put for the first time there is nothing to compact.
        if live > 0 && number > 2 * keys && looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            let (all, data) = lengths(dir);
            seen.space.push(all as f64 / live as f64);
            seen.data.push(data as f64 / live as f64);
            seen.anonymous.push(anonymous(child.id()));
        }
        if began.elapsed() >= time {
            return number;
        }
    }
}

/// Of all files, and of data files. Some may go meanwhile.
fn lengths(dir: &Path) -> (u64, u64) {
    let (mut all, mut data) = (0, 0);
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let len = entry.metadata().map_or(0, |found| found.len());
        all += len;
        if entry.file_name().to_string_lossy().contains(".data") {
            data += len;
        }
    }
    (all, data)
}

/// Bytes of anonymous memory of a process.
fn anonymous(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [child_of, dir, keys, from] = &args[..]
        && child_of == "--soak-child"
    {
        return child(Path::new(dir), keys.parse().unwrap(), from.parse().unwrap());
    }
    let number = |name: &str, default: u64| {
        let at = args.iter().position(|arg| arg == name);
        at.map_or(default, |at| args[at + 1].parse().unwrap())
    };
    let (seconds, keys) = match common::is_measuring() {
        true => (number("--seconds", 600), number("--keys", 2_000_000)),
        false => (2, 5000),
    };
    let half = Duration::from_secs(seconds) / 2;
    println!("## Soak: {keys} keys, {seconds} s\n");
    let (dir, mut seen) = (common::fresh_dir(), Seen::default());
    let dir = dir.path();
    let mut first = start(dir, keys, 0);
    let told = watch(dir, keys, &mut first, half, &mut seen);
    first.0.kill().unwrap();
    // What it had said before it died.
    let rest = first.1.lines().map_while(Result::ok);
    let spoken = rest.filter_map(|line| line.split(' ').next()?.parse().ok());
    let told = spoken.fold(told, u64::max);
    first.0.wait().unwrap();
    println!("- killed after {told} writes");
    let from = check(dir, keys, told);

    let mut second = start(dir, keys, from);
    watch(dir, keys, &mut second, half, &mut seen);
    drop(second.0.stdin.take());
    let last: Vec<_> = second.1.lines().map_while(Result::ok).collect();
    assert!(second.0.wait().unwrap().success());
    let end = last.iter().find_map(|line| line.strip_prefix("end ")).unwrap();
    let numbers: Vec<u64> = end.split(' ').map(|number| number.parse().unwrap()).collect();
    let [told, written, copied] = numbers[..] else { panic!("{end}") };
    let (written, copied) = (written as f64, copied as f64);
    println!("- closed after {told} writes");
    assert_eq!(check(dir, keys, told), told);

    println!("- write amplification {:.2}", (written + copied) / written);
    for (what, seen) in [("all files", &seen.space), ("data files", &seen.data)] {
        let most = seen.iter().copied().fold(0.0, f64::max);
        let mean = seen.iter().sum::<f64>() / seen.len().max(1) as f64;
        println!("- bytes of {what} for each that is live: {mean:.2}, at most {most:.2}");
    }
    let mib: Vec<_> = seen.anonymous.iter().map(|bytes| bytes >> 20).collect();
    let (early, late) = mib.split_at(mib.len() / 2);
    let most = |of: &[u64]| of.iter().copied().max().unwrap_or_default();
    println!(
        "- MiB of anonymous memory, at most: {} before the kill, {} after it",
        most(early),
        most(late)
    );
    println!("\nWhat the last process had to say:\n\n```");
    let table = last.iter().skip_while(|line| !line.starts_with("end")).skip(1);
    table.take(26).for_each(|line| println!("{line}"));
    println!("```");
}
