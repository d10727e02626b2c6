//! The columns of every table: stores, and the ways to read them. The one place that lists them.

use serde::{Deserialize, Serialize};

use crate::measure::Measure;
use crate::peers;

/// A store and a way to read it.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Column {
    /// zerocask, `Store::get`
    Zerocask,
    /// zerocask, `Reader::get`
    ZerocaskReader,
    /// zerocask, `Reader::get_many` of 64
    ZerocaskMany,
    /// zerocask, `Store::get_many` of 64
    ZerocaskStoreMany,
    /// LMDB by heed
    Lmdb,
    /// redb
    Redb,
    /// fjall
    Fjall,
    /// sled
    Sled,
    /// candystore
    Candystore,
    /// simd-r-drive, `read`
    SimdRDrive,
    /// simd-r-drive, `batch_read` of 64
    SimdRDriveBatch,
    /// RocksDB, pinned gets
    #[cfg(feature = "rocksdb")]
    Rocksdb,
    /// RocksDB, `batched_multi_get_cf` of 64
    #[cfg(feature = "rocksdb")]
    RocksdbBatch,
    /// `HashMap` of std behind a lock
    HashMap,
    /// `HashMap` with foldhash behind a lock
    Foldhash,
    /// The bare limit
    Limit,
}

/// Runs `$function::<P>(…)` with the peer of a column.
#[macro_export]
macro_rules! with_peer {
    ($column:expr, $function:ident($($arg:expr),*)) => {{
        use $crate::column::Column;
        use $crate::peers::*;
        match $column {
            Column::Zerocask => $function::<zerocask::Get>($($arg),*),
            Column::ZerocaskReader => $function::<zerocask::Reading>($($arg),*),
            Column::ZerocaskMany => $function::<zerocask::Many>($($arg),*),
            Column::ZerocaskStoreMany => $function::<zerocask::StoreMany>($($arg),*),
            Column::Lmdb => $function::<lmdb::Lmdb>($($arg),*),
            Column::Redb => $function::<redb::Redb>($($arg),*),
            Column::Fjall => $function::<fjall::Fjall>($($arg),*),
            Column::Sled => $function::<sled::Sled>($($arg),*),
            Column::Candystore => $function::<candystore::Candystore>($($arg),*),
            Column::SimdRDrive => $function::<simd_r_drive::Single>($($arg),*),
            Column::SimdRDriveBatch => $function::<simd_r_drive::Batch>($($arg),*),
            #[cfg(feature = "rocksdb")]
            Column::Rocksdb => $function::<rocksdb::Single>($($arg),*),
            #[cfg(feature = "rocksdb")]
            Column::RocksdbBatch => $function::<rocksdb::Batch>($($arg),*),
            Column::HashMap => $function::<hash_map::Std>($($arg),*),
            Column::Foldhash => $function::<hash_map::Fold>($($arg),*),
            Column::Limit => $function::<limit::Limit>($($arg),*),
        }
    }};
}

impl Column {
    /// The column whose data this one reads: itself, but for further ways to read a store.
    pub(crate) fn store(self) -> Column {
        match self {
            Column::ZerocaskReader | Column::ZerocaskMany | Column::ZerocaskStoreMany => {
                Column::Zerocask
            }
            Column::SimdRDriveBatch => Column::SimdRDrive,
            #[cfg(feature = "rocksdb")]
            Column::RocksdbBatch => Column::Rocksdb,
            itself => itself,
        }
    }

    /// The head of its column.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Column::Zerocask => "zerocask get",
            Column::ZerocaskReader => "zerocask Reader",
            Column::ZerocaskMany => "zerocask Reader many",
            Column::ZerocaskStoreMany => "zerocask many",
            Column::Lmdb => "LMDB",
            Column::Redb => "redb",
            Column::Fjall => "fjall",
            Column::Sled => "sled",
            Column::Candystore => "candystore",
            Column::SimdRDrive => "simd-r-drive",
            Column::SimdRDriveBatch => "simd-r-drive batch",
            #[cfg(feature = "rocksdb")]
            Column::Rocksdb => "RocksDB",
            #[cfg(feature = "rocksdb")]
            Column::RocksdbBatch => "RocksDB batch",
            Column::HashMap => "HashMap",
            Column::Foldhash => "HashMap, foldhash",
            Column::Limit => "bare limit",
        }
    }

    /// How its store is set up, once for each store.
    pub(crate) fn settings(self) -> Option<&'static str> {
        Some(match self {
            Column::Zerocask => peers::zerocask::SETTINGS,
            Column::Lmdb => peers::lmdb::SETTINGS,
            Column::Redb => peers::redb::SETTINGS,
            Column::Fjall => peers::fjall::SETTINGS,
            Column::Sled => peers::sled::SETTINGS,
            Column::Candystore => peers::candystore::SETTINGS,
            Column::SimdRDrive => peers::simd_r_drive::SETTINGS,
            #[cfg(feature = "rocksdb")]
            Column::Rocksdb => peers::rocksdb::SETTINGS,
            Column::HashMap => peers::hash_map::SETTINGS,
            Column::Foldhash => peers::hash_map::FOLD_SETTINGS,
            Column::Limit => peers::limit::SETTINGS,
            _ => return None,
        })
    }

    /// Whether it keeps anything when it is closed.
    pub(crate) fn is_persistent(self) -> bool {
        !matches!(self, Column::HashMap | Column::Foldhash)
    }

    pub(crate) fn is_limit(self) -> bool {
        self == Column::Limit
    }

    pub(crate) fn is_zerocask(self) -> bool {
        self.store() == Column::Zerocask
    }

    /// Whether keys are asked for many at a time.
    fn is_batch(self) -> bool {
        match self {
            Column::ZerocaskMany | Column::ZerocaskStoreMany | Column::SimdRDriveBatch => true,
            #[cfg(feature = "rocksdb")]
            Column::RocksdbBatch => true,
            _ => false,
        }
    }

    /// Why a measure means nothing for this column, if so.
    pub(crate) fn lacks(self, measure: Measure) -> Option<&'static str> {
        let is_of_reading = matches!(measure, Measure::Hits | Measure::Misses | Measure::HitsByTwo);
        let is_of_memory = matches!(measure, Measure::MemoryLoaded | Measure::MemoryRead);
        match self {
            Column::Limit
                if !matches!(
                    measure,
                    Measure::Hits | Measure::HitsByTwo | Measure::DurablePuts(_)
                ) =>
            {
                Some("the bare limit only hits, and writes durably")
            }
            _ if self.store() != self && (is_of_memory || measure == Measure::Reopen) => {
                Some("as its store")
            }
            _ if self.is_batch() && !is_of_reading => Some("a way to read many keys only"),
            Column::ZerocaskReader
                if matches!(
                    measure,
                    Measure::Load
                        | Measure::Puts
                        | Measure::DurablePuts(_)
                        | Measure::Iterate
                        | Measure::Disk
                ) =>
            {
                Some("a way to get only")
            }
            Column::HashMap | Column::Foldhash => match measure {
                Measure::Reopen | Measure::DurablePuts(_) => Some("keeps nothing"),
                Measure::Disk => Some("nothing on disk"),
                Measure::MemoryRead => Some("cannot be reopened"),
                Measure::Churn(_) => Some("measured for zerocask only"),
                _ => None,
            },
            Column::SimdRDrive if matches!(measure, Measure::DurablePuts(_)) => Some("never syncs"),
            _ if matches!(measure, Measure::Churn(_)) && !self.is_zerocask() => {
                Some("measured for zerocask only")
            }
            _ => None,
        }
    }
}
