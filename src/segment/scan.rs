//! Walks the records of a segment in the order of the log, past damage where that is sound.
//!
//! The rules (docs/design.md, "Recovery"):
//! - In a **sealed** segment a bad record is stepped over only if a good record or the end of the
//!   bytes stands at the end that its sizes claim; else the rest is unreadable. Never byte by byte:
//!   values may contain records.
//! - In the **log's tail** the first bad record ends it. Zeros are its normal end.
//! - An **adopted last** file is sealed, except that a record cut short by the end of the file, or
//!   zeros up to there, end it as they end a tail.
//! - A batch at the tail's end of which the rest is missing ends it, as a torn record does.
//! - A run of batch records counts only if it begins with a first and ends with a last.
//!
//! Must not know: files, keys' meaning, liveness.

use std::convert::Infallible;

use crate::error::Damage;
use crate::fs::Whole;
use crate::record::{BatchPart, Frame};

/// Whose rules apply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rules {
    Sealed,
    AdoptedLast,
    Tail,
}

/// What the walk comes upon.
pub(crate) enum Found<'a> {
    /// A sound record that counts.
    Record { offset: u64, frame: Frame<'a> },
    /// A bad record whose extent is certain.
    Bad { offset: u64, frame: Frame<'a>, damage: Damage },
    /// A sound record of a batch that is not whole: it does not count.
    Unapplied { offset: u64, frame: Frame<'a> },
    /// Everything from here on is lost.
    Unreadable { offset: u64, damage: Damage },
}

/// How the walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Summary {
    /// Where the last record that the walk understood ends.
    pub(crate) end: u64,
    /// What stands there, unless it is the end of the bytes.
    pub(crate) ending: Ending,
    /// Records met, whatever became of them.
    pub(crate) records: u64,
    /// CRC-32 over their CRC fields.
    pub(crate) checksum: u32,
}

impl Summary {
    /// Whether a segment in which nothing is bad is the one of so many records with this checksum.
    pub(crate) fn check(&self, records: u64, checksum: u32) -> Result<(), Damage> {
        if self.records != records {
            return Err(Damage::Field { field: "records", expected: records, found: self.records });
        }
        if self.checksum != checksum {
            return Err(Damage::Checksum { expected: checksum, found: self.checksum });
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    Whole,
    Zeros,
    /// A batch of which the rest is missing.
    OpenBatch,
    Bad(Damage),
}

/// Shows `sink` everything in `whole`, a segment from its first byte on, until it fails.
pub(crate) fn walk<'a, E>(
    whole: &'a Whole,
    rules: Rules,
    sink: impl FnMut(Found<'a>) -> Result<(), E>,
) -> Result<Summary, E> {
    walk_from(whole, 0, rules, sink)
}

/// As [`walk`], from an offset on at which a record begins that belongs to no batch which began before.
pub(crate) fn walk_from<'a, E>(
    whole: &'a Whole,
    start: u64,
    rules: Rules,
    mut sink: impl FnMut(Found<'a>) -> Result<(), E>,
) -> Result<Summary, E> {
    let mut checksum = crc32fast::Hasher::new();
    let mut summary = Summary { end: start, ending: Ending::Whole, records: 0, checksum: 0 };
    let mut run = Run::default();
    while summary.end < whole.end() {
        let offset = summary.end;
        let frame = match read(whole, offset) {
            Ok(frame) => {
                run.push(offset, frame, &mut sink)?;
                frame
            }
            Err((frame, damage)) => match (stop(whole, offset, frame, damage, rules), frame) {
                (None, Some(frame)) => {
                    run.discard(&mut sink)?;
                    sink(Found::Bad { offset, frame, damage })?;
                    frame
                }
                (ending, _) => {
                    summary.ending = ending.unwrap_or(Ending::Bad(damage));
                    break;
                }
            },
        };
        summary.end += frame.len();
        summary.records += 1;
        checksum.update(&frame.checksum().to_be_bytes());
    }
    if let (Rules::Tail, Some(&(first, _))) = (rules, run.pending.first())
        && summary.ending != Ending::Bad(Damage::ReservedFlag)
    {
        summary.end = first;
        summary.ending = Ending::OpenBatch;
    }
    run.discard(&mut sink)?;
    if let (Ending::Bad(damage), false) = (summary.ending, ends_as_tail(summary.ending, rules)) {
        sink(Found::Unreadable { offset: summary.end, damage })?;
    }
    summary.checksum = checksum.finalize();
    Ok(summary)
}

/// The sound record at `offset`, or what is wrong and, if its sizes fit, its frame.
fn read(whole: &Whole, offset: u64) -> Result<Frame<'_>, (Option<Frame<'_>>, Damage)> {
    let rest = whole.bytes_from(offset);
    let frame = Frame::read(rest, offset).map_err(|damage| (None, damage))?;
    match frame.verify() {
        Ok(()) => Ok(frame),
        Err(damage) => Err((Some(frame), damage)),
    }
}

/// Whether a bad record ends the walk, and as what. `None`: it can be stepped over.
fn stop(
    whole: &Whole,
    offset: u64,
    frame: Option<Frame<'_>>,
    damage: Damage,
    rules: Rules,
) -> Option<Ending> {
    if rules != Rules::Sealed && whole.is_zeros_from(offset) {
        return Some(Ending::Zeros);
    }
    let bad = Ending::Bad(damage);
    let Some(frame) = frame else { return Some(bad) };
    if rules == Rules::Tail {
        return Some(bad);
    }
    let claimed_end = offset + frame.len();
    let confirmed = damage == Damage::ReservedFlag
        || claimed_end == whole.end()
        || matches!(read(whole, claimed_end), Ok(_) | Err((_, Damage::ReservedFlag)));
    if confirmed {
        None
    } else {
        Some(Ending::Bad(Damage::Unreadable { bytes: whole.end() - offset }))
    }
}

/// Whether a walk that ends so leaves a tail to set aside rather than damage.
pub(crate) fn ends_as_tail(ending: Ending, rules: Rules) -> bool {
    match rules {
        Rules::Sealed => ending == Ending::Whole,
        Rules::AdoptedLast => !matches!(ending, Ending::Bad(damage) if !is_torn(damage)),
        Rules::Tail => true,
    }
}

/// Whether a record ends beyond the bytes.
fn is_torn(damage: Damage) -> bool {
    matches!(damage, Damage::Length { .. })
}

/// How far the log goes of which a walk has seen a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reached {
    /// Where the last record that counts ends.
    pub(crate) end: u64,
    /// Where the walk stopped: there, or behind the records of a batch of which the rest is missing.
    pub(crate) stopped: u64,
    /// Why. [`Damage::Length`]: what stands there is not whole in these bytes.
    pub(crate) damage: Damage,
}

/// Shows `sink` the records in `bytes`, a part from `start` on of a log that somebody else appends to. It ends
/// as a tail does; but what a batch still misses may come.
pub(crate) fn walk_growing<'a>(
    bytes: &'a [u8],
    start: u64,
    mut sink: impl FnMut(Found<'a>),
) -> Reached {
    let mut sink = |found| {
        sink(found);
        Ok::<_, Infallible>(())
    };
    let (mut run, mut stopped) = (Run::default(), start);
    loop {
        let rest = bytes.get((stopped - start) as usize..).unwrap_or_default();
        let read = Frame::read(rest, stopped).and_then(|frame| frame.verify().map(|()| frame));
        match read {
            Ok(frame) => {
                let Ok(()) = run.push(stopped, frame, &mut sink);
                stopped += frame.len();
            }
            Err(damage) => {
                let end = run.pending.first().map_or(stopped, |&(first, _)| first);
                return Reached { end, stopped, damage };
            }
        }
    }
}

/// The batch records since the last `First`, which count when its `Last` comes.
#[derive(Default)]
struct Run<'a> {
    pending: Vec<(u64, Frame<'a>)>,
}

impl<'a> Run<'a> {
    fn push<E>(
        &mut self,
        offset: u64,
        frame: Frame<'a>,
        sink: &mut impl FnMut(Found<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        let open = !self.pending.is_empty();
        match frame.batch() {
            BatchPart::Single => {
                self.discard(sink)?;
                sink(Found::Record { offset, frame })
            }
            BatchPart::First => {
                self.discard(sink)?;
                self.pending.push((offset, frame));
                Ok(())
            }
            BatchPart::Middle if open => {
                self.pending.push((offset, frame));
                Ok(())
            }
            BatchPart::Last if open => {
                self.pending.push((offset, frame));
                let mut run = self.pending.drain(..);
                run.try_for_each(|(offset, frame)| sink(Found::Record { offset, frame }))
            }
            BatchPart::Middle | BatchPart::Last => sink(Found::Unapplied { offset, frame }),
        }
    }

    fn discard<E>(&mut self, sink: &mut impl FnMut(Found<'a>) -> Result<(), E>) -> Result<(), E> {
        let mut run = self.pending.drain(..);
        run.try_for_each(|(offset, frame)| sink(Found::Unapplied { offset, frame }))
    }
}
