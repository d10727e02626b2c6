//! A simulated disk for tests: it crashes, tears, reorders, fails and fills up.
//!
//! A file has a volatile image, what a running process sees, and a durable one, what a power cut
//! leaves for certain; between the two stand the operations that were not synced. A directory's
//! names are kept the same way. [`SimFs::crash`] makes the disk that the next boot finds: the durable
//! state and any subset of the unsynced operations, writes torn at sectors.
//!
//! Invariants:
//! - The volatile image is a real, unlinked file, so that mappings are real and see later writes.
//! - Volatile = durable + pending operations in order, but for what a failed sync dropped: that the
//!   volatile image still shows, and no later sync makes it durable.
//! - The same calls with the same seeds give the same disks.
//! - Only what would change a disk counts as an operation. A machine that is down does nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::os::OsFile;
use super::{File, Fs, GrowingMap, Lock, Region};

/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;

/// The kinds of operations that change a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Create,
    Rename,
    Remove,
    SyncDir,
    Write,
    SetLen,
    Sync,
    MakeReadOnly,
}

/// The error with which an operation is to fail.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    Kind(io::ErrorKind),
    Errno(i32),
}

impl From<io::ErrorKind> for Failure {
    fn from(kind: io::ErrorKind) -> Self {
        Failure::Kind(kind)
    }
}

impl From<i32> for Failure {
    fn from(errno: i32) -> Self {
        Failure::Errno(errno)
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Kind(kind) => kind.into(),
            Failure::Errno(errno) => io::Error::from_raw_os_error(errno),
        }
    }
}

/// A machine with a disk, as one process sees it. Clones are the same machine.
#[derive(Clone)]
pub(crate) struct SimFs {
    machine: Arc<Mutex<Machine>>,
}

/// Faults, crashes, and what was done.
impl SimFs {
    /// An empty disk. The seed decides how much of a write that fails is written.
    pub(crate) fn new(seed: u64) -> Self {
        SimFs::boot(Disk::default(), seed)
    }

    /// How many operations that change the disk were asked for, failed ones included.
    pub(crate) fn operations(&self) -> u64 {
        self.machine.lock().operations
    }

    /// The operations that were carried out, in order; those on a file by its name at the time.
    pub(crate) fn trace(&self) -> Vec<(Op, PathBuf)> {
        self.machine.lock().trace.clone()
    }

    /// The machine loses power at the `n`-th operation from now, 0 being the next: that one does not
    /// happen, a write in part, and from then on everything fails.
    pub(crate) fn crash_at(&self, n: u64) {
        self.machine.lock().crash = Some(n);
    }

    /// How many operations happen before the power is lost, if it is to be.
    pub(crate) fn pending_crash(&self) -> Option<u64> {
        self.machine.lock().crash
    }

    pub(crate) fn is_down(&self) -> bool {
        self.machine.lock().down
    }

    /// The `n`-th operation from now of the given kind (of any kind if `None`), 0 being the next,
    /// fails once and does not happen; a write happens in part, a sync drops the dirty pages.
    pub(crate) fn fail_at(&self, n: u64, op: Option<Op>, error: impl Into<Failure>) {
        self.arm(Fault { skip: n, op, name_contains: String::new(), failure: error.into() });
    }

    /// The next operation of the given kind on a path that contains `name_contains` fails so. A
    /// rename's path is its target; a file's is its name at the time.
    pub(crate) fn fail_next(&self, op: Op, name_contains: &str, error: impl Into<Failure>) {
        let name_contains = name_contains.to_owned();
        self.arm(Fault { skip: 0, op: Some(op), name_contains, failure: error.into() });
    }

    /// Whether a fault is armed that has not been met.
    pub(crate) fn is_armed(&self) -> bool {
        !self.machine.lock().faults.is_empty()
    }

    pub(crate) fn disarm(&self) {
        self.machine.lock().faults.clear();
    }

    /// Runs `action` once, before the next [`Op::Create`] or [`Op::Rename`] on a path that contains
    /// `name_contains`: what another thread does just then.
    pub(crate) fn before(
        &self,
        op: Op,
        name_contains: &str,
        action: impl FnOnce() + Send + 'static,
    ) {
        let name_contains = name_contains.to_owned();
        let action = Box::new(action);
        self.machine.lock().interruption = Some(Interruption { op, name_contains, action });
    }

    fn interrupt(&self, op: Op, path: &Path) {
        let mut machine = self.machine.lock();
        let is_due = |due: &mut Interruption| {
            due.op == op && path.to_string_lossy().contains(&due.name_contains)
        };
        let due = machine.interruption.take_if(is_due);
        // The action itself uses the machine.
        drop(machine);
        if let Some(due) = due {
            (due.action)();
        }
    }

    /// The size of the disk. Beyond it, a write that makes a file longer writes what fits and fails.
    pub(crate) fn set_capacity(&self, capacity: Option<u64>) {
        self.machine.lock().disk.capacity = capacity;
    }

    /// The machine loses power now, unless it already has: the machine after the next boot. This one
    /// stays down; from it other outcomes of the same crash can be had with other seeds.
    pub(crate) fn crash(&self, seed: u64) -> SimFs {
        let mut machine = self.machine.lock();
        machine.down = true;
        SimFs::boot(machine.disk.after_crash(&mut Random(seed)), seed)
    }

    /// The process dies, the machine does not: the same disk for another process, with all that is
    /// pending still pending. This handle has no disk any more, and everything fails on it. After
    /// [`SimFs::crash_at`] or [`SimFs::crash`]: as if the process had died there, not the power.
    pub(crate) fn kill(&self) -> SimFs {
        let mut machine = self.machine.lock();
        machine.down = true;
        let seed = machine.random.next();
        SimFs::boot(std::mem::take(&mut machine.disk), seed)
    }

    fn boot(disk: Disk, seed: u64) -> SimFs {
        let machine = Machine {
            disk,
            operations: 0,
            trace: Vec::new(),
            crash: None,
            faults: Vec::new(),
            interruption: None,
            locks: BTreeSet::new(),
            down: false,
            random: Random(seed),
        };
        SimFs { machine: Arc::new(Mutex::new(machine)) }
    }

    fn arm(&self, fault: Fault) {
        self.machine.lock().faults.push(fault);
    }

    /// The machine, if it is up.
    fn up(&self) -> io::Result<MutexGuard<'_, Machine>> {
        let machine = self.machine.lock();
        if machine.down { Err(Refusal::Down.into()) } else { Ok(machine) }
    }

    fn handle(&self, inode: InodeId, file: &Arc<OsFile>, writable: bool) -> Arc<dyn File> {
        Arc::new(SimFile { fs: self.clone(), inode, file: Arc::clone(file), writable })
    }
}

/// A test's own look at the disk and hand on it: neither counts, fails, nor needs the machine up.
impl SimFs {
    /// What a process would read.
    pub(crate) fn read(&self, path: &Path) -> Option<Vec<u8>> {
        self.machine.lock().disk.named(path).map(Inode::contents)
    }

    /// Makes the file hold `bytes`, durably, and all names in its directory durable. A file that
    /// exists is overwritten in place, so that mappings see it.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) {
        let disk = &mut self.machine.lock().disk;
        let id = match disk.volatile.get(path) {
            Some(&id) => id,
            None => disk.create(path).unwrap(),
        };
        disk.sync_dir(parent(path));
        let inode = disk.inode(id);
        inode.set_len(bytes.len() as u64).unwrap();
        inode.write(bytes, 0).unwrap();
        inode.pending.clear();
        inode.durable = bytes.to_vec();
    }

    /// Removes the file, durably, and makes all names in its directory durable.
    pub(crate) fn remove_file(&self, path: &Path) {
        let disk = &mut self.machine.lock().disk;
        disk.change_names(NameOp::Remove { path: path.to_owned() });
        disk.sync_dir(parent(path));
    }

    /// The names in a directory, sorted.
    pub(crate) fn names(&self, dir: &Path) -> Vec<String> {
        let names = self.machine.lock().disk.list(dir);
        names.into_iter().map(|name| name.into_string().unwrap()).collect()
    }

    /// The lengths of all files that have a name, added up.
    pub(crate) fn total_len(&self) -> u64 {
        self.machine.lock().disk.total_len()
    }

    pub(crate) fn is_read_only(&self, path: &Path) -> bool {
        self.machine.lock().disk.named(path).is_some_and(|inode| inode.read_only)
    }
}

impl Fs for SimFs {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        self.up().map(drop)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        Ok(self.up()?.disk.list(dir))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let mut machine = self.up()?;
        let inode = match machine.disk.volatile.get(path) {
            Some(&inode) => inode,
            None => machine.create(path)?,
        };
        if !machine.locks.insert(inode) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimLock { fs: self.clone(), inode })))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.interrupt(Op::Create, path);
        let mut machine = self.up()?;
        let inode = machine.create(path)?;
        Ok(self.handle(inode, &machine.disk.inode(inode).file, true))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut machine = self.up()?;
        let inode = *machine.disk.volatile.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(inode, &machine.disk.inode(inode).file, false))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.interrupt(Op::Rename, to);
        let mut machine = self.up()?;
        machine.admit(Op::Rename, to)?;
        let inode = *machine.disk.volatile.get(from).ok_or(io::ErrorKind::NotFound)?;
        let (from, to_owned) = (from.to_owned(), to.to_owned());
        machine.disk.change_names(NameOp::Rename { from, to: to_owned, inode });
        machine.note(Op::Rename, to);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.up()?;
        machine.admit(Op::Remove, path)?;
        machine.disk.volatile.get(path).ok_or(io::ErrorKind::NotFound)?;
        machine.disk.change_names(NameOp::Remove { path: path.to_owned() });
        machine.note(Op::Remove, path);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut machine = self.up()?;
        machine.admit(Op::SyncDir, dir)?;
        machine.disk.sync_dir(dir);
        machine.note(Op::SyncDir, dir);
        Ok(())
    }
}

struct SimLock {
    fs: SimFs,
    inode: InodeId,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.fs.machine.lock().locks.remove(&self.inode);
    }
}

struct SimFile {
    fs: SimFs,
    inode: InodeId,
    /// The volatile image. An inode is kept while somebody else than it holds this.
    file: Arc<OsFile>,
    writable: bool,
}

impl SimFile {
    /// The machine, if it is up, and the name by which faults and the trace know the file.
    fn up(&self) -> io::Result<(MutexGuard<'_, Machine>, PathBuf)> {
        let mut machine = self.fs.up()?;
        let path = machine.disk.inode(self.inode).path.clone();
        Ok((machine, path))
    }

    fn check_writable(&self) -> io::Result<()> {
        let message = "the file was opened to be read";
        let refused = || io::Error::new(io::ErrorKind::PermissionDenied, message);
        self.writable.then_some(()).ok_or_else(refused)
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.fs.up().map(drop)?;
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.fs.up().map(drop)?;
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        let (mut machine, path) = self.up()?;
        let fits = machine.disk.fits(self.inode, bytes.len(), offset);
        if let Err(refusal) = machine.admit(Op::Write, &path) {
            let done = machine.random.below(fits as u64 + 1) as usize;
            machine.disk.inode(self.inode).write(&bytes[..done], offset)?;
            return Err(refusal.into());
        }
        machine.disk.inode(self.inode).write(&bytes[..fits], offset)?;
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        machine.note(Op::Write, &path);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let (mut machine, path) = self.up()?;
        machine.admit(Op::SetLen, &path)?;
        machine.disk.inode(self.inode).set_len(len)?;
        machine.note(Op::SetLen, &path);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let (mut machine, path) = self.up()?;
        match machine.admit(Op::Sync, &path) {
            Ok(()) => machine.disk.inode(self.inode).sync(),
            Err(refusal) => {
                if let Refusal::Failed(_) = refusal {
                    machine.disk.inode(self.inode).pending.clear();
                }
                return Err(refusal.into());
            }
        }
        machine.note(Op::Sync, &path);
        Ok(())
    }

    fn make_read_only(&self) -> io::Result<()> {
        let (mut machine, path) = self.up()?;
        machine.admit(Op::MakeReadOnly, &path)?;
        machine.disk.inode(self.inode).read_only = true;
        machine.note(Op::MakeReadOnly, &path);
        Ok(())
    }

    fn map(&self, path: &Arc<Path>, len: u64) -> io::Result<Arc<Region>> {
        self.fs.up().map(drop)?;
        self.file.map(path, len)
    }

    fn map_growing(&self, path: &Arc<Path>, capacity: u64) -> io::Result<GrowingMap> {
        self.fs.up().map(drop)?;
        self.file.map_growing(path, capacity)
    }
}

struct Machine {
    disk: Disk,
    operations: u64,
    trace: Vec<(Op, PathBuf)>,
    /// How many more operations happen before the power is lost.
    crash: Option<u64>,
    faults: Vec<Fault>,
    interruption: Option<Interruption>,
    locks: BTreeSet<InodeId>,
    down: bool,
    random: Random,
}

struct Fault {
    /// How many more operations that match are spared.
    skip: u64,
    op: Option<Op>,
    name_contains: String,
    failure: Failure,
}

struct Interruption {
    op: Op,
    name_contains: String,
    action: Box<dyn FnOnce() + Send>,
}

/// Why an operation does not happen.
enum Refusal {
    Down,
    Failed(Failure),
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Down => io::Error::other("the simulated machine is down"),
            Refusal::Failed(failure) => failure.into(),
        }
    }
}

impl Machine {
    /// Counts an operation, and refuses it if a crash or a fault is due.
    fn admit(&mut self, op: Op, path: &Path) -> Result<(), Refusal> {
        self.operations += 1;
        match &mut self.crash {
            Some(0) => {
                self.down = true;
                return Err(Refusal::Down);
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.due(op, path).map_or(Ok(()), |failure| Err(Refusal::Failed(failure)))
    }

    /// The failure of the first armed fault that is due, which is then spent. All that match and are
    /// not due come one operation nearer.
    fn due(&mut self, op: Op, path: &Path) -> Option<Failure> {
        let mut due = None;
        let path = path.to_string_lossy();
        self.faults.retain_mut(|fault| {
            if fault.op.is_some_and(|wanted| wanted != op) || !path.contains(&fault.name_contains) {
                return true;
            }
            let spent = fault.skip == 0 && due.is_none();
            if spent {
                due = Some(fault.failure);
            }
            fault.skip = fault.skip.saturating_sub(1);
            !spent
        });
        due
    }

    fn note(&mut self, op: Op, path: &Path) {
        self.trace.push((op, path.to_owned()));
    }

    fn create(&mut self, path: &Path) -> io::Result<InodeId> {
        self.admit(Op::Create, path)?;
        let inode = self.disk.create(path)?;
        self.note(Op::Create, path);
        Ok(inode)
    }
}

type InodeId = u64;
type Names = BTreeMap<PathBuf, InodeId>;

#[derive(Default)]
struct Disk {
    inodes: BTreeMap<InodeId, Inode>,
    next_inode: InodeId,
    volatile: Names,
    durable: Names,
    pending: Vec<NameOp>,
    capacity: Option<u64>,
}

/// A change of names, which happens whole or not at all.
enum NameOp {
    Create { path: PathBuf, inode: InodeId },
    Rename { from: PathBuf, to: PathBuf, inode: InodeId },
    Remove { path: PathBuf },
}

impl NameOp {
    fn apply(&self, names: &mut Names) {
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

    fn dir(&self) -> &Path {
        match self {
            NameOp::Create { path, .. } | NameOp::Remove { path } => parent(path),
            NameOp::Rename { to, .. } => parent(to),
        }
    }

    /// The file that it gives a name to.
    fn inode(&self) -> Option<InodeId> {
        match self {
            NameOp::Create { inode, .. } | NameOp::Rename { inode, .. } => Some(*inode),
            NameOp::Remove { .. } => None,
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

impl Disk {
    fn inode(&mut self, id: InodeId) -> &mut Inode {
        self.inodes.get_mut(&id).unwrap()
    }

    fn named(&self, path: &Path) -> Option<&Inode> {
        self.volatile.get(path).map(|id| &self.inodes[id])
    }

    fn list(&self, dir: &Path) -> Vec<OsString> {
        let paths = self.volatile.keys().filter(|path| parent(path) == dir);
        paths.filter_map(|path| path.file_name()).map(OsString::from).collect()
    }

    fn total_len(&self) -> u64 {
        let linked = self.volatile.values().collect::<BTreeSet<_>>();
        linked.into_iter().map(|id| self.inodes[id].len).sum()
    }

    /// How many of `len` bytes at `offset` the disk has room for.
    fn fits(&self, id: InodeId, len: usize, offset: u64) -> usize {
        let Some(capacity) = self.capacity else { return len };
        let end = self.inodes[&id].len + capacity.saturating_sub(self.total_len());
        len.min(usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX))
    }

    fn create(&mut self, path: &Path) -> io::Result<InodeId> {
        if self.volatile.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = self.next_inode;
        self.inodes.insert(inode, Inode::new(path, Vec::new())?);
        self.next_inode += 1;
        self.change_names(NameOp::Create { path: path.to_owned(), inode });
        Ok(inode)
    }

    fn change_names(&mut self, op: NameOp) {
        op.apply(&mut self.volatile);
        if let NameOp::Rename { to, inode, .. } = &op {
            self.inode(*inode).path.clone_from(to);
        }
        self.pending.push(op);
    }

    fn sync_dir(&mut self, dir: &Path) {
        for op in self.pending.extract_if(.., |op| op.dir() == dir) {
            op.apply(&mut self.durable);
        }
        self.forget_unreachable();
    }

    /// Frees the files that no process holds and no crash can bring back.
    fn forget_unreachable(&mut self) {
        let names = self.volatile.values().chain(self.durable.values()).copied();
        let reachable =
            names.chain(self.pending.iter().filter_map(NameOp::inode)).collect::<BTreeSet<_>>();
        let held = |inode: &Inode| Arc::strong_count(&inode.file) > 1;
        self.inodes.retain(|id, inode| reachable.contains(id) || held(inode));
    }

    /// The disk that a power cut leaves.
    fn after_crash(&self, random: &mut Random) -> Disk {
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
        }
    }
}

struct Inode {
    /// The volatile image.
    file: Arc<OsFile>,
    /// The length of the volatile image.
    len: u64,
    /// Its name, or the last one that it had.
    path: PathBuf,
    durable: Vec<u8>,
    pending: Vec<DataOp>,
    read_only: bool,
}

enum DataOp {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen { len: u64 },
}

impl DataOp {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            DataOp::Write { offset, bytes } => overwrite(image, *offset, bytes),
            DataOp::SetLen { len } => image.resize(*len as usize, 0),
        }
    }

    /// Applies the operation, nothing of it, or some sectors of a write; whole with a chance of
    /// `keep`.
    fn apply_at_random(&self, image: &mut Vec<u8>, keep: Chance, random: &mut Random) {
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
fn overwrite(image: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = offset as usize;
    let end = start + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[start..end].copy_from_slice(bytes);
}

/// Splits what is written at `offset` where the file's sectors end.
fn sectors(mut offset: u64, mut bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        let len = bytes.len().min((SECTOR - offset % SECTOR) as usize);
        let (piece, rest) = bytes.split_at(len);
        let at = offset;
        (offset, bytes) = (offset + len as u64, rest);
        (len > 0).then_some((at, piece))
    })
}

impl Inode {
    fn new(path: &Path, image: Vec<u8>) -> io::Result<Self> {
        let memory = Path::new("/dev/shm");
        let file =
            if memory.is_dir() { tempfile::tempfile_in(memory) } else { tempfile::tempfile() };
        let file = Arc::new(OsFile::new(file?));
        file.write_at(&image, 0)?;
        let len = image.len() as u64;
        let (path, pending) = (path.to_owned(), Vec::new());
        Ok(Inode { file, len, path, durable: image, pending, read_only: false })
    }

    fn contents(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.file.read_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_at(bytes, offset)?;
        self.len = self.len.max(offset + bytes.len() as u64);
        self.pending.push(DataOp::Write { offset, bytes: bytes.to_vec() });
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.len = len;
        self.pending.push(DataOp::SetLen { len });
        Ok(())
    }

    fn sync(&mut self) {
        for op in self.pending.drain(..) {
            op.apply(&mut self.durable);
        }
    }

    fn after_crash(&self, path: &Path, fate: Fate, random: &mut Random) -> Inode {
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
enum Fate {
    Nothing,
    Some,
    Everything,
}

impl Fate {
    fn draw(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Fate::Nothing,
            1 => Fate::Everything,
            _ => Fate::Some,
        }
    }

    /// The chance of each operation of a file, or of the names. It differs from file to file, so
    /// that long series can break early and late.
    fn keep(self, random: &mut Random) -> Chance {
        match self {
            Fate::Nothing => Chance::NEVER,
            Fate::Some => Chance(1 + random.below(15)),
            Fate::Everything => Chance::ALWAYS,
        }
    }
}

/// In sixteenths.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Chance(u64);

impl Chance {
    const NEVER: Chance = Chance(0);
    const HALF: Chance = Chance(8);
    const ALWAYS: Chance = Chance(16);
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, chance: Chance) -> bool {
        self.below(16) < chance.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: std::ops::Range<u64> = 0..200;

    fn path(name: &str) -> Arc<Path> {
        Arc::from(Path::new("dir").join(name))
    }

    fn create(fs: &SimFs, name: &str) -> Arc<dyn File> {
        fs.create(&path(name)).unwrap()
    }

    /// A disk with a durable, empty file `a`, open.
    fn with_file() -> (SimFs, Arc<dyn File>) {
        let fs = SimFs::new(0);
        let file = create(&fs, "a");
        fs.sync_dir(Path::new("dir")).unwrap();
        (fs, file)
    }

    /// What is in the file after each of many crashes.
    fn outcomes(fs: &SimFs, name: &str) -> BTreeSet<Option<Vec<u8>>> {
        SEEDS.map(|seed| fs.crash(seed).read(&path(name))).collect()
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_any_part_of_what_was_not() {
        let (fs, file) = with_file();
        file.write_at(b"synced", 0).unwrap();
        file.sync().unwrap();
        file.write_at(b"!", 6).unwrap();
        let expected = [&b"synced"[..], b"synced!", b"synced\0"];
        assert_eq!(outcomes(&fs, "a"), expected.map(|bytes| Some(bytes.to_vec())).into());
    }

    #[test]
    fn a_crash_tears_writes_at_sectors_of_the_file() {
        let (fs, file) = with_file();
        file.write_at(&[1; 300], 0).unwrap();
        file.sync().unwrap();
        file.write_at(&[2; 1000], 300).unwrap();
        let outcomes = outcomes(&fs, "a").into_iter().flatten().collect::<Vec<_>>();
        for bytes in &outcomes {
            assert_eq!(bytes[..300], [1; 300]);
            for (_, sector) in sectors(300, &bytes[300..]) {
                assert!(sector == vec![2; sector.len()] || sector == vec![0; sector.len()]);
            }
        }
        let torn = |bytes: &Vec<u8>| bytes.len() == 1300 && bytes[300] == 0 && bytes[1299] == 2;
        assert!(outcomes.iter().any(torn));
        assert!(outcomes.iter().any(|bytes| bytes.len() == 512));
    }

    #[test]
    fn a_crash_keeps_or_loses_a_truncation() {
        let (fs, file) = with_file();
        file.write_at(b"abc", 0).unwrap();
        file.sync().unwrap();
        file.set_len(1).unwrap();
        assert_eq!(fs.read(&path("a")), Some(b"a".to_vec()));
        assert_eq!(outcomes(&fs, "a"), [Some(b"a".to_vec()), Some(b"abc".to_vec())].into());
    }

    #[test]
    fn names_are_certain_once_the_directory_is_synced() {
        let (from, to, dir) = (path("from"), path("to"), Path::new("dir"));
        let fs = SimFs::new(0);
        fs.write(&to, b"old");
        fs.create(&from).unwrap().write_at(b"new", 0).unwrap();
        fs.open(&from).unwrap().sync().unwrap();
        let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
        assert_eq!(outcomes(&fs, "from"), [None, new.clone()].into());

        // What crashed only on trial goes on as if the process alone had died.
        let fs = fs.kill();
        fs.rename(&from, &to).unwrap();
        fs.fail_next(Op::SyncDir, "dir", 5);
        assert_eq!(fs.sync_dir(dir).unwrap_err().raw_os_error(), Some(5));
        fs.sync_dir(Path::new("other")).unwrap();
        assert_eq!(outcomes(&fs, "to"), [old, new.clone()].into());

        let fs = fs.kill();
        fs.sync_dir(dir).unwrap();
        assert_eq!(outcomes(&fs, "to"), [new.clone()].into());
        assert_eq!(fs.names(dir), ["to"]);

        let fs = fs.kill();
        fs.remove(&to).unwrap();
        assert_eq!(outcomes(&fs, "to"), [None, new].into());
        let fs = fs.kill();
        fs.sync_dir(dir).unwrap();
        assert_eq!(outcomes(&fs, "to"), [None].into());
        assert!(fs.machine.lock().disk.inodes.is_empty());
    }

    #[test]
    fn a_failed_sync_drops_the_dirty_pages_that_reads_still_see() {
        let (fs, file) = with_file();
        file.write_at(b"lost", 0).unwrap();
        fs.fail_next(Op::Sync, "a", io::ErrorKind::Other);
        assert!(file.sync().is_err());
        file.sync().unwrap();
        let mut seen = [0; 4];
        file.read_at(&mut seen, 0).unwrap();
        assert_eq!(&seen, b"lost");
        file.write_at(b"kept", 4).unwrap();
        file.sync().unwrap();
        assert_eq!(outcomes(&fs, "a"), [Some(b"\0\0\0\0kept".to_vec())].into());
    }

    #[test]
    fn mappings_see_later_writes() {
        let (fs, file) = with_file();
        let growing = file.map_growing(&path("a"), 100).unwrap();
        file.write_at(b"hello", 0).unwrap();
        growing.publish(5);
        let sealed = fs.open(&path("a")).unwrap().map(&path("a"), 5).unwrap();
        assert_eq!(growing.region().get(0..5), Some(&b"hello"[..]));
        fs.write(&path("a"), b"jello");
        assert_eq!(sealed.get(0..5), Some(&b"jello"[..]));
        assert_eq!(outcomes(&fs, "a"), [Some(b"jello".to_vec())].into());
    }

    #[test]
    fn a_machine_that_lost_power_does_nothing() {
        let (fs, file) = with_file();
        let lock = fs.lock(&path("lock")).unwrap().unwrap();
        let before = fs.operations();
        fs.crash_at(1);
        file.write_at(b"first", 0).unwrap();
        assert!(file.write_at(b"second", 5).is_err());
        assert!(fs.is_down());
        assert!(b"firstsecond".starts_with(&fs.read(&path("a")).unwrap()));
        assert!(file.len().is_err() && file.sync().is_err() && file.read_at(&mut [], 0).is_err());
        assert!(fs.list(Path::new("dir")).is_err() && fs.open(&path("a")).is_err());
        assert!(fs.lock(&path("lock")).is_err() && fs.create(&path("b")).is_err());
        assert_eq!(fs.operations() - before, 2);

        let next = fs.crash(1);
        assert!(!next.is_down() && next.operations() == 0);
        let _lock = next.lock(&path("lock")).unwrap().unwrap();
        drop(lock);
        assert!(next.lock(&path("lock")).unwrap().is_none());
    }

    #[test]
    fn a_killed_process_leaves_everything_behind_it_pending() {
        let (fs, file) = with_file();
        let _lock = fs.lock(&path("lock")).unwrap().unwrap();
        file.write_at(b"abc", 0).unwrap();
        fs.crash_at(9);
        let next = fs.kill();
        assert!(file.write_at(b"d", 3).is_err() && fs.is_down());
        assert_eq!(next.read(&path("a")), Some(b"abc".to_vec()));
        assert!(next.lock(&path("lock")).unwrap().is_some());
        assert_eq!(next.operations(), 0);
        assert!(outcomes(&next, "a").contains(&Some(Vec::new())));
    }

    #[test]
    fn only_a_held_lock_refuses() {
        let fs = SimFs::new(0);
        let lock = fs.lock(&path("lock")).unwrap().unwrap();
        assert!(fs.lock(&path("lock")).unwrap().is_none());
        drop(lock);
        assert!(fs.lock(&path("lock")).unwrap().is_some());
        assert_eq!(fs.trace(), [(Op::Create, path("lock").to_path_buf())]);
        assert_eq!(fs.operations(), 1);
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let (fs, file) = with_file();
        fs.set_capacity(Some(10));
        let full =
            |result: io::Result<()>| result.unwrap_err().kind() == io::ErrorKind::StorageFull;
        file.write_at(b"12345678", 0).unwrap();
        assert!(full(file.write_at(b"9abc", 8)));
        assert_eq!(fs.read(&path("a")), Some(b"123456789a".to_vec()));
        file.write_at(b"in place", 0).unwrap();
        file.set_len(8).unwrap();
        assert!(full(create(&fs, "b").write_at(b"abc", 0)));
        assert_eq!(fs.total_len(), 10);
        fs.remove_file(&path("b"));
        assert_eq!((fs.total_len(), fs.names(Path::new("dir"))), (8, vec!["a".to_owned()]));
    }

    #[test]
    fn faults_hit_the_operation_they_are_meant_for_once() {
        let (fs, file) = with_file();
        let other = create(&fs, "other");
        fs.fail_next(Op::Write, "other", io::ErrorKind::StorageFull);
        fs.fail_at(1, Some(Op::SetLen), 5);
        file.write_at(b"abc", 0).unwrap();
        assert_eq!(other.write_at(b"abc", 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
        other.write_at(b"abc", 0).unwrap();
        file.set_len(2).unwrap();
        assert_eq!(other.set_len(2).unwrap_err().raw_os_error(), Some(5));
        assert_eq!(fs.read(&path("other")), Some(b"abc".to_vec()));

        fs.fail_at(1, None, io::ErrorKind::Other);
        fs.rename(&path("other"), &path("b")).unwrap();
        assert!(other.make_read_only().is_err() && !fs.is_read_only(&path("b")));
        other.make_read_only().unwrap();
        assert!(fs.is_read_only(&path("b")));
        let expected = [
            (Op::Create, "a"),
            (Op::SyncDir, ""),
            (Op::Create, "other"),
            (Op::Write, "a"),
            (Op::Write, "other"),
            (Op::SetLen, "a"),
            (Op::Rename, "b"),
            (Op::MakeReadOnly, "b"),
        ];
        assert_eq!(fs.trace(), expected.map(|(op, name)| (op, path(name).to_path_buf())));
    }

    #[test]
    fn names_are_taken_or_missing() {
        let (fs, _) = with_file();
        let kind = |result: io::Result<()>| result.unwrap_err().kind();
        assert_eq!(kind(fs.create(&path("a")).map(drop)), io::ErrorKind::AlreadyExists);
        assert_eq!(kind(fs.open(&path("b")).map(drop)), io::ErrorKind::NotFound);
        assert_eq!(kind(fs.remove(&path("b"))), io::ErrorKind::NotFound);
        assert_eq!(kind(fs.rename(&path("b"), &path("a"))), io::ErrorKind::NotFound);
        assert_eq!(fs.list(Path::new("dir")).unwrap(), ["a"]);
    }
}
