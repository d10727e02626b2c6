//! Where the key directory and the segments meet: from a key to its record.
//!
//! A look-up holds the table of segments first, then asks the key directory for locations, and only
//! then touches records, which may have to come from disk. It takes no lock.
//!
//! Invariants:
//! - A candidate is another key's only if its bytes say so and pass their CRC. One that cannot be
//!   read or is corrupt is an error to a reader, never 'another key' and never 'absent'.
//! - A writer replaces such a candidate; an exact match goes first.

mod carried;

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use carried::{Carried, TAKE_UP_BELOW};

use crate::directory::Directory;
use crate::error::{Damage, Error, Result};
use crate::fs::Region;
use crate::keydir::{KeyDirectory, KeyHasher, Old};
use crate::location::{Location, SegmentSlot};
use crate::options::{Options, Verify};
use crate::ordered::OrderedKeys;
use crate::past::Past;
use crate::record::{self, Frame, HEADER_LEN};
use crate::segment::{self, Pin, Segment, Slots, Table};

pub(crate) struct Index {
    pub(crate) keydir: KeyDirectory,
    pub(crate) segments: Table,
    directory: Directory,
    hasher: KeyHasher,
    verify: Verify,
    ordered: Option<OrderedKeys>,
    /// Of the record that was read last of all that were not written here.
    newest_timestamp: AtomicU64,
}

/// What a look-up among the segments of one moment comes to.
pub(crate) enum Look<'t> {
    Found(Hit<'t>),
    Absent,
    /// The key's record is in a segment that came later: look again, among newer segments.
    Outdated,
}

/// A reader's record.
pub(crate) struct Hit<'t> {
    pub(crate) location: Location,
    pub(crate) region: Cow<'t, Arc<Region>>,
    pub(crate) extent: Extent,
}

pub(crate) struct Extent {
    /// Of the value, in the region.
    pub(crate) value: Range<usize>,
    pub(crate) expires_at: Option<u64>,
}

/// A key's entry at one moment, for who writes only if it is the same still.
pub(crate) struct Seen<'k> {
    key: &'k [u8],
    hash: u64,
    /// Its region, which is held, keeps the location from coming to mean another record (K3).
    hit: Option<Hit<'static>>,
    /// Its record had not expired.
    is_live: bool,
}

/// Entries of the key directory, seen after the segments were taken that they name (K2).
#[derive(Default)]
pub(crate) struct Entries {
    pub(crate) slots: Arc<Slots>,
    pub(crate) locations: Vec<Location>,
}

/// The entry that a writer replaces.
pub(crate) struct Existing {
    pub(crate) location: Location,
    /// The record's length, as far as it can be told.
    pub(crate) len: Option<u64>,
    pub(crate) expires_at: Option<u64>,
}

impl Hit<'_> {
    /// The record as it lies in its file.
    fn frame(&self) -> Result<Frame<'_>> {
        let start = (self.location.offset() - self.region.base()) as usize;
        let bytes = self.region.get_from(start).unwrap_or_default();
        Frame::read(bytes, self.location.offset()).map_err(|damage| self.corrupt(damage))
    }

    #[cold]
    fn corrupt(&self, damage: Damage) -> Error {
        segment::corrupt(self.region.path(), self.location.offset(), damage)
    }

    fn into_owned(self) -> Hit<'static> {
        let Hit { location, region, extent } = self;
        Hit { location, region: Cow::Owned(region.into_owned()), extent }
    }
}

impl Seen<'_> {
    pub(crate) fn into_hit(self) -> Option<Hit<'static>> {
        self.hit
    }

    /// What readers find, whether it has expired or not.
    pub(crate) fn hit(&self) -> Option<&Hit<'static>> {
        self.hit.as_ref()
    }

    /// As `hit`, unless it had expired.
    pub(crate) fn live(&self) -> Option<&Hit<'static>> {
        self.hit().filter(|_| self.is_live)
    }

    /// The key's record as it lies in its file, unless it had expired. Its checksum is right, whatever reads look at.
    pub(crate) fn frame(&self) -> Result<Option<Frame<'_>>> {
        let Some(hit) = self.live() else { return Ok(None) };
        let frame = hit.frame()?;
        frame.verify().map_err(|damage| hit.corrupt(damage))?;
        Ok(Some(frame))
    }
}

impl Existing {
    /// One whose segment goes, so that nobody counts what it makes dead.
    pub(crate) fn at(location: Location) -> Self {
        Existing { location, len: None, expires_at: None }
    }
}

/// Where the parts of a record lie in a region.
pub(crate) struct Place {
    pub(crate) key: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// The key and the value of an entry.
pub(crate) struct Pair<'t> {
    /// In the region of the hit.
    pub(crate) key: Range<usize>,
    pub(crate) hit: Hit<'t>,
}

impl Index {
    pub(crate) fn new(directory: Directory, hasher: KeyHasher, options: &Options) -> Self {
        Index {
            keydir: KeyDirectory::new(),
            segments: Table::new(),
            directory,
            hasher,
            verify: options.verify,
            ordered: options.ordered.then(OrderedKeys::default),
            newest_timestamp: AtomicU64::new(0),
        }
    }

    /// All keys in order, if the store keeps them so.
    pub(crate) fn ordered(&self) -> Option<&OrderedKeys> {
        self.ordered.as_ref()
    }

    #[inline(always)]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    /// The value, and where it is in its region, if `location`, looked up since the segments were taken, is
    /// that of a record of the most frequent kind: a plain one of this very key, mapped and checked.
    /// `None` says nothing: `find` knows the rest. Few instructions and no detour through memory, so that the
    /// processor gets on to the next key while it waits for this one's record.
    #[inline(always)]
    pub(crate) fn quick<'t>(
        &self,
        slots: &'t Slots,
        location: Location,
        key: &[u8],
    ) -> Option<(&'t Arc<Region>, usize, &'t [u8])> {
        let region = slots.mapping(location.slot())?;
        let start = location.offset() as usize;
        region.prefetch(start);
        let bytes = region.get_from(start)?;
        if self.must_verify(location) {
            return None;
        }
        let value = record::plain_value(bytes, key)?;
        Some((region, start + value.start, bytes.get(value)?))
    }

    /// The newest record of `key`, whose hash is given, among the segments of one moment.
    pub(crate) fn find<'t>(&self, slots: &'t Slots, hash: u64, key: &[u8]) -> Result<Look<'t>> {
        let Some(location) = self.keydir.first(hash) else { return Ok(Look::Absent) };
        match self.look_at(slots, hash, key, location)? {
            Look::Absent => self.find_among(slots, hash, key),
            look => Ok(look),
        }
    }

    /// As `find`, where the first entry of the hash is another key's.
    #[cold]
    fn find_among<'t>(&self, slots: &'t Slots, hash: u64, key: &[u8]) -> Result<Look<'t>> {
        for location in self.keydir.all(hash) {
            match self.look_at(slots, hash, key, location)? {
                Look::Absent => {}
                look => return Ok(look),
            }
        }
        Ok(Look::Absent)
    }

    /// The key's record if it is the one at `location`, which is absent if it is another key's.
    #[inline]
    fn look_at<'t>(
        &self,
        slots: &'t Slots,
        hash: u64,
        key: &[u8],
        location: Location,
    ) -> Result<Look<'t>> {
        let Some(segment) = slots.get(location.slot()) else {
            return self.without_segment(slots, hash, location);
        };
        let pin = match segment.pin(location.offset()) {
            Ok(pin) => pin,
            Err(error) => return self.unless_moved(hash, location, error),
        };
        match self.read_candidate(hash, key, location, &pin) {
            Ok(Some(extent)) => Ok(Look::Found(Hit { location, region: pin.region, extent })),
            Ok(None) => self.unless_misled(hash, location, &pin),
            Err(damage) => self.unless_moved(hash, location, pin.corrupt(damage)),
        }
    }

    /// The entry of `key`, with its record.
    pub(crate) fn see<'k>(
        &self,
        key: &'k [u8],
        is_live: impl Fn(&Extent) -> bool,
    ) -> Result<Seen<'k>> {
        let hash = self.hash(key);
        loop {
            let slots = self.segments.now();
            let hit = match self.find(&slots, hash, key)? {
                Look::Found(hit) => Some(hit.into_owned()),
                Look::Absent => None,
                Look::Outdated => continue,
            };
            let is_live = hit.as_ref().is_some_and(|hit| is_live(&hit.extent));
            return Ok(Seen { key, hash, hit, is_live });
        }
    }

    /// The record that `key` had.
    pub(crate) fn find_past(&self, past: &Past, key: &[u8]) -> Result<Option<Hit<'static>>> {
        let hash = self.hash(key);
        'again: loop {
            // The segments first: one that leaves after this is in them, and one that came before is kept.
            let slots = self.segments.now();
            for location in past.all(&self.keydir, hash) {
                let Some(segment) = past.segment(&slots, location.slot()) else {
                    if self.segments.is_now(&slots) {
                        return Err(self.lost(location));
                    }
                    continue 'again;
                };
                let pin = segment.pin(location.offset())?;
                let candidate = self.read_candidate(hash, key, location, &pin);
                if let Some(extent) = candidate.map_err(|damage| pin.corrupt(damage))? {
                    let hit = Hit { location, region: pin.region, extent };
                    return Ok(Some(hit.into_owned()));
                }
                // As in `unless_misled`.
                let checked = pin.frame().and_then(|frame| self.check_hash(&frame, hash));
                if let Err(damage) = checked
                    && past.all(&self.keydir, hash).iter().any(|at| at.is_same_place(location))
                {
                    return Err(pin.corrupt(damage));
                }
            }
            return Ok(None);
        }
    }

    /// Whether a key's entry is what it was, and has not expired since. It stays so for who has the writer's
    /// lock.
    pub(crate) fn is_still(&self, seen: &Seen<'_>, is_live: impl Fn(&Extent) -> bool) -> bool {
        match &seen.hit {
            Some(hit) if is_live(&hit.extent) != seen.is_live => false,
            Some(hit) => self.keydir.is_at(seen.hash, hit.location),
            None => self.find_for_write(seen.hash, seen.key).is_none(),
        }
    }

    /// A location names a segment that came after `slots`; if ever it names none, the key must not
    /// seem absent.
    #[cold]
    fn without_segment<'t>(
        &self,
        slots: &Slots,
        hash: u64,
        location: Location,
    ) -> Result<Look<'t>> {
        if self.keydir.is_at(hash, location) && self.segments.is_now(slots) {
            return Err(self.lost(location));
        }
        Ok(Look::Outdated)
    }

    /// The sound record of another key at an entry's location: a collision, unless its hash is another, too. Then the entry
    /// is wrong, because the file is another than it was, and nobody knows where the key's record is.
    #[cold]
    fn unless_misled<'t>(&self, hash: u64, location: Location, pin: &Pin<'_>) -> Result<Look<'t>> {
        match pin.frame().and_then(|frame| self.check_hash(&frame, hash)) {
            Ok(()) => Ok(Look::Absent),
            Err(damage) => self.unless_moved(hash, location, pin.corrupt(damage)),
        }
    }

    /// Whether a record is one of those that an entry may name.
    fn check_hash(&self, frame: &Frame<'_>, hash: u64) -> Result<(), Damage> {
        let found = self.hash(frame.key());
        if found == hash {
            return Ok(());
        }
        Err(Damage::Field { field: "hash of a record's key", expected: hash, found })
    }

    /// The damage of a record counts if it is its key's newest still.
    #[cold]
    fn unless_moved<'t>(&self, hash: u64, location: Location, error: Error) -> Result<Look<'t>> {
        if self.keydir.is_at(hash, location) { Err(error) } else { Ok(Look::Outdated) }
    }

    /// The entry that a new record of `key` takes the place of. Never fails for damage: a record
    /// that cannot be read is replaced, with a warning.
    pub(crate) fn find_for_write(&self, hash: u64, key: &[u8]) -> Option<Existing> {
        let mut unreadable = None;
        let slots = self.segments.now();
        for location in self.keydir.all(hash) {
            let Some(segment) = slots.get(location.slot()) else {
                if let Err(error) = self.without_segment(&slots, hash, location) {
                    tracing::error!(%error, "an entry is left alone");
                    continue;
                }
                return self.find_for_write(hash, key);
            };
            let pin = match segment.pin(location.offset()) {
                Ok(pin) => pin,
                Err(error) => {
                    unreadable = Some((Existing::at(location), error));
                    continue;
                }
            };
            let (len, verdict) = match pin.frame() {
                Ok(frame) if frame.key() == key => {
                    let (len, expires_at) = (Some(frame.len()), frame.expires_at());
                    return Some(Existing { location, len, expires_at });
                }
                Ok(frame) => {
                    (Some(frame.len()), frame.verify().and_then(|()| self.check_hash(&frame, hash)))
                }
                Err(damage) => (None, Err(damage)),
            };
            if let Err(damage) = verdict {
                let existing = Existing { location, len, expires_at: None };
                unreadable = Some((existing, pin.corrupt(damage)));
            }
        }
        let (existing, error) = unreadable?;
        tracing::warn!(%error, "replacing a record that cannot be read");
        Some(existing)
    }

    /// Lets `key`'s entry name its newest record, which has just been written or scanned.
    pub(crate) fn set(&self, hash: u64, key: &[u8], new: Location) {
        if self.keydir.change(hash, Old::NoSuchHash, Some(new)) {
            return self.note_order(key);
        }
        // A compaction may move the entry meanwhile; nobody else changes it.
        while !self.enter(hash, key, self.find_for_write(hash, key).as_ref(), new) {}
    }

    /// Lets `key`'s entry, or a new one, name a record. False, and nothing done, if the entry is no longer where
    /// `old` says.
    pub(crate) fn enter(
        &self,
        hash: u64,
        key: &[u8],
        old: Option<&Existing>,
        new: Location,
    ) -> bool {
        let entered = self.change(hash, old, Some(new));
        if entered && old.is_none() {
            self.note_order(key);
        }
        entered
    }

    /// A key has an entry that had none.
    fn note_order(&self, key: &[u8]) {
        if let Some(ordered) = &self.ordered {
            ordered.insert(key);
        }
    }

    /// Lets an entry name a copy of its record. False, and nothing done, if it is no longer where the copied
    /// record is.
    pub(crate) fn set_copy(&self, hash: u64, from: Location, copy: Location) -> bool {
        self.set_copies(&[(hash, from, copy)]).is_empty()
    }

    /// As [`Index::set_copy`], of several, and answers which copies no entry names. Changes wait meanwhile.
    pub(crate) fn set_copies(&self, copies: &[(u64, Location, Location)]) -> Vec<Location> {
        copies.iter().for_each(|(hash, ..)| self.keydir.prefetch(*hash));
        let mut changes = self.keydir.changes();
        let mut is_late = |&&(hash, from, copy): &&(u64, Location, Location)| {
            !changes.change(hash, Old::CopiedFrom(from), Some(copy))
        };
        copies.iter().filter(|copy| is_late(copy)).map(|(.., copy)| *copy).collect()
    }

    /// Lets a record that was read take effect, the newest of all that were read so far. One that is bad, whose
    /// location says so, does as a put does: reading its key has to answer that it is corrupt, not an older value.
    pub(crate) fn replay(&self, segment: &Segment, frame: &Frame<'_>, location: Location) {
        self.note_timestamp(frame);
        let hash = self.hash(frame.key());
        if !frame.is_tombstone() || !location.is_verified() {
            segment.usage().add_expiring(frame.expires_at(), frame.len());
            return self.set(hash, frame.key(), location);
        }
        segment.usage().add_tombstone(frame.len());
        if let Some(old) = self.find_for_write(hash, frame.key()) {
            self.change(hash, Some(&old), None);
        }
    }

    /// As [`Index::replay`], of several records in their order: what each needs of memory is on its way before the first is
    /// dealt with.
    pub(crate) fn replay_all(&self, segment: &Segment, records: &[(Frame<'_>, Location)]) {
        let hashes = records.iter().map(|(frame, _)| self.hash(frame.key()));
        let hashes: Vec<_> = hashes.inspect(|hash| self.keydir.prefetch(*hash)).collect();
        let slots = self.segments.now();
        for location in hashes.iter().filter_map(|hash| self.keydir.first(*hash)) {
            if let Some(region) = slots.mapping(location.slot()) {
                region.prefetch(location.offset() as usize);
            }
        }
        records.iter().for_each(|(frame, location)| self.replay(segment, frame, *location));
    }

    /// Takes over what sealed segments hold; nothing has been read before, and nobody reads yet.
    pub(crate) fn begin_with(&mut self, keydir: KeyDirectory, keys: &[Box<[u8]>]) {
        self.keydir = keydir;
        keys.iter().for_each(|key| self.note_order(key));
    }

    pub(crate) fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// Takes note of the time of a record that was read, the newest of all that were read so far.
    pub(crate) fn note_timestamp(&self, frame: &Frame<'_>) {
        self.newest_timestamp.store(frame.timestamp(), Ordering::Relaxed);
    }

    /// When the newest of the records was written that were read, not written, here: the last one in the
    /// order of the log, whatever times others claim.
    pub(crate) fn newest_timestamp(&self) -> u64 {
        self.newest_timestamp.load(Ordering::Relaxed)
    }

    /// An empty one for the same keys, which knows no order.
    pub(crate) fn emptied(&self) -> Self {
        let (keydir, segments) = (KeyDirectory::new(), Table::new());
        let (directory, hasher) = (self.directory.clone(), self.hasher.clone());
        let newest_timestamp = AtomicU64::new(0);
        Index {
            keydir,
            segments,
            directory,
            hasher,
            verify: self.verify,
            ordered: None,
            newest_timestamp,
        }
    }

    /// Lets each key's entry name the record that it does in another index. That one's segments are here in the
    /// slots that `slot` says.
    pub(crate) fn take_over(
        &self,
        other: &Index,
        slot: impl Fn(SegmentSlot) -> Option<SegmentSlot>,
    ) {
        other.keydir.visit_all(|hash, location| {
            let to = slot(location.slot()).and_then(|slot| location.in_slot(slot));
            let (Some(to), Some(segment)) = (to, other.segments.get(location.slot())) else {
                return;
            };
            let pin = segment.pin(location.offset());
            match pin.as_ref().ok().and_then(|pin| pin.frame().ok()) {
                Some(frame) => {
                    let key = frame.key();
                    self.enter(hash, key, self.find_for_write(hash, key).as_ref(), to);
                }
                // Whoever asks for it is told. Its old entry is let go with what that names.
                None => drop(self.keydir.change(hash, Old::NoSuchKey, Some(to))),
            }
        });
    }

    /// The entries that name these segments: hash and location.
    pub(crate) fn entries_in(&self, slots: &HashSet<SegmentSlot>) -> Vec<(u64, Location)> {
        let mut found = Vec::new();
        if !slots.is_empty() {
            self.keydir.visit_all(|hash, location| {
                if slots.contains(&location.slot()) {
                    found.push((hash, location));
                }
            });
        }
        found
    }

    /// Lets segments go, with these entries: all that name them still.
    pub(crate) fn let_go(&self, slots: &HashSet<SegmentSlot>, entries: Vec<(u64, Location)>) {
        for (hash, location) in entries {
            self.change(hash, Some(&Existing::at(location)), None);
        }
        self.segments.retire_all(slots.iter().copied());
    }

    /// Changes what a key's entry says, and counts the bytes that this makes dead. False, and nothing done, if the entry is no longer
    /// where `old` says.
    pub(crate) fn change(&self, hash: u64, old: Option<&Existing>, new: Option<Location>) -> bool {
        let from = old.map_or(Old::NoSuchKey, |existing| Old::At(existing.location));
        if !self.keydir.change(hash, from, new) {
            return false;
        }
        let Some(Existing { location, len, expires_at }) = old else { return true };
        if let Some(len) = len
            && let Some(segment) = self.segments.get(location.slot())
        {
            segment.usage().add_stale(*expires_at, *len);
        }
        if let Some(ordered) = &self.ordered
            && new.is_none()
        {
            self.forget_order(ordered, hash, *location);
        }
        true
    }

    /// The entry at a location is gone.
    fn forget_order(&self, ordered: &OrderedKeys, hash: u64, location: Location) {
        let Some(segment) = self.segments.get(location.slot()) else { return };
        // One that cannot be read stays, and is found absent by whoever meets it.
        let Ok(pin) = segment.pin(location.offset()) else { return };
        if let Ok(frame) = pin.frame() {
            // A put may have been faster since.
            ordered.remove_unless(frame.key(), |key| self.find_for_write(hash, key).is_some());
        }
    }

    /// Names a record that was just written. Where reading does not check records, it counts as
    /// checked: what is not is what an opening found bad.
    pub(crate) fn location(&self, slot: SegmentSlot, offset: u64) -> Option<Location> {
        let location = Location::new(slot, offset)?;
        Some(if self.verify == Verify::Never { location.verified() } else { location })
    }

    /// A record that was found, with its key.
    pub(crate) fn pair<'t>(&self, hit: Hit<'t>) -> Result<Pair<'t>> {
        let start = (hit.location.offset() - hit.region.base()) as usize;
        let key = hit.frame()?.key_range();
        Ok(Pair { key: start + key.start..start + key.end, hit })
    }

    /// The record at `location`, seen since `slots` were taken, if it is of the most frequent kind, as for `quick`. `None` says
    /// nothing: `read_entry` knows the rest.
    #[inline(always)]
    pub(crate) fn quick_entry(&self, slots: &Slots, location: Location) -> Option<Place> {
        let region = slots.mapping(location.slot())?;
        let start = location.offset() as usize;
        let bytes = region.get_from(start)?;
        let ends = if self.must_verify(location) { None } else { record::plain_ends(bytes) };
        let (key_end, end) = ends.map(|(key_end, end)| (start + key_end, start + end))?;
        Some(Place { key: start + HEADER_LEN..key_end, value: key_end..end })
    }

    /// The record of an entry, whatever its key is. The entry was seen after `slots` were taken.
    pub(crate) fn read_entry<'t>(&self, slots: &'t Slots, location: Location) -> Result<Pair<'t>> {
        let segment = slots.get(location.slot()).ok_or_else(|| self.lost(location))?;
        let pin = segment.pin(location.offset())?;
        let corrupt = |damage| pin.corrupt(damage);
        let frame = pin.frame().map_err(corrupt)?;
        if self.must_verify(location) {
            self.check(|| self.hash(frame.key()), location, &frame).map_err(corrupt)?;
        }
        let (key, extent) = (in_region(&pin, frame.key_range()), extent(&pin, &frame));
        Ok(Pair { key, hit: Hit { location, region: pin.region, extent } })
    }

    /// Checks a record, and notes that it has passed if that is of use.
    fn check(
        &self,
        hash: impl FnOnce() -> u64,
        location: Location,
        frame: &Frame<'_>,
    ) -> Result<(), Damage> {
        frame.verify()?;
        if self.verify != Verify::Always {
            self.keydir.mark_verified(hash(), location);
        }
        Ok(())
    }

    #[inline(always)]
    fn must_verify(&self, location: Location) -> bool {
        match self.verify {
            Verify::Always => true,
            Verify::Once | Verify::Never => !location.is_verified(),
        }
    }

    /// Finds every entry of the first ones of some hashes, now or then, and gives the other hashes. The memory of the
    /// entries that were there before is used for them.
    pub(crate) fn entries_of_first(
        &self,
        hashes: RangeInclusive<u64>,
        past: Option<&Past>,
        entries: &mut Entries,
    ) -> Option<RangeInclusive<u64>> {
        let Entries { slots, locations } = entries;
        loop {
            let now = self.segments.snapshot();
            locations.clear();
            let push = |_, location| locations.push(location);
            let rest = match past {
                None => self.keydir.visit_first(hashes.clone(), push),
                Some(past) => past.visit_first(&self.keydir, hashes.clone(), push),
            };
            let has_all = |slots: &Slots| locations.iter().all(|at| slots.get(at.slot()).is_some());
            *slots = Arc::clone(&now);
            if let Some(past) = past
                && !has_all(slots)
            {
                *slots = Arc::new(past.segments(&now));
            }
            // Some may have come later than the segments that were taken. If ever one names none, it is told.
            if has_all(slots) || self.segments.is_now(&now) {
                return rest;
            }
        }
    }

    #[cold]
    pub(crate) fn lost(&self, location: Location) -> Error {
        let found = location.slot().index() as u64;
        let damage = Damage::Field { field: "an entry's segment slot", expected: 0, found };
        Error::Inconsistent { path: self.directory.path().to_path_buf(), damage }
    }

    /// The value's range and expiry if the record is `key`'s; `None` if it is another key's.
    #[inline]
    fn read_candidate(
        &self,
        hash: u64,
        key: &[u8],
        location: Location,
        pin: &Pin<'_>,
    ) -> Result<Option<Extent>, Damage> {
        let frame = pin.frame()?;
        let is_same = frame.key() == key;
        // Equal hashes and different keys: either a collision, one in 2^64, or damage.
        if self.must_verify(location) || !is_same {
            self.check(|| hash, location, &frame)?;
        }
        Ok(is_same.then(|| extent(pin, &frame)))
    }
}

#[inline]
fn extent(pin: &Pin<'_>, frame: &Frame<'_>) -> Extent {
    Extent { value: in_region(pin, frame.value_range()), expires_at: frame.expires_at() }
}

/// A range of the pin's record as one of its region.
#[inline]
fn in_region(pin: &Pin<'_>, range: Range<usize>) -> Range<usize> {
    pin.start + range.start..pin.start + range.end
}
