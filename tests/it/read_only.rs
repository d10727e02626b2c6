//! Read-only stores beside a writer in another process, and where nothing can be written.
//!
//! The tests start themselves as the other process. `src/tests/following.rs` tries every step of the
//! same on a simulated disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use zerocask::{Error, Options, Store};

use crate::support::{self, open, options};

const DIR: &str = "ZEROCASK_TEST_READ_ONLY_DIR";
const KEYS: u64 = 37;

fn writing() -> Options {
    options().segment_size(20_000)
}

fn reading() -> Options {
    writing().read_only(true)
}

/// What the write of this number does: its key, and its value or a deletion.
fn operation(n: u64) -> (String, Option<String>) {
    let value = (!n.is_multiple_of(7)).then(|| format!("{n} ").repeat(1 + n as usize % 50));
    (format!("key {}", n * 2_654_435_761 % KEYS), value)
}

fn write(store: &Store, n: u64) {
    match operation(n) {
        (key, Some(value)) => store.put(key, value).unwrap(),
        (key, None) => drop(store.delete(key).unwrap()),
    }
}

/// A process that does what this test does where the directory is set.
fn start(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([&format!("read_only::{test}"), "--exact", "--nocapture"])
        .env(DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Writes without end beside a compactor; now and then opens the store anew.
fn write_for_ever(dir: &Path) -> ! {
    let mut told = std::io::stdout();
    let mut n = 0;
    loop {
        let store = writing().open(dir).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    store.compact().unwrap();
                }
            });
            for _ in 0..3000 {
                n += 1;
                write(&store, n);
                writeln!(told, "done {n}").unwrap();
            }
            over.store(true, Ordering::Relaxed);
        });
        store.close().unwrap();
    }
}

/// The number of the write that a value came from.
fn number(value: &[u8]) -> u64 {
    let text = std::str::from_utf8(value).unwrap();
    let n = text.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(operation(n).1.as_deref(), Some(text), "torn or foreign");
    n
}

fn done(line: std::io::Result<String>) -> Option<u64> {
    line.unwrap().strip_prefix("done ")?.parse().ok()
}

fn contents(store: &Store) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let pair = |key: zerocask::Value| (text(&key), text(&store.get(&key).unwrap().unwrap()));
    store.keys().map(|key| pair(key.unwrap())).collect()
}

/// What the writes up to a number make, as far as it has come.
#[derive(Default)]
struct Model {
    contents: BTreeMap<String, String>,
    writes: u64,
}

impl Model {
    fn go_on(&mut self) {
        self.writes += 1;
        match operation(self.writes) {
            (key, Some(value)) => drop(self.contents.insert(key, value)),
            (key, None) => drop(self.contents.remove(&key)),
        }
    }

    /// Goes on until it is this, at least as far as `least`. There is no way back.
    fn become_this(&mut self, contents: &BTreeMap<String, String>, least: u64) {
        let limit = self.writes.max(least) + 100_000;
        while self.writes < least || self.contents != *contents {
            assert!(self.writes < limit, "no state from {least} on is {contents:?}");
            self.go_on();
        }
    }
}

#[test]
fn a_store_beside_a_process_that_writes_shows_what_it_has_done_and_never_goes_back() {
    const TEST: &str =
        "a_store_beside_a_process_that_writes_shows_what_it_has_done_and_never_goes_back";
    if let Some(dir) = std::env::var_os(DIR) {
        write_for_ever(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = start(TEST, dir.path());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = lines.filter_map(done);
    told.by_ref().take(100).for_each(drop);
    let store = reading().open(dir.path()).unwrap();
    let (mut model, mut gone, mut least) = (Model::default(), 0, 0);
    for _ in 0..150 {
        least = told.by_ref().take(100).last().unwrap();
        let refreshed = store.refresh().unwrap();
        assert!(refreshed.damage.is_empty());
        gone += refreshed.segments_gone;
        let found = contents(&store);
        model.become_this(&found, least);
        let reader = store.reader();
        for (key, value) in &found {
            assert_eq!(reader.get(key).unwrap(), Some(value.as_bytes()));
        }
    }
    assert!(gone > 100, "{gone} segments gone: compactions came between");
    child.kill().unwrap();
    child.wait().unwrap();

    // When the writer is dead, what is there is what the next one finds.
    store.refresh().unwrap();
    let found = contents(&store);
    model.become_this(&found, told.last().unwrap_or(least));
    assert_eq!(contents(&writing().open(dir.path()).unwrap()), found);
    assert_eq!(contents(&reading().open(dir.path()).unwrap()), found);
    store.refresh().unwrap();
    assert_eq!(contents(&store), found);
}

/// One line to the other process, one line back.
fn ask(
    stdin: &mut ChildStdin,
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
    key: &str,
) -> String {
    writeln!(stdin, "{key}").unwrap();
    let mut answers = lines.map(Result::unwrap);
    answers.find_map(|line| line.strip_prefix("answer ").map(str::to_owned)).unwrap()
}

#[test]
fn a_process_that_reads_does_not_stand_in_the_way_of_one_that_writes() {
    const TEST: &str = "a_process_that_reads_does_not_stand_in_the_way_of_one_that_writes";
    if let Some(dir) = std::env::var_os(DIR) {
        let store = reading().open(dir).unwrap();
        for key in std::io::stdin().lines() {
            store.refresh().unwrap();
            let value = store.get(key.unwrap()).unwrap();
            let text = value.map_or("none".into(), |v| String::from_utf8(v.to_vec()).unwrap());
            println!("answer {text}");
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap().put("key", "first").unwrap();
    let mut child = start(TEST, dir.path());
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(ask(&mut stdin, &mut lines, "key"), "first");
    // It is open elsewhere, and yet free to be opened, written to and compacted.
    for round in 0..3 {
        let store = writing().open(dir.path()).unwrap();
        store.put("key", round.to_string()).unwrap();
        assert_eq!(ask(&mut stdin, &mut lines, "key"), round.to_string());
        (0..100).for_each(|n| store.put(format!("{n}"), vec![round; 1000]).unwrap());
        store.compact().unwrap();
        assert_eq!(ask(&mut stdin, &mut lines, "key"), round.to_string());
        assert!(store.delete("key").unwrap());
        assert_eq!(ask(&mut stdin, &mut lines, "key"), "none");
        store.close().unwrap();
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

/// A store with something sealed and an unclean end, without the lock file.
fn left_by_a_crash(dir: &Path) {
    let made = tempfile::tempdir().unwrap();
    let store = open(made.path()).unwrap();
    store.put("sealed", "value").unwrap();
    store.close().unwrap();
    let store = open(made.path()).unwrap();
    store.put("tail", "value").unwrap();
    for entry in fs::read_dir(made.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "LOCK" {
            fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
        }
    }
}

/// Every file with its content, its times and its mode.
fn everything(dir: &Path) -> Vec<(String, Vec<u8>, std::time::SystemTime, u32)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        let name = entry.file_name().into_string().unwrap();
        let bytes = fs::read(entry.path()).unwrap();
        (name, bytes, metadata.modified().unwrap(), metadata.permissions().mode())
    });
    let mut all: Vec<_> = entries.collect();
    all.sort();
    all
}

fn read_all(dir: &Path) {
    let store = reading().open(dir).unwrap();
    for key in ["sealed", "tail"] {
        assert_eq!(store.get(key).unwrap().unwrap(), "value");
    }
    assert!(store.refresh().unwrap().is_empty());
    assert!(matches!(store.put("key", "value"), Err(Error::ReadOnly)));
    store.close().unwrap();
}

#[test]
fn a_directory_and_files_without_any_write_bit_are_read_and_left_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    left_by_a_crash(dir.path());
    let mode = |mode| fs::Permissions::from_mode(mode);
    for entry in fs::read_dir(dir.path()).unwrap() {
        fs::set_permissions(entry.unwrap().path(), mode(0o444)).unwrap();
    }
    fs::set_permissions(dir.path(), mode(0o555)).unwrap();
    let before = everything(dir.path());
    read_all(dir.path());
    assert_eq!(everything(dir.path()), before);
    fs::set_permissions(dir.path(), mode(0o755)).unwrap();
}

/// In a mount namespace of its own, where the system lets us make one.
#[cfg(target_os = "linux")]
#[test]
fn a_read_only_file_system_will_do() {
    const TEST: &str = "read_only::a_read_only_file_system_will_do";
    if let Some(dir) = std::env::var_os(support::MOUNTED) {
        let dir = Path::new(&dir);
        let refused = fs::write(dir.join("probe"), "").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        assert!(open(dir).is_err());
        return read_all(dir);
    }
    let dir = tempfile::tempdir().unwrap();
    left_by_a_crash(dir.path());
    let Some(output) = support::run_mounted_read_only(dir.path(), TEST) else { return };
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn readers_in_threads_beside_refreshes_and_another_handle_s_writes_never_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writing().open(dir.path()).unwrap();
    (1..=KEYS * 2).for_each(|n| write(&writer, n));
    let store = reading().open(dir.path()).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (store, over) = (store.clone(), &over);
            scope.spawn(move || {
                let mut seen = BTreeMap::new();
                while !over.load(Ordering::Relaxed) {
                    for key in (0..KEYS).map(|n| format!("key {n}")) {
                        let Some(value) = store.get(&key).unwrap() else { continue };
                        let n = number(&value);
                        let seen: &mut u64 = seen.entry(key.clone()).or_default();
                        assert!(n >= *seen, "{key} went back from {seen} to {n}");
                        *seen = n;
                    }
                    if thread == 1 {
                        store.refresh().unwrap();
                    }
                }
            });
        }
        for n in KEYS * 2 + 1..20_000 {
            write(&writer, n);
            if n % 300 == 0 {
                store.refresh().unwrap();
            }
            if n % 3000 == 0 {
                writer.compact().unwrap();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    store.refresh().unwrap();
    for key in (0..KEYS).map(|n| format!("key {n}")) {
        assert_eq!(store.get(&key).unwrap().as_deref(), writer.get(&key).unwrap().as_deref());
    }
}
