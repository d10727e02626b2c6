//! The log: appending, rotation, flushing and syncing, under one writer's lock.
//!
//! Invariants (docs/design.md, "Write path"):
//! - A record is appended and its key's entry changed under the writer's lock: the order of the log
//!   is the order of the entries.
//! - At most one segment is active. It is made by the first append that needs it and sealed by the
//!   first that finds it full, by a compaction, or by closing; sealing is a commit of the manifest.
//! - The first active segment after an opening takes up a newest segment that is small: it holds
//!   copies of what counts in it, and the old file goes when the active one is sealed.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::clock::Clock;
use crate::commit::{self, Commits};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::fs::{Fs, Reading, prefetch_bytes};
use crate::index::{Carried, Existing, Index};
use crate::location::{Location, SegmentId, SegmentSlot};
use crate::manifest::Manifest;
use crate::options::{Durability, Options};
use crate::record::Record;
use crate::segment::{Active, Segment};

pub(crate) struct Log {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) directory: Directory,
    pub(crate) commits: Commits,
    pub(crate) index: Index,
    pub(crate) clock: Clock,
    pub(crate) reading: Reading,
    segment_size: u64,
    durability: Durability,
    writer: Mutex<Writer>,
    /// Set under the writer's lock.
    closed: AtomicBool,
}

#[derive(Default)]
pub(crate) struct Writer {
    active: Option<Appending>,
    /// The first active segment has been made, or must not take up an older one any more.
    begun: bool,
}

struct Appending {
    active: Active,
    slot: SegmentSlot,
    /// The segment whose content this one begins with.
    supersedes: Option<SegmentId>,
    /// The file's name is durable.
    named: bool,
}

impl Log {
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        directory: Directory,
        commits: Commits,
        index: Index,
        clock: Clock,
        options: &Options,
    ) -> Self {
        let (segment_size, durability) = (options.segment_size, options.durability);
        let (writer, closed) = (Mutex::default(), AtomicBool::new(false));
        let reading = Reading::new(options);
        Log {
            fs,
            directory,
            commits,
            index,
            clock,
            reading,
            segment_size,
            durability,
            writer,
            closed,
        }
    }

    pub(crate) fn segment_size(&self) -> u64 {
        self.segment_size
    }

    /// Puts a record that is not a tombstone, with the time of now.
    pub(crate) fn put(&self, record: Record<'_>) -> Result<()> {
        let Record { key, value, .. } = record;
        // Fetched while the rest is made ready: the copy and the entry wait for memory otherwise.
        prefetch_bytes(value);
        let hash = self.index.hash(key);
        self.index.keydir.prefetch(hash);
        let record = Record { timestamp: self.clock.now(), ..record };
        record.check_sizes()?;
        let mut writer = self.writer()?;
        let new = self.append(&mut writer, &record)?;
        self.index.set(hash, key, new);
        self.settle(writer)
    }

    /// Deletes a key; answers whether it was there.
    pub(crate) fn delete(&self, key: &[u8]) -> Result<bool> {
        let now = self.clock.now();
        let record = Record::tombstone(now, key);
        record.check_sizes()?;
        let hash = self.index.hash(key);
        let mut writer = self.writer()?;
        if self.index.find_for_write(hash, key).is_none() {
            return Ok(false);
        }
        let tombstone = self.append(&mut writer, &record)?;
        if let Some(segment) = self.index.segments.get(tombstone.slot()) {
            segment.usage().add_dead(record.len_at(tombstone.offset()));
        }
        let mut was_there = false;
        while let Some(old) = self.index.find_for_write(hash, key) {
            if self.index.change(hash, Some(&old), None) {
                was_there = old.expires_at.is_none_or(|at| at > now);
                break;
            }
        }
        self.settle(writer)?;
        Ok(was_there)
    }

    /// Hands all that is buffered to the OS.
    pub(crate) fn flush(&self) -> Result<()> {
        match &mut self.writer()?.active {
            Some(appending) => appending.active.flush(),
            None => Ok(()),
        }
    }

    /// Makes all that was written before the call durable.
    pub(crate) fn sync(&self) -> Result<()> {
        let writer = self.writer()?;
        self.sync_and_unlock(writer)
    }

    pub(crate) fn buffered(&self) -> u64 {
        self.writer.lock().active.as_ref().map_or(0, |appending| appending.active.buffered())
    }

    /// Seals what is active, unless that has been done; from now on it is closed.
    pub(crate) fn close(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        if self.closed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.commits.poison().check()?;
        self.seal_active(&mut writer)
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The right to write, unless the store is closed or poisoned.
    pub(crate) fn writer(&self) -> Result<MutexGuard<'_, Writer>> {
        let writer = self.writer.lock();
        if self.is_closed() {
            return Err(Error::Closed);
        }
        self.commits.poison().check()?;
        Ok(writer)
    }

    /// What a write does after its entry has changed.
    fn settle(&self, writer: MutexGuard<'_, Writer>) -> Result<()> {
        match self.durability {
            Durability::Buffered | Durability::Flushed => Ok(()),
            Durability::Synced => self.sync_and_unlock(writer),
        }
    }

    /// The sync itself happens outside the lock. Segments sealed earlier are durable already.
    fn sync_and_unlock(&self, mut writer: MutexGuard<'_, Writer>) -> Result<()> {
        let Some(appending) = &mut writer.active else { return Ok(()) };
        appending.active.flush()?;
        if !appending.named {
            self.commits.sync_dir()?;
            appending.named = true;
        }
        let (file, path) = (appending.active.file(), Arc::clone(appending.active.path()));
        drop(writer);
        self.commits.poison().attempt(|| file.sync().map_err(Error::io("sync", &*path)))
    }

    fn append(&self, writer: &mut Writer, record: &Record<'_>) -> Result<Location> {
        let fits = |appending: &Appending| {
            let len = appending.active.len();
            len == 0 || len + record.len_at(len) <= self.segment_size
        };
        if writer.active.as_ref().is_some_and(|appending| !fits(appending)) {
            self.seal_active(writer)?;
        }
        if writer.active.as_ref().is_none_or(|appending| !appending.has_room_for(record)) {
            self.discard_empty(writer)?;
            writer.active = Some(self.start_active(record.len_at(0), !writer.begun)?);
            writer.begun = true;
        }
        let Some(Appending { active, slot, .. }) = &mut writer.active else {
            return Err(Error::Closed);
        };
        let appended = active.append(record, self.durability != Durability::Buffered)?;
        self.index.location(*slot, appended.offset).ok_or_else(|| self.too_many_segments())
    }

    /// Seals the active segment, if there is one: durable, read-only, listed, mapped anew.
    pub(crate) fn seal_active(&self, writer: &mut Writer) -> Result<()> {
        let Some(appending) = &mut writer.active else { return Ok(()) };
        if appending.active.len() == 0 {
            return self.discard_empty(writer);
        }
        appending.active.finish()?;
        self.commits.poison().attempt(|| appending.active.sync())?;
        let (entry, supersedes) = (appending.active.entry(), appending.supersedes);
        self.commits.commit(|manifest| {
            manifest.sealed.retain(|sealed| Some(sealed.id) != supersedes);
            manifest.sealed.push(entry);
            manifest.sealed.sort_by_key(|sealed| sealed.id);
            manifest.tail.clear();
            Ok(())
        })?;
        tracing::debug!(segment = %entry.id, bytes = entry.len, records = entry.records, "sealed");
        if let Some(Appending { active, slot, .. }) = writer.active.take() {
            let path = Arc::clone(active.path());
            self.index.segments.replace(slot, Arc::new(active.seal(&path)?));
        }
        if let Some(id) = supersedes {
            self.remove_file(id);
        }
        Ok(())
    }

    /// Readies the log for a compaction: nothing is active, and nothing sealed is taken up later.
    pub(crate) fn seal_for_compaction(&self, writer: &mut Writer) -> Result<()> {
        writer.begun = true;
        self.seal_active(writer)
    }

    /// Removes an unlisted file. Failing to is no error: the next opening removes it.
    pub(crate) fn remove_file(&self, id: SegmentId) {
        if self.commits.poison().check().is_err() {
            return;
        }
        let path = self.directory.data(id);
        if let Err(error) = self.fs.remove(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove an old segment yet");
        }
    }

    /// Drops an active segment that nothing could be appended to, or too small for what comes.
    fn discard_empty(&self, writer: &mut Writer) -> Result<()> {
        let Some(appending) = &writer.active else { return Ok(()) };
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
        let old = if may_take_up { self.index.small_newest(self.segment_size) } else { None };
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
                    active.usage().add_dead(appended.len);
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
            let to = self.index.location(slot, offset);
            self.index.change(hash, Some(&Existing::at(from)), to);
        }
        if let Some((old_slot, _)) = old {
            self.index.segments.retire(old_slot);
        }
        Ok(Appending { active, slot, supersedes, named: false })
    }

    pub(crate) fn too_many_segments(&self) -> Error {
        self.directory.too_many_segments()
    }

    /// Puts `count` ids aside, durably, and gives the first.
    pub(crate) fn reserve_ids(&self, count: u64) -> Result<SegmentId> {
        let mut first = SegmentId::FIRST;
        self.commits.commit(|manifest| {
            first = commit::reserve(manifest, count, &self.directory)?;
            Ok(())
        })?;
        Ok(first)
    }
}

impl Appending {
    /// Whether the mapping reaches to the record's end.
    fn has_room_for(&self, record: &Record<'_>) -> bool {
        let len = self.active.len();
        len + record.len_at(len) <= self.active.capacity()
    }
}
