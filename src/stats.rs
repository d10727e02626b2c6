//! What a store can say of itself.

mod table;

use std::time::Duration;

use crate::compact::CompactionStats;
use crate::counters::{BUCKETS, Times};

/// Figures of a store at one moment; parts of it may be a write apart from each other. Made by [`crate::Store::stats`].
///
/// For people it is a table (`Display`; all segments with `{:#}`). For programs it is serde's `Serialize` with the feature
/// `serde`: names are those of the fields, sizes are in bytes, times in microseconds, as whole numbers.
///
/// What is counted, not measured (puts, bytes written, compactions, syncs), is of this process since it opened the store and only grows.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// Keys, expired ones that no compaction has met and no write replaced included.
    pub keys: usize,
    /// Bytes of memory of the key directory.
    pub key_directory_bytes: usize,
    /// Segment files.
    pub segments: usize,
    /// Of these, how many are mapped.
    pub mapped_segments: usize,
    /// Of these, how many are read piece by piece, each with a file descriptor: all under [`crate::ReadMode::Copy`], else those for which
    /// there was no mapping left.
    pub unmapped_segments: usize,
    /// Records in the segment files, and in the append buffer.
    pub records: u64,
    /// Of these, records that are stale, deleted, expired or tombstones.
    pub dead_records: u64,
    /// Bytes in the segment files, and in the append buffer.
    pub bytes: u64,
    /// Of these, bytes of records that are stale, deleted, expired or tombstones. Compaction can free them,
    /// except in damaged segments. What expires is counted about a second later; where the
    /// times of a segment's records span days or years, up to a five-hundredth of that later; never too early.
    pub dead_bytes: u64,
    /// Bytes that wait in the append buffer.
    pub buffered_bytes: u64,
    /// Bytes that have been written since the store was opened and are not on disk for sure: a power loss may
    /// take them. Those of the append buffer are among them.
    pub unsynced_bytes: u64,
    /// Segments that the store has let go but values in the hands of readers come from. They stay on
    /// disk as long, unless under [`crate::ReadMode::Copy`].
    pub pinned_segments: usize,
    /// Their bytes.
    pub pinned_bytes: u64,
    /// Snapshots that are alive.
    pub snapshots: usize,
    /// Changes that they have noted, of a key in each of them once; about 80 bytes of memory each.
    pub snapshot_changes: usize,
    /// Values put, each of a batch counted.
    pub puts: u64,
    /// Keys deleted, each of a batch counted; those that were not there, and cost nothing, are not.
    pub deletes: u64,
    /// Keys asked for, by [`crate::Store::get`] and its like and by readers, if [`crate::Options::count_reads`] says so. What a reader
    /// has counted comes in when it is refreshed or dropped, and after every 1,024 gets.
    pub gets: Option<u64>,
    /// Of these, keys that were not there.
    pub misses: Option<u64>,
    /// Bytes that puts and deletes have appended.
    pub written_bytes: u64,
    /// How many bytes have been written for each that puts and deletes have appended; none if they have appended none.
    pub write_amplification: Option<f64>,
    /// What compactions have done.
    pub compaction: CompactionStats,
    /// What was made durable, and how long that took.
    pub syncs: SyncStats,
    /// Each segment file, in the order of the log.
    pub per_segment: Vec<SegmentStats>,
}

/// Figures of a segment file. See [`Stats`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SegmentStats {
    /// The number in its name.
    pub id: u64,
    /// Whether it is not sealed: it is being appended to, or, of a read-only store, was when that looked.
    pub active: bool,
    /// Whether it is mapped.
    pub mapped: bool,
    /// Records.
    pub records: u64,
    /// Of these, records that do not count, see [`Stats::dead_records`].
    pub dead_records: u64,
    /// Bytes.
    pub bytes: u64,
    /// Of these, bytes that do not count, see [`Stats::dead_bytes`].
    pub dead_bytes: u64,
}

impl SegmentStats {
    /// Records that count.
    pub fn live_records(&self) -> u64 {
        self.records - self.dead_records
    }

    /// Bytes that count.
    pub fn live_bytes(&self) -> u64 {
        self.bytes - self.dead_bytes
    }
}

/// What an open store has made durable, failures included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SyncStats {
    /// Data files.
    pub data: Latencies,
    /// The names in the store's directory.
    pub directory: Latencies,
    /// Manifests.
    pub manifest: Latencies,
}

/// How often something was done, and how long it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Latencies {
    /// How often.
    pub count: u64,
    /// How long it took in all, in microseconds.
    pub total_micros: u64,
    /// How often it took how long: bucket `n` counts what took less than 2 to the power of `n` microseconds and not less than the bucket
    /// before it, the last one all that took longer. A histogram of Prometheus's has running sums of them.
    pub buckets: [u64; 24],
}

impl Latencies {
    pub(crate) fn of(times: &Times) -> Self {
        let (total_micros, buckets) = times.sums();
        Latencies { count: buckets.iter().sum(), total_micros, buckets }
    }

    /// A time below which this share of them took, 0.99 of them say: less than twice what the slowest of these did. None if there were none, or if it
    /// took more than 4 seconds, the beginning of the last bucket.
    pub fn below(&self, share: f64) -> Option<Duration> {
        let wanted = (self.count as f64 * share.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut sum = 0;
        let bucket = self.buckets.iter().position(|count| {
            sum += count;
            sum >= wanted
        })?;
        (bucket + 1 < BUCKETS).then(|| Duration::from_micros(1 << bucket))
    }
}
