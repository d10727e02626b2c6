//! [`Replay`]: what was written, segment by segment.
//!
//! Invariants (docs/design.md, "Change feed"):
//! - What comes next is decided from the segments and the history of one moment at which nobody writes. A
//!   segment leaves only after the history says so: whoever finds it missing finds it said.
//! - Nothing behind the segment in hand is given if the log has been left out there since the last look.
//! - What is given lies in the file, and readers can see it.
//! - Going on from the position of an entry, or behind the last of a batch, never begins inside a batch.

use std::collections::VecDeque;
use std::sync::Arc;

use super::watch::Kind;
use crate::error::{Error, Result};
use crate::expiry::Expiry;
use crate::fs::Whole;
use crate::location::SegmentId;
use crate::log::Log;
use crate::position::{History, Position};
use crate::record::{BatchPart, Frame};
use crate::segment::Segment;
use crate::segment::scan::{self, Found, Rules};
use crate::value::Value;

/// A write, as [`crate::Store::log`] gives it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// From here it comes again; of a batch, all of it.
    pub position: Position,
    /// Where to go on when it has been dealt with. Before the end of a batch that is where the batch begins.
    pub next: Position,
    /// What it did to the key.
    pub kind: Kind,
    /// The key.
    pub key: Value,
    /// The value, which may be empty; `None` for a delete.
    pub value: Option<Value>,
    /// When it was written, in microseconds since the Unix epoch. Never says which of two writes is newer.
    pub timestamp: u64,
    /// Until when the value is there; [`Expiry::Never`] for a delete.
    pub expires_at: Expiry,
    /// Its place in the batch with which it was written. Copies are singles.
    pub batch: BatchPart,
}

impl Entry {
    /// Whether nothing of its batch comes after it; so with a single write.
    pub fn ends_batch(&self) -> bool {
        self.batch.is_end()
    }
}

/// What was written from a position on. Made by [`crate::Store::log`], which says what it promises.
pub struct Replay<'a> {
    log: &'a Log,
    /// Behind all that has been read.
    position: Position,
    held: Option<Held>,
    /// What has been read and not given.
    ready: VecDeque<Result<Entry>>,
    /// Up to here nothing more has been left out since the last look than there was then.
    whole_from: Option<Position>,
    /// It has ended with an error.
    failed: bool,
}

/// The segment that the position is in.
struct Held {
    segment: Arc<Segment>,
    lineage: u32,
    /// Up to where it was written when it was looked at.
    bytes: Whole,
}

/// The log at one moment, all of it handed to the OS.
struct Look {
    history: History,
    next_file_id: SegmentId,
    /// In the order of the log, with what was in each of them.
    segments: Vec<(Arc<Segment>, u64)>,
}

impl Look {
    fn at(log: &Log) -> Result<Self> {
        log.at_end(|| {
            loop {
                // A compaction may come between, which takes no writer's lock for that.
                let before = log.commits.nonce();
                let segments = log.index.segments.list();
                let manifest = log.commits.current();
                if manifest.nonce != before {
                    continue;
                }
                // Its outputs count when they are listed, its inputs no longer then.
                let counts = |id| {
                    let sealed = manifest.sealed.binary_search_by_key(&id, |entry| entry.id);
                    sealed.is_ok() || manifest.tail.contains(&id)
                };
                let segments = segments.into_iter().filter(|(_, segment)| counts(segment.id()));
                let segments = segments.map(|(_, segment)| {
                    let len = segment.len();
                    (segment, len)
                });
                let (history, next_file_id) = (manifest.history, manifest.next_file_id);
                return Look { history, next_file_id, segments: segments.collect() };
            }
        })
    }

    fn find(&self, id: SegmentId) -> Option<&(Arc<Segment>, u64)> {
        self.segments.iter().find(|(segment, _)| segment.id() == id)
    }

    fn first_from(&self, id: SegmentId) -> Option<&(Arc<Segment>, u64)> {
        self.segments.iter().find(|(segment, _)| segment.id() >= id)
    }

    fn first_behind(&self, id: SegmentId) -> Option<&(Arc<Segment>, u64)> {
        self.segments.iter().find(|(segment, _)| segment.id() > id)
    }

    /// The position behind all of it.
    fn end(&self) -> Position {
        let last = match self.segments.last() {
            Some((segment, len)) => self.history.position(segment.id(), *len),
            // Not [`Position::START`], from which it does not matter what is missing.
            None => self.history.position(SegmentId::new(0), 0),
        };
        // There may be nothing left of what was written last.
        last.max(self.history.whole_from)
    }

    fn gone(&self, asked: Position) -> Error {
        Error::Gone { asked, oldest: self.history.whole_from }
    }
}

/// The position behind all that has been written.
pub(super) fn end(log: &Log) -> Result<Position> {
    Look::at(log).map(|look| look.end())
}

impl<'a> Replay<'a> {
    pub(super) fn new(log: &'a Log, from: Position) -> Self {
        Replay {
            log,
            position: from,
            held: None,
            ready: VecDeque::new(),
            whole_from: None,
            failed: false,
        }
    }

    /// Where to go on, with another iterator perhaps, for all that this one has not given. In the middle of a
    /// batch that is where the batch begins.
    pub fn position(&self) -> Position {
        match self.ready.front() {
            Some(Ok(entry)) => entry.position,
            _ => self.position,
        }
    }

    /// Gets something ready, or nearer to it. False at the end of what is written.
    fn read_on(&mut self) -> Result<bool> {
        if let Some(held) = &self.held
            && self.position.offset() < held.bytes.end()
        {
            let run = held.read(self.position.offset());
            self.position = held.position(run.end);
            self.ready.extend(run.items);
            return Ok(true);
        }
        let look = Look::at(self.log)?;
        match self.held.take() {
            None => self.begin(&look),
            Some(held) => self.go_on(&look, held),
        }
    }

    /// Finds the position in the log as it is now.
    fn begin(&mut self, look: &Look) -> Result<bool> {
        let asked = look.history.translate(self.position);
        let id = asked.segment();
        self.whole_from = Some(look.history.whole_from);
        if asked == Position::START {
            let first = look.first_from(id);
            if first.is_none() {
                self.position = look.end();
            }
            return self.enter(first);
        }
        if asked < look.history.whole_from || asked.lineage() != look.history.lineage {
            return Err(look.gone(self.position));
        }
        // No id above the next has ever been given out.
        if asked.offset() == 0 && id <= look.next_file_id {
            return self.enter(look.first_from(id));
        }
        if let Some((segment, len)) = look.find(id)
            && asked.offset() <= *len
        {
            self.hold(segment, asked, *len)?;
            return self.read_or_go_on(look);
        }
        if asked == look.history.whole_from {
            return self.enter(look.first_behind(id));
        }
        Err(look.gone(self.position))
    }

    /// Goes on behind what was held.
    fn go_on(&mut self, look: &Look, held: Held) -> Result<bool> {
        let id = held.segment.id();
        // It may be gone meanwhile, and have been longer by then.
        let gone = (Arc::clone(&held.segment), held.segment.len());
        let (segment, len) = look.find(id).unwrap_or(&gone);
        let is_longer = *len > self.position.offset();
        self.held = Some(held);
        if is_longer {
            self.hold(segment, self.position, *len)?;
        }
        self.read_or_go_on(look)
    }

    /// Goes on in the segment that is held, or behind it.
    fn read_or_go_on(&mut self, look: &Look) -> Result<bool> {
        let Some(held) = &self.held else { return Ok(false) };
        if self.position.offset() < held.bytes.end() {
            return Ok(true);
        }
        // What is left out only where this segment is too changes nothing of how far the log is whole.
        let whole_from = look.history.whole_from;
        let is_as_it_was =
            self.whole_from == Some(whole_from) && look.find(held.segment.id()).is_some();
        if !is_as_it_was && self.position < whole_from {
            return Err(look.gone(self.position));
        }
        self.whole_from = Some(whole_from);
        self.enter(look.first_behind(self.position.segment()))
    }

    /// Goes to the beginning of a segment, if there is one.
    fn enter(&mut self, segment: Option<&(Arc<Segment>, u64)>) -> Result<bool> {
        let Some((segment, len)) = segment else { return Ok(false) };
        self.hold(segment, Position::new(self.log.lineage, segment.id(), 0), *len)?;
        Ok(true)
    }

    /// Goes to a position in a segment, and takes hold of what is written from there on.
    fn hold(&mut self, segment: &Arc<Segment>, position: Position, len: u64) -> Result<()> {
        // What the system is told of a file to be read in order, it is told of one at a time.
        self.held = None;
        let bytes = segment.read_part(position.offset()..len)?;
        let (segment, lineage) = (Arc::clone(segment), self.log.lineage);
        self.held = Some(Held { segment, lineage, bytes });
        self.position = position;
        Ok(())
    }
}

#[cfg(test)]
impl Replay<'_> {
    /// How much of a file is held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.bytes.len())
    }
}

impl Iterator for Replay<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            if std::mem::take(&mut self.failed) {
                return None;
            }
            match self.read_on() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// What stands together at some place of a segment.
struct Run {
    items: Vec<Result<Entry>>,
    /// Where it ends.
    end: u64,
}

impl Held {
    fn position(&self, offset: u64) -> Position {
        Position::new(self.lineage, self.segment.id(), offset)
    }

    /// The write, or the batch, at an offset, behind what does not count; or what is bad there.
    fn read(&self, offset: u64) -> Run {
        let mut run = Run { items: Vec::new(), end: self.bytes.end() };
        let mut start = None;
        let corrupt = |offset, damage| Err(self.segment.corrupt(offset, damage));
        // It ends with an error when it has seen enough.
        let _ = scan::walk_from(&self.bytes, offset, Rules::Sealed, |found| match found {
            Found::Record { offset, frame } => {
                let start = *start.get_or_insert(offset);
                let entry = self.entry(start, offset, &frame);
                let is_last = entry.ends_batch();
                run.items.push(Ok(entry));
                if is_last {
                    run.end = offset + frame.len();
                    return Err(());
                }
                Ok(())
            }
            Found::Bad { offset, frame, damage } => {
                run.items.push(corrupt(offset, damage));
                run.end = offset + frame.len();
                Err(())
            }
            Found::Unapplied { .. } => Ok(()),
            Found::Unreadable { offset, damage } => {
                run.items.push(corrupt(offset, damage));
                Err(())
            }
        });
        run
    }

    /// The record at `offset`, of a batch that begins at `start`.
    fn entry(&self, start: u64, offset: u64, frame: &Frame<'_>) -> Entry {
        let region = self.bytes.region();
        let at = (offset - region.base()) as usize;
        let value = |range: std::ops::Range<usize>| {
            Value::new(Arc::clone(region), at + range.start..at + range.end)
        };
        let record = frame.record();
        let is_put = !frame.is_tombstone();
        let mut entry = Entry {
            position: self.position(start),
            next: self.position(start),
            kind: if is_put { Kind::Put } else { Kind::Delete },
            key: value(frame.key_range()),
            value: is_put.then(|| value(frame.value_range())),
            timestamp: record.timestamp,
            expires_at: Expiry::of(record.expires_at),
            batch: record.batch,
        };
        if entry.ends_batch() {
            entry.next = self.position(offset + frame.len());
        }
        entry
    }
}
