//! What can go wrong, and how it is told in one line.

use std::error::Error;
use std::io;

/// Why `kv` exits with 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Store(#[from] zerocask::Error),
    #[error("cannot read the value from stdin")]
    Stdin(#[source] io::Error),
    #[error("cannot write to stdout")]
    Stdout(#[source] io::Error),
    #[error("{}; closing the store failed too", line(failure.as_ref()))]
    AndClosing { failure: Box<Failure>, source: zerocask::Error },
    #[error("{0}; see kv --help")]
    Usage(String),
}

impl Failure {
    /// The first paragraph of what clap would print; usage and tips follow it.
    pub(crate) fn usage(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let paragraph = text.split("\n\n").next().unwrap_or_default().trim_end();
        let paragraph = paragraph.strip_prefix("error: ").unwrap_or(paragraph);
        let lines: Vec<_> = paragraph.lines().map(str::trim).collect();
        Failure::Usage(lines.join(" "))
    }

    /// The message and what caused it, in one line whatever is in them.
    pub(crate) fn line(&self) -> String {
        line(self)
    }
}

fn line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Most messages say their cause already.
        if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
        source = error.source();
    }
    line.replace(char::is_control, " ")
}
