//! `kv`: a store on the command line. Arguments in, an exit code out: 0 done, 1 the key is not there
//! or there is damage, 2 an error, told in one line on stderr.

mod cli;
mod commands;
mod failure;
mod logs;
mod maintenance;
mod progress;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use commands::Outcome;
use failure::Failure;

const ABSENT: u8 = 1;
const DAMAGED: u8 = 1;
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let outcome = Cli::try_parse().map_or_else(refuse, |cli| {
        logs::start(cli.debug);
        commands::run(&cli)
    });
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Absent) => ExitCode::from(ABSENT),
        Ok(Outcome::Damaged) => ExitCode::from(DAMAGED),
        Err(failure) => {
            // If stderr is gone too, the exit code has to do.
            let _ = writeln!(io::stderr(), "kv: {}", failure.line());
            ExitCode::from(FAILED)
        }
    }
}

/// What clap answers instead of arguments: help and version, which are no errors, or a usage error.
fn refuse(answer: clap::Error) -> Result<Outcome, Failure> {
    if answer.use_stderr() {
        return Err(Failure::usage(&answer));
    }
    commands::to_stdout(|| answer.print())?;
    Ok(Outcome::Done)
}
