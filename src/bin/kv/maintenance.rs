//! The commands about a store as a whole and its files. What they find goes to stdout, one `name value` a line.

use std::path::Path;

use zerocask::Store;

use crate::answer::{self, Answer, Outcome, Shape};
use crate::failure::Result;
use crate::progress::{Measure, with_bar};

pub(crate) fn stats(shape: Shape, store: &Store, all: bool) -> Result<Outcome> {
    let stats = store.stats();
    answer::print_figures(shape, &stats, |out| {
        if all { write!(out, "{stats:#}") } else { write!(out, "{stats}") }
    })?;
    Ok(Outcome::Done)
}

pub(crate) fn compact(shape: Shape, store: &Store) -> Result<Outcome> {
    let report = store.compact()?;
    for path in &report.segments_kept {
        tracing::warn!(path = %path.display(), "holds damage: kept as it is, not compacted");
    }
    let mut answer = Answer::default();
    answer.add("records_before", report.records_before);
    answer.add("records_after", report.records_after);
    answer.add("bytes_before", report.bytes_before);
    answer.add("bytes_after", report.bytes_after);
    answer.add("segments_removed", report.segments_removed);
    answer.add_all("segments_kept", report.segments_kept.iter().map(|path| path.display()));
    answer.print_or(shape, |out| {
        writeln!(out, "records {} -> {}", report.records_before, report.records_after)?;
        writeln!(out, "bytes {} -> {}", report.bytes_before, report.bytes_after)?;
        writeln!(out, "segments removed {}", report.segments_removed)
    })?;
    Ok(Outcome::Done)
}

pub(crate) fn backup(shape: Shape, store: &Store, dest: &Path) -> Result<Outcome> {
    let report = with_bar("backing up", Measure::Bytes, |told| store.backup(dest, told))?;
    let mut answer = Answer::default();
    answer.add("segments", report.segments);
    answer.add("bytes", report.bytes);
    answer.add("unchanged", report.unchanged);
    answer.add("linked", report.linked);
    answer.add("copied", report.copied);
    answer.add("removed", report.removed);
    answer.print(shape)?;
    Ok(Outcome::Done)
}

pub(crate) fn repair(shape: Shape, dir: &Path) -> Result<Outcome> {
    let report = with_bar("repairing", Measure::Bytes, |told| zerocask::repair(dir, told))?;
    let mut answer = Answer::default();
    answer.add("faults", report.damage.len());
    answer.add("salvaged_records", report.salvaged_records);
    answer.add("manifest_rebuilt", report.manifest_rebuilt);
    let recovery = &report.recovery;
    answer.add("unapplied_batch_records", recovery.unapplied_batch_records);
    answer.add_all("damage", &report.damage);
    let (stale, lost): (Vec<_>, Vec<_>) = report.lost.iter().partition(|lost| lost.stale);
    answer.add_all("stale", stale);
    answer.add_all("lost", lost);
    answer.add_all("gone", &report.gone);
    answer.add_all("set_aside", report.set_aside.iter().map(|path| path.display()));
    answer.add_all("cut", &recovery.cuts);
    answer.add_all("removed", recovery.removed.iter().map(|path| path.display()));
    answer.print(shape)?;
    Ok(if report.is_whole() { Outcome::Done } else { Outcome::Damaged })
}

pub(crate) fn verify(shape: Shape, dir: &Path) -> Result<Outcome> {
    let report = with_bar("verifying", Measure::Bytes, |told| zerocask::verify(dir, told))?;
    let mut answer = Answer::default();
    answer.add("segments", report.segments);
    answer.add("records", report.records);
    answer.add("bytes", report.bytes);
    answer.add("unapplied_batch_records", report.unapplied_batch_records);
    answer.add_all("damage", &report.damage);
    answer.add_all("torn", &report.torn);
    answer.add_all("leftover", report.leftovers.iter().map(|path| path.display()));
    answer.add_all("set_aside", report.set_aside.iter().map(|path| path.display()));
    answer.add_all("foreign", report.foreign.iter().map(|path| path.display()));
    answer.print(shape)?;
    Ok(if report.is_clean() { Outcome::Done } else { Outcome::Damaged })
}
