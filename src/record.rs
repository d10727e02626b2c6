//! The record codec: bytes to records and back, and nothing else. Public for tools that read or
//! write data files themselves, and for fuzzing.
//!
//! ```text
//! [crc32:4][timestamp:8][key_size:4][value_size:4] [expires_at:8]? [key] [padding]? [value]
//! ```
//!
//! Integers are big-endian; the CRC covers everything after itself. `key_size` holds the key's
//! length in its low 24 bits and flags in its high 8; docs/format.md has every bit. A record's
//! length follows from its header and its offset in the file alone (the padding depends on the
//! offset), whatever its CRC says.
//!
//! Must not know: files, segments, liveness. Every length is checked against the bytes at hand;
//! no input makes it panic.

use std::ops::Range;

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Damage, Error, Result};

/// The longest key in bytes: 16 MiB − 1.
pub const MAX_KEY_LEN: usize = (1 << 24) - 1;

/// The longest value in bytes: 4 GiB − 1.
pub const MAX_VALUE_LEN: usize = u32::MAX as usize;

/// The largest alignment of a value, in bytes.
pub const MAX_ALIGN: usize = 128;

/// crc32, timestamp, key_size, value_size.
pub(crate) const HEADER_LEN: usize = size_of::<Header>();

/// No record is longer, padding included.
pub(crate) const MAX_RECORD_LEN: u64 =
    (HEADER_LEN + EXPIRES_AT_LEN + MAX_KEY_LEN + MAX_ALIGN - 1 + MAX_VALUE_LEN) as u64;

const CRC_LEN: usize = 4;
const EXPIRES_AT_LEN: usize = 8;
const KEY_LEN_MASK: u32 = MAX_KEY_LEN as u32;

const FLAG_VALUE: u32 = 1 << 24;
const BATCH_SHIFT: u32 = 25;
const FLAG_EXPIRES: u32 = 1 << 27;
const ALIGN_SHIFT: u32 = 28;
const FLAG_RESERVED: u32 = 1 << 31;
/// Flags that change nothing of where the parts of a record lie.
const FLAGS_IN_PLACE: u32 = FLAG_VALUE | 3 << BATCH_SHIFT;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct Header {
    crc32: U32,
    timestamp: U64,
    key_size: U32,
    value_size: U32,
}

/// A record's place in an atomic batch. The discriminants are the format's two bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum BatchPart {
    /// Not of a batch.
    #[default]
    Single = 0,
    /// Opens a batch.
    First = 1,
    /// Neither first nor last.
    Middle = 2,
    /// Ends a batch, which counts from here on.
    Last = 3,
}

impl BatchPart {
    /// That of the `n`th of so many records.
    pub(crate) fn of(n: usize, records: usize) -> Self {
        match n {
            0 if records == 1 => BatchPart::Single,
            0 => BatchPart::First,
            n if n + 1 == records => BatchPart::Last,
            _ => BatchPart::Middle,
        }
    }

    /// Whether nothing of its batch comes after it.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, BatchPart::Single | BatchPart::Last)
    }
}

/// The alignment of a value's offset in the file: a power of two from 2 to [`MAX_ALIGN`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Alignment {
    log2: u8,
}

impl Alignment {
    /// The alignment of `bytes`, or `None` unless it is a power of two from 2 to [`MAX_ALIGN`].
    pub fn new(bytes: usize) -> Option<Self> {
        (bytes.is_power_of_two() && (2..=MAX_ALIGN).contains(&bytes))
            .then(|| Alignment { log2: bytes.trailing_zeros() as u8 })
    }

    /// In bytes.
    pub fn bytes(self) -> usize {
        1 << self.log2
    }
}

/// A record's content, as it is written and as it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Microseconds since the Unix epoch when it was written. Never decides which record is newer.
    pub timestamp: u64,
    /// At most [`MAX_KEY_LEN`] bytes; may be empty.
    pub key: &'a [u8],
    /// At most [`MAX_VALUE_LEN`] bytes.
    pub value: &'a [u8],
    /// Flag VALUE: an empty `value` is a value. Without it an empty one makes a tombstone.
    pub marked_value: bool,
    /// Its place in an atomic batch.
    pub batch: BatchPart,
    /// Microseconds since the Unix epoch from which on the key is absent.
    pub expires_at: Option<u64>,
    /// The alignment asked for the value.
    pub align: Option<Alignment>,
}

/// The length in bytes of records that lie one behind the other from `offset` on.
pub(crate) fn run_len_at(records: &[Record<'_>], offset: u64) -> u64 {
    records.iter().fold(offset, |end, record| end + record.len_at(end)) - offset
}

impl<'a> Record<'a> {
    /// The plain record of a value. An empty value makes it a tombstone: the rule of the format.
    pub fn plain(timestamp: u64, key: &'a [u8], value: &'a [u8]) -> Self {
        Record {
            timestamp,
            key,
            value,
            marked_value: false,
            batch: BatchPart::Single,
            expires_at: None,
            align: None,
        }
    }

    /// The plain record of a deletion.
    pub fn tombstone(timestamp: u64, key: &'a [u8]) -> Self {
        Record::plain(timestamp, key, &[])
    }

    /// With the alignment and the expiry of the record whose value it changes.
    pub(crate) fn in_place_of(self, old: &Record<'_>) -> Self {
        Record { align: old.align, expires_at: old.expires_at, ..self }
    }

    /// As copies are written: a record that counts needs no batch any more.
    pub(crate) fn as_single(self) -> Self {
        Record { batch: BatchPart::Single, ..self }
    }

    /// Whether it deletes its key.
    pub fn is_tombstone(&self) -> bool {
        self.value.is_empty() && !self.marked_value
    }

    /// Refuses what the format cannot hold.
    pub fn check_sizes(&self) -> Result<()> {
        if self.key.len() > MAX_KEY_LEN {
            return Err(Error::KeyTooLong { len: self.key.len(), max: MAX_KEY_LEN });
        }
        if self.value.len() > MAX_VALUE_LEN {
            return Err(Error::ValueTooLong { len: self.value.len(), max: MAX_VALUE_LEN });
        }
        Ok(())
    }

    /// Its length in bytes when it begins at `offset` of a file.
    pub fn len_at(&self, offset: u64) -> u64 {
        self.layout(offset).len as u64
    }

    /// The length of everything before the value, when it begins at `offset`.
    pub(crate) fn head_len_at(&self, offset: u64) -> usize {
        self.layout(offset).value_start
    }

    /// Writes it as it stands at `offset` of a file. `out` is exactly `len_at(offset)` bytes long.
    /// Returns the checksum that it wrote. Sizes must have passed [`Record::check_sizes`].
    pub fn encode_into(&self, offset: u64, out: &mut [u8]) -> u32 {
        let layout = self.layout(offset);
        let (head, value) = out.split_at_mut(layout.value_start);
        self.fill_head(&layout, head);
        value.copy_from_slice(self.value);
        let crc = crc32fast::hash(&out[CRC_LEN..]);
        out[..CRC_LEN].copy_from_slice(&crc.to_be_bytes());
        crc
    }

    /// As [`Record::encode_into`], without the value: `head` is exactly `head_len_at(offset)` long
    /// and the value's bytes belong right behind it.
    pub(crate) fn encode_head_into(&self, offset: u64, head: &mut [u8]) -> u32 {
        self.fill_head(&self.layout(offset), head);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&head[CRC_LEN..]);
        hasher.update(self.value);
        let crc = hasher.finalize();
        head[..CRC_LEN].copy_from_slice(&crc.to_be_bytes());
        crc
    }

    /// The checksum that it has when it begins at `offset`.
    pub(crate) fn checksum_at(&self, offset: u64) -> u32 {
        self.encode_head_into(offset, &mut vec![0; self.head_len_at(offset)])
    }

    /// All before the value except the CRC.
    fn fill_head(&self, layout: &Layout, head: &mut [u8]) {
        let header = Header {
            crc32: U32::ZERO,
            timestamp: U64::new(self.timestamp),
            key_size: U32::new(self.key.len() as u32 | self.flags()),
            value_size: U32::new(self.value.len() as u32),
        };
        head[..HEADER_LEN].copy_from_slice(header.as_bytes());
        if let Some(expires_at) = self.expires_at {
            head[HEADER_LEN..layout.key_start].copy_from_slice(&expires_at.to_be_bytes());
        }
        let key_end = layout.key_start + self.key.len();
        head[layout.key_start..key_end].copy_from_slice(self.key);
        head[key_end..].fill(0);
    }

    fn flags(&self) -> u32 {
        let mut flags = (self.batch as u32) << BATCH_SHIFT;
        if self.marked_value {
            flags |= FLAG_VALUE;
        }
        if self.expires_at.is_some() {
            flags |= FLAG_EXPIRES;
        }
        if let Some(align) = self.align {
            flags |= u32::from(align.log2) << ALIGN_SHIFT;
        }
        flags
    }

    fn layout(&self, offset: u64) -> Layout {
        Layout::new(self.key.len(), self.value.len(), self.flags(), offset)
    }
}

/// Where the parts of a record lie, relative to its start.
#[derive(Clone, Copy, Debug)]
struct Layout {
    key_start: usize,
    value_start: usize,
    len: usize,
}

impl Layout {
    /// The reserved flag plays no part. No overflow: the parts are bounded by the format.
    #[inline]
    fn new(key_len: usize, value_len: usize, flags: u32, offset: u64) -> Self {
        let expires = if flags & FLAG_EXPIRES != 0 { EXPIRES_AT_LEN } else { 0 };
        let key_start = HEADER_LEN + expires;
        let key_end = key_start + key_len;
        let align = 1u64 << ((flags >> ALIGN_SHIFT) & 7);
        let padding = offset.wrapping_add(key_end as u64).wrapping_neg() & (align - 1);
        let value_start = key_end + padding as usize;
        Layout { key_start, value_start, len: value_start + value_len }
    }
}

/// Where the value lies in the record at the start of `bytes`, if that is a plain record of this very
/// key: no flag that moves its parts, and all there. `None` says nothing more. Its CRC is not checked.
///
/// As few instructions as will do, because it stands on the hottest path; [`Frame`] knows all records.
#[inline(always)]
pub(crate) fn plain_value(bytes: &[u8], key: &[u8]) -> Option<Range<usize>> {
    let (sizes, rest) = plain_sizes(bytes)?;
    // Any other flag would make it another length than a key can have.
    if sizes >> 32 != key.len() as u64 || key.len() > MAX_KEY_LEN {
        return None;
    }
    let (own_key, behind) = rest.split_at_checked(key.len())?;
    let value_len = (sizes & u64::from(u32::MAX)) as usize;
    let start = HEADER_LEN + key.len();
    (value_len <= behind.len() && is_same(own_key, key)).then_some(start..start + value_len)
}

/// Where the key ends and where the value does, which follows it, in the record at the start of `bytes`, if that is
/// one of those that [`plain_value`] knows.
#[inline(always)]
pub(crate) fn plain_ends(bytes: &[u8]) -> Option<(usize, usize)> {
    let (sizes, rest) = plain_sizes(bytes)?;
    let (key_len, value_len) = (sizes >> 32, sizes & u64::from(u32::MAX));
    // As above. Both lengths are of 32 bits.
    if key_len > MAX_KEY_LEN as u64 || key_len + value_len > rest.len() as u64 {
        return None;
    }
    let key_end = HEADER_LEN + key_len as usize;
    Some((key_end, key_end + value_len as usize))
}

/// The two sizes as one word, without the flags that move nothing, and what is behind the header.
#[inline(always)]
fn plain_sizes(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let (_, sizes) = header.split_last_chunk::<8>()?;
    Some((u64::from_be_bytes(*sizes) & !(u64::from(FLAGS_IN_PLACE) << 32), rest))
}

/// Whether two keys of one length are the same. Most are short: comparing words in place takes fewer
/// instructions than a call.
#[inline(always)]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    match (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a_last), Some(b_last)) if a.len() <= 64 => {
            let words = std::iter::zip(a.as_chunks::<8>().0, b.as_chunks::<8>().0);
            a_last == b_last && words.into_iter().all(|(a, b)| a == b)
        }
        _ => a == b,
    }
}

/// The sizes and flags of a record as its header has them: all that its length follows from, and whether it deletes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sizes {
    /// With the flags.
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
}

impl Sizes {
    #[inline]
    pub(crate) fn key_len(self) -> usize {
        (self.key_size & KEY_LEN_MASK) as usize
    }

    #[inline]
    pub(crate) fn expires(self) -> bool {
        self.key_size & FLAG_EXPIRES != 0
    }

    #[inline]
    pub(crate) fn is_tombstone(self) -> bool {
        self.value_size == 0 && self.key_size & FLAG_VALUE == 0
    }

    /// The record's length when it begins at `offset`.
    #[inline]
    pub(crate) fn len_at(self, offset: u64) -> u64 {
        let flags = self.key_size & !KEY_LEN_MASK;
        Layout::new(self.key_len(), self.value_size as usize, flags, offset).len as u64
    }
}

/// A record as it lies in a file: its bytes are all there, its CRC not checked unless
/// [`Frame::verify`] is asked.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    header: &'a Header,
    /// The whole record.
    bytes: &'a [u8],
    layout: Layout,
    key_len: usize,
    flags: u32,
}

impl<'a> Frame<'a> {
    /// Reads the frame at the start of `bytes`, which begin at `offset` of a file and may go on
    /// behind the record.
    #[inline]
    pub fn read(bytes: &'a [u8], offset: u64) -> std::result::Result<Self, Damage> {
        let Ok((header, _)) = Header::ref_from_prefix(bytes) else {
            return Err(Damage::Length { expected: HEADER_LEN as u64, found: bytes.len() as u64 });
        };
        let key_size = header.key_size.get();
        let (key_len, flags) = ((key_size & KEY_LEN_MASK) as usize, key_size & !KEY_LEN_MASK);
        let layout = Layout::new(key_len, header.value_size.get() as usize, flags, offset);
        match bytes.get(..layout.len) {
            Some(bytes) => Ok(Frame { header, bytes, layout, key_len, flags }),
            None => Err(Damage::Length { expected: layout.len as u64, found: bytes.len() as u64 }),
        }
    }

    /// The whole record's length in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // A frame is never empty.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The key's bytes.
    #[inline]
    pub fn key(&self) -> &'a [u8] {
        &self.bytes[self.layout.key_start..self.layout.key_start + self.key_len]
    }

    /// Where the key's bytes lie within the record.
    #[inline]
    pub fn key_range(&self) -> Range<usize> {
        self.layout.key_start..self.layout.key_start + self.key_len
    }

    /// Where the value's bytes lie within the record.
    #[inline]
    pub fn value_range(&self) -> Range<usize> {
        self.layout.value_start..self.bytes.len()
    }

    /// Whether the record deletes its key.
    #[inline]
    pub fn is_tombstone(&self) -> bool {
        self.value_range().is_empty() && self.flags & FLAG_VALUE == 0
    }

    #[inline]
    pub(crate) fn sizes(&self) -> Sizes {
        let Header { key_size, value_size, .. } = self.header;
        Sizes { key_size: key_size.get(), value_size: value_size.get() }
    }

    /// When it was written, in microseconds since the epoch.
    #[inline]
    pub fn timestamp(&self) -> u64 {
        self.header.timestamp.get()
    }

    /// When the record ends to count, in microseconds since the epoch.
    #[inline]
    pub fn expires_at(&self) -> Option<u64> {
        if self.flags & FLAG_EXPIRES == 0 {
            return None;
        }
        let bytes = self.bytes.get(HEADER_LEN..HEADER_LEN + EXPIRES_AT_LEN)?;
        bytes.try_into().ok().map(u64::from_be_bytes)
    }

    /// Whether it no longer counts at `now`, in microseconds since the epoch.
    #[inline]
    pub(crate) fn is_expired(&self, now: impl FnOnce() -> u64) -> bool {
        self.expires_at().is_some_and(|at| at <= now())
    }

    /// The record's place in a batch.
    pub fn batch(&self) -> BatchPart {
        match (self.flags >> BATCH_SHIFT) & 3 {
            0 => BatchPart::Single,
            1 => BatchPart::First,
            2 => BatchPart::Middle,
            _ => BatchPart::Last,
        }
    }

    /// The stored checksum.
    pub fn checksum(&self) -> u32 {
        self.header.crc32.get()
    }

    /// Checks the CRC, then that no flag is unknown.
    pub fn verify(&self) -> std::result::Result<(), Damage> {
        let (expected, found) = (self.checksum(), crc32fast::hash(&self.bytes[CRC_LEN..]));
        if expected != found {
            return Err(Damage::Checksum { expected, found });
        }
        if self.flags & FLAG_RESERVED != 0 {
            return Err(Damage::ReservedFlag);
        }
        Ok(())
    }

    /// Whether its bytes, as a single's, are the same wherever in a file it stands.
    pub(crate) fn is_movable(&self) -> bool {
        self.flags & (3 << BATCH_SHIFT | 7 << ALIGN_SHIFT) == 0
    }

    /// Copies it to `out`, which is exactly as long, and answers the checksum that the copy ought to have. It is movable.
    pub(crate) fn copy_into(&self, out: &mut [u8]) -> u32 {
        out.copy_from_slice(self.bytes);
        crc32fast::hash(&out[CRC_LEN..])
    }

    /// What the record says. The reserved flag is not part of it.
    pub fn record(&self) -> Record<'a> {
        let log2 = ((self.flags >> ALIGN_SHIFT) & 7) as u8;
        Record {
            timestamp: self.timestamp(),
            key: self.key(),
            value: &self.bytes[self.value_range()],
            marked_value: self.flags & FLAG_VALUE != 0,
            batch: self.batch(),
            expires_at: self.expires_at(),
            align: (log2 != 0).then_some(Alignment { log2 }),
        }
    }
}
