//! The model with random steps.

use std::ops::{Bound, Range};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::support::read_mode;
use crate::model::{self, KEYS, PowerLoss, Setup, Step, TIMES};
use crate::options::Durability;

/// Random runs; `PROPTEST_CASES` may ask for more.
const CASES: u32 = 300;

pub(super) fn setup() -> impl Strategy<Value = Setup> {
    let hash_mask = prop_oneof![Just(u64::MAX), Just(1), Just(0)];
    let default_ttl = prop::option::weighted(0.3, ttl());
    let mappings = prop_oneof![3 => Just(usize::MAX), 1 => 0usize..5];
    let modes = (any::<[bool; 3]>(), mappings);
    (64u64..900, durability(), hash_mask, modes, default_ttl).prop_map(
        |(
            segment_size,
            durability,
            hash_mask,
            ([stored_empty, ordered, upkeep], mappings),
            default_ttl,
        )| Setup {
            segment_size,
            durability,
            hash_mask,
            stored_empty,
            default_ttl,
            read_mode: read_mode(),
            mappings,
            ordered,
            damaged: false,
            upkeep,
        },
    )
}

/// Also of stores in which something is damaged.
pub(super) fn any_setup() -> impl Strategy<Value = Setup> {
    (setup(), prop::bool::weighted(0.2)).prop_map(|(setup, damaged)| Setup { damaged, ..setup })
}

fn durability() -> impl Strategy<Value = Durability> + Clone {
    prop_oneof![
        Just(Durability::Buffered),
        Just(Durability::Flushed),
        Just(Durability::Interval(Duration::MAX)),
        Just(Durability::Synced)
    ]
}

fn ttl() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..100, 0..TIMES]
}

/// Segments of a few records.
pub(super) fn plain_setup() -> Setup {
    Setup {
        segment_size: 400,
        durability: Durability::Flushed,
        hash_mask: u64::MAX,
        stored_empty: false,
        default_ttl: None,
        read_mode: read_mode(),
        mappings: usize::MAX,
        ordered: false,
        damaged: false,
        upkeep: false,
    }
}

fn key() -> Range<u8> {
    0..KEYS
}

fn bound() -> impl Strategy<Value = Bound<u8>> {
    prop_oneof![
        2 => key().prop_map(Bound::Included),
        2 => key().prop_map(Bound::Excluded),
        1 => Just(Bound::Unbounded),
    ]
}

/// What goes well.
pub(super) fn calm_step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![1 => Just(0usize), 8 => 1usize..60, 1 => 200usize..2000];
    let new = prop::option::weighted(0.7, len.clone());
    let write = (key(), new.clone());
    let of_call = || prop::option::weighted(0.2, durability());
    prop_oneof![
        9 => (key(), len.clone(), of_call())
            .prop_map(|(key, len, durability)| Step::Put { key, len, durability }),
        3 => (key(), len.clone(), ttl()).prop_map(|(key, len, ttl)| Step::PutWithTtl { key, len, ttl }),
        2 => (key(), prop::option::weighted(0.7, ttl()))
            .prop_map(|(key, ttl)| Step::Touch { key, ttl }),
        3 => (0..TIMES).prop_map(|time| Step::Clock { time }),
        5 => (key(), of_call()).prop_map(|(key, durability)| Step::Delete { key, durability }),
        4 => (prop::collection::vec(write.clone(), 0..6), of_call())
            .prop_map(|(writes, durability)| Step::Batch { writes, durability }),
        2 => (key(), len).prop_map(|(key, len)| Step::PutIfAbsent { key, len }),
        3 => (key(), prop::bool::weighted(0.7), new)
            .prop_map(|(key, is_right, len)| Step::CompareAndSwap { key, is_right, len }),
        3 => write.prop_map(|(key, len)| Step::Update { key, len }),
        3 => (key(), key()).prop_map(|(from, to)| Step::Rename { from, to }),
        1 => any::<u8>().prop_map(|kept| Step::Retain { kept }),
        1 => Just(Step::Clear),
        2 => any::<u8>().prop_map(|in_place_of| Step::Snapshot { in_place_of }),
        3 => (bound(), bound()).prop_map(|(start, end)| Step::Scan { start, end }),
        1 => Just(Step::Flush),
        1 => Just(Step::Sync),
        2 => Just(Step::Compact),
        5 => Just(Step::Upkeep),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let loss = (any::<u32>(), prop::option::weighted(0.2, 0u64..16))
        .prop_map(|(seed, again_at)| PowerLoss { seed: u64::from(seed), again_at });
    prop_oneof![
        50 => calm_step(),
        2 => Just(Step::Kill),
        2 => loss.clone().prop_map(Step::Crash),
        4 => (0u64..60, loss).prop_map(|(operations, loss)| Step::CrashSoon { operations, loss }),
        4 => (0u64..60).prop_map(|operations| Step::KillSoon { operations }),
        1 => (0u64..60).prop_map(|operations| Step::FailSoon { operations }),
        1 => prop::option::of(0u64..2000).prop_map(|bytes| Step::Room { bytes }),
    ]
}

proptest! {
    #![proptest_config(Config { cases: CASES.max(Config::default().cases), failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_store_behaves_as_a_map_through_reopenings_failures_kills_and_power_losses(
        setup in any_setup(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        model::run(setup, &steps);
    }
}

/// Wherever the process died before: a manifest that has been renamed may not be durable yet.
#[test]
fn what_an_opening_shows_no_power_loss_takes_back() {
    let put = |key| Step::Put { key, len: 9, durability: None };
    let delete = |key| Step::Delete { key, durability: None };
    let scripts = [
        vec![put(1), Step::Reopen],
        vec![put(1), Step::Clear],
        vec![delete(1), Step::Reopen, put(2), Step::Compact, put(3), Step::Reopen],
        vec![put(1), delete(1), put(2), Step::Kill, put(3), Step::Reopen],
        vec![put(1), Step::Reopen, delete(1), Step::Kill],
    ];
    for (script, damaged) in scripts.iter().flat_map(|script| [(script, false), (script, true)]) {
        for operations in 0..50 {
            for seed in 0..3 {
                let loss = Step::Crash(PowerLoss { seed, again_at: None });
                let steps = [&[Step::KillSoon { operations }], &script[..], &[loss]].concat();
                model::run(Setup { damaged, ..plain_setup() }, &steps);
            }
        }
    }
}
