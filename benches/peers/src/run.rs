//! A run: children one after another, the columns taking turns in every round.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::child::{Request, Task, ask};
use crate::column::Column;
use crate::measure::{Churn, Figure, Measure, Mix, Results, Sample, Scene};
use crate::peer::Result;
use crate::plan::{FEW_ROUNDS, LONG, Plan, Stage};

pub(crate) struct Run<'a> {
    plan: &'a Plan,
    columns: &'a [Column],
    /// Where all data goes.
    root: &'a Path,
    results: Results,
    start: Instant,
}

impl<'a> Run<'a> {
    pub(crate) fn new(plan: &'a Plan, columns: &'a [Column], root: &'a Path) -> Self {
        Run { plan, columns, root, results: Results::default(), start: Instant::now() }
    }

    /// Does all of it, and shows `after_stage` what there is after each stage.
    pub(crate) fn all(mut self, mut after_stage: impl FnMut(&Results) -> Result<()>) -> Result<()> {
        for stage in &self.plan.stages {
            self.stage(stage)?;
            after_stage(&self.results)?;
        }
        Ok(())
    }

    fn stage(&mut self, stage: &Stage) -> Result<()> {
        self.load(stage)?;
        let puts = (stage.puts, Measure::Puts, Task::Puts(self.plan.puts));
        let durable = Task::DurablePuts(self.plan.durable_puts);
        for (rounds, measure, task) in
            [puts, (stage.durable_puts, Measure::DurablePuts(1), durable)]
        {
            for round in 0..rounds {
                for column in self.turn(round, measure) {
                    let dir = self.dir(column, stage, "puts");
                    self.ask(column, stage, round, &dir, task.clone());
                    remove(&dir)?;
                }
            }
        }
        self.read(stage);
        // These put what is there already, so that they go before those that change it.
        let churn = Measure::Churn(Churn { scene: Scene::OneReader, figure: Figure::Rate });
        for round in 0..stage.churns {
            for column in self.turn(round, churn) {
                let task = Task::Churn { scene_millis: self.plan.scene_millis };
                self.ask_loaded(column, stage, round, task);
            }
        }
        for round in 0..stage.mixes {
            for column in self.turn(round, Measure::Mix(Mix::ALL[0])) {
                self.ask_loaded(column, stage, round, Task::Mixes(self.plan.mixes));
            }
        }
        for &column in self.columns {
            remove(&self.dir(column, stage, "data"))?;
        }
        Ok(())
    }

    fn read(&mut self, stage: &Stage) {
        let rounds = if stage.reads.is_empty() { 0 } else { stage.read_rounds };
        let mut slow = HashSet::new();
        for round in 0..rounds {
            for column in self.turn(round, Measure::Hits) {
                if round >= FEW_ROUNDS && slow.contains(&column) {
                    continue;
                }
                let has = |measure: &Measure| column.lacks(*measure).is_none();
                let measures = stage.reads.iter().copied().filter(has).collect();
                let task = Task::Read { measures, queries: stage.queries };
                if self.ask_loaded(column, stage, round, task) > LONG {
                    slow.insert(column);
                }
            }
        }
    }

    /// Every store once for reading, and, to be timed, some times more.
    fn load(&mut self, stage: &Stage) -> Result<()> {
        let mut stores: Vec<Column> = self.columns.iter().map(|column| column.store()).collect();
        stores.sort_unstable();
        stores.dedup();
        for round in 0..stage.loads {
            for n in 0..stores.len() {
                let column = stores[(n + round) % stores.len()];
                let is_kept = round == 0 && column.is_persistent() && stage.reads_data();
                let dir = self.dir(column, stage, if is_kept { "data" } else { "load" });
                self.ask(column, stage, round, &dir, Task::Load);
                if !is_kept {
                    remove(&dir)?;
                }
            }
        }
        Ok(())
    }

    /// The columns that have a measure, in the order of a round.
    fn turn(&self, round: usize, measure: Measure) -> Vec<Column> {
        let has = |column: &Column| column.lacks(measure).is_none();
        let mut columns: Vec<Column> = self.columns.iter().copied().filter(has).collect();
        let len = columns.len().max(1);
        // A round does not begin with what the one before ended with.
        columns.rotate_left(round * (len / 3).max(1) % len);
        columns
    }

    fn dir(&self, column: Column, stage: &Stage, what: &str) -> PathBuf {
        self.root.join(format!("{:?}-{}-{what}", column.store(), stage.shape.slug()))
    }

    /// How long it took.
    fn ask_loaded(&mut self, column: Column, stage: &Stage, round: usize, task: Task) -> Duration {
        let start = Instant::now();
        let dir = self.dir(column, stage, "data");
        // What could not be loaded has been told already.
        if !column.is_persistent() || dir.exists() {
            self.ask(column, stage, round, &dir, task);
        }
        start.elapsed()
    }

    fn ask(&mut self, column: Column, stage: &Stage, round: usize, dir: &Path, task: Task) {
        let shape = stage.shape;
        let seconds = self.start.elapsed().as_secs();
        let name = match &task {
            Task::Load => "load",
            Task::Puts(_) => "puts",
            Task::DurablePuts(_) => "durable puts",
            Task::Read { .. } => "reads",
            Task::Mixes(_) => "mixes",
            Task::Churn { .. } => "churn",
        };
        let what = format!("{shape}, {name}, round {}, {}", round + 1, column.label());
        eprintln!("{:3}:{:02} {what}", seconds / 60, seconds % 60);
        let request = Request { column, dir: dir.to_owned(), shape, round, task };
        match ask(&request, self.plan.child_limit) {
            Ok(found) => {
                let found = found.into_iter();
                let found = found.filter(|(measure, _)| column.lacks(*measure).is_none());
                self.results.samples.extend(found.map(|(measure, value)| Sample {
                    measure,
                    shape,
                    column,
                    round,
                    value,
                }));
            }
            Err(error) => {
                eprintln!("       failed: {error}");
                self.results.failures.push(format!("{what}: {error}"));
                if matches!(request.task, Task::Load) {
                    // Half a store is none.
                    drop(remove(dir));
                }
            }
        }
    }
}

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    Ok(())
}
