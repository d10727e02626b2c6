//! Entries that are given at once or page by page: the key directory is the same as if they had been put.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread;

use proptest::prelude::*;

use super::load::{Shards, shard_hashes, shard_of, shards_for};
use super::*;
use crate::location::SegmentSlot;

type Asked = Arc<Mutex<Vec<usize>>>;

fn at(offset: u64) -> Location {
    Location::new(SegmentSlot::from_index(0).unwrap(), offset).unwrap()
}

/// Entries of so many keys, in ascending order of hashes.
fn sorted(count: u64, mask: u64) -> Vec<(u64, Location)> {
    let hash = |n: u64| KeyHasher::new(&[7; 16], mask).hash(&n.to_be_bytes());
    let mut entries: Vec<_> = (0..count).map(|n| (hash(n), at(n))).collect();
    entries.sort_by_key(|(hash, _)| *hash);
    entries
}

/// Says for which shards it was asked.
struct Given {
    entries: Vec<(u64, Location)>,
    lens: Vec<u32>,
    asked: Asked,
}

impl Given {
    fn new(entries: Vec<(u64, Location)>) -> Self {
        let mut lens = vec![0; shards_for(entries.len())];
        let count = lens.len();
        entries.iter().for_each(|(hash, _)| lens[shard_of(*hash, count)] += 1);
        Given { entries, lens, asked: Arc::default() }
    }
}

impl Shards for Given {
    fn lens(&self) -> &[u32] {
        &self.lens
    }

    fn load(&mut self, shard: usize) -> Vec<(u64, Location)> {
        self.asked.lock().unwrap().push(shard);
        let hashes = shard_hashes(shard, self.lens.len());
        self.entries.iter().copied().filter(|(hash, _)| hashes.contains(hash)).collect()
    }
}

fn waiting(entries: Vec<(u64, Location)>) -> (KeyDirectory, Asked) {
    let shards = Given::new(entries);
    let asked = Arc::clone(&shards.asked);
    (KeyDirectory::of_shards(Box::new(shards)), asked)
}

fn all(keydir: &KeyDirectory) -> BTreeSet<(u64, u64)> {
    let mut found = Vec::new();
    keydir.visit_all(|hash, location| found.push((hash, location.offset())));
    let set: BTreeSet<_> = found.iter().copied().collect();
    assert_eq!((set.len(), keydir.len()), (found.len(), found.len()));
    set
}

fn set(entries: &[(u64, Location)]) -> BTreeSet<(u64, u64)> {
    entries.iter().map(|(hash, location)| (*hash, location.offset())).collect()
}

#[test]
fn a_page_waits_until_one_of_its_hashes_is_wanted() {
    let entries = sorted(500, u64::MAX);
    let (keydir, asked) = waiting(entries.clone());
    let pages = keydir.waiting();
    assert!(pages > 20);
    assert_eq!((keydir.len(), asked.lock().unwrap().len()), (500, 0));
    let (hash, location) = entries[250];
    let shard = shard_of(hash, pages);
    assert!(keydir.first(hash).unwrap().is_same_place(location));
    assert!(keydir.is_at(hash, location));
    keydir.mark_verified(hash, location);
    assert!(keydir.change(hash, Old::At(location), None));
    assert_eq!((&asked.lock().unwrap()[..], keydir.waiting()), (&[shard][..], pages - 1));
    // A change asks for it just as well.
    let (hash, location) = entries[0];
    assert!(!keydir.change(hash, Old::NoSuchHash, Some(at(1000))));
    assert!(keydir.change(hash, Old::At(location), Some(at(1000))));
    assert_eq!(asked.lock().unwrap()[..], [shard, 0]);
    assert_eq!(all(&keydir).len(), 499);
    let mut asked = asked.lock().unwrap().clone();
    asked.sort_unstable();
    assert!(asked.into_iter().eq(0..pages), "each of them once");
    assert_eq!(keydir.waiting(), 0);
}

#[test]
fn what_cannot_be_loaded_does_not_count() {
    let entries = sorted(100, u64::MAX);
    let mut shards = Given::new(entries.clone());
    shards.entries.retain(|(_, location)| location.offset() >= 10);
    let keydir = KeyDirectory::of_shards(Box::new(shards));
    assert_eq!(keydir.len(), 100);
    assert_eq!(all(&keydir).len(), 90);
}

#[test]
fn threads_that_want_the_same_waiting_pages_all_find_their_entries() {
    let entries = sorted(3000, u64::MAX);
    let (keydir, asked) = waiting(entries.clone());
    thread::scope(|scope| {
        for n in 0..3 {
            let (keydir, entries) = (&keydir, &entries);
            scope.spawn(move || {
                for (hash, location) in entries.iter().cycle().skip(n * 7).take(entries.len()) {
                    assert!(keydir.first(*hash).unwrap().is_same_place(*location));
                }
            });
        }
        for n in 0..3000u64 {
            keydir.change(n << 51 | 1, Old::NoSuchKey, Some(at(n + 5000)));
        }
    });
    let mut asked = asked.lock().unwrap().clone();
    let loaded = asked.len();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), loaded, "none was loaded twice");
    assert_eq!(all(&keydir).len(), 6000);
}

#[derive(Clone, Debug)]
enum Change {
    Insert(u64),
    Remove(prop::sample::Index),
    Look(u64),
    Overlay,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_find_what_was_given_whether_it_waits_or_not(
        count in 0u64..400,
        mask in prop_oneof![Just(u64::MAX), Just(15), Just(0)],
        waits in any::<bool>(),
        runs in 1usize..5,
        changes in prop::collection::vec(prop_oneof![
            6 => any::<u64>().prop_map(Change::Insert),
            4 => any::<prop::sample::Index>().prop_map(Change::Remove),
            2 => any::<u64>().prop_map(Change::Look),
            1 => Just(Change::Overlay),
        ], 0..300),
    ) {
        let entries = sorted(count, mask);
        let mut model = set(&entries);
        let keydir = match waits {
            true => waiting(entries).0,
            false => {
                let run = entries.len().div_ceil(runs).max(1);
                // Some are empty.
                let runs = entries.chunks(run).flat_map(|run| [run.to_vec(), Vec::new()]);
                let runs: Vec<_> = runs.collect();
                KeyDirectory::of_sorted(&runs)
            }
        };
        let mut overlays = Vec::new();
        for (n, change) in changes.into_iter().enumerate() {
            match change {
                Change::Insert(hash) => {
                    let (hash, new) = (hash & mask, 10_000 + n as u64);
                    prop_assert!(keydir.change(hash, Old::NoSuchKey, Some(at(new))));
                    model.insert((hash, new));
                }
                Change::Remove(index) if !model.is_empty() => {
                    let (hash, old) = *model.iter().nth(index.index(model.len())).unwrap();
                    prop_assert!(keydir.change(hash, Old::At(at(old)), None));
                    model.remove(&(hash, old));
                }
                Change::Remove(_) => {}
                Change::Look(hash) => {
                    let hash = hash & mask;
                    let found: BTreeSet<_> = keydir.all(hash).iter().map(|at| at.offset()).collect();
                    let expected = model.range((hash, 0)..=(hash, u64::MAX)).map(|(_, at)| *at);
                    prop_assert_eq!(found, expected.collect());
                }
                Change::Overlay => overlays.push((keydir.begin_overlay().0, model.clone())),
            }
            prop_assert_eq!(keydir.len(), model.len());
        }
        for (overlay, then) in overlays {
            let (mut found, mut rest) = (BTreeSet::new(), Some(0..=u64::MAX));
            while let Some(hashes) = rest {
                rest = keydir.visit_past_first(&overlay, hashes, |hash, location| {
                    found.insert((hash, location.offset()));
                });
            }
            prop_assert_eq!(found, then);
        }
        prop_assert_eq!(all(&keydir), model);
    }
}

#[test]
fn shards_are_equal_ranges_of_hashes_without_a_gap() {
    for count in [1, 2, 3, 7, 1000] {
        let mut next = Some(0);
        for shard in 0..count {
            let hashes = shard_hashes(shard, count);
            assert_eq!(Some(*hashes.start()), next);
            assert!(
                [*hashes.start(), *hashes.end()].map(|hash| shard_of(hash, count)) == [shard; 2]
            );
            next = hashes.end().checked_add(1);
        }
        assert_eq!(next, None);
    }
}
