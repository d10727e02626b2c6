//! What shells and `man` know of kv, made from the definition of its arguments.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::answer::{Answer, Outcome, Shape};
use crate::cli::Cli;
use crate::failure::{Failure, Result};

pub(crate) fn completions(shape: Shape, shell: Shell) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kv", &mut script);
    print(shape, &script)
}

/// The page of kv, or of one of its commands.
pub(crate) fn man(shape: Shape, command: Option<&str>) -> Result<Outcome> {
    let mut kv = Cli::command();
    kv.build();
    let described = match command {
        None => &kv,
        Some(name) => kv
            .find_subcommand(name)
            .ok_or_else(|| Failure::Usage(format!("kv has no command {name}")))?,
    };
    let mut page = Vec::new();
    let version = concat!("kv ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(described.clone())
        .source(version)
        .render(&mut page)
        .map_err(Failure::Stdout)?;
    print(shape, &page)
}

fn print(shape: Shape, text: &[u8]) -> Result<Outcome> {
    let mut answer = Answer::default();
    answer.add("text", String::from_utf8_lossy(text));
    answer.print_or(shape, |out| out.write_all(text))?;
    Ok(Outcome::Done)
}
