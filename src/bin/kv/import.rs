//! `kv import`: records from lines or a tree into a store, in batches.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use zerocask::record::{MAX_KEY_LEN, MAX_VALUE_LEN};
use zerocask::{Batch, Durability, EmptyValues, Options, Progress, Store};

use crate::answer::{Answer, Outcome, Shape};
use crate::expiry;
use crate::failure::{Failure, Result};
use crate::fault::Fault;
use crate::formats::tree::{self, Leaf};
use crate::formats::{Format, LineFormat, Record, STDIO};
use crate::nested::lies_in;
use crate::opening::on_store;
use crate::progress::{Measure, progress, with_bar};

/// So many bytes are written at a time; a longer record on its own.
const BATCH_BYTES: usize = 4 << 20;

/// What a record takes in memory beside its bytes, so that batches of short ones end too.
const RECORD_OVERHEAD: usize = 64;

pub(crate) fn import(
    shape: Shape,
    dir: &Path,
    source: &OsStr,
    format: Option<Format>,
) -> Result<Outcome> {
    // Before the store is opened or made: there may be no such thing.
    let source = Source::open(dir, source, format)?;
    let mut answer = Answer::default();
    // An empty value is one. What survives is settled once, at the end.
    let options = Options::new().empty_values(EmptyValues::Stored).durability(Durability::Buffered);
    on_store(dir, &options, |store| {
        let mut intake = Intake::new(store);
        let read = with_bar("importing", source.measure(), |told| source.read(&mut intake, told));
        let stored = intake.finish();
        match (read, stored) {
            (Ok(()), stored) => {
                let Stored { records, bytes } = stored?;
                answer.add("records", records);
                answer.add("bytes", bytes);
                Ok(())
            }
            (Err(failure), Ok(Stored { records, .. })) => {
                Err(Failure::Import { failure: Box::new(failure), stored: records })
            }
            (Err(failure), Err(_)) => Err(failure),
        }
    })?;
    answer.print(shape)?;
    Ok(Outcome::Done)
}

/// What is imported.
enum Source {
    Lines { format: LineFormat, path: PathBuf, input: Box<dyn BufRead>, len: Option<u64> },
    Tree(Vec<Leaf>),
}

type Told<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

impl Source {
    /// Into the store in `dir`.
    fn open(dir: &Path, source: &OsStr, format: Option<Format>) -> Result<Self> {
        let path = PathBuf::from(source);
        let format = match Format::of(format, source)? {
            Format::Jsonl => LineFormat::Jsonl,
            Format::Tsv => LineFormat::Tsv,
            Format::Tree => return Self::tree(dir, path),
        };
        if source == STDIO {
            let input = Box::new(io::stdin().lock());
            return Ok(Source::Lines { format, path: "stdin".into(), input, len: None });
        }
        let file = File::open(&path).map_err(Failure::read(&path))?;
        let found = file.metadata().map_err(Failure::read(&path))?;
        let len = found.is_file().then_some(found.len());
        Ok(Source::Lines { format, path, input: Box::new(BufReader::new(file)), len })
    }

    fn tree(dir: &Path, root: PathBuf) -> Result<Self> {
        if lies_in(dir, &root) {
            let why = "holds the store that it is to be imported into".into();
            return Err(Failure::Refused { path: root, why });
        }
        let (leaves, others) = tree::walk(&root)?;
        for path in others {
            tracing::warn!(path = %path.display(), "neither a file nor a directory: not imported");
        }
        Ok(Source::Tree(leaves))
    }

    fn measure(&self) -> Measure {
        match self {
            Source::Lines { len: None, .. } => Measure::BytesWithoutEnd,
            _ => Measure::Bytes,
        }
    }

    fn read(self, intake: &mut Intake<'_>, told: Told<'_>) -> Result<()> {
        match self {
            Source::Lines { format, path, input, len } => {
                read_lines(format, &path, input, len, intake, told)
            }
            Source::Tree(leaves) => read_tree(&leaves, intake, told),
        }
    }
}

fn read_lines(
    format: LineFormat,
    path: &Path,
    mut input: Box<dyn BufRead>,
    len: Option<u64>,
    intake: &mut Intake<'_>,
    told: Told<'_>,
) -> Result<()> {
    let (mut line, mut number, mut begin) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let read =
            input.read_until(b'\n', &mut line).map_err(|error| Failure::read(path)(error))?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        let fault = |fault: Fault| Failure::Line {
            path: path.to_path_buf(),
            line: number,
            byte: begin + fault.at as u64,
            what: fault.what,
        };
        let Record { key, value, expires_at } = format.read(&line).map_err(fault)?;
        fits(key.len(), value.len() as u64).map_err(fault)?;
        match expires_at {
            None => intake.add(&key, &value)?,
            Some(time) => intake.add_expiring(&key, &value, time)?,
        }
        begin += read as u64;
        let _ = told(progress(begin, len.unwrap_or_default()));
    }
}

fn read_tree(leaves: &[Leaf], intake: &mut Intake<'_>, told: Told<'_>) -> Result<()> {
    let (mut done, total) = (0, leaves.iter().map(|leaf| leaf.len).sum());
    for leaf in leaves {
        let refused = |fault: Fault| Failure::Refused {
            path: leaf.path.clone(),
            why: format!("cannot be imported: {}", fault.what),
        };
        // Before its value takes memory.
        fits(leaf.key.len(), leaf.len).map_err(refused)?;
        let value = leaf.read()?;
        fits(leaf.key.len(), value.len() as u64).map_err(refused)?;
        intake.add(&leaf.key, &value)?;
        done += leaf.len;
        let _ = told(progress(done, total));
    }
    Ok(())
}

/// What the store would refuse, together with the batch that it is in.
fn fits(key_len: usize, value_len: u64) -> std::result::Result<(), Fault> {
    let (max_key_len, max_value_len) = (MAX_KEY_LEN, MAX_VALUE_LEN as u64);
    let what = if key_len > max_key_len {
        format!("the key has {key_len} bytes, the most is {max_key_len}")
    } else if value_len > max_value_len {
        format!("the value has {value_len} bytes, the most is {max_value_len}")
    } else {
        return Ok(());
    };
    Err(Fault::new(0, what))
}

/// What has come into a store.
#[derive(Clone, Copy, Default)]
struct Stored {
    records: u64,
    /// Of keys and values.
    bytes: u64,
}

/// Puts records into a store, in their order.
struct Intake<'a> {
    store: &'a Store,
    batch: Batch,
    batch_bytes: usize,
    stored: Stored,
}

impl<'a> Intake<'a> {
    fn new(store: &'a Store) -> Self {
        Intake { store, batch: Batch::new(), batch_bytes: 0, stored: Stored::default() }
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let bytes = key.len() + value.len() + RECORD_OVERHEAD;
        if self.batch_bytes + bytes > BATCH_BYTES {
            self.write()?;
        }
        if bytes > BATCH_BYTES {
            self.store.put(key, value)?;
        } else {
            self.batch.put(key, value);
            self.batch_bytes += bytes;
        }
        self.count(key, value);
        Ok(())
    }

    /// On its own, since a batch that waits for more would let it live longer.
    fn add_expiring(&mut self, key: &[u8], value: &[u8], time: u64) -> Result<()> {
        self.write()?;
        self.store.put_with_ttl(key, value, expiry::left(time))?;
        self.count(key, value);
        Ok(())
    }

    fn count(&mut self, key: &[u8], value: &[u8]) {
        self.stored.records += 1;
        self.stored.bytes += (key.len() + value.len()) as u64;
    }

    fn write(&mut self) -> Result<()> {
        if !self.batch.is_empty() {
            self.store.write(&self.batch)?;
        }
        self.batch.clear();
        self.batch_bytes = 0;
        Ok(())
    }

    /// Makes all of it durable.
    fn finish(mut self) -> Result<Stored> {
        self.write()?;
        self.store.sync()?;
        Ok(self.stored)
    }
}
