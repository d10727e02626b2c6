//! Repair against a model: random logs with batches, random records of them bad, and of each key the newest record that
//! is good and counts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::{repair, strictly};
use crate::record::{BatchPart, Record};
use crate::tests::support::{Contents, Machine, encode};

/// Random runs; `PROPTEST_CASES` may ask for more.
const CASES: u32 = 300;

#[derive(Clone, Debug)]
struct Written {
    key: u8,
    is_put: bool,
    part: BatchPart,
    is_bad: bool,
}

fn written() -> impl Strategy<Value = Written> {
    let fields = (0..4u8, prop::bool::weighted(0.7), prop::bool::weighted(0.15));
    fields.prop_map(|(key, is_put, is_bad)| Written {
        key,
        is_put,
        part: BatchPart::Single,
        is_bad,
    })
}

/// A single record, or a batch.
fn run() -> impl Strategy<Value = Vec<Written>> {
    prop::collection::vec(written(), 1..4).prop_map(|mut run| {
        let count = run.len();
        run.iter_mut().enumerate().for_each(|(n, one)| one.part = BatchPart::of(n, count));
        run
    })
}

fn segment() -> impl Strategy<Value = Vec<Written>> {
    prop::collection::vec(run(), 1..5).prop_map(|runs| runs.concat())
}

/// What a value is tells which record it was.
fn text(segment: usize, n: usize) -> Vec<u8> {
    format!("record {n} of segment {segment}").into_bytes()
}

/// What becomes of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Counts,
    /// It is bad, or of a batch of which another is.
    Lost,
    /// Nobody can read it.
    Hidden,
}

/// By the rules of docs/design.md: a bad record is stepped over if a good one stands behind it, or nothing; else it
/// hides the rest.
fn fates(segment: &[Written]) -> Vec<Fate> {
    let hides = |n: usize| segment[n].is_bad && segment.get(n + 1).is_some_and(|next| next.is_bad);
    let readable = (0..segment.len()).find(|&n| hides(n)).unwrap_or(segment.len());
    let mut fates = vec![Fate::Hidden; segment.len()];
    let mut begin = 0;
    while begin < readable {
        let is_end = |one: &Written| matches!(one.part, BatchPart::Single | BatchPart::Last);
        let end = begin + segment[begin..].iter().position(is_end).unwrap() + 1;
        let is_whole = end <= readable && segment[begin..end].iter().all(|one| !one.is_bad);
        let fate = if is_whole { Fate::Counts } else { Fate::Lost };
        fates[begin..end.min(readable)].fill(fate);
        begin = end;
    }
    fates
}

#[derive(Default)]
struct Expected {
    contents: Contents,
    /// Keys with a newest record that is lost: where that is, and whether an older value shows.
    lost: BTreeMap<u8, (PathBuf, u64, bool)>,
    gone: Vec<(PathBuf, u64)>,
}

fn check(log: &[Vec<Written>], hash_mask: u64, has_manifest: bool) {
    let mut machine = Machine::new(4096);
    machine.hash_mask = hash_mask;
    let mut expected = Expected::default();
    let mut flips = Vec::new();
    for (s, segment) in log.iter().enumerate() {
        let name = format!("{:08}.data", s + 1);
        let path = Machine::path(&name);
        let values: Vec<_> = (0..segment.len()).map(|n| text(s, n)).collect();
        let keys: Vec<_> = segment.iter().map(|one| [one.key]).collect();
        let records = segment.iter().zip(&keys).zip(&values).map(|((one, key), value)| {
            let record = match one.is_put {
                true => Record::plain(1, key, value),
                false => Record::tombstone(1, key),
            };
            Record { batch: one.part, ..record }
        });
        let records: Vec<_> = records.collect();
        machine.write_records(&name, &records);
        for (n, (one, fate)) in segment.iter().zip(fates(segment)).enumerate() {
            let offset = encode(&records[..n]).len();
            if one.is_bad {
                // A bit of its time: its sizes are right.
                flips.push((name.clone(), offset + 5));
            }
            let key = one.key;
            match fate {
                Fate::Counts => {
                    expected.lost.remove(&key);
                    match one.is_put {
                        true => expected.contents.insert(vec![key], text(s, n)),
                        false => expected.contents.remove(&[key][..]),
                    };
                }
                Fate::Lost => {
                    let is_stale = expected.contents.contains_key(&[key][..]);
                    expected.lost.insert(key, (path.clone(), offset as u64, is_stale));
                }
                Fate::Hidden => {
                    if expected.gone.last().is_none_or(|(last, _)| *last != path) {
                        expected.gone.push((path.clone(), offset as u64));
                    }
                }
            }
        }
    }
    machine.open().unwrap().close().unwrap();
    flips.iter().for_each(|(name, byte)| machine.flip(name, *byte));
    if !has_manifest {
        machine.flip("MANIFEST", 30);
    }
    let report = repair(&machine);
    assert_eq!(strictly(&machine), expected.contents);
    let lost =
        report.lost.iter().map(|one| (one.key[0], (one.path.clone(), one.offset, one.stale)));
    assert_eq!(lost.collect::<BTreeMap<_, _>>(), expected.lost);
    assert_eq!(report.lost.len(), expected.lost.len());
    let gone = report.gone.iter().map(|fault| (fault.path.clone(), fault.offset));
    assert_eq!(gone.collect::<Vec<_>>(), expected.gone);
    assert_eq!(report.is_clean(), flips.is_empty() && has_manifest);
}

proptest! {
    #![proptest_config(Config { cases: CASES.max(Config::default().cases), failure_persistence: None, ..Config::default() })]

    #[test]
    fn of_each_key_the_newest_good_record_that_counts_is_there_and_each_loss_is_told(
        log in prop::collection::vec(segment(), 1..5),
        hash_mask in prop::sample::select(vec![u64::MAX, 1, 0]),
        has_manifest in any::<bool>(),
    ) {
        check(&log, hash_mask, has_manifest);
    }
}
