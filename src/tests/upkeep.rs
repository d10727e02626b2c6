//! What a store does for itself, turn by turn: compactions of some segments beside others that stay.

use std::io::ErrorKind;
use std::ops::ControlFlow::{Break, Continue};
use std::time::Duration;

use super::hazards::{MANY, spoil};
use super::support::{Contents, Machine, contents, value};
use crate::batch::Batch;
use crate::compact::{CompactionOutcome, CompactionStats};
use crate::error::Error;
use crate::fs::sim::Op;
use crate::options::Options;
use crate::policy::{Compaction, CompactionPolicy};
use crate::store::Store;
use crate::upkeep::Driver;

/// No segment is small.
fn policy() -> CompactionPolicy {
    CompactionPolicy::new().small_below(Some(0)).bytes_per_run(Some(u64::MAX))
}

/// One whose turns are taken by the test.
fn machine(segment_size: u64, policy: CompactionPolicy) -> Machine {
    let mut machine = Machine::new(segment_size);
    let options = machine.options.clone();
    machine.options = options.compaction(Compaction::Auto(policy));
    machine.driver = Driver::Caller;
    machine
}

/// One that comes to an end.
fn turn(store: &Store) {
    let mut steps = 0;
    let told = |_| {
        steps += 1;
        if steps < MANY { Continue(()) } else { Break(()) }
    };
    store.take_turn(told).unwrap();
}

fn runs(store: &Store) -> u64 {
    store.stats().compaction.runs
}

/// Four records of 50 bytes each, which fill a segment of 200.
fn put_segment(store: &Store, keys: [&str; 4], value: u8) {
    for key in keys {
        store.put(key, [value; 29]).unwrap();
    }
}

/// Sealed: two segments that stay, and two of which three quarters and a half are dead; in the active one, one record.
fn two_of_four(machine: &Machine) -> Store {
    let store = machine.open().unwrap();
    put_segment(&store, ["a", "b", "c", "d"], b'1');
    put_segment(&store, ["e", "f", "g", "h"], b'1');
    put_segment(&store, ["i", "j", "k", "l"], b'1');
    put_segment(&store, ["a", "b", "c", "i"], b'2');
    put_segment(&store, ["j", "m", "n", "o"], b'1');
    store.put("p", [b'1'; 29]).unwrap();
    store
}

/// As the segments have it, whatever a checkpoint says.
fn reopened(store: Store, machine: &Machine) -> Store {
    store.close().unwrap();
    machine.forget_companions();
    machine.open().unwrap()
}

#[test]
fn a_turn_rewrites_the_segments_that_are_due_and_leaves_the_others_and_the_active_one() {
    let machine = machine(200, policy());
    let store = two_of_four(&machine);
    let (expected, before) = (contents(&store), machine.data());
    assert_eq!(before.len(), 6);
    turn(&store);
    let after = machine.data();
    let [second, fourth, fifth, output, active] = &after[..] else { panic!("{after:?}") };
    assert_eq!([second, fourth, fifth, active], [&before[1], &before[3], &before[4], &before[5]]);
    assert!(output > fifth && output < active, "above what was sealed, below what goes on");
    assert_eq!(contents(&store), expected);
    let stats = store.stats();
    let CompactionStats { runs, bytes_written, bytes_freed, last, .. } = stats.compaction;
    assert_eq!((runs, bytes_written, bytes_freed), (1, 3 * 50, 5 * 50));
    assert_eq!(
        (last.map(|last| last.outcome), stats.dead_bytes),
        (Some(CompactionOutcome::Done), 0)
    );
    assert_eq!(stats.compaction.progress.done, stats.compaction.progress.total);
    turn(&store);
    assert_eq!(machine.data(), after, "nothing more is due");
    assert_eq!(contents(&reopened(store, &machine)), expected);
}

#[test]
fn hazard_04_what_is_active_wins_over_copies_of_what_it_replaces() {
    let machine = machine(200, policy());
    let store = two_of_four(&machine);
    // While the copies are made, and after.
    let writer = store.clone();
    machine.fs.before(Op::Create, ".data.tmp", move || writer.put("d", "meanwhile").unwrap());
    turn(&store);
    store.put("k", "afterwards").unwrap();
    let expected = contents(&store);
    assert_eq!(value(&store, "d").as_deref(), Some("meanwhile"));
    for machine in [machine.copy(), machine.kill()] {
        assert_eq!(contents(&machine.open().unwrap()), expected);
    }
}

/// A turn that copies something, to ids above all that was sealed, but for the newest file.
fn take_turn_with_copies(machine: &Machine, store: &Store) {
    let before = machine.data();
    turn(store);
    let highest = before.iter().rev().nth(1).unwrap();
    let copies = machine.data().into_iter().filter(|name| !before.contains(name));
    assert!(copies.clone().count() > 1 && copies.clone().all(|name| name > *highest));
}

/// Some of 400 keys; all of them in one segment if they are put together.
fn put_some(store: &Store, which: impl Fn(usize) -> bool, value: u8) {
    let mut batch = Batch::new();
    for n in (0..400).filter(|n| which(*n)) {
        batch.put(format!("{n:04}"), [value; 26]);
    }
    store.write(&batch).unwrap();
}

/// In which the next turn copies more than a seal puts ids aside for.
fn with_many_copies(machine: &Machine) -> Store {
    let store = machine.open().unwrap();
    (0..400).for_each(|n| put_some(&store, |it| it == n, b'1'));
    put_some(&store, |n| n % 2 == 0, b'2');
    store
}

#[test]
fn hazard_04_what_is_active_does_not_go_on_below_ids_that_are_reserved_behind_it() {
    let machine = machine(200, policy().include_from_dead_percent(1));
    let store = with_many_copies(&machine);
    store.put("active", "has room").unwrap();
    take_turn_with_copies(&machine, &store);
    store.put("0001", "newest").unwrap();
    let expected = contents(&store);
    assert_eq!(contents(&machine.copy().open().unwrap()), expected);
}

#[test]
fn hazard_04_ids_that_were_put_aside_are_not_taken_below_those_that_were_reserved_since() {
    let machine = machine(200, policy().include_from_dead_percent(1));
    let store = with_many_copies(&machine);
    take_turn_with_copies(&machine, &store);
    // Nothing has been sealed since.
    put_some(&store, |n| n % 10 > 1, b'3');
    take_turn_with_copies(&machine, &store);
    let expected = contents(&store);
    assert_eq!(contents(&machine.copy().open().unwrap()), expected);
}

#[test]
fn hazard_08_runs_of_one_turn_take_ids_of_their_own() {
    let machine = machine(200, policy().bytes_per_run(Some(1)));
    let store = two_of_four(&machine);
    let expected = contents(&store);
    turn(&store);
    assert_eq!((runs(&store), machine.data().len()), (2, 6));
    assert_eq!(contents(&store), expected);
    assert_eq!(contents(&reopened(store, &machine)), expected);
}

#[test]
fn hazard_01_a_tombstone_outlives_a_run_that_leaves_something_older_and_goes_with_the_oldest() {
    let machine = machine(200, policy().include_from_dead_percent(30));
    let store = machine.open().unwrap();
    put_segment(&store, ["a", "b", "c", "d"], b'1');
    put_segment(&store, ["s", "t", "u", "v"], b'1');
    put_segment(&store, ["w", "x", "y", "z"], b'1');
    put_segment(&store, ["e", "e", "f", "f"], b'1');
    // The tombstones of a and of what is put here.
    store.delete("a").unwrap();
    put_segment(&store, ["e", "e", "e", "f"], b'2');
    store.put("h", [b'1'; 29]).unwrap();
    store.put("h", [b'2'; 29]).unwrap();
    let expected = contents(&store);
    let rewritten = machine.data()[3..5].to_vec();
    turn(&store);
    assert!(rewritten.iter().all(|name| !machine.data().contains(name)));
    assert!(machine.data().contains(&"00000001.data".into()), "the oldest segment is left");
    let store = reopened(store, &machine);
    assert_eq!((value(&store, "a"), contents(&store)), (None, expected), "resurrected");
    // When the oldest is worth it, it goes, and the tombstone with it.
    for key in ["b", "c", "s", "t", "u", "w", "x", "y"] {
        store.delete(key).unwrap();
    }
    put_segment(&store, ["i", "j", "k", "l"], b'1');
    put_segment(&store, ["i", "j", "k", "l"], b'2');
    put_segment(&store, ["i", "j", "k", "l"], b'3');
    turn(&store);
    assert!(!machine.data().contains(&"00000001.data".into()));
    let expected = contents(&store);
    let store = reopened(store, &machine);
    assert_eq!(contents(&store), expected);
    assert_eq!([value(&store, "a"), value(&store, "b")], [None, None], "resurrected");
}

#[test]
fn hazard_01_what_has_expired_outlives_a_run_that_leaves_something_older() {
    let machine = machine(200, policy().include_from_dead_percent(30));
    let store = machine.open().unwrap();
    put_segment(&store, ["a", "b", "c", "d"], b'1');
    put_segment(&store, ["s", "t", "u", "v"], b'1');
    put_segment(&store, ["w", "x", "y", "z"], b'1');
    store.put_with_ttl("a", [b'2'; 21], Duration::from_micros(1)).unwrap();
    put_segment(&store, ["e", "e", "e", "f"], b'1');
    store.put("f", [b'2'; 29]).unwrap();
    machine.time.set(10 << 20);
    let (ran, names) = (runs(&store), machine.data());
    turn(&store);
    assert!(runs(&store) > ran && machine.data()[0] == names[0]);
    let store = reopened(store, &machine);
    assert_eq!(value(&store, "a"), None, "resurrected");
    assert_eq!(store.len(), 14, "its entry hides what is older");
}

#[test]
fn hazard_05_a_run_that_seals_nothing_makes_durable_what_it_rests_on() {
    for seed in 0..40 {
        let machine = machine(200, policy());
        let store = two_of_four(&machine);
        store.sync().unwrap();
        // Not durable, and what it replaces is dropped.
        store.put("j", "new").unwrap();
        store.delete("m").unwrap();
        let expected = contents(&store);
        let ran = runs(&store);
        turn(&store);
        assert!(runs(&store) > ran);
        assert_eq!(contents(&machine.crash(seed).open().unwrap()), expected, "seed {seed}");
    }
}

/// Takes turns on stores of which `end` has made something at each operation in turn; answers how many there are.
fn sweep(mut end: impl FnMut(&Machine, u64), mut check: impl FnMut(Machine, Store, &Contents)) {
    for step in 0..MANY {
        let machine = machine(200, policy());
        let store = two_of_four(&machine);
        let expected = contents(&store);
        end(&machine, step);
        let _ = store.take_turn(|_| Continue(()));
        let is_over = !machine.fs.is_down() && machine.fs.failures() == 0;
        check(machine, store, &expected);
        if is_over {
            assert!(step > 10, "the sweep met the compaction");
            return;
        }
    }
    panic!("the sweep did not end");
}

#[test]
fn hazard_06_a_crash_at_any_step_of_a_turn_leaves_the_contents_as_they_were() {
    let crash = |machine: &Machine, step| machine.fs.crash_at(step);
    sweep(crash, |machine, _store, expected| {
        let crashes = (0..6).map(|seed| machine.crash(seed));
        for machine in crashes.chain(std::iter::once_with(|| machine.kill())) {
            let store = machine.open().unwrap();
            // A power loss takes what was not synced.
            let mut found = contents(&store);
            found.entry(b"p".to_vec()).or_insert(vec![b'1'; 29]);
            assert_eq!(found, *expected);
            let files = machine.data();
            drop(store);
            let store = machine.open().unwrap();
            assert_eq!(machine.data(), files, "recovery twice is recovery once");
            assert!(machine.names(".tmp").is_empty());
            store.compact().unwrap();
        }
    });
}

#[test]
fn after_a_turn_that_failed_the_store_is_as_before_and_the_next_one_succeeds() {
    let fail = |machine: &Machine, step| machine.fs.fail_at(step, None, ErrorKind::Other);
    sweep(fail, |machine, store, expected| {
        assert_eq!(contents(&store), *expected);
        let stats = store.stats().compaction;
        if stats.failures > 0 {
            assert_eq!(
                (stats.last.map(|last| last.outcome), stats.is_running),
                (Some(CompactionOutcome::Failed), false)
            );
        }
        match store.take_turn(|_| Continue(())) {
            Ok(()) => assert_eq!(store.stats().dead_bytes, 0),
            // A sync or a rename had failed.
            Err(error) => assert!(matches!(error, Error::Poisoned { .. }), "{error}"),
        }
        assert_eq!(contents(&store), *expected);
        drop(store);
        assert_eq!(contents(&machine.open().unwrap()), *expected);
    });
}

#[test]
fn on_a_full_disk_a_turn_takes_what_there_is_room_for_and_loses_nothing() {
    for room in (0..1800).step_by(11) {
        let machine = machine(200, policy());
        let store = two_of_four(&machine);
        let expected = contents(&store);
        let full = machine.fs.total_len() + room;
        machine.fs.set_capacity(Some(full));
        match store.take_turn(|_| Continue(())) {
            Ok(()) => assert!(runs(&store) == 0 || machine.fs.total_len() < full),
            Err(Error::Io { source, .. }) => assert_eq!(source.kind(), ErrorKind::StorageFull),
            Err(error) => panic!("{error}"),
        }
        // Hints and the manifest take some, too.
        assert!(room < 1300 || runs(&store) > 0, "room for one: {room}");
        assert_eq!(contents(&store), expected);
        machine.fs.set_capacity(None);
        turn(&store);
        assert_eq!((store.stats().dead_bytes, contents(&store)), (0, expected.clone()));
        assert_eq!(contents(&reopened(store, &machine)), expected);
    }
}

#[test]
fn a_turn_that_is_stopped_at_any_step_leaves_nothing_and_the_next_one_does_it_all() {
    for steps in 0..MANY {
        // Several segments are written.
        let machine = machine(200, policy().include_from_dead_percent(1));
        let store = two_of_four(&machine);
        put_segment(&store, ["q", "r", "s", "t"], b'1');
        put_segment(&store, ["u", "v", "w", "x"], b'1');
        put_segment(&store, ["q", "u", "y", "z"], b'2');
        let (expected, files) = (contents(&store), machine.data());
        let mut left = steps;
        let told = |_| {
            left = left.wrapping_sub(1);
            if left == u64::MAX { Break(()) } else { Continue(()) }
        };
        let stopped = store.take_turn(told);
        assert_eq!(contents(&store), expected);
        // What is left are the hints of what it has written.
        if stopped.is_ok() || runs(&store) > 0 {
            assert!(steps > 10);
            return;
        }
        assert!(matches!(stopped, Err(Error::Stopped)));
        assert_eq!(machine.data(), files, "after {steps} steps");
        assert_eq!(machine.names(".tmp"), [""; 0], "after {steps} steps");
        // The first ones are for hints.
        let last = store.stats().compaction.last;
        assert!(last.is_none_or(|last| last.outcome == CompactionOutcome::Stopped));
        assert_eq!(store.stats().compaction.failures, 0);
        turn(&store);
        assert_eq!(store.stats().dead_bytes, 0);
        assert_eq!(contents(&reopened(store, &machine)), expected);
    }
}

#[test]
fn a_segment_that_was_found_damaged_is_not_tried_again_until_it_was_found_sound() {
    let machine = machine(200, policy());
    let store = machine.open().unwrap();
    store.put("bad", "intact").unwrap();
    for _ in 0..3 {
        store.put("a", [b'1'; 29]).unwrap();
    }
    put_segment(&store, ["e", "f", "g", "h"], b'1');
    store.put("a", [b'2'; 29]).unwrap();
    spoil(&machine, "00000001.data", "intact");
    turn(&store);
    let (before, files) = (store.stats().compaction, machine.data());
    assert!(files.contains(&"00000001.data".into()));
    assert_eq!(
        (before.runs, before.last.as_ref().map(|last| last.outcome)),
        (0, Some(CompactionOutcome::Done))
    );
    turn(&store);
    assert_eq!(store.stats().compaction, before, "it does not even look");
    // What is above it is worth it by itself; what it was found to be stays known.
    put_segment(&store, ["c", "d", "c", "d"], b'3');
    put_segment(&store, ["c", "d", "c", "d"], b'4');
    turn(&store);
    assert!(runs(&store) == 1 && machine.data().contains(&"00000001.data".into()));
    store.put("bad", "mended").unwrap();
    turn(&store);
    assert!(machine.data().contains(&"00000001.data".into()));
    assert!(store.compact().unwrap().segments_kept.is_empty());
    assert!(!machine.data().contains(&"00000001.data".into()));
}

#[test]
fn turns_of_a_store_to_which_nobody_writes_come_to_an_end() {
    let machine = machine(200, CompactionPolicy::new().small_files(3));
    let store = machine.open().unwrap();
    for round in 0..6u32 {
        for n in 0..30u32 {
            let key = (n * 7 % 30).to_string();
            match (n + round) % 4 {
                0 => drop(store.delete(&key).unwrap()),
                1 => store.put_with_ttl(&key, "soon", Duration::from_micros(1)).unwrap(),
                _ => store.put(&key, [round as u8; 20]).unwrap(),
            }
        }
        machine.time.set(u64::from(round + 1) * (10 << 20));
        let expected = store.keys().count();
        turn(&store);
        let (done, files) = (store.stats().compaction, machine.data());
        turn(&store);
        assert_eq!((store.stats().compaction, machine.data()), (done, files));
        assert_eq!(store.keys().count(), expected);
        assert!(runs(&store) > 0);
    }
}

#[test]
fn small_segments_are_joined_though_nothing_in_them_is_dead() {
    let small = CompactionPolicy::new().small_files(4).small_below(Some(1 << 20));
    let machine = machine(4096, small);
    let store = machine.open().unwrap();
    for n in 0..4 {
        assert_eq!((machine.data().len(), runs(&store)), (n, 0));
        store.put(n.to_string(), [b'#'; 700]).unwrap();
        let log = store.inner_log();
        log.seal_for_compaction(&mut log.writer().unwrap()).unwrap();
        turn(&store);
    }
    assert_eq!((machine.data().len(), runs(&store)), (1, 1));
    let expected = contents(&store);
    assert_eq!(contents(&reopened(store, &machine)), expected);
}

#[test]
fn nothing_is_begun_while_it_is_paused_and_all_of_it_afterwards() {
    let machine = machine(200, policy());
    let store = two_of_four(&machine);
    store.pause_compaction();
    store.pause_compaction();
    turn(&store);
    assert!(store.stats().compaction.is_paused && runs(&store) == 0);
    store.resume_compaction();
    turn(&store);
    assert!(!store.stats().compaction.is_paused && runs(&store) == 1);
}

#[test]
fn a_poisoned_store_is_left_alone() {
    let machine = machine(200, policy());
    let store = two_of_four(&machine);
    machine.fs.fail_at(0, Some(Op::Sync), ErrorKind::Other);
    assert!(matches!(store.sync(), Err(Error::Poisoned { .. })));
    let files = machine.fs.names(Machine::dir());
    assert!(matches!(store.take_turn(|_| Continue(())), Err(Error::Poisoned { .. })));
    assert_eq!(machine.fs.names(Machine::dir()), files);
    assert_eq!(store.stats().compaction, CompactionStats::default(), "it is not even tried");
}

#[test]
fn shares_that_are_none_are_refused() {
    for percent in [0, 101] {
        for policy in [
            CompactionPolicy::new().start_at_dead_percent(percent),
            CompactionPolicy::new().start_at_store_dead_percent(percent),
            CompactionPolicy::new().include_from_dead_percent(percent),
        ] {
            let options = Options::new().compaction(Compaction::Auto(policy));
            assert!(matches!(options.check(), Err(Error::InvalidOption { .. })));
        }
    }
}

/// The last record in the order of the log is an old one then.
#[test]
fn hazard_09_copies_of_old_records_at_the_end_of_the_log_do_not_turn_the_clock_back() {
    let machine = machine(200, policy());
    let store = machine.open().unwrap();
    put_segment(&store, ["a", "b", "c", "d"], b'1');
    machine.time.set(900);
    store.put_with_ttl("dies", "at 1000", Duration::from_micros(100)).unwrap();
    put_segment(&store, ["a", "b", "c", "e"], b'2');
    machine.time.set(1000);
    store.put("last", "written at 1000").unwrap();
    store.checkpoint().unwrap();
    turn(&store);
    assert!(runs(&store) > 0);
    store.close().unwrap();
    machine.time.set(0);
    let store = machine.open().unwrap();
    assert_eq!((value(&store, "dies"), store.now()), (None, 1000));
}
