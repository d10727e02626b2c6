//! What an interruption of a repair leaves: the same work for the next one, and the same to tell.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::{is_kept, orphaned_inputs, read, repair, repair_with, strictly, try_repair};
use crate::error::Error;
use crate::fs::sim::Op;
use crate::repair::{LostRecord, RepairReport};
use crate::tests::hazards::{MANY, half_dead, spoil};
use crate::tests::support::{Contents, Machine};
use crate::tests::verify::verify;

/// A directory to repair.
struct Damaged {
    machine: Machine,
    /// What has to be kept of it.
    files: Vec<Vec<u8>>,
    /// What a repair saves, and what it says that it could not.
    saved: Contents,
    losses: Losses,
}

#[derive(PartialEq, Eq, Debug)]
struct Losses {
    lost: Vec<LostRecord>,
    gone: Vec<(PathBuf, u64)>,
    manifest: bool,
}

impl Losses {
    fn of(report: &RepairReport) -> Self {
        let gone = report.gone.iter().map(|fault| (fault.path.clone(), fault.offset));
        let manifest = report.manifest_rebuilt;
        Losses { lost: report.lost.clone(), gone: gone.collect(), manifest }
    }

    /// Whether the note that a repair has left names them all.
    fn are_noted(&self, machine: &Machine) -> bool {
        let note = String::from_utf8(read(machine, "REPAIR.damaged")).unwrap();
        let is_there = |path: &PathBuf, offset| {
            note.contains(&format!("{} at offset {offset}: ", path.display()))
        };
        note.contains("the manifest was made anew") == self.manifest
            && self.lost.iter().all(|lost| is_there(&lost.path, lost.offset))
            && self.gone.iter().all(|(path, offset)| is_there(path, *offset))
    }
}

impl Damaged {
    fn new(machine: Machine) -> Self {
        let report = verify(&machine);
        let paths = report.damage.iter().map(|fault| &fault.path).chain(&report.leftovers);
        let files = paths.filter_map(|path| machine.fs.read(path)).collect();
        let (report, saved) = {
            let machine = machine.copy();
            (repair(&machine), strictly(&machine))
        };
        Damaged { machine, files, saved, losses: Losses::of(&report) }
    }

    fn is_kept(&self, machine: &Machine) -> bool {
        self.files.iter().all(|file| is_kept(machine, file))
    }

    /// Repairs what an interrupted repair has left.
    fn repair_again(&self, machine: &Machine) {
        assert!(self.is_kept(machine));
        let report = repair(machine);
        assert_eq!(strictly(machine), self.saved);
        assert!(self.is_kept(machine));
        match report.is_clean() {
            true => assert!(self.losses.are_noted(machine), "what it knew is nowhere"),
            false => assert_eq!(Losses::of(&report), self.losses),
        }
    }
}

fn all_damaged() -> impl Iterator<Item = Damaged> {
    let closed = Machine::new(256);
    half_dead(&closed);
    closed.open().unwrap().close().unwrap();
    let name = |n: usize| closed.data()[n].clone();

    let unclosed = closed.copy();
    let store = unclosed.open().unwrap();
    store.put("a", "in the log").unwrap();
    store.delete("b").unwrap();
    let unclosed = unclosed.kill();
    drop(store);
    let bad_and_unclosed = unclosed.copy();
    bad_and_unclosed.fs.write(&Machine::path("00000000.data"), b"an orphan");
    for n in [1, 3] {
        bad_and_unclosed.flip(&name(n), 30);
    }
    let missing_and_unclosed = unclosed.copy();
    missing_and_unclosed.fs.remove_file(&Machine::path(&name(1)));

    // A recovery that was interrupted has listed the log, of which the first file is lost.
    let missing_log = unclosed.copy();
    let log = missing_log.data().pop().unwrap();
    missing_log.fs.fail_next(Op::Create, ".data.tmp", ErrorKind::StorageFull);
    assert!(missing_log.open().is_err());
    missing_log.fs.remove_file(&Machine::path(&log));

    let damaged_manifest = closed.copy();
    damaged_manifest.flip("MANIFEST", 40);
    damaged_manifest.flip(&name(0), 30);

    let lost_manifest = closed.copy();
    lost_manifest.fs.remove_file(&Machine::path("MANIFEST"));
    lost_manifest.flip(&name(1), 18);
    lost_manifest.fs.write(&Machine::path("00000009.hint"), b"");
    let last = Machine::path(&closed.data().pop().unwrap());
    let torn = closed.fs.read(&last).unwrap();
    lost_manifest.fs.write(&last, &torn[..torn.len() - 1]);

    let manifest_alone = closed.copy();
    manifest_alone.flip("MANIFEST", 40);

    let missing_and_bad = closed.copy();
    missing_and_bad.fs.remove_file(&Machine::path(&name(0)));
    missing_and_bad.flip(&name(2), 30);

    let short = closed.copy();
    short.fs.write(&Machine::path(&name(1)), &read(&closed, &name(1))[..70]);

    let machines = [
        bad_and_unclosed,
        missing_and_unclosed,
        missing_log,
        damaged_manifest,
        lost_manifest,
        manifest_alone,
        missing_and_bad,
        short,
        orphaned_inputs(),
    ];
    machines.into_iter().map(Damaged::new)
}

fn outcomes(machine: &Machine) -> Vec<Machine> {
    let mut outcomes: Vec<_> = (0..4).map(|seed| machine.crash(seed)).collect();
    outcomes.push(machine.kill());
    outcomes
}

#[test]
fn a_crash_at_any_step_of_a_repair_loses_nothing_and_the_next_one_comes_to_the_same() {
    for damaged in all_damaged() {
        for step in 0..MANY {
            let machine = damaged.machine.copy();
            machine.fs.crash_at(step);
            let done = try_repair(&machine).is_ok();
            for machine in outcomes(&machine) {
                for opened in [false, true] {
                    let machine = machine.copy();
                    if opened {
                        // It may refuse; it may not lose anything.
                        drop(machine.open());
                    }
                    damaged.repair_again(&machine);
                }
            }
            if done {
                assert!(step > 10, "the sweep met the repair");
                break;
            }
        }
    }
}

#[test]
fn a_failure_at_any_step_of_a_repair_loses_nothing_and_the_next_one_comes_to_the_same() {
    for (damaged, links) in all_damaged().flat_map(|damaged| {
        let again = Damaged::new(damaged.machine.copy());
        [(damaged, true), (again, false)]
    }) {
        for step in 0..MANY {
            let machine = damaged.machine.copy();
            if !links {
                machine.fs.refuse_links();
            }
            machine.fs.fail_at(step, None, ErrorKind::StorageFull);
            let result = try_repair(&machine);
            let fired = !machine.fs.is_armed();
            machine.fs.disarm();
            match &result {
                Ok(report) => assert_eq!(Losses::of(report), damaged.losses, "step {step}"),
                Err(_) => damaged.repair_again(&machine),
            }
            assert_eq!(strictly(&machine), damaged.saved, "step {step}");
            assert!(damaged.is_kept(&machine), "step {step}");
            if !fired {
                assert!(result.is_ok() && step > 10, "the sweep met the repair");
                break;
            }
        }
    }
}

#[test]
fn a_repair_that_is_stopped_takes_nothing_from_what_the_next_one_tells() {
    for damaged in all_damaged() {
        for calls in 1..MANY {
            let machine = damaged.machine.copy();
            let mut left = calls;
            let stopped = repair_with(&machine, |_| {
                left -= 1;
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            match stopped {
                Err(Error::Stopped) => damaged.repair_again(&machine),
                repaired => {
                    assert_eq!(Losses::of(&repaired.unwrap()), damaged.losses);
                    break;
                }
            }
        }
    }
}

#[test]
fn interrupted_repairs_leave_one_copy_of_what_they_keep() {
    let machine = Machine::new(256);
    half_dead(&machine);
    machine.open().unwrap().close().unwrap();
    let name = machine.data().into_iter().rfind(|name| machine.find(name, b"b2b2").is_some());
    let name = name.unwrap();
    spoil(&machine, &name, "b2b2");
    let bad = read(&machine, &name);
    machine.fs.refuse_links();
    for _ in 0..3 {
        // When the copies have their names, only the manifest that lists them is left to be renamed.
        let fs = machine.fs.clone();
        machine.fs.before(Op::Rename, ".data", move || {
            fs.fail_next(Op::Rename, "MANIFEST", ErrorKind::StorageFull);
        });
        assert!(try_repair(&machine).is_err() && !machine.fs.is_armed());
    }
    assert!(repair(&machine).salvaged_records > 0);
    let copies = machine.names(".damaged").into_iter().filter(|name| read(&machine, name) == bad);
    assert_eq!(copies.collect::<Vec<_>>(), [format!("{name}.damaged")]);
}
