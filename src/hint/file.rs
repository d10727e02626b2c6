//! Hint files: written from the records of their segments, read whole.
//!
//! They are disposable: nothing is synced, and what a crash leaves of one its CRC tells. No half-written one ever has its
//! name while the machine stays up.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U32;

use super::{Foot, Head, head, push};
use crate::directory::{Directory, remove_stale};
use crate::error::{Damage, Error, Result};
use crate::fs::{File, Fs, Reading, Whole};
use crate::manifest::SealedEntry;
use crate::segment::Segment;
use crate::segment::scan::{self, Found, Rules};

/// Written at once.
const PIECE: usize = 1 << 20;

/// Writes the hint of a sealed segment, from records whose CRCs have been checked. False if it can have none:
/// something in it is bad, or does not count, or it is not what the manifest says.
pub(crate) fn write(
    fs: &dyn Fs,
    directory: &Directory,
    segment: &Segment,
    entry: &SealedEntry,
) -> Result<bool> {
    let path = directory.hint(entry.id);
    let temporary = Directory::temporary(&path);
    remove_stale(fs, &temporary)?;
    let file = fs.create(&temporary).map_err(Error::io("create", &temporary))?;
    let written = write_to(&*file, &temporary, segment, entry).and_then(|is_fit| {
        if is_fit {
            let renamed = fs.rename(&temporary, &path);
            renamed.map_err(Error::io("rename a hint to", &path))?;
        }
        Ok(is_fit)
    });
    if !matches!(written, Ok(true)) {
        // What stays is removed by the next opening.
        let _ = fs.remove(&temporary);
    }
    written
}

fn write_to(file: &dyn File, path: &Path, segment: &Segment, entry: &SealedEntry) -> Result<bool> {
    let mut output = Output { file, path, bytes: Vec::new(), at: 0, crc: Default::default() };
    output.bytes.extend_from_slice(head(entry).as_bytes());
    let bytes = segment.read_all()?;
    let (mut is_fit, mut timestamp) = (true, 0);
    let summary = scan::walk(&bytes, Rules::Sealed, |found| {
        match found {
            Found::Record { frame, .. } => {
                push(&mut output.bytes, &frame);
                timestamp = frame.timestamp();
            }
            _ => is_fit = false,
        }
        output.write_pieces(PIECE)
    })?;
    if !is_fit || summary.check(entry.records, entry.checksum).is_err() {
        return Ok(false);
    }
    output.bytes.extend_from_slice(&timestamp.to_be_bytes());
    output.write_pieces(1)?;
    let crc32 = U32::new(output.crc.clone().finalize());
    output.bytes.extend_from_slice(crc32.as_bytes());
    output.write_pieces(1)?;
    Ok(true)
}

/// A file on the way.
struct Output<'a> {
    file: &'a dyn File,
    path: &'a Path,
    /// Not written yet.
    bytes: Vec<u8>,
    at: u64,
    crc: crc32fast::Hasher,
}

impl Output<'_> {
    /// Writes what there is, if it is so much.
    fn write_pieces(&mut self, least: usize) -> Result<()> {
        if self.bytes.len() >= least {
            self.crc.update(&self.bytes);
            let written = self.file.write_at(&self.bytes, self.at);
            written.map_err(Error::io("write", self.path))?;
            self.at += self.bytes.len() as u64;
            self.bytes.clear();
        }
        Ok(())
    }
}

/// The bytes of a segment's hint file; `None` if there is none, or it cannot be read, or is of a length that it cannot have.
pub(crate) fn read(
    fs: &dyn Fs,
    directory: &Directory,
    segment: &SealedEntry,
    reading: Reading,
) -> Option<Whole> {
    let path: Arc<Path> = Arc::from(directory.hint(segment.id));
    let read = || {
        let file = fs.open(&path).map_err(Error::io("open", &*path))?;
        let found = file.len().map_err(Error::io("read the length of", &*path))?;
        // Whatever a file claims, reading it costs no more than the segment would.
        let expected = segment.len + (size_of::<Head>() + size_of::<Foot>()) as u64;
        if found == 0 || found > expected {
            let damage = Damage::Length { expected, found };
            return Err(Error::Inconsistent { path: path.to_path_buf(), damage });
        }
        Whole::open(&file, &path, found, reading)
    };
    match read() {
        Ok(whole) => Some(whole),
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            // An older version has written none, nor has a backup or a repair.
            tracing::info!(path = %path.display(), "a segment has no hint: it is read itself");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "a hint cannot be read: its segment is read itself");
            None
        }
    }
}
