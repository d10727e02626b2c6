//! [`View`]: a file's bytes as readers get at them, through its mapping or by reading it.
//!
//! The one place that knows [`ReadMode`] and [`Access`]. Whatever the mode, a reader gets a
//! [`Region`]: the mapping itself, or a copy of what it asked for.
//!
//! Invariants:
//! - Under [`ReadMode::Copy`] no file is mapped; else those for which a mapping is left. The others are read in the same way.
//! - Nothing beyond the published length is asked of the file, whatever its bytes claim.
//!
//! Must not know: records, file names.

use std::borrow::Cow;
use std::io;
use std::ops::{ControlFlow, Deref, Range};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{self as fs, File, GrowingMap, Region};
use crate::error::{Error, Result};
use crate::mappings::{Mappings, Permit};
use crate::options::{Access, Options, ReadMode};

/// Read at once where nobody knows how much will be wanted: most records, header and key of more.
pub(crate) const FIRST_READ: usize = 4096;
/// Brought into memory between two calls of who waits for it.
const STEP: u64 = 16 << 20;
/// Linux reads no more for one advice where its read-ahead is as it came.
const ADVICE_LEN: u64 = 128 << 10;

/// How files are read.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    mode: ReadMode,
    access: Access,
    mappings: &'static Mappings,
}

impl Reading {
    pub(crate) fn new(options: &Options) -> Self {
        let mappings = options.mappings.unwrap_or_else(Mappings::of_process);
        Reading { mode: options.read_mode, access: options.access, mappings }
    }

    /// Makes a mapping, if files are to be mapped and there is a mapping left: who gets none reads the file.
    fn map<T>(self, path: &Path, map: impl FnOnce(Permit) -> io::Result<T>) -> Result<Option<T>> {
        if self.mode == ReadMode::Copy {
            return Ok(None);
        }
        match self.mappings.take().map(map) {
            Some(Ok(mapped)) => return Ok(Some(mapped)),
            // The system counts what others have mapped, too.
            Some(Err(error)) if error.kind() == io::ErrorKind::OutOfMemory => {}
            Some(Err(error)) => return Err(Error::io("map", path)(error)),
            None => {}
        }
        self.mappings.warn_of_lack(path);
        Ok(None)
    }

    /// For files that others may change: nothing of them is mapped.
    pub(crate) fn by_copying(self) -> Self {
        Reading { mode: ReadMode::Copy, ..self }
    }
}

/// The published bytes of a file.
#[derive(Clone)]
pub(crate) enum View {
    Mapped {
        region: Arc<Region>,
        access: Access,
    },
    Unmapped(Arc<Unmapped>),
    /// Memory of our own with a part of the file, up to the last byte that is published.
    Held(Arc<Region>),
}

/// A file that is read piece by piece.
pub(crate) struct Unmapped {
    file: Arc<dyn File>,
    path: Arc<Path>,
    published: AtomicU64,
}

/// The view of a file that is being appended to. The one handle that can publish.
pub(crate) enum GrowingView {
    Mapped { map: GrowingMap, access: Access },
    Unmapped(Arc<Unmapped>),
}

/// All published bytes of a file, or a part of them, for who walks them.
pub(crate) struct Whole {
    region: Arc<Region>,
    /// The offset in the file at which they end.
    end: u64,
    /// Where they may be anything but zeros, in order.
    data: Vec<Range<u64>>,
    _in_order: Option<InOrder>,
}

/// A mapping that is gone through in order for a while, although meant for random access. Two at once
/// may end too early for one of them, which costs speed only.
struct InOrder {
    region: Arc<Region>,
}

/// A read that failed.
#[derive(Debug, thiserror::Error)]
#[error("{len} bytes at offset {offset}: {source}")]
struct ReadFailure {
    offset: u64,
    len: u64,
    source: io::Error,
}

impl View {
    /// The first `len` bytes of a file, which never change again.
    pub(crate) fn open(
        file: &Arc<dyn File>,
        path: &Arc<Path>,
        len: u64,
        reading: Reading,
    ) -> Result<Self> {
        Ok(match reading.map(path, |permit| file.map(path, len, permit))? {
            Some(region) => View::mapped(region, reading.access),
            None => View::Unmapped(Unmapped::new(file, path, len)),
        })
    }

    /// The same bytes, which are all that the file will have, by a mapping, if they are read without one and there is one now.
    pub(crate) fn map_anew(&self, reading: Reading) -> Option<Self> {
        let View::Unmapped(unmapped) = self else { return None };
        let Unmapped { file, path, .. } = &**unmapped;
        let mapped = reading.map(path, |permit| file.map(path, self.published(), permit));
        // What cannot be mapped is read as before.
        mapped.ok().flatten().map(|region| View::mapped(region, reading.access))
    }

    fn mapped(region: Arc<Region>, access: Access) -> Self {
        if access != Access::Normal {
            region.advise(access);
        }
        View::Mapped { region, access }
    }

    pub(crate) fn is_mapped(&self) -> bool {
        matches!(self, View::Mapped { .. })
    }

    /// Whether its file is read piece by piece.
    pub(crate) fn is_unmapped(&self) -> bool {
        matches!(self, View::Unmapped(_))
    }

    /// Whether it is memory of our own.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self, View::Held(_))
    }

    pub(crate) fn path(&self) -> &Arc<Path> {
        match self {
            View::Mapped { region, .. } | View::Held(region) => region.path(),
            View::Unmapped(file) => &file.path,
        }
    }

    /// The mapping, if there is one, or other memory that begins where the file does.
    #[inline]
    pub(crate) fn mapping(&self) -> Option<&Arc<Region>> {
        match self {
            View::Mapped { region, .. } => Some(region),
            View::Held(region) => (region.base() == 0).then_some(region),
            View::Unmapped(_) => None,
        }
    }

    /// How many bytes are readable now.
    #[inline]
    pub(crate) fn published(&self) -> u64 {
        match self {
            View::Mapped { region, .. } => region.published() as u64,
            View::Unmapped(file) => file.published.load(Ordering::Acquire),
            View::Held(region) => region.base() + region.published() as u64,
        }
    }

    /// Memory that shows the bytes from `offset` on: all of them, or as many as `wanted` says when it
    /// has seen the first ones, `least` of them if so many are there, and how many there are.
    #[inline]
    pub(crate) fn hold(
        &self,
        offset: u64,
        least: usize,
        wanted: impl FnOnce(&[u8], u64) -> Result<u64>,
    ) -> Result<Cow<'_, Arc<Region>>> {
        match self {
            View::Mapped { region, .. } => {
                region.prefetch(offset as usize);
                Ok(Cow::Borrowed(region))
            }
            View::Unmapped(file) => file.copy_from(offset, least, wanted).map(Cow::Owned),
            View::Held(region) => Ok(Cow::Borrowed(region)),
        }
    }

    /// All published bytes: the mapping, or what is held of them, or a copy, which takes as much memory as the
    /// file does on disk.
    pub(crate) fn whole(&self) -> Result<Whole> {
        self.part(0..self.published())
    }

    /// The bytes at `range`, which are published, and perhaps some before them.
    pub(crate) fn part(&self, range: Range<u64>) -> Result<Whole> {
        let end = range.end;
        match self {
            View::Mapped { region, access } => Ok(Whole {
                region: Arc::clone(region),
                end,
                data: vec![range],
                _in_order: InOrder::new(region, *access),
            }),
            View::Unmapped(file) => {
                let base = range.start - range.start % fs::ALIGNMENT as u64;
                let data: Vec<_> = fs::data(&*file.file, base..end).collect();
                let region = file.copy_parts(base..end, &data)?;
                Ok(Whole { region, end, data, _in_order: None })
            }
            View::Held(region) => {
                let region = Arc::clone(region);
                Ok(Whole { region, end, data: vec![range], _in_order: None })
            }
        }
    }

    /// Asks for the bytes at `range`, as far as they are published, and does not wait for them.
    pub(crate) fn will_need(&self, range: Range<u64>) -> Result<()> {
        let end = range.end.min(self.published());
        let mut start = range.start;
        while start < end {
            let piece = start..end.min(start + ADVICE_LEN);
            let len = piece.end - piece.start;
            let asked = match self {
                View::Mapped { region, .. } => {
                    region.will_need(piece.start as usize..piece.end as usize)
                }
                View::Unmapped(file) => file.file.will_need(piece.start, len),
                View::Held(_) => Ok(()),
            };
            asked.map_err(|source| self.failure("ask for", piece.start, len, source))?;
            start = piece.end;
        }
        Ok(())
    }

    /// Brings the bytes at `range`, as far as they are published, into memory, step by step. Tells
    /// the length of each step, until it is told to stop.
    pub(crate) fn warm(
        &self,
        range: Range<u64>,
        mut told: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let (mut start, len) = (range.start, range.end.min(self.published()));
        let mut buffer = Vec::new();
        let _in_order = match self {
            View::Mapped { region, access } => InOrder::new(region, *access),
            View::Unmapped(_) => {
                buffer.resize(STEP.min(len) as usize, 0);
                None
            }
            View::Held(_) => None,
        };
        while start < len {
            let end = len.min(start + STEP);
            match self {
                View::Mapped { region, .. } => {
                    region.populate(start as usize..end as usize).map_err(|source| {
                        self.failure("read into memory", start, end - start, source)
                    })?;
                }
                View::Unmapped(file) => file.read(&mut buffer[..(end - start) as usize], start)?,
                View::Held(_) => {}
            }
            if told(end - start).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            start = end;
        }
        Ok(ControlFlow::Continue(()))
    }

    #[cold]
    fn failure(&self, action: &'static str, offset: u64, len: u64, source: io::Error) -> Error {
        failure(action, self.path(), offset, len, source)
    }
}

#[cold]
fn failure(action: &'static str, path: &Path, offset: u64, len: u64, source: io::Error) -> Error {
    let source = io::Error::new(source.kind(), ReadFailure { offset, len, source });
    Error::Io { action, path: path.to_path_buf(), source }
}

#[cfg(all(loom, test))]
impl View {
    /// For models, which read nothing.
    pub(crate) fn of_nothing(path: &Arc<Path>) -> Self {
        let region = Region::copy(path, 0, 0, |_| ()).unwrap();
        View::Mapped { region, access: Access::Normal }
    }
}

impl Unmapped {
    fn new(file: &Arc<dyn File>, path: &Arc<Path>, len: u64) -> Arc<Self> {
        let published = AtomicU64::new(len);
        Arc::new(Unmapped { file: Arc::clone(file), path: Arc::clone(path), published })
    }

    fn copy_from(
        &self,
        offset: u64,
        least: usize,
        wanted: impl FnOnce(&[u8], u64) -> Result<u64>,
    ) -> Result<Arc<Region>> {
        let there = self.published.load(Ordering::Acquire).saturating_sub(offset);
        let at_most = |len: usize| usize::try_from(there).unwrap_or(usize::MAX).min(len);
        let mut first = [0; FIRST_READ];
        let mut first = &mut first[..at_most(FIRST_READ)];
        if self.read(first, offset).is_err() {
            // It may reach beyond the record, into what cannot be read.
            first = &mut first[..at_most(least)];
            self.read(first, offset)?;
        }
        let wanted = wanted(first, there)?.min(there);
        self.copy(offset, wanted, |bytes| match bytes.split_at_mut_checked(first.len()) {
            Some((head, rest)) => {
                head.copy_from_slice(first);
                self.read(rest, offset + head.len() as u64)
            }
            None => {
                bytes.copy_from_slice(&first[..bytes.len()]);
                Ok(())
            }
        })
    }

    fn copy(
        &self,
        offset: u64,
        len: u64,
        fill: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<Arc<Region>> {
        let mut filled = Ok(());
        let copy = Region::copy(&self.path, offset, len as usize, |bytes| filled = fill(bytes));
        filled?;
        copy.map_err(|source| failure("get memory for", &self.path, offset, len, source))
    }

    /// The bytes at `range`, zeros but for these parts of it.
    fn copy_parts(&self, range: Range<u64>, parts: &[Range<u64>]) -> Result<Arc<Region>> {
        let (base, len) = (range.start, range.end - range.start);
        let mut filled = Ok(());
        let copy = Region::sparse_copy(&self.path, base, len as usize, |bytes| {
            filled = parts.iter().try_for_each(|part| {
                let place = (part.start - base) as usize..(part.end - base) as usize;
                self.read(&mut bytes[place], part.start)
            });
        });
        filled?;
        copy.map_err(|source| failure("get memory for", &self.path, base, len, source))
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let read = self.file.read_at(bytes, offset);
        read.map_err(|source| failure("read", &self.path, offset, bytes.len() as u64, source))
    }
}

impl GrowingView {
    /// Room for a file to grow to `capacity` bytes; nothing of it is readable yet.
    pub(crate) fn new(
        file: &Arc<dyn File>,
        path: &Arc<Path>,
        capacity: u64,
        reading: Reading,
    ) -> Result<Self> {
        Ok(match reading.map(path, |permit| file.map_growing(path, capacity, permit))? {
            Some(map) => GrowingView::Mapped { map, access: reading.access },
            None => GrowingView::Unmapped(Unmapped::new(file, path, 0)),
        })
    }

    pub(crate) fn view(&self) -> View {
        match self {
            GrowingView::Mapped { map, access } => View::mapped(Arc::clone(map.region()), *access),
            GrowingView::Unmapped(file) => View::Unmapped(Arc::clone(file)),
        }
    }

    /// Makes the file's first `len` bytes readable. The caller has written them all and will write
    /// none of them again (M1, M2).
    #[inline]
    pub(crate) fn publish(&self, len: u64) {
        match self {
            GrowingView::Mapped { map, .. } => map.publish(len),
            GrowingView::Unmapped(file) => file.published.store(len, Ordering::Release),
        }
    }
}

impl Whole {
    /// The first `len` bytes of a file of which nobody has said that they are records to the end.
    pub(crate) fn open(
        file: &Arc<dyn File>,
        path: &Arc<Path>,
        len: u64,
        reading: Reading,
    ) -> Result<Self> {
        let whole = View::open(file, path, len, reading)?.whole()?;
        Ok(Whole { data: fs::data(&**file, 0..len).collect(), ..whole })
    }

    /// What they are shown by: what lies there lies in the file from its base on.
    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// The offset in the file at which they end.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The bytes from this offset of the file on.
    pub(crate) fn bytes_from(&self, offset: u64) -> &[u8] {
        self.bytes_at(offset..self.end).unwrap_or_default()
    }

    fn bytes_at(&self, range: Range<u64>) -> Option<&[u8]> {
        let start = range.start.checked_sub(self.region.base())?;
        let end = range.end.checked_sub(self.region.base())?;
        self.region.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// Whether there is nothing but zeros from `offset` on. Holes are not looked into.
    pub(crate) fn is_zeros_from(&self, offset: u64) -> bool {
        let first = self.data.partition_point(|part| part.end <= offset);
        self.data[first..].iter().all(|part| {
            let bytes = self.bytes_at(part.start.max(offset)..part.end);
            bytes.is_some_and(|bytes| bytes.iter().all(|&b| b == 0))
        })
    }
}

impl Deref for Whole {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes_from(self.region.base())
    }
}

impl InOrder {
    fn new(region: &Arc<Region>, access: Access) -> Option<Self> {
        (access == Access::Random).then(|| {
            region.advise(Access::Normal);
            InOrder { region: Arc::clone(region) }
        })
    }
}

impl Drop for InOrder {
    fn drop(&mut self) {
        self.region.advise(Access::Random);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Fs;
    use crate::fs::sim::{Op, SimFs};

    fn reading(mode: ReadMode, access: Access) -> Reading {
        Reading { mode, access, mappings: Mappings::of_process() }
    }

    fn file(bytes: &[u8]) -> (SimFs, Arc<dyn File>, Arc<Path>) {
        let (fs, path) = (SimFs::new(0), Arc::from(Path::new("dir/file")));
        let file = fs.create(&path).unwrap();
        file.write_at(bytes, 0).unwrap();
        (fs, file, path)
    }

    fn copy(published: u64) -> (SimFs, View) {
        let bytes: Vec<u8> = (0..20_000u32).map(|n| (n / 7) as u8).collect();
        let (fs, file, path) = file(&bytes);
        let reading = reading(ReadMode::Copy, Access::Normal);
        (fs, View::open(&file, &path, published, reading).unwrap())
    }

    #[test]
    fn a_copy_holds_what_was_wanted_and_no_more_than_is_published() {
        for published in [0, 1, 100, 5000, 15_000] {
            let (_, view) = copy(published);
            let all = view.whole().unwrap();
            assert_eq!(all.len() as u64, published);
            for offset in [0, 1, 99, 4096, 14_999, 15_001, 1 << 40] {
                let there = published.saturating_sub(offset);
                for wanted in [0, 1, 300, 4096, 4097, 9000, u64::MAX] {
                    let held = view.hold(offset, 20, |first, found| {
                        assert_eq!(found, there);
                        assert_eq!(first.len() as u64, there.min(FIRST_READ as u64));
                        Ok(wanted)
                    });
                    let held = held.unwrap();
                    let found = held.get_from((offset - held.base()) as usize).unwrap();
                    let wanted = wanted.min(there) as usize;
                    let start = (offset as usize).min(all.len());
                    assert_eq!(found, &all[start..start + wanted]);
                }
            }
        }
    }

    #[test]
    fn of_what_cannot_be_read_at_once_the_least_is_tried() {
        let (fs, view) = copy(15_000);
        fs.fail_next(Op::Read, "file", 5);
        let held = view.hold(100, 20, |first, _| Ok(first.len() as u64 + 1)).unwrap();
        assert_eq!(held.get_from((100 - held.base()) as usize).unwrap().len(), 21);
        // The rest is not there, or cannot be read.
        for skip in 0..2 {
            fs.fail_at(skip, Some(Op::Read), 5);
            fs.fail_at(skip, Some(Op::Read), 5);
            assert!(matches!(view.hold(0, 20, |_, _| Ok(9000)), Err(Error::Io { .. })));
            fs.disarm();
        }
        fs.fail_next(Op::Read, "file", 5);
        assert!(view.whole().is_err());
    }

    #[test]
    fn of_all_of_a_file_holes_are_neither_read_nor_looked_into() {
        const LEN: u64 = 1 << 30;
        let (fs, file, path) = file(&[]);
        file.set_len(LEN).unwrap();
        file.write_at(b"first", 0).unwrap();
        file.write_at(b"middle", LEN / 2).unwrap();
        for mode in [ReadMode::Mapped, ReadMode::Copy] {
            let reading = reading(mode, Access::Normal);
            let whole = Whole::open(&file, &path, LEN, reading).unwrap();
            assert_eq!(whole.len() as u64, LEN);
            assert_eq!(
                (&whole[..5], &whole[LEN as usize / 2..][..6]),
                (&b"first"[..], &b"middle"[..])
            );
            assert!(!whole.is_zeros_from(0) && !whole.is_zeros_from(5));
            assert!(!whole.is_zeros_from(LEN / 2 + 5));
            assert!(whole.is_zeros_from(LEN / 2 + 6) && whole.is_zeros_from(LEN));
            // It does not look beyond the length that it was opened with.
            let half = Whole::open(&file, &path, LEN / 2, reading).unwrap();
            assert!(!half.is_zeros_from(4) && half.is_zeros_from(5));
        }
        // Two reads are enough for a copy.
        let reading = reading(ReadMode::Copy, Access::Normal);
        fs.fail_at(2, Some(Op::Read), 5);
        Whole::open(&file, &path, LEN, reading).unwrap();
        assert!(fs.is_armed());
    }

    #[test]
    fn warming_goes_through_the_bytes_step_by_step_until_it_is_told_to_stop() {
        let len = STEP * 2 + 5;
        let (fs, file, path) = file(&[]);
        file.set_len(len + 100).unwrap();
        for mode in [ReadMode::Mapped, ReadMode::Copy] {
            for access in [Access::Normal, Access::Random, Access::Sequential] {
                let view = View::open(&file, &path, len, reading(mode, access)).unwrap();
                let steps = |to: u64, most: usize| {
                    let mut steps = Vec::new();
                    let flow = view.warm(0..to, |step| {
                        steps.push(step);
                        if steps.len() < most {
                            ControlFlow::Continue(())
                        } else {
                            ControlFlow::Break(())
                        }
                    });
                    (steps, flow.unwrap().is_break())
                };
                assert_eq!(steps(u64::MAX, 9), (vec![STEP, STEP, 5], false));
                assert_eq!(steps(STEP + 1, 9), (vec![STEP, 1], false));
                assert_eq!(steps(len, 1), (vec![STEP], true));
                assert_eq!(steps(0, 9), (vec![], false));
            }
        }
        let reading = reading(ReadMode::Copy, Access::Normal);
        let view = View::open(&file, &path, len, reading).unwrap();
        fs.fail_at(1, Some(Op::Read), 5);
        let mut steps = 0;
        assert!(
            view.warm(0..len, |_| {
                steps += 1;
                ControlFlow::Continue(())
            })
            .is_err()
        );
        assert_eq!(steps, 1);
    }

    #[test]
    fn a_file_for_which_no_mapping_is_left_is_read() {
        let (fs, file, path) = file(b"what is in the file");
        let mappings = Mappings::apart(2);
        let reading = Reading { mappings, ..reading(ReadMode::Mapped, Access::Normal) };
        let open = || View::open(&file, &path, 19, reading);
        let (first, growing) = (open().unwrap(), GrowingView::new(&file, &path, 100, reading));
        assert!(first.is_mapped() && growing.as_ref().unwrap().view().is_mapped());
        let read = [open().unwrap(), GrowingView::new(&file, &path, 100, reading).unwrap().view()];
        assert!(read.iter().all(View::is_unmapped));
        assert_eq!(&*read[0].whole().unwrap(), b"what is in the file");
        // A mapping counts until the last who holds its memory lets go.
        let held = first.mapping().cloned();
        drop(first);
        assert!(open().unwrap().is_unmapped());
        drop(held);
        assert!(open().unwrap().is_mapped());
        // Others of this process may have them all.
        fs.fail_next(Op::Map, "file", 12);
        assert!(open().unwrap().is_unmapped());
        fs.fail_next(Op::Map, "file", 12);
        assert!(GrowingView::new(&file, &path, 100, reading).unwrap().view().is_unmapped());
        fs.fail_next(Op::Map, "file", 5);
        assert!(matches!(open(), Err(Error::Io { action: "map", .. })));
        assert_eq!(mappings.held(), 1, "none of these counts");
    }
}
