//! Puts of new keys one by one into an empty store, each seen before the next, none durable.

use std::time::Instant;

use super::{Found, nanoseconds_each};
use crate::child::{Effort, Request};
use crate::keys::Records;
use crate::measure::Measure;
use crate::peer::{Peer, Result, Session as _, Use};

/// Operations between two looks at the clock.
const STRIDE: usize = 64;

pub(crate) fn run<P: Peer>(request: &Request, effort: Effort) -> Result<Found> {
    let records = Records::new(request.shape);
    std::fs::create_dir_all(&request.dir)?;
    let peer = P::open(&request.dir, request.shape)?;
    let mut done = 0;
    let start = Instant::now();
    for (key, value) in records.iter().take(effort.operations) {
        if done % STRIDE == 0 && start.elapsed() > effort.time() {
            break;
        }
        peer.put(key, value)?;
        done += 1;
    }
    peer.flush()?;
    let time = start.elapsed();
    check(&peer, &records, done)?;
    peer.close()?;
    Ok(vec![(Measure::Puts, nanoseconds_each(time, done))])
}

/// Some of what was put is there.
fn check<P: Peer>(peer: &P, records: &Records, done: usize) -> Result<()> {
    let mut session = peer.session(Use::Reading)?;
    for i in (0..done as u32).step_by((done / 100).max(1)) {
        let mut is_right = false;
        session.get(records.key(i), |value| is_right = value == records.value(i))?;
        if !is_right {
            return Err(format!("put {i} is not there").into());
        }
    }
    Ok(())
}
