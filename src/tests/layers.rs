//! The model with random steps, through the layers above the store.

use proptest::prelude::*;
use proptest::test_runner::Config;
use tokio::runtime::Runtime;

use super::asynchronous::one_thread;
use super::model::{any_setup, step};
use super::support::Contents;
use crate::batch::Batch;
use crate::error::Result;
use crate::model::layer::Layer;
use crate::model::run_through;
use crate::store::Store;
use crate::{AsyncStore, AsyncTyped, Codec, Postcard, Typed};

type Bytes = Vec<u8>;

fn encoded(bytes: &[u8]) -> Bytes {
    let mut encoded = Vec::new();
    Postcard::encode(bytes, &mut encoded).unwrap();
    encoded
}

fn decoded(bytes: &[u8]) -> Bytes {
    Postcard::decode(bytes).unwrap()
}

/// Keys and values are `Vec<u8>`s.
struct OfTypes;

impl OfTypes {
    fn of(store: &Store) -> Typed<Bytes> {
        Typed::new(store.clone())
    }
}

impl Layer for OfTypes {
    fn encoded(&self, bytes: Bytes) -> Bytes {
        encoded(&bytes)
    }

    fn contents(&self, store: &Store) -> Contents {
        let typed = Self::of(store);
        let pairs = typed.iter::<Bytes>().map(|pair| pair.unwrap());
        let contents: Contents =
            pairs.map(|(key, value)| (encoded(&key), encoded(&value))).collect();
        let keys = typed.keys().unwrap();
        assert_eq!(keys.len(), contents.len());
        for key in keys {
            let value: Bytes = typed.get(&key).unwrap().unwrap();
            assert_eq!(contents[&encoded(&key)], encoded(&value));
        }
        contents
    }

    fn put(&self, store: &Store, key: &[u8], value: &[u8]) -> Result<()> {
        Self::of(store).insert(&decoded(key), &decoded(value))
    }

    fn delete(&self, store: &Store, key: &[u8]) -> Result<bool> {
        Self::of(store).remove(&decoded(key))
    }

    fn flush(&self, store: &Store) -> Result<()> {
        Self::of(store).flush()
    }

    fn sync(&self, store: &Store) -> Result<()> {
        Self::of(store).sync()
    }

    fn compact(&self, store: &Store) -> Result<()> {
        Self::of(store).merge().map(drop)
    }

    fn close(&self, store: &Store) -> Result<()> {
        Self::of(store).close()
    }
}

/// Everything is awaited.
struct Awaited(Runtime);

impl Awaited {
    fn block_on<T>(&self, store: &Store, act: impl AsyncFnOnce(&AsyncStore) -> T) -> T {
        let store = AsyncStore::from(store.clone());
        self.0.block_on(act(&store))
    }
}

impl Layer for Awaited {
    fn contents(&self, store: &Store) -> Contents {
        self.block_on(store, async |store| {
            let mut contents = Contents::new();
            for key in store.keys().await.unwrap() {
                let value = store.get_off_thread(&key).await.unwrap().unwrap();
                assert_eq!(store.get(&key).await.unwrap().as_ref(), Some(&value));
                contents.insert(key.to_vec(), value.to_vec());
            }
            contents
        })
    }

    fn put(&self, store: &Store, key: &[u8], value: &[u8]) -> Result<()> {
        self.block_on(store, async |store| store.put(key, value).await)
    }

    fn delete(&self, store: &Store, key: &[u8]) -> Result<bool> {
        self.block_on(store, async |store| store.delete(key).await)
    }

    fn write(&self, store: &Store, batch: &Batch) -> Result<()> {
        self.block_on(store, async |store| store.write(batch.clone()).await)
    }

    fn flush(&self, store: &Store) -> Result<()> {
        self.block_on(store, async |store| store.flush().await)
    }

    fn sync(&self, store: &Store) -> Result<()> {
        self.block_on(store, async |store| store.sync().await)
    }

    fn compact(&self, store: &Store) -> Result<()> {
        self.block_on(store, async |store| store.compact().await.map(drop))
    }

    fn close(&self, store: &Store) -> Result<()> {
        self.block_on(store, async |store| store.clone().close().await)
    }
}

/// Both.
struct AwaitedOfTypes(Runtime);

impl AwaitedOfTypes {
    fn block_on<T>(&self, store: &Store, act: impl AsyncFnOnce(&AsyncTyped<Bytes>) -> T) -> T {
        let store = AsyncTyped::from(AsyncStore::from(store.clone()));
        self.0.block_on(act(&store))
    }
}

impl Layer for AwaitedOfTypes {
    fn encoded(&self, bytes: Bytes) -> Bytes {
        encoded(&bytes)
    }

    fn contents(&self, store: &Store) -> Contents {
        self.block_on(store, async |store| {
            let mut contents = Contents::new();
            for key in store.keys().await.unwrap() {
                let value: Bytes = store.get_off_thread(&key).await.unwrap().unwrap();
                assert_eq!(store.get(&key).await.unwrap().as_ref(), Some(&value));
                contents.insert(encoded(&key), encoded(&value));
            }
            contents
        })
    }

    fn put(&self, store: &Store, key: &[u8], value: &[u8]) -> Result<()> {
        let (key, value) = (decoded(key), decoded(value));
        self.block_on(store, async |store| store.insert(&key, &value).await)
    }

    fn delete(&self, store: &Store, key: &[u8]) -> Result<bool> {
        self.block_on(store, async |store| store.remove(&decoded(key)).await)
    }

    fn flush(&self, store: &Store) -> Result<()> {
        self.block_on(store, async |store| store.flush().await)
    }

    fn sync(&self, store: &Store) -> Result<()> {
        self.block_on(store, async |store| store.sync().await)
    }

    fn compact(&self, store: &Store) -> Result<()> {
        self.block_on(store, async |store| store.merge().await.map(drop))
    }

    fn close(&self, store: &Store) -> Result<()> {
        self.block_on(store, async |store| store.clone().close().await)
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_store_of_types_behaves_as_the_store(
        setup in any_setup(), steps in prop::collection::vec(step(), 1..40),
    ) {
        run_through(Box::new(OfTypes), setup, &steps);
    }

    #[test]
    fn an_awaited_store_behaves_as_the_store(
        setup in any_setup(), steps in prop::collection::vec(step(), 1..40),
    ) {
        run_through(Box::new(Awaited(one_thread())), setup, &steps);
    }

    #[test]
    fn an_awaited_store_of_types_behaves_as_the_store(
        setup in any_setup(), steps in prop::collection::vec(step(), 1..40),
    ) {
        run_through(Box::new(AwaitedOfTypes(one_thread())), setup, &steps);
    }
}
