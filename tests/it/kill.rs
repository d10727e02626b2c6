//! kill -9 of a process that writes, again and again: everything flushed is there afterwards.
//!
//! The test starts itself as the child, which does numbered operations and reports each on its
//! standard output once it is acknowledged. The parent kills it in the middle.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use zerocask::{Durability, Options, Store};

use crate::support::options;

const DIR: &str = "ZEROCASK_TEST_KILL_DIR";
const START: &str = "ZEROCASK_TEST_KILL_START";
const FLUSH_EVERY: &str = "ZEROCASK_TEST_KILL_FLUSH_EVERY";
const ROUNDS: u64 = 40;

fn options_for(flush_every: u64) -> Options {
    let durability = if flush_every == 1 { Durability::Flushed } else { Durability::Buffered };
    options().segment_size(20_000).durability(durability)
}

/// What the operation of this number does: a put of a value, or a deletion.
fn operation(n: u64) -> (String, Option<String>) {
    let key = format!("key {}", n * 2_654_435_761 % 41);
    let value = (!n.is_multiple_of(6)).then(|| format!("value {n} ").repeat(1 + n as usize % 30));
    (key, value)
}

fn child(dir: &Path) -> ! {
    let number = |name| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let flush_every = number(FLUSH_EVERY);
    let store = options_for(flush_every).open(dir).unwrap();
    let compactor = store.clone();
    std::thread::spawn(move || {
        loop {
            compactor.compact().unwrap();
        }
    });
    let mut acknowledged = std::io::stdout();
    for n in number(START).. {
        match operation(n) {
            (key, Some(value)) => store.put(key, value).unwrap(),
            (key, None) => drop(store.delete(key).unwrap()),
        }
        if n % flush_every == 0 {
            store.flush().unwrap();
            writeln!(acknowledged, "done {n}").unwrap();
        }
    }
    unreachable!("the numbers do not end")
}

fn kill_again_and_again(test: &str, flush_every: u64) {
    if let Some(dir) = std::env::var_os(DIR) {
        child(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut model = BTreeMap::new();
    let mut next = 1;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(DIR, dir.path())
            .env(START, next.to_string())
            .env(FLUSH_EVERY, flush_every.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = next - 1;
        let mut see = |line: std::io::Result<String>| {
            if let Some(n) = line.unwrap().strip_prefix("done ") {
                acknowledged = n.parse().unwrap();
            }
        };
        // Somewhere before the 104th.
        lines.by_ref().take(4 + (round * 37 % 100) as usize).for_each(&mut see);
        child.kill().unwrap();
        lines.for_each(&mut see);
        child.wait().unwrap();
        assert!(acknowledged >= next, "the child did something");

        let store = options_for(flush_every).open(dir.path()).unwrap();
        assert!(store.recovery_report().damage.is_empty());
        let found = contents(&store);
        // One of the states from the last acknowledged operation on.
        while next <= acknowledged {
            apply(&mut model, next);
            next += 1;
        }
        let limit = next + 100_000;
        while model != found {
            assert!(next < limit, "round {round}: acknowledged up to {acknowledged}, not there");
            apply(&mut model, next);
            next += 1;
        }
        store.close().unwrap();
    }
}

fn apply(model: &mut BTreeMap<String, String>, n: u64) {
    match operation(n) {
        (key, Some(value)) => drop(model.insert(key, value)),
        (key, None) => drop(model.remove(&key)),
    }
}

fn contents(store: &Store) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let pair = |key: zerocask::Value| (text(&key), text(&store.get(&key).unwrap().unwrap()));
    store.keys().map(|key| pair(key.unwrap())).collect()
}

#[test]
fn after_kill_9_every_put_that_returned_is_there() {
    kill_again_and_again("kill::after_kill_9_every_put_that_returned_is_there", 1);
}

#[test]
fn after_kill_9_everything_flushed_is_there_in_order() {
    kill_again_and_again("kill::after_kill_9_everything_flushed_is_there_in_order", 10);
}
