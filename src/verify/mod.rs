//! Looking through a store that nobody has open: every record, every file that the manifest lists, and
//! the manifest itself. Nothing is changed.
//!
//! Invariant: what is called damage here is what an opening would refuse, or index as damaged; what an
//! opening puts right by itself is none.

mod report;
mod segments;

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;

pub use report::{Fault, Torn, VerifyReport};

use crate::directory::Directory;
use crate::error::{Damage, Error, Result};
use crate::fs::{Fs, Lock, OsFs, Reading};
use crate::manifest::Manifest;
use crate::options::Options;
use crate::progress::{Progress, Teller};
use crate::recover::{self, Files};
use crate::segment::scan::{self, Ending, Rules};
pub(crate) use segments::Checked;
use segments::Job;

/// Looks through the store in `dir`: checks the manifest, that every file that it lists is there and is
/// the one that it means, and every record's checksum. Several files are looked through at a time, as
/// many as the machine has processors. Calls `told` after every 16 MiB at the most, and stops when
/// that breaks.
///
/// Damage is no error but in the report. What an opening puts right by itself (the torn end of a store
/// that was not closed, leftovers of something interrupted) is in the report too, and no damage.
///
/// Nothing in the directory is changed; it may be read-only. Nobody may have the store open for
/// writing: where there is a lock file that may be read, that is made sure of; of a directory that has none, because it was
/// copied without, the caller has to. What somebody writes meanwhile all the same may be called damage.
///
/// The files are mapped, so what this takes of memory the system may take back. Bytes that
/// cannot be read are damage, and no bus error, where the system is Linux 5.14 or newer, unless the disk
/// loses them between being read and being looked at.
///
/// ```
/// use std::ops::ControlFlow;
/// # let dir = tempfile::tempdir()?;
/// # zerocask::Store::open(dir.path())?.put("key", "value")?;
/// let report = zerocask::verify(dir.path(), |_| ControlFlow::Continue(()))?;
/// assert!(report.is_clean(), "{report}");
/// assert_eq!(report.records, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::NotFound`] if there is no store; [`Error::Locked`] if it is open; [`Error::Unsupported`] if a newer
/// version wrote its manifest; [`Error::Stopped`] if `told` breaks; [`Error::Io`] if a file may not be opened.
pub fn verify(
    dir: impl AsRef<Path>,
    told: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<VerifyReport> {
    Options::new().verify_store(dir, told)
}

impl Options {
    /// As [`crate::verify()`], reading by [`Options::read_mode`]: under [`crate::ReadMode::Copy`] there is no bus error
    /// whatever becomes of the files, for memory for a whole file at a time for each processor. The other options play
    /// no part.
    ///
    /// # Errors
    /// Those of [`crate::verify()`], and [`Error::InvalidOption`].
    pub fn verify_store(
        &self,
        dir: impl AsRef<Path>,
        told: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<VerifyReport> {
        self.check()?;
        verify_on(&OsFs::new(self), dir.as_ref(), Reading::new(self), told)
    }
}

pub(crate) fn verify_on(
    fs: &dyn Fs,
    dir: &Path,
    reading: Reading,
    told: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<VerifyReport> {
    let directory = Directory::new(dir);
    let lock = lock_if_possible(fs, &directory)?;
    // Without it somebody may be writing, and cut zeros off the log.
    let of_log = if lock.is_some() { reading } else { reading.by_copying() };
    Ok(examine(fs, &directory, (reading, of_log), &mut Teller::new(told))?.report)
}

/// A lock file that is not there is not made: that would change the directory.
fn lock_if_possible(fs: &dyn Fs, directory: &Directory) -> Result<Option<Box<dyn Lock>>> {
    let path = directory.lock();
    match fs.lock_existing(&path) {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => Err(Error::Locked { path }),
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Ok(None)
            }
            _ => Err(Error::io("lock", path)(error)),
        },
    }
}

/// A directory that was looked through.
pub(crate) struct Examined {
    pub(crate) files: Files,
    /// The manifest, or what was about to be it; `None` if neither is there and sound.
    pub(crate) manifest: Option<Manifest>,
    /// The manifest itself is not there, or damaged.
    pub(crate) has_lost_manifest: bool,
    /// The data files that count, in the order of the log.
    pub(crate) checked: Vec<Checked>,
    pub(crate) report: VerifyReport,
}

/// Looks through a directory that nobody writes to meanwhile: sealed files read by the first of the two ways, the log by the
/// second.
pub(crate) fn examine(
    fs: &dyn Fs,
    directory: &Directory,
    reading: (Reading, Reading),
    teller: &mut Teller<impl FnMut(Progress) -> ControlFlow<()>>,
) -> Result<Examined> {
    if !directory.holds_store(fs)? {
        return Err(Error::NotFound { path: directory.path().to_path_buf() });
    }
    let files = Files::list(fs, directory)?;
    let mut report = VerifyReport::default();
    let mut manifest = read_manifest(fs, directory, &files, &mut report)?;
    let has_lost_manifest = !report.damage.is_empty();
    if has_lost_manifest && files.has_next_manifest {
        manifest = read_next_manifest(fs, directory)?;
    }
    let jobs = match &manifest {
        Some(manifest) => listed_jobs(fs, directory, &files, manifest, reading)?,
        None => bare_jobs(fs, directory, &files, reading)?,
    };
    teller.expect(segments::total(&jobs));
    let checked = segments::check_all(fs, &jobs, teller)?;

    let mut ended = false;
    for file in &checked {
        report.segments += usize::from(file.unlike != Some(Damage::Missing));
        report.bytes = report.bytes.saturating_add(file.len);
        report.records += file.summary.map_or(0, |summary| summary.records);
        report.unapplied_batch_records += file.unapplied;
        report.damage.extend(file.faults());
        note_end(file, &mut ended, &mut report);
    }
    report.leftovers.clone_from(&files.temporary);
    if let Some(manifest) = &manifest {
        report
            .leftovers
            .retain(|path| !has_lost_manifest || *path != directory.manifest_temporary());
        let orphans = files.orphans(manifest).into_iter();
        report.leftovers.extend(orphans.map(|id| directory.data(id).to_path_buf()));
    }
    report.set_aside.clone_from(&files.set_aside);
    report.foreign.clone_from(&files.foreign);
    Ok(Examined { files, manifest, has_lost_manifest, checked, report })
}

fn read_manifest(
    fs: &dyn Fs,
    directory: &Directory,
    files: &Files,
    report: &mut VerifyReport,
) -> Result<Option<Manifest>> {
    let mut damaged = |path, damage| {
        report.damage.push(Fault { path, offset: 0, damage });
        Ok(None)
    };
    if files.has_manifest {
        return match recover::read_manifest(fs, directory.manifest()) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(Error::Inconsistent { path, damage }) => damaged(path, damage),
            Err(error) => Err(error),
        };
    }
    match files.check_bare(directory) {
        Err(Error::MissingManifest { .. }) => damaged(directory.manifest(), Damage::Missing),
        checked => {
            report.bare = true;
            checked.map(|()| None)
        }
    }
}

/// What was about to be the manifest where there is none: a backup or a repair that was interrupted leaves it, or a commit.
/// What it lists had been written, or was about to be.
fn read_next_manifest(fs: &dyn Fs, directory: &Directory) -> Result<Option<Manifest>> {
    match recover::read_manifest(fs, directory.manifest_temporary()) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(Error::Inconsistent { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The files that the manifest lists, and the log behind them.
fn listed_jobs(
    fs: &dyn Fs,
    directory: &Directory,
    files: &Files,
    manifest: &Manifest,
    (of_sealed, of_log): (Reading, Reading),
) -> Result<Vec<Job>> {
    let sealed = manifest.sealed.iter().map(|entry| {
        Job::new(fs, directory.data(entry.id), Rules::Sealed, of_sealed, Some(*entry))
    });
    let tail = files.tail(manifest).into_iter();
    let tail = tail.map(|id| Job::new(fs, directory.data(id), Rules::Tail, of_log, None));
    sealed.chain(tail).collect()
}

/// All data files, as an adoption reads them.
fn bare_jobs(
    fs: &dyn Fs,
    directory: &Directory,
    files: &Files,
    (of_sealed, of_log): (Reading, Reading),
) -> Result<Vec<Job>> {
    let how = |id| match files.data.last() == Some(id) {
        true => (Rules::AdoptedLast, of_log),
        false => (Rules::Sealed, of_sealed),
    };
    let job = |id| {
        let (rules, reading) = how(id);
        Job::new(fs, directory.data(*id), rules, reading, None)
    };
    files.data.iter().map(job).collect()
}

/// What stands behind the log's last good record. Of the tail, whatever follows the first file that
/// does not end with one does not count.
fn note_end(file: &Checked, ended: &mut bool, report: &mut VerifyReport) {
    let Some(summary) = file.summary else { return };
    let path = file.path.to_path_buf();
    let (offset, ending) = match *ended {
        true => (0, Ending::OpenBatch),
        false => (summary.end, summary.ending),
    };
    if file.rules == Rules::Sealed || !scan::ends_as_tail(ending, file.rules) || offset == file.len
    {
        return;
    }
    *ended = true;
    match ending {
        Ending::Zeros => {}
        Ending::Bad(damage @ Damage::ReservedFlag) => {
            report.damage.push(Fault { path, offset, damage });
        }
        _ => report.torn.push(Torn { path, offset, bytes: file.len - offset }),
    }
}
