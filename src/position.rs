//! Where something stands in the log, as who follows it keeps it; and how far back the log is whole.
//!
//! Invariants:
//! - Positions ascend as the log does: by segment id, then by offset.
//! - A position carries the log's lineage, a random number, new whenever nobody knows what the log held before: so it is
//!   told from one in another log. In one lineage no id that a position names is given to another file.
//!
//! Must not know: what the log holds now.

use std::fmt;

use crate::location::SegmentId;

/// A place in the log of a store, between two records: where [`crate::Store::log`] goes on. Of positions in one store,
/// later ones are greater. It is 20 bytes to be kept by whoever follows the log ([`Position::to_bytes`]);
/// what they mean is the store's business.
///
/// It is of use to the store that gave it, through reopenings, crashes and compactions. Any other store answers
/// [`crate::Error::Gone`], and so do a backup, a store that has been restored from one or repaired, and one
/// that has lost what stood before the position. What nobody can tell from the store is a copy of its directory
/// that was made by other means: whoever puts such a copy in the store's place begins anew with its replicas.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    segment: u64,
    offset: u64,
    lineage: u32,
}

impl Position {
    /// Before everything that a store holds, of any store and at any time.
    pub const START: Position = Position { segment: 0, offset: 0, lineage: 0 };

    /// How many bytes [`Position::to_bytes`] gives.
    pub const LEN: usize = 20;

    pub(crate) fn new(lineage: u32, segment: SegmentId, offset: u64) -> Self {
        Position { segment: segment.get(), offset, lineage }
    }

    pub(crate) fn lineage(self) -> u32 {
        self.lineage
    }

    pub(crate) fn segment(self) -> SegmentId {
        SegmentId::new(self.segment)
    }

    pub(crate) fn offset(self) -> u64 {
        self.offset
    }

    /// The position as bytes, which compare as positions do.
    ///
    /// ```
    /// # use zerocask::Position;
    /// let kept = Position::START.to_bytes();
    /// assert_eq!(Position::from_bytes(kept), Position::START);
    /// ```
    pub fn to_bytes(self) -> [u8; Position::LEN] {
        let mut bytes = [0; Position::LEN];
        bytes[..8].copy_from_slice(&self.segment.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_be_bytes());
        bytes[16..].copy_from_slice(&self.lineage.to_be_bytes());
        bytes
    }

    /// The position that gave these bytes.
    pub fn from_bytes(bytes: [u8; Position::LEN]) -> Self {
        let [segment, offset] =
            [0, 8].map(|at| u64::from_be_bytes(std::array::from_fn(|n| bytes[at + n])));
        let lineage = u32::from_be_bytes(std::array::from_fn(|n| bytes[16 + n]));
        Position { segment, offset, lineage }
    }
}

/// For people: the segment and the offset in its file.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Position::START => f.write_str("the start"),
            _ => write!(f, "offset {} of segment {}", self.offset, self.segment()),
        }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({self}, log {:08x})", self.lineage)
    }
}

/// Which parts of the log that were written once can still be followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct History {
    /// Of all positions.
    pub(crate) lineage: u32,
    /// From here on the log is as it was written: nothing has been left out. Before it stand copies of what
    /// counted, at most.
    pub(crate) whole_from: Position,
    /// The end of the last log that a recovery has copied, as it was found.
    pub(crate) carried_from: Position,
    /// The end of that copy. All that stood in the one segment before its end stands in the other before its.
    pub(crate) carried_to: Position,
}

impl History {
    /// Of a log of which nobody knows what it held before: its lineage is taken from random bits.
    pub(crate) fn new(random: u64) -> Self {
        // 0 is the lineage of the start of all logs.
        History { lineage: (random as u32).max(1), ..History::default() }
    }

    pub(crate) fn position(&self, segment: SegmentId, offset: u64) -> Position {
        Position::new(self.lineage, segment, offset)
    }

    /// What stands before this has been replaced by copies of what counts in it, or by nothing.
    pub(crate) fn left_out_to(&mut self, end: Position) {
        self.whole_from = self.whole_from.max(end);
    }

    /// Where to go on for who has read as far as `asked`: in the copy, if that has taken its place. Its records
    /// come again from the first one then, unless all have been read.
    pub(crate) fn translate(&self, asked: Position) -> Position {
        let from = self.carried_from;
        match asked.offset {
            _ if (asked.segment, asked.lineage) != (from.segment, from.lineage) => asked,
            offset if offset == 0 || offset > from.offset => asked,
            offset if offset == from.offset => self.carried_to,
            _ => self.position(self.carried_to.segment(), 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u64, offset: u64) -> Position {
        Position::new(7, SegmentId::new(segment), offset)
    }

    #[test]
    fn no_log_has_the_lineage_of_the_start_of_all() {
        for random in [0, 1 << 32, u64::MAX] {
            assert_ne!(History::new(random).lineage, Position::START.lineage);
        }
    }

    #[test]
    fn positions_compare_as_the_log_and_as_their_bytes() {
        let log = [
            Position::START,
            at(0, 9),
            at(1, 0),
            at(1, 1),
            at(1, 300),
            at(256, 0),
            at(u64::MAX, u64::MAX),
        ];
        assert!(log.is_sorted() && log.map(Position::to_bytes).is_sorted());
        assert_eq!(log.map(|p| Position::from_bytes(p.to_bytes())), log);
        assert_eq!(Position::default(), Position::START);
        assert_ne!(Position::new(8, SegmentId::new(1), 1), at(1, 1));
    }

    #[test]
    fn who_has_read_all_of_a_log_goes_on_behind_its_copy_and_who_has_not_reads_the_copy() {
        let mut history = History::new(7);
        assert_eq!(history.translate(at(0, 5)), at(0, 5));
        (history.carried_from, history.carried_to) = (at(5, 100), at(8, 120));
        assert_eq!(history.translate(at(5, 100)), at(8, 120));
        for offset in [1, 99] {
            assert_eq!(history.translate(at(5, offset)), at(8, 0));
        }
        let foreign = Position::new(6, SegmentId::new(5), 100);
        for other in [at(5, 0), at(5, 101), at(4, 100), foreign, Position::START] {
            assert_eq!(history.translate(other), other);
        }
    }
}
