//! Every file operation of the crate, behind one small seam: [`Fs`] and [`File`].
//!
//! [`os`] is the real one; `sim`, for tests and the fuzzer, is a disk that crashes, tears, reorders, fails and
//! fills up. Files are written by offset; bytes are read through a [`Region`], memory that shows a
//! file (or the append buffer) and grows only at its end. [`view`] says whether that is a mapping or
//! a copy.
//!
//! Must not know: records, segments, file names.

#[cfg(feature = "bytes")]
mod bytes;
mod copy;
mod os;
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(test), expect(dead_code, reason = "the tests use more of it than the fuzzer"))]
#[allow(clippy::unwrap_used)]
pub(crate) mod sim;
mod view;

use std::ffi::OsString;
use std::io;
use std::iter;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mappings::Permit;
pub(crate) use copy::{copy, is_same};
pub(crate) use os::{ALIGNMENT, Chunk, GrowingMap, OsFs, Region, prefetch, prefetch_bytes};
pub(crate) use view::{FIRST_READ, GrowingView, Reading, View, Whole};

/// A directory's operations. Names become durable with [`Fs::sync_dir`] only. No symbolic link is followed
/// at the end of a file's path, and what is opened or locked is a regular file: anything else is an error
/// with a [`FileKind`](crate::FileKind) as its cause, and nothing waits for it.
pub(crate) trait Fs: Send + Sync + 'static {
    /// Makes the directory and its parents where they are missing, durably. Those that exist are left
    /// as they are.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// The names in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;
    /// Takes the lock at `path`, making the file where it is missing. `None`: somebody holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
    /// As [`Fs::lock`], of a file that has to be there, be it to be read only.
    fn lock_existing(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
    /// A new, empty file to write and map. Fails if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// An existing file, to read and map.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Renames within a directory, replacing the target in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name on the same file system. Fails if that is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Where something that exists is, from the root and without symbolic links.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;
    /// How many bytes more fit on the file system of a directory, for who has no special rights.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
    /// Makes all earlier creations, renames, links and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file. Its bytes become durable with [`File::sync`] only.
pub(crate) trait File: Send + Sync {
    fn len(&self) -> io::Result<u64>;
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// The first part of `within` that may be anything but zeros; `None` if all of it is a hole. Where
    /// nobody can tell, and beyond the end of the file, that is everything.
    fn next_data(&self, within: Range<u64>) -> Option<Range<u64>>;
    /// Writes all of `bytes` or fails; after a failure any part of them may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    /// Clears the write bits of the file's mode. What is open for writing stays so.
    fn make_read_only(&self) -> io::Result<()>;
    /// Has the system begin to write bytes to the disk, where it knows how to, and does not wait. They are no more durable for that, but
    /// the sync that makes them so has less to wait for.
    fn start_writing(&self, offset: u64, len: u64);
    /// Asks for bytes to be read into memory, where the system knows how to, and does not wait.
    fn will_need(&self, offset: u64, len: u64) -> io::Result<()>;
    /// The file's first `len` bytes, which never change again.
    fn map(&self, path: &Arc<Path>, len: u64, permit: Permit) -> io::Result<Arc<Region>>;
    /// Room for the file to grow to `capacity` bytes; nothing of it is readable yet.
    fn map_growing(
        &self,
        path: &Arc<Path>,
        capacity: u64,
        permit: Permit,
    ) -> io::Result<GrowingMap>;
}

/// The parts of `range` that may be anything but zeros, in order. Between them are holes: whoever skips
/// those spends time and memory on what the disk holds, not on what the length of the file claims.
pub(crate) fn data(file: &dyn File, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let mut rest = range;
    iter::from_fn(move || {
        let part = file.next_data(rest.clone())?;
        rest.start = part.end;
        Some(part)
    })
}

/// A held lock, let go when dropped.
pub(crate) trait Lock: Send + Sync {}
