//! One owner at a time, and only a living one keeps others out.

use std::fs;

use zerocask::{Error, Store};

use crate::support::{open, options};

#[test]
fn hazard_17_of_lock_files_empty_left_over_or_held_only_a_held_one_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let lock = dir.path().join("LOCK");
    for left_over in ["", "12345\n", "garbage of a crash"] {
        fs::write(&lock, left_over).unwrap();
        let store = open(dir.path()).unwrap();
        store.put("key", left_over.len().to_string()).unwrap();
        let clone = store.clone();
        drop(store);
        match open(dir.path()) {
            Err(Error::Locked { path }) => assert_eq!(path, lock),
            other => panic!("{other:?}"),
        }
        // A reading owner holds it no less than one that has written.
        drop(clone);
        let reader = open(dir.path()).unwrap();
        assert!(matches!(open(dir.path()), Err(Error::Locked { .. })));
        drop(reader);
    }
}

#[test]
fn closing_lets_go_of_the_directory_whatever_other_handles_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.put("key", "value").unwrap();
    let (other, held) = (store.clone(), store.get("key").unwrap().unwrap());
    store.close().unwrap();
    let next = open(dir.path()).unwrap();
    next.put("key", "newer").unwrap();
    assert!(matches!(other.get("key"), Err(Error::Closed)));
    assert!(matches!(other.put("key", "lost"), Err(Error::Closed)));
    assert!(matches!(other.delete("key"), Err(Error::Closed)));
    assert!(matches!(other.compact(), Err(Error::Closed)));
    assert!(matches!(other.sync(), Err(Error::Closed)));
    other.close().unwrap();
    assert_eq!(held, "value");
    assert_eq!(next.get("key").unwrap().unwrap(), "newer");
}

#[test]
fn a_missing_store_is_made_with_its_directory_and_parents_unless_that_is_off() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    match options().create(false).open(&deep) {
        Err(Error::NotFound { path }) => assert_eq!(path, deep),
        other => panic!("{other:?}"),
    }
    assert!(!dir.path().join("a").exists());
    assert!(matches!(options().create(false).open(dir.path()), Err(Error::NotFound { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "an empty directory is left empty");
    open(&deep).unwrap().put("key", "value").unwrap();
    assert_eq!(options().create(false).open(&deep).unwrap().len(), 1);
}

#[test]
fn options_out_of_range_are_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    for size in [0, 63, (1 << 39) + 1, u64::MAX] {
        let opened = options().segment_size(size).open(dir.path().join("store"));
        match opened {
            Err(Error::InvalidOption { option: "segment_size", found, .. }) => {
                assert_eq!(found, size);
            }
            other => panic!("{other:?}"),
        }
    }
    for (mode, options) in [0o400, 0o1600, u32::MAX].map(|mode| (mode, options().file_mode(mode))) {
        match options.open(dir.path().join("store")) {
            Err(Error::InvalidOption { option: "file_mode", found, .. }) => {
                assert_eq!(found, u64::from(mode));
            }
            other => panic!("{other:?}"),
        }
    }
    for (mode, options) in [0o600, 0o2700, u32::MAX].map(|mode| (mode, options().dir_mode(mode))) {
        match options.open(dir.path().join("store")) {
            Err(Error::InvalidOption { option: "dir_mode", found, .. }) => {
                assert_eq!(found, u64::from(mode));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(!dir.path().join("store").exists());
}

#[test]
fn a_child_that_another_thread_is_starting_does_not_keep_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                std::process::Command::new("true").status().unwrap();
            }
        });
        let opened: Result<Vec<_>, _> =
            (0..500).map(|_| open(dir.path()).and_then(Store::close)).collect();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        opened.unwrap();
    });
}
