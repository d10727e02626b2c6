//! Read-only stores: what a writer, in another process or handle, leaves in the files, found without a
//! lock and caught up with on request.
//!
//! [`look`] finds the files of one moment, [`merge`] takes in sealed segments, [`tail`] reads the log that
//! is not sealed yet, [`bare`] data files without a manifest.
//!
//! Invariants (docs/design.md, "Read-only stores"):
//! - Nothing is written, and no lock is taken.
//! - Only what a manifest lists is mapped. The rest is read into memory of our own, up to the last record
//!   that is whole.
//! - Files count only if the manifest that was read before they were opened is the newest still when they
//!   are open, or if it names them. What is open stays as it is, unlinked or not.
//! - Whoever holds a table of segments finds behind each slot of it all that a location may ever name there:
//!   a segment that is seen anew, when it is sealed say, gets a new slot.
//! - A key's entry moves forward in the order of the log, never back, unless the log itself was
//!   replaced.

mod bare;
mod look;
mod merge;
mod tail;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::commit::Commits;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::fs::{Fs, Reading};
use crate::index::Index;
use crate::keydir::KeyHasher;
use crate::location::{SegmentId, SegmentSlot};
use crate::manifest::{Manifest, SealedEntry};
use crate::options::{Options, Recovery};
use crate::recover::{self, DamagedRecord, Files, Recovered, RecoveryReport};
use look::Look;
use merge::CatchUp;
use tail::Tail;

/// Each has found that the manifest was replaced meanwhile; more than one or two in a row take a writer that
/// does little else.
const LOOKS: usize = 100;

/// What [`crate::Store::refresh`] read to catch up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refreshed {
    /// Segment files read from their beginning: new ones, those that have been sealed since, those that a
    /// compaction wrote.
    pub segments: usize,
    /// Segment files let go of: a compaction has replaced them.
    pub segments_gone: usize,
    /// Records read, with those that are no news: a compaction's are copies.
    pub records: u64,
    /// Sound records of batches that are not whole, which were not applied.
    pub unapplied_batch_records: u64,
    /// Bad records in sealed segments.
    pub damage: Vec<DamagedRecord>,
}

impl Refreshed {
    /// Whether there was nothing new.
    pub fn is_empty(&self) -> bool {
        *self == Refreshed::default()
    }
}

/// Keeps the index of a read-only store up with the files.
pub(crate) struct Follower {
    fs: Arc<dyn Fs>,
    directory: Directory,
    reading: Reading,
    strict: bool,
    /// Taken for a refresh's length, before all other locks.
    state: Mutex<State>,
}

/// What has been read.
#[derive(Default)]
struct State {
    /// The newest that all of the rest has caught up with.
    manifest: Option<Manifest>,
    /// There was no manifest: the tail is what the directory holds.
    bare: bool,
    sealed: BTreeMap<SegmentId, Sealed>,
    /// What was not sealed, or not found sealed yet. Ascending, and above all that is sealed.
    tail: Vec<Tail>,
    /// The highest segment of which anything was read: the log up to there is known.
    newest: Option<SegmentId>,
    /// Segments of a log that has been replaced: whatever is found counts more than they do.
    outdated: HashSet<SegmentSlot>,
}

struct Sealed {
    slot: SegmentSlot,
    len: u64,
    checksum: u32,
}

/// Makes the store that the directory holds, without touching it.
pub(crate) fn open(
    fs: &Arc<dyn Fs>,
    directory: &Directory,
    options: &Options,
    hash_mask: u64,
) -> Result<(Recovered, Follower)> {
    let files = Files::list(&**fs, directory)?;
    let manifest = match files.has_manifest {
        true => recover::read_manifest(&**fs, directory.manifest())?,
        false => {
            files.check_bare(directory)?;
            recover::new_manifest(&files, directory)?
        }
    };
    let hasher = KeyHasher::new(&manifest.seed, hash_mask);
    let index = Index::new(directory.clone(), hasher, options);
    let follower = Follower {
        fs: Arc::clone(fs),
        directory: directory.clone(),
        reading: Reading::new(options),
        strict: options.recovery == Recovery::Strict,
        state: Mutex::default(),
    };
    let found = match files.has_manifest {
        true => follower.refresh(&index)?,
        false => follower.open_bare(&files.data, &index)?,
    };
    let report = RecoveryReport {
        segments: found.segments,
        records: found.records,
        unapplied_batch_records: found.unapplied_batch_records,
        damage: found.damage,
        ..RecoveryReport::default()
    };
    let commits = Commits::new(Arc::clone(fs), directory.clone(), manifest);
    Ok((Recovered { commits, index, report }, follower))
}

impl Follower {
    /// Does something during which no refresh goes on.
    pub(crate) fn between_refreshes<T>(&self, act: impl FnOnce() -> T) -> T {
        let _no_refresh = self.state.lock();
        act()
    }

    /// Catches up with all that had been flushed when this was called. Refreshes take turns.
    pub(crate) fn refresh(&self, index: &Index) -> Result<Refreshed> {
        let mut state = self.state.lock();
        let mut refreshed = Refreshed::default();
        let mut caught_up = false;
        for _ in 0..LOOKS {
            let found = match self.look(&mut state)? {
                Look::Bare => return Ok(refreshed),
                Look::Vanished => {
                    caught_up = false;
                    continue;
                }
                Look::Found(found) => found,
            };
            let settled = found.settled;
            caught_up = self.catch_up(index, &mut state, &mut refreshed).with(found)?;
            if caught_up && settled {
                break;
            }
        }
        match caught_up {
            true => Ok(refreshed),
            false => {
                let path = self.directory.path().to_path_buf();
                Err(Error::Unsettled { path, looks: LOOKS })
            }
        }
    }

    fn catch_up<'a>(
        &'a self,
        index: &'a Index,
        state: &'a mut State,
        refreshed: &'a mut Refreshed,
    ) -> CatchUp<'a> {
        CatchUp { follower: self, index, state, refreshed }
    }
}

impl State {
    fn has_sealed(&self, entry: &SealedEntry) -> bool {
        self.sealed.contains_key(&entry.id)
    }

    fn is_newest(&self, manifest: &Manifest) -> bool {
        self.manifest.as_ref().is_some_and(|newest| newest.nonce == manifest.nonce)
    }

    /// Whether the manifest is of another log than the one that was read: another store has been put in
    /// the place of this one, or an older state of it.
    fn is_of_another_log(&self, manifest: &Manifest) -> bool {
        let is_before = |known: &Manifest| {
            known.seed != manifest.seed || known.next_file_id > manifest.next_file_id
        };
        let is_other = |entry: &SealedEntry| {
            let sealed = self.sealed.get(&entry.id);
            sealed.is_some_and(|known| (known.len, known.checksum) != (entry.len, entry.checksum))
        };
        self.manifest.as_ref().is_some_and(is_before) || manifest.sealed.iter().any(is_other)
    }

    /// Begins anew. What was read stays readable until something else has been.
    fn forget(&mut self) {
        let State { sealed, tail, outdated, .. } = std::mem::take(self);
        self.outdated = outdated;
        self.outdated.extend(sealed.into_values().map(|sealed| sealed.slot));
        self.outdated.extend(tail.iter().flat_map(Tail::slots));
    }
}
