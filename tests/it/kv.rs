//! `kv` as a person uses it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::{TempDir, tempdir};

use crate::support::open;

pub(crate) const KV: &str = env!("CARGO_BIN_EXE_kv");

/// More than the store takes up into the next segment, so that it stays where it is.
pub(crate) const BIG: usize = 3 << 19;

pub(crate) fn command<S: AsRef<OsStr>>(dir: &Path, args: &[S]) -> Command {
    let mut command = Command::new(KV);
    command.arg("--dir").arg(dir).args(args).stdin(Stdio::null());
    command
}

pub(crate) fn kv<S: AsRef<OsStr>>(dir: &Path, args: &[S]) -> Output {
    command(dir, args).output().unwrap()
}

/// Runs what has to go well without a word on stderr; answers its stdout.
pub(crate) fn ok<S: AsRef<OsStr>>(dir: &Path, args: &[S]) -> Vec<u8> {
    quiet(kv(dir, args))
}

pub(crate) fn ok_text<S: AsRef<OsStr>>(dir: &Path, args: &[S]) -> String {
    String::from_utf8(ok(dir, args)).unwrap()
}

pub(crate) fn quiet(output: Output) -> Vec<u8> {
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    output.stdout
}

pub(crate) fn put_stdin(dir: &Path, key: &str, value: &[u8]) {
    assert_eq!(quiet(with_stdin(dir, &["put", key, "-"], value)), b"");
}

pub(crate) fn with_stdin<S: AsRef<OsStr>>(dir: &Path, args: &[S], input: &[u8]) -> Output {
    let mut command = command(dir, args);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that fails need not have read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The exit code 1 without a word.
pub(crate) fn assert_absent(output: &Output) {
    assert_eq!((output.status.code(), stderr(output)), (Some(1), String::new()));
    assert_eq!(output.stdout, b"");
}

/// The exit code 2 and one line on stderr, which is answered.
pub(crate) fn failed(output: &Output) -> String {
    let line = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert_eq!(output.stdout, b"");
    assert!(line.starts_with("kv: ") && line.ends_with('\n'), "{line:?}");
    assert_eq!(line.matches(char::is_control).count(), 1, "{line:?}");
    line
}

/// The warnings on stderr, if they are all that is there.
pub(crate) fn warnings(output: &Output) -> Vec<String> {
    let lines: Vec<_> = stderr(output).lines().map(str::to_owned).collect();
    for line in &lines {
        assert!(line.starts_with("WARN "), "{lines:?}");
        assert!(!line.contains(char::is_control), "{lines:?}");
    }
    lines
}

pub(crate) fn copy_of_plain(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let plain = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plain");
    for name in ["00000001.data", "00000002.data", "00000010.data"] {
        fs::copy(plain.join(name), dir.join(name)).unwrap();
    }
}

pub(crate) fn data_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension() == Some("data".as_ref())).collect();
    files.sort();
    files
}

fn bytes_in(dir: &Path) -> u64 {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// A store with a big value that was replaced by another.
fn replaced_big_value() -> TempDir {
    let dir = tempdir().unwrap();
    put_stdin(dir.path(), "big", &vec![1; BIG]);
    put_stdin(dir.path(), "big", &vec![2; BIG]);
    dir
}

#[test]
fn keys_and_values_of_any_bytes_come_back_as_they_went_in() {
    let dir = tempdir().unwrap();
    let cases: [(&[u8], &[u8]); 6] = [
        (b"key", b"value"),
        (b"\xff\xfe\n key", b"\x80\xc0\n"),
        (b"", b"of the empty key"),
        (b"sp ace", b" \t "),
        ("schlüssel".as_bytes(), "wert\r\n".as_bytes()),
        (b"key2", b"--"),
    ];
    for (key, value) in cases {
        let args = [b"put", b"--".as_slice(), key, value].map(OsStr::from_bytes);
        assert_eq!(ok(dir.path(), &args), b"");
        assert_eq!(ok(dir.path(), &[OsStr::new("get"), OsStr::from_bytes(key)]), value);
    }
    assert_eq!(
        ok_text(dir.path(), &["stats"]).lines().next(),
        Some("keys                            6")
    );
}

#[test]
fn a_value_from_stdin_is_stored_byte_for_byte() {
    let dir = tempdir().unwrap();
    let value: Vec<u8> = (0..1u32 << 20).map(|n| (n ^ n >> 8 ^ n >> 16) as u8).collect();
    assert!((0..=u8::MAX).all(|byte| value.contains(&byte)));
    put_stdin(dir.path(), "binary", &value);
    assert!(ok(dir.path(), &["get", "binary"]) == value);
    put_stdin(dir.path(), "binary", b"-");
    assert_eq!(ok(dir.path(), &["get", "binary"]), b"-");
}

#[test]
fn keys_and_values_may_begin_with_a_hyphen() {
    let dir = tempdir().unwrap();
    for (key, value) in [("k", "-5"), ("-k", "--no-such-option"), ("--", "--")] {
        let stored = match key {
            "--" => ok(dir.path(), &["put", "--", "--", value]),
            key => ok(dir.path(), &["put", key, value]),
        };
        assert_eq!(stored, b"");
        assert_eq!(ok_text(dir.path(), &["get", "--", key]), value);
    }
    ok(dir.path(), &["put", "--", "--debug", "--help"]);
    assert_eq!(ok(dir.path(), &["get", "--", "--debug"]), b"--help");
    assert_eq!(ok(dir.path(), &["delete", "-k"]), b"");
}

#[test]
fn getting_an_absent_key_says_nothing_and_exits_with_1() {
    let dir = tempdir().unwrap();
    ok(dir.path(), &["put", "there", "value"]);
    assert_absent(&kv(dir.path(), &["get", "absent"]));
    assert_eq!(ok(dir.path(), &["get", "there"]), b"value");
}

#[test]
fn an_empty_value_deletes_the_key_and_the_help_says_so() {
    let dir = tempdir().unwrap();
    ok(dir.path(), &["put", "key", "value"]);
    ok(dir.path(), &["put", "key", ""]);
    assert_absent(&kv(dir.path(), &["get", "key"]));
    ok(dir.path(), &["put", "key", "value"]);
    put_stdin(dir.path(), "key", b"");
    assert_absent(&kv(dir.path(), &["get", "key"]));
    let help = ok_text(dir.path(), &["put", "--help"]);
    assert!(help.contains("empty VALUE deletes KEY"), "{help}");
}

#[test]
fn deleting_a_second_time_says_nothing_and_exits_with_1() {
    let dir = tempdir().unwrap();
    ok(dir.path(), &["put", "key", "value"]);
    assert_eq!(ok(dir.path(), &["delete", "key"]), b"");
    assert_absent(&kv(dir.path(), &["delete", "key"]));
    assert_absent(&kv(dir.path(), &["get", "key"]));
}

#[test]
fn list_writes_the_keys_in_the_order_of_their_bytes() {
    let dir = tempdir().unwrap();
    let keys: [&[u8]; 5] = [b"b", b"\xff", b"a\xc3", b"a", b"B"];
    for key in keys {
        ok(dir.path(), &[b"put", key, b"value"].map(OsStr::from_bytes));
    }
    ok(dir.path(), &["put", "gone", "value"]);
    ok(dir.path(), &["delete", "gone"]);
    assert_eq!(ok(dir.path(), &["list"]), b"B\na\na\xc3\nb\n\xff\n");
}

#[test]
fn stats_shows_the_table_of_the_library_and_as_json_its_figures() {
    let dir = replaced_big_value();
    let (text, json) = (ok_text(dir.path(), &["stats"]), ok(dir.path(), &["stats", "--json"]));
    let store = zerocask::Store::open(dir.path()).unwrap();
    let stats = store.stats();
    assert_eq!(text, stats.to_string());
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json, serde_json::to_value(&stats).unwrap());
    store.close().unwrap();
    assert_eq!(ok_text(dir.path(), &["stats", "--all"]), format!("{stats:#}"));
}

#[test]
fn compact_shrinks_the_directory_and_says_by_how_much() {
    let dir = replaced_big_value();
    let before = bytes_in(dir.path());
    assert!(before > 2 * BIG as u64);
    let text = ok_text(dir.path(), &["compact"]);
    let lines: Vec<_> = text.lines().collect();
    let [records, bytes, "segments removed 2"] = lines[..] else { panic!("{text}") };
    assert_eq!(records, "records 2 -> 1");
    let (was, is) = bytes.trim_start_matches("bytes ").split_once(" -> ").unwrap();
    assert_eq!(was.parse::<u64>().unwrap(), 2 * is.parse::<u64>().unwrap());
    assert!(bytes_in(dir.path()) < before * 6 / 10);
    assert!(ok(dir.path(), &["get", "big"]) == [2; BIG]);
    assert!(ok_text(dir.path(), &["stats"]).contains(" 0 B dead (0.0 %)\n"));
}

#[test]
fn damage_is_warned_of_fails_what_needs_it_and_is_kept_by_compaction() {
    let dir = tempdir().unwrap();
    put_stdin(dir.path(), "bad", &vec![1; BIG]);
    put_stdin(dir.path(), "good", &vec![2; BIG]);
    put_stdin(dir.path(), "good", &vec![3; BIG]);
    let file = &data_files(dir.path())[0];
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(file).unwrap();
    bytes[BIG / 2] ^= 1;
    fs::write(file, bytes).unwrap();
    let error = stderr(&kv(dir.path(), &["get", "bad"]));
    assert!(error.starts_with("kv: ") && error.contains("corrupt record at offset 0"), "{error}");

    // An opening that looks at it warns as well.
    fs::remove_file(dir.path().join("KEYDIR")).unwrap();
    fs::remove_file(file.with_extension("hint")).unwrap();
    let got = kv(dir.path(), &["get", "bad"]);
    assert_eq!((got.status.code(), &*got.stdout), (Some(2), &b""[..]));
    let text = stderr(&got);
    let lines: Vec<_> = text.lines().collect();
    let [warning, error] = lines[..] else { panic!("{text}") };
    assert!(warning.starts_with("WARN ") && warning.contains("damage in a sealed segment"));
    assert!(error.starts_with("kv: ") && error.contains("corrupt record at offset 0"), "{error}");

    let listed = kv(dir.path(), &["list"]);
    assert_eq!((listed.status.code(), &*listed.stdout), (Some(2), &b"good\n"[..]));

    let compacted = kv(dir.path(), &["compact"]);
    assert_eq!(compacted.status.code(), Some(0));
    let warnings = warnings(&compacted);
    let kept: Vec<_> = warnings.iter().filter(|line| line.contains("kept as it is")).collect();
    let [kept] = kept[..] else { panic!("{warnings:?}") };
    assert!(kept.contains(file.to_str().unwrap()), "{kept}");
    assert!(file.exists());
    let good = kv(dir.path(), &["get", "good"]);
    assert!(good.status.success() && good.stdout == [3; BIG]);
}

#[test]
fn without_dir_the_store_is_in_data_below_the_current_directory() {
    let dir = tempdir().unwrap();
    let here =
        |args: &[&str]| quiet(Command::new(KV).args(args).current_dir(&dir).output().unwrap());
    here(&["put", "key", "value"]);
    assert!(dir.path().join("data/MANIFEST").is_file());
    assert_eq!(here(&["get", "key"]), b"value");
    // Options may come after the command too.
    assert_eq!(here(&["get", "key", "--dir", "data"]), b"value");
}

#[test]
fn only_put_makes_a_missing_store() {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("a/store");
    let commands = [
        &["get", "k"][..],
        &["delete", "k"],
        &["ttl", "k"],
        &["touch", "k", "1h"],
        &["persist", "k"],
        &["list"],
        &["scan", "--values"],
        &["count"],
        &["watch"],
        &["log"],
        &["export", "-"],
        &["stats"],
        &["compact"],
        &["verify"],
        &["repair"],
        &["backup", "x"],
    ];
    for args in commands {
        assert!(failed(&kv(&dir, args)).contains("holds no store"), "{args:?}");
        assert!(!parent.path().join("a").exists(), "{args:?}");
    }
    ok(&dir, &["put", "k", "v"]);
    assert_eq!(ok(&dir, &["get", "k"]), b"v");
}

#[test]
fn an_error_is_one_line_with_its_cause_said_once() {
    let parent = tempdir().unwrap();
    let file = parent.path().join("a\nfile");
    fs::write(&file, "no store").unwrap();
    for args in [&["put", "k", "v"][..], &["get", "k"], &["list"]] {
        let line = failed(&kv(&file, args));
        assert!(line.contains("a file"), "{line}");
        assert_eq!(line.matches("os error").count(), 1, "{line}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"no store");
}

#[test]
fn a_usage_error_is_one_line() {
    let dir = tempdir().unwrap();
    let cases: [(&[&str], &str); 7] = [
        (&[], "subcommand"),
        (&["frobnicate"], "'frobnicate'"),
        (&["get"], "<KEY>"),
        (&["put", "key"], "<VALUE>"),
        (&["get", "key", "more"], "'more'"),
        (&["--frobnicate", "list"], "'--frobnicate'"),
        (&["list", "two\nlines"], "two lines"),
    ];
    for (args, part) in cases {
        let line = failed(&kv(dir.path(), args));
        assert!(line.contains(part), "{line}");
        assert!(!line.contains("error:") && !line.contains("Usage"), "{line}");
    }
    for (args, part) in [(&["list", "--dir"][..], "--dir"), (&[], "subcommand")] {
        let line = failed(&Command::new(KV).args(args).output().unwrap());
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn help_and_version_are_answers_and_no_errors() {
    let dir = tempdir().unwrap();
    let help = ok_text(dir.path(), &["--help"]);
    for word in [
        "put",
        "get",
        "delete",
        "ttl",
        "touch",
        "persist",
        "watch",
        "log",
        "compact",
        "stats",
        "list",
        "scan",
        "count",
        "import",
        "export",
        "verify",
        "repair",
        "backup",
        "bench",
        "completions",
        "man",
        "--dir",
        "--debug",
        "--json",
        "--escape",
        "--hex",
        "--base64",
        "./data",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
    assert_eq!(
        ok_text(dir.path(), &["--version"]),
        concat!("kv ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_store_that_is_open_elsewhere_is_refused_until_it_is_closed() {
    let dir = tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.put("key", "value").unwrap();
    for args in [&["put", "key", "other"][..], &["get", "key"], &["compact"]] {
        let line = failed(&kv(dir.path(), args));
        assert!(line.contains("is held by another"), "{line}");
    }
    assert_eq!(store.get("key").unwrap().unwrap(), "value");
}

#[test]
fn read_only_reads_beside_a_store_that_is_open_and_writes_nothing() {
    let dir = tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.put("key", "value").unwrap();
    let reading: [(&[&str], &[u8]); 4] = [
        (&["get", "key", "--read-only"], b"value"),
        (&["get", "--read-only", "key"], b"value"),
        (&["get", "--read-only", "--", "key"], b"value"),
        (&["list", "--read-only"], b"key\n"),
    ];
    let before = bytes_in(dir.path());
    for (args, found) in reading {
        assert_eq!(ok(dir.path(), args), found, "{args:?}");
    }
    assert_absent(&kv(dir.path(), &["get", "--read-only", "absent"]));
    let stats = ok_text(dir.path(), &["stats", "--read-only"]);
    assert_eq!(stats.lines().next(), Some("keys                            1"));
    store.put("key", "newer").unwrap();
    assert_eq!(ok(dir.path(), &["get", "--read-only", "key"]), b"newer");
    drop(store);

    // What a crash left is not tidied up.
    let copy = tempdir().unwrap();
    copy_of_plain(copy.path());
    assert_eq!(ok(copy.path(), &["get", "--read-only", "apple"]), b"golden");
    assert_eq!(fs::read_dir(copy.path()).unwrap().count(), 3);
    assert!(before > 0 && bytes_in(dir.path()) > before);

    for args in [&["delete", "k", "--read-only"][..], &["compact", "--read-only"]] {
        assert!(failed(&kv(dir.path(), args)).contains("'--read-only'"), "{args:?}");
    }
    let missing = copy.path().join("missing");
    assert!(failed(&kv(&missing, &["list", "--read-only"])).contains("holds no store"));
    assert!(!missing.exists());
}

#[test]
fn a_warning_of_the_library_is_one_line_on_stderr() {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("two\nlines");
    copy_of_plain(&dir);
    let output = kv(&dir, &["get", "apple"]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"golden"[..]));
    let warnings = warnings(&output);
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.starts_with("WARN the log ends in a torn record"), "{warning}");
    assert!(warning.contains("00000010.data"), "{warning}");
    assert_eq!(ok(&dir, &["get", "pear"]), b"yellow");
}

#[test]
fn debug_tells_more_on_stderr_and_nothing_else_on_stdout() {
    let dir = tempdir().unwrap();
    ok(dir.path(), &["put", "key", "value"]);
    for args in [["--debug", "get", "key"], ["get", "key", "--debug"]] {
        let output = kv(dir.path(), &args);
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"value"[..]));
        let text = stderr(&output);
        assert!(!text.is_empty() && text.lines().all(|line| line.starts_with("DEBUG ")), "{text}");
    }
}

/// Commands that write to stdout.
const WRITING: [&[&str]; 14] = [
    &["list"],
    &["get", "key"],
    &["scan", "--values"],
    &["count"],
    &["ttl", "key"],
    &["watch", "--existing", "--values", "--limit", "2"],
    &["log", "--values"],
    &["export", "-"],
    &["stats"],
    &["compact"],
    &["verify"],
    &["completions", "bash"],
    &["man"],
    &["--help"],
];

#[test]
fn a_reader_that_leaves_is_no_error() {
    let dir = tempdir().unwrap();
    put_stdin(dir.path(), "key", &vec![7; 1 << 20]);
    for args in WRITING.into_iter().chain([&["--json", "put", "key", "value"][..]]) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        quiet(command(dir.path(), args).stdout(writer).output().unwrap());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let dir = tempdir().unwrap();
    ok(dir.path(), &["put", "key", "value"]);
    for args in WRITING {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let line = failed(&command(dir.path(), args).stdout(full).output().unwrap());
        assert!(line.contains("cannot write to stdout: No space left"), "{line}");
    }
}
