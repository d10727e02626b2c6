//! Carries a compaction out, beside readers and the writer.
//!
//! The order (docs/design.md, "Compaction"): the active segment is sealed and ids for the outputs are
//! reserved; live records are copied, oldest first, into outputs that nobody names yet; outputs are
//! synced and renamed; everything that was appended meanwhile is synced; the manifest names the
//! outputs instead of the inputs; entries move to the copies; the inputs leave.
//!
//! Invariants:
//! - Output ids lie above every segment sealed before the run and below what is written during it.
//! - A tombstone is dropped only if every segment with a lower id is an input; an expired record counts
//!   as a tombstone. One that is kept is copied only if its key is absent then.
//! - An entry moves only if it is still where the record was copied from.
//! - An input's every record passes its CRC before the first of it is copied. One with a bad record that
//!   is live, or with an unreadable range, is no input: it is kept and reported.
//! - Before the manifest drops the inputs, everything on which a decision to drop rested is durable.

use std::collections::HashSet;
use std::sync::Arc;

use super::CompactionReport;
use super::plan::{Facts, Plan};
use crate::error::{Error, Result};
use crate::index::Existing;
use crate::location::{Location, SegmentId, SegmentSlot};
use crate::log::Log;
use crate::manifest::SealedEntry;
use crate::record::Frame;
use crate::segment::scan::{self, Found, Rules};
use crate::segment::{Active, Segment};

/// Runs a full compaction. One at a time.
pub(crate) fn run(log: &Log) -> Result<CompactionReport> {
    let mut writer = log.writer()?;
    let facts = |(_, segment): &(SegmentSlot, Arc<Segment>)| Facts {
        id: segment.id(),
        bytes: segment.usage().bytes(),
        dead_bytes: segment.usage().dead_bytes(),
    };
    let before: Vec<_> = log.index.segments.list().iter().map(facts).collect();
    let plan = Plan::full(&before, log.segment_size());
    let mut first_output = SegmentId::FIRST;
    if !plan.inputs.is_empty() {
        log.seal_for_compaction(&mut writer)?;
        first_output = log.reserve_ids(plan.outputs)?;
    }
    // From here on the next active segment's id lies above the outputs'.
    let segments = log.index.segments.list();
    drop(writer);

    let mut report = CompactionReport::default();
    for (_, segment) in &segments {
        report.records_before += segment.usage().records();
        report.bytes_before += segment.usage().bytes();
    }
    (report.records_after, report.bytes_after) = (report.records_before, report.bytes_before);
    if plan.inputs.is_empty() {
        return Ok(report);
    }

    let mut copying = Copying {
        log,
        ids: first_output.get()..first_output.get() + plan.outputs,
        output: None,
        finished: Vec::new(),
        moves: Vec::new(),
        expired: Vec::new(),
    };
    let inputs = match copying.copy_all(&segments, &plan, &mut report) {
        Ok(inputs) => inputs,
        Err(error) => {
            copying.abandon();
            return Err(error);
        }
    };
    copying.install(&inputs, &mut report)
}

struct Copying<'a> {
    log: &'a Log,
    /// Reserved and not used yet.
    ids: std::ops::Range<u64>,
    output: Option<Active>,
    /// Sealed and renamed, not listed yet.
    finished: Vec<(SealedEntry, Arc<Segment>)>,
    moves: Vec<Move>,
    /// Entries whose records are dropped because they have expired.
    expired: Vec<(u64, Location)>,
}

/// An entry's change once the outputs are listed.
struct Move {
    hash: u64,
    from: Location,
    /// Index into the finished outputs.
    output: u32,
    offset: u64,
    len: u64,
}

impl Copying<'_> {
    /// Copies what the inputs hold that counts, and seals the outputs. Answers which segments were
    /// inputs indeed.
    fn copy_all(
        &mut self,
        segments: &[(SegmentSlot, Arc<Segment>)],
        plan: &Plan,
        report: &mut CompactionReport,
    ) -> Result<Vec<(SegmentSlot, Arc<Segment>)>> {
        let mut inputs = Vec::new();
        for (older, (slot, segment)) in segments.iter().enumerate() {
            if plan.inputs.binary_search(&segment.id()).is_err() {
                continue;
            }
            let Some(dead) = self.dead_bad_records(*slot, segment)? else {
                report.segments_kept.push(segment.path().to_path_buf());
                continue;
            };
            // Segments come in id order: all older ones are inputs if as many are as there are.
            self.copy_segment(*slot, segment, &dead, inputs.len() < older)?;
            inputs.push((*slot, Arc::clone(segment)));
        }
        if let Some(output) = self.output.take() {
            self.finish_output(output)?;
        }
        Ok(inputs)
    }

    /// The offsets of bad records that no entry names, or `None` if anything else cannot be read.
    fn dead_bad_records(
        &self,
        slot: SegmentSlot,
        segment: &Segment,
    ) -> Result<Option<HashSet<u64>>> {
        let mut bad = HashSet::new();
        let mut unreadable = false;
        scan::walk(segment.bytes(), Rules::Sealed, |found| {
            match found {
                Found::Record { .. } | Found::Unapplied { .. } => {}
                Found::Bad { offset, .. } => drop(bad.insert(offset)),
                Found::Unreadable { .. } => unreadable = true,
            }
            Ok::<_, Error>(())
        })?;
        // What a bad record says of its key cannot be trusted, so its entry is looked for by place.
        let mut is_live = false;
        if !bad.is_empty() {
            let keydir = &self.log.index.keydir;
            for shard in 0..keydir.shard_count() {
                keydir.visit_shard(shard, |location| {
                    is_live |= location.slot() == slot && bad.contains(&location.offset());
                });
            }
        }
        Ok((!unreadable && !is_live).then_some(bad))
    }

    fn copy_segment(
        &mut self,
        slot: SegmentSlot,
        segment: &Segment,
        dead_bad_records: &HashSet<u64>,
        older_segments: bool,
    ) -> Result<()> {
        let log = self.log;
        scan::walk(segment.bytes(), Rules::Sealed, |found| {
            if matches!(found, Found::Bad { offset, .. } if dead_bad_records.contains(&offset)) {
                return Ok(());
            }
            let Some((offset, frame)) = segment.sound(found)? else { return Ok(()) };
            let from = Location::new(slot, offset).ok_or_else(|| log.too_many_segments())?;
            let hash = log.index.hash(frame.key());
            if !log.index.is_carried(hash, &frame, from, older_segments) {
                return Ok(());
            }
            if !older_segments && frame.is_expired(|| log.clock.now()) {
                self.expired.push((hash, from));
                return Ok(());
            }
            self.copy_record(hash, from, &frame, segment)
        })?;
        Ok(())
    }

    fn copy_record(
        &mut self,
        hash: u64,
        from: Location,
        frame: &Frame<'_>,
        segment: &Segment,
    ) -> Result<()> {
        let record = frame.record().as_single();
        // The last output takes whatever remains.
        if let Some(output) = &self.output
            && output.len() + record.len_at(output.len()) > self.log.segment_size()
            && !self.ids.is_empty()
            && let Some(output) = self.output.take()
        {
            self.finish_output(output)?;
        }
        if self.output.is_none() {
            self.output = Some(self.start_output()?);
        }
        let Some(output) = &mut self.output else { return Err(self.log.too_many_segments()) };
        let appended = output.append_copy(frame, segment.path(), from.offset())?;
        if frame.is_tombstone() {
            output.usage().add_dead(appended.len);
        } else {
            let (output, offset, len) = (self.finished.len() as u32, appended.offset, appended.len);
            self.moves.push(Move { hash, from, output, offset, len });
        }
        Ok(())
    }

    fn start_output(&mut self) -> Result<Active> {
        let id = self.ids.next().ok_or_else(|| self.log.too_many_segments())?;
        let id = SegmentId::new(id);
        Active::create_unread(&*self.log.fs, &self.log.directory.data_temporary(id), id)
    }

    /// Makes an output durable under its name.
    fn finish_output(&mut self, mut output: Active) -> Result<()> {
        let poison = self.log.commits.poison();
        let path = self.log.directory.data(output.id());
        let temporary = Arc::clone(output.path());
        let finished = output.finish().and_then(|()| poison.attempt(|| output.sync()));
        let renamed = finished.and_then(|()| {
            let renamed = self.log.fs.rename(&temporary, &path);
            renamed.map_err(Error::io("rename a compacted segment to", &*path))
        });
        let entry = output.entry();
        match renamed.and_then(|()| output.seal(&path)) {
            Ok(segment) => {
                self.finished.push((entry, Arc::new(segment)));
                Ok(())
            }
            Err(error) => {
                self.remove_output(entry.id);
                Err(error)
            }
        }
    }

    /// Makes the outputs the store's, in one step, and lets the inputs go.
    fn install(
        mut self,
        inputs: &[(SegmentSlot, Arc<Segment>)],
        report: &mut CompactionReport,
    ) -> Result<CompactionReport> {
        let log = self.log;
        let slots = match self.commit(inputs) {
            Ok(slots) => slots,
            Err(error) => {
                self.abandon();
                return Err(error);
            }
        };
        for Move { hash, from, output, offset, len } in std::mem::take(&mut self.moves) {
            let slot = slots[output as usize];
            let old = Existing { location: from, len: None, expires_at: None };
            let to = log.index.location(slot, offset);
            debug_assert!(to.is_some(), "appending refuses offsets that no location can name");
            if to.is_some() && !log.index.change(hash, Some(&old), to) {
                // A put or a delete was faster: the copy is stale already.
                self.finished[output as usize].1.usage().add_dead(len);
            }
        }
        for (hash, location) in &self.expired {
            let old = Existing { location: *location, len: None, expires_at: None };
            log.index.change(*hash, Some(&old), None);
        }
        for (slot, segment) in inputs {
            report.records_after -= segment.usage().records();
            report.bytes_after -= segment.usage().bytes();
            log.index.segments.retire(*slot);
            log.remove_file(segment.id());
        }
        for (entry, _) in &self.finished {
            report.records_after += entry.records;
            report.bytes_after += entry.len;
        }
        report.segments_removed = inputs.len();
        report.segments_written = self.finished.len();
        tracing::debug!(?report, "compacted");
        Ok(std::mem::take(report))
    }

    /// The commit point. Answers the outputs' slots.
    fn commit(&self, inputs: &[(SegmentSlot, Arc<Segment>)]) -> Result<Vec<SegmentSlot>> {
        let log = self.log;
        let segments = &log.index.segments;
        let outputs = self.finished.iter().map(|(_, segment)| Arc::clone(segment));
        let slots = segments.add_all(outputs).ok_or_else(|| log.too_many_segments())?;
        // What made the dropped records stale has to be on disk before they are dropped.
        let committed = log.sync().and_then(|()| {
            log.commits.commit(|manifest| {
                let is_input =
                    |id| inputs.binary_search_by_key(&id, |(_, segment)| segment.id()).is_ok();
                manifest.sealed.retain(|sealed| !is_input(sealed.id));
                manifest.sealed.extend(self.finished.iter().map(|(entry, _)| *entry));
                manifest.sealed.sort_by_key(|sealed| sealed.id);
                Ok(())
            })
        });
        if committed.is_err() {
            slots.iter().for_each(|&slot| segments.retire(slot));
        }
        committed.map(|()| slots)
    }

    /// Removes what was written. Nothing refers to it.
    fn abandon(&mut self) {
        let output = self.output.take().map(|output| output.id());
        let finished = self.finished.iter().map(|(entry, _)| entry.id);
        finished.chain(output).for_each(|id| self.remove_output(id));
    }

    fn remove_output(&self, id: SegmentId) {
        // On a poisoned store the manifest that names them may have reached the disk.
        if self.log.commits.poison().check().is_err() {
            return;
        }
        for path in [self.log.directory.data_temporary(id), self.log.directory.data(id)] {
            // What stays is removed by the next opening.
            let _ = self.log.fs.remove(&path);
        }
    }
}
