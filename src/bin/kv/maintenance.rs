//! The commands that look after a store's files. What they find goes to stdout, one `name value` a line.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use zerocask::Store;

use crate::commands::{Outcome, Result, to_stdout};
use crate::progress::with_bar;

/// The lines of an answer, in order.
#[derive(Default)]
struct Lines(Vec<(&'static str, String)>);

impl Lines {
    fn add(&mut self, name: &'static str, value: impl Display) {
        // One line each, whatever is in a path.
        self.0.push((name, value.to_string().replace(char::is_control, " ")));
    }

    fn add_all(&mut self, name: &'static str, values: impl IntoIterator<Item: Display>) {
        values.into_iter().for_each(|value| self.add(name, value));
    }

    fn print(&self) -> Result<()> {
        to_stdout(|| {
            let mut out = io::stdout().lock();
            self.0.iter().try_for_each(|(name, value)| writeln!(out, "{name} {value}"))
        })
    }
}

pub(crate) fn backup(store: &Store, dest: &Path) -> Result<Outcome> {
    let report = with_bar("backing up", |told| store.backup(dest, told))?;
    let mut lines = Lines::default();
    lines.add("segments", report.segments);
    lines.add("bytes", report.bytes);
    lines.add("unchanged", report.unchanged);
    lines.add("linked", report.linked);
    lines.add("copied", report.copied);
    lines.add("removed", report.removed);
    lines.print()?;
    Ok(Outcome::Done)
}

pub(crate) fn repair(dir: &Path) -> Result<Outcome> {
    let report = with_bar("repairing", |told| zerocask::repair(dir, told))?;
    let mut lines = Lines::default();
    lines.add("faults", report.damage.len());
    lines.add("salvaged_records", report.salvaged_records);
    lines.add_all("damage", &report.damage);
    for lost in &report.lost {
        lines.add(if lost.stale { "stale" } else { "lost" }, lost);
    }
    lines.add_all("gone", &report.gone);
    lines.add_all("set_aside", report.set_aside.iter().map(|path| path.display()));
    lines.print()?;
    Ok(if report.is_whole() { Outcome::Done } else { Outcome::Damaged })
}

pub(crate) fn verify(dir: &Path) -> Result<Outcome> {
    let report = with_bar("verifying", |told| zerocask::verify(dir, told))?;
    let mut lines = Lines::default();
    lines.add("segments", report.segments);
    lines.add("records", report.records);
    lines.add("bytes", report.bytes);
    lines.add("unapplied_batch_records", report.unapplied_batch_records);
    lines.add_all("damage", &report.damage);
    lines.add_all("torn", &report.torn);
    lines.add_all("leftover", report.leftovers.iter().map(|path| path.display()));
    lines.add_all("set_aside", report.set_aside.iter().map(|path| path.display()));
    lines.add_all("foreign", report.foreign.iter().map(|path| path.display()));
    lines.print()?;
    Ok(if report.is_clean() { Outcome::Done } else { Outcome::Damaged })
}
