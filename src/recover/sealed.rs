//! A sealed segment as an opening goes through it.

use std::path::Path;

use super::DamagedRecord;
use crate::error::{Damage, Error, Result};
use crate::fs::Whole;
use crate::location::{Location, SegmentSlot};
use crate::manifest::SealedEntry;
use crate::record::Frame;
use crate::segment::Segment;
use crate::segment::scan::{self, Found, Rules, Summary};

/// What there was in a segment.
pub(crate) struct Walked {
    pub(crate) summary: Summary,
    /// Records of batches that are not whole.
    pub(crate) unapplied: u64,
    pub(crate) damage: Vec<DamagedRecord>,
}

impl Walked {
    /// Whether it is the segment that the manifest means, as far as that can be told.
    pub(crate) fn check_listed(&self, path: &Path, entry: &SealedEntry) -> Result<()> {
        if self.damage.is_empty() { check_listed(path, entry, self.summary) } else { Ok(()) }
    }
}

/// Whether a segment in which nothing is bad is the one that the manifest means.
pub(super) fn check_listed(path: &Path, entry: &SealedEntry, found: Summary) -> Result<()> {
    let checked = found.check(entry.records, entry.checksum);
    checked.map_err(|damage| Error::Inconsistent { path: path.to_path_buf(), damage })
}

/// Shows `sink` the records that count, and the bad ones, with locations that say that they are not checked. Counts
/// them all as the segment's. What is bad is an error if that is `strict`.
pub(crate) fn walk_sealed<'a>(
    slot: SegmentSlot,
    segment: &Segment,
    bytes: &'a Whole,
    strict: bool,
    mut sink: impl FnMut(&Frame<'a>, Location),
) -> Result<Walked> {
    let (mut unapplied, mut bad) = (0, Vec::new());
    // An adopted file may be longer than a location can say.
    let too_long = || Error::TooManySegments { path: segment.path().to_path_buf() };
    let location = |offset| Location::new(slot, offset).ok_or_else(too_long);
    let mut note = |offset, damage: Damage| {
        let error = segment.corrupt(offset, damage);
        if strict {
            return Err(error);
        }
        tracing::warn!(%error, "damage in a sealed segment");
        bad.push(DamagedRecord { path: segment.path().to_path_buf(), offset, damage });
        Ok(())
    };
    let summary = scan::walk(bytes, Rules::Sealed, |found| {
        match found {
            Found::Record { offset, frame } => {
                segment.usage().add_record(frame.len());
                segment.usage().note_timestamp(frame.timestamp());
                sink(&frame, location(offset)?.verified());
            }
            Found::Bad { offset, frame, damage } => {
                segment.usage().add_record(frame.len());
                segment.usage().note_timestamp(frame.timestamp());
                note(offset, damage)?;
                sink(&frame, location(offset)?);
            }
            Found::Unapplied { offset, frame } => {
                segment.usage().add_record(frame.len());
                segment.usage().add_dead(frame.len());
                unapplied += 1;
                warn_unapplied(segment.path(), offset);
            }
            Found::Unreadable { offset, damage } => {
                segment.usage().add_unreadable(segment.len() - offset);
                note(offset, damage)?;
            }
        }
        Ok(())
    })?;
    Ok(Walked { summary, unapplied, damage: bad })
}

/// Of a sound record that does not count.
pub(super) fn warn_unapplied(path: &Path, offset: u64) {
    let path = path.display();
    tracing::warn!(%path, offset, "a batch is not whole: its record does not count");
}
