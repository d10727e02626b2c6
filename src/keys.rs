//! Iteration in no order.

use std::iter::FusedIterator;

use crate::error::Result;
use crate::sight::{Sight, Walk};
use crate::value::Value;

/// The keys of a store, in no order. Made by [`crate::Store::keys`] and [`crate::Snapshot::keys`].
///
/// A key that is there from the iterator's making to its end comes exactly once; one that is put or
/// deleted meanwhile comes once or not at all. An item is an error if the key's record is corrupt, and the
/// last one if the store was closed.
pub struct Keys<'a>(Walk<'a>);

/// The keys of a store with their values, in no order. Made by [`crate::Store::iter`] and
/// [`crate::Snapshot::iter`].
///
/// Keys come as from [`Keys`], each with the value that it had when it came by.
pub struct Iter<'a>(Walk<'a>);

impl<'a> Keys<'a> {
    pub(crate) fn new(sight: Sight<'a>) -> Self {
        Keys(sight.walk())
    }
}

impl<'a> Iter<'a> {
    pub(crate) fn new(sight: Sight<'a>) -> Self {
        Iter(sight.walk())
    }
}

impl Iterator for Keys<'_> {
    type Item = Result<Value>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(|seen| seen.key))
    }
}

impl Iterator for Iter<'_> {
    type Item = Result<(Value, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(|seen| (seen.key, seen.value)))
    }
}

impl FusedIterator for Keys<'_> {}

impl FusedIterator for Iter<'_> {}
