//! No file descriptor left.

use std::path::Path;
use std::process::Command;

use tempfile::tempdir;
use zerocask::{Error, Options, ReadMode};

/// Where the test that runs in a process of its own finds its store.
const DIR: &str = "ZEROCASK_TEST_FEW_FILES_DIR";
const KEYS: usize = 100;

fn options() -> Options {
    Options::new().segment_size(64)
}

/// In a process of its own, which may open fewer files than the store has segments.
#[test]
fn few_files() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let copying = options().read_mode(ReadMode::Copy);
    let error = copying.open(&dir).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::TooManyOpenFiles { action: "open", .. }), "{text}");
    assert!(text.contains(".data: ") && text.contains("ulimit -n"), "{text}");
    // What is mapped keeps no file open.
    let store = options().open(&dir).unwrap();
    assert_eq!(store.len(), KEYS);
    store.put("key", "value").unwrap();
    store.close().unwrap();
}

#[test]
fn a_store_whose_segments_are_not_mapped_needs_a_file_descriptor_for_each_and_says_so() {
    let dir = tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    (0..KEYS).for_each(|n| store.put(format!("{n}"), [1; 64]).unwrap());
    store.close().unwrap();
    let output = Command::new("sh")
        .args(["-c", r#"ulimit -n 60 && exec "$1" open_files::few_files --exact"#, "sh"])
        .arg(std::env::current_exe().unwrap())
        .env(DIR, Path::new(dir.path()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let store = options().open(dir.path()).unwrap();
    assert_eq!(store.len(), KEYS + 1, "nothing is lost by an opening that failed");
}
