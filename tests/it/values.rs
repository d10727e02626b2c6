//! Values in hand: parts of them, readers of them, and what they keep.

use std::io::{BufRead, Read, Seek, SeekFrom};

use zerocask::{Compaction, Store};

use crate::support;

/// Segments of a few records, so that compaction has something to merge and to drop.
fn small_segments(dir: &tempfile::TempDir) -> Store {
    support::options().compaction(Compaction::Manual).segment_size(1024).open(dir.path()).unwrap()
}

fn put_all(store: &Store, round: u32) {
    for n in 0..20u32 {
        store.put(n.to_be_bytes(), format!("{round}").repeat(200)).unwrap();
    }
}

/// Puts new values in place of all, and compacts: what was there before is gone from the store.
fn replace_all(store: &Store, round: u32) {
    put_all(store, round);
    assert!(store.compact().unwrap().segments_removed > 0);
}

#[test]
fn a_slice_keeps_what_the_value_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let store = small_segments(&dir);
    put_all(&store, 7);
    let slice = store.get(0u32.to_be_bytes()).unwrap().unwrap().slice(10..20).unwrap();
    for round in 0..5 {
        replace_all(&store, round);
        assert_eq!(store.stats().pinned_segments, 1);
    }
    assert_eq!(slice, "7777777777");
    drop(slice);
    assert_eq!((store.stats().pinned_segments, store.stats().pinned_bytes), (0, 0));
}

#[test]
fn a_cursor_reads_and_seeks_after_the_store_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path()).unwrap();
    store.put("key", "first\nsecond\nthird").unwrap();
    let value = store.get("key").unwrap().unwrap();
    assert_eq!(value.to_vec(), b"first\nsecond\nthird");
    let mut cursor = value.cursor();
    drop(store);
    let mut text = String::new();
    assert_eq!(cursor.read_line(&mut text).unwrap(), 6);
    assert_eq!(cursor.seek(SeekFrom::Current(7)).unwrap(), 13);
    assert_eq!(cursor.read_to_string(&mut text).unwrap(), 5);
    assert_eq!(text, "first\nthird");
    assert_eq!(cursor.seek(SeekFrom::End(-5)).unwrap(), 13);
    assert_eq!(cursor.into_inner(), "first\nsecond\nthird");
}

#[cfg(feature = "bytes")]
mod as_bytes {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicU32, Ordering};

    use bytes::Bytes;
    use zerocask::Durability;

    use super::*;

    #[test]
    fn they_count_as_holding_their_segment_until_the_last_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let store = small_segments(&dir);
        put_all(&store, 7);
        let mut held: Vec<Bytes> =
            (0..20u32).map(|n| store.get(n.to_be_bytes()).unwrap().unwrap().into()).collect();
        let last = held[3].slice(5..15);
        replace_all(&store, 0);
        let all = store.stats().pinned_segments;
        assert!(all > 1);
        for round in 1..6 {
            replace_all(&store, round);
            assert_eq!(store.stats().pinned_segments, all);
        }
        assert!(held.iter().all(|bytes| bytes.iter().all(|&byte| byte == b'7')));
        held.clear();
        assert_eq!(store.stats().pinned_segments, 1);
        assert_eq!(last, "7777777777");
        drop(last);
        assert_eq!((store.stats().pinned_segments, store.stats().pinned_bytes), (0, 0));
    }

    #[test]
    fn taken_from_the_append_buffer_they_never_change() {
        let dir = tempfile::tempdir().unwrap();
        let options = support::options().durability(Durability::Buffered);
        let store = options.open(dir.path()).unwrap();
        let mut held = Vec::new();
        for n in 0..4000u32 {
            let text = format!("{n:08}").repeat(40);
            store.put(n.to_be_bytes(), &text).unwrap();
            let bytes = Bytes::from(store.get(n.to_be_bytes()).unwrap().unwrap());
            assert_eq!(bytes, text);
            // Most of what one chunk holds is let go of before the next begins.
            if n % 500 == 0 {
                held.push((bytes, text));
            }
        }
        assert!(store.stats().buffered_bytes > 0);
        drop(store);
        assert!(held.iter().all(|(bytes, text)| bytes == text));
    }

    #[test]
    fn taken_beside_a_writer_they_are_the_value_and_never_change() {
        let dir = tempfile::tempdir().unwrap();
        let options = support::options().segment_size(1 << 20).durability(Durability::Buffered);
        let store = options.open(dir.path()).unwrap();
        let put = AtomicU32::new(0);
        let text = |n: u32| format!("{n:08}").repeat(30);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut held: VecDeque<(u32, Bytes)> = VecDeque::new();
                    let mut last = 0;
                    while last < 20_000 {
                        last = put.load(Ordering::Acquire);
                        if let Some(value) = store.get(last.to_be_bytes()).unwrap() {
                            held.push_back((last, value.into()));
                        }
                        if held.len() > 20 {
                            let (n, bytes) = held.pop_front().unwrap();
                            assert_eq!(bytes, text(n));
                        }
                    }
                    assert!(held.iter().all(|(n, bytes)| *bytes == text(*n)));
                });
            }
            for n in 1..=20_000u32 {
                store.put(n.to_be_bytes(), text(n)).unwrap();
                put.store(n, Ordering::Release);
            }
        });
    }
}
