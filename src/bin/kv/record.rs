//! The commands on one key.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use zerocask::Store;
use zerocask::record::MAX_VALUE_LEN;

use crate::answer::{Answer, Outcome, Shape, to_stdout};
use crate::failure::{Failure, Result};
use crate::formats::{STDIO, jsonl};
use crate::opening::{any, on_store};
use crate::text::Form;

/// The bytes of an argument.
pub(crate) fn bytes(what: &'static str, text: &OsStr, form: Form) -> Result<Vec<u8>> {
    read(what, text.as_bytes(), form).map(Cow::into_owned)
}

fn read<'a>(what: &'static str, text: &'a [u8], form: Form) -> Result<Cow<'a, [u8]>> {
    form.read(text).map_err(|fault| Failure::Misspelt { what, form, fault })
}

pub(crate) fn put(
    shape: Shape,
    dir: &Path,
    key: &[u8],
    value: &OsStr,
    ttl: Option<Duration>,
) -> Result<Outcome> {
    // Before the store is opened, so that nobody else waits for what comes.
    let piped = if value == STDIO { Some(read_stdin(shape.form)?) } else { None };
    let value = read("value", piped.as_deref().unwrap_or(value.as_bytes()), shape.form)?;
    on_store(dir, &any(), |store| match ttl {
        None => Ok(store.put(key, &value)?),
        Some(ttl) => Ok(store.put_with_ttl(key, &value, ttl)?),
    })?;
    if shape.json {
        let mut answer = Answer::default();
        answer.add("stored", !value.is_empty());
        answer.print(shape)?;
    }
    Ok(Outcome::Done)
}

fn read_stdin(form: Form) -> Result<Vec<u8>> {
    let mut value = Vec::new();
    // One byte more than fits is enough for the store to refuse it; of a byte there are four at most.
    let times = if form == Form::Raw { 1 } else { 4 };
    let limit = (MAX_VALUE_LEN as u64).saturating_add(1).saturating_mul(times);
    io::stdin().lock().take(limit).read_to_end(&mut value).map_err(Failure::Stdin)?;
    if form != Form::Raw && value.last() == Some(&b'\n') {
        value.pop();
    }
    Ok(value)
}

pub(crate) fn get(shape: Shape, store: &Store, key: &[u8]) -> Result<Outcome> {
    let value = store.get(key)?;
    let write = |out: &mut dyn Write| match &value {
        Some(value) if shape.json => jsonl::write(key, value, None, out),
        None if shape.json => {
            out.write_all(b"{")?;
            jsonl::write_member("key", key, out)?;
            out.write_all(b",\"value\":null}\n")
        }
        Some(value) => {
            shape.form.write(value, out)?;
            // In any other form it is a line.
            if shape.form == Form::Raw { Ok(()) } else { out.write_all(b"\n") }
        }
        None => Ok(()),
    };
    to_stdout(|out| write(out).map_err(Failure::Stdout))?;
    Ok(if value.is_some() { Outcome::Done } else { Outcome::Absent })
}

pub(crate) fn delete(shape: Shape, store: &Store, key: &[u8]) -> Result<Outcome> {
    Answer::of_key("deleted", store.delete(key)?, shape)
}
