//! The files beside the segments that make the next opening quick: hints and the checkpoint, written when there is time.
//!
//! They say nothing that the segments do not, so a failure to write one is told and no more, and on a poisoned store, whose
//! files nobody touches any more, none is written.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::checkpoint::{self, Covered, Head};
use crate::directory::remove_stale;
use crate::error::Result;
use crate::hint;
use crate::location::{Location, SegmentId, SegmentSlot};
use crate::log::Log;
use crate::manifest::{Manifest, SealedEntry};
use crate::past::Past;
use crate::recover::Findings;

/// What there is, and what is to be written.
#[derive(Default)]
pub(crate) struct Companions {
    /// Sealed segments without a hint.
    unhinted: Mutex<Vec<SealedEntry>>,
    /// Of the manifest beside which the checkpoint on disk was written.
    checkpointed: Mutex<Option<u64>>,
    /// The opening has found something damaged: the next one has to find it as well.
    has_damage: bool,
    /// What has been found since.
    findings: Arc<Findings>,
}

impl Companions {
    pub(crate) fn new(
        unhinted: Vec<SealedEntry>,
        checkpointed: Option<u64>,
        has_damage: bool,
        findings: Arc<Findings>,
    ) -> Self {
        let (unhinted, checkpointed) = (Mutex::new(unhinted), Mutex::new(checkpointed));
        Companions { unhinted, checkpointed, has_damage, findings }
    }

    /// Whether something is damaged, as far as anybody has looked.
    fn has_damage(&self) -> bool {
        self.has_damage || self.findings.segment.load(Ordering::Relaxed)
    }

    /// Whether a segment waits for its hint.
    pub(crate) fn wants_hints(&self) -> bool {
        !self.unhinted.lock().is_empty()
    }

    /// A segment has been sealed, or written by a compaction.
    pub(crate) fn want_hint(&self, entry: SealedEntry) {
        self.unhinted.lock().push(entry);
    }
}

impl Log {
    /// Writes the hints of segments that have none, from an id on, until it is told to stop. No compaction runs.
    pub(crate) fn write_hints(&self, from: SegmentId, mut stops: impl FnMut() -> bool) {
        let wanted: Vec<_> = {
            let mut unhinted = self.companions.unhinted.lock();
            unhinted.extract_if(.., |entry| entry.id >= from).collect()
        };
        if wanted.is_empty() {
            return;
        }
        let segments = self.index.segments.list().into_iter();
        let segments: HashMap<_, _> =
            segments.map(|(_, segment)| (segment.id(), segment)).collect();
        let mut wanted = wanted.into_iter();
        while let Some(&entry) = wanted.as_slice().first() {
            if stops() || self.commits.poison().check().is_err() {
                break;
            }
            wanted.next();
            // A compaction may have been faster.
            let Some(segment) = segments.get(&entry.id) else { continue };
            match hint::file::write(&*self.fs, &self.directory, segment, &entry) {
                Ok(true) => tracing::debug!(segment = %entry.id, "its hint is written"),
                Ok(false) => {
                    tracing::warn!(segment = %entry.id, "is not as it was written, and gets no hint");
                }
                Err(error) => tracing::warn!(%error, "a segment stays without a hint"),
            }
        }
        let mut unhinted = self.companions.unhinted.lock();
        unhinted.extend(wanted);
    }

    /// Writes a checkpoint of what the store holds now, where the log goes on with a new segment. No compaction runs.
    pub(crate) fn write_checkpoint(&self) -> Result<()> {
        let mut writer = self.writer()?;
        self.seal_for_compaction(&mut writer)?;
        let moment = Moment::begin(self);
        drop(writer);
        moment.write(self)
    }

    /// As [`Log::write_checkpoint`], when the log is closed.
    pub(crate) fn write_last_checkpoint(&self) -> Result<()> {
        self.commits.poison().check()?;
        Moment::begin(self).write(self)
    }
}

/// What the store holds when all of it is sealed.
struct Moment {
    past: Past,
    manifest: Manifest,
    segments: Vec<Covered>,
    /// Where each is in that list, by slots.
    places: HashMap<SegmentSlot, usize>,
}

impl Moment {
    /// Nothing is active, and nobody is in the middle of a write.
    fn begin(log: &Log) -> Self {
        let past = Past::begin(&log.index.keydir, &log.index.segments, log.clock.now());
        let manifest = log.commits.current();
        let all = log.index.segments.list();
        let all: HashMap<_, _> =
            all.iter().map(|(slot, segment)| (segment.id(), (slot, segment))).collect();
        let (mut segments, mut places) = (Vec::new(), HashMap::new());
        for &SealedEntry { id, len, checksum, .. } in &manifest.sealed {
            if let Some((slot, segment)) = all.get(&id) {
                places.insert(**slot, segments.len());
                let figures = segment.usage().figures();
                segments.push(Covered { id, len, checksum, figures });
            }
        }
        Moment { past, manifest, segments, places }
    }

    fn write(self, log: &Log) -> Result<()> {
        let (nonce, companions) = (self.manifest.nonce, &log.companions);
        let mut checkpointed = companions.checkpointed.lock();
        if companions.findings.page.swap(false, Ordering::Relaxed) {
            *checkpointed = None;
        }
        let mut written = Ok(());
        // Nobody has read the last one of an ordered store, nor will the next.
        if *checkpointed != Some(nonce) && log.index.ordered().is_none() && !companions.has_damage()
        {
            *checkpointed = None;
            written = self.write_file(log).inspect(|()| *checkpointed = Some(nonce));
        }
        if companions.has_damage() {
            // The next opening has to find it as well.
            *checkpointed = None;
            written = remove_stale(&*log.fs, &log.directory.checkpoint());
        }
        self.past.end(&log.index.keydir);
        written
    }

    fn write_file(&self, log: &Log) -> Result<()> {
        let Manifest { seed, nonce, .. } = self.manifest;
        let head = Head { seed, nonce, segments: self.segments.clone(), shards: Vec::new() };
        let visit = |hashes, visitor: &mut dyn FnMut(u64, Location)| {
            let mut lost = None;
            let rest =
                self.past.visit_first(&log.index.keydir, hashes, |hash, location| {
                    match self.renumbered(location) {
                        Some(location) => visitor(hash, location),
                        None => lost = Some(location),
                    }
                });
            lost.map_or(Ok(rest), |location| Err(log.index.lost(location)))
        };
        checkpoint::file::write(&*log.fs, &log.directory, head, self.past.len, visit)
    }

    /// The location with its segment's place in the checkpoint for a slot.
    fn renumbered(&self, location: Location) -> Option<Location> {
        let place = self.places.get(&location.slot())?;
        location.in_slot(SegmentSlot::from_index(*place)?)
    }
}
