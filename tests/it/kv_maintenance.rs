//! `kv verify`, `kv repair` and `kv backup` as a person or a script uses them.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use tempfile::{TempDir, tempdir};

use crate::kv::{BIG, copy_of_plain, data_files, failed, kv, ok, ok_text, put_stdin, stderr};
use crate::support::open;

/// A store of three big values, each in a segment of its own.
fn three_big_values() -> TempDir {
    let dir = tempdir().unwrap();
    for (n, key) in ["a", "b", "c"].into_iter().enumerate() {
        put_stdin(dir.path(), key, &vec![n as u8; BIG]);
    }
    assert_eq!(data_files(dir.path()).len(), 3);
    dir
}

fn flip(path: &Path, byte: usize) {
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[byte] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The exit code 1, nothing on stderr, and the lines of stdout.
fn damaged(output: &Output) -> Vec<String> {
    assert_eq!(stderr(output), "");
    damaged_with_warnings(output)
}

/// The exit code 1 and the lines of stdout.
fn damaged_with_warnings(output: &Output) -> Vec<String> {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn verify_says_what_there_is_and_exits_with_0() {
    let dir = three_big_values();
    let text = ok_text(dir.path(), &["verify"]);
    let bytes = 3 * (20 + 1 + BIG);
    let expected = format!("segments 3\nrecords 3\nbytes {bytes}\nunapplied_batch_records 0\n");
    assert_eq!(text, expected, "and no progress bar where there is no terminal");

    let plain = tempdir().unwrap();
    copy_of_plain(plain.path());
    fs::write(plain.path().join("two\nlines"), "").unwrap();
    let text = ok_text(plain.path(), &["verify"]);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[4].starts_with("torn ") && lines[4].contains("00000010.data"), "{text}");
    assert!(lines[5].starts_with("foreign ") && lines[5].ends_with("/two lines"), "{text}");
    assert_eq!(lines.len(), 6);
}

#[test]
fn verify_names_the_damage_and_exits_with_1() {
    let dir = three_big_values();
    let path = &data_files(dir.path())[1];
    flip(path, BIG / 2);
    fs::remove_file(&data_files(dir.path())[2]).unwrap();
    let lines = damaged(&kv(dir.path(), &["verify"]));
    let found: Vec<_> = lines.iter().filter(|line| line.starts_with("damage ")).collect();
    let [bad, missing] = found[..] else { panic!("{lines:?}") };
    assert!(bad.contains(path.to_str().unwrap()) && bad.contains(" offset 0: expected checksum"));
    assert!(missing.ends_with("expected a file, found none"), "{missing}");
}

#[test]
fn where_no_thread_can_be_had_verify_and_repair_do_without() {
    let dir = three_big_values();
    let path = &data_files(dir.path())[1];
    flip(path, BIG / 2);
    // No thread with so large a stack can be had.
    let without_threads = |command: &str| {
        let mut kv = crate::kv::command(dir.path(), &[command]);
        kv.env("RUST_MIN_STACK", (1u64 << 60).to_string()).output().unwrap()
    };
    let lines = damaged(&without_threads("verify"));
    assert!(lines[1] == "records 3" && lines.iter().any(|line| line.starts_with("damage ")));
    damaged_with_warnings(&without_threads("repair"));
    assert!(ok_text(dir.path(), &["verify"]).starts_with("segments 2\nrecords 2\n"));
}

#[test]
fn verify_refuses_a_store_that_is_open() {
    let dir = tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.put("key", "value").unwrap();
    assert!(failed(&kv(dir.path(), &["verify"])).contains("is held by another"));
}

#[test]
fn backup_makes_a_store_and_says_what_it_took() {
    let (dir, parent) = (three_big_values(), tempdir().unwrap());
    let dest = parent.path().join("a/backup");
    let args = [OsStr::new("backup"), dest.as_os_str()];
    let bytes = 3 * (20 + 1 + BIG);
    let first = ok_text(dir.path(), &args);
    let lines: Vec<_> = first.lines().collect();
    assert_eq!(
        lines[..3],
        ["segments 3".to_owned(), format!("bytes {bytes}"), "unchanged 0".to_owned()]
    );
    assert_eq!(lines.len(), 6);
    assert!(ok(&dest, &["get", "b"]) == vec![1; BIG]);
    ok(dir.path(), &["delete", "b"]);
    let second = ok_text(dir.path(), &args);
    assert!(second.starts_with("segments 4\n") && second.contains("\nunchanged 3\n"), "{second}");
    assert_eq!(kv(&dest, &["get", "b"]).status.code(), Some(1));
    assert!(ok_text(&dest, &["verify"]).starts_with("segments 4\nrecords 4\n"));

    let line = failed(&kv(dir.path(), &[OsStr::new("backup"), dir.path().as_os_str()]));
    assert!(line.contains("lies in the store"), "{line}");
    let other = three_big_values();
    let line = failed(&kv(other.path(), &args));
    assert!(line.contains("holds no backup of this store"), "{line}");
}

/// What a repair says that has nothing to do.
const CLEAN: &str =
    "faults 0\nsalvaged_records 0\nmanifest_rebuilt false\nunapplied_batch_records 0\n";

#[test]
fn repair_leaves_a_sound_store_alone_and_says_so() {
    let dir = three_big_values();
    assert_eq!(ok_text(dir.path(), &["repair"]), CLEAN);
    assert_eq!(data_files(dir.path()).len(), 3);
}

#[test]
fn repair_says_what_it_saved_and_exits_with_1_if_that_is_not_all() {
    let dir = three_big_values();
    // A second value of `a`, beside another, so that there is something to save.
    {
        let store = open(dir.path()).unwrap();
        store.put("a", vec![7; BIG]).unwrap();
        store.put("d", vec![8; BIG]).unwrap();
        store.close().unwrap();
    }
    let path = data_files(dir.path()).pop().unwrap();
    flip(&path, BIG / 2);
    let lines = damaged_with_warnings(&kv(dir.path(), &["repair"]));
    assert_eq!(lines[..2], ["faults 1", "salvaged_records 1"]);
    let lines = &lines[4..];
    assert!(lines[0].starts_with("damage ") && lines[0].contains(path.to_str().unwrap()));
    let stale = "offset 0: key \"a\" has an older value now";
    assert!(lines[1].starts_with("stale ") && lines[1].ends_with(stale), "{lines:?}");
    assert_eq!(lines[2], format!("set_aside {}.damaged", path.display()));
    assert_eq!(lines.len(), 3);
    assert!(ok(dir.path(), &["get", "a"]) == vec![0; BIG]);
    assert!(ok(dir.path(), &["get", "d"]) == vec![8; BIG]);
    let text = ok_text(dir.path(), &["verify"]);
    assert!(text.contains("\nset_aside "), "{text}");
    assert_eq!(ok_text(dir.path(), &["repair"]), CLEAN);
}

#[test]
fn repair_of_a_lost_manifest_saves_everything_and_exits_with_0() {
    let dir = three_big_values();
    fs::write(dir.path().join("MANIFEST"), "not what it was").unwrap();
    assert!(failed(&kv(dir.path(), &["get", "a"])).contains("MANIFEST"));
    fs::write(dir.path().join("00000009.data.tmp"), "half-written").unwrap();
    let output = kv(dir.path(), &["repair"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\nmanifest_rebuilt true\n"), "{text}");
    let leftover = text.lines().find_map(|line| line.strip_prefix("removed ")).unwrap();
    assert!(leftover.ends_with("00000009.data.tmp"), "{text}");
    for (n, key) in ["a", "b", "c"].into_iter().enumerate() {
        assert!(ok(dir.path(), &["get", key]) == vec![n as u8; BIG]);
    }
    assert!(dir.path().join("MANIFEST.damaged").exists());
}
