//! The log: appending, flushing and syncing, under one writer's lock.
//!
//! Invariants (docs/design.md, "Write path"):
//! - A record is appended and its key's entry changed under the writer's lock: the order of the log
//!   is the order of the entries.

mod rotation;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use self::rotation::Appending;
use crate::bell::Bell;
use crate::clock::Clock;
use crate::commit::{self, Commits};
use crate::companions::Companions;
use crate::counters::Writes;
use crate::directory::Directory;
use crate::durable::Durable;
use crate::error::{Error, Result};
use crate::feed::watch::{Event, Watchers, Woken};
use crate::fs::{Fs, Reading, prefetch_bytes};
use crate::index::{Extent, Index, Seen};
use crate::interval::Interval;
use crate::location::{Location, SegmentId};
use crate::options::{Durability, Options};
use crate::past::Past;
use crate::position::Position;
use crate::record::{self, Record};
use crate::segment::Appended;

/// Enough for the outputs of a few compactions, so that these need not seal what is active.
const SPARE_IDS: u64 = if cfg!(any(test, fuzzing)) { 64 } else { 1024 };

pub(crate) struct Log {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) directory: Directory,
    pub(crate) commits: Commits,
    pub(crate) index: Index,
    pub(crate) companions: Companions,
    pub(crate) clock: Clock,
    pub(crate) reading: Reading,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) writes: Writes,
    /// Heard by who looks after the store, if anybody does.
    pub(crate) bell: Arc<Bell>,
    /// Of all positions; it never changes while the store is open.
    pub(crate) lineage: u32,
    segment_size: u64,
    read_only: bool,
    /// How many ids each seal puts aside.
    ids_per_seal: u64,
    writer: Mutex<Writer>,
    durable: Durable,
    interval: Interval,
    /// For its thread.
    this: Weak<Log>,
    /// Set under the writer's lock.
    closed: AtomicBool,
}

#[derive(Default)]
pub(crate) struct Writer {
    active: Option<Appending>,
    /// The position behind all that has been appended.
    end: u64,
    /// What has been appended and not told, while somebody watches.
    untold: Vec<Event>,
    /// The first active segment has been made, or must not take up an older one any more.
    begun: bool,
    /// Reserved, above everything sealed and below what is active.
    spare_ids: std::ops::Range<u64>,
}

impl Log {
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        directory: Directory,
        commits: Commits,
        index: Index,
        companions: Companions,
        clock: Clock,
        options: &Options,
    ) -> Arc<Self> {
        let lineage = commits.current().history.lineage;
        Arc::new_cyclic(|this| Log {
            fs,
            directory,
            commits,
            index,
            companions,
            clock,
            reading: Reading::new(options),
            watchers: Arc::default(),
            writes: Writes::default(),
            lineage,
            segment_size: options.segment_size,
            read_only: options.read_only,
            ids_per_seal: options.compaction.policy().map_or(0, |_| SPARE_IDS),
            bell: Arc::default(),
            writer: Mutex::default(),
            durable: Durable::default(),
            interval: Interval::default(),
            this: Weak::clone(this),
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn segment_size(&self) -> u64 {
        self.segment_size
    }

    /// Writes one record, as of now; one that deletes only if its key is there.
    pub(crate) fn write(&self, record: Record<'_>, durability: Durability) -> Result<()> {
        if record.is_tombstone() {
            return self.delete(record.key, durability).map(drop);
        }
        let Record { key, value, .. } = record;
        // Fetched while the rest is made ready: the copy and the entry wait for memory otherwise.
        prefetch_bytes(value);
        let hash = self.index.hash(key);
        self.index.keydir.prefetch(hash);
        let record = Record { timestamp: self.clock.now(), ..record };
        record.check_sizes()?;
        let mut writer = self.writer()?;
        let new = self.append(&mut writer, &record, durability)?;
        self.index.set(hash, key, new);
        self.settle(writer, durability)
    }

    /// Writes records, as of now, if a key's entry is still as it was seen; answers whether it was. As with a
    /// batch, all of them happen or none.
    pub(crate) fn write_if(
        &self,
        seen: &Seen<'_>,
        records: Vec<Record<'_>>,
        durability: Durability,
    ) -> Result<bool> {
        self.write_run(Some(seen), records, durability)
    }

    /// Writes a batch, as of now.
    pub(crate) fn write_batch(
        &self,
        records: Vec<Record<'_>>,
        durability: Durability,
    ) -> Result<()> {
        self.write_run(None, records, durability).map(drop)
    }

    fn write_run(
        &self,
        seen: Option<&Seen<'_>>,
        mut records: Vec<Record<'_>>,
        durability: Durability,
    ) -> Result<bool> {
        let now = self.clock.now();
        let mut hashes = Vec::with_capacity(records.len());
        for record in &mut records {
            record.timestamp = now;
            record.check_sizes()?;
            let hash = self.index.hash(record.key);
            self.index.keydir.prefetch(hash);
            hashes.push(hash);
        }
        let mut writer = self.writer()?;
        let is_live = |extent: &Extent| self.is_live(extent);
        if !seen.is_none_or(|seen| self.index.is_still(seen, is_live)) {
            return Ok(false);
        }
        match (&records[..], &hashes[..]) {
            ([], _) => return self.settle_unwritten(writer, durability).map(|()| true),
            ([record], [hash]) => {
                let place = self.append(&mut writer, record, durability)?;
                self.enter(*hash, record, place);
            }
            _ => {
                let places = self.append_run(&mut writer, &records, durability)?;
                if let (Durability::Synced, Some(appending)) = (durability, &mut writer.active) {
                    appending.active.start_sync();
                }
                for ((record, hash), place) in records.iter().zip(hashes).zip(places) {
                    self.enter(hash, record, place);
                }
            }
        }
        self.settle(writer, durability)?;
        Ok(true)
    }

    /// Lets a key's entry follow what has been appended.
    fn enter(&self, hash: u64, record: &Record<'_>, place: Location) {
        if record.is_tombstone() {
            self.remove(hash, record, place);
        } else {
            self.index.set(hash, record.key, place);
        }
    }

    /// Deletes a key; answers whether it was there.
    pub(crate) fn delete(&self, key: &[u8], durability: Durability) -> Result<bool> {
        let now = self.clock.now();
        let record = Record::tombstone(now, key);
        record.check_sizes()?;
        let hash = self.index.hash(key);
        let mut writer = self.writer()?;
        if self.index.find_for_write(hash, key).is_none() {
            self.settle_unwritten(writer, durability)?;
            return Ok(false);
        }
        let place = self.append(&mut writer, &record, durability)?;
        let was_there = self.remove(hash, &record, place);
        self.settle(writer, durability)?;
        Ok(was_there)
    }

    /// Whether a record counts still.
    #[inline]
    pub(crate) fn is_live(&self, extent: &Extent) -> bool {
        extent.expires_at.is_none_or(|at| at > self.clock.now())
    }

    /// Takes a key's entry away, whose tombstone has been appended; answers whether it was there.
    fn remove(&self, hash: u64, tombstone: &Record<'_>, place: Location) -> bool {
        if let Some(segment) = self.index.segments.get(place.slot()) {
            segment.usage().add_tombstone(tombstone.len_at(place.offset()));
        }
        while let Some(old) = self.index.find_for_write(hash, tombstone.key) {
            if self.index.change(hash, Some(&old), None) {
                return old.expires_at.is_none_or(|at| at > tombstone.timestamp);
            }
        }
        false
    }

    /// What is there now, to be kept. Nobody is in the middle of a write.
    pub(crate) fn past(&self) -> Result<Past> {
        let _no_writes = self.writer.lock();
        if self.is_closed() {
            return Err(Error::Closed);
        }
        Ok(Past::begin(&self.index.keydir, &self.index.segments, self.clock.now()))
    }

    /// Hands all that is buffered to the OS.
    pub(crate) fn flush(&self) -> Result<()> {
        match &mut self.writer()?.active {
            Some(appending) => appending.active.flush(),
            None => Ok(()),
        }
    }

    /// Does something for who keeps positions, before anybody writes more: all is in the files, and no
    /// segment's id is ever given to another.
    pub(crate) fn at_end<T>(&self, act: impl FnOnce() -> T) -> Result<T> {
        let mut writer = self.writer()?;
        if let Some(appending) = &mut writer.active {
            appending.active.flush()?;
            self.name(appending)?;
        }
        Ok(act())
    }

    /// Whether nobody writes.
    #[cfg(test)]
    pub(crate) fn is_free(&self) -> bool {
        self.writer.try_lock().is_some()
    }

    /// Makes all that was written before the call durable.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut writer = self.writer()?;
        if let Some(appending) = &mut writer.active {
            appending.active.flush()?;
        }
        let end = writer.end;
        drop(writer);
        self.durable.reach(end, || self.sync_flushed())
    }

    /// Bytes of the log that a power loss would take.
    pub(crate) fn unsynced(&self) -> u64 {
        self.writer.lock().end - self.durable.until()
    }

    pub(crate) fn buffered(&self) -> u64 {
        self.writer.lock().active.as_ref().map_or(0, |appending| appending.active.buffered())
    }

    /// Seals what is active, unless that has been done; from now on it is closed.
    pub(crate) fn close(&self) -> Result<()> {
        self.interval.close();
        let mut writer = self.writer.lock();
        if self.closed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.commits.poison().check()?;
        let sealed = self.seal_active(&mut writer);
        drop(writer);
        if sealed.is_err() {
            // What an interval has promised does not depend on what could not be flushed or sealed.
            let _ = self.durable.reach(u64::MAX, || self.sync_flushed());
        }
        sealed
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The right to write, unless the store is closed, poisoned, or only to be read. Nothing is left of a write
    /// that failed, and nothing comes back: whatever succeeds from now on, if only because there is nothing to be
    /// written or flushed, is true of what the disk has.
    pub(crate) fn writer(&self) -> Result<MutexGuard<'_, Writer>> {
        let mut writer = self.writer.lock();
        if self.is_closed() {
            return Err(Error::Closed);
        }
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        self.commits.poison().check()?;
        if let Some(Appending { active, .. }) = &mut writer.active {
            active.withdraw(|active| self.sync_data(|| active.sync()))?;
        }
        Ok(writer)
    }

    /// What a write does that has found nothing to write: what made it so has to get as far as it would have.
    fn settle_unwritten(
        &self,
        mut writer: MutexGuard<'_, Writer>,
        durability: Durability,
    ) -> Result<()> {
        if durability.flushes()
            && let Some(appending) = &mut writer.active
        {
            appending.active.flush()?;
        }
        self.settle(writer, durability)
    }

    /// What a write does after its entry has changed.
    fn settle(&self, mut writer: MutexGuard<'_, Writer>, durability: Durability) -> Result<()> {
        let end = writer.end;
        let woken = self.tell(&mut writer);
        drop(writer);
        woken.wake();
        match durability {
            Durability::Buffered | Durability::Flushed => Ok(()),
            Durability::Interval(interval) => self.sync_later(end, interval),
            Durability::Synced => self.durable.reach(end, || self.sync_flushed()),
        }
    }

    /// Makes the log durable up to a position in a while.
    fn sync_later(&self, end: u64, interval: Duration) -> Result<()> {
        if self.durable.until() >= end {
            return Ok(());
        }
        let this = Weak::clone(&self.this);
        let sync = move || {
            // A failure poisons the store: the next write says so.
            let _ = this.upgrade().map(|log| log.durable.reach(u64::MAX, || log.sync_flushed()));
        };
        // Without a thread there is nobody to do it but who is here.
        let begun = self.interval.act_within(interval, sync);
        begun.or_else(|_| self.durable.reach(end, || self.sync_flushed()))
    }

    /// Makes what has been handed to the OS durable, and answers up to which position. Others append
    /// meanwhile. Segments sealed earlier are durable already.
    fn sync_flushed(&self) -> Result<u64> {
        let mut writer = self.writer.lock();
        let end = writer.end;
        let Some(appending) = &mut writer.active else { return Ok(end) };
        let flushed = end - appending.active.buffered();
        appending.active.expect_syncs();
        self.name(appending)?;
        let (file, path) = (appending.active.file(), Arc::clone(appending.active.path()));
        drop(writer);
        self.sync_data(|| file.sync().map_err(Error::io("sync", &*path)))?;
        Ok(flushed)
    }

    /// Makes a data file durable, or poisons the store.
    fn sync_data(&self, sync: impl FnOnce() -> Result<()>) -> Result<()> {
        self.commits.poison().sync(|syncs| &syncs.data, sync)
    }

    fn append(
        &self,
        writer: &mut Writer,
        record: &Record<'_>,
        durability: Durability,
    ) -> Result<Location> {
        let appending = self.make_room(writer, 1, |offset| record.len_at(offset))?;
        let (slot, appended) =
            (appending.slot, appending.active.append(record, durability.flushes())?);
        writer.end += appended.len;
        let place = self.index.location(slot, appended.offset);
        self.note(writer, std::slice::from_ref(record), std::slice::from_ref(&appended));
        place.ok_or_else(|| self.too_many_segments())
    }

    /// Appends records to one segment, all of them or none.
    fn append_run(
        &self,
        writer: &mut Writer,
        records: &[Record<'_>],
        durability: Durability,
    ) -> Result<Vec<Location>> {
        let len_at = |offset| record::run_len_at(records, offset);
        let appending = self.make_room(writer, records.len(), len_at)?;
        let slot = appending.slot;
        let run = appending.active.append_run(records, durability.flushes())?;
        writer.end += run.iter().map(|appended| appended.len).sum::<u64>();
        self.note(writer, records, &run);
        let place = |appended: &Appended| self.index.location(slot, appended.offset);
        run.iter().map(place).collect::<Option<_>>().ok_or_else(|| self.too_many_segments())
    }

    /// Counts what has just been appended, and keeps it for those who watch, all at once.
    #[inline]
    fn note(&self, writer: &mut Writer, records: &[Record<'_>], run: &[Appended]) {
        for (record, appended) in records.iter().zip(run) {
            self.writes.note(!record.is_tombstone(), appended.len);
        }
        if self.watchers.is_any()
            && let (Some(appending), [first, ..], [.., last]) = (&writer.active, run, run)
        {
            let position = |offset| appending.active.position(self.lineage, offset);
            let (start, end) = (position(first.offset), position(last.offset + last.len));
            let wanted = records.iter().filter(|record| self.watchers.want(record.key));
            writer.untold.extend(wanted.map(|record| Event::of(record, start, end)));
        }
    }

    /// Tells those who watch what was written and can be read. Answers whom to wake when nobody waits for locks of
    /// the caller's.
    #[inline]
    fn tell(&self, writer: &mut Writer) -> Woken {
        match writer.untold.is_empty() {
            true => Woken::default(),
            false => self.watchers.tell(&mut writer.untold),
        }
    }

    /// Lets everything go, durably. No compaction runs.
    pub(crate) fn clear(&self) -> Result<Woken> {
        let mut writer = self.writer()?;
        // So that there is one manifest to replace, and what is in it is all there is.
        self.seal_for_compaction(&mut writer)?;
        let mut position = Position::START;
        let all = self.index.segments.list();
        self.commits.commit(|manifest| {
            manifest.sealed.clear();
            position = manifest.history.position(manifest.next_file_id, 0);
            manifest.history.left_out_to(position);
            Ok(())
        })?;
        let slots = all.iter().map(|&(slot, _)| slot).collect();
        self.index.let_go(&slots, self.index.entries_in(&slots));
        // The oldest first, as in a compaction: no tombstone goes before what it deletes.
        all.iter().for_each(|(_, segment)| self.remove_file(segment.id()));
        if self.watchers.is_any() {
            writer.untold.push(Event::Cleared { position });
        }
        Ok(self.tell(&mut writer))
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
