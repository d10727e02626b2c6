//! A backup of a store in use, a second one that brings what is new, a mistake that it undoes, and a damaged copy
//! that is found out and mended.
//!
//! ```text
//! cargo run --release --example backup
//! ```

use std::error::Error;
use std::ops::ControlFlow::Continue;
use std::path::Path;
use std::{fs, io};

use zerocask::{Store, repair, verify};

const KEYS: u32 = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let [live, backup, damaged] = ["store", "backup", "damaged"].map(|name| dir.path().join(name));
    let store = Store::open(&live)?;
    for n in 0..KEYS {
        store.put(n.to_be_bytes(), format!("value {n}"))?;
    }
    let first = store.backup(&backup, |_| Continue(()))?;
    store.put("late", "value")?;
    let second = store.backup(&backup, |_| Continue(()))?;
    assert_eq!(second.unchanged, first.segments);
    println!("{} files, then {} new", first.segments, second.linked + second.copied);

    // A mistake, and the backup in the place of what it made.
    store.clear()?;
    store.close()?;
    fs::remove_dir_all(&live)?;
    copy(&backup, &live, |_| ())?;
    let store = Store::open(&live)?;
    assert_eq!(store.len() as u32, KEYS + 1);
    store.close()?;

    // A copy with one byte changed, of the value that was written last.
    copy(&backup, &damaged, |file| {
        if let Some(at) = file.windows(9).position(|bytes| bytes == b"value 999") {
            file[at] ^= 1;
        }
    })?;
    let report = verify(&damaged, |_| Continue(()))?;
    assert_eq!(report.damage.len(), 1);
    println!("{report}");
    let store = Store::open(&damaged)?;
    let unread = (0..KEYS).filter(|n| store.get(n.to_be_bytes()).is_err()).count();
    assert_eq!(unread, 1, "an error, and not a wrong value");
    store.close()?;

    let report = repair(&damaged, |_| Continue(()))?;
    println!("{report}");
    assert_eq!((report.salvaged_records, report.lost.len()), (u64::from(KEYS) - 1, 1));
    assert!(verify(&damaged, |_| Continue(()))?.is_clean());
    assert!(verify(&backup, |_| Continue(()))?.is_clean());
    assert_eq!(Store::open(&damaged)?.len() as u32, KEYS, "all but one, and the late one");
    Ok(())
}

/// Copies a directory's files, changed on the way.
fn copy(from: &Path, to: &Path, mut change: impl FnMut(&mut Vec<u8>)) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let mut file = fs::read(entry.path())?;
        change(&mut file);
        fs::write(to.join(entry.file_name()), file)?;
    }
    Ok(())
}
