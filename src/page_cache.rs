//! What the operating system is asked to have in memory before it is read: whole segments, or the
//! records of some keys.
//!
//! Invariant: no lock is held while anything is read, and a segment only as long as it is read.

use std::ops::{ControlFlow, Range};

use crate::error::{Error, Result};
use crate::fs::FIRST_READ;
use crate::log::Log;
use crate::progress::Progress;

const PAGE: u64 = 4096;

/// Brings the segments into memory, oldest first, until it is told to stop.
pub(crate) fn warm_up(
    log: &Log,
    mut told: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Progress> {
    let segments = log.index.segments.list().into_iter();
    let segments: Vec<_> = segments.map(|(slot, s)| (slot, s.id(), s.len())).collect();
    let mut progress = Progress { done: 0, total: segments.iter().map(|(.., len)| len).sum() };
    for (slot, id, len) in segments {
        if log.is_closed() {
            return Err(Error::Closed);
        }
        let before = progress.done;
        // A compaction may have removed it, and given its slot to another.
        let segment = log.index.segments.get(slot).filter(|segment| segment.id() == id);
        if let Some(segment) = segment {
            let flow = segment.view().warm(0..len, |step| {
                progress.done += step;
                if log.is_closed() { ControlFlow::Break(()) } else { told(progress) }
            })?;
            if flow.is_break() {
                return if log.is_closed() { Err(Error::Closed) } else { Ok(progress) };
            }
        }
        progress.done = before + len;
    }
    Ok(progress)
}

/// Asks for the pages in which the records of these keys begin, in the order of the files.
pub(crate) fn prefetch<K: AsRef<[u8]>>(log: &Log, keys: impl IntoIterator<Item = K>) -> Result<()> {
    let index = &log.index;
    let mut places = Vec::new();
    for key in keys {
        let hash = index.hash(key.as_ref());
        let all = index.keydir.all(hash).into_iter();
        places.extend(all.map(|at| (at.slot(), pages_of(at.offset()))));
    }
    places.sort_unstable_by_key(|(slot, pages)| (slot.index(), pages.start));
    for places in places.chunk_by(|a, b| a.0 == b.0) {
        if log.is_closed() {
            return Err(Error::Closed);
        }
        // If another segment has come into the slot since, what is asked for is of no use, no more.
        let segment = places.first().and_then(|(slot, _)| index.segments.get(*slot));
        let Some(segment) = segment else { continue };
        for pages in merged(places.iter().map(|(_, pages)| pages.clone())) {
            segment.view().will_need(pages)?;
        }
    }
    Ok(())
}

/// The pages that a record at `offset` touches, as far as can be told without reading it.
fn pages_of(offset: u64) -> Range<u64> {
    let end = offset.saturating_add(FIRST_READ as u64);
    offset - offset % PAGE..end.next_multiple_of(PAGE)
}

/// Makes one of ranges that touch each other. They come in the order of their beginnings.
fn merged(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_asked_for_hold_the_first_bytes_of_the_record_and_no_more() {
        assert_eq!(pages_of(0), 0..4096);
        assert_eq!(pages_of(1), 0..8192);
        assert_eq!(pages_of(4095), 0..8192);
        assert_eq!(pages_of(8192 + 7), 8192..16384);
    }

    #[test]
    fn ranges_that_touch_are_asked_for_at_once() {
        let ranges = [0..8192, 0..8192, 4096..12288, 12288..16384, 40960..45056, 40960..49152];
        assert_eq!(merged(ranges.into_iter()), [0..16384, 40960..49152]);
        assert_eq!(merged([].into_iter()), []);
    }
}
