//! Read-only stores beside a writer, step by step: a model, and a writer that acts at every look that a
//! refresh takes at the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::hazards::{MANY, half_dead};
use super::read_only::Reading;
use super::support::{Contents, Machine, contents};
use crate::batch::Batch;
use crate::error::Error;
use crate::fs::sim::{Op, SimFs};
use crate::options::{Durability, ReadMode};
use crate::store::Store;

#[derive(Clone, Debug)]
enum Step {
    Put {
        key: u8,
        len: usize,
    },
    Delete {
        key: u8,
    },
    /// Each of these keys is put, or deleted if it is odd; the last of a key counts.
    Batch {
        keys: Vec<u8>,
    },
    Flush,
    Compact,
    /// A write and a refresh while a compaction copies.
    CompactBeside {
        key: u8,
        delete: bool,
    },
    Reopen,
    Kill,
    Refresh,
    OpenAnother,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![8 => 1usize..60, 1 => 200usize..2000];
    prop_oneof![
        12 => (0u8..8, len).prop_map(|(key, len)| Step::Put { key, len }),
        6 => (0u8..8).prop_map(|key| Step::Delete { key }),
        3 => prop::collection::vec(0u8..8, 1..9).prop_map(|keys| Step::Batch { keys }),
        1 => Just(Step::Flush),
        2 => Just(Step::Compact),
        2 => (0u8..8, any::<bool>()).prop_map(|(key, delete)| Step::CompactBeside { key, delete }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        8 => Just(Step::Refresh),
        1 => Just(Step::OpenAnother),
    ]
}

/// A writer, read-only stores beside it, and every state that the writer has gone through.
struct Run {
    machine: Machine,
    writer: Store,
    history: Vec<Contents>,
    /// Index into the history of the last state that is known to be flushed.
    flushed: usize,
    /// Each with the index of the state that it has seen.
    readers: Vec<(Arc<Reading>, usize)>,
    writes: usize,
}

impl Run {
    fn new(segment_size: u64, durability: Durability, hash_mask: u64) -> Self {
        let mut machine = Machine::new(segment_size);
        machine.hash_mask = hash_mask;
        machine.options = machine.options.durability(durability);
        let writer = machine.open().unwrap();
        let history = vec![Contents::new()];
        Run { machine, writer, history, flushed: 0, readers: Vec::new(), writes: 0 }
    }

    fn take(&mut self, step: &Step) {
        let mut next = self.history.last().unwrap().clone();
        match *step {
            Step::Put { key, len } => {
                self.writes += 1;
                let value: Vec<u8> =
                    format!("<{}>", self.writes).bytes().cycle().take(len).collect();
                self.writer.put([b'k', key], &value).unwrap();
                next.insert(vec![b'k', key], value);
                self.wrote(next);
            }
            Step::Delete { key } => {
                self.writer.delete([b'k', key]).unwrap();
                next.remove(&[b'k', key][..]);
                self.wrote(next);
            }
            Step::Batch { ref keys } => {
                self.writes += 1;
                let mut batch = Batch::new();
                for (n, &key) in keys.iter().enumerate() {
                    let (key, value) = ([b'k', key], format!("<{} {n}>", self.writes));
                    if key[1] % 2 == 1 {
                        batch.delete(key);
                        next.remove(&key[..]);
                    } else {
                        batch.put(key, &value);
                        next.insert(key.to_vec(), value.into_bytes());
                    }
                }
                self.writer.write(&batch).unwrap();
                self.wrote(next);
            }
            Step::Flush => {
                self.writer.flush().unwrap();
                self.flushed = self.history.len() - 1;
            }
            Step::Compact => drop(self.writer.compact().unwrap()),
            Step::CompactBeside { key, delete } => self.compact_beside(key, delete),
            Step::Reopen => {
                self.writer.clone().close().unwrap();
                self.flushed = self.history.len() - 1;
                self.writer = self.machine.open().unwrap();
            }
            Step::Kill => {
                self.machine = self.machine.end_process();
                self.writer = self.machine.open().unwrap();
                let seen = self.readers.iter().map(|(_, seen)| *seen).max().unwrap_or(0);
                let kept = self.find(&contents(&self.writer), seen.max(self.flushed));
                self.history.truncate(kept + 1);
                self.flushed = kept;
            }
            Step::Refresh => {
                let mut readers = std::mem::take(&mut self.readers);
                for (reading, seen) in &mut readers {
                    *seen = self.find(&reading.refreshed(), self.flushed.max(*seen));
                    assert!(!reading.refresh(), "there is nothing new");
                    self.check_stats(&reading.store);
                }
                self.readers = readers;
            }
            Step::OpenAnother => {
                // Their own segment size decides how the tail is held.
                let mut machine = self.machine.clone();
                machine.options = machine.options.segment_size(if self.writes.is_multiple_of(2) {
                    64
                } else {
                    1 << 20
                });
                let reading = Reading::open(&machine).unwrap();
                let seen = self.find(&contents(&reading.store), self.flushed);
                self.readers.push((Arc::new(reading), seen));
            }
        }
    }

    fn compact_beside(&mut self, key: u8, delete: bool) {
        let writer = self.writer.clone();
        let readers: Vec<_> = self.readers.iter().map(|(reading, _)| Arc::clone(reading)).collect();
        let seen = Arc::new(Mutex::new(None));
        let meanwhile = Arc::clone(&seen);
        self.machine.fs.before(Op::Rename, ".data", move || {
            if delete {
                writer.delete([b'k', key]).unwrap();
            } else {
                writer.put([b'k', key], format!("beside {}", writer.len())).unwrap();
            }
            let found: Vec<_> = readers.iter().map(|reading| reading.refreshed()).collect();
            *meanwhile.lock() = Some((contents(&writer), found));
        });
        self.writer.compact().unwrap();
        // If there was nothing to copy, it must not happen later.
        self.machine.fs.before(Op::Rename, "no such name", || ());
        if let Some((state, found)) = seen.lock().take() {
            self.wrote(state);
            for (n, found) in found.iter().enumerate() {
                self.readers[n].1 = self.find(found, self.flushed.max(self.readers[n].1));
            }
        }
    }

    fn wrote(&mut self, next: Contents) {
        self.history.push(next);
        if self.machine.options.durability == Durability::Flushed {
            self.flushed = self.history.len() - 1;
        }
    }

    /// The first state from `earliest` on that is this one.
    fn find(&self, contents: &Contents, earliest: usize) -> usize {
        let position = self.history[earliest..].iter().position(|state| state == contents);
        let Some(position) = position else {
            panic!("found {contents:?}\npossible {:?}", &self.history[earliest..])
        };
        earliest + position
    }

    /// One that has caught up knows what one knows that has just been opened.
    fn check_stats(&self, store: &Store) {
        let fresh = Reading::open(&self.machine).unwrap().store.stats();
        let stats = store.stats();
        let of = |s: &crate::Stats| (s.keys, s.segments, s.bytes, s.dead_bytes);
        assert_eq!(of(&stats), of(&fresh));
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_refresh_shows_exactly_a_state_that_the_writer_had_and_none_before(
        segment_size in 64u64..900,
        buffered in any::<bool>(),
        hash_mask in prop_oneof![Just(u64::MAX), Just(1), Just(0)],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let durability = if buffered { Durability::Buffered } else { Durability::Flushed };
        let mut run = Run::new(segment_size, durability, hash_mask);
        run.take(&Step::OpenAnother);
        for step in &steps {
            run.take(step);
        }
        run.take(&Step::Flush);
        run.take(&Step::Refresh);
    }
}

/// A writer that says what the store has held after each of its steps.
struct Writer {
    machine: Machine,
    store: Store,
    states: Vec<Contents>,
}

impl Writer {
    fn new() -> Self {
        let machine = Machine::new(150);
        let store = machine.open().unwrap();
        let mut writer = Writer { machine, store, states: vec![Contents::new()] };
        (0..12).for_each(|n| writer.put(n % 5, n));
        writer.delete(0);
        writer
    }

    fn step(&mut self, act: impl FnOnce(&Store)) {
        act(&self.store);
        self.states.push(contents(&self.store));
    }

    fn put(&mut self, key: usize, n: usize) {
        self.step(|store| {
            store.put(format!("key {key}"), format!("{n} ").repeat(1 + n % 9)).unwrap()
        });
    }

    fn delete(&mut self, key: usize) {
        self.step(|store| assert!(store.delete(format!("key {key}")).is_ok()));
    }

    fn compact(&mut self) {
        self.step(|store| assert!(store.compact().is_ok()));
    }

    fn reopen(&mut self) {
        self.store.clone().close().unwrap();
        self.store = self.machine.open().unwrap();
    }

    fn recover(&mut self) {
        self.machine = self.machine.end_process();
        self.store = self.machine.open().unwrap();
    }
}

type Act = fn(&mut Writer);

/// What a writer does while a read-only store looks at the files.
const ACTS: [(&str, Act); 8] = [
    ("batches", |writer| {
        for n in 0..3 {
            let mut batch = Batch::new();
            (0..4).for_each(|key| _ = batch.put(format!("key {key}"), format!("{n}").repeat(30)));
            batch.delete(format!("key {}", 4 + n));
            writer.step(|store| store.write(&batch).unwrap());
        }
    }),
    ("rotations", |writer| (0..9).for_each(|n| writer.put(n % 4, 100 + n))),
    ("a compaction", Writer::compact),
    ("overwriting and a compaction", |writer| {
        (0..5).for_each(|n| writer.put(n, 200 + n));
        writer.compact();
        writer.put(1, 300);
    }),
    ("deleting everything and a compaction", |writer| {
        (0..5).for_each(|n| writer.delete(n));
        writer.compact();
    }),
    ("closing, taking up a small segment", |writer| {
        writer.reopen();
        writer.put(2, 400);
        writer.reopen();
        writer.put(7, 401);
    }),
    ("a crash and a recovery", |writer| {
        (0..3).for_each(|n| writer.put(3, 500 + n));
        writer.recover();
        writer.put(3, 503);
    }),
    ("two compactions", |writer| {
        writer.put(1, 600);
        writer.compact();
        writer.delete(1);
        writer.compact();
        writer.put(9, 601);
    }),
];

/// The keys of a store that others change, of which none may go back to an older state.
#[derive(Default)]
struct Watch {
    /// For each key, the first state that may have been seen.
    seen: BTreeMap<Vec<u8>, usize>,
}

impl Watch {
    fn look(&mut self, store: &Store, states: &[Contents]) {
        for key in (0..10).map(|n| format!("key {n}").into_bytes()) {
            let found = store.get(&key).unwrap().map(|value| value.to_vec());
            let seen = self.seen.entry(key.clone()).or_default();
            let later = states[*seen..].iter().position(|state| state.get(&key) == found.as_ref());
            let key = String::from_utf8_lossy(&key).into_owned();
            *seen += later.unwrap_or_else(|| panic!("{key} went back to {found:?}"));
        }
    }
}

#[test]
fn a_refresh_is_right_whatever_a_writer_does_at_any_look_of_it_at_the_disk() {
    for mode in [ReadMode::Mapped, ReadMode::Copy] {
        for (name, act) in ACTS {
            for (before_name, before) in ACTS {
                for look in 0..MANY {
                    let mut writer = Writer::new();
                    writer.machine.options = writer.machine.options.read_mode(mode);
                    let reading = Reading::open(&writer.machine).unwrap();
                    before(&mut writer);
                    let earliest = writer.states.len() - 1;
                    let fs = writer.machine.fs.clone();
                    let (writer, watch) = (Arc::new(Mutex::new(writer)), Watch::default());
                    let watch = Arc::new(Mutex::new(watch));
                    let meanwhile =
                        (Arc::clone(&writer), Arc::clone(&watch), reading.store.clone());
                    fs.at_look(look, move || {
                        let (writer, watch, store) = meanwhile;
                        watch.lock().look(&store, &writer.lock().states);
                        act(&mut writer.lock());
                        watch.lock().look(&store, &writer.lock().states);
                    });
                    let found = reading.refreshed();
                    let is_over = fs.forget_look();
                    let writer = writer.lock();
                    let told = format!("{before_name}, then {name} at look {look}");
                    assert!(writer.states[earliest..].contains(&found), "{told}: {found:?}");
                    watch.lock().look(&reading.store, &writer.states);
                    assert_eq!(Some(&reading.refreshed()), writer.states.last(), "{told}");
                    if is_over {
                        assert!(look >= 7, "{look}");
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn an_opening_is_right_whatever_a_writer_does_at_any_look_of_it_at_the_disk() {
    for (name, act) in ACTS {
        for look in 0..MANY {
            let writer = Writer::new();
            let (fs, machine) = (writer.machine.fs.clone(), writer.machine.clone());
            let earliest = writer.states.len() - 1;
            let writer = Arc::new(Mutex::new(writer));
            let acting = Arc::clone(&writer);
            fs.at_look(look, move || act(&mut acting.lock()));
            let reading = Reading::open(&machine).unwrap_or_else(|error| {
                panic!("{name} at look {look}: {error}");
            });
            let is_over = fs.forget_look();
            let found = contents(&reading.store);
            let writer = writer.lock();
            let told = format!("{name} at look {look}: {found:?}");
            assert!(writer.states[earliest..].contains(&found), "{told}");
            assert_eq!(Some(&reading.refreshed()), writer.states.last(), "{told}");
            if is_over {
                assert!(look >= 7, "{look}");
                break;
            }
        }
    }
}

/// Lets `act` happen again and again, with so many looks at the disk between, until it is over.
fn again_and_again(
    fs: &SimFs,
    looks: u64,
    over: &Arc<AtomicBool>,
    act: impl Fn() + Send + 'static,
) {
    let (next, over) = (fs.clone(), Arc::clone(over));
    fs.at_look(looks, move || {
        if !over.load(Ordering::Relaxed) {
            act();
            again_and_again(&next, looks, &over, act);
        }
    });
}

#[test]
fn a_writer_that_rotates_all_the_time_holds_nobody_up() {
    let machine = Machine::new(64);
    let writer = machine.open().unwrap();
    writer.put("key", "x".repeat(64)).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let busy = writer.clone();
    // Each look at all the files takes more looks at the disk, and so finds another manifest.
    again_and_again(&machine.fs, 5, &over, move || {
        busy.put(format!("{}", busy.len()), "x".repeat(64)).unwrap();
    });
    let reading = Reading::open(&machine).unwrap();
    let mut before = 0;
    for _ in 0..2 {
        assert!(writer.len() > before + 99, "it was busy");
        before = writer.len();
        reading.refresh();
        assert!(reading.store.len() >= before, "all that was there is seen");
    }
    over.store(true, Ordering::Relaxed);
    assert_eq!(reading.refreshed(), contents(&writer));
}

#[test]
fn files_that_go_at_each_look_are_an_error_in_the_end_and_no_hang() {
    let machine = Machine::new(64);
    let writer = machine.open().unwrap();
    for n in 0..4 {
        writer.put(format!("{n}"), "x".repeat(64)).unwrap();
    }
    let reading = Reading::open(&machine).unwrap();
    let before = contents(&reading.store);
    let over = Arc::new(AtomicBool::new(false));
    let busy = writer.clone();
    again_and_again(&machine.fs, 0, &over, move || {
        busy.put("key", "x".repeat(64)).unwrap();
        busy.put("key", "y".repeat(64)).unwrap();
        busy.compact().unwrap();
    });
    assert!(matches!(Reading::open(&machine), Err(Error::Unsettled { looks: 100, .. })));
    assert!(matches!(reading.store.refresh(), Err(Error::Unsettled { .. })));
    assert_eq!(contents(&reading.store), before);
    over.store(true, Ordering::Relaxed);
    assert_eq!(reading.refreshed(), contents(&writer));
}

/// The compaction copies what is there when it begins. It is committed when a refresh has read the log beyond that.
#[test]
fn a_copy_of_a_key_that_was_deleted_or_overwritten_meanwhile_is_no_news() {
    for mode in [ReadMode::Mapped, ReadMode::Copy] {
        for (op, name) in [(Op::Create, ".data.tmp"), (Op::Rename, ".data")] {
            let mut machine = Machine::new(256);
            half_dead(&machine);
            let writer = machine.open().unwrap();
            machine.options = machine.options.read_mode(mode);
            let reading = Arc::new(Reading::open(&machine).unwrap());
            let (acting, meanwhile) = (writer.clone(), Arc::clone(&reading));
            let act = move || {
                acting.delete("a").unwrap();
                acting.put("b", "newer").unwrap();
                acting.delete("c").unwrap();
                acting.put("c", "back again").unwrap();
                assert_eq!(meanwhile.refreshed(), contents(&acting));
            };
            machine.fs.before(op, name, act);
            assert!(writer.compact().unwrap().segments_removed > 0);
            let expected = contents(&writer);
            assert_eq!(expected.len(), 4);
            assert_eq!(reading.refreshed(), expected, "{op:?}");
            assert_eq!(contents(&Reading::open(&machine).unwrap().store), expected);
        }
    }
}

/// Recovery copies all that it finds, older versions of a key before newer ones.
#[test]
fn a_copy_of_all_versions_of_a_key_shows_none_of_the_older_ones_on_the_way() {
    const VERSIONS: usize = 3000;
    for _ in 0..5 {
        let machine = Machine::new(1 << 20);
        let writer = machine.open().unwrap();
        for version in 1..=VERSIONS {
            writer.put("key", version.to_string()).unwrap();
        }
        let reading = Reading::open(&machine).unwrap();
        let machine = machine.end_process();
        let writer = machine.open().unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let mut reads = 0;
                while !over.load(Ordering::Relaxed) || reads == 0 {
                    let value = reading.store.get("key").unwrap().unwrap();
                    assert_eq!(value, VERSIONS.to_string().as_str());
                    reads += 1;
                }
            });
            reading.refresh();
            over.store(true, Ordering::Relaxed);
            watching.join().unwrap();
        });
        assert_eq!(contents(&reading.store), contents(&writer));
    }
}
