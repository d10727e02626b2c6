//! Repair of a directory that an opening refuses, or opens with damage.
//!
//! Three steps, each of which leaves a directory that can be opened or repaired, with all that it held
//! (docs/design.md, "Repair"): the manifest is made to say what is there; the directory is opened, as ever;
//! what counts in damaged segments is copied out of them.
//!
//! Invariants:
//! - Nothing is removed that was not copied or given another name, durably, before.
//! - What a newer version wrote, or the disk cannot read, is refused before anything is changed.

mod keep;
mod report;
mod salvage;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

pub use report::{LostRecord, RepairReport};

use crate::commit;
use crate::directory::Directory;
use crate::error::{Damage, Error, Result};
use crate::fs::{Fs, OsFs, Reading};
use crate::manifest::{Manifest, SealedEntry};
use crate::options::{Options, Recovery};
use crate::position::History;
use crate::progress::{Progress, Teller};
use crate::recover::{self, Recovered};
use crate::segment::corrupt;
use crate::verify::{self, Checked, Examined, Fault};
use keep::keep;
use salvage::Salvage;

/// Mends the store in `dir`, which nobody may have open, as far as it can be: so that it opens, every record
/// that is left is sound, and every key has the newest value that could be saved. Looks through the
/// store as [`crate::verify()`] does first; if nothing is damaged, it does nothing. Calls `told` as that does;
/// stops when that breaks, and can be called again then.
///
/// - A manifest that is lost or damaged is made anew from all data files, in the order of their ids. Without
///   the old one nobody can tell files that had been superseded: of a store that was in the middle
///   of removing them, deleted keys may come back.
/// - Of damaged data files, every record that counts is copied to a new file. A key whose newest record is bad has the
///   newest good one before it from then on, if there is one: most who repair want back what there is. Such
///   keys are named in the report ([`RepairReport::lost`]), and logged before it takes effect.
/// - Files that are missing, short, or not those that were listed are taken as they are.
/// - Nothing is deleted that could not be copied: damaged files are called `….damaged` afterwards, and
///   the store leaves them alone.
///
/// It needs room for the records that it copies, and the memory for keys that an opening needs. After a crash in the
/// middle, nothing is lost: call it again.
///
/// # Errors
/// [`Error::NotFound`] if there is no store; [`Error::Locked`] if it is open; [`Error::Unsupported`] if a newer
/// version wrote some of it; [`Error::Io`] if the disk cannot read a file: copy the directory to another disk,
/// as much of it as can be read, and repair it there. Nothing is changed then. [`Error::Stopped`] if `told` breaks.
pub fn repair(
    dir: impl AsRef<Path>,
    told: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<RepairReport> {
    let options = Options::new();
    let fs: Arc<dyn Fs> = Arc::new(OsFs::new(&options));
    repair_on(&fs, dir.as_ref(), &options, u64::MAX, told)
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
    let examined = verify::examine(&**fs, directory, reading, &mut teller)?;
    let mut report = RepairReport::default();
    if examined.report.is_clean() {
        return Ok(report);
    }
    report.damage.clone_from(&examined.report.damage);
    report.damage.iter().try_for_each(refuse)?;
    report.gone = examined.checked.iter().flat_map(gone).collect();

    let options = &options.clone().recovery(Recovery::Lenient);
    let store = open(fs, directory, &examined, options, hash_mask, &mut report)?;
    report.recovery = store.report.clone();
    if !store.report.damage.is_empty() {
        let salvage = Salvage { fs: &**fs, directory, reading, store: &store };
        salvage.run(&mut teller, &mut report)?;
    }
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
fn gone(file: &Checked) -> impl Iterator<Item = Fault> {
    let ranges = file.bad.iter().filter(|(_, damage)| !matches!(damage, Damage::Checksum { .. }));
    let whole = file.unlike.map(|damage| (0, damage));
    let all = whole.into_iter().chain(ranges.copied());
    all.map(|(offset, damage)| file.fault(offset, damage))
}

/// Opens the directory, when its manifest says what is there.
fn open(
    fs: &Arc<dyn Fs>,
    directory: &Directory,
    examined: &Examined,
    options: &Options,
    hash_mask: u64,
    report: &mut RepairReport,
) -> Result<Recovered> {
    let Some(manifest) = &examined.manifest else {
        if examined.files.has_manifest {
            report.set_aside.push(keep(&**fs, &directory.manifest())?);
        }
        report.manifest_rebuilt = true;
        return recover::adopt(fs, directory, &examined.files, options, hash_mask);
    };
    if let Some(mut manifest) = as_it_is(manifest, &examined.checked) {
        report.set_aside.push(keep(&**fs, &directory.manifest())?);
        report.manifest_rebuilt = true;
        manifest.history = History::new(commit::random_lineage(directory)?);
        commit::create_manifest(&**fs, directory, &mut manifest)?;
    }
    recover::recover(fs, directory, options, hash_mask)
}

/// The manifest, with what it says of files made true; `None` if it is.
fn as_it_is(manifest: &Manifest, checked: &[Checked]) -> Option<Manifest> {
    if checked.iter().all(|file| file.unlike.is_none()) {
        return None;
    }
    let (sealed, tail) = checked.split_at(manifest.sealed.len());
    let is_there = |file: &Checked| file.unlike != Some(Damage::Missing);
    let sealed = manifest.sealed.iter().zip(sealed).filter(|(_, file)| is_there(file));
    let sealed = sealed.map(|(entry, file)| match (file.unlike, file.summary) {
        (Some(_), Some(summary)) => SealedEntry {
            len: file.len,
            records: summary.records,
            checksum: summary.checksum,
            dead_bytes: entry.dead_bytes.min(file.len),
            ..*entry
        },
        _ => *entry,
    });
    let tail = manifest.tail.iter().zip(tail).filter(|(_, file)| is_there(file));
    let (sealed, tail) = (sealed.collect(), tail.map(|(id, _)| *id).collect());
    Some(Manifest { sealed, tail, ..manifest.clone() })
}
