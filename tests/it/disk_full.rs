//! A disk that is full, for real: a small ext4 image, mounted. Skipped, with a message, where that is not
//! allowed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use zerocask::{Compaction, Error, Options, Store};

use crate::support::options;

const DISK_LEN: u64 = 8 << 20;
const BLOCK: u64 = 1024;
/// No multiple of a block: what is in the last one of a segment has its room on the disk already.
const SEGMENT_SIZE: u64 = 100_000;

/// A file system of its own. Unmounted when dropped, after all that is open in it.
struct Disk {
    dir: TempDir,
}

impl Disk {
    /// `None`, and why on stdout, if it cannot be mounted here.
    fn mount() -> Option<Disk> {
        let disk = Disk { dir: tempfile::tempdir().unwrap() };
        let image = disk.dir.path().join("image");
        File::create(&image).unwrap().set_len(DISK_LEN).unwrap();
        fs::create_dir(disk.root()).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-b", "1024"]).arg(&image))
            .and_then(|()| {
                run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.root()))
            })
            .inspect_err(|why| println!("skipped: no disk of our own can be mounted: {why}"))
            .ok()?;
        Some(disk)
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn store(&self) -> PathBuf {
        self.root().join("store")
    }

    /// A file that fills the disk to the last byte.
    fn fill(&self, name: &str) -> PathBuf {
        let path = self.root().join(name);
        let mut file = File::create(&path).unwrap();
        for piece in [1 << 16, 1 << 12, 1] {
            while let Ok(written) = file.write(&vec![1; piece]) {
                assert!(written > 0);
            }
        }
        assert_eq!(file.write(&[1]).unwrap_err().kind(), ErrorKind::StorageFull);
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It is not there if mounting failed. A test that panics may still hold files.
        if run(Command::new("umount").arg(self.root())).is_err() {
            let _ = run(Command::new("umount").arg("-l").arg(self.root()));
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    output.status.success().then_some(()).ok_or_else(|| format!("{command:?}: {told}"))
}

fn small_segments() -> Options {
    // What is full stays so.
    options().segment_size(SEGMENT_SIZE).compaction(Compaction::Manual)
}

#[track_caller]
fn assert_full<T: std::fmt::Debug>(result: Result<T, Error>) -> PathBuf {
    match result {
        Err(Error::Io { path, source, .. }) if source.kind() == ErrorKind::StorageFull => path,
        other => panic!("the disk is full: {other:?}"),
    }
}

/// A store and what should be in it.
struct Checked {
    store: Store,
    model: BTreeMap<String, Vec<u8>>,
}

impl Checked {
    fn open(dir: &Path, model: BTreeMap<String, Vec<u8>>) -> Self {
        let checked = Checked { store: small_segments().open(dir).unwrap(), model };
        checked.check();
        checked
    }

    fn put(&mut self, key: &str, value: Vec<u8>) -> Result<(), Error> {
        let put = self.store.put(key, &value);
        if put.is_ok() {
            self.model.insert(key.to_owned(), value);
        }
        put
    }

    fn check(&self) {
        for (key, value) in &self.model {
            assert_eq!(&self.store.get(key).unwrap().unwrap()[..], &value[..], "{key}");
        }
        assert_eq!(self.store.len(), self.model.len());
    }

    fn reopen(self, dir: &Path) -> Self {
        self.store.close().unwrap();
        let reopened = Checked::open(dir, self.model);
        assert!(reopened.store.recovery_report().is_clean());
        reopened
    }
}

fn value(n: usize) -> Vec<u8> {
    vec![n as u8; 500 + n * 37 % 2000]
}

#[test]
fn on_a_full_disk_writes_are_errors_and_nothing_is_lost() {
    let Some(disk) = Disk::mount() else { return };
    let mut checked = Checked::open(&disk.store(), BTreeMap::new());
    let ballast = disk.root().join("ballast");
    fs::write(&ballast, vec![1; 3 << 20]).unwrap();

    // Appending and rotation: until nothing fits, with keys old and new.
    let mut full = 0;
    for n in 0..20_000 {
        let key = format!("{}", n % 800);
        match checked.put(&key, value(n)) {
            Ok(()) => {}
            refused => {
                assert_full(refused);
                full += 1;
                if full > 50 {
                    break;
                }
            }
        }
    }
    assert!(full > 50, "the disk fills up");
    checked.check();
    // Compaction needs room for what is live once more.
    assert_full(checked.store.compact());
    checked.check();
    let _ = checked.store.sync();
    checked.check();

    // With room again, all of that goes on as if nothing had been.
    fs::remove_file(ballast).unwrap();
    for n in 0..500 {
        checked.put(&format!("{n}"), value(n + 7)).unwrap();
    }
    assert!(checked.store.delete("5").unwrap());
    checked.model.remove("5");
    checked.check();
    checked.store.compact().unwrap();
    checked.store.sync().unwrap();
    checked.check();
    checked.reopen(&disk.store());
}

#[test]
fn on_a_full_disk_no_segment_is_sealed_without_its_manifest() {
    let Some(disk) = Disk::mount() else { return };
    let mut checked = Checked::open(&disk.store(), BTreeMap::new());
    checked.put("0", vec![6; 200]).unwrap();
    // A sealed segment with a dead record, and an active one that has begun its last block.
    let active = disk.store().join("00000002.data");
    let last_block = SEGMENT_SIZE / BLOCK * BLOCK;
    for n in 0.. {
        if fs::metadata(&active).is_ok_and(|metadata| metadata.len() > last_block) {
            break;
        }
        checked.put(&format!("{n}"), vec![7; 200]).unwrap();
    }
    let filler = disk.fill("filler");
    // They fit into the last block; then the segment is full, and the manifest finds no room.
    let refused = (0..1000).find_map(|n| checked.put(&format!("small {n}"), vec![8; 10]).err());
    let manifest = disk.store().join("MANIFEST.tmp");
    assert_eq!(assert_full(Err::<(), _>(refused.unwrap())), manifest);
    assert!(checked.model.keys().any(|key| key.starts_with("small")));
    checked.check();
    assert_full(checked.put("again", vec![9; 10]));
    assert_full(checked.store.compact());
    checked.check();

    fs::remove_file(filler).unwrap();
    checked.put("again", vec![9; 10]).unwrap();
    checked.store.compact().unwrap();
    checked.check();
    let checked = checked.reopen(&disk.store());

    // Opening writes nothing. The put has begun a segment, which closing cannot take off the list.
    checked.store.close().unwrap();
    let filler = disk.fill("filler");
    let opened = Checked::open(&disk.store(), checked.model);
    assert_full(opened.store.put("new", "value"));
    opened.check();
    assert_full(opened.store.close());
    fs::remove_file(filler).unwrap();
    Checked::open(&disk.store(), opened.model).reopen(&disk.store());
}
