//! zerocask beside other stores: the same work, in one run, on one machine.
//!
//! ```sh
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- --quick      # does everything work?
//! cargo run --release --manifest-path benches/peers/Cargo.toml                 # all of it
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- hits misses --stores zerocask-reader,lmdb
//! cargo run --release --manifest-path benches/peers/Cargo.toml --features rocksdb
//! ```
//!
//! What is compared are ratios within one run. Each store does each piece of work in a fresh process, and
//! stores take turns in every round. All read the same keys in the same order, after every key has been read
//! once; a hit reads the value's first and last byte. Nothing is durable but durable puts: another put is seen by all threads when
//! it returns, and no more. Data lies where `TMPDIR` says (up to 12 GB at a time), and in the page cache; memory
//! for both it and what the largest store keeps in memory is needed, 16 GiB say. All of it takes 25 to 30
//! minutes. RocksDB needs libclang and a C++ compiler, and takes half an hour to build.
//!
//! Written are `peers.md`, `peers.json` and a bar chart for each kind of work.

mod child;
mod column;
mod keys;
mod machine;
mod measure;
mod peer;
mod peers;
mod plan;
mod report;
mod run;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum as _};

use column::Column;
use machine::Facts;
use peer::Result;
use plan::{Plan, Shapes, Work};
use run::Run;

#[derive(Parser)]
#[command(about = "zerocask beside other stores", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// What to do; everything, if nothing is named
    works: Vec<Work>,
    /// Columns to compare, by default all
    #[arg(long, value_delimiter = ',')]
    stores: Vec<Column>,
    /// Rounds of works that do not take long; others have three at most
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Small sizes, one round: only to see that all of it works
    #[arg(long)]
    quick: bool,
    /// Where the report goes
    #[arg(long, default_value = "target/peers")]
    out: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// One store at one piece of work
    #[command(hide = true)]
    Child { request: String },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Child { request }) => child::answer(request),
        None => compare(&cli),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(cli: &Cli) -> Result<()> {
    let rounds = if cli.quick { 1 } else { cli.rounds.max(1) };
    let plan = Plan::new(&cli.works, rounds, cli.quick);
    let all = Column::value_variants();
    let columns = if cli.stores.is_empty() { all } else { &cli.stores[..] };
    let root = tempfile::Builder::new().prefix("zerocask-peers-").tempdir()?;
    let facts = Facts::gather(root.path());
    let shapes = Shapes::new(cli.quick);
    std::fs::create_dir_all(&cli.out)?;
    let mut failures = 0;
    Run::new(&plan, columns, root.path()).all(|results| {
        failures = results.failures.len();
        report::write(&cli.out, results, &facts, shapes)
    })?;
    eprintln!("written to {}", cli.out.display());
    if failures > 0 {
        return Err(format!("{failures} pieces of work failed; the report names them").into());
    }
    Ok(())
}
