//! Accounts among which money moves, and an auditor who adds them up meanwhile: a snapshot shows all of them at
//! one moment.
//!
//! ```text
//! cargo run --release --example snapshots
//! ```

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use zerocask::{Batch, Snapshot, Store};

const ACCOUNTS: u64 = 100;
const EACH: u64 = 1000;
const TRANSFERS: u64 = 5000;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let mut batch = Batch::new();
    for account in 0..ACCOUNTS {
        batch.put(key(account), EACH.to_le_bytes());
    }
    store.write(&batch)?;
    let opening = store.snapshot()?;

    let over = AtomicBool::new(false);
    let audits = thread::scope(|scope| {
        let bank = scope.spawn(|| {
            let moved = (0..TRANSFERS).try_for_each(|n| transfer(&store, n));
            over.store(true, Ordering::Relaxed);
            moved
        });
        let mut audits = 0;
        while !over.load(Ordering::Relaxed) {
            assert_eq!(sum(&store.snapshot()?)?, ACCOUNTS * EACH, "none is seen by half");
            audits += 1;
        }
        bank.join().map_err(|_| "the bank panicked")??;
        Ok::<_, Box<dyn Error>>(audits)
    })?;

    // The one from the beginning shows what was then, also when the files of then are gone.
    store.compact()?;
    for pair in opening.iter() {
        assert_eq!(amount(&pair?.1), EACH);
    }
    println!(
        "{audits} audits beside {TRANSFERS} transfers, {} accounts changed",
        opening.changed()
    );
    assert!(store.stats().pinned_bytes > 0);
    drop(opening);
    assert_eq!(store.stats().pinned_bytes, 0, "it held them back");
    Ok(())
}

fn key(account: u64) -> [u8; 8] {
    account.to_be_bytes()
}

fn amount(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_le_bytes)
}

fn sum(snapshot: &Snapshot) -> zerocask::Result<u64> {
    snapshot.iter().map(|pair| pair.map(|(_, value)| amount(&value))).sum()
}

/// Moves money from one account to another. One thread does this: no other write comes between look and batch.
fn transfer(store: &Store, n: u64) -> zerocask::Result<()> {
    let (from, to) = (key(n * 7 % ACCOUNTS), key((n * 7 + 3) % ACCOUNTS));
    let of = |key| store.get(key).map(|value| value.map_or(0, |value| amount(&value)));
    let (rich, poor) = (of(from)?, of(to)?);
    let sent = (n % 50).min(rich);
    let mut batch = Batch::new();
    batch.put(from, (rich - sent).to_le_bytes()).put(to, (poor + sent).to_le_bytes());
    store.write(&batch)
}
