//! What follows a store by its log: a replica ends as its store, whatever happens between.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::model::{calm_step, setup, step};
use super::support::{Contents, Machine, unexpired};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::expiry::Expiry;
use crate::feed::{Entry, Kind};
use crate::model::{PowerLoss, Run, Step};
use crate::options::Durability;
use crate::position::Position;
use crate::record::BatchPart;
use crate::store::Store;

/// Random runs; `PROPTEST_CASES` may ask for more.
const CASES: u32 = 300;

/// A key, and its value unless it was deleted.
pub(super) type Write = (Vec<u8>, Option<Vec<u8>>);

pub(super) fn write(entry: &Entry) -> Write {
    assert_eq!(entry.kind == Kind::Put, entry.value.is_some());
    (entry.key.to_vec(), entry.value.as_ref().map(|value| value.to_vec()))
}

pub(super) fn log(store: &Store, from: Position) -> Vec<Write> {
    store.log(from).map(|entry| write(&entry.unwrap())).collect()
}

/// What follows a store by its log, and copies it when the log does not go back as far.
pub(super) struct Replica {
    /// Values, each with the time at which it expires, if it does.
    pub(super) contents: BTreeMap<Vec<u8>, (Vec<u8>, Expiry)>,
    /// As it would keep it.
    pub(super) position: [u8; Position::LEN],
    pub(super) copies: usize,
}

impl Replica {
    pub(super) fn new() -> Self {
        let position = Position::START.to_bytes();
        Replica { contents: BTreeMap::new(), position, copies: 0 }
    }

    pub(super) fn apply(&mut self, entry: &Entry) {
        match write(entry) {
            (key, Some(value)) => drop(self.contents.insert(key, (value, entry.expires_at))),
            (key, None) => drop(self.contents.remove(&key)),
        }
    }

    /// What it has that has not expired.
    pub(super) fn shown(&self, store: &Store) -> Contents {
        let now = store.now();
        let now = UNIX_EPOCH + Duration::from_micros(now);
        let live = self.contents.iter().filter(|(_, (_, until))| match until {
            Expiry::At(time) => *time > now,
            Expiry::Never => true,
        });
        live.map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    }

    /// Reads at most as many entries, and counts what is complete. Answers what that was, and whether there is no more.
    pub(super) fn read(&mut self, store: &Store, most: usize) -> Result<(Vec<Write>, bool)> {
        let from = Position::from_bytes(self.position);
        let mut log = store.log(from);
        let (mut read, mut batch) = (Vec::new(), Vec::new());
        let mut last = from;
        for _ in 0..most {
            let Some(entry) = log.next().transpose()? else {
                assert!(batch.is_empty(), "a batch comes as a whole");
                return Ok((read, true));
            };
            assert!(entry.position >= last || !batch.is_empty(), "{entry:?} behind {last:?}");
            let part = entry.batch;
            let opens = matches!(part, BatchPart::Single | BatchPart::First);
            assert_eq!(batch.is_empty(), opens, "batches come in one piece");
            if !entry.ends_batch() {
                assert_eq!((entry.next, log.position()), (entry.position, entry.position));
                batch.push(entry);
                continue;
            }
            assert!(entry.next > entry.position);
            last = entry.next;
            self.position = entry.next.to_bytes();
            batch.push(entry);
            for entry in batch.drain(..) {
                self.apply(&entry);
                read.push(write(&entry));
            }
        }
        Ok((read, false))
    }

    /// Begins anew with a copy of all that there is.
    pub(super) fn copy(&mut self, store: &Store) {
        self.copy_beside(store, || ());
    }

    /// As [`Replica::copy`], where something is written when the copy has begun.
    fn copy_beside(&mut self, store: &Store, write: impl FnOnce()) {
        self.copies += 1;
        let end = store.end().unwrap();
        write();
        self.contents.clear();
        for key in store.keys() {
            let key = key.unwrap().to_vec();
            let expires_at = store.expires_at(&key).unwrap();
            // Beside writers it may be gone by now; the log says so.
            if let (Some(value), Some(expires_at)) = (store.get(&key).unwrap(), expires_at) {
                self.contents.insert(key, (value.to_vec(), expires_at));
            }
        }
        store.sync().unwrap();
        self.position = end.to_bytes();
    }

    /// Catches up, one way or the other.
    pub(super) fn follow(&mut self, store: &Store) {
        match self.read(store, usize::MAX) {
            Ok((_, ended)) => assert!(ended),
            Err(Error::Gone { .. }) => self.copy(store),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(self.shown(store), unexpired(store));
        // Nothing is left to be read, and all say so.
        let mut rest = store.log(Position::from_bytes(self.position));
        assert!(rest.next().is_none() && log(store, rest.position()).is_empty());
        let end = store.end().unwrap();
        assert!(log(store, end).is_empty());
    }
}

/// Nothing fails but what a crash ends.
fn sound_step() -> impl Strategy<Value = Step> {
    let is_sound = |step: &Step| !matches!(step, Step::FailSoon { .. } | Step::Room { .. });
    step().prop_filter("something fails", is_sound)
}

proptest! {
    #![proptest_config(Config { cases: CASES.max(Config::default().cases), failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_replica_ends_as_its_store_through_reopenings_compactions_kills_and_power_losses(
        setup in setup(),
        steps in prop::collection::vec((sound_step(), prop::option::of(0usize..40)), 1..80),
    ) {
        let mut run = Run::new(setup);
        let mut replica = Replica::new();
        for (step, feed) in &steps {
            run.take(step);
            // A machine that goes down in the middle is the model's to see.
            if run.machine.fs.pending_crash().is_some() {
                continue;
            }
            match feed {
                None => {}
                Some(0) => replica.follow(&run.store),
                Some(most) => match replica.read(&run.store, *most) {
                    Ok(_) => {}
                    Err(Error::Gone { .. }) => {
                        let put = Step::Put { key: 1, len: *most, durability: None };
                        replica.copy_beside(&run.store.clone(), || run.take(&put));
                    }
                    Err(error) => panic!("{error}"),
                },
            }
        }
        if run.machine.fs.pending_crash().is_none() {
            replica.follow(&run.store);
        }
    }

    #[test]
    fn without_crashes_a_replica_reads_exactly_what_is_new_or_is_told(
        setup in setup(),
        steps in prop::collection::vec((
            calm_step().prop_filter("leaves all keys", |step| !matches!(step, Step::Clear)),
            prop::bool::weighted(0.3),
        ), 1..80),
    ) {
        let mut run = Run::new(setup);
        let mut replica = Replica::new();
        // What the log held behind the replica's position, when a write came; how often copies may have replaced
        // segments since it read.
        let (mut new, mut replaced, mut reopened) = (Vec::new(), 0, false);
        for (step, feed) in &steps {
            let before = run.store.end().unwrap();
            let mut watcher = run.store.watch("").unwrap();
            let runs = run.store.stats().compaction.runs;
            run.take(step);
            match step {
                Step::Compact => replaced += 1,
                Step::Upkeep => {
                    replaced += (run.store.stats().compaction.runs - runs) as usize;
                }
                // The first write after it takes up a small segment.
                Step::Reopen => reopened = true,
                _ => {
                    let mut written = log(&run.store, before);
                    let own = std::iter::from_fn(|| watcher.try_next().unwrap()).count();
                    let copies = written.len() - own;
                    prop_assert!(copies == 0 || replaced > 0 || reopened);
                    if own > 0 {
                        replaced += usize::from(std::mem::take(&mut reopened));
                    }
                    new.extend(written.split_off(copies));
                }
            }
            if !feed {
                continue;
            }
            let caught_up = new.is_empty();
            let is_new = replica.position == Position::START.to_bytes();
            match replica.read(&run.store, usize::MAX) {
                Ok((read, true)) => {
                    // Copies of what it knows come between, where segments that were older than what is new have been
                    // replaced. From the start, what counts comes, and that may be less.
                    let mut rest = read.iter();
                    let is_all = new.iter().all(|new| rest.any(|read| read == new));
                    prop_assert!(is_all || is_new && replaced > 0, "{read:?} {new:?}");
                    prop_assert!(replaced > 0 || read == new);
                }
                Err(Error::Gone { .. }) => {
                    // Copies that were replaced in their turn, unread, are not told from what was written.
                    prop_assert!(replaced > usize::from(caught_up), "nothing was missing");
                    replica.copy(&run.store);
                }
                other => panic!("{other:?}"),
            }
            prop_assert_eq!(replica.shown(&run.store), unexpired(&run.store));
            (new, replaced) = (Vec::new(), 0);
        }
    }

    #[test]
    fn positions_of_what_is_durable_outlive_a_power_loss(
        setup in setup(),
        before in prop::collection::vec(calm_step(), 1..30),
        after in prop::collection::vec(
            calm_step().prop_filter("leaves all segments", |step| !matches!(step, Step::Compact | Step::Upkeep | Step::Clear | Step::Reopen)), 0..6
        ),
        seed in any::<u32>(),
    ) {
        let mut run = Run::new(setup);
        before.iter().for_each(|step| run.take(step));
        // So that what comes takes up nothing.
        run.take(&Step::Put { key: 1, len: 5, durability: None });
        run.take(&Step::Sync);
        let mut replica = Replica::new();
        replica.follow(&run.store);
        let durable = Position::from_bytes(replica.position);
        after.iter().for_each(|step| run.take(step));
        // A segment that was sealed since may be small, and be taken up by the recovery.
        let is_newest = run.store.end().unwrap().segment() == durable.segment();
        run.take(&Step::Crash(PowerLoss { seed: seed.into(), again_at: None }));
        replica.follow(&run.store);
        prop_assert!(replica.copies == 0 || !is_newest);
    }
}

#[test]
fn a_replica_follows_beside_writers_and_compactions() {
    let mut machine = Machine::new(2000);
    machine.options = machine.options.durability(Durability::Buffered);
    let store = machine.open().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..2u32)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    for n in 0..3000u32 {
                        let key = format!("{writer}/{}", n * 7 % 23);
                        match n % 5 {
                            0 => drop(store.delete(&key).unwrap()),
                            1 => store
                                .write(Batch::new().put(&key, n.to_be_bytes()).delete("shared"))
                                .unwrap(),
                            2 => store.put("shared", key).unwrap(),
                            _ => store.put(&key, "v".repeat(n as usize % 90)).unwrap(),
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                store.compact().unwrap();
            }
        });
        let follower = scope.spawn(|| {
            let (mut replica, mut read) = (Replica::new(), 0);
            while !done.load(Ordering::Relaxed) {
                match replica.read(&store, 100) {
                    Ok((writes, _)) => read += writes.len(),
                    // Beside the writers, a copy is of no moment; the log puts it right.
                    Err(Error::Gone { .. }) => replica.copy(&store),
                    Err(error) => panic!("{error}"),
                }
            }
            (replica, read)
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        let (mut replica, read) = follower.join().unwrap();
        replica.follow(&store);
        assert!(read > 0, "it followed");
    });
}
