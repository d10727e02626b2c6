//! Bytes of one file copied to the beginning of another, piece by piece.

use std::ops::Range;
use std::path::Path;

use super::{File, data};
use crate::error::{Error, Result};

const PIECE: u64 = 1 << 20;

/// Copies the bytes at `range` of a file to the beginning of another, which is new, each with its path. Holes stay
/// holes: it takes no more of the disk than the file did. Says after each piece how much further it has come,
/// and stops if that fails. Nothing is durable yet.
pub(crate) fn copy(
    (from, from_path): (&dyn File, &Path),
    range: Range<u64>,
    (to, to_path): (&dyn File, &Path),
    mut told: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    let mut piece = vec![0; PIECE.min(range.end.saturating_sub(range.start)) as usize];
    let mut done = range.start;
    for part in data(from, range.clone()) {
        let mut offset = part.start;
        while offset < part.end {
            let piece = &mut piece[..PIECE.min(part.end - offset) as usize];
            from.read_at(piece, offset).map_err(Error::io("read", from_path))?;
            to.write_at(piece, offset - range.start).map_err(Error::io("write", to_path))?;
            offset += piece.len() as u64;
            told(offset - done)?;
            done = offset;
        }
    }
    if done < range.end {
        // A hole at the end.
        to.set_len(range.end - range.start).map_err(Error::io("write", to_path))?;
        told(range.end - done)?;
    }
    Ok(())
}
