//! Bulk load: all records at once, into an empty store.

use std::time::Instant;

use super::{Found, nanoseconds_each};
use crate::child::Request;
use crate::keys::Records;
use crate::machine::{anonymous_bytes, disk_bytes};
use crate::measure::Measure;
use crate::peer::{Peer, Result};

pub(crate) fn run<P: Peer>(request: &Request) -> Result<Found> {
    let Request { dir, shape, .. } = request;
    let records = Records::new(*shape);
    std::fs::create_dir_all(dir)?;
    let before = anonymous_bytes()?;
    let peer = P::open(dir, *shape)?;
    let start = Instant::now();
    peer.load(&records)?;
    peer.flush()?;
    let time = start.elapsed();
    let memory = anonymous_bytes()?.saturating_sub(before);
    peer.settle()?;
    peer.close()?;
    Ok(vec![
        (Measure::Load, nanoseconds_each(time, shape.keys)),
        (Measure::MemoryLoaded, memory as f64 / shape.keys as f64),
        (Measure::Disk, disk_bytes(dir)? as f64 / shape.keys as f64),
    ])
}
