//! Many keys: which, in their order, and with their values.

use std::io::{self, Write};
use std::ops::Bound;

use zerocask::{Error, Range, Store, Value};

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
    /// Those with the prefix, or those from start to end; of both, what [`Selection::has`] leaves.
    fn within<'a>(&self, store: &'a Store) -> Range<'a> {
        match self.prefix.is_empty() {
            true => {
                let end = self.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                store.range::<&[u8]>((Bound::Included(&self.start[..]), end))
            }
            false => store.prefix(&self.prefix),
        }
    }

    fn has(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix)
            && key >= &self.start[..]
            && self.end.as_deref().is_none_or(|end| key < end)
    }
}

/// Shows each record that is wanted, in the order of their keys. What cannot be read is left out; it is answered why,
/// once.
pub(crate) fn each(
    store: &Store,
    selection: &Selection,
    mut show: impl FnMut(Value, Value) -> Result<()>,
) -> Result<Option<Error>> {
    let (mut unreadable, mut left) = (None, selection.limit.unwrap_or(usize::MAX));
    for pair in selection.within(store) {
        match pair {
            Ok((key, _)) if !selection.has(&key) => {}
            Ok(_) if left == 0 => break,
            Ok((key, value)) => {
                show(key, value)?;
                left -= 1;
            }
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
    records(store, selection, |key, _, out| {
        if shape.json {
            out.write_all(b"{")?;
            jsonl::write_member("key", key, out)?;
            return out.write_all(b"}\n");
        }
        shape.form.write(key, out)?;
        out.write_all(b"\n")
    })
}

/// As [`keys`], with a tab and the value behind each.
pub(crate) fn values(shape: Shape, store: &Store, selection: &Selection) -> Result<Outcome> {
    records(store, selection, |key, value, out| {
        if shape.json {
            return jsonl::write(key, value, None, out);
        }
        shape.form.write(key, out)?;
        out.write_all(b"\t")?;
        shape.form.write(value, out)?;
        out.write_all(b"\n")
    })
}

fn records(
    store: &Store,
    selection: &Selection,
    write: impl Fn(&[u8], &[u8], &mut dyn Write) -> io::Result<()>,
) -> Result<Outcome> {
    let mut unreadable = None;
    to_stdout(|out| {
        unreadable =
            each(store, selection, |key, value| write(&key, &value, out).map_err(Failure::Stdout))?;
        Ok(())
    })?;
    readable(unreadable)?;
    Ok(Outcome::Done)
}

/// Writes how many keys can be read, then fails if there are others.
pub(crate) fn count(shape: Shape, store: &Store, selection: &Selection) -> Result<Outcome> {
    let (count, unreadable) = count_of(store, selection);
    let mut answer = Answer::default();
    answer.add("count", count);
    answer.print_or(shape, |out| writeln!(out, "{count}"))?;
    readable(unreadable)?;
    Ok(Outcome::Done)
}

/// Of the keys that can be read, and why others cannot, once. In no order, which is faster.
fn count_of(store: &Store, selection: &Selection) -> (usize, Option<Error>) {
    let (mut keys, mut count, mut unreadable) = (store.keys(), 0, None);
    while let Some(key) = keys.next_slice() {
        match key {
            Ok(key) => count += usize::from(selection.has(key)),
            Err(error) => unreadable = unreadable.or(Some(error)),
        }
    }
    (count.min(selection.limit.unwrap_or(usize::MAX)), unreadable)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use proptest::prelude::*;
    use tempfile::tempdir;
    use zerocask::{Options, Verify};

    use super::*;

    /// The keys that are shown, and why others are not.
    fn shown(store: &Store, selection: &Selection) -> (Vec<Vec<u8>>, Option<Error>) {
        let mut shown = Vec::new();
        let unreadable = each(store, selection, |key, _| {
            shown.push(key.to_vec());
            Ok(())
        });
        (shown, unreadable.unwrap())
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_told() {
        let dir = tempdir().unwrap();
        let store = Options::new().verify(Verify::Always).open(dir.path()).unwrap();
        for key in ["a", "b", "c"] {
            store.put(key, format!("value of {key}")).unwrap();
        }
        let (keys, unreadable) = shown(&store, &Selection::default());
        assert!(unreadable.is_none() && keys.len() == 3);
        let path = dir.path().join("00000001.data");
        let bytes = fs::read(&path).unwrap();
        let at = bytes.windows(10).position(|bytes| bytes == b"value of b").unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"damage", at as u64).unwrap();

        let (keys, unreadable) = shown(&store, &Selection::default());
        assert!(matches!(unreadable, Some(Error::Corrupt { .. })), "{unreadable:?}");
        assert_eq!(keys, [b"a", b"c"]);
        let (count, unreadable) = count_of(&store, &Selection::default());
        assert!(matches!(unreadable, Some(Error::Corrupt { .. })) && count == 2);
        // Nobody knows whether it would be one of them.
        let selection = Selection { prefix: b"c".to_vec(), limit: Some(1), ..Selection::default() };
        let (keys, unreadable) = shown(&store, &selection);
        assert!(unreadable.is_some() && keys == [b"c"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..Default::default() })]

        #[test]
        fn a_selection_is_what_each_of_its_parts_leaves(
            keys in prop::collection::btree_set(key(), 0..16),
            prefix in key(),
            start in key(),
            end in prop::option::of(key()),
            limit in prop::option::of(0..4_usize),
            ordered: bool,
        ) {
            let dir = tempdir().unwrap();
            let store = Options::new().ordered(ordered).open(dir.path()).unwrap();
            keys.iter().for_each(|key| store.put(key, "value").unwrap());
            let is_wanted = |key: &&Vec<u8>| {
                key.starts_with(&prefix) && **key >= start && end.as_ref().is_none_or(|end| *key < end)
            };
            let wanted = keys.iter().filter(is_wanted).take(limit.unwrap_or(usize::MAX));
            let wanted: Vec<_> = wanted.cloned().collect();
            let selection = Selection { prefix, start, end, limit };
            prop_assert_eq!(count_of(&store, &selection).0, wanted.len());
            prop_assert_eq!(shown(&store, &selection).0, wanted);
        }
    }

    /// Short ones, many of which begin with others.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(&b"ab\xff"[..]), 0..4)
    }
}
