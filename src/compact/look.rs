//! What a compaction looks for in a segment before anything of it is copied: whether all of it is sound that counts, and what
//! that is.

use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::fs::Whole;
use crate::location::{Location, SegmentSlot};
use crate::log::Log;
use crate::manifest::Manifest;
use crate::progress::{Progress, Teller};
use crate::segment::Segment;

/// How many bytes go by before somebody is told.
const TOLD_AFTER: u64 = if cfg!(any(test, fuzzing)) { 1 } else { 64 << 10 };

/// A segment to rewrite.
pub(super) struct Input {
    pub(super) slot: SegmentSlot,
    pub(super) segment: Arc<Segment>,
    /// How many segments lie below it, inputs or not.
    pub(super) older: usize,
}

/// What of a segment has to be copied.
pub(super) struct Carry {
    pub(super) bytes: Whole,
    /// Hashes and places of the records, in the order of the log.
    pub(super) records: Vec<(u64, Location)>,
    /// Segments with a lower id stay.
    pub(super) older_stay: bool,
}

pub(super) struct Looking<'a, F> {
    pub(super) log: &'a Log,
    /// Somebody waits for the compaction.
    pub(super) is_asked_for: bool,
    /// As it was when the compaction began.
    pub(super) listed: Manifest,
    pub(super) teller: Mutex<Teller<F>>,
}

impl<F: FnMut(Progress) -> ControlFlow<()>> Looking<'_, F> {
    /// What of a segment has to be copied, or why it is kept. `named`: as for [`crate::index::Index::to_carry`].
    pub(super) fn look_at(
        &self,
        input: &Input,
        named: Option<Vec<u64>>,
        older_stay: bool,
    ) -> Result<Result<Carry, Error>> {
        let Input { slot, segment, .. } = input;
        let bytes = match segment.read_all() {
            Ok(bytes) => bytes,
            // Who has asked is told; nobody else is, and the others are worth it still.
            Err(error) if self.is_asked_for => return Err(error),
            Err(error) => return Ok(Err(error)),
        };
        let (index, meant) = (&self.log.index, self.listed.entry(segment.id()));
        let mut steps = self.steps();
        let step = |bytes| steps.step(bytes);
        let records = index.to_carry((*slot, segment), meant, &bytes, named, older_stay, step)?;
        // However short the segment is.
        steps.tell()?;
        Ok(records.map(|records| Carry { bytes, records, older_stay }))
    }

    pub(super) fn steps(&self) -> Steps<'_, F> {
        Steps { teller: &self.teller, untold: 0 }
    }
}

/// Tells how far it has come, from time to time.
pub(super) struct Steps<'t, F> {
    teller: &'t Mutex<Teller<F>>,
    untold: u64,
}

impl<F: FnMut(Progress) -> ControlFlow<()>> Steps<'_, F> {
    pub(super) fn step(&mut self, bytes: u64) -> Result<()> {
        self.untold += bytes;
        if self.untold < TOLD_AFTER { Ok(()) } else { self.tell() }
    }

    fn tell(&mut self) -> Result<()> {
        self.teller.lock().step(std::mem::take(&mut self.untold))
    }
}
