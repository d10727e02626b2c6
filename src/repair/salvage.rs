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

use super::keep::keep;
use super::report::{LostRecord, RepairReport};
use crate::commit;
use crate::directory::Directory;
use crate::error::Result;
use crate::fs::{Fs, Reading};
use crate::index::Existing;
use crate::location::{Location, SegmentId, SegmentSlot};
use crate::manifest::SealedEntry;
use crate::position::History;
use crate::progress::{Progress, Teller};
use crate::recover::{self, Recovered};
use crate::segment::scan::{self, Found, Rules};
use crate::segment::{Active, Segment};

/// A directory that has just been opened, with damage.
pub(super) struct Salvage<'a> {
    pub(super) fs: &'a dyn Fs,
    pub(super) directory: &'a Directory,
    pub(super) reading: Reading,
    pub(super) store: &'a Recovered,
}

struct Damaged {
    slot: SegmentSlot,
    segment: Arc<Segment>,
    /// Where something is bad.
    bad: HashSet<u64>,
}

/// A record that does not count: a bad one, or one of a batch that is not whole.
struct Discounted {
    record: LostRecord,
    at: Location,
    /// Its place in the order of the log.
    place: (SegmentId, u64),
    /// The newest good put before it, unless the key was deleted in between.
    older: Option<Location>,
    /// Whether a good record came after it.
    superseded: bool,
}

impl Salvage<'_> {
    /// Replaces the damaged segments by copies of what counts in them.
    pub(super) fn run(
        &self,
        teller: &mut Teller<impl FnMut(Progress) -> ControlFlow<()>>,
        report: &mut RepairReport,
    ) -> Result<()> {
        let damaged = self.damaged();
        teller.expect(damaged.iter().map(|damaged| damaged.segment.len()).sum());
        report.lost = self.forget_bad_records(&damaged)?;
        for lost in &report.lost {
            tracing::warn!(%lost, "a record is lost");
        }
        let mut next = self.reserve_ids(damaged.len() as u64)?;
        let mut copies = Vec::new();
        for damaged in &damaged {
            copies.extend(self.copy_out(damaged, next)?);
            next = next.checked_add(1).ok_or_else(|| self.directory.too_many_segments())?;
            teller.step(damaged.segment.len())?;
        }
        for damaged in &damaged {
            report.set_aside.push(keep(self.fs, damaged.segment.path())?);
        }
        report.salvaged_records = copies.iter().map(|copy| copy.records).sum();
        self.store.commits.commit(|manifest| {
            let is_damaged = |id| damaged.iter().any(|damaged| damaged.segment.id() == id);
            manifest.sealed.retain(|entry| !is_damaged(entry.id));
            manifest.sealed.extend(copies);
            manifest.sealed.sort_by_key(|entry| entry.id);
            manifest.history = History::new(commit::random_lineage(self.directory)?);
            Ok(())
        })?;
        for path in damaged.iter().map(|damaged| damaged.segment.path()) {
            if let Err(error) = self.fs.remove(path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove a leftover yet");
            }
        }
        Ok(())
    }

    /// The segments in which opening has found something bad, oldest first.
    fn damaged(&self) -> Vec<Damaged> {
        let mut places: HashMap<PathBuf, HashSet<u64>> = HashMap::new();
        for bad in &self.store.report.damage {
            places.entry(bad.path.clone()).or_default().insert(bad.offset);
        }
        let segments = self.store.index.segments.list().into_iter();
        let damaged = segments.filter_map(|(slot, segment)| {
            let bad = places.remove(&**segment.path())?;
            Some(Damaged { slot, segment, bad })
        });
        damaged.collect()
    }

    /// Lets the key of every bad record have the newest good one before it. Answers whose newest does not
    /// count.
    fn forget_bad_records(&self, damaged: &[Damaged]) -> Result<Vec<LostRecord>> {
        let index = &self.store.index;
        let mut discounted = self.discounted(damaged)?;
        if discounted.is_empty() {
            return Ok(Vec::new());
        }
        for (slot, segment) in index.segments.list() {
            self.walk(&segment, |found| {
                if let Found::Record { offset, frame } = found
                    && let Some(other) = discounted.get_mut(frame.key())
                {
                    let at = self.location(slot, offset)?;
                    match (segment.id(), offset) > other.place {
                        true => other.superseded = true,
                        false => other.older = (!frame.is_tombstone()).then_some(at),
                    }
                }
                Ok(())
            })?;
        }
        let mut lost: Vec<_> = discounted.into_values().filter(|one| !one.superseded).collect();
        lost.sort_by_key(|one| one.place);
        for Discounted { record, at, older, .. } in &mut lost {
            record.stale = older.is_some();
            index.change(index.hash(&record.key), Some(&Existing::at(*at)), *older);
        }
        Ok(lost.into_iter().map(|one| one.record).collect())
    }

    /// Of each key, the newest record in a damaged segment that does not count.
    fn discounted(&self, damaged: &[Damaged]) -> Result<HashMap<Vec<u8>, Discounted>> {
        let mut discounted = HashMap::new();
        for Damaged { slot, segment, .. } in damaged {
            self.walk(segment, |found| {
                let (Found::Bad { offset, frame, .. } | Found::Unapplied { offset, frame }) = found
                else {
                    return Ok(());
                };
                let (key, path) = (frame.key().to_vec(), segment.path().to_path_buf());
                let record = LostRecord { key: key.clone(), path, offset, stale: false };
                let (at, place) = (self.location(*slot, offset)?, (segment.id(), offset));
                let one = Discounted { record, at, place, older: None, superseded: false };
                discounted.insert(key, one);
                Ok(())
            })?;
        }
        Ok(discounted)
    }

    fn walk(&self, segment: &Segment, sink: impl FnMut(Found<'_>) -> Result<()>) -> Result<()> {
        scan::walk(&segment.read_all()?, Rules::Sealed, sink).map(drop)
    }

    fn location(&self, slot: SegmentSlot, offset: u64) -> Result<Location> {
        Location::new(slot, offset).ok_or_else(|| self.directory.too_many_segments())
    }

    /// Puts as many ids aside, durably, and gives the first.
    fn reserve_ids(&self, count: u64) -> Result<SegmentId> {
        let mut first = SegmentId::FIRST;
        self.store.commits.commit(|manifest| {
            first = commit::reserve(manifest, count, self.directory)?;
            Ok(())
        })?;
        Ok(first)
    }

    /// Copies what counts in a damaged segment into one with this id, durably; `None` if nothing does.
    fn copy_out(&self, damaged: &Damaged, id: SegmentId) -> Result<Option<SealedEntry>> {
        let Damaged { slot, segment, bad } = damaged;
        let index = &self.store.index;
        let path = self.directory.data_temporary(id);
        let mut copy = Active::create_unread(self.fs, &path, id, self.reading)?;
        index.carried(*slot, segment, bad, index.has_older(segment), |carried| {
            let from = carried.from.offset();
            let appended = copy.append_copy(&carried.frame, segment.path(), from)?;
            if carried.frame.is_tombstone() {
                copy.usage().add_dead(appended.len);
            }
            Ok(())
        })?;
        let sealed = recover::seal_copy(self.fs, self.directory, self.reading, copy)?;
        Ok(sealed.map(|(entry, _)| entry))
    }
}
