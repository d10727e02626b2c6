//! Random hits by one and by two threads, alone and beside a thread that puts and compacts without rest.
//!
//! Every 16th get is timed by itself. Beside the rates by the clock stand those by the processor's time:
//! where there are fewer processors than threads, only they tell whether readers wait for the writer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Found, Start, as_loaded, by_threads, open_loaded, touch, warm_up};
use crate::child::Request;
use crate::keys::{Flat, Random, Records};
use crate::machine;
use crate::measure::{Churn, Figure, Measure, Scene};
use crate::peer::{Peer, Result, Session as _, Use};

const SEED: u64 = 400;

/// Gets between two that are timed by themselves.
const SAMPLED: usize = 16;

/// Gets between two looks at the clock, and between two chances to let go of old memory.
const STRIDE: usize = 256;

/// Puts between two compactions, by keys there are.
const PUTS_PER_KEY: f64 = 0.1;

pub(crate) fn run<P: Peer>(request: &Request, scene_millis: u64) -> Result<Found> {
    let records = Records::new(request.shape);
    let peer: P = open_loaded(request, &records)?;
    // The writers of earlier rounds put what was there.
    warm_up(&peer, &records, as_loaded(&records, false))?;
    let orders = [0, 1].map(|thread| Random(SEED + thread).order(request.shape.keys));
    let queries = orders.map(|order| records.keys.reordered(&order));
    let mut found = Found::new();
    for scene in Scene::ALL {
        let seen = play(&peer, &records, &queries[..scene.readers()], scene, scene_millis)?;
        found.extend(
            seen.figures().map(|(figure, value)| (Measure::Churn(Churn { scene, figure }), value)),
        );
    }
    peer.close()?;
    Ok(found)
}

/// What one reader did.
struct Read {
    gets: usize,
    clock: Duration,
    processor: Duration,
    /// In nanoseconds.
    sampled: Vec<u32>,
}

/// What the writer did.
#[derive(Default)]
struct Written {
    puts: usize,
    compactions: usize,
}

struct Seen {
    reads: Vec<Read>,
    written: Option<Written>,
}

enum Did {
    Read(Read),
    Written(Written),
}

fn play<P: Peer>(
    peer: &P,
    records: &Records,
    queries: &[Flat],
    scene: Scene,
    millis: u64,
) -> Result<Seen> {
    let threads = queries.len() + usize::from(scene.has_writer());
    let start = Start::of(threads);
    let is_over = AtomicBool::new(false);
    let did = by_threads(threads, |thread| {
        let Some(queries) = queries.get(thread) else {
            start.go();
            return write(peer, records, &is_over).map(Did::Written);
        };
        let read = read(peer, queries, &start, Duration::from_millis(millis));
        is_over.store(true, Ordering::Relaxed);
        read.map(Did::Read)
    })?;
    let mut seen = Seen { reads: Vec::new(), written: None };
    for did in did {
        match did {
            Did::Read(read) => seen.reads.push(read),
            Did::Written(written) => seen.written = Some(written),
        }
    }
    Ok(seen)
}

fn read<P: Peer>(peer: &P, queries: &Flat, start: &Start, time: Duration) -> Result<Read> {
    let mut session = peer.session(Use::Mixed)?;
    let mut read =
        Read { gets: 0, clock: Duration::ZERO, processor: Duration::ZERO, sampled: Vec::new() };
    read.sampled.reserve(1 << 20);
    let start = start.go();
    let processor = machine::thread_time();
    for key in queries.iter().cycle() {
        if read.gets.is_multiple_of(STRIDE) {
            if start.elapsed() > time {
                break;
            }
            session.let_go();
        }
        let found = if read.gets.is_multiple_of(SAMPLED) {
            let before = Instant::now();
            let found = session.get(key, touch)?;
            read.sampled.push(before.elapsed().as_nanos() as u32);
            found
        } else {
            session.get(key, touch)?
        };
        if !found {
            return Err("a key is missing".into());
        }
        read.gets += 1;
    }
    read.processor = machine::thread_time() - processor;
    read.clock = start.elapsed();
    Ok(read)
}

/// Puts what is there already, so that nothing changes but where it lies.
fn write<P: Peer>(peer: &P, records: &Records, is_over: &AtomicBool) -> Result<Written> {
    let mut random = Random(SEED);
    let mut written = Written::default();
    let per_compaction = ((records.shape.keys as f64 * PUTS_PER_KEY) as usize).max(1);
    while !is_over.load(Ordering::Relaxed) {
        let i = random.below(records.shape.keys) as u32;
        peer.put(records.key(i), records.value(i))?;
        written.puts += 1;
        if written.puts.is_multiple_of(per_compaction) {
            peer.compact()?;
            written.compactions += 1;
        }
    }
    Ok(written)
}

impl Seen {
    fn figures(self) -> impl Iterator<Item = (Figure, f64)> {
        let rate_of = |read: &Read, time: Duration| read.gets as f64 / time.as_secs_f64() / 1e6;
        let rate = self.reads.iter().map(|read| rate_of(read, read.clock)).sum();
        let cpu_rate: f64 = self.reads.iter().map(|read| rate_of(read, read.processor)).sum();
        let cpu_rate = cpu_rate / self.reads.len() as f64;
        let mut sampled: Vec<u32> = self.reads.into_iter().flat_map(|read| read.sampled).collect();
        sampled.sort_unstable();
        let quantile = |share: f64| {
            let at = (sampled.len() as f64 * share) as usize;
            sampled.get(at).or(sampled.last()).map_or(f64::NAN, |&nanos| f64::from(nanos))
        };
        let mut figures = vec![
            (Figure::Rate, rate),
            (Figure::CpuRate, cpu_rate),
            (Figure::P50, quantile(0.5)),
            (Figure::P99, quantile(0.99)),
            (Figure::P999, quantile(0.999)),
        ];
        if let Some(written) = self.written {
            figures.push((Figure::Puts, written.puts as f64));
            figures.push((Figure::Compactions, written.compactions as f64));
        }
        figures.into_iter()
    }
}
