//! What is no place for a backup.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::{backed_up, backup, data_files, dest, open_backup};
use crate::error::Error;
use crate::fs::sim::Op;
use crate::store::Store;
use crate::tests::hazards::half_dead;
use crate::tests::support::{Machine, value};
use crate::tests::verify::go_on;

fn assert_not_a_backup(machine: &Machine, store: &Store) {
    let files = || {
        let names = machine.fs.names(dest()).into_iter().filter(|name| name != "LOCK");
        names.map(|name| machine.fs.read(&dest().join(name)).unwrap()).collect::<Vec<_>>()
    };
    let before = files();
    match backup(store) {
        Err(Error::NotABackup { path }) => assert_eq!(path, dest()),
        other => panic!("{other:?}"),
    }
    assert_eq!(files(), before);
}

#[test]
fn what_is_no_backup_of_this_store_is_refused_and_left_as_it_is() {
    let machine = Machine::new(256);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    // Bare data files.
    machine.fs.write(&dest().join("00000001.data"), b"");
    assert_not_a_backup(&machine, &store);
    // Of which the manifest was lost.
    machine.fs.write(&dest().join("MANIFEST.tmp"), b"");
    assert_not_a_backup(&machine, &store);
    machine.fs.remove_file(&dest().join("00000001.data"));
    machine.fs.remove_file(&dest().join("MANIFEST.tmp"));
    // Another store.
    machine.open_at(dest()).unwrap().put("other", "store").unwrap();
    assert_not_a_backup(&machine, &store);
    // One whose manifest cannot be read.
    machine.fs.write(&dest().join("MANIFEST"), b"?");
    assert!(matches!(backup(&store), Err(Error::Inconsistent { .. })));
    assert_eq!(value(&store, "key").as_deref(), Some("value"));
}

#[test]
fn a_backup_that_was_written_to_is_refused() {
    let prepared = || {
        let machine = Machine::new(256);
        half_dead(&machine);
        let store = machine.open().unwrap();
        backup(&store).unwrap();
        let copy = open_backup(&machine).unwrap();
        copy.put("only", "in the backup").unwrap();
        (machine, store, copy)
    };
    // It is ahead of the store.
    let (machine, store, copy) = prepared();
    copy.close().unwrap();
    assert_not_a_backup(&machine, &store);
    // It has another file under an id that the store has used since.
    store.put("only", "x".repeat(200)).unwrap();
    store.put("more", "x".repeat(200)).unwrap();
    assert_not_a_backup(&machine, &store);
    // It was not closed, so its log is behind what its manifest lists.
    let (machine, store, copy) = prepared();
    let machine = {
        drop(store);
        machine.kill()
    };
    drop(copy);
    let store = machine.open().unwrap();
    for n in 0..9 {
        store.put(format!("{n}"), "x".repeat(200)).unwrap();
    }
    assert_not_a_backup(&machine, &store);
}

#[test]
fn a_destination_in_the_store_or_in_use_is_refused() {
    let machine = Machine::new(256);
    let store = machine.open().unwrap();
    store.put("key", "value").unwrap();
    let names = machine.fs.names(Machine::dir());
    for path in [Machine::dir().to_path_buf(), Machine::path("backup"), Machine::path("a/b")] {
        match store.backup(&path, go_on) {
            Err(Error::BackupInside { path: inside, store }) => {
                assert_eq!((inside, store), (path, PathBuf::from(Machine::dir())));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(machine.fs.names(Machine::dir()), names);
    backup(&store).unwrap();
    let open = open_backup(&machine).unwrap();
    assert!(matches!(backup(&store), Err(Error::Locked { .. })));
    drop(open);
    backup(&store).unwrap();
    let other = store.clone();
    store.close().unwrap();
    assert!(matches!(backup(&other), Err(Error::Closed)));
}

#[test]
fn a_backup_that_was_written_to_is_refused_whatever_has_become_of_the_store() {
    let writes: [fn(&Store); 3] = [
        |copy| copy.put("only", "in the backup").unwrap(),
        |copy| assert!(copy.delete("a").unwrap()),
        |copy| assert!(copy.compact().unwrap().segments_removed > 0),
    ];
    for write in writes {
        let machine = Machine::new(256);
        half_dead(&machine);
        let store = machine.open().unwrap();
        backup(&store).unwrap();
        let copy = open_backup(&machine).unwrap();
        write(&copy);
        copy.close().unwrap();
        // The store has handed out more ids than the backup, and no file of the same id is left.
        for n in 0..9 {
            store.put("more", format!("{n}").repeat(200)).unwrap();
        }
        store.compact().unwrap();
        assert_not_a_backup(&machine, &store);
    }
}

#[test]
fn a_store_that_is_an_older_copy_of_itself_does_not_replace_its_backup() {
    let machine = Machine::new(256);
    half_dead(&machine);
    machine.open().unwrap().close().unwrap();
    let older = machine.copy();
    let store = machine.open().unwrap();
    store.put("a", "newer".repeat(40)).unwrap();
    backup(&store).unwrap();
    for name in machine.fs.names(dest()) {
        let path = dest().join(name);
        older.fs.write(&path, &machine.fs.read(&path).unwrap());
    }
    let store = older.open().unwrap();
    assert_not_a_backup(&older, &store);
    // It has handed out the same ids meanwhile, to other files.
    store.put("a", "other".repeat(40)).unwrap();
    for n in 0..9 {
        store.put("b", format!("{n}").repeat(200)).unwrap();
    }
    assert_not_a_backup(&older, &store);
}

#[test]
fn an_id_that_was_given_up_is_no_sign_of_another_writer() {
    let machine = Machine::new(256);
    half_dead(&machine);
    let store = machine.open().unwrap();
    machine.fs.fail_next(Op::Create, ".data", ErrorKind::StorageFull);
    assert!(store.put("key", "value").is_err());
    backup(&store).unwrap();
    store.close().unwrap();
    backup(&machine.open().unwrap()).unwrap();
}

#[test]
fn a_first_backup_that_came_to_nothing_is_no_empty_store() {
    let machine = Machine::new(256);
    let expected = half_dead(&machine);
    let store = machine.open().unwrap();
    machine.fs.refuse_links();
    machine.fs.fail_next(Op::Create, ".data.tmp", ErrorKind::StorageFull);
    assert!(backup(&store).is_err());
    assert!(data_files(&machine).is_empty());
    for create in [true, false] {
        let mut machine = machine.clone();
        machine.options = machine.options.create(create);
        match machine.open_at(dest()) {
            Err(Error::MissingManifest { witness, .. }) => {
                assert_eq!(witness, dest().join("MANIFEST.tmp"));
            }
            other => panic!("{other:?}"),
        }
    }
    backup(&store).unwrap();
    assert_eq!(backed_up(&machine), expected);
}
