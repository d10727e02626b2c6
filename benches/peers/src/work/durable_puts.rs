//! Puts of new keys into an empty store, each durable before the thread goes on to the next.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::{Found, by_threads, nanoseconds_each};
use crate::child::{Effort, Request};
use crate::keys::Records;
use crate::measure::Measure;
use crate::peer::{Peer, Result};

const THREADS: [usize; 2] = [1, 8];

pub(crate) fn run<P: Peer>(request: &Request, effort: Effort) -> Result<Found> {
    let records = Records::new(request.shape);
    std::fs::create_dir_all(&request.dir)?;
    let peer = P::open(&request.dir, request.shape)?;
    let next = AtomicUsize::new(0);
    let put_next = || {
        let i = next.fetch_add(1, Ordering::Relaxed) as u32;
        peer.put_durably(records.key(i), records.value(i))
    };
    // What is done once for the file is not timed.
    put_next()?;
    let mut found = Vec::new();
    for threads in THREADS {
        let most = effort.operations.min(records.shape.keys / 3) / threads;
        let start = Instant::now();
        let done = by_threads(threads, |_| {
            let mut done = 0;
            while done < most && start.elapsed() < effort.time() {
                put_next()?;
                done += 1;
            }
            Ok(done)
        })?;
        let each = nanoseconds_each(start.elapsed(), done.iter().sum());
        found.push((Measure::DurablePuts(threads as u8), each));
    }
    peer.close()?;
    Ok(found)
}
