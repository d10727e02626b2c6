//! Random hits and misses, by one thread and by two, iteration, reopening.

use std::time::Instant;

use super::{
    Found, Start, as_loaded, by_threads, nanoseconds_each, open_loaded, read_all, touch, warm_up,
};
use crate::child::Request;
use crate::keys::{Flat, Random, Records};
use crate::machine::anonymous_bytes;
use crate::measure::Measure;
use crate::peer::{Peer, Result, Session as _, Use};

const ORDER_SEED: u64 = 100;

pub(crate) fn run<P: Peer>(
    request: &Request,
    measures: &[Measure],
    queries: usize,
) -> Result<Found> {
    let records = Records::new(request.shape);
    let mut random = Random(ORDER_SEED + request.round as u64);
    let mut order = random.order(request.shape.keys);
    while order.len() < queries {
        order.extend(random.order(request.shape.keys));
    }
    order.truncate(queries);
    let present = records.keys.reordered(&order);
    let absent = records.absent(order.len());

    let before = anonymous_bytes()?;
    let start = Instant::now();
    let peer: P = open_loaded(request, &records)?;
    first_read(&peer, &present, &order)?;
    let opened = start.elapsed();
    warm_up(&peer, &records, as_loaded(&records, request.column.is_limit()))?;
    let memory = anonymous_bytes()?.saturating_sub(before) as f64 / request.shape.keys as f64;

    let mut found = Found::new();
    for &measure in measures {
        let value = match measure {
            Measure::Reopen => opened.as_nanos() as f64 / 1e6,
            Measure::MemoryRead => memory,
            Measure::Hits => by_one(&peer, &present, &order, order.len())?,
            Measure::Misses => by_one(&peer, &absent, &order, 0)?,
            Measure::HitsByTwo => by_two(&peer, &records, &order)?,
            Measure::Iterate => iterate(&peer, request.shape.keys)?,
            other => return Err(format!("{other} is no work of reading").into()),
        };
        found.push((measure, value));
    }
    peer.close()?;
    Ok(found)
}

fn first_read<P: Peer>(peer: &P, queries: &Flat, order: &[u32]) -> Result<()> {
    let mut session = peer.session(Use::Reading)?;
    session.expect(&order[..1]);
    if !session.get(queries.get(0), touch)? {
        return Err("the store does not hold what it was loaded with".into());
    }
    Ok(())
}

fn by_one<P: Peer>(peer: &P, queries: &Flat, order: &[u32], expected: usize) -> Result<f64> {
    let mut session = peer.session(Use::Reading)?;
    session.expect(order);
    let start = Instant::now();
    let found = read_all(&mut session, queries)?;
    let time = start.elapsed();
    if found != expected {
        return Err(format!("{found} of {expected} found").into());
    }
    Ok(nanoseconds_each(time, queries.count()))
}

/// Millions in a second, each thread asking for half of the keys.
fn by_two<P: Peer>(peer: &P, records: &Records, order: &[u32]) -> Result<f64> {
    let halves = order.split_at(order.len() / 2);
    let halves = [halves.0, halves.1].map(|half| (half, records.keys.reordered(half)));
    let start = Start::of(halves.len());
    let times = by_threads(halves.len(), |thread| {
        let (order, queries) = &halves[thread];
        let mut session = peer.session(Use::Reading)?;
        session.expect(order);
        let start = start.go();
        let found = read_all(&mut session, queries)?;
        let time = start.elapsed();
        if found != order.len() {
            return Err(format!("{found} of {} found", order.len()).into());
        }
        Ok(time)
    })?;
    let longest = times.into_iter().max().unwrap_or_default();
    Ok(order.len() as f64 / longest.as_secs_f64() / 1e6)
}

fn iterate<P: Peer>(peer: &P, expected: usize) -> Result<f64> {
    let start = Instant::now();
    let count = peer.iterate(|key, value| {
        touch(value);
        // One store has none.
        if !key.is_empty() {
            touch(key);
        }
    })?;
    let time = start.elapsed();
    if count != expected {
        return Err(format!("{count} of {expected} records came").into());
    }
    Ok(nanoseconds_each(time, count))
}
