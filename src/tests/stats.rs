//! What a store says of itself.

use std::io;
use std::sync::Arc;

use proptest::prelude::*;

use super::support::Machine;
use crate::compact::CompactionOutcome;
use crate::fs::sim::Op;
use crate::record::Record;
use crate::stats::Stats;
use crate::{Batch, Durability, Error};

fn len(key: &str, value: &str) -> u64 {
    Record::plain(0, key.as_bytes(), value.as_bytes()).len_at(0)
}

#[test]
fn each_segment_has_its_own_figures_and_they_add_up() {
    let machine = Machine::new(100);
    let store = machine.open().unwrap();
    for (key, value) in [("a", "1"), ("b", "22"), ("c", "333"), ("a", "4"), ("d", "5"), ("e", "6")]
    {
        store.put(key, value).unwrap();
    }
    assert!(store.delete("c").unwrap());
    let stats = store.stats();
    let of = |s: &crate::SegmentStats| (s.id, s.active, s.records, s.dead_records, s.dead_bytes);
    let found: Vec<_> = stats.per_segment.iter().map(of).collect();
    let (a, c) = (len("a", "1"), len("c", "333"));
    assert_eq!(found, [(1, false, 4, 2, a + c), (2, true, 3, 1, len("c", ""))]);
    let first = &stats.per_segment[0];
    assert_eq!((first.live_records(), first.live_bytes()), (2, len("b", "22") + a));
    assert_eq!((stats.records, stats.dead_records, stats.segments), (7, 3, 2));
    assert_eq!(stats.bytes, stats.per_segment.iter().map(|s| s.bytes).sum::<u64>());
    assert_eq!(stats.dead_bytes, stats.per_segment.iter().map(|s| s.dead_bytes).sum::<u64>());
    assert_eq!(stats.mapped_segments + stats.unmapped_segments, 2);
    // Whoever only reads finds the same in the files, but for what it holds in memory of its own.
    let read = machine.read_only().open().unwrap().stats();
    assert_eq!(read.per_segment.iter().map(of).collect::<Vec<_>>(), found);
}

#[test]
fn writes_are_counted_that_were_appended_and_no_others() {
    let machine = Machine::new(1 << 20);
    let store = machine.open().unwrap();
    let counts = |stats: &Stats| (stats.puts, stats.deletes, stats.written_bytes);
    let none = store.stats();
    assert_eq!((counts(&none), none.write_amplification), ((0, 0, 0), None));
    store.put("a", "1").unwrap();
    let mut bytes = len("a", "1");
    assert!(!store.delete("b").unwrap());
    assert_eq!(counts(&store.stats()), (1, 0, bytes));
    store.write(Batch::new().put("b", "2").put("c", "3").delete("a")).unwrap();
    bytes += 2 * len("b", "2") + len("a", "");
    assert!(store.put_if_absent("d", "4").unwrap());
    assert!(!store.put_if_absent("d", "5").unwrap());
    assert!(store.delete("d").unwrap());
    bytes += len("d", "4") + len("d", "");
    assert_eq!(counts(&store.stats()), (4, 2, bytes));
    machine.fs.fail_next(Op::Write, "data", io::ErrorKind::StorageFull);
    store.put("e", "6").unwrap_err();
    let stats = store.stats();
    assert_eq!((counts(&stats), stats.write_amplification), ((4, 2, bytes), Some(1.0)));
    store.close().unwrap();
    assert_eq!(counts(&machine.open().unwrap().stats()), (0, 0, 0), "of this opening");
}

#[test]
fn compactions_are_counted_and_the_last_one_is_told() {
    let machine = Machine::new(1 << 20);
    let store = machine.open().unwrap();
    for n in 0..4 {
        store.put("key", format!("{n:0100}")).unwrap();
    }
    let written = store.stats().written_bytes;
    machine.fs.fail_next(Op::Create, ".data.tmp", io::ErrorKind::StorageFull);
    machine.time.set(5);
    store.compact().unwrap_err();
    let stats = store.stats();
    let (done, amplification) = (stats.compaction, stats.write_amplification);
    let last = done.last.unwrap();
    assert_eq!((last.outcome, last.bytes_before), (CompactionOutcome::Failed, 0));
    assert!(last.error.unwrap().contains(".data.tmp"));
    assert_eq!((done.runs, done.failures, last.ended_at_micros), (0, 1, 5));
    assert_eq!((done.bytes_written, amplification), (0, Some(1.0)));

    machine.time.set(9);
    let report = store.compact().unwrap();
    let stats = store.stats();
    let (done, amplification) = (stats.compaction, stats.write_amplification);
    let last = done.last.unwrap();
    assert_eq!(last.outcome, CompactionOutcome::Done);
    assert_eq!((last.error, last.ended_at_micros, last.took_micros), (None, 9, 0));
    assert_eq!((done.runs, done.failures), (1, 1));
    assert_eq!((last.bytes_before, last.bytes_after), (written, written / 4));
    assert_eq!((last.segments_removed, last.segments_written, last.segments_kept), (1, 1, 0));
    assert_eq!((report.bytes_written, last.bytes_written), (written / 4, written / 4));
    assert_eq!((done.bytes_written, amplification), (written / 4, Some(1.25)));
}

#[test]
fn every_sync_of_an_open_store_is_counted_failed_ones_too() {
    let machine = Machine::new(200);
    let store = machine.open().unwrap();
    let begin = machine.fs.trace().len();
    for n in 0..20 {
        let durability = if n % 3 == 0 { Durability::Synced } else { Durability::Flushed };
        store.put_with(format!("key {}", n % 7), "x".repeat(30), durability).unwrap();
    }
    store.compact().unwrap();
    store.put("key", "value").unwrap();
    store.sync().unwrap();
    let count = |stats: &Stats| {
        let syncs = &stats.syncs;
        [&syncs.data, &syncs.directory, &syncs.manifest].map(|latencies| {
            assert_eq!(latencies.buckets.iter().sum::<u64>(), latencies.count);
            latencies.count
        })
    };
    let of = |wanted: Op, name: &str| {
        let trace = machine.fs.trace();
        let is_it = |(op, path): &&(Op, std::path::PathBuf)| {
            *op == wanted && path.to_string_lossy().contains(name)
        };
        trace[begin..].iter().filter(is_it).count() as u64
    };
    let expected = [of(Op::Sync, ".data"), of(Op::SyncDir, ""), of(Op::Sync, "MANIFEST")];
    assert!(expected.iter().all(|count| *count > 5), "{expected:?}");
    assert_eq!(count(&store.stats()), expected);

    store.put("key", "other").unwrap();
    machine.fs.fail_next(Op::Sync, ".data", io::ErrorKind::Other);
    assert!(matches!(store.sync(), Err(Error::Poisoned { .. })));
    assert!(matches!(store.sync(), Err(Error::Poisoned { .. })), "which asks the disk nothing");
    assert_eq!(count(&store.stats()), [expected[0] + 1, expected[1], expected[2]]);
}

#[test]
fn reads_are_counted_if_that_is_asked_for() {
    let counted = |counts: bool| {
        let mut machine = Machine::new(1 << 20);
        machine.options = machine.options.count_reads(counts);
        let store = machine.open().unwrap();
        store.put("a", "1").unwrap();
        store.get("a").unwrap();
        store.get("b").unwrap();
        assert!(store.contains_key("a").unwrap());
        assert_eq!(store.get_many(&["a", "b", "c"]).filter(|found| found.is_ok()).count(), 3);
        let mut reader = store.reader();
        reader.get("a").unwrap();
        reader.get_many(&["a", "b"], |_, _| ()).unwrap();
        let before = store.stats();
        reader.refresh();
        let refreshed = store.stats();
        reader.get("b").unwrap();
        drop(reader);
        [before, refreshed, store.stats()].map(|stats| Some((stats.gets?, stats.misses?)))
    };
    assert_eq!(counted(false), [None; 3]);
    assert_eq!(counted(true), [Some((6, 3)), Some((9, 4)), Some((10, 5))]);
}

/// Names and units are what programs build on.
#[cfg(feature = "json")]
#[test]
fn figures_are_serialized_under_the_names_of_their_fields() {
    let machine = Machine::new(1 << 20);
    let store = machine.open().unwrap();
    let empty = serde_json::to_value(store.stats()).unwrap();
    let keys = |value: &serde_json::Value| {
        value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        keys(&empty),
        "buffered_bytes bytes compaction dead_bytes dead_records deletes gets \
         key_directory_bytes keys mapped_segments misses per_segment pinned_bytes pinned_segments \
         puts records segments snapshot_changes snapshots syncs unmapped_segments unsynced_bytes \
         write_amplification written_bytes"
    );
    assert!(empty["gets"].is_null() && empty["write_amplification"].is_null());
    store.put("key", "value").unwrap();
    store.put("key", "other").unwrap();
    store.compact().unwrap();
    let stats = serde_json::to_value(store.stats()).unwrap();
    assert_eq!(
        keys(&stats["compaction"]),
        "bytes_freed bytes_written failures is_paused is_running last progress runs"
    );
    assert_eq!(keys(&stats["compaction"]["progress"]), "done total");
    assert_eq!(
        keys(&stats["compaction"]["last"]),
        "bytes_after bytes_before bytes_written ended_at_micros error outcome \
         segments_kept segments_removed segments_written took_micros"
    );
    assert_eq!(stats["compaction"]["last"]["outcome"], "done");
    assert_eq!(keys(&stats["syncs"]), "data directory manifest");
    assert_eq!(keys(&stats["syncs"]["data"]), "buckets count total_micros");
    assert_eq!(stats["syncs"]["data"]["buckets"].as_array().unwrap().len(), 24);
    let mapped = store.stats().mapped_segments == 1;
    let segment = serde_json::json!({"id": 2, "active": false, "mapped": mapped, "records": 1,
        "dead_records": 0, "bytes": 28, "dead_bytes": 0});
    assert_eq!(stats["per_segment"], serde_json::json!([segment]));
}

proptest! {
    /// A share of them took less than the time that is said of it, and no less than half of that.
    #[test]
    fn the_time_below_which_a_share_took_is_within_a_factor_of_two(
        mut times in prop::collection::vec(1u64..4_000_000, 1..50),
        share in 0.0f64..=1.0,
    ) {
        let counted = Arc::new(crate::counters::Times::default());
        times.iter().for_each(|micros| counted.note(*micros));
        let latencies = crate::Latencies::of(&counted);
        times.sort_unstable();
        let wanted = (times.len() as f64 * share).ceil().max(1.0) as usize;
        let slowest = times[wanted - 1];
        let below = latencies.below(share).unwrap().as_micros() as u64;
        prop_assert!(slowest < below && below <= 2 * slowest, "{slowest} {below}");
        prop_assert_eq!(latencies.total_micros, times.iter().sum::<u64>());
    }
}

#[test]
fn what_took_more_than_seconds_has_no_time_that_it_stayed_below() {
    let times = crate::counters::Times::default();
    assert_eq!(crate::Latencies::of(&times).below(0.5), None);
    [3, 1 << 22].iter().for_each(|micros| times.note(*micros));
    let latencies = crate::Latencies::of(&times);
    assert!(latencies.below(0.5).is_some() && latencies.below(0.99).is_none());
}
