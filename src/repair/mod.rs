//! Repair of a directory that an opening refuses, or opens with damage.
//!
//! What is there is indexed in memory, as it is and not as the manifest has it; what counts in damaged segments and
//! in the log is copied; then one manifest lists what is sound, and the copies (docs/design.md, "Repair").
//!
//! Invariants:
//! - Until that manifest is there, what is on disk says what it said of the damage: whoever repairs again after an
//!   interruption finds the same. When it is there, so is a note of what was lost.
//! - Nothing is removed that was not copied or given another name, durably, before.
//! - What a newer version wrote, or the disk cannot read, is refused before anything is changed.

mod keep;
mod listing;
mod report;
mod salvage;

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

pub use report::{LostRecord, RepairReport};

use crate::commit;
use crate::directory::{Directory, remove_stale};
use crate::error::{Damage, Error, Result};
use crate::fs::{Fs, OsFs, Reading};
use crate::location::SegmentId;
use crate::manifest::Manifest;
use crate::options::{Options, Recovery};
use crate::progress::{Progress, Teller};
use crate::recover::{self, Recovering, Tail};
use crate::segment::{corrupt, open_listed};
use crate::verify::{self, Examined, Fault};
use listing::Listing;
use salvage::{Damaged, Salvage};

/// Mends the store in `dir`, which nobody may have open, as far as it can be: so that it opens, every record
/// that is left is sound, and every key has the newest value that could be saved. Looks through the
/// store as [`crate::verify()`] does first; if nothing is damaged, it does nothing. Calls `told` as that does;
/// stops when that breaks, and can be called again then.
///
/// - A manifest that is lost or damaged is made anew: from what was about to be the manifest, if an interrupted
///   backup or repair has left that, or else from all data files, in the order of their ids. Then
///   nobody can tell files that had been superseded: of a store that was in the middle
///   of removing them, deleted keys may come back.
/// - Of damaged data files, every record that counts is copied to a new file. A key whose newest record is bad has the
///   newest good one before it from then on, if there is one: most who repair want back what there is. Such
///   keys are named in the report ([`RepairReport::lost`]), and logged before it takes effect.
/// - Files that are missing, short, or not those that were listed are taken as they are.
/// - Nothing is deleted that could not be copied: damaged files are called `….damaged` afterwards, and so are data files
///   that no manifest lists. The store leaves them alone.
///
/// What it makes has the permissions of the manifest, or of the lock file where there is none, as far as the umask lets
/// it.
///
/// It needs room for the records that it copies, and the memory for keys that an opening needs. It takes effect in one
/// step, at the end. After a crash or a failure before that nothing is lost, and the next call finds the same.
/// `told` is not called while keys are indexed, between looking through the store and copying.
///
/// # Errors
/// [`Error::NotFound`] if there is no store; [`Error::Locked`] if it is open; [`Error::Unsupported`] if a newer
/// version wrote some of it; [`Error::Io`] if the disk cannot read a file: copy the directory to another disk,
/// as much of it as can be read, and repair it there. Nothing is changed then. [`Error::Stopped`] if `told` breaks.
pub fn repair(
    dir: impl AsRef<Path>,
    told: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<RepairReport> {
    Options::new().repair_store(dir, told)
}

impl Options {
    /// As [`crate::repair()`], reading by [`Options::read_mode`], and making files with [`Options::file_mode`] if that was
    /// called. The other options play no part.
    ///
    /// # Errors
    /// Those of [`crate::repair()`], and [`Error::InvalidOption`].
    pub fn repair_store(
        &self,
        dir: impl AsRef<Path>,
        told: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<RepairReport> {
        self.check()?;
        let directory = Directory::new(dir.as_ref());
        let fs = OsFs::as_found(self, &[directory.manifest(), directory.lock()]);
        let fs: Arc<dyn Fs> = Arc::new(fs);
        repair_on(&fs, dir.as_ref(), self, u64::MAX, told)
    }
}

pub(crate) fn repair_on(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    options: &Options,
    hash_mask: u64,
    told: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<RepairReport> {
    let directory = &Directory::new(dir);
    if !directory.holds_store(&**fs)? {
        return Err(Error::NotFound { path: dir.to_path_buf() });
    }
    let lock = fs.lock(&directory.lock()).map_err(Error::io("lock", directory.lock()))?;
    let _lock = lock.ok_or_else(|| Error::Locked { path: directory.lock() })?;
    let (reading, mut teller) = (Reading::new(options), Teller::new(told));
    let examined = verify::examine(&**fs, directory, (reading, reading), &mut teller)?;
    let mut report = RepairReport::default();
    if examined.report.is_clean() {
        return Ok(report);
    }
    report.damage.clone_from(&examined.report.damage);
    report.damage.iter().try_for_each(refuse)?;
    report.gone = gone(&examined);

    let Listing { manifest, mut sealed, tail } = Listing::new(directory, &examined)?;
    let options = &options.clone().recovery(Recovery::Lenient);
    let mut recovering = Recovering::new(fs, directory, options, hash_mask, &manifest);
    recovering.index_listed(&sealed)?;
    for (entry, (_, segment)) in sealed.iter_mut().zip(recovering.index.segments.list()) {
        entry.dead_bytes = segment.usage().stale_bytes().min(entry.len);
    }
    let tail = Tail::open(&recovering, &tail)?;
    let damaged = salvage::damaged(&recovering.index, &recovering.report.damage);

    // From here on the directory is changed.
    let mending = Mending { fs: &**fs, directory, examined: &examined };
    mending.keep_manifest(&mut report)?;
    let logs = u64::from(!tail.ids().is_empty());
    let mut next = Manifest { sealed, ..manifest.clone() };
    let ids = mending.reserve(manifest, logs + damaged.len() as u64)?;
    next.next_file_id = ids.end;
    mending.clear_up(&next, &mut recovering, &mut report)?;

    if logs > 0 {
        let copy = recovering.copy_log(&tail, None, ids.start)?;
        next.sealed.extend(copy.as_ref().map(|(entry, _)| *entry));
        recovering.index_copy(copy)?;
    }
    let salvage = Salvage { fs: &**fs, directory, reading, index: &recovering.index };
    report.lost = salvage.forget_bad_records(&damaged)?;
    for lost in &report.lost {
        tracing::warn!(%lost, "a record is lost");
    }
    let first = ids.start.checked_add(logs).ok_or_else(|| directory.too_many_segments())?;
    let copies = salvage.copy_all(&damaged, first, &mut teller)?;
    report.salvaged_records = copies.iter().map(|copy| copy.records).sum();
    next.sealed.extend(copies);

    mending.commit(next, &damaged, &mut report)?;
    let superseded = tail.ids().into_iter().map(|id| directory.data(id));
    superseded.for_each(|path| recovering.remove(&path));
    report.recovery = recovering.report;
    Ok(report)
}

/// What is not to be mended here.
fn refuse(fault: &Fault) -> Result<()> {
    let Fault { path, offset, damage } = fault;
    match *damage {
        Damage::ReservedFlag => Err(corrupt(path, *offset, *damage)),
        Damage::Unread { kind } => Err(Error::io("read", path)(kind.into())),
        _ => Ok(()),
    }
}

/// What may have held records of which nobody knows the keys any more.
fn gone(examined: &Examined) -> Vec<Fault> {
    let of_files = examined.checked.iter().flat_map(|file| {
        let ranges =
            file.bad.iter().filter(|(_, damage)| !matches!(damage, Damage::Checksum { .. }));
        let whole = file.unlike.map(|damage| (0, damage));
        let all = whole.into_iter().chain(ranges.copied());
        all.map(|(offset, damage)| file.fault(offset, damage))
    });
    // Without the manifest nobody knows how far the last file had been written.
    let torn = match examined.manifest {
        Some(_) => &[][..],
        None => &examined.report.torn,
    };
    let torn = torn.iter().map(|torn| {
        let damage = Damage::Unreadable { bytes: torn.bytes };
        Fault { path: torn.path.clone(), offset: torn.offset, damage }
    });
    of_files.chain(torn).collect()
}

/// The changes to the directory, in the order in which they are made.
struct Mending<'a> {
    fs: &'a dyn Fs,
    directory: &'a Directory,
    examined: &'a Examined,
}

impl Mending<'_> {
    /// Keeps a manifest that is damaged, or lists what is not there.
    fn keep_manifest(&self, report: &mut RepairReport) -> Result<()> {
        let is_untrue = self.examined.checked.iter().any(|file| file.unlike.is_some());
        report.manifest_rebuilt = is_untrue || self.examined.has_lost_manifest;
        if report.manifest_rebuilt && self.examined.files.has_manifest {
            report.set_aside.push(keep::keep(self.fs, &self.directory.manifest())?);
        }
        Ok(())
    }

    /// Puts `count` ids aside, durably: what comes under them is a leftover until a manifest lists it. The manifest
    /// lists what it listed. One that is lost stays lost; what it would list is noted beside it, and so stays the same
    /// until it is repaired.
    fn reserve(&self, mut manifest: Manifest, count: u64) -> Result<Range<SegmentId>> {
        let (fs, directory) = (self.fs, self.directory);
        let above = |id: &SegmentId| id.checked_add(1).ok_or_else(|| directory.too_many_segments());
        if let Some(last) = manifest.tail.last() {
            manifest.next_file_id = manifest.next_file_id.max(above(last)?);
        }
        let start = commit::reserve(&mut manifest, count, directory)?;
        let ids = start..manifest.next_file_id;
        if !self.examined.has_lost_manifest {
            commit::create_manifest(fs, directory, &mut manifest)?;
            return Ok(ids);
        }
        if self.examined.manifest.is_none() {
            for entry in &manifest.sealed {
                let path = directory.data(entry.id);
                recover::take_over(&*open_listed(fs, &path)?, &path)?;
            }
        }
        commit::renew(&mut manifest, directory)?;
        commit::announce_manifest(fs, directory, &manifest)?;
        Ok(ids)
    }

    /// Removes what is half-written, and keeps what no manifest lists: it may be all that is left of what is bad in the files
    /// that supersede it.
    fn clear_up(
        &self,
        manifest: &Manifest,
        recovering: &mut Recovering<'_>,
        report: &mut RepairReport,
    ) -> Result<()> {
        let files = &self.examined.files;
        let in_use = self.examined.has_lost_manifest.then(|| self.directory.manifest_temporary());
        let half_written = files.temporary.iter().filter(|path| Some(*path) != in_use.as_ref());
        half_written.for_each(|path| recovering.remove(path));
        for id in files.orphans(manifest) {
            report.set_aside.push(keep::set_aside(self.fs, &self.directory.data(id))?);
        }
        Ok(())
    }

    /// Lists what is sound, and the copies, instead of what is damaged.
    fn commit(
        &self,
        mut next: Manifest,
        damaged: &[Damaged],
        report: &mut RepairReport,
    ) -> Result<()> {
        let (fs, directory) = (self.fs, self.directory);
        for damaged in damaged {
            report.set_aside.push(keep::keep(fs, damaged.segment.path())?);
        }
        keep::note(fs, directory, &report.to_string())?;
        let is_damaged = |id| damaged.iter().any(|damaged| damaged.segment.id() == id);
        next.sealed.retain(|entry| !is_damaged(entry.id));
        next.sealed.sort_by_key(|entry| entry.id);
        next.tail.clear();
        next.history = commit::unknown_history(directory)?;
        commit::create_manifest(fs, directory, &mut next)?;

        let noted = self.examined.has_lost_manifest.then(|| directory.manifest_temporary().into());
        let replaced = damaged.iter().map(|damaged| Arc::clone(damaged.segment.path()));
        for path in replaced.chain(noted) {
            if let Err(error) = remove_stale(fs, &path) {
                tracing::warn!(%error, "cannot remove a leftover yet");
            }
        }
        Ok(())
    }
}
