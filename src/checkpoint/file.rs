//! The checkpoint's file: written whole, read shard by shard.
//!
//! It is disposable: nothing is synced, and what a crash leaves of it its CRCs tell.

use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ENTRY_LEN, Head, Most, Shard, push};
use crate::directory::{Directory, remove_stale};
use crate::error::{Damage, Error, Result};
use crate::fs::{File, Fs};
use crate::keydir::{shard_of, shards_for};
use crate::location::Location;

/// Written at once.
const PIECE: usize = 1 << 20;

/// What shows all entries: those of the first ones of some hashes, in no order, and gives the other hashes, if there are any.
/// Slots are numbered by the segments of the checkpoint.
pub(crate) trait Visit:
    FnMut(Hashes, &mut dyn FnMut(u64, Location)) -> Result<Option<Hashes>>
{
}

impl<T: FnMut(Hashes, &mut dyn FnMut(u64, Location)) -> Result<Option<Hashes>>> Visit for T {}

type Hashes = RangeInclusive<u64>;

/// Writes a checkpoint of about so many entries, in place of the last one. The head's shards are filled in.
pub(crate) fn write(
    fs: &dyn Fs,
    directory: &Directory,
    head: Head,
    entries: usize,
    visit: impl Visit,
) -> Result<()> {
    let path = directory.checkpoint();
    let temporary = Directory::temporary(&path);
    // Its room may be needed, and it will not do any more.
    remove_stale(fs, &path)?;
    remove_stale(fs, &temporary)?;
    let file = fs.create(&temporary).map_err(Error::io("create", &temporary))?;
    let written = write_to(&*file, &temporary, head, entries, visit).and_then(|()| {
        let renamed = fs.rename(&temporary, &path);
        renamed.map_err(Error::io("rename the checkpoint to", &path))
    });
    if written.is_err() {
        // What stays is removed by the next opening.
        let _ = fs.remove(&temporary);
    }
    written
}

fn write_to(
    file: &dyn File,
    path: &Path,
    mut head: Head,
    entries: usize,
    mut visit: impl Visit,
) -> Result<()> {
    let count = shards_for(entries);
    head.shards = vec![Shard::default(); count];
    let mut at = head.len();
    let (mut waiting, mut bytes, mut done) = (Vec::new(), Vec::new(), 0);
    let mut rest = Some(0..=u64::MAX);
    while let Some(hashes) = rest {
        rest = visit(hashes, &mut |hash, location| waiting.push((hash, location)))?;
        waiting.sort_unstable_by_key(|(hash, location): &(u64, Location)| (*hash, location.bits()));
        // All entries of the shards before this one have been seen.
        let end = rest.as_ref().map_or(count, |rest| shard_of(*rest.start(), count));
        let mut entries = waiting.iter().peekable();
        for shard in done..end {
            let start = bytes.len();
            while let Some((hash, at)) =
                entries.next_if(|(hash, _)| shard_of(*hash, count) <= shard)
            {
                push(&mut bytes, *hash, *at);
            }
            let shard_bytes = &bytes[start..];
            head.shards[shard] = Shard {
                entries: (shard_bytes.len() / ENTRY_LEN) as u32,
                crc: crc32fast::hash(shard_bytes),
            };
        }
        waiting = entries.copied().collect();
        done = end.max(done);
        if bytes.len() >= PIECE || rest.is_none() {
            file.write_at(&bytes, at).map_err(Error::io("write", path))?;
            at += bytes.len() as u64;
            bytes.clear();
        }
    }
    file.write_at(&head.encode(), 0).map_err(Error::io("write", path))
}

/// A checkpoint whose head has been read.
pub(crate) struct Checkpoint {
    pub(crate) head: Head,
    path: PathBuf,
    file: Arc<dyn File>,
    /// Where each shard begins.
    starts: Vec<u64>,
}

impl Checkpoint {
    /// The one in a directory, with so much in it at the most; `None` if there is none.
    pub(crate) fn open(fs: &dyn Fs, directory: &Directory, most: Most) -> Result<Option<Self>> {
        let path = directory.checkpoint();
        let file = match fs.open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(Error::io("open", &path))?,
        };
        let len = file.len().map_err(Error::io("read the length of", &path))?;
        let read = |len: u64| {
            let mut bytes = vec![0; len as usize];
            file.read_at(&mut bytes, 0).map_err(Error::io("read", &path))?;
            Ok(bytes)
        };
        let wrong = |damage| Error::Inconsistent { path: path.clone(), damage };
        // The file may be of any length: it is the head that says how much there is to read.
        let fixed = read(len.min(Head::FIXED_LEN))?;
        let head_len = Head::read_len(&fixed, len, most).map_err(wrong)?;
        let head = Head::decode(&read(head_len)?, len, most).map_err(wrong)?;
        let mut end = head_len;
        let start = |shard: &Shard| {
            let start = end;
            end += u64::from(shard.entries) * ENTRY_LEN as u64;
            start
        };
        let starts = head.shards.iter().map(start).collect();
        Ok(Some(Checkpoint { head, path, file, starts }))
    }

    /// The entries of a shard.
    pub(crate) fn read_shard(&self, shard: usize) -> Result<Vec<(u64, Location)>> {
        let len = self.head.shards[shard].entries as usize * ENTRY_LEN;
        let mut bytes = vec![0; len];
        let read = self.file.read_at(&mut bytes, self.starts[shard]);
        read.map_err(Error::io("read", &self.path))?;
        self.head.decode_shard(shard, &bytes).map_err(|damage: Damage| Error::Corrupt {
            path: self.path.clone(),
            offset: self.starts[shard],
            damage,
        })
    }
}
