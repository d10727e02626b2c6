//! `kv`: a store on the command line. Arguments in, an exit code out: 0 done, 1 the key is not there
//! or there is damage, 2 an error, told in one line on stderr.

mod answer;
mod bench;
mod change;
mod cli;
mod commands;
mod expiry;
mod export;
mod failure;
mod fault;
mod formats;
mod import;
mod logs;
mod maintenance;
mod nested;
mod opening;
mod progress;
mod record;
mod replay;
mod scan;
mod shell;
#[cfg(test)]
mod tests;
mod text;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use answer::Outcome;
use cli::Cli;
use failure::Failure;

const ABSENT: u8 = 1;
const DAMAGED: u8 = 1;
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let (outcome, json) = match Cli::try_parse() {
        Ok(cli) => {
            logs::start(cli.debug, cli.json);
            (commands::run(&cli), cli.json)
        }
        Err(answer) => (refuse(answer), asks_for_json()),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Absent) => ExitCode::from(ABSENT),
        Ok(Outcome::Damaged) => ExitCode::from(DAMAGED),
        Err(failure) => {
            let line = if json { failure.json() } else { format!("kv: {}", failure.line()) };
            // If stderr is gone too, the exit code has to do.
            let _ = writeln!(io::stderr(), "{line}");
            ExitCode::from(FAILED)
        }
    }
}

/// What clap answers instead of arguments: help and version, which are no errors, or a usage error.
fn refuse(answer: clap::Error) -> Result<Outcome, Failure> {
    if answer.use_stderr() {
        return Err(Failure::usage(&answer));
    }
    // Not through a pipe of ours: clap knows whether it may use colours.
    answer::to_stdout(|_| answer.print().map_err(Failure::Stdout))?;
    Ok(Outcome::Done)
}

/// Whether JSON is asked for by arguments that could not be understood as a whole.
fn asks_for_json() -> bool {
    let mut options = std::env::args_os().skip(1).take_while(|arg| arg != "--");
    options.any(|arg| arg == "--json")
}
