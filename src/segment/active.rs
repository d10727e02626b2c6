//! The segment that is being appended to: the writer's side.
//!
//! Records go into a chunk of memory, and from there to the file: at once, or when the chunk is
//! full. Readers find what the file has in its view and the rest in the chunk. A record that would fill most of a chunk is written to the file directly.
//!
//! Invariants:
//! - Bytes of the file below `flushed` are written and never written again; the view is published
//!   up to there, after the write.
//! - The chunk holds the bytes from `flushed` to `end`, whole records, and keeps what it has flushed
//!   until it is full.
//! - Zeros may stand in the file beyond `flushed` until it is sealed.
//! - A write that fails leaves `flushed` and `end` where they were. What it may have left in the
//!   file beyond `flushed` is cut off before anything else is written or the segment is sealed; no
//!   reader looks there. Before anything is appended in its place, a sync has made sure that it is gone:
//!   else a power loss could bring back the failed write in front of what stands behind it.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Pin, Segment, Usage, corrupt};
use crate::error::{Damage, Error, Result};
use crate::fs::{ALIGNMENT, Chunk, File, Fs, GrowingView, Reading, Region, View};
use crate::location::{Location, SegmentId};
use crate::manifest::SealedEntry;
use crate::position::Position;
use crate::record::{self, Frame, MAX_ALIGN, Record};

/// Fits in a core's second-level cache.
const CHUNK_LEN: usize = 256 << 10;
/// How much longer than it has to be a file is made that is synced while it grows: as long as it does not change,
/// a sync has no length to write. Little in tests, whose disk is memory.
const AHEAD: u64 = if cfg!(any(test, fuzzing)) { 4 << 10 } else { 1 << 20 };
/// The system is told to begin to write so much, and does so beside what comes next: a sync, at the latest that of the seal, then has
/// less to wait for. RocksDB's `bytes_per_sync` is the same. Telling takes time too, more of it for smaller steps.
const WRITING_STEP: u64 = 1 << 20;
/// So much is worth it where the sync comes as soon as the entries have been changed.
const SYNCED_STEP: u64 = 64 << 10;
/// What is written to again would be written twice.
const PAGE_LEN: u64 = 4 << 10;
/// From here on a copy costs more than the write that it saves.
const DIRECT_LEN: u64 = 64 << 10;
/// What is aligned in the file is aligned where readers find it: in the mapping, which begins at a
/// page, and in the chunk.
const _: () = assert!(ALIGNMENT.is_multiple_of(MAX_ALIGN));

pub(crate) struct Active {
    id: SegmentId,
    path: Arc<Path>,
    file: Arc<dyn File>,
    /// None for a segment that nobody reads before it is sealed.
    view: Option<GrowingView>,
    reading: Reading,
    capacity: u64,
    buffer: Arc<Buffer>,
    chunk: Option<Chunk>,
    flushed: u64,
    /// Up to here the system has been told to begin to write.
    started: u64,
    end: u64,
    /// A failed write may have left bytes beyond `flushed`.
    soiled: bool,
    /// The disk may have bytes beyond `flushed` still that were cut off.
    is_cut_unsynced: bool,
    /// The file's length; there are zeros beyond `flushed`.
    file_len: u64,
    is_synced: bool,
    records: u64,
    checksum: crc32fast::Hasher,
    usage: Arc<Usage>,
}

/// The chunk as readers of the active segment reach it.
#[derive(Default)]
pub(crate) struct Buffer {
    chunk: Mutex<Option<Arc<Region>>>,
}

/// Where a record was appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) checksum: u32,
}

impl Buffer {
    /// What was not in the file a moment ago, unless it has been flushed since.
    #[cold]
    pub(super) fn pin(&self, file: &View, offset: u64) -> Option<Pin<'static>> {
        let chunk = self.chunk.lock();
        let region = chunk.as_ref()?;
        let start = offset.checked_sub(region.base())? as usize;
        let region = || Cow::Owned(Arc::clone(region));
        (offset >= file.published()).then(|| Pin { start, region: region() })
    }
}

impl Active {
    /// A new segment file at `path`, readable while it grows to at most `capacity` bytes.
    pub(crate) fn create(
        fs: &dyn Fs,
        path: &Arc<Path>,
        id: SegmentId,
        capacity: u64,
        reading: Reading,
    ) -> Result<Self> {
        let mut active = Self::create_unread(fs, path, id, reading)?;
        match GrowingView::new(&active.file, path, capacity, reading) {
            Ok(view) => {
                active.view = Some(view);
                active.capacity = capacity;
            }
            Err(error) => {
                // An empty file that nothing names; opening removes it if this does not.
                let _ = fs.remove(path);
                return Err(error);
            }
        }
        Ok(active)
    }

    /// A new segment file that nobody reads before it is sealed, of any length.
    pub(crate) fn create_unread(
        fs: &dyn Fs,
        path: &Arc<Path>,
        id: SegmentId,
        reading: Reading,
    ) -> Result<Self> {
        let file = fs.create(path).map_err(Error::io("create", &**path))?;
        Ok(Active {
            id,
            path: Arc::clone(path),
            file,
            view: None,
            reading,
            capacity: u64::MAX,
            buffer: Arc::default(),
            chunk: None,
            flushed: 0,
            started: 0,
            end: 0,
            soiled: false,
            is_cut_unsynced: false,
            file_len: 0,
            is_synced: false,
            records: 0,
            checksum: crc32fast::Hasher::new(),
            usage: Arc::default(),
        })
    }

    pub(crate) fn id(&self) -> SegmentId {
        self.id
    }

    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// How long it can become and stay readable.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// Its length with what still waits in the chunk.
    pub(crate) fn len(&self) -> u64 {
        self.end
    }

    /// What still waits in the chunk, in bytes.
    pub(crate) fn buffered(&self) -> u64 {
        self.end - self.flushed
    }

    /// The position of what lies at `offset`, in the log of this lineage.
    pub(crate) fn position(&self, lineage: u32, offset: u64) -> Position {
        Position::new(lineage, self.id, offset)
    }

    /// For a sync outside the writer's lock.
    pub(crate) fn file(&self) -> Arc<dyn File> {
        Arc::clone(&self.file)
    }

    /// The readers' side, if it was made to be read.
    pub(crate) fn reader(&self) -> Option<Segment> {
        Some(Segment {
            id: self.id,
            view: self.view.as_ref()?.view(),
            buffer: Some(Arc::clone(&self.buffer)),
            usage: Arc::clone(&self.usage),
        })
    }

    /// Appends a record whose sizes have been checked; with `flush`, it and all before it are handed
    /// to the OS. After an error the segment is as it was.
    pub(crate) fn append(&mut self, record: &Record<'_>, flush: bool) -> Result<Appended> {
        let (offset, len) = (self.end, record.len_at(self.end));
        self.check_end(len)?;
        let checksum = if len > DIRECT_LEN {
            self.append_directly(record, len)?
        } else {
            self.append_to_chunk(len, flush, |room| record.encode_into(offset, room))?
        };
        let appended = Appended { offset, len, checksum };
        self.count(record, appended);
        self.publish();
        Ok(appended)
    }

    /// Appends records one behind the other: all of them or, after an error, none. No reader sees one
    /// before all are there.
    pub(crate) fn append_run(
        &mut self,
        records: &[Record<'_>],
        flush: bool,
    ) -> Result<Vec<Appended>> {
        let start = self.end;
        let len = record::run_len_at(records, start);
        self.check_end(len)?;
        let encode = |mut room: &mut [u8]| {
            let mut offset = start;
            let encode = |record: &Record<'_>| {
                let len = record.len_at(offset);
                let (place, rest) = std::mem::take(&mut room).split_at_mut(len as usize);
                let checksum = record.encode_into(offset, place);
                let appended = Appended { offset, len, checksum };
                (room, offset) = (rest, offset + len);
                appended
            };
            records.iter().map(encode).collect()
        };
        let run: Vec<_> = if len > CHUNK_LEN as u64 {
            self.append_large_run(len, encode)?
        } else {
            self.append_to_chunk(len, flush, encode)?
        };
        for (record, &appended) in records.iter().zip(&run) {
            self.count(record, appended);
        }
        self.publish();
        Ok(run)
    }

    /// Whether there are offsets left for `len` bytes more.
    fn check_end(&self, len: u64) -> Result<()> {
        if self.end + len > Location::OFFSET_LIMIT {
            return Err(Error::TooManySegments { path: self.path.to_path_buf() });
        }
        Ok(())
    }

    /// A record is in the chunk or in the file.
    fn count(&mut self, record: &Record<'_>, appended: Appended) {
        self.end += appended.len;
        self.records += 1;
        self.checksum.update(&appended.checksum.to_be_bytes());
        self.usage.add_record(appended.len);
        self.usage.note_timestamp(record.timestamp);
        if record.expires_at.is_some() && !record.is_tombstone() {
            self.usage.add_expiring(record.expires_at, appended.len);
        }
    }

    fn publish(&self) {
        if let Some(view) = &self.view {
            view.publish(self.flushed);
        }
    }

    /// Appends a copy of a record of another segment, as a single, without a flush. An error if the
    /// record is not sound any more, or the copy not the same.
    pub(crate) fn append_copy(
        &mut self,
        frame: &Frame<'_>,
        source: &Path,
        offset: u64,
    ) -> Result<Appended> {
        let copy = frame.record().as_single();
        // Memory that shows a file may have been read anew since the record was checked. If the copy was made in memory of our
        // own, its checksum tells; else, and where it is another, the record is checked again.
        let (appended, expected) = if frame.is_movable() && frame.len() <= DIRECT_LEN {
            (self.append_bytes(frame, &copy)?, frame.checksum())
        } else {
            let appended = self.append(&copy, false)?;
            frame.verify().map_err(|damage| corrupt(source, offset, damage))?;
            let is_same = frame.is_movable();
            (appended, if is_same { frame.checksum() } else { copy.checksum_at(appended.offset) })
        };
        let found = appended.checksum;
        if expected != found {
            return Err(corrupt(source, offset, Damage::Checksum { expected, found }));
        }
        Ok(appended)
    }

    /// Appends the bytes of a record that has a place in a chunk.
    fn append_bytes(&mut self, frame: &Frame<'_>, record: &Record<'_>) -> Result<Appended> {
        let (offset, len) = (self.end, frame.len());
        self.check_end(len)?;
        let checksum = self.append_to_chunk(len, false, |room| frame.copy_into(room))?;
        let appended = Appended { offset, len, checksum };
        self.count(record, appended);
        self.publish();
        Ok(appended)
    }

    /// Lets `encode` fill the next bytes of the chunk, a new one if need be.
    fn append_to_chunk<T>(
        &mut self,
        len: u64,
        flush: bool,
        encode: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T> {
        let (offset, room) = (self.end, len as usize);
        if self.chunk.as_mut().is_none_or(|chunk| chunk.spare().len() < room) {
            self.flush()?;
            self.start_chunk()?;
        }
        let chunk = self.chunk.as_mut();
        let Some(room) = chunk.and_then(|chunk| chunk.spare().get_mut(..room)) else {
            return Err(self.no_room(offset, len));
        };
        let encoded = encode(room);
        if flush {
            self.write_chunk(len as usize)?;
        }
        if let Some(chunk) = &mut self.chunk {
            chunk.publish(len as usize);
        }
        Ok(encoded)
    }

    /// For a record so large that copying it into a chunk would not pay.
    fn append_directly(&mut self, record: &Record<'_>, len: u64) -> Result<u32> {
        self.flush()?;
        let offset = self.end;
        let mut head = vec![0; record.head_len_at(offset)];
        let checksum = record.encode_head_into(offset, &mut head);
        self.write(&head, offset)?;
        self.write(record.value, offset + head.len() as u64)?;
        self.wrote_directly(len);
        Ok(checksum)
    }

    /// For a run that may not fit into a chunk: one write.
    fn append_large_run<T>(&mut self, len: u64, encode: impl FnOnce(&mut [u8]) -> T) -> Result<T> {
        self.flush()?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len as usize).map_err(|error| {
            Error::io("get memory to append to", &*self.path)(std::io::Error::other(error))
        })?;
        bytes.resize(len as usize, 0);
        let encoded = encode(&mut bytes);
        self.write(&bytes, self.end)?;
        self.wrote_directly(len);
        Ok(encoded)
    }

    /// The chunk's bytes end before what went past it; the next one starts anew.
    fn wrote_directly(&mut self, len: u64) {
        self.flushed = self.end + len;
        self.drop_chunk();
    }

    /// Hands all that waits in the chunk to the OS.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if self.buffered() > 0 {
            self.write_chunk(0)?;
        }
        self.publish();
        Ok(())
    }

    /// Hands all of it to the OS and nothing else: what a failed write left is gone.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.flush()?;
        if self.soiled || self.file_len > self.flushed {
            self.cut()?;
        }
        Ok(())
    }

    /// Makes sure, by `sync`, that what a failed write left is gone: needed before the next append.
    pub(crate) fn withdraw(&mut self, sync: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        if self.soiled {
            self.cut()?;
        }
        if self.is_cut_unsynced {
            sync(self)?;
            self.is_cut_unsynced = false;
        }
        Ok(())
    }

    /// The file is synced from now on, often perhaps, while it grows.
    pub(crate) fn expect_syncs(&mut self) {
        self.is_synced = true;
    }

    /// Makes what has been flushed durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync().map_err(Error::io("sync", &*self.path))
    }

    /// What the manifest says of it once it is finished.
    pub(crate) fn entry(&self) -> SealedEntry {
        SealedEntry {
            id: self.id,
            len: self.flushed,
            records: self.records,
            dead_bytes: self.usage.stale_bytes(),
            checksum: self.checksum.clone().finalize(),
        }
    }

    /// Turns it into a sealed segment at `path`, its view made anew at its exact length. It is finished.
    pub(crate) fn seal(mut self, path: &Arc<Path>) -> Result<Segment> {
        // Who still holds the active segment finds everything in the file.
        self.drop_chunk();
        if let Err(error) = self.file.make_read_only() {
            tracing::warn!(path = %path.display(), %error, "cannot clear a segment's write bits");
        }
        let view = match (View::open(&self.file, path, self.flushed, self.reading), &self.view) {
            (Ok(view), _) => view,
            (Err(error), Some(growing)) => {
                // What readers have used so far serves as well; it only reserves more addresses.
                tracing::warn!(path = %path.display(), %error, "cannot remap a sealed segment");
                growing.view()
            }
            (Err(error), None) => return Err(error),
        };
        Ok(Segment { id: self.id, view, buffer: None, usage: self.usage })
    }

    /// Writes the chunk's bytes from `flushed` on, with `staged` more than are published.
    fn write_chunk(&mut self, staged: usize) -> Result<()> {
        self.make_way(self.end + staged as u64)?;
        let Some(bytes) = self.chunk.as_mut().and_then(|c| c.staged(self.flushed, staged)) else {
            return Err(self.no_room(self.flushed, staged as u64));
        };
        let len = bytes.len() as u64;
        if let Err(source) = self.file.write_at(bytes, self.flushed) {
            return Err(self.soil(source));
        }
        self.flushed += len;
        self.start_writing(self.flushed, WRITING_STEP);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        let end = offset + bytes.len() as u64;
        self.make_way(end)?;
        self.file.write_at(bytes, offset).map_err(|source| self.soil(source))?;
        self.start_writing(end, WRITING_STEP);
        Ok(())
    }

    /// A sync comes when other things have been done.
    pub(crate) fn start_sync(&mut self) {
        self.start_writing(self.flushed, SYNCED_STEP);
    }

    /// All bytes up to `end` are in the file.
    fn start_writing(&mut self, end: u64, step: u64) {
        let end = end - end % PAGE_LEN;
        if end >= self.started + step {
            self.file.start_writing(self.started, end - self.started);
            self.started = end;
        }
    }

    /// A write failed: takes back what it left, now or before the next one.
    fn soil(&mut self, source: std::io::Error) -> Error {
        (self.soiled, self.is_cut_unsynced) = (true, true);
        if let Err(error) = self.cut() {
            tracing::warn!(path = %self.path.display(), %error, "a failed write is not cut off yet");
        }
        Error::Io { action: "append to", path: self.path.to_path_buf(), source }
    }

    /// Readies the file for a write up to `end`.
    fn make_way(&mut self, end: u64) -> Result<()> {
        if self.soiled {
            self.cut()?;
        }
        if end > self.file_len {
            let len = end + if self.is_synced { AHEAD } else { 0 };
            // If it fails, the write makes the file as long as it has to be.
            let is_ahead = self.is_synced && self.file.set_len(len).is_ok();
            self.file_len = if is_ahead { len } else { end };
        }
        Ok(())
    }

    /// Cuts off what lies beyond `flushed`.
    fn cut(&mut self) -> Result<()> {
        self.file.set_len(self.flushed).map_err(Error::io("cut", &*self.path))?;
        (self.file_len, self.soiled) = (self.flushed, false);
        Ok(())
    }

    /// A chunk for the bytes from `end` on. All before them are flushed.
    fn start_chunk(&mut self) -> Result<()> {
        let mut readers = self.buffer.chunk.lock();
        *readers = None;
        let reused = self.chunk.as_mut().is_some_and(|chunk| chunk.reuse(self.end));
        if !reused {
            // Without it, a record would go where no reader looks.
            self.chunk = None;
            let chunk = Chunk::new(&self.path, self.end, CHUNK_LEN);
            self.chunk = Some(chunk.map_err(Error::io("get memory to append to", &*self.path))?);
        }
        if self.view.is_some() {
            *readers = self.chunk.as_ref().map(|chunk| Arc::clone(chunk.region()));
        }
        Ok(())
    }

    fn drop_chunk(&mut self) {
        *self.buffer.chunk.lock() = None;
        self.chunk = None;
    }

    /// Cannot happen while the invariants hold; said as an error rather than a panic.
    #[cold]
    fn no_room(&self, offset: u64, len: u64) -> Error {
        corrupt(&self.path, offset, Damage::Length { expected: len, found: 0 })
    }
}
