//! [`Encoded`]: a value that is decoded where it lies.

use std::fmt::{self, Debug};
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::codec::{Codec, Postcard};
use super::key::decode_value;
use crate::error::Result;
use crate::value::Value;

/// A value of a [`crate::Typed`] store, not decoded yet. Made by [`crate::Typed::get_ref`].
///
/// It holds what a [`Value`] holds, and stays valid and unchanged as long as it lives, whatever
/// happens to the key.
pub struct Encoded<K, C = Postcard> {
    /// For errors.
    key: Vec<u8>,
    value: Value,
    types: PhantomData<fn() -> (K, C)>,
}

impl<K, C> Encoded<K, C> {
    pub(super) fn new(key: Vec<u8>, value: Value) -> Self {
        Encoded { key, value, types: PhantomData }
    }

    /// The value, which is a `V`. What `V` borrows (`&str`, `&[u8]`, structs with lifetimes) are bytes of the mapped
    /// file, without a copy.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Typed::<u32>::open(dir.path())?;
    /// store.insert(&7, &("seven", vec![7u8, 7]))?;
    /// let value = store.get_ref(&7)?.ok_or("it was put")?;
    /// let (name, bytes): (&str, &[u8]) = value.get()?;
    /// assert_eq!((name, bytes), ("seven", &[7, 7][..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`crate::Error::Decode`] if the value is no `V`.
    pub fn get<'a, V>(&'a self) -> Result<V>
    where
        K: DeserializeOwned + Debug,
        V: Deserialize<'a>,
        C: Codec,
    {
        decode_value::<K, V, C>(&self.key, &self.value)
    }
}

impl<K, C> fmt::Debug for Encoded<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Encoded").field(&self.value).finish()
    }
}
