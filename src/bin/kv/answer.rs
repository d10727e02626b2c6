//! What a command says on stdout, and how it ends.

use std::fmt::Display;
use std::io::{self, BufWriter, Write};

use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::failure::{Failure, Result};
use crate::text::Form;

pub(crate) enum Outcome {
    Done,
    /// The key is not there.
    Absent,
    /// Something is damaged.
    Damaged,
}

/// How keys, values and figures are told.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// As JSON, one object a line.
    pub(crate) json: bool,
    /// The spelling of keys and values in arguments, and in answers that are not JSON.
    pub(crate) form: Form,
}

/// Runs what writes to stdout. That nobody reads on, as in `kv list | head`, ends it and is no failure.
pub(crate) fn to_stdout(write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush().map_err(Failure::Stdout)) {
        Err(Failure::Stdout(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Writes figures that know their names: as one JSON object, or the text in its place.
pub(crate) fn print_figures(
    shape: Shape,
    figures: &impl Serialize,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let json = |out: &mut dyn Write| {
        serde_json::to_writer(&mut *out, figures)?;
        out.write_all(b"\n")
    };
    to_stdout(|out| {
        let written = if shape.json { json(out) } else { text(out) };
        written.map_err(Failure::Stdout)
    })
}

/// Figures and findings by name, in order.
#[derive(Default)]
pub(crate) struct Answer(Vec<(&'static str, Json)>);

impl Answer {
    pub(crate) fn add(&mut self, name: &'static str, value: impl Into<Json>) {
        self.0.push((name, value.into()));
    }

    /// Any number of findings of one name.
    pub(crate) fn add_all(&mut self, name: &'static str, values: impl IntoIterator<Item: Display>) {
        self.add(name, values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>());
    }

    /// Writes it: one `name value` a line, or one JSON object.
    pub(crate) fn print(&self, shape: Shape) -> Result<()> {
        self.print_or(shape, |out| {
            self.0.iter().try_for_each(|(name, value)| match value {
                Json::Array(values) => {
                    values.iter().try_for_each(|value| writeln!(out, "{name} {}", line(value)))
                }
                value => writeln!(out, "{name} {}", line(value)),
            })
        })
    }

    /// Writes it as one JSON object, or the text in its place.
    pub(crate) fn print_or(
        &self,
        shape: Shape,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        to_stdout(|out| {
            let written = if shape.json { self.json(out) } else { text(out) };
            written.map_err(Failure::Stdout)
        })
    }

    /// Whether the key was there, which only JSON says in words.
    pub(crate) fn of_key(name: &'static str, was_there: bool, shape: Shape) -> Result<Outcome> {
        let mut answer = Answer::default();
        answer.add(name, was_there);
        answer.print_or(shape, |_| Ok(()))?;
        Ok(if was_there { Outcome::Done } else { Outcome::Absent })
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        let members = self.0.iter().map(|(name, value)| (name, value));
        serde_json::Serializer::new(&mut *out).collect_map(members)?;
        out.write_all(b"\n")
    }
}

/// One line, whatever is in a path.
fn line(value: &Json) -> String {
    match value {
        Json::String(text) => text.replace(char::is_control, " "),
        other => other.to_string(),
    }
}
