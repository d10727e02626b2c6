//! What a store can say of itself.

use crate::compact::CompactionStats;

/// Figures of a store at one moment; parts of it may be a write apart from each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Keys, expired ones that no compaction has met and no write replaced included.
    pub keys: usize,
    /// Segment files.
    pub segments: usize,
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
    /// Bytes of memory of the key directory.
    pub key_directory_bytes: usize,
    /// Segments that the store has let go but values in the hands of readers come from. They stay on
    /// disk as long, unless under [`crate::ReadMode::Copy`].
    pub pinned_segments: usize,
    /// Their bytes.
    pub pinned_bytes: u64,
    /// Snapshots that are alive.
    pub snapshots: usize,
    /// Changes that they have noted, of a key in each of them once; about 80 bytes of memory each.
    pub snapshot_changes: usize,
    /// Compactions since the store was opened.
    pub compaction: CompactionStats,
}
