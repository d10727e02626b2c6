//! What of a segment a copy of it has to hold: what a compaction, a repair and the taking up of a small segment go by.
//!
//! Invariants:
//! - A put is carried if an entry names it, a tombstone if older segments may hold its key and no entry has it.
//! - Where a record is bad, every entry that names the segment has to be that of a record which is carried; else the segment
//!   stays as it is.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::Index;
use crate::error::{Error, Result};
use crate::fs::Whole;
use crate::location::{Location, SegmentSlot};
use crate::manifest::{Manifest, SealedEntry};
use crate::record::Frame;
use crate::segment::Segment;
use crate::segment::scan::{self, Found, Rules};

/// A newest segment below this is copied rather than left.
pub(crate) const TAKE_UP_BELOW: u64 = 1 << 20;

/// As many cache misses of the key directory overlap where a whole segment is looked up.
const LOOKED_UP_AT_ONCE: usize = 24;

/// A record that a copy of its segment has to hold.
pub(crate) struct Carried<'a> {
    pub(crate) hash: u64,
    pub(crate) from: Location,
    pub(crate) frame: Frame<'a>,
}

impl Index {
    /// Whether the newest segment is as small as [`Index::small_newest`] wants it.
    pub(crate) fn has_small_newest(&self, segment_size: u64) -> bool {
        self.segments.list().pop().is_some_and(|(_, segment)| is_small(&segment, segment_size))
    }

    /// The newest segment, if it is so small that it is better copied into the next one than left as
    /// one of thousands, sound, and the one that the manifest means.
    pub(crate) fn small_newest(
        &self,
        segment_size: u64,
        manifest: &Manifest,
    ) -> Option<(SegmentSlot, Arc<Segment>)> {
        let (slot, segment) = self.segments.list().pop()?;
        if !is_small(&segment, segment_size) {
            return None;
        }
        let sound = segment.read_all().and_then(|bytes| {
            scan::walk(&bytes, Rules::Sealed, |found| match found {
                Found::Record { .. } | Found::Unapplied { .. } => Ok(()),
                Found::Bad { offset, damage, .. } | Found::Unreadable { offset, damage } => {
                    Err(segment.corrupt(offset, damage))
                }
            })
        });
        let meant = manifest.entry(segment.id())?;
        let is_meant = sound.ok()?.check(meant.records, meant.checksum).is_ok();
        is_meant.then_some((slot, segment))
    }

    /// Whether there are segments that may hold older records of a segment's keys.
    pub(crate) fn has_older(&self, segment: &Segment) -> bool {
        self.segments.list().iter().any(|(_, other)| other.id() < segment.id())
    }

    /// Shows what a copy of a segment has to hold, in the order of the log. The segment was found
    /// sound but for what is bad at these offsets; anything else that is bad is an error.
    pub(crate) fn carried(
        &self,
        slot: SegmentSlot,
        segment: &Segment,
        bad: &HashSet<u64>,
        older_segments: bool,
        mut sink: impl FnMut(Carried<'_>) -> Result<()>,
    ) -> Result<()> {
        let bytes = segment.read_all()?;
        scan::walk(&bytes, Rules::Sealed, |found| {
            let (offset, frame) = match found {
                Found::Record { offset, frame } => (offset, frame),
                Found::Unapplied { .. } => return Ok(()),
                Found::Bad { offset, .. } | Found::Unreadable { offset, .. }
                    if bad.contains(&offset) =>
                {
                    return Ok(());
                }
                // It has gone bad since it was looked at.
                Found::Bad { offset, damage, .. } | Found::Unreadable { offset, damage } => {
                    return Err(segment.corrupt(offset, damage));
                }
            };
            let from = Location::new(slot, offset);
            let from = from.ok_or_else(|| self.directory.too_many_segments())?;
            let hash = self.hash(frame.key());
            if !self.is_carried(hash, &frame, from, older_segments) {
                return Ok(());
            }
            sink(Carried { hash, from, frame })
        })?;
        Ok(())
    }

    /// The offsets of the records in these segments that entries name, by slots. It takes a look at every entry.
    pub(crate) fn named_in(
        &self,
        slots: impl IntoIterator<Item = SegmentSlot>,
    ) -> HashMap<SegmentSlot, Vec<u64>> {
        let slots: Vec<_> = slots.into_iter().collect();
        let mut named: Vec<Option<Vec<u64>>> = Vec::new();
        for slot in &slots {
            named.resize_with(named.len().max(slot.index() + 1), || None);
            named[slot.index()] = Some(Vec::new());
        }
        self.keydir.visit_all(|_, location| {
            if let Some(Some(offsets)) = named.get_mut(location.slot().index()) {
                offsets.push(location.offset());
            }
        });
        let take = |slot: SegmentSlot| (slot, named[slot.index()].take().unwrap_or_default());
        slots.into_iter().map(take).collect()
    }

    /// What a copy of a segment has to hold, in the order of the log, if all of it is sound but for records that no
    /// entry names, and it is the one that the manifest means; else what is wrong with it. `named` are the offsets that
    /// entries have named since it was sealed, if somebody knows them. `step` hears of all bytes.
    pub(crate) fn to_carry(
        &self,
        (slot, segment): (SegmentSlot, &Segment),
        meant: Option<&SealedEntry>,
        bytes: &Whole,
        named: Option<Vec<u64>>,
        older_segments: bool,
        mut step: impl FnMut(u64) -> Result<()>,
    ) -> Result<Result<Vec<(u64, Location)>, Error>> {
        let (mut carried, mut bad, mut unreadable) = (Vec::new(), BTreeMap::new(), None);
        let mut unapplied = false;
        let mut named = named.map(|mut offsets| {
            offsets.sort_unstable();
            offsets.into_iter().peekable()
        });
        // What the key directory has to be asked is on its way meanwhile.
        let mut waiting = VecDeque::with_capacity(LOOKED_UP_AT_ONCE + 1);
        let mut take = |(hash, from, frame, is_named): (u64, Location, Frame<'_>, Option<bool>)| {
            let is_carried = || self.is_carried(hash, &frame, from, older_segments);
            if is_named.unwrap_or_else(is_carried) {
                carried.push((hash, from));
            }
        };
        let summary = scan::walk(bytes, Rules::Sealed, |found| {
            match found {
                Found::Record { offset, frame } => {
                    step(frame.len())?;
                    let is_named = match &mut named {
                        _ if frame.is_tombstone() => (!older_segments).then_some(false),
                        Some(offsets) => {
                            while offsets.next_if(|named| *named < offset).is_some() {}
                            Some(offsets.next_if_eq(&offset).is_some())
                        }
                        None => None,
                    };
                    if is_named == Some(false) {
                        return Ok(());
                    }
                    let from = Location::new(slot, offset);
                    let from = from.ok_or_else(|| self.directory.too_many_segments())?;
                    let hash = self.hash(frame.key());
                    if is_named.is_none() {
                        self.keydir.prefetch(hash);
                    }
                    waiting.push_back((hash, from, frame, is_named));
                    if waiting.len() > LOOKED_UP_AT_ONCE {
                        waiting.pop_front().into_iter().for_each(&mut take);
                    }
                }
                Found::Unapplied { frame, .. } => {
                    unapplied = true;
                    step(frame.len())?;
                }
                Found::Bad { offset, damage, .. } => drop(bad.insert(offset, damage)),
                Found::Unreadable { offset, damage } => unreadable = Some((offset, damage)),
            }
            Ok::<_, Error>(())
        })?;
        waiting.into_iter().for_each(take);
        // What a bad record says of its key, and of its end, cannot be trusted: every entry that names the segment has to be
        // that of a record which is carried. Others may stand for a bad one, for one of its batch, or for what it seems to hold.
        let mut live = None;
        if let Some((&at, &damage)) = bad.first_key_value() {
            let places: HashSet<_> = carried.iter().map(|(_, from)| from.offset()).collect();
            self.keydir.visit_all(|_, location| {
                if location.slot() == slot && !places.contains(&location.offset()) {
                    let damage = bad.get(&location.offset()).copied().unwrap_or(damage);
                    live = live.or(Some((location.offset(), damage)));
                }
            });
            // What was deleted by a batch that has gone bad must not come back.
            if unapplied && older_segments {
                live = live.or(Some((at, damage)));
            }
        }
        if let Some((offset, damage)) = unreadable.or(live) {
            return Ok(Err(segment.corrupt(offset, damage)));
        }
        let is_meant = |meant: &SealedEntry| summary.check(meant.records, meant.checksum);
        let checked = if bad.is_empty() { meant.map_or(Ok(()), is_meant) } else { Ok(()) };
        let path = || segment.path().to_path_buf();
        Ok(checked.map(|()| carried).map_err(|damage| Error::Inconsistent { path: path(), damage }))
    }

    /// A put is carried if it is its key's newest, a tombstone if older segments may hold the key and
    /// no newer put would fall victim to it.
    fn is_carried(
        &self,
        hash: u64,
        frame: &Frame<'_>,
        location: Location,
        older_segments: bool,
    ) -> bool {
        if frame.is_tombstone() {
            older_segments && self.find_for_write(hash, frame.key()).is_none()
        } else {
            self.keydir.is_at(hash, location)
        }
    }
}

/// Whether a segment is better copied than left as one of thousands.
fn is_small(segment: &Segment, segment_size: u64) -> bool {
    segment.len() < TAKE_UP_BELOW.min(segment_size / 2)
}
