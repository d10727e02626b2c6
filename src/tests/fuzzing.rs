//! The fuzz targets on random bytes and on the seeds that are checked in: what they are made of goes on
//! working without a fuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::fuzzing;
use crate::model::Step;
use crate::model::bytes::{KINDS, decode};

const CASES: u32 = 150;

/// The inputs in a directory of seeds. A packaged crate has none.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    if !fuzz.is_dir() {
        return Vec::new();
    }
    let files = fs::read_dir(fuzz.join("seeds").join(target)).unwrap();
    let seeds: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(!seeds.is_empty());
    seeds
}

/// A number for each kind of step. Who adds one has to add it here, and to the bytes.
fn kind(step: &Step) -> u8 {
    match step {
        Step::Put { .. } => 0,
        Step::Delete { .. } => 1,
        Step::Batch { .. } => 2,
        Step::Flush => 3,
        Step::Sync => 4,
        Step::Compact => 5,
        Step::Reopen => 6,
        Step::Kill => 7,
        Step::Crash(_) => 8,
        Step::CrashSoon { .. } => 9,
        Step::KillSoon { .. } => 10,
        Step::FailSoon { .. } => 11,
        Step::Room { .. } => 12,
        Step::PutWithTtl { .. } => 13,
        Step::Touch { .. } => 14,
        Step::Clock { .. } => 15,
        Step::PutIfAbsent { .. } => 16,
        Step::CompareAndSwap { .. } => 17,
        Step::Update { .. } => 18,
        Step::Rename { .. } => 19,
        Step::Retain { .. } => 20,
        Step::Clear => 21,
        Step::Snapshot { .. } => 22,
        Step::Scan { .. } => 23,
        Step::Upkeep => 24,
        Step::Checkpoint => 25,
    }
}

#[test]
fn bytes_stand_for_every_kind_of_step_and_so_do_the_seeds() {
    let all: BTreeSet<u8> = (0..KINDS).collect();
    let kinds = |bytes: &[u8]| decode(bytes).1.iter().map(kind).collect::<BTreeSet<_>>();
    let decoded = (0..=255).flat_map(|byte| kinds(&[0, 0, byte, 0, 0, 0, 0]));
    assert_eq!(decoded.collect::<BTreeSet<_>>(), all);
    let seeds = seeds("store_model");
    if !seeds.is_empty() {
        assert_eq!(seeds.iter().flat_map(|seed| kinds(seed)).collect::<BTreeSet<_>>(), all);
    }
}

#[test]
fn the_seeds_pass() {
    seeds("store_model").iter().for_each(|seed| fuzzing::store_model(seed));
    seeds("manifest_decode").iter().for_each(|seed| fuzzing::manifest_decode(seed));
}

proptest! {
    #![proptest_config(Config { cases: CASES, failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_bytes_are_steps_that_the_store_takes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzzing::store_model(&bytes);
    }

    #[test]
    fn any_bytes_are_looked_at_as_a_manifest(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzzing::manifest_decode(&bytes);
    }
}
