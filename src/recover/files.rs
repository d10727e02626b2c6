//! A directory's files, sorted by what they are.

use std::path::PathBuf;

use crate::directory::{Directory, Name};
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::location::SegmentId;
use crate::manifest::Manifest;

#[derive(Default)]
pub(super) struct Files {
    pub(super) has_manifest: bool,
    /// Ascending.
    pub(super) data: Vec<SegmentId>,
    /// Half-written ones, to be removed.
    pub(super) temporary: Vec<PathBuf>,
    /// Something that only a store with a manifest has.
    witness: Option<PathBuf>,
}

impl Files {
    pub(super) fn list(fs: &dyn Fs, directory: &Directory) -> Result<Self> {
        let mut files = Files::default();
        let names = fs.list(directory.path()).map_err(Error::io("list", directory.path()))?;
        for name in names {
            let path = directory.path().join(&name);
            match Name::parse(&name) {
                Name::Manifest => files.has_manifest = true,
                Name::Data(id) => files.data.push(id),
                Name::FirstManifest => files.temporary.push(path),
                Name::Temporary => {
                    files.witness = Some(path.clone());
                    files.temporary.push(path);
                }
                Name::Companion => files.witness = Some(path),
                Name::Misspelt => {
                    tracing::warn!(path = %path.display(), "not spelt as a segment: left alone");
                }
                Name::Lock | Name::Cut | Name::Foreign => {}
            }
        }
        files.data.sort_unstable();
        Ok(files)
    }

    /// Refuses data files whose manifest is lost: nobody can tell which of them are current.
    pub(super) fn check_bare(&self, directory: &Directory) -> Result<()> {
        match &self.witness {
            Some(witness) if !self.data.is_empty() => Err(Error::MissingManifest {
                dir: directory.path().to_path_buf(),
                witness: witness.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The unsealed log: what the manifest lists, and files with ids that it has not handed out.
    pub(super) fn tail(&self, manifest: &Manifest) -> Vec<SegmentId> {
        let new = self.data.iter().filter(|&&id| id >= manifest.next_file_id);
        manifest.tail.iter().chain(new).copied().collect()
    }

    /// Data files that do not count: inputs of a compaction that was committed, outputs of one that
    /// was not, tails that have been copied.
    pub(super) fn orphans(&self, manifest: &Manifest) -> Vec<SegmentId> {
        let is_listed = |id: &SegmentId| {
            manifest.tail.contains(id)
                || manifest.sealed.binary_search_by_key(id, |entry| entry.id).is_ok()
        };
        let old = self.data.iter().copied().filter(|id| *id < manifest.next_file_id);
        old.filter(|id| !is_listed(id)).collect()
    }
}
