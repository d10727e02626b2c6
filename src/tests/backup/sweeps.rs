//! What an interruption of a backup leaves.

use std::io::ErrorKind;
use std::ops::ControlFlow;

use super::{backed_up, backup, copy, data_files, dest, open_backup};
use crate::error::Error;
use crate::store::Store;
use crate::tests::hazards::{MANY, half_dead};
use crate::tests::support::{Contents, Machine, contents};

/// A machine whose files can have second names, or cannot.
fn machine(links: bool) -> Machine {
    let machine = Machine::new(256);
    if !links {
        machine.fs.refuse_links();
    }
    machine
}

/// A store with a backup, and much that is new since.
pub(super) fn changed_since_backup(links: bool) -> (Machine, Store, Contents) {
    let machine = machine(links);
    half_dead(&machine);
    let store = machine.open().unwrap();
    let before = contents(&store);
    backup(&store).unwrap();
    store.delete("a").unwrap();
    store.put("b", "new").unwrap();
    store.compact().unwrap();
    store.put("c", "newer").unwrap();
    (machine, store, before)
}

#[test]
fn a_crash_at_any_step_of_the_first_backup_leaves_none_or_all_of_it() {
    [true, false].into_iter().for_each(crash_at_any_step_of_the_first);
}

fn crash_at_any_step_of_the_first(links: bool) {
    for step in 0..MANY {
        let machine = machine(links);
        let expected = half_dead(&machine);
        let store = machine.open().unwrap();
        machine.fs.crash_at(step);
        let done = backup(&store).is_ok();
        for seed in 0..6 {
            let machine = machine.crash(seed);
            match open_backup(&machine) {
                Ok(store) => assert_eq!(contents(&store), expected, "step {step}"),
                Err(Error::NotFound { .. } | Error::MissingManifest { .. }) => assert!(!done),
                Err(error) => panic!("step {step}: {error}"),
            }
            let store = machine.open().unwrap();
            assert_eq!(contents(&store), expected);
            backup(&store).unwrap();
            assert_eq!(backed_up(&machine), expected, "step {step}");
        }
        if done {
            assert!(step > 10, "the sweep met the backup");
            return;
        }
    }
    panic!("the sweep did not end");
}

#[test]
fn a_crash_at_any_step_of_a_later_backup_leaves_the_last_one_or_the_new_one() {
    [true, false].into_iter().for_each(crash_at_any_step_of_a_later);
}

fn crash_at_any_step_of_a_later(links: bool) {
    for step in 0..MANY {
        let (machine, store, before) = changed_since_backup(links);
        store.sync().unwrap();
        let after = contents(&store);
        machine.fs.crash_at(step);
        let done = backup(&store).is_ok();
        let mut outcomes: Vec<_> = (0..6).map(|seed| machine.crash(seed)).collect();
        outcomes.push(machine.kill());
        for machine in outcomes {
            let unopened = copy(&machine);
            if !links {
                unopened.fs.refuse_links();
            }
            let found = contents(&open_backup(&machine).unwrap());
            assert!(found == after || (found == before && !done), "step {step}: {found:?}");
            // Whether it was opened meanwhile or not, the next one is as any other.
            for machine in [machine, unopened] {
                let store = machine.open().unwrap();
                assert_eq!(contents(&store), after);
                let report = backup(&store).unwrap();
                assert_eq!(report.linked + report.copied + report.unchanged, report.segments);
                assert!(if links { report.copied == 0 } else { report.linked == 0 });
                assert_eq!(backed_up(&machine), after, "step {step}");
                assert_eq!(data_files(&machine).len(), report.segments);
            }
        }
        if done {
            assert!(step > 10, "the sweep met the backup");
            return;
        }
    }
    panic!("the sweep did not end");
}

#[test]
fn what_an_opening_of_a_backup_shows_no_power_loss_takes_back() {
    [true, false].into_iter().for_each(kill_and_crash_at_any_step);
}

fn kill_and_crash_at_any_step(links: bool) {
    for step in 0..MANY {
        let (machine, store, _) = changed_since_backup(links);
        store.sync().unwrap();
        machine.fs.crash_at(step);
        if backup(&store).is_ok() {
            assert!(step > 10, "the sweep met the backup");
            return;
        }
        let machine = machine.kill();
        let found = contents(&open_backup(&machine).unwrap());
        for seed in 0..6 {
            let again = contents(&open_backup(&machine.crash(seed)).unwrap());
            assert_eq!(again, found, "step {step}");
        }
    }
    panic!("the sweep did not end");
}

#[test]
fn a_failure_at_any_step_of_a_backup_leaves_the_last_one_or_the_new_one_and_the_store_as_it_was() {
    [true, false].into_iter().for_each(failure_at_any_step);
}

fn failure_at_any_step(links: bool) {
    for step in 0..MANY {
        let (mut machine, mut store, before) = changed_since_backup(links);
        let after = contents(&store);
        machine.fs.fail_at(step, None, ErrorKind::StorageFull);
        let result = backup(&store);
        let fired = !machine.fs.is_armed();
        machine.fs.disarm();
        let found = backed_up(&machine);
        assert!(found == after || (found == before && result.is_err()), "step {step}");
        assert_eq!(contents(&store), after);
        if let Err(Error::Poisoned { .. }) = result {
            // It was the sealing of the store's own segment that failed.
            drop(store);
            machine = machine.kill();
            store = machine.open().unwrap();
        }
        store.put("usable", "still").unwrap();
        backup(&store).unwrap();
        assert_eq!(backed_up(&machine), contents(&store), "step {step}");
        if !fired {
            assert!(result.is_ok() && step > 10, "the sweep met the backup");
            return;
        }
    }
    panic!("the sweep did not end");
}

#[test]
fn what_an_interrupted_backup_has_brought_makes_room_for_the_next() {
    for is_first in [true, false] {
        let machine = Machine::new(1 << 16);
        let store = machine.open().unwrap();
        if !is_first {
            backup(&store).unwrap();
        }
        for n in 0..5 {
            store.put(format!("{n}"), "x".repeat(60_000)).unwrap();
        }
        store.sync().unwrap();
        let without = machine.fs.total_len();
        machine.fs.refuse_links();
        let mut left = 4;
        let stopped = store.backup(dest(), |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(stopped, Err(Error::Stopped)) && data_files(&machine).len() == 3);
        assert!(store.delete("0").unwrap());
        store.compact().unwrap();
        // There is room for one copy and no more.
        machine.fs.set_capacity(Some(without + 260_000));
        machine.fs.write(&dest().join("notes.tmp"), b"not ours");
        backup(&store).unwrap();
        assert_eq!(backed_up(&machine), contents(&store));
        assert_eq!(machine.fs.read(&dest().join("notes.tmp")).unwrap(), b"not ours");
    }
}
