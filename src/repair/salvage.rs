//! What counts in damaged segments, copied out of them.
//!
//! Invariants:
//! - What counts is decided in the order of the log, before anything is copied: the copies lie above
//!   everything, so a record that is not its key's newest must not be among them, and of tombstones only
//!   those that hide something in a segment that stays.
//! - A bad record counts for nothing. The newest good one before it does, and the report says so.
//! - A damaged segment has another name before the manifest drops it.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::report::LostRecord;
use crate::directory::Directory;
use crate::error::Result;
use crate::fs::{Fs, Reading};
use crate::index::{Existing, Index};
use crate::location::{Location, SegmentId, SegmentSlot};
use crate::manifest::SealedEntry;
use crate::progress::{Progress, Teller};
use crate::recover::{self, DamagedRecord};
use crate::segment::scan::{self, Found, Rules};
use crate::segment::{Active, Segment};

/// The segments of a directory that has damage, indexed.
pub(super) struct Salvage<'a> {
    pub(super) fs: &'a dyn Fs,
    pub(super) directory: &'a Directory,
    pub(super) reading: Reading,
    pub(super) index: &'a Index,
}

pub(super) struct Damaged {
    slot: SegmentSlot,
    pub(super) segment: Arc<Segment>,
    /// Where something is bad.
    bad: HashSet<u64>,
}

/// A key of which some record does not count: a bad one, or one of a batch that is not whole.
#[derive(Default)]
struct Doubtful {
    /// The newest such record, if no good one came after it, with its place in the order of the log.
    lost: Option<((SegmentId, u64), LostRecord)>,
    /// The newest bad record since the last good one. It is what the index has: of a batch that is not whole
    /// it has nothing.
    indexed: Option<Location>,
    /// The newest good put, unless the key was deleted after it.
    good: Option<Location>,
}

/// The segments in which something is bad, oldest first.
pub(super) fn damaged(index: &Index, damage: &[DamagedRecord]) -> Vec<Damaged> {
    let mut places: HashMap<PathBuf, HashSet<u64>> = HashMap::new();
    for bad in damage {
        places.entry(bad.path.clone()).or_default().insert(bad.offset);
    }
    let segments = index.segments.list().into_iter();
    let damaged = segments.filter_map(|(slot, segment)| {
        let bad = places.remove(&**segment.path())?;
        Some(Damaged { slot, segment, bad })
    });
    damaged.collect()
}

impl Salvage<'_> {
    /// Copies what counts in damaged segments into new ones with ids from `next` on, which are reserved, durably. No
    /// manifest lists them yet.
    pub(super) fn copy_all(
        &self,
        damaged: &[Damaged],
        mut next: SegmentId,
        teller: &mut Teller<impl FnMut(Progress) -> ControlFlow<()>>,
    ) -> Result<Vec<SealedEntry>> {
        teller.expect(damaged.iter().map(|damaged| damaged.segment.len()).sum());
        let mut copies = Vec::new();
        for damaged in damaged {
            copies.extend(self.copy_out(damaged, next)?);
            next = next.checked_add(1).ok_or_else(|| self.directory.too_many_segments())?;
            teller.step(damaged.segment.len())?;
        }
        Ok(copies)
    }

    /// Lets the key of every bad record have the newest good one before it. Answers the newest records that
    /// do not count, in the order of the log.
    pub(super) fn forget_bad_records(&self, damaged: &[Damaged]) -> Result<Vec<LostRecord>> {
        let index = self.index;
        let mut keys = self.doubtful_keys(damaged)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        for (slot, segment) in index.segments.list() {
            let is_damaged = damaged.iter().any(|damaged| damaged.slot == slot);
            self.walk(&segment, |found| {
                let (offset, frame) = match found {
                    Found::Record { offset, frame }
                    | Found::Bad { offset, frame, .. }
                    | Found::Unapplied { offset, frame } => (offset, frame),
                    Found::Unreadable { .. } => return Ok(()),
                };
                let Some(key) = keys.get_mut(frame.key()) else { return Ok(()) };
                let at = self.location(slot, offset)?;
                if let Found::Record { .. } = found {
                    let good = (!frame.is_tombstone()).then_some(at);
                    *key = Doubtful { good, ..Doubtful::default() };
                } else if is_damaged {
                    let (id, path) = (segment.id(), segment.path().to_path_buf());
                    let record =
                        LostRecord { key: frame.key().to_vec(), path, offset, stale: false };
                    key.lost = Some(((id, offset), record));
                    if let Found::Bad { .. } = found {
                        key.indexed = Some(at);
                    }
                }
                Ok(())
            })?;
        }
        let mut lost = Vec::new();
        for key in keys.into_values() {
            let Doubtful { lost: Some((place, mut record)), indexed, good } = key else { continue };
            record.stale = good.is_some();
            let hash = index.hash(&record.key);
            if let Some(bad) = indexed
                && !index.change(hash, Some(&Existing::at(bad)), good)
            {
                // Another key with the same hash has taken its place.
                index.change(hash, None, good);
            }
            lost.push((place, record));
        }
        lost.sort_by_key(|(place, _)| *place);
        Ok(lost.into_iter().map(|(_, record)| record).collect())
    }

    /// The keys of all records in damaged segments that do not count.
    fn doubtful_keys(&self, damaged: &[Damaged]) -> Result<HashMap<Vec<u8>, Doubtful>> {
        let mut keys = HashMap::new();
        for Damaged { segment, .. } in damaged {
            self.walk(segment, |found| {
                if let Found::Bad { frame, .. } | Found::Unapplied { frame, .. } = found {
                    keys.insert(frame.key().to_vec(), Doubtful::default());
                }
                Ok(())
            })?;
        }
        Ok(keys)
    }

    fn walk(&self, segment: &Segment, sink: impl FnMut(Found<'_>) -> Result<()>) -> Result<()> {
        scan::walk(&segment.read_all()?, Rules::Sealed, sink).map(drop)
    }

    fn location(&self, slot: SegmentSlot, offset: u64) -> Result<Location> {
        Location::new(slot, offset).ok_or_else(|| self.directory.too_many_segments())
    }

    /// Copies what counts in a damaged segment into one with this id, durably; `None` if nothing does.
    fn copy_out(&self, damaged: &Damaged, id: SegmentId) -> Result<Option<SealedEntry>> {
        let Damaged { slot, segment, bad } = damaged;
        let index = self.index;
        let path = self.directory.data_temporary(id);
        let mut copy = Active::create_unread(self.fs, &path, id, self.reading)?;
        index.carried(*slot, segment, bad, index.has_older(segment), |carried| {
            let from = carried.from.offset();
            let appended = copy.append_copy(&carried.frame, segment.path(), from)?;
            if carried.frame.is_tombstone() {
                copy.usage().add_tombstone(appended.len);
            }
            Ok(())
        })?;
        let sealed = recover::seal_copy(self.fs, self.directory, self.reading, copy)?;
        Ok(sealed.map(|(entry, _)| entry))
    }
}
