//! The store against a model: steps, and a run of them on the simulated disk, with tiny segments, few keys,
//! colliding hashes, failing operations, a full disk, closings, kills and power losses at any operation, compared with a
//! `BTreeMap` after each. Values expire, and the clock goes forward and back; snapshots show what was there. The tests draw the steps at random, the fuzzer from [`bytes`].
//!
//! What a crash may take: the log has an order, so what is there afterwards is what the model held
//! after some operation, no earlier than the last one that its durability covers. A write that failed may
//! be there as well, on top of what it was to follow, until a call succeeds that writes, flushes or syncs, or has nothing to.

pub(crate) mod bytes;
pub(crate) mod layer;
pub(crate) mod machine;
mod scans;
mod step;
mod writes;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::iter;
use std::ops::ControlFlow;
use std::time::{Duration, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::expiry::Expiry;
use crate::options::{Durability, EmptyValues, Options, ReadMode};
use crate::policy::{Compaction, CompactionPolicy};
use crate::record::Record;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::upkeep::Driver;
use layer::{Bare, Layer};
use machine::{Machine, encode};
pub(crate) use step::{PowerLoss, Step};
use writes::encoded_key;

/// Microseconds of a run: a few buckets of expiring bytes.
pub(crate) const TIMES: u64 = 5 << 20;
/// How many keys there are.
pub(crate) const KEYS: u8 = 8;

/// Values, each with the time at which it expires, if it does.
type Contents = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) segment_size: u64,
    pub(crate) durability: Durability,
    pub(crate) hash_mask: u64,
    pub(crate) stored_empty: bool,
    pub(crate) default_ttl: Option<u64>,
    pub(crate) read_mode: ReadMode,
    /// How many files may be mapped at a time.
    pub(crate) mappings: usize,
    pub(crate) ordered: bool,
    /// Every key is there before the first step, in a segment that ends in bytes that are no records.
    pub(crate) damaged: bool,
    /// The store compacts by itself, in the steps that are turns of its upkeep.
    pub(crate) upkeep: bool,
}

impl Setup {
    /// Whether what was opened can be read when the machine is down.
    fn maps_all(&self) -> bool {
        self.read_mode == ReadMode::Mapped && self.mappings == usize::MAX
    }
}

/// The store, and what may be in it.
pub(crate) struct Run {
    pub(crate) machine: Machine,
    pub(crate) store: Store,
    /// What the store is asked through.
    layer: Box<dyn Layer>,
    setup: Setup,
    /// Each with what it shows as long as the store is open.
    snapshots: Vec<(Snapshot, machine::Contents)>,
    /// The states that the store went through since the last that is durable, oldest first.
    history: Vec<State>,
    /// Index into the history of the last state that survives the process.
    flushed: usize,
    writes: u32,
    /// The store's: never earlier than it was.
    time: u64,
    /// What ends the machine when it goes down.
    end: End,
    /// A sync has failed, and nothing is written until the store is opened again.
    is_poisoned: bool,
    /// How many operations of the disk had failed when the store had been opened.
    failures_at_opening: u64,
    /// And before this step.
    failures_before: u64,
}

/// What the store held, and would have held if a write had succeeded that failed then.
struct State {
    contents: Contents,
    failed: Vec<Contents>,
}

#[derive(Clone, Copy)]
enum End {
    Kill,
    PowerLoss(PowerLoss),
}

/// By which a few records are worth a compaction, of one segment or two at a time.
pub(crate) fn policy(segment_size: u64) -> CompactionPolicy {
    CompactionPolicy::new()
        .start_at_dead_percent(40)
        .start_at_store_dead_percent(25)
        .include_from_dead_percent(10)
        .small_files(3)
        .small_below(Some(segment_size / 2))
        .bytes_per_run(Some(2 * segment_size))
        .bytes_per_second(None)
}

/// Runs the steps, loses what can be lost, and goes on.
pub(crate) fn run(setup: Setup, steps: &[Step]) {
    run_through(Box::new(Bare), setup, steps);
}

/// As [`run`], with a layer above the store.
pub(crate) fn run_through(layer: Box<dyn Layer>, setup: Setup, steps: &[Step]) {
    let mut run = Run::through(layer, setup);
    steps.iter().for_each(|step| run.take(step));
    run.finish();
}

/// Makes a store with every key in it, whose first segment ends in bytes that are no records, so that no compaction
/// takes it.
fn fill_damaged(machine: &Machine, layer: &dyn Layer) -> Contents {
    let held = |key| (encoded_key(layer, key), (layer.encoded(b"old|a".to_vec()), None));
    let contents: Contents = (0..KEYS).map(held).collect();
    let records: Vec<_> =
        contents.iter().map(|(key, (value, _))| Record::plain(0, key, value)).collect();
    let unreadable = [encode(&records), vec![0xFF; 40]].concat();
    machine.fs.write(&Machine::dir().join("00000001.data"), &unreadable);
    // Of the last segment that would be set aside.
    machine.fs.write(&Machine::dir().join("00000002.data"), &encode(&records));
    contents
}

impl Run {
    #[cfg(test)]
    pub(crate) fn new(setup: Setup) -> Self {
        Self::through(Box::new(Bare), setup)
    }

    fn through(layer: Box<dyn Layer>, setup: Setup) -> Self {
        let empty = if setup.stored_empty { EmptyValues::Stored } else { EmptyValues::Delete };
        let options = Options::new()
            .segment_size(setup.segment_size)
            .durability(setup.durability)
            .read_mode(setup.read_mode)
            .mappings_apart(setup.mappings)
            .empty_values(empty)
            .ordered(setup.ordered)
            .compaction(Compaction::Auto(policy(setup.segment_size)))
            .default_ttl(setup.default_ttl.map(Duration::from_micros));
        let mut machine = Machine::with(options);
        if setup.upkeep {
            machine.driver = Driver::Caller;
        }
        machine.hash_mask = setup.hash_mask;
        let contents =
            if setup.damaged { fill_damaged(&machine, &*layer) } else { Contents::new() };
        let store = machine.open().unwrap();
        Run {
            machine,
            store,
            layer,
            setup,
            snapshots: Vec::new(),
            history: vec![State { contents, failed: Vec::new() }],
            flushed: 0,
            writes: 0,
            time: 0,
            end: End::Kill,
            is_poisoned: false,
            failures_at_opening: 0,
            failures_before: 0,
        }
    }

    fn last(&mut self) -> &mut State {
        self.history.last_mut().unwrap()
    }

    fn now(&self) -> Contents {
        self.unexpired(&self.history.last().unwrap().contents)
    }

    fn unexpired(&self, contents: &Contents) -> Contents {
        let mut contents = contents.clone();
        contents.retain(|_, (_, expires_at)| expires_at.is_none_or(|at| at > self.time));
        contents
    }

    /// What the store holds.
    fn found(&self) -> Contents {
        let expires_at = |key: &[u8]| match self.store.expires_at(key).unwrap().unwrap() {
            Expiry::Never => None,
            Expiry::At(time) => Some(time.duration_since(UNIX_EPOCH).unwrap().as_micros() as u64),
        };
        let found = self.layer.contents(&self.store).into_iter();
        let found: Contents =
            found.map(|(key, value)| (key.clone(), (value, expires_at(&key)))).collect();
        assert!(self.store.len() >= found.len());
        found
    }

    pub(crate) fn take(&mut self, step: &Step) {
        self.failures_before = self.machine.fs.failures();
        match *step {
            Step::Put { key, len, durability } => self.put(key, len, durability),
            Step::PutWithTtl { key, len, ttl } => self.put_with_ttl(key, len, ttl),
            Step::Touch { key, ttl } => self.touch(key, ttl),
            Step::Clock { time } => {
                self.machine.time.set(time);
                self.time = self.time.max(time);
            }
            Step::Delete { key, durability } => self.delete(key, durability),
            Step::Batch { ref writes, durability } => self.write_batch(writes, durability),
            Step::PutIfAbsent { key, len } => self.put_if_absent(key, len),
            Step::CompareAndSwap { key, is_right, len } => {
                self.compare_and_swap(key, is_right, len);
            }
            Step::Update { key, len } => self.update(key, len),
            Step::Rename { from, to } => self.rename(from, to),
            Step::Retain { kept } => self.retain(kept),
            Step::Clear => {
                let result = self.store.clear();
                self.wrote(result, Contents::new(), Some(Durability::Synced));
            }
            Step::Snapshot { in_place_of } => self.take_snapshot(usize::from(in_place_of)),
            Step::Scan { start, end } => self.scan(start, end),
            Step::Flush => {
                let result = self.layer.flush(&self.store);
                let went_well = self.went_well(&result);
                self.reached(went_well, false);
            }
            Step::Sync => {
                let result = self.layer.sync(&self.store);
                let went_well = self.went_well(&result);
                self.reached(went_well, true);
            }
            Step::Compact => {
                // One that finds nothing to do makes nothing durable.
                let result = self.layer.compact(&self.store);
                self.went_well(&result);
            }
            Step::Upkeep => {
                let before = self.store.stats().compaction;
                let result = self.store.take_turn(|_| ControlFlow::Continue(()));
                // One that finds nothing to do says nothing.
                if result.is_err() || self.store.stats().compaction.runs > before.runs {
                    self.went_well(&result);
                }
            }
            Step::Checkpoint => {
                let result = self.store.checkpoint();
                let went_well = self.went_well(&result);
                self.reached(went_well, true);
            }
            Step::Reopen => {
                let result = self.layer.close(&self.store);
                let went_well = self.went_well(&result);
                self.reached(went_well, true);
                if !self.machine.fs.is_down() {
                    self.open(self.flushed);
                }
            }
            Step::Kill => self.go_down(End::Kill),
            Step::Crash(loss) => self.go_down(End::PowerLoss(loss)),
            Step::CrashSoon { operations, loss } => {
                self.go_down_soon(operations, End::PowerLoss(loss));
            }
            Step::KillSoon { operations } => self.go_down_soon(operations, End::Kill),
            Step::FailSoon { operations } => {
                self.machine.fs.fail_at(operations, None, ErrorKind::Other);
            }
            Step::Room { bytes } => {
                let capacity = bytes.map(|bytes| self.machine.fs.total_len() + bytes);
                self.machine.fs.set_capacity(capacity);
            }
        }
        if self.machine.fs.is_down() {
            self.go_down(self.end);
        }
        // Looked at, a time is one that the store does not go back behind.
        assert_eq!(self.store.now(), self.time);
        assert_eq!(self.found(), self.now());
        self.check_alignment();
        self.check_snapshots();
    }

    /// What has been recovered is durable, and the store goes on.
    pub(crate) fn finish(&mut self) {
        let seed = u64::from(self.writes);
        self.take(&Step::Crash(PowerLoss { seed, again_at: None }));
        self.take(&Step::Crash(PowerLoss { seed, again_at: None }));
        self.take(&Step::Put { key: 1, len: 9, durability: None });
        self.take(&Step::Compact);
        self.take(&Step::Reopen);
    }

    fn go_down_soon(&mut self, operations: u64, end: End) {
        self.machine.fs.crash_at(operations);
        self.end = end;
    }

    /// Whether it did. If not, the machine is down, something failed on the disk, or a sync had.
    fn went_well<T>(&mut self, result: &Result<T>) -> bool {
        let error = match result {
            Ok(_) => {
                assert!(!self.is_poisoned, "writes are refused after a failed sync");
                // Nothing is left of a write that failed, whether this wrote anything or not.
                self.last().failed.clear();
                return true;
            }
            Err(_) if self.machine.fs.is_down() => return false,
            Err(error) => error,
        };
        let failures = self.machine.fs.failures();
        match error {
            Error::Poisoned { .. } => assert!(failures > self.failures_at_opening, "{error}"),
            // A file that could not be removed is in the way of the next.
            Error::Io { source, .. } if source.kind() == ErrorKind::AlreadyExists => {
                assert!(failures > self.failures_at_opening, "{error}");
            }
            Error::Io { .. } => {
                assert!(failures > self.failures_before && !self.is_poisoned, "{error}");
            }
            _ => panic!("{error}"),
        }
        self.is_poisoned = matches!(error, Error::Poisoned { .. });
        false
    }

    /// As `wrote`, with the store's durability. A write that finds nothing to write may do so after a failed sync.
    fn wrote_if(&mut self, is_needed: bool, result: Result<()>, next: Contents) {
        if is_needed || result.is_err() {
            self.wrote(result, next, None);
        }
    }

    fn wrote(&mut self, result: Result<()>, next: Contents, durability: Option<Durability>) {
        let was_poisoned = self.is_poisoned;
        let went_well = self.went_well(&result);
        // If only the sync failed, or the machine went down, it has been written all the same.
        let has_happened = went_well
            || self.machine.fs.is_down()
            || !was_poisoned && self.is_poisoned && self.found() == self.unexpired(&next);
        if has_happened {
            if next != self.now() {
                self.history.push(State { contents: next, failed: Vec::new() });
            }
        } else if !was_poisoned {
            self.last().failed.push(next);
        }
        match durability.unwrap_or(self.setup.durability) {
            Durability::Buffered => {}
            Durability::Flushed | Durability::Interval(_) => self.reached(went_well, false),
            Durability::Synced => self.reached(went_well, true),
        }
    }

    /// If it went well, everything so far survives the process or, if `durable`, the machine.
    fn reached(&mut self, went_well: bool, durable: bool) {
        if !went_well {
            return;
        }
        self.flushed = self.history.len() - 1;
        if durable {
            self.history.drain(..self.flushed);
            self.flushed = 0;
        }
    }

    fn go_down(&mut self, end: End) {
        self.go_down_from(self.flushed, end);
    }

    /// The next process finds one of the states from `earliest` on, or, after a power loss, any.
    fn go_down_from(&mut self, earliest: usize, end: End) {
        match end {
            End::Kill => {
                self.machine = self.machine.kill();
                self.open(earliest);
            }
            End::PowerLoss(PowerLoss { seed, again_at }) => {
                self.machine = self.machine.crash(seed);
                if let Some(operations) = again_at {
                    let again = PowerLoss { seed: seed + 1, again_at: None };
                    self.go_down_soon(operations, End::PowerLoss(again));
                }
                self.open(0);
            }
        }
    }

    /// Opens what is left: one of the states from `earliest` on, which is durable now.
    fn open(&mut self, earliest: usize) {
        self.snapshots.clear();
        let failures_before = self.machine.fs.failures();
        // What a clock that is behind shows again is tested under hazard 9.
        self.machine.time.set(self.time);
        let mut opened = self.machine.open();
        if opened.is_err() && !self.machine.fs.is_down() {
            assert!(self.machine.fs.failures() > failures_before, "{opened:?}");
            self.machine.fs.disarm();
            self.machine.fs.set_capacity(None);
            opened = self.machine.open();
        }
        self.store = match opened {
            // It opened, but only what is mapped can be read once the machine is down.
            Ok(_) if self.machine.fs.is_down() && !self.setup.maps_all() => {
                return self.go_down_from(earliest, self.end);
            }
            Ok(store) => store,
            Err(_) if self.machine.fs.is_down() => return self.go_down_from(earliest, self.end),
            Err(error) => panic!("{error}"),
        };
        let found = self.found();
        let states = self.history[earliest..].iter();
        let states = states.flat_map(|state| iter::once(&state.contents).chain(&state.failed));
        let possible: Vec<_> = states.map(|state| self.unexpired(state)).collect();
        assert!(possible.contains(&found), "found {found:?}\npossible {possible:?}");
        self.history = vec![State { contents: found, failed: Vec::new() }];
        self.flushed = 0;
        self.is_poisoned = false;
        self.failures_at_opening = self.machine.fs.failures();
        let damage = &self.store.recovery_report().damage;
        assert!(damage.is_empty() || self.setup.damaged, "{damage:?}");
    }
}
