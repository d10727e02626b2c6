//! Writes that depend on what is there: threads draw numbers from a counter, claim jobs, and hand them in.
//!
//! ```text
//! cargo run --release --example counters
//! ```

use std::error::Error;
use std::thread;

use zerocask::{Store, Swap};

const THREADS: usize = 4;
const NUMBERS: u64 = 1000;
const JOBS: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;

    // Each number is drawn once, whoever draws it.
    let mut drawn = on_threads(|_| (0..NUMBERS).map(|_| fetch_add(&store, "next", 1)).collect())?;
    drawn.sort_unstable();
    assert!(drawn.into_iter().eq(0..THREADS as u64 * NUMBERS));

    // Each job is one thread's.
    let claims = |thread: usize| {
        let jobs = 0..JOBS;
        jobs.map(|job| store.put_if_absent(format!("job/{job}"), thread.to_string())).collect()
    };
    let claimed = on_threads(claims)?.into_iter().filter(|&claimed| claimed).count();
    assert_eq!(claimed, JOBS);

    // A job is handed in by its owner alone.
    let owner = store.get("job/7")?.ok_or("it was claimed")?;
    match store.compare_and_swap("job/7", Some("nobody"), None::<&str>)? {
        Swap::Differs(found) => assert_eq!(found.as_ref(), Some(&owner)),
        Swap::Done => return Err("a stranger handed it in".into()),
    }
    assert!(store.compare_and_swap("job/7", Some(&owner), None::<&str>)?.is_done());
    assert!(!store.contains_key("job/7")?);

    println!("{} numbers drawn, {claimed} jobs claimed", fetch_add(&store, "next", 0)?);
    Ok(())
}

/// Adds to a counter, and answers what it was before. One that is not there is 0.
fn fetch_add(store: &Store, key: &str, n: u64) -> zerocask::Result<u64> {
    let number = |value: Option<&[u8]>| {
        value.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
    };
    let before = store.update(key, |old| Some((number(old) + n).to_le_bytes()))?;
    Ok(number(before.as_deref()))
}

/// What all threads came to, together.
fn on_threads<T: Send>(
    work: impl Fn(usize) -> zerocask::Result<Vec<T>> + Sync,
) -> Result<Vec<T>, Box<dyn Error>> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || work(n))).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a thread panicked")??);
        }
        Ok(all)
    })
}
