//! When a store compacts by itself, and how.

/// Whether a store compacts by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Compaction {
    /// A thread of the store's does, by this policy, beside readers and writers.
    Auto(CompactionPolicy),
    /// Only [`crate::Store::compact`] does.
    Manual,
}

impl Compaction {
    /// By which the store compacts itself, if it does.
    pub(crate) fn policy(&self) -> Option<&CompactionPolicy> {
        match self {
            Compaction::Auto(policy) => Some(policy),
            Compaction::Manual => None,
        }
    }
}

impl Default for Compaction {
    fn default() -> Self {
        Compaction::Auto(CompactionPolicy::default())
    }
}

/// When a store compacts by itself, and what. As in Basho's Bitcask, what *starts* a compaction is apart from what it
/// *includes*: it begins when something is worth it, and then takes along what is less so.
///
/// Bytes are dead if they are those of records that have been replaced, deleted or have expired, and of tombstones. Tombstones,
/// and what has expired, may hide something older; they count where a compaction can drop them: in the oldest
/// segments, taken together.
///
/// With the defaults the files are at most about twice as long as what is live in them, copies under way included, and each
/// byte written costs about one more to be copied.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use zerocask::{Compaction, CompactionPolicy, Options};
/// let policy = CompactionPolicy::new().start_at_dead_percent(60).bytes_per_second(Some(16 << 20));
/// let store = Options::new().compaction(Compaction::Auto(policy)).open(dir.path())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "a policy does nothing until it is an option of a store"]
pub struct CompactionPolicy {
    pub(crate) start_percent: u8,
    pub(crate) start_bytes: u64,
    pub(crate) store_percent: u8,
    pub(crate) include_percent: u8,
    pub(crate) include_bytes: u64,
    pub(crate) small_files: usize,
    /// `None`: an eighth of the segment size.
    pub(crate) small_below: Option<u64>,
    /// `None`: a sixteenth of the store.
    pub(crate) run_bytes: Option<u64>,
    pub(crate) bytes_per_second: Option<u64>,
}

impl Default for CompactionPolicy {
    fn default() -> Self {
        CompactionPolicy {
            start_percent: 50,
            start_bytes: 512 << 20,
            store_percent: 30,
            include_percent: 25,
            include_bytes: 256 << 20,
            small_files: 8,
            small_below: None,
            run_bytes: None,
            bytes_per_second: Some(64 << 20),
        }
    }
}

impl CompactionPolicy {
    /// The defaults that each method names.
    pub fn new() -> Self {
        Self::default()
    }

    /// A sealed segment of which so much is dead starts a compaction. Default: 50 %.
    pub fn start_at_dead_percent(mut self, percent: u8) -> Self {
        self.start_percent = percent;
        self
    }

    /// A sealed segment with so many dead bytes starts a compaction, whatever its length. Default: 512 MiB.
    pub fn start_at_dead_bytes(mut self, bytes: u64) -> Self {
        self.start_bytes = bytes;
        self
    }

    /// A compaction starts when so much is dead of all sealed segments together, or of the oldest of them together. Default: 30 %.
    pub fn start_at_store_dead_percent(mut self, percent: u8) -> Self {
        self.store_percent = percent;
        self
    }

    /// A compaction that has started takes segments of which so much is dead, the most dead ones first. Default: 25 %.
    pub fn include_from_dead_percent(mut self, percent: u8) -> Self {
        self.include_percent = percent;
        self
    }

    /// And those with so many dead bytes. Default: 256 MiB.
    pub fn include_from_dead_bytes(mut self, bytes: u64) -> Self {
        self.include_bytes = bytes;
        self
    }

    /// So many segments below [`CompactionPolicy::small_below`] start a compaction that joins them, though nothing in them is
    /// dead. One that is larger than all the others together is left out, so that no byte is copied each
    /// time. Default: 8; fewer than 2 count as 2.
    pub fn small_files(mut self, files: usize) -> Self {
        self.small_files = files;
        self
    }

    /// The length below which a segment is small; `None`: an eighth of [`crate::Options::segment_size`], the default.
    pub fn small_below(mut self, bytes: Option<u64>) -> Self {
        self.small_below = bytes;
        self
    }

    /// How many bytes one compaction copies at the most, unless a single segment has more; so much more disk space is needed
    /// while it runs. `None`: a sixteenth of the store, but at least one segment and at most 16; the default.
    pub fn bytes_per_run(mut self, bytes: Option<u64>) -> Self {
        self.run_bytes = bytes;
        self
    }

    /// How many bytes are read and written in a second, so that compaction does not take the disk from those who use the store. The limit does not
    /// hold while more becomes dead than it lets compaction free (5 % more than what starts one, of all sealed segments), nor
    /// while the disk is nearly full (less is free than an eighth of the store). `None`: there is none. Default: 64 MiB.
    pub fn bytes_per_second(mut self, bytes: Option<u64>) -> Self {
        self.bytes_per_second = bytes;
        self
    }

    /// Shares that are none: the option and what was found.
    pub(crate) fn wrong_percent(&self) -> Option<(&'static str, u64)> {
        let shares = [
            ("start_at_dead_percent", self.start_percent),
            ("start_at_store_dead_percent", self.store_percent),
            ("include_from_dead_percent", self.include_percent),
        ];
        let wrong = shares.into_iter().find(|(_, percent)| !(1..=100).contains(percent));
        wrong.map(|(option, percent)| (option, percent.into()))
    }
}
