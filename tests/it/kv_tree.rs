//! Trees that `kv` imports and exports: it stays in them, whatever is in them and whatever keys there are.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::tempdir;

use crate::kv::{failed, kv, ok, ok_text, warnings};
use crate::kv_import::{Records, fill, records};

fn import(dir: &Path, source: &Path) -> Output {
    kv(dir, &[OsStr::new("import"), source.as_os_str()])
}

fn export(dir: &Path, dest: &Path) -> Output {
    kv(dir, &["export".as_ref(), dest.as_os_str(), "--format".as_ref(), "tree".as_ref()])
}

/// All that is below a directory, or beside it.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

#[test]
fn a_tree_without_percents_is_its_own_keys() {
    let (dir, tree) = (tempdir().unwrap(), tempdir().unwrap());
    fs::create_dir_all(tree.path().join("docs/empty")).unwrap();
    fs::write(tree.path().join("docs/a b.txt"), "text\n").unwrap();
    fs::write(tree.path().join("docs.txt"), "").unwrap();
    fs::write(tree.path().join("...\n"), b"\xff\0").unwrap();
    assert!(import(dir.path(), tree.path()).status.success());
    let expected: [(&[u8], &[u8]); 3] =
        [(b"docs/a b.txt", b"text\n"), (b"docs.txt", b""), (b"...\n", b"\xff\0")];
    let expected = expected.map(|(key, value)| (key.to_vec(), value.to_vec()));
    assert_eq!(records(dir.path()), Records::from(expected));
}

#[test]
fn keys_that_look_like_ways_out_stay_in_the_tree() {
    let (dir, parent) = (tempdir().unwrap(), tempdir().unwrap());
    let keys =
        ["../out", "/tmp/out", "a/../../out", "./x", ".", "..", "", "/", "a//b", "a/", "a\0b"];
    let expected: Records = keys.map(|key| (key.into(), b"value".to_vec())).into();
    fill(dir.path(), &expected);
    let tree = parent.path().join("in/tree");
    assert!(export(dir.path(), &tree).status.success());
    let outside: Vec<_> =
        below(parent.path()).into_iter().filter(|path| !path.starts_with(&tree)).collect();
    assert_eq!(outside, [parent.path().join("in")]);
    let to = tempdir().unwrap();
    assert!(import(to.path(), &tree).status.success());
    assert_eq!(records(to.path()), expected);
}

#[test]
fn an_export_goes_into_an_empty_directory_only() {
    let (dir, parent) = (tempdir().unwrap(), tempdir().unwrap());
    fill(dir.path(), &[(b"a/b".to_vec(), b"value".to_vec())].into());
    let (tree, outside) = (parent.path().join("tree"), parent.path().join("outside"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, tree.join("a")).unwrap();
    let line = failed(&export(dir.path(), &tree));
    assert!(line.contains("/tree holds something"), "{line}");
    assert_eq!(below(&outside), Vec::<PathBuf>::new());
    fs::remove_file(tree.join("a")).unwrap();
    assert_eq!(export(dir.path(), &tree).stdout, b"records 1\nbytes 8\n");
}

#[test]
fn a_key_that_is_no_name_is_named_and_nothing_is_made() {
    let (dir, parent) = (tempdir().unwrap(), tempdir().unwrap());
    let long = "l\t".repeat(128);
    fill(dir.path(), &[(b"a".to_vec(), vec![]), (long.clone().into_bytes(), vec![])].into());
    let line = failed(&export(dir.path(), &parent.path().join("tree")));
    let told = format!("the key \"{}\": ", long.replace('\t', "\\t"));
    assert!(line.contains(&told), "{line}");
    assert_eq!(below(parent.path()), Vec::<PathBuf>::new());
}

#[test]
fn links_and_pipes_in_a_tree_are_left_out_and_warned_of() {
    let (dir, parent) = (tempdir().unwrap(), tempdir().unwrap());
    let (tree, outside) = (parent.path().join("tree"), parent.path().join("outside"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    fs::write(tree.join("file"), "value").unwrap();
    symlink(outside.join("secret"), tree.join("link")).unwrap();
    symlink(&outside, tree.join("linked")).unwrap();
    symlink(&tree, tree.join("loop")).unwrap();
    assert!(Command::new("mkfifo").arg(tree.join("pipe")).status().unwrap().success());
    let output = import(dir.path(), &tree);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"records 1\nbytes 9\n"[..]));
    let warnings = warnings(&output);
    for (line, name) in warnings.iter().zip(["link", "linked", "loop", "pipe"]) {
        assert!(
            line.contains("not imported") && line.ends_with(&format!("/tree/{name}")),
            "{line}"
        );
    }
    assert_eq!(warnings.len(), 4);
    assert_eq!(records(dir.path()), [(b"file".to_vec(), b"value".to_vec())].into());
    // The root itself may be a link: it is the caller's.
    symlink(&outside, parent.path().join("root")).unwrap();
    assert!(import(dir.path(), &parent.path().join("root")).status.success());
    assert_eq!(ok(dir.path(), &["get", "secret"]), b"secret");
}

#[test]
fn a_name_that_no_key_has_is_refused_before_the_store_is_made() {
    let (tree, parent) = (tempdir().unwrap(), tempdir().unwrap());
    fs::write(tree.path().join("100%"), "").unwrap();
    let dir = parent.path().join("store");
    let line = failed(&import(&dir, tree.path()));
    assert!(line.contains("/100% is the name of no key: a % has to be written %25"), "{line}");
    assert!(!dir.exists());
}

#[test]
fn a_store_is_neither_imported_into_itself_nor_exported_into_itself() {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("store");
    fill(&dir, &[(b"k".to_vec(), b"v".to_vec())].into());
    let before = below(parent.path());
    symlink(parent.path(), parent.path().join("link")).unwrap();
    for source in [parent.path().to_path_buf(), dir.clone(), parent.path().join("link/store")] {
        let line = failed(&import(&dir, &source));
        assert!(line.contains("holds the store"), "{line}");
    }
    fs::create_dir(parent.path().join("beside")).unwrap();
    for dest in ["store/tree", "store", "link/store/a/b", "beside/../store/x"] {
        let line = failed(&export(&dir, &parent.path().join(dest)));
        assert!(line.contains("lies in the store"), "{line}");
    }
    let file = dir.join("00000009.data");
    let args = ["export".as_ref(), file.as_os_str(), "--format".as_ref(), "tsv".as_ref()];
    assert!(failed(&kv(&dir, &args)).contains("lies in the store"));
    fs::remove_dir(parent.path().join("beside")).unwrap();
    fs::remove_file(parent.path().join("link")).unwrap();
    assert_eq!(below(parent.path()), before);

    // One that is not made yet counts too.
    let new = parent.path().join("tree/store");
    fs::create_dir(parent.path().join("tree")).unwrap();
    let line = failed(&import(&new, &parent.path().join("tree")));
    assert!(line.contains("holds the store"), "{line}");
}

#[test]
fn a_file_too_long_for_a_value_is_named_and_what_is_before_it_is_stored() {
    let (dir, tree) = (tempdir().unwrap(), tempdir().unwrap());
    fs::write(tree.path().join("a"), "1").unwrap();
    let long = tree.path().join("b");
    fs::File::create(long).unwrap().set_len(1 << 32).unwrap();
    let line = failed(&import(dir.path(), tree.path()));
    assert!(line.contains("/b cannot be imported: the value has 4294967296 bytes"), "{line}");
    assert!(line.contains("the 1 records before it are stored"), "{line}");
    assert_eq!(ok_text(dir.path(), &["list"]), "a\n");
}
