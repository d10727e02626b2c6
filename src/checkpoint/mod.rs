//! The checkpoint's codec: the key directory as it was when all segments were sealed. docs/format.md has every byte.
//!
//! A [`Head`] says of which segments it is, what was counted in each, and how many entries there are in each shard, an
//! equal range of hashes, with a CRC. The entries follow, shard by shard, so that one can be read without the others.
//!
//! It means a log that holds these segments, with these contents, as its oldest: what comes behind them can be replayed over
//! it, whatever else has happened since.
//!
//! Invariants of a head that was read: its CRC is right; its parts account for the file's length; segments ascend. Of a shard:
//! its CRC is right; its hashes are its own; its locations lie in its segments.
//!
//! Must not know: files, keys, records.

pub(crate) mod file;

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::Damage;
use crate::keydir;
use crate::location::{Location, SegmentId};
use crate::manifest::{Manifest, SealedEntry};
use crate::record::HEADER_LEN;
use crate::segment::{Amount, Buckets, Figures};

const MAGIC: u64 = u64::from_be_bytes(*b"zcaskdir");
const VERSION: u32 = 1;
const CRC_LEN: usize = size_of::<U32>();
pub(crate) const ENTRY_LEN: usize = size_of::<EntryBytes>();

/// All but the entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    /// Of the hash of keys.
    pub(crate) seed: [u8; 16],
    /// Of the manifest beside which it was written.
    pub(crate) nonce: u64,
    /// In the order of their ids. Locations number them so, from 1.
    pub(crate) segments: Vec<Covered>,
    pub(crate) shards: Vec<Shard>,
}

/// What there can be in the checkpoint of a store.
#[derive(Clone, Copy)]
pub(crate) struct Most {
    pub(crate) segments: u64,
    pub(crate) entries: u64,
}

/// A segment whose records it knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Covered {
    pub(crate) id: SegmentId,
    pub(crate) len: u64,
    pub(crate) checksum: u32,
    pub(crate) figures: Figures,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Shard {
    pub(crate) entries: u32,
    pub(crate) crc: u32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FixedBytes {
    magic: U64,
    version: U32,
    /// Of the head, its CRC included.
    head_len: U64,
    seed: [u8; 16],
    nonce: U64,
    segments: U32,
    shards: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct CoveredBytes {
    id: U64,
    len: U64,
    checksum: U32,
    bytes: U64,
    records: U64,
    dead_bytes: U64,
    dead_records: U64,
    tombstone_bytes: U64,
    timestamp: U64,
    width: U32,
    buckets: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BucketBytes {
    bucket: U64,
    bytes: U64,
    records: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ShardBytes {
    entries: U32,
    crc: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EntryBytes {
    hash: U64,
    location: U64,
}

impl Head {
    /// The bytes that say how long it is.
    pub(crate) const FIXED_LEN: u64 = size_of::<FixedBytes>() as u64;

    /// How long it is, in bytes.
    pub(crate) fn len(&self) -> u64 {
        let buckets = |segment: &Covered| segment.figures.expiring.parts().count();
        let len = size_of::<FixedBytes>()
            + self.segments.len() * size_of::<CoveredBytes>()
            + self.segments.iter().map(buckets).sum::<usize>() * size_of::<BucketBytes>()
            + self.shards.len() * size_of::<ShardBytes>()
            + CRC_LEN;
        len as u64
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let fixed = FixedBytes {
            magic: U64::new(MAGIC),
            version: U32::new(VERSION),
            head_len: U64::new(self.len()),
            seed: self.seed,
            nonce: U64::new(self.nonce),
            // Segment slots bound the first below 2^23; so many shards are 2^40 entries.
            segments: U32::new(self.segments.len() as u32),
            shards: U32::new(self.shards.len() as u32),
        };
        let mut bytes = fixed.as_bytes().to_vec();
        for Covered { id, len, checksum, figures } in &self.segments {
            let covered = CoveredBytes {
                id: U64::new(id.get()),
                len: U64::new(*len),
                checksum: U32::new(*checksum),
                bytes: U64::new(figures.all.bytes),
                records: U64::new(figures.all.records),
                dead_bytes: U64::new(figures.dead.bytes),
                dead_records: U64::new(figures.dead.records),
                tombstone_bytes: U64::new(figures.tombstone_bytes),
                timestamp: U64::new(figures.timestamp),
                width: U32::new(figures.expiring.width()),
                buckets: U32::new(figures.expiring.parts().count() as u32),
            };
            bytes.extend_from_slice(covered.as_bytes());
            for (bucket, Amount { records, bytes: len }) in figures.expiring.parts() {
                let bucket = BucketBytes {
                    bucket: U64::new(bucket),
                    bytes: U64::new(len),
                    records: U64::new(records),
                };
                bytes.extend_from_slice(bucket.as_bytes());
            }
        }
        for Shard { entries, crc } in &self.shards {
            let shard = ShardBytes { entries: U32::new(*entries), crc: U32::new(*crc) };
            bytes.extend_from_slice(shard.as_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// How long the head is of a file of `len` bytes that begins so. It has no more segments and shards than that: what it claims
    /// beyond is refused before anybody makes room for it.
    pub(crate) fn read_len(fixed: &[u8], len: u64, most: Most) -> Result<u64, Damage> {
        let (fixed, _) = FixedBytes::ref_from_prefix(fixed)
            .map_err(|_| Damage::Length { expected: Self::FIXED_LEN, found: len })?;
        field("magic", MAGIC, fixed.magic.get())?;
        field("version", VERSION.into(), fixed.version.get().into())?;
        let (segments, shards) = (u64::from(fixed.segments.get()), u64::from(fixed.shards.get()));
        let most_shards =
            keydir::shards_for(usize::try_from(most.entries).unwrap_or(usize::MAX / 100));
        at_most("segments of a checkpoint", most.segments, segments)?;
        at_most("shards of a checkpoint", most_shards as u64, shards)?;
        let segment = (size_of::<CoveredBytes>() + Buckets::MOST * size_of::<BucketBytes>()) as u64;
        let longest = Self::FIXED_LEN
            + segments * segment
            + shards * size_of::<ShardBytes>() as u64
            + CRC_LEN as u64;
        let head_len = fixed.head_len.get();
        if (Self::FIXED_LEN + CRC_LEN as u64..=len.min(longest)).contains(&head_len) {
            Ok(head_len)
        } else {
            Err(Damage::Length { expected: head_len, found: len })
        }
    }

    /// The head of a file of `len` bytes.
    pub(crate) fn decode(head: &[u8], len: u64, most: Most) -> Result<Self, Damage> {
        let head_len = Self::read_len(head, len, most)?;
        let short = || Damage::Length { expected: head_len, found: head.len() as u64 };
        if head_len != head.len() as u64 {
            return Err(short());
        }
        let (body, crc) = head.split_last_chunk::<CRC_LEN>().ok_or_else(short)?;
        let (expected, found) = (u32::from_be_bytes(*crc), crc32fast::hash(body));
        if expected != found {
            return Err(Damage::Checksum { expected, found });
        }
        let (fixed, mut rest) = FixedBytes::ref_from_prefix(body).map_err(|_| short())?;
        let mut segments = Vec::new();
        for _ in 0..fixed.segments.get() {
            let (covered, behind) = CoveredBytes::ref_from_prefix(rest).map_err(|_| short())?;
            let count = covered.buckets.get() as usize;
            let (buckets, behind) =
                <[BucketBytes]>::ref_from_prefix_with_elems(behind, count).map_err(|_| short())?;
            segments.push(covered.read(buckets)?);
            rest = behind;
        }
        let count = fixed.shards.get() as usize;
        let shards = <[ShardBytes]>::ref_from_bytes_with_elems(rest, count).map_err(|_| short())?;
        let read =
            |shard: &ShardBytes| Shard { entries: shard.entries.get(), crc: shard.crc.get() };
        let head = Head {
            seed: fixed.seed,
            nonce: fixed.nonce.get(),
            segments,
            shards: shards.iter().map(read).collect(),
        };
        head.check(head_len, len)?;
        at_most("entries of a checkpoint", most.entries, head.entries())?;
        Ok(head)
    }

    /// The invariants at the top of this file.
    fn check(&self, head_len: u64, len: u64) -> Result<(), Damage> {
        if let Some(two) = self.segments.windows(2).find(|two| two[0].id >= two[1].id) {
            let (expected, found) = (two[0].id.get(), two[1].id.get());
            return Err(Damage::Field { field: "segment id (they ascend)", expected, found });
        }
        field("shards (one at least)", self.shards.len().max(1) as u64, self.shards.len() as u64)?;
        let expected = head_len + self.entries() * ENTRY_LEN as u64;
        if expected == len { Ok(()) } else { Err(Damage::Length { expected, found: len }) }
    }

    /// How many entries there are.
    pub(crate) fn entries(&self) -> u64 {
        self.shards.iter().map(|shard| u64::from(shard.entries)).sum()
    }

    /// Whether a log of these sealed segments begins with those of the checkpoint, so that what others hold can be
    /// replayed over it.
    pub(crate) fn is_beginning_of(&self, manifest: &Manifest) -> bool {
        let last = self.segments.last().map(|covered| covered.id);
        let mine = manifest.sealed.iter().take_while(|entry| Some(entry.id) <= last);
        self.seed == manifest.seed
            && mine.clone().count() == self.segments.len()
            && mine.zip(&self.segments).all(|(entry, covered)| covered.is(entry))
    }

    /// The entries of a shard, from its bytes. Slots are numbered by the segments of the checkpoint.
    pub(crate) fn decode_shard(
        &self,
        shard: usize,
        bytes: &[u8],
    ) -> Result<Vec<(u64, Location)>, Damage> {
        let Shard { entries, crc } = self.shards[shard];
        let found = crc32fast::hash(bytes);
        if found != crc {
            return Err(Damage::Checksum { expected: crc, found });
        }
        let count = entries as usize;
        let entries = <[EntryBytes]>::ref_from_bytes_with_elems(bytes, count).map_err(|_| {
            let expected = (count * ENTRY_LEN) as u64;
            Damage::Length { expected, found: bytes.len() as u64 }
        })?;
        if let Some(two) = entries.windows(2).find(|two| two[0].hash.get() > two[1].hash.get()) {
            let (expected, found) = (two[0].hash.get(), two[1].hash.get());
            return Err(Damage::Field { field: "hash of an entry (they ascend)", expected, found });
        }
        entries.iter().map(|entry| self.read_entry(shard, entry)).collect()
    }

    fn read_entry(&self, shard: usize, entry: &EntryBytes) -> Result<(u64, Location), Damage> {
        let (hash, bits) = (entry.hash.get(), entry.location.get());
        let found = keydir::shard_of(hash, self.shards.len());
        field("shard of an entry", shard as u64, found as u64)?;
        let location = location(bits).filter(|location| {
            let segment = self.segments.get(location.slot().index());
            segment.is_some_and(|segment| location.offset() + HEADER_LEN as u64 <= segment.len)
        });
        let wrong = Damage::Field { field: "location of an entry", expected: 0, found: bits };
        Ok((hash, location.ok_or(wrong)?))
    }
}

/// What a location's bits say, unless they are none's.
fn location(bits: u64) -> Option<Location> {
    let location = Location::from_bits(bits)?;
    (location.has_slot() && !location.is_verified()).then_some(location)
}

/// Appends an entry. Slots are numbered by the segments of the checkpoint.
pub(crate) fn push(bytes: &mut Vec<u8>, hash: u64, location: Location) {
    let location = location.unverified().bits();
    let entry = EntryBytes { hash: U64::new(hash), location: U64::new(location) };
    bytes.extend_from_slice(entry.as_bytes());
}

impl Covered {
    /// Whether it is this one.
    fn is(&self, entry: &SealedEntry) -> bool {
        (self.id, self.len, self.checksum) == (entry.id, entry.len, entry.checksum)
    }
}

impl CoveredBytes {
    fn read(&self, buckets: &[BucketBytes]) -> Result<Covered, Damage> {
        let amount =
            |records: &U64, bytes: &U64| Amount { records: records.get(), bytes: bytes.get() };
        let buckets = buckets
            .iter()
            .map(|BucketBytes { bucket, bytes, records }| (bucket.get(), amount(records, bytes)));
        let expiring = Buckets::of_parts(self.width.get(), buckets.collect());
        let found = self.width.get().into();
        let wrong = Damage::Field { field: "width of buckets of a segment", expected: 0, found };
        let figures = Figures {
            all: amount(&self.records, &self.bytes),
            dead: amount(&self.dead_records, &self.dead_bytes),
            tombstone_bytes: self.tombstone_bytes.get(),
            timestamp: self.timestamp.get(),
            expiring: expiring.ok_or(wrong)?,
        };
        let Amount { bytes, records } = figures.all;
        at_most("bytes of a segment", self.len.get(), bytes)?;
        at_most("records of a segment", bytes / HEADER_LEN as u64, records)?;
        at_most("dead bytes of a segment", bytes, figures.dead.bytes)?;
        at_most("dead records of a segment", records, figures.dead.records)?;
        at_most("bytes of a segment's tombstones", bytes, figures.tombstone_bytes)?;
        Ok(Covered {
            id: SegmentId::new(self.id.get()),
            len: self.len.get(),
            checksum: self.checksum.get(),
            figures,
        })
    }
}

fn at_most(field: &'static str, expected: u64, found: u64) -> Result<(), Damage> {
    if found <= expected { Ok(()) } else { Err(Damage::Field { field, expected, found }) }
}

fn field(field: &'static str, expected: u64, found: u64) -> Result<(), Damage> {
    if expected == found { Ok(()) } else { Err(Damage::Field { field, expected, found }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::location::SegmentSlot;
    use crate::position::History;

    /// Enough for two shards.
    const MOST: Most = Most { segments: 2, entries: 20 };

    fn at(segment: usize, offset: u64) -> Location {
        Location::new(SegmentSlot::from_index(segment).unwrap(), offset).unwrap()
    }

    fn covered(id: u64, buckets: &[(u64, u64)]) -> Covered {
        let amount = |records, bytes| Amount { records, bytes };
        let buckets = buckets.iter().map(|(bucket, bytes)| (*bucket, amount(1, *bytes)));
        let expiring = Buckets::of_parts(21, buckets.collect()).unwrap();
        let (all, dead) = (amount(3, 99), amount(2, 33));
        let figures = Figures { all, dead, tombstone_bytes: 11, timestamp: 5, expiring };
        Covered { id: SegmentId::new(id), len: 100, checksum: 7, figures }
    }

    /// A checkpoint of two shards, its head and its entries.
    fn checkpoint() -> (Head, Vec<u8>) {
        let shards = [vec![(1, at(0, 0)), (2, at(1, 80))], vec![(u64::MAX, at(1, 9))]];
        let (mut entries, mut list) = (Vec::new(), Vec::new());
        for shard in shards {
            let start = entries.len();
            shard.iter().for_each(|(hash, location)| push(&mut entries, *hash, *location));
            let crc = crc32fast::hash(&entries[start..]);
            list.push(Shard { entries: shard.len() as u32, crc });
        }
        let segments = vec![covered(3, &[]), covered(9, &[(4, 50), (6, 1)])];
        (Head { seed: [7; 16], nonce: 42, segments, shards: list }, entries)
    }

    fn manifest(sealed: &[(u64, u64, u32)]) -> Manifest {
        let entry = |&(id, len, checksum): &(u64, u64, u32)| SealedEntry {
            id: SegmentId::new(id),
            len,
            records: 3,
            dead_bytes: 0,
            checksum,
        };
        Manifest {
            seed: [7; 16],
            nonce: 1,
            next_file_id: SegmentId::new(100),
            history: History::new(1),
            sealed: sealed.iter().map(entry).collect(),
            tail: Vec::new(),
        }
    }

    /// docs/format.md.
    #[test]
    fn its_bytes_are_the_frozen_ones() {
        let (head, entries) = checkpoint();
        let number = |n: u64| n.to_be_bytes().to_vec();
        let small = |n: u32| n.to_be_bytes().to_vec();
        let [first, second] = &head.shards[..] else { panic!() };
        let counted = [99, 3, 33, 2, 11, 5].map(number).concat();
        let mut expected = [
            b"zcaskdir".to_vec(),
            small(1),
            number(8 + 4 + 8 + 16 + 8 + 4 + 4 + 2 * 76 + 2 * 24 + 2 * 8 + 4),
            vec![7; 16],
            number(42),
            small(2),
            small(2),
            [number(3), number(100), small(7), counted.clone()].concat(),
            [small(21), small(0)].concat(),
            [number(9), number(100), small(7), counted].concat(),
            [small(21), small(2)].concat(),
            [number(4), number(50), number(1), number(6), number(1), number(1)].concat(),
            [small(2), small(first.crc), small(1), small(second.crc)].concat(),
        ]
        .concat();
        expected.extend(crc32fast::hash(&expected).to_be_bytes());
        assert_eq!(head.encode(), expected);
        let slot = |segment: u64, offset: u64| number(segment << 40 | offset);
        let expected =
            [number(1), slot(1, 0), number(2), slot(2, 80), number(u64::MAX), slot(2, 9)].concat();
        assert_eq!(entries, expected);
    }

    #[test]
    fn it_reads_as_it_was_written() {
        let (head, entries) = checkpoint();
        let bytes = head.encode();
        assert_eq!(head.len(), bytes.len() as u64);
        let len = (bytes.len() + entries.len()) as u64;
        assert_eq!(Head::read_len(&bytes[..Head::FIXED_LEN as usize], len, MOST), Ok(head.len()));
        assert_eq!(Head::decode(&bytes, len, MOST), Ok(head.clone()));
        let shown = |shard, range: std::ops::Range<usize>| {
            let found = head.decode_shard(shard, &entries[range]).unwrap().into_iter();
            found.map(|(hash, at)| (hash, at.bits())).collect::<Vec<_>>()
        };
        assert_eq!(shown(0, 0..32), [(1, at(0, 0).bits()), (2, at(1, 80).bits())]);
        assert_eq!(shown(1, 32..48), [(u64::MAX, at(1, 9).bits())]);
    }

    #[test]
    fn what_it_claims_is_bounded_before_anybody_makes_room_for_it() {
        let (head, entries) = checkpoint();
        let bytes = head.encode();
        let len = |bytes: &[u8], most| Head::read_len(bytes, 1 << 50, most);
        assert_eq!(len(&bytes, MOST), Ok(head.len()));
        assert!(len(&bytes, Most { entries: 0, ..MOST }).is_err(), "two shards of no entries");
        assert!(len(&bytes, Most { segments: 1, ..MOST }).is_err());
        let mut claims = bytes.clone();
        claims[12..20].copy_from_slice(&(1u64 << 40).to_be_bytes());
        assert!(len(&claims, MOST).is_err());
        let whole = (bytes.len() + entries.len()) as u64;
        assert!(Head::decode(&bytes, whole, MOST).is_ok());
        let mut more = head.clone();
        more.shards[0].entries = 1 << 30;
        let whole = more.len() + more.entries() * ENTRY_LEN as u64;
        assert!(Head::decode(&more.encode(), whole, MOST).is_err());
    }

    #[test]
    fn entries_that_do_not_ascend_are_refused_though_the_crc_is_right() {
        let (mut head, entries) = checkpoint();
        let swapped = [&entries[16..32], &entries[..16]].concat();
        head.shards[0].crc = crc32fast::hash(&swapped);
        assert!(head.decode_shard(0, &swapped).is_err());
    }

    #[test]
    fn any_byte_changed_or_missing_is_refused() {
        let (head, entries) = checkpoint();
        let bytes = head.encode();
        let len = (bytes.len() + entries.len()) as u64;
        for byte in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[byte] ^= 0x10;
            assert!(Head::decode(&changed, len, MOST).is_err(), "{byte}");
            assert!(Head::decode(&bytes[..byte], len, MOST).is_err(), "{byte}");
        }
        assert!(
            Head::decode(&bytes, len - 1, MOST).is_err()
                && Head::decode(&bytes, len + 1, MOST).is_err()
        );
        for byte in 0..32 {
            let mut changed = entries[..32].to_vec();
            changed[byte] ^= 0x10;
            assert!(head.decode_shard(0, &changed).is_err(), "{byte}");
        }
        assert!(head.decode_shard(1, &entries[..16]).is_err(), "another shard's");
    }

    #[test]
    fn entries_of_other_shards_or_outside_of_the_segments_are_refused_though_the_crc_is_right() {
        let (mut head, _) = checkpoint();
        for (hash, bits) in [
            (u64::MAX, at(0, 0).bits()),
            (1, at(2, 0).bits()),
            (1, at(0, 81).bits()),
            (1, at(0, 0).verified().bits()),
            (1, 5),
            (1, 0),
        ] {
            let bytes = [hash.to_be_bytes(), u64::to_be_bytes(bits)].concat();
            head.shards[0] = Shard { entries: 1, crc: crc32fast::hash(&bytes) };
            assert!(head.decode_shard(0, &bytes).is_err(), "{hash} {bits:x}");
        }
    }

    #[test]
    fn a_log_that_begins_with_its_segments_and_no_other_is_its_own() {
        let (head, _) = checkpoint();
        let (a, b) = ((3, 100, 7), (9, 100, 7));
        assert!(head.is_beginning_of(&manifest(&[a, b])));
        assert!(head.is_beginning_of(&manifest(&[a, b, (10, 1, 1), (20, 1, 1)])));
        for other in [
            &[][..],
            &[a],
            &[b],
            &[a, (10, 100, 7)],
            &[a, (9, 101, 7)],
            &[a, (9, 100, 8)],
            &[(1, 1, 1), a, b],
            &[a, (5, 1, 1), b],
        ] {
            assert!(!head.is_beginning_of(&manifest(other)), "{other:?}");
        }
        let foreign = Manifest { seed: [8; 16], ..manifest(&[a, b]) };
        assert!(!head.is_beginning_of(&foreign));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Also where the CRC is right.
        #[test]
        fn whatever_a_head_is_it_is_refused_or_reads_as_what_it_writes(
            at in any::<prop::sample::Index>(),
            with in prop::collection::vec(any::<u8>(), 0..12),
            cut in 0usize..12,
            len in any::<u16>(),
        ) {
            let (head, entries) = checkpoint();
            let mut bytes = head.encode();
            bytes.truncate(bytes.len() - CRC_LEN);
            let at = at.index(bytes.len());
            let end = bytes.len().min(at + cut);
            bytes.splice(at..end, with);
            bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
            for len in [u64::from(len), (bytes.len() + entries.len()) as u64] {
                if let Ok(read) = Head::decode(&bytes, len, MOST) {
                    prop_assert_eq!(&read.encode(), &bytes);
                    let _ = read.decode_shard(0, &entries);
                }
            }
        }
    }
}
