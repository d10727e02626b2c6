//! The key directory made anew of sealed segments: from their hints, or from their records where there is none.
//!
//! What is said of each record is an item: its key's hash, its place, and where its entry is in the bytes of the hint, or
//! in those that are made like one of the segment's records. Threads read segments, each for itself, and sort the items
//! into partitions by their hashes; then each partition by itself, where of each key the item with the
//! highest place counts: places are in the order of the log, as segments were given their slots in that of their ids. Keys are compared in
//! the entries, so that no segment is looked at that has a hint.
//!
//! Must not know: where hints come from, what is done with what they say.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::sealed::{Walked, walk_sealed};
use crate::error::Result;
use crate::fs::Whole;
use crate::hint::{self, Body, Entry};
use crate::keydir::KeyHasher;
use crate::location::{Location, SegmentSlot};
use crate::manifest::SealedEntry;
use crate::record::Frame;
use crate::segment::{Amount, Segment};
use crate::threads;

/// Records of a partition, about: their items fit into a core's second-level cache. Few in tests, here and below, so that
/// there are several.
const PARTITION: u64 = if cfg!(any(test, fuzzing)) { 8 } else { 16 << 10 };
const MAX_PARTITIONS: u64 = 1 << 12;
/// Fewer records are read by one thread.
const RECORDS_OF_A_THREAD: u64 = if cfg!(any(test, fuzzing)) { 4 } else { 20_000 };

/// A sealed segment that is to be loaded.
pub(super) struct Source {
    pub(super) slot: SegmentSlot,
    pub(super) segment: Arc<Segment>,
    pub(super) entry: SealedEntry,
    /// What may be its hint.
    pub(super) hint: Option<Whole>,
}

/// How segments are loaded.
pub(super) struct Loader {
    pub(super) hasher: KeyHasher,
    /// What is bad is an error.
    pub(super) strict: bool,
    /// A segment that is not the one that the manifest means is an error.
    pub(super) checks_listed: bool,
    /// Locations say that records are checked also where only a hint has been read.
    pub(super) trusting: bool,
    /// Each key that has an entry is wanted, too.
    pub(super) with_keys: bool,
}

/// What segments hold that counts.
#[derive(Default)]
pub(super) struct Loaded {
    /// Hashes and locations, in runs, all in ascending order of hashes.
    pub(super) runs: Vec<Vec<(u64, Location)>>,
    pub(super) keys: Vec<Box<[u8]>>,
}

/// Segments that have been read, on the way to what counts.
pub(super) struct Loading {
    loader: Loader,
    threads: usize,
    bits: u32,
    /// By partitions, from each thread.
    items: Vec<Vec<Vec<Item>>>,
    segments: BySlot,
    /// Of each segment, if it was read itself.
    pub(super) walked: Vec<Option<Walked>>,
}

/// What is said of a record.
#[derive(Clone, Copy)]
struct Item {
    hash: u64,
    /// The bits of its location, not verified.
    place: u64,
    /// Where its entry is, and the marks below.
    entry: u64,
}

impl Item {
    #[inline]
    fn location(&self) -> Option<Location> {
        Location::from_bits(self.place)
    }
}

const TOMBSTONE: u64 = 1 << 63;
const VERIFIED: u64 = 1 << 62;
const EXPIRES: u64 = 1 << 61;
const ENTRY: u64 = EXPIRES - 1;

/// The entries of a segment.
struct Entries {
    bytes: Bytes,
    walked: Option<Walked>,
}

enum Bytes {
    /// A hint's, and where its entries are in it.
    Hint(Whole, std::ops::Range<usize>),
    Made(Vec<u8>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Bytes::Hint(whole, body) => whole.get(body.clone()).unwrap_or_default(),
            Bytes::Made(bytes) => bytes,
        }
    }
}

/// The first bits of a hash, so many that they number `1 << bits` parts.
#[inline]
fn first_bits(hash: u64, bits: u32) -> usize {
    // A shift by all bits is none.
    hash.checked_shr(u64::BITS - bits).unwrap_or(0) as usize
}

/// Items by the first bits of their hashes.
struct Partitions {
    bits: u32,
    items: Vec<Vec<Item>>,
}

impl Partitions {
    /// For about so many items.
    fn new(bits: u32, items: u64) -> Self {
        let each = (items >> bits) as usize;
        // Hashes are even enough that few have to grow.
        let items = (0..1 << bits).map(|_| Vec::with_capacity(each + each / 8)).collect();
        Partitions { bits, items }
    }

    #[inline]
    fn push(&mut self, item: Item) {
        self.items[first_bits(item.hash, self.bits)].push(item);
    }
}

/// Sorts the items of a partition, and keeps its memory for the next.
#[derive(Default)]
struct Sorter {
    items: Vec<Item>,
    /// Where the items of the next bits begin.
    starts: Vec<u32>,
}

impl Sorter {
    /// All items of a partition of so many bits, by hash and place. First to where their next bits say, which leaves little to
    /// be sorted.
    fn sort(&mut self, bits: u32, parts: &[Vec<Item>]) -> &[Item] {
        let count: usize = parts.iter().map(Vec::len).sum();
        let bucket_bits = count.max(1).ilog2();
        let bucket =
            |item: &Item| first_bits(item.hash.checked_shl(bits).unwrap_or(0), bucket_bits);
        self.starts.clear();
        self.starts.resize((1 << bucket_bits) + 1, 0);
        parts.iter().flatten().for_each(|item| self.starts[bucket(item) + 1] += 1);
        for n in 1..self.starts.len() {
            self.starts[n] += self.starts[n - 1];
        }
        let nothing = Item { hash: 0, place: 0, entry: 0 };
        self.items.clear();
        self.items.resize(count, nothing);
        for item in parts.iter().flatten() {
            let start = &mut self.starts[bucket(item)];
            self.items[*start as usize] = *item;
            *start += 1;
        }
        // Each start is where the next one was.
        let mut start = 0;
        for &end in &self.starts {
            if end - start > 1 {
                let bucket = &mut self.items[start as usize..end as usize];
                bucket.sort_unstable_by_key(|item| (item.hash, item.place));
            }
            start = end.max(start);
        }
        &self.items
    }
}

impl Loader {
    /// Reads segments, which come in the order of their ids and so of their slots.
    pub(super) fn begin(self, sources: Vec<Source>) -> Result<Loading> {
        let records: u64 = sources.iter().map(|source| source.entry.records).sum();
        let threads = threads::available() as u64;
        let threads = threads.min(records / RECORDS_OF_A_THREAD).max(1) as usize;
        let bits = (records / PARTITION).clamp(1, MAX_PARTITIONS).ilog2();

        let sources: Vec<_> = sources.into_iter().map(|source| Mutex::new(Some(source))).collect();
        let next = AtomicUsize::new(0);
        let read = threads::together(threads, || {
            let mut items = Partitions::new(bits, records / threads as u64);
            let mut read = Vec::new();
            while let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
                let source = source.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(source) = source {
                    let (slot, segment) = (source.slot, Arc::clone(&source.segment));
                    read.push((slot, segment, self.read(source, &mut items)));
                }
            }
            (items.items, read)
        });
        let mut items: Vec<Vec<Vec<Item>>> = vec![Vec::new(); 1 << bits];
        let mut all = Vec::with_capacity(sources.len());
        for (of_thread, read) in read {
            items.iter_mut().zip(of_thread).for_each(|(all, of_thread)| all.push(of_thread));
            all.extend(read);
        }
        all.sort_by_key(|(slot, ..)| slot.index());
        let (segments, walked) = (BySlot::default(), Vec::with_capacity(all.len()));
        let mut loading = Loading { loader: self, threads, bits, items, segments, walked };
        for (slot, segment, read) in all {
            let Entries { bytes, walked } = read?;
            loading.segments.add(slot, segment, bytes);
            loading.walked.push(walked);
        }
        Ok(loading)
    }

    /// Reads a segment's hint, if that is good, or the segment itself.
    fn read(&self, source: Source, items: &mut Partitions) -> Result<Entries> {
        let Source { slot, segment, entry, hint } = source;
        if let Some(whole) = hint {
            match Body::read(&whole, &entry) {
                Ok(body) => {
                    self.read_hint(slot, &segment, &body, items);
                    let bytes = hint::place_of(&whole, &body);
                    return Ok(Entries { bytes: Bytes::Hint(whole, bytes), walked: None });
                }
                Err(damage) => {
                    let (path, segment) =
                        (whole.region().path().display(), segment.path().display());
                    tracing::warn!(%path, %segment, %damage, "no hint of its segment, which is read itself");
                }
            }
        }
        self.read_segment(slot, &segment, &entry, items)
    }

    fn read_hint(
        &self,
        slot: SegmentSlot,
        segment: &Segment,
        body: &Body<'_>,
        items: &mut Partitions,
    ) {
        let (mut all, mut dead) = (Amount::default(), Amount::default());
        let verified = if self.trusting { VERIFIED } else { 0 };
        for placed in hint::entries(body.bytes()) {
            let (entry, offset) = (placed.entry, placed.offset);
            all.add(Amount::record(placed.len));
            let mut marks = verified;
            if entry.sizes.is_tombstone() {
                marks |= TOMBSTONE;
                dead.add(Amount::record(placed.len));
            } else if entry.expires_at.is_some() {
                marks |= EXPIRES;
                segment.usage().add_expiring(entry.expires_at, placed.len);
            }
            // A listed segment is no longer than a location can say, or its hint would not fit it.
            if let Some(place) = Location::new(slot, offset) {
                let hash = self.hasher.hash(entry.key);
                items.push(Item { hash, place: place.bits(), entry: placed.at as u64 | marks });
            }
        }
        // So far, what is dead are tombstones.
        segment.usage().add_all(all, dead, dead.bytes);
        segment.usage().note_timestamp(body.timestamp);
    }

    fn read_segment(
        &self,
        slot: SegmentSlot,
        segment: &Segment,
        entry: &SealedEntry,
        items: &mut Partitions,
    ) -> Result<Entries> {
        let whole = segment.read_all()?;
        let mut bytes = Vec::new();
        let walked =
            walk_sealed(slot, segment, &whole, self.strict, |frame: &Frame<'_>, location| {
                let mut marks = 0;
                if !location.is_verified() {
                    // Bad: reading its key has to answer so, whatever it was.
                } else if frame.is_tombstone() {
                    marks |= TOMBSTONE;
                    segment.usage().add_tombstone(frame.len());
                } else {
                    marks |= VERIFIED;
                }
                if marks & TOMBSTONE == 0 && frame.expires_at().is_some() {
                    marks |= EXPIRES;
                    segment.usage().add_expiring(frame.expires_at(), frame.len());
                }
                let hash = self.hasher.hash(frame.key());
                let place = location.unverified().bits();
                items.push(Item { hash, place, entry: bytes.len() as u64 | marks });
                hint::push(&mut bytes, frame);
            })?;
        if self.checks_listed {
            walked.check_listed(segment.path(), entry)?;
        }
        Ok(Entries { bytes: Bytes::Made(bytes), walked: Some(walked) })
    }
}

impl Loading {
    /// Reads one more segment, which comes behind the others.
    pub(super) fn add(&mut self, source: Source) -> Result<Option<Walked>> {
        let (slot, segment) = (source.slot, Arc::clone(&source.segment));
        let mut items = Partitions::new(self.bits, source.entry.records);
        let Entries { bytes, walked } = self.loader.read(source, &mut items)?;
        self.items.iter_mut().zip(items.items).for_each(|(all, items)| all.push(items));
        self.segments.add(slot, segment, bytes);
        Ok(walked)
    }

    /// What counts.
    pub(super) fn end(mut self) -> Loaded {
        let items = std::mem::take(&mut self.items).into_iter();
        let items: Vec<_> = items.map(|items| Mutex::new(Some(items))).collect();
        let next = AtomicUsize::new(0);
        let merged = threads::together(self.threads, || {
            let (mut merged, mut sorter) = (Vec::new(), Sorter::default());
            loop {
                let partition = next.fetch_add(1, Ordering::Relaxed);
                let Some(items) = items.get(partition) else { return merged };
                let items = items.lock().unwrap_or_else(PoisonError::into_inner).take();
                let items = sorter.sort(self.bits, &items.unwrap_or_default());
                merged.push((partition, self.merge(items)));
            }
        });
        let mut merged: Vec<_> = merged.into_iter().flatten().collect();
        merged.sort_by_key(|(partition, _)| *partition);
        let mut loaded = Loaded::default();
        for (_, Merged { run, keys }) in merged {
            loaded.runs.push(run);
            loaded.keys.extend(keys);
        }
        loaded
    }

    /// Of each key the newest.
    fn merge(&self, items: &[Item]) -> Merged {
        let segments = &self.segments;
        let mut merged = Merged { run: Vec::with_capacity(items.len()), keys: Vec::new() };
        let mut stale = Stale { segments, dead: vec![Amount::default(); segments.list.len()] };
        let mut keys = Vec::new();
        for equal in items.chunk_by(|a, b| a.hash == b.hash) {
            match equal {
                [item] => self.take(item, &mut merged),
                _ => self.merge_equal(equal, &mut keys, &mut stale, &mut merged),
            }
        }
        stale.count();
        // Where most is stale, what is left is small.
        merged.run.shrink_to_fit();
        merged
    }

    /// Of one hash, in the order of the log. Its keys, nearly always one, are noted meanwhile.
    fn merge_equal<'s>(
        &self,
        items: &[Item],
        keys: &mut Vec<&'s [u8]>,
        stale: &mut Stale<'s>,
        merged: &mut Merged,
    ) {
        let segments = stale.segments;
        keys.clear();
        for item in items.iter().rev() {
            let Some(entry) = segments.entry(item) else { continue };
            if !keys.contains(&entry.key) {
                keys.push(entry.key);
                self.take(item, merged);
            } else if item.entry & TOMBSTONE == 0 {
                stale.add(item, &entry);
            }
        }
    }

    /// The newest record of its key.
    #[inline]
    fn take(&self, item: &Item, merged: &mut Merged) {
        if item.entry & TOMBSTONE != 0 {
            return;
        }
        let Some(place) = item.location() else { return };
        let is_verified = item.entry & VERIFIED != 0;
        merged.run.push((item.hash, if is_verified { place.verified() } else { place }));
        if self.loader.with_keys
            && let Some(entry) = self.segments.entry(item)
        {
            merged.keys.push(entry.key.into());
        }
    }
}

/// What is left of a partition.
struct Merged {
    run: Vec<(u64, Location)>,
    keys: Vec<Box<[u8]>>,
}

/// Segments with what was read of them.
#[derive(Default)]
struct BySlot {
    /// Where each is in the list, by slots.
    places: Vec<Option<usize>>,
    list: Vec<(Arc<Segment>, Bytes)>,
}

impl BySlot {
    fn add(&mut self, slot: SegmentSlot, segment: Arc<Segment>, bytes: Bytes) {
        if self.places.len() <= slot.index() {
            self.places.resize(slot.index() + 1, None);
        }
        self.places[slot.index()] = Some(self.list.len());
        self.list.push((segment, bytes));
    }

    fn place(&self, item: &Item) -> Option<usize> {
        *self.places.get(item.location()?.slot().index())?
    }

    fn entry(&self, item: &Item) -> Option<Entry<'_>> {
        let (_, bytes) = &self.list[self.place(item)?];
        let (entry, _) = hint::entry(bytes.get(), (item.entry & ENTRY) as usize)?;
        Some(entry)
    }
}

/// Records that others supersede, by segments.
struct Stale<'a> {
    segments: &'a BySlot,
    dead: Vec<Amount>,
}

impl Stale<'_> {
    fn add(&mut self, item: &Item, entry: &Entry<'_>) {
        let (Some(place), Some(at)) = (self.segments.place(item), item.location()) else { return };
        let len = entry.sizes.len_at(at.offset());
        if item.entry & EXPIRES != 0 {
            self.segments.list[place].0.usage().add_stale(entry.expires_at, len);
        } else {
            self.dead[place].add(Amount::record(len));
        }
    }

    fn count(self) {
        for ((segment, _), dead) in self.segments.list.iter().zip(self.dead) {
            segment.usage().add_all(Amount::default(), dead, 0);
        }
    }
}
