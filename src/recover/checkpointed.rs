//! The key directory as it was when the store was closed, page by page as its hashes are wanted; and, if a page turns out
//! to be bad, made anew of the segments.
//!
//! Invariants:
//! - A page is read before anything of it is changed (K9 in docs/design.md), and so before any segment leaves in which one
//!   of its entries is. So a page that has not been read can be made anew of the segments of the checkpoint that
//!   are still there.
//! - Reading a page fails in no way that its segments cannot make good: where these are not all mapped, all pages are read
//!   when the store is opened.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use super::load::{Loaded, Loader, Source};
use super::sealed::Walked;
use crate::checkpoint::Most;
use crate::checkpoint::file::Checkpoint;
use crate::directory::Directory;
use crate::error::Result;
use crate::fs::{Fs, Reading};
use crate::hint;
use crate::keydir::{KeyDirectory, KeyHasher, Shards, shard_hashes};
use crate::location::{Location, SegmentSlot};
use crate::manifest::{Manifest, SealedEntry};
use crate::segment::Segment;

/// More records than this, and this part of those of the checkpoint, are not replayed over it: all of them are loaded
/// anew, which takes less for each.
const REPLAYED: u64 = 100_000;
const REPLAYED_PART: u64 = 8;

/// The checkpoint of a directory, if it is one of the log that the manifest lists, or of its beginning. Anything else that
/// it may be is no error.
pub(super) fn find(fs: &dyn Fs, directory: &Directory, manifest: &Manifest) -> Option<Checkpoint> {
    let path = directory.checkpoint();
    let ignored = |reason: &dyn std::fmt::Display| {
        tracing::warn!(path = %path.display(), %reason, "the checkpoint will not do: hints are read, or segments");
        None
    };
    let entries = manifest.sealed.iter().map(|entry| entry.records).sum();
    let most = Most { segments: manifest.sealed.len() as u64, entries };
    let checkpoint = match Checkpoint::open(fs, directory, most) {
        Ok(found) => found?,
        Err(error) => return ignored(&error),
    };
    if !checkpoint.head.is_beginning_of(manifest) {
        tracing::debug!(path = %path.display(), "the checkpoint is of another log");
        return None;
    }
    let behind = &manifest.sealed[checkpoint.head.segments.len()..];
    let records: u64 = behind.iter().map(|entry| entry.records).sum();
    if records > REPLAYED + checkpoint.head.entries() / REPLAYED_PART {
        tracing::debug!(path = %path.display(), "much has been written since the checkpoint");
        return None;
    }
    Some(checkpoint)
}

/// What stands behind the pages of a key directory that is loaded as it is wanted.
pub(super) struct Pages {
    pub(super) checkpoint: Checkpoint,
    pub(super) lens: Vec<u32>,
    /// Its segments, in the order of their ids.
    pub(super) segments: Vec<(SegmentSlot, Weak<Segment>, SealedEntry)>,
    pub(super) fs: Arc<dyn Fs>,
    pub(super) directory: Directory,
    pub(super) reading: Reading,
    pub(super) hasher: KeyHasher,
    pub(super) trusting: bool,
    /// What the segments hold, since a page was bad.
    pub(super) anew: Option<Loaded>,
    pub(super) findings: Arc<Findings>,
}

/// What has turned out to be bad since the store was opened.
#[derive(Default)]
pub(crate) struct Findings {
    /// A page of the checkpoint: it will not do for another opening.
    pub(crate) page: AtomicBool,
    /// Something in a segment: the next opening has to find it as well.
    pub(crate) segment: AtomicBool,
}

impl Pages {
    /// A key directory of which every page is read when it is wanted.
    pub(super) fn wait(self) -> KeyDirectory {
        KeyDirectory::of_shards(Box::new(self))
    }

    /// A key directory of all pages, which are read now. An error if one is bad.
    pub(super) fn read_all(&self) -> Result<KeyDirectory> {
        let runs =
            (0..self.lens.len()).map(|shard| self.read(shard)).collect::<Result<Vec<_>>>()?;
        Ok(KeyDirectory::of_sorted(&runs))
    }

    /// The entries of a page, as the checkpoint has them.
    fn read(&self, shard: usize) -> Result<Vec<(u64, Location)>> {
        let mut entries = self.checkpoint.read_shard(shard)?;
        for (_, location) in &mut entries {
            let segment = self.segments.get(location.slot().index());
            let there = segment.and_then(|(slot, ..)| location.in_slot(*slot)).unwrap_or(*location);
            *location = if self.trusting { there.verified() } else { there };
        }
        Ok(entries)
    }

    /// What the segments hold that are there, counted for nobody.
    fn load_anew(&self) -> Result<Loaded> {
        self.findings.page.store(true, Ordering::Relaxed);
        let source = |(slot, segment, entry): &(SegmentSlot, Weak<Segment>, SealedEntry)| {
            let segment = segment.upgrade()?;
            let uncounted = Segment::new(segment.id(), segment.view().clone());
            let hint = hint::file::read(&*self.fs, &self.directory, entry, self.reading);
            Some(Source { slot: *slot, segment: Arc::new(uncounted), entry: *entry, hint })
        };
        let loader = Loader {
            hasher: self.hasher.clone(),
            strict: false,
            // Whatever they hold by now, reading it tells.
            checks_listed: false,
            trusting: self.trusting,
            with_keys: false,
        };
        let loading = loader.begin(self.segments.iter().filter_map(source).collect())?;
        let is_bad = |walked: &Walked| !walked.damage.is_empty() || walked.unapplied > 0;
        if loading.walked.iter().flatten().any(is_bad) {
            self.findings.segment.store(true, Ordering::Relaxed);
        }
        Ok(loading.end())
    }
}

impl Shards for Pages {
    fn lens(&self) -> &[u32] {
        &self.lens
    }

    fn load(&mut self, shard: usize) -> Vec<(u64, Location)> {
        if self.anew.is_none() {
            match self.read(shard) {
                Ok(entries) => return entries,
                Err(error) => {
                    tracing::warn!(%error, "a page of the checkpoint is bad: the segments are read");
                }
            }
            let loaded = self.load_anew();
            if let Err(error) = &loaded {
                tracing::error!(%error, "the segments cannot be read either: keys are missing");
                self.findings.segment.store(true, Ordering::Relaxed);
            }
            self.anew = Some(loaded.unwrap_or_default());
        }
        let hashes = shard_hashes(shard, self.lens.len());
        let mut entries = Vec::new();
        for run in self.anew.iter().flat_map(|loaded| &loaded.runs) {
            let start = run.partition_point(|(hash, _)| hash < hashes.start());
            let end = run.partition_point(|(hash, _)| hash <= hashes.end());
            entries.extend_from_slice(&run[start..end]);
        }
        entries
    }
}
