//! Both modes of reading, on real files.

use std::fs::{self, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zerocask::{Access, Error, Options, Progress, ReadMode, Store, Verify};

use crate::support::options;

fn copying() -> Options {
    Options::new().read_mode(ReadMode::Copy).verify(Verify::Always)
}

/// A sealed segment of three records, each of several pages.
fn three(dir: &Path) -> PathBuf {
    let store = Store::open(dir).unwrap();
    for key in ["a", "b", "c"] {
        store.put(key, key.repeat(1 << 20)).unwrap();
    }
    store.close().unwrap();
    let data = dir.join("00000001.data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o644)).unwrap();
    data
}

fn get(store: &Store, key: &str) -> Result<Option<String>, Error> {
    Ok(store.get(key)?.map(|value| String::from_utf8(value.to_vec()).unwrap()))
}

#[test]
fn a_file_that_is_cut_short_is_an_error_and_no_bus_error() {
    let dir = tempfile::tempdir().unwrap();
    let data = three(dir.path());
    let store = copying().open(dir.path()).unwrap();
    let held = store.get("c").unwrap().unwrap();
    // Short behind the end of a, so that what is read at first reaches beyond the cut.
    let file = OpenOptions::new().write(true).open(&data).unwrap();
    file.set_len((1 << 20) + 100).unwrap();
    for key in ["b", "c"] {
        match store.get(key) {
            Err(Error::Io { path, .. }) => assert_eq!(path, data),
            other => panic!("{other:?}"),
        }
        assert!(store.contains_key(key).is_err());
    }
    assert!(store.warm_up(|_| ControlFlow::Continue(())).is_err());
    assert_eq!(held, "c".repeat(1 << 20).as_str());
    assert_eq!(get(&store, "a").unwrap().unwrap(), "a".repeat(1 << 20));
    store.put("b", "again").unwrap();
    assert_eq!(get(&store, "b").unwrap().unwrap(), "again");
    match store.compact() {
        Err(Error::Io { path, .. }) => assert_eq!(path, data),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_is_overwritten_is_an_error_and_values_in_hand_stay() {
    let dir = tempfile::tempdir().unwrap();
    let data = three(dir.path());
    let store = copying().open(dir.path()).unwrap();
    let held = store.get("b").unwrap().unwrap();
    let file = OpenOptions::new().write(true).open(&data).unwrap();
    file.write_all_at(b"damage", (1 << 20) + 500).unwrap();
    assert!(matches!(store.get("b"), Err(Error::Corrupt { path, .. }) if path == data));
    assert_eq!(held, "b".repeat(1 << 20).as_str());
    assert_eq!(get(&store, "c").unwrap().unwrap(), "c".repeat(1 << 20));
    // A length beyond everything.
    file.write_all_at(&[0xff; 4], 16).unwrap();
    assert!(matches!(store.get("a"), Err(Error::Corrupt { path, .. }) if path == data));
}

#[cfg(target_os = "linux")]
#[test]
fn copying_maps_no_data_file() {
    let is_mapped = |dir: &Path| {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().any(|line| line.contains(dir.to_str().unwrap()))
    };
    for (options, expected) in [(copying(), false), (Options::new(), true)] {
        let dir = tempfile::tempdir().unwrap();
        let options = options.segment_size(10_000);
        for round in 0..3 {
            let store = options.open(dir.path()).unwrap();
            for n in 0..100 {
                store.put(format!("{n}"), format!("{round}").repeat(200)).unwrap();
            }
            assert_eq!(is_mapped(dir.path()), expected);
            let held = store.get("7").unwrap();
            store.compact().unwrap();
            assert_eq!(is_mapped(dir.path()), expected);
            assert_eq!(held.unwrap(), format!("{round}").repeat(200).as_str());
            store.close().unwrap();
        }
    }
}

#[test]
fn values_outlive_compaction_the_store_and_its_directory_in_either_mode() {
    for options in [copying(), Options::new()] {
        let dir = tempfile::tempdir().unwrap();
        let store = options.segment_size(10_000).open(dir.path()).unwrap();
        for n in 0..50 {
            store.put(format!("{n}"), format!("{n} ").repeat(200)).unwrap();
        }
        let held: Vec<_> = store.keys().map(|key| key.unwrap()).collect();
        let held: Vec<_> = held.into_iter().map(|k| (store.get(&k).unwrap().unwrap(), k)).collect();
        for n in 0..50 {
            store.put(format!("{n}"), "new").unwrap();
        }
        store.compact().unwrap();
        store.close().unwrap();
        drop(dir);
        assert_eq!(held.len(), 50);
        for (value, key) in held {
            let key = std::str::from_utf8(&key).unwrap();
            assert_eq!(value, format!("{key} ").repeat(200).as_str());
        }
    }
}

#[test]
fn a_store_can_be_opened_in_either_mode_and_for_any_order_of_reads() {
    let dir = tempfile::tempdir().unwrap();
    three(dir.path());
    for read_mode in [ReadMode::Mapped, ReadMode::Copy] {
        for access in [Access::Random, Access::Sequential, Access::Normal] {
            let options = Options::new().read_mode(read_mode).access(access);
            let store = options.open(dir.path()).unwrap();
            assert_eq!(get(&store, "a").unwrap().unwrap(), "a".repeat(1 << 20));
            store.put("d", format!("{read_mode:?} {access:?}")).unwrap();
            store.compact().unwrap();
            store.prefetch(["a", "d", "absent"]).unwrap();
            assert_eq!(store.len(), 4);
            store.close().unwrap();
        }
    }
}

#[test]
fn warming_up_tells_how_far_it_has_come_and_stops_when_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().segment_size(24 << 20).open(dir.path()).unwrap();
    for n in 0..9 {
        store.put(format!("{n}"), vec![n; 5 << 20]).unwrap();
    }
    let mut told = Vec::new();
    let reached = store.warm_up(|progress| {
        told.push(progress);
        ControlFlow::Continue(())
    });
    let reached = reached.unwrap();
    assert_eq!((reached.done, reached.total), (reached.total, store.stats().bytes));
    assert_eq!(told.last(), Some(&reached));
    assert!(told.iter().all(|progress| progress.total == reached.total));
    let mut done = 0;
    for progress in &told {
        assert!(done < progress.done && progress.done <= done + (16 << 20));
        done = progress.done;
    }

    let stop = |progress: Progress| match progress.done > 20 << 20 {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let reached = store.warm_up(stop).unwrap();
    assert!((20 << 20..reached.total).contains(&reached.done), "{reached:?}");

    let close = |_| {
        store.clone().close().unwrap();
        ControlFlow::Continue(())
    };
    assert!(matches!(store.warm_up(close), Err(Error::Closed)));
    assert!(matches!(store.warm_up(|_| ControlFlow::Continue(())), Err(Error::Closed)));
}
