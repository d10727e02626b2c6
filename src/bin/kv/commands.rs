//! The commands on an open store: open it, do one thing, close it.

use std::ffi::OsStr;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use zerocask::record::MAX_VALUE_LEN;
use zerocask::{Options, Stats, Store};

use crate::cli::{Beside, Cli, Command};
use crate::failure::Failure;
use crate::maintenance;

const STDIN: &str = "-";

pub(crate) enum Outcome {
    Done,
    /// The key is not there.
    Absent,
    /// Something is damaged.
    Damaged,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

pub(crate) fn run(cli: &Cli) -> Result<Outcome> {
    match &cli.command {
        Command::Put { key, value } => put(&cli.dir, key.as_bytes(), value),
        Command::Get { key, beside } => {
            reading(&cli.dir, beside, |store| get(store, key.as_bytes()))
        }
        Command::Delete { key } => on_existing(&cli.dir, |store| delete(store, key.as_bytes())),
        Command::Compact => on_existing(&cli.dir, compact),
        Command::Stats(beside) => reading(&cli.dir, beside, stats),
        Command::List(beside) => reading(&cli.dir, beside, list),
        Command::Backup { dest } => on_existing(&cli.dir, |store| maintenance::backup(store, dest)),
        Command::Repair => maintenance::repair(&cli.dir),
        Command::Verify => maintenance::verify(&cli.dir),
    }
}

/// Runs what writes to stdout. That nobody reads on, as in `kv list | head`, is no failure.
pub(crate) fn to_stdout(write: impl FnOnce() -> io::Result<()>) -> Result<()> {
    match write().and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Stdout(error)),
        _ => Ok(()),
    }
}

fn on_existing(dir: &Path, act: impl FnOnce(&Store) -> Result<Outcome>) -> Result<Outcome> {
    on_store(dir, &Options::new().create(false), act)
}

fn reading(
    dir: &Path,
    beside: &Beside,
    act: impl FnOnce(&Store) -> Result<Outcome>,
) -> Result<Outcome> {
    on_store(dir, &Options::new().create(false).read_only(beside.read_only), act)
}

/// Opens the store, acts on it and closes it whatever comes of that.
fn on_store(
    dir: &Path,
    options: &Options,
    act: impl FnOnce(&Store) -> Result<Outcome>,
) -> Result<Outcome> {
    let store = options.open(dir)?;
    tracing::debug!(dir = %dir.display(), found = ?store.recovery_report(), "opened");
    let outcome = act(&store);
    let closed = store.close();
    tracing::debug!(dir = %dir.display(), "closed");
    match (outcome, closed) {
        (outcome, Ok(())) => outcome,
        (Ok(_), Err(error)) => Err(error.into()),
        (Err(failure), Err(source)) => {
            Err(Failure::AndClosing { failure: Box::new(failure), source })
        }
    }
}

fn put(dir: &Path, key: &[u8], value: &OsStr) -> Result<Outcome> {
    // Before the store is opened, so that nobody else waits for what comes.
    let piped = if value == STDIN { Some(read_stdin()?) } else { None };
    let value = piped.as_deref().unwrap_or(value.as_bytes());
    on_store(dir, &Options::new(), |store| {
        store.put(key, value)?;
        Ok(Outcome::Done)
    })
}

fn read_stdin() -> Result<Vec<u8>> {
    let mut value = Vec::new();
    // One byte more than fits is enough for the store to refuse it.
    let limit = (MAX_VALUE_LEN as u64).saturating_add(1);
    io::stdin().lock().take(limit).read_to_end(&mut value).map_err(Failure::Stdin)?;
    Ok(value)
}

fn get(store: &Store, key: &[u8]) -> Result<Outcome> {
    let Some(value) = store.get(key)? else { return Ok(Outcome::Absent) };
    to_stdout(|| io::stdout().write_all(&value))?;
    Ok(Outcome::Done)
}

fn delete(store: &Store, key: &[u8]) -> Result<Outcome> {
    let was_there = store.delete(key)?;
    Ok(if was_there { Outcome::Done } else { Outcome::Absent })
}

fn compact(store: &Store) -> Result<Outcome> {
    let report = store.compact()?;
    for path in &report.segments_kept {
        tracing::warn!(path = %path.display(), "holds damage: kept as it is, not compacted");
    }
    to_stdout(|| {
        let mut out = io::stdout().lock();
        writeln!(out, "records {} -> {}", report.records_before, report.records_after)?;
        writeln!(out, "bytes {} -> {}", report.bytes_before, report.bytes_after)?;
        writeln!(out, "segments removed {}", report.segments_removed)
    })?;
    Ok(Outcome::Done)
}

fn stats(store: &Store) -> Result<Outcome> {
    let figures = figures(&store.stats());
    let width = figures.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    to_stdout(|| {
        let mut out = io::stdout().lock();
        figures.iter().try_for_each(|(name, value)| writeln!(out, "{name:width$} {value}"))
    })?;
    Ok(Outcome::Done)
}

fn figures(stats: &Stats) -> [(&'static str, u64); 9] {
    [
        ("keys", stats.keys as u64),
        ("segments", stats.segments as u64),
        ("bytes", stats.bytes),
        ("dead_bytes", stats.dead_bytes),
        ("buffered_bytes", stats.buffered_bytes),
        ("unsynced_bytes", stats.unsynced_bytes),
        ("key_directory_bytes", stats.key_directory_bytes as u64),
        ("pinned_segments", stats.pinned_segments as u64),
        ("pinned_bytes", stats.pinned_bytes),
    ]
}

/// Writes the keys that can be read, then fails if there are others.
fn list(store: &Store) -> Result<Outcome> {
    let (mut keys, mut unreadable) = (Vec::new(), None);
    for key in store.keys() {
        match key {
            Ok(key) => keys.push(key),
            Err(error) => unreadable = unreadable.or(Some(error)),
        }
    }
    keys.sort_unstable_by(|a, b| a[..].cmp(&b[..]));
    to_stdout(|| {
        let mut out = BufWriter::new(io::stdout().lock());
        for key in &keys {
            out.write_all(key)?;
            out.write_all(b"\n")?;
        }
        out.flush()
    })?;
    unreadable.map_or(Ok(Outcome::Done), |error| Err(error.into()))
}
