//! That the simulated disk can do what it says.

use std::collections::BTreeSet;

use super::disk::sectors;
use super::*;

const SEEDS: std::ops::Range<u64> = 0..200;

fn path(name: &str) -> Arc<Path> {
    Arc::from(Path::new("dir").join(name))
}

fn create(fs: &SimFs, name: &str) -> Arc<dyn File> {
    fs.create(&path(name)).unwrap()
}

/// A disk with a durable, empty file `a`, open.
fn with_file() -> (SimFs, Arc<dyn File>) {
    let fs = SimFs::new(0);
    let file = create(&fs, "a");
    fs.sync_dir(Path::new("dir")).unwrap();
    (fs, file)
}

/// What is in the file after each of many crashes.
fn outcomes(fs: &SimFs, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    SEEDS.map(|seed| fs.crash(seed).read(&path(name))).collect()
}

#[test]
fn a_crash_keeps_what_was_synced_and_any_part_of_what_was_not() {
    let (fs, file) = with_file();
    file.write_at(b"synced", 0).unwrap();
    file.sync().unwrap();
    file.write_at(b"!", 6).unwrap();
    let expected = [&b"synced"[..], b"synced!", b"synced\0"];
    assert_eq!(outcomes(&fs, "a"), expected.map(|bytes| Some(bytes.to_vec())).into());
}

#[test]
fn a_crash_tears_writes_at_sectors_of_the_file() {
    let (fs, file) = with_file();
    file.write_at(&[1; 300], 0).unwrap();
    file.sync().unwrap();
    file.write_at(&[2; 1000], 300).unwrap();
    let outcomes = outcomes(&fs, "a").into_iter().flatten().collect::<Vec<_>>();
    for bytes in &outcomes {
        assert_eq!(bytes[..300], [1; 300]);
        for (_, sector) in sectors(300, &bytes[300..]) {
            assert!(sector == vec![2; sector.len()] || sector == vec![0; sector.len()]);
        }
    }
    let torn = |bytes: &Vec<u8>| bytes.len() == 1300 && bytes[300] == 0 && bytes[1299] == 2;
    assert!(outcomes.iter().any(torn));
    assert!(outcomes.iter().any(|bytes| bytes.len() == 512));
}

#[test]
fn a_crash_keeps_or_loses_a_truncation() {
    let (fs, file) = with_file();
    file.write_at(b"abc", 0).unwrap();
    file.sync().unwrap();
    file.set_len(1).unwrap();
    assert_eq!(fs.read(&path("a")), Some(b"a".to_vec()));
    assert_eq!(outcomes(&fs, "a"), [Some(b"a".to_vec()), Some(b"abc".to_vec())].into());
}

#[test]
fn names_are_certain_once_the_directory_is_synced() {
    let (from, to, dir) = (path("from"), path("to"), Path::new("dir"));
    let fs = SimFs::new(0);
    fs.write(&to, b"old");
    fs.create(&from).unwrap().write_at(b"new", 0).unwrap();
    fs.open(&from).unwrap().sync().unwrap();
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    assert_eq!(outcomes(&fs, "from"), [None, new.clone()].into());

    // What crashed only on trial goes on as if the process alone had died.
    let fs = fs.kill();
    fs.rename(&from, &to).unwrap();
    fs.fail_next(Op::SyncDir, "dir", 5);
    assert_eq!(fs.sync_dir(dir).unwrap_err().raw_os_error(), Some(5));
    fs.sync_dir(Path::new("other")).unwrap();
    assert_eq!(outcomes(&fs, "to"), [old, new.clone()].into());

    let fs = fs.kill();
    fs.sync_dir(dir).unwrap();
    assert_eq!(outcomes(&fs, "to"), [new.clone()].into());
    assert_eq!(fs.names(dir), ["to"]);

    let fs = fs.kill();
    fs.remove(&to).unwrap();
    assert_eq!(outcomes(&fs, "to"), [None, new].into());
    let fs = fs.kill();
    fs.sync_dir(dir).unwrap();
    assert_eq!(outcomes(&fs, "to"), [None].into());
    assert!(fs.machine.lock().disk.inodes.is_empty());
}

#[test]
fn a_second_name_is_certain_once_its_own_directory_is_synced() {
    let (fs, file) = with_file();
    file.write_at(b"bytes", 0).unwrap();
    file.sync().unwrap();
    let other = Path::new("other/b");
    fs.link(&path("a"), other).unwrap();
    fs.sync_dir(Path::new("dir")).unwrap();
    let bytes = Some(b"bytes".to_vec());
    let outcomes =
        |fs: &SimFs| SEEDS.map(|seed| fs.crash(seed).read(other)).collect::<BTreeSet<_>>();
    assert_eq!(outcomes(&fs), [None, bytes.clone()].into());

    let fs = fs.kill();
    assert_eq!(fs.total_len(), 5, "it takes no room");
    fs.sync_dir(Path::new("other")).unwrap();
    assert_eq!(outcomes(&fs), [bytes.clone()].into());
    // Either name goes without the other.
    let fs = fs.kill();
    fs.remove(&path("a")).unwrap();
    fs.sync_dir(Path::new("dir")).unwrap();
    assert_eq!(outcomes(&fs), [bytes].into());
    let fs = fs.kill();
    assert!(fs.open(&path("a")).is_err());
    fs.fail_next(Op::Link, "again", 18);
    assert_eq!(fs.link(other, &path("again")).unwrap_err().raw_os_error(), Some(18));
    assert_eq!(fs.trace().last(), None);
}

#[test]
fn a_failed_sync_drops_the_dirty_pages_that_reads_still_see() {
    let (fs, file) = with_file();
    file.write_at(b"lost", 0).unwrap();
    fs.fail_next(Op::Sync, "a", io::ErrorKind::Other);
    assert!(file.sync().is_err());
    file.sync().unwrap();
    let mut seen = [0; 4];
    file.read_at(&mut seen, 0).unwrap();
    assert_eq!(&seen, b"lost");
    file.write_at(b"kept", 4).unwrap();
    file.sync().unwrap();
    assert_eq!(outcomes(&fs, "a"), [Some(b"\0\0\0\0kept".to_vec())].into());
}

#[test]
fn mappings_see_later_writes() {
    let (fs, file) = with_file();
    let permit = crate::mappings::Mappings::apart(2);
    let growing = file.map_growing(&path("a"), 100, permit.take().unwrap()).unwrap();
    file.write_at(b"hello", 0).unwrap();
    growing.publish(5);
    let sealed = fs.open(&path("a")).unwrap().map(&path("a"), 5, permit.take().unwrap()).unwrap();
    assert_eq!(growing.region().get(0..5), Some(&b"hello"[..]));
    fs.write(&path("a"), b"jello");
    assert_eq!(sealed.get(0..5), Some(&b"jello"[..]));
    assert_eq!(outcomes(&fs, "a"), [Some(b"jello".to_vec())].into());
}

#[test]
fn a_machine_that_lost_power_does_nothing() {
    let (fs, file) = with_file();
    let lock = fs.lock(&path("lock")).unwrap().unwrap();
    let before = fs.operations();
    fs.crash_at(1);
    file.write_at(b"first", 0).unwrap();
    assert!(file.write_at(b"second", 5).is_err());
    assert!(fs.is_down());
    assert!(b"firstsecond".starts_with(&fs.read(&path("a")).unwrap()));
    assert!(file.len().is_err() && file.sync().is_err() && file.read_at(&mut [], 0).is_err());
    assert!(fs.list(Path::new("dir")).is_err() && fs.open(&path("a")).is_err());
    assert!(fs.lock(&path("lock")).is_err() && fs.create(&path("b")).is_err());
    assert_eq!(fs.operations() - before, 2);

    let next = fs.crash(1);
    assert!(!next.is_down() && next.operations() == 0);
    let _lock = next.lock(&path("lock")).unwrap().unwrap();
    drop(lock);
    assert!(next.lock(&path("lock")).unwrap().is_none());
}

#[test]
fn a_killed_process_leaves_everything_behind_it_pending() {
    let (fs, file) = with_file();
    let _lock = fs.lock(&path("lock")).unwrap().unwrap();
    file.write_at(b"abc", 0).unwrap();
    fs.crash_at(9);
    let next = fs.kill();
    assert!(file.write_at(b"d", 3).is_err() && fs.is_down());
    assert_eq!(next.read(&path("a")), Some(b"abc".to_vec()));
    assert!(next.lock(&path("lock")).unwrap().is_some());
    assert_eq!(next.operations(), 0);
    assert!(outcomes(&next, "a").contains(&Some(Vec::new())));
}

#[test]
fn what_is_to_come_does_not_end_with_the_process_but_with_the_power() {
    let (fs, _file) = with_file();
    fs.fail_at(1, None, io::ErrorKind::Other);
    fs.crash_at(3);
    let next = fs.kill();
    create(&next, "b");
    assert!(next.create(&path("c")).is_err() && !next.is_down());
    assert_eq!((next.failures(), fs.failures()), (1, 0));
    next.fail_at(9, None, io::ErrorKind::Other);
    create(&next, "c");
    assert!(next.create(&path("d")).is_err() && next.is_down());
    assert_eq!(next.failures(), 1, "a machine that is down does nothing");
    let fs = next.kill();
    create(&fs, "d");
    assert!(!fs.is_armed() && !next.crash(0).is_armed());
}

#[test]
fn only_a_held_lock_refuses() {
    let fs = SimFs::new(0);
    let lock = fs.lock(&path("lock")).unwrap().unwrap();
    assert!(fs.lock(&path("lock")).unwrap().is_none());
    drop(lock);
    assert!(fs.lock(&path("lock")).unwrap().is_some());
    assert_eq!(fs.trace(), [(Op::Create, path("lock").to_path_buf())]);
    assert_eq!(fs.operations(), 1);
}

#[test]
fn a_full_disk_takes_what_fits() {
    let (fs, file) = with_file();
    fs.set_capacity(Some(10));
    let full = |result: io::Result<()>| result.unwrap_err().kind() == io::ErrorKind::StorageFull;
    file.write_at(b"12345678", 0).unwrap();
    assert!(full(file.write_at(b"9abc", 8)));
    assert_eq!(fs.read(&path("a")), Some(b"123456789a".to_vec()));
    file.write_at(b"in place", 0).unwrap();
    file.set_len(8).unwrap();
    assert!(full(create(&fs, "b").write_at(b"abc", 0)));
    assert_eq!((fs.total_len(), fs.failures()), (10, 2));
    fs.remove_file(&path("b"));
    assert_eq!((fs.total_len(), fs.names(Path::new("dir"))), (8, vec!["a".to_owned()]));
}

#[test]
fn faults_hit_the_operation_they_are_meant_for_once() {
    let (fs, file) = with_file();
    let other = create(&fs, "other");
    fs.fail_next(Op::Write, "other", io::ErrorKind::StorageFull);
    fs.fail_at(1, Some(Op::SetLen), 5);
    file.write_at(b"abc", 0).unwrap();
    assert_eq!(other.write_at(b"abc", 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    other.write_at(b"abc", 0).unwrap();
    file.set_len(2).unwrap();
    assert_eq!(other.set_len(2).unwrap_err().raw_os_error(), Some(5));
    assert_eq!(fs.read(&path("other")), Some(b"abc".to_vec()));

    fs.fail_at(1, None, io::ErrorKind::Other);
    fs.rename(&path("other"), &path("b")).unwrap();
    assert!(other.make_read_only().is_err() && !fs.is_read_only(&path("b")));
    other.make_read_only().unwrap();
    assert!(fs.is_read_only(&path("b")));
    let expected = [
        (Op::Create, "a"),
        (Op::SyncDir, ""),
        (Op::Create, "other"),
        (Op::Write, "a"),
        (Op::Write, "other"),
        (Op::SetLen, "a"),
        (Op::Rename, "b"),
        (Op::MakeReadOnly, "b"),
    ];
    assert_eq!(fs.trace(), expected.map(|(op, name)| (op, path(name).to_path_buf())));
}

#[test]
fn names_are_taken_or_missing() {
    let (fs, _) = with_file();
    let kind = |result: io::Result<()>| result.unwrap_err().kind();
    assert_eq!(kind(fs.create(&path("a")).map(drop)), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.open(&path("b")).map(drop)), io::ErrorKind::NotFound);
    assert_eq!(kind(fs.link(&path("b"), &path("c"))), io::ErrorKind::NotFound);
    assert_eq!(kind(fs.link(&path("a"), &path("a"))), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.remove(&path("b"))), io::ErrorKind::NotFound);
    assert_eq!(kind(fs.rename(&path("b"), &path("a"))), io::ErrorKind::NotFound);
    assert_eq!(fs.list(Path::new("dir")).unwrap(), ["a"]);
}

#[test]
fn a_process_that_dies_lets_go_of_its_locks_and_leaves_the_others_alone() {
    let (fs, file) = with_file();
    let other = fs.process();
    let held = fs.lock(&path("LOCK")).unwrap();
    assert!(held.is_some() && other.lock(&path("LOCK")).unwrap().is_none());
    fs.end_process();
    assert!(file.write_at(b"late", 0).is_err() && fs.open(&path("a")).is_err());
    let next = other.lock(&path("LOCK")).unwrap();
    assert!(next.is_some());
    drop(held);
    assert!(fs.process().lock(&path("LOCK")).unwrap().is_none(), "the dead hold nothing");
    assert_eq!(other.open(&path("a")).unwrap().len().unwrap(), 0);
}

#[test]
fn a_process_that_may_only_read_changes_nothing_and_what_it_tries_is_counted() {
    let (fs, _file) = with_file();
    let reading = fs.process_that_reads();
    let (a, before) = (path("a"), fs.operations());
    let file = reading.open(&a).unwrap();
    assert_eq!((file.len().unwrap(), reading.trespasses()), (0, 0));
    let refused = [
        reading.create_dir_all(Path::new("dir")).is_err(),
        reading.lock(&path("LOCK")).is_err(),
        reading.create(&path("b")).is_err(),
        reading.rename(&a, &path("b")).is_err(),
        reading.remove(&a).is_err(),
        reading.sync_dir(Path::new("dir")).is_err(),
        file.sync().is_err(),
        file.make_read_only().is_err(),
    ];
    assert_eq!(refused, [true; 8]);
    assert_eq!((reading.trespasses(), fs.trespasses()), (8, 0));
    assert_eq!((fs.operations(), fs.names(Path::new("dir"))), (before, vec!["a".to_owned()]));
}

#[test]
fn what_is_to_happen_at_a_look_happens_before_that_one_alone() {
    let (fs, file) = with_file();
    let acting = fs.clone();
    fs.at_look(2, move || drop(acting.create(&path("new")).unwrap()));
    assert_eq!(fs.list(Path::new("dir")).unwrap().len(), 1);
    file.len().unwrap();
    assert_eq!(fs.list(Path::new("dir")).unwrap().len(), 2);
    assert!(!fs.forget_look());
    fs.at_look(0, || panic!("it was forgotten"));
    assert!(fs.forget_look());
    file.len().unwrap();
}
