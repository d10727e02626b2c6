//! Data files looked through, several at a time.
//!
//! A file is read in steps, so that bytes that the system cannot read are met as an error, and then
//! walked record by record. Holes are not read. It is mapped, so that what this takes of memory the system may take back.

use std::io::ErrorKind;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::report::Fault;
use crate::error::{Damage, Error, Result};
use crate::fs::{self, File, Fs, Reading, View, Whole};
use crate::manifest::SealedEntry;
use crate::progress::{Progress, Teller};
use crate::segment::scan::{self, Found, Rules, Summary};

/// A data file to look through.
pub(super) struct Job {
    path: Arc<Path>,
    rules: Rules,
    reading: Reading,
    /// What the manifest says of it.
    listed: Option<SealedEntry>,
    /// What of it counts; `None` if it is not there.
    len: Option<u64>,
    /// That it is not there, or too short.
    short: Option<Damage>,
}

/// A data file that was looked through.
pub(crate) struct Checked {
    pub(crate) path: Arc<Path>,
    pub(crate) rules: Rules,
    /// What of it counts.
    pub(crate) len: u64,
    /// `None` if it could not be read.
    pub(crate) summary: Option<Summary>,
    /// That it is not the file that the manifest means.
    pub(crate) unlike: Option<Damage>,
    /// Bad records and what follows them.
    pub(crate) bad: Vec<(u64, Damage)>,
    pub(crate) unapplied: u64,
}

impl Job {
    /// A file to look through by these rules, from its beginning to its end or to where the manifest
    /// says that it ends.
    pub(super) fn new(
        fs: &dyn Fs,
        path: Arc<Path>,
        rules: Rules,
        reading: Reading,
        listed: Option<SealedEntry>,
    ) -> Result<Self> {
        let found = match open(fs, &path)? {
            Some(file) => Some(file.len().map_err(Error::io("read the length of", &*path))?),
            None => None,
        };
        let (len, short) = match (found, listed) {
            (None, _) => (None, Some(Damage::Missing)),
            (Some(found), Some(SealedEntry { len: expected, .. })) if found < expected => {
                (Some(found), Some(Damage::Length { expected, found }))
            }
            (Some(_), Some(SealedEntry { len, .. })) | (Some(len), None) => (Some(len), None),
        };
        Ok(Job { path, rules, reading, listed, len, short })
    }

    fn len(&self) -> u64 {
        self.len.unwrap_or_default()
    }
}

impl Checked {
    pub(crate) fn faults(&self) -> impl Iterator<Item = Fault> {
        let unlike = self.unlike.map(|damage| (0, damage));
        let all = unlike.into_iter().chain(self.bad.iter().copied());
        all.map(|(offset, damage)| self.fault(offset, damage))
    }

    pub(crate) fn fault(&self, offset: u64, damage: Damage) -> Fault {
        Fault { path: self.path.to_path_buf(), offset, damage }
    }
}

impl Checked {
    /// The file can be read up to this offset.
    fn unread(mut self, offset: u64, error: Error) -> Result<Self> {
        match error {
            Error::Io { source, .. } if source.kind() != ErrorKind::OutOfMemory => {
                self.bad.push((offset, Damage::Unread { kind: source.kind() }));
                Ok(self)
            }
            error => Err(error),
        }
    }
}

fn open(fs: &dyn Fs, path: &Path) -> Result<Option<Arc<dyn File>>> {
    match fs.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open", path)(error)),
    }
}

/// What the threads tell the one that started them.
enum Message {
    Read(u64),
    Checked(usize, Result<Checked>),
}

/// Looks through all files, as many at a time as the machine has processors, and threads to spare. The answers come in
/// the order of the jobs.
pub(super) fn check_all(
    fs: &dyn Fs,
    jobs: &[Job],
    teller: &mut Teller<impl FnMut(Progress) -> ControlFlow<()>>,
) -> Result<Vec<Checked>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(jobs.len());
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut answers: Vec<_> = jobs.iter().map(|_| None).collect();
    let mut hear = |message| match message {
        Message::Read(bytes) => teller.step(bytes),
        Message::Checked(job, checked) => {
            answers[job] = Some(checked?);
            Ok(())
        }
    };
    let told = thread::scope(|scope| {
        let (sender, messages) = mpsc::channel();
        let start = |_| {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            // Who no longer listens has set `stop`.
            let tell = move |message| drop(sender.send(message));
            thread::Builder::new().spawn_scoped(scope, move || work(fs, jobs, next, stop, tell))
        };
        let threads: Vec<_> = (0..threads).map_while(|n| start(n).ok()).collect();
        drop(sender);
        let mut told = messages.into_iter().try_for_each(&mut hear);
        if threads.is_empty() {
            work(fs, jobs, &next, &stop, |message| {
                told = hear(message);
                stop.store(told.is_err(), Ordering::Relaxed);
            });
        }
        stop.store(true, Ordering::Relaxed);
        // A scope waits for their work alone, and who looks for leaks then takes what they still hold for one.
        for thread in threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        told
    });
    told?;
    Ok(answers.into_iter().flatten().collect())
}

/// Takes one job after the other until none is left or nobody wants to know any more.
fn work(
    fs: &dyn Fs,
    jobs: &[Job],
    next: &AtomicUsize,
    stop: &AtomicBool,
    mut tell: impl FnMut(Message),
) {
    while !stop.load(Ordering::Relaxed) {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(job) = jobs.get(at) else { return };
        let checked = check(fs, job, stop, |bytes| tell(Message::Read(bytes)));
        if stop.load(Ordering::Relaxed) {
            return;
        }
        tell(Message::Checked(at, checked));
    }
}

/// Looks through a file. If somebody stops it, the answer says nothing.
fn check(fs: &dyn Fs, job: &Job, stop: &AtomicBool, mut told: impl FnMut(u64)) -> Result<Checked> {
    let mut checked = Checked {
        path: Arc::clone(&job.path),
        rules: job.rules,
        len: job.len(),
        summary: None,
        unlike: job.short,
        bad: Vec::new(),
        unapplied: 0,
    };
    if job.len.is_none() {
        return Ok(checked);
    }
    let Some(file) = open(fs, &job.path)? else {
        checked.unlike = Some(Damage::Missing);
        return Ok(checked);
    };
    let view = View::open(&file, &job.path, job.len(), job.reading)?;
    let read = read(&view, &*file, job.len(), |bytes| {
        told(bytes);
        match stop.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    match read {
        Ok(ControlFlow::Continue(())) => {}
        Ok(ControlFlow::Break(())) => return Err(Error::Stopped),
        Err((offset, error)) => return checked.unread(offset, error),
    }
    let bytes = match job.rules {
        Rules::Sealed => view.whole(),
        Rules::AdoptedLast | Rules::Tail => Whole::open(&file, &job.path, job.len(), job.reading),
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => return checked.unread(0, error),
    };
    let summary = scan::walk(&bytes, job.rules, |found| {
        match found {
            Found::Record { .. } => {}
            Found::Bad { offset, damage, .. } | Found::Unreadable { offset, damage } => {
                checked.bad.push((offset, damage));
            }
            Found::Unapplied { .. } => checked.unapplied += 1,
        }
        if stop.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    })?;
    checked.summary = Some(summary);
    if let (Some(listed), true, None) = (job.listed, checked.bad.is_empty(), checked.unlike) {
        checked.unlike = summary.check(listed.records, listed.checksum).err();
    }
    Ok(checked)
}

/// Brings a file into memory, but for its holes. If that fails, answers how far it came.
fn read(
    view: &View,
    file: &dyn File,
    len: u64,
    mut told: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, (u64, Error)> {
    let mut done = 0;
    for part in fs::data(file, 0..len) {
        let mut at = part.start;
        let warmed = view.warm(part, |step| {
            (at, done) = (at + step, done + step);
            told(step)
        });
        if warmed.map_err(|error| (at, error))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(if done < len { told(len - done) } else { ControlFlow::Continue(()) })
}

/// The bytes of all jobs.
pub(super) fn total(jobs: &[Job]) -> u64 {
    jobs.iter().fold(0, |total, job| total.saturating_add(job.len()))
}
