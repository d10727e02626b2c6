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
