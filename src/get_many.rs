//! [`GetMany`]: values of many keys, as an iterator.

use std::iter::FusedIterator;
use std::vec;

use crate::batch_read::{self, Asked};
use crate::error::Result;
use crate::store::Store;
use crate::value::Value;

/// The values of many keys, in the order of the keys. Made by [`Store::get_many`].
///
/// Keys are looked up a batch at a time, when the first of the batch is asked for.
pub struct GetMany<'a, K> {
    store: &'a Store,
    /// Not looked up yet.
    keys: &'a [K],
    found: vec::IntoIter<Result<Option<Value>>>,
}

impl<'a, K: AsRef<[u8]>> GetMany<'a, K> {
    pub(crate) fn new(store: &'a Store, keys: &'a [K]) -> Self {
        GetMany { store, keys, found: Vec::new().into_iter() }
    }

    fn look_up(&self, keys: &[K]) -> Result<Vec<Result<Option<Value>>>> {
        let index = self.store.index_if_open()?;
        let slots = index.segments.now();
        let asked = Asked::new(index, &slots, keys);
        let look = |(n, key): (usize, &K)| {
            self.store.read(&slots, asked.hash(n), asked.location(n), key.as_ref())
        };
        Ok(keys.iter().enumerate().map(look).collect())
    }
}

impl<K: AsRef<[u8]>> Iterator for GetMany<'_, K> {
    type Item = Result<Option<Value>>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(found) = self.found.next() {
            return Some(found);
        }
        let (batch, rest) = self.keys.split_at(self.keys.len().min(batch_read::LEN));
        if batch.is_empty() {
            return None;
        }
        match self.look_up(batch) {
            Ok(found) => {
                self.keys = rest;
                self.found = found.into_iter();
                self.found.next()
            }
            Err(error) => {
                // Of a closed store every key has one.
                self.keys = &self.keys[1..];
                Some(Err(error))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.found.len() + self.keys.len();
        (left, Some(left))
    }
}

impl<K: AsRef<[u8]>> ExactSizeIterator for GetMany<'_, K> {}

impl<K: AsRef<[u8]>> FusedIterator for GetMany<'_, K> {}
