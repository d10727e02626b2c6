//! A tour of zerocask with real files: store a directory tree, read it back, delete, compact, reopen,
//! and check every byte on the way.
//!
//! ```text
//! cargo run --release --example quickstart [SOURCE_DIR [STORE_DIR]]
//! ```
//!
//! Without arguments it stores the Rust documentation of your toolchain (or else this crate's source)
//! in a temporary directory.

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use zerocask::{Durability, EmptyValues, Options, Store};

/// The first argument of the process that is to die.
const DYING: &str = "--die-with";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if let [_, dying, key, dir] = &args[..]
        && dying == DYING
    {
        let Err(error) = put_and_die(Path::new(dir), &key.to_string_lossy()) else {
            return ExitCode::SUCCESS;
        };
        eprintln!("quickstart: {error}");
        return ExitCode::SUCCESS;
    }
    let mut args = args.into_iter().skip(1).map(PathBuf::from);
    let source = args.next().unwrap_or_else(default_source);
    let toured = match args.next() {
        Some(dir) => tour(&source, &dir),
        // The directory is removed when it goes out of scope.
        None => tempfile::tempdir().map_err(Into::into).and_then(|dir| tour(&source, dir.path())),
    };
    match toured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tour(source: &Path, dir: &Path) -> Result<()> {
    println!("storing {} in {}", source.display(), dir.display());
    let mut files = Vec::new();
    find_files(source, Path::new(""), &mut files);
    ensure(!files.is_empty(), || format!("no file to store in {}", source.display()))?;

    // Open a store. The defaults are fine; two of them do not suit this tour.
    let options = Options::new()
        // Empty files count, so an empty value must not mean "delete the key".
        .empty_values(EmptyValues::Stored)
        // Collect writes in memory and make them durable once, at the end.
        .durability(Durability::Buffered);
    let store = options.open(dir)?;
    ensure(store.is_empty(), || "the store is not empty: choose a fresh directory".into())?;

    // Put.
    let mut files = load(&store, source, files)?;
    store.sync()?;
    store.close()?;

    // Open again, and get: a value is a slice of the mapped file, not a copy.
    let started = Instant::now();
    let store = options.open(dir)?;
    let opened_in = started.elapsed();
    println!("opened {} keys in {opened_in:.1?}", store.len());
    shuffle(&mut files);
    check(&store, source, &files)?;
    let ns_per_get = time_gets(&store, &files)?;

    // Delete every third key, and compact to get the space back.
    let (count, bytes) = (files.len(), total_len(&files));
    let mut n = 0;
    let (deleted, kept): (Vec<_>, Vec<_>) = files.into_iter().partition(|_| {
        n += 1;
        n % 3 == 0
    });
    for file in &deleted {
        ensure(store.delete(file.key())?, || format!("{} was gone already", file.path.display()))?;
    }
    store.flush()?;
    let before = bytes_on_disk(dir)?;
    let report = store.compact()?;
    let after = bytes_on_disk(dir)?;
    println!("{report:#?}");

    // The deleted ones are absent and the others as before.
    for file in &deleted {
        let gone = !store.contains_key(file.key())?;
        ensure(gone, || format!("{} outlived its deletion", file.path.display()))?;
    }
    check(&store, source, &kept)?;
    store.close()?;
    let store = options.open(dir)?;
    ensure(store.len() == kept.len(), || format!("{} keys, not {}", store.len(), kept.len()))?;
    store.close()?;

    // A process that dies leaves its last writes in a log that is not closed: the next opening recovers them.
    let started = Instant::now();
    die_with(dir, "one more")?;
    let died_in = started.elapsed();
    let started = Instant::now();
    let store = options.open(dir)?;
    let recovered_in = started.elapsed();
    ensure(store.recovery_report().unclean, || "it was closed".into())?;
    ensure(store.contains_key("one more")?, || "what was written last is not there".into())?;
    println!("a process died after {died_in:.1?}; recovered in {recovered_in:.1?}");
    store.close()?;

    println!("files stored         {count:>12}");
    println!("bytes stored         {bytes:>12}");
    println!("time to open, ms     {:>12.2}", opened_in.as_secs_f64() * 1e3);
    println!("  after a crash      {:>12.2}", recovered_in.as_secs_f64() * 1e3);
    println!("time of a get, ns    {ns_per_get:>12.0}");
    println!("keys deleted         {:>12}", deleted.len());
    println!("keys left            {:>12}", kept.len());
    println!("bytes on disk        {before:>12}");
    println!("  after compaction   {after:>12}");
    Ok(())
}

/// Runs this program once more, to put a key and die.
fn die_with(dir: &Path, key: &str) -> Result<()> {
    let died = Command::new(std::env::current_exe()?).args([DYING, key]).arg(dir).status()?;
    ensure(!died.success(), || "a process lives on that was to die".into())
}

/// What the process does that is to die: the put is handed to the system when it returns, and so survives.
fn put_and_die(dir: &Path, key: &str) -> Result<()> {
    let store = Options::new().empty_values(EmptyValues::Stored).open(dir)?;
    store.put(key, "value")?;
    std::process::abort()
}

/// A file to store, by its path relative to the source.
struct File {
    path: PathBuf,
    len: u64,
}

impl File {
    fn key(&self) -> &[u8] {
        self.path.as_os_str().as_bytes()
    }
}

/// Stores every file that can be read; answers those.
fn load(store: &Store, source: &Path, files: Vec<File>) -> Result<Vec<File>> {
    let bar = progress("loading", &files)?;
    let mut stored = Vec::with_capacity(files.len());
    for file in files {
        match fs::read(source.join(&file.path)) {
            Ok(content) => {
                store.put(file.key(), &content)?;
                bar.inc(file.len);
                stored.push(File { len: content.len() as u64, ..file });
            }
            Err(error) => bar.println(format!("skipping {}: {error}", file.path.display())),
        }
    }
    bar.finish();
    Ok(stored)
}

/// Compares what the store has with what the files hold.
fn check(store: &Store, source: &Path, files: &[File]) -> Result<()> {
    let bar = progress("checking", files)?;
    for file in files {
        let content = fs::read(source.join(&file.path))?;
        let value = store.get(file.key())?;
        let same = value.is_some_and(|value| value == content);
        ensure(same, || format!("{} is not what was stored", file.path.display()))?;
        bar.inc(file.len);
    }
    bar.finish();
    Ok(())
}

/// Gets every key, often enough for a fair average, and looks at the values' ends.
fn time_gets(store: &Store, files: &[File]) -> Result<f64> {
    let rounds = 100_000 / files.len().max(1) + 1;
    let started = Instant::now();
    for _ in 0..rounds {
        for file in files {
            let value = store.get(file.key())?;
            black_box(value.as_ref().map(|value| (value.first(), value.last())));
        }
    }
    Ok(started.elapsed().as_nanos() as f64 / (rounds * files.len()).max(1) as f64)
}

fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(message().into()) }
}

fn default_source() -> PathBuf {
    let rustc = Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = rustc.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    sysroot
        .map(|sysroot| Path::new(sysroot.trim()).join("share/doc/rust/html"))
        .filter(|docs| docs.is_dir())
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

/// The regular files under `dir`, which lies at `relative` in the source. Links are not followed.
fn find_files(dir: &Path, relative: &Path, files: &mut Vec<File>) {
    let skip = |error| eprintln!("skipping {}: {error}", dir.display());
    let entries = fs::read_dir(dir).map_err(skip).into_iter().flatten();
    for entry in entries.filter_map(|entry| entry.map_err(skip).ok()) {
        let path = relative.join(entry.file_name());
        match entry.metadata() {
            Ok(found) if found.is_dir() => find_files(&entry.path(), &path, files),
            Ok(found) if found.is_file() => files.push(File { path, len: found.len() }),
            Ok(_) => {}
            Err(error) => eprintln!("skipping {}: {error}", path.display()),
        }
    }
}

/// Fisher and Yates's shuffle by a xorshift generator: the same order in every run.
fn shuffle<T>(items: &mut [T]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for n in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        items.swap(n, (state % (n as u64 + 1)) as usize);
    }
}

fn bytes_on_disk(dir: &Path) -> Result<u64> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

fn total_len(files: &[File]) -> u64 {
    files.iter().map(|file| file.len).sum()
}

fn progress(what: &'static str, files: &[File]) -> Result<ProgressBar> {
    let style = "{msg:8} [{wide_bar}] {bytes}/{total_bytes}, {bytes_per_sec}";
    let style = ProgressStyle::with_template(style)?;
    Ok(ProgressBar::new(total_len(files)).with_style(style).with_message(what))
}
