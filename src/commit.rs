//! The manifest as the store holds it, its replacement on disk, and what happens when that fails.
//!
//! A commit edits a copy of the manifest, writes it whole, and only then makes the copy the current
//! one: temp file, sync, rename, sync of the directory. It is the commit point of rotation, recovery
//! and compaction.
//!
//! Invariants:
//! - Before a manifest is renamed into place, the directory is synced: no file that it names can be
//!   lost, whose data was synced by whoever asks for the commit.
//! - After a failed sync or rename nobody knows what is on disk. The store is poisoned: no more
//!   writes, no removal of anything, until it is opened again.
//! - Syncs take turns, and each looks at the poison first. The system tells of a page that it could
//!   not write once; a sync that came after, and succeeded, would promise what the other lost.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::counters::{Syncs, Times};
use crate::directory::{Directory, remove_stale};
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::location::SegmentId;
use crate::manifest::Manifest;
use crate::position::History;

pub(crate) struct Commits {
    fs: Arc<dyn Fs>,
    directory: Directory,
    /// Taken for as long as the manifest is being replaced or noted to, so that no note is lost.
    turn: Mutex<()>,
    /// Taken last, and never while waiting for the disk: who only looks does not wait for a commit.
    current: Mutex<Current>,
    poison: Poison,
}

struct Current {
    manifest: Manifest,
    /// Something was noted that is not on disk.
    is_ahead: bool,
}

/// Set once, by the failure after which writes are refused. All syncs of an open store pass it, and are counted.
#[derive(Default)]
pub(crate) struct Poison {
    cause: OnceLock<Arc<Error>>,
    turn: Mutex<()>,
    pub(crate) syncs: Syncs,
}

impl Poison {
    pub(crate) fn check(&self) -> Result<()> {
        match self.cause.get() {
            None => Ok(()),
            Some(cause) => Err(Error::Poisoned { cause: Arc::clone(cause) }),
        }
    }

    /// Makes something durable, in turn, unless the store is poisoned already; it is if that fails.
    pub(crate) fn sync(
        &self,
        times: impl FnOnce(&Syncs) -> &Times,
        sync: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.attempt(|| times(&self.syncs).of(sync))
    }

    /// As [`Poison::sync`], of a data file that nobody else writes or syncs.
    pub(crate) fn sync_alone(&self, sync: impl FnOnce() -> Result<()>) -> Result<()> {
        self.attempt_alone(|| self.syncs.data.of(sync))
    }

    /// Does what poisons the store if it fails, a sync or a rename, unless it is poisoned already.
    fn attempt<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let _turn = self.turn.lock();
        self.attempt_alone(act)
    }

    fn attempt_alone<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.check()?;
        act().map_err(|error| match error {
            // There was no descriptor to open the directory with: nothing was tried, nothing is in doubt.
            Error::TooManyOpenFiles { .. } => error,
            error => self.poison(error),
        })
    }

    /// Nobody knows what is on disk since this.
    fn poison(&self, error: Error) -> Error {
        if let Error::Poisoned { .. } = error {
            return error;
        }
        // Before anything else, so that nobody tries again.
        let cause = self.cause.get_or_init(|| Arc::new(error));
        tracing::error!(error = %cause, "writes are refused from now on");
        Error::Poisoned { cause: Arc::clone(cause) }
    }
}

impl Commits {
    pub(crate) fn new(fs: Arc<dyn Fs>, directory: Directory, manifest: Manifest) -> Self {
        let current = Mutex::new(Current { manifest, is_ahead: false });
        Commits { fs, directory, turn: Mutex::default(), current, poison: Poison::default() }
    }

    pub(crate) fn poison(&self) -> &Poison {
        &self.poison
    }

    /// Replaces the manifest by an edited one, durably. If it fails, the manifest is the old one,
    /// unless the store is poisoned.
    pub(crate) fn commit(&self, edit: impl FnOnce(&mut Manifest) -> Result<()>) -> Result<()> {
        let _turn = self.turn.lock();
        self.commit_in_turn(edit)
    }

    /// Makes durable what was noted, if anything was. Fails as a commit does.
    pub(crate) fn commit_notes(&self) -> Result<()> {
        let _turn = self.turn.lock();
        let is_ahead = self.current.lock().is_ahead;
        if is_ahead { self.commit_in_turn(|_| Ok(())) } else { Ok(()) }
    }

    fn commit_in_turn(&self, edit: impl FnOnce(&mut Manifest) -> Result<()>) -> Result<()> {
        self.poison.check()?;
        let mut next = self.current();
        edit(&mut next)?;
        renew(&mut next, &self.directory)?;
        self.sync_dir()?;
        let temporary = self.directory.manifest_temporary();
        write_file(&*self.fs, &temporary, &next.encode(), &self.poison)?;
        let manifest = self.directory.manifest();
        self.poison.attempt(|| {
            let renamed = self.fs.rename(&temporary, &manifest);
            renamed.map_err(Error::io("rename the new manifest to", &manifest))
        })?;
        self.sync_dir().map_err(|error| self.poison.poison(error))?;
        *self.current.lock() = Current { manifest: next, is_ahead: false };
        Ok(())
    }

    /// Notes in memory what the next commit will say; nothing on disk depends on it before.
    pub(crate) fn note(&self, edit: impl FnOnce(&mut Manifest)) {
        let _turn = self.turn.lock();
        let mut current = self.current.lock();
        edit(&mut current.manifest);
        current.is_ahead = true;
    }

    /// The manifest as the last commit left it, with what was noted since.
    pub(crate) fn current(&self) -> Manifest {
        self.current.lock().manifest.clone()
    }

    /// Another one for each commit.
    pub(crate) fn nonce(&self) -> u64 {
        self.current.lock().manifest.nonce
    }

    /// Changes under the writer's lock only.
    pub(crate) fn next_file_id(&self) -> SegmentId {
        self.current.lock().manifest.next_file_id
    }

    /// Makes all names in the directory durable.
    pub(crate) fn sync_dir(&self) -> Result<()> {
        let dir = self.directory.path();
        let sync = || self.fs.sync_dir(dir).map_err(Error::io("sync the directory", dir));
        self.poison.sync(|syncs| &syncs.directory, sync)
    }
}

/// Puts `count` ids aside and gives the first.
pub(crate) fn reserve(
    manifest: &mut Manifest,
    count: u64,
    directory: &Directory,
) -> Result<SegmentId> {
    let first = manifest.next_file_id;
    let next = first.checked_add(count);
    manifest.next_file_id = next.ok_or_else(|| directory.too_many_segments())?;
    Ok(first)
}

/// Makes the first manifest of a directory, durably.
pub(crate) fn create_manifest(
    fs: &dyn Fs,
    directory: &Directory,
    manifest: &mut Manifest,
) -> Result<()> {
    sync_parent(fs, directory.path());
    renew(manifest, directory)?;
    put_manifest(fs, directory, manifest, &directory.manifest())
}

/// Notes, durably, what the manifest of a directory that has none is to list. Data files beside it are not adopted, and
/// those that it does not list are leftovers below its next id.
pub(crate) fn announce_manifest(
    fs: &dyn Fs,
    directory: &Directory,
    manifest: &Manifest,
) -> Result<()> {
    sync_parent(fs, directory.path());
    put_manifest(fs, directory, manifest, &directory.manifest_temporary())
}

/// In one step: what stands at `to` may be all that keeps data files from being adopted.
fn put_manifest(fs: &dyn Fs, directory: &Directory, manifest: &Manifest, to: &Path) -> Result<()> {
    let from = directory.first_manifest();
    write_manifest(fs, &from, manifest)?;
    rename_durably(fs, directory, &from, to)
}

/// Writes the manifest of a directory in which nobody else writes, durable but for its name.
pub(crate) fn write_manifest(fs: &dyn Fs, path: &Path, manifest: &Manifest) -> Result<()> {
    // Whatever fails here fails what the manifest is for, after which nobody can write.
    write_file(fs, path, &manifest.encode(), &Poison::default())
}

/// Puts a manifest that was written at `path` into its place, durably, with all that it names.
pub(crate) fn install_manifest(fs: &dyn Fs, directory: &Directory, path: &Path) -> Result<()> {
    rename_durably(fs, directory, path, &directory.manifest())
}

fn rename_durably(fs: &dyn Fs, directory: &Directory, from: &Path, to: &Path) -> Result<()> {
    sync_dir(fs, directory)?;
    fs.rename(from, to).map_err(Error::io("rename the new manifest to", to))?;
    sync_dir(fs, directory)
}

/// Makes all names in the directory durable.
pub(crate) fn sync_dir(fs: &dyn Fs, directory: &Directory) -> Result<()> {
    fs.sync_dir(directory.path()).map_err(Error::io("sync the directory", directory.path()))
}

/// Makes the name of the directory itself durable, as far as its parent lets us.
pub(crate) fn sync_parent(fs: &dyn Fs, dir: &Path) {
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if let Err(error) = fs.sync_dir(parent) {
        tracing::warn!(path = %parent.display(), %error, "cannot sync the directory's parent");
    }
}

/// Writes a whole file anew, durable but for its name.
fn write_file(fs: &dyn Fs, path: &Path, bytes: &[u8], poison: &Poison) -> Result<()> {
    remove_stale(fs, path)?;
    let file = fs.create(path).map_err(Error::io("create", path))?;
    file.write_at(bytes, 0).map_err(Error::io("write", path))?;
    poison.sync(|syncs| &syncs.manifest, || file.sync().map_err(Error::io("sync", path)))
}

/// Makes a manifest look like none that was before.
pub(crate) fn renew(manifest: &mut Manifest, directory: &Directory) -> Result<()> {
    manifest.nonce = random(directory)?;
    Ok(())
}

fn random(directory: &Directory) -> Result<u64> {
    getrandom::u64().map_err(|error| {
        Error::io("get random bytes for the manifest of", directory.path())(std::io::Error::other(
            error,
        ))
    })
}

/// Of a log of which nobody knows what it held before.
pub(crate) fn unknown_history(directory: &Directory) -> Result<History> {
    random(directory).map(History::new)
}

/// A new store's hash seed.
pub(crate) fn random_seed(directory: &Directory) -> Result<[u8; 16]> {
    let mut seed = [0; 16];
    match getrandom::fill(&mut seed) {
        Ok(()) => Ok(seed),
        Err(error) => {
            Err(Error::io("get random bytes for", directory.path())(std::io::Error::other(error)))
        }
    }
}
