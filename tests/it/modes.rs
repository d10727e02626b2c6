//! Who may do what with the files that a store makes.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zerocask::Options;

use crate::support::{open, options};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The permissions of every file in the directory, but for what the store's thread is just writing.
fn modes(dir: &Path) -> BTreeMap<String, u32> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let names = names.filter(|name| !name.ends_with(".tmp"));
    names.map(|name| (name.clone(), mode(&dir.join(name)))).collect()
}

/// What the umask of this process leaves of permissions.
fn unmasked(mode: u32) -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    mode & !u32::from_str_radix(umask.trim(), 8).unwrap()
}

/// A store with a sealed segment, an active one, and all that belongs to them. Answers the permissions
/// while it is open.
fn use_store(options: &Options, dir: &Path) -> BTreeMap<String, u32> {
    let options = options.clone().segment_size(4096);
    let store = options.open(dir).unwrap();
    for n in 0..100 {
        store.put(format!("{}", n % 30), vec![n; 100]).unwrap();
    }
    store.compact().unwrap();
    store.put("active", "segment").unwrap();
    let modes = modes(dir);
    store.close().unwrap();
    modes
}

#[test]
fn what_is_made_is_the_owner_s_alone_unless_options_widen_it() {
    let cases = [
        (options(), 0o600, 0o700),
        (options().file_mode(0o640).dir_mode(0o750), 0o640, 0o750),
        (options().file_mode(0o777).dir_mode(0o777), 0o777, 0o777),
    ];
    for (options, file_mode, dir_mode) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (outer, inner) = (dir.path().join("outer"), dir.path().join("outer/store"));
        let modes = use_store(&options, &inner);
        assert_eq!((mode(&outer), mode(&inner)), (unmasked(dir_mode), unmasked(dir_mode)));
        let active = modes.keys().rfind(|name| name.ends_with(".data")).unwrap();
        assert!(modes.keys().any(|name| name.ends_with(".data") && name != active), "{modes:?}");
        for (name, &found) in &modes {
            let sealed = name.ends_with(".data") && name != active;
            let expected = if sealed { file_mode & !0o222 } else { file_mode };
            assert_eq!(found, unmasked(expected), "{name}");
        }
    }
}

#[test]
fn what_recovery_makes_is_the_owner_s_too() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("00000001.data"), [1; 100]).unwrap();
    drop(open(dir.path()).unwrap());
    let names = ["00000001.cut", "KEYDIR", "LOCK", "MANIFEST"];
    let expected = names.map(|name| (name, 0o600));
    let mut modes = modes(dir.path());
    assert!(modes.remove("00000001.data").is_some());
    assert_eq!(modes, expected.map(|(name, mode)| (name.to_owned(), unmasked(mode))).into());
}

#[test]
fn what_exists_keeps_its_permissions_but_for_the_write_bits_of_what_is_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plain");
    let data = dir.path().join("00000001.data");
    fs::copy(golden.join("00000001.data"), &data).unwrap();
    fs::write(dir.path().join("LOCK"), "").unwrap();
    for (path, mode) in [(dir.path(), 0o755), (&data, 0o4666), (&dir.path().join("LOCK"), 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    drop(open(dir.path()).unwrap());
    assert_eq!(mode(dir.path()), 0o755);
    assert_eq!((mode(&data), mode(&dir.path().join("LOCK"))), (0o4444, 0o644));
}

#[test]
fn a_repair_leaves_the_files_to_whom_they_were() {
    let cases = [
        (Options::new(), 0o644, unmasked(0o644)),
        (Options::new().file_mode(0o640), 0o644, unmasked(0o640)),
        (Options::new(), 0o600, unmasked(0o600)),
    ];
    for (repairing, before, after) in cases {
        let dir = tempfile::tempdir().unwrap();
        use_store(&options().file_mode(before), dir.path());
        let mut names = modes(dir.path()).into_keys();
        let bad = dir.path().join(names.find(|name| name.ends_with(".data")).unwrap());
        fs::set_permissions(&bad, fs::Permissions::from_mode(0o644)).unwrap();
        let mut bytes = fs::read(&bad).unwrap();
        bytes[30] ^= 1;
        fs::write(&bad, bytes).unwrap();
        let old = modes(dir.path());
        let report = repairing.repair_store(dir.path(), |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(report.damage.len(), 1);
        let mut new = modes(dir.path());
        assert_eq!(new["MANIFEST"], after, "where it was {:o}", old["MANIFEST"]);
        new.retain(|name, _| !old.contains_key(name) && !name.ends_with(".data.damaged"));
        assert!(new.len() > 1, "{new:?}");
        for (name, found) in new {
            let expected = if name.ends_with(".data") { after & !0o222 } else { after };
            assert_eq!(found, expected, "{name}");
        }
    }
}

#[cfg(feature = "cli")]
#[test]
fn kv_makes_the_owner_s_files_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let mut kv = std::process::Command::new(env!("CARGO_BIN_EXE_kv"));
    assert!(kv.arg("--dir").arg(&store).args(["put", "a", "b"]).status().unwrap().success());
    assert_eq!(mode(&store), unmasked(0o700));
    let sealed = ("00000001.data".to_owned(), unmasked(0o400));
    let others = ["00000001.hint", "KEYDIR", "LOCK", "MANIFEST"];
    let others = others.map(|name| (name.to_owned(), unmasked(0o600)));
    assert_eq!(modes(&store), BTreeMap::from_iter(others.into_iter().chain([sealed])));
}
