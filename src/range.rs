//! [`Range`]: keys in the order of their bytes.

use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};

use crate::error::{Error, Result};
use crate::ordered::{self, Bounds};
use crate::sight::{KeyValue, Sight};
use crate::value::Value;
use crate::walk::{Walk, Wanted};

/// So many keys are taken from the ordered index at a time.
const CHUNK: usize = 128;

/// Some keys of a store with their values, in the order of the keys' bytes, from both ends. Made by
/// [`crate::Store::range`] and [`crate::Store::prefix`], and by a [`crate::Snapshot`].
///
/// A key that is there from the iterator's making to its end comes exactly once, with the value that it has
/// when it comes by; one that is put or deleted meanwhile comes once or not at all. An item is an error if a record is
/// corrupt; such come first, where the keys have to be sorted, as nobody knows their places. [`Error::Closed`] ends it.
pub struct Range<'a> {
    sight: Sight<'a>,
    /// Where the rest is, if the store keeps its keys in order.
    rest: Option<Bounds>,
    front: VecDeque<Box<[u8]>>,
    back: VecDeque<Box<[u8]>>,
    errors: VecDeque<Error>,
    told_closed: bool,
}

impl<'a> Range<'a> {
    pub(crate) fn within<K: AsRef<[u8]>>(sight: Sight<'a>, range: impl RangeBounds<K>) -> Self {
        let own = |bound: Bound<&K>| bound.map(|key| key.as_ref().into());
        Self::new(sight, (own(range.start_bound()), own(range.end_bound())))
    }

    pub(crate) fn prefix(sight: Sight<'a>, prefix: &[u8]) -> Self {
        Self::new(sight, ordered::prefix(prefix))
    }

    fn new(sight: Sight<'a>, bounds: Bounds) -> Self {
        let (front, back, errors) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        let mut range = Range { sight, rest: None, front, back, errors, told_closed: false };
        // The order knows no past.
        if sight.is_now() && sight.log.index.ordered().is_some() {
            range.rest = Some(bounds);
        } else {
            range.sort(&bounds);
        }
        range
    }

    /// Finds the keys among all.
    fn sort(&mut self, bounds: &Bounds) {
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        let mut walk = Walk::new(self.sight, Wanted::Keys);
        while let Some(found) = walk.lend() {
            match found {
                Ok((key, _)) if ordered::contains(bounds, key) => keys.push(key.into()),
                Ok(_) => {}
                Err(Error::Closed) => return,
                Err(error) => self.errors.push_back(error),
            }
        }
        keys.sort_unstable();
        self.front = keys.into();
    }

    /// The next key, from one end or the other.
    fn next_key(&mut self, from_end: bool) -> Option<Box<[u8]>> {
        let near = if from_end { &mut self.back } else { &mut self.front };
        if near.is_empty()
            && let Some(bounds) = &mut self.rest
            && let Some(ordered) = self.sight.log.index.ordered()
        {
            near.extend(ordered.some(bounds, CHUNK, from_end));
            match near.back() {
                None => self.rest = None,
                Some(last) if from_end => bounds.1 = Bound::Excluded(last.clone()),
                Some(last) => bounds.0 = Bound::Excluded(last.clone()),
            }
        }
        // Each is filled from its own end inwards.
        let (near, far) = match from_end {
            false => (&mut self.front, &mut self.back),
            true => (&mut self.back, &mut self.front),
        };
        near.pop_front().or_else(|| far.pop_back())
    }

    fn step(&mut self, from_end: bool) -> Option<Result<(Value, Value)>> {
        if self.sight.log.is_closed() {
            let told = std::mem::replace(&mut self.told_closed, true);
            return (!told).then_some(Err(Error::Closed));
        }
        if let Some(error) = self.errors.pop_front() {
            return Some(Err(error));
        }
        while let Some(key) = self.next_key(from_end) {
            match self.sight.find(&key) {
                Ok(Some(KeyValue { key, value })) => return Some(Ok((key, value))),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}

impl Iterator for Range<'_> {
    type Item = Result<(Value, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(false)
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(true)
    }
}

impl FusedIterator for Range<'_> {}
