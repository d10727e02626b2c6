//! One store at one piece of work, in a process of its own. Request and answer are JSON: the first an
//! argument, the second the only line on standard output.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::column::Column;
use crate::keys::Shape;
use crate::measure::Measure;
use crate::peer::{Peer, Result};
use crate::with_peer;
use crate::work::{self, Found};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) column: Column,
    /// Where the store's files are, or shall be.
    pub(crate) dir: PathBuf,
    pub(crate) shape: Shape,
    pub(crate) round: usize,
    pub(crate) task: Task,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    Load,
    Puts(Effort),
    DurablePuts(Effort),
    /// The measures that are wanted. Hits and misses are `queries` many; keys come again if there are fewer.
    Read {
        measures: Vec<Measure>,
        queries: usize,
    },
    Mixes(Effort),
    Churn {
        scene_millis: u64,
    },
}

/// How much to do: so many operations (of each thread), or what can be done in the time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Effort {
    pub(crate) operations: usize,
    pub(crate) millis: u64,
}

impl Effort {
    pub(crate) fn time(self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

/// What the child does.
pub(crate) fn answer(request: &str) -> Result<()> {
    let request: Request = serde_json::from_str(request)?;
    let found = with_peer!(request.column, work(&request))?;
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

fn work<P: Peer>(request: &Request) -> Result<Found> {
    match &request.task {
        Task::Load => work::load::run::<P>(request),
        Task::Puts(effort) => work::puts::run::<P>(request, *effort),
        Task::DurablePuts(effort) => work::durable_puts::run::<P>(request, *effort),
        Task::Read { measures, queries } => work::read::run::<P>(request, measures, *queries),
        Task::Mixes(effort) => work::mix::run::<P>(request, *effort),
        Task::Churn { scene_millis } => work::churn::run::<P>(request, *scene_millis),
    }
}

/// Runs a child to its end; the time limit passed is an error.
pub(crate) fn ask(request: &Request, limit: Duration) -> Result<Found> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["child", &serde_json::to_string(request)?]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
    let start = Instant::now();
    // The answer is small: it fits into the pipe.
    while child.try_wait()?.is_none() {
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Err(format!("not done after {} s", limit.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
