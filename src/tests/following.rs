//! Read-only stores beside a writer, step by step: a model. The writer may fail at any of its operations.

use std::io::ErrorKind;
use std::ops::ControlFlow::Continue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::hazards::half_dead;
use super::read_only::Reading;
use super::support::{Contents, Machine, contents};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::fs::sim::Op;
use crate::model::policy;
use crate::options::{Durability, ReadMode};
use crate::policy::Compaction;
use crate::store::Store;
use crate::upkeep::Driver;

const TTL: Duration = Duration::from_secs(1000);

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
    /// A turn of the store's upkeep, if it has any.
    Upkeep,
    /// A write and a refresh while a compaction copies.
    CompactBeside {
        key: u8,
        delete: bool,
    },
    Reopen,
    Kill,
    /// One of the writer's next operations fails. The read-only stores look when it takes back what is left of
    /// it, if it does.
    Fail {
        after: u64,
        full: bool,
        removes: bool,
    },
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
        4 => Just(Step::Upkeep),
        2 => (0u8..8, any::<bool>()).prop_map(|(key, delete)| Step::CompactBeside { key, delete }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        2 => (0u64..12, any::<bool>(), any::<bool>())
            .prop_map(|(after, full, removes)| Step::Fail { after, full, removes }),
        8 => Just(Step::Refresh),
        1 => Just(Step::OpenAnother),
    ]
}

/// What read-only stores have found at a moment of the writer's, each its own.
type Looks = Arc<Mutex<Vec<Contents>>>;

/// A writer, read-only stores beside it, and every state that the writer has gone through.
struct Run {
    machine: Machine,
    writer: Store,
    /// After a write that failed, there is the state with it, which may show until the writer has taken it
    /// back, and the one without it again.
    history: Vec<Contents>,
    /// Index into the history of the last state that is known to be flushed.
    flushed: usize,
    /// A write has failed since: what was handed to the system after that state may be taken back.
    has_failed: bool,
    /// Each with the index of the state that it has seen.
    readers: Vec<(Arc<Reading>, usize)>,
    /// Found while something failed.
    looks: Looks,
    writes: usize,
}

impl Run {
    fn new(segment_size: u64, durability: Durability, hash_mask: u64, upkeep: bool) -> Self {
        let mut machine = Machine::new(segment_size);
        machine.hash_mask = hash_mask;
        let compaction = Compaction::Auto(policy(segment_size));
        machine.options = machine.options.durability(durability).compaction(compaction);
        if upkeep {
            machine.driver = Driver::Caller;
        }
        let writer = machine.open().unwrap();
        Run {
            machine,
            writer,
            history: vec![Contents::new()],
            flushed: 0,
            has_failed: false,
            readers: Vec::new(),
            looks: Looks::default(),
            writes: 0,
        }
    }

    fn take(&mut self, step: &Step) {
        let mut next = self.history.last().unwrap().clone();
        match *step {
            Step::Put { key, len } => {
                self.writes += 1;
                let value: Vec<u8> =
                    format!("<{}>", self.writes).bytes().cycle().take(len).collect();
                // Some expire, long after the last step.
                let put = match len.is_multiple_of(3) {
                    true => self.writer.put_with_ttl([b'k', key], &value, TTL),
                    false => self.writer.put([b'k', key], &value),
                };
                next.insert(vec![b'k', key], value);
                self.wrote(next, put);
            }
            Step::Delete { key } => {
                let deleted = self.writer.delete([b'k', key]);
                next.remove(&[b'k', key][..]);
                self.wrote(next, deleted.map(drop));
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
                let written = self.writer.write(&batch);
                self.wrote(next, written);
            }
            Step::Flush => match self.writer.flush() {
                Ok(()) => self.flushed_all(),
                Err(error) => self.failed(&error),
            },
            Step::Compact => {
                if let Err(error) = self.writer.compact() {
                    self.failed(&error);
                }
            }
            Step::Upkeep => {
                if let Err(error) = self.writer.take_turn(|_| Continue(())) {
                    self.failed(&error);
                }
            }
            Step::CompactBeside { key, delete } => self.compact_beside(key, delete),
            Step::Reopen => match self.writer.clone().close() {
                Ok(()) => {
                    self.flushed_all();
                    self.open();
                }
                Err(_) => self.kill(),
            },
            Step::Kill => self.kill(),
            Step::Fail { after, full, removes } => self.fail(after, full, removes),
            Step::Refresh => {
                let mut readers = std::mem::take(&mut self.readers);
                for (reading, seen) in &mut readers {
                    *seen = self.find(&reading.refreshed(), self.earliest(*seen));
                    assert!(!reading.refresh(), "there is nothing new");
                    if !self.has_failed {
                        self.check_stats(&reading.store);
                    }
                }
                self.readers = readers;
            }
            Step::OpenAnother => {
                let reading = Reading::open(&self.machine).unwrap();
                let seen = self.find(&contents(&reading.store), self.flushed);
                self.readers.push((Arc::new(reading), seen));
            }
        }
    }

    fn fail(&mut self, after: u64, full: bool, removes: bool) {
        let error = if full { ErrorKind::StorageFull } else { ErrorKind::Other };
        self.machine.fs.fail_at(after, None, error);
        let readers: Vec<_> = self.readers.iter().map(|(reading, _)| Arc::clone(reading)).collect();
        let looks = Arc::clone(&self.looks);
        let op = if removes { Op::Remove } else { Op::SetLen };
        self.machine.fs.before(op, ".data", move || {
            looks.lock().extend(readers.iter().map(|reading| reading.refreshed()));
        });
    }

    /// A step has failed, which has changed nothing for its process.
    fn failed(&mut self, error: &Error) {
        self.has_failed = true;
        assert_eq!(Some(&contents(&self.writer)), self.history.last());
        let is_poisoned = self.writer.write(&Batch::new()).is_err();
        assert!(is_poisoned || matches!(error, Error::Io { .. }), "{error}");
        if is_poisoned {
            self.kill();
        }
    }

    fn check_looks(&self) {
        for found in std::mem::take(&mut *self.looks.lock()) {
            self.find(&found, 0);
        }
    }

    fn kill(&mut self) {
        self.check_looks();
        self.machine = self.machine.end_process();
        self.open();
        let seen = self.readers.iter().map(|(_, seen)| *seen).max().unwrap_or(0);
        let kept = self.find(&contents(&self.writer), self.earliest(seen));
        self.history.truncate(kept + 1);
        self.flushed = kept;
        self.has_failed = false;
        // What was taken back they have not seen any more.
        self.readers.iter_mut().for_each(|(_, seen)| *seen = kept.min(*seen));
    }

    /// A writer, if not at once then when nothing fails any more.
    fn open(&mut self) {
        loop {
            match self.machine.open() {
                Ok(writer) => return self.writer = writer,
                Err(error) => {
                    self.has_failed = true;
                    assert!(matches!(error, Error::Io { .. } | Error::Poisoned { .. }), "{error}");
                    self.machine = self.machine.end_process();
                    self.take(&Step::Refresh);
                }
            }
        }
    }

    fn compact_beside(&mut self, key: u8, delete: bool) {
        // It would fail in the middle of what is to succeed.
        self.machine.fs.disarm();
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
        // Some of it first, if the store has any upkeep.
        self.writer.take_turn(|_| Continue(())).unwrap();
        self.writer.compact().unwrap();
        // If there was nothing to copy, it must not happen later.
        self.machine.fs.before(Op::Rename, "no such name", || ());
        if let Some((state, found)) = seen.lock().take() {
            self.wrote(state, Ok(()));
            for (n, found) in found.iter().enumerate() {
                self.readers[n].1 = self.find(found, self.earliest(self.readers[n].1));
            }
        }
    }

    fn wrote(&mut self, next: Contents, written: Result<()>) {
        let before = self.history.last().unwrap().clone();
        self.history.push(next);
        match written {
            Ok(()) if self.machine.options.durability == Durability::Flushed => self.flushed_all(),
            Ok(()) => {}
            Err(error) => {
                self.history.push(before);
                self.failed(&error);
            }
        }
    }

    fn flushed_all(&mut self) {
        self.flushed = self.history.len() - 1;
        self.has_failed = false;
    }

    /// The first state that may be seen by who has seen this one.
    fn earliest(&self, seen: usize) -> usize {
        if self.has_failed { self.flushed } else { self.flushed.max(seen) }
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
        let of = |s: &crate::Stats| {
            (s.keys, s.segments, s.records, s.bytes, s.dead_records, s.dead_bytes)
        };
        assert_eq!(of(&stats), of(&fresh));
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_refresh_shows_exactly_a_state_that_the_writer_had_and_none_before(
        segment_size in 64u64..900,
        [buffered, upkeep] in any::<[bool; 2]>(),
        hash_mask in prop_oneof![Just(u64::MAX), Just(1), Just(0)],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let durability = if buffered { Durability::Buffered } else { Durability::Flushed };
        let mut run = Run::new(segment_size, durability, hash_mask, upkeep);
        run.take(&Step::OpenAnother);
        for step in &steps {
            run.take(step);
            run.check_looks();
        }
        run.machine.fs.disarm();
        run.take(&Step::Flush);
        run.take(&Step::Refresh);
        run.machine.time.set(2 * TTL.as_micros() as u64);
        run.readers.iter().for_each(|(reading, _)| run.check_stats(&reading.store));
    }
}

#[test]
fn who_follows_for_long_uses_the_slots_of_segments_again() {
    let machine = Machine::new(300);
    let writer = machine.open().unwrap();
    writer.put("key", "value").unwrap();
    let reading = Reading::open(&machine).unwrap();
    let mut highest = 0;
    for n in 0..600 {
        writer.put(format!("key {}", n % 7), format!("{n}").repeat(20)).unwrap();
        if n % 5 == 0 {
            writer.delete(format!("key {}", n % 3)).unwrap();
        }
        if n % 11 == 0 {
            writer.compact().unwrap();
        }
        reading.refresh();
        for (slot, _) in reading.store.index().segments.list() {
            highest = highest.max(slot.index());
        }
    }
    assert_eq!(contents(&reading.store), contents(&writer));
    assert!(highest < 60, "{highest}");
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
