//! The formats of import and export.

pub(crate) mod jsonl;
pub(crate) mod tree;
pub(crate) mod tsv;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::ValueEnum;

use crate::failure::{Failure, Result};
use crate::fault::Fault;

/// Stands for stdin or stdout.
pub(crate) const STDIO: &str = "-";

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// JSON Lines
    Jsonl,
    /// Two columns with escapes
    Tsv,
    /// A directory tree, a file for each value
    Tree,
}

impl Format {
    /// The one that is asked for, or else what the name tells.
    pub(crate) fn of(asked: Option<Format>, name: &OsStr) -> Result<Format> {
        if name == STDIO {
            return match asked.unwrap_or(Format::Jsonl) {
                Format::Tree => Err(Failure::Usage("a tree needs a directory, not -".into())),
                format => Ok(format),
            };
        }
        let path = Path::new(name);
        let extension = path.extension().map(OsStr::as_bytes);
        match (asked, extension) {
            (Some(format), _) => Ok(format),
            _ if name.as_bytes().ends_with(b"/") || path.is_dir() => Ok(Format::Tree),
            (_, Some(b"jsonl" | b"ndjson")) => Ok(Format::Jsonl),
            (_, Some(b"tsv")) => Ok(Format::Tsv),
            _ => {
                let path = path.display();
                Err(Failure::Usage(format!("{path} does not tell its format; give --format")))
            }
        }
    }
}

/// A format that has a line for each record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LineFormat {
    Jsonl,
    Tsv,
}

/// What a line holds.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) key: Cow<'a, [u8]>,
    pub(crate) value: Cow<'a, [u8]>,
    /// When it expires, in microseconds since the Unix epoch.
    pub(crate) expires_at: Option<u64>,
}

impl LineFormat {
    /// Writes a record as a line with its newline, and when it expires, if the format has a place for that.
    pub(crate) fn write<W: Write + ?Sized>(
        self,
        key: &[u8],
        value: &[u8],
        expires_at: Option<u64>,
        out: &mut W,
    ) -> io::Result<()> {
        match self {
            LineFormat::Jsonl => jsonl::write(key, value, expires_at, out),
            LineFormat::Tsv => tsv::write(key, value, out),
        }
    }

    /// The record of a line, with its newline if it has one.
    pub(crate) fn read(self, line: &[u8]) -> std::result::Result<Record<'_>, Fault> {
        match self {
            LineFormat::Jsonl => jsonl::read(line),
            LineFormat::Tsv => tsv::read(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_line_gives_back_its_record(
            key in crate::tests::bytes(),
            value in crate::tests::bytes(),
            expires_at: Option<u64>,
        ) {
            for format in [LineFormat::Jsonl, LineFormat::Tsv] {
                let mut line = Vec::new();
                format.write(&key, &value, expires_at, &mut line).unwrap();
                let text = std::str::from_utf8(&line).unwrap();
                prop_assert!(text.strip_suffix('\n').is_some_and(|text| !text.contains('\n')));
                let read = format.read(&line).unwrap();
                prop_assert_eq!((&*read.key, &*read.value), (&key[..], &value[..]));
                let kept = if matches!(format, LineFormat::Jsonl) { expires_at } else { None };
                prop_assert_eq!(read.expires_at, kept);
            }
        }

        #[test]
        fn a_line_is_a_record_or_a_fault_within_it(line in crate::tests::bytes()) {
            for format in [LineFormat::Jsonl, LineFormat::Tsv] {
                if let Err(fault) = format.read(&line) {
                    prop_assert!(fault.at <= line.len());
                }
            }
        }
    }
}
