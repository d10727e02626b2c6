//! [`Typed`]: a store whose keys are of one type, and whose values are of any, by serde and a [`Codec`].
//!
//! Must not know: records, segments, files.

mod codec;
mod encoded;
mod iter;
mod key;
mod reader;

use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(feature = "json")]
pub use codec::Json;
pub use codec::{Codec, CodecError, Postcard};
pub use encoded::Encoded;
pub use iter::{TypedIter, TypedKeys};
pub use key::KeyOf;
pub(crate) use key::{EncodedPair, encoded_key};
pub use reader::TypedReader;

use crate::compact::CompactionReport;
use crate::error::Result;
use crate::store::Store;
use key::decode_value;

/// A [`Store`] whose keys are all of type `K`, and whose values are of any type that serde knows, chosen call by
/// call. What becomes of them on disk is the [`Codec`]'s business.
///
/// A cheap handle, as the store is. It adds no state: a directory may be opened as a `Store` as well, and one
/// store may be seen as of several types, if their keys differ by their bytes.
///
/// Every value is a value, whatever its bytes: `()` and what else the codec makes no bytes of is
/// stored, whatever [`crate::Options::empty_values`] says.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use zerocask::Typed;
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct City<'a> {
///     name: &'a str,
///     people: u64,
/// }
///
/// # let dir = tempfile::tempdir()?;
/// let store = Typed::<u32>::open(dir.path())?;
/// store.insert(&1, &City { name: "Graz", people: 300_000 })?;
/// store.insert(&2, "no city at all")?;
///
/// let first = store.get_ref(&1)?.ok_or("it was put")?;
/// assert_eq!(first.get::<City>()?.name, "Graz"); // the name lies in the file
/// assert_eq!(store.get::<String>(&2)?.as_deref(), Some("no city at all"));
/// assert!(store.get::<(u64, String)>(&2).is_err());
/// assert!(store.remove(&1)?);
/// assert_eq!(store.keys()?, [2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Typed<K, C = Postcard> {
    store: Store,
    types: PhantomData<fn() -> (K, C)>,
}

impl<K, C> Typed<K, C> {
    /// Opens the store in `dir`, or makes one there, with the default options.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Store::open(dir).map(Self::new)
    }

    /// Sees a store as one of these types; looks at nothing in it. For one with options:
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use zerocask::{Durability, Options, Typed};
    /// let options = Options::new().durability(Durability::Synced);
    /// let store = Typed::<String>::new(options.open(dir.path())?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(store: Store) -> Self {
        Typed { store, types: PhantomData }
    }

    /// The store itself, with keys and values of bytes.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The directory that the store is in.
    pub fn db_directory(&self) -> &Path {
        self.store.path()
    }

    /// Rewrites the files so that they hold what counts only. As [`Store::compact`].
    ///
    /// # Errors
    /// Those of [`Store::compact`].
    pub fn merge(&self) -> Result<CompactionReport> {
        self.store.compact()
    }

    /// Hands everything written so far to the operating system. As [`Store::flush`].
    ///
    /// # Errors
    /// Those of [`Store::flush`].
    pub fn flush(&self) -> Result<()> {
        self.store.flush()
    }

    /// Makes everything written so far durable. As [`Store::sync`].
    ///
    /// # Errors
    /// Those of [`Store::sync`].
    pub fn sync(&self) -> Result<()> {
        self.store.sync()
    }

    /// Closes the store. As [`Store::close`].
    ///
    /// # Errors
    /// Those of [`Store::close`].
    pub fn close(self) -> Result<()> {
        self.store.close()
    }
}

impl<K, C> Typed<K, C>
where
    K: Serialize + DeserializeOwned + Debug,
    C: Codec,
{
    /// The value of `key`, which is a `V`; `None` if it has none.
    ///
    /// # Errors
    /// [`crate::Error::Decode`] if the value is no `V`, [`crate::Error::Encode`] if the key has no bytes, and those of
    /// [`Store::get`].
    pub fn get<V: DeserializeOwned>(&self, key: &(impl KeyOf<K> + ?Sized)) -> Result<Option<V>> {
        self.get_encoded(&encoded_key::<K, C>(key)?)
    }

    /// The value of the key of these bytes.
    pub(crate) fn get_encoded<V: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<V>> {
        let value = self.store.get(key)?;
        value.map(|value| decode_value::<K, V, C>(key, &value)).transpose()
    }

    /// The value of `key` as it lies in the file, for types that borrow from it: see [`Encoded::get`].
    /// For many reads of one thread [`Typed::reader`] is faster.
    ///
    /// # Errors
    /// Those of [`Typed::get`], but for [`crate::Error::Decode`].
    pub fn get_ref(&self, key: &(impl KeyOf<K> + ?Sized)) -> Result<Option<Encoded<K, C>>> {
        let key = encoded_key::<K, C>(key)?;
        Ok(self.store.get(&key)?.map(|value| Encoded::new(key, value)))
    }

    /// Whether `key` has a value, of whatever type.
    ///
    /// # Errors
    /// Those of [`Typed::get`], but for [`crate::Error::Decode`].
    pub fn contains_key(&self, key: &(impl KeyOf<K> + ?Sized)) -> Result<bool> {
        self.store.contains_key(encoded_key::<K, C>(key)?)
    }

    /// Gives `key` a value, in place of the one that it had, of whatever type that was. What survives which crash is
    /// said by the store's [`crate::Durability`].
    ///
    /// # Errors
    /// [`crate::Error::Encode`] if the codec has no bytes for the key or the value, with nothing written; and those
    /// of [`Store::put`].
    pub fn insert<V: Serialize + ?Sized>(
        &self,
        key: &(impl KeyOf<K> + ?Sized),
        value: &V,
    ) -> Result<()> {
        EncodedPair::new::<K, V, C>(key, value)?.put_into(&self.store)
    }

    /// Removes `key` and answers whether it was there.
    ///
    /// # Errors
    /// [`crate::Error::Encode`], and those of [`Store::delete`].
    pub fn remove(&self, key: &(impl KeyOf<K> + ?Sized)) -> Result<bool> {
        self.store.delete(encoded_key::<K, C>(key)?)
    }

    /// All keys, in no order.
    ///
    /// # Errors
    /// The first of those that [`Typed::keys_iter`] meets.
    pub fn keys(&self) -> Result<Vec<K>> {
        self.keys_iter().collect()
    }

    /// All keys, in no order, one by one.
    pub fn keys_iter(&self) -> TypedKeys<'_, K, C> {
        TypedKeys::new(&self.store)
    }

    /// All keys with their values, in no order. Each value that is no `V` is an error, and the next one comes after it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Typed::<String>::open(dir.path())?;
    /// store.insert("one", &1u64)?;
    /// store.insert("two", &2u64)?;
    /// let sum: u64 = store.iter::<u64>().map(|item| item.map(|(_, n)| n)).sum::<Result<_, _>>()?;
    /// assert_eq!(sum, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter<V: DeserializeOwned>(&self) -> TypedIter<'_, K, V, C> {
        TypedIter::new(&self.store)
    }

    /// A reader: for many reads of one thread, faster than [`Typed::get`].
    pub fn reader(&self) -> TypedReader<K, C> {
        TypedReader::new(self.store.reader())
    }
}

impl<K, C> Clone for Typed<K, C> {
    fn clone(&self) -> Self {
        Typed::new(self.store.clone())
    }
}

impl<K, C> fmt::Debug for Typed<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed").field("store", &self.store).finish_non_exhaustive()
    }
}
