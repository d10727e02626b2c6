//! What is to go, kept under names that no opening touches, with a note of what was done.
//!
//! A name that is taken is left to what has it, unless that is the same bytes: an earlier repair's, which was
//! interrupted.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::directory::{Directory, remove_stale};
use crate::error::{Error, Result};
use crate::fs::{self, File, Fs};

/// Gives a file a second name, or makes a copy where the file system has no second names. Durable when the
/// directory is synced.
pub(super) fn keep(fs: &dyn Fs, path: &Path) -> Result<PathBuf> {
    let (kept, is_kept) = name_for(fs, path)?;
    if is_kept {
        return Ok(kept);
    }
    if let Err(error) = fs.link(path, &kept) {
        tracing::debug!(path = %path.display(), %error, "copied, not linked");
        let from = open(fs, path)?;
        let len = from.len().map_err(Error::io("read the length of", path))?;
        make(fs, &kept, |to, to_path| fs::copy((&*from, path), 0..len, (to, to_path), |_| Ok(())))?;
    }
    Ok(kept)
}

/// Gives a file that no manifest lists another name. Durable when the directory is synced.
pub(super) fn set_aside(fs: &dyn Fs, path: &Path) -> Result<PathBuf> {
    match name_for(fs, path)? {
        (kept, true) => remove_stale(fs, path).map(|()| kept),
        (kept, false) => {
            let renamed = fs.rename(path, &kept);
            renamed.map_err(Error::io("rename a leftover to", &kept)).map(|()| kept)
        }
    }
}

/// Writes down for a person what was done. Durable when the directory is synced.
pub(super) fn note(fs: &dyn Fs, directory: &Directory, text: &str) -> Result<()> {
    let is_it = |file: &dyn File, path: &Path| {
        let len = file.len().map_err(Error::io("read the length of", path))?;
        if len != text.len() as u64 {
            return Ok(false);
        }
        let mut bytes = vec![0; text.len()];
        file.read_at(&mut bytes, 0).map_err(Error::io("read", path))?;
        Ok(bytes == text.as_bytes())
    };
    match free_name(fs, &directory.repair(), is_it)? {
        (_, true) => Ok(()),
        (path, false) => make(fs, &path, |file, path| {
            file.write_at(text.as_bytes(), 0).map_err(Error::io("write", path))
        }),
    }
}

/// Where a file's bytes are kept from now on, and whether they are there already.
fn name_for(fs: &dyn Fs, path: &Path) -> Result<(PathBuf, bool)> {
    let file = open(fs, path)?;
    free_name(fs, path, |there, there_path| fs::is_same((&*file, path), (there, there_path)))
}

/// The first name for what is kept of `path` that is free, or that of a file which is the one to keep.
fn free_name(
    fs: &dyn Fs,
    path: &Path,
    is_it: impl Fn(&dyn File, &Path) -> Result<bool>,
) -> Result<(PathBuf, bool)> {
    let mut n = 1;
    loop {
        let name = Directory::damaged(path, n);
        match open(fs, &name) {
            Ok(file) if is_it(&*file, &name)? => return Ok((name, true)),
            Ok(_) | Err(Error::NotRegularFile { .. }) => n += 1,
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok((name, false));
            }
            Err(error) => return Err(error),
        }
    }
}

fn open(fs: &dyn Fs, path: &Path) -> Result<Arc<dyn File>> {
    fs.open(path).map_err(Error::io("open", path))
}

/// Makes a file that is whole and durable before it has its name.
fn make(fs: &dyn Fs, path: &Path, fill: impl FnOnce(&dyn File, &Path) -> Result<()>) -> Result<()> {
    let half_written = Directory::temporary(path);
    remove_stale(fs, &half_written)?;
    let file = fs.create(&half_written).map_err(Error::io("create", &half_written))?;
    fill(&*file, &half_written)?;
    file.sync().map_err(Error::io("sync", &half_written))?;
    fs.rename(&half_written, path).map_err(Error::io("rename what is kept to", path))
}
