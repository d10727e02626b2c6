//! A store among tasks: a thousand of them write durably while another counts how often it comes to run.
//!
//! ```text
//! cargo run --release --features serde,tokio --example async
//! ```

use std::error::Error;
use std::time::Instant;

use zerocask::{AsyncTyped, Durability, Options};

const TASKS: u32 = 1000;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let options = Options::new().durability(Durability::Synced);
    let store = AsyncTyped::<u32>::new(dir.path(), options).await?;

    let started = Instant::now();
    let writers: Vec<_> = (0..TASKS)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.insert(&n, &format!("value {n}")).await })
        })
        .collect();
    let written = async {
        for writer in writers {
            // Survives a power loss when it has answered.
            writer.await??;
        }
        Ok::<_, Box<dyn Error>>(())
    };
    let mut turns = 0u64;
    let counting = async {
        loop {
            turns += 1;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        result = written => result?,
        () = counting => {}
    }
    println!("{TASKS} durable writes in {:.0?}, {turns} turns meanwhile", started.elapsed());

    for n in 0..TASKS {
        assert_eq!(store.get::<String>(&n).await?, Some(format!("value {n}")));
    }
    assert_eq!(store.keys().await?.len(), TASKS as usize);
    assert!(store.remove(&7).await?);
    println!("{} records after merging", store.merge().await?.records_after);
    store.close().await?;
    Ok(())
}
