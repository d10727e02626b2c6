//! The simulated disk itself: inodes, names, what is durable of them, and what a crash leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::os::OsFile;
use crate::fs::File;

/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;

pub(super) type InodeId = u64;
pub(super) type Names = BTreeMap<PathBuf, InodeId>;

#[derive(Default)]
pub(super) struct Disk {
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    pub(super) next_inode: InodeId,
    pub(super) volatile: Names,
    pub(super) durable: Names,
    pub(super) pending: Vec<NameOp>,
    pub(super) capacity: Option<u64>,
    pub(super) refuses_links: bool,
}

/// A change of names, which happens whole or not at all.
pub(super) enum NameOp {
    Create { path: PathBuf, inode: InodeId },
    Rename { from: PathBuf, to: PathBuf, inode: InodeId },
    Remove { path: PathBuf },
}

impl NameOp {
    pub(super) fn apply(&self, names: &mut Names) {
        match self {
            NameOp::Create { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            NameOp::Rename { from, to, inode } => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            NameOp::Remove { path } => {
                names.remove(path);
            }
        }
    }

    pub(super) fn dir(&self) -> &Path {
        match self {
            NameOp::Create { path, .. } | NameOp::Remove { path } => parent(path),
            NameOp::Rename { to, .. } => parent(to),
        }
    }

    /// The file that it gives a name to.
    pub(super) fn inode(&self) -> Option<InodeId> {
        match self {
            NameOp::Create { inode, .. } | NameOp::Rename { inode, .. } => Some(*inode),
            NameOp::Remove { .. } => None,
        }
    }
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

impl Disk {
    pub(super) fn inode(&mut self, id: InodeId) -> &mut Inode {
        self.inodes.get_mut(&id).unwrap()
    }

    pub(super) fn named(&self, path: &Path) -> Option<&Inode> {
        self.volatile.get(path).map(|id| &self.inodes[id])
    }

    pub(super) fn list(&self, dir: &Path) -> Vec<OsString> {
        let paths = self.volatile.keys().filter(|path| parent(path) == dir);
        paths.filter_map(|path| path.file_name()).map(OsString::from).collect()
    }

    pub(super) fn total_len(&self) -> u64 {
        let linked = self.volatile.values().collect::<BTreeSet<_>>();
        linked.into_iter().map(|id| self.inodes[id].len).sum()
    }

    /// How many of `len` bytes at `offset` the disk has room for.
    pub(super) fn fits(&self, id: InodeId, len: usize, offset: u64) -> usize {
        let Some(capacity) = self.capacity else { return len };
        let end = self.inodes[&id].len + capacity.saturating_sub(self.total_len());
        len.min(usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX))
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<InodeId> {
        self.check_free(path)?;
        let inode = self.next_inode;
        self.inodes.insert(inode, Inode::new(path, Vec::new())?);
        self.next_inode += 1;
        self.change_names(NameOp::Create { path: path.to_owned(), inode });
        Ok(inode)
    }

    /// Gives a file a name, which is durable when the directory is synced, whatever the file's other names.
    pub(super) fn link(&mut self, path: &Path, inode: InodeId) -> io::Result<()> {
        if self.refuses_links {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.check_free(path)?;
        self.change_names(NameOp::Create { path: path.to_owned(), inode });
        Ok(())
    }

    fn check_free(&self, path: &Path) -> io::Result<()> {
        let taken = self.volatile.contains_key(path);
        if taken { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(()) }
    }

    pub(super) fn change_names(&mut self, op: NameOp) {
        op.apply(&mut self.volatile);
        if let NameOp::Rename { to, inode, .. } = &op {
            self.inode(*inode).path.clone_from(to);
        }
        self.pending.push(op);
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) {
        for op in self.pending.extract_if(.., |op| op.dir() == dir) {
            op.apply(&mut self.durable);
        }
        self.forget_unreachable();
    }

    /// Frees the files that no process holds and no crash can bring back.
    pub(super) fn forget_unreachable(&mut self) {
        let names = self.volatile.values().chain(self.durable.values()).copied();
        let reachable =
            names.chain(self.pending.iter().filter_map(NameOp::inode)).collect::<BTreeSet<_>>();
        let held = |inode: &Inode| Arc::strong_count(&inode.file) > 1;
        self.inodes.retain(|id, inode| reachable.contains(id) || held(inode));
    }

    /// The disk that a power cut leaves.
    pub(super) fn after_crash(&self, random: &mut Random) -> Disk {
        let fate = Fate::draw(random);
        let mut names = self.durable.clone();
        let keep = fate.keep(random);
        for op in &self.pending {
            if random.chance(keep) {
                op.apply(&mut names);
            }
        }
        let mut inodes = BTreeMap::new();
        for (path, &id) in &names {
            // A file with two names is made once.
            inodes.entry(id).or_insert_with(|| self.inodes[&id].after_crash(path, fate, random));
        }
        Disk {
            inodes,
            next_inode: self.next_inode,
            volatile: names.clone(),
            durable: names,
            pending: Vec::new(),
            capacity: self.capacity,
            refuses_links: self.refuses_links,
        }
    }
}

pub(super) struct Inode {
    /// The volatile image.
    pub(super) file: Arc<OsFile>,
    /// The length of the volatile image.
    pub(super) len: u64,
    /// Its name, or the last one that it had.
    pub(super) path: PathBuf,
    pub(super) durable: Vec<u8>,
    pub(super) pending: Vec<DataOp>,
    pub(super) read_only: bool,
}

pub(super) enum DataOp {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen { len: u64 },
}

impl DataOp {
    pub(super) fn apply(&self, image: &mut Vec<u8>) {
        match self {
            DataOp::Write { offset, bytes } => overwrite(image, *offset, bytes),
            DataOp::SetLen { len } => image.resize(*len as usize, 0),
        }
    }

    /// Applies the operation, nothing of it, or some sectors of a write; whole with a chance of
    /// `keep`.
    pub(super) fn apply_at_random(&self, image: &mut Vec<u8>, keep: Chance, random: &mut Random) {
        if random.chance(keep) {
            return self.apply(image);
        }
        if let DataOp::Write { offset, bytes } = self
            && keep != Chance::NEVER
            && random.chance(Chance::HALF)
        {
            for (offset, piece) in sectors(*offset, bytes) {
                if random.chance(Chance::HALF) {
                    overwrite(image, offset, piece);
                }
            }
        }
    }
}

/// Writes `bytes` into the image, after zeros if it ends before.
pub(super) fn overwrite(image: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = offset as usize;
    let end = start + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[start..end].copy_from_slice(bytes);
}

/// Splits what is written at `offset` where the file's sectors end.
pub(super) fn sectors(mut offset: u64, mut bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        let len = bytes.len().min((SECTOR - offset % SECTOR) as usize);
        let (piece, rest) = bytes.split_at(len);
        let at = offset;
        (offset, bytes) = (offset + len as u64, rest);
        (len > 0).then_some((at, piece))
    })
}

impl Inode {
    pub(super) fn new(path: &Path, image: Vec<u8>) -> io::Result<Self> {
        let memory = Path::new("/dev/shm");
        let file =
            if memory.is_dir() { tempfile::tempfile_in(memory) } else { tempfile::tempfile() };
        let file = Arc::new(OsFile::new(file?));
        file.write_at(&image, 0)?;
        let len = image.len() as u64;
        let (path, pending) = (path.to_owned(), Vec::new());
        Ok(Inode { file, len, path, durable: image, pending, read_only: false })
    }

    pub(super) fn contents(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.file.read_at(&mut bytes, 0).unwrap();
        bytes
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_at(bytes, offset)?;
        self.len = self.len.max(offset + bytes.len() as u64);
        self.pending.push(DataOp::Write { offset, bytes: bytes.to_vec() });
        Ok(())
    }

    pub(super) fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.len = len;
        self.pending.push(DataOp::SetLen { len });
        Ok(())
    }

    pub(super) fn sync(&mut self) {
        for op in self.pending.drain(..) {
            op.apply(&mut self.durable);
        }
    }

    pub(super) fn after_crash(&self, path: &Path, fate: Fate, random: &mut Random) -> Inode {
        let mut image = self.durable.clone();
        let keep = fate.keep(random);
        for op in &self.pending {
            op.apply_at_random(&mut image, keep, random);
        }
        // The new length can be on the disk before the bytes are.
        let extended = fate == Fate::Some && !self.pending.is_empty() && random.chance(Chance(4));
        if extended && (image.len() as u64) < self.len {
            image.resize(self.len as usize, 0);
        }
        Inode { read_only: self.read_only, ..Inode::new(path, image).unwrap() }
    }
}

/// How much of what is pending survives a crash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Nothing,
    Some,
    Everything,
}

impl Fate {
    pub(super) fn draw(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Fate::Nothing,
            1 => Fate::Everything,
            _ => Fate::Some,
        }
    }

    /// The chance of each operation of a file, or of the names. It differs from file to file, so
    /// that long series can break early and late.
    pub(super) fn keep(self, random: &mut Random) -> Chance {
        match self {
            Fate::Nothing => Chance::NEVER,
            Fate::Some => Chance(1 + random.below(15)),
            Fate::Everything => Chance::ALWAYS,
        }
    }
}

/// In sixteenths.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Chance(u64);

impl Chance {
    const NEVER: Chance = Chance(0);
    const HALF: Chance = Chance(8);
    const ALWAYS: Chance = Chance(16);
}

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// How much of a write happens that fails. It may have been all.
    pub(super) fn part(&mut self, len: usize) -> usize {
        match self.below(4) {
            0 => 0,
            1 => len,
            _ => self.below(len as u64 + 1) as usize,
        }
    }

    pub(super) fn chance(&mut self, chance: Chance) -> bool {
        self.below(16) < chance.0
    }
}
