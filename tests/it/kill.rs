//! kill -9 of a process that writes, again and again, at every level of durability: all that was acknowledged
//! is there afterwards, and no batch in parts.
//!
//! The test starts itself as the child, in which threads do numbered operations, each on keys of its own, and report
//! each on its standard output once it is acknowledged, beside a compactor and a reader. The parent
//! kills it in the middle.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use zerocask::{Batch, Durability, Options, Store};

use crate::support::options;

const DIR: &str = "ZEROCASK_TEST_KILL_DIR";
const STARTS: &str = "ZEROCASK_TEST_KILL_STARTS";
/// Of each level.
const ROUNDS: u64 = 50;
const WRITERS: usize = 2;
const KEYS: u64 = 20;

type Model = BTreeMap<String, String>;

/// How a writer gets on: what it may have done, and what it has.
struct Writer {
    model: Model,
    /// The first operation that is not in the model.
    next: u64,
    acknowledged: u64,
}

/// How far a write gets, and after how many an acknowledgement comes.
fn level(test: &str) -> (Durability, u64) {
    match test.rsplit("_under_").next() {
        Some("buffered") => (Durability::Buffered, 10),
        Some("flushed") => (Durability::Flushed, 1),
        Some("interval") => (Durability::Interval(Duration::from_millis(1)), 1),
        Some("synced") => (Durability::Synced, 1),
        other => panic!("no level: {other:?}"),
    }
}

fn options_for(test: &str) -> Options {
    options().segment_size(20_000).durability(level(test).0)
}

/// The keys that an operation of this number writes, each with its value or to be deleted. Some are batches.
fn operation(writer: usize, n: u64) -> Vec<(String, Option<String>)> {
    let key = |n: u64| format!("{writer} {}", n % KEYS);
    let value = || format!("value {n} ").repeat(1 + n as usize % 30);
    match n % 7 {
        0 => vec![(key(n * 31), None)],
        1 | 2 => {
            let whole = (0..4).map(|i| (key(n * 31 + i), Some(value())));
            whole.chain([(key(n * 31 + 9), None)]).collect()
        }
        _ => vec![(key(n * 31), Some(value()))],
    }
}

fn write(store: &Store, operation: &[(String, Option<String>)]) {
    match operation {
        [(key, Some(value))] => store.put(key, value).unwrap(),
        [(key, None)] => drop(store.delete(key).unwrap()),
        writes => {
            let mut batch = Batch::new();
            for (key, value) in writes {
                match value {
                    Some(value) => batch.put(key, value),
                    None => batch.delete(key),
                };
            }
            store.write(&batch).unwrap();
        }
    }
}

fn child(test: &str, dir: &Path) -> ! {
    let store = options_for(test).open(dir).unwrap();
    let starts = std::env::var(STARTS).unwrap();
    for (writer, start) in starts.split(' ').enumerate() {
        let (store, start, every) = (store.clone(), start.parse::<u64>().unwrap(), level(test).1);
        thread::spawn(move || {
            for n in start.. {
                write(&store, &operation(writer, n));
                if n % every == 0 {
                    if every > 1 {
                        store.flush().unwrap();
                    }
                    println!("done {writer} {n}");
                }
            }
        });
    }
    let reader = store.clone();
    thread::spawn(move || {
        loop {
            for n in 0..KEYS {
                let value = reader.get(format!("0 {n}")).unwrap();
                assert!(value.is_none_or(|value| value.starts_with(b"value ")));
            }
        }
    });
    loop {
        store.compact().unwrap();
    }
}

fn kill_again_and_again(test: &str) {
    if let Some(dir) = std::env::var_os(DIR) {
        child(test, Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let start = |_| Writer { model: Model::new(), next: 1, acknowledged: 0 };
    let mut writers: [Writer; WRITERS] = std::array::from_fn(start);
    for round in 0..ROUNDS {
        let starts = writers.each_ref().map(|writer| writer.next.to_string());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(DIR, dir.path())
            .env(STARTS, starts.join(" "))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut see = |line: std::io::Result<String>| {
            let line = line.unwrap();
            if let Some((writer, n)) = line.strip_prefix("done ").and_then(|s| s.split_once(' ')) {
                writers[writer.parse::<usize>().unwrap()].acknowledged = n.parse().unwrap();
            }
        };
        // Somewhere before the 104th.
        lines.by_ref().take(4 + (round * 37 % 100) as usize).for_each(&mut see);
        child.kill().unwrap();
        lines.for_each(&mut see);
        child.wait().unwrap();

        let store = options_for(test).open(dir.path()).unwrap();
        assert!(store.recovery_report().damage.is_empty());
        let found = contents(&store);
        for (number, writer) in writers.iter_mut().enumerate() {
            let prefix = format!("{number} ");
            let of_writer = found.iter().filter(|(key, _)| key.starts_with(&prefix));
            let of_writer = of_writer.map(|(key, value)| (key.clone(), value.clone())).collect();
            writer.catch_up(number, &of_writer, round);
        }
        store.close().unwrap();
    }
    let done: Vec<_> = writers.iter().map(|writer| writer.next - 1).collect();
    assert!(done.iter().all(|&n| n > ROUNDS), "every writer gets on: {done:?}");
}

impl Writer {
    /// The model becomes what was found: its state after some operation, no earlier than the last
    /// acknowledged one.
    fn catch_up(&mut self, number: usize, found: &Model, round: u64) {
        let limit = self.acknowledged.max(self.next) + 100_000;
        while self.next <= self.acknowledged || self.model != *found {
            let Writer { acknowledged, next, .. } = *self;
            assert!(next < limit, "round {round}, writer {number}: not as after {acknowledged}");
            for (key, value) in operation(number, next) {
                match value {
                    Some(value) => drop(self.model.insert(key, value)),
                    None => drop(self.model.remove(&key)),
                }
            }
            self.next += 1;
        }
    }
}

fn contents(store: &Store) -> Model {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let pair = |key: zerocask::Value| (text(&key), text(&store.get(&key).unwrap().unwrap()));
    store.keys().map(|key| pair(key.unwrap())).collect()
}

#[test]
fn what_was_flushed_outlives_kill_9_under_buffered() {
    kill_again_and_again("kill::what_was_flushed_outlives_kill_9_under_buffered");
}

#[test]
fn what_returned_outlives_kill_9_under_flushed() {
    kill_again_and_again("kill::what_returned_outlives_kill_9_under_flushed");
}

#[test]
fn what_returned_outlives_kill_9_under_interval() {
    kill_again_and_again("kill::what_returned_outlives_kill_9_under_interval");
}

#[test]
fn what_returned_outlives_kill_9_under_synced() {
    kill_again_and_again("kill::what_returned_outlives_kill_9_under_synced");
}
