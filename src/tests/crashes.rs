//! Power is lost at every operation of the disk in turn, while a script of random steps is run; often
//! once more during the recovery. Afterwards everything promised is there, nothing deleted is back, no batch
//! is half applied, recovering twice is recovering once, and the store goes on.
//!
//! `ZEROCASK_CRASH_POINTS` says at how many operations (500 if it says nothing), `ZEROCASK_CRASH_SEED` with which script
//! to begin. What fails names its script and its operation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::model::{any_setup, calm_step};
use crate::model::{PowerLoss, Run, Setup, Step};

const STEPS: usize = 24;

/// What is run, the same for the same seed.
fn script(seed: u64) -> (Setup, Vec<Step>) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let scripts = (any_setup(), prop::collection::vec(calm_step(), STEPS));
    scripts.new_tree(&mut runner).unwrap().current()
}

/// Says how to see a failure again, and lets the other threads end.
struct Point<'a> {
    seed: u64,
    operation: u64,
    met: &'a AtomicU64,
}

impl Drop for Point<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Point { seed, operation, met } = self;
            eprintln!("ZEROCASK_CRASH_SEED={seed} shows it again, at operation {operation}");
            met.store(u64::MAX / 2, Ordering::Relaxed);
        }
    }
}

/// Runs a script with a power loss at one of its operations; answers whether it has as many.
fn crash(point: &Point<'_>, (setup, steps): &(Setup, Vec<Step>)) -> bool {
    let &Point { seed, operation, .. } = point;
    let mut run = Run::new(setup.clone());
    let luck = (seed << 32 | operation).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    // Recoveries take some 15 operations.
    let again_at = luck.is_multiple_of(2).then_some(luck >> 8 & 15);
    let loss = PowerLoss { seed: luck, again_at };
    let first_machine = run.machine.fs.clone();
    run.take(&Step::CrashSoon { operations: operation, loss });
    steps.iter().for_each(|step| run.take(step));
    let was_met = first_machine.is_down();
    run.finish();
    was_met
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn nothing_promised_is_lost_wherever_power_is_lost() {
    let (points, first) = (number("ZEROCASK_CRASH_POINTS", 500), number("ZEROCASK_CRASH_SEED", 0));
    let (next_seed, met) = (AtomicU64::new(first), AtomicU64::new(0));
    // Some scripts hardly write.
    let end = first + points / (STEPS as u64 / 4) + 1;
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while met.load(Ordering::Relaxed) < points {
                    let seed = next_seed.fetch_add(1, Ordering::Relaxed);
                    assert!(seed < end, "scripts write something");
                    let script = script(seed);
                    let point = |operation| Point { seed, operation, met: &met };
                    let of_script = (0..).take_while(|&at| crash(&point(at), &script)).count();
                    met.fetch_add(of_script as u64, Ordering::Relaxed);
                }
            });
        }
    });
    let (met, scripts) = (met.into_inner(), next_seed.into_inner() - first);
    eprintln!("power lost at {met} operations of {scripts} scripts");
}
