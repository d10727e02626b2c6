//! The store against a model: random operations with tiny segments, few keys, colliding hashes,
//! closings, kills and power losses at any operation, compared with a `BTreeMap` after each. Values expire, and
//! the clock goes forward and back.
//!
//! What a crash may take: the log has an order, so what is there afterwards is what the model held
//! after some operation, no earlier than the last one that its durability covers.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::support::{Machine, read_mode, unexpired};
use crate::batch::Batch;
use crate::expiry::Expiry;
use crate::options::{Durability, EmptyValues, ReadMode};
use crate::store::Store;

/// Random runs; `PROPTEST_CASES` may ask for more.
const CASES: u32 = 300;
/// Microseconds of a run: a few buckets of expiring bytes.
const TIMES: u64 = 5 << 20;

/// Values, each with the time at which it expires, if it does.
type Contents = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Put {
        key: u8,
        len: usize,
    },
    /// Of a key whose values are not aligned.
    PutWithTtl {
        key: u8,
        len: usize,
        ttl: u64,
    },
    /// Gives the key another time, or takes it away.
    Touch {
        key: u8,
        ttl: Option<u64>,
    },
    /// The machine's clock is set.
    Clock {
        time: u64,
    },
    Delete {
        key: u8,
    },
    /// Keys, each with the length of its value or to be deleted.
    Batch {
        writes: Vec<(u8, Option<usize>)>,
    },
    Flush,
    Sync,
    Compact,
    Reopen,
    Kill,
    /// Power is lost now.
    Crash {
        seed: u64,
    },
    /// Power is lost at an operation of the disk to come.
    CrashSoon {
        operations: u64,
    },
    /// The process is killed in an operation of the disk to come.
    KillSoon {
        operations: u64,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Setup {
    segment_size: u64,
    durability: Durability,
    hash_mask: u64,
    stored_empty: bool,
    default_ttl: Option<u64>,
}

pub(super) fn setup() -> impl Strategy<Value = Setup> {
    let durability = prop_oneof![
        Just(Durability::Buffered),
        Just(Durability::Flushed),
        Just(Durability::Interval(Duration::MAX)),
        Just(Durability::Synced)
    ];
    let hash_mask = prop_oneof![Just(u64::MAX), Just(1), Just(0)];
    let default_ttl = prop::option::weighted(0.3, ttl());
    (64u64..900, durability, hash_mask, any::<bool>(), default_ttl).prop_map(
        |(segment_size, durability, hash_mask, stored_empty, default_ttl)| Setup {
            segment_size,
            durability,
            hash_mask,
            stored_empty,
            default_ttl,
        },
    )
}

fn ttl() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..100, 0..TIMES]
}

/// Segments of a few records.
pub(super) fn plain_setup() -> Setup {
    let (durability, hash_mask) = (Durability::Flushed, u64::MAX);
    Setup { segment_size: 400, durability, hash_mask, stored_empty: false, default_ttl: None }
}

/// What goes well.
pub(super) fn calm_step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![1 => Just(0usize), 8 => 1usize..60, 1 => 200usize..2000];
    let write = (0u8..8, prop::option::weighted(0.7, len.clone()));
    prop_oneof![
        9 => (0u8..8, len.clone()).prop_map(|(key, len)| Step::Put { key, len }),
        3 => (0u8..4, len, ttl()).prop_map(|(n, len, ttl)| Step::PutWithTtl { key: 2 * n, len, ttl }),
        2 => (0u8..8, prop::option::weighted(0.7, ttl())).prop_map(|(key, ttl)| Step::Touch { key, ttl }),
        3 => (0..TIMES).prop_map(|time| Step::Clock { time }),
        5 => (0u8..8).prop_map(|key| Step::Delete { key }),
        4 => prop::collection::vec(write, 0..6).prop_map(|writes| Step::Batch { writes }),
        1 => Just(Step::Flush),
        1 => Just(Step::Sync),
        2 => Just(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        25 => calm_step(),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(|seed| Step::Crash { seed }),
        2 => (0u64..60).prop_map(|operations| Step::CrashSoon { operations }),
        2 => (0u64..60).prop_map(|operations| Step::KillSoon { operations }),
    ]
}

/// The store, and what may be in it.
pub(super) struct Run {
    pub(super) machine: Machine,
    pub(super) store: Store,
    setup: Setup,
    /// What the store held after each operation since the last that is durable, oldest first.
    history: Vec<Contents>,
    /// Index into the history of the last state that survives the process.
    flushed: usize,
    writes: u32,
    /// The store's: never earlier than it was.
    time: u64,
    /// What ends the machine when it goes down: a kill, or else a power loss.
    kill_soon: bool,
    /// Decides, with the number of writes, what a power loss takes.
    pub(super) luck: u64,
    /// After so many operations of the next recovery from a power loss comes another.
    pub(super) crash_recovery_at: Option<u64>,
}

impl Run {
    pub(super) fn new(setup: Setup) -> Self {
        let mut machine = Machine::new(setup.segment_size);
        machine.hash_mask = setup.hash_mask;
        let empty = if setup.stored_empty { EmptyValues::Stored } else { EmptyValues::Delete };
        machine.options = machine.options.durability(setup.durability).empty_values(empty);
        machine.options = machine.options.default_ttl(setup.default_ttl.map(Duration::from_micros));
        let store = machine.open().unwrap();
        Run {
            machine,
            store,
            setup,
            history: vec![Contents::new()],
            flushed: 0,
            writes: 0,
            time: 0,
            kill_soon: false,
            luck: 0,
            crash_recovery_at: None,
        }
    }

    fn now(&self) -> Contents {
        self.unexpired(self.history.last().unwrap())
    }

    fn unexpired(&self, contents: &Contents) -> Contents {
        let mut contents = contents.clone();
        contents.retain(|_, (_, expires_at)| expires_at.is_none_or(|at| at > self.time));
        contents
    }

    fn found(&self) -> Contents {
        let expires_at = |key: &[u8]| match self.store.expires_at(key).unwrap().unwrap() {
            Expiry::Never => None,
            Expiry::At(time) => Some(time.duration_since(UNIX_EPOCH).unwrap().as_micros() as u64),
        };
        let found = unexpired(&self.store).into_iter();
        let found: Contents =
            found.map(|(key, value)| (key.clone(), (value, expires_at(&key)))).collect();
        assert!(self.store.len() >= found.len());
        found
    }

    pub(super) fn take(&mut self, step: &Step) {
        match *step {
            Step::Put { key, len } => {
                let (key, value) = (Self::key(key), self.value(len));
                let mut next = self.now();
                self.put(&mut next, &key, &value, None);
                let result = self.store.put_aligned(&key, &value, Self::align(&key));
                self.wrote(result.is_ok(), next);
            }
            Step::PutWithTtl { key, len, ttl } => {
                let (key, value) = (Self::key(key), self.value(len));
                let mut next = self.now();
                self.put(&mut next, &key, &value, Some(ttl));
                let result = self.store.put_with_ttl(&key, &value, Duration::from_micros(ttl));
                self.wrote(result.is_ok(), next);
            }
            Step::Touch { key, ttl } => {
                let key = Self::key(key);
                let mut next = self.now();
                let known = next.get_mut(&key);
                let is_there = known.is_some();
                if let Some((_, expires_at)) = known {
                    *expires_at = ttl.map(|ttl| self.time + ttl);
                }
                let result = match ttl {
                    Some(ttl) => self.store.touch(&key, Duration::from_micros(ttl)),
                    None => self.store.persist(&key),
                };
                if let Ok(found) = &result {
                    assert_eq!(*found, is_there);
                }
                self.wrote(result.is_ok(), next);
            }
            Step::Clock { time } => {
                self.machine.time.set(time);
                self.time = self.time.max(time);
            }
            Step::Delete { key } => {
                let key = Self::key(key);
                let mut next = self.now();
                let was_there = next.remove(&key).is_some();
                let result = self.store.delete(&key);
                if let Ok(found) = &result {
                    assert_eq!(*found, was_there);
                }
                self.wrote(result.is_ok(), next);
            }
            Step::Batch { ref writes } => {
                let (mut batch, mut next) = (Batch::new(), self.now());
                for &(key, len) in writes {
                    let key = Self::key(key);
                    if let Some(len) = len {
                        let value = self.value(len);
                        self.put(&mut next, &key, &value, None);
                        batch.put_aligned(&key, &value, Self::align(&key));
                    } else {
                        next.remove(&key);
                        batch.delete(&key);
                    }
                }
                let result = self.store.write(&batch);
                self.wrote(result.is_ok(), next);
            }
            Step::Flush => {
                let result = self.store.flush();
                self.reached(result.is_ok(), false);
            }
            Step::Sync => {
                let result = self.store.sync();
                self.reached(result.is_ok(), true);
            }
            Step::Compact => {
                // One that finds nothing to do makes nothing durable.
                let result = self.store.compact();
                assert!(result.is_ok() || self.machine.fs.is_down());
            }
            Step::Reopen => {
                let result = self.store.clone().close();
                self.reached(result.is_ok(), true);
                if !self.machine.fs.is_down() {
                    self.open(0);
                }
            }
            Step::Kill => {
                let flushed = self.flushed;
                let crash_soon = self.machine.fs.pending_crash();
                self.machine = self.machine.kill();
                crash_soon.into_iter().for_each(|n| self.machine.fs.crash_at(n));
                self.open(flushed);
            }
            Step::Crash { seed } => self.crash(seed),
            Step::CrashSoon { operations } => self.go_down_soon(operations, false),
            Step::KillSoon { operations } => self.go_down_soon(operations, true),
        }
        if self.machine.fs.is_down() {
            if self.kill_soon {
                self.machine = self.machine.kill();
                self.open(self.flushed);
            } else {
                self.crash(self.luck + u64::from(self.writes));
            }
        }
        // Looked at, a time is one that the store does not go back behind.
        assert_eq!(self.store.now(), self.time);
        assert_eq!(self.found(), self.now());
        self.check_alignment();
    }

    fn go_down_soon(&mut self, operations: u64, by_kill: bool) {
        self.machine.fs.crash_at(operations);
        self.kill_soon = by_kill;
    }

    fn key(key: u8) -> Vec<u8> {
        // The first is the empty key.
        vec![b'k'; usize::from(key)]
    }

    /// Every other key's values are aligned, each to something else.
    fn align(key: &[u8]) -> usize {
        if key.len().is_multiple_of(2) { 1 } else { 1 << key.len() }
    }

    fn check_alignment(&self) {
        for key in self.now().keys() {
            let value = self.store.get(key).unwrap().unwrap();
            assert_eq!(value.as_ptr() as usize % Self::align(key), 0, "of {} bytes", key.len());
        }
    }

    /// What a put makes of the contents.
    fn put(&self, contents: &mut Contents, key: &[u8], value: &[u8], ttl: Option<u64>) {
        if value.is_empty() && !self.setup.stored_empty {
            contents.remove(key);
        } else {
            let ttl = ttl.or(self.setup.default_ttl);
            contents.insert(key.to_vec(), (value.to_vec(), ttl.map(|ttl| self.time + ttl)));
        }
    }

    /// No two writes write the same bytes, but for empty ones.
    fn value(&mut self, len: usize) -> Vec<u8> {
        self.writes += 1;
        let pattern = format!("<{}>", self.writes);
        pattern.bytes().cycle().take(len).collect()
    }

    /// A write that failed, which only a machine that is down makes it do, may have happened.
    fn wrote(&mut self, succeeded: bool, next: Contents) {
        assert!(succeeded || self.machine.fs.is_down());
        self.history.push(next);
        match self.setup.durability {
            Durability::Buffered => {}
            Durability::Flushed | Durability::Interval(_) => self.reached(succeeded, false),
            Durability::Synced => self.reached(succeeded, true),
        }
    }

    /// Everything so far survives the process or, if `durable`, the machine.
    fn reached(&mut self, succeeded: bool, durable: bool) {
        if !succeeded {
            assert!(self.machine.fs.is_down());
            return;
        }
        self.flushed = self.history.len() - 1;
        if durable {
            self.history.drain(..self.flushed);
            self.flushed = 0;
        }
    }

    fn crash(&mut self, seed: u64) {
        self.machine = self.machine.crash(seed);
        self.crash_recovery_at.take().into_iter().for_each(|n| self.machine.fs.crash_at(n));
        self.open(0);
    }

    /// Opens what is left: one of the states from `earliest` on, which is durable now.
    fn open(&mut self, earliest: usize) {
        // What a clock that is behind shows again is tested under hazard 9.
        self.machine.time.set(self.time);
        self.store = match self.machine.open() {
            // It opened, but only what is mapped can be read once the machine is down.
            Ok(_) if self.machine.fs.is_down() && read_mode() == ReadMode::Copy => {
                return self.crash(earliest as u64);
            }
            Ok(store) => store,
            Err(_) if self.machine.fs.is_down() => return self.crash(earliest as u64),
            Err(error) => panic!("{error}"),
        };
        let found = self.found();
        let possible: Vec<_> =
            self.history[earliest..].iter().map(|state| self.unexpired(state)).collect();
        assert!(possible.contains(&found), "found {found:?}\npossible {possible:?}");
        self.history = vec![found];
        self.flushed = 0;
        assert!(self.store.recovery_report().damage.is_empty());
    }
}

proptest! {
    #![proptest_config(Config { cases: CASES.max(Config::default().cases), failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_store_behaves_as_a_map_through_reopenings_kills_and_power_losses(
        setup in setup(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut run = Run::new(setup);
        for step in &steps {
            run.take(step);
        }
    }
}
