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

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::CompactionReport;
use super::plan::{Facts, Plan};
use crate::error::{Error, Result};
use crate::fs::Whole;
use crate::index::{Carried, Existing};
use crate::location::{Location, SegmentId, SegmentSlot};
use crate::log::Log;
use crate::manifest::{Manifest, SealedEntry};
use crate::progress::{Progress, Teller};
use crate::record::Frame;
use crate::segment::{Active, Segment};

/// How many bytes go by before somebody is told.
const TOLD_AFTER: u64 = if cfg!(any(test, fuzzing)) { 1 } else { 64 << 10 };
/// As many cache misses of the key directory overlap where entries move.
const MOVED_AT_ONCE: usize = 16;

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

/// What of a segment has to be copied: hashes and places, in its bytes.
type Carry = (Whole, Vec<(u64, Location)>);

/// A segment to rewrite.
struct Input {
    slot: SegmentSlot,
    segment: Arc<Segment>,
    /// How many segments lie below it, inputs or not.
    older: usize,
}

/// Runs a compaction. One at a time. Of segments that an earlier one has found damaged it begins by looking whether they are
/// still, so that the others are not rewritten in vain.
pub(super) fn run(
    log: &Log,
    job: &Job,
    was_bad: impl Fn(SegmentId) -> bool,
    told: impl FnMut(Progress) -> ControlFlow<()>,
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
    let mut copying = Copying {
        log,
        is_asked_for: matches!(job, Job::Everything),
        listed: log.commits.current(),
        ids,
        output: None,
        written: VecDeque::new(),
        finished: Vec::new(),
        moves: Vec::new(),
        expired: Vec::new(),
        told: Telling { teller: Teller::new(told), untold: 0 },
        done,
    };
    let mut sound = Vec::new();
    for input in inputs {
        if was_bad(input.segment.id()) && copying.look_at(&input, true)?.is_none() {
            continue;
        }
        sound.push(input);
    }
    if matches!(job, Job::Everything) && !copying.done.kept.is_empty() {
        let left: Vec<_> = sound.iter().map(|i| (i.slot, Arc::clone(&i.segment))).collect();
        if Plan::full(&facts_of(log, &left), segment_size).is_none() {
            return Ok(copying.done);
        }
    }
    let finished = copying.copy_all(sound).and_then(|inputs| {
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

/// Tells how far it has come, from time to time.
struct Telling<F> {
    teller: Teller<F>,
    untold: u64,
}

impl<F: FnMut(Progress) -> ControlFlow<()>> Telling<F> {
    fn step(&mut self, bytes: u64) -> Result<()> {
        self.untold += bytes;
        if self.untold < TOLD_AFTER {
            return Ok(());
        }
        self.teller.step(std::mem::take(&mut self.untold))
    }
}

struct Copying<'a, F> {
    log: &'a Log,
    /// Somebody waits for it.
    is_asked_for: bool,
    /// As it was when the run began.
    listed: Manifest,
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
    told: Telling<F>,
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

impl<F: FnMut(Progress) -> ControlFlow<()>> Copying<'_, F> {
    /// Copies what the inputs hold that counts, and seals the outputs. Answers the inputs without those that are kept.
    fn copy_all(&mut self, inputs: Vec<Input>) -> Result<Vec<Input>> {
        for Input { segment, .. } in &inputs {
            let usage = segment.usage();
            // Everything is read, and what is live written.
            self.told.teller.expect(usage.bytes() * 2 - usage.stale_bytes());
        }
        let mut sound = Vec::new();
        for input in inputs {
            // They come in id order: all older ones are inputs if as many are as there are.
            let older_stay = sound.len() < input.older;
            if let Some((bytes, carried)) = self.look_at(&input, older_stay)? {
                self.copy_input(&input.segment, &bytes, carried, older_stay)?;
                sound.push(input);
            }
        }
        self.output.take().map_or(Ok(()), |output| self.finish_output(output))?;
        while !self.written.is_empty() {
            self.settle_output()?;
        }
        Ok(sound)
    }

    /// What of a segment has to be copied; `None`: it is kept.
    fn look_at(&mut self, input: &Input, older_stay: bool) -> Result<Option<Carry>> {
        let Input { slot, segment, .. } = input;
        let bytes = match segment.read_all() {
            Ok(bytes) => bytes,
            // Who has asked is told; nobody else is, and the others are worth it still.
            Err(error) if self.is_asked_for => return Err(error),
            Err(error) => {
                self.keep(segment, &error);
                return Ok(None);
            }
        };
        let told = &mut self.told;
        let step = |bytes| told.step(bytes);
        let id = segment.id();
        let (index, meant) = (&self.log.index, self.listed.entry(id));
        let carried = index.to_carry((*slot, segment), meant, &bytes, older_stay, step)?;
        if !self.done.looked_at.contains(&id) {
            self.done.looked_at.push(id);
        }
        match carried {
            Ok(carried) => Ok(Some((bytes, carried))),
            Err(error) => {
                self.keep(segment, &error);
                Ok(None)
            }
        }
    }

    /// Leaves a segment as it is, which cannot be read, or not all of it.
    fn keep(&mut self, segment: &Segment, error: &Error) {
        tracing::debug!(%error, "a segment is kept");
        self.done.kept.push(segment.id());
        self.done.report.segments_kept.push(segment.path().to_path_buf());
    }

    fn copy_input(
        &mut self,
        segment: &Segment,
        bytes: &Whole,
        carried: Vec<(u64, Location)>,
        older_stay: bool,
    ) -> Result<()> {
        self.moves.reserve(carried.len());
        for (hash, from) in carried {
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
        for (n, &Move { hash, from, output, offset }) in self.moves.iter().enumerate() {
            let ahead = self.moves.get(n + MOVED_AT_ONCE);
            ahead.into_iter().for_each(|ahead| log.index.keydir.prefetch(ahead.hash));
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
