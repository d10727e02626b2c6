//! Models of the key directory and of the table of segments: every order in which a reader can meet a
//! writer, within a bound, tried by loom.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`. A page has two slots here, so that a
//! second entry makes the directory grow and a third makes a page link to another.

use std::path::Path;
use std::sync::Arc;

use loom::thread;

use crate::keydir::{KeyDirectory, Old, Shards};
use crate::location::{Location, SegmentId, SegmentSlot};
use crate::segment::{Segment, Table};

/// Hashes in different halves of all hashes, and one that is nearly another.
const A: u64 = 1 << 60;
const B: u64 = 15 << 60;
const C: u64 = (1 << 60) + 1;
const D: u64 = 8 << 60;

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

fn at(offset: u64) -> Location {
    Location::new(SegmentSlot::from_index(0).unwrap(), offset).unwrap()
}

fn put(keydir: &KeyDirectory, hash: u64, offset: u64) {
    assert!(keydir.change(hash, Old::NoSuchHash, Some(at(offset))));
}

fn find(keydir: &KeyDirectory, hash: u64) -> Option<u64> {
    keydir.first(hash).map(Location::offset)
}

/// Runs `write` beside look-ups of a hash by another thread, and shows what they found.
fn beside<const READS: usize>(
    hash: u64,
    prepare: impl Fn(&KeyDirectory) + Sync + Send + 'static,
    write: impl Fn(&KeyDirectory) + Sync + Send + 'static,
    judge: impl Fn([Option<u64>; READS]) + Copy + Sync + Send + 'static,
) {
    check(move || {
        let keydir = Arc::new(KeyDirectory::new());
        prepare(&keydir);
        let reader = {
            let keydir = Arc::clone(&keydir);
            thread::spawn(move || judge(std::array::from_fn(|_| find(&keydir, hash))))
        };
        write(&keydir);
        reader.join().unwrap();
    });
}

/// A page that waits, with an entry.
struct Waiting;

impl Shards for Waiting {
    fn lens(&self) -> &[u32] {
        &[1]
    }

    fn load(&mut self, _shard: usize) -> Vec<(u64, Location)> {
        vec![(A, at(1))]
    }
}

#[test]
fn a_page_that_waits_is_there_for_whoever_asks_first() {
    check(|| {
        let keydir = Arc::new(KeyDirectory::of_shards(Box::new(Waiting)));
        let reader = {
            let keydir = Arc::clone(&keydir);
            thread::spawn(move || assert!(matches!(find(&keydir, A), Some(1 | 2))))
        };
        assert!(keydir.change(A, Old::At(at(1)), Some(at(2))));
        reader.join().unwrap();
    });
}

#[test]
fn an_insert_is_seen_whole_or_not_at_all() {
    beside(
        A,
        |_| {},
        |keydir| put(keydir, A, 1),
        |[first, second]| {
            assert!(matches!((first, second), (None, None | Some(1)) | (Some(1), Some(1))));
        },
    );
}

#[test]
fn an_overwrite_is_seen_in_order() {
    beside(
        A,
        |keydir| put(keydir, A, 1),
        |keydir| assert!(keydir.change(A, Old::At(at(1)), Some(at(2)))),
        |[first, second]| {
            assert!(matches!((first, second), (Some(1), Some(1 | 2)) | (Some(2), Some(2))));
        },
    );
}

#[test]
fn a_delete_and_a_put_are_seen_in_order() {
    beside(
        A,
        |keydir| put(keydir, A, 1),
        |keydir| {
            assert!(keydir.change(A, Old::At(at(1)), None));
            put(keydir, A, 2);
        },
        |[first, second]| {
            let order = |found| [Some(1), None, Some(2)].iter().position(|&at| at == found);
            assert!(order(first).unwrap() <= order(second).unwrap());
        },
    );
}

#[test]
fn what_another_key_leaves_is_never_found() {
    beside(
        C,
        |keydir| put(keydir, A, 1),
        |keydir| {
            assert!(keydir.change(A, Old::At(at(1)), None));
            put(keydir, B, 2);
        },
        |[first, second]| assert_eq!((first, second), (None, None)),
    );
}

#[test]
fn an_entry_is_found_while_its_page_is_swept_and_links_to_another() {
    beside(
        A,
        |keydir| put(keydir, A, 1),
        |keydir| {
            put(keydir, B, 2);
            put(keydir, C, 3);
            put(keydir, D, 4);
        },
        |found: [_; 1]| assert_eq!(found, [Some(1)]),
    );
}

#[test]
fn an_entry_is_found_while_pages_are_used_for_other_hashes() {
    beside(
        A,
        |keydir| {
            put(keydir, A, 1);
            put(keydir, C, 3);
        },
        |keydir| {
            // The page is rebuilt, and the old one taken for the new ones of the sweep.
            assert!(keydir.change(C, Old::At(at(3)), None));
            put(keydir, C + 1, 5);
            put(keydir, B, 2);
        },
        |found: [_; 1]| assert_eq!(found, [Some(1)]),
    );
}

#[test]
fn an_entry_is_found_when_the_page_that_it_has_left_is_rebuilt() {
    beside(
        B,
        |keydir| put(keydir, B, 2),
        |keydir| {
            put(keydir, A, 1);
            assert!(keydir.change(A, Old::At(at(1)), None));
            put(keydir, C, 3);
        },
        |[first, second]| assert_eq!((first, second), (Some(2), Some(2))),
    );
}

fn segment(id: u64) -> Arc<Segment> {
    let path: Arc<Path> = Arc::from(Path::new("model"));
    Arc::new(Segment::of_nothing(&path, SegmentId::new(id)))
}

/// A compaction moves a key's record to a new segment, retires the old one, and its slot is taken by a
/// third. A reader that holds the table first never meets the third under the key's location.
#[test]
fn a_location_never_leads_to_another_segment() {
    check(|| {
        let keydir = Arc::new(KeyDirectory::new());
        let table = Arc::new(Table::new());
        let old = table.add(segment(1)).unwrap();
        // An entry's offset tells which segment it means.
        let place = |slot, id| Location::new(slot, id).unwrap();
        assert!(keydir.change(A, Old::NoSuchHash, Some(place(old, 1))));
        let reader = {
            let (keydir, table) = (Arc::clone(&keydir), Arc::clone(&table));
            thread::spawn(move || {
                loop {
                    let slots = table.now();
                    let location = keydir.first(A).expect("it is there all the while");
                    if let Some(segment) = slots.get(location.slot()) {
                        assert_eq!(segment.id().get(), location.offset());
                        break;
                    }
                    thread::yield_now();
                }
            })
        };
        let new = table.add(segment(2)).unwrap();
        assert!(keydir.change(A, Old::At(place(old, 1)), Some(place(new, 2))));
        table.retire(old);
        table.add(segment(3)).unwrap();
        reader.join().unwrap();
    });
}
