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
//! - A key's entry moves forward in the order of the log, never back. If the log itself was replaced, or a part of
//!   it taken back, it is read anew, into an index of its own, and each entry then moves once.

mod bare;
mod look;
mod merge;
mod tail;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::commit::Commits;
use crate::companions::Companions;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::fs::{Fs, Reading};
use crate::index::Index;
use crate::keydir::KeyHasher;
use crate::location::{SegmentId, SegmentSlot};
use crate::manifest::{Manifest, SealedEntry};
use crate::options::{Options, Recovery};
use crate::recover::{self, DamagedRecord, Files, Recovered, RecoveryReport, Walked};
use look::Look;
use merge::CatchUp;
use tail::Tail;

/// Each has found that the manifest was replaced meanwhile; more than one or two in a row take a writer that
/// does little else.
const LOOKS: usize = 100;

/// What [`crate::Store::refresh`] read to catch up, with what those before it had read that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refreshed {
    /// Segment files read from their beginning: new ones, those that have been sealed since, those that a
    /// compaction wrote.
    pub segments: usize,
    /// Segment files let go of: a compaction has replaced them, or everything was read anew.
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

    fn add(&mut self, walked: Walked) {
        self.segments += 1;
        self.records += walked.summary.records;
        self.unapplied_batch_records += walked.unapplied;
        self.damage.extend(walked.damage);
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
    /// What was read for that and has not been told yet.
    found: Refreshed,
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
    let manifest = match directory.has_manifest(&**fs)? {
        true => recover::read_manifest(&**fs, directory.manifest())?,
        false => recover::new_manifest(&Files::list(&**fs, directory)?, directory)?,
    };
    let hasher = KeyHasher::new(&manifest.seed, hash_mask);
    let follower = Follower {
        fs: Arc::clone(fs),
        directory: directory.clone(),
        reading: Reading::new(options),
        strict: options.recovery == Recovery::Strict,
        state: Mutex::default(),
    };
    let (index, mut state) =
        follower.read(|| Index::new(directory.clone(), hasher.clone(), options))?;
    let found = std::mem::take(&mut state.found);
    *follower.state.lock() = state;
    let report = RecoveryReport {
        segments: found.segments,
        records: found.records,
        unapplied_batch_records: found.unapplied_batch_records,
        damage: found.damage,
        ..RecoveryReport::default()
    };
    let commits = Commits::new(Arc::clone(fs), directory.clone(), manifest);
    let companions = Companions::default();
    let recovered = Recovered { commits, index, companions, report };
    Ok((recovered, follower))
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
        // Where nothing has been read there is nothing to go on from.
        if state.newest.is_none() || !self.catch_up(index, &mut state)? {
            let (other, read) = self.read(|| index.emptied())?;
            self.replace(index, &mut state, &other, read)?;
        }
        Ok(std::mem::take(&mut state.found))
    }

    /// Reads all of the log into an index of its own, which nobody else reads.
    fn read(&self, empty: impl Fn() -> Index) -> Result<(Index, State)> {
        for _ in 0..LOOKS {
            let (index, mut state) = (empty(), State::default());
            // Listed before: no manifest has made anything of these files if there is none after that.
            let files = Files::list(&*self.fs, &self.directory)?;
            if !self.directory.has_manifest(&*self.fs)? {
                files.check_bare(&self.directory)?;
                match self.read_bare(&files.data, &index, &mut state) {
                    // A writer has taken them over, and compacted.
                    Err(Error::MissingSegment { .. })
                        if self.directory.has_manifest(&*self.fs)? =>
                    {
                        continue;
                    }
                    read => read?,
                }
            }
            if self.catch_up(&index, &mut state)? {
                return Ok((index, state));
            }
        }
        Err(self.unsettled())
    }

    /// Takes in what the files hold more than what has been read. False if it is another log by now.
    fn catch_up(&self, index: &Index, state: &mut State) -> Result<bool> {
        let mut caught_up = false;
        for _ in 0..LOOKS {
            let found = match self.look(state)? {
                Look::Bare => return Ok(true),
                Look::Vanished => {
                    caught_up = false;
                    continue;
                }
                Look::Found(found) => found,
            };
            let settled = found.settled;
            caught_up = CatchUp { follower: self, index, state }.with(*found)?;
            if !caught_up {
                let path = self.directory.path().display();
                tracing::warn!(%path, "the log is another one, or a part was taken back: read anew");
            }
            if settled || !caught_up {
                return Ok(caught_up);
            }
        }
        if caught_up { Ok(true) } else { Err(self.unsettled()) }
    }

    /// Lets readers of an index see what has been read into another: each entry moves once.
    fn replace(
        &self,
        index: &Index,
        state: &mut State,
        other: &Index,
        mut read: State,
    ) -> Result<()> {
        let (slots, segments): (Vec<_>, Vec<_>) = other.segments.list().into_iter().unzip();
        let added = index.segments.add_all(segments);
        let added = added.ok_or_else(|| self.directory.too_many_segments())?;
        let moved: HashMap<_, _> = slots.into_iter().zip(added).collect();
        index.take_over(other, |slot| moved.get(&slot).copied());
        let gone = state.slots().map(|slot| *slot).collect();
        index.let_go(&gone, index.entries_in(&gone));
        read.found.segments_gone += state.sealed.len() + state.tail.len();
        for slot in read.slots() {
            *slot = moved.get(slot).copied().unwrap_or(*slot);
        }
        *state = read;
        Ok(())
    }

    fn unsettled(&self) -> Error {
        Error::Unsettled { path: self.directory.path().to_path_buf(), looks: LOOKS }
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

    fn slots(&mut self) -> impl Iterator<Item = &mut SegmentSlot> {
        let sealed = self.sealed.values_mut().map(|sealed| &mut sealed.slot);
        sealed.chain(self.tail.iter_mut().flat_map(Tail::slots_mut))
    }
}
