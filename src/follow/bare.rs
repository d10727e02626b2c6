//! Data files without a manifest, which a writer would adopt: all are the log. Nobody says how long they
//! stay as they are, so they are not mapped.

use std::sync::Arc;

use super::look::TailFile;
use super::tail::Tail;
use super::{Follower, Refreshed};
use crate::error::{Error, Result};
use crate::fs::View;
use crate::index::Index;
use crate::location::SegmentId;
use crate::segment::Segment;
use crate::segment::scan::{self, Rules};

impl Follower {
    /// Indexes the files, oldest first. What a writer would cut off the last one does not count.
    pub(super) fn open_bare(&self, ids: &[SegmentId], index: &Index) -> Result<Refreshed> {
        let mut state = self.state.lock();
        let mut refreshed = Refreshed::default();
        state.bare = true;
        let reading = self.reading.by_copying();
        for &id in ids {
            let found = self.open_tail(id)?;
            let TailFile { path, file, .. } = &found;
            let mut len = file.len().map_err(Error::io("read the length of", &**path))?;
            if Some(&id) == ids.last() {
                let bytes = View::open(file, path, len, reading)?.whole()?;
                let summary = scan::walk(&bytes, Rules::AdoptedLast, |_| Ok::<_, Error>(()))?;
                if scan::ends_as_tail(summary.ending, Rules::AdoptedLast) {
                    len = summary.end;
                }
            }
            let segment = Arc::new(Segment::new(id, View::open(file, path, len, reading)?));
            let slot = index.segments.add(Arc::clone(&segment));
            let slot = slot.ok_or_else(|| self.directory.too_many_segments())?;
            let bytes = segment.read_all()?;
            let mut catching = self.catch_up(index, &mut state, &mut refreshed);
            let summary = catching.index_all(slot, &segment, &bytes)?;
            state.newest = Some(id);
            state.tail.push(Tail::of_bare(&found, len, slot, summary.checksum));
        }
        Ok(refreshed)
    }
}
