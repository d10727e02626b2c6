//! The tail: the log that was not sealed, as a crash left it.
//!
//! It ends where its first bad record stands. What stands before that is copied into a sealed, synced
//! segment: pages of a log that was not closed may be in the cache and nowhere else, even after a sync
//! that says otherwise. A small newest segment goes into the copy too, so that a program that is
//! always killed does not leave one more segment each time.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::Recovering;
use super::load::{Loading, Source};
use super::sealed::{check_listed, warn_unapplied};
use crate::commit::{self, Commits};
use crate::directory::{Directory, remove_stale};
use crate::error::{Damage, Error, Result};
use crate::fs::{File, Fs, Reading, Whole};
use crate::index::TAKE_UP_BELOW;
use crate::location::{SegmentId, SegmentSlot};
use crate::manifest::SealedEntry;
use crate::position::Position;
use crate::segment::scan::{self, Ending, Found, Rules, Summary};
use crate::segment::{Active, Segment, corrupt, open_listed};

/// The tail's files, oldest first.
pub(crate) struct Tail {
    files: Vec<TailFile>,
    /// How far each file is good.
    ends: Vec<Summary>,
}

struct TailFile {
    id: SegmentId,
    file: Arc<dyn File>,
    path: Arc<Path>,
    bytes: Whole,
}

impl Tail {
    /// Finds every file of the tail. Refuses one that a newer version wrote, before anything is
    /// changed.
    pub(crate) fn open(recovering: &Recovering<'_>, ids: &[SegmentId]) -> Result<Self> {
        let open = |&id| {
            let path = recovering.directory.data(id);
            let file = open_listed(&**recovering.fs, &path)?;
            let len = file.len().map_err(Error::io("read the length of", &*path))?;
            let bytes = Whole::open(&file, &path, len, recovering.reading)?;
            Ok(TailFile { id, file, path, bytes })
        };
        let files = ids.iter().map(open).collect::<Result<_>>()?;
        let mut tail = Tail { files, ends: Vec::new() };
        tail.ends = tail.walk(|_, _| Ok(()))?;
        for (file, summary) in tail.files.iter().zip(&tail.ends) {
            if summary.ending == Ending::Bad(Damage::ReservedFlag) {
                return Err(corrupt(&file.path, summary.end, Damage::ReservedFlag));
            }
        }
        Ok(tail)
    }

    pub(crate) fn ids(&self) -> Vec<SegmentId> {
        self.files.iter().map(|file| file.id).collect()
    }

    fn len(&self) -> u64 {
        self.files.iter().map(|file| file.len()).sum()
    }

    /// The position behind the last good record, if there is one.
    fn end(&self, lineage: u32) -> Option<Position> {
        let mut files = self.files.iter().zip(&self.ends);
        let (file, summary) = files.rfind(|(_, summary)| summary.end > 0)?;
        Some(Position::new(lineage, file.id, summary.end))
    }

    /// Shows the log's good records with the path and offset of each, and the offsets of those of
    /// batches that are not whole. Answers how far each file is good.
    fn walk<'a>(
        &'a self,
        mut sink: impl FnMut(&'a Path, Found<'a>) -> Result<()>,
    ) -> Result<Vec<Summary>> {
        let mut ended = false;
        let mut summaries = Vec::with_capacity(self.files.len());
        for file in &self.files {
            let mut summary = Summary { end: 0, ending: Ending::Whole, records: 0, checksum: 0 };
            if !ended {
                let path = &*file.path;
                summary = scan::walk(&file.bytes, Rules::Tail, |found| sink(path, found))?;
            }
            ended |= summary.end < file.len();
            summaries.push(summary);
        }
        Ok(summaries)
    }
}

impl TailFile {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl Recovering<'_> {
    /// Seals the log, in a copy, and removes its files. The key directory is made of what has been read, if it is not there yet, and the
    /// copy.
    pub(super) fn settle_tail(
        &mut self,
        commits: &Commits,
        tail: &Tail,
        mut loading: Option<Loading>,
    ) -> Result<()> {
        let takes_up = tail.len() < TAKE_UP_BELOW && self.index.has_small_newest(self.segment_size);
        // Who asks what counts in a segment needs the key directory.
        if (tail.files.is_empty() || takes_up)
            && let Some(loading) = loading.take()
        {
            self.begin_with(loading);
        }
        let Some(last) = tail.files.last() else { return Ok(()) };
        let above_tail = last.id.checked_add(1).ok_or_else(|| self.too_many_segments())?;
        let mut copy_id = above_tail;
        commits.commit(|manifest| {
            manifest.tail = tail.ids();
            manifest.next_file_id = manifest.next_file_id.max(above_tail);
            copy_id = commit::reserve(manifest, 1, self.directory)?;
            Ok(())
        })?;

        let small = match takes_up {
            true => self.index.small_newest(self.segment_size, &commits.current()),
            false => None,
        };
        let copy = self.copy_log(tail, small.as_ref(), copy_id)?;
        let small_id = small.as_ref().map(|(_, segment)| segment.id());
        commits.commit(|manifest| {
            let history = &mut manifest.history;
            if let Some((_, small)) = &small {
                history.left_out_to(small.end(history.lineage));
            }
            if let (Some(from), Some((_, copy))) = (tail.end(history.lineage), &copy) {
                (history.carried_from, history.carried_to) = (from, copy.end(history.lineage));
            }
            manifest.sealed.retain(|entry| Some(entry.id) != small_id);
            manifest.sealed.extend(copy.as_ref().map(|(entry, _)| *entry));
            manifest.tail.clear();
            Ok(())
        })?;

        match loading {
            None => self.index_copy(copy)?,
            Some(loading) => self.begin_with_copy(loading, copy)?,
        }
        // Every entry has moved to the copy.
        small.iter().for_each(|(slot, _)| self.index.segments.retire(*slot));
        let gone = small_id.into_iter().chain(tail.ids()).map(|id| self.directory.data(id));
        gone.collect::<Vec<_>>().iter().for_each(|path| self.remove(path));
        small_id.into_iter().for_each(|id| self.remove_hint(id));
        Ok(())
    }

    /// Copies the log, and what counts in a small segment before it, into one with this id, durably; `None` if
    /// nothing does. Its id is reserved; no manifest lists it yet.
    pub(crate) fn copy_log(
        &mut self,
        tail: &Tail,
        small: Option<&(SegmentSlot, Arc<Segment>)>,
        id: SegmentId,
    ) -> Result<Option<(SealedEntry, Segment)>> {
        self.report.unclean = true;
        let temporary = self.directory.data_temporary(id);
        let mut copy = Active::create_unread(&**self.fs, &temporary, id, self.reading)?;
        if let Some((slot, segment)) = small {
            self.copy_small(*slot, segment, tail, &mut copy)?;
        }
        self.copy_tail(tail, &mut copy)?;
        seal_copy(&**self.fs, self.directory, self.reading, copy)
    }

    /// Lets the entries of what was copied name the copy.
    pub(crate) fn index_copy(&mut self, copy: Option<(SealedEntry, Segment)>) -> Result<()> {
        copy.map_or(Ok(()), |(_, copy)| self.index_segment(&Arc::new(copy)).map(drop))
    }

    /// Makes the key directory of what has been read and of the copy.
    fn begin_with_copy(
        &mut self,
        mut loading: Loading,
        copy: Option<(SealedEntry, Segment)>,
    ) -> Result<()> {
        if let Some((entry, copy)) = copy {
            let segment = Arc::new(copy);
            let added = self.index.segments.add(Arc::clone(&segment));
            let slot = added.ok_or_else(|| self.too_many_segments())?;
            let walked = loading.add(Source { slot, segment, entry, hint: None })?;
            if let Some(walked) = walked {
                self.want_hint(&walked, &entry);
                self.note(walked);
            }
        }
        self.begin_with(loading);
        Ok(())
    }

    /// Copies what counts in a small segment, but for keys of which the tail has newer records.
    fn copy_small(
        &self,
        slot: SegmentSlot,
        small: &Segment,
        tail: &Tail,
        copy: &mut Active,
    ) -> Result<()> {
        let mut in_tail = HashSet::new();
        tail.walk(|_, found| {
            if let Found::Record { frame, .. } = found {
                in_tail.insert(frame.key());
            }
            Ok(())
        })?;
        let older_segments = self.index.has_older(small);
        self.index.carried(slot, small, &HashSet::new(), older_segments, |carried| {
            if !in_tail.contains(carried.frame.key()) {
                copy.append_copy(&carried.frame, small.path(), carried.from.offset())?;
            }
            Ok(())
        })
    }

    /// Copies the good records of the log and sets aside what follows them.
    fn copy_tail(&mut self, tail: &Tail, copy: &mut Active) -> Result<()> {
        let ends = tail.walk(|path, found| {
            match found {
                Found::Record { offset, frame } => {
                    copy.append_copy(&frame, path, offset)?;
                }
                Found::Unapplied { offset, .. } => {
                    self.report.unapplied_batch_records += 1;
                    warn_unapplied(path, offset);
                }
                // A tail's walk ends at the first bad record without naming it.
                Found::Bad { .. } | Found::Unreadable { .. } => {}
            }
            Ok(())
        })?;
        for ((file, &summary), end) in tail.files.iter().zip(&tail.ends).zip(ends) {
            let (path, len) = (&*file.path, file.len());
            if summary != end {
                // Something has gone bad since it was looked at.
                let damage = Damage::Length { expected: summary.end, found: end.end };
                return Err(corrupt(path, end.end, damage));
            }
            if summary.end < len {
                self.set_aside(file.id, path, &*file.file, summary, len)?;
            }
        }
        Ok(())
    }
}

/// Makes a copy of records durable under its name; `None` if it is empty. Only a manifest makes it count.
pub(crate) fn seal_copy(
    fs: &dyn Fs,
    directory: &Directory,
    reading: Reading,
    mut copy: Active,
) -> Result<Option<(SealedEntry, Segment)>> {
    let (temporary, path) = (Arc::clone(copy.path()), directory.data(copy.id()));
    if copy.len() == 0 {
        remove_stale(fs, &temporary)?;
        return Ok(None);
    }
    copy.finish()?;
    copy.sync()?;
    let renamed = fs.rename(&temporary, &path);
    renamed.map_err(Error::io("rename a recovered segment to", &*path))?;
    let entry = copy.entry();
    copy.seal(&path)?;
    // Read as any listed segment is, while what it was copied from is still there.
    let segment = Segment::open(fs, &path, entry.id, entry.len, reading)?;
    let bytes = segment.read_all()?;
    let summary = scan::walk(&bytes, Rules::Sealed, |found| match found {
        Found::Record { .. } | Found::Unapplied { .. } => Ok(()),
        Found::Bad { offset, damage, .. } | Found::Unreadable { offset, damage } => {
            Err(segment.corrupt(offset, damage))
        }
    })?;
    check_listed(&path, &entry, summary)?;
    Ok(Some((entry, segment)))
}
