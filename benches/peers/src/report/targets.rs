//! What zerocask wants to reach beside the others, and how far it is. The one place with the targets.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use crate::column::Column;
use crate::keys::Shape;
use crate::measure::{Churn, Figure, Measure, Mix, Results, Scene, Spread, Unit};
use crate::plan::Shapes;

/// A ratio that is wanted.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(super) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::AtLeast(ratio) => write!(f, "≥ {ratio}"),
            Wanted::AtMost(ratio) => write!(f, "≤ {ratio}"),
        }
    }
}

/// A target and what was reached.
#[derive(Serialize)]
pub(super) struct Judged {
    pub(super) what: String,
    pub(super) against: String,
    #[serde(skip)]
    pub(super) spread: Spread,
    ratio: f64,
    pub(super) wanted: Wanted,
    pub(super) is_met: bool,
}

/// One side of a ratio.
#[derive(Clone, Copy)]
struct Side {
    measure: Measure,
    shape: Shape,
    column: Column,
}

impl Side {
    /// As times: throughputs become what one operation takes. By round.
    fn times(self, results: &Results) -> HashMap<usize, f64> {
        let invert = self.measure.unit() == Unit::Millions;
        let time = |value: f64| if invert { 1000.0 / value } else { value };
        let values = results.of(self.measure, self.shape, self.column);
        values.map(|(round, value)| (round, time(value))).collect()
    }
}

/// Judges all targets that the results have both sides of.
pub(super) fn judge(results: &Results, shapes: Shapes) -> Vec<Judged> {
    let mut judge = Judge { results, judged: Vec::new() };
    judge.reads(shapes);
    judge.batches(shapes);
    judge.large(shapes);
    judge.iteration(shapes);
    judge.mixes(shapes);
    judge.threads(shapes);
    judge.durable_puts(shapes);
    judge.judged
}

struct Judge<'a> {
    results: &'a Results,
    judged: Vec<Judged>,
}

impl Judge<'_> {
    /// `ours` is to be so many times as fast as `theirs`, of another column.
    fn faster(&mut self, ours: Side, theirs: Side, times: f64, what: &str) {
        self.faster_than(ours, theirs, times, what, theirs.column.label());
    }

    fn faster_than(&mut self, ours: Side, theirs: Side, times: f64, what: &str, against: &str) {
        self.ratio(theirs, ours, Wanted::AtLeast(times), what, against);
    }

    /// The time of `ours` is to be at most so many times that of `theirs`.
    fn no_slower(&mut self, ours: Side, theirs: Side, times: f64, what: &str, against: &str) {
        self.ratio(ours, theirs, Wanted::AtMost(times), what, against);
    }

    fn ratio(&mut self, over: Side, under: Side, wanted: Wanted, what: &str, against: &str) {
        let over = over.times(self.results);
        let under = under.times(self.results);
        let ratios = over.iter().filter_map(|(round, time)| Some(time / under.get(round)?));
        let Some(spread) = Spread::of(ratios) else { return };
        let is_met = match wanted {
            Wanted::AtLeast(least) => spread.median >= least,
            Wanted::AtMost(most) => spread.median <= most,
        };
        let (what, against) = (what.to_owned(), against.to_owned());
        self.judged.push(Judged { what, against, spread, ratio: spread.median, wanted, is_met });
    }

    fn reads(&mut self, shapes: Shapes) {
        let hits = |shape, column| Side { measure: Measure::Hits, shape, column };
        let misses = |shape, column| Side { measure: Measure::Misses, shape, column };
        let five = shapes.five_million;
        let reader = hits(five, Column::ZerocaskReader);
        for (column, times) in
            [(Column::Lmdb, 6.0), (Column::HashMap, 3.0), (Column::Foldhash, 1.5)]
        {
            self.faster(reader, hits(five, column), times, &format!("`Reader::get`, hits, {five}"));
        }
        for shape in [shapes.million, five] {
            let (ours, theirs) = (Column::ZerocaskReader, Column::SimdRDrive);
            let name = format!("`Reader::get`, hits, {shape}");
            self.faster(hits(shape, ours), hits(shape, theirs), 2.0, &name);
            let name = format!("`Reader::get`, misses, {shape}");
            self.faster(misses(shape, ours), misses(shape, theirs), 1.0, &name);
            self.no_slower(misses(shape, ours), hits(shape, ours), 0.5, &name, "its hits");
        }
        let get = hits(five, Column::Zerocask);
        let name = format!("`get`, hits, {five}");
        self.no_slower(get, reader, 1.4, &name, "`Reader::get`");
        self.faster(get, hits(five, Column::Lmdb), 4.0, &name);
    }

    fn batches(&mut self, shapes: Shapes) {
        let five = shapes.five_million;
        let hits = |column| Side { measure: Measure::Hits, shape: five, column };
        let name = format!("`Reader::get_many` of 64, {five}");
        let many = hits(Column::ZerocaskMany);
        self.faster(many, hits(Column::ZerocaskReader), 2.5, &name);
        self.faster(many, hits(Column::Lmdb), 15.0, &name);
    }

    fn iteration(&mut self, shapes: Shapes) {
        for shape in [shapes.million, shapes.five_million] {
            let all = |column| Side { measure: Measure::Iterate, shape, column };
            let name = format!("`Iter::next_slices`, {shape}");
            self.faster(all(Column::Zerocask), all(Column::Lmdb), 1.2, &name);
        }
    }

    fn large(&mut self, shapes: Shapes) {
        let hits = |shape, column| Side { measure: Measure::Hits, shape, column };
        let (large, small) = (shapes.chunks, shapes.few);
        let ours = hits(large, Column::ZerocaskReader);
        let name = format!("`Reader::get`, second read, {large}");
        let against = format!("itself, {small}");
        self.no_slower(ours, hits(small, Column::ZerocaskReader), 1.5, &name, &against);
        self.faster(ours, hits(large, Column::Lmdb), 2.0, &name);
    }

    /// Against the best of the stores that keep what they are given.
    fn mixes(&mut self, shapes: Shapes) {
        for mix in Mix::ALL {
            let side = |column| Side { measure: Measure::Mix(mix), shape: shapes.million, column };
            let rate = |column: &Column| {
                let spread = self.results.spread(side(*column).measure, shapes.million, *column);
                spread.map(|spread| spread.median)
            };
            let rivals = self.results.columns().into_iter();
            let rivals = rivals.filter(|column| {
                column.is_persistent() && !column.is_zerocask() && rate(column).is_some()
            });
            let by_rate = |a: &Column, b: &Column| {
                rate(a).unwrap_or_default().total_cmp(&rate(b).unwrap_or_default())
            };
            let Some(best) = rivals.max_by(by_rate) else { continue };
            let name = format!("`Reader`, {}", Measure::Mix(mix));
            self.faster(side(Column::ZerocaskReader), side(best), 3.0, &name);
        }
    }

    fn durable_puts(&mut self, shapes: Shapes) {
        for (threads, times) in [(1, 1.1), (8, 1.15)] {
            let (measure, shape) = (Measure::DurablePuts(threads), shapes.million);
            let side = |column| Side { measure, shape, column };
            let (ours, bare) = (side(Column::Zerocask), side(Column::Limit));
            self.no_slower(ours, bare, times, &format!("durable {measure}"), "bare limit");
        }
    }

    fn threads(&mut self, shapes: Shapes) {
        let column = Column::ZerocaskReader;
        for shape in [shapes.million, shapes.five_million] {
            let one = Side { measure: Measure::Hits, shape, column };
            let two = Side { measure: Measure::HitsByTwo, shape, column };
            self.faster_than(two, one, 1.9, &format!("two threads, {shape}"), "one");
        }
        let shape = shapes.million;
        let side = |scene, figure| Side {
            measure: Measure::Churn(Churn { scene, figure }),
            shape,
            column,
        };
        let (alone, together) = (Scene::TwoReaders, Scene::TwoReadersAndWriter);
        let name = format!("two threads beside a writer that compacts, {shape}");
        let one = side(Scene::OneReader, Figure::Rate);
        self.faster_than(side(together, Figure::Rate), one, 1.9, &name, "one alone, by the clock");
        // Twice 0.95 of one: what two would do that had a processor each.
        let one = side(Scene::OneReader, Figure::CpuRate);
        let against = "one alone, each by its processor's time";
        self.faster_than(side(together, Figure::CpuRate), one, 0.95, &name, against);
        let name = format!("p99.9 of two threads beside a writer that compacts, {shape}");
        let (ours, theirs) = (side(together, Figure::P999), side(alone, Figure::P999));
        self.no_slower(ours, theirs, 3.0, &name, "without it");
        let (ours, theirs) =
            (side(Scene::OneReaderAndWriter, Figure::P999), side(Scene::OneReader, Figure::P999));
        let name = format!("p99.9 of one thread beside a writer that compacts, {shape}");
        self.no_slower(ours, theirs, 3.0, &name, "without it");
    }
}
