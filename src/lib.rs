#![doc = include_str!("../README.md")]
//!
//! **The [`guide`]** is for who chooses a store and builds it in.

#[cfg(not(all(unix, target_pointer_width = "64")))]
compile_error!("zerocask maps files and packs 64-bit words: it needs a 64-bit Unix");

#[cfg(feature = "tokio")]
mod asynchronous;
mod backup;
mod batch;
mod batch_read;
mod bell;
mod checkpoint;
mod clock;
mod commit;
mod compact;
mod companions;
mod conditional;
mod counters;
mod directory;
mod durable;
mod error;
mod expiry;
mod feed;
mod follow;
mod fs;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod get_many;
pub mod guide;
mod hint;
mod index;
mod interval;
mod keydir;
mod keys;
mod location;
mod log;
#[cfg(all(loom, test))]
mod loom;
mod manifest;
mod mappings;
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, clippy::panic)]
mod model;
mod options;
mod ordered;
mod page_cache;
mod past;
mod policy;
mod position;
mod progress;
mod range;
mod reader;
pub mod record;
mod recover;
mod removal;
mod repair;
mod segment;
mod sight;
mod snapshot;
mod stats;
mod store;
mod sync;
#[cfg(test)]
mod tests;
mod threads;
#[cfg(feature = "serde")]
mod typed;
mod upkeep;
mod value;
mod verify;
mod views;
mod walk;

#[cfg(feature = "tokio")]
pub use asynchronous::AsyncStore;
#[cfg(all(feature = "serde", feature = "tokio"))]
pub use asynchronous::AsyncTyped;
pub use backup::BackupReport;
pub use batch::Batch;
pub use compact::{CompactionOutcome, CompactionReport, CompactionStats, LastCompaction};
pub use conditional::Swap;
#[cfg(feature = "serde")]
pub use error::Part;
pub use error::{Damage, Error, FileKind, Misfit, Result};
pub use expiry::Expiry;
pub use feed::{Entry, Event, Kind, Replay, Watcher};
pub use follow::Refreshed;
pub use get_many::GetMany;
pub use keys::{Iter, Keys};
pub use options::{Access, Durability, EmptyValues, Options, ReadMode, Recovery, Verify};
pub use policy::{Compaction, CompactionPolicy};
pub use position::Position;
pub use progress::Progress;
pub use range::Range;
pub use reader::Reader;
pub use recover::{Cut, DamagedRecord, RecoveryReport};
pub use removal::Drain;
pub use repair::{LostRecord, RepairReport, repair};
pub use snapshot::Snapshot;
pub use stats::{Latencies, SegmentStats, Stats, SyncStats};
pub use store::Store;
#[cfg(feature = "json")]
pub use typed::Json;
#[cfg(feature = "serde")]
pub use typed::{
    Codec, CodecError, Encoded, KeyOf, Postcard, Typed, TypedIter, TypedKeys, TypedReader,
};
pub use value::Value;
pub use verify::{Fault, Torn, VerifyReport, verify};
pub use views::{view, view_slice};
/// Part of the interface: its traits say what [`Store::put_as`] and [`Value::view`] take.
pub use zerocopy;
