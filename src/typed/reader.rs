//! [`TypedReader`]: many reads of one thread.

use std::cell::Cell;
use std::fmt::{self, Debug};
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::codec::{Codec, Postcard};
use super::key::{KeyOf, decode_value, encode};
use crate::error::Result;
use crate::reader::Reader;

/// Reads of a [`crate::Typed`] store that borrow from its memory. Made by [`crate::Typed::reader`].
///
/// The fastest way to read, as [`Reader`] is: no locked instruction, and no allocation but for what the value
/// itself needs. It sees what is written after it was made, and holds back what [`Reader`] says.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let store = zerocask::Typed::<String>::open(dir.path())?;
/// let reader = store.reader();
/// store.insert("key", "value")?;
/// assert_eq!(reader.get::<&str>("key")?, Some("value")); // a slice of the file
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TypedReader<K, C = Postcard> {
    reader: Reader,
    /// The memory for a key's bytes, while nobody is using it.
    key: Cell<Vec<u8>>,
    types: PhantomData<fn() -> (K, C)>,
}

impl<K, C> TypedReader<K, C> {
    pub(super) fn new(reader: Reader) -> Self {
        TypedReader { reader, key: Cell::default(), types: PhantomData }
    }

    /// Lets go of everything that it holds back, and sees the store as it is. No value that borrows may be in
    /// hand: the borrow checker sees to that.
    pub fn refresh(&mut self) {
        self.reader.refresh();
    }
}

impl<K, C> TypedReader<K, C>
where
    K: DeserializeOwned + Debug,
    C: Codec,
{
    /// The value of `key`, which is a `V`; `None` if it has none. What `V` borrows are bytes of the mapped file.
    ///
    /// # Errors
    /// Those of [`crate::Typed::get`].
    #[inline]
    pub fn get<'r, V: Deserialize<'r>>(
        &'r self,
        key: &(impl KeyOf<K> + ?Sized),
    ) -> Result<Option<V>> {
        self.with_key(key, |key| match self.reader.get(key)? {
            Some(value) => decode_value::<K, V, C>(key, value).map(Some),
            None => Ok(None),
        })
    }

    /// Whether `key` has a value, of whatever type.
    ///
    /// # Errors
    /// Those of [`crate::Typed::contains_key`].
    #[inline]
    pub fn contains_key(&self, key: &(impl KeyOf<K> + ?Sized)) -> Result<bool> {
        self.with_key(key, |key| self.reader.contains_key(key))
    }

    #[inline]
    fn with_key<T>(
        &self,
        key: &(impl KeyOf<K> + ?Sized),
        act: impl FnOnce(&[u8]) -> Result<T>,
    ) -> Result<T> {
        let mut bytes = self.key.take();
        bytes.clear();
        let result = encode::<_, C>(key, &mut bytes).and_then(|()| act(&bytes));
        self.key.set(bytes);
        result
    }
}

impl<K, C> fmt::Debug for TypedReader<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedReader").field("reader", &self.reader).finish_non_exhaustive()
    }
}
