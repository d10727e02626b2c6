//! What can go wrong, and how it is told: in one line, or as JSON.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;
use zerocask::Position;

use crate::fault::Fault;
use crate::text::{Form, escape};

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Why `kv` exits with 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Store(#[from] zerocask::Error),
    #[error("cannot read the value from stdin")]
    Stdin(#[source] io::Error),
    #[error("cannot write to stdout")]
    Stdout(#[source] io::Error),
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// A key that no file could be made for.
    #[error("cannot write a file for the key \"{}\"", escaped(key))]
    OfKey { key: Vec<u8>, source: io::Error },
    /// What is at a path is not what it has to be.
    #[error("{} {why}", path.display())]
    Refused { path: PathBuf, why: String },
    #[error("the {what} is not in the form of --{}: {} at byte {}; see kv --help", form.name(), fault.what, fault.at)]
    Misspelt { what: &'static str, form: Form, fault: Fault },
    /// A place in what is imported: the line counts from 1, the bytes from 0.
    #[error("{}: line {line}, byte {byte}: {what}", path.display())]
    Line { path: PathBuf, line: u64, byte: u64, what: String },
    #[error("{}; the {stored} records before it are stored", line(failure.as_ref()))]
    Import { failure: Box<Failure>, stored: u64 },
    #[error("{}; closing the store failed too", line(failure.as_ref()))]
    AndClosing { failure: Box<Failure>, source: zerocask::Error },
    #[error(
        "the log cannot be followed from {asked}, it is whole from {oldest} on: take the position of kv log --end, \
         copy everything into an empty store, with kv export and kv import say, and go on from that position"
    )]
    Gone { asked: Position, oldest: Position },
    #[error("a get of the bench did not find what had been put")]
    Mismatch,
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

    pub(crate) fn read(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Failure::Read { path, source }
    }

    pub(crate) fn write(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Failure::Write { path, source }
    }

    /// The message and what caused it, in one line whatever is in them.
    pub(crate) fn line(&self) -> String {
        line(self)
    }

    /// `{"error": message, "causes": [messages]}`, the nearest cause first.
    pub(crate) fn json(&self) -> String {
        let causes: Vec<_> = causes(self).map(ToString::to_string).collect();
        format!("{{\"error\":{},\"causes\":{}}}", json!(self.to_string()), json!(causes))
    }
}

fn escaped(key: &[u8]) -> String {
    let mut text = Vec::new();
    // Memory takes all that is written.
    let _ = escape(key, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&error| error.source())
}

fn line(error: &(dyn Error + 'static)) -> String {
    let line = causes(error).fold(error.to_string(), |line, cause| {
        let cause = cause.to_string();
        // Most messages say their cause already.
        if line.contains(&cause) { line } else { format!("{line}: {cause}") }
    });
    line.replace(char::is_control, " ")
}
