//! Iteration over keys, and over keys with their values.

use std::fmt::{self, Debug};
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Typed;
use super::codec::{Codec, Postcard};
use super::key::{decode_key, decode_value};
use crate::error::Result;
use crate::keys::Keys;
use crate::store::Store;
use crate::value::Value;

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
        let key = self.keys.next()?;
        Some(key.and_then(|key| decode_key::<K, C>(&key)))
    }
}

impl<K, C> fmt::Debug for TypedKeys<'_, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedKeys").finish_non_exhaustive()
    }
}

/// The keys of a [`crate::Typed`] store with their values, in no order. Made by [`crate::Typed::iter`].
///
/// Keys come as from [`TypedKeys`]; one that is removed before its value is read is left out. An item is
/// an error where a value is no `V` as well.
pub struct TypedIter<'a, K, V, C = Postcard> {
    typed: &'a Typed<K, C>,
    keys: Keys<'a>,
    values: PhantomData<fn() -> V>,
}

impl<'a, K, V, C> TypedIter<'a, K, V, C>
where
    K: Serialize + DeserializeOwned + Debug,
    V: DeserializeOwned,
    C: Codec,
{
    pub(super) fn new(typed: &'a Typed<K, C>) -> Self {
        TypedIter { typed, keys: typed.store().keys(), values: PhantomData }
    }

    fn item(&self, key: Result<Value>) -> Result<Option<(K, V)>> {
        let bytes = key?;
        let key = decode_key::<K, C>(&bytes)?;
        let Some(value) = self.typed.store().get(&bytes)? else { return Ok(None) };
        Ok(Some((key, decode_value::<K, V, C>(&bytes, &value)?)))
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
        loop {
            let key = self.keys.next()?;
            if let Some(item) = self.item(key).transpose() {
                return Some(item);
            }
        }
    }
}

impl<K, V, C> fmt::Debug for TypedIter<'_, K, V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedIter").field("typed", self.typed).finish_non_exhaustive()
    }
}
