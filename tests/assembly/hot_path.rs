//! The two ways to get a value, as functions of their own for `tests/assembly/run` to look at.

use std::error::Error;
use std::hint::black_box;

use zerocask::{Reader, Store};

#[inline(never)]
fn hot_path_of_reader_get<'r>(
    reader: &'r Reader,
    key: &[u8],
) -> zerocask::Result<Option<&'r [u8]>> {
    reader.get(key)
}

#[inline(never)]
fn hot_path_of_store_get(store: &Store, key: &[u8]) -> zerocask::Result<Option<zerocask::Value>> {
    store.get(key)
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    store.put("key", "value")?;
    let reader = store.reader();
    assert_eq!(black_box(hot_path_of_reader_get(&reader, black_box(b"key")))?, Some(&b"value"[..]));
    assert_eq!(
        black_box(hot_path_of_store_get(&store, black_box(b"key")))?.as_deref(),
        Some(&b"value"[..])
    );
    Ok(())
}
