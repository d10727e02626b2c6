//! A directory's files, sorted by what they are.

use std::path::PathBuf;

use crate::directory::{self, Directory, Name};
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::location::SegmentId;
use crate::manifest::Manifest;

#[derive(Default)]
pub(crate) struct Files {
    pub(crate) has_manifest: bool,
    /// What was about to be the manifest, or half of it.
    pub(crate) has_next_manifest: bool,
    /// Ascending.
    pub(crate) data: Vec<SegmentId>,
    /// Segments of which there are hints.
    pub(crate) hints: Vec<SegmentId>,
    /// The highest id in any name of the store's.
    highest: Option<SegmentId>,
    /// Half-written ones, to be removed.
    pub(crate) temporary: Vec<PathBuf>,
    /// Kept for a person to look at.
    pub(crate) set_aside: Vec<PathBuf>,
    /// None of the store's.
    pub(crate) foreign: Vec<PathBuf>,
    /// Something that only a store with a manifest has.
    witness: Option<PathBuf>,
}

impl Files {
    pub(crate) fn list(fs: &dyn Fs, directory: &Directory) -> Result<Self> {
        let mut files = Files::default();
        let names = fs.list(directory.path()).map_err(Error::io("list", directory.path()))?;
        for name in names {
            let path = directory.path().join(&name);
            let meaning = Name::parse(&name);
            if !matches!(meaning, Name::Foreign | Name::Misspelt) {
                files.highest = files.highest.max(directory::leading_id(&name));
            }
            match meaning {
                Name::Manifest => files.has_manifest = true,
                Name::Data(id) => files.data.push(id),
                Name::FirstManifest => files.temporary.push(path),
                Name::NextManifest | Name::Temporary => {
                    files.has_next_manifest |= meaning == Name::NextManifest;
                    files.witness = Some(path.clone());
                    files.temporary.push(path);
                }
                Name::Hint(id) => {
                    files.hints.push(id);
                    files.witness = Some(path);
                }
                Name::Checkpoint => files.witness = Some(path),
                Name::Misspelt => {
                    tracing::warn!(path = %path.display(), "not spelt as a segment: left alone");
                    files.foreign.push(path);
                }
                Name::SetAside => files.set_aside.push(path),
                Name::Foreign => files.foreign.push(path),
                Name::Lock => {}
            }
        }
        files.data.sort_unstable();
        files.hints.sort_unstable();
        for paths in [&mut files.temporary, &mut files.set_aside, &mut files.foreign] {
            paths.sort_unstable();
        }
        Ok(files)
    }

    /// An id that no file has or had, as far as their names tell.
    pub(crate) fn next_id(&self) -> Option<SegmentId> {
        self.highest.map_or(Some(SegmentId::FIRST), |highest| highest.checked_add(1))
    }

    /// Refuses data files whose manifest is lost, for nobody can tell which of them are current; and, with or without
    /// them, what is left of a backup or a repair that was interrupted.
    pub(crate) fn check_bare(&self, directory: &Directory) -> Result<()> {
        match &self.witness {
            Some(witness) if !self.data.is_empty() || self.has_next_manifest => {
                Err(Error::MissingManifest {
                    dir: directory.path().to_path_buf(),
                    witness: witness.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    /// The unsealed log: what the manifest lists, and files with ids that it has not handed out.
    pub(crate) fn tail(&self, manifest: &Manifest) -> Vec<SegmentId> {
        let new = self.data.iter().filter(|&&id| id >= manifest.next_file_id);
        manifest.tail.iter().chain(new).copied().collect()
    }

    /// Data files that do not count: inputs of a compaction that was committed, outputs of one that
    /// was not, tails that have been copied.
    pub(crate) fn orphans(&self, manifest: &Manifest) -> Vec<SegmentId> {
        self.data.iter().copied().filter(|id| !manifest.counts(*id)).collect()
    }
}
