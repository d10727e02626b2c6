//! Rotation: the active segment from its making to its seal.
//!
//! Invariants (docs/design.md, "Write path"):
//! - At most one segment is active. It is made by the first append that needs it and sealed by the
//!   first that finds it full, by a compaction, or by closing; sealing is a commit of the manifest.
//! - The first active segment after an opening takes up a newest segment that is small: it holds
//!   copies of what counts in it, and the old file goes when the active one is sealed.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::{Log, Writer};
use crate::commit;
use crate::directory::remove_stale;
use crate::error::{Error, Result};
use crate::index::Carried;
use crate::location::{SegmentId, SegmentSlot};
use crate::manifest::Manifest;
use crate::record::MAX_ALIGN;
use crate::segment::{Active, Segment};

/// The active segment in its slot.
pub(super) struct Appending {
    pub(super) active: Active,
    pub(super) slot: SegmentSlot,
    /// The segment whose content this one begins with.
    supersedes: Option<SegmentId>,
    /// The file's name is durable.
    named: bool,
}

impl Log {
    /// Makes the active segment's name durable: without it, a power loss may free its id.
    pub(super) fn name(&self, appending: &mut Appending) -> Result<()> {
        if !appending.named {
            self.commits.sync_dir()?;
            appending.named = true;
        }
        Ok(())
    }

    /// An active segment with room for `count` records that are `len_at(offset)` bytes long there.
    pub(super) fn make_room<'w>(
        &self,
        writer: &'w mut Writer,
        count: usize,
        len_at: impl Fn(u64) -> u64,
    ) -> Result<&'w mut Appending> {
        let end_in = |appending: &Appending| {
            let len = appending.active.len();
            len + len_at(len)
        };
        let is_full = |appending: &Appending| {
            appending.active.len() > 0 && end_in(appending) > self.segment_size
        };
        if writer.active.as_ref().is_some_and(is_full) {
            self.seal_active(writer)?;
        }
        // The mapping may not reach far enough for what comes.
        let has_room = |appending: &Appending| end_in(appending) <= appending.active.capacity();
        if !writer.active.as_ref().is_some_and(has_room) {
            self.discard_empty(writer)?;
            // At another offset the padding may be longer.
            let most = len_at(0) + (count * MAX_ALIGN) as u64;
            writer.active = Some(self.start_active(most, !writer.begun)?);
            writer.begun = true;
        }
        let appending = writer.active.as_mut().ok_or(Error::Closed)?;
        if self.watchers.is_any() {
            self.name(appending)?;
        }
        Ok(appending)
    }

    /// Seals the active segment, if there is one: durable, read-only, listed, mapped anew.
    pub(crate) fn seal_active(&self, writer: &mut Writer) -> Result<()> {
        let Some(appending) = &mut writer.active else { return Ok(()) };
        if appending.active.len() == 0 {
            return self.discard_empty(writer);
        }
        appending.active.finish()?;
        self.sync_data(|| appending.active.sync())?;
        let (entry, supersedes) = (appending.active.entry(), appending.supersedes);
        // Nothing is copied any more when it closes.
        let spare_ids = if self.is_closed() { 0 } else { self.ids_per_seal };
        let mut spare = SegmentId::FIRST;
        self.commits.commit(|manifest| {
            manifest.sealed.retain(|sealed| Some(sealed.id) != supersedes);
            manifest.sealed.push(entry);
            manifest.sealed.sort_by_key(|sealed| sealed.id);
            manifest.tail.clear();
            spare = commit::reserve(manifest, spare_ids, &self.directory)?;
            Ok(())
        })?;
        // Those from before lie below what has just been sealed.
        writer.spare_ids = spare.get()..spare.get() + spare_ids;
        tracing::debug!(segment = %entry.id, bytes = entry.len, records = entry.records, "sealed");
        self.durable.note(writer.end);
        self.companions.want_hint(entry);
        if let Some(Appending { active, slot, .. }) = writer.active.take() {
            let path = Arc::clone(active.path());
            self.index.segments.replace(slot, Arc::new(active.seal(&path)?));
        }
        if let Some(id) = supersedes {
            self.remove_file(id);
        }
        self.bell.ring();
        Ok(())
    }

    /// Ids for copies of what is sealed: above all of that, and below whatever is written from now on. Nothing sealed is
    /// taken up later.
    pub(crate) fn ids_for_copies(&self, writer: &mut Writer, count: u64) -> Result<Range<u64>> {
        writer.begun = true;
        if writer.spare_ids.end - writer.spare_ids.start < count {
            // What is active, with its lower id, must not go on: it would be older than copies of what it replaces.
            self.seal_active(writer)?;
        }
        let Range { start, end } = writer.spare_ids;
        if end - start < count {
            // What is left of them lies below these.
            writer.spare_ids = 0..0;
            let first = self.reserve_ids(count)?.get();
            return Ok(first..first + count);
        }
        writer.spare_ids.start += count;
        Ok(start..start + count)
    }

    /// Readies the log for a compaction or a backup: nothing is active, and nothing sealed is taken up later.
    pub(crate) fn seal_for_compaction(&self, writer: &mut Writer) -> Result<()> {
        writer.begun = true;
        self.seal_active(writer)
    }

    /// Removes an unlisted segment's file, and its hint. Failing to is no error: the next opening removes them.
    pub(crate) fn remove_file(&self, id: SegmentId) {
        if self.commits.poison().check().is_err() {
            return;
        }
        let path = self.directory.data(id);
        if let Err(error) = self.fs.remove(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove an old segment yet");
        }
        if let Err(error) = remove_stale(&*self.fs, &self.directory.hint(id)) {
            tracing::warn!(%error, "cannot remove an old hint yet");
        }
    }

    /// Drops an active segment that nothing could be appended to, or too small for what comes.
    fn discard_empty(&self, writer: &mut Writer) -> Result<()> {
        let Some(appending) = &mut writer.active else { return Ok(()) };
        // A failed write that is not cut off yet may have been seen by who only reads.
        appending.active.finish()?;
        let (id, slot, supersedes) = (appending.active.id(), appending.slot, appending.supersedes);
        self.commits.commit(|manifest| {
            manifest.sealed.retain(|sealed| Some(sealed.id) != supersedes);
            manifest.tail.clear();
            Ok(())
        })?;
        writer.active = None;
        self.index.segments.retire(slot);
        supersedes.into_iter().chain([id]).for_each(|id| self.remove_file(id));
        Ok(())
    }

    /// Makes the next active segment, with room for a first record of `len` bytes.
    fn start_active(&self, len: u64, may_take_up: bool) -> Result<Appending> {
        let id = self.commits.next_file_id();
        let next = id.checked_add(1).ok_or_else(|| self.too_many_segments())?;
        let path = self.directory.data(id);
        let old = match may_take_up {
            true => self.index.small_newest(self.segment_size, &self.commits.current()),
            false => None,
        };
        let old_len = old.as_ref().map_or(0, |(_, old)| old.len());
        // Copies lie at other offsets, where up to 127 bytes of padding each may be more.
        let capacity = self.segment_size.max(len + 8 * old_len + 4096);
        let started = Active::create(&*self.fs, &path, id, capacity, self.reading)
            .and_then(|active| self.fill_active(active, old));
        match &started {
            Ok(_) => self.commits.note(|manifest| {
                manifest.next_file_id = next;
                manifest.tail = vec![id];
            }),
            Err(_) => self.give_up_id(&path, next),
        }
        started
    }

    /// The file of an id could not be made. Its id is not used again; and if a part of the file may be
    /// there, the next one must not follow it in the tail, which would end with that part.
    fn give_up_id(&self, path: &Path, next: SegmentId) {
        let edit = |manifest: &mut Manifest| manifest.next_file_id = next;
        match self.fs.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                // While this fails too, the name is taken and writes are refused.
                let committed = self.commits.commit(|manifest| {
                    edit(manifest);
                    Ok(())
                });
                if let Err(error) = committed {
                    tracing::warn!(path = %path.display(), %error, "a half-made segment is left");
                }
            }
            _ => self.commits.note(edit),
        }
    }

    /// Carries over what counts in the old segment, then lets readers see the new one.
    fn fill_active(
        &self,
        mut active: Active,
        old: Option<(SegmentSlot, Arc<Segment>)>,
    ) -> Result<Appending> {
        let mut moves = Vec::new();
        if let Some((old_slot, old)) = &old {
            let older_segments = self.index.has_older(old);
            self.index.carried(*old_slot, old, &HashSet::new(), older_segments, |carried| {
                let Carried { hash, from, frame } = carried;
                let appended = active.append_copy(&frame, old.path(), from.offset())?;
                if frame.is_tombstone() {
                    active.usage().add_tombstone(appended.len);
                } else {
                    moves.push((hash, from, appended.offset));
                }
                Ok(())
            })?;
            active.flush()?;
        }
        let (Some(reader), supersedes) =
            (active.reader(), old.as_ref().map(|(_, segment)| segment.id()))
        else {
            return Err(self.too_many_segments());
        };
        let added = self.index.segments.add(Arc::new(reader));
        let slot = added.ok_or_else(|| self.too_many_segments())?;
        for (hash, from, offset) in moves {
            // Under the writer's lock and outside compactions nobody else changes the entry.
            if let Some(to) = self.index.location(slot, offset) {
                self.index.set_copy(hash, from, to);
            }
        }
        if let Some((old_slot, old)) = old {
            let old_end = old.end(self.lineage);
            // Before it is gone, so that nobody follows the log past it unseen.
            self.commits.note(|manifest| manifest.history.left_out_to(old_end));
            self.index.segments.retire(old_slot);
        }
        Ok(Appending { active, slot, supersedes, named: false })
    }
}
