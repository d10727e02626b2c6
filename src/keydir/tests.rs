//! Under test a page has 12 slots, so that a few entries make it overflow and the directory grow.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64};

use proptest::prelude::*;

use super::*;
use crate::location::SegmentSlot;

fn at(offset: u64) -> Location {
    Location::new(SegmentSlot::from_index(0).unwrap(), offset).unwrap()
}

fn places(keydir: &KeyDirectory, hash: u64) -> Vec<u64> {
    let mut found: Vec<_> = keydir.all(hash).iter().map(|location| location.offset()).collect();
    found.sort_unstable();
    found
}

/// Spreads numbers over all hashes, the way that a hash function does.
fn spread(n: u64) -> u64 {
    KeyHasher::new(&[7; 16], u64::MAX).hash(&n.to_be_bytes())
}

#[test]
fn entries_of_one_hash_live_side_by_side() {
    let keydir = KeyDirectory::new();
    assert!(keydir.change(7, Old::NoSuchKey, Some(at(1))));
    assert!(keydir.change(7, Old::NoSuchKey, Some(at(2))));
    assert!(!keydir.change(7, Old::NoSuchHash, Some(at(3))));
    assert!(keydir.change(8, Old::NoSuchHash, Some(at(3))));
    assert_eq!(places(&keydir, 7), [1, 2]);
    assert!(keydir.change(7, Old::At(at(1)), None));
    assert_eq!((places(&keydir, 7), places(&keydir, 8)), (vec![2], vec![3]));
    assert_eq!(keydir.len(), 2);
}

#[test]
fn a_change_from_a_place_that_the_entry_has_left_does_nothing() {
    let keydir = KeyDirectory::new();
    keydir.change(7, Old::NoSuchKey, Some(at(1)));
    assert!(keydir.change(7, Old::At(at(1)), Some(at(2))));
    assert!(!keydir.change(7, Old::At(at(1)), Some(at(3))));
    assert!(!keydir.change(7, Old::At(at(1)), None));
    assert_eq!((places(&keydir, 7), keydir.len()), (vec![2], 1));
}

#[test]
fn whether_it_is_verified_does_not_make_it_another_place() {
    let keydir = KeyDirectory::new();
    keydir.change(7, Old::NoSuchKey, Some(at(1)));
    keydir.mark_verified(7, at(1));
    assert!(keydir.first(7).unwrap().is_verified());
    assert!(keydir.is_at(7, at(1)));
    assert!(keydir.change(7, Old::At(at(1)), Some(at(2))));
    keydir.mark_verified(7, at(1));
    assert!(!keydir.first(7).unwrap().is_verified());
}

#[test]
fn a_verified_entry_stays_so_when_its_page_is_swept() {
    let keydir = KeyDirectory::new();
    for n in 0..2000 {
        keydir.change(spread(n), Old::NoSuchHash, Some(at(n)));
        keydir.mark_verified(spread(n), at(n));
    }
    assert!((0..2000).all(|n| keydir.first(spread(n)).unwrap().is_verified()));
}

/// How hashes are spread: evenly, all in few pages, all the same, at both ends.
fn hashes() -> impl Strategy<Value = fn(u64) -> u64> {
    let kinds: [fn(u64) -> u64; 4] =
        [spread, |n| spread(n) >> 52, |_| 1 << 40, |n| if n % 2 == 0 { n } else { u64::MAX - n }];
    prop::sample::select(kinds.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Growing, overflowing, emptying and rebuilding: always the same entries as a set.
    #[test]
    fn it_behaves_as_a_set(
        hash in hashes(),
        steps in prop::collection::vec((0u8..4, 0u64..120), 1..800),
    ) {
        let keydir = KeyDirectory::new();
        let mut model = BTreeSet::new();
        for (step, n) in steps {
            // Phases that mostly add and phases that mostly remove.
            let add = step < if model.len() % 97 < 60 { 3 } else { 1 };
            if add && model.insert(n) {
                prop_assert!(keydir.change(hash(n), Old::NoSuchKey, Some(at(n))));
            } else if !add {
                prop_assert_eq!(keydir.change(hash(n), Old::At(at(n)), None), model.remove(&n));
            }
        }
        prop_assert_eq!(keydir.len(), model.len());
        for n in 0..120 {
            prop_assert_eq!(keydir.is_at(hash(n), at(n)), model.contains(&n), "{}", n);
            let of_hash: Vec<_> = model.iter().copied().filter(|&m| hash(m) == hash(n)).collect();
            prop_assert_eq!(places(&keydir, hash(n)), of_hash);
        }
        let mut visited = Vec::new();
        keydir.visit_all(|_, location| visited.push(location.offset()));
        visited.sort_unstable();
        prop_assert_eq!(visited, model.into_iter().collect::<Vec<_>>());
    }

    /// Whoever goes through the directory meets what is there all the while exactly once, however
    /// it grows meanwhile.
    #[test]
    fn visiting_beside_growth_meets_every_entry_once(
        before in 1u64..300,
        between in prop::collection::vec(0u64..40, 1..60),
    ) {
        let keydir = KeyDirectory::new();
        for n in 0..before {
            keydir.change(spread(n), Old::NoSuchHash, Some(at(n)));
        }
        let (mut rest, mut added, mut visited) = (Some(ALL_HASHES), before, Vec::new());
        let mut between = between.into_iter().cycle();
        while let Some(hashes) = rest {
            rest = keydir.visit_first(hashes, |_, location| visited.push(location.offset()));
            for n in added..added + between.next().unwrap() {
                keydir.change(spread(n), Old::NoSuchHash, Some(at(n)));
            }
            added = keydir.len() as u64;
        }
        visited.sort_unstable();
        prop_assert!(visited.is_sorted_by(|a, b| a < b), "none twice");
        prop_assert!((0..before).all(|n| visited.binary_search(&n).is_ok()), "none missed");
    }
}

#[test]
fn the_memory_of_an_entry_is_the_same_at_every_size() {
    let keydir = KeyDirectory::new();
    let pages = |keydir: &KeyDirectory| keydir.writer.lock().arena.memory() / page::PAGE_LEN;
    for n in 0..20_000 {
        keydir.change(spread(n), Old::NoSuchHash, Some(at(n)));
        let entries = keydir.len();
        let slots = pages(&keydir) * PAGE_SLOTS;
        if entries > 500 {
            assert!(slots * 100 < entries * 170, "{entries} entries in {slots} slots");
        }
    }
}

#[test]
fn the_same_pages_serve_entries_that_come_and_go() {
    let keydir = KeyDirectory::new();
    (0..500).for_each(|n| assert!(keydir.change(spread(n), Old::NoSuchHash, Some(at(n)))));
    let memory = keydir.memory();
    for n in 500..20_000 {
        assert!(keydir.change(spread(n - 500), Old::At(at(n - 500)), None));
        assert!(keydir.change(spread(n), Old::NoSuchHash, Some(at(n))));
    }
    assert!(keydir.memory() <= memory + 20 * page::PAGE_LEN);
}

/// Tells other threads to end, also if a test fails.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One writer adds, moves, removes and adds again, so that pages are swept, rebuilt and used for other
/// hashes; readers must always find what stays, at a place where it was meanwhile.
#[test]
fn readers_beside_a_writer_find_what_is_there() {
    const STAYING: u64 = 300;
    let keydir = KeyDirectory::new();
    // The version that was last begun, and the last that is done.
    let versions: Vec<_> = (0..STAYING).map(|_| (AtomicU64::new(0), AtomicU64::new(0))).collect();
    let place = |n: u64, version: u64| at(n << 20 | version);
    for n in 0..STAYING {
        keydir.change(spread(n), Old::NoSuchHash, Some(place(n, 0)));
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (keydir, versions, over) = (&keydir, &versions, &over);
            scope.spawn(move || {
                let mut n = reader;
                while !over.load(Ordering::Relaxed) {
                    n = (n * 31 + 7) % STAYING;
                    let (begun, done) = &versions[n as usize];
                    let earliest = done.load(Ordering::SeqCst);
                    let found = keydir.first(spread(n)).expect("it is there").offset();
                    let latest = begun.load(Ordering::SeqCst);
                    assert_eq!(found >> 20, n);
                    let version = found & 0xF_FFFF;
                    assert!((earliest..=latest).contains(&version), "{version}");
                    keydir.mark_verified(spread(n), at(found));
                    assert_eq!(keydir.first(spread(1 << 40 | n)).map(Location::offset), None);
                }
            });
        }
        let _over = AtTheEnd(&over);
        let (mut added, mut removed) = (STAYING, STAYING);
        for round in 0..60_000u64 {
            let n = round % STAYING;
            let (begun, done) = &versions[n as usize];
            let version = round / STAYING + 1;
            begun.store(version, Ordering::SeqCst);
            let old = Old::At(place(n, version - 1));
            assert!(keydir.change(spread(n), old, Some(place(n, version))));
            done.store(version, Ordering::SeqCst);
            keydir.change(spread(added), Old::NoSuchHash, Some(at(added)));
            added += 1;
            // In waves: grow, then come and go at one size.
            if round % 20_000 > 2_000 {
                assert!(keydir.change(spread(removed), Old::At(at(removed)), None));
                removed += 1;
            }
        }
    });
    assert!((0..STAYING).all(|n| keydir.is_at(spread(n), place(n, 200))));
}

/// A reader may have looked at the frontier a moment before it passed.
#[test]
fn a_rebuilt_page_still_has_what_the_sweep_has_copied() {
    let keydir = KeyDirectory::new();
    let put = |hash: u64| keydir.change(hash, Old::NoSuchHash, Some(at(hash >> 32)));
    let high: Vec<_> = (0..9).map(|n| u64::MAX - (n << 32)).collect();
    assert!(high.iter().all(|&hash| put(hash)));
    assert!(!keydir.sweep().place(high[0]).is_new);
    let before = keydir.sweep().from().word(0).page();
    assert!((0..2).all(|n| put(n << 32)));
    assert!(keydir.change(0, Old::At(at(0)), None));
    assert!(put(2 << 32));
    assert!(keydir.sweep().place(high[0]).is_new && !keydir.sweep().place(0).is_new);
    let page = keydir.sweep().from().word(0).page();
    assert!(page != before, "it was rebuilt");
    let page = keydir.page(page.unwrap());
    for hash in high {
        let home = keydir.sweep().from().home(hash);
        let found = find(page, home, hash, at(hash >> 32));
        assert!(page.may_have(home, hash) && found.is_some());
    }
}

/// Of the mapping that an address is in, as the kernel sees it.
#[cfg(target_os = "linux")]
fn resident_kib(address: usize) -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = maps.lines();
    lines
        .find(|line| {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let parse = |end: &str| usize::from_str_radix(end, 16).ok();
            range
                .and_then(|(start, end)| Some(parse(start)?..parse(end)?))
                .is_some_and(|range| range.contains(&address))
        })
        .expect("it is mapped");
    let line = lines.find_map(|line| line.strip_prefix("Rss:")).expect("its size is known");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What the system does to bring them in, it does before somebody waits for it.
#[cfg(target_os = "linux")]
#[test]
fn the_next_pages_are_in_memory_before_the_last_of_these_are_taken() {
    if !memmap2::Advice::PopulateWrite.is_supported() {
        eprintln!("skipped: this system does not know MADV_POPULATE_WRITE");
        return;
    }
    let mut arena = Arena::default();
    let first_strip: Vec<_> = (0..arena::STRIP).map(|_| arena.take()).collect();
    arena.touched_all();
    let next = arena.take();
    assert!(!first_strip.contains(&next));
    assert!(resident_kib(next.as_ptr().addr()) >= arena::STRIP * page::PAGE_LEN / 1024);
}

#[test]
fn what_an_overlay_says_once_it_says_always() {
    let keydir = KeyDirectory::new();
    keydir.change(7, Old::NoSuchKey, Some(at(0)));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut offset = 0;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(keydir.change(7, Old::At(at(offset)), Some(at(offset + 1))));
                offset += 1;
            }
        });
        for _ in 0..20_000 {
            let (overlay, len) = keydir.begin_overlay();
            let all = || keydir.all_past(&overlay, 7).iter().map(|at| at.offset()).collect();
            let (first, mut visited): (Vec<u64>, _) = (all(), Vec::new());
            let visit = |_, location: Location| visited.push(location.offset());
            keydir.visit_past_first(&overlay, ALL_HASHES, visit);
            assert_eq!((&visited, len), (&first, 1));
            assert_eq!(all(), first);
            keydir.end_overlay(&overlay);
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(keydir.overlays(), (0, 0));
}
