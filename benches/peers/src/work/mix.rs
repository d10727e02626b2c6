//! Reads and updates, keys drawn by Zipf's law. An update is seen by all threads when it returns, and is
//! not durable.

use std::collections::HashMap;

use super::{Found, Start, by_threads, open_loaded, touch, warm_up};
use crate::child::{Effort, Request};
use crate::keys::{Flat, Random, Records, Zipf};
use crate::measure::{Measure, Mix};
use crate::peer::{Peer, Result, Session as _, Use};

const SEED: u64 = 200;
const RANKS_SEED: u64 = 300;

/// Operations between two looks at the clock.
const STRIDE: usize = 64;

/// Numbers of values that no other update has: those of loading are below.
const FIRST_UPDATE: u64 = 1 << 40;

/// What one thread does, drawn beforehand.
struct Script {
    /// Of each operation.
    keys: Flat,
    records: Vec<u32>,
    /// Of each operation; what reads read.
    is_update: Vec<bool>,
    first_value: u64,
}

impl Script {
    fn new(records: &Records, zipf: &Zipf, ranks: &[u32], mix: Mix, len: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let drawn: Vec<u32> = (0..len).map(|_| ranks[zipf.rank(&mut random)]).collect();
        let is_update = (0..len).map(|_| random.below(100) < usize::from(mix.updates_percent));
        Script {
            is_update: is_update.collect(),
            keys: records.keys.reordered(&drawn),
            records: drawn,
            first_value: FIRST_UPDATE + (seed << 24),
        }
    }

    fn value<'a>(&self, records: &'a Records, n: usize) -> &'a [u8] {
        records.value_of_update(self.first_value + n as u64)
    }
}

pub(crate) fn run<P: Peer>(request: &Request, effort: Effort) -> Result<Found> {
    let records = Records::new(request.shape);
    let zipf = Zipf::new(request.shape.keys);
    let ranks = Random(RANKS_SEED).order(request.shape.keys);
    let peer: P = open_loaded(request, &records)?;
    // Earlier rounds have updated some: what is there is looked at by `check`.
    warm_up(&peer, &records, |_, value| value.len() == request.shape.value_len)?;
    let mut found = Found::new();
    for (n, mix) in Mix::ALL.into_iter().enumerate() {
        let seed = |thread: usize| SEED + (request.round * 100 + n * 10 + thread) as u64;
        let script =
            |thread| Script::new(&records, &zipf, &ranks, mix, effort.operations, seed(thread));
        let scripts: Vec<_> = (0..usize::from(mix.threads)).map(script).collect();
        found.push((Measure::Mix(mix), play(&peer, &records, &scripts, effort)?));
    }
    peer.close()?;
    Ok(found)
}

/// Millions of operations in a second, of all threads together.
fn play<P: Peer>(peer: &P, records: &Records, scripts: &[Script], effort: Effort) -> Result<f64> {
    let start = Start::of(scripts.len());
    let done = by_threads(scripts.len(), |thread| {
        let script = &scripts[thread];
        let mut session = peer.session(Use::Mixed)?;
        let mut done = 0;
        let start = start.go();
        for (key, is_update) in script.keys.iter().zip(&script.is_update) {
            if done % STRIDE == 0 && start.elapsed() > effort.time() {
                break;
            }
            if *is_update {
                session.let_go();
                peer.put(key, script.value(records, done))?;
            } else if !session.get(key, touch)? {
                return Err("a key is missing".into());
            }
            done += 1;
        }
        Ok((done, start.elapsed()))
    })?;
    if let ([script], [(done, _)]) = (scripts, &done[..]) {
        check(peer, records, script, *done)?;
    }
    let longest = done.iter().map(|(_, time)| *time).max().unwrap_or_default();
    let operations: usize = done.iter().map(|(done, _)| done).sum();
    Ok(operations as f64 / longest.as_secs_f64() / 1e6)
}

/// Updated keys have the values of their last updates.
fn check<P: Peer>(peer: &P, records: &Records, script: &Script, done: usize) -> Result<()> {
    let updates = (0..done).filter(|&n| script.is_update[n]);
    let last: HashMap<u32, usize> = updates.map(|n| (script.records[n], n)).collect();
    let mut session = peer.session(Use::Mixed)?;
    for (record, n) in last.into_iter().take(1000) {
        let mut is_right = false;
        session.get(records.key(record), |value| is_right = value == script.value(records, n))?;
        if !is_right {
            return Err(format!("update {n} is not there").into());
        }
    }
    Ok(())
}
