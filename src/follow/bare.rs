//! Data files without a manifest, which a writer would adopt: all are the log. Nobody says how long they
//! stay as they are, so they are not mapped.

use std::sync::Arc;

use super::look::TailFile;
use super::tail::Tail;
use super::{Follower, State};
use crate::error::{Error, Result};
use crate::fs::View;
use crate::index::Index;
use crate::location::SegmentId;
use crate::recover;
use crate::segment::Segment;
use crate::segment::scan::{self, Rules};

impl Follower {
    /// Indexes the files, oldest first. What a writer would cut off the last one does not count.
    pub(super) fn read_bare(
        &self,
        ids: &[SegmentId],
        index: &Index,
        state: &mut State,
    ) -> Result<()> {
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
            let walked = recover::walk_sealed(slot, &segment, &bytes, self.strict, |frame, at| {
                index.replay(&segment, frame, at);
            })?;
            state.newest = Some(id);
            state.tail.push(Tail::of_bare(&found, len, slot, walked.summary.checksum));
            state.found.add(walked);
        }
        Ok(())
    }
}
