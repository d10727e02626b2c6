//! What the manifest lists, and what is there of it.

use crate::directory::Directory;
use crate::error::{Damage, Result};
use crate::location::SegmentId;
use crate::manifest::{Manifest, SealedEntry};
use crate::recover;
use crate::segment::scan::Ending;
use crate::verify::{Checked, Examined};

pub(super) struct Listing {
    /// As it is on disk, or, where it is lost, as if it listed every file; with the whole log.
    pub(super) manifest: Manifest,
    /// The sealed files that are there, each as it is.
    pub(super) sealed: Vec<SealedEntry>,
    /// The files of the log that are there.
    pub(super) tail: Vec<SegmentId>,
}

impl Listing {
    pub(super) fn new(directory: &Directory, examined: &Examined) -> Result<Self> {
        let mut manifest = match &examined.manifest {
            Some(manifest) => manifest.clone(),
            None => of_all_files(directory, examined)?,
        };
        manifest.tail = examined.files.tail(&manifest);
        let (sealed, tail) = examined.checked.split_at(manifest.sealed.len());
        let is_there = |file: &Checked| file.unlike != Some(Damage::Missing);
        let sealed = manifest.sealed.iter().zip(sealed).filter(|(_, file)| is_there(file));
        let sealed = sealed.map(|(entry, file)| as_it_is(entry, file)).collect();
        let tail = manifest.tail.iter().zip(tail).filter(|(_, file)| is_there(file));
        let tail = tail.map(|(id, _)| *id).collect();
        Ok(Listing { manifest, sealed, tail })
    }
}

/// A manifest that lists every data file, in the order of their ids, as sealed: without the one that is lost nobody knows
/// better. Zeros at the very end are no part of the log.
fn of_all_files(directory: &Directory, examined: &Examined) -> Result<Manifest> {
    let mut manifest = recover::new_manifest(&examined.files, directory)?;
    let files = examined.files.data.iter().zip(&examined.checked);
    let entries = files.map(|(&id, file)| {
        let len = match file.summary {
            Some(summary) if summary.ending == Ending::Zeros => summary.end,
            _ => file.len,
        };
        as_found(SealedEntry { id, len, records: 0, dead_bytes: 0, checksum: 0 }, file)
    });
    manifest.sealed = entries.collect();
    Ok(manifest)
}

fn as_it_is(entry: &SealedEntry, file: &Checked) -> SealedEntry {
    match file.unlike {
        Some(_) => as_found(SealedEntry { len: file.len, ..*entry }, file),
        None => *entry,
    }
}

fn as_found(entry: SealedEntry, file: &Checked) -> SealedEntry {
    file.summary.map_or(entry, |summary| SealedEntry {
        records: summary.records,
        checksum: summary.checksum,
        ..entry
    })
}
