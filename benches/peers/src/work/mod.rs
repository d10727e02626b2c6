//! What a child does with a store, and times.

pub(crate) mod churn;
pub(crate) mod durable_puts;
pub(crate) mod load;
pub(crate) mod mix;
pub(crate) mod puts;
pub(crate) mod read;

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::child::Request;
use crate::keys::{Flat, Records};
use crate::machine;
use crate::measure::Measure;
use crate::peer::{Peer, Result, Session, Use};

/// The numbers that came of it.
pub(crate) type Found = Vec<(Measure, f64)>;

/// Reads the first and last byte of a value or a key.
#[inline]
fn touch(value: &[u8]) {
    black_box(u64::from(value[0]) + u64::from(value[value.len() - 1]));
}

fn nanoseconds_each(time: Duration, operations: usize) -> f64 {
    time.as_nanos() as f64 / operations as f64
}

/// Opens the store of the request as it was loaded; what does not last is loaded here.
fn open_loaded<P: Peer>(request: &Request, records: &Records) -> Result<P> {
    let peer = P::open(&request.dir, request.shape)?;
    if !request.column.is_persistent() {
        peer.load(records)?;
    }
    Ok(peer)
}

/// What a value must be after the store was loaded, and nothing else written.
fn as_loaded(records: &Records, is_limit: bool) -> impl Fn(u32, &[u8]) -> bool {
    let ends = |bytes: &[u8]| (bytes.len(), bytes.first().copied(), bytes.last().copied());
    move |i, value| {
        let expected = records.value(i);
        if is_limit { value[0] == expected[0] } else { ends(value) == ends(expected) }
    }
}

/// Reads every key once, by all processors, and has the values looked at. So no store meets its page
/// faults, first checks and cold caches while it is timed.
fn warm_up<P: Peer>(
    peer: &P,
    records: &Records,
    is_right: impl Fn(u32, &[u8]) -> bool + Sync,
) -> Result<()> {
    let order: Vec<u32> = (0..records.shape.keys as u32).collect();
    let parts: Vec<_> = order.chunks(order.len().div_ceil(machine::cores())).collect();
    by_threads(parts.len(), |thread| {
        let mut session = peer.session(Use::Reading)?;
        session.expect(parts[thread]);
        for &i in parts[thread] {
            let mut found = false;
            session.get(records.key(i), |value| found = is_right(i, value))?;
            if !found {
                return Err(format!("record {i} is not what was put").into());
            }
        }
        Ok(())
    })
    .map(drop)
}

/// Asks for all keys in their order, as many at a time as the session likes; how many there were.
fn read_all<S: Session>(session: &mut S, queries: &Flat) -> Result<usize> {
    let mut found = 0;
    if S::BATCH == 1 {
        for key in queries.iter() {
            found += usize::from(session.get(key, touch)?);
        }
        return Ok(found);
    }
    let mut keys = queries.iter();
    let mut batch = Vec::with_capacity(S::BATCH);
    loop {
        batch.clear();
        batch.extend(keys.by_ref().take(S::BATCH));
        if batch.is_empty() {
            return Ok(found);
        }
        found += session.get_many(&batch, touch)?;
    }
}

/// Runs `work` on so many threads, each told its number; what they answer, in that order.
fn by_threads<T: Send>(threads: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads).map(|n| scope.spawn(move || work(n))).collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined.map(|answer| answer.unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
    })
}

/// The line from which all threads start.
struct Start(Barrier);

impl Start {
    fn of(threads: usize) -> Self {
        Start(Barrier::new(threads))
    }

    fn go(&self) -> Instant {
        self.0.wait();
        Instant::now()
    }
}
