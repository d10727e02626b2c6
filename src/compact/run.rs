//! Carries a compaction out, beside readers and the writer.
//!
//! The order (docs/design.md, "Compaction"): ids for the outputs are taken; live records are copied, oldest first, into outputs
//! that nobody names yet; outputs are
//! synced and renamed; everything that was appended meanwhile is synced; the manifest names the
//! outputs instead of the inputs; entries move to the copies; the inputs leave.
//!
//! Invariants:
//! - Output ids lie above every segment sealed before the run and below what is written during it.
//! - A tombstone is dropped only if every segment with a lower id is an input; an expired record counts
//!   as a tombstone. One that is kept is copied only if its key is absent when the ids have been taken: a put that comes later
//!   lies above the copy.
//! - An entry moves only if it is still where the record was copied from.
//! - An input's every record passes its CRC before the first of it is copied. One with a bad record that
//!   is live, or with an unreadable range, is no input: it is kept and reported.
//! - Before the manifest drops the inputs, everything on which a decision to drop rested is durable.
//! - Who is told may end it up to the commit: then nothing is left of it.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;

use super::CompactionReport;
use super::look::{Carry, Input, Looking, Steps};
use super::plan::{Facts, Plan};
use crate::error::{Error, Result};
use crate::index::{Carried, Existing};
use crate::location::{Location, SegmentId, SegmentSlot};
use crate::log::Log;
use crate::manifest::SealedEntry;
use crate::progress::{Progress, Teller};
use crate::record::Frame;
use crate::segment::{Active, Segment};
use crate::threads;

/// As many entries move in one turn of who changes entries, and their cache misses overlap.
const MOVED_AT_ONCE: usize = 32;
/// The bytes of so many records are on their way before they are copied, so many of each: another thread has had them last.
const COPIED_AHEAD: usize = 8;
const BYTES_AHEAD: usize = 256;
/// To look at so many entries takes as long as to look one up.
const SEEN_AS_ONE: usize = if cfg!(any(test, fuzzing)) { 1 } else { 12 };

/// Which segments to rewrite.
pub(super) enum Job {
    /// All, the active one too.
    Everything,
    /// Those of these, sealed, that are there still.
    These { inputs: Vec<SegmentId>, outputs: u64 },
}

/// What came of it.
#[derive(Default)]
pub(super) struct Done {
    pub(super) report: CompactionReport,
    /// Segments that were gone through.
    pub(super) looked_at: Vec<SegmentId>,
    /// Of these, those in which something is bad that counts.
    pub(super) kept: Vec<SegmentId>,
}

/// Runs a compaction. One at a time. Of segments that an earlier one has found damaged it begins by looking whether they are
/// still, so that the others are not rewritten in vain.
pub(super) fn run(
    log: &Log,
    job: &Job,
    was_bad: impl Fn(SegmentId) -> bool,
    told: impl FnMut(Progress) -> ControlFlow<()> + Send,
) -> Result<Done> {
    let segment_size = log.segment_size();
    let mut done = Done::default();
    let mut writer = log.writer()?;
    let mut segments = log.index.segments.list();
    let ids = match job {
        Job::Everything => match Plan::full(&facts_of(log, &segments), segment_size) {
            None => {
                drop(writer);
                done.report = report_of(&segments);
                return Ok(done);
            }
            Some(plan) => {
                log.seal_for_compaction(&mut writer)?;
                segments = log.index.segments.list();
                log.ids_for_copies(&mut writer, plan.outputs)?
            }
        },
        Job::These { outputs, .. } => {
            let ids = log.ids_for_copies(&mut writer, *outputs)?;
            segments = log.index.segments.list();
            ids
        }
    };
    // From here on the next active segment's id lies above the outputs'.
    drop(writer);

    done.report = report_of(&segments);
    let mut inputs = Vec::new();
    for (older, (slot, segment)) in segments.into_iter().enumerate() {
        let is_wanted = match job {
            Job::Everything => true,
            Job::These { inputs, .. } => inputs.contains(&segment.id()),
        };
        if is_wanted && segment.is_sealed() {
            inputs.push(Input { slot, segment, older });
        }
    }
    let (is_asked_for, listed) = (matches!(job, Job::Everything), log.commits.current());
    let looking = Looking { log, is_asked_for, listed, teller: Mutex::new(Teller::new(told)) };
    let mut copying = Copying {
        log,
        ids,
        output: None,
        written: VecDeque::new(),
        finished: Vec::new(),
        moves: Vec::new(),
        expired: Vec::new(),
        told: looking.steps(),
        done,
    };
    let mut sound = Vec::new();
    for input in inputs {
        if was_bad(input.segment.id()) {
            let looked = looking.look_at(&input, None, true)?;
            if copying.note(&input.segment, looked).is_none() {
                continue;
            }
        }
        sound.push(input);
    }
    if is_asked_for && !copying.done.kept.is_empty() {
        let left: Vec<_> = sound.iter().map(|i| (i.slot, Arc::clone(&i.segment))).collect();
        if Plan::full(&facts_of(log, &left), segment_size).is_none() {
            return Ok(copying.done);
        }
    }
    let finished = copying.copy_all(&looking, sound).and_then(|inputs| {
        if inputs.is_empty() {
            return Ok(());
        }
        let slots = copying.commit(&inputs)?;
        copying.install(&slots, &inputs);
        drop(inputs);
        log.index.segments.map_more(log.reading);
        Ok(())
    });
    if finished.is_err() {
        copying.abandon();
    }
    finished.map(|()| copying.done)
}

fn facts_of(log: &Log, segments: &[(SegmentSlot, Arc<Segment>)]) -> Vec<Facts> {
    let now = log.clock.now();
    segments.iter().map(|(_, segment)| Facts::of(segment, now)).collect()
}

/// What there is, before anything has been done.
fn report_of(segments: &[(SegmentSlot, Arc<Segment>)]) -> CompactionReport {
    let mut report = CompactionReport::default();
    for (_, segment) in segments {
        report.records_before += segment.usage().records();
        report.bytes_before += segment.usage().bytes();
    }
    (report.records_after, report.bytes_after) = (report.records_before, report.bytes_before);
    report
}

struct Copying<'a, F> {
    log: &'a Log,
    /// Reserved and not used yet.
    ids: std::ops::Range<u64>,
    output: Option<Active>,
    /// All of them is written; neither durable nor renamed.
    written: VecDeque<Active>,
    /// Sealed and renamed, not listed yet.
    finished: Vec<(SealedEntry, Arc<Segment>)>,
    moves: Vec<Move>,
    /// Entries whose records are dropped because they have expired.
    expired: Vec<(u64, Location)>,
    told: Steps<'a, F>,
    done: Done,
}

/// An entry's change once the outputs are listed.
struct Move {
    hash: u64,
    from: Location,
    /// Index into the finished outputs.
    output: u32,
    offset: u64,
}

impl<F: FnMut(Progress) -> ControlFlow<()> + Send> Copying<'_, F> {
    /// Copies what the inputs hold that counts, and seals the outputs. Answers the inputs without those that are kept.
    fn copy_all(&mut self, looking: &Looking<'_, F>, inputs: Vec<Input>) -> Result<Vec<Input>> {
        let mut records = 0;
        for Input { segment, .. } in &inputs {
            let usage = segment.usage();
            // Everything is read, and what is live written.
            looking.teller.lock().expect(usage.bytes() * 2 - usage.stale_bytes());
            records += usage.records() as usize;
        }
        let index = &self.log.index;
        let are_named_known = records >= index.keydir.len() / SEEN_AS_ONE;
        let slots = inputs.iter().map(|input| input.slot);
        let mut named = if are_named_known { index.named_in(slots) } else { HashMap::new() };
        let mut sound = 0;
        let looks = inputs.iter().map(|input| {
            // They come in id order: all older ones are inputs if as many are as there are.
            let older_stay = sound < input.older;
            let looked = looking.look_at(input, named.remove(&input.slot), older_stay);
            sound += usize::from(matches!(looked, Ok(Ok(_))));
            looked
        });
        // Nobody waits for the others, and who uses the store may want the processor.
        let sound = match looking.is_asked_for {
            true => threads::ahead(looks, |looks| self.copy_looked_at(&inputs, looks)),
            false => self.copy_looked_at(&inputs, &mut { looks }),
        }?;
        self.output.take().map_or(Ok(()), |output| self.finish_output(output))?;
        while !self.written.is_empty() {
            self.settle_output()?;
        }
        let mut is_sound = sound.into_iter();
        Ok(inputs.into_iter().filter(|_| is_sound.next() == Some(true)).collect())
    }

    /// Copies inputs as they are looked at; answers for each whether it was, and is not kept.
    fn copy_looked_at(
        &mut self,
        inputs: &[Input],
        looks: &mut dyn Iterator<Item = Result<Result<Carry, Error>>>,
    ) -> Result<Vec<bool>> {
        let copy = |(Input { segment, .. }, looked): (&Input, Result<_>)| {
            let Some(carry) = self.note(segment, looked?) else { return Ok(false) };
            self.copy_input(segment, carry).map(|()| true)
        };
        inputs.iter().zip(looks).map(copy).collect()
    }

    /// Takes note of what a look has shown: what has to be copied, or nothing, as the segment is kept.
    fn note(&mut self, segment: &Segment, looked: Result<Carry, Error>) -> Option<Carry> {
        if !self.done.looked_at.contains(&segment.id()) {
            self.done.looked_at.push(segment.id());
        }
        let noted = looked.map_err(|error| {
            tracing::debug!(%error, "a segment is kept");
            self.done.kept.push(segment.id());
            self.done.report.segments_kept.push(segment.path().to_path_buf());
        });
        noted.ok()
    }

    fn copy_input(&mut self, segment: &Segment, carry: Carry) -> Result<()> {
        let Carry { bytes, records, older_stay } = carry;
        self.moves.reserve(records.len());
        for (n, &(hash, from)) in records.iter().enumerate() {
            if let Some((_, ahead)) = records.get(n + COPIED_AHEAD) {
                let bytes = bytes.bytes_from(ahead.offset());
                crate::fs::prefetch_bytes(&bytes[..bytes.len().min(BYTES_AHEAD)]);
            }
            let frame = Frame::read(bytes.bytes_from(from.offset()), from.offset());
            let frame = frame.map_err(|damage| segment.corrupt(from.offset(), damage))?;
            if !older_stay && frame.is_expired(|| self.log.clock.now()) {
                self.expired.push((hash, from));
                continue;
            }
            self.copy_record(&Carried { hash, from, frame }, segment)?;
        }
        Ok(())
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
            output.usage().add_tombstone(appended.len);
        } else {
            let (output, offset) =
                ((self.finished.len() + self.written.len()) as u32, appended.offset);
            self.moves.push(Move { hash: *hash, from: *from, output, offset });
        }
        self.told.step(appended.len)
    }

    fn start_output(&mut self) -> Result<Active> {
        let id = self.ids.next().ok_or_else(|| self.log.too_many_segments())?;
        let id = SegmentId::new(id);
        let path = self.log.directory.data_temporary(id);
        Active::create_unread(&*self.log.fs, &path, id, self.log.reading)
    }

    /// All of an output is written. What came before has been on its way to the disk for so long that a sync of it waits for
    /// little.
    fn finish_output(&mut self, mut output: Active) -> Result<()> {
        let finished = output.finish();
        self.written.push_back(output);
        finished?;
        if self.written.len() > 1 { self.settle_output() } else { Ok(()) }
    }

    /// Makes the first output that is not yet durable so, under its name.
    fn settle_output(&mut self) -> Result<()> {
        let Some(output) = self.written.pop_front() else { return Ok(()) };
        let poison = self.log.commits.poison();
        let path = self.log.directory.data(output.id());
        let temporary = Arc::clone(output.path());
        let synced = poison.sync_alone(|| output.sync());
        let renamed = synced.and_then(|()| {
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
    fn install(&mut self, slots: &[SegmentSlot], inputs: &[Input]) {
        let log = self.log;
        let mut copies = Vec::with_capacity(MOVED_AT_ONCE);
        for moves in self.moves.chunks(MOVED_AT_ONCE) {
            copies.clear();
            copies.extend(moves.iter().filter_map(|&Move { hash, from, output, offset }| {
                let to = log.index.location(slots[output as usize], offset);
                debug_assert!(to.is_some(), "appending refuses offsets that no location can name");
                Some((hash, from, to?))
            }));
            // A put or a delete was faster: the copy is stale already.
            for late in log.index.set_copies(&copies) {
                let output = log.index.segments.get(late.slot());
                output.into_iter().for_each(|output| output.note_stale(late.offset()));
            }
        }
        for &(hash, from) in &self.expired {
            log.index.change(hash, Some(&Existing::at(from)), None);
        }
        let report = &mut self.done.report;
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
        let written = self.written.iter().map(Active::id);
        let finished = self.finished.iter().map(|(entry, _)| entry.id);
        finished.chain(written).chain(output).for_each(|id| self.remove_output(id));
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
