//! The hint's codec: what is in a sealed segment, in short. docs/format.md has every byte.
//!
//! A hint has an entry for each record, in the order of the segment: its sizes, when it expires, its key. Where a
//! record begins follows from the sizes of those before it. So a key directory is made of hints without a look at
//! the segments. Segments of which some record is bad, or does not count, have none.
//!
//! Invariants of a [`Body`] that was read: its CRC is right; it is of the segment that the manifest means; its entries
//! take up all its bytes, and their records all of the segment's.
//!
//! Must not know: files; what has become of a record since.

pub(crate) mod file;

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::Damage;
use crate::manifest::SealedEntry;
use crate::record::{Frame, Sizes};

const MAGIC: u64 = u64::from_be_bytes(*b"zcaskhnt");
const VERSION: u32 = 1;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Head {
    magic: U64,
    version: U32,
    id: U64,
    len: U64,
    records: U64,
    checksum: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Foot {
    /// Of the last record.
    timestamp: U64,
    crc32: U32,
}

/// What precedes an entry's key, but for its expiry.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EntryHead {
    key_size: U32,
    value_size: U32,
}

/// The entries of a hint.
#[derive(Clone, Copy)]
pub(crate) struct Body<'a> {
    bytes: &'a [u8],
    /// Of the segment's last record.
    pub(crate) timestamp: u64,
}

/// What is said of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) sizes: Sizes,
    pub(crate) expires_at: Option<u64>,
    pub(crate) key: &'a [u8],
}

/// An entry with its place in its body, and its record's in the segment.
pub(crate) struct Placed<'a> {
    pub(crate) at: usize,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) entry: Entry<'a>,
}

/// What a hint begins with.
fn head(segment: &SealedEntry) -> Head {
    Head {
        magic: U64::new(MAGIC),
        version: U32::new(VERSION),
        id: U64::new(segment.id.get()),
        len: U64::new(segment.len),
        records: U64::new(segment.records),
        checksum: U32::new(segment.checksum),
    }
}

/// Where the bytes of a body are in the file that it was read from.
pub(crate) fn place_of(file: &[u8], body: &Body<'_>) -> std::ops::Range<usize> {
    let start = size_of::<Head>().min(file.len());
    start..start + body.bytes.len()
}

/// Appends the entry of a record.
pub(crate) fn push(bytes: &mut Vec<u8>, frame: &Frame<'_>) {
    let Sizes { key_size, value_size } = frame.sizes();
    let head = EntryHead { key_size: U32::new(key_size), value_size: U32::new(value_size) };
    bytes.extend_from_slice(head.as_bytes());
    if let Some(expires_at) = frame.expires_at() {
        bytes.extend_from_slice(&expires_at.to_be_bytes());
    }
    bytes.extend_from_slice(frame.key());
}

/// The entry that begins at `at` of the bytes of a body, and where the next one does.
#[inline(always)]
pub(crate) fn entry(bytes: &[u8], at: usize) -> Option<(Entry<'_>, usize)> {
    let (head, rest) = EntryHead::ref_from_prefix(bytes.get(at..)?).ok()?;
    let sizes = Sizes { key_size: head.key_size.get(), value_size: head.value_size.get() };
    let (expires_at, rest) = match sizes.expires() {
        false => (None, rest),
        true => {
            let (expires_at, rest) = U64::ref_from_prefix(rest).ok()?;
            (Some(expires_at.get()), rest)
        }
    };
    let (key, rest) = rest.split_at_checked(sizes.key_len())?;
    Some((Entry { sizes, expires_at, key }, bytes.len() - rest.len()))
}

/// The entries of bytes that hold them, from the segment's first record on, until one does not fit.
pub(crate) fn entries(bytes: &[u8]) -> impl Iterator<Item = Placed<'_>> {
    let (mut next, mut offset) = (0, 0u64);
    std::iter::from_fn(move || {
        let at = next;
        let (entry, end) = entry(bytes, at)?;
        let len = entry.sizes.len_at(offset);
        let placed = Placed { at, offset, len, entry };
        (next, offset) = (end, offset.checked_add(len)?);
        Some(placed)
    })
}

impl<'a> Body<'a> {
    /// Of a file that has to be the hint of a segment.
    pub(crate) fn read(file: &'a [u8], segment: &SealedEntry) -> Result<Self, Damage> {
        let least = (size_of::<Head>() + size_of::<Foot>()) as u64;
        let short = || Damage::Length { expected: least, found: file.len() as u64 };
        let (found, rest) = Head::ref_from_prefix(file).map_err(|_| short())?;
        let (bytes, foot) = Foot::ref_from_suffix(rest).map_err(|_| short())?;
        found.check(&head(segment))?;
        let covered = file.get(..file.len() - size_of::<U32>()).unwrap_or_default();
        let (expected, computed) = (foot.crc32.get(), crc32fast::hash(covered));
        if expected != computed {
            return Err(Damage::Checksum { expected, found: computed });
        }
        let body = Body { bytes, timestamp: foot.timestamp.get() };
        body.check(segment)?;
        Ok(body)
    }

    /// Whether the entries account for the segment.
    fn check(&self, segment: &SealedEntry) -> Result<(), Damage> {
        let (mut records, mut end, mut len) = (0, 0, 0);
        for Placed { at, offset, len: record_len, entry } in entries(self.bytes) {
            records += 1;
            len = offset + record_len;
            let expiry = if entry.expires_at.is_some() { size_of::<U64>() } else { 0 };
            end = at + size_of::<EntryHead>() + expiry + entry.key.len();
        }
        let bytes = self.bytes.len() as u64;
        field("bytes of a hint's entries", bytes, end as u64)?;
        field("records in a hint", segment.records, records)?;
        field("bytes of a hint's records", segment.len, len)
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl Head {
    /// Whether it is what it has to be.
    fn check(&self, expected: &Head) -> Result<(), Damage> {
        field("magic", expected.magic.get(), self.magic.get())?;
        field("version", expected.version.get().into(), self.version.get().into())?;
        field("a hint's segment id", expected.id.get(), self.id.get())?;
        field("length of a hint's segment", expected.len.get(), self.len.get())?;
        field("records of a hint's segment", expected.records.get(), self.records.get())?;
        let (expected, found) = (expected.checksum.get(), self.checksum.get());
        field("checksum of a hint's segment", expected.into(), found.into())
    }
}

fn field(field: &'static str, expected: u64, found: u64) -> Result<(), Damage> {
    if expected == found { Ok(()) } else { Err(Damage::Field { field, expected, found }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::location::SegmentId;
    use crate::model::machine::encode;
    use crate::record::{Alignment, Record};

    /// The hint of a segment of these records, and what the manifest says of it.
    fn hint(records: &[Record<'_>]) -> (Vec<u8>, SealedEntry) {
        let segment = encode(records);
        let (mut offset, mut entries, mut timestamp) = (0, Vec::new(), 0);
        while offset < segment.len() {
            let frame = Frame::read(&segment[offset..], offset as u64).unwrap();
            push(&mut entries, &frame);
            timestamp = frame.timestamp();
            offset += frame.len() as usize;
        }
        let entry = SealedEntry {
            id: SegmentId::new(0x0102),
            len: segment.len() as u64,
            records: records.len() as u64,
            dead_bytes: 0,
            checksum: 0x0A0B_0C0D,
        };
        let mut bytes = [head(&entry).as_bytes(), &entries[..]].concat();
        bytes.extend_from_slice(&timestamp.to_be_bytes());
        mend(&mut bytes);
        (bytes, entry)
    }

    /// Puts the right CRC behind bytes that have none.
    fn mend(bytes: &mut Vec<u8>) {
        let crc = crc32fast::hash(bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
    }

    fn records() -> Vec<Record<'static>> {
        vec![
            Record::plain(1, b"key", b"value"),
            Record { expires_at: Some(0x0102_0304), ..Record::plain(2, b"k", b"v") },
            Record::tombstone(3, b"key"),
            Record { marked_value: true, ..Record::plain(4, b"", b"") },
            Record { align: Alignment::new(64), ..Record::plain(5, b"aligned", b"value") },
        ]
    }

    /// docs/format.md.
    #[test]
    fn its_bytes_are_the_frozen_ones() {
        let (bytes, _) = hint(&records()[..3]);
        let expected = [
            &b"zcaskhnt"[..],
            &[0, 0, 0, 1],
            &[0, 0, 0, 0, 0, 0, 1, 2],
            &[0, 0, 0, 0, 0, 0, 0, 28 + 30 + 23],
            &[0, 0, 0, 0, 0, 0, 0, 3],
            &[0x0A, 0x0B, 0x0C, 0x0D],
            &[0, 0, 0, 3, 0, 0, 0, 5],
            b"key",
            &[8, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4],
            b"k",
            &[0, 0, 0, 3, 0, 0, 0, 0],
            b"key",
            &[0, 0, 0, 0, 0, 0, 0, 3],
            &[0x0C, 0x7C, 0xA0, 0xAD],
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn it_says_where_each_record_is_and_what_it_does() {
        let records = records();
        let (bytes, entry) = hint(&records);
        let body = Body::read(&bytes, &entry).unwrap();
        assert_eq!(body.timestamp, 5);
        let segment = encode(&records);
        let mut count = 0;
        for (placed, record) in entries(body.bytes()).zip(&records) {
            let offset = placed.offset;
            let frame = Frame::read(&segment[offset as usize..], offset).unwrap();
            assert_eq!((placed.len, placed.entry.key), (frame.len(), record.key));
            assert_eq!(placed.entry.expires_at, record.expires_at);
            assert_eq!(placed.entry.sizes.is_tombstone(), record.is_tombstone());
            let (again, _) = super::entry(body.bytes(), placed.at).unwrap();
            assert_eq!(again, placed.entry);
            count += 1;
        }
        assert_eq!(count, records.len());
    }

    #[test]
    fn one_of_another_segment_or_with_any_byte_changed_or_missing_is_refused() {
        let (bytes, entry) = hint(&records());
        let id = SegmentId::new(0x0103);
        for other in [
            SealedEntry { id, ..entry },
            SealedEntry { len: entry.len + 1, ..entry },
            SealedEntry { records: entry.records + 1, ..entry },
            SealedEntry { checksum: 1, ..entry },
        ] {
            assert!(Body::read(&bytes, &other).is_err(), "{other:?}");
        }
        for byte in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[byte] ^= 0x10;
            assert!(Body::read(&changed, &entry).is_err(), "{byte}");
            assert!(Body::read(&bytes[..byte], &entry).is_err(), "{byte}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Also where the CRC is right.
        #[test]
        fn whatever_the_entries_are_they_account_for_the_segment_or_are_refused(
            at in any::<prop::sample::Index>(),
            with in prop::collection::vec(any::<u8>(), 0..12),
            cut in 0usize..12,
        ) {
            let (mut bytes, entry) = hint(&records());
            bytes.truncate(bytes.len() - 4);
            let at = at.index(bytes.len());
            let end = bytes.len().min(at + cut);
            bytes.splice(at..end, with);
            mend(&mut bytes);
            if let Ok(body) = Body::read(&bytes, &entry) {
                let all: Vec<_> = entries(body.bytes()).collect();
                let end = all.last().map_or(0, |placed| placed.offset + placed.len);
                prop_assert_eq!((all.len() as u64, end), (entry.records, entry.len));
            }
        }
    }
}
