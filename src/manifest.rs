//! The manifest's codec: which segment files make the store. docs/format.md has every byte.
//!
//! Invariants of a decoded [`Manifest`]: sealed ids ascend strictly; so do tail ids, and they stand
//! above every sealed one; `next_file_id` stands above both; no segment has more dead bytes than
//! bytes. The sizes in the file must account for its length exactly before anything is allocated.
//!
//! Must not know: where the bytes come from, or what the files hold.

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::Damage;
use crate::location::{SegmentId, SegmentSlot};

const MAGIC: u64 = u64::from_be_bytes(*b"zerocask");
const VERSION: u32 = 1;
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
    sealed_count: U32,
    tail_count: U32,
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

impl HeadBytes {
    fn sealed_len(&self) -> u64 {
        u64::from(self.sealed_count.get()) * size_of::<EntryBytes>() as u64
    }

    fn tail_len(&self) -> u64 {
        u64::from(self.tail_count.get()) * size_of::<U64>() as u64
    }
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
    pub(crate) const HEAD_LEN: u64 = size_of::<HeadBytes>() as u64;

    /// No manifest is longer: as many entries as there are segment slots.
    const MAX_LEN: u64 = Self::HEAD_LEN
        + SegmentSlot::MAX as u64 * (size_of::<EntryBytes>() + size_of::<U64>()) as u64
        + CRC_LEN as u64;

    /// Whether this is a sealed segment.
    pub(crate) fn lists(&self, id: SegmentId) -> bool {
        self.sealed.binary_search_by_key(&id, |entry| entry.id).is_ok()
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
            // Segment slots bound both counts below 2^23.
            sealed_count: U32::new(self.sealed.len() as u32),
            tail_count: U32::new(self.tail.len() as u32),
        };
        let mut bytes = head.as_bytes().to_vec();
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
        let (head, _) = HeadBytes::read_from_prefix(bytes).map_err(|_| Damage::Length {
            expected: Self::HEAD_LEN + CRC_LEN as u64,
            found: len,
        })?;
        expect("magic", MAGIC, head.magic.get())?;
        if head.version.get() > VERSION {
            return Err(Refusal::Version);
        }
        expect("version", u64::from(VERSION), u64::from(head.version.get()))?;
        let expected = Self::HEAD_LEN + head.sealed_len() + head.tail_len() + CRC_LEN as u64;
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

        let (head, rest) =
            HeadBytes::ref_from_prefix(body).map_err(|_| length(Self::HEAD_LEN, body))?;
        let (sealed_count, tail_count) = (head.sealed_count.get(), head.tail_count.get());
        let (sealed, rest) =
            <[EntryBytes]>::ref_from_prefix_with_elems(rest, sealed_count as usize)
                .map_err(|_| length(head.sealed_len(), rest))?;
        let (tail, _) = <[U64]>::ref_from_prefix_with_elems(rest, tail_count as usize)
            .map_err(|_| length(head.tail_len(), rest))?;
        let manifest = Manifest {
            seed: head.seed,
            nonce: head.nonce.get(),
            next_file_id: SegmentId::new(head.next_file_id.get()),
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
