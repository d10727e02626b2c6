//! Vectors of floats, searched where they lie: dot products over the mapped file, without a copy.
//!
//! ```text
//! cargo run --release --example embeddings [COUNT]
//! ```
//!
//! Stores COUNT random embeddings (5000 unless said), opens the store again, finds those nearest to some of
//! them, and checks each answer against the same search over vectors in memory.

use std::error::Error;
use std::time::Instant;

use zerocask::{Durability, Options, Store};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const DIMENSIONS: usize = 384;
const NEAREST: usize = 5;
const QUERIES: usize = 3;

fn main() -> Result<()> {
    let count = match std::env::args().nth(1) {
        Some(count) => count.parse()?,
        None => 5000,
    };
    let dir = tempfile::tempdir()?;
    let options = Options::new().durability(Durability::Buffered);
    let embeddings = embeddings(count);

    // An embedding is put as what it is. The store keeps it aligned for floats from here on.
    let store = options.open(dir.path())?;
    for (id, embedding) in embeddings.iter().enumerate() {
        store.put_as(key(id), &embedding[..])?;
    }
    store.close()?;

    let store = options.open(dir.path())?;
    for query in (0..count).step_by(count / QUERIES + 1) {
        let started = Instant::now();
        let found = nearest_stored(&store, count, &embeddings[query])?;
        let took = started.elapsed();
        let expected = nearest(&embeddings, &embeddings[query]);
        assert_eq!(found, expected, "the stored vectors are not those that were put");
        assert_eq!(found[0].0, query, "nothing is nearer to a vector than itself");
        println!("nearest to {query} among {count} ({took:.1?}):");
        found.iter().for_each(|(id, score)| println!("  {id:>6}  {score:.4}"));
    }
    Ok(())
}

fn key(id: usize) -> [u8; 8] {
    (id as u64).to_be_bytes()
}

/// The ids and scores of the nearest stored vectors, best first.
fn nearest_stored(store: &Store, count: usize, query: &[f32]) -> Result<Vec<(usize, f32)>> {
    let mut scores = Vec::with_capacity(count);
    for id in 0..count {
        let value = store.get(key(id))?.ok_or("an embedding is missing")?;
        // A slice of the mapped file.
        scores.push((id, dot(value.view_slice()?, query)));
    }
    Ok(best(scores))
}

/// The same over vectors in memory.
fn nearest(embeddings: &[Vec<f32>], query: &[f32]) -> Vec<(usize, f32)> {
    best(embeddings.iter().map(|embedding| dot(embedding, query)).enumerate().collect())
}

fn best(mut scores: Vec<(usize, f32)>) -> Vec<(usize, f32)> {
    scores.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    scores.truncate(NEAREST);
    scores
}

/// In eight lanes, as the processor adds them fastest.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// Random vectors of length 1 by a xorshift generator: the same in every run.
fn embeddings(count: usize) -> Vec<Vec<f32>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let mut embedding = |_| {
        let embedding: Vec<f32> = (0..DIMENSIONS).map(|_| random()).collect();
        let length = dot(&embedding, &embedding).sqrt();
        embedding.iter().map(|x| x / length).collect()
    };
    (0..count).map(&mut embedding).collect()
}
