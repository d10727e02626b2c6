//! Files that are to go, kept under names that no opening touches.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::directory::{Directory, remove_stale};
use crate::error::{Error, Result};
use crate::fs::{self, Fs};

/// Gives a file a second name, or makes a copy where the file system has no second names. Durable when the
/// directory is synced.
pub(super) fn keep(fs: &dyn Fs, path: &Path) -> Result<PathBuf> {
    let mut n = 1;
    loop {
        let kept = Directory::damaged(path, n);
        match fs.link(path, &kept) {
            Ok(()) => return Ok(kept),
            // An earlier repair's: of another file, or it died.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => n += 1,
            Err(_) if fs.open(&kept).is_ok() => n += 1,
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "copied, not linked");
                return copy(fs, path, &kept).map(|()| kept);
            }
        }
    }
}

fn copy(fs: &dyn Fs, path: &Path, kept: &Path) -> Result<()> {
    let half_written = Directory::temporary(kept);
    remove_stale(fs, &half_written)?;
    let from = fs.open(path).map_err(Error::io("open", path))?;
    let len = from.len().map_err(Error::io("read the length of", path))?;
    let to = fs.create(&half_written).map_err(Error::io("create", &half_written))?;
    fs::copy((&*from, path), 0..len, (&*to, &half_written), |_| Ok(()))?;
    to.sync().map_err(Error::io("sync", &half_written))?;
    fs.rename(&half_written, kept).map_err(Error::io("rename a damaged file to", kept))
}
