//! What the state has to take in: sealed segments that are new, then what the tail has more.
//!
//! A segment that was not there before holds new records, or copies of old ones, or both. Of each key its
//! last record counts, if it lies behind the one that the key's entry names, in the order of the log. A copy
//! with a lower id than something that was read before is no news: its key, if it has no entry, has been
//! deleted since. So no key goes back to an older value, not even for the time of a refresh.

use std::collections::HashSet;
use std::sync::Arc;

use super::look::{Found, TailFile};
use super::tail::{Stretch, Tail};
use super::{Follower, Refreshed, Sealed, State};
use crate::error::{Damage, Result};
use crate::fs::Whole;
use crate::index::Index;
use crate::location::{Location, SegmentSlot};
use crate::manifest::{Manifest, SealedEntry};
use crate::record::Frame;
use crate::recover::{DamagedRecord, check_listed};
use crate::segment::Segment;
use crate::segment::scan::{self, Rules, Summary};

pub(super) struct CatchUp<'a> {
    pub(super) follower: &'a Follower,
    pub(super) index: &'a Index,
    pub(super) state: &'a mut State,
    pub(super) refreshed: &'a mut Refreshed,
}

impl CatchUp<'_> {
    /// Catches up with what was found. If that is not the log that was read before, the state is to
    /// begin anew, and the answer is false.
    pub(super) fn with(&mut self, found: Found) -> Result<bool> {
        let is_new = !self.state.is_newest(&found.manifest);
        let goes_on = self.add_sealed(found.sealed)?
            && self.read_tail(&found.tail)?
            && self.let_go(&found.manifest, found.settled.then_some(&found.tail));
        if !goes_on {
            let path = self.follower.directory.path().display();
            tracing::warn!(%path, "the log has been written anew, and is read anew");
            self.state.forget();
        } else if is_new {
            self.state.manifest = Some(found.manifest);
            self.state.bare = false;
        }
        Ok(goes_on)
    }

    /// Takes in new sealed segments, oldest first. False if one is not what its beginning was.
    fn add_sealed(&mut self, new: Vec<(SealedEntry, Arc<Segment>)>) -> Result<bool> {
        let segments = new.iter().map(|(_, segment)| Arc::clone(segment));
        let slots = self.index.segments.add_all(segments);
        let slots = slots.ok_or_else(|| self.follower.directory.too_many_segments())?;
        let is_first = self.state.newest.is_none() && self.state.outdated.is_empty();
        let mut waiting = slots.into_iter().zip(new);
        while let Some((slot, (entry, segment))) = waiting.next() {
            let added = self.add(slot, &segment, &entry, is_first);
            if !matches!(added, Ok(true)) {
                let rest = waiting.map(|(slot, _)| slot);
                self.index.let_go(&rest.chain([slot]).collect());
                return added;
            }
            let SealedEntry { id, len, checksum, .. } = entry;
            self.state.sealed.insert(id, Sealed { slot, len, checksum });
            self.state.newest = self.state.newest.max(Some(id));
        }
        Ok(true)
    }

    fn add(
        &mut self,
        slot: SegmentSlot,
        segment: &Segment,
        entry: &SealedEntry,
        is_first: bool,
    ) -> Result<bool> {
        let bytes = segment.read_all()?;
        let tail = self.state.tail.iter().find(|tail| tail.id == entry.id);
        if tail.is_some_and(|tail| !tail.is_beginning_of(&bytes)) {
            return Ok(false);
        }
        let is_newer = self.state.newest.is_none_or(|newest| entry.id > newest);
        // Of what lies before this, all is known.
        let news_from = match tail {
            _ if is_newer => 0,
            Some(tail) => tail.end,
            None => u64::MAX,
        };
        let damaged_before = self.refreshed.damage.len();
        let mut found = Vec::new();
        let summary = match is_first {
            true => self.index_all(slot, segment, &bytes)?,
            false => self.read(slot, segment, &bytes, |_, location| found.push(location))?,
        };
        if self.refreshed.damage.len() == damaged_before {
            check_listed(segment.path(), entry, summary)?;
        }
        self.merge(segment, &bytes, &found, news_from)?;
        Ok(true)
    }

    /// Lets the records take effect one after another. For a store that nobody reads yet.
    pub(super) fn index_all(
        &mut self,
        slot: SegmentSlot,
        segment: &Segment,
        bytes: &Whole,
    ) -> Result<Summary> {
        let index = self.index;
        self.read(slot, segment, bytes, |frame, location| match location.is_verified() {
            true => index.replay(segment, frame, location),
            // Reading its key has to answer that it is corrupt, not an older value.
            false => index.set(index.hash(frame.key()), frame.key(), location),
        })
    }

    /// Shows the records that count, and the bad ones, with locations that say that they are not checked.
    fn read(
        &mut self,
        slot: SegmentSlot,
        segment: &Segment,
        bytes: &Whole,
        mut sink: impl FnMut(&Frame<'_>, Location),
    ) -> Result<Summary> {
        let location = |offset| {
            let location = Location::new(slot, offset);
            location.ok_or_else(|| self.follower.directory.too_many_segments())
        };
        let (strict, usage) = (self.follower.strict, segment.usage());
        let refreshed = &mut *self.refreshed;
        let summary = scan::walk(bytes, Rules::Sealed, |found| {
            match found {
                scan::Found::Record { offset, frame } => {
                    usage.add_record(frame.len());
                    sink(&frame, location(offset)?.verified());
                }
                scan::Found::Bad { offset, frame, damage } => {
                    usage.add_record(frame.len());
                    note_damage(refreshed, strict, segment, offset, damage)?;
                    sink(&frame, location(offset)?);
                }
                scan::Found::Unapplied { offset, frame } => {
                    usage.add_record(frame.len());
                    usage.add_dead(frame.len());
                    refreshed.unapplied_batch_records += 1;
                    let path = segment.path().display();
                    tracing::warn!(%path, offset, "a batch is not whole: its record does not count");
                }
                scan::Found::Unreadable { offset, damage } => {
                    usage.add_unreadable(segment.len() - offset);
                    note_damage(refreshed, strict, segment, offset, damage)?;
                }
            }
            Ok(())
        })?;
        refreshed.segments += 1;
        refreshed.records += summary.records;
        Ok(summary)
    }

    /// Moves entries to the records of a segment, the last one first, so that each moves once.
    fn merge(
        &self,
        segment: &Segment,
        bytes: &[u8],
        found: &[Location],
        news_from: u64,
    ) -> Result<()> {
        let mut deleted = HashSet::new();
        for &location in found.iter().rev() {
            let offset = location.offset();
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            let frame = Frame::read(rest, offset).map_err(|d| segment.corrupt(offset, d))?;
            let (key, hash) = (frame.key(), self.index.hash(frame.key()));
            let old = self.index.find_for_write(hash, key);
            let counts = match &old {
                Some(old) => self.is_older(old.location, segment, offset),
                None => offset >= news_from && !deleted.contains(key),
            };
            if location.is_verified() && frame.is_tombstone() {
                deleted.insert(key);
                segment.usage().add_dead(frame.len());
                if let Some(old) = &old
                    && counts
                {
                    self.index.change(hash, Some(old), None);
                }
            } else if counts {
                self.index.enter(hash, key, old.as_ref(), location);
            } else {
                segment.usage().add_dead(frame.len());
            }
        }
        Ok(())
    }

    /// Whether what an entry names lies before a record, or is the same record in other memory.
    fn is_older(&self, old: Location, segment: &Segment, offset: u64) -> bool {
        let old_segment = self.index.segments.get(old.slot());
        self.state.outdated.contains(&old.slot())
            || old_segment.is_none_or(|old_segment| {
                (old_segment.id(), old.offset()) <= (segment.id(), offset)
            })
    }

    /// Reads on in the unsealed log. False if what was read of it is not there any more.
    fn read_tail(&mut self, files: &[TailFile]) -> Result<bool> {
        for file in files {
            let is_known = self.state.tail.iter().any(|tail| tail.id == file.id);
            if !is_known {
                if self.state.newest >= Some(file.id) {
                    return Ok(false);
                }
                self.state.tail.push(Tail::new(file));
                self.state.newest = Some(file.id);
                self.refreshed.segments += 1;
            }
            let tail = self.state.tail.iter_mut().find(|tail| tail.id == file.id);
            let Some(tail) = tail else { continue };
            match tail.read_on(file, self.index, self.refreshed)? {
                Stretch::Whole => {}
                Stretch::Ended => break,
                Stretch::Rewritten => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Lets go of what the manifest does not have any more, and of files that it never named and that are gone.
    /// False, and nothing done, if something of it was not copied: it has been taken back.
    fn let_go(&mut self, manifest: &Manifest, files: Option<&Vec<TailFile>>) -> bool {
        let is_there = |id| files.is_none_or(|files| files.iter().any(|file| file.id == id));
        let is_tail = |tail: &Tail| manifest.is_tail(tail.id) && is_there(tail.id);
        // What was found sealed under its own id has been looked at.
        let is_gone = |tail: &&Tail| !is_tail(tail) && !manifest.lists(tail.id);
        let State { sealed, tail, outdated, .. } = &mut *self.state;
        if tail.iter().filter(is_gone).any(|tail| !tail.is_there(self.follower.reading)) {
            return false;
        }
        let stale = sealed.iter().filter(|(id, _)| !manifest.lists(**id));
        let mut gone: HashSet<_> = stale.map(|(_, sealed)| sealed.slot).collect();
        let segments_gone = gone.len() + tail.iter().filter(is_gone).count();
        gone.extend(tail.iter().filter(|tail| !is_tail(tail)).flat_map(Tail::slots));
        // Every other entry has moved. A compaction drops what deletes a key when nothing older stays.
        let oldest = manifest.sealed.first().map(|entry| entry.id);
        let hides_older = |&(_, location): &(u64, Location)| {
            let segment = self.index.segments.get(location.slot());
            segment.is_some_and(|segment| oldest.is_some_and(|oldest| oldest < segment.id()))
        };
        if self.index.entries_in(&gone).iter().any(hides_older) {
            return false;
        }
        gone.extend(outdated.drain());
        self.index.let_go(&gone);
        sealed.retain(|id, _| manifest.lists(*id));
        tail.retain(is_tail);
        self.refreshed.segments_gone += segments_gone;
        true
    }
}

/// Notes what is bad, unless that is refused.
fn note_damage(
    refreshed: &mut Refreshed,
    strict: bool,
    segment: &Segment,
    offset: u64,
    damage: Damage,
) -> Result<()> {
    let error = segment.corrupt(offset, damage);
    if strict {
        return Err(error);
    }
    tracing::warn!(%error, "damage in a sealed segment");
    let path = segment.path().to_path_buf();
    refreshed.damage.push(DamagedRecord { path, offset, damage });
    Ok(())
}
