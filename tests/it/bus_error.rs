//! A sealed file that another program cuts short while the store is open: a bus error where it is mapped,
//! an error where it is copied.
//!
//! The test starts itself as the child, which opens the store and waits for a line before it reads. The
//! parent cuts the file meanwhile.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use zerocask::{Error, Options, ReadMode, Store, Verify};

const DIR: &str = "ZEROCASK_TEST_BUS_ERROR_DIR";
const MODE: &str = "ZEROCASK_TEST_BUS_ERROR_READ_MODE";
const NAME: &str =
    "bus_error::a_sealed_file_cut_from_outside_ends_a_process_that_maps_it_and_no_other";

fn child(dir: &Path) {
    let read_mode = match std::env::var(MODE).unwrap().as_str() {
        "copy" => ReadMode::Copy,
        _ => ReadMode::Mapped,
    };
    let options = Options::new().read_mode(read_mode).verify(Verify::Always);
    let store = options.open(dir).unwrap();
    println!("\nopen");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    match store.get("second") {
        Err(Error::Io { path, .. }) => println!("\nan error of {}", path.display()),
        other => println!("\n{other:?}"),
    }
    assert_eq!(store.get("first").unwrap().unwrap(), "1".repeat(1 << 20).as_str());
    println!("\nreads go on");
}

/// What the child said after the file was cut, and how it ended.
fn cut_while_open(mode: &str) -> (Vec<String>, ExitStatus) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put("first", "1".repeat(1 << 20)).unwrap();
    store.put("second", "2".repeat(1 << 20)).unwrap();
    store.close().unwrap();
    let data = dir.path().join("00000001.data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o600)).unwrap();

    let mut child = Command::new("sh")
        // A bus error is what is wanted here: no core file of it.
        .args(["-c", "ulimit -c 0; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture"])
        .env(DIR, dir.path())
        .env(MODE, mode)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "open"), "the child opens the store");
    let file = OpenOptions::new().write(true).open(&data).unwrap();
    // In the middle of the second record, the first of its bytes still there.
    file.set_len(3 << 19).unwrap();
    writeln!(child.stdin.take().unwrap(), "read").unwrap();
    let said = lines.filter(|line| !line.is_empty()).collect();
    (said, child.wait().unwrap())
}

#[test]
fn a_sealed_file_cut_from_outside_ends_a_process_that_maps_it_and_no_other() {
    if let Some(dir) = std::env::var_os(DIR) {
        return child(Path::new(&dir));
    }
    let (said, status) = cut_while_open("mapped");
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{said:?}");
    assert!(said.is_empty(), "{said:?}");

    let (said, status) = cut_while_open("copy");
    assert!(status.success(), "{status}: {said:?}");
    assert!(said[0].starts_with("an error of ") && said[0].ends_with("00000001.data"), "{said:?}");
    assert_eq!(said[1], "reads go on");
}
