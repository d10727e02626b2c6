//! Which files make the log at one moment.

use std::path::Path;
use std::sync::Arc;

use super::{Follower, State};
use crate::directory::{Directory, Name};
use crate::error::{Error, Result};
use crate::fs::File;
use crate::location::SegmentId;
use crate::manifest::{Manifest, SealedEntry};
use crate::recover;
use crate::segment::{Segment, open_listed};

pub(super) enum Look {
    /// There is no manifest still.
    Bare,
    /// What the manifest listed was gone, and the manifest itself by then.
    Vanished,
    Found(Box<Found>),
}

/// The log, open.
pub(super) struct Found {
    pub(super) manifest: Manifest,
    /// The segments that the state does not have, oldest first.
    pub(super) sealed: Vec<(SealedEntry, Arc<Segment>)>,
    /// What is not sealed, oldest first. Only if it is settled, with what the manifest does not name.
    pub(super) tail: Vec<TailFile>,
    /// All of it was open while the manifest was the newest.
    pub(super) settled: bool,
}

pub(super) struct TailFile {
    pub(super) id: SegmentId,
    pub(super) path: Arc<Path>,
    pub(super) file: Arc<dyn File>,
}

impl Follower {
    /// Opens what the newest manifest lists and the state does not have, and the unsealed log.
    pub(super) fn look(&self, state: &State) -> Result<Look> {
        if state.bare && !self.directory.has_manifest(&*self.fs)? {
            return Ok(Look::Bare);
        }
        let manifest = recover::read_manifest(&*self.fs, self.directory.manifest())?;
        let nonce = manifest.nonce;
        let found = self.open_named(manifest, state);
        let unnamed = found.as_ref().map_or(Ok(None), |found| self.open_unnamed(&found.manifest));
        let is_newest =
            recover::read_manifest(&*self.fs, self.directory.manifest())?.nonce == nonce;
        match (found, unnamed?) {
            (Ok(mut found), Some(unnamed)) if is_newest => {
                found.tail.extend(unnamed);
                found.settled = true;
                Ok(Look::Found(Box::new(found)))
            }
            (Ok(found), _) => Ok(Look::Found(Box::new(found))),
            (Err(Error::MissingSegment { .. }), _) if !is_newest => Ok(Look::Vanished),
            (Err(error), _) => Err(error),
        }
    }

    /// Opens what the manifest names. These files are right whatever happens meanwhile: no id is used
    /// again.
    fn open_named(&self, manifest: Manifest, state: &State) -> Result<Found> {
        let is_known = state.is_newest(&manifest);
        let new = manifest.sealed.iter().filter(|entry| !is_known && !state.has_sealed(entry));
        let open = |entry: &SealedEntry| {
            let path = self.directory.data(entry.id);
            let segment = Segment::open(&*self.fs, &path, entry.id, entry.len, self.reading)?;
            Ok((*entry, Arc::new(segment)))
        };
        let sealed = new.map(open).collect::<Result<_>>()?;
        let tail = manifest.tail.iter().map(|&id| self.open_tail(id)).collect::<Result<_>>()?;
        Ok(Found { manifest, sealed, tail, settled: false })
    }

    /// Opens what belongs to the unsealed log if the manifest is the newest still. `None` if a file was
    /// gone.
    fn open_unnamed(&self, manifest: &Manifest) -> Result<Option<Vec<TailFile>>> {
        let dir = self.directory.path();
        let names = self.fs.list(dir).map_err(Error::io("list", dir))?;
        let ids = names.iter().filter_map(|name| match Name::parse(name) {
            Name::Data(id) if id >= manifest.next_file_id => Some(id),
            _ => None,
        });
        let mut ids: Vec<_> = ids.collect();
        ids.sort_unstable();
        match ids.into_iter().map(|id| self.open_tail(id)).collect() {
            Err(Error::MissingSegment { .. }) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Whether a repair has replaced a segment. It keeps the file under another name, from before it takes the
    /// segment out of the manifest on.
    pub(super) fn was_repaired(&self, id: SegmentId) -> bool {
        self.fs.open(&Directory::damaged(&self.directory.data(id), 1)).is_ok()
    }

    pub(super) fn open_tail(&self, id: SegmentId) -> Result<TailFile> {
        let path = self.directory.data(id);
        let file = open_listed(&*self.fs, &path)?;
        Ok(TailFile { id, path, file })
    }
}
