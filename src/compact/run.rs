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
use crate::index::{Carried, Existing};
use crate::location::{Location, SegmentId, SegmentSlot};
use crate::log::Log;
use crate::manifest::SealedEntry;
use crate::segment::scan::{self, Found, Rules};
use crate::segment::{Active, Segment};

/// A segment to rewrite.
struct Input {
    slot: SegmentSlot,
    segment: Arc<Segment>,
    /// Offsets of bad records that no entry names.
    bad: HashSet<u64>,
    /// Whether segments below it are no inputs.
    older_stay: bool,
}

/// Runs a full compaction. One at a time.
pub(crate) fn run(log: &Log) -> Result<CompactionReport> {
    let segment_size = log.segment_size();
    let mut writer = log.writer()?;
    let mut segments = log.index.segments.list();
    let now = log.clock.now();
    let all = segments.iter().map(|(_, segment)| Facts::of(segment, now));
    let plan = Plan::full(&all.collect::<Vec<_>>(), segment_size);
    let mut ids = 0..0;
    if let Some(Plan { outputs }) = plan {
        log.seal_for_compaction(&mut writer)?;
        // From here on the next active segment's id lies above the outputs'.
        let first = log.reserve_ids(outputs)?.get();
        ids = first..first + outputs;
        segments = log.index.segments.list();
    }
    drop(writer);

    let mut report = CompactionReport::default();
    for (_, segment) in &segments {
        report.records_before += segment.usage().records();
        report.bytes_before += segment.usage().bytes();
    }
    (report.records_after, report.bytes_after) = (report.records_before, report.bytes_before);
    if plan.is_none() {
        return Ok(report);
    }
    let inputs = sound_inputs(log, segments, &mut report)?;
    let sound = inputs.iter().map(|input| Facts::of(&input.segment, now));
    if Plan::full(&sound.collect::<Vec<_>>(), segment_size).is_none() {
        return Ok(report);
    }

    let mut copying = Copying {
        log,
        ids,
        output: None,
        finished: Vec::new(),
        moves: Vec::new(),
        expired: Vec::new(),
    };
    let done = copying.copy_all(&inputs).and_then(|()| copying.commit(&inputs));
    match done {
        Ok(slots) => {
            copying.install(&slots, &inputs, &mut report);
            drop(inputs);
            log.index.segments.map_more(log.reading);
            tracing::debug!(?report, "compacted");
            Ok(report)
        }
        Err(error) => {
            copying.abandon();
            Err(error)
        }
    }
}

impl Facts {
    fn of(segment: &Segment, now: u64) -> Self {
        let usage = segment.usage();
        Facts { bytes: usage.bytes(), dead_bytes: usage.dead_bytes(now) }
    }
}

/// The segments of which everything that counts can be read. The others are reported.
fn sound_inputs(
    log: &Log,
    segments: Vec<(SegmentSlot, Arc<Segment>)>,
    report: &mut CompactionReport,
) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for (older, (slot, segment)) in segments.into_iter().enumerate() {
        match dead_bad_records(log, slot, &segment)? {
            // They come in id order: all older ones are inputs if as many are as there are.
            Some(bad) => {
                inputs.push(Input { slot, segment, bad, older_stay: inputs.len() < older });
            }
            None => report.segments_kept.push(segment.path().to_path_buf()),
        }
    }
    Ok(inputs)
}

/// The offsets of bad records that no entry names, or `None` if anything else cannot be read.
fn dead_bad_records(
    log: &Log,
    slot: SegmentSlot,
    segment: &Segment,
) -> Result<Option<HashSet<u64>>> {
    let mut bad = HashSet::new();
    let mut unreadable = false;
    let bytes = segment.read_all()?;
    scan::walk(&bytes, Rules::Sealed, |found| {
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
        log.index.keydir.visit_all(|_, location| {
            is_live |= location.slot() == slot && bad.contains(&location.offset());
        });
    }
    Ok((!unreadable && !is_live).then_some(bad))
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
}

impl Copying<'_> {
    /// Copies what the inputs hold that counts, and seals the outputs.
    fn copy_all(&mut self, inputs: &[Input]) -> Result<()> {
        for Input { slot, segment, bad, older_stay } in inputs {
            self.log.index.carried(*slot, segment, bad, *older_stay, |carried| {
                if !older_stay && carried.frame.is_expired(|| self.log.clock.now()) {
                    self.expired.push((carried.hash, carried.from));
                    return Ok(());
                }
                self.copy_record(&carried, segment)
            })?;
        }
        self.output.take().map_or(Ok(()), |output| self.finish_output(output))
    }

    fn copy_record(&mut self, carried: &Carried<'_>, segment: &Segment) -> Result<()> {
        let Carried { hash, from, frame } = carried;
        // The last output takes whatever remains.
        if let Some(output) = &self.output
            && output.len() + frame.record().len_at(output.len()) > self.log.segment_size()
            && !self.ids.is_empty()
            && let Some(output) = self.output.take()
        {
            self.finish_output(output)?;
        }
        let mut output = match self.output.take() {
            Some(output) => output,
            None => self.start_output()?,
        };
        let appended = output.append_copy(frame, segment.path(), from.offset());
        let output = self.output.insert(output);
        let appended = appended?;
        if frame.is_tombstone() {
            output.usage().add_dead(appended.len);
        } else {
            let (output, offset) = (self.finished.len() as u32, appended.offset);
            self.moves.push(Move { hash: *hash, from: *from, output, offset });
        }
        Ok(())
    }

    fn start_output(&mut self) -> Result<Active> {
        let id = self.ids.next().ok_or_else(|| self.log.too_many_segments())?;
        let id = SegmentId::new(id);
        let path = self.log.directory.data_temporary(id);
        Active::create_unread(&*self.log.fs, &path, id, self.log.reading)
    }

    /// Makes an output durable under its name.
    fn finish_output(&mut self, mut output: Active) -> Result<()> {
        let poison = self.log.commits.poison();
        let path = self.log.directory.data(output.id());
        let temporary = Arc::clone(output.path());
        let finished = output.finish().and_then(|()| poison.sync_alone(|| output.sync()));
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

    /// The commit point. Answers the outputs' slots.
    fn commit(&self, inputs: &[Input]) -> Result<Vec<SegmentSlot>> {
        let log = self.log;
        let segments = &log.index.segments;
        let outputs = self.finished.iter().map(|(_, segment)| Arc::clone(segment));
        let end = inputs.last().map(|input| input.segment.end(log.lineage));
        let slots = segments.add_all(outputs).ok_or_else(|| log.too_many_segments())?;
        // What made the dropped records stale has to be on disk before they are dropped.
        let committed = log.sync().and_then(|()| {
            log.commits.commit(|manifest| {
                let is_input =
                    |id| inputs.binary_search_by_key(&id, |input| input.segment.id()).is_ok();
                manifest.sealed.retain(|sealed| !is_input(sealed.id));
                manifest.sealed.extend(self.finished.iter().map(|(entry, _)| *entry));
                manifest.sealed.sort_by_key(|sealed| sealed.id);
                end.into_iter().for_each(|end| manifest.history.left_out_to(end));
                Ok(())
            })
        });
        if committed.is_err() {
            segments.retire_all(slots.iter().copied());
        }
        committed.map(|()| slots)
    }

    /// Moves the entries to the outputs, which are the store's now, and lets the inputs go.
    fn install(&self, slots: &[SegmentSlot], inputs: &[Input], report: &mut CompactionReport) {
        let log = self.log;
        for &Move { hash, from, output, offset } in &self.moves {
            let to = log.index.location(slots[output as usize], offset);
            debug_assert!(to.is_some(), "appending refuses offsets that no location can name");
            if to.is_some_and(|to| !log.index.set_copy(hash, from, to)) {
                // A put or a delete was faster: the copy is stale already.
                self.finished[output as usize].1.note_stale(offset);
            }
        }
        for &(hash, from) in &self.expired {
            log.index.change(hash, Some(&Existing::at(from)), None);
        }
        log.index.segments.retire_all(inputs.iter().map(|input| input.slot));
        for Input { segment, .. } in inputs {
            report.records_after -= segment.usage().records();
            report.bytes_after -= segment.usage().bytes();
            log.remove_file(segment.id());
        }
        for (entry, _) in &self.finished {
            log.companions.want_hint(*entry);
            report.records_after += entry.records;
            report.bytes_after += entry.len;
            report.bytes_written += entry.len;
        }
        report.segments_removed = inputs.len();
        report.segments_written = self.finished.len();
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
