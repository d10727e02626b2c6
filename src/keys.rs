//! Iteration in no order.

use std::iter::FusedIterator;

use crate::error::Result;
use crate::sight::Sight;
use crate::value::Value;
use crate::walk::{Walk, Wanted};

/// The keys of a store, in no order. Made by [`crate::Store::keys`] and [`crate::Snapshot::keys`].
///
/// A key that is there from the iterator's making to its end comes exactly once, however often it is written and
/// wherever a compaction moves it; one that is put or deleted meanwhile comes once or not at all. An item is an error
/// if the key's record is corrupt, and the last one if the store was closed.
///
/// It goes through the keys some thousands at a time, which it shows as they were when it came to them, and keeps the segments of
/// that moment from being let go until it comes to the next ([`crate::Stats::pinned_bytes`]). It holds no lock.
pub struct Keys<'a>(Walk<'a>);

/// The keys of a store with their values, in no order. Made by [`crate::Store::iter`] and
/// [`crate::Snapshot::iter`].
///
/// Keys come as from [`Keys`], each with the value that it had when the iterator came to it.
pub struct Iter<'a>(Walk<'a>);

impl<'a> Keys<'a> {
    pub(crate) fn new(sight: Sight<'a>) -> Self {
        Keys(Walk::new(sight, Wanted::Keys))
    }

    /// As `next`, faster: the key as a slice, which is to be used before the iterator goes on. No reference to
    /// its memory is counted. See [`Iter::next_slices`].
    #[inline]
    pub fn next_slice(&mut self) -> Option<Result<&[u8]>> {
        Some(self.0.lend()?.map(|(key, _)| key))
    }

    /// What is still to come, in so many parts, but at least one. See [`Iter::split`].
    pub fn split(self, parts: usize) -> Vec<Self> {
        self.0.split(parts).into_iter().map(Keys).collect()
    }
}

impl<'a> Iter<'a> {
    pub(crate) fn new(sight: Sight<'a>) -> Self {
        Iter(Walk::new(sight, Wanted::Pairs))
    }

    /// As `next`, several times as fast: the key and its value as slices, which are to be used before the iterator goes on.
    /// `next` counts references to their memory up and down, which takes longer than all the rest.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// store.put("apple", "red")?;
    /// let (mut pairs, mut bytes) = (store.iter(), 0);
    /// while let Some(pair) = pairs.next_slices() {
    ///     let (key, value) = pair?;
    ///     bytes += key.len() + value.len();
    /// }
    /// assert_eq!(bytes, 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn next_slices(&mut self) -> Option<Result<(&[u8], &[u8])>> {
        self.0.lend()
    }

    /// What is still to come, in so many parts, but at least one, of about the same size if there are many keys. Each may go to
    /// a thread of its own. A key that is there until all of them have ended comes in exactly one of them, once.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// # for n in 0..100u8 {
    /// #     store.put([n], "value")?;
    /// # }
    /// let counts: Vec<usize> = std::thread::scope(|scope| {
    ///     let parts = store.iter().split(4).into_iter();
    ///     let threads: Vec<_> = parts.map(|part| scope.spawn(|| part.count())).collect();
    ///     threads.into_iter().map(|thread| thread.join().unwrap_or(0)).collect()
    /// });
    /// assert_eq!(counts.iter().sum::<usize>(), store.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn split(self, parts: usize) -> Vec<Self> {
        self.0.split(parts).into_iter().map(Iter).collect()
    }
}

impl Iterator for Keys<'_> {
    type Item = Result<Value>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_key()
    }
}

impl Iterator for Iter<'_> {
    type Item = Result<(Value, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_pair()
    }
}

impl FusedIterator for Keys<'_> {}

impl FusedIterator for Iter<'_> {}
