//! Directories that somebody has prepared: what is no file, what claims more than is there, what is not
//! the store's. Each opening ends soon, in an error or a store, within memory that does not depend on
//! what is claimed, and touches nothing outside the directory.
//!
//! What could eat time or memory is opened by a child, this binary started anew, that says how much
//! memory it took and can be killed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use zerocask::record::Record;
use zerocask::{Error, FileKind, ReadMode, Result, Store};

use crate::support::{open, options};

/// Nothing here takes a hundredth of it, unless it hangs.
const HANG: Duration = Duration::from_secs(60);
const MEMORY: u64 = 200 << 20;
const DIR: &str = "ZEROCASK_TEST_HOSTILE_DIR";
const MODE: &str = "ZEROCASK_TEST_HOSTILE_READ_MODE";

/// As a mode: the directory is only read, and read again.
const READ_ONLY: &str = "read-only";

/// What `act` answers, if it does not hang.
fn in_time<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(act()));
    receiver.recv_timeout(HANG).expect("it hangs")
}

fn open_in_time(dir: &Path) -> Result<Store> {
    let dir = dir.to_owned();
    in_time(move || open(dir))
}

/// Opens, uses and reopens the directory. Prints what came of the opening.
#[test]
fn a_child_that_opens() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let mode = std::env::var(MODE).unwrap();
    let read_mode = match mode.as_str() {
        "copy" => ReadMode::Copy,
        _ => ReadMode::Mapped,
    };
    let reads_only = mode == READ_ONLY;
    let options = options().read_mode(read_mode).read_only(reads_only);
    match options.open(&dir) {
        Ok(store) if reads_only => {
            assert!(store.refresh().unwrap().is_empty());
            println!("\nopened with {} keys", store.len());
        }
        Ok(store) => {
            let found = store.len();
            store.put("new", "value").unwrap();
            // A segment that no memory holds cannot be copied, and may stay.
            let _ = store.compact();
            assert_eq!(store.get("new").unwrap().unwrap(), "value");
            store.close().unwrap();
            options.open(&dir).unwrap().close().unwrap();
            println!("\nopened with {found} keys");
        }
        Err(error) => println!("\nrefused: {error}"),
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10;
    println!("peak {peak}");
}

/// What came of opening the directory in a child.
fn open_in_child(dir: &Path, mode: &str) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["hostile::a_child_that_opens", "--exact", "--nocapture"])
        .env(DIR, dir)
        .env(MODE, mode)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(out.lines().map(Result::unwrap).collect::<Vec<_>>()));
    let lines = receiver.recv_timeout(HANG);
    if lines.is_err() {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    let lines = lines.expect("it hangs");
    assert!(status.success(), "{mode}: {status}: {lines:?}");
    let outcome = lines.iter().find(|line| is_outcome(line)).unwrap();
    let peak = lines.iter().find_map(|line| line.strip_prefix("peak ")).unwrap();
    let peak = peak.parse::<u64>().unwrap();
    assert!(peak < MEMORY, "{mode}: {outcome}: it took {} MiB", peak >> 20);
    outcome.clone()
}

fn is_outcome(line: &str) -> bool {
    line.starts_with("opened with ") || line.starts_with("refused: ")
}

/// In both modes, each on files of its own.
fn open_in_children(prepare: impl Fn(&Path), expected: impl Fn(&str, &Path) -> bool) {
    for mode in ["mapped", "copy"] {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let outcome = open_in_child(dir.path(), mode);
        assert!(expected(&outcome, dir.path()), "{mode}: {outcome}");
    }
}

fn encode(key: &str, value: &[u8]) -> Vec<u8> {
    let record = Record::plain(1, key.as_bytes(), value);
    let mut bytes = vec![0; record.len_at(0) as usize];
    record.encode_into(0, &mut bytes);
    bytes
}

/// A file of this length with these bytes at these offsets and holes elsewhere.
fn sparse(path: &Path, len: u64, parts: &[(u64, &[u8])]) {
    let file = File::create(path).unwrap();
    file.set_len(len).unwrap();
    parts.iter().for_each(|(offset, bytes)| file.write_all_at(bytes, *offset).unwrap());
}

/// A manifest of these sealed segments, each an id and a length, and this tail.
fn manifest(sealed: &[(u64, u64)], tail: &[u64]) -> Vec<u8> {
    let mut bytes = b"zerocask".to_vec();
    bytes.extend(1u32.to_be_bytes());
    bytes.extend([7; 24]);
    bytes.extend(1000u64.to_be_bytes());
    bytes.extend((sealed.len() as u32).to_be_bytes());
    bytes.extend((tail.len() as u32).to_be_bytes());
    for (id, len) in sealed {
        bytes.extend(id.to_be_bytes());
        bytes.extend(len.to_be_bytes());
        bytes.extend([0; 20]);
    }
    tail.iter().for_each(|id| bytes.extend(id.to_be_bytes()));
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

fn mkfifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// Something that is no regular file, at a path, and what it is.
type Prepared = (fn(&Path), FileKind);

const PREPARED: [Prepared; 7] = [
    (mkfifo, FileKind::Fifo),
    (|path| fs::create_dir(path).unwrap(), FileKind::Directory),
    (|path| symlink("/dev/zero", path).unwrap(), FileKind::SymbolicLink),
    (|path| symlink(path.with_extension("outside"), path).unwrap(), FileKind::SymbolicLink),
    (|path| symlink(path.file_name().unwrap(), path).unwrap(), FileKind::SymbolicLink),
    (|path| drop(UnixListener::bind(path).unwrap()), FileKind::Socket),
    (link_to_a_sound_file, FileKind::SymbolicLink),
];

fn link_to_a_sound_file(path: &Path) {
    let outside = path.with_extension("elsewhere");
    fs::write(&outside, encode("key", b"value")).unwrap();
    symlink(outside, path).unwrap();
}

#[test]
fn under_the_store_s_names_nothing_but_a_regular_file_is_opened() {
    for name in ["00000001.data", "00000007.data", "MANIFEST", "LOCK"] {
        for (prepare, kind) in PREPARED {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("00000002.data"), encode("other", b"value")).unwrap();
            let path = dir.path().join(name);
            prepare(&path);
            let before = names(dir.path());
            match open_in_time(dir.path()) {
                Err(Error::NotRegularFile { path: refused, found }) => {
                    assert_eq!((refused, found), (path.clone(), kind));
                }
                other => panic!("{name}, {kind}: {other:?}"),
            }
            let added: Vec<_> =
                names(dir.path()).into_iter().filter(|n| !before.contains(n)).collect();
            assert!(added.iter().all(|added| added == "LOCK"), "{name}, {kind}: {added:?}");
        }
    }
}

#[test]
fn a_device_is_not_opened_as_a_file() {
    for (name, kind) in
        [("00000001.data", FileType::CharacterDevice), ("LOCK", FileType::BlockDevice)]
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        if let Err(error) = mknodat(CWD, &path, kind, Mode::RUSR | Mode::WUSR, makedev(1, 5)) {
            println!("skipped: no device can be made here: {error}");
            return;
        }
        match open_in_time(dir.path()) {
            Err(Error::NotRegularFile { path: refused, found: FileKind::Device }) => {
                assert_eq!(refused, path);
            }
            // A file system that is mounted without devices.
            Err(Error::Io { path: refused, .. }) => assert_eq!(refused, path),
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    entries.map(|name| name.to_string_lossy().into_owned()).collect()
}

#[test]
fn what_stands_where_a_file_is_to_be_written_is_not_written_through() {
    let written = ["MANIFEST.tmp", "MANIFEST.first", "00000001.cut", "00000003.data.tmp"];
    for (prepare, _) in PREPARED {
        let outside = tempfile::tempdir().unwrap();
        let victim = outside.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o646)).unwrap();
        for name in written {
            let dir = tempfile::tempdir().unwrap();
            // A store with a torn tail: it needs them all.
            let store = open(dir.path()).unwrap();
            store.put("key", "value").unwrap();
            store.close().unwrap();
            fs::write(dir.path().join("00000002.data"), [b"torn".as_slice(), &[9; 50]].concat())
                .unwrap();
            let path = dir.path().join(name);
            prepare(&path);
            if path.is_symlink() {
                fs::remove_file(&path).unwrap();
                symlink(&victim, &path).unwrap();
            }
            // A directory cannot be replaced; all else is.
            if let Ok(store) = open_in_time(dir.path()) {
                assert_eq!(store.get("key").unwrap().unwrap(), "value");
                store.put("key", "new").unwrap();
                store.compact().unwrap();
                store.close().unwrap();
                assert_eq!(open(dir.path()).unwrap().get("key").unwrap().unwrap(), "new");
            } else {
                assert!(path.is_dir(), "{name}");
            }
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(fs::metadata(&victim).unwrap().permissions().mode() & 0o777, 0o646);
    }
}

#[test]
fn the_lock_is_not_made_elsewhere() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = outside.path().join("made");
    symlink(&target, dir.path().join("LOCK")).unwrap();
    assert!(matches!(open_in_time(dir.path()), Err(Error::NotRegularFile { .. })));
    assert!(!target.exists());
}

#[test]
fn the_directory_itself_may_be_a_link_and_nothing_else_that_is_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (store, link) = (dir.path().join("store"), dir.path().join("link"));
    fs::create_dir(&store).unwrap();
    symlink(&store, &link).unwrap();
    open(&link).unwrap().put("key", "value").unwrap();
    assert_eq!(open(&store).unwrap().get("key").unwrap().unwrap(), "value");
    let others: [fn(&Path); 4] = [
        mkfifo,
        |path| fs::write(path, "").unwrap(),
        |path| symlink(path.with_extension("nowhere"), path).unwrap(),
        |path| symlink(path, path).unwrap(),
    ];
    for (n, prepare) in others.into_iter().enumerate() {
        let path = dir.path().join(format!("{n}"));
        prepare(&path);
        assert!(matches!(open_in_time(&path), Err(Error::Io { .. })), "{n}");
        assert!(matches!(open_in_time(&path.join("below")), Err(Error::Io { .. })), "{n}");
    }
}

#[test]
fn zeros_for_a_terabyte_are_no_more_than_the_end_of_the_log() {
    let record = encode("key", b"value");
    let is_fine = |outcome: &str, _: &Path| {
        // Where no address space of that size is to be had, it is an error.
        outcome == "opened with 1 keys" || outcome.contains("Cannot allocate memory")
    };
    open_in_children(|dir| sparse(&dir.join("00000001.data"), 1 << 40, &[(0, &record)]), is_fine);
    open_in_children(
        |dir| {
            fs::write(dir.join("MANIFEST"), manifest(&[], &[1])).unwrap();
            sparse(&dir.join("00000001.data"), 1 << 40, &[(0, &record)]);
        },
        is_fine,
    );
    // What is long, but fits into what is to be had, is opened in both modes.
    open_in_children(
        |dir| {
            fs::write(dir.join("MANIFEST"), manifest(&[], &[1, 2])).unwrap();
            sparse(&dir.join("00000001.data"), 1 << 31, &[(0, &record)]);
            sparse(&dir.join("00000002.data"), 1 << 31, &[]);
        },
        |outcome, _| outcome == "opened with 1 keys",
    );
    // Not the last one, which may not end so.
    open_in_children(
        |dir| {
            sparse(&dir.join("00000001.data"), 1 << 31, &[(0, &record)]);
            fs::write(dir.join("00000002.data"), encode("other", b"value")).unwrap();
        },
        |outcome, _| outcome == "opened with 2 keys",
    );
}

#[test]
fn what_a_record_of_the_log_claims_to_hold_takes_who_only_reads_no_memory() {
    let record = encode("key", b"value");
    let mut claims = encode("other", b"");
    claims[16..20].copy_from_slice(&(1u32 << 30).to_be_bytes());
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("MANIFEST"), manifest(&[], &[1])).unwrap();
    let parts = [(0, &record[..]), (record.len() as u64, &claims)];
    sparse(&dir.path().join("00000001.data"), 1 << 31, &parts);
    assert_eq!(open_in_child(dir.path(), READ_ONLY), "opened with 1 keys");
}

#[test]
fn what_is_set_aside_takes_no_more_of_the_disk_than_it_did() {
    let record = encode("key", b"value");
    let len: u64 = 1 << 30;
    // It claims to be longer than the file.
    let torn = (record.len() as u64, &[0x7f; 50][..]);
    for (name, last) in [("hole", 1 << 29), ("data", len - 1)] {
        open_in_children(
            |dir| {
                fs::write(dir.join("MANIFEST"), manifest(&[], &[1])).unwrap();
                let parts = [(0, &record[..]), torn, (1 << 28, b"more"), (last, b"x")];
                sparse(&dir.join("00000001.data"), len, &parts);
            },
            |outcome, dir| {
                let cut = File::open(dir.join("00000001.cut")).unwrap();
                let metadata = cut.metadata().unwrap();
                assert_eq!(metadata.len(), len - torn.0, "{name}");
                assert!(metadata.blocks() * 512 < 1 << 20, "{name}: {}", metadata.blocks());
                let mut bytes = [0; 50];
                cut.read_exact_at(&mut bytes, 0).unwrap();
                assert_eq!(bytes, [0x7f; 50]);
                let mut byte = [0; 1];
                cut.read_exact_at(&mut byte, last - torn.0).unwrap();
                assert_eq!(byte, *b"x");
                outcome == "opened with 1 keys"
            },
        );
    }
}

#[test]
fn claims_of_the_manifest_are_checked_before_anything_is_made_for_them() {
    let sound = encode("key", b"value");
    let inconsistent = |outcome: &str, _: &Path| outcome.contains("restore the whole directory");
    for len in [1 << 60, u64::MAX, sound.len() as u64 + 1] {
        open_in_children(
            |dir| {
                fs::write(dir.join("MANIFEST"), manifest(&[(1, len)], &[])).unwrap();
                fs::write(dir.join("00000001.data"), &sound).unwrap();
            },
            inconsistent,
        );
    }
    // The manifest itself: of zeros, of a head that claims nothing, little, or all that it can.
    let head = |sealed: u32, tail: u32| {
        let mut head = manifest(&[], &[]);
        head.truncate(44);
        head.extend([sealed.to_be_bytes(), tail.to_be_bytes()].concat());
        head
    };
    let claims = [vec![], head(0, 0), head(1, 0), head(u32::MAX, u32::MAX), head(29_826_160, 0)];
    for claim in &claims {
        for len in [1 << 30, 56 + 36 * 29_826_160, 56 + (36 + 8) * u64::from(u32::MAX)] {
            open_in_children(|dir| sparse(&dir.join("MANIFEST"), len, &[(0, claim)]), inconsistent);
        }
    }
}

#[test]
fn a_record_that_claims_gigabytes_in_a_small_file_is_damage() {
    let mut claiming = encode("key", b"value");
    // The value's length: 4 GiB - 1.
    claiming[16..20].fill(0xff);
    let small = [encode("sound", b"value"), claiming].concat();
    open_in_children(
        |dir| fs::write(dir.join("00000001.data"), &small).unwrap(),
        |outcome, dir| outcome == "opened with 1 keys" && dir.join("00000001.cut").exists(),
    );
    let sealed = |dir: &Path| {
        fs::write(dir.join("00000001.data"), &small).unwrap();
        fs::write(dir.join("00000002.data"), encode("other", b"value")).unwrap();
    };
    open_in_children(sealed, |outcome, _| outcome == "opened with 2 keys");
}

#[test]
fn a_hundred_thousand_other_names_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..100_000u32 {
        let mut name = format!("{n:x}.junk").into_bytes();
        if n % 100 == 0 {
            // Not UTF-8.
            name.extend([0xff, 0xfe, b'.', b'd', b'a', b't', b'a']);
        }
        File::create(dir.path().join(std::ffi::OsStr::from_bytes(&name))).unwrap();
    }
    let store = open_in_time(dir.path()).unwrap();
    store.put("key", "value").unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    assert_eq!(open(dir.path()).unwrap().get("key").unwrap().unwrap(), "value");
    // A segment, its hint, the manifest, the checkpoint, the lock.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 100_005);
}

#[test]
fn every_store_hashes_by_a_seed_of_its_own() {
    let seed = || {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).unwrap().put("key", "value").unwrap();
        let seed = |path: PathBuf| fs::read(path).unwrap()[12..28].to_vec();
        let made = seed(dir.path().join("MANIFEST"));
        open(dir.path()).unwrap().compact().unwrap();
        assert_eq!(seed(dir.path().join("MANIFEST")), made, "it keeps its seed");
        made
    };
    let seeds: std::collections::BTreeSet<_> = (0..20).map(|_| seed()).collect();
    assert_eq!(seeds.len(), 20);
}
