//! What is measured, and the numbers that come of it. Knows no store.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::column::Column;
use crate::keys::Shape;

/// One row of a table, but for the shape.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measure {
    Load,
    Disk,
    MemoryLoaded,
    MemoryRead,
    Puts,
    DurablePuts(u8),
    Reopen,
    Hits,
    Misses,
    HitsByTwo,
    Iterate,
    Mix(Mix),
    Churn(Churn),
}

/// Reads and updates of keys that are asked for unequally often.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Mix {
    pub(crate) updates_percent: u8,
    pub(crate) threads: u8,
}

/// Random hits while others do something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Churn {
    pub(crate) scene: Scene,
    pub(crate) figure: Figure,
}

/// Who is at work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scene {
    OneReader,
    TwoReaders,
    OneReaderAndWriter,
    TwoReadersAndWriter,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Figure {
    /// Of all readers together, by the clock.
    Rate,
    /// Of one reader for a second of its processor's time.
    CpuRate,
    P50,
    P99,
    P999,
    /// What the writer put meanwhile.
    Puts,
    Compactions,
}

impl Scene {
    pub(crate) const ALL: [Scene; 4] = [
        Scene::OneReader,
        Scene::TwoReaders,
        Scene::OneReaderAndWriter,
        Scene::TwoReadersAndWriter,
    ];

    pub(crate) fn readers(self) -> usize {
        match self {
            Scene::OneReader | Scene::OneReaderAndWriter => 1,
            Scene::TwoReaders | Scene::TwoReadersAndWriter => 2,
        }
    }

    pub(crate) fn has_writer(self) -> bool {
        matches!(self, Scene::OneReaderAndWriter | Scene::TwoReadersAndWriter)
    }
}

impl Mix {
    pub(crate) const ALL: [Mix; 4] = [
        Mix { updates_percent: 5, threads: 1 },
        Mix { updates_percent: 5, threads: 2 },
        Mix { updates_percent: 50, threads: 1 },
        Mix { updates_percent: 50, threads: 2 },
    ];
}

/// How a number is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    Nanoseconds,
    Milliseconds,
    Millions,
    BytesPerKey,
    Count,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Milliseconds => "ms",
            Unit::Millions => "M/s",
            Unit::BytesPerKey => "bytes/key",
            Unit::Count => "",
        }
    }
}

impl Measure {
    pub(crate) fn unit(self) -> Unit {
        match self {
            Measure::Load
            | Measure::Puts
            | Measure::DurablePuts(_)
            | Measure::Hits
            | Measure::Misses
            | Measure::Iterate => Unit::Nanoseconds,
            Measure::Reopen => Unit::Milliseconds,
            Measure::Disk | Measure::MemoryLoaded | Measure::MemoryRead => Unit::BytesPerKey,
            Measure::HitsByTwo | Measure::Mix(_) => Unit::Millions,
            Measure::Churn(churn) => match churn.figure {
                Figure::Rate | Figure::CpuRate => Unit::Millions,
                Figure::P50 | Figure::P99 | Figure::P999 => Unit::Nanoseconds,
                Figure::Puts | Figure::Compactions => Unit::Count,
            },
        }
    }

    /// Whether more is better.
    pub(crate) fn wants_more(self) -> bool {
        matches!(self.unit(), Unit::Millions | Unit::Count)
    }

    /// Tables have one such each.
    pub(crate) fn group(self) -> &'static str {
        match self {
            Measure::Load => "Bulk load",
            Measure::Disk => "Disk space",
            Measure::MemoryLoaded | Measure::MemoryRead => "Anonymous memory",
            Measure::Puts => "Individual puts",
            Measure::DurablePuts(_) => "Durable puts",
            Measure::Reopen => "Reopening",
            Measure::Hits => "Random hits",
            Measure::Misses => "Random misses",
            Measure::HitsByTwo => "Random hits by two threads",
            Measure::Iterate => "Iteration",
            Measure::Mix(_) => "Zipf mixes",
            Measure::Churn(_) => "Beside a writer that compacts",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Measure::Load => f.write_str("load, per record"),
            Measure::Disk => f.write_str("on disk"),
            Measure::MemoryLoaded => f.write_str("after loading"),
            Measure::MemoryRead => f.write_str("reopened, everything read once"),
            Measure::Puts => f.write_str("put"),
            Measure::DurablePuts(1) => f.write_str("put by one thread"),
            Measure::DurablePuts(threads) => write!(f, "put by {threads} threads, all together"),
            Measure::Reopen => f.write_str("open and read one key"),
            Measure::Hits => f.write_str("hit"),
            Measure::Misses => f.write_str("miss"),
            Measure::HitsByTwo => f.write_str("hits, both threads together"),
            Measure::Iterate => f.write_str("each record"),
            Measure::Mix(Mix { updates_percent, threads }) => {
                let plural = if *threads == 1 { "" } else { "s" };
                write!(f, "{}/{updates_percent} by {threads} thread{plural}", 100 - updates_percent)
            }
            Measure::Churn(Churn { scene, figure }) => {
                let figure = match figure {
                    Figure::Rate => "gets",
                    Figure::CpuRate => "gets of one for a second of its processor",
                    Figure::P50 => "p50",
                    Figure::P99 => "p99",
                    Figure::P999 => "p99.9",
                    Figure::Puts => "puts meanwhile",
                    Figure::Compactions => "compactions meanwhile",
                };
                let scene = match scene {
                    Scene::OneReader => "1 reader",
                    Scene::TwoReaders => "2 readers",
                    Scene::OneReaderAndWriter => "1 reader and the writer",
                    Scene::TwoReadersAndWriter => "2 readers and the writer",
                };
                write!(f, "{scene}: {figure}")
            }
        }
    }
}

/// One number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) measure: Measure,
    pub(crate) shape: Shape,
    pub(crate) column: Column,
    pub(crate) round: usize,
    pub(crate) value: f64,
}

/// The middle of some numbers, and how far they spread.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Spread { median, least, most })
    }
}

/// All numbers of a run, and what could not be had.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) samples: Vec<Sample>,
    /// A child that failed, and why.
    pub(crate) failures: Vec<String>,
}

impl Results {
    /// By round. A round has at most one.
    pub(crate) fn of(
        &self,
        measure: Measure,
        shape: Shape,
        column: Column,
    ) -> impl Iterator<Item = (usize, f64)> {
        self.samples
            .iter()
            .filter(move |s| s.measure == measure && s.shape == shape && s.column == column)
            .map(|sample| (sample.round, sample.value))
    }

    pub(crate) fn spread(&self, measure: Measure, shape: Shape, column: Column) -> Option<Spread> {
        Spread::of(self.of(measure, shape, column).map(|(_, value)| value))
    }

    /// The rows that there are, in the order of measures and then of first appearance.
    pub(crate) fn rows(&self) -> Vec<(Measure, Shape)> {
        let mut rows = Vec::new();
        for sample in &self.samples {
            let row = (sample.measure, sample.shape);
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        rows.sort_by_key(|(measure, _)| *measure);
        rows
    }

    /// The columns that there are, in their order.
    pub(crate) fn columns(&self) -> Vec<Column> {
        let mut columns: Vec<_> = self.samples.iter().map(|sample| sample.column).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }
}
