//! What is no place for a backup.

use std::path::PathBuf;

use super::{backup, dest, open_backup};
use crate::error::Error;
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
