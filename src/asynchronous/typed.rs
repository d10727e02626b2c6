//! [`AsyncTyped`].

use std::fmt::{self, Debug};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::store::AsyncStore;
use crate::compact::CompactionReport;
use crate::error::Result;
use crate::options::Options;
use crate::typed::{Codec, EncodedPair, KeyOf, Postcard, Typed, encoded_key};

/// A [`Typed`] store for tasks of tokio's. What is said of [`AsyncStore`] holds for it: reads run where they are awaited,
/// what may wait for the disk elsewhere.
///
/// Keys and values are encoded where a future is polled first; only their bytes go to another thread.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use zerocask::{AsyncTyped, Options};
/// let store = AsyncTyped::<String>::new(dir.path(), Options::new()).await?;
/// store.insert("pi", &3.14).await?;
/// assert_eq!(store.get::<f64>("pi").await?, Some(3.14));
/// assert!(store.remove("pi").await?);
/// store.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct AsyncTyped<K, C = Postcard> {
    /// Goes before the next one.
    typed: Typed<K, C>,
    store: AsyncStore,
}

impl<K: 'static, C: 'static> AsyncTyped<K, C> {
    /// Opens the store in `dir` with these options. See [`crate::Store::open`].
    ///
    /// # Errors
    /// Those of [`crate::Store::open`].
    pub async fn new(dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        AsyncStore::new(dir, options).await.map(Self::from)
    }

    /// The store as one that is not asynchronous, for reads of borrowed types, say. What may wait is for
    /// [`AsyncTyped::off_thread`].
    pub fn typed(&self) -> &Typed<K, C> {
        &self.typed
    }

    /// The directory that the store is in.
    pub fn db_directory(&self) -> &Path {
        self.typed.db_directory()
    }

    /// Rewrites the files so that they hold what counts only. See [`crate::Store::compact`].
    ///
    /// # Errors
    /// Those of [`crate::Store::compact`].
    pub async fn merge(&self) -> Result<CompactionReport> {
        self.store.compact().await
    }

    /// Hands everything written so far to the operating system. See [`crate::Store::flush`].
    ///
    /// # Errors
    /// Those of [`crate::Store::flush`].
    pub async fn flush(&self) -> Result<()> {
        self.store.flush().await
    }

    /// Makes everything written so far durable. See [`crate::Store::sync`].
    ///
    /// # Errors
    /// Those of [`crate::Store::sync`].
    pub async fn sync(&self) -> Result<()> {
        self.store.sync().await
    }

    /// Closes the store, for all handles. See [`crate::Store::close`].
    ///
    /// # Errors
    /// Those of [`crate::Store::close`].
    pub async fn close(self) -> Result<()> {
        self.store.clone().close().await
    }

    /// Does anything else with the store, on a thread that may wait. See [`AsyncStore::off_thread`].
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::AsyncTyped::<u8>::new(dir.path(), zerocask::Options::new()).await?;
    /// # store.insert(&1, &10).await?;
    /// # store.insert(&2, &20).await?;
    /// let sum: Result<i32, _> =
    ///     store.off_thread(|typed| typed.iter().map(|item| item.map(|(_, n): (u8, i32)| n)).sum()).await;
    /// assert_eq!(sum?, 30);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of `act`, and [`crate::Error::Unfinished`] if it panics.
    pub async fn off_thread<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Typed<K, C>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.store.off_thread(move |store| act(&Typed::new(store.clone()))).await
    }
}

impl<K, C> AsyncTyped<K, C>
where
    K: Serialize + DeserializeOwned + Debug + 'static,
    C: Codec + 'static,
{
    /// The value of `key`, which is a `V`, without leaving the thread. See [`Typed::get`].
    ///
    /// # Errors
    /// Those of [`Typed::get`].
    #[inline]
    pub async fn get<V: DeserializeOwned>(
        &self,
        key: &(impl KeyOf<K> + ?Sized),
    ) -> Result<Option<V>> {
        self.typed.get(key)
    }

    /// As [`AsyncTyped::get`], read and decoded on a thread that may wait: for what may have to come from the disk.
    ///
    /// # Errors
    /// Those of [`Typed::get`].
    pub async fn get_off_thread<V: DeserializeOwned + Send + 'static>(
        &self,
        key: &(impl KeyOf<K> + ?Sized),
    ) -> Result<Option<V>> {
        let key = encoded_key::<K, C>(key)?;
        self.off_thread(move |typed| typed.get_encoded(&key)).await
    }

    /// Whether `key` has a value, of whatever type. Costs what [`AsyncStore::get`] does.
    ///
    /// # Errors
    /// Those of [`Typed::contains_key`].
    pub async fn contains_key(&self, key: &(impl KeyOf<K> + ?Sized)) -> Result<bool> {
        self.typed.contains_key(key)
    }

    /// Gives `key` a value. See [`Typed::insert`].
    ///
    /// # Errors
    /// Those of [`Typed::insert`].
    pub async fn insert<V: Serialize + ?Sized>(
        &self,
        key: &(impl KeyOf<K> + ?Sized),
        value: &V,
    ) -> Result<()> {
        let pair = EncodedPair::new::<K, V, C>(key, value)?;
        self.store.off_thread(move |store| pair.put_into(store)).await
    }

    /// Removes `key` and answers whether it was there. See [`Typed::remove`].
    ///
    /// # Errors
    /// Those of [`Typed::remove`].
    pub async fn remove(&self, key: &(impl KeyOf<K> + ?Sized)) -> Result<bool> {
        let key = encoded_key::<K, C>(key)?;
        self.store.off_thread(move |store| store.delete(key)).await
    }

    /// All keys, in no order. See [`Typed::keys`].
    ///
    /// # Errors
    /// Those of [`Typed::keys`].
    pub async fn keys(&self) -> Result<Vec<K>>
    where
        K: Send,
    {
        self.off_thread(Typed::keys).await
    }
}

impl<K, C> From<AsyncStore> for AsyncTyped<K, C> {
    /// A store that is open already, seen as one of these types.
    fn from(store: AsyncStore) -> Self {
        AsyncTyped { typed: Typed::new(store.store().clone()), store }
    }
}

impl<K, C> Clone for AsyncTyped<K, C> {
    fn clone(&self) -> Self {
        AsyncTyped { typed: self.typed.clone(), store: self.store.clone() }
    }
}

impl<K, C> fmt::Debug for AsyncTyped<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncTyped").field("typed", &self.typed).finish_non_exhaustive()
    }
}
