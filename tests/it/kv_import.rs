//! `kv import` and `kv export`: whole stores there and back, and sources that are wrong.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use proptest::prelude::*;
use serde_json::Value as Json;
use tempfile::tempdir;
use zerocask::record::MAX_KEY_LEN;
use zerocask::{EmptyValues, Store};

use crate::kv::{
    BIG, KV, assert_absent, data_files, failed, kv, ok, ok_text, put_stdin, quiet, stderr,
    with_stdin,
};
use crate::support::options;

pub(crate) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) const FORMATS: [&str; 3] = ["jsonl", "tsv", "tree"];

fn open(dir: &Path) -> Store {
    options().empty_values(EmptyValues::Stored).open(dir).unwrap()
}

pub(crate) fn fill(dir: &Path, records: &Records) {
    let store = open(dir);
    records.iter().for_each(|(key, value)| store.put(key, value).unwrap());
    store.close().unwrap();
}

pub(crate) fn records(dir: &Path) -> Records {
    let store = open(dir);
    let records = store.keys().map(|key| {
        let key = key.unwrap();
        let value = store.get(&key).unwrap().unwrap();
        (key.to_vec(), value.to_vec())
    });
    records.collect()
}

/// What an import or export says of all records.
fn figures(records: &Records) -> String {
    let bytes: usize = records.iter().map(|(key, value)| key.len() + value.len()).sum();
    format!("records {}\nbytes {bytes}\n", records.len())
}

/// Exports a store and imports that into another: through pipes, or a directory.
fn through(format: &str, from: &Path, to: &Path) -> String {
    if format == "tree" {
        let parent = tempdir().unwrap();
        let tree = parent.path().join("tree/");
        ok(from, &[OsStr::new("export"), tree.as_os_str()]);
        return ok_text(to, &[OsStr::new("import"), tree.as_os_str()]);
    }
    let lines = ok(from, &["export", "-", "--format", format]);
    let imported = with_stdin(to, &["import", "-", "--format", format], &lines);
    String::from_utf8(quiet(imported)).unwrap()
}

/// Bytes of any kind, and keys that need one another's directories.
fn some_records() -> impl Strategy<Value = Records> {
    let key = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..24),
        prop::collection::vec(prop::sample::select(&b"a/.%\t\n\\\"\0"[..]), 0..8),
    ];
    let value = prop_oneof![prop::collection::vec(any::<u8>(), 0..300), ".{0,40}".prop_map_into()];
    prop::collection::btree_map(key, value, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_exported_and_imported_is_the_same_store(expected in some_records()) {
        let from = tempdir().unwrap();
        fill(from.path(), &expected);
        for format in FORMATS {
            let to = tempdir().unwrap();
            prop_assert_eq!(through(format, from.path(), to.path()), figures(&expected));
            prop_assert!(records(to.path()) == expected, "{format}");
        }
    }
}

#[test]
fn many_batches_and_values_longer_than_one_come_through() {
    let mut state = 1_u64;
    let mut random = |len: usize| -> Vec<u8> {
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(|_| byte()).collect()
    };
    let mut expected = Records::new();
    for n in 0..3000_usize {
        expected.insert(format!("short/{n}").into_bytes(), random(n % 3000));
    }
    expected.insert(b"long".to_vec(), random(4 << 20));
    let from = tempdir().unwrap();
    fill(from.path(), &expected);
    for format in FORMATS {
        let to = tempdir().unwrap();
        assert_eq!(through(format, from.path(), to.path()), figures(&expected), "{format}");
        assert!(records(to.path()) == expected, "{format}");
    }
}

#[test]
fn a_file_is_a_format_by_its_name_or_by_the_option() {
    let (from, out) = (tempdir().unwrap(), tempdir().unwrap());
    let expected: Records = [(b"k\t".to_vec(), b"v\xff".to_vec()), (vec![], vec![])].into();
    fill(from.path(), &expected);
    let cases = [
        (
            "a.jsonl",
            None,
            "{\"key\":\"\",\"value\":\"\"}\n{\"key\":\"k\\t\",\"value_base64\":\"dv8=\"}\n",
        ),
        (
            "a.ndjson",
            None,
            "{\"key\":\"\",\"value\":\"\"}\n{\"key\":\"k\\t\",\"value_base64\":\"dv8=\"}\n",
        ),
        ("a.tsv", None, "\t\nk\\t\tv\\xFF\n"),
        ("b.jsonl", Some("tsv"), "\t\nk\\t\tv\\xFF\n"),
    ];
    for (name, format, text) in cases {
        let path = out.path().join(name);
        let with_format = |command: &str| {
            let mut args = vec![command.into(), path.clone().into_os_string()];
            args.extend(format.iter().flat_map(|format| ["--format".into(), format.into()]));
            args
        };
        assert_eq!(ok_text(from.path(), &with_format("export")), figures(&expected));
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{name}");
        let to = tempdir().unwrap();
        assert_eq!(ok_text(to.path(), &with_format("import")), figures(&expected));
        assert!(records(to.path()) == expected);
    }
    assert_eq!(ok(from.path(), &["export", "-"]), fs::read(out.path().join("a.jsonl")).unwrap());

    for args in [["export", "a.txt"], ["import", "a"]] {
        assert!(failed(&kv(from.path(), &args)).contains("does not tell its format"));
    }
    let line = failed(&kv(from.path(), &["export", "-", "--format", "tree"]));
    assert!(line.contains("a tree needs a directory"), "{line}");
}

#[test]
fn a_line_that_is_wrong_is_told_by_its_place_and_what_is_before_it_is_stored() {
    let cases: [(&str, &[u8], &str); 8] = [
        ("tsv", b"a\t1\nb\t2\nc3\nd\t4\n", "line 3, byte 10: a line without a tab"),
        ("tsv", b"a\t1\nb\t2\nc\t\\q\n", "line 3, byte 10: a backslash"),
        ("tsv", b"a\t1\nb\t2\nc\t3\t4\n", "line 3, byte 11: a second tab"),
        ("tsv", b"a\t1\nb\t2\nc\t3\r\n", "line 3, byte 11: a carriage return"),
        ("tsv", b"a\t1\nb\t2\nc\t3", "line 3, byte 11: the last line has no newline"),
        (
            "jsonl",
            b"{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\",\"value\":\"2\"}\n{\"key\":\"c\",\"value\":3}\n",
            "line 3, byte 67: invalid type",
        ),
        (
            "jsonl",
            b"{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\",\"value\":\"2\"}\n{\"key\":\"c\",\"va",
            "line 3, byte 62: EOF",
        ),
        (
            "jsonl",
            b"{\"key\":\"a\",\"value\":\"1\"}\n{\"value\":\"2\",\"key\":\"b\"}\n\n",
            "line 3, byte 48: EOF",
        ),
    ];
    let expected: Records = [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec())].into();
    for (format, lines, place) in cases {
        let dir = tempdir().unwrap();
        let line = failed(&with_stdin(dir.path(), &["import", "-", "--format", format], lines));
        assert!(line.contains(&format!("stdin: {place}")), "{place}: {line}");
        assert!(line.ends_with("; the 2 records before it are stored\n"), "{line}");
        assert!(records(dir.path()) == expected, "{place}");
    }
}

#[test]
fn a_key_that_is_too_long_is_told_by_its_line() {
    let dir = tempdir().unwrap();
    let too_long = [b"k\tv\n", &vec![b'k'; MAX_KEY_LEN + 1][..], b"\tvalue\n"].concat();
    let line = failed(&with_stdin(dir.path(), &["import", "-", "--format", "tsv"], &too_long));
    assert!(
        line.contains("line 2, byte 4: the key has 16777216 bytes, the most is 16777215"),
        "{line}"
    );
    assert_eq!(records(dir.path()).len(), 1);
}

#[test]
fn an_import_adds_to_what_is_there_and_the_later_counts() {
    let dir = tempdir().unwrap();
    // It is written on its own, behind what came before it and before what comes after.
    let long = vec![b'x'; 5 << 20];
    ok(dir.path(), &["put", "old", "stays"]);
    ok(dir.path(), &["put", "a", "goes"]);
    let lines = [b"a\t1\nb\t", &long[..], b"\nb\t2\nc\t3\nc\t", &long, b"\nempty\t\n"].concat();
    quiet(with_stdin(dir.path(), &["import", "-", "--format", "tsv"], &lines));
    let long = String::from_utf8(long).unwrap();
    let expected = [("a", "1"), ("b", "2"), ("c", &*long), ("empty", ""), ("old", "stays")];
    let expected = expected.map(|(key, value)| (key.into(), value.into()));
    assert!(records(dir.path()) == Records::from(expected));
    assert_eq!(ok(dir.path(), &["get", "empty"]), b"");
    assert_absent(&kv(dir.path(), &["get", "absent"]));
}

#[test]
fn an_import_of_what_is_not_there_makes_no_store() {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("store");
    for name in ["no.tsv", "no/"] {
        let source = parent.path().join(name);
        let line = failed(&kv(&dir, &[OsStr::new("import"), source.as_os_str()]));
        assert!(line.contains("cannot read ") && line.contains("No such file"), "{line}");
    }
    assert!(!dir.exists());
    // Nothing is a source without records.
    let made = with_stdin(&dir, &["import", "-"], b"");
    assert_eq!(quiet(made), b"records 0\nbytes 0\n");
    assert!(dir.exists());
}

#[test]
fn an_export_overwrites_nothing_and_leaves_no_half_of_a_file() {
    let (dir, out) = (tempdir().unwrap(), tempdir().unwrap());
    put_stdin(dir.path(), "key", &vec![7; 1 << 20]);
    let path = out.path().join("a.tsv");
    fs::write(&path, "mine").unwrap();
    let args = [OsStr::new("export"), path.as_os_str()];
    assert!(failed(&kv(dir.path(), &args)).contains("File exists"));
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    fs::remove_file(&path).unwrap();

    // No file may be longer than this.
    let limited = "trap '' XFSZ; ulimit -f 64; exec \"$@\"";
    let export = || -> Output {
        let mut command = Command::new("sh");
        command.args(["-c", limited, "sh", KV, "--dir"]).arg(dir.path());
        command.args(args).arg("--read-only").output().unwrap()
    };
    let line = failed(&export());
    assert!(line.contains("cannot write ") && line.contains("File too large"), "{line}");
    assert!(!path.exists());
}

#[test]
fn an_export_writes_what_can_be_read_and_fails() {
    let out = tempdir().unwrap();
    for format in FORMATS {
        let dir = tempdir().unwrap();
        for (n, key) in ["a", "b", "c"].into_iter().enumerate() {
            put_stdin(dir.path(), key, &vec![b'0' + n as u8; BIG]);
        }
        let damaged = &data_files(dir.path())[1];
        fs::set_permissions(damaged, fs::Permissions::from_mode(0o644)).unwrap();
        let mut bytes = fs::read(damaged).unwrap();
        bytes[BIG / 2] ^= 1;
        fs::write(damaged, bytes).unwrap();

        let dest = out.path().join(format);
        let args = ["export".as_ref(), dest.as_os_str(), "--format".as_ref(), format.as_ref()];
        let output = kv(dir.path(), &args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.lines().last().unwrap().contains("corrupt record"), "{text}");
        let bytes = 2 * (1 + BIG);
        assert_eq!(output.stdout, format!("records 2\nbytes {bytes}\n").as_bytes());
        let to = tempdir().unwrap();
        ok(to.path(), &["import".as_ref(), dest.as_os_str(), "--format".as_ref(), format.as_ref()]);
        let keys: Vec<_> = records(to.path()).into_keys().collect();
        assert_eq!(keys, [b"a", b"c"]);
    }
}

#[test]
fn in_json_there_are_the_same_figures_and_errors() {
    let (dir, out) = (tempdir().unwrap(), tempdir().unwrap());
    ok(dir.path(), &["put", "key", "value"]);
    let path = out.path().join("a.jsonl");
    for command in ["export", "import"] {
        let text = ok(dir.path(), &["--json".as_ref(), command.as_ref(), path.as_os_str()]);
        assert_eq!(text, b"{\"records\":1,\"bytes\":8}\n");
    }
    let output = with_stdin(dir.path(), &["import", "-", "--json"], b"{}\n");
    assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]));
    let error: Json = serde_json::from_slice(&output.stderr).unwrap();
    let what = "stdin: line 1, byte 0: neither key nor key_base64 is a string; the 0 records before it are stored";
    assert_eq!(error, serde_json::json!({ "error": what, "causes": [] }));
}
