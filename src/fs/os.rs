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
//!
//! `file.rs` makes and opens files and follows no link, `holes.rs` asks where they have holes, `space.rs` how much room there is.

mod file;
mod holes;
mod space;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::{self, DirBuilder, TryLockError};
use std::io;
use std::ops::Range;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw};
use zerocopy::{FromBytes, FromZeros, IntoBytes, KnownLayout};

use super::{File, Fs, Lock};
use crate::mappings::Permit;
use crate::options::{Access, Options};

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

/// Memory of our own that shows a file's bytes begins at a file offset that is a multiple of this,
/// at an address that is one too, so that what is aligned in the file is aligned in memory.
pub(crate) const ALIGNMENT: usize = 128;

/// The permissions that are a matter of reading and writing.
const READ_AND_WRITE: u32 = 0o666;

/// The least that the system reads into memory, or a part of it.
const PAGE: usize = 4096;

/// Memory that shows a file's bytes from `base` on, readable up to a published length.
pub(crate) struct Region {
    address: Address,
    published: AtomicUsize,
    /// The file whose bytes these are, now or once they are flushed.
    path: Arc<Path>,
    /// The offset in the file of the region's first byte.
    base: u64,
    /// Shared with snapshots alone.
    memory: Arc<Memory>,
    #[cfg(feature = "bytes")]
    pub(super) shared: super::bytes::Shared,
}

/// Where a region's first byte is, which saves who reads it a look at what the bytes lie in.
struct Address(*const u8);

// SAFETY: an address alone gives no access; what is read there is what M1 and M2 allow any thread.
#[expect(unsafe_code, reason = "an address is not Send by itself")]
unsafe impl Send for Address {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "an address is not Sync by itself")]
unsafe impl Sync for Address {}

/// What a region's bytes lie in.
enum Memory {
    /// A mapped file, which has a permit, or anonymous memory: a chunk, or a copy that has holes.
    Map(MmapRaw, #[expect(dead_code, reason = "kept as long")] Option<Permit>),
    /// A copy of bytes of a file.
    Lines(Vec<Line>),
}

#[derive(FromBytes, IntoBytes, KnownLayout)]
#[repr(C, align(128))]
struct Line([u8; ALIGNMENT]);

impl Memory {
    #[inline]
    fn as_ptr(&self) -> *const u8 {
        match self {
            Memory::Map(map, _) => map.as_ptr(),
            Memory::Lines(lines) => lines.as_ptr().cast(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Memory::Map(map, _) => map.len(),
            Memory::Lines(lines) => lines.len() * ALIGNMENT,
        }
    }
}

impl Region {
    fn new(memory: Arc<Memory>, published: usize, path: &Arc<Path>, base: u64) -> Self {
        Region {
            address: Address(memory.as_ptr()),
            published: AtomicUsize::new(published),
            memory,
            path: Arc::clone(path),
            base,
            #[cfg(feature = "bytes")]
            shared: Default::default(),
        }
    }

    /// A copy of the `len` bytes of `path` from `offset` on, which `fill` writes.
    pub(crate) fn copy(
        path: &Arc<Path>,
        offset: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> io::Result<Arc<Self>> {
        let (base, skip) = split(offset);
        let lines = Line::new_vec_zeroed((skip + len).div_ceil(ALIGNMENT));
        let mut lines = lines.map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        fill(&mut lines.as_mut_slice().as_mut_bytes()[skip..skip + len]);
        Ok(Arc::new(Region::new(Arc::new(Memory::Lines(lines)), skip + len, path, base)))
    }

    /// A copy of the `len` bytes of `path` from `base` on, a multiple of [`ALIGNMENT`], of which `fill` writes
    /// those that are not zeros: no others take memory.
    pub(super) fn sparse_copy(
        path: &Arc<Path>,
        base: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> io::Result<Arc<Self>> {
        let mut map = MmapMut::map_anon(len)?;
        fill(&mut map);
        let memory = Arc::new(Memory::Map(MmapRaw::from(map), None));
        Ok(Arc::new(Region::new(memory, len, path, base)))
    }

    /// A region of its own that shows what is published now, in the same memory.
    #[cfg(feature = "bytes")]
    pub(super) fn snapshot(&self) -> Region {
        Region::new(Arc::clone(&self.memory), self.published(), &self.path, self.base)
    }

    /// The region to be changed, if nobody else can reach its memory: through it or a snapshot of it.
    fn unshared(region: &mut Arc<Self>) -> Option<&mut Self> {
        let region = Arc::get_mut(region)?;
        #[cfg(feature = "bytes")]
        region.shared.clear();
        Arc::get_mut(&mut region.memory)?;
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
        // SAFETY: the range lies below the published length, so the bytes are there (M2) and nobody
        // writes them while the slice lives, which borrows the region (M1, M3). The Acquire load of
        // the length pairs with the Release store in `publish`, so they are seen as written.
        #[expect(unsafe_code, reason = "slices of memory that grows beyond them")]
        Some(unsafe {
            slice::from_raw_parts(self.address.0.add(range.start), range.end - range.start)
        })
    }

    /// The readable bytes from `start` on, or `None` if it lies beyond them.
    #[inline(always)]
    pub(crate) fn get_from(&self, start: usize) -> Option<&[u8]> {
        let published = self.published();
        // SAFETY: as in `get`: the range ends at the published length.
        #[expect(unsafe_code, reason = "slices of memory that grows beyond them")]
        (start <= published)
            .then(|| unsafe { slice::from_raw_parts(self.address.0.add(start), published - start) })
    }

    /// Asks the processor for the first bytes from `start` on, which somebody is about to read.
    #[inline]
    pub(crate) fn prefetch(&self, start: usize) {
        for line in 0..PREFETCH_LINES {
            prefetch(self.address.0.wrapping_add(start + line * CACHE_LINE));
        }
    }

    /// As [`Region::prefetch`], so many bytes, as far as that pays.
    #[inline]
    pub(crate) fn prefetch_some(&self, start: usize, len: usize) {
        let first = self.address.0.wrapping_add(start);
        let len = len.min(PREFETCH_COPIED_LINES * CACHE_LINE);
        // In which lines they lie depends on the address, and a branch on that would be foreseen badly: so the last byte is
        // asked for besides, unless hardly one is left.
        let mut at = 0;
        while at + 8 < len {
            prefetch(first.wrapping_add(at));
            at += CACHE_LINE;
        }
        prefetch(first.wrapping_add(len.saturating_sub(1)));
    }

    /// Tells the system in which order the bytes will be touched. To be refused costs speed only.
    pub(crate) fn advise(&self, access: Access) {
        let advice = match access {
            Access::Normal => Advice::Normal,
            Access::Random => Advice::Random,
            Access::Sequential => Advice::Sequential,
        };
        if let Memory::Map(map, _) = &*self.memory
            && let Err(error) = map.advise(advice)
        {
            tracing::warn!(path = %self.path.display(), %error, "advice on a mapping is refused");
        }
    }

    /// Asks the system to read the readable bytes at `range` into memory, and does not wait.
    pub(crate) fn will_need(&self, range: Range<usize>) -> io::Result<()> {
        match &*self.memory {
            Memory::Map(map, _) if !range.is_empty() && range.end <= self.published() => {
                map.advise_range(Advice::WillNeed, range.start, range.len())
            }
            _ => Ok(()),
        }
    }

    /// Maps in the readable bytes at `range`, from disk where need be. A page that cannot be read is
    /// an error, where the system knows `MADV_POPULATE_READ` (Linux 5.14).
    pub(crate) fn populate(&self, range: Range<usize>) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Memory::Map(map, _) = &*self.memory
            && !range.is_empty()
            && range.end <= self.published()
        {
            match map.advise_range(Advice::PopulateRead, range.start, range.len()) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                populated => return populated,
            }
        }
        self.touch(range);
        Ok(())
    }

    /// Reads a byte of each page at `range`.
    fn touch(&self, range: Range<usize>) {
        for page in self.get(range).unwrap_or_default().chunks(PAGE) {
            std::hint::black_box(page.first().copied());
        }
    }

    fn publish(&self, len: usize) {
        debug_assert!(len <= self.memory.len() && len >= self.published());
        self.published.store(len.min(self.memory.len()), Ordering::Release);
    }
}

/// The beginning of the aligned memory that shows a file's bytes from `start` on, as an offset in the
/// file, and how many bytes of it come before `start`.
fn split(start: u64) -> (u64, usize) {
    let skip = start % ALIGNMENT as u64;
    (start - skip, skip as usize)
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
/// they are in the file; or what has been read so far of a file that another process appends to. The one
/// handle that can write to its region.
pub(crate) struct Chunk {
    region: Arc<Region>,
}

impl Chunk {
    /// A chunk of `capacity` bytes for the bytes of `path` from `start` on.
    pub(crate) fn new(path: &Arc<Path>, start: u64, capacity: usize) -> io::Result<Self> {
        let (base, skip) = split(start);
        let memory = Arc::new(Memory::Map(MmapRaw::from(MmapMut::map_anon(capacity)?), None));
        Ok(Chunk { region: Arc::new(Region::new(memory, skip.min(capacity), path, base)) })
    }

    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// The memory above what is published: only this handle can reach it.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        let Memory::Map(map, _) = &*self.region.memory else { return &mut [] };
        let published = self.region.published();
        let len = map.len() - published;
        // SAFETY: the bytes are mapped and initialised (anonymous memory is zeroed) and lie above
        // the published length, where `Region::get` hands out nothing (M1); `&mut self` on the only
        // handle that writes excludes a second such slice.
        #[expect(unsafe_code, reason = "the append buffer is written while readers hold slices")]
        unsafe {
            slice::from_raw_parts_mut(map.as_mut_ptr().add(published), len)
        }
    }

    /// The bytes from file offset `from` on, with `staged` more than are published: those that the
    /// caller has filled through [`Chunk::spare`]. `None` if the chunk does not hold them all.
    pub(crate) fn staged(&mut self, from: u64, staged: usize) -> Option<&[u8]> {
        let start = usize::try_from(from.checked_sub(self.region.base)?).ok()?;
        let end = self.region.published().checked_add(staged)?;
        if start > end || end > self.region.memory.len() {
            return None;
        }
        // SAFETY: the bytes are mapped and initialised (anonymous memory is zeroed); those below the
        // published length never change (M1), those above are written through this handle alone,
        // which the slice borrows mutably.
        #[expect(unsafe_code, reason = "the write to the file covers bytes not published yet")]
        Some(unsafe { slice::from_raw_parts(self.region.memory.as_ptr().add(start), end - start) })
    }

    /// Makes `len` more bytes readable, which the caller has filled through [`Chunk::spare`].
    pub(crate) fn publish(&mut self, len: usize) {
        self.region.publish(self.region.published() + len);
    }

    /// Empties the chunk for the bytes from `start` on, unless somebody else holds its memory.
    pub(crate) fn reuse(&mut self, start: u64) -> bool {
        let (base, skip) = split(start);
        // No reader is left, so taking bytes back is sound (M1).
        match Region::unshared(&mut self.region) {
            Some(region) if skip <= region.memory.len() => {
                region.base = base;
                *region.published.get_mut() = skip;
                true
            }
            _ => false,
        }
    }
}

/// The operating system's file system.
pub(crate) struct OsFs {
    /// The permissions of what is made, of which the umask takes its part.
    file_mode: u32,
    dir_mode: u32,
}

impl OsFs {
    pub(crate) fn new(options: &Options) -> Self {
        OsFs { file_mode: options.mode_of_files(), dir_mode: options.dir_mode }
    }

    /// As [`OsFs::new`], but where the options name no mode, whoever may read and write the first of these files that is
    /// there may do so with new ones.
    pub(crate) fn as_found(options: &Options, paths: &[PathBuf]) -> Self {
        let found = paths.iter().find_map(|path| file::open(path).ok()?.metadata().ok());
        let fs = OsFs::new(options);
        match (options.file_mode, found) {
            (None, Some(found)) => {
                let mode = found.permissions().mode() & READ_AND_WRITE;
                OsFs { file_mode: fs.file_mode | mode, ..fs }
            }
            _ => fs,
        }
    }
}

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
        match DirBuilder::new().mode(self.dir_mode).create(dir) {
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
        OsLock::take(file::open_or_create(path, self.file_mode)?)
    }

    fn lock_existing(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        OsLock::take(file::open_to_lock(path)?)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OsFile { file: file::create(path, self.file_mode)? }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OsFile { file: file::open(path)? }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        space::free(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }
}

struct OsLock {
    file: fs::File,
}

impl OsLock {
    fn take(file: fs::File) -> io::Result<Option<Box<dyn Lock>>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(OsLock { file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
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
    #[cfg(any(test, fuzzing))]
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

    fn next_data(&self, within: Range<u64>) -> Option<Range<u64>> {
        holes::next_data(&self.file, within)
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

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn start_writing(&self, offset: u64, len: u64) {
        let (Ok(offset), Ok(len)) = (offset.try_into(), len.try_into()) else { return };
        // SAFETY: the descriptor is open as long as `self.file`; the call reads and writes no memory.
        #[expect(unsafe_code, reason = "std has no such call")]
        unsafe {
            // Where it fails, the sync does what it would have done, and tells of what cannot be written.
            libc::sync_file_range(self.file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE)
        };
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn start_writing(&self, _offset: u64, _len: u64) {}

    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    fn will_need(&self, offset: u64, len: u64) -> io::Result<()> {
        let (Ok(offset), Ok(len)) = (offset.try_into(), len.try_into()) else { return Ok(()) };
        // SAFETY: the descriptor is open as long as `self.file`; the call reads and writes no memory.
        #[expect(unsafe_code, reason = "std has no such call")]
        let errno = unsafe {
            libc::posix_fadvise(self.file.as_raw_fd(), offset, len, libc::POSIX_FADV_WILLNEED)
        };
        if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    fn will_need(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, path: &Arc<Path>, len: u64, permit: Permit) -> io::Result<Arc<Region>> {
        let found = self.len()?;
        if found < len {
            let message = format!("expected {len} bytes to map, found {found}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        let map = self.map_growing(path, len, permit)?;
        map.publish(len);
        Ok(map.region)
    }

    fn map_growing(
        &self,
        path: &Arc<Path>,
        capacity: u64,
        permit: Permit,
    ) -> io::Result<GrowingMap> {
        let capacity = usize::try_from(capacity).map_err(io::Error::other)?;
        let map = MmapOptions::new().len(capacity).map_raw_read_only(&self.file)?;
        let memory = Arc::new(Memory::Map(map, Some(permit)));
        Ok(GrowingMap { region: Arc::new(Region::new(memory, 0, path, 0)) })
    }
}
