//! Iteration over keys, and over keys with their values.

use std::fmt::{self, Debug};
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{Codec, Postcard};
use super::key::{decode_key, decode_value};
use crate::error::Result;
use crate::keys::{Iter, Keys};
use crate::store::Store;

/// The keys of a [`crate::Typed`] store, in no order. Made by [`crate::Typed::keys_iter`].
///
/// What comes beside writers is said at [`Keys`]. An item is an error where that one is, and where a key is no
/// `K` ([`crate::Error::Decode`]); the next one comes after it. Each key that comes is one that a get finds.
pub struct TypedKeys<'a, K, C = Postcard> {
    keys: Keys<'a>,
    types: PhantomData<fn() -> (K, C)>,
}

impl<'a, K, C> TypedKeys<'a, K, C> {
    pub(super) fn new(store: &'a Store) -> Self {
        TypedKeys { keys: store.keys(), types: PhantomData }
    }
}

impl<K: Serialize + DeserializeOwned, C: Codec> Iterator for TypedKeys<'_, K, C> {
    type Item = Result<K>;

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.keys.next_slice()?;
        Some(key.and_then(decode_key::<K, C>))
    }
}

impl<K, C> fmt::Debug for TypedKeys<'_, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedKeys").finish_non_exhaustive()
    }
}

/// The keys of a [`crate::Typed`] store with their values, in no order. Made by [`crate::Typed::iter`].
///
/// What comes beside writers is said at [`Iter`]. An item is an error where one of [`TypedKeys`] is, and where a
/// value is no `V`; the next one comes after it.
pub struct TypedIter<'a, K, V, C = Postcard> {
    pairs: Iter<'a>,
    keys: PhantomData<fn() -> (K, C)>,
    values: PhantomData<fn() -> V>,
}

impl<'a, K, V, C> TypedIter<'a, K, V, C> {
    pub(super) fn new(store: &'a Store) -> Self {
        TypedIter { pairs: store.iter(), keys: PhantomData, values: PhantomData }
    }
}

impl<K, V, C> Iterator for TypedIter<'_, K, V, C>
where
    K: Serialize + DeserializeOwned + Debug,
    V: DeserializeOwned,
    C: Codec,
{
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        let pair = self.pairs.next_slices()?;
        Some(pair.and_then(|(bytes, value)| {
            let key = decode_key::<K, C>(bytes)?;
            Ok((key, decode_value::<K, V, C>(bytes, value)?))
        }))
    }
}

impl<K, V, C> fmt::Debug for TypedIter<'_, K, V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedIter").finish_non_exhaustive()
    }
}
