//! What a run does next.

use std::ops::Bound;

use crate::options::Durability;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Put {
        key: u8,
        len: usize,
        /// `None`: the store's; the value is aligned then.
        durability: Option<Durability>,
    },
    /// The value is not aligned.
    PutWithTtl {
        key: u8,
        len: usize,
        ttl: u64,
    },
    /// Gives the key another time, or takes it away.
    Touch {
        key: u8,
        ttl: Option<u64>,
    },
    /// The machine's clock is set.
    Clock {
        time: u64,
    },
    Delete {
        key: u8,
        durability: Option<Durability>,
    },
    /// Keys, each with the length of its value or to be deleted.
    Batch {
        writes: Vec<(u8, Option<usize>)>,
        durability: Option<Durability>,
    },
    PutIfAbsent {
        key: u8,
        len: usize,
    },
    /// A value of this length, or none, where the right value is expected, or another.
    CompareAndSwap {
        key: u8,
        is_right: bool,
        len: Option<usize>,
    },
    /// To a value of this length, or none.
    Update {
        key: u8,
        len: Option<usize>,
    },
    Rename {
        from: u8,
        to: u8,
    },
    /// The keys with a bit of one stay.
    Retain {
        kept: u8,
    },
    Clear,
    /// A snapshot is taken; if there are as many as may be, in place of one of them.
    Snapshot {
        in_place_of: u8,
    },
    /// The store and its snapshots are gone through in all ways.
    Scan {
        start: Bound<u8>,
        end: Bound<u8>,
    },
    Flush,
    Sync,
    Compact,
    /// A turn of the store's upkeep.
    Upkeep,
    Checkpoint,
    /// The store is closed, and opened again.
    Reopen,
    Kill,
    /// Power is lost now.
    Crash(PowerLoss),
    /// Power is lost at an operation of the disk to come.
    CrashSoon {
        operations: u64,
        loss: PowerLoss,
    },
    /// The process is killed in an operation of the disk to come.
    KillSoon {
        operations: u64,
    },
    /// An operation of the disk to come fails.
    FailSoon {
        operations: u64,
    },
    /// The disk has room for so many bytes more; `None`: for whatever comes.
    Room {
        bytes: Option<u64>,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PowerLoss {
    /// Decides what of the unsynced reached the disk.
    pub(crate) seed: u64,
    /// After so many operations of the next recovery comes another.
    pub(crate) again_at: Option<u64>,
}
