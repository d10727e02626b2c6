//! [`Walk`]: all keys of a store, as it is or was, one after another.
//!
//! It goes through the key directory in the order of the hashes, a page at a time, and asks for records some
//! time before it reads them, so that their cache misses overlap.
//!
//! Invariants:
//! - A key never changes its hash, and each hash is visited once. So a key that is there all the while comes exactly
//!   once, whatever is put, deleted and compacted meanwhile. Of walks over parts of the hashes one shows it.
//! - The segments were taken before the entries that are to be read were seen (K2), and are held while those are (K3).
//!
//! Must not know: files, order.

use std::borrow::Cow;
use std::iter;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::Region;
use crate::index::{Entries, Pair, Place};
use crate::keydir::ALL_HASHES;
use crate::location::{Location, SegmentSlot};
use crate::sight::Sight;
use crate::value::Value;

/// So many records are on their way while one is read. Fewer leave the memory idle, also where the processor
/// keeps count of fewer.
const AHEAD: usize = 32;
/// So much of a record is asked for as long as none has been read.
const FIRST_LEN: usize = 256;

/// What is read of each record.
#[derive(Clone, Copy)]
pub(crate) enum Wanted {
    Keys,
    Pairs,
}

pub(crate) struct Walk<'a> {
    sight: Sight<'a>,
    wanted: Wanted,
    /// Hashes that have not been visited.
    rest: Option<RangeInclusive<u64>>,
    /// Of the hashes that were visited last, and how many of them have been read.
    entries: Entries,
    read: usize,
    /// So much was read of the last record, from its first byte on. Most are alike.
    wanted_len: usize,
    /// The segment of the last record, and its memory if that is not the segment's mapping.
    slot: Option<SegmentSlot>,
    own: Option<Arc<Region>>,
    told_closed: bool,
}

impl Wanted {
    /// Where it ends.
    #[inline(always)]
    fn end(self, place: &Place) -> usize {
        match self {
            Wanted::Keys => place.key.end,
            Wanted::Pairs => place.value.end,
        }
    }
}

impl<'a> Walk<'a> {
    /// Over all keys.
    pub(crate) fn new(sight: Sight<'a>, wanted: Wanted) -> Self {
        Self::over(sight, wanted, Some(ALL_HASHES))
    }

    fn over(sight: Sight<'a>, wanted: Wanted, rest: Option<RangeInclusive<u64>>) -> Self {
        Walk {
            sight,
            wanted,
            rest,
            entries: Entries::default(),
            read: 0,
            wanted_len: FIRST_LEN,
            own: None,
            slot: None,
            told_closed: false,
        }
    }

    /// What is still to come, in so many parts, or in one.
    pub(crate) fn split(mut self, parts: usize) -> Vec<Self> {
        let (sight, wanted) = (self.sight, self.wanted);
        let mut hashes = split(self.rest.take(), parts.max(1));
        self.rest = hashes.next().flatten();
        iter::once(self).chain(hashes.map(|rest| Self::over(sight, wanted, rest))).collect()
    }

    /// The next key.
    pub(crate) fn next_key(&mut self) -> Option<Result<Value>> {
        match self.advance()? {
            Ok(Place { key, .. }) => Some(Ok(Value::new(Arc::clone(self.region()?), key))),
            Err(error) => Some(Err(error)),
        }
    }

    /// The next key and its value.
    pub(crate) fn next_pair(&mut self) -> Option<Result<(Value, Value)>> {
        match self.advance()? {
            Ok(Place { key, value }) => {
                let region = self.region()?;
                let own = |range| Value::new(Arc::clone(region), range);
                Some(Ok((own(key), own(value))))
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// As [`Walk::next_pair`], to be looked at before the walk goes on: counts no reference to memory that the
    /// walk holds anyway.
    #[inline]
    pub(crate) fn lend(&mut self) -> Option<Result<(&[u8], &[u8])>> {
        match self.advance()? {
            Ok(Place { key, value }) => {
                let region = self.region()?;
                let bytes = |range| region.get(range).unwrap_or_default();
                Some(Ok((bytes(key), bytes(value))))
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// The memory of the record that has come by last.
    #[inline(always)]
    fn region(&self) -> Option<&Arc<Region>> {
        match &self.own {
            None => self.entries.slots.mapping(self.slot?),
            own => own.as_ref(),
        }
    }

    /// Goes on to the next record that counts.
    #[inline(always)]
    fn advance(&mut self) -> Option<Result<Place>> {
        if self.sight.log.is_closed() {
            return self.tell_closed();
        }
        loop {
            let Some(&location) = self.entries.locations.get(self.read) else {
                self.visit()?;
                continue;
            };
            self.read += 1;
            if let Some(&later) = self.entries.locations.get(self.read + AHEAD) {
                self.prefetch(later);
            }
            let quick = self.sight.log.index.quick_entry(&self.entries.slots, location);
            if let Some(place) = quick {
                (self.slot, self.own) = (Some(location.slot()), None);
                self.wanted_len = self.wanted.end(&place) - location.offset() as usize;
                return Some(Ok(place));
            }
            if let Some(read) = self.read_slowly(location) {
                return Some(read);
            }
        }
    }

    /// A record of any kind, if it counts.
    #[inline(never)]
    fn read_slowly(&mut self, location: Location) -> Option<Result<Place>> {
        let index = &self.sight.log.index;
        let Pair { key, hit } = match index.read_entry(&self.entries.slots, location) {
            Ok(pair) => pair,
            Err(error) => return Some(Err(error)),
        };
        if !self.sight.is_live(&hit.extent) {
            return None;
        }
        let start = (location.offset() - hit.region.base()) as usize;
        self.slot = Some(location.slot());
        self.own = match hit.region {
            // That is all a table has mappings for.
            Cow::Borrowed(region) if region.base() == 0 => None,
            region => Some(region.into_owned()),
        };
        let place = Place { key, value: hit.extent.value };
        self.wanted_len = self.wanted.end(&place) - start;
        Some(Ok(place))
    }

    #[cold]
    fn tell_closed<T>(&mut self) -> Option<Result<T>> {
        let told = std::mem::replace(&mut self.told_closed, true);
        (!told).then_some(Err(Error::Closed))
    }

    /// Finds the next entries, if there are hashes left. If not, lets go of what is held.
    #[inline(never)]
    fn visit(&mut self) -> Option<()> {
        self.read = 0;
        let Some(hashes) = self.rest.take() else {
            (self.entries, self.own) = (Entries::default(), None);
            return None;
        };
        let Sight { log, past } = self.sight;
        self.rest = log.index.entries_of_first(hashes, past, &mut self.entries);
        let first = self.entries.locations.iter().take(AHEAD + 1);
        first.for_each(|&location| self.prefetch(location));
        Some(())
    }

    #[inline]
    fn prefetch(&self, location: Location) {
        if let Some(region) = self.entries.slots.mapping(location.slot()) {
            region.prefetch_some(location.offset() as usize, self.wanted_len);
        }
    }
}

/// Parts of some hashes, which are none of more than there are.
fn split(
    hashes: Option<RangeInclusive<u64>>,
    parts: usize,
) -> impl Iterator<Item = Option<RangeInclusive<u64>>> {
    (0..parts as u128).map(move |part| {
        let (first, last) = hashes.clone()?.into_inner();
        let count = u128::from(last - first) + 1;
        let start_of = |part: u128| u128::from(first) + count * part / parts as u128;
        let (start, end) = (start_of(part), start_of(part + 1));
        (start < end).then(|| start as u64..=(end - 1) as u64)
    })
}
