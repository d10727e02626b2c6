//! A replica in another directory, fed by the log: what is new each time, and everything once when the log does
//! not go back as far any more.
//!
//! ```text
//! cargo run --release --example replica
//! ```
//!
//! Writes to a store, follows it, compacts it when the replica has fallen behind, and checks each time that both
//! hold the same.

use std::error::Error;
use std::time::SystemTime;

use zerocask::{Batch, Expiry, Position, Store, Value};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where the replica keeps how far it has come: with what it has come to, in one batch. A key of its own that the
/// store must not use.
const POSITION: &[u8] = b"\0position";
/// Instead of a position: what the replica holds is neither what it was nor what the store is.
const COPYING: &str = "copying";

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path().join("store"))?;
    let replica = Store::open(dir.path().join("replica"))?;

    for n in 0..1000u32 {
        store.put(format!("key {}", n % 300), n.to_be_bytes())?;
    }
    store.write(Batch::new().delete("key 7").put("moved", "from 7"))?;
    println!("{} entries to begin with", follow(&store, &replica)?);
    check(&store, &replica)?;

    store.put("key 8", "newer")?;
    println!("{} entry that was new", follow(&store, &replica)?);
    check(&store, &replica)?;

    // Who has read everything goes on behind a compaction.
    store.compact()?;
    store.put("key 9", "behind a compaction")?;
    println!("{} entries behind a compaction, most of them copies", follow(&store, &replica)?);
    check(&store, &replica)?;

    // Who has not needs everything once.
    store.delete("key 10")?;
    store.compact()?;
    println!("{} keys copied, since the log has been compacted", follow(&store, &replica)?);
    check(&store, &replica)
}

/// Brings the replica up to the store. Answers how many entries or keys that took.
fn follow(store: &Store, replica: &Store) -> Result<usize> {
    let from = match replica.get(POSITION)? {
        Some(kept) if kept == COPYING => return copy(store, replica),
        Some(kept) => Position::from_bytes(kept.as_ref().try_into()?),
        None => Position::START,
    };
    let (mut count, mut batch) = (0, Batch::new());
    for entry in store.log(from) {
        let entry = match entry {
            Err(zerocask::Error::Gone { .. }) => return copy(store, replica),
            entry => entry?,
        };
        put(&mut batch, &entry.key, entry.value.as_ref(), entry.expires_at);
        count += 1;
        // What was written together arrives together.
        if entry.ends_batch() {
            replica.write(batch.put(POSITION, entry.next.to_bytes()))?;
            batch.clear();
        }
    }
    Ok(count)
}

/// What the replica has to do for a write.
fn put(batch: &mut Batch, key: &[u8], value: Option<&Value>, expires_at: Expiry) {
    match (value, expires_at) {
        (None, _) => batch.delete(key),
        (Some(value), Expiry::Never) => batch.put(key, value),
        (Some(value), Expiry::At(time)) => {
            // None of it is left if it has passed.
            let ttl = time.duration_since(SystemTime::now()).unwrap_or_default();
            batch.put_with_ttl(key, value, ttl)
        }
    };
}

/// Makes the replica hold what the store does. What is written meanwhile comes by the log, next time.
fn copy(store: &Store, replica: &Store) -> Result<usize> {
    // Interrupted, it begins anew: from the start on, nothing tells of keys that have gone.
    replica.put(POSITION, COPYING)?;
    let end = store.end()?;
    for key in replica.keys() {
        let key = key?;
        if key != POSITION && !store.contains_key(&key)? {
            replica.delete(&key)?;
        }
    }
    let mut count = 0;
    for pair in store.iter() {
        let (key, value) = pair?;
        let Some(expires_at) = store.expires_at(&key)? else { continue };
        let mut batch = Batch::new();
        put(&mut batch, &key, Some(&value), expires_at);
        replica.write(&batch)?;
        count += 1;
    }
    // What was copied and stands behind that end must not be lost now: nobody would tell.
    store.sync()?;
    replica.put(POSITION, end.to_bytes())?;
    Ok(count)
}

fn check(store: &Store, replica: &Store) -> Result<()> {
    assert_eq!(replica.len(), store.len() + 1, "and the position");
    for key in store.keys() {
        let key = key?;
        assert_eq!(replica.get(&key)?, store.get(&key)?);
    }
    Ok(())
}
