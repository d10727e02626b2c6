//! Compaction: live records into new segments, stale ones away. What to do ([`plan`]) is apart from
//! doing it ([`run`]).
//!
//! Invariants:
//! - One compaction at a time, and none beside a backup or the clearing of the store.
//! - What a compaction could not free does not look as if another could: copies are counted anew as they are written, and
//!   [`Compactor`] remembers what has been found damaged, until it is asked to rewrite everything and finds it sound.

mod look;
mod plan;
mod progress;
mod run;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::PathBuf;

use parking_lot::{Mutex, MutexGuard};

pub use progress::{CompactionOutcome, CompactionStats, LastCompaction};

use self::plan::{Facts, Limits, Plan};
use self::progress::Figures;
use self::run::Job;
use crate::error::{Error, Result};
use crate::location::SegmentId;
use crate::log::Log;
use crate::policy::CompactionPolicy;
use crate::progress::Progress;
use crate::segment::Segment;

/// What a compaction did. See [`crate::Store::compact`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactionReport {
    /// Records in the data files before, tombstones and stale ones included.
    pub records_before: u64,
    /// Records in the data files after, those written meanwhile not counted.
    pub records_after: u64,
    /// Bytes of the data files before.
    pub bytes_before: u64,
    /// Bytes of the data files after, those written meanwhile not counted.
    pub bytes_after: u64,
    /// Bytes of the segments that were written.
    pub bytes_written: u64,
    /// Segments that are gone.
    pub segments_removed: usize,
    /// Segments that were written.
    pub segments_written: usize,
    /// Segments that hold damage and were therefore kept as they are.
    pub segments_kept: Vec<PathBuf>,
}

/// Compacts a store, and knows what came of it.
#[derive(Default)]
pub(crate) struct Compactor {
    one_at_a_time: Mutex<()>,
    figures: Figures,
    /// Segments in which something bad was found that counts.
    kept: Mutex<HashSet<SegmentId>>,
}

impl Compactor {
    /// While the answer is held, no compaction runs.
    pub(crate) fn alone(&self) -> MutexGuard<'_, ()> {
        self.one_at_a_time.lock()
    }

    /// As `alone`, unless somebody else is.
    pub(crate) fn try_alone(&self) -> Option<MutexGuard<'_, ()>> {
        self.one_at_a_time.try_lock()
    }

    pub(crate) fn stats(&self) -> CompactionStats {
        self.figures.get()
    }

    /// Rewrites everything. The caller is alone.
    pub(crate) fn compact(&self, log: &Log) -> Result<CompactionReport> {
        self.carry_out(log, &Job::Everything, |_| ControlFlow::Continue(()))
    }

    /// Does what the policy wants done next; `None` if that is nothing. `told` hears of each step and may end it.
    pub(crate) fn compact_due(
        &self,
        log: &Log,
        policy: &CompactionPolicy,
        told: impl FnMut(Progress) -> ControlFlow<()> + Send,
    ) -> Option<Result<CompactionReport>> {
        // Who has it has told the bell, and is not to be waited for.
        let Some(_alone) = self.try_alone() else { return Some(Err(Error::Stopped)) };
        let (ids, facts) = self.sealed(log);
        let plan = Plan::due(&facts, policy, limits(log))?;
        let inputs = plan.inputs.iter().map(|&input| ids[input]).collect();
        tracing::info!(
            segments = plan.inputs.len(), copied = plan.copied, freed = plan.freed,
            path = %log.directory.path().display(), "compacting"
        );
        Some(self.carry_out(log, &Job::These { inputs, outputs: plan.outputs }, told))
    }

    /// Whether so much is dead, or the disk so full, that a compaction must not be slow.
    pub(crate) fn is_pressing(&self, log: &Log, policy: &CompactionPolicy) -> bool {
        let (_, facts) = self.sealed(log);
        let bytes: u64 = facts.iter().map(|facts| facts.bytes).sum();
        plan::is_pressing(&facts, policy) || free_space(log) < bytes / 8
    }

    /// The sealed segments, in the order of their ids.
    fn sealed(&self, log: &Log) -> (Vec<SegmentId>, Vec<Facts>) {
        let (now, kept) = (log.clock.now(), self.kept.lock());
        let segments = log.index.segments.list().into_iter();
        let sealed = segments.filter(|(_, segment)| segment.is_sealed());
        let facts = sealed.map(|(_, segment)| {
            let is_kept = kept.contains(&segment.id());
            (segment.id(), Facts { is_kept, ..Facts::of(&segment, now) })
        });
        facts.unzip()
    }

    fn carry_out(
        &self,
        log: &Log,
        job: &Job,
        mut told: impl FnMut(Progress) -> ControlFlow<()> + Send,
    ) -> Result<CompactionReport> {
        let told = |progress| {
            self.figures.note(progress);
            told(progress)
        };
        let result = self.figures.of(&log.clock, || {
            let done = run::run(log, job, |id| self.kept.lock().contains(&id), told)?;
            let mut kept = self.kept.lock();
            kept.retain(|id| !done.looked_at.contains(id));
            kept.extend(done.kept);
            Ok(done.report)
        });
        match &result {
            Ok(report) => tracing::info!(?report, "compacted"),
            Err(Error::Stopped) => tracing::debug!("a compaction was stopped"),
            Err(error) => tracing::warn!(%error, "a compaction failed"),
        }
        result
    }
}

impl Facts {
    fn of(segment: &Segment, now: u64) -> Self {
        let usage = segment.usage();
        let (dead_bytes, hiding_bytes) = usage.dead_and_hiding_bytes(now);
        Facts { bytes: usage.bytes(), dead_bytes, hiding_bytes, is_kept: false }
    }
}

fn limits(log: &Log) -> Limits {
    let free = free_space(log);
    // The rest is the writer's.
    Limits { segment_size: log.segment_size(), room: free - free / 4 }
}

/// What the disk has room for, as far as that can be told.
fn free_space(log: &Log) -> u64 {
    log.fs.free_space(log.directory.path()).unwrap_or(u64::MAX)
}
