//! What a run does: shapes, works, rounds. The one place with the sizes.

use std::time::Duration;

use crate::child::Effort;
use crate::keys::Shape;
use crate::measure::Measure;

/// What can be asked for on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Work {
    /// Bulk load of every shape, disk space
    Load,
    /// Individual puts
    Puts,
    /// Individual puts, each durable, by one thread and by eight
    DurablePuts,
    /// Random hits
    Hits,
    /// Random misses
    Misses,
    /// Random hits by two threads
    Scaling,
    /// Values of 4 KiB and 64 KiB, and as few small ones
    Large,
    /// Full iteration
    Iterate,
    /// Opening a closed store and reading one key
    Reopen,
    /// Anonymous memory
    Memory,
    /// Reads and updates by Zipf's law
    Mixes,
    /// zerocask's readers beside a writer that compacts
    Churn,
}

/// All that is done with stores of one shape.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) shape: Shape,
    /// Bulk loads; the first one is read from.
    pub(crate) loads: usize,
    /// Of puts: rounds.
    pub(crate) puts: usize,
    pub(crate) durable_puts: usize,
    /// Of a reading child.
    pub(crate) reads: Vec<Measure>,
    /// Of each of them.
    pub(crate) queries: usize,
    pub(crate) read_rounds: usize,
    pub(crate) mixes: usize,
    pub(crate) churns: usize,
}

pub(crate) struct Plan {
    pub(crate) stages: Vec<Stage>,
    pub(crate) puts: Effort,
    /// Of all threads together.
    pub(crate) durable_puts: Effort,
    pub(crate) mixes: Effort,
    pub(crate) scene_millis: u64,
    /// A child that takes longer has failed.
    pub(crate) child_limit: Duration,
}

const SMALL: usize = 150;

const MILLION: Shape = Shape { keys: 1_000_000, value_len: SMALL };
const FIVE_MILLION: Shape = Shape { keys: 5_000_000, value_len: SMALL };
const FEW: Shape = Shape { keys: 20_000, value_len: SMALL };
const PAGES: Shape = Shape { keys: 200_000, value_len: 4 << 10 };
const CHUNKS: Shape = Shape { keys: 20_000, value_len: 64 << 10 };

/// Smaller ones in the same order, to see that everything works.
const QUICK: [Shape; 5] = [
    Shape { keys: 5000, value_len: SMALL },
    Shape { keys: 10_000, value_len: SMALL },
    Shape { keys: 200, value_len: SMALL },
    Shape { keys: 1000, value_len: 4 << 10 },
    Shape { keys: 200, value_len: 64 << 10 },
];

/// The shapes by their part.
#[derive(Clone, Copy)]
pub(crate) struct Shapes {
    pub(crate) are_quick: bool,
    pub(crate) million: Shape,
    pub(crate) five_million: Shape,
    pub(crate) few: Shape,
    pub(crate) pages: Shape,
    pub(crate) chunks: Shape,
}

impl Shapes {
    pub(crate) fn new(is_quick: bool) -> Self {
        let full = [MILLION, FIVE_MILLION, FEW, PAGES, CHUNKS];
        let [million, five_million, few, pages, chunks] = if is_quick { QUICK } else { full };
        Shapes { are_quick: is_quick, million, five_million, few, pages, chunks }
    }
}

/// Rounds of works that take long, at most.
pub(crate) const FEW_ROUNDS: usize = 3;

/// A child that reads for so long reads in a few rounds only.
pub(crate) const LONG: Duration = Duration::from_secs(20);

impl Plan {
    /// `works` empty means all.
    pub(crate) fn new(works: &[Work], rounds: usize, is_quick: bool) -> Self {
        let wants = |work: Work| works.is_empty() || works.contains(&work);
        let few = rounds.min(FEW_ROUNDS);
        let shapes = Shapes::new(is_quick);
        // Enough for a time that can be measured; more would not tell more.
        let (fewest, most) = if is_quick { (2000, 5000) } else { (200_000, 1_000_000) };
        let measures = |pairs: &[(Work, Measure)]| -> Vec<Measure> {
            pairs.iter().filter(|(work, _)| wants(*work)).map(|(_, measure)| *measure).collect()
        };
        let random = [
            (Work::Hits, Measure::Hits),
            (Work::Misses, Measure::Misses),
            (Work::Scaling, Measure::HitsByTwo),
            (Work::Memory, Measure::MemoryRead),
        ];
        let mut million = random.to_vec();
        million.push((Work::Iterate, Measure::Iterate));
        let mut five_million = random.to_vec();
        five_million.extend([(Work::Iterate, Measure::Iterate), (Work::Reopen, Measure::Reopen)]);
        let if_wanted = |work: Work, rounds: usize| if wants(work) { rounds } else { 0 };
        let stage = |shape: Shape, loads: usize, reads: Vec<Measure>| Stage {
            shape,
            loads: if wants(Work::Load) || wants(Work::Memory) { loads } else { 1 },
            puts: 0,
            durable_puts: 0,
            reads: with_hits(reads),
            queries: shape.keys.clamp(fewest, most),
            read_rounds: rounds,
            mixes: 0,
            churns: 0,
        };
        let large = |shape| stage(shape, 1, measures(&[(Work::Large, Measure::Hits)]));
        let mut stages = vec![
            Stage {
                puts: if_wanted(Work::Puts, few),
                durable_puts: if_wanted(Work::DurablePuts, rounds),
                mixes: if_wanted(Work::Mixes, few),
                churns: if_wanted(Work::Churn, few),
                ..stage(shapes.million, few, measures(&million))
            },
            stage(shapes.five_million, 1, measures(&five_million)),
            large(shapes.few),
            large(shapes.pages),
            large(shapes.chunks),
        ];
        stages.retain(|stage| stage.does_anything(wants(Work::Load)));
        let effort = |operations, millis| Effort { operations, millis };
        Plan {
            stages,
            puts: if is_quick { effort(2000, 500) } else { effort(500_000, 3000) },
            durable_puts: if is_quick { effort(80, 500) } else { effort(8000, 2000) },
            mixes: if is_quick { effort(2000, 200) } else { effort(400_000, 1500) },
            scene_millis: if is_quick { 50 } else { 2500 },
            child_limit: Duration::from_secs(if is_quick { 30 } else { 240 }),
        }
    }
}

impl Stage {
    fn does_anything(&self, wants_load: bool) -> bool {
        wants_load
            || !self.reads.is_empty()
            || self.puts + self.durable_puts + self.mixes + self.churns > 0
    }

    /// Whether anything reads what was loaded.
    pub(crate) fn reads_data(&self) -> bool {
        !self.reads.is_empty() || self.mixes + self.churns > 0
    }
}

/// How well two threads do is said beside how one does.
fn with_hits(mut reads: Vec<Measure>) -> Vec<Measure> {
    let is_relative = |measure: &Measure| matches!(measure, Measure::HitsByTwo | Measure::Misses);
    if reads.iter().any(is_relative) && !reads.contains(&Measure::Hits) {
        reads.insert(0, Measure::Hits);
    }
    reads
}
