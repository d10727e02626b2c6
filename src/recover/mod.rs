//! From a directory to a store: which files count, what is in them, and what a crash left.
//!
//! The order (docs/design.md, "Recovery"): the manifest, or the adoption of a directory of bare data
//! files; then the listed segments, scanned oldest first into the key directory; then, when everything
//! listed has been found, what is left over is removed; then the tail's good records are copied into a
//! fresh segment that is synced and listed.
//!
//! Invariants:
//! - Nothing is removed before every listed file has been found in order.
//! - Whatever step dies, the next opening finds the same work, not more.
//! - A clean store is not written to.

mod checkpointed;
mod files;
mod load;
mod report;
mod sealed;
mod tail;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use report::{Cut, DamagedRecord, RecoveryReport};

use crate::commit::{self, Commits};
use crate::companions::Companions;
use crate::directory::{Directory, remove_stale};
use crate::error::{Error, Result};
use crate::fs::{self, File, Fs, Reading, Whole};
use crate::hint;
use crate::index::Index;
use crate::keydir::{KeyDirectory, KeyHasher};
use crate::location::{SegmentId, SegmentSlot};
use crate::manifest::{Manifest, Refusal, SealedEntry};
use crate::options::{Options, Recovery, Verify};
use crate::segment::scan::{self, Ending, Rules, Summary};
use crate::segment::{Segment, open_listed};
pub(crate) use checkpointed::Findings;
use checkpointed::Pages;
pub(crate) use files::Files;
use load::{Loaded, Loader, Loading, Source};
pub(crate) use sealed::{Walked, walk_sealed};
pub(crate) use tail::{Tail, seal_copy};

/// Enough that what they need of memory comes together, few enough that it stays in caches until then.
const REPLAYED_AT_ONCE: usize = 64;

pub(crate) struct Recovered {
    pub(crate) commits: Commits,
    pub(crate) index: Index,
    pub(crate) companions: Companions,
    pub(crate) report: RecoveryReport,
}

/// Makes the store that the directory holds; an empty one becomes a new store.
pub(crate) fn recover(
    fs: &Arc<dyn Fs>,
    directory: &Directory,
    options: &Options,
    hash_mask: u64,
) -> Result<Recovered> {
    let files = Files::list(&**fs, directory)?;
    if !files.has_manifest {
        return adopt(fs, directory, &files, options, hash_mask);
    }
    let manifest = read_manifest(&**fs, directory.manifest())?;
    let mut recovering = Recovering::new(fs, directory, options, hash_mask, &manifest);
    let segments = recovering.open_listed(&manifest.sealed)?;
    let orphans = files.orphans(&manifest);
    let trusted = recovering.trusted(&orphans);
    let loading = match recovering.begin_with_checkpoint(&manifest, &segments, trusted, &files)? {
        true => None,
        false => Some(recovering.read_listed(&manifest.sealed, &segments, trusted)?),
    };
    let tail = Tail::open(&recovering, &files.tail(&manifest))?;
    // Who renamed the manifest may have died before its name was durable: then what it lists would not stay, and
    // what it does not list would be missing.
    commit::sync_dir(&**fs, directory)?;
    // Everything listed has been found. What is left over goes before anything is written, which
    // may need its space; oldest first, so that nothing stands without what supersedes it.
    // Where there is damage, they may be all that is left of what is bad in the files that supersede them.
    if recovering.report.damage.is_empty() {
        orphans.iter().for_each(|&id| recovering.remove(&directory.data(id)));
    }
    files.temporary.iter().for_each(|path| recovering.remove(path));
    let superseded = files.hints.iter().filter(|&&id| !manifest.lists(id));
    superseded.for_each(|&id| recovering.remove_hint(id));
    let commits = Commits::new(Arc::clone(fs), directory.clone(), manifest);
    recovering.settle_tail(&commits, &tail, loading)?;
    Ok(recovering.into_recovered(commits))
}

/// Makes a store of bare data files, or a new one of an empty directory.
fn adopt(
    fs: &Arc<dyn Fs>,
    directory: &Directory,
    files: &Files,
    options: &Options,
    hash_mask: u64,
) -> Result<Recovered> {
    files.check_bare(directory)?;
    let manifest = new_manifest(files, directory)?;
    let mut recovering = Recovering::new(fs, directory, options, hash_mask, &manifest);
    let manifest = recovering.adopt(manifest, &files.data)?;
    files.temporary.iter().for_each(|path| recovering.remove(path));
    let commits = Commits::new(Arc::clone(fs), directory.clone(), manifest);
    Ok(recovering.into_recovered(commits))
}

pub(crate) fn read_manifest(fs: &dyn Fs, path: PathBuf) -> Result<Manifest> {
    let file = fs.open(&path).map_err(Error::io("open", &path))?;
    let len = file.len().map_err(Error::io("read the length of", &path))?;
    let read = |len: u64| {
        let mut bytes = vec![0; len as usize];
        file.read_at(&mut bytes, 0).map_err(Error::io("read", &path))?;
        Ok(bytes)
    };
    let refused = |refusal| match refusal {
        Refusal::Damaged(damage) => Error::Inconsistent { path: path.clone(), damage },
        Refusal::Version => {
            Error::Unsupported { path: path.clone(), offset: 8, feature: "the format version" }
        }
    };
    // The file may be of any length: it is the head that says how much there is to read.
    let head = read(len.min(Manifest::HEAD_LEN))?;
    Manifest::check_len(&head, len).map_err(refused)?;
    Manifest::decode(&read(len)?).map_err(refused)
}

/// The manifest to begin with where there is none: of a new store, or of bare data files.
pub(crate) fn new_manifest(files: &Files, directory: &Directory) -> Result<Manifest> {
    let next_file_id = files.next_id().ok_or_else(|| directory.too_many_segments())?;
    let seed = commit::random_seed(directory)?;
    let history = commit::unknown_history(directory)?;
    Ok(Manifest { seed, nonce: 0, next_file_id, history, sealed: Vec::new(), tail: Vec::new() })
}

/// A directory on the way to a store.
pub(crate) struct Recovering<'a> {
    fs: &'a Arc<dyn Fs>,
    directory: &'a Directory,
    strict: bool,
    ordered: bool,
    /// Reads check no records.
    trusting: bool,
    segment_size: u64,
    reading: Reading,
    pub(crate) index: Index,
    pub(crate) report: RecoveryReport,
    unhinted: Vec<SealedEntry>,
    checkpointed: Option<u64>,
    findings: Arc<Findings>,
}

/// A listed segment in its slot.
type Slotted = (SegmentSlot, Arc<Segment>);

impl<'a> Recovering<'a> {
    pub(crate) fn new(
        fs: &'a Arc<dyn Fs>,
        directory: &'a Directory,
        options: &Options,
        hash_mask: u64,
        manifest: &Manifest,
    ) -> Self {
        let hasher = KeyHasher::new(&manifest.seed, hash_mask);
        Recovering {
            fs,
            directory,
            strict: options.recovery == Recovery::Strict,
            ordered: options.ordered,
            trusting: options.verify == Verify::Never,
            segment_size: options.segment_size,
            reading: Reading::new(options),
            index: Index::new(directory.clone(), hasher, options),
            report: RecoveryReport::default(),
            unhinted: Vec::new(),
            checkpointed: None,
            findings: Arc::default(),
        }
    }

    fn into_recovered(self, commits: Commits) -> Recovered {
        let Recovering { index, report, unhinted, checkpointed, findings, .. } = self;
        let companions =
            Companions::new(unhinted, checkpointed, !report.damage.is_empty(), findings);
        Recovered { commits, index, companions, report }
    }
}

impl Recovering<'_> {
    /// Takes over a directory of bare data files, or makes a new store of an empty one.
    fn adopt(&mut self, mut manifest: Manifest, data: &[SegmentId]) -> Result<Manifest> {
        self.report.adopted = !data.is_empty();
        for &id in data {
            let path = self.directory.data(id);
            let file = open_listed(&**self.fs, &path)?;
            let mut len = file.len().map_err(Error::io("read the length of", &*path))?;
            if Some(&id) == data.last() {
                len = self.cut_adopted(id, &path, &file, len)?;
            }
            let segment = Arc::new(Segment::open(&**self.fs, &path, id, len, self.reading)?);
            let entry = self.index_segment(&segment)?;
            take_over(&*file, &path)?;
            manifest
                .sealed
                .push(SealedEntry { dead_bytes: segment.usage().stale_bytes(), ..entry });
        }
        commit::create_manifest(&**self.fs, self.directory, &mut manifest)?;
        Ok(manifest)
    }

    /// Sets aside what a torn write left at the end of the last adopted file. Answers the length of
    /// what stands before it. The file itself stays as it is.
    fn cut_adopted(
        &mut self,
        id: SegmentId,
        path: &Arc<Path>,
        file: &Arc<dyn File>,
        len: u64,
    ) -> Result<u64> {
        let bytes = Whole::open(file, path, len, self.reading)?;
        let summary = scan::walk(&bytes, Rules::AdoptedLast, |_| Ok::<_, Error>(()))?;
        if !scan::ends_as_tail(summary.ending, Rules::AdoptedLast) || summary.end == len {
            return Ok(len);
        }
        self.set_aside(id, path, &**file, summary, len)?;
        Ok(summary.end)
    }

    /// Reads the sealed segments themselves into the key directory.
    pub(crate) fn index_listed(&mut self, sealed: &[SealedEntry]) -> Result<()> {
        let segments = self.open_listed(sealed)?;
        let loading = self.read_listed(sealed, &segments, None)?;
        self.begin_with(loading);
        Ok(())
    }

    /// Opens the sealed segments: all are found in order before the first is read. Their slots are in the order of their
    /// ids.
    fn open_listed(&self, sealed: &[SealedEntry]) -> Result<Vec<Slotted>> {
        let segments = sealed.iter().map(|entry| {
            let path = self.directory.data(entry.id);
            Segment::open(&**self.fs, &path, entry.id, entry.len, self.reading)
        });
        let segments = segments.map(|segment| segment.map(Arc::new)).collect::<Result<Vec<_>>>()?;
        let slots = self.index.segments.add_all(segments.iter().cloned());
        let slots = slots.ok_or_else(|| self.too_many_segments())?;
        Ok(slots.into_iter().zip(segments).collect())
    }

    /// Below which id segments need not be read themselves; `None`: all have to be. What stands above an orphan may be
    /// what supersedes it, and has to be sound before that goes.
    fn trusted(&self, orphans: &[SegmentId]) -> Option<SegmentId> {
        let lowest = orphans.first().copied().unwrap_or(SegmentId::new(u64::MAX));
        (!self.strict).then_some(lowest)
    }

    /// Takes over the key directory of the checkpoint, if that will do, and replays what came behind it. Nothing has been
    /// counted if it will not.
    fn begin_with_checkpoint(
        &mut self,
        manifest: &Manifest,
        segments: &[Slotted],
        trusted: Option<SegmentId>,
        files: &Files,
    ) -> Result<bool> {
        let is_trusted = |entry: &SealedEntry| trusted.is_some_and(|below| entry.id < below);
        // Who keeps the keys in order needs them all.
        if self.ordered || !manifest.sealed.iter().all(is_trusted) {
            return Ok(false);
        }
        let Some(checkpoint) = checkpointed::find(&**self.fs, self.directory, manifest) else {
            return Ok(false);
        };
        let covered = checkpoint.head.segments.len();
        let nonce = checkpoint.head.nonce;
        let figures: Vec<_> =
            checkpoint.head.segments.iter().map(|segment| segment.figures.clone()).collect();
        let of_checkpoint = segments.iter().zip(&manifest.sealed).take(covered);
        let pages = Pages {
            lens: checkpoint.head.shards.iter().map(|shard| shard.entries).collect(),
            checkpoint,
            segments: of_checkpoint
                .map(|((slot, segment), entry)| (*slot, Arc::downgrade(segment), *entry))
                .collect(),
            fs: Arc::clone(self.fs),
            directory: self.directory.clone(),
            reading: self.reading,
            hasher: self.index.hasher().clone(),
            trusting: self.trusting,
            anew: None,
            findings: Arc::clone(&self.findings),
        };
        let all_mapped = segments.iter().all(|(_, segment)| segment.view().mapping().is_some());
        let keydir = match all_mapped {
            true => pages.wait(),
            false => match pages.read_all() {
                Ok(keydir) => keydir,
                Err(error) => {
                    tracing::warn!(%error, "the checkpoint will not do: hints are read, or segments");
                    return Ok(false);
                }
            },
        };
        self.index.begin_with(keydir, &[]);
        for ((_, segment), figures) in segments.iter().zip(&figures) {
            segment.usage().begin_with(figures);
            self.report.segments += 1;
            self.report.records += figures.all.records;
        }
        self.report.checkpoint = true;
        self.checkpointed = Some(nonce);
        for ((slot, segment), entry) in segments.iter().zip(&manifest.sealed).skip(covered) {
            let walked = self.walk_into_index(*slot, segment)?;
            walked.check_listed(segment.path(), entry)?;
            self.note(walked);
        }
        let has_hint = |entry: &&SealedEntry| files.hints.binary_search(&entry.id).is_ok();
        self.unhinted.extend(manifest.sealed.iter().filter(|entry| !has_hint(entry)));
        Ok(true)
    }

    /// Reads the sealed segments: those below an id by their hints, where they are good.
    fn read_listed(
        &mut self,
        sealed: &[SealedEntry],
        segments: &[Slotted],
        trusted: Option<SegmentId>,
    ) -> Result<Loading> {
        let source = |((slot, segment), entry): (&Slotted, &SealedEntry)| {
            let hint = trusted
                .filter(|below| entry.id < *below)
                .and_then(|_| hint::file::read(&**self.fs, self.directory, entry, self.reading));
            Source { slot: *slot, segment: Arc::clone(segment), entry: *entry, hint }
        };
        let sources = segments.iter().zip(sealed).map(source).collect();
        let loader = Loader {
            hasher: self.index.hasher().clone(),
            strict: self.strict,
            checks_listed: true,
            trusting: self.trusting,
            with_keys: self.ordered,
        };
        let mut loading = loader.begin(sources)?;
        for (walked, entry) in std::mem::take(&mut loading.walked).into_iter().zip(sealed) {
            match walked {
                Some(walked) => {
                    self.want_hint(&walked, entry);
                    self.note(walked);
                }
                None => {
                    self.report.segments += 1;
                    self.report.hints += 1;
                    self.report.records += entry.records;
                }
            }
        }
        Ok(loading)
    }

    /// Makes the key directory of all that has been read.
    fn begin_with(&mut self, loading: Loading) {
        let Loaded { runs, keys } = loading.end();
        self.index.begin_with(KeyDirectory::of_sorted(&runs), &keys);
    }

    /// A segment has been read that may have had no hint.
    fn want_hint(&mut self, walked: &Walked, entry: &SealedEntry) {
        if walked.damage.is_empty() && walked.unapplied == 0 {
            self.unhinted.push(*entry);
        }
    }

    /// Scans a segment into the key directory. Answers what there is to be said of it, but for its dead bytes.
    fn index_segment(&mut self, segment: &Arc<Segment>) -> Result<SealedEntry> {
        let added = self.index.segments.add(Arc::clone(segment));
        let slot = added.ok_or_else(|| self.too_many_segments())?;
        let walked = self.walk_into_index(slot, segment)?;
        let Summary { records, checksum, .. } = walked.summary;
        let (id, len) = (segment.id(), segment.len());
        let entry = SealedEntry { id, len, records, dead_bytes: 0, checksum };
        self.want_hint(&walked, &entry);
        self.note(walked);
        Ok(entry)
    }

    fn walk_into_index(&self, slot: SegmentSlot, segment: &Segment) -> Result<Walked> {
        let bytes = segment.read_all()?;
        let mut records = Vec::with_capacity(REPLAYED_AT_ONCE);
        let walked = walk_sealed(slot, segment, &bytes, self.strict, |frame, location| {
            records.push((*frame, location));
            if records.len() == REPLAYED_AT_ONCE {
                self.index.replay_all(segment, &records);
                records.clear();
            }
        })?;
        self.index.replay_all(segment, &records);
        Ok(walked)
    }

    fn note(&mut self, walked: Walked) {
        self.report.segments += 1;
        self.report.records += walked.summary.records;
        self.report.unapplied_batch_records += walked.unapplied;
        self.report.damage.extend(walked.damage);
    }

    /// Copies what stands behind the end of the log into a `.cut` file, unless it is zeros.
    fn set_aside(
        &mut self,
        id: SegmentId,
        path: &Path,
        file: &dyn File,
        summary: Summary,
        len: u64,
    ) -> Result<()> {
        if summary.ending == Ending::Zeros {
            return Ok(());
        }
        let set_aside = self.directory.cut(id);
        remove_stale(&**self.fs, &set_aside)?;
        let cut = self.fs.create(&set_aside).map_err(Error::io("create", &set_aside))?;
        fs::copy((file, path), summary.end..len, (&*cut, &set_aside), |_| Ok(()))?;
        cut.sync().map_err(Error::io("sync", &set_aside))?;
        let cut = Cut {
            path: path.to_path_buf(),
            offset: summary.end,
            bytes: len - summary.end,
            set_aside,
        };
        tracing::warn!(
            path = %cut.path.display(), offset = cut.offset, bytes = cut.bytes,
            set_aside = %cut.set_aside.display(), "the log ends in a torn record: set aside"
        );
        self.report.cuts.push(cut);
        Ok(())
    }

    /// Removes the hint of a segment that is gone.
    fn remove_hint(&self, id: SegmentId) {
        let path = self.directory.hint(id);
        if let Err(error) = remove_stale(&**self.fs, &path) {
            tracing::warn!(%error, "cannot remove a leftover yet");
        }
    }

    /// Removes a file that does not count. Failing to is no error: it is tried again at each opening.
    pub(crate) fn remove(&mut self, path: &Path) {
        match self.fs.remove(path) {
            Ok(()) => self.report.removed.push(path.to_path_buf()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot remove a leftover yet");
            }
        }
    }

    fn too_many_segments(&self) -> Error {
        self.directory.too_many_segments()
    }
}

/// Makes a data file one of a store's, for the manifest may name only what is durable, and nobody knows who wrote this.
pub(crate) fn take_over(file: &dyn File, path: &Path) -> Result<()> {
    file.sync().map_err(Error::io("sync", path))?;
    if let Err(error) = file.make_read_only() {
        tracing::warn!(path = %path.display(), %error, "cannot clear the write bits");
    }
    Ok(())
}
