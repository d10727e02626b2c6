//! Bytes of one file copied to the beginning of another, or compared with another's, piece by piece.

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

/// Whether two files, each with its path, hold the same bytes. Skips what is a hole in both.
pub(crate) fn is_same(
    (a, a_path): (&dyn File, &Path),
    (b, b_path): (&dyn File, &Path),
) -> Result<bool> {
    let len = a.len().map_err(Error::io("read the length of", a_path))?;
    if b.len().map_err(Error::io("read the length of", b_path))? != len {
        return Ok(false);
    }
    let mut pieces = [vec![0; PIECE.min(len) as usize], vec![0; PIECE.min(len) as usize]];
    for part in data(a, 0..len).chain(data(b, 0..len)) {
        let mut offset = part.start;
        while offset < part.end {
            let step = PIECE.min(part.end - offset) as usize;
            let [from_a, from_b] = pieces.each_mut().map(|piece| &mut piece[..step]);
            a.read_at(from_a, offset).map_err(Error::io("read", a_path))?;
            b.read_at(from_b, offset).map_err(Error::io("read", b_path))?;
            if from_a != from_b {
                return Ok(false);
            }
            offset += step as u64;
        }
    }
    Ok(true)
}
