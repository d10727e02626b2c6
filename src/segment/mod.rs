//! Segments: the files of the log as the store holds them in memory.
//!
//! [`active`] is the writer's side of the segment that is being appended to, [`scan`] walks the
//! records of one, [`buckets`] counts those that expire, [`table`] maps the slots that locations name to segments. A [`Segment`] is the
//! readers' side of any of them.
//!
//! Must not know: keys, the key directory, the manifest.

mod active;
mod buckets;
pub(crate) mod scan;
mod table;

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use active::{Active, Appended, Buffer};
pub(crate) use table::{Keeper, Slots, Table};

pub(crate) use buckets::Buckets;
use parking_lot::Mutex;

use crate::error::{Damage, Error, Result};
use crate::fs::{File, Fs, Reading, Region, View, Whole};
use crate::location::SegmentId;
use crate::position::Position;
use crate::record::{Frame, HEADER_LEN};

/// A segment as readers see it.
pub(crate) struct Segment {
    id: SegmentId,
    /// A sealed segment's shows all of it; the active one's what the OS has been given.
    view: View,
    /// What of the active segment is not in the file yet.
    buffer: Option<Arc<Buffer>>,
    usage: Arc<Usage>,
}

/// Records, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Amount {
    /// One record of `len` bytes.
    pub(crate) fn record(len: u64) -> Self {
        Amount { records: 1, bytes: len }
    }

    pub(crate) fn add(&mut self, other: Amount) {
        self.records += other.records;
        self.bytes += other.bytes;
    }

    /// No more than there is.
    fn take(&mut self, other: Amount) {
        self.records = self.records.saturating_sub(other.records);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// How much of a segment is of use. Outlives the change from active to sealed.
#[derive(Default)]
pub(crate) struct Usage {
    bytes: AtomicU64,
    records: AtomicU64,
    dead_bytes: AtomicU64,
    /// Of the last record.
    timestamp: AtomicU64,
    dead_records: AtomicU64,
    /// Of the dead bytes, those of tombstones.
    tombstone_bytes: AtomicU64,
    /// Of records that count, if they expire. Touched for no others.
    expiring: Mutex<Buckets>,
}

impl Usage {
    /// For the one who appends to the segment or scans it.
    pub(crate) fn add_record(&self, len: u64) {
        self.bytes.store(self.bytes() + len, Ordering::Relaxed);
        self.records.store(self.records() + 1, Ordering::Relaxed);
    }

    /// When the last record was written that was appended or read.
    pub(crate) fn note_timestamp(&self, timestamp: u64) {
        self.timestamp.store(timestamp, Ordering::Relaxed);
    }

    /// When the last record was written, in microseconds since the epoch; 0 if there is none.
    pub(crate) fn timestamp(&self) -> u64 {
        self.timestamp.load(Ordering::Relaxed)
    }

    /// There is so much, of which so much does not count, and so many bytes of that are tombstones, for the one who has read it.
    pub(crate) fn add_all(&self, all: Amount, dead: Amount, tombstone_bytes: u64) {
        self.bytes.fetch_add(all.bytes, Ordering::Relaxed);
        self.records.fetch_add(all.records, Ordering::Relaxed);
        self.dead_bytes.fetch_add(dead.bytes, Ordering::Relaxed);
        self.dead_records.fetch_add(dead.records, Ordering::Relaxed);
        self.tombstone_bytes.fetch_add(tombstone_bytes, Ordering::Relaxed);
    }

    /// Bytes that hold no record.
    pub(crate) fn add_unreadable(&self, len: u64) {
        self.bytes.fetch_add(len, Ordering::Relaxed);
        self.dead_bytes.fetch_add(len, Ordering::Relaxed);
    }

    /// There is a record of `len` bytes that does not count, or does not any more.
    pub(crate) fn add_dead(&self, len: u64) {
        self.dead_bytes.fetch_add(len, Ordering::Relaxed);
        self.dead_records.fetch_add(1, Ordering::Relaxed);
    }

    /// There is a tombstone of `len` bytes, which is dead but may hide something older.
    pub(crate) fn add_tombstone(&self, len: u64) {
        self.tombstone_bytes.fetch_add(len, Ordering::Relaxed);
        self.add_dead(len);
    }

    /// A record of `len` bytes counts until it expires, if it does.
    pub(crate) fn add_expiring(&self, expires_at: Option<u64>, len: u64) {
        if let Some(at) = expires_at {
            self.expiring.lock().add(at, len);
        }
    }

    /// A record of `len` bytes that counted until it expired, if it does, is replaced or deleted.
    pub(crate) fn add_stale(&self, expires_at: Option<u64>, len: u64) {
        if let Some(at) = expires_at {
            self.expiring.lock().take_out(at, len);
        }
        self.add_dead(len);
    }

    pub(crate) fn figures(&self) -> Figures {
        let dead = Amount {
            records: self.dead_records.load(Ordering::Relaxed),
            bytes: self.dead_bytes.load(Ordering::Relaxed),
        };
        let tombstone_bytes = self.tombstone_bytes.load(Ordering::Relaxed);
        let (timestamp, expiring) = (self.timestamp(), self.expiring.lock().clone());
        Figures { all: self.all(), dead, tombstone_bytes, timestamp, expiring }
    }

    /// Counts what was counted when these were the figures; nothing has been before.
    pub(crate) fn begin_with(&self, figures: &Figures) {
        self.add_all(figures.all, figures.dead, figures.tombstone_bytes);
        self.note_timestamp(figures.timestamp);
        *self.expiring.lock() = figures.expiring.clone();
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Bytes that do not count whatever the time.
    pub(crate) fn stale_bytes(&self) -> u64 {
        self.dead_bytes.load(Ordering::Relaxed).min(self.bytes())
    }

    /// Everything, bytes that hold no record included.
    pub(crate) fn all(&self) -> Amount {
        Amount { records: self.records(), bytes: self.bytes() }
    }

    /// What does not count at `now`: with what has expired, but for the last of it, see [`Buckets`].
    pub(crate) fn dead(&self, now: u64) -> Amount {
        let passed = self.expiring.lock().passed(now);
        let stale = self.dead_records.load(Ordering::Relaxed);
        Amount {
            records: (stale + passed.records).min(self.records()),
            bytes: (self.stale_bytes() + passed.bytes).min(self.bytes()),
        }
    }

    /// The dead bytes, and how many of them may hide something older: tombstones, and what has expired.
    pub(crate) fn dead_and_hiding_bytes(&self, now: u64) -> (u64, u64) {
        let expired = self.expiring.lock().passed(now).bytes;
        let dead = (self.stale_bytes() + expired).min(self.bytes());
        (dead, (self.tombstone_bytes.load(Ordering::Relaxed) + expired).min(dead))
    }

    /// Whether there are records that have expired, or will.
    pub(crate) fn has_expiring(&self) -> bool {
        !self.expiring.lock().is_empty()
    }
}

/// A [`Usage`] at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) all: Amount,
    /// Whatever the time.
    pub(crate) dead: Amount,
    pub(crate) tombstone_bytes: u64,
    pub(crate) timestamp: u64,
    pub(crate) expiring: Buckets,
}

/// A record's place in memory: it begins at byte `start` of `region`, which whoever holds the table
/// of segments has, or which is held here.
pub(crate) struct Pin<'t> {
    pub(crate) region: Cow<'t, Arc<Region>>,
    pub(crate) start: usize,
}

impl Pin<'_> {
    /// The offset of the record in its file.
    pub(crate) fn offset(&self) -> u64 {
        self.region.base() + self.start as u64
    }

    /// The record, its CRC not checked.
    #[inline]
    pub(crate) fn frame(&self) -> Result<Frame<'_>, Damage> {
        Frame::read(self.region.get_from(self.start).unwrap_or_default(), self.offset())
    }

    /// That the record does not hold what was written.
    #[cold]
    pub(crate) fn corrupt(&self, damage: Damage) -> Error {
        corrupt(self.region.path(), self.offset(), damage)
    }
}

/// That the record at `offset` does not hold what was written, or what this version knows.
pub(crate) fn corrupt(path: &Path, offset: u64, damage: Damage) -> Error {
    let path = path.to_path_buf();
    match damage {
        Damage::ReservedFlag => {
            Error::Unsupported { path, offset, feature: "a reserved record flag" }
        }
        damage => Error::Corrupt { path, offset, damage },
    }
}

/// Opens a segment file that has to be there.
pub(crate) fn open_listed(fs: &dyn Fs, path: &Path) -> Result<Arc<dyn File>> {
    fs.open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::MissingSegment { path: path.to_path_buf() },
        _ => Error::io("open", path)(source),
    })
}

impl Segment {
    /// Opens the first `len` bytes of a sealed segment's file to be read.
    pub(crate) fn open(
        fs: &dyn Fs,
        path: &Arc<Path>,
        id: SegmentId,
        len: u64,
        reading: Reading,
    ) -> Result<Self> {
        let file = open_listed(fs, path)?;
        let found = file.len().map_err(Error::io("read the length of", &**path))?;
        if found < len {
            let damage = Damage::Length { expected: len, found };
            return Err(Error::Inconsistent { path: path.to_path_buf(), damage });
        }
        Ok(Segment::new(id, View::open(&file, path, len, reading)?))
    }

    /// A segment that is seen so, of which nothing is known yet.
    pub(crate) fn new(id: SegmentId, view: View) -> Self {
        Segment { id, view, buffer: None, usage: Arc::default() }
    }

    /// A sealed segment that was read without a mapping by one, if there is one now.
    fn map_anew(&self, reading: Reading) -> Option<Self> {
        let view = self.view.map_anew(reading)?;
        Some(Segment { id: self.id, view, buffer: None, usage: Arc::clone(&self.usage) })
    }

    pub(crate) fn id(&self) -> SegmentId {
        self.id
    }

    /// Whether it is not sealed: it is being appended to, here or by the one whose log is followed.
    pub(crate) fn is_active(&self) -> bool {
        self.buffer.is_some() || self.view.is_held()
    }

    pub(crate) fn path(&self) -> &Arc<Path> {
        self.view.path()
    }

    pub(crate) fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// Whether nothing is appended to it.
    pub(crate) fn is_sealed(&self) -> bool {
        self.buffer.is_none()
    }

    pub(crate) fn corrupt(&self, offset: u64, damage: Damage) -> Error {
        corrupt(self.path(), offset, damage)
    }

    /// What of its file is readable, in bytes: of a sealed segment, all.
    pub(crate) fn len(&self) -> u64 {
        self.view.published()
    }

    /// All readable bytes of a sealed segment, for who walks them.
    pub(crate) fn read_all(&self) -> Result<Whole> {
        self.view.whole()
    }

    /// Readable bytes of its file, and perhaps some before them, for who walks them.
    pub(crate) fn read_part(&self, range: Range<u64>) -> Result<Whole> {
        self.view.part(range)
    }

    /// The position behind all that is readable, in the log of this lineage.
    pub(crate) fn end(&self, lineage: u32) -> Position {
        Position::new(lineage, self.id, self.len())
    }

    /// What the system can be told of the file.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// Holds memory in which the record at `offset` lies. It may be read from disk for that, which
    /// can take long and fail. The active segment is looked at in its file first; only what is not
    /// there yet takes the buffer's lock.
    #[inline]
    pub(crate) fn pin(&self, offset: u64) -> Result<Pin<'_>> {
        if let Some(buffer) = &self.buffer
            && offset >= self.view.published()
            && let Some(pin) = buffer.pin(&self.view, offset)
        {
            return Ok(pin);
        }
        let wanted = |bytes: &[u8], there| self.record_len(offset, bytes, there);
        let region = self.view.hold(offset, HEADER_LEN, wanted)?;
        Ok(Pin { start: (offset - region.base()) as usize, region })
    }

    /// The record at `offset` has been replaced or deleted. One that cannot be read is not counted.
    pub(crate) fn note_stale(&self, offset: u64) {
        if let Ok(pin) = self.pin(offset)
            && let Ok(frame) = pin.frame()
        {
            self.usage.add_stale(frame.expires_at(), frame.len());
        }
    }

    /// How long the record at `offset` is that begins with `bytes`, if it is all `there`.
    fn record_len(&self, offset: u64, bytes: &[u8], there: u64) -> Result<u64> {
        match Frame::read(bytes, offset) {
            Ok(frame) => Ok(frame.len()),
            Err(Damage::Length { expected, .. }) if expected <= there => Ok(expected),
            Err(Damage::Length { expected, .. }) => {
                Err(self.corrupt(offset, Damage::Length { expected, found: there }))
            }
            Err(damage) => Err(self.corrupt(offset, damage)),
        }
    }
}

#[cfg(all(loom, test))]
impl Segment {
    /// A segment for models, which read nothing.
    pub(crate) fn of_nothing(path: &Arc<Path>, id: SegmentId) -> Self {
        let view = View::of_nothing(path);
        Segment { id, view, buffer: None, usage: Arc::default() }
    }
}
