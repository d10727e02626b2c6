//! Stores that compact by themselves.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use zerocask::{Compaction, CompactionOutcome, CompactionPolicy, CompactionStats, Options, Store};

use crate::support::options;

/// No test takes as long.
const PATIENCE: Duration = Duration::from_secs(60);
const SEGMENT_SIZE: u64 = 64 << 10;

fn auto(policy: CompactionPolicy) -> Options {
    options().segment_size(SEGMENT_SIZE).compaction(Compaction::Auto(policy))
}

/// Waits until the figures are so.
#[track_caller]
fn wait_until(store: &Store, is_so: impl Fn(&CompactionStats) -> bool) -> CompactionStats {
    let began = Instant::now();
    loop {
        let stats = store.stats().compaction;
        if is_so(&stats) {
            return stats;
        }
        assert!(began.elapsed() < PATIENCE, "{:?}", store.stats());
        thread::yield_now();
    }
}

/// Twelve segments full, of which every other record is dead; there is more that lives than dies.
fn put_half(store: &Store) {
    for round in 0..2u8 {
        for n in (0..1000u32).step_by(usize::from(round) + 1) {
            store.put(n.to_be_bytes(), [round; 700]).unwrap();
        }
    }
}

fn check_half(store: &Store) {
    for n in 0..1000u32 {
        let round = u8::from(n % 2 == 0);
        assert_eq!(store.get(n.to_be_bytes()).unwrap().unwrap(), [round; 700]);
    }
}

/// By which a run under way takes forever, though nothing presses.
fn endless() -> CompactionPolicy {
    CompactionPolicy::new().start_at_store_dead_percent(100).bytes_per_second(Some(1))
}

/// A store in which such a run is under way.
fn with_endless_run(dir: &Path) -> Store {
    let store = auto(endless()).open(dir).unwrap();
    for n in 0..8000u32 {
        store.put(n.to_be_bytes(), [0; 700]).unwrap();
    }
    for n in 0..4500u32 {
        store.put(n.to_be_bytes(), [1; 700]).unwrap();
    }
    wait_until(&store, is_under_way);
    store
}

/// Beyond what goes by at once.
fn is_under_way(stats: &CompactionStats) -> bool {
    stats.is_running && stats.progress.done > 64 << 10
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn everything(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    names(dir).into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

#[test]
fn a_store_compacts_by_itself_unless_it_is_told_not_to() {
    let dir = tempfile::tempdir().unwrap();
    let by_default = options().compaction(Compaction::default()).segment_size(SEGMENT_SIZE);
    let store = by_default.open(dir.path()).unwrap();
    put_half(&store);
    let stats = wait_until(&store, |stats| stats.runs > 0 && !stats.is_running);
    assert!(stats.bytes_freed > 0 && stats.failures == 0);
    assert_eq!(stats.last.map(|last| last.outcome), Some(CompactionOutcome::Done));
    check_half(&store);
    store.close().unwrap();
    check_half(&options().open(dir.path()).unwrap());

    let other = tempfile::tempdir().unwrap();
    let manual = options().segment_size(SEGMENT_SIZE).compaction(Compaction::Manual);
    let store = manual.open(other.path()).unwrap();
    put_half(&store);
    store.resume_compaction();
    assert_eq!(store.stats().compaction, CompactionStats::default());
    store.compact().unwrap();
    assert_eq!((store.stats().compaction.runs, store.stats().dead_bytes), (1, 0));
}

#[test]
fn a_store_that_is_opened_and_read_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let manual = options().segment_size(SEGMENT_SIZE).compaction(Compaction::Manual);
    let store = manual.open(dir.path()).unwrap();
    put_half(&store);
    store.close().unwrap();
    let before = everything(dir.path());
    let store = auto(CompactionPolicy::new()).open(dir.path()).unwrap();
    // Time enough for a thread to begin.
    (0..30).for_each(|_| check_half(&store));
    assert_eq!(store.stats().compaction, CompactionStats::default());
    store.close().unwrap();
    assert!(everything(dir.path()) == before);
    let store = auto(CompactionPolicy::new()).read_only(true).open(dir.path()).unwrap();
    store.resume_compaction();
    check_half(&store);
    drop(store);
    assert!(everything(dir.path()) == before);
    // What is due is done when the store is told to, or when something is written.
    let store = auto(CompactionPolicy::new()).open(dir.path()).unwrap();
    store.resume_compaction();
    wait_until(&store, |stats| stats.runs > 0);
}

#[test]
fn closing_does_not_wait_for_a_run_and_leaves_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    for close in [|store: Store| store.close().unwrap(), drop] {
        close(with_endless_run(dir.path()));
        assert!(!names(dir.path()).iter().any(|name| name.ends_with(".tmp")));
    }
    assert!(began.elapsed() < PATIENCE);
    let store = options().open(dir.path()).unwrap();
    assert!(store.recovery_report().removed.is_empty());
    assert_eq!(store.len(), 8000);
}

#[test]
fn a_pause_ends_the_run_that_is_under_way_and_a_resumption_begins_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_endless_run(dir.path());
    store.pause_compaction();
    let stats = store.stats().compaction;
    assert!(stats.is_paused && !stats.is_running);
    assert_eq!(stats.last.map(|last| last.outcome), Some(CompactionOutcome::Stopped));
    assert!(!names(dir.path()).iter().any(|name| name.ends_with(".tmp")));
    store.resume_compaction();
    wait_until(&store, is_under_way);
}

#[test]
fn what_is_asked_for_does_not_wait_for_what_the_store_does_by_itself() {
    let (dir, dest) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = with_endless_run(dir.path());
    // Also if nothing is sealed for it, what it stops is begun again.
    for _ in 0..2 {
        store.backup(dest.path().join("backup"), |_| ControlFlow::Continue(())).unwrap();
        wait_until(&store, is_under_way);
    }
    let report = store.compact().unwrap();
    assert_eq!((report.records_after, store.stats().dead_bytes), (8000, 0));
    assert_eq!(options().open(dest.path().join("backup")).unwrap().len(), 8000);
    store.close().unwrap();

    let store = with_endless_run(dir.path());
    store.clear().unwrap();
    assert!(store.is_empty());
}

#[test]
fn the_pace_bends_while_too_much_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let slow = CompactionPolicy::new().bytes_per_second(Some(1));
    let store = auto(slow).open(dir.path()).unwrap();
    for round in 0..4u8 {
        for n in 0..4000u32 {
            store.put(n.to_be_bytes(), [round; 700]).unwrap();
        }
    }
    // It comes as far as to where nothing presses.
    let began = Instant::now();
    while store.stats().dead_bytes * 2 > store.stats().bytes {
        assert!(began.elapsed() < PATIENCE);
        thread::yield_now();
    }
}

#[test]
fn writers_and_readers_beside_compactions_of_the_stores_own_see_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let policy = CompactionPolicy::new().bytes_per_second(None).small_files(3);
    let store = auto(policy).open(dir.path()).unwrap();
    let over = AtomicBool::new(false);
    let write = |mine: u32| {
        for round in 0..60u32 {
            for n in 0..200u32 {
                let key = [mine, n].map(u32::to_be_bytes).concat();
                if (n + round) % 5 == 0 {
                    store.delete(&key).unwrap();
                } else {
                    store.put(&key, round.to_be_bytes().repeat(50)).unwrap();
                }
                let found = store.get(&key).unwrap();
                assert_eq!(found.is_none(), (n + round) % 5 == 0);
            }
        }
    };
    thread::scope(|scope| {
        let writers = [scope.spawn(move || write(0)), scope.spawn(move || write(1))];
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for pair in store.iter() {
                    let (_, value) = pair.unwrap();
                    assert!(value.chunks(4).all(|piece| piece == &value[..4]));
                }
            }
        });
        let ended = writers.map(thread::ScopedJoinHandle::join);
        over.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(Result::unwrap);
    });
    let check = |store: &Store| {
        assert_eq!(store.len(), 2 * 160);
        for pair in store.iter() {
            let (key, value) = pair.unwrap();
            let n = u32::from_be_bytes(key[4..].try_into().unwrap());
            assert!((n + 59) % 5 != 0);
            assert_eq!(value[..4], 59u32.to_be_bytes());
        }
    };
    check(&store);
    let stats = wait_until(&store, |stats| stats.runs > 3);
    assert_eq!(stats.failures, 0);
    store.close().unwrap();
    check(&options().open(dir.path()).unwrap());
}
