//! Verifying a store, on the real disk.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use zerocask::{Error, Progress};

use crate::support::{open, options};

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A closed store of many segments.
fn store_of_many_segments(dir: &Path) {
    let store = options().segment_size(1 << 16).open(dir).unwrap();
    for n in 0..500u32 {
        store.put(n.to_be_bytes(), vec![n as u8; 1000]).unwrap();
    }
    store.close().unwrap();
}

/// Every file with all that can be told of it.
fn everything(dir: &Path) -> BTreeMap<String, (Vec<u8>, u64, u32, i64, i64)> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap).map(|entry| {
        let meta = entry.metadata().unwrap();
        let bytes = fs::read(entry.path()).unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, (bytes, meta.ino(), meta.mode(), meta.mtime_nsec(), meta.ctime_nsec()))
    });
    entries.collect()
}

#[test]
fn verifying_reads_everything_and_changes_nothing_of_a_directory_that_is_read_only() {
    let dir = tempfile::tempdir().unwrap();
    store_of_many_segments(dir.path());
    for lock in [true, false] {
        if !lock {
            fs::remove_file(dir.path().join("LOCK")).unwrap();
        }
        fs::set_permissions(dir.path(), Permissions::from_mode(0o555)).unwrap();
        let before = everything(dir.path());
        let report = zerocask::verify(dir.path(), go_on).unwrap();
        assert_eq!(everything(dir.path()), before);
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.records, 500);
        let data = before.iter().filter(|(name, _)| name.ends_with(".data"));
        assert_eq!(report.bytes, data.map(|(_, (bytes, ..))| bytes.len() as u64).sum::<u64>());
    }
    assert_eq!(open(dir.path()).unwrap().len(), 500);
}

#[test]
fn verifying_a_store_that_is_open_is_refused_and_so_is_what_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    assert!(matches!(zerocask::verify(&missing, go_on), Err(Error::NotFound { .. })));
    let store = open(dir.path()).unwrap();
    store.put("key", "value").unwrap();
    assert!(matches!(zerocask::verify(dir.path(), go_on), Err(Error::Locked { .. })));
}

#[test]
fn bytes_flipped_anywhere_are_found_among_many_segments() {
    let dir = tempfile::tempdir().unwrap();
    store_of_many_segments(dir.path());
    let mut expected = Vec::new();
    let names = everything(dir.path()).into_keys().filter(|name| name.ends_with(".data"));
    for (n, name) in names.enumerate().step_by(2) {
        let path = dir.path().join(name);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[1024 * n + 30] ^= 1;
        fs::write(&path, bytes).unwrap();
        expected.push((path, 1024 * n as u64));
    }
    assert!(expected.len() > 3);
    let report = zerocask::verify(dir.path(), go_on).unwrap();
    let found = report.damage.iter().map(|fault| (fault.path.clone(), fault.offset));
    assert_eq!(found.collect::<Vec<_>>(), expected);
}
