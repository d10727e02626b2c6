//! The log that is not sealed, as far as it has been read: by `pread`, into memory of our own, because who
//! writes it may take back what a failed write left.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::Refreshed;
use super::look::TailFile;
use crate::error::{Damage, Error, Result};
use crate::fs::{self, ALIGNMENT, Chunk, File, Reading, View};
use crate::index::Index;
use crate::location::{Location, SegmentId, SegmentSlot};
use crate::record::HEADER_LEN;
use crate::segment::scan::{self, Found};
use crate::segment::{Segment, corrupt};

/// Read at once. Behind what is written there may be zeros up to the size of a segment.
const STEP: u64 = 64 << 10;
/// Addresses for what has been read, each with a segment slot; more where a record or batch is longer. Only what
/// is written to takes memory.
const PIECE: u64 = 16 << 20;

/// A file of the log. Its good records are indexed.
pub(super) struct Tail {
    pub(super) id: SegmentId,
    path: Arc<Path>,
    /// Shows what became of it when its name is gone.
    file: Arc<dyn File>,
    /// Of the memory that holds what has been read, piece after piece.
    slots: Vec<SegmentSlot>,
    /// The last piece.
    memory: Option<Chunk>,
    /// Where the last record ends that counts.
    pub(super) end: u64,
    /// Over the records' CRC fields up to there.
    checksum: crc32fast::Hasher,
    /// Where the last record begins, and how.
    last: Option<(u64, [u8; HEADER_LEN])>,
}

/// How far the log goes in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stretch {
    /// To its end: it may go on in the next file.
    Whole,
    /// To something that is no record, or not yet.
    Ended,
    /// What was read before is not there any more.
    Rewritten,
}

impl Tail {
    pub(super) fn new(found: &TailFile) -> Self {
        Tail {
            id: found.id,
            path: Arc::clone(&found.path),
            file: Arc::clone(&found.file),
            slots: Vec::new(),
            memory: None,
            end: 0,
            checksum: crc32fast::Hasher::new(),
            last: None,
        }
    }

    /// A bare data file, all of which is indexed: its length, and the checksum over its records.
    pub(super) fn of_bare(found: &TailFile, end: u64, slot: SegmentSlot, checksum: u32) -> Self {
        Tail {
            slots: vec![slot],
            end,
            checksum: crc32fast::Hasher::new_with_initial(checksum),
            ..Tail::new(found)
        }
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = SegmentSlot> {
        self.slots.iter().copied()
    }

    pub(super) fn slots_mut(&mut self) -> impl Iterator<Item = &mut SegmentSlot> {
        self.slots.iter_mut()
    }

    /// Whether these bytes, of the file now that it is sealed, begin with what was read of it.
    pub(super) fn is_beginning_of(&self, bytes: &[u8]) -> bool {
        let Some(beginning) = bytes.get(..self.end as usize) else { return false };
        let mut checksum = crc32fast::Hasher::new();
        let reached = scan::walk_growing(beginning, 0, |found| {
            let (Found::Record { frame, .. } | Found::Unapplied { frame, .. }) = found else {
                return;
            };
            checksum.update(&frame.checksum().to_be_bytes());
        });
        reached.end == self.end && checksum.finalize() == self.checksum.clone().finalize()
    }

    /// Whether the file still begins with what was read of it, whatever its name is. If nobody can read it, as a
    /// removed one on a network, it does not.
    pub(super) fn is_there(&self, reading: Reading) -> bool {
        let is_there = || {
            let view = View::open(&self.file, &self.path, self.end, reading.by_copying())?;
            Ok::<_, Error>(self.is_beginning_of(&view.whole()?))
        };
        self.file.len().is_ok_and(|len| len >= self.end) && is_there().unwrap_or(false)
    }

    /// Reads on from the last good record, and indexes what counts.
    pub(super) fn read_on(
        &mut self,
        found: &TailFile,
        index: &Index,
        refreshed: &mut Refreshed,
    ) -> Result<Stretch> {
        let file_len = || found.file.len().map_err(Error::io("read the length of", &*found.path));
        let mut len = file_len()?;
        if len < self.end || !self.has_last(&*found.file)? {
            return Ok(Stretch::Rewritten);
        }
        self.file = Arc::clone(&found.file);
        let mut wanted = STEP;
        while self.end < len {
            let read_len = wanted.min(len - self.end);
            let range = self.end..self.end + read_len;
            // What is claimed to be there and is a hole takes no memory: new one is all zeros already.
            let has_holes = read_len > STEP
                && fs::data(&*found.file, range.clone()).next() != Some(range.clone());
            let mut fresh = match self.has_room(read_len) && !has_holes {
                true => None,
                false => Some(self.piece(read_len)?),
            };
            let Some(memory) = fresh.as_mut().or(self.memory.as_mut()) else { break };
            let bytes = &mut memory.spare()[..read_len as usize];
            let read = match has_holes {
                true => fs::data(&*found.file, range).try_for_each(|part| {
                    let at = part.start - self.end..part.end - self.end;
                    found.file.read_at(&mut bytes[at.start as usize..at.end as usize], part.start)
                }),
                false => found.file.read_at(bytes, self.end),
            };
            match read {
                // The zeros at its end have been cut off since its length was read: it is being sealed. What has been
                // written is all there.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && file_len()? < len => {
                    len = file_len()?;
                    if len < self.end {
                        return Ok(Stretch::Rewritten);
                    }
                    continue;
                }
                read => read.map_err(Error::io("read", &*found.path))?,
            }
            let reached = scan::walk_growing(bytes, self.end, |_| ());
            if reached.end > self.end {
                self.begin(fresh, index)?;
                self.take(reached.end, index, refreshed)?;
            }
            match reached.damage {
                Damage::ReservedFlag => {
                    return Err(corrupt(&self.path, reached.stopped, Damage::ReservedFlag));
                }
                Damage::Length { expected, .. } if reached.stopped + expected <= len => {
                    // At least twice as much as before, for batches of many records.
                    wanted = (reached.stopped + expected - self.end).max(2 * read_len);
                }
                _ => break,
            }
        }
        Ok(if self.end == len { Stretch::Whole } else { Stretch::Ended })
    }

    /// Whether the last record is there still.
    fn has_last(&self, file: &dyn File) -> Result<bool> {
        let Some((offset, header)) = self.last else { return Ok(true) };
        let mut found = [0; HEADER_LEN];
        match file.read_at(&mut found, offset) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            read => read.map(|()| found == header).map_err(Error::io("read", &*self.path)),
        }
    }

    /// Whether the last piece has room for `len` bytes more. No record lies in two pieces.
    fn has_room(&mut self, len: u64) -> bool {
        self.memory.as_mut().is_some_and(|memory| memory.spare().len() as u64 >= len)
    }

    fn piece(&self, len: u64) -> Result<Chunk> {
        let capacity = self.end % ALIGNMENT as u64 + len.max(PIECE);
        let memory = Chunk::new(&self.path, self.end, capacity as usize);
        memory.map_err(Error::io("get memory for", &*self.path))
    }

    /// Goes on in another piece, if there is one: it holds a record that counts.
    fn begin(&mut self, fresh: Option<Chunk>, index: &Index) -> Result<()> {
        let Some(memory) = fresh else { return Ok(()) };
        let view = View::Held(Arc::clone(memory.region()));
        let slot = index.segments.add(Arc::new(Segment::new(self.id, view)));
        self.slots.push(slot.ok_or_else(|| self.too_long())?);
        self.memory = Some(memory);
        Ok(())
    }

    /// Shows readers what has been read up to `end`: the bytes, then the entries.
    fn take(&mut self, end: u64, index: &Index, refreshed: &mut Refreshed) -> Result<()> {
        let (Some(memory), Some(&slot)) = (&mut self.memory, self.slots.last()) else {
            return Ok(());
        };
        let Some(segment) = index.segments.get(slot) else { return Ok(()) };
        if end > Location::OFFSET_LIMIT {
            return Err(self.too_long());
        }
        memory.publish((end - self.end) as usize);
        let region = memory.region();
        let start = (self.end - region.base()) as usize;
        let bytes = region.get_from(start).unwrap_or_default();
        scan::walk_growing(bytes, self.end, |found| {
            let (offset, frame, counts) = match found {
                Found::Record { offset, frame } => (offset, frame, true),
                Found::Unapplied { offset, frame } => (offset, frame, false),
                Found::Bad { .. } | Found::Unreadable { .. } => return,
            };
            refreshed.records += 1;
            segment.usage().add_record(frame.len());
            match Location::new(slot, offset) {
                Some(location) if counts => index.replay(&segment, &frame, location.verified()),
                _ => {
                    refreshed.unapplied_batch_records += 1;
                    segment.usage().add_dead(frame.len());
                    let path = self.path.display();
                    tracing::warn!(%path, offset, "a batch is not whole: its record does not count");
                }
            }
            self.checksum.update(&frame.checksum().to_be_bytes());
            let in_bytes = (offset - self.end) as usize;
            let header = bytes.get(in_bytes..).and_then(|bytes| bytes.first_chunk());
            self.last = header.map(|header| (offset, *header));
        });
        self.end = end;
        Ok(())
    }

    fn too_long(&self) -> Error {
        Error::TooManySegments { path: self.path.to_path_buf() }
    }
}
