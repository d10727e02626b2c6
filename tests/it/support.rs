//! What all of these tests open their stores with.

use std::path::Path;
#[cfg(target_os = "linux")]
use std::process::{Command, Output};

use zerocask::{Compaction, Options, ReadMode, Result, Store};

/// The default options, in the mode that this run of the tests is for: `ZEROCASK_TEST_READ_MODE`,
/// "mapped" or "copy"; but nothing is compacted unless the test does: it looks at files.
pub(crate) fn options() -> Options {
    let options = Options::new().compaction(Compaction::Manual);
    options.read_mode(match std::env::var("ZEROCASK_TEST_READ_MODE").as_deref() {
        Ok("copy") => ReadMode::Copy,
        Ok("mapped") | Err(std::env::VarError::NotPresent) => ReadMode::Mapped,
        other => panic!("ZEROCASK_TEST_READ_MODE is mapped or copy, not {other:?}"),
    })
}

pub(crate) fn open(dir: impl AsRef<Path>) -> Result<Store> {
    options().open(dir)
}

/// Where a test that runs in a process of its own finds the directory that it is about.
#[cfg(target_os = "linux")]
pub(crate) const MOUNTED: &str = "ZEROCASK_TEST_MOUNTED_DIR";

/// Runs a test in a process for which the directory is mounted to be read only, in a mount namespace of its own. `None`,
/// and a message, where the system does not let us make one.
#[cfg(target_os = "linux")]
pub(crate) fn run_mounted_read_only(dir: &Path, test: &str) -> Option<Output> {
    let script = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && touch "$2" && exec "$3" "$4" --exact"#;
    let proof = tempfile::tempdir().unwrap();
    let mounted = proof.path().join("mounted");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .args([dir, &mounted, &std::env::current_exe().unwrap(), Path::new(test)])
        .env(MOUNTED, dir)
        .output();
    if !mounted.exists() {
        eprintln!("SKIPPED: no read-only mount can be made here: {output:?}");
        return None;
    }
    Some(output.unwrap())
}
