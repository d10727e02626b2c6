//! `kv export`: all records of a store as lines or a tree.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use zerocask::{Error, Store};

use crate::answer::{Answer, Outcome, Shape, to_stdout};
use crate::expiry;
use crate::failure::{Failure, Result};
use crate::formats::{Format, LineFormat, STDIO, tree};
use crate::nested::lies_in;
use crate::progress::{Measure, progress, with_bar};
use crate::scan::{self, Selection};

pub(crate) fn export(
    shape: Shape,
    store: &Store,
    dest: &OsStr,
    format: Option<Format>,
) -> Result<Outcome> {
    let format = match Format::of(format, dest)? {
        Format::Jsonl => LineFormat::Jsonl,
        Format::Tsv => LineFormat::Tsv,
        Format::Tree => return to_tree(shape, store, Path::new(dest)),
    };
    if dest == STDIO { lines(store, format) } else { to_file(shape, store, dest.as_ref(), format) }
}

/// What has been written.
#[derive(Default)]
struct Written {
    records: u64,
    /// Of keys and values.
    bytes: u64,
    /// Why that is not all.
    unreadable: Option<Error>,
}

impl Written {
    fn answer(self, shape: Shape) -> Result<Outcome> {
        let mut answer = Answer::default();
        answer.add("records", self.records);
        answer.add("bytes", self.bytes);
        answer.print(shape)?;
        self.end()
    }

    fn end(self) -> Result<Outcome> {
        scan::readable(self.unreadable)?;
        Ok(Outcome::Done)
    }
}

/// Hands each record on with when it expires, under a bar unless that would stand among what is written.
fn each(
    store: &Store,
    bar: bool,
    mut write: impl FnMut(&[u8], &[u8], Option<u64>) -> Result<()>,
) -> Result<Written> {
    let (mut written, total) = (Written::default(), store.len() as u64);
    let mut count = |key: &[u8], value: &[u8]| {
        // It may have expired since it was found.
        if let Some(expiry) = store.expires_at(key)? {
            write(key, value, expiry::micros(expiry))?;
            written.records += 1;
            written.bytes += (key.len() + value.len()) as u64;
        }
        Ok(written.records)
    };
    let all = Selection::default();
    let unreadable = match bar {
        false => scan::each(store, &all, |key, value| count(&key, &value).map(|_| ())),
        true => with_bar("exporting", Measure::Records, |told| {
            scan::each(store, &all, |key, value| {
                let _ = told(progress(count(&key, &value)?, total));
                Ok(())
            })
        }),
    };
    Ok(Written { unreadable: unreadable?, ..written })
}

fn lines(store: &Store, format: LineFormat) -> Result<Outcome> {
    let mut written = Written::default();
    let bar = !io::stdout().is_terminal();
    to_stdout(|out| {
        written = each(store, bar, |key, value, expires_at| {
            format.write(key, value, expires_at, out).map_err(Failure::Stdout)
        })?;
        Ok(())
    })?;
    written.end()
}

fn to_file(shape: Shape, store: &Store, path: &Path, format: LineFormat) -> Result<Outcome> {
    outside(store, path)?;
    let mut out = BufWriter::new(File::create_new(path).map_err(Failure::write(path))?);
    let written = each(store, true, |key, value, expires_at| {
        format.write(key, value, expires_at, &mut out).map_err(|error| Failure::write(path)(error))
    });
    let written = written.and_then(|written| match out.flush() {
        Ok(()) => Ok(written),
        Err(error) => Err(Failure::write(path)(error)),
    });
    if written.is_err() {
        // It would look like a whole one. What made it fail is told.
        let _ = fs::remove_file(path);
    }
    written?.answer(shape)
}

fn to_tree(shape: Shape, store: &Store, root: &Path) -> Result<Outcome> {
    outside(store, root)?;
    // What a key's file is called depends on the others. What cannot be read is told when they are written.
    let mut keys = Vec::new();
    scan::each(store, &Selection::default(), |key, _| {
        keys.push(key);
        Ok(())
    })?;
    let mut tree = tree::Writer::new(root, &keys)?;
    each(store, true, |key, value, _| tree.write(key, value))?.answer(shape)
}

fn outside(store: &Store, path: &Path) -> Result<()> {
    if !lies_in(path, store.path()) {
        return Ok(());
    }
    let why = "lies in the store".into();
    Err(Failure::Refused { path: path.to_path_buf(), why })
}
