//! Many keys: which, in their order, and with their values.

use std::io::Write;

use zerocask::{Error, Store, Value};

use crate::answer::{Answer, Outcome, Shape, to_stdout};
use crate::failure::{Failure, Result};
use crate::formats::jsonl;

/// Which keys: all, unless something is said.
#[derive(Default)]
pub(crate) struct Selection {
    pub(crate) prefix: Vec<u8>,
    /// The first.
    pub(crate) start: Vec<u8>,
    /// The first that is none.
    pub(crate) end: Option<Vec<u8>>,
    /// How many at the most.
    pub(crate) limit: Option<usize>,
}

impl Selection {
    fn has(&self, key: &[u8]) -> bool {
        let is_before_end = self.end.as_deref().is_none_or(|end| key < end);
        key.starts_with(&self.prefix) && key >= &self.start[..] && is_before_end
    }
}

/// Keys in the order of their bytes.
pub(crate) struct Selected {
    pub(crate) keys: Vec<Value>,
    /// Why there may be others, if there is a key that cannot be read.
    pub(crate) unreadable: Option<Error>,
}

/// The keys of a store that are wanted.
pub(crate) fn select(store: &Store, selection: &Selection) -> Selected {
    let (mut keys, mut unreadable) = (Vec::new(), None);
    for key in store.keys() {
        match key {
            Ok(key) if selection.has(&key) => keys.push(key),
            Ok(_) => {}
            Err(error) => unreadable = unreadable.or(Some(error)),
        }
    }
    keys.sort_unstable_by(|a, b| a[..].cmp(&b[..]));
    keys.truncate(selection.limit.unwrap_or(usize::MAX));
    Selected { keys, unreadable }
}

/// Shows each of the keys and its value. What cannot be read is left out; it is answered why, once.
pub(crate) fn each(
    store: &Store,
    keys: &[Value],
    mut show: impl FnMut(&[u8], &[u8]) -> Result<()>,
) -> Result<Option<Error>> {
    let mut unreadable = None;
    for key in keys {
        match store.get(key) {
            Ok(Some(value)) => show(key, &value)?,
            // It has expired since.
            Ok(None) => {}
            Err(error) => unreadable = unreadable.or(Some(error)),
        }
    }
    Ok(unreadable)
}

/// Fails if something could not be read.
pub(crate) fn readable(unreadable: Option<Error>) -> Result<()> {
    unreadable.map_or(Ok(()), |error| Err(error.into()))
}

/// Writes the keys that can be read, then fails if there are others.
pub(crate) fn keys(shape: Shape, store: &Store, selection: &Selection) -> Result<Outcome> {
    let Selected { keys, unreadable } = select(store, selection);
    let write = |key: &[u8], out: &mut dyn Write| {
        if shape.json {
            out.write_all(b"{")?;
            jsonl::write_member("key", key, out)?;
            return out.write_all(b"}\n");
        }
        shape.form.write(key, out)?;
        out.write_all(b"\n")
    };
    to_stdout(|out| keys.iter().try_for_each(|key| write(key, out).map_err(Failure::Stdout)))?;
    readable(unreadable)?;
    Ok(Outcome::Done)
}

/// As [`keys`], with a tab and the value behind each.
pub(crate) fn values(shape: Shape, store: &Store, selection: &Selection) -> Result<Outcome> {
    let Selected { keys, mut unreadable } = select(store, selection);
    let write = |key: &[u8], value: &[u8], out: &mut dyn Write| {
        if shape.json {
            return jsonl::write(key, value, out);
        }
        shape.form.write(key, out)?;
        out.write_all(b"\t")?;
        shape.form.write(value, out)?;
        out.write_all(b"\n")
    };
    to_stdout(|out| {
        let found =
            each(store, &keys, |key, value| write(key, value, out).map_err(Failure::Stdout))?;
        unreadable = unreadable.take().or(found);
        Ok(())
    })?;
    readable(unreadable)?;
    Ok(Outcome::Done)
}

/// Writes how many keys can be read, then fails if there are others.
pub(crate) fn count(shape: Shape, store: &Store, selection: &Selection) -> Result<Outcome> {
    let Selected { keys, unreadable } = select(store, selection);
    let mut answer = Answer::default();
    answer.add("count", keys.len());
    answer.print_or(shape, |out| writeln!(out, "{}", keys.len()))?;
    readable(unreadable)?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use tempfile::tempdir;
    use zerocask::{Options, Verify};

    use super::*;

    #[test]
    fn a_value_that_cannot_be_read_is_left_out_and_told() {
        let dir = tempdir().unwrap();
        let store = Options::new().verify(Verify::Always).open(dir.path()).unwrap();
        for key in ["a", "b", "c"] {
            store.put(key, format!("value of {key}")).unwrap();
        }
        let Selected { keys, unreadable } = select(&store, &Selection::default());
        assert!(unreadable.is_none() && keys.len() == 3);
        let path = dir.path().join("00000001.data");
        let bytes = fs::read(&path).unwrap();
        let at = bytes.windows(10).position(|bytes| bytes == b"value of b").unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"damage", at as u64).unwrap();

        let mut shown = Vec::new();
        let show = |key: &[u8], _: &[u8]| {
            shown.push(key.to_vec());
            Ok(())
        };
        let unreadable = each(&store, &keys, show).unwrap();
        assert!(matches!(unreadable, Some(Error::Corrupt { .. })), "{unreadable:?}");
        assert_eq!(shown, [b"a", b"c"]);
    }
}
