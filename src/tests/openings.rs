//! What an opening reads instead of the segments, hints and the checkpoint, and what it does when they will not do. What they
//! show is held against a scan: an opening of the same files without them.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::ControlFlow;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::hazards::segment;
use super::support::{Machine, read_mode, value};
use crate::error::{Damage, Error, Result};
use crate::expiry::Expiry;
use crate::fs::sim::{Op, SimFs};
use crate::options::{EmptyValues, ReadMode, Recovery, Verify};
use crate::policy::Compaction;
use crate::record::Record;
use crate::store::Store;
use crate::upkeep::Driver;

/// `EIO`, as a disk says it that cannot read.
const EIO: i32 = 5;

/// Keys of several segments, some of them stale, and all that the store has beside them.
fn closed(machine: &Machine) {
    let store = machine.open().unwrap();
    for n in 0..40 {
        store.put(format!("key {}", n % 25), format!("value {n}")).unwrap();
    }
    store.delete("key 3").unwrap();
    store.close().unwrap();
    assert!(machine.data().len() > 4);
    assert_eq!(machine.names(".hint").len(), machine.data().len());
}

/// All that can be told of a store.
#[derive(PartialEq, Eq, Debug)]
struct Shown {
    contents: BTreeMap<Vec<u8>, (Vec<u8>, Expiry)>,
    keys: usize,
    bytes: u64,
    dead_bytes: u64,
    dead_records: u64,
    time: u64,
    records: u64,
}

fn shown(store: &Store) -> Shown {
    // The reports are of what was found; what is shown may have been found later.
    let before = store.stats();
    let contents = store.iter().map(|pair| {
        let (key, value) = pair.unwrap();
        let expires_at = store.expires_at(&key).unwrap().unwrap();
        assert_eq!(store.get(&key).unwrap().unwrap(), value);
        (key.to_vec(), (value.to_vec(), expires_at))
    });
    let contents = contents.collect();
    let (stats, records) = (store.stats(), store.recovery_report().records);
    assert_eq!(stats.keys, before.keys);
    let (keys, bytes, dead_bytes) = (stats.keys, stats.bytes, stats.dead_bytes);
    let dead_records = stats.dead_records;
    Shown { contents, keys, bytes, dead_bytes, dead_records, time: store.now(), records }
}

/// What an opening of these files shows that reads the segments themselves.
fn scanned(machine: &Machine) -> Result<Shown> {
    let machine = machine.copy();
    machine.forget_companions();
    machine.time.set(0);
    let store = machine.open()?;
    assert_eq!((store.recovery_report().hints, store.recovery_report().checkpoint), (0, false));
    Ok(shown(&store))
}

#[test]
fn a_closed_store_opens_without_a_look_at_its_segments() {
    let machine = Machine::new(256);
    closed(&machine);
    let expected = scanned(&machine).unwrap();
    for (gone, hints) in [("none", false), ("KEYDIR", true)] {
        let mut machine = machine.copy();
        machine.options = machine.options.read_mode(ReadMode::Copy);
        if hints {
            machine.fs.remove_file(&Machine::path(gone));
        }
        machine.fs.fail_next(Op::Read, ".data", EIO);
        let store = machine.open().unwrap();
        assert!(machine.fs.is_armed(), "no segment has been read");
        machine.fs.disarm();
        let report = store.recovery_report();
        assert_eq!(report.checkpoint, !hints);
        assert_eq!(report.hints, if hints { machine.data().len() } else { 0 });
        assert!(report.is_clean());
        assert_eq!(shown(&store), expected);
    }
}

#[test]
fn opening_and_closing_a_store_that_has_a_checkpoint_writes_nothing() {
    let machine = Machine::new(256);
    closed(&machine);
    let machine = machine.copy();
    let store = machine.open().unwrap();
    assert_eq!(value(&store, "key 1").as_deref(), Some("value 26"));
    store.close().unwrap();
    // The lock file is there, and the directory is synced.
    let changes = machine.fs.trace().into_iter().filter(|(op, _)| *op != Op::SyncDir);
    assert_eq!(changes.collect::<Vec<_>>(), []);
}

#[test]
fn what_came_after_the_checkpoint_is_replayed_over_it() {
    for gone in [&[][..], &["KEYDIR"]] {
        let machine = Machine::new(256);
        closed(&machine);
        let store = machine.open().unwrap();
        for n in 0..20 {
            store.put(format!("key {n}"), format!("newer {n}")).unwrap();
        }
        store.delete("key 5").unwrap();
        let machine = machine.kill();
        drop(store);
        gone.iter().for_each(|name| machine.fs.remove_file(&Machine::path(name)));
        let expected = scanned(&machine).unwrap();
        let store = machine.open().unwrap();
        let report = store.recovery_report();
        assert!(report.unclean);
        assert_eq!((report.checkpoint, report.hints > 0), (gone.is_empty(), !gone.is_empty()));
        assert_eq!(shown(&store), expected);
        assert_eq!((value(&store, "key 5"), store.len()), (None, 24));
    }
}

#[test]
fn a_checkpoint_on_demand_will_do_after_a_kill_until_a_compaction() {
    let machine = Machine::new(1 << 12);
    let store = machine.open().unwrap();
    (0..100).for_each(|n| store.put(format!("{n}"), "value").unwrap());
    store.checkpoint().unwrap();
    let segments = machine.data().len();
    store.checkpoint().unwrap();
    assert_eq!(machine.data().len(), segments, "there is nothing to be sealed");
    store.put("7", "newer").unwrap();
    store.put("new", "value").unwrap();
    let killed = machine.end_process();
    drop(store);
    let store = killed.open().unwrap();
    assert!(store.recovery_report().checkpoint);
    assert_eq!((value(&store, "7").as_deref(), store.len()), (Some("newer"), 101));
    store.compact().unwrap();
    let expected = shown(&store).contents;
    let killed = killed.end_process();
    drop(store);
    let store = killed.open().unwrap();
    assert!(!store.recovery_report().checkpoint, "what it knows of is gone");
    assert_eq!(shown(&store).contents, expected);
}

#[test]
fn what_is_written_while_a_checkpoint_is_made_is_not_in_it_and_not_lost() {
    let machine = Machine::new(1 << 12);
    let store = machine.open().unwrap();
    (0..100).for_each(|n| store.put(format!("{n}"), "value").unwrap());
    let (other, before) = (store.clone(), store.clone());
    machine.fs.before(Op::Create, "KEYDIR.tmp", move || {
        other.put("7", "newer").unwrap();
        other.delete("8").unwrap();
        other.put("new", "value").unwrap();
    });
    before.checkpoint().unwrap();
    let expected = shown(&store).contents;
    let killed = machine.end_process();
    let store = killed.open().unwrap();
    assert!(store.recovery_report().checkpoint);
    assert_eq!(shown(&store).contents, expected);
    assert_eq!((value(&store, "7").as_deref(), value(&store, "8")), (Some("newer"), None));
}

#[test]
fn a_page_that_turns_out_to_be_bad_is_made_anew_of_the_segments() {
    let machine = Machine::new(256);
    closed(&machine);
    let expected = scanned(&machine).unwrap();
    let len = machine.fs.read(&Machine::path("KEYDIR")).unwrap().len();
    let entries = len - 24 * 16;
    for byte in (entries..len).step_by(7) {
        for hints in [true, false] {
            let machine = machine.copy();
            machine.flip_unseen("KEYDIR", byte);
            if !hints {
                let names = machine.names(".hint");
                names.iter().for_each(|name| machine.fs.remove_file(&Machine::path(name)));
            }
            let store = machine.open().unwrap();
            // Where reading a segment may fail, all pages are read at once.
            let is_mapped = read_mode() == ReadMode::Mapped;
            assert_eq!(store.recovery_report().checkpoint, is_mapped);
            store.put("key 2", "newer").unwrap();
            store.delete("key 9").unwrap();
            let found = shown(&store).contents;
            assert_eq!(found.len(), expected.contents.len() - 1);
            let others = found.iter().filter(|(key, _)| **key != b"key 2");
            others.for_each(|(key, value)| assert_eq!(expected.contents[key], *value));
            store.compact().unwrap();
            assert_eq!(shown(&store).contents, found);
            store.close().unwrap();
            let store = machine.open().unwrap();
            assert!(store.recovery_report().checkpoint, "there is a new one");
            assert_eq!(shown(&store).contents, found);
        }
    }
}

#[test]
fn hazard_12_damage_that_came_after_the_hint_is_an_error_and_no_older_value() {
    for with_checkpoint in [true, false] {
        let machine = Machine::new(1 << 12);
        segment(&machine, |store| store.put("key", "old").unwrap());
        segment(&machine, |store| {
            store.put("key", "newer").unwrap();
            store.put("other", "value").unwrap();
        });
        if !with_checkpoint {
            machine.fs.remove_file(&Machine::path("KEYDIR"));
        }
        let name = machine.data().pop().unwrap();
        machine.flip_unseen(&name, machine.find(&name, b"newer").unwrap());
        let store = machine.open().unwrap();
        assert!(matches!(store.get("key"), Err(Error::Corrupt { .. })));
        assert!(matches!(store.reader().get("key"), Err(Error::Corrupt { .. })));
        assert_eq!(value(&store, "other").as_deref(), Some("value"));
        store.close().unwrap();
        let mut strict = machine.copy();
        strict.options = strict.options.recovery(Recovery::Strict);
        assert!(matches!(strict.open(), Err(Error::Corrupt { .. })), "it reads everything");
        let store = machine.open().unwrap();
        store.put("key", "mended").unwrap();
        assert_eq!(value(&store, "key").as_deref(), Some("mended"));
    }
}

/// The file is another's, of the same length: entries name records of other keys, and what is between them.
#[test]
fn hazard_12_an_entry_that_names_another_keys_record_is_an_error_and_not_absent() {
    let machine = Machine::new(1 << 12);
    segment(&machine, |store| {
        store.put("a", "1").unwrap();
        store.put("b", "2").unwrap();
    });
    let name = machine.data().pop().unwrap();
    machine.write_records(&name, &[Record::plain(0, b"b", b"2"), Record::plain(0, b"a", b"1")]);
    let store = machine.open().unwrap();
    for key in ["a", "b"] {
        assert!(matches!(store.get(key), Err(Error::Corrupt { .. })), "{:?}", store.get(key));
        let error = store.reader().get(key).unwrap_err();
        let Error::Corrupt { damage, .. } = error else { panic!("{error}") };
        assert!(matches!(damage, Damage::Field { .. }));
        let snapshot = store.snapshot().unwrap();
        assert!(matches!(snapshot.get(key), Err(Error::Corrupt { .. })));
    }
    store.put("a", "mended").unwrap();
    assert_eq!(value(&store, "a").as_deref(), Some("mended"));
}

#[test]
fn hazard_12_what_supersedes_a_leftover_is_read_before_that_goes() {
    let machine = Machine::new(1 << 12);
    segment(&machine, |store| {
        store.put("a", "1").unwrap();
        store.put("b", "2").unwrap();
        store.delete("a").unwrap();
    });
    let input = machine.data().pop().unwrap();
    let bytes = machine.fs.read(&Machine::path(&input)).unwrap();
    let store = machine.open().unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    let [output] = &machine.data()[..] else { panic!() };
    for is_bad in [false, true] {
        let machine = machine.copy();
        machine.fs.write(&Machine::path(&input), &bytes);
        if is_bad {
            machine.flip_unseen(output, 21);
        }
        let store = machine.open().unwrap();
        assert_eq!(store.recovery_report().damage.len(), usize::from(is_bad));
        assert_eq!(machine.data().contains(&input), is_bad);
    }
}

/// No opening has seen that something is bad, so entries stand for what a walk does not show.
#[test]
fn hazard_06_what_lies_beside_a_bad_record_stays_where_no_opening_has_seen_it() {
    // A batch of which a dead record goes bad, and a dead record that claims to end where the one after the next begins.
    for swallows in [false, true] {
        let machine = Machine::new(100);
        segment(&machine, |store| match swallows {
            false => {
                store
                    .write(crate::Batch::new().put("a", "1").put("b", "stale").put("c", "3"))
                    .unwrap();
            }
            true => {
                for (key, value) in [("b", "stale"), ("a", "1"), ("c", "3")] {
                    store.put(key, value).unwrap();
                }
            }
        });
        segment(&machine, |store| store.put("b", "newer").unwrap());
        let name = machine.data()[0].clone();
        match swallows {
            false => machine.flip_unseen(&name, machine.find(&name, b"stale").unwrap()),
            true => {
                let mut bytes = machine.fs.read(&Machine::path(&name)).unwrap();
                // "stale", and the record of "a" behind it.
                bytes[16..20].copy_from_slice(&(5u32 + 22).to_be_bytes());
                machine.fs.write(&Machine::path(&name), &bytes);
            }
        }
        let store = machine.open().unwrap();
        assert!(store.recovery_report().checkpoint);
        let report = store.compact().unwrap();
        assert_eq!(report.segments_kept, [Machine::path(&name)]);
        for (key, expected) in [("a", "1"), ("b", "newer"), ("c", "3")] {
            assert_eq!(value(&store, key).as_deref(), Some(expected), "{key}");
        }
        store.checkpoint().unwrap();
    }
}

#[test]
fn hazard_01_what_a_batch_deleted_stays_deleted_when_a_record_of_it_goes_bad() {
    let machine = Machine::new(100);
    // The oldest is damaged, so that it stays.
    segment(&machine, |store| {
        store.put("deleted", "old").unwrap();
        store.put("bad", "intact").unwrap();
    });
    segment(&machine, |store| {
        store.write(crate::Batch::new().delete("deleted").put("b", "stale")).unwrap();
    });
    segment(&machine, |store| store.put("b", "newer").unwrap());
    let [oldest, batch, _] = &machine.data()[..] else { panic!("{:?}", machine.data()) };
    machine.flip_unseen(oldest, machine.find(oldest, b"intact").unwrap());
    machine.flip_unseen(batch, machine.find(batch, b"stale").unwrap());
    let store = machine.open().unwrap();
    assert!(store.recovery_report().checkpoint);
    let report = store.compact().unwrap();
    assert_eq!(report.segments_kept, [Machine::path(oldest), Machine::path(batch)]);
    assert_eq!(value(&store, "deleted"), None);
}

#[test]
fn a_stop_costs_no_hint() {
    let mut machine = Machine::new(64);
    machine.driver = Driver::Caller;
    for steps in 0..6 {
        let machine = Machine { fs: SimFs::new(1), ..machine.clone() };
        let store = machine.open().unwrap();
        (0..6).for_each(|n| store.put(format!("{n}"), [7; 40]).unwrap());
        let mut left = steps;
        let told = |_| {
            left -= 1;
            if left < 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let stopped = store.take_turn(told);
        assert_eq!(stopped.is_err(), steps < 5);
        assert_eq!(machine.names(".hint").len(), usize::try_from(steps).unwrap());
        store.take_turn(|_| ControlFlow::Continue(())).unwrap();
        assert_eq!(machine.names(".hint").len(), 5);
        store.close().unwrap();
        assert_eq!(machine.names(".hint").len(), machine.data().len());
    }
}

#[test]
fn segments_without_a_hint_get_one_also_where_a_checkpoint_has_done() {
    let mut machine = Machine::new(256);
    closed(&machine);
    let hints = machine.names(".hint");
    machine.fs.remove_file(&Machine::path(&hints[1]));
    machine.driver = Driver::Caller;
    machine.options = machine.options.compaction(Compaction::Manual);
    let store = machine.open().unwrap();
    assert!(store.recovery_report().checkpoint);
    store.take_turn(|_| ControlFlow::Continue(())).unwrap();
    assert!(machine.names(".hint").contains(&hints[1]));
}

#[test]
fn a_page_that_turned_out_bad_is_written_again_though_nothing_else_was() {
    if read_mode() != ReadMode::Mapped {
        return;
    }
    let machine = Machine::new(256);
    closed(&machine);
    let len = machine.fs.read(&Machine::path("KEYDIR")).unwrap().len();
    machine.flip_unseen("KEYDIR", len - 10);
    let expected = scanned(&machine).unwrap();
    let store = machine.open().unwrap();
    assert_eq!(shown(&store), expected);
    store.close().unwrap();
    let mut copying = machine.copy();
    copying.options = copying.options.read_mode(ReadMode::Copy);
    assert!(copying.open().unwrap().recovery_report().checkpoint, "every page is good");
}

#[test]
fn damage_that_shows_when_a_page_is_made_anew_is_found_by_the_next_opening() {
    if read_mode() != ReadMode::Mapped {
        return;
    }
    let machine = Machine::new(256);
    closed(&machine);
    let name = machine.data()[1].clone();
    machine.fs.remove_file(&Machine::path(&name.replace(".data", ".hint")));
    machine.flip_unseen(&name, 4);
    let len = machine.fs.read(&Machine::path("KEYDIR")).unwrap().len();
    machine.flip_unseen("KEYDIR", len - 10);
    let store = machine.open().unwrap();
    assert!(store.recovery_report().damage.is_empty());
    assert!(store.iter().count() > 20);
    store.put("new", "value").unwrap();
    store.close().unwrap();
    assert_eq!(machine.open().unwrap().recovery_report().damage.len(), 1);
}

#[test]
fn where_an_opening_has_found_damage_the_next_one_does_as_well() {
    let mut machine = Machine::new(256);
    closed(&machine);
    let name = machine.data()[1].clone();
    machine.flip(&name, 4);
    machine.options = machine.options.verify(Verify::Never);
    for _ in 0..2 {
        let store = machine.open().unwrap();
        let report = store.recovery_report();
        assert_eq!((report.damage.len(), report.checkpoint), (1, false));
        store.put("new", "value").unwrap();
        store.close().unwrap();
        assert!(!machine.fs.names(Machine::dir()).contains(&"KEYDIR".to_string()));
    }
}

#[test]
fn a_failure_to_write_what_is_not_needed_fails_nothing() {
    for (op, name) in [
        (Op::Create, ".hint.tmp"),
        (Op::Write, ".hint.tmp"),
        (Op::Rename, ".hint"),
        (Op::Create, "KEYDIR.tmp"),
        (Op::Write, "KEYDIR.tmp"),
        (Op::Rename, "KEYDIR"),
    ] {
        let machine = Machine::new(1 << 12);
        let store = machine.open().unwrap();
        store.put("key", "value").unwrap();
        machine.fs.fail_next(op, name, ErrorKind::StorageFull);
        store.close().unwrap();
        assert!(!machine.fs.is_armed(), "{op:?} {name}");
        assert_eq!(machine.names(".tmp"), [""; 0]);
        assert_eq!(machine.names(".hint").len() + machine.names("KEYDIR").len(), 1);
        let store = machine.open().unwrap();
        assert_eq!(value(&store, "key").as_deref(), Some("value"));
    }
}

#[test]
fn a_segment_takes_its_hint_along_when_it_goes() {
    let machine = Machine::new(256);
    closed(&machine);
    let store = machine.open().unwrap();
    store.compact().unwrap();
    assert_eq!(machine.names(".hint"), [""; 0], "those of the outputs come when there is time");
    store.close().unwrap();
    let stems = |names: Vec<String>| {
        let stem = |name: &String| name.split('.').next().unwrap().to_owned();
        names.iter().map(stem).collect::<Vec<_>>()
    };
    assert_eq!(stems(machine.names(".hint")), stems(machine.data()));
    // One that is left over goes when the store is opened.
    machine.fs.write(&Machine::path("00000001.hint"), b"");
    drop(machine.open().unwrap());
    assert_eq!(stems(machine.names(".hint")), stems(machine.data()));
}

/// What a random script does.
#[derive(Clone, Debug)]
enum Act {
    Put {
        key: u8,
        len: usize,
        ttl: Option<u64>,
    },
    Delete(u8),
    Batch(Vec<u8>),
    Compact,
    Checkpoint,
    Reopen,
    Kill,
    /// Keeps what stands beside the segments, and the manifest.
    Keep,
    Time(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let ttl = prop::option::weighted(0.3, 0u64..(6 << 20));
    prop_oneof![
        12 => (0u8..12, 0usize..80, ttl).prop_map(|(key, len, ttl)| Act::Put { key, len, ttl }),
        4 => (0u8..12).prop_map(Act::Delete),
        1 => prop::collection::vec(0u8..12, 2..4).prop_map(Act::Batch),
        1 => Just(Act::Compact),
        1 => Just(Act::Checkpoint),
        2 => Just(Act::Reopen),
        1 => Just(Act::Kill),
        3 => Just(Act::Keep),
        1 => (0u64..(6 << 20)).prop_map(Act::Time),
    ]
}

/// What becomes of a file.
#[derive(Clone, Debug)]
enum Fate {
    Stays,
    Goes,
    Cut(Index),
    Flipped(Index),
    /// Is replaced by what had this name at another time, or in another store.
    Swapped(Index),
    /// Is replaced by whatever file.
    Mixed(Index),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Stays),
        1 => Just(Fate::Goes),
        1 => any::<Index>().prop_map(Fate::Cut),
        1 => any::<Index>().prop_map(Fate::Flipped),
        3 => any::<Index>().prop_map(Fate::Swapped),
        1 => any::<Index>().prop_map(Fate::Mixed),
    ]
}

/// Runs a script; keeps files, each with its name.
fn run(mut machine: Machine, acts: &[Act], kept: &mut Vec<(String, Vec<u8>)>) -> Machine {
    let mut store = machine.open().unwrap();
    for (n, act) in acts.iter().enumerate() {
        let key =
            |key: u8| vec![b'k'; usize::from(key % 3)].into_iter().chain([key]).collect::<Vec<_>>();
        match act {
            Act::Put { key: of, len, ttl: None } => {
                store.put(key(*of), vec![n as u8; *len]).unwrap()
            }
            Act::Put { key: of, len, ttl: Some(ttl) } => {
                let ttl = std::time::Duration::from_micros(*ttl);
                store.put_with_ttl(key(*of), vec![n as u8; *len], ttl).unwrap();
            }
            Act::Delete(of) => drop(store.delete(key(*of)).unwrap()),
            Act::Batch(keys) => {
                let mut batch = crate::Batch::new();
                for of in keys {
                    batch.put(key(*of), [n as u8]);
                }
                store.write(&batch).unwrap();
            }
            Act::Compact => drop(store.compact().unwrap()),
            Act::Checkpoint => store.checkpoint().unwrap(),
            Act::Reopen => {
                store.close().unwrap();
                store = machine.open().unwrap();
            }
            Act::Kill => {
                machine = machine.kill();
                store = machine.open().unwrap();
            }
            Act::Keep => keep(&machine, kept),
            Act::Time(time) => machine.time.set(*time),
        }
    }
    store.close().unwrap();
    machine
}

fn companions(machine: &Machine) -> Vec<String> {
    let is_one = |name: &String| name == "KEYDIR" || name.ends_with(".hint");
    machine.fs.names(Machine::dir()).into_iter().filter(is_one).collect()
}

fn keep(machine: &Machine, kept: &mut Vec<(String, Vec<u8>)>) {
    let names = companions(machine).into_iter().chain(["MANIFEST".into()]);
    kept.extend(names.filter_map(|name| {
        let bytes = machine.fs.read(&Machine::path(&name))?;
        Some((name, bytes))
    }));
}

/// Lets a file meet its fate.
fn meet(machine: &Machine, name: &str, fate: &Fate, kept: &[(String, Vec<u8>)]) {
    let path = Machine::path(name);
    let Some(mut bytes) = machine.fs.read(&path) else { return };
    let same: Vec<_> = kept.iter().filter(|(other, _)| other == name).collect();
    match fate {
        Fate::Stays => {}
        Fate::Goes => machine.fs.remove_file(&path),
        Fate::Cut(at) => machine.fs.write(&path, &bytes[..at.index(bytes.len())]),
        Fate::Flipped(at) => {
            let at = at.index(bytes.len());
            bytes[at] ^= 0x21;
            machine.fs.write(&path, &bytes);
        }
        Fate::Swapped(with) if !same.is_empty() => machine.fs.write(&path, &with.get(&same).1),
        Fate::Mixed(with) if !kept.is_empty() => machine.fs.write(&path, &with.get(kept).1),
        Fate::Swapped(_) | Fate::Mixed(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200.max(ProptestConfig::default().cases),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn hazard_12_whatever_stands_beside_the_segments_an_opening_shows_what_a_scan_does(
        acts in prop::collection::vec(act(), 5..60),
        others in prop::collection::vec(act(), 0..30),
        segment_size in 64u64..600,
        mask in select(vec![u64::MAX, 3, 0]),
        verify in select(vec![Verify::Once, Verify::Always, Verify::Never]),
        ordered in prop::bool::weighted(0.2),
        fates in prop::collection::vec(fate(), 40),
        manifest in prop_oneof![5 => Just(Fate::Stays), 1 => fate()],
        unclean in any::<bool>(),
    ) {
        let mut machine = Machine::new(segment_size);
        machine.hash_mask = mask;
        let options = machine.options.clone().empty_values(EmptyValues::Stored);
        machine.options = options.verify(verify).ordered(ordered);
        let mut kept = Vec::new();
        let machine = run(machine, &acts, &mut kept);
        // The same store as it might have gone on, and another one.
        let diverged = run(machine.copy(), &others, &mut Vec::new());
        keep(&diverged, &mut kept);
        let mut foreign = Machine::new(segment_size);
        foreign.hash_mask = mask;
        keep(&run(foreign, &others, &mut Vec::new()), &mut kept);
        let machine = match unclean {
            false => machine,
            true => {
                let store = machine.open().unwrap();
                store.put("unclean", "value").unwrap();
                store.delete([3]).unwrap();
                machine.kill()
            }
        };

        for (name, fate) in companions(&machine).iter().zip(&fates) {
            meet(&machine, name, fate, &kept);
        }
        meet(&machine, "MANIFEST", &manifest, &kept);
        machine.time.set(0);
        let expected = scanned(&machine);
        let machine = machine.copy();
        let found = machine.open().map(|store| (shown(&store), store));
        match (expected, found) {
            (Ok(expected), Ok((found, store))) => {
                prop_assert_eq!(&found, &expected);
                // And it goes on so.
                store.put("new", "value").unwrap();
                store.compact().unwrap();
                let contents = shown(&store).contents;
                prop_assert_eq!(contents.len(), expected.contents.len() + 1);
                store.close().unwrap();
                prop_assert_eq!(shown(&machine.open().unwrap()).contents, contents);
            }
            // Without a manifest bare files are adopted, but not beside what only a store has that had one.
            (_, Err(error)) if !machine.fs.names(Machine::dir()).contains(&"MANIFEST".into()) => {
                prop_assert!(matches!(error, Error::MissingManifest { .. }), "{error}");
            }
            (Err(_), Err(error)) => {
                let said = error.to_string();
                let is_told = ["repair", "newer zerocask"].iter().any(|what| said.contains(what));
                prop_assert!(is_told, "{}", said);
            }
            (expected, found) => {
                prop_assert!(false, "a scan: {expected:?}\nfound: {:?}", found.map(|(shown, _)| shown));
            }
        }
    }
}
