//! The options of a store and their enums, checked once when the store is opened.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::location::Location;
use crate::mappings::Mappings;
use crate::policy::Compaction;
use crate::record::{Alignment, MAX_ALIGN, MAX_RECORD_LEN, Record};

const DEFAULT_SEGMENT_SIZE: u64 = 256 << 20;
const MIN_SEGMENT_SIZE: u64 = 64;
/// The last record may begin anywhere below the segment size and still ends at a packable offset.
const MAX_SEGMENT_SIZE: u64 = Location::OFFSET_LIMIT / 2;
const _: () = assert!(MAX_SEGMENT_SIZE + MAX_RECORD_LEN < Location::OFFSET_LIMIT);

/// What the owner must be allowed, and by default all that anybody is.
const OWNER_OF_FILE: u32 = 0o600;
const OWNER_OF_DIR: u32 = 0o700;
const MAX_MODE: u32 = 0o777;

/// How a store is opened. `Options::new()` is what [`crate::Store::open`] uses.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use zerocask::{Durability, Options};
/// let store = Options::new().segment_size(64 << 20).durability(Durability::Buffered).open(dir.path())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until `open` is called"]
pub struct Options {
    pub(crate) create: bool,
    pub(crate) segment_size: u64,
    pub(crate) durability: Durability,
    pub(crate) verify: Verify,
    pub(crate) empty_values: EmptyValues,
    pub(crate) default_ttl: Option<Duration>,
    pub(crate) recovery: Recovery,
    pub(crate) read_mode: ReadMode,
    pub(crate) access: Access,
    /// `None`: the owner alone, or, in a repair, who may read what is there.
    pub(crate) file_mode: Option<u32>,
    pub(crate) dir_mode: u32,
    pub(crate) read_only: bool,
    pub(crate) ordered: bool,
    pub(crate) count_reads: bool,
    /// Of the process, unless a test has its own.
    pub(crate) mappings: Option<&'static Mappings>,
    pub(crate) compaction: Compaction,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            create: true,
            segment_size: DEFAULT_SEGMENT_SIZE,
            durability: Durability::default(),
            verify: Verify::default(),
            empty_values: EmptyValues::default(),
            default_ttl: None,
            recovery: Recovery::default(),
            read_mode: ReadMode::default(),
            access: Access::default(),
            file_mode: None,
            dir_mode: OWNER_OF_DIR,
            read_only: false,
            ordered: false,
            count_reads: false,
            mappings: None,
            compaction: Compaction::default(),
        }
    }
}

impl Options {
    /// The defaults that each method names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a store is made where there is none, with its directory and that one's parents.
    /// Default: yes. Without it, a directory that is missing or holds no store answers
    /// [`Error::NotFound`] and is left as it is.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// The size in bytes at which the active segment is sealed and the next one begun, from 64 to
    /// 512 GiB. Default: 256 MiB. A record larger than this gets a segment of its own. As much
    /// address space, not memory, is reserved for the active segment.
    pub fn segment_size(mut self, bytes: u64) -> Self {
        self.segment_size = bytes;
        self
    }

    /// How far a write gets before it returns. Default: [`Durability::Flushed`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// When a record's checksum is checked. Default: [`Verify::Once`].
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// What putting an empty value means. Default: [`EmptyValues::Delete`].
    pub fn empty_values(mut self, empty_values: EmptyValues) -> Self {
        self.empty_values = empty_values;
        self
    }

    /// How long a value stays whose put does not say: every put of the store and of its batches, aligned
    /// and typed ones too, but for [`crate::Store::put_with_ttl`] and [`crate::Batch::put_with_ttl`].
    /// Default: until it is deleted or replaced. Values that are there when the store is opened keep the times that
    /// they were put with; [`crate::Store::persist`] makes an exception of a key until it is put again.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use std::time::Duration;
    /// use zerocask::{Expiry, Options};
    /// let cache = Options::new().default_ttl(Some(Duration::from_secs(900))).open(dir.path())?;
    /// cache.put("page", "…")?;
    /// assert!(matches!(cache.expires_at("page")?, Some(Expiry::At(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn default_ttl(mut self, ttl: Option<Duration>) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// What opening does about damage. Default: [`Recovery::Lenient`].
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = recovery;
        self
    }

    /// Whether the keys are also kept in order, so that [`crate::Store::prefix`] and [`crate::Store::range`] take
    /// time for what they find, and not for all keys. Default: no.
    ///
    /// It costs memory, each key's bytes and about 40 more (`cargo bench --bench ratios -- memory`), and time: a put of a key that was
    /// not there, and a delete, look it up in a tree. Reads by key are as fast as without. Nothing on disk depends on it.
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.ordered = ordered;
        self
    }

    /// Whether gets are counted, and those that find nothing: [`crate::Stats::gets`] and `misses`. Default: no. It costs each get of a
    /// [`crate::Reader`] about a nanosecond where all is in the processor's caches and more where it is not, and [`crate::Store::get`] some
    /// ten (`cargo bench --bench ratios -- count`).
    pub fn count_reads(mut self, count_reads: bool) -> Self {
        self.count_reads = count_reads;
        self
    }

    /// Whether the store compacts by itself, and when. Default: [`Compaction::Auto`], with the default
    /// [`crate::CompactionPolicy`]. Of no account to a store that is opened to be read only.
    ///
    /// A thread of the store's does it, which sleeps while there is nothing to do. One compaction runs at a time, and none beside
    /// a [`crate::Store::backup`].
    pub fn compaction(mut self, compaction: Compaction) -> Self {
        self.compaction = compaction;
        self
    }

    /// How the data files are read. Default: [`ReadMode::Mapped`].
    pub fn read_mode(mut self, read_mode: ReadMode) -> Self {
        self.read_mode = read_mode;
        self
    }

    /// What the operating system is told about the order of reads. Default: [`Access::Normal`].
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// The permissions of the files that are made: data, manifest, lock, and what is set aside. Default:
    /// `0o600`, the owner alone. They hold at least that, and nothing above `0o777`. The umask takes its
    /// part as ever; files that exist keep what they have; sealing a segment clears its write bits. A repair takes over
    /// what the manifest has, unless this is called.
    pub fn file_mode(mut self, mode: u32) -> Self {
        self.file_mode = Some(mode);
        self
    }

    pub(crate) fn mode_of_files(&self) -> u32 {
        self.file_mode.unwrap_or(OWNER_OF_FILE)
    }

    /// The permissions of the store's directory where it is made, and of those above it that are made
    /// with it. Default: `0o700`, the owner alone. They hold at least that, and nothing above `0o777`. The
    /// umask takes its part as ever; a directory that exists keeps what it has.
    pub fn dir_mode(mut self, mode: u32) -> Self {
        self.dir_mode = mode;
        self
    }

    /// Whether the store is opened to be read only, beside whoever writes to it. Default: no.
    ///
    /// Such a store takes no lock and writes not a byte, so that a read-only file system will do. Any
    /// number of them may be open, in this process and others, whether or not a writer is. It shows what
    /// the writer had handed to the operating system when it was opened or last refreshed, see
    /// [`crate::Store::refresh`]; what the writer still buffers it cannot see, and what is not synced a
    /// power loss may take back. A store that is missing is not made.
    ///
    /// Whatever would change the store answers [`Error::ReadOnly`]. What was written since the newest
    /// segment was sealed is copied into memory, up to [`Options::segment_size`] of the writer.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// For a test: how many files may be mapped at a time, counted for whoever opens with these options alone.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn mappings_apart(mut self, limit: usize) -> Self {
        self.mappings = Some(Mappings::apart(limit));
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        if !(MIN_SEGMENT_SIZE..=MAX_SEGMENT_SIZE).contains(&self.segment_size) {
            return Err(Error::InvalidOption {
                option: "segment_size",
                expected: "64 bytes to 512 GiB",
                found: self.segment_size,
            });
        }
        if let Compaction::Auto(policy) = &self.compaction
            && let Some((option, found)) = policy.wrong_percent()
        {
            return Err(Error::InvalidOption { option, expected: "1 to 100 percent", found });
        }
        let is_mode = |mode, owner| mode & owner == owner && mode <= MAX_MODE;
        if !is_mode(self.mode_of_files(), OWNER_OF_FILE) {
            return Err(Error::InvalidOption {
                option: "file_mode",
                expected: "permissions with 0o600 (384) in them and nothing above 0o777 (511)",
                found: self.mode_of_files().into(),
            });
        }
        if !is_mode(self.dir_mode, OWNER_OF_DIR) {
            return Err(Error::InvalidOption {
                option: "dir_mode",
                expected: "permissions with 0o700 (448) in them and nothing above 0o777 (511)",
                found: self.dir_mode.into(),
            });
        }
        Ok(())
    }
}

/// How far a write gets before it returns. Whatever is chosen, readers see a write as soon as it
/// has returned, and [`crate::Store::flush`] and [`crate::Store::sync`] raise all earlier writes to their level.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Durability {
    /// In this process's memory until the append buffer fills or something flushes it. A panic that
    /// unwinds loses nothing; the end of the process without [`crate::Store::close`] or drop (abort,
    /// kill -9) loses it, and so does a power loss.
    Buffered,
    /// Handed to the operating system: survives the end of the process, however it ends, but not
    /// that of the machine.
    #[default]
    Flushed,
    /// As [`Durability::Flushed`], and on disk at most about this long after the write returned: a
    /// thread of the store's syncs what has been written meanwhile. A power loss takes the
    /// writes of that time. If such a sync fails, the next write answers [`Error::Poisoned`].
    Interval(Duration),
    /// On disk: survives a power loss. Threads that write at the same time share a sync.
    Synced,
}

impl Durability {
    /// Whether a write is handed to the operating system before it returns.
    pub(crate) fn flushes(self) -> bool {
        self != Durability::Buffered
    }
}

/// When a record's CRC is checked on reading. Compaction and recovery check it whatever is chosen, and so does an opening of
/// what it reads itself: the log of a store that was not closed, segments without a good hint, under [`Recovery::Strict`] everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Verify {
    /// The first time the record is read after the store was opened, unless opening it has read the record.
    #[default]
    Once,
    /// At every read.
    Always,
    /// Never while reading: damage to a value's bytes that came after the store was opened goes
    /// unseen. What opening found bad is an error all the same.
    Never,
}

/// What `put(key, b"")` means. The record format itself knows both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum EmptyValues {
    /// It deletes the key, the rule of the plain Bitcask format.
    #[default]
    Delete,
    /// It stores an empty value, marked as one by a flag of the record.
    Stored,
}

impl EmptyValues {
    /// The record of a put under this rule, the time of its writing left open. One that deletes has neither
    /// alignment nor expiry.
    pub(crate) fn put<'a>(
        self,
        key: &'a [u8],
        value: &'a [u8],
        align: usize,
        expires_at: Option<u64>,
    ) -> Result<Record<'a>> {
        let marked_value = value.is_empty() && self == EmptyValues::Stored;
        let align = match (align, Alignment::new(align)) {
            (1, _) => None,
            (_, Some(align)) => Some(align),
            (found, None) => return Err(Error::InvalidAlignment { found, max: MAX_ALIGN }),
        };
        let record = Record { marked_value, align, expires_at, ..Record::plain(0, key, value) };
        Ok(if record.is_tombstone() { Record::tombstone(0, key) } else { record })
    }
}

/// What opening does about bad records outside the log's tail.
///
/// A torn tail, what a crash leaves, is no damage: both set aside what is behind the last good
/// record in a `.cut` file, warn, and go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Recovery {
    /// Opens with what is readable, and does not read what a checkpoint or hints speak for. Reading a key whose newest record is bad answers
    /// [`Error::Corrupt`]. What was met is in [`crate::Store::recovery_report`].
    #[default]
    Lenient,
    /// Reads every record of the store, and refuses to open it if one is bad. That takes time for each byte.
    Strict,
}

/// How the data files are read. The files are the same; a store may be opened in either mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum ReadMode {
    /// Through mappings: a read is a slice of the file's pages, without a copy. If a page cannot be
    /// read, because its disk fails or another program has cut the file, the process dies of a bus
    /// error.
    ///
    /// The system allows a process so many mappings, on Linux 65,530 unless `vm.max_map_count` says otherwise. The files of all
    /// stores get half of them. Segments for which none is left are read as under [`ReadMode::Copy`]: a warning says so
    /// once, and [`crate::Stats::unmapped_segments`] how many they are.
    #[default]
    Mapped,
    /// By reading each record into memory of its own: no data file is mapped. For file systems and
    /// hosts where a bus error is not acceptable: what cannot be read is an [`Error::Io`]. A value keeps
    /// its own record in memory and nothing on disk.
    ///
    /// What it costs: a system call and a copy for each read; the whole old record is read where one
    /// looks at its key (`contains_key`, `keys`, a put or delete of a key that exists); a file
    /// descriptor for each segment (without one left, [`Error::TooManyOpenFiles`]); and memory for a whole segment while it is walked: one at a time
    /// in opening, two in a compaction, and what a crash left unsealed while it is recovered.
    Copy,
}

/// In which order records are read: advice for the operating system, which changes nothing but
/// speed. It concerns mapped files only; under [`ReadMode::Copy`] the system sees what is read.
/// Where the store walks a file from end to end, it says so for as long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Access {
    /// The system looks for itself: a page that is not in memory is read together with those around
    /// it, until that has proved useless. Right for a store that fits in memory.
    #[default]
    Normal,
    /// Anywhere: only the pages touched are read. For a store much larger than memory. A first pass over
    /// one that would fit takes many times longer, unless [`crate::Store::warm_up`] makes it, and Linux
    /// keeps no note of which pages are used often.
    Random,
    /// From front to back, as in the order of writing: much is read ahead, and what has been read
    /// need not be kept.
    Sequential,
}
