//! What the state has to take in: sealed segments that are new, then what the tail has more.
//!
//! A segment that was not there before holds new records, or copies of old ones, or both. Of each key its
//! last record counts, if it lies behind the one that the key's entry names, in the order of the log. A copy
//! with a lower id than something that was read before is no news: its key, if it has no entry, has been
//! deleted since. So no key goes back to an older value, not even for the time of a refresh.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::look::{Found, TailFile};
use super::tail::{Stretch, Tail};
use super::{Follower, Sealed, State};
use crate::error::Result;
use crate::index::Index;
use crate::location::{Location, SegmentSlot};
use crate::manifest::{Manifest, SealedEntry};
use crate::record::Frame;
use crate::recover;
use crate::segment::Segment;

pub(super) struct CatchUp<'a> {
    pub(super) follower: &'a Follower,
    pub(super) index: &'a Index,
    pub(super) state: &'a mut State,
}

impl CatchUp<'_> {
    /// Catches up with what was found. False if that is not the log that was read before, or not all of it.
    pub(super) fn with(&mut self, found: Found) -> Result<bool> {
        if self.state.is_of_another_log(&found.manifest)
            || !self.add_sealed(found.sealed)?
            || !self.read_tail(&found.tail)?
            || !self.let_go(&found.manifest, found.settled.then_some(&found.tail))
        {
            return Ok(false);
        }
        self.state.manifest = Some(found.manifest);
        self.state.bare = false;
        Ok(true)
    }

    /// Takes in new sealed segments, oldest first. False if one is not what its beginning was.
    fn add_sealed(&mut self, new: Vec<(SealedEntry, Arc<Segment>)>) -> Result<bool> {
        let segments = new.iter().map(|(_, segment)| Arc::clone(segment));
        let slots = self.index.segments.add_all(segments);
        let slots = slots.ok_or_else(|| self.follower.directory.too_many_segments())?;
        // Nobody reads yet, and nothing stands that may lie behind.
        let is_first = self.state.newest.is_none();
        let mut waiting = slots.into_iter().zip(new);
        while let Some((slot, (entry, segment))) = waiting.next() {
            let added = self.add(slot, &segment, &entry, is_first);
            if !matches!(added, Ok(true)) {
                let rest = waiting.map(|(slot, _)| slot);
                let gone = rest.chain([slot]).collect();
                self.index.let_go(&gone, self.index.entries_in(&gone));
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
        // What is not newer holds copies, under an id that had been put aside before what was read was begun. Else the
        // id is one that was given up, with those after it, and is used again.
        let put_aside =
            self.state.manifest.as_ref().is_none_or(|known| entry.id < known.next_file_id);
        if !is_newer && tail.is_none() && !put_aside {
            return Ok(false);
        }
        // Of what lies before this, all is known.
        let news_from = match tail {
            _ if is_newer => 0,
            Some(tail) => tail.end,
            None => u64::MAX,
        };
        let (index, strict, mut found) = (self.index, self.follower.strict, Vec::new());
        let walked =
            recover::walk_sealed(
                slot,
                segment,
                &bytes,
                strict,
                |frame, location| match is_first {
                    true => index.replay(segment, frame, location),
                    false => found.push(location),
                },
            )?;
        walked.check_listed(segment.path(), entry)?;
        self.merge(segment, &bytes, &found, news_from)?;
        self.state.found.add(walked);
        Ok(true)
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
        for (n, &location) in found.iter().rev().enumerate() {
            let offset = location.offset();
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            let frame = Frame::read(rest, offset).map_err(|d| segment.corrupt(offset, d))?;
            let (key, hash) = (frame.key(), self.index.hash(frame.key()));
            if n == 0 && offset >= news_from && location.is_verified() {
                self.index.note_timestamp(&frame);
            }
            let old = self.index.find_for_write(hash, key);
            let counts = match &old {
                Some(old) => self.is_older(old.location, segment, offset),
                None => offset >= news_from && !deleted.contains(key),
            };
            if location.is_verified() && frame.is_tombstone() {
                deleted.insert(key);
                segment.usage().add_tombstone(frame.len());
                if let Some(old) = &old
                    && counts
                {
                    self.index.change(hash, Some(old), None);
                }
            } else if counts {
                if location.is_verified() {
                    segment.usage().add_expiring(frame.expires_at(), frame.len());
                }
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
        old_segment
            .is_none_or(|old_segment| (old_segment.id(), old.offset()) <= (segment.id(), offset))
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
                self.state.found.segments += 1;
            }
            let State { tail, found, .. } = &mut *self.state;
            let Some(tail) = tail.iter_mut().find(|tail| tail.id == file.id) else { continue };
            match tail.read_on(file, self.index, found)? {
                Stretch::Whole => {}
                Stretch::Ended => break,
                Stretch::Rewritten => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Lets go of what the manifest does not have any more, and of files that it never named and that are gone.
    /// False, and nothing done, if something of it was not copied: it has been taken back, or was damaged.
    fn let_go(&mut self, manifest: &Manifest, files: Option<&Vec<TailFile>>) -> bool {
        let is_there = |id| files.is_none_or(|files| files.iter().any(|file| file.id == id));
        let is_tail = |tail: &Tail| manifest.is_tail(tail.id) && is_there(tail.id);
        // What was found sealed under its own id has been looked at.
        let is_gone = |tail: &&Tail| !is_tail(tail) && !manifest.lists(tail.id);
        let State { sealed, tail, found, .. } = &mut *self.state;
        if tail.iter().filter(is_gone).any(|tail| !tail.is_there(self.follower.reading)) {
            return false;
        }
        let stale: BTreeMap<_, _> = sealed.iter().filter(|(id, _)| !manifest.lists(**id)).collect();
        if stale.keys().any(|id| self.follower.was_repaired(**id)) {
            return false;
        }
        let mut gone: HashSet<_> = stale.values().map(|sealed| sealed.slot).collect();
        let segments_gone = gone.len() + tail.iter().filter(is_gone).count();
        gone.extend(tail.iter().filter(|tail| !is_tail(tail)).flat_map(Tail::slots));
        // Every other entry has moved. A compaction drops what deletes a key when nothing older stays.
        let oldest = manifest.sealed.first().map(|entry| entry.id);
        let hides_older = |&(_, location): &(u64, Location)| {
            let segment = self.index.segments.get(location.slot());
            segment.is_some_and(|segment| oldest.is_some_and(|oldest| oldest < segment.id()))
        };
        let left = self.index.entries_in(&gone);
        if left.iter().any(hides_older) {
            return false;
        }
        self.index.let_go(&gone, left);
        sealed.retain(|id, _| manifest.lists(*id));
        tail.retain(is_tail);
        found.segments_gone += segments_gone;
        true
    }
}
