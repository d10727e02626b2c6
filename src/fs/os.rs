//! The real file system, by std and memmap2, and the only memory that is shared while it grows.
//!
//! Invariants (docs/design.md, "Memory"):
//! - **M1, published bytes never change.** A [`Region`] is readable below its published length only.
//!   Nothing in this process writes below it: a [`Chunk`] writes above it, a file is appended at or
//!   above it, and no mapped file is truncated below it. The length only grows; the one exception,
//!   reuse of a chunk, needs proof that nobody else holds the region or a snapshot of it.
//! - **M2, published bytes are there.** A mapping is at least as long as its published length, and so
//!   is the file under it when it is published.
//! - **M3, the files belong to the store while it is open.** Another program that truncates one or
//!   edits it in place breaks M1 and M2 (a bus error, or changed bytes), as with LMDB. It is the
//!   contract of `Store::open`.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{MmapMut, MmapOptions, MmapRaw};

use super::{File, Fs, Lock};

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;
/// Enough for the header, the key and a small value.
const PREFETCH_LINES: usize = 4;
/// From here on the processor has seen by itself that the bytes are read one after another.
const PREFETCH_COPIED_LINES: usize = 8;

/// Asks the processor for the cache line at an address, which need not be one of anything.
#[inline]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and faults at no address.
        #[expect(unsafe_code, reason = "the instruction is an unsafe function")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(address.cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks the processor for bytes that somebody is about to copy, as far as that pays.
pub(crate) fn prefetch_bytes(bytes: &[u8]) {
    bytes.chunks(CACHE_LINE).take(PREFETCH_COPIED_LINES).for_each(|line| prefetch(line.as_ptr()));
}

/// Memory that shows a file's bytes from `base` on, readable up to a published length.
pub(crate) struct Region {
    /// Shared with snapshots alone.
    map: Arc<MmapRaw>,
    published: AtomicUsize,
    /// The file whose bytes these are, now or once they are flushed.
    path: Arc<Path>,
    /// The offset in the file of the region's first byte.
    base: u64,
    #[cfg(feature = "bytes")]
    pub(super) shared: super::bytes::Shared,
}

impl Region {
    fn new(map: MmapRaw, published: usize, path: &Arc<Path>, base: u64) -> Self {
        Region {
            map: Arc::new(map),
            published: AtomicUsize::new(published),
            path: Arc::clone(path),
            base,
            #[cfg(feature = "bytes")]
            shared: Default::default(),
        }
    }

    /// A region of its own that shows what is published now, in the same memory.
    #[cfg(feature = "bytes")]
    pub(super) fn snapshot(&self) -> Region {
        Region {
            map: Arc::clone(&self.map),
            published: AtomicUsize::new(self.published()),
            path: Arc::clone(&self.path),
            base: self.base,
            shared: Default::default(),
        }
    }

    /// The region to be changed, if nobody else can reach its memory: through it or a snapshot of it.
    fn unshared(region: &mut Arc<Self>) -> Option<&mut Self> {
        let region = Arc::get_mut(region)?;
        #[cfg(feature = "bytes")]
        region.shared.clear();
        Arc::get_mut(&mut region.map)?;
        Some(region)
    }

    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// The offset in the file of the region's first byte.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// How many bytes are readable now.
    #[inline]
    pub(crate) fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// The readable bytes at `range`, or `None` if it reaches beyond them.
    #[inline]
    pub(crate) fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        if range.start > range.end || range.end > self.published() {
            return None;
        }
        // SAFETY: the range lies below the published length, so the bytes are mapped (M2) and nobody
        // writes them while the slice lives, which borrows the region (M1, M3). The Acquire load of
        // the length pairs with the Release store in `publish`, so they are seen as written.
        #[expect(unsafe_code, reason = "slices of memory that grows beyond them")]
        Some(unsafe {
            slice::from_raw_parts(self.map.as_ptr().add(range.start), range.end - range.start)
        })
    }

    /// The readable bytes from `start` on, or `None` if it lies beyond them.
    #[inline(always)]
    pub(crate) fn get_from(&self, start: usize) -> Option<&[u8]> {
        let published = self.published();
        // SAFETY: as in `get`: the range ends at the published length.
        #[expect(unsafe_code, reason = "slices of memory that grows beyond them")]
        (start <= published).then(|| unsafe {
            slice::from_raw_parts(self.map.as_ptr().add(start), published - start)
        })
    }

    /// Asks the processor for the first bytes from `start` on, which somebody is about to read.
    #[inline]
    pub(crate) fn prefetch(&self, start: usize) {
        for line in 0..PREFETCH_LINES {
            prefetch(self.map.as_ptr().wrapping_add(start + line * CACHE_LINE));
        }
    }

    fn publish(&self, len: usize) {
        debug_assert!(len <= self.map.len() && len >= self.published());
        self.published.store(len.min(self.map.len()), Ordering::Release);
    }
}

/// The mapping of a file that is being appended to. The one handle that can publish.
pub(crate) struct GrowingMap {
    region: Arc<Region>,
}

impl GrowingMap {
    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Makes the file's first `len` bytes readable. The caller has written them all and will write
    /// none of them again (M1, M2).
    pub(crate) fn publish(&self, len: u64) {
        self.region.publish(len as usize);
    }
}

/// A piece of the append buffer: anonymous memory that shows the file's bytes from `base` on before
/// they are in the file. The one handle that can write to its region.
pub(crate) struct Chunk {
    region: Arc<Region>,
}

impl Chunk {
    /// Chunks begin at a file offset that is a multiple of this, at an address that is one too, so
    /// that what is aligned in the file is aligned in the chunk.
    pub(crate) const ALIGNMENT: u64 = 128;

    /// A chunk of `capacity` bytes for the bytes of `path` from `start` on.
    pub(crate) fn new(path: &Arc<Path>, start: u64, capacity: usize) -> io::Result<Self> {
        let (base, skip) = Self::split(start);
        let map = MmapRaw::from(MmapMut::map_anon(capacity)?);
        Ok(Chunk { region: Arc::new(Region::new(map, skip.min(capacity), path, base)) })
    }

    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// The memory above what is published: only this handle can reach it.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        let published = self.region.published();
        let len = self.region.map.len() - published;
        // SAFETY: the bytes are mapped and initialised (anonymous memory is zeroed) and lie above
        // the published length, where `Region::get` hands out nothing (M1); `&mut self` on the only
        // handle that writes excludes a second such slice.
        #[expect(unsafe_code, reason = "the append buffer is written while readers hold slices")]
        unsafe {
            slice::from_raw_parts_mut(self.region.map.as_mut_ptr().add(published), len)
        }
    }

    /// The bytes from file offset `from` on, with `staged` more than are published: those that the
    /// caller has filled through [`Chunk::spare`]. `None` if the chunk does not hold them all.
    pub(crate) fn staged(&mut self, from: u64, staged: usize) -> Option<&[u8]> {
        let start = usize::try_from(from.checked_sub(self.region.base)?).ok()?;
        let end = self.region.published().checked_add(staged)?;
        if start > end || end > self.region.map.len() {
            return None;
        }
        // SAFETY: the bytes are mapped and initialised (anonymous memory is zeroed); those below the
        // published length never change (M1), those above are written through this handle alone,
        // which the slice borrows mutably.
        #[expect(unsafe_code, reason = "the write to the file covers bytes not published yet")]
        Some(unsafe { slice::from_raw_parts(self.region.map.as_ptr().add(start), end - start) })
    }

    /// Makes `len` more bytes readable, which the caller has filled through [`Chunk::spare`].
    pub(crate) fn publish(&mut self, len: usize) {
        self.region.publish(self.region.published() + len);
    }

    /// Empties the chunk for the bytes from `start` on, unless somebody else holds its memory.
    pub(crate) fn reuse(&mut self, start: u64) -> bool {
        let (base, skip) = Self::split(start);
        // No reader is left, so taking bytes back is sound (M1).
        match Region::unshared(&mut self.region) {
            Some(region) if skip <= region.map.len() => {
                region.base = base;
                *region.published.get_mut() = skip;
                true
            }
            _ => false,
        }
    }

    fn split(start: u64) -> (u64, usize) {
        let skip = start % Self::ALIGNMENT;
        (start - skip, skip as usize)
    }
}

/// The operating system's file system.
pub(crate) struct OsFs;

impl Fs for OsFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if parent == dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        self.create_dir_all(parent)?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => {
                Err(error)
            }
            _ => self.sync_dir(parent),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(OsLock { file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Arc::new(OsFile { file }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        // Opening a FIFO would wait for its other end.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Arc::new(OsFile { file: fs::File::open(path)? }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }
}

struct OsLock {
    file: fs::File,
}

impl Lock for OsLock {}

impl Drop for OsLock {
    fn drop(&mut self) {
        // Closing the file does not do: a child that another thread is just starting has a copy of
        // the descriptor, and with it the lock, until it runs its program.
        let _ = self.file.unlock();
    }
}

pub(super) struct OsFile {
    file: fs::File,
}

impl OsFile {
    #[cfg(test)]
    pub(super) fn new(file: fs::File) -> Self {
        OsFile { file }
    }
}

impl File for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn make_read_only(&self) -> io::Result<()> {
        let mut permissions = self.file.metadata()?.permissions();
        permissions.set_mode(permissions.mode() & !0o222);
        self.file.set_permissions(permissions)
    }

    fn map(&self, path: &Arc<Path>, len: u64) -> io::Result<Arc<Region>> {
        let found = self.len()?;
        if found < len {
            let message = format!("expected {len} bytes to map, found {found}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        let map = self.map_growing(path, len)?;
        map.publish(len);
        Ok(map.region)
    }

    fn map_growing(&self, path: &Arc<Path>, capacity: u64) -> io::Result<GrowingMap> {
        let capacity = usize::try_from(capacity).map_err(io::Error::other)?;
        let map = MmapOptions::new().len(capacity).map_raw_read_only(&self.file)?;
        Ok(GrowingMap { region: Arc::new(Region::new(map, 0, path, 0)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> Arc<Path> {
        Arc::from(Path::new("test"))
    }

    #[test]
    fn m1_nothing_above_the_published_length_can_be_read() {
        let mut chunk = Chunk::new(&path(), 0, 4096).unwrap();
        chunk.spare()[..3].copy_from_slice(b"abc");
        assert_eq!(chunk.region().get(0..1), None);
        chunk.publish(3);
        assert_eq!(chunk.region().get(0..3), Some(&b"abc"[..]));
        assert_eq!(chunk.region().get(0..4), None);
        assert_eq!(chunk.region().get(4..4), None);
        #[expect(clippy::reversed_empty_ranges)]
        let reversed = chunk.region().get(2..1);
        assert_eq!(reversed, None);
        assert_eq!(chunk.region().get(usize::MAX..usize::MAX), None);
    }

    #[test]
    fn m1_a_chunk_that_a_reader_holds_is_not_reused() {
        let mut chunk = Chunk::new(&path(), 0, 4096).unwrap();
        chunk.publish(100);
        let reader = Arc::clone(chunk.region());
        assert!(!chunk.reuse(128));
        assert_eq!(reader.published(), 100);
        drop(reader);
        assert!(chunk.reuse(128 + 5));
        assert_eq!((chunk.region().base(), chunk.region().published()), (128, 5));
        assert_eq!(chunk.spare().len(), 4096 - 5);
    }

    #[cfg(feature = "bytes")]
    #[test]
    fn m1_a_chunk_that_somebody_holds_as_bytes_is_not_reused() {
        let mut chunk = Chunk::new(&path(), 0, 4096).unwrap();
        chunk.spare()[..3].copy_from_slice(b"abc");
        chunk.publish(3);
        let bytes = chunk.region().bytes(0..3);
        assert!(!chunk.reuse(128));
        assert!(!chunk.reuse(128), "the region's own Bytes are gone, these are not");
        assert_eq!((&bytes[..], chunk.region().published()), (&b"abc"[..], 3));
        drop(bytes);
        drop(chunk.region().bytes(0..3));
        assert!(chunk.reuse(128 + 5), "the region's own Bytes alone do not stand in the way");
        chunk.spare()[..3].copy_from_slice(b"xyz");
        chunk.publish(3);
        assert_eq!(chunk.region().bytes(5..8), &b"xyz"[..]);
    }

    #[test]
    fn m1_slices_stay_as_they_were_while_the_chunk_is_appended_to_from_another_thread() {
        let mut chunk = Chunk::new(&path(), 0, 1 << 16).unwrap();
        let region = Arc::clone(chunk.region());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for n in 0..=u8::MAX {
                    chunk.spare()[..256].fill(n);
                    chunk.publish(256);
                }
            });
            loop {
                let bytes = region.get_from(0).unwrap();
                for (n, piece) in bytes.chunks(256).enumerate() {
                    assert!(piece.iter().all(|&b| usize::from(b) == n));
                }
                if bytes.len() == 1 << 16 {
                    break;
                }
            }
        });
    }

    #[test]
    fn m2_a_file_shorter_than_asked_is_not_mapped() {
        let file = OsFile::new(tempfile::tempfile().unwrap());
        file.write_at(b"four", 0).unwrap();
        assert!(file.map(&path(), 5).is_err());
        assert_eq!(file.map(&path(), 4).unwrap().get_from(0), Some(&b"four"[..]));
        assert_eq!(file.map(&path(), 0).unwrap().get_from(0), Some(&b""[..]));
    }

    #[test]
    fn m2_a_growing_map_shows_what_is_written_after_it_was_made() {
        let file = OsFile::new(tempfile::tempfile().unwrap());
        let map = file.map_growing(&path(), 1 << 20).unwrap();
        file.write_at(b"hello", 0).unwrap();
        assert_eq!(map.region().get(0..5), None);
        map.publish(5);
        assert_eq!(map.region().get(0..5), Some(&b"hello"[..]));
    }

    #[test]
    fn what_is_aligned_in_the_file_is_aligned_in_a_chunk() {
        for start in [0u64, 1, 127, 128, 1000] {
            let mut chunk = Chunk::new(&path(), start, 4096).unwrap();
            let address = chunk.spare().as_ptr() as u64;
            assert_eq!(address % Chunk::ALIGNMENT, start % Chunk::ALIGNMENT);
        }
    }
}
