//! [`Store`]: the face. Wiring only.

use std::cell::LazyCell;
use std::fmt;
use std::ops::{ControlFlow, RangeBounds};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::batch::Batch;
use crate::clock::{self, Clock, SystemTimeSource, TimeSource};
use crate::compact::{CompactionReport, CompactionStats, Compactor};
use crate::counters::Reads;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::follow::{self, Follower, Refreshed};
use crate::fs::{Fs, Lock, OsFs, View};
use crate::get_many::GetMany;
use crate::index::{Extent, Index, Look, Seen};
use crate::keys::{Iter, Keys};
use crate::location::{Location, SegmentId, SegmentSlot};
use crate::log::Log;
use crate::options::{Durability, EmptyValues, Options};
use crate::page_cache;
use crate::policy::Compaction;
#[cfg(any(test, fuzzing))]
use crate::policy::CompactionPolicy;
use crate::progress::Progress;
use crate::range::Range;
use crate::reader::Reader;
use crate::record::Record;
use crate::recover::{self, RecoveryReport};
use crate::segment::{Amount, Segment, Slots};
use crate::sight::Sight;
use crate::snapshot::Snapshot;
use crate::stats::{Latencies, SegmentStats, Stats, SyncStats};
#[cfg(any(test, fuzzing))]
use crate::upkeep;
use crate::upkeep::{Driver, Upkeep};
use crate::value::Value;

/// An open store. A cheap handle: clone it, send it, share it. Any number of threads may read beside
/// one that writes; writers take turns, and readers wait for none of them.
///
/// Dropping the last handle closes the store as [`Store::close`] does, and logs what fails.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    log: Arc<Log>,
    compactor: Arc<Compactor>,
    /// The store's own compactions, if there are any.
    #[cfg(any(test, fuzzing))]
    policy: Option<CompactionPolicy>,
    upkeep: Upkeep,
    reads: Reads,
    durability: Durability,
    empty_values: EmptyValues,
    default_ttl: Option<Duration>,
    report: RecoveryReport,
    /// The first id that was not handed out when the store was opened.
    first_new: SegmentId,
    lock: Mutex<Option<Box<dyn Lock>>>,
    /// Of a read-only store.
    follower: Option<Follower>,
}

/// What a store stands on: the real thing, or a test's.
pub(crate) struct Ground {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) time: Box<dyn TimeSource>,
    /// Ones where the key hash may have bits.
    pub(crate) hash_mask: u64,
    pub(crate) driver: Driver,
}

impl Ground {
    fn real(options: &Options) -> Self {
        let fs = Arc::new(OsFs::new(options));
        let time = Box::new(SystemTimeSource);
        Ground { fs, time, hash_mask: u64::MAX, driver: Driver::Thread }
    }
}

impl Options {
    /// Opens the store in `dir` with these options. See [`Store::open`].
    pub fn open(&self, dir: impl AsRef<Path>) -> Result<Store> {
        Store::open_on(Ground::real(self), dir.as_ref(), self)
    }
}

impl Store {
    /// Opens the store in `dir`, or makes one there, with the default [`Options`].
    ///
    /// A directory of plain Bitcask data files (`00000001.data`, …) without a manifest is adopted. After
    /// a crash, what the last owner wrote is recovered up to the first record that is not whole;
    /// [`Store::recovery_report`] says what was found.
    ///
    /// **The files belong to the store while it is open.** They are mapped into memory, unless
    /// [`crate::ReadMode::Copy`] is asked for: another program
    /// that truncates one makes this process die of a bus error when it reads there, and one that edits
    /// them in place changes values in hand, as with LMDB. A lock file keeps other stores out, but
    /// nothing stops `truncate` or `dd`. A disk that cannot read a mapped page ends the process the
    /// same way.
    ///
    /// # Errors
    /// [`Error::Locked`] if the store is open already, here or in another process; [`Error::Inconsistent`],
    /// [`Error::MissingSegment`] and [`Error::MissingManifest`] if the directory is not as it was left;
    /// [`Error::Unsupported`] if a newer version wrote it; [`Error::NotRegularFile`] if a link, say, stands
    /// where a file should; [`Error::Io`]. Nothing is lost by an opening that fails;
    /// [`crate::repair()`] mends what can be mended.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(dir)
    }

    pub(crate) fn open_on(ground: Ground, dir: &Path, options: &Options) -> Result<Self> {
        options.check()?;
        let directory = Directory::new(dir);
        let Ground { fs, time, hash_mask, driver } = ground;
        if options.create && !options.read_only {
            fs.create_dir_all(dir).map_err(Error::io("make the directory", dir))?;
        } else if !directory.holds_store(&*fs)? {
            return Err(Error::NotFound { path: dir.to_path_buf() });
        }
        let (recovered, lock, follower) = if options.read_only {
            let (recovered, follower) = follow::open(&fs, &directory, options, hash_mask)?;
            (recovered, None, Some(follower))
        } else {
            let lock = fs.lock(&directory.lock()).map_err(Error::io("lock", directory.lock()))?;
            let lock = lock.ok_or_else(|| Error::Locked { path: directory.lock() })?;
            (recover::recover(&fs, &directory, options, hash_mask)?, Some(lock), None)
        };
        let recover::Recovered { commits, index, companions, report } = recovered;
        let first_new = commits.next_file_id();
        tracing::debug!(path = %dir.display(), ?report, "opened");
        let clock = Clock::new(time);
        // Of each segment the last record: copies of old ones may stand at the end of the log.
        let segments = index.segments.list();
        let times = segments.iter().map(|(_, segment)| segment.usage().timestamp());
        times.chain([index.newest_timestamp()]).for_each(|written| clock.catch_up(written));
        let options = &match options.read_only || !driver.takes_turns() {
            true => options.clone().compaction(Compaction::Manual),
            false => options.clone(),
        };
        let policy = options.compaction.policy();
        let log = Log::new(fs, directory, commits, index, companions, clock, options);
        let inner = Inner {
            compactor: Arc::default(),
            #[cfg(any(test, fuzzing))]
            policy: policy.cloned(),
            upkeep: Upkeep::new(Arc::clone(&log.bell)),
            log,
            reads: Reads::new(options.count_reads),
            durability: options.durability,
            empty_values: options.empty_values,
            default_ttl: options.default_ttl,
            report,
            first_new,
            lock: Mutex::new(lock),
            follower,
        };
        if let (Driver::Thread, false) = (driver, options.read_only)
            && let Err(error) = inner.upkeep.begin(&inner.log, &inner.compactor, policy.cloned())
        {
            tracing::warn!(path = %dir.display(), %error, "no thread: the store does not look after itself");
        }
        Ok(Store { inner: Arc::new(inner) })
    }

    /// The value of `key`, without a copy; `None` if it has none. Takes no lock and waits for nobody, but
    /// for an instant where the record is in the append buffer still.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the key's record is not what was written: never wrong bytes, never
    /// `None`. See [`crate::Verify`] for when that is looked at. [`Error::Closed`].
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let key = key.as_ref();
        let index = self.index_if_open()?;
        let hash = index.hash(key);
        // On its way while the segments are taken hold of.
        index.keydir.prefetch(hash);
        let slots = index.segments.now();
        self.read(&slots, hash, index.keydir.first(hash), key)
    }

    /// Whether `key` has a value. Costs what [`Store::get`] does, and fails as it does.
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// A reader: for many reads of one thread, faster than [`Store::get`].
    pub fn reader(&self) -> Reader {
        Reader::new(self.clone())
    }

    /// Looks many keys up, several times as fast as one after another, because their cache misses overlap.
    /// The values come in the order of the keys.
    ///
    /// Each item is an error where [`Store::get`] would have failed.
    pub fn get_many<'a, K: AsRef<[u8]>>(&'a self, keys: &'a [K]) -> GetMany<'a, K> {
        GetMany::new(self, keys)
    }

    /// Whether each of many keys has a value, in their order. Costs what [`Store::get_many`] does.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub fn contains_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<bool>> {
        let mut found = Vec::with_capacity(keys.len());
        self.reader().get_many(keys, |_, value| found.push(value.is_some()))?;
        Ok(found)
    }

    /// Gives `key` a value; readers see it when this returns. An empty value deletes the key, unless
    /// [`crate::Options::empty_values`] says otherwise. What survives which crash when this has
    /// returned is said by [`crate::Durability`].
    ///
    /// # Errors
    /// [`Error::KeyTooLong`], [`Error::ValueTooLong`], [`Error::Closed`], [`Error::Poisoned`],
    /// [`Error::TooManySegments`], [`Error::Corrupt`] of an old record that had to be copied, and
    /// [`Error::Io`] (a full disk, say), after which the store is as before the call and can be used.
    /// Only if the failure is that of a sync (the error is then [`Error::Poisoned`]) may the value be
    /// there all the same.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.put_with(key, value, self.inner.durability)
    }

    /// As [`Store::put`], with a durability of its own.
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        durability: Durability,
    ) -> Result<()> {
        let record = self.put_of(key.as_ref(), value.as_ref(), 1, None)?;
        self.inner.log.write(record, durability)
    }

    /// As [`Store::put`], with a value that begins at a multiple of `align` bytes, in the file and in
    /// memory, wherever the store copies it later: `value.as_ptr() as usize % align == 0` for every
    /// [`Value`] of it. `align` is a power of two from 1, which asks for nothing, to
    /// [`crate::record::MAX_ALIGN`]. It costs up to `align - 1` bytes of padding in each record.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// store.put_aligned("page", [7; 4096], 64)?;
    /// let value = store.get("page")?.ok_or("it was put")?;
    /// assert_eq!(value.as_ptr() as usize % 64, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidAlignment`], with nothing written; and those of [`Store::put`].
    pub fn put_aligned(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        align: usize,
    ) -> Result<()> {
        let record = self.put_of(key.as_ref(), value.as_ref(), align, None)?;
        self.inner.log.write(record, self.inner.durability)
    }

    /// Does all writes of a batch or, whatever happens, none. They lie in one segment, one behind the
    /// other. Survives as a whole what a put survives.
    ///
    /// Who begins to read after this has returned sees all of it. A thread that reads beside it sees of
    /// each key the old value or the new one, and may see one key's new value before another's: to see all
    /// at once, read when this has returned, or keep under one key what belongs together.
    ///
    /// It needs memory for the whole batch a second time if that is longer than 256 KiB, and its segment is
    /// as long as it if it is longer than [`crate::Options::segment_size`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// use zerocask::Batch;
    /// store.put("from", "100")?;
    /// store.write(Batch::new().delete("from").put("to", "100"))?;
    /// assert!(store.get("from")?.is_none() && store.contains_key("to")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Store::put`], and [`Error::InvalidAlignment`]: nothing is written then, with the same
    /// exception.
    pub fn write(&self, batch: &Batch) -> Result<()> {
        self.write_with(batch, self.inner.durability)
    }

    /// As [`Store::write`], with a durability of its own.
    pub fn write_with(&self, batch: &Batch, durability: Durability) -> Result<()> {
        // All of its times are counted from one moment, if there are any.
        let now = LazyCell::new(|| self.now());
        let expiry = |ttl| self.expiry(ttl, || *now);
        let records = batch.records(self.inner.empty_values, expiry)?;
        self.inner.log.write_batch(records, durability)
    }

    /// As [`Store::put_aligned`], whatever the rule for empty values.
    pub(crate) fn put_value(&self, key: &[u8], value: &[u8], align: usize) -> Result<()> {
        let expires_at = self.expiry(None, || self.now());
        let record = EmptyValues::Stored.put(key, value, align, expires_at)?;
        self.inner.log.write(record, self.inner.durability)
    }

    /// Removes `key` and answers whether it was there. If it was not, nothing is written, unless it has
    /// expired. Survives what a put does, and fails as it does.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.delete_with(key, self.inner.durability)
    }

    /// As [`Store::delete`], with a durability of its own.
    pub fn delete_with(&self, key: impl AsRef<[u8]>, durability: Durability) -> Result<bool> {
        self.inner.log.delete(key.as_ref(), durability)
    }

    /// How many keys there are. Counts expired ones that no compaction has met and no write replaced yet.
    pub fn len(&self) -> usize {
        self.inner.index().keydir.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All keys, in no order.
    pub fn keys(&self) -> Keys<'_> {
        Keys::new(Sight::now(self.inner_log()))
    }

    /// All keys with their values, in no order.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// store.put("apple", "red")?;
    /// for pair in store.iter() {
    ///     let (key, value) = pair?;
    ///     assert!(key == "apple" && value == "red");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&self) -> Iter<'_> {
        Iter::new(Sight::now(self.inner_log()))
    }

    /// The keys that begin with `prefix`, with their values, in the order of the keys' bytes.
    ///
    /// The key directory has no order: this visits every key, reads its record, and sorts those that begin so, when it is called;
    /// values are read as they are asked for. With [`Options::ordered`] it visits the keys that it finds.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// store.write(zerocask::Batch::new().put("user/2", "b").put("user/1", "a").put("x", ""))?;
    /// let values: Result<Vec<_>, _> = store.prefix("user/").map(|pair| pair.map(|p| p.1)).collect();
    /// assert_eq!(values?, ["a", "b"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Range<'_> {
        Range::prefix(Sight::now(self.inner_log()), prefix.as_ref())
    }

    /// The keys within a range, with their values, in the order of the keys' bytes. Costs what [`Store::prefix`] does.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Options::new().ordered(true).open(dir.path())?;
    /// for day in ["2026-01-05", "2026-02-01", "2026-01-31"] {
    ///     store.put(day, "x")?;
    /// }
    /// let last = store.range("2026-01".."2026-02").next_back().ok_or("there are two")??;
    /// assert_eq!(last.0, "2026-01-31");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Range<'_> {
        Range::within(Sight::now(self.inner_log()), range)
    }

    /// The store as it is now, for reading while it changes: no write that has not returned yet is in it in part. Waits for a
    /// write that goes on, and for a [`Store::refresh`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// store.put("apple", "red")?;
    /// let before = store.snapshot()?;
    /// store.delete("apple")?;
    /// store.compact()?;
    /// assert_eq!(before.get("apple")?.as_deref(), Some(&b"red"[..]));
    /// assert_eq!(before.iter().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn snapshot(&self) -> Result<Snapshot> {
        let begin = || self.inner_log().past();
        let past = match &self.inner.follower {
            Some(follower) => follower.between_refreshes(begin),
            None => begin(),
        };
        Ok(Snapshot::new(self.clone(), past?))
    }

    /// Rewrites the store so that its files hold live records only, and returns the space of the rest.
    /// Readers and the writer go on meanwhile. Takes effect in one step: a crash leaves the store as
    /// before it or as after it. While it runs it needs the disk space of the live records a second
    /// time, and about 32 bytes of memory for each.
    ///
    /// Segments that hold damage are kept as they are and named in the report. A store in which nothing
    /// is dead ([`Stats::dead_bytes`]) and no two neighbouring segments fit into one is left alone. A second
    /// call waits for the first; what the store compacts by itself at that moment ([`Options::compaction`]) is laid down.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Corrupt`], after which the store is as before; [`Error::Poisoned`];
    /// [`Error::Closed`].
    pub fn compact(&self) -> Result<CompactionReport> {
        self.uncompacted(|log| self.inner.compactor.compact(log))
    }

    /// Writes a checkpoint of the key directory, so that the next opening need not make it anew, also if the process dies
    /// before it closes the store: it takes what the checkpoint says, and replays what was written after it. Closing the store
    /// writes one by itself. Seals the active segment; readers and writers go on meanwhile. It takes 16 bytes of disk space
    /// for each key.
    ///
    /// It will do until a compaction replaces a segment that was there, and for a hundred thousand records more, or an eighth
    /// of the keys; after that an opening reads hints instead. Where opening the store has found damage, none is
    /// written: the next opening has to find it, too. A store opened with [`Options::ordered`] makes no use of it.
    ///
    /// # Errors
    /// [`Error::Io`], after which there may be no checkpoint; [`Error::Poisoned`]; [`Error::ReadOnly`]; [`Error::Closed`].
    pub fn checkpoint(&self) -> Result<()> {
        self.uncompacted(Log::write_checkpoint)
    }

    /// Hands everything written so far to the operating system: it survives the end of this process.
    ///
    /// # Errors
    /// [`Error::Io`] if something cannot be written, or what a failed write has left cannot be withdrawn, by a sync: the
    /// next call tries again. [`Error::Poisoned`]; [`Error::ReadOnly`]; [`Error::Closed`].
    pub fn flush(&self) -> Result<()> {
        self.inner.log.flush()
    }

    /// Makes everything written so far durable: it survives a power loss. If this fails the store is
    /// poisoned: nobody knows what reached the disk, writes are refused, reads go on.
    pub fn sync(&self) -> Result<()> {
        self.inner.log.sync()
    }

    /// Lets a store that was opened with [`Options::read_only`] show what has been written since, by another
    /// process or handle: at least everything that had been flushed when this was called. Answers what was
    /// read for that. Reads go on meanwhile and may see some of it already; no key goes back to an older value,
    /// unless the log itself did: a write that failed was taken back, or another store put in the place of this
    /// one. Then all of it is read again, for which the keys take twice the memory as long. Values in hand stay
    /// valid. A second call waits for the first.
    ///
    /// Rotation costs the reading of the segment that was sealed, and compaction that of all it wrote.
    /// Any other store is up to date, and nothing happens.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Inconsistent`] and [`Error::MissingSegment`], [`Error::Unsupported`] if a newer
    /// version writes, [`Error::Corrupt`] under [`crate::Recovery::Strict`]; [`Error::Unsettled`];
    /// [`Error::Closed`]. Then the store shows what it showed before, or some of the changes; the
    /// next call goes on, and answers what was read for both.
    pub fn refresh(&self) -> Result<Refreshed> {
        let index = self.index_if_open()?;
        let follower = self.inner.follower.as_ref();
        let refreshed = follower.map_or(Ok(Refreshed::default()), |it| it.refresh(index))?;
        if !refreshed.is_empty() {
            self.inner.log.clock.catch_up(index.newest_timestamp());
        }
        Ok(refreshed)
    }

    /// Brings all segments into memory, oldest first, so that the first reads need not wait for the
    /// disk: maps in every page, or, under [`crate::ReadMode::Copy`], reads the files through once. Calls
    /// `told` after every 16 MiB at the most, and stops when that breaks. Answers how far it came; what is
    /// written meanwhile is in memory anyway. Holds no lock, and each segment only while it is at it.
    ///
    /// Of a store larger than memory it leaves there what came last.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read: no bus error where the system is Linux 5.14 or newer, or
    /// under [`crate::ReadMode::Copy`]. [`Error::Closed`].
    pub fn warm_up(&self, told: impl FnMut(Progress) -> ControlFlow<()>) -> Result<Progress> {
        page_cache::warm_up(self.inner.open_log()?, told)
    }

    /// Asks the operating system to read the records of these keys into memory, and does not wait for
    /// it: for a store larger than memory, some time before the keys are read. Reads nothing itself and
    /// so does not know how long a record is: of one longer than 4 KiB the rest is left to the read.
    ///
    /// # Errors
    /// [`Error::Io`] if the system refuses to be asked; [`Error::Closed`]. A key that is not there is none.
    pub fn prefetch<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<()> {
        page_cache::prefetch(self.inner.open_log()?, keys)
    }

    /// Figures about the store. Reads no file; takes time for each segment, some milliseconds for thousands.
    pub fn stats(&self) -> Stats {
        let Inner { log, reads, .. } = &*self.inner;
        let (retired, now) = (log.index.segments.retired(), self.now());
        let (snapshots, snapshot_changes) = log.index.keydir.overlays();
        let segments = log.index.segments.list();
        // A read-only store holds what is not sealed yet in pieces.
        let files = segments.chunk_by(|(_, a), (_, b)| a.id() == b.id());
        let per_segment: Vec<_> = files.map(|pieces| segment_stats(pieces, now)).collect();
        let all = |figure: fn(&SegmentStats) -> u64| per_segment.iter().map(figure).sum();
        let count = |is_it: fn(&View) -> bool| {
            segments.iter().filter(|(_, segment)| is_it(segment.view())).count()
        };
        let (writes, syncs, gets) = (&log.writes, &log.commits.poison().syncs, reads.sum());
        let (written_bytes, compaction) = (writes.bytes(), self.compaction_stats());
        let all_written = written_bytes + compaction.bytes_written;
        let write_amplification = all_written as f64 / written_bytes as f64;
        Stats {
            keys: log.index.keydir.len(),
            key_directory_bytes: log.index.keydir.memory(),
            segments: per_segment.len(),
            mapped_segments: count(View::is_mapped),
            unmapped_segments: count(View::is_unmapped),
            records: all(|segment| segment.records),
            dead_records: all(|segment| segment.dead_records),
            bytes: all(|segment| segment.bytes),
            dead_bytes: all(|segment| segment.dead_bytes),
            buffered_bytes: log.buffered(),
            unsynced_bytes: log.unsynced(),
            pinned_segments: retired.segments,
            pinned_bytes: retired.bytes,
            snapshots,
            snapshot_changes,
            puts: writes.puts(),
            deletes: writes.deletes(),
            gets: gets.map(|sum| sum.gets),
            misses: gets.map(|sum| sum.misses),
            written_bytes,
            write_amplification: (written_bytes > 0).then_some(write_amplification),
            compaction,
            syncs: SyncStats {
                data: Latencies::of(&syncs.data),
                directory: Latencies::of(&syncs.directory),
                manifest: Latencies::of(&syncs.manifest),
            },
            per_segment,
        }
    }

    /// Stops the store's own compactions until [`Store::resume_compaction`]: the one that runs is laid down, and leaves nothing.
    /// Returns when that has ended. [`Store::compact`] compacts all the same. Without [`crate::Compaction::Auto`] this does nothing.
    ///
    /// Pauses do not add up: one `resume` ends them. They end with the store.
    pub fn pause_compaction(&self) {
        self.inner.log.bell.pause();
    }

    /// Lets the store compact by itself again, after [`Store::pause_compaction`]: at once, if that is due.
    pub fn resume_compaction(&self) {
        self.inner.log.bell.resume();
    }

    /// The store's directory.
    pub fn path(&self) -> &Path {
        self.inner.log.directory.path()
    }

    /// What opening the store found.
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.inner.report
    }

    /// Flushes, syncs and seals, so that the next opening has nothing to recover; writes a checkpoint and hints, so that it has
    /// nothing to read, unless nothing has changed; and lets go of the directory. Failing to write those is logged, and no
    /// error. Waits for a compaction that was asked for; one of the store's own is laid down. Other handles answer
    /// [`Error::Closed`] from now on; values in hand stay valid. Closing a closed store does nothing.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Poisoned`]; the store is closed all the same, and the next opening
    /// recovers what reached the disk.
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }
}

impl Store {
    /// Does something during which no compaction may run: another one, or a backup.
    pub(crate) fn uncompacted<T>(&self, act: impl FnOnce(&Log) -> Result<T>) -> Result<T> {
        // The store's own compactions make way.
        let _hold = self.inner.log.bell.hold();
        let _one_at_a_time = self.inner.compactor.alone();
        act(&self.inner.log)
    }

    fn compaction_stats(&self) -> CompactionStats {
        let is_paused = self.inner.log.bell.is_paused();
        CompactionStats { is_paused, ..self.inner.compactor.stats() }
    }

    /// Does what the store's thread would do now, if it had one.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn take_turn(
        &self,
        told: impl FnMut(Progress) -> ControlFlow<()> + Send,
    ) -> Result<()> {
        let policy = self.inner.policy.as_ref();
        let turn = || upkeep::turn(&self.inner.log, &self.inner.compactor, policy, told);
        self.inner.log.bell.work(turn).unwrap_or(Ok(()))
    }

    pub(crate) fn inner_log(&self) -> &Log {
        &self.inner.log
    }

    pub(crate) fn durability(&self) -> Durability {
        self.inner.durability
    }

    #[inline(always)]
    pub(crate) fn index(&self) -> &Index {
        self.inner.index()
    }

    #[inline(always)]
    pub(crate) fn index_if_open(&self) -> Result<&Index> {
        if self.inner.log.is_closed() { Err(Error::Closed) } else { Ok(self.inner.index()) }
    }

    /// The value of a key of which the first entry of its hash has been looked up since `slots` were taken.
    #[inline(always)]
    pub(crate) fn read(
        &self,
        slots: &Slots,
        hash: u64,
        location: Option<Location>,
        key: &[u8],
    ) -> Result<Option<Value>> {
        let Some(location) = location else {
            self.reads().note(true);
            return Ok(None);
        };
        match self.index().quick(slots, location, key) {
            Some((region, start, value)) => {
                self.reads().note(false);
                Ok(Some(Value::new(Arc::clone(region), start..start + value.len())))
            }
            None => self.get_slowly(hash, key),
        }
    }

    #[inline(always)]
    pub(crate) fn reads(&self) -> &Reads {
        &self.inner.reads
    }

    #[cold]
    #[inline(never)]
    fn get_slowly(&self, hash: u64, key: &[u8]) -> Result<Option<Value>> {
        let index = self.index();
        let found = loop {
            let slots = index.segments.now();
            match index.find(&slots, hash, key).map(|look| self.finish(look)) {
                Ok(None) => {}
                Ok(Some(value)) => break Ok(value),
                Err(error) => break Err(error),
            }
        };
        self.reads().note(matches!(found, Ok(None)));
        found
    }

    /// Whether a record counts still.
    #[inline]
    pub(crate) fn is_live(&self, extent: &Extent) -> bool {
        self.inner_log().is_live(extent)
    }

    /// The entry of `key`, with its record. See [`Log::write_if`].
    pub(crate) fn see<'k>(&self, key: &'k [u8]) -> Result<Seen<'k>> {
        self.index_if_open()?.see(key, |extent| self.is_live(extent))
    }

    /// The value that a look-up came to; `None` if it has to be done again.
    #[inline]
    pub(crate) fn finish(&self, look: Look<'_>) -> Option<Option<Value>> {
        let hit = match look {
            Look::Found(hit) => hit,
            Look::Absent => return Some(None),
            Look::Outdated => return None,
        };
        let is_live = self.is_live(&hit.extent);
        Some(is_live.then(|| Value::new(hit.region.into_owned(), hit.extent.value)))
    }

    /// The store's time, in microseconds since the epoch.
    pub(crate) fn now(&self) -> u64 {
        self.inner.log.clock.now()
    }

    /// When a put expires that says this of its time.
    fn expiry(&self, ttl: Option<Duration>, now: impl FnOnce() -> u64) -> Option<u64> {
        ttl.or(self.inner.default_ttl).map(|ttl| clock::after(now(), ttl))
    }

    /// The record of a put, by the store's rules where it says nothing else. The time of writing is left open.
    pub(crate) fn put_of<'a>(
        &self,
        key: &'a [u8],
        value: &'a [u8],
        align: usize,
        ttl: Option<Duration>,
    ) -> Result<Record<'a>> {
        self.inner.empty_values.put(key, value, align, self.expiry(ttl, || self.now()))
    }
}

/// Of a segment file, in one piece or more.
fn segment_stats(pieces: &[(SegmentSlot, Arc<Segment>)], now: u64) -> SegmentStats {
    let mut stats = SegmentStats::default();
    for (_, segment) in pieces {
        stats.id = segment.id().get();
        stats.active = segment.is_active();
        stats.mapped = segment.view().is_mapped();
        let Amount { records, bytes } = segment.usage().all();
        let dead = segment.usage().dead(now);
        stats.records += records;
        stats.bytes += bytes;
        // Counted one after the other, while somebody writes perhaps.
        stats.dead_records += dead.records.min(records);
        stats.dead_bytes += dead.bytes.min(bytes);
    }
    stats
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn index(&self) -> &Index {
        &self.log.index
    }

    #[inline]
    fn open_log(&self) -> Result<&Log> {
        if self.log.is_closed() { Err(Error::Closed) } else { Ok(&self.log) }
    }

    fn close(&self) -> Result<()> {
        self.upkeep.close();
        let no_compaction = self.compactor.alone();
        let closed = self.log.close();
        // A store that only reads has none, nor one that has been closed before.
        let mut lock = self.lock.lock();
        if closed.is_ok() && lock.is_some() {
            self.log.write_hints(self.first_new, || false);
            if let Err(error) = self.log.write_last_checkpoint() {
                tracing::warn!(%error, "the next opening has to read hints, as there is no checkpoint");
            }
        }
        lock.take();
        drop(no_compaction);
        self.log.watchers.close();
        closed
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            let path = self.log.directory.path().display();
            tracing::error!(%path, %error, "closing a dropped store failed");
        }
    }
}
