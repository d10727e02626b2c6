//! How a store's files are made and opened.
//!
//! Invariants, whoever else writes to the directory:
//! - No link is followed: what is made, opened, or locked lies in the directory itself.
//! - Nothing waits: a FIFO is opened without its other end.
//! - What has been opened is a regular file, as the open file itself says.

use std::fs::{self, File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use crate::error::FileKind;

/// No link, no waiting, and no terminal that becomes the process's own. std adds `O_CLOEXEC`.
const GUARDED: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;

/// A new, empty file, to read and write. Fails if the name is taken, be it by a link that leads nowhere.
pub(super) fn create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(mode).custom_flags(GUARDED).open(path)
}

/// The regular file at `path`, to read.
pub(super) fn open(path: &Path) -> io::Result<File> {
    regular(path, OpenOptions::new().read(true))
}

/// The regular file at `path`, to be locked; an empty one if there is none.
pub(super) fn open_or_create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    regular(path, options.read(true).write(true).create(true).truncate(false).mode(mode))
}

/// The regular file at `path`, to be locked: opened to be written where that is allowed, because some network file
/// systems want it.
pub(super) fn open_to_lock(path: &Path) -> io::Result<File> {
    match regular(path, OpenOptions::new().read(true).write(true)) {
        Err(error) => match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => open(path),
            _ => Err(error),
        },
        opened => opened,
    }
}

fn regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let opened = options.custom_flags(GUARDED).open(path);
    let found = match &opened {
        Ok(file) => Some(file.metadata()?),
        // The system refuses links, directories and devices each in its own words.
        Err(_) => fs::symlink_metadata(path).ok(),
    };
    match found.and_then(|found| kind(found.file_type())) {
        None => opened,
        Some(kind) => Err(io::Error::new(io::ErrorKind::InvalidInput, kind)),
    }
}

/// What it is, if it is no regular file.
fn kind(found: FileType) -> Option<FileKind> {
    let kinds = [
        (found.is_dir(), FileKind::Directory),
        (found.is_symlink(), FileKind::SymbolicLink),
        (found.is_fifo(), FileKind::Fifo),
        (found.is_socket(), FileKind::Socket),
        (found.is_char_device() || found.is_block_device(), FileKind::Device),
        (!found.is_file(), FileKind::Other),
    ];
    kinds.into_iter().find_map(|(is_it, kind)| is_it.then_some(kind))
}
