//! Every way to read against a model: [`Store::get`], [`Store::get_many`] and [`Reader`], and what a
//! reader holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::hazards::{reopen, segment, spoil};
use super::support::{Machine, encode};
use crate::error::Error;
use crate::fs::Region;
use crate::options::{Durability, EmptyValues, ReadMode, Verify};
use crate::reader::Reader;
use crate::record::{Alignment, BatchPart, Frame, Record, plain_ends, plain_value};
use crate::store::Store;

/// Random runs; `PROPTEST_CASES` may ask for more.
const CASES: u32 = 100;
/// Keys of a run, and as many of which no record is ever written.
const KEYS: usize = 12;
/// Times at which records are there, and have expired.
const SOON: u64 = 3000;
const LATER: u64 = 4000;

const MODES: [ReadMode; 2] = [ReadMode::Mapped, ReadMode::Copy];

#[derive(Clone, Debug)]
enum Step {
    Put {
        key: usize,
        len: usize,
        align: usize,
    },
    Delete {
        key: usize,
    },
    Flush,
    Compact,
    Reopen,
    Refresh,
    /// What expires, does.
    Later,
    Read {
        keys: Vec<usize>,
    },
}

#[derive(Clone, Debug)]
struct Setup {
    segment_size: u64,
    read_mode: ReadMode,
    verify: Verify,
    durability: Durability,
    hash_mask: u64,
    empty_values: EmptyValues,
    keys: Vec<Vec<u8>>,
    /// Of records that are there before the store is opened: key, length, time of expiry, batch.
    bare: Vec<(usize, usize, Option<u64>, bool)>,
}

/// Keys of few lengths that differ in one byte or two, so that a comparison that misses a byte is
/// seen to.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![
        2 => prop::sample::select(vec![0usize, 1, 8, 9, 16, 63, 64, 65]),
        1 => 1usize..9,
        1 => 9usize..71,
    ];
    (len, any::<prop::sample::Index>(), b'a'..=b'c').prop_map(|(len, at, byte)| {
        let mut key = vec![b'a'; len];
        if len > 0 {
            key[at.index(len)] = byte;
        }
        key
    })
}

fn setup() -> impl Strategy<Value = Setup> {
    let segment_size = prop_oneof![64u64..900, 10_000u64..2_000_000];
    let verify = prop::sample::select(vec![Verify::Once, Verify::Always, Verify::Never]);
    let durability = prop::sample::select(vec![Durability::Buffered, Durability::Flushed]);
    let hash_mask = prop::sample::select(vec![u64::MAX, 3, 0]);
    let empty_values = prop::sample::select(vec![EmptyValues::Stored, EmptyValues::Delete]);
    let expires_at = prop::sample::select(vec![None, Some(1), Some(SOON), Some(u64::MAX)]);
    let bare = vec((0..KEYS, 0usize..50, expires_at, any::<bool>()), 0..8);
    let read_mode = prop::sample::select(MODES.to_vec());
    let how = (segment_size, read_mode, verify, durability, hash_mask, empty_values);
    (how, vec(key(), 2 * KEYS), bare).prop_map(|(how, keys, bare)| {
        let (segment_size, read_mode, verify, durability, hash_mask, empty_values) = how;
        Setup { segment_size, read_mode, verify, durability, hash_mask, empty_values, keys, bare }
    })
}

fn step() -> impl Strategy<Value = Step> {
    // The last ones are written past the append buffer, and larger than it.
    let len = prop_oneof![
        4 => Just(0usize),
        40 => 1usize..60,
        4 => 200usize..9000,
        1 => Just(66_000usize),
        1 => Just(270_000usize),
    ];
    let align = prop_oneof![3 => Just(1usize), 1 => prop::sample::select(vec![2usize, 8, 64, 128])];
    let count = prop::sample::select(vec![0usize, 1, 63, 64, 65, 200]);
    let keys = count.prop_flat_map(|count| vec(0..2 * KEYS, count));
    prop_oneof![
        12 => (0..KEYS, len, align).prop_map(|(key, len, align)| Step::Put { key, len, align }),
        3 => (0..KEYS).prop_map(|key| Step::Delete { key }),
        1 => Just(Step::Flush),
        2 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        1 => Just(Step::Refresh),
        1 => Just(Step::Later),
        6 => keys.prop_map(|keys| Step::Read { keys }),
    ]
}

/// A value of the model.
#[derive(Clone)]
struct Known {
    bytes: Vec<u8>,
    align: usize,
    expires_at: Option<u64>,
}

struct Run {
    machine: Machine,
    setup: Setup,
    store: Store,
    /// Seldom refreshed.
    reader: Reader,
    model: BTreeMap<Vec<u8>, Known>,
    now: u64,
    writes: u8,
}

impl Run {
    fn new(setup: Setup) -> Self {
        let mut machine = Machine::new(setup.segment_size);
        machine.hash_mask = setup.hash_mask;
        machine.options = machine.options.read_mode(setup.read_mode).verify(setup.verify);
        machine.options = machine.options.durability(setup.durability);
        machine.options = machine.options.empty_values(setup.empty_values);
        machine.time.set(2);
        let mut model = BTreeMap::new();
        if !setup.bare.is_empty() {
            let values: Vec<_> = setup.bare.iter().map(|(_, len, ..)| vec![b'b'; *len]).collect();
            let mut records = Vec::new();
            for (&(key, _, expires_at, in_batch), value) in setup.bare.iter().zip(&values) {
                let key = &setup.keys[key];
                let record = Record { expires_at, ..Record::plain(1, key, value) };
                let record = Record { marked_value: true, ..record };
                if in_batch {
                    records.push(Record { batch: BatchPart::First, ..record });
                    records.push(Record { batch: BatchPart::Last, ..record });
                } else {
                    records.push(record);
                }
                model.insert(key.clone(), Known { bytes: value.clone(), align: 1, expires_at });
            }
            machine.write_records("00000001.data", &records);
        }
        let store = machine.open().unwrap();
        let reader = store.reader();
        Run { machine, setup, store, reader, model, now: 2, writes: 0 }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Put { key, len, align } => {
                self.writes = self.writes.wrapping_add(1);
                let key = &self.setup.keys[key];
                // Of colliding records, many are checked at each look-up.
                let len = if self.setup.hash_mask == u64::MAX { len } else { len % 400 };
                let bytes = vec![self.writes; len];
                self.store.put_aligned(key, &bytes, align).unwrap();
                if len == 0 && self.setup.empty_values == EmptyValues::Delete {
                    self.model.remove(key);
                } else {
                    self.model.insert(key.clone(), Known { bytes, align, expires_at: None });
                }
            }
            Step::Delete { key } => {
                let key = &self.setup.keys[key];
                let expected = self.expected(key).is_some();
                assert_eq!(self.store.delete(key).unwrap(), expected);
                self.model.remove(key);
            }
            Step::Flush => self.store.flush().unwrap(),
            Step::Compact => drop(self.store.compact().unwrap()),
            Step::Reopen => self.reopen(),
            Step::Refresh => self.reader.refresh(),
            Step::Later => {
                self.now = LATER;
                self.machine.time.set(LATER);
            }
            Step::Read { keys } => self.read(&keys),
        }
    }

    fn reopen(&mut self) {
        // Both stand for another store meanwhile, so that nothing holds this one.
        let other = Machine::new(64).open().unwrap();
        self.reader = other.reader();
        let store = std::mem::replace(&mut self.store, other);
        self.store = reopen(store, &mut self.machine);
        self.reader = self.store.reader();
    }

    fn expected(&self, key: &[u8]) -> Option<&Known> {
        let known = self.model.get(key)?;
        known.expires_at.is_none_or(|at| at > self.now).then_some(known)
    }

    fn check(&self, how: &str, key: &[u8], found: Option<&[u8]>) {
        let expected = self.expected(key);
        let bytes = expected.map(|known| &known.bytes[..]);
        assert!(found == bytes, "{how}: {found:?} instead of {bytes:?} for {key:?}");
        if let (Some(found), Some(known)) = (found, expected) {
            assert_eq!(found.as_ptr().addr() % known.align, 0, "{how}: {key:?} is misaligned");
        }
    }

    /// Reads these keys in every way there is.
    fn read(&self, keys: &[usize]) {
        let keys: Vec<&[u8]> = keys.iter().map(|&key| &self.setup.keys[key][..]).collect();
        let store = &self.store;
        for key in &keys {
            let found = store.get(key).unwrap();
            self.check("Store::get", key, found.as_deref());
            assert_eq!(store.contains_key(key).unwrap(), found.is_some());
        }
        for (how, reader) in [("an old reader", &self.reader), ("a new reader", &store.reader())] {
            let mut shown = Vec::new();
            reader.get_many(&keys, |n, value| shown.push((n, value))).unwrap();
            assert_eq!(shown.len(), keys.len());
            for (at, (key, (n, value))) in keys.iter().zip(shown).enumerate() {
                assert_eq!(n, at, "{how}: the order is that of the keys");
                self.check(how, key, value);
                let found = reader.get(key).unwrap();
                self.check(how, key, found);
                assert_eq!(reader.contains_key(key).unwrap(), found.is_some());
            }
        }
        let mut many = store.get_many(&keys);
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(many.len(), keys.len() - n);
            let found = many.next().unwrap().unwrap();
            self.check("Store::get_many", key, found.as_deref());
        }
        assert!(many.len() == 0 && many.next().is_none() && many.next().is_none());
        let contained = store.contains_many(&keys).unwrap();
        let expected: Vec<bool> = keys.iter().map(|key| self.expected(key).is_some()).collect();
        assert_eq!(contained, expected);
    }
}

proptest! {
    #![proptest_config(Config {
        cases: Config::default().cases.min(CASES),
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn every_way_to_read_agrees_with_the_model(setup in setup(), steps in vec(step(), 1..50)) {
        let mut run = Run::new(setup);
        steps.into_iter().for_each(|step| run.step(step));
        let all: Vec<usize> = (0..2 * KEYS).collect();
        run.read(&all);
        run.reopen();
        run.read(&all);
    }
}

#[test]
fn the_quick_look_at_a_record_knows_plain_ones_of_its_very_key() {
    for len in 0..=70 {
        let key: Vec<u8> = (0..len).collect();
        let plain = Record::plain(1, &key, b"value");
        let bytes = encode(&[plain, Record::plain(1, b"next", b"other")]);
        let record = Frame::read(&bytes, 0).unwrap();
        assert_eq!(plain_value(&bytes, &key), Some(record.value_range()));
        assert_eq!(plain_ends(&bytes), Some((record.key_range().end, record.value_range().end)));
        for end in 0..record.len() as usize {
            assert_eq!(plain_value(&bytes[..end], &key), None, "cut at {end}");
            assert_eq!(plain_ends(&bytes[..end]), None, "cut at {end}");
        }
        for at in 0..key.len() {
            let mut other = key.clone();
            other[at] ^= 1;
            assert_eq!(plain_value(&bytes, &other), None, "length {len}, byte {at}");
        }
        assert_eq!(plain_value(&bytes, &[&key[..], b"v"].concat()), None);
        assert!(key.is_empty() || plain_value(&bytes, &key[1..]).is_none());
        let in_place = [
            Record { marked_value: true, ..plain },
            Record { batch: BatchPart::First, ..plain },
            Record { batch: BatchPart::Middle, ..plain },
            Record { batch: BatchPart::Last, ..plain },
        ];
        for record in in_place {
            let found = plain_value(&encode(&[record]), &key);
            assert_eq!(found, Some(Frame::read(&bytes, 0).unwrap().value_range()), "{record:?}");
        }
        let flagged = [
            Record { expires_at: Some(1), ..plain },
            Record { align: Alignment::new(2), ..plain },
            Record { align: Alignment::new(16), ..plain },
        ];
        for record in flagged {
            assert_eq!(plain_value(&encode(&[record]), &key), None, "{record:?}");
            assert_eq!(plain_ends(&encode(&[record])), None, "{record:?}");
        }
        let mut reserved = bytes;
        reserved[12] |= 0x80;
        assert_eq!(plain_value(&reserved, &key), None);
        assert_eq!(plain_ends(&reserved), None);
    }
}

/// What the file has not been given looks like a record without a key, whose place is taken.
#[test]
fn a_buffered_record_is_not_looked_for_in_the_file() {
    for read_mode in MODES {
        let mut machine = Machine::new(1 << 20);
        machine.options = machine.options.read_mode(read_mode).verify(Verify::Never);
        machine.options = machine.options.durability(Durability::Buffered);
        let store = machine.open().unwrap();
        let reader = store.reader();
        store.put("", "first").unwrap();
        assert_eq!(reader.get("").unwrap(), Some(&b"first"[..]));
        store.put("", "second").unwrap();
        assert_eq!(reader.get("").unwrap(), Some(&b"second"[..]));
        assert_eq!(store.get("").unwrap().unwrap(), "second");
        assert_eq!(store.get_many(&[""]).next().unwrap().unwrap().unwrap(), "second");
    }
}

#[test]
fn a_reader_sees_what_comes_after_it_and_its_slices_stay_as_they_are() {
    let modes = MODES.into_iter().flat_map(|mode| {
        [Durability::Buffered, Durability::Flushed].map(|durability| (mode, durability))
    });
    for (read_mode, durability) in modes {
        let mut machine = Machine::new(300);
        machine.options = machine.options.read_mode(read_mode).durability(durability);
        let store = machine.open().unwrap();
        let keys: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        let value = |key: &str, round: usize| format!("{key} {round} ").repeat(4);
        keys.iter().for_each(|key| store.put(key, value(key, 0)).unwrap());
        let reader = store.reader();
        let mut held: Vec<(&[u8], String)> = Vec::new();
        for round in 1..30 {
            for (n, key) in keys.iter().enumerate() {
                let before = reader.get(key).unwrap();
                let expected = ((round + n) % 3 != 1 || round == 1).then(|| value(key, round - 1));
                assert_eq!(before, expected.as_deref().map(str::as_bytes));
                held.extend(before.map(|slice| (slice, value(key, round - 1))));
                if (round + n) % 3 == 0 {
                    store.delete(key).unwrap();
                } else {
                    store.put(key, value(key, round)).unwrap();
                }
            }
            match round % 5 {
                1 => drop(store.compact().unwrap()),
                3 => store.flush().unwrap(),
                _ => {}
            }
            let mut many = Vec::new();
            reader.get_many(&keys, |_, value| many.push(value)).unwrap();
            for (n, (key, found)) in keys.iter().zip(many).enumerate() {
                let expected = ((round + n) % 3 != 0).then(|| value(key, round));
                assert_eq!(found, expected.as_deref().map(str::as_bytes));
                held.extend(found.map(|slice| (slice, value(key, round))));
            }
        }
        store.clone().close().unwrap();
        assert!(matches!(reader.get("1"), Err(Error::Closed)));
        assert!(matches!(reader.contains_key("1"), Err(Error::Closed)));
        assert!(matches!(reader.get_many(&keys, |_, _| unreachable!()), Err(Error::Closed)));
        assert!(matches!(store.contains_many(&keys), Err(Error::Closed)));
        let many = store.get_many(&keys);
        assert_eq!(many.len(), keys.len());
        assert_eq!(many.filter(|item| matches!(item, Err(Error::Closed))).count(), keys.len());
        drop(store);
        assert!(held.len() > 300);
        assert!(held.iter().all(|(slice, copy)| *slice == copy.as_bytes()), "{read_mode:?}");
    }
}

#[test]
fn a_reader_pins_what_it_can_see_until_it_is_refreshed_or_dropped() {
    for read_mode in MODES {
        let mut machine = Machine::new(256);
        machine.options = machine.options.read_mode(read_mode);
        let store = machine.open().unwrap();
        let rewrite = || {
            for n in (0..12).chain(0..12) {
                store.put(n.to_string(), "value".repeat(10)).unwrap();
            }
            assert!(store.compact().unwrap().segments_removed > 1);
        };
        let pinned = || store.stats().pinned_segments;
        rewrite();
        assert_eq!(pinned(), 0);
        let mut reader = store.reader();
        rewrite();
        let first = pinned();
        assert!(first > 1 && store.stats().pinned_bytes > 0);
        rewrite();
        assert_eq!(pinned(), first, "what came after it and was never touched is not held");
        // Now it has seen newer ones.
        assert!(reader.get("1").unwrap().is_some());
        assert_eq!(pinned(), first, "these are in use");
        rewrite();
        assert!(pinned() > first);
        reader.refresh();
        assert_eq!(pinned(), 0);
        rewrite();
        let held = reader.get("1").unwrap().unwrap();
        rewrite();
        assert!(pinned() > 0);
        assert_eq!(held, "value".repeat(10).as_bytes());
        drop(reader);
        assert_eq!(pinned(), 0);
    }
}

/// The chunk that a key's record waits in.
fn pin(store: &Store, key: &str) -> Arc<Region> {
    let index = store.index();
    let location = index.keydir.first(index.hash(key.as_bytes())).unwrap();
    let segment = index.segments.get(location.slot()).unwrap();
    assert!(location.offset() >= segment.len(), "it is not in the file yet");
    segment.pin(location.offset()).unwrap().region.into_owned()
}

#[test]
fn hazard_14_a_reader_holds_chunks_of_the_append_buffer_that_it_has_read_from_and_no_others() {
    for read_mode in MODES {
        let mut machine = Machine::new(1 << 30);
        machine.options = machine.options.read_mode(read_mode).durability(Durability::Buffered);
        let store = machine.open().unwrap();
        let mut reader = store.reader();
        // Ten fill more than a chunk.
        let fill = |name: &str| {
            (0..10).for_each(|n| store.put(format!("fill {n}"), vec![0; 40_000]).unwrap());
            store.put(name, name.repeat(3)).unwrap();
            Arc::as_ptr(&pin(&store, name)).addr()
        };
        let first = fill("a");
        assert_eq!(reader.get("absent").unwrap(), None);
        assert_eq!(fill("b"), first, "its memory is used again");
        let held = reader.get("b").unwrap().unwrap();
        assert_eq!(reader.get("b").unwrap(), Some(held));
        let second = fill("c");
        assert_ne!(second, first);
        assert_eq!(fill("d"), second, "of this one it has seen nothing");
        assert_eq!(held, b"bbb");
        let both = [reader.get("d").unwrap().unwrap(), held];
        let third = fill("e");
        assert!(third != second && third != first);
        assert_eq!(both, [b"ddd", b"bbb"]);
        assert!(reader.get("e").unwrap().is_some());
        reader.refresh();
        assert_eq!(fill("f"), third, "a refreshed reader holds none");
    }
}

#[test]
fn a_corrupt_record_is_an_error_however_it_is_read() {
    const BAD: usize = 70;
    let keys: Vec<String> = (0..200).map(|n| format!("key {n}")).collect();
    for (read_mode, verify) in MODES
        .into_iter()
        .flat_map(|mode| [Verify::Once, Verify::Always, Verify::Never].map(|verify| (mode, verify)))
    {
        let mut machine = Machine::new(1 << 20);
        machine.options = machine.options.read_mode(read_mode).verify(verify);
        segment(&machine, |store| {
            keys.iter().for_each(|key| store.put(key, format!("{key}!")).unwrap());
        });
        spoil(&machine, "00000001.data", &format!("{}!", keys[BAD]));
        let store = machine.open().unwrap();
        let reader = store.reader();
        let is_corrupt = |error: &Error| matches!(error, Error::Corrupt { .. });
        for _ in 0..2 {
            assert!(is_corrupt(&store.get(&keys[BAD]).unwrap_err()), "{read_mode:?} {verify:?}");
            assert!(is_corrupt(&store.contains_key(&keys[BAD]).unwrap_err()));
            assert!(is_corrupt(&reader.get(&keys[BAD]).unwrap_err()));
            assert!(is_corrupt(&reader.contains_key(&keys[BAD]).unwrap_err()));
            for from in [0, 6, 7, 69, 70, 71] {
                let keys = &keys[from..];
                let good = |n: usize| format!("{}!", keys[n]);
                let mut shown = 0;
                let read = reader.get_many(keys, |n, value| {
                    assert_eq!((n, value.unwrap()), (shown, good(n).as_bytes()));
                    shown += 1;
                });
                let bad = BAD.checked_sub(from);
                assert_eq!(shown, bad.unwrap_or(keys.len()), "those before it, and no more");
                assert_eq!(read.err().as_ref().map(is_corrupt), bad.map(|_| true));
                let contained = store.contains_many(keys);
                assert_eq!(contained.err().as_ref().map(is_corrupt), bad.map(|_| true));
                let mut found = 0;
                for (n, item) in store.get_many(keys).enumerate() {
                    match item {
                        Err(error) => assert!(is_corrupt(&error) && Some(n) == bad),
                        Ok(value) => assert_eq!(value.unwrap(), good(n).as_str()),
                    }
                    found += 1;
                }
                assert_eq!(found, keys.len(), "it goes on");
            }
        }
        store.put(&keys[BAD], "mended").unwrap();
        assert_eq!(reader.get(&keys[BAD]).unwrap(), Some(&b"mended"[..]));
    }
}

#[test]
fn a_reader_can_be_sent_to_another_thread() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let store = Machine::new(4096).open().unwrap();
    store.put("key", "value").unwrap();
    let reader = send(store.reader());
    drop(store);
    let read = std::thread::spawn(move || reader.get("key").unwrap().map(<[u8]>::to_vec));
    assert_eq!(read.join().unwrap().unwrap(), b"value");
}

#[test]
fn hazard_14_a_reader_of_the_active_segment_does_not_hold_its_chunk_when_it_is_sealed() {
    for read_mode in MODES {
        let mut machine = Machine::new(4096);
        machine.options = machine.options.read_mode(read_mode).durability(Durability::Buffered);
        let store = machine.open().unwrap();
        store.put("key", "value").unwrap();
        let chunk = Arc::downgrade(&pin(&store, "key"));
        let reader = store.reader();
        assert!(chunk.strong_count() > 0);
        store.put("large", vec![0; 5000]).unwrap();
        store.put("next", "segment").unwrap();
        assert!(store.stats().segments > 1);
        assert_eq!(chunk.strong_count(), 0, "{read_mode:?}");
        assert_eq!(reader.get("key").unwrap(), Some(&b"value"[..]));
    }
}

/// No key is this long, but bytes that are looked up may be.
#[test]
fn a_flag_is_never_taken_for_the_length_of_a_longer_key() {
    // The flag of records that expire.
    const FLAG: usize = 1 << 27;
    let mut bytes = vec![0; 20 + FLAG + 8];
    bytes[12..16].copy_from_slice(&(FLAG as u32).to_be_bytes());
    assert_eq!(plain_value(&bytes, &bytes[20..20 + FLAG]), None);
    assert_eq!(plain_ends(&bytes), None);
}
