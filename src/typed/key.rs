//! What a key is asked for by, and the keys and values of a record between types and bytes, with errors that
//! name them.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::codec::{Codec, CodecError};
use crate::error::{Error, Part, Result};
use crate::store::Store;

/// What stands for a key of type `K`: a `K`, and what every codec makes the same bytes of. So a store
/// of `String`s can be asked for a `str`, and one of `Vec<T>`s for a `[T]`.
pub trait KeyOf<K>: Serialize {}

impl<K: Serialize> KeyOf<K> for K {}

impl KeyOf<String> for str {}

impl<T: Serialize> KeyOf<Vec<T>> for [T] {}

/// The bytes of a key, in memory with room for a small value behind them.
pub(crate) fn encoded_key<K, C: Codec>(key: &(impl KeyOf<K> + ?Sized)) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(64);
    encode::<_, C>(key, &mut bytes)?;
    Ok(bytes)
}

/// The bytes of a key and its value.
pub(crate) struct EncodedPair {
    bytes: Vec<u8>,
    key_len: usize,
}

impl EncodedPair {
    pub(crate) fn new<K, V, C>(key: &(impl KeyOf<K> + ?Sized), value: &V) -> Result<Self>
    where
        V: Serialize + ?Sized,
        C: Codec,
    {
        let mut bytes = encoded_key::<K, C>(key)?;
        let key_len = bytes.len();
        encode::<V, C>(value, &mut bytes)?;
        Ok(EncodedPair { bytes, key_len })
    }

    pub(crate) fn put_into(&self, store: &Store) -> Result<()> {
        let (key, value) = self.bytes.split_at(self.key_len);
        store.put_value(key, value, 1)
    }
}

/// Appends the bytes of a key or value.
#[inline]
pub(super) fn encode<T: Serialize + ?Sized, C: Codec>(
    value: &T,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    let type_name = std::any::type_name::<T>();
    C::encode(value, bytes).map_err(|source| Error::Encode { type_name, source })
}

/// The key that a record's key bytes are. Whoever looks for it finds this record.
pub(super) fn decode_key<K, C>(bytes: &[u8]) -> Result<K>
where
    K: Serialize + DeserializeOwned,
    C: Codec,
{
    let decoded = C::decode::<K>(bytes).and_then(|key| {
        let mut again = Vec::with_capacity(bytes.len());
        C::encode(&key, &mut again)?;
        if again == bytes { Ok(key) } else { Err("the codec makes other bytes of this key".into()) }
    });
    decoded.map_err(|source| {
        let (key, type_name) = (escaped(bytes), std::any::type_name::<K>());
        Error::Decode { part: Part::Key, key, type_name, source }
    })
}

/// The value that the bytes are that stand under a key.
#[inline]
pub(super) fn decode_value<'a, K, V, C>(key: &[u8], bytes: &'a [u8]) -> Result<V>
where
    K: DeserializeOwned + Debug,
    V: Deserialize<'a>,
    C: Codec,
{
    C::decode(bytes).map_err(|source| no_value::<K, V, C>(key, source))
}

#[cold]
fn no_value<K: DeserializeOwned + Debug, V, C: Codec>(key: &[u8], source: CodecError) -> Error {
    let key = C::decode::<K>(key).map_or_else(|_| escaped(key), |key| format!("{key:?}"));
    Error::Decode { part: Part::Value, key, type_name: std::any::type_name::<V>(), source }
}

fn escaped(bytes: &[u8]) -> String {
    format!("b\"{}\"", bytes.escape_ascii())
}
