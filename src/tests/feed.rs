//! Following the log: everything that was written from a position on, or the news that something is missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;

use super::replica::{Replica, Write, log, write};
use super::support::{Machine, contents, value};
use crate::batch::Batch;
use crate::error::{Damage, Error, Result};
use crate::expiry::Expiry;
use crate::fs::sim::Op;
use crate::location::SegmentId;
use crate::options::{Durability, ReadMode};
use crate::position::Position;
use crate::record::Record;
use crate::repair::repair_on;
use crate::store::Store;

fn put(key: &str, value: &str) -> Write {
    (key.into(), Some(value.into()))
}

fn deletion(key: &str) -> Write {
    (key.into(), None)
}

/// The position from which the log says that it is whole, when it is asked for from this one.
fn gone(store: &Store, from: Position) -> Position {
    match store.log(from).next() {
        Some(Err(Error::Gone { asked, oldest })) => {
            assert_eq!(asked, from);
            oldest
        }
        other => panic!("from {from:?}: {other:?}"),
    }
}

#[test]
fn everything_that_was_written_comes_in_its_order_and_as_it_was_written() {
    let machine = Machine::new(150);
    let store = machine.open().unwrap();
    assert_eq!(log(&store, Position::START), []);
    let mut expected = Vec::new();
    for n in 0..20u64 {
        machine.time.set(n);
        let value = format!("{n}");
        store.put("a", &value).unwrap();
        store.write(Batch::new().put_aligned("b", &value, 64).delete("c")).unwrap();
        store.delete("a").unwrap();
        expected.extend([put("a", &value), put("b", &value), deletion("c"), deletion("a")]);
    }
    assert!(machine.data().len() > 5, "segments are tiny");
    assert_eq!(log(&store, Position::START), expected);
    let mut stamps = Vec::new();
    for (n, entry) in store.log(Position::START).enumerate() {
        let entry = entry.unwrap();
        stamps.push(entry.timestamp);
        // From its own place, or its batch's, and from behind it.
        let batch_from = if n % 4 == 2 { n - 1 } else { n };
        assert_eq!(log(&store, entry.position), expected[batch_from..]);
        let next = if n % 4 == 1 { n } else { n + 1 };
        assert_eq!(log(&store, entry.next), expected[next..]);
        if let Some(value) = &entry.value
            && n % 4 == 1
        {
            assert_eq!(value.as_ptr() as usize % 64, 0);
        }
    }
    let expected_stamps: Vec<_> = (0..20u64).flat_map(|n| [n; 4]).collect();
    assert_eq!(stamps, expected_stamps);
    assert_eq!(log(&store, store.end().unwrap()), []);
}

#[test]
fn an_iterator_that_has_ended_goes_on_when_more_has_been_written() {
    let machine = Machine::new(150);
    let store = machine.open().unwrap();
    let mut log = store.log(Position::START);
    for n in 0..30 {
        assert!(log.next().is_none());
        let value = "v".repeat(n * 7);
        store.put_with("key", format!("<{value}"), Durability::Buffered).unwrap();
        let entry = log.next().unwrap().unwrap();
        assert_eq!(write(&entry), put("key", &format!("<{value}")));
        assert_eq!((entry.next, log.position()), (store.end().unwrap(), store.end().unwrap()));
    }
}

#[test]
fn what_expires_and_what_is_empty_comes_as_it_was_written() {
    let machine = Machine::new(4096);
    let records = [
        Record { expires_at: Some(5), ..Record::plain(1, b"a", b"gone") },
        Record { marked_value: true, ..Record::plain(2, b"b", b"") },
    ];
    machine.write_records("00000001.data", &records);
    machine.time.set(10);
    let store = machine.open().unwrap();
    let entries: Vec<_> = store.log(Position::START).map(Result::unwrap).collect();
    assert_eq!(entries.iter().map(write).collect::<Vec<_>>(), [put("a", "gone"), put("b", "")]);
    let at = Expiry::At(UNIX_EPOCH + Duration::from_micros(5));
    assert_eq!((entries[0].expires_at, entries[1].expires_at), (at, Expiry::Never));
}

#[test]
fn a_bad_record_is_an_error_and_what_follows_comes_after_it() {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.put("a", "first").unwrap();
    store.write(Batch::new().put("b", "of").put("c", "a batch")).unwrap();
    store.put("d", "next").unwrap();
    store.put("e", "last").unwrap();
    store.close().unwrap();
    let data = machine.data().remove(0);
    for (bad, good) in [("of", vec!["a", "d", "e"]), ("next", vec!["a", "b", "c", "e"])] {
        let machine = machine.copy();
        let at = machine.find(&data, bad.as_bytes()).unwrap();
        machine.flip(&data, at);
        let store = machine.open().unwrap();
        let (mut keys, mut offsets) = (Vec::new(), Vec::new());
        for entry in store.log(Position::START) {
            match entry {
                Ok(entry) => keys.push(String::from_utf8(entry.key.to_vec()).unwrap()),
                Err(Error::Corrupt { path, offset, damage: Damage::Checksum { .. } }) => {
                    assert_eq!(path, Machine::path(&data));
                    offsets.push(offset);
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(keys, good);
        // Header and key stand before the value.
        assert_eq!(offsets, [at as u64 - 21]);
    }
    // Where nobody can tell how long the record is, the next segment goes on.
    let at = machine.find(&data, b"next").unwrap();
    machine.flip(&data, at - 3);
    let store = machine.open().unwrap();
    store.put("f", "in another segment").unwrap();
    let items: Vec<_> = store.log(Position::START).collect();
    assert!(matches!(&items[3], Err(Error::Corrupt { .. })), "{:?}", items[3]);
    assert_eq!(items.len(), 5);
    assert_eq!(write(items[4].as_ref().unwrap()), put("f", "in another segment"));
}

#[test]
fn who_has_read_all_that_a_compaction_takes_goes_on_and_who_has_not_is_told() {
    let machine = Machine::new(150);
    let store = machine.open().unwrap();
    let mut positions = Vec::new();
    for n in 0..20 {
        store.put("key", format!("{n}")).unwrap();
        positions.push(store.end().unwrap());
    }
    let (end, behind) = (positions.pop().unwrap(), positions);
    store.compact().unwrap();
    let check = |store: &Store| {
        behind.iter().for_each(|&position| assert_eq!(gone(store, position), end));
        assert_eq!(log(store, end), [put("key", "19")], "a copy comes again");
        assert_eq!(log(store, Position::START), [put("key", "19")]);
    };
    check(&store);
    store.close().unwrap();
    // It is in the manifest.
    let store = machine.open().unwrap();
    check(&store);
    store.put("key", "20").unwrap();
    // The copy was a small newest segment, which has been taken up by now.
    gone(&store, end);
    assert_eq!(log(&store, Position::START), [put("key", "19"), put("key", "20")]);
    // And when nothing is left of what the position was in.
    store.delete("key").unwrap();
    let end = store.end().unwrap();
    store.compact().unwrap();
    assert!(machine.data().is_empty());
    assert_eq!((store.end().unwrap(), log(&store, end)), (end, vec![]));
    assert!(log(&store, Position::START).is_empty());
}

#[test]
fn an_iterator_finishes_the_segment_in_hand_and_then_says_what_is_gone() {
    let machine = Machine::new(150);
    let store = machine.open().unwrap();
    // Three to a segment.
    for n in 0..9 {
        store.put(format!("{n}"), "twenty bytes of it..").unwrap();
    }
    store.put("8", "").unwrap();
    assert_eq!(machine.data().len(), 3);
    for (read, rest) in [(1, 2), (2, 1), (3, 0)] {
        let machine = machine.copy();
        let store = machine.open().unwrap();
        let mut log = store.log(Position::START);
        for n in 0..read {
            assert_eq!(*log.next().unwrap().unwrap().key, *format!("{n}").as_bytes());
        }
        store.compact().unwrap();
        for n in read..read + rest {
            assert_eq!(*log.next().unwrap().unwrap().key, *format!("{n}").as_bytes());
        }
        for _ in 0..2 {
            let position = log.position();
            let error = log.next().unwrap().unwrap_err();
            assert!(matches!(error, Error::Gone { asked, .. } if asked == position), "{error}");
            assert!(log.next().is_none(), "it ends after an error");
        }
    }
}

#[test]
fn a_segment_that_grew_was_sealed_and_compacted_in_hand_is_read_to_its_end() {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.put("a", "1").unwrap();
    let mut log = store.log(Position::START);
    assert_eq!(write(&log.next().unwrap().unwrap()), put("a", "1"));
    store.put("a", "2").unwrap();
    store.delete("a").unwrap();
    store.compact().unwrap();
    store.put("b", "3").unwrap();
    let rest: Vec<_> = log.map(|entry| write(&entry.unwrap())).collect();
    assert_eq!(rest, [put("a", "2"), deletion("a"), put("b", "3")]);
}

#[test]
fn inputs_that_are_on_their_way_out_are_nothing_to_begin_with() {
    let machine = Machine::new(150);
    let store: &'static Store = Box::leak(Box::new(machine.open().unwrap()));
    for (key, value) in [("a", "first"), ("b", "in the second"), ("c", "third")] {
        store.put(key, value.repeat(8)).unwrap();
    }
    store.delete("b").unwrap();
    assert_eq!(machine.data().len(), 3);
    let begun = Arc::new(Mutex::new(None));
    let hook = Arc::clone(&begun);
    // The first input is gone, the others are not.
    machine.fs.before(Op::Remove, "00000001.data", move || {
        let mut log = store.log(Position::START);
        let first = log.next().unwrap().unwrap();
        *hook.lock() = Some((first, log));
    });
    store.compact().unwrap();
    let (first, log) = begun.lock().take().unwrap();
    let mut replica = Replica::new();
    replica.apply(&first);
    log.for_each(|entry| replica.apply(&entry.unwrap()));
    assert_eq!(replica.shown(store), contents(store));
}

#[test]
fn outputs_that_no_manifest_lists_are_not_shown() {
    let mut machine = Machine::new(4096);
    machine.options = machine.options.durability(Durability::Flushed);
    let store = machine.open().unwrap();
    store.put("a", "1").unwrap();
    store.put("a", "2").unwrap();
    let end = store.end().unwrap();
    let (other, fs) = (store.clone(), machine.fs.clone());
    machine.fs.before(Op::Create, ".data.tmp", move || {
        other.put("b", "needs a sync before the commit").unwrap();
        // The outputs have their places in memory.
        fs.before(Op::Sync, ".data", move || ());
        let again = fs.clone();
        let other = other.clone();
        fs.before(Op::Rename, ".data", move || {
            again.before(Op::Sync, ".data", move || {
                assert_eq!(log(&other, end), [put("b", "needs a sync before the commit")]);
            });
        });
    });
    store.compact().unwrap();
    assert_eq!(
        log(&store, end),
        [put("a", "2"), put("b", "needs a sync before the commit")],
        "a copy comes again"
    );
}

#[test]
fn a_small_segment_that_is_taken_up_is_gone_but_for_who_has_read_it_all() {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.put("a", "1").unwrap();
    let middle = store.end().unwrap();
    store.put("a", "2").unwrap();
    store.put("b", "3").unwrap();
    let end = store.end().unwrap();
    store.close().unwrap();
    let store = machine.open().unwrap();
    assert_eq!(log(&store, middle), [put("a", "2"), put("b", "3")]);
    store.put("c", "4").unwrap();
    let (copies, new) = ([put("a", "2"), put("b", "3")], [put("c", "4")]);
    for _ in 0..2 {
        assert_eq!(log(&store, end), [&copies[..], &new].concat());
        assert_eq!(gone(&store, middle), end);
        // So it stays when it is sealed.
        store.compact().unwrap();
    }
    // A process that dies leaves the segment listed, and all that was taken up in the log behind it.
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.put("a", "1").unwrap();
    let middle = store.end().unwrap();
    store.delete("a").unwrap();
    store.put("b", "2").unwrap();
    let end = store.end().unwrap();
    store.close().unwrap();
    let store = machine.open().unwrap();
    store.put("c", "3").unwrap();
    let newer = store.end().unwrap();
    let machine = machine.kill();
    let store = machine.open().unwrap();
    assert_eq!(gone(&store, middle), end);
    assert_eq!(log(&store, end), [put("b", "2"), put("c", "3")]);
    assert_eq!(log(&store, newer), []);
}

#[test]
fn who_follows_is_told_that_everything_was_removed() {
    let machine = Machine::new(150);
    let store = machine.open().unwrap();
    for n in 0..5 {
        store.put(format!("{n}"), "twenty bytes of it..").unwrap();
    }
    let before = store.end().unwrap();
    let mut in_hand = store.log(before);
    assert!(in_hand.next().is_none());
    store.clear().unwrap();
    assert!(matches!(in_hand.next(), Some(Err(Error::Gone { .. }))));
    let after = gone(&store, before);
    assert_eq!((store.end().unwrap(), log(&store, after)), (after, vec![]));
    store.put("new", "1").unwrap();
    store.close().unwrap();
    let store = machine.open().unwrap();
    assert_eq!(gone(&store, before), after);
    for position in [after, Position::START] {
        assert_eq!(log(&store, position), [put("new", "1")]);
    }
    // With nothing after it.
    store.clear().unwrap();
    let after = store.end().unwrap();
    store.close().unwrap();
    let store = machine.open().unwrap();
    assert_eq!((store.end().unwrap(), log(&store, after)), (after, vec![]));
}

#[test]
fn positions_in_a_log_that_a_recovery_has_copied_go_on_in_the_copy() {
    let mut machine = Machine::new(4096);
    let store = machine.open().unwrap();
    let mut positions = Vec::new();
    for n in 0..5 {
        positions.push(store.end().unwrap());
        store.write(Batch::new().put("a", format!("{n}")).delete("b")).unwrap();
    }
    let end = store.end().unwrap();
    let writes = log(&store, Position::START);
    for _ in 0..2 {
        machine = machine.kill();
        let store = machine.open().unwrap();
        assert_eq!(log(&store, end), [], "nothing is new");
        for &position in &positions {
            assert_eq!(log(&store, position), writes, "all of the copy comes");
        }
    }
    // The copy is small, and taken up by the next write.
    let store = machine.open().unwrap();
    store.put("c", "new").unwrap();
    assert_eq!(log(&store, end), [put("a", "4"), put("c", "new")]);
    positions[1..].iter().for_each(|&position| assert!(gone(&store, position) >= Position::START));
}

#[test]
fn who_has_read_what_a_power_loss_took_is_told() {
    let base = Machine::new(4096);
    let store = base.open().unwrap();
    store.put("a", "durable").unwrap();
    store.sync().unwrap();
    let durable = store.end().unwrap();
    store.put("b", "lost").unwrap();
    let lost = store.end().unwrap();
    let mut losses = 0;
    for seed in 0..40 {
        let machine = base.crash(seed);
        let store = machine.open().unwrap();
        if value(&store, "b").is_some() {
            assert_eq!(log(&store, lost), []);
            continue;
        }
        losses += 1;
        assert_eq!(log(&store, durable), []);
        gone(&store, lost);
        // Nor does it come to stand for something else.
        store.put("c", "written instead").unwrap();
        gone(&store, lost);
    }
    assert!(losses > 5);
}

#[test]
fn no_id_that_a_position_names_is_given_to_another_file() {
    let uses: [fn(&Store) -> Position; 3] = [
        |store| {
            store.put("a", "lost with the name of its file").unwrap();
            store.end().unwrap()
        },
        |store| {
            store.put("a", "lost with the name of its file").unwrap();
            store.log(Position::START).next().unwrap().unwrap().next
        },
        |store| {
            let mut watcher = store.watch("").unwrap();
            store.put("a", "lost with the name of its file").unwrap();
            store.put("a", "again").unwrap();
            watcher.nth(1).unwrap().position()
        },
    ];
    for position in uses {
        let mut lost = 0;
        for seed in 0..20 {
            let machine = Machine::new(4096);
            let store = machine.open().unwrap();
            let position = position(&store);
            let machine = machine.crash(seed);
            let store = machine.open().unwrap();
            if !store.is_empty() {
                continue;
            }
            lost += 1;
            store.put("b", "as long as what was there before").unwrap();
            store.put("c", "more").unwrap();
            assert!(store.end().unwrap().segment() > position.segment());
            gone(&store, position);
        }
        assert!(lost > 5);
    }
}

#[test]
fn a_backup_is_another_log() {
    let machine = Machine::new(150);
    let store = machine.open().unwrap();
    for n in 0..5 {
        store.put(format!("{n}"), "twenty bytes of it..").unwrap();
    }
    let end = store.end().unwrap();
    let dest = std::path::Path::new("/machine/backup");
    let back_up = || {
        store.backup(dest, |_| std::ops::ControlFlow::Continue(())).unwrap();
        machine.open_at(dest).unwrap()
    };
    let first = back_up().end().unwrap();
    let backup = back_up();
    assert_eq!(log(&backup, Position::START), log(&store, Position::START));
    gone(&backup, end);
    gone(&backup, first);
    gone(&store, first);
    assert_eq!((log(&store, end), log(&backup, backup.end().unwrap())), (vec![], vec![]));
}

#[test]
fn positions_that_the_store_never_gave_are_gone() {
    let machines = [Machine::new(4096), Machine::new(4096)];
    let [store, other] = machines.each_ref().map(|machine| {
        let store = machine.open().unwrap();
        store.put("a", "1").unwrap();
        store.put("b", "2").unwrap();
        store
    });
    let (end, foreign) = (store.end().unwrap(), other.end().unwrap());
    assert_eq!((end.segment(), end.offset()), (foreign.segment(), foreign.offset()));
    gone(&store, foreign);
    let mut bytes = end.to_bytes();
    bytes[15] += 1;
    gone(&store, Position::from_bytes(bytes));
    gone(&store, Position::from_bytes([0xFF; Position::LEN]));
    let lineage = end.lineage();
    gone(&store, Position::new(lineage, SegmentId::new(1000), 0));
    gone(&store, Position::new(lineage, SegmentId::new(1000), 5));
    assert_eq!(log(&store, Position::new(lineage, end.segment(), 0)).len(), 2);
    gone(&store, Position::new(!lineage, end.segment(), 0));
    assert_eq!(log(&store, end), []);
}

#[test]
fn nobody_follows_the_log_past_a_repair_or_an_older_version() {
    let fill = |machine: &Machine| {
        let store = machine.open().unwrap();
        let mut positions = Vec::new();
        for n in 0..9 {
            store.put(format!("{n}"), "twenty bytes of it..").unwrap();
            positions.push(store.end().unwrap());
        }
        store.close().unwrap();
        positions
    };
    // A record is bad, or the manifest lost, or a file.
    let damages: [fn(&Machine); 3] = [
        |machine| machine.flip("00000002.data", 30),
        |machine| machine.flip("MANIFEST", 20),
        |machine| machine.fs.remove_file(&Machine::path("00000002.data")),
    ];
    for damage in damages {
        let machine = Machine::new(150);
        let positions = fill(&machine);
        damage(&machine);
        let fs: Arc<dyn crate::fs::Fs> = Arc::new(machine.fs.clone());
        let going_on = |_| std::ops::ControlFlow::Continue(());
        repair_on(&fs, Machine::dir(), &machine.options, u64::MAX, going_on).unwrap();
        let store = machine.open().unwrap();
        positions.iter().for_each(|&position| assert!(gone(&store, position) >= Position::START));
        let mut replica = Replica::new();
        replica.follow(&store);
        assert_eq!(replica.copies, 0, "from the start it can be followed");
        replica.follow(&store);
        assert_eq!(replica.copies, 0, "and so from its end");
    }
    // As version 1 wrote it.
    let machine = Machine::new(150);
    let positions = fill(&machine);
    let path = Machine::path("MANIFEST");
    let bytes = machine.fs.read(&path).unwrap();
    let mut older = [&bytes[..8], &1u32.to_be_bytes(), &bytes[12..44], &bytes[108..]].concat();
    let end = older.len() - 4;
    let crc = crc32fast::hash(&older[..end]);
    older[end..].copy_from_slice(&crc.to_be_bytes());
    machine.fs.write(&path, &older);
    let store = machine.open().unwrap();
    positions.iter().for_each(|&position| assert!(gone(&store, position) >= Position::START));
    let mut replica = Replica::new();
    replica.follow(&store);
    store.put("new", "in version 2").unwrap();
    replica.follow(&store);
    assert_eq!(replica.copies, 0);
}

#[test]
fn the_end_of_an_empty_log_is_a_place_in_it() {
    let machine = Machine::new(150);
    let store = machine.open().unwrap();
    let (end, mut log) = (store.end().unwrap(), store.log(Position::START));
    assert!(log.next().is_none() && store.log(end).next().is_none());
    gone(&Machine::new(150).open().unwrap(), end);
    store.put("key", "value").unwrap();
    assert_eq!(store.log(end).map(|entry| write(&entry.unwrap())).collect::<Vec<_>>().len(), 1);
    store.delete("key").unwrap();
    store.compact().unwrap();
    assert!(machine.data().is_empty(), "nothing says that the key was there");
    gone(&store, end);
    assert!(matches!(log.next(), Some(Err(Error::Gone { .. }))));
    assert!(store.log(Position::START).next().is_none());
    assert!(store.log(store.end().unwrap()).next().is_none());
}

#[test]
fn who_follows_the_log_keeps_no_writer_waiting_for_a_compaction_s_commit() {
    let machine = Machine::new(150);
    let store = machine.open().unwrap();
    for n in 0..9 {
        store.put(format!("{n}"), "twenty bytes of it..").unwrap();
        store.put("again", "twenty bytes of it..").unwrap();
    }
    let (fs, following) = (machine.fs.clone(), store.clone());
    let followed = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&followed);
    // The first commit puts ids aside, between writes; the one behind the outputs is the compaction's. A segment
    // is begun between commits.
    machine.fs.before(Op::Rename, ".data", move || {
        following.put("beside", "value").unwrap();
        following.end().unwrap();
        fs.before(Op::Rename, "MANIFEST", move || {
            let end = following.end().unwrap();
            following.put("meanwhile", "value").unwrap();
            assert_eq!(following.log(end).count(), 1);
            told.store(true, Ordering::Relaxed);
        });
    });
    store.compact().unwrap();
    assert!(followed.load(Ordering::Relaxed));
}

#[test]
fn damaged_segments_that_a_compaction_keeps_are_replayed_from_the_start() {
    let machine = Machine::new(150);
    let store = machine.open().unwrap();
    for n in 0..9 {
        store.put(format!("{n}"), "twenty bytes of it..").unwrap();
    }
    store.close().unwrap();
    machine.flip("00000002.data", 30);
    let store = machine.open().unwrap();
    store.put("8", "new").unwrap();
    assert_eq!(store.compact().unwrap().segments_kept.len(), 1);
    let items: Vec<_> = store.log(Position::START).collect();
    let (good, bad): (Vec<_>, Vec<_>) = items.into_iter().partition(Result::is_ok);
    assert_eq!(bad.len(), 1);
    let mut replica = Replica::new();
    good.into_iter().for_each(|entry| replica.apply(&entry.unwrap()));
    let keys: Vec<_> = replica.contents.keys().map(|key| key[0]).collect();
    assert_eq!(keys, b"01245678");
}

#[test]
fn errors_are_said_once_and_tried_again() {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.put_with("a", "1", Durability::Buffered).unwrap();
    machine.fs.fail_next(Op::Write, ".data", std::io::ErrorKind::StorageFull);
    let mut log = store.log(Position::START);
    assert!(matches!(log.next(), Some(Err(Error::Io { .. }))));
    assert!(log.next().is_none());
    assert_eq!(write(&log.next().unwrap().unwrap()), put("a", "1"));
    store.clone().close().unwrap();
    assert!(matches!(log.next(), Some(Err(Error::Closed))));
    assert!(log.next().is_none());
    assert!(matches!(store.end(), Err(Error::Closed)));
    let reading = machine.read_only().open().unwrap();
    assert!(matches!(reading.log(Position::START).next(), Some(Err(Error::ReadOnly))));
    assert!(matches!(reading.end(), Err(Error::ReadOnly)));
}

#[test]
fn what_follows_a_log_copies_each_part_of_it_once() {
    let mut machine = Machine::new(1 << 20);
    machine.options = machine.options.read_mode(ReadMode::Copy);
    let store = machine.open().unwrap();
    let mut log = store.log(Position::START);
    for n in 0..50u32 {
        store.put("key", n.to_be_bytes()).unwrap();
        let entry = log.next().unwrap().unwrap();
        assert_eq!(entry.value.unwrap(), n.to_be_bytes());
        // The rest of the file before it is not read again.
        assert!(log.held_bytes() < 128 + 64);
    }
}
