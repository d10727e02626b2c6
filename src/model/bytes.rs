//! Arbitrary bytes as steps of a run.
//!
//! ```text
//! input      = [size:1] [durability and modes:1] step*
//! size       = of the segments; 2n+1: the keys are kept in order, 8n+7: and a segment is damaged
//! step       = [kind:1] [arguments]     the kinds and their arguments: `Bytes::step`
//! ```
//!
//! Every byte means something, each taken modulo the number of things it can mean. The input ends where a
//! step has bytes too few, and after [`MAX_STEPS`].

use std::iter;
use std::ops::Bound;
use std::time::Duration;

use super::{KEYS, PowerLoss, Setup, Step, TIMES};
use crate::options::{Durability, ReadMode};

/// They bound what an input costs: a step writes half a megabyte at the most.
const MAX_STEPS: usize = 120;
pub(crate) const KINDS: u8 = 26;

/// The run that the bytes stand for.
pub(crate) fn decode(bytes: &[u8]) -> (Setup, Vec<Step>) {
    let mut bytes = Bytes(bytes);
    let setup = bytes.setup();
    let steps: Vec<_> = iter::from_fn(|| bytes.step()).take(MAX_STEPS).collect();
    let upkeep = steps.iter().any(|step| matches!(step, Step::Upkeep));
    (Setup { upkeep, ..setup }, steps)
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn setup(&mut self) -> Setup {
        let size = self.byte().unwrap_or(0);
        let modes = self.byte().unwrap_or(0);
        Setup {
            segment_size: 64 + 4 * u64::from(size),
            durability: durability(modes),
            hash_mask: [u64::MAX, u64::MAX, 1, 0][usize::from(modes >> 2 & 3)],
            stored_empty: modes >> 4 & 1 == 1,
            default_ttl: (modes >> 6 == 3).then_some(TIMES / 8),
            read_mode: if modes >> 5 & 1 == 0 { ReadMode::Mapped } else { ReadMode::Copy },
            ordered: size % 2 == 1,
            mappings: if size % 4 == 2 { usize::from(size / 64) } else { usize::MAX },
            damaged: size % 8 == 7,
            upkeep: false,
        }
    }

    fn step(&mut self) -> Option<Step> {
        Some(match self.byte()? % KINDS {
            0 => Step::Put { key: self.key()?, len: self.len()?, durability: self.durability()? },
            1 => Step::Delete { key: self.key()?, durability: self.durability()? },
            2 => {
                let (durability, count) = (self.durability()?, self.byte()? % 6);
                let writes = (0..count).map(|_| self.write()).collect::<Option<_>>()?;
                Step::Batch { writes, durability }
            }
            3 => Step::Flush,
            4 => Step::Sync,
            5 => Step::Compact,
            6 => Step::Reopen,
            7 => Step::Kill,
            8 => Step::Crash(self.loss()?),
            9 => Step::CrashSoon { operations: self.operations()?, loss: self.loss()? },
            10 => Step::KillSoon { operations: self.operations()? },
            11 => Step::FailSoon { operations: self.operations()? },
            12 => {
                Step::Room { bytes: self.byte()?.checked_sub(1).map(|bytes| 8 * u64::from(bytes)) }
            }
            13 => Step::PutWithTtl { key: self.key()?, len: self.len()?, ttl: self.time()? },
            14 => {
                let (key, ttl) = (self.key()?, self.time()?);
                Step::Touch { key, ttl: (ttl > 0).then_some(ttl) }
            }
            15 => Step::Clock { time: self.time()? },
            16 => Step::PutIfAbsent { key: self.key()?, len: self.len()? },
            17 => {
                let ((key, len), is_right) = (self.write()?, self.byte()? % 4 > 0);
                Step::CompareAndSwap { key, is_right, len }
            }
            18 => {
                let (key, len) = self.write()?;
                Step::Update { key, len }
            }
            19 => Step::Rename { from: self.key()?, to: self.key()? },
            20 => Step::Retain { kept: self.byte()? },
            21 => Step::Clear,
            22 => Step::Snapshot { in_place_of: self.byte()? },
            23 => Step::Scan { start: self.bound()?, end: self.bound()? },
            24 => Step::Upkeep,
            _ => Step::Checkpoint,
        })
    }

    /// A time of a run.
    fn time(&mut self) -> Option<u64> {
        Some(TIMES / 256 * u64::from(self.byte()?))
    }

    fn key(&mut self) -> Option<u8> {
        Some(self.byte()? % KEYS)
    }

    /// One end of a range of keys.
    fn bound(&mut self) -> Option<Bound<u8>> {
        let byte = self.byte()?;
        let key = byte % KEYS;
        Some(match byte / KEYS % 3 {
            0 => Bound::Included(key),
            1 => Bound::Excluded(key),
            _ => Bound::Unbounded,
        })
    }

    /// Mostly small; up to more than is written at once.
    fn len(&mut self) -> Option<usize> {
        let byte = usize::from(self.byte()?);
        Some(if byte < 0xF0 { byte } else { 300 * (byte - 0xEF) * (byte - 0xEF) })
    }

    /// A key to be put or deleted.
    fn write(&mut self) -> Option<(u8, Option<usize>)> {
        let byte = self.byte()?;
        let len = if byte & 8 == 0 { Some(self.len()?) } else { None };
        Some((byte % 8, len))
    }

    /// Of a write, if not the store's.
    fn durability(&mut self) -> Option<Option<Durability>> {
        let byte = self.byte()?;
        Some((byte & 4 != 0).then(|| durability(byte)))
    }

    fn loss(&mut self) -> Option<PowerLoss> {
        let (seed, again) = (u64::from(self.byte()?), self.byte()?);
        Some(PowerLoss { seed, again_at: again.checked_sub(1).map(|again| u64::from(again % 32)) })
    }

    fn operations(&mut self) -> Option<u64> {
        Some(u64::from(self.byte()? % 64))
    }
}

fn durability(byte: u8) -> Durability {
    let all = [
        Durability::Flushed,
        Durability::Buffered,
        Durability::Synced,
        Durability::Interval(Duration::MAX),
    ];
    all[usize::from(byte % 4)]
}
