//! Verifying, backing up and repairing a store, on the real disk.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use zerocask::{Error, Progress};

use crate::support::{self, open, options};

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
        assert!(everything(dir.path()) == before);
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

#[cfg(target_os = "linux")]
#[test]
fn a_store_that_is_open_is_refused_though_its_lock_file_may_only_be_read() {
    const TEST: &str =
        "maintenance::a_store_that_is_open_is_refused_though_its_lock_file_may_only_be_read";
    if let Some(dir) = std::env::var_os(support::MOUNTED) {
        assert!(matches!(zerocask::verify(dir, go_on), Err(Error::Locked { .. })));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.put("key", "value").unwrap();
    // Root may write what it likes, but not to a file system that is mounted to be read only.
    let Some(output) = support::run_mounted_read_only(dir.path(), TEST) else { return };
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("1 passed"));
    drop(store);
}

#[test]
fn files_whose_lengths_add_up_to_more_than_a_number_holds_are_an_error() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    open(dir.path()).unwrap().close().unwrap();
    for n in 1..4 {
        let file = fs::File::create(dir.path().join(format!("{n:08}.data"))).unwrap();
        if file.set_len(i64::MAX as u64).is_err() {
            return;
        }
    }
    assert!(matches!(zerocask::verify(dir.path(), go_on), Err(Error::Io { .. })));
    assert!(matches!(zerocask::repair(dir.path(), go_on), Err(Error::Io { .. })));
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

#[test]
fn verifying_takes_no_longer_for_what_a_file_claims_to_be() {
    const LEN: u64 = 1 << 36;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.put("key", "value").unwrap();
    store.close().unwrap();
    fs::File::create(dir.path().join("00000002.data")).unwrap().set_len(LEN).unwrap();
    let mut last = Progress::default();
    let report = zerocask::verify(dir.path(), |progress| {
        last = progress;
        ControlFlow::Continue(())
    });
    let report = report.unwrap();
    assert!(report.is_clean() && report.torn.is_empty(), "{report}");
    assert_eq!((last.done, last.total), (report.bytes, report.bytes));
    assert!(report.bytes > LEN);
}

#[test]
fn a_backup_shares_its_files_and_opening_it_leaves_them_as_they_are() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, dest) = (parent.path().join("store"), parent.path().join("backups/1"));
    store_of_many_segments(&dir);
    let store = open(&dir).unwrap();
    let report = store.backup(&dest, go_on).unwrap();
    assert_eq!((report.linked, report.copied), (report.segments, 0));
    let files = |dir: &Path| {
        let mut files = everything(dir);
        files.retain(|name, _| name.ends_with(".data"));
        files
    };
    let before = files(&dest);
    assert!(files(&dir) == before, "inodes and all");
    assert!(before.values().all(|(_, _, mode, ..)| mode & 0o222 == 0));
    let backup = open(&dest).unwrap();
    assert_eq!(backup.len(), 500);
    assert!(files(&dest) == before);
    backup.put("in the backup", "only").unwrap();
    backup.delete(7u32.to_be_bytes()).unwrap();
    backup.compact().unwrap();
    backup.close().unwrap();
    assert_eq!(store.len(), 500);
    assert!(zerocask::verify(&dest, go_on).unwrap().is_clean());
    store.close().unwrap();
    assert!(zerocask::verify(&dir, go_on).unwrap().is_clean());
    assert_eq!(open(&dir).unwrap().len(), 500);
}

#[test]
fn a_backup_on_another_file_system_is_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    store_of_many_segments(dir.path());
    let device = |dir: &Path| fs::metadata(dir).unwrap().dev();
    // Memory that looks like a disk: on Linux it is one of its own.
    let Ok(dest) = tempfile::tempdir_in("/dev/shm") else { return };
    if device(dest.path()) == device(dir.path()) {
        return;
    }
    let store = open(dir.path()).unwrap();
    let mut last = 0;
    let report = store.backup(dest.path(), |progress| {
        last = progress.done;
        ControlFlow::Continue(())
    });
    let report = report.unwrap();
    assert_eq!((report.linked, report.copied, last), (0, report.segments, report.bytes));
    assert!(zerocask::verify(dest.path(), go_on).unwrap().is_clean());
    assert_eq!(store.backup(dest.path(), go_on).unwrap().unchanged, report.segments);
    assert_eq!(open(dest.path()).unwrap().len(), 500);
}

#[test]
fn symbolic_links_do_not_hide_that_a_backup_lies_in_the_store() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, link) = (parent.path().join("store"), parent.path().join("link"));
    let store = open(&dir).unwrap();
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    let names = everything(&dir);
    for path in
        [&link, &link.join("backup"), &dir.join("../store/b"), &parent.path().join("store/a/b")]
    {
        let refused = store.backup(path, go_on);
        assert!(matches!(refused, Err(Error::BackupInside { .. })), "{path:?}: {refused:?}");
    }
    assert!(everything(&dir) == names);
}

#[test]
fn directories_that_are_not_there_yet_do_not_hide_it_either() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("store");
    let store = open(&dir).unwrap();
    let (names, inside) = (everything(&dir), |path: &str| parent.path().join(path));
    for path in ["new/../store/backup", "new/../store", "new/newer/../../store/./a/../b"] {
        let refused = store.backup(inside(path), go_on);
        assert!(matches!(refused, Err(Error::BackupInside { .. })), "{path}: {refused:?}");
    }
    assert!(everything(&dir) == names && fs::read_dir(&parent).unwrap().count() == 1);
    // What only looks like it is outside.
    store.backup(inside("store/../new/../backup"), go_on).unwrap();
    store.backup(inside("storeroom"), go_on).unwrap();
    assert!(inside("backup/MANIFEST").exists() && inside("storeroom/MANIFEST").exists());
}

#[test]
fn backups_beside_a_writer_and_a_compactor_hold_what_was_there_at_one_moment() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, dest) = (parent.path().join("store"), parent.path().join("backup"));
    let store = options().segment_size(1 << 14).open(&dir).unwrap();
    let over = AtomicBool::new(false);
    // Every round deletes what the last one put and puts the next: at each moment one or two keys, and
    // of two the later one is the successor of the other.
    let write = || {
        let mut n = 0u64;
        while !over.load(Ordering::Relaxed) {
            n += 1;
            store.put(n.to_be_bytes(), [n as u8; 300]).unwrap();
            store.delete((n - 1).to_be_bytes()).unwrap();
        }
    };
    let compact = || {
        while !over.load(Ordering::Relaxed) {
            store.compact().unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(write);
        scope.spawn(compact);
        let _over = AtTheEnd(&over);
        let mut latest = 0;
        for _ in 0..30 {
            store.backup(&dest, go_on).unwrap();
            let backup = open(&dest).unwrap();
            let keys = backup.keys().map(|key| key.unwrap()[..].try_into().unwrap());
            let mut keys: Vec<u64> = keys.map(u64::from_be_bytes).collect();
            keys.sort_unstable();
            match keys[..] {
                [] => assert_eq!(latest, 0),
                [n] => assert!(n >= latest),
                [n, next] => assert!(next >= latest && next == n + 1),
                _ => panic!("{keys:?}"),
            }
            latest = keys.last().copied().unwrap_or(0);
            backup.close().unwrap();
            assert!(zerocask::verify(&dest, go_on).unwrap().is_clean());
        }
        assert!(latest > 0);
    });
}

/// Tells other threads to end, also if a test fails.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_damaged_backup_is_repaired_without_a_change_to_the_store_that_shares_its_files() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, dest) = (parent.path().join("store"), parent.path().join("backup"));
    store_of_many_segments(&dir);
    let store = open(&dir).unwrap();
    let expected = store.backup(&dest, go_on).unwrap().segments;
    fs::write(dest.join("MANIFEST"), "gone").unwrap();
    // A file's other names come and go; that is all that may change of it. Hints come when the store has time for them.
    let all_but_times = |dir: &Path| {
        let files = everything(dir).into_iter().filter(|(name, _)| !name.contains(".hint"));
        files.map(|(name, (bytes, ino, mode, ..))| (name, (bytes, ino, mode))).collect()
    };
    let before: BTreeMap<_, _> = all_but_times(&dir);
    let data: Vec<_> = before.keys().filter(|name| name.ends_with(".data")).collect();
    // One of the backup's files is another one now, and bad in its middle.
    let bad = dest.join(data[2]);
    let mut bytes = fs::read(&bad).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&bad).unwrap();
    fs::write(&bad, bytes).unwrap();
    let report = zerocask::repair(&dest, go_on).unwrap();
    assert!(report.manifest_rebuilt && report.gone.is_empty());
    assert_eq!((report.damage.len(), report.lost.len()), (2, 1));
    assert!(zerocask::verify(&dest, go_on).unwrap().is_clean());
    let backup = open(&dest).unwrap();
    assert_eq!((backup.len(), backup.stats().segments), (499, expected));
    assert_eq!(backup.get(&report.lost[0].key).unwrap(), None);
    for key in backup.keys().map(Result::unwrap) {
        assert_eq!(backup.get(&key).unwrap(), store.get(&key).unwrap());
    }
    assert!(all_but_times(&dir) == before);
}
