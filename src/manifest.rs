//! The manifest's codec: which segment files make the store. docs/format.md has every byte.
//!
//! Invariants of a decoded [`Manifest`]: sealed ids ascend strictly; so do tail ids, and they stand
//! above every sealed one; `next_file_id` stands above both; no segment has more dead bytes than
//! bytes, or more records than its bytes can be; nothing is left out of the log from `next_file_id` on. The sizes in the file must account for its
//! length exactly before anything is allocated.
//!
//! Must not know: where the bytes come from, or what the files hold.

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::Damage;
use crate::location::{SegmentId, SegmentSlot};
use crate::position::{History, Position};
use crate::record::HEADER_LEN;

const MAGIC: u64 = u64::from_be_bytes(*b"zerocask");
const VERSION: u32 = 2;
/// Says nothing of the log's history.
const VERSION_WITHOUT_HISTORY: u32 = 1;
const CRC_LEN: usize = 4;

/// The manifest's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Manifest {
    /// Keys the hash of the key directory; chosen at random when the store is made.
    pub(crate) seed: [u8; 16],
    /// Random for every write, so that two manifests never look the same.
    pub(crate) nonce: u64,
    /// Above every id handed out or reserved.
    pub(crate) next_file_id: SegmentId,
    pub(crate) history: History,
    pub(crate) sealed: Vec<SealedEntry>,
    /// The unsealed log: normally the active segment alone.
    pub(crate) tail: Vec<SegmentId>,
}

/// What the manifest says of a sealed segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SealedEntry {
    pub(crate) id: SegmentId,
    /// Bytes of the file that count; anything behind them is ignored.
    pub(crate) len: u64,
    pub(crate) records: u64,
    /// When the manifest was written.
    pub(crate) dead_bytes: u64,
    /// CRC-32 over the records' CRC fields, in offset order.
    pub(crate) checksum: u32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeadBytes {
    magic: U64,
    version: U32,
    seed: [u8; 16],
    nonce: U64,
    next_file_id: U64,
}

/// Not in version 1.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HistoryBytes {
    lineage: U32,
    whole_from: [u8; Position::LEN],
    carried_from: [u8; Position::LEN],
    carried_to: [u8; Position::LEN],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct CountBytes {
    sealed: U32,
    tail: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EntryBytes {
    id: U64,
    len: U64,
    records: U64,
    dead_bytes: U64,
    checksum: U32,
}

impl CountBytes {
    fn sealed_len(&self) -> u64 {
        u64::from(self.sealed.get()) * size_of::<EntryBytes>() as u64
    }

    fn tail_len(&self) -> u64 {
        u64::from(self.tail.get()) * size_of::<U64>() as u64
    }
}

/// What comes before the entries.
struct Head<'a> {
    fixed: &'a HeadBytes,
    history: Option<&'a HistoryBytes>,
    counts: &'a CountBytes,
}

/// Why bytes are no manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    Damaged(Damage),
    /// A later version of the format.
    Version,
}

impl From<Damage> for Refusal {
    fn from(damage: Damage) -> Self {
        Refusal::Damaged(damage)
    }
}

impl Manifest {
    /// What says how long it is.
    pub(crate) const HEAD_LEN: u64 =
        (size_of::<HeadBytes>() + size_of::<HistoryBytes>() + size_of::<CountBytes>()) as u64;

    /// No manifest is longer: as many entries as there are segment slots.
    const MAX_LEN: u64 = Self::HEAD_LEN
        + SegmentSlot::MAX as u64 * (size_of::<EntryBytes>() + size_of::<U64>()) as u64
        + CRC_LEN as u64;

    /// What it says of a sealed segment.
    pub(crate) fn entry(&self, id: SegmentId) -> Option<&SealedEntry> {
        let at = self.sealed.binary_search_by_key(&id, |entry| entry.id).ok()?;
        self.sealed.get(at)
    }

    /// Whether this is a sealed segment.
    pub(crate) fn lists(&self, id: SegmentId) -> bool {
        self.entry(id).is_some()
    }

    /// Whether a data file of this id belongs to the unsealed log: the manifest says so, or it has not handed
    /// the id out.
    pub(crate) fn is_tail(&self, id: SegmentId) -> bool {
        id >= self.next_file_id || self.tail.contains(&id)
    }

    /// Whether a data file of this id counts.
    pub(crate) fn counts(&self, id: SegmentId) -> bool {
        self.lists(id) || self.is_tail(id)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let head = HeadBytes {
            magic: U64::new(MAGIC),
            version: U32::new(VERSION),
            seed: self.seed,
            nonce: U64::new(self.nonce),
            next_file_id: U64::new(self.next_file_id.get()),
        };
        let history = HistoryBytes {
            lineage: U32::new(self.history.lineage),
            whole_from: self.history.whole_from.to_bytes(),
            carried_from: self.history.carried_from.to_bytes(),
            carried_to: self.history.carried_to.to_bytes(),
        };
        let counts = CountBytes {
            // Segment slots bound both below 2^23.
            sealed: U32::new(self.sealed.len() as u32),
            tail: U32::new(self.tail.len() as u32),
        };
        let mut bytes = [head.as_bytes(), history.as_bytes(), counts.as_bytes()].concat();
        for entry in &self.sealed {
            let entry = EntryBytes {
                id: U64::new(entry.id.get()),
                len: U64::new(entry.len),
                records: U64::new(entry.records),
                dead_bytes: U64::new(entry.dead_bytes),
                checksum: U32::new(entry.checksum),
            };
            bytes.extend_from_slice(entry.as_bytes());
        }
        for id in &self.tail {
            bytes.extend_from_slice(&id.get().to_be_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Whether a file of `len` bytes that begins so can be a manifest: what can be said before the rest
    /// of it is read.
    pub(crate) fn check_len(bytes: &[u8], len: u64) -> Result<(), Refusal> {
        let (head, entries) = Head::read(bytes, len)?;
        let head_len = (bytes.len() - entries.len()) as u64;
        let expected =
            head_len + head.counts.sealed_len() + head.counts.tail_len() + CRC_LEN as u64;
        if expected != len {
            return Err(Damage::Length { expected, found: len }.into());
        }
        match len {
            ..=Self::MAX_LEN => Ok(()),
            _ => Err(Damage::Length { expected: Self::MAX_LEN, found: len }.into()),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        Self::check_len(bytes, bytes.len() as u64)?;
        let (body, crc) = bytes.split_at(bytes.len() - CRC_LEN);
        let found = crc32fast::hash(body);
        let expected = U32::read_from_bytes(crc).map_or(!found, U32::get);
        if expected != found {
            return Err(Damage::Checksum { expected, found }.into());
        }

        let (head, rest) = Head::read(body, bytes.len() as u64)?;
        let (sealed_count, tail_count) = (head.counts.sealed.get(), head.counts.tail.get());
        let (sealed, rest) =
            <[EntryBytes]>::ref_from_prefix_with_elems(rest, sealed_count as usize)
                .map_err(|_| length(head.counts.sealed_len(), rest))?;
        let (tail, _) = <[U64]>::ref_from_prefix_with_elems(rest, tail_count as usize)
            .map_err(|_| length(head.counts.tail_len(), rest))?;
        let next_file_id = SegmentId::new(head.fixed.next_file_id.get());
        // Another one each time that a program wrote the manifest which knew of no history.
        let unknown = || History::new(head.fixed.nonce.get());
        let manifest = Manifest {
            seed: head.fixed.seed,
            nonce: head.fixed.nonce.get(),
            next_file_id,
            history: head.history.map_or_else(unknown, History::from),
            sealed: sealed.iter().map(SealedEntry::from).collect(),
            tail: tail.iter().map(|id| SegmentId::new(id.get())).collect(),
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// The invariants at the top of this file.
    fn check(&self) -> Result<(), Damage> {
        let mut least = SegmentId::new(0);
        let sealed = self.sealed.iter().map(|entry| entry.id);
        for id in sealed.chain(self.tail.iter().copied()) {
            let damage = |field| Damage::Field { field, expected: least.get(), found: id.get() };
            if id < least {
                return Err(damage("segment id (they ascend)"));
            }
            least = id.checked_add(1).ok_or_else(|| damage("segment id (there is a next)"))?;
        }
        if self.next_file_id < least {
            let (expected, found) = (least.get(), self.next_file_id.get());
            return Err(Damage::Field { field: "next file id", expected, found });
        }
        let whole_from = self.history.whole_from;
        if whole_from > self.history.position(self.next_file_id, 0) {
            let (expected, found) = (self.next_file_id.get(), whole_from.segment().get());
            let field = "segment from which on the log is whole";
            return Err(Damage::Field { field, expected, found });
        }
        let least = HEADER_LEN as u64;
        if let Some(entry) = self.sealed.iter().find(|entry| entry.records > entry.len / least) {
            let (expected, found) = (entry.len / least, entry.records);
            return Err(Damage::Field { field: "records of a segment", expected, found });
        }
        match self.sealed.iter().find(|entry| entry.dead_bytes > entry.len) {
            Some(entry) => Err(Damage::Field {
                field: "dead bytes of a segment",
                expected: entry.len,
                found: entry.dead_bytes,
            }),
            None => Ok(()),
        }
    }
}

impl<'a> Head<'a> {
    /// The head of a manifest of `len` bytes, and what follows it of these.
    fn read(bytes: &'a [u8], len: u64) -> Result<(Self, &'a [u8]), Refusal> {
        let least = Manifest::HEAD_LEN - size_of::<HistoryBytes>() as u64 + CRC_LEN as u64;
        let short = |expected| Damage::Length { expected, found: len };
        let (fixed, rest) = HeadBytes::ref_from_prefix(bytes).map_err(|_| short(least))?;
        expect("magic", MAGIC, fixed.magic.get())?;
        let (history, rest) = match fixed.version.get() {
            VERSION_WITHOUT_HISTORY => (None, rest),
            VERSION => {
                let whole = Manifest::HEAD_LEN + CRC_LEN as u64;
                let read = HistoryBytes::ref_from_prefix(rest).map_err(|_| short(whole))?;
                (Some(read.0), read.1)
            }
            later if later > VERSION => return Err(Refusal::Version),
            found => {
                let (expected, found) = (u64::from(VERSION), u64::from(found));
                return Err(Damage::Field { field: "version", expected, found }.into());
            }
        };
        let (counts, rest) = CountBytes::ref_from_prefix(rest).map_err(|_| short(least))?;
        Ok((Head { fixed, history, counts }, rest))
    }
}

impl From<&HistoryBytes> for History {
    fn from(bytes: &HistoryBytes) -> Self {
        History {
            lineage: bytes.lineage.get(),
            whole_from: Position::from_bytes(bytes.whole_from),
            carried_from: Position::from_bytes(bytes.carried_from),
            carried_to: Position::from_bytes(bytes.carried_to),
        }
    }
}

impl From<&EntryBytes> for SealedEntry {
    fn from(bytes: &EntryBytes) -> Self {
        SealedEntry {
            id: SegmentId::new(bytes.id.get()),
            len: bytes.len.get(),
            records: bytes.records.get(),
            dead_bytes: bytes.dead_bytes.get(),
            checksum: bytes.checksum.get(),
        }
    }
}

fn expect(field: &'static str, expected: u64, found: u64) -> Result<(), Damage> {
    if expected == found { Ok(()) } else { Err(Damage::Field { field, expected, found }) }
}

fn length(expected: u64, rest: &[u8]) -> Damage {
    Damage::Length { expected, found: rest.len() as u64 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn more_records_than_there_is_room_for_are_refused() {
        let mut sound = manifest(&[3], &[], 9);
        sound.sealed[0].records = sound.sealed[0].len / 20;
        assert!(Manifest::decode(&sound.encode()).is_ok());
        sound.sealed[0].records += 1;
        assert!(Manifest::decode(&sound.encode()).is_err());
    }

    use super::*;

    fn manifest(sealed: &[u64], tail: &[u64], next: u64) -> Manifest {
        let entry = |&id: &u64| SealedEntry {
            id: SegmentId::new(id),
            len: 100 + id % 7,
            records: id % 5,
            dead_bytes: 100,
            checksum: id as u32,
        };
        Manifest {
            seed: [7; 16],
            nonce: 42,
            next_file_id: SegmentId::new(next),
            history: History {
                lineage: 0x0A0B_0C0D,
                whole_from: Position::new(8, SegmentId::new(next - 1), 9),
                carried_from: Position::new(3, SegmentId::new(1), 2),
                carried_to: Position::new(6, SegmentId::new(4), 5),
            },
            sealed: sealed.iter().map(entry).collect(),
            tail: tail.iter().map(|&id| SegmentId::new(id)).collect(),
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_itself_and_to_nothing_else() {
        for (sealed, tail) in [(&[][..], &[][..]), (&[1, 2, 9], &[10]), (&[0], &[3, 4])] {
            let manifest = manifest(sealed, tail, 11);
            let bytes = manifest.encode();
            assert_eq!(Manifest::decode(&bytes), Ok(manifest));
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(Manifest::decode(&bad).is_err(), "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert!(Manifest::decode(&bytes[..len]).is_err(), "cut to {len}");
            }
        }
    }

    /// What a program wrote that knew the version: a segment 1, a segment 3, the tail 4, next 5.
    const GOLDEN: [(u32, &str); 2] = [
        (
            1,
            "7a65726f6361736b00000001070707070707070707070707070707070102030405060708000000000000000500000002\
            000000010000000000000001000000000000006500000000000000010000000000000064000000010000000000000003\
            000000000000006700000000000000030000000000000064000000030000000000000004184b5487",
        ),
        (
            2,
            "7a65726f6361736b0000000207070707070707070707070707070707010203040506070800000000000000050a0b0c0d\
            000000000000000400000000000000090000000800000000000000010000000000000002000000030000000000000004\
            000000000000000500000006000000020000000100000000000000010000000000000065000000000000000100000000\
            000000640000000100000000000000030000000000000067000000000000000300000000000000640000000300000000\
            0000000414753a2e",
        ),
    ];

    fn golden() -> Manifest {
        Manifest { nonce: 0x0102_0304_0506_0708, ..manifest(&[1, 3], &[4], 5) }
    }

    fn unhex(hex: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect()
    }

    #[test]
    fn the_golden_bytes_of_every_version_are_read_and_those_of_the_newest_written() {
        let [(_, first), (_, second)] = GOLDEN;
        assert_eq!(Manifest::decode(&unhex(second)), Ok(golden()));
        assert_eq!(golden().encode(), unhex(second));
        let history = History::new(0x0506_0708);
        assert_eq!(Manifest::decode(&unhex(first)), Ok(Manifest { history, ..golden() }));
        for (version, bytes) in GOLDEN {
            let bytes = unhex(bytes);
            assert_eq!(bytes[8..12], version.to_be_bytes());
            for len in 0..bytes.len() {
                assert!(Manifest::decode(&bytes[..len]).is_err(), "cut to {len}");
            }
        }
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut bytes = manifest(&[1], &[], 2).encode();
        bytes[11] += 1;
        assert_eq!(Manifest::decode(&bytes), Err(Refusal::Version));
    }

    #[test]
    fn ids_that_are_out_of_order_are_refused_though_the_checksum_is_right() {
        let last = u64::MAX;
        let cases: [(&[u64], &[u64], u64); 7] = [
            (&[2, 1], &[], 9),
            (&[1, 1], &[], 9),
            (&[3], &[2], 9),
            (&[1], &[2, 2], 9),
            (&[1], &[], 1),
            (&[1], &[5], 5),
            (&[last, last], &[last], last),
        ];
        for (sealed, tail, next) in cases {
            let decoded = Manifest::decode(&manifest(sealed, tail, next).encode());
            assert!(matches!(decoded, Err(Refusal::Damaged(Damage::Field { .. }))), "{sealed:?}");
        }
        let mut whole = manifest(&[1], &[], 2);
        whole.history.whole_from = whole.history.position(SegmentId::new(2), 0);
        assert_eq!(Manifest::decode(&whole.encode()), Ok(whole.clone()));
        whole.history.whole_from = whole.history.position(SegmentId::new(2), 1);
        assert!(Manifest::decode(&whole.encode()).is_err());
        let mut dead = manifest(&[1], &[], 2);
        dead.sealed[0].dead_bytes = dead.sealed[0].len + 1;
        assert!(Manifest::decode(&dead.encode()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Manifest::decode(&bytes);
        }
    }
}
