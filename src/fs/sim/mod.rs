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

mod disk;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use disk::{Disk, Inode, InodeId, NameOp, Random, parent};

use super::os::OsFile;
use super::{File, Fs, GrowingMap, Lock, Region};
use crate::mappings::Permit;

/// The kinds of operations. Those from `Open` on do not change a disk and do not count. From `Read` on they
/// fail only if that is armed for their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Create,
    Rename,
    Link,
    Remove,
    SyncDir,
    Write,
    SetLen,
    Sync,
    MakeReadOnly,
    Open,
    Len,
    Read,
    Map,
    WillNeed,
    Lock,
    /// What fails leaves the name out.
    List,
}

impl Op {
    /// Whether it meets a fault that is armed for any operation.
    fn is_any(self) -> bool {
        !matches!(self, Op::Read | Op::Map | Op::WillNeed | Op::Lock | Op::List)
    }
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

/// A machine with a disk, as one process sees it. Clones are the same machine and process.
#[derive(Clone)]
pub(crate) struct SimFs {
    machine: Arc<Mutex<Machine>>,
    process: Arc<Process>,
}

#[derive(Default)]
struct Process {
    is_dead: AtomicBool,
    /// It sees the disk mounted read-only.
    reads_only: bool,
    /// What it tried all the same.
    trespasses: AtomicU64,
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

    /// What the system was told to begin to write, of any file.
    pub(crate) fn started(&self) -> Vec<Range<u64>> {
        self.machine.lock().started.clone()
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

    /// After how many operations more it goes down, if it is to.
    #[cfg(test)]
    pub(crate) fn pending_crash(&self) -> Option<u64> {
        self.machine.lock().crash
    }

    pub(crate) fn is_down(&self) -> bool {
        self.machine.lock().down
    }

    /// The `n`-th operation from now of the given kind, 0 being the next, fails once and does not happen;
    /// a write happens in part, a sync drops the dirty pages. `None`: of any that changes the disk, opens a file or
    /// asks for its length, in a process that may write.
    pub(crate) fn fail_at(&self, n: u64, op: Option<Op>, error: impl Into<Failure>) {
        self.arm(Fault { skip: n, op, name_contains: String::new(), failure: error.into() });
    }

    /// The next operation of the given kind on a path that contains `name_contains` fails so. A
    /// rename's or link's path is its target; a file's is its name at the time.
    pub(crate) fn fail_next(&self, op: Op, name_contains: &str, error: impl Into<Failure>) {
        let name_contains = name_contains.to_owned();
        self.arm(Fault { skip: 0, op: Some(op), name_contains, failure: error.into() });
    }

    /// Whether a fault is armed that has not been met.
    pub(crate) fn is_armed(&self) -> bool {
        !self.machine.lock().faults.is_empty()
    }

    /// No fault that is still to come will, nor what was to run before an operation.
    pub(crate) fn disarm(&self) {
        let mut machine = self.machine.lock();
        machine.faults.clear();
        machine.interruption = None;
    }

    /// How many operations have failed while the machine was up: a fault was due, or the disk was full.
    pub(crate) fn failures(&self) -> u64 {
        self.machine.lock().failures
    }

    /// Runs `action` once, before the next [`Op::Create`], [`Op::Rename`], [`Op::Link`], [`Op::Remove`], [`Op::SetLen`] or
    /// [`Op::Sync`] on a path that contains `name_contains`: what another thread does just then.
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

    /// Runs `action` once, before the `n`-th look at the disk from now, 0 being the next: a listing, an
    /// opening, a length, a reading or a mapping.
    pub(crate) fn at_look(&self, n: u64, action: impl FnOnce() + Send + 'static) {
        self.machine.lock().at_look = Some((n, Box::new(action)));
    }

    /// Whether what [`SimFs::at_look`] was given has not come to run; it will not any more.
    pub(crate) fn forget_look(&self) -> bool {
        self.machine.lock().at_look.take().is_some()
    }

    fn looks(&self) {
        let mut machine = self.machine.lock();
        let due = machine.at_look.take_if(|(n, _)| *n == 0);
        if let Some((n, _)) = &mut machine.at_look {
            *n -= 1;
        }
        drop(machine);
        if let Some((_, action)) = due {
            action();
        }
    }

    /// Another process on the same machine.
    pub(crate) fn process(&self) -> SimFs {
        SimFs { machine: Arc::clone(&self.machine), process: Arc::default() }
    }

    /// Another process on the same machine, for which the disk is mounted read-only.
    pub(crate) fn process_that_reads(&self) -> SimFs {
        let process = Process { reads_only: true, ..Process::default() };
        SimFs { machine: Arc::clone(&self.machine), process: Arc::new(process) }
    }

    /// How often this process, which may only read, tried more than that.
    pub(crate) fn trespasses(&self) -> u64 {
        self.process.trespasses.load(Ordering::Relaxed)
    }

    /// This process dies, the machine and its other processes live on.
    pub(crate) fn end_process(&self) {
        self.process.is_dead.store(true, Ordering::Relaxed);
        self.machine.lock().locks.clear();
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

    /// No file is given a second name from now on.
    pub(crate) fn refuse_links(&self) {
        self.machine.lock().disk.refuses_links = true;
    }

    /// The machine loses power now, unless it already has: the machine after the next boot. This one
    /// stays down; from it other outcomes of the same crash can be had with other seeds.
    pub(crate) fn crash(&self, seed: u64) -> SimFs {
        let mut machine = self.machine.lock();
        machine.down = true;
        SimFs::boot(machine.disk.after_crash(&mut Random(seed)), seed)
    }

    /// The process dies, the machine does not: the same disk for another process, with all that is
    /// pending still pending, and the faults and the power loss that are armed still to come. This handle has no disk any
    /// more, and everything fails on it. If the machine is down, by [`SimFs::crash_at`] or [`SimFs::crash`]: as if the process
    /// had died there, not the power.
    pub(crate) fn kill(&self) -> SimFs {
        let mut machine = self.machine.lock();
        let is_down = std::mem::replace(&mut machine.down, true);
        let seed = machine.random.next();
        let next = SimFs::boot(std::mem::take(&mut machine.disk), seed);
        if !is_down {
            let mut next = next.machine.lock();
            (next.crash, next.faults) = (machine.crash.take(), std::mem::take(&mut machine.faults));
        }
        next
    }

    fn boot(disk: Disk, seed: u64) -> SimFs {
        let machine = Machine {
            disk,
            operations: 0,
            trace: Vec::new(),
            started: Vec::new(),
            crash: None,
            faults: Vec::new(),
            failures: 0,
            interruption: None,
            at_look: None,
            locks: BTreeSet::new(),
            down: false,
            random: Random(seed),
        };
        SimFs { machine: Arc::new(Mutex::new(machine)), process: Arc::default() }
    }

    fn arm(&self, fault: Fault) {
        self.machine.lock().faults.push(fault);
    }

    /// The machine, if it is up and the process lives.
    fn up(&self) -> io::Result<MutexGuard<'_, Machine>> {
        let machine = self.machine.lock();
        let is_dead = self.process.is_dead.load(Ordering::Relaxed);
        if machine.down || is_dead { Err(Refusal::Down.into()) } else { Ok(machine) }
    }

    /// As [`SimFs::up`], for what needs a disk that can be written.
    fn up_to_write(&self) -> io::Result<MutexGuard<'_, Machine>> {
        if self.process.reads_only {
            self.process.trespasses.fetch_add(1, Ordering::Relaxed);
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.up()
    }

    fn take_lock(&self, machine: &mut Machine, inode: InodeId) -> Option<Box<dyn Lock>> {
        let is_free = machine.locks.insert(inode);
        is_free.then(|| -> Box<dyn Lock> { Box::new(SimLock { fs: self.clone(), inode }) })
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
        self.up_to_write().map(drop)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.looks();
        let mut machine = self.up()?;
        let mut names = machine.disk.list(dir);
        names.retain(|name| {
            machine.due(Op::List, &dir.join(name), self.process.reads_only).is_none()
        });
        Ok(names)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let mut machine = self.up_to_write()?;
        if let Some(failure) = machine.due(Op::Lock, path, self.process.reads_only) {
            return Err(failure.into());
        }
        let inode = match machine.disk.volatile.get(path) {
            Some(&inode) => inode,
            None => machine.create(path)?,
        };
        Ok(self.take_lock(&mut machine, inode))
    }

    fn lock_existing(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let mut machine = self.up()?;
        if let Some(failure) = machine.due(Op::Lock, path, self.process.reads_only) {
            return Err(failure.into());
        }
        let inode = *machine.disk.volatile.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.take_lock(&mut machine, inode))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.interrupt(Op::Create, path);
        let mut machine = self.up_to_write()?;
        let inode = machine.create(path)?;
        Ok(self.handle(inode, &machine.disk.inode(inode).file, true))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.looks();
        let mut machine = self.up()?;
        if let Some(failure) = machine.due(Op::Open, path, self.process.reads_only) {
            return Err(failure.into());
        }
        let inode = *machine.disk.volatile.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(inode, &machine.disk.inode(inode).file, false))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.interrupt(Op::Rename, to);
        let mut machine = self.up_to_write()?;
        machine.admit(Op::Rename, to)?;
        let inode = *machine.disk.volatile.get(from).ok_or(io::ErrorKind::NotFound)?;
        // Of two names of one file both stay, as POSIX wants it.
        if machine.disk.volatile.get(to) != Some(&inode) {
            let (from, to) = (from.to_owned(), to.to_owned());
            machine.disk.change_names(NameOp::Rename { from, to, inode });
        }
        machine.note(Op::Rename, to);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.interrupt(Op::Link, to);
        let mut machine = self.up_to_write()?;
        machine.admit(Op::Link, to)?;
        let inode = *machine.disk.volatile.get(from).ok_or(io::ErrorKind::NotFound)?;
        machine.disk.link(to, inode)?;
        machine.note(Op::Link, to);
        Ok(())
    }

    /// There are no symbolic links on this disk, and no directories of their own.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.up().map(|_| path.to_owned())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.interrupt(Op::Remove, path);
        let mut machine = self.up_to_write()?;
        machine.admit(Op::Remove, path)?;
        machine.disk.volatile.get(path).ok_or(io::ErrorKind::NotFound)?;
        machine.disk.change_names(NameOp::Remove { path: path.to_owned() });
        machine.note(Op::Remove, path);
        Ok(())
    }

    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        let machine = self.up()?;
        let free = |capacity: u64| capacity.saturating_sub(machine.disk.total_len());
        Ok(machine.disk.capacity.map_or(u64::MAX, free))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut machine = self.up_to_write()?;
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
        // A process that is dead has let go of it already.
        if !self.fs.process.is_dead.load(Ordering::Relaxed) {
            self.fs.machine.lock().locks.remove(&self.inode);
        }
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
        self.named(self.fs.up()?)
    }

    /// As [`SimFile::up`], for what needs a disk that can be written.
    fn up_to_write(&self) -> io::Result<(MutexGuard<'_, Machine>, PathBuf)> {
        self.named(self.fs.up_to_write()?)
    }

    fn named<'m>(
        &self,
        mut machine: MutexGuard<'m, Machine>,
    ) -> io::Result<(MutexGuard<'m, Machine>, PathBuf)> {
        let path = machine.disk.inode(self.inode).path.clone();
        Ok((machine, path))
    }

    /// Fails if the machine is down, or a fault of this operation, which does not change the disk, is
    /// due.
    fn meet(&self, op: Op) -> io::Result<()> {
        self.fs.looks();
        let (mut machine, path) = self.up()?;
        machine
            .due(op, &path, self.fs.process.reads_only)
            .map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn check_writable(&self) -> io::Result<()> {
        let message = "the file was opened to be read";
        let refused = || io::Error::new(io::ErrorKind::PermissionDenied, message);
        self.writable.then_some(()).ok_or_else(refused)
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.meet(Op::Len)?;
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.meet(Op::Read)?;
        self.file.read_at(buf, offset)
    }

    fn next_data(&self, within: Range<u64>) -> Option<Range<u64>> {
        self.file.next_data(within)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        let (mut machine, path) = self.up_to_write()?;
        let fits = machine.disk.fits(self.inode, bytes.len(), offset);
        if let Err(refusal) = machine.admit(Op::Write, &path) {
            let done = machine.random.part(fits);
            machine.disk.inode(self.inode).write(&bytes[..done], offset)?;
            return Err(refusal.into());
        }
        machine.disk.inode(self.inode).write(&bytes[..fits], offset)?;
        if fits < bytes.len() {
            machine.failures += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        machine.note(Op::Write, &path);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let path = self.up()?.1;
        self.fs.interrupt(Op::SetLen, &path);
        let (mut machine, path) = self.up_to_write()?;
        machine.admit(Op::SetLen, &path)?;
        machine.disk.inode(self.inode).set_len(len)?;
        machine.note(Op::SetLen, &path);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let path = self.up()?.1;
        self.fs.interrupt(Op::Sync, &path);
        let (mut machine, path) = self.up_to_write()?;
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
        let (mut machine, path) = self.up_to_write()?;
        machine.admit(Op::MakeReadOnly, &path)?;
        machine.disk.inode(self.inode).read_only = true;
        machine.note(Op::MakeReadOnly, &path);
        Ok(())
    }

    fn start_writing(&self, offset: u64, len: u64) {
        if let Ok((mut machine, _)) = self.up() {
            machine.started.push(offset..offset + len);
        }
    }

    fn will_need(&self, offset: u64, len: u64) -> io::Result<()> {
        self.meet(Op::WillNeed)?;
        self.file.will_need(offset, len)
    }

    fn map(&self, path: &Arc<Path>, len: u64, permit: Permit) -> io::Result<Arc<Region>> {
        self.meet(Op::Map)?;
        self.file.map(path, len, permit)
    }

    fn map_growing(
        &self,
        path: &Arc<Path>,
        capacity: u64,
        permit: Permit,
    ) -> io::Result<GrowingMap> {
        self.meet(Op::Map)?;
        self.file.map_growing(path, capacity, permit)
    }
}

struct Machine {
    disk: Disk,
    operations: u64,
    trace: Vec<(Op, PathBuf)>,
    started: Vec<Range<u64>>,
    /// How many more operations happen before the power is lost.
    crash: Option<u64>,
    faults: Vec<Fault>,
    failures: u64,
    interruption: Option<Interruption>,
    at_look: Option<(u64, Box<dyn FnOnce() + Send>)>,
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
        self.due(op, path, false).map_or(Ok(()), |failure| Err(Refusal::Failed(failure)))
    }

    /// The failure of the first armed fault that is due, which is then spent. All that match and are
    /// not due come one operation nearer.
    fn due(&mut self, op: Op, path: &Path, reads_only: bool) -> Option<Failure> {
        let mut due = None;
        let path = path.to_string_lossy();
        self.faults.retain_mut(|fault| {
            let is_of_kind = fault.op.map_or(op.is_any() && !reads_only, |wanted| wanted == op);
            if !is_of_kind || !path.contains(&fault.name_contains) {
                return true;
            }
            let spent = fault.skip == 0 && due.is_none();
            if spent {
                due = Some(fault.failure);
            }
            fault.skip = fault.skip.saturating_sub(1);
            !spent
        });
        self.failures += u64::from(due.is_some());
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
