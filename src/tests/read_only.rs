//! The rules of read-only stores: what they open and refuse, and that they touch nothing. What they see
//! beside a writer is in `following.rs`, `looks.rs` and `taken_back.rs`, what real processes see of each other in `tests/it/read_only.rs`.

use super::hazards::{half_dead, part, segment, spoil};
use super::support::{Contents, Machine, contents, encode, read_mode, value};
use crate::batch::Batch;
use crate::error::{Damage, Error};
use crate::fs::Fs;
use crate::fs::sim::Op;
use crate::options::{ReadMode, Recovery};
use crate::record::{BatchPart, HEADER_LEN, Record};
use crate::store::Store;

/// A read-only store of a process that may not write, and proves that it did not try.
pub(super) struct Reading {
    pub(super) machine: Machine,
    pub(super) store: Store,
}

impl Reading {
    pub(super) fn open(machine: &Machine) -> Result<Self, Error> {
        let machine = machine.read_only();
        let opened = machine.open();
        assert_eq!(machine.fs.trespasses(), 0, "opening writes nothing");
        opened.map(|store| Reading { machine, store })
    }

    pub(super) fn refresh(&self) -> bool {
        let refreshed = self.store.refresh().unwrap();
        assert_eq!(self.machine.fs.trespasses(), 0, "refreshing writes nothing");
        assert!(refreshed.damage.is_empty());
        !refreshed.is_empty()
    }

    pub(super) fn refreshed(&self) -> Contents {
        self.refresh();
        contents(&self.store)
    }
}

#[test]
fn a_tail_that_is_sealed_while_it_is_read_is_read_to_its_end() {
    for n in 0..40 {
        let machine = Machine::new(1 << 20);
        let writer = machine.open().unwrap();
        writer.put("old", "value").unwrap();
        let reading = Reading::open(&machine).unwrap();
        // The file is longer than what is in it from now on, until it is sealed.
        writer.sync().unwrap();
        writer.put("new", "value").unwrap();
        writer.sync().unwrap();
        let expected = contents(&writer);
        let sealing = writer.clone();
        machine.fs.at_look(n, move || sealing.close().unwrap());
        reading.refresh();
        machine.fs.forget_look();
        assert_eq!(contents(&reading.store), expected, "sealed at look {n}");
    }
}

#[test]
fn a_read_only_store_refuses_what_would_change_it() {
    let machine = Machine::new(4096);
    let writer = machine.open().unwrap();
    writer.put("key", "value").unwrap();
    let reading = Reading::open(&machine).unwrap();
    let store = &reading.store;
    let refused: [Result<(), Error>; 9] = [
        store.put("key", "other"),
        store.put("key", ""),
        store.put_aligned("key", "other", 8),
        store.delete("key").map(drop),
        store.write(Batch::new().put("key", "other")),
        store.backup("/machine/backup", |_| std::ops::ControlFlow::Continue(())).map(drop),
        store.compact().map(drop),
        store.flush(),
        store.sync(),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
    }
    assert_eq!(value(store, "key").as_deref(), Some("value"));
    assert_eq!(store.reader().get("key").unwrap(), Some(&b"value"[..]));
    assert!(store.contains_many(&["key"]).unwrap()[0]);
    assert_eq!(store.stats().keys, 1);
    store.warm_up(|_| std::ops::ControlFlow::Continue(())).unwrap();
    store.prefetch(["key"]).unwrap();
    assert!(writer.refresh().unwrap().is_empty(), "a writing store is up to date");
    let other = store.clone();
    reading.store.close().unwrap();
    assert!(matches!(other.refresh(), Err(Error::Closed)));
    assert!(matches!(other.get("key"), Err(Error::Closed)));
    assert_eq!(reading.machine.fs.trespasses(), 0);
    writer.put("key", "the writer never noticed").unwrap();
}

/// A data file with something behind its records.
fn tail_file(machine: &Machine, name: &str, records: &[Record<'_>], behind: &[u8]) {
    let mut bytes = encode(records);
    bytes.extend_from_slice(behind);
    machine.fs.write(&Machine::path(name), &bytes);
}

#[test]
fn a_store_that_is_missing_is_not_made() {
    let machine = Machine::new(4096);
    assert!(matches!(Reading::open(&machine), Err(Error::NotFound { .. })));
    machine.fs.write(&Machine::path("LOCK"), b"");
    assert!(matches!(Reading::open(&machine), Err(Error::NotFound { .. })));
    assert_eq!(machine.fs.names(Machine::dir()), ["LOCK"]);
}

#[test]
fn what_an_opening_that_may_write_would_tidy_up_stays_as_it_is() {
    let machine = Machine::new(512);
    segment(&machine, |store| store.put("key", "x".repeat(300)).unwrap());
    machine.write_records("00000000.data", &[Record::plain(1, b"key", b"orphan")]);
    machine.fs.write(&Machine::path("00000009.data.tmp"), b"half-written");
    tail_file(&machine, "00000002.data", &[Record::plain(1, b"tail", b"value")], b"torn");
    let all = |machine: &Machine| {
        let names = machine.fs.names(Machine::dir()).into_iter();
        names.map(|name| (machine.fs.read(&Machine::path(&name)), name)).collect::<Vec<_>>()
    };
    let before = all(&machine);
    let operations = machine.fs.operations();
    let reading = Reading::open(&machine).unwrap();
    assert_eq!(value(&reading.store, "key").unwrap(), "x".repeat(300));
    assert_eq!(value(&reading.store, "tail").as_deref(), Some("value"));
    assert_eq!(reading.store.recovery_report().records, 2);
    assert!(reading.store.recovery_report().is_clean());
    assert!(!reading.refresh());
    reading.store.close().unwrap();
    assert_eq!((all(&machine), machine.fs.operations()), (before, operations));
}

/// As it may while the manifest is replaced: the next one's own name is there still.
#[test]
fn a_listing_that_lacks_the_manifest_does_not_make_the_files_bare() {
    for listings in 1..4 {
        let machine = Machine::new(256);
        let hide = || (0..listings).for_each(|_| machine.fs.fail_next(Op::List, "MANIFEST", 5));
        machine.open().unwrap().close().unwrap();
        hide();
        assert_eq!(Reading::open(&machine).unwrap().store.len(), 0);
        let expected = half_dead(&machine);
        machine.write_records("00000000.data", &[Record::plain(1, b"f", b"an orphan")]);
        machine.fs.write(&Machine::path("MANIFEST.tmp"), b"");
        hide();
        let reading = Reading::open(&machine).unwrap();
        assert_eq!(contents(&reading.store), expected);
        hide();
        assert!(!reading.refresh());
        machine.fs.disarm();
    }
}

/// The tail is cut, and filled up with zeros as a preallocated file is, at every byte of its last record.
#[test]
fn a_record_counts_from_its_last_byte_on() {
    for zeros in [0, 1, 100_000] {
        let machine = Machine::new(4096);
        machine.open().unwrap().close().unwrap();
        let records = [Record::plain(1, b"first", b"1"), Record::plain(2, b"key", b"value")];
        let (all, first) = (encode(&records), encode(&records[..1]).len());
        let mut image = all[..first].to_vec();
        image.resize(first + zeros, 0);
        machine.fs.write(&Machine::path("00000001.data"), &image);
        let reading = Reading::open(&machine).unwrap();
        for cut in first..all.len() {
            let mut image = all[..cut].to_vec();
            image.resize(cut.max(first + zeros), 0);
            machine.fs.write(&Machine::path("00000001.data"), &image);
            assert!(!reading.refresh(), "cut at {cut}");
            assert_eq!(reading.store.len(), 1);
        }
        let mut image = all;
        image.resize(image.len().max(first + zeros), 0);
        machine.fs.write(&Machine::path("00000001.data"), &image);
        assert!(reading.refresh());
        assert_eq!(value(&reading.store, "key").as_deref(), Some("value"));
    }
}

#[test]
fn a_batch_counts_from_its_last_record_on_however_much_it_is() {
    use BatchPart::{First, Last, Middle};
    let machine = Machine::new(4096);
    machine.open().unwrap().close().unwrap();
    // More than is read at once, so that it is seen piece by piece too.
    let record = |n: u32| {
        let batch = match n {
            0 => First,
            4999 => Last,
            _ => Middle,
        };
        let key = format!("key {n}");
        encode(&[Record { batch, ..Record::plain(1, key.as_bytes(), b"value") }])
    };
    let single = encode(&[part(BatchPart::Single, "single")]);
    let mut image = single.clone();
    let path = Machine::path("00000001.data");
    machine.fs.write(&path, &image);
    let reading = Reading::open(&machine).unwrap();
    for n in 0..5000 {
        let record = record(n);
        image.extend_from_slice(&record);
        if n < 10 || n % 1000 == 0 || n == 4998 {
            // Whatever stands behind it, zeros or half a record.
            for behind in [&[][..], &[0; 300_000], &record[..record.len() - 1]] {
                machine.fs.write(&path, &[&image[..], behind].concat());
                assert!(!reading.refresh(), "{n} records");
                assert_eq!(reading.store.len(), 1);
                assert_eq!(Reading::open(&machine).unwrap().store.len(), 1);
            }
        }
    }
    machine.fs.write(&path, &image);
    assert_eq!(Reading::open(&machine).unwrap().store.len(), 5001);
    assert_eq!(reading.store.refresh().unwrap().records, 5000);
    assert_eq!(reading.store.len(), 5001);
    assert_eq!(value(&reading.store, "key 4999").as_deref(), Some("value"));
}

#[test]
fn what_a_newer_version_wrote_is_refused_and_what_was_read_stays() {
    let machine = Machine::new(4096);
    machine.open().unwrap().close().unwrap();
    let path = Machine::path("00000001.data");
    let mut bytes = encode(&[Record::plain(1, b"1", b"v"), Record::plain(1, b"2", b"v")]);
    let at = bytes.len() / 2;
    machine.fs.write(&path, &bytes[..at]);
    let reading = Reading::open(&machine).unwrap();
    bytes[at + 12] |= 0x80;
    let crc = crc32fast::hash(&bytes[at + 4..]);
    bytes[at..at + 4].copy_from_slice(&crc.to_be_bytes());
    machine.fs.write(&path, &bytes);
    for refused in [reading.store.refresh().map(drop), Reading::open(&machine).map(drop)] {
        match refused {
            Err(Error::Unsupported { path: found, offset, .. }) => {
                assert_eq!((found, offset), (path.clone(), at as u64));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(value(&reading.store, "1").as_deref(), Some("v"));
}

#[test]
fn hazard_20_only_what_the_manifest_lists_is_mapped() {
    let machine = Machine::new(4096);
    machine.write_records("00000001.data", &[Record::plain(1, b"bare", b"value")]);
    machine.fs.fail_next(Op::Map, "", 5);
    let bare = Reading::open(&machine).unwrap();
    assert_eq!(value(&bare.store, "bare").as_deref(), Some("value"));
    assert!(machine.fs.is_armed(), "without a manifest, nothing is mapped");
    machine.fs.disarm();

    let writer = machine.open().unwrap();
    writer.put("tail", "value").unwrap();
    let names = machine.data();
    let [_, tail] = &names[..] else { panic!("{names:?}") };
    machine.fs.fail_next(Op::Map, tail, 5);
    let reading = Reading::open(&machine).unwrap();
    assert_eq!(value(&reading.store, "tail").as_deref(), Some("value"));
    writer.put("tail", "more").unwrap();
    assert!(reading.refresh());
    assert!(machine.fs.is_armed(), "the tail is not mapped");
    machine.fs.disarm();

    writer.close().unwrap();
    machine.fs.fail_next(Op::Map, tail, 5);
    let maps = read_mode() == ReadMode::Mapped;
    assert_eq!(reading.store.refresh().is_err(), maps, "once it is sealed it may be");
    assert_eq!(machine.fs.is_armed(), !maps);
    machine.fs.disarm();
    reading.refresh();
    assert_eq!(value(&reading.store, "tail").as_deref(), Some("more"));
}

#[test]
fn hazard_20_a_file_shorter_than_the_manifest_says_is_refused_by_a_read_only_store_too() {
    let machine = Machine::new(256);
    half_dead(&machine);
    let reading = Reading::open(&machine).unwrap();
    segment(&machine, |store| store.put("g", "g".repeat(300)).unwrap());
    let before = contents(&reading.store);
    let name = machine.data().pop().unwrap();
    let bytes = machine.fs.read(&Machine::path(&name)).unwrap();
    machine.fs.write(&Machine::path(&name), &bytes[..bytes.len() - 1]);
    for refused in [reading.store.refresh().map(drop), Reading::open(&machine).map(drop)] {
        match refused {
            Err(Error::Inconsistent { path, damage: Damage::Length { .. } }) => {
                assert_eq!(path, Machine::path(&name));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(contents(&reading.store), before);
    machine.fs.write(&Machine::path(&name), &bytes);
    assert_eq!(reading.refreshed().len(), before.len() + 1);
    machine.fs.remove_file(&Machine::path(&name));
    assert!(matches!(Reading::open(&machine), Err(Error::MissingSegment { .. })));
}

#[test]
fn damage_is_reported_when_a_segment_is_read_and_refused_by_strict_recovery() {
    let machine = Machine::new(512);
    segment(&machine, |store| {
        store.put("bad", "old").unwrap();
        store.put("fill 1", "#".repeat(300)).unwrap();
    });
    let mut strict = machine.clone();
    strict.options = strict.options.recovery(Recovery::Strict);
    let (strict, lenient) = (Reading::open(&strict).unwrap(), Reading::open(&machine).unwrap());
    segment(&machine, |store| {
        store.put("bad", "intact").unwrap();
        store.put("fill 2", "#".repeat(300)).unwrap();
    });
    spoil(&machine, "00000002.data", "intact");
    assert!(matches!(strict.store.refresh(), Err(Error::Corrupt { .. })));
    assert_eq!(value(&strict.store, "bad").as_deref(), Some("old"), "as before");
    assert!(matches!(Reading::open(&strict.machine), Err(Error::Corrupt { .. })));
    let refreshed = lenient.store.refresh().unwrap();
    let fresh = Reading::open(&machine).unwrap();
    for damage in [&refreshed.damage, &fresh.store.recovery_report().damage] {
        let [damaged] = &damage[..] else { panic!("{damage:?}") };
        assert_eq!(damaged.path, Machine::path("00000002.data"));
    }
    for store in [&lenient.store, &fresh.store] {
        assert!(matches!(store.get("bad"), Err(Error::Corrupt { .. })), "never the older value");
        assert_eq!(value(store, "fill 2").unwrap(), "#".repeat(300));
    }
    // What is mended is read, also by who refused it.
    segment(&machine, |store| {
        store.put("bad", "mended").unwrap();
        store.compact().unwrap();
    });
    for reading in [&strict, &lenient] {
        reading.refresh();
        assert_eq!(value(&reading.store, "bad").as_deref(), Some("mended"));
    }
}

/// The files of one that was given up and of the next, of which a power loss kept no more.
#[test]
fn an_empty_file_in_the_log_is_no_reason_to_read_anew() {
    let machine = Machine::new(4096);
    machine.open().unwrap().close().unwrap();
    machine.fs.write(&Machine::path("00000001.data"), b"");
    tail_file(&machine, "00000002.data", &[Record::plain(1, b"key", b"value")], b"");
    let reading = Reading::open(&machine).unwrap();
    assert_eq!(value(&reading.store, "key").as_deref(), Some("value"));
    assert!(!reading.refresh());
    assert_eq!(contents(&reading.store), contents(&machine.open().unwrap()));
}

#[test]
fn a_segment_that_is_not_the_one_listed_is_refused_and_nothing_of_it_is_shown() {
    let machine = Machine::new(512);
    segment(&machine, |store| store.put("fill", "#".repeat(300)).unwrap());
    let reading = Reading::open(&machine).unwrap();
    segment(&machine, |store| store.put("other", "#".repeat(300)).unwrap());
    let other = encode(&[Record::plain(7, b"stray", &[b'#'; 300])]);
    machine.fs.write(&Machine::path("00000002.data"), &other);
    match reading.store.refresh() {
        Err(Error::Inconsistent { path, damage: Damage::Checksum { .. } }) => {
            assert_eq!(path, Machine::path("00000002.data"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(value(&reading.store, "stray"), None);
    assert_eq!(reading.store.stats().segments, 1);
}

/// It reads the first one, whole, before it comes upon the damage of the second.
#[test]
fn of_the_first_segments_of_a_store_that_was_empty_nothing_goes_back_if_one_is_refused() {
    let machine = Machine::new(512);
    machine.open().unwrap().close().unwrap();
    let mut strict = machine.clone();
    strict.options = strict.options.recovery(Recovery::Strict);
    let reading = Reading::open(&strict).unwrap();
    segment(&machine, |store| {
        store.put("key", "old").unwrap();
        store.put("fill 1", "#".repeat(400)).unwrap();
    });
    segment(&machine, |store| {
        store.put("key", "new").unwrap();
        store.put("bad", "intact").unwrap();
        store.put("fill 2", "#".repeat(300)).unwrap();
    });
    spoil(&machine, "00000002.data", "intact");
    for _ in 0..2 {
        assert!(matches!(reading.store.refresh(), Err(Error::Corrupt { .. })));
        assert_eq!(contents(&reading.store), Contents::new(), "as before");
    }
    segment(&machine, |store| {
        store.put("bad", "mended").unwrap();
        store.compact().unwrap();
    });
    assert_eq!(reading.refreshed(), contents(&machine.open().unwrap()));
}

#[test]
fn what_a_refresh_that_failed_has_found_is_told_by_the_next() {
    let machine = Machine::new(512);
    let write = |n: usize| {
        segment(&machine, |store| {
            store.put(format!("bad {n}"), format!("intact {n}")).unwrap();
            store.put(format!("fill {n}"), "#".repeat(400)).unwrap();
        });
    };
    (1..4).for_each(write);
    let reading = Reading::open(&machine).unwrap();
    (4..7).for_each(write);
    ["00000004.data", "00000005.data"].into_iter().for_each(|name| spoil(&machine, name, "intact"));
    let path = Machine::path("00000006.data");
    let bytes = machine.fs.read(&path).unwrap();
    let stray = vec![b'#'; bytes.len() - HEADER_LEN - "stray".len()];
    machine.fs.write(&path, &encode(&[Record::plain(7, b"stray", &stray)]));
    for _ in 0..2 {
        let refused = reading.store.refresh();
        assert!(
            matches!(&refused, Err(Error::Inconsistent { damage: Damage::Field { .. }, .. })),
            "the segments before it have been read: {refused:?}"
        );
    }
    machine.fs.write(&path, &bytes);
    let found = reading.store.refresh().unwrap();
    let damaged: Vec<_> = found.damage.iter().map(|damaged| damaged.path.clone()).collect();
    assert_eq!(damaged, ["00000004.data", "00000005.data"].map(Machine::path));
    assert_eq!((found.segments, found.records), (3, 6));
    assert!(!reading.refresh(), "it is told once");
}

#[test]
fn bare_data_files_are_read_as_they_are_until_a_writer_takes_them_over() {
    let machine = Machine::new(512);
    let records = [Record::plain(1, b"a", b"1"), Record::plain(1, b"b", b"1")];
    machine.write_records("00000001.data", &records);
    machine.write_records(
        "00000002.data",
        &[Record::tombstone(2, b"a"), Record::plain(2, b"b", b"2")],
    );
    tail_file(&machine, "00000010.data", &[Record::plain(3, b"c", b"3")], &encode(&records)[..10]);
    let reading = Reading::open(&machine).unwrap();
    let expected = contents(&reading.store);
    let pairs = [("b", "2"), ("c", "3")].map(|(k, v)| (k.into(), v.into()));
    assert_eq!(expected, Contents::from(pairs));
    assert!(!reading.store.recovery_report().adopted);
    assert!(!reading.refresh(), "there is no manifest still");
    assert_eq!(machine.data().len(), 3);
    assert_eq!(machine.fs.names(Machine::dir()).len(), 3);

    let writer = machine.open().unwrap();
    assert!(writer.recovery_report().adopted);
    assert_eq!(reading.refreshed(), expected);
    writer.put("b", "3").unwrap();
    writer.compact().unwrap();
    assert_eq!(reading.refreshed(), contents(&writer));
    assert_eq!(reading.store.stats().segments, 1);

    let lost = Machine::new(512);
    lost.write_records("00000001.data", &records);
    lost.fs.write(&Machine::path("MANIFEST.tmp"), b"");
    assert!(matches!(Reading::open(&lost), Err(Error::MissingManifest { .. })));
}

#[test]
fn a_growing_tail_is_held_in_one_piece_whatever_size_the_reader_s_own_segments_would_have() {
    for segment_size in [64, 512 << 30] {
        let mut machine = Machine::new(4096);
        machine.open().unwrap().close().unwrap();
        machine.options = machine.options.segment_size(segment_size);
        let (mut records, path) = (Vec::new(), Machine::path("00000001.data"));
        machine.fs.write(&path, b"");
        let reading = Reading::open(&machine).unwrap();
        for n in 0..300 {
            records.extend(encode(&[Record::plain(1, format!("{n}").as_bytes(), b"value")]));
            // More zeros than are read at once.
            machine.fs.write(&path, &[&records[..], &[0; 100_000]].concat());
            assert!(reading.refresh());
            assert_eq!(reading.store.len(), n + 1);
        }
        assert_eq!(reading.store.index().segments.list().len(), 1);
    }
}

/// As a file system may keep zeros that were written, and a copy of a file does.
#[test]
fn a_record_of_the_tail_that_lies_in_a_hole_for_the_most_part_is_read() {
    let machine = Machine::new(4096);
    machine.open().unwrap().close().unwrap();
    let records = [Record::plain(1, b"first", b"1"), Record::plain(1, b"zeros", &[0; 1 << 20])];
    let bytes = encode(&records);
    let file = machine.fs.create(&Machine::path("00000001.data")).unwrap();
    // What is read at first is whole, but not the record that it will be.
    file.write_at(&[&bytes[..100], &[9; 1 << 20]].concat(), 0).unwrap();
    let reading = Reading::open(&machine).unwrap();
    assert_eq!(reading.store.len(), 1);
    file.set_len(100).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    assert!(reading.refresh());
    assert_eq!(reading.store.get("zeros").unwrap().unwrap(), [0; 1 << 20]);
    let last = encode(&[Record::plain(1, b"last", b"1")]);
    file.write_at(&last, bytes.len() as u64).unwrap();
    assert_eq!(reading.refreshed().len(), 3);
}

/// A record that was whole in the file and was withdrawn, as a failed write of several may be.
#[test]
fn what_was_read_of_the_tail_and_is_not_there_any_more_is_taken_back() {
    let old = [Record::plain(1, b"key", b"old"), Record::plain(1, b"stays", b"1")];
    let withdrawn =
        [Record::plain(2, b"key", b"withdrawn"), Record::plain(2, b"new", b"withdrawn")];
    let rewritten = [Record::plain(3, b"other", b"3"), Record::tombstone(3, b"stays")];
    for keep in [0, 1] {
        // Cut off, or overwritten, or overwritten and sealed before anybody looked.
        for fate in ["cut", "overwritten", "sealed"] {
            let machine = Machine::new(512);
            segment(&machine, |store| {
                store.put("key", "oldest").unwrap();
                store.put("fill", "#".repeat(300)).unwrap();
            });
            let name = "00000002.data";
            let path = Machine::path(name);
            let kept = &old[..keep];
            machine.fs.write(&path, &encode(&[kept, &withdrawn].concat()));
            let reading = Reading::open(&machine).unwrap();
            assert_eq!(value(&reading.store, "key").as_deref(), Some("withdrawn"));
            match fate {
                "cut" => machine.fs.write(&path, &encode(kept)),
                "overwritten" => tail_file(&machine, name, &[kept, &rewritten].concat(), &[0; 99]),
                _ => {
                    machine.fs.remove_file(&path);
                    segment(&machine, |store| {
                        store.put("key", "sealed").unwrap();
                        store.put("more", "#".repeat(300)).unwrap();
                    });
                }
            }
            reading.refresh();
            let fresh = Reading::open(&machine).unwrap();
            assert_eq!(contents(&reading.store), contents(&fresh.store), "{keep} kept, {fate}");
            assert_eq!(value(&reading.store, "new"), None);
            let of = |store: &Store| (store.stats().bytes, store.stats().segments);
            assert_eq!(of(&reading.store), of(&fresh.store));
            assert!(!reading.refresh());
        }
    }
}

/// All else that it held is the same in what was written in its place.
#[test]
fn a_deletion_that_was_read_of_the_tail_and_is_not_what_was_sealed_is_taken_back() {
    let machine = Machine::new(512);
    segment(&machine, |store| {
        store.put("key", "value").unwrap();
        store.put("fill", "#".repeat(300)).unwrap();
    });
    let path = Machine::path("00000002.data");
    machine.fs.write(&path, &encode(&[Record::tombstone(1, b"key")]));
    let reading = Reading::open(&machine).unwrap();
    assert_eq!(value(&reading.store, "key"), None);
    machine.fs.remove_file(&path);
    segment(&machine, |store| store.put("more", "#".repeat(300)).unwrap());
    assert_eq!(machine.data(), ["00000001.data", "00000002.data"]);
    assert_eq!(reading.refreshed(), contents(&machine.open().unwrap()));
}

#[test]
fn another_store_in_the_place_of_this_one_or_an_older_state_of_it_is_read_anew() {
    let machine = Machine::new(256);
    half_dead(&machine);
    machine.open().unwrap().close().unwrap();
    let older = machine.copy();
    let writer = machine.open().unwrap();
    writer.delete("a").unwrap();
    writer.put("b", "newer").unwrap();
    writer.compact().unwrap();
    writer.close().unwrap();
    let other = Machine::new(256);
    segment(&other, |store| {
        (0..9).for_each(|n| store.put(format!("{n}"), "other".repeat(9)).unwrap());
    });
    // Of the same shape: nothing but its manifest says that it is another.
    let alike = |value: &str| {
        let machine = Machine::new(256);
        segment(&machine, |store| store.put("key", value.repeat(200)).unwrap());
        machine
    };
    for (machine, replacement) in [(&machine, older), (&machine, other), (&alike("1"), alike("2"))]
    {
        let reading = Reading::open(machine).unwrap();
        let held = reading.store.get("b").unwrap();
        let saved = machine.copy();
        replace(machine, &replacement);
        let expected = contents(&replacement.open().unwrap());
        assert_eq!(reading.refreshed(), expected);
        assert!(held.is_none_or(|held| held == "newer"));
        replace(machine, &saved);
    }
}

/// Puts the files of one machine in the place of another's.
fn replace(machine: &Machine, by: &Machine) {
    for name in machine.fs.names(Machine::dir()) {
        machine.fs.remove_file(&Machine::path(&name));
    }
    for name in by.fs.names(Machine::dir()) {
        machine.fs.write(&Machine::path(&name), &by.fs.read(&Machine::path(&name)).unwrap());
    }
}

#[test]
fn values_and_readers_in_hand_stay_valid_and_hold_what_a_refresh_lets_go() {
    let machine = Machine::new(256);
    half_dead(&machine);
    let writer = machine.open().unwrap();
    writer.put("tail", "unsealed").unwrap();
    let reading = Reading::open(&machine).unwrap();
    let mut reader = reading.store.reader();
    let (sealed, tail) = (reader.get("a").unwrap().unwrap(), reader.get("tail").unwrap().unwrap());
    let values = ["a", "tail"].map(|key| reading.store.get(key).unwrap().unwrap());
    writer.put("a", "newer").unwrap();
    writer.put("tail", "newer").unwrap();
    writer.compact().unwrap();
    reading.refresh();
    assert_eq!((sealed, tail), (&b"a2".repeat(20)[..], &b"unsealed"[..]));
    assert_eq!((&values[0][..], &values[1][..]), (sealed, tail));
    assert_eq!(reader.get("a").unwrap(), Some(&b"newer"[..]), "a reader sees what a refresh shows");
    let pinned = reading.store.stats().pinned_segments;
    assert!(pinned >= 2, "{pinned}");
    drop(values);
    reader.refresh();
    assert_eq!(reading.store.stats().pinned_segments, 0);
    assert_eq!(reader.get("tail").unwrap(), Some(&b"newer"[..]));
}
