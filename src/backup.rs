//! Backups: the sealed segments of a live store under second names in another directory, or copied.
//!
//! Sealed files never change, so a file that two stores name serves both.
//!
//! Invariants:
//! - No compaction runs meanwhile, and nothing sealed is taken up: no listed file goes.
//! - Whatever is interrupted, the destination's manifest lists files that are there as they were. New files come
//!   under ids that it says are handed out, so that an opening takes them for leftovers; while
//!   there is no manifest, the next one lies there half-written and keeps the files from being adopted.
//! - Nothing is removed before the manifest that does not list it is durable. What comes in the place of a listed file
//!   is whole before it has its name.

use std::io::ErrorKind;
use std::iter;
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};

use crate::commit;
use crate::directory::{Directory, remove_stale};
use crate::error::{Error, Result};
use crate::fs::{self, Fs, Lock};
use crate::keydir::KeyHasher;
use crate::log::Log;
use crate::manifest::{Manifest, SealedEntry};
use crate::progress::{Progress, Teller};
use crate::recover::{self, Files};
use crate::segment::open_listed;
use crate::store::Store;

/// What a backup did. See [`crate::Store::backup`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// Data files of the backup.
    pub segments: usize,
    /// Bytes in them that count.
    pub bytes: u64,
    /// Of the files, those that an earlier backup had brought there.
    pub unchanged: usize,
    /// Those that were given a second name.
    pub linked: usize,
    /// Those that were copied.
    pub copied: usize,
    /// Data files that were removed from the destination.
    pub removed: usize,
}

impl Store {
    /// Makes a store in the directory `dest` that holds what this one does when the call begins. Readers and
    /// writers go on meanwhile; a compaction and a `close` wait for it, and it for them. Where the file
    /// system can, files are given a second name there and take no room of their own; elsewhere they are
    /// copied. Calls `told` from file to file and after each MiB that is copied; stops when that breaks.
    ///
    /// Done again with the same `dest`, it carries over what has come since and removes what a
    /// compaction has made superfluous. That takes effect in one step: a crash, or an error, leaves the last
    /// backup or the new one; what an interrupted call had brought, the next one removes and brings again. Until the first one is done, `dest` cannot be opened
    /// ([`Error::MissingManifest`]). When it has returned, the backup is durable.
    ///
    /// A backup is a store: open it, verify it, copy it elsewhere. One that was written to, compacted or repaired is no
    /// backup any more: the next call refuses it ([`Error::NotABackup`]). It is no safeguard against a bad
    /// disk: files that share their bytes share damage to them. Damage is carried over as it is and not
    /// looked for; [`crate::verify()`] does.
    ///
    /// A call that finds something new seals the active segment; compaction joins segments that are small. `told` must not
    /// back up, compact or close the same store: that would wait for itself. What the store compacts by itself is laid down
    /// when it begins, and done when it has ended.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// # let dir = tempfile::tempdir()?;
    /// # let dest = dir.path().join("backup");
    /// # let store = zerocask::Store::open(dir.path().join("store"))?;
    /// store.put("key", "value")?;
    /// store.backup(&dest, |_| ControlFlow::Continue(()))?;
    /// store.put("key", "newer")?;
    /// let backup = zerocask::Store::open(&dest)?;
    /// assert_eq!(backup.get("key")?.ok_or("it was put")?, "value");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotABackup`] if `dest` holds another store, or one that was written to;
    /// [`Error::BackupInside`]; [`Error::Locked`] if `dest` is open; [`Error::Inconsistent`] if its manifest is damaged;
    /// [`Error::Stopped`] if `told` breaks; [`Error::Io`]; [`Error::Poisoned`], [`Error::ReadOnly`] and
    /// [`Error::Closed`] of this store.
    pub fn backup(
        &self,
        dest: impl AsRef<Path>,
        told: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<BackupReport> {
        self.uncompacted(|log| backup(log, dest.as_ref(), told))
    }
}

/// Backs up what the store holds now. Nobody compacts it meanwhile.
fn backup(
    log: &Log,
    dest: &Path,
    told: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<BackupReport> {
    // Refused before anything is made.
    drop(log.writer()?);
    refuse_inside(log, dest)?;
    let destination = Destination::open(&*log.fs, dest, &log.commits.current().seed)?;
    let mut writer = log.writer()?;
    log.seal_for_compaction(&mut writer)?;
    // Ids that were given up are handed out for good: the backup must not know of more than the store.
    log.commits.commit_notes()?;
    // What is written to the store from now on is not in the log of the backup, whatever positions say.
    let history = commit::unknown_history(&log.directory)?;
    let next = marked(Manifest { history, tail: Vec::new(), ..log.commits.current() });
    drop(writer);

    destination.refuse_diverged(&next)?;
    let mut teller = Teller::new(told);
    teller.expect(next.sealed.iter().map(|entry| entry.len).sum());
    destination.bring(&log.directory, &next, &mut teller)
}

/// What is in the store's directory would become part of it, or be lost with it.
fn refuse_inside(log: &Log, dest: &Path) -> Result<()> {
    let store = log.directory.path();
    if place(&*log.fs, dest).starts_with(place(&*log.fs, store)) {
        let (path, store) = (dest.to_path_buf(), store.to_path_buf());
        return Err(Error::BackupInside { path, store });
    }
    Ok(())
}

/// Where a path leads, from the root and without symbolic links; what of it is not there yet will be plain directories.
fn place(fs: &dyn Fs, path: &Path) -> PathBuf {
    let mut place = PathBuf::new();
    for component in iter::once(Component::CurDir).chain(path.components()) {
        if component == Component::ParentDir {
            // No link any more, so that it is the directory above.
            place.pop();
            continue;
        }
        place.push(component);
        if let Ok(resolved) = fs.resolve(&place) {
            place = resolved;
        }
    }
    place
}

/// The manifest with the nonce that it has in a backup, which follows from the rest of it: whatever else writes a manifest
/// there leaves another. So a backup that was written to is known from one that was only opened.
fn marked(manifest: Manifest) -> Manifest {
    let Manifest { seed, nonce: _, next_file_id, sealed, tail, .. } = &manifest;
    let sealed = sealed
        .iter()
        .flat_map(|entry| [entry.id.get(), entry.len, entry.records, u64::from(entry.checksum)]);
    let numbers =
        iter::once(next_file_id.get()).chain(sealed).chain(tail.iter().map(|id| id.get()));
    let bytes: Vec<u8> = numbers.flat_map(u64::to_be_bytes).collect();
    let nonce = KeyHasher::new(seed, u64::MAX).hash(&bytes);
    Manifest { nonce, ..manifest }
}

/// The directory to back up to.
struct Destination<'a> {
    fs: &'a dyn Fs,
    directory: Directory,
    files: Files,
    /// The last backup.
    previous: Option<Manifest>,
    _lock: Box<dyn Lock>,
}

impl<'a> Destination<'a> {
    /// Takes hold of a directory that is empty, or holds backups of the store with this seed.
    fn open(fs: &'a dyn Fs, dest: &Path, seed: &[u8; 16]) -> Result<Self> {
        fs.create_dir_all(dest).map_err(Error::io("make the directory", dest))?;
        let directory = Directory::new(dest);
        let lock = fs.lock(&directory.lock()).map_err(Error::io("lock", directory.lock()))?;
        let _lock = lock.ok_or_else(|| Error::Locked { path: directory.lock() })?;
        let files = Files::list(fs, &directory)?;
        let is_ours =
            |manifest: &Manifest| manifest.seed == *seed && *manifest == marked(manifest.clone());
        let previous = match files.has_manifest {
            true => Some(recover::read_manifest(fs, directory.manifest())?),
            false => None,
        };
        let is_fit = match &previous {
            Some(previous) => is_ours(previous),
            None if files.data.is_empty() => true,
            // Of a first backup that was interrupted, what was to be its manifest is there.
            None => recover::read_manifest(fs, directory.manifest_temporary())
                .is_ok_and(|begun| is_ours(&begun)),
        };
        let destination = Destination { fs, directory, files, previous, _lock };
        if is_fit { Ok(destination) } else { Err(destination.not_a_backup()) }
    }

    fn not_a_backup(&self) -> Error {
        Error::NotABackup { path: self.directory.path().to_path_buf() }
    }

    /// Refuses a backup with a log, which it has if it was written to and not closed. And one in which another file has an
    /// id of the store's, or of which the store knows nothing: the store may be an older copy of itself.
    fn refuse_diverged(&self, next: &Manifest) -> Result<()> {
        let Some(previous) = &self.previous else { return Ok(()) };
        let is_another = |entry: &SealedEntry| {
            next.entry(entry.id).is_some_and(|other| !is_same_file(entry, other))
        };
        let diverged = previous.next_file_id > next.next_file_id
            || previous.sealed.iter().any(is_another)
            || !self.files.tail(previous).is_empty();
        if diverged { Err(self.not_a_backup()) } else { Ok(()) }
    }

    /// Makes the directory hold the files of `next`, and them alone.
    fn bring(
        &self,
        source: &Directory,
        next: &Manifest,
        teller: &mut Teller<impl FnMut(Progress) -> ControlFlow<()>>,
    ) -> Result<BackupReport> {
        let half_written = self.directory.manifest_temporary();
        let write = |manifest: &Manifest| commit::write_manifest(self.fs, &half_written, manifest);
        let install = || commit::install_manifest(self.fs, &self.directory, &half_written);
        self.clear_up()?;
        match &self.previous {
            None => commit::announce_manifest(self.fs, &self.directory, next)?,
            Some(previous) => {
                let next_file_id = next.next_file_id;
                write(&marked(Manifest { next_file_id, ..previous.clone() }))?;
                install()?;
            }
        }
        let mut report = BackupReport::default();
        for entry in &next.sealed {
            self.bring_file(source, entry, teller, &mut report)?;
            report.segments += 1;
            report.bytes += entry.len;
        }
        if self.previous.is_some() {
            write(next)?;
        }
        install()?;

        // Oldest first, as everywhere.
        let gone = self.files.data.iter().filter(|id| !next.lists(**id));
        for path in gone.map(|id| self.directory.data(*id)) {
            report.removed += usize::from(self.remove(&path));
        }
        Ok(report)
    }

    /// Removes what an interrupted call has left, before anything is brought: its room may be needed.
    fn clear_up(&self) -> Result<()> {
        let files = &self.files;
        let (data, in_use) = match &self.previous {
            Some(previous) => (files.orphans(previous), None),
            // It keeps whatever else is there from being adopted.
            None => (files.data.clone(), Some(self.directory.manifest_temporary())),
        };
        if !data.is_empty() {
            // The manifest that does not list them may be durable no more than they.
            commit::sync_dir(self.fs, &self.directory)?;
        }
        for id in data {
            self.remove(&self.directory.data(id));
        }
        let half_written = files.temporary.iter().filter(|path| Some(*path) != in_use.as_ref());
        for path in half_written {
            self.remove(path);
        }
        Ok(())
    }

    fn bring_file(
        &self,
        source: &Directory,
        entry: &SealedEntry,
        teller: &mut Teller<impl FnMut(Progress) -> ControlFlow<()>>,
        report: &mut BackupReport,
    ) -> Result<()> {
        let (from, to) = (source.data(entry.id), self.directory.data(entry.id));
        if self.has(entry, &to)? {
            report.unchanged += 1;
            return teller.step(entry.len);
        }
        let half_written = self.directory.data_temporary(entry.id);
        remove_stale(self.fs, &half_written)?;
        match self.fs.link(&from, &half_written) {
            Ok(()) => {
                report.linked += 1;
                teller.step(entry.len)?;
            }
            Err(error) => {
                // Another file system, or one without links. What copying cannot do either, it says.
                tracing::debug!(from = %from.display(), to = %to.display(), %error, "copied, not linked");
                self.copy(entry, &from, &half_written, teller)?;
                report.copied += 1;
            }
        }
        let renamed = self.fs.rename(&half_written, &to);
        renamed.map_err(Error::io("rename a segment of the backup to", &*to))
    }

    fn copy(
        &self,
        entry: &SealedEntry,
        from: &Path,
        to: &Path,
        teller: &mut Teller<impl FnMut(Progress) -> ControlFlow<()>>,
    ) -> Result<()> {
        let file = open_listed(self.fs, from)?;
        let copy = self.fs.create(to).map_err(Error::io("create", to))?;
        fs::copy((&*file, from), 0..entry.len, (&*copy, to), |bytes| teller.step(bytes))?;
        copy.sync().map_err(Error::io("sync", to))?;
        if let Err(error) = copy.make_read_only() {
            tracing::warn!(path = %to.display(), %error, "cannot clear a segment's write bits");
        }
        Ok(())
    }

    /// Whether an earlier backup has brought the file. One that cannot be looked at just then is not lost.
    fn has(&self, entry: &SealedEntry, path: &Path) -> Result<bool> {
        let listed = self.previous.as_ref().and_then(|previous| previous.entry(entry.id));
        if listed.is_none() {
            return Ok(false);
        }
        let file = match self.fs.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(Error::io("open", path))?,
        };
        let len = file.len().map_err(Error::io("read the length of", path))?;
        Ok(len >= entry.len)
    }

    /// Removes what does not count. Failing to is no error: the next backup tries again, or the next opening.
    fn remove(&self, path: &Path) -> bool {
        match self.fs.remove(path) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot remove a leftover yet");
                false
            }
        }
    }
}

/// Whether both mean the same bytes. How many of them are dead plays no part.
fn is_same_file(a: &SealedEntry, b: &SealedEntry) -> bool {
    (a.len, a.records, a.checksum) == (b.len, b.records, b.checksum)
}
