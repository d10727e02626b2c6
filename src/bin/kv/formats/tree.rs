//! A directory tree: each file is a value, and its path below the directory is the key.
//!
//! The parts of the key between its `/`s are the names, but for what cannot be one. In a name
//!
//! - `%25` is a `%` and `%00` a zero byte; `%2E` alone is `.`, and `%2E%2E` is `..`,
//! - `%` alone is an empty part,
//! - a `%` added to a file's name tells the value of `a` from the directory with the values of `a/…`.
//!
//! A name that is spelt in any other way is refused, so that no two files are the same key.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zerocask::record::MAX_VALUE_LEN;

use crate::failure::{Failure, Result};
use crate::text::hex;

/// The most bytes that a name can have in the usual file systems.
const MAX_NAME_LEN: usize = 255;

/// Added to the name of a file that has the name of a directory.
const MARK: u8 = b'%';

const EMPTY: &[u8] = b"%";

/// The name of a part of a key.
fn name(part: &[u8]) -> Cow<'_, [u8]> {
    match part {
        b"" => Cow::Borrowed(EMPTY),
        b"." => Cow::Borrowed(b"%2E"),
        b".." => Cow::Borrowed(b"%2E%2E"),
        part if part.iter().all(|byte| !matches!(byte, b'%' | 0)) => Cow::Borrowed(part),
        part => {
            let mut name = Vec::with_capacity(part.len() + 2);
            for byte in part {
                match byte {
                    b'%' => name.extend_from_slice(b"%25"),
                    0 => name.extend_from_slice(b"%00"),
                    byte => name.push(*byte),
                }
            }
            Cow::Owned(name)
        }
    }
}

/// The part of a key that a name stands for; none if no part has that name.
fn part(name_of_part: &[u8]) -> Option<Vec<u8>> {
    let mut part = Vec::with_capacity(name_of_part.len());
    let mut rest = if name_of_part == EMPTY { &[] } else { name_of_part };
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'%' {
            part.push(*byte);
            continue;
        }
        let [high, low, behind @ ..] = rest else { return None };
        part.push(hex(*high, *low)?);
        rest = behind;
    }
    (name(&part) == name_of_part).then_some(part)
}

/// The names of a key's directories, and last that of its file.
fn names(key: &[u8], is_directory_too: bool) -> Result<Vec<Cow<'_, [u8]>>> {
    let mut names: Vec<_> = key.split(|byte| *byte == b'/').map(name).collect();
    if let (Some(file), true) = (names.last_mut(), is_directory_too) {
        file.to_mut().push(MARK);
    }
    if names.iter().any(|name| name.len() > MAX_NAME_LEN) {
        let source = io::Error::from(io::ErrorKind::InvalidFilename);
        return Err(Failure::OfKey { key: key.to_vec(), source });
    }
    Ok(names)
}

/// Whether one of the keys, which are sorted, needs a directory with the name of `key`.
fn is_directory<K: AsRef<[u8]>>(key: &[u8], keys: &[K]) -> bool {
    let mut beginning = key.to_vec();
    beginning.push(b'/');
    let at = keys.partition_point(|key| key.as_ref() < &beginning[..]);
    keys.get(at).is_some_and(|key| key.as_ref().starts_with(&beginning))
}

/// A tree that is being written: in a directory that was empty, into directories that were made for it. So no
/// link is ever followed, and what another file system takes for the same name is found.
pub(crate) struct Writer<'a, K> {
    root: PathBuf,
    keys: &'a [K],
    /// The directories, below the root, of the last key.
    open: Vec<Vec<u8>>,
}

impl<'a, K: AsRef<[u8]>> Writer<'a, K> {
    /// For these keys, sorted: in a directory that is empty, or will be made.
    pub(crate) fn new(root: &Path, keys: &'a [K]) -> Result<Self> {
        for key in keys {
            let key = key.as_ref();
            names(key, is_directory(key, keys))?;
        }
        fs::create_dir_all(root).map_err(Failure::write(root))?;
        let mut entries = fs::read_dir(root).map_err(Failure::write(root))?;
        if entries.next().is_some() {
            let why = "holds something: a tree is written to an empty or a new directory";
            return Err(Failure::Refused { path: root.to_path_buf(), why: why.into() });
        }
        Ok(Writer { root: root.to_path_buf(), keys, open: Vec::new() })
    }

    /// Writes the value of one of the keys; they have to come in their order.
    pub(crate) fn write(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let names = names(key, is_directory(key, self.keys))?;
        let (file, directories) = names.split_last().unwrap_or((&Cow::Borrowed(EMPTY), &[]));
        let cannot = |source| Failure::OfKey { key: key.to_vec(), source };
        let same = directories.iter().zip(&self.open).take_while(|(a, b)| a[..] == b[..]).count();
        self.open.truncate(same);
        let mut path = self.root.clone();
        path.extend(self.open.iter().map(|name| OsStr::from_bytes(name)));
        for name in &directories[same..] {
            path.push(OsStr::from_bytes(name));
            fs::create_dir(&path).map_err(cannot)?;
            self.open.push(name.to_vec());
        }
        path.push(OsStr::from_bytes(file));
        File::create_new(&path).and_then(|mut file| file.write_all(value)).map_err(cannot)
    }
}

/// A file of a tree.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) key: Vec<u8>,
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
}

impl Leaf {
    /// The value: the file's bytes, or one more than a value can have.
    pub(crate) fn read(&self) -> Result<Vec<u8>> {
        let mut options = OpenOptions::new();
        // What has become something else meanwhile is neither followed nor waited for.
        options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(&self.path).map_err(Failure::read(&self.path))?;
        let found = file.metadata().map_err(Failure::read(&self.path))?;
        if !found.is_file() {
            let why = "is no regular file".into();
            return Err(Failure::Refused { path: self.path.clone(), why });
        }
        let mut value = Vec::new();
        let limit = (MAX_VALUE_LEN as u64).saturating_add(1);
        file.take(limit).read_to_end(&mut value).map_err(Failure::read(&self.path))?;
        Ok(value)
    }
}

/// The files of a tree in the order of their keys, and what is neither file nor directory. Follows no link
/// below the root.
pub(crate) fn walk(root: &Path) -> Result<(Vec<Leaf>, Vec<PathBuf>)> {
    let (mut leaves, mut others) = (Vec::new(), Vec::new());
    // Directories that are still to be read, and what the keys below them begin with.
    let mut ahead = vec![(root.to_path_buf(), Vec::new())];
    while let Some((directory, beginning)) = ahead.pop() {
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&directory).map_err(Failure::read(&directory))? {
            let entry = entry.map_err(Failure::read(&directory))?;
            let kind = entry.file_type().map_err(Failure::read(entry.path()))?;
            match (kind.is_file(), kind.is_dir()) {
                (true, _) => files.push(entry),
                (_, true) => directories.push(entry.file_name()),
                _ => others.push(entry.path()),
            }
        }
        directories.sort_unstable();
        for entry in files {
            let (path, name) = (entry.path(), entry.file_name().into_vec());
            let unmarked = name.strip_suffix(&[MARK]);
            let name = match unmarked {
                Some(unmarked) if holds(&directories, unmarked) => unmarked,
                _ => &name,
            };
            let len = entry.metadata().map_err(Failure::read(&path))?.len();
            leaves.push(Leaf { key: below(&beginning, &path, name)?, path, len });
        }
        for name in directories {
            let path = directory.join(&name);
            let mut beginning = below(&beginning, &path, name.as_bytes())?;
            beginning.push(b'/');
            ahead.push((path, beginning));
        }
    }
    leaves.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    others.sort_unstable();
    Ok((leaves, others))
}

fn holds(sorted: &[OsString], name: &[u8]) -> bool {
    sorted.binary_search_by(|found| found.as_bytes().cmp(name)).is_ok()
}

fn below(beginning: &[u8], path: &Path, name: &[u8]) -> Result<Vec<u8>> {
    let Some(part) = part(name) else {
        let why = "is the name of no key: a % has to be written %25".into();
        return Err(Failure::Refused { path: path.to_path_buf(), why });
    };
    Ok([beginning, &part].concat())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use tempfile::tempdir;

    use super::*;

    /// Keys that meet each other: few bytes, and those that mean something here.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(&b"ab/.%02E\0\xff\n"[..]), 0..8)
    }

    fn write(root: &Path, records: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<()> {
        let keys: Vec<_> = records.keys().cloned().collect();
        let mut tree = Writer::new(root, &keys)?;
        records.iter().try_for_each(|(key, value)| tree.write(key, value))
    }

    fn read(root: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let (leaves, others) = walk(root)?;
        assert_eq!(others, Vec::<PathBuf>::new());
        let records: BTreeMap<_, _> =
            leaves.iter().map(|leaf| (leaf.key.clone(), leaf.read().unwrap())).collect();
        assert_eq!(records.len(), leaves.len(), "two files of one key");
        Ok(records)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_tree_gives_back_its_records_and_stays_below_its_root(
            records in prop::collection::btree_map(key(), crate::tests::bytes(), 0..12),
        ) {
            let parent = tempdir().unwrap();
            let root = parent.path().join("tree");
            write(&root, &records).unwrap();
            prop_assert_eq!(read(&root).unwrap(), records);
            prop_assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
        }
    }

    proptest! {
        /// Whatever a tree holds: each file is another key, or the tree is refused.
        #[test]
        fn no_two_names_are_one_part(a in key(), b in key()) {
            if let (Some(part_a), Some(part_b)) = (part(&a), part(&b)) {
                prop_assert_eq!(part_a == part_b, a == b);
            }
            let part_of_key: Vec<_> = a.split(|byte| *byte == b'/').collect();
            for found in part_of_key {
                prop_assert_eq!(&part(&name(found)).unwrap()[..], found);
                prop_assert!(!matches!(&name(found)[..], b"" | b"." | b".."));
            }
        }
    }

    #[test]
    fn names_are_those_that_are_told() {
        let dir = tempdir().unwrap();
        let root = dir.path().join("tree");
        let keys = ["", "/", "/a", "a", "a/b", "a//b", "../x", "./y", "100%", "n\0", "a%/b", "a%"];
        let records = keys.iter().map(|key| (key.as_bytes().to_vec(), b"v".to_vec())).collect();
        write(&root, &records).unwrap();
        let (leaves, _) = walk(&root).unwrap();
        let names: BTreeSet<_> =
            leaves.iter().map(|leaf| leaf.path.strip_prefix(&root).unwrap()).collect();
        let expected = [
            "%%", "%/%", "%/a", "a%", "a/b", "a/%/b", "%2E%2E/x", "%2E/y", "100%25", "n%00",
            "a%25/b", "a%25%",
        ];
        assert_eq!(names, expected.iter().map(Path::new).collect());
    }

    #[test]
    fn names_that_no_key_has_are_refused_by_name() {
        for name in ["100%", "a%2Fb", "%41", "%zz", "a%2e", "%2E%2e", "%%", "%2Ea", "%0"] {
            let dir = tempdir().unwrap();
            fs::write(dir.path().join(name), "").unwrap();
            let line = walk(dir.path()).unwrap_err().line();
            assert!(line.contains(&format!("/{name} is the name of no key")), "{line}");
        }
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("a%"), "value").unwrap();
        assert!(walk(dir.path()).is_err(), "no directory has that name");
        fs::create_dir(dir.path().join("a")).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [(b"a".to_vec(), b"value".to_vec())].into());
    }

    #[test]
    fn a_key_that_is_too_long_for_a_name_is_named_before_anything_is_made() {
        let parent = tempdir().unwrap();
        let root = parent.path().join("tree");
        for (key, fits) in
            [("k".repeat(255), true), ("k".repeat(256), false), ("%".repeat(86), false)]
        {
            let records = [(b"a".to_vec(), vec![]), (key.clone().into_bytes(), vec![])].into();
            match write(&root, &records) {
                Ok(()) => assert!(fits),
                Err(failure) => assert!(!fits && failure.line().contains(&key), "{failure}"),
            }
            assert_eq!(root.exists(), fits);
            if fits {
                fs::remove_dir_all(&root).unwrap();
            }
        }
    }

    /// It may have become something else since the tree was looked through.
    #[test]
    fn a_leaf_that_is_no_file_is_neither_followed_nor_waited_for() {
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("outside"), "secret").unwrap();
        std::os::unix::fs::symlink("outside", dir.path().join("link")).unwrap();
        fs::create_dir(dir.path().join("directory")).unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for name in ["link", "directory", "pipe"] {
            let leaf = Leaf { key: vec![], path: dir.path().join(name), len: 0 };
            let line = leaf.read().unwrap_err().line();
            assert!(line.contains(&format!("/{name}")), "{line}");
        }
    }

    #[test]
    fn names_that_the_file_system_takes_for_one_are_an_error() {
        let dir = tempdir().unwrap();
        let root = dir.path().join("tree");
        let keys = [b"a".to_vec(), b"b/c".to_vec()];
        let mut tree = Writer::new(&root, &keys).unwrap();
        fs::write(root.join("a"), "of another").unwrap();
        fs::create_dir(root.join("b")).unwrap();
        for key in &keys {
            assert!(tree.write(key, b"value").unwrap_err().line().contains("exists"));
        }
        assert_eq!(fs::read(root.join("a")).unwrap(), b"of another");
    }
}
