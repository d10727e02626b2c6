//! [`AsyncStore`].

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::closing::Closing;
use super::off_thread::off_thread;
use crate::batch::Batch;
use crate::compact::CompactionReport;
use crate::error::Result;
use crate::options::Options;
use crate::store::Store;
use crate::value::Value;

/// A [`Store`] for tasks of tokio's. A cheap handle: clone it, send it, share it.
///
/// **What may wait for the disk** (opening, all writes, flush, sync, compaction, listing keys, closing) runs on the
/// runtime's threads for blocking work, and no thread of the executor waits. A write that waits takes one of those threads;
/// if there are more than the runtime's `max_blocking_threads`, the rest wait for their turn. Those who wait for
/// [`crate::Durability::Synced`] share a sync, as threads do.
///
/// **Reads run where they are awaited**, and are ready at once: they are slices of mappings, and a trip to another
/// thread takes longer than most of them. But a page that is not in memory has to come from the disk, and the executor's thread
/// waits for that as for any page fault; under [`crate::ReadMode::Copy`] each read is a system call. For stores much
/// larger than memory there is [`AsyncStore::get_off_thread`], and [`Store::warm_up`] for those that
/// are not. A task that does nothing but read should yield now and then.
///
/// **Dropped futures.** A future does nothing before it is first polled. When it is dropped after that, what it asked for goes on
/// without it: a write whose future was dropped may happen or not, and the store is in order either way. A write whose
/// future has answered has happened.
///
/// **The last handle** that is dropped hands the closing to such a thread as well, and returns at once; the directory
/// is free some time later. [`AsyncStore::close`] says when, and what failed. Outside of a runtime, or when it is being shut
/// down, the store is closed there and then. Who ends the process without waiting for the runtime's threads kills the
/// store: what survives that is said by [`crate::Durability`].
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use zerocask::{AsyncStore, Durability, Options};
/// let store = AsyncStore::new(dir.path(), Options::new().durability(Durability::Synced)).await?;
/// let writers: Vec<_> = (0..10u8)
///     .map(|n| {
///         let store = store.clone();
///         tokio::spawn(async move { store.put([n], "value").await })
///     })
///     .collect();
/// for writer in writers {
///     writer.await??;
/// }
/// assert_eq!(store.get([7]).await?.ok_or("it was put")?, "value");
/// store.close().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Every method that needs another thread answers [`crate::Error::NoRuntime`] outside of a runtime, with nothing
/// done, and [`crate::Error::Unfinished`] if the runtime is shut down before it is done.
#[derive(Clone)]
pub struct AsyncStore {
    /// Goes before the next one.
    store: Store,
    _closing: Arc<Closing>,
}

impl AsyncStore {
    /// Opens the store in `dir` with these options. See [`Store::open`].
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub async fn new(dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        let dir = dir.as_ref().to_path_buf();
        // What nobody waits for any more closes itself, on such a thread again.
        off_thread(move || options.open(dir).map(Self::from)).await
    }

    /// The store itself. What may wait is for [`AsyncStore::off_thread`].
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The directory that the store is in.
    pub fn db_directory(&self) -> &Path {
        self.store.path()
    }

    /// The value of `key`, without a copy, and without leaving the thread. See [`Store::get`].
    ///
    /// # Errors
    /// Those of [`Store::get`].
    #[inline]
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.store.get(key)
    }

    /// As [`AsyncStore::get`], on a thread that may wait, with every page of the value brought into memory there:
    /// for what may have to come from the disk.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub async fn get_off_thread(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let key = key.as_ref().to_vec();
        self.off_thread(move |store| {
            let value = store.get(key)?;
            value.iter().for_each(|value| touch_pages(value));
            Ok(value)
        })
        .await
    }

    /// Whether `key` has a value. Costs what [`AsyncStore::get`] does, and fails as it does.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub async fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.store.contains_key(key)
    }

    /// Gives `key` a value. See [`Store::put`].
    ///
    /// # Errors
    /// Those of [`Store::put`].
    pub async fn put(&self, key: impl AsRef<[u8]>, value: impl Into<Vec<u8>>) -> Result<()> {
        let (key, value) = (key.as_ref().to_vec(), value.into());
        self.off_thread(move |store| store.put(key, value)).await
    }

    /// Removes `key` and answers whether it was there. See [`Store::delete`].
    ///
    /// # Errors
    /// Those of [`Store::delete`].
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        let key = key.as_ref().to_vec();
        self.off_thread(move |store| store.delete(key)).await
    }

    /// Does all writes of a batch or, whatever happens, none. See [`Store::write`].
    ///
    /// # Errors
    /// Those of [`Store::write`].
    pub async fn write(&self, batch: Batch) -> Result<()> {
        self.off_thread(move |store| store.write(&batch)).await
    }

    /// All keys, in no order. See [`Store::keys`].
    ///
    /// # Errors
    /// The first of those that [`crate::Keys`] meets.
    pub async fn keys(&self) -> Result<Vec<Value>> {
        self.off_thread(|store| store.keys().collect()).await
    }

    /// Rewrites the files so that they hold what counts only. See [`Store::compact`].
    ///
    /// # Errors
    /// Those of [`Store::compact`].
    pub async fn compact(&self) -> Result<CompactionReport> {
        self.off_thread(Store::compact).await
    }

    /// Hands everything written so far to the operating system. See [`Store::flush`].
    ///
    /// # Errors
    /// Those of [`Store::flush`].
    pub async fn flush(&self) -> Result<()> {
        self.off_thread(Store::flush).await
    }

    /// Makes everything written so far durable. See [`Store::sync`].
    ///
    /// # Errors
    /// Those of [`Store::sync`].
    pub async fn sync(&self) -> Result<()> {
        self.off_thread(Store::sync).await
    }

    /// Closes the store, for all handles. See [`Store::close`].
    ///
    /// # Errors
    /// Those of [`Store::close`].
    pub async fn close(self) -> Result<()> {
        self.off_thread(|store| store.clone().close()).await
    }

    /// Does anything else with the store, on a thread that may wait.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::AsyncStore::new(dir.path(), zerocask::Options::new()).await?;
    /// use zerocask::Durability;
    /// store.off_thread(|store| store.put_with("key", "value", Durability::Synced)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of `act`, and [`crate::Error::Unfinished`] if it panics.
    pub async fn off_thread<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.store.clone();
        off_thread(move || act(&store)).await
    }
}

/// Reads a byte of every page, so that none of them is a page fault later.
fn touch_pages(bytes: &[u8]) {
    /// The smallest that systems have.
    const PAGE: usize = 4096;
    for page in bytes.chunks(PAGE) {
        std::hint::black_box((page.first(), page.last()));
    }
}

impl From<Store> for AsyncStore {
    /// A store that is open already.
    fn from(store: Store) -> Self {
        AsyncStore { _closing: Arc::new(Closing::new(store.clone())), store }
    }
}

impl fmt::Debug for AsyncStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncStore").field("store", &self.store).finish_non_exhaustive()
    }
}
