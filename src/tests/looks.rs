//! Read-only stores beside a writer that acts at every look that they take at the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::hazards::MANY;
use super::read_only::Reading;
use super::support::{Contents, Machine, contents};
use crate::batch::Batch;
use crate::error::Error;
use crate::fs::sim::{Op, SimFs};
use crate::options::ReadMode;
use crate::record::Record;
use crate::store::Store;

/// A writer that says what the store has held after each of its steps.
struct Writer {
    machine: Machine,
    store: Store,
    states: Vec<Contents>,
}

impl Writer {
    fn new() -> Self {
        let machine = Machine::new(150);
        let store = machine.open().unwrap();
        let mut writer = Writer { machine, store, states: vec![Contents::new()] };
        (0..12).for_each(|n| writer.put(n % 5, n));
        writer.delete(0);
        writer
    }

    fn step(&mut self, act: impl FnOnce(&Store)) {
        act(&self.store);
        self.states.push(contents(&self.store));
    }

    fn put(&mut self, key: usize, n: usize) {
        self.step(|store| {
            store.put(format!("key {key}"), format!("{n} ").repeat(1 + n % 9)).unwrap()
        });
    }

    fn delete(&mut self, key: usize) {
        self.step(|store| assert!(store.delete(format!("key {key}")).is_ok()));
    }

    fn compact(&mut self) {
        self.step(|store| assert!(store.compact().is_ok()));
    }

    fn reopen(&mut self) {
        self.store.clone().close().unwrap();
        self.store = self.machine.open().unwrap();
    }

    fn recover(&mut self) {
        self.machine = self.machine.end_process();
        self.store = self.machine.open().unwrap();
    }
}

type Act = fn(&mut Writer);

/// What a writer does while a read-only store looks at the files.
const ACTS: [(&str, Act); 8] = [
    ("batches", |writer| {
        for n in 0..3 {
            let mut batch = Batch::new();
            (0..4).for_each(|key| _ = batch.put(format!("key {key}"), format!("{n}").repeat(30)));
            batch.delete(format!("key {}", 4 + n));
            writer.step(|store| store.write(&batch).unwrap());
        }
    }),
    ("rotations", |writer| (0..9).for_each(|n| writer.put(n % 4, 100 + n))),
    ("a compaction", Writer::compact),
    ("overwriting and a compaction", |writer| {
        (0..5).for_each(|n| writer.put(n, 200 + n));
        writer.compact();
        writer.put(1, 300);
    }),
    ("deleting everything and a compaction", |writer| {
        (0..5).for_each(|n| writer.delete(n));
        writer.compact();
    }),
    ("closing, taking up a small segment", |writer| {
        writer.reopen();
        writer.put(2, 400);
        writer.reopen();
        writer.put(7, 401);
    }),
    ("a crash and a recovery", |writer| {
        (0..3).for_each(|n| writer.put(3, 500 + n));
        writer.recover();
        writer.put(3, 503);
    }),
    ("two compactions", |writer| {
        writer.put(1, 600);
        writer.compact();
        writer.delete(1);
        writer.compact();
        writer.put(9, 601);
    }),
];

/// The keys of a store that others change, of which none may go back to an older state.
#[derive(Default)]
struct Watch {
    /// For each key, the first state that may have been seen.
    seen: BTreeMap<Vec<u8>, usize>,
}

impl Watch {
    fn look(&mut self, store: &Store, states: &[Contents]) {
        for key in (0..10).map(|n| format!("key {n}").into_bytes()) {
            let found = store.get(&key).unwrap().map(|value| value.to_vec());
            let seen = self.seen.entry(key.clone()).or_default();
            let later = states[*seen..].iter().position(|state| state.get(&key) == found.as_ref());
            let key = String::from_utf8_lossy(&key).into_owned();
            *seen += later.unwrap_or_else(|| panic!("{key} went back to {found:?}"));
        }
    }
}

#[test]
fn a_refresh_is_right_whatever_a_writer_does_at_any_look_of_it_at_the_disk() {
    for mode in [ReadMode::Mapped, ReadMode::Copy] {
        for (name, act) in ACTS {
            for (before_name, before) in ACTS {
                for look in 0..MANY {
                    let mut writer = Writer::new();
                    writer.machine.options = writer.machine.options.read_mode(mode);
                    let reading = Reading::open(&writer.machine).unwrap();
                    before(&mut writer);
                    let earliest = writer.states.len() - 1;
                    let fs = writer.machine.fs.clone();
                    let (writer, watch) = (Arc::new(Mutex::new(writer)), Watch::default());
                    let watch = Arc::new(Mutex::new(watch));
                    let meanwhile =
                        (Arc::clone(&writer), Arc::clone(&watch), reading.store.clone());
                    fs.at_look(look, move || {
                        let (writer, watch, store) = meanwhile;
                        watch.lock().look(&store, &writer.lock().states);
                        act(&mut writer.lock());
                        watch.lock().look(&store, &writer.lock().states);
                    });
                    let found = reading.refreshed();
                    let is_over = fs.forget_look();
                    let writer = writer.lock();
                    let told = format!("{before_name}, then {name} at look {look}");
                    assert!(writer.states[earliest..].contains(&found), "{told}: {found:?}");
                    watch.lock().look(&reading.store, &writer.states);
                    assert_eq!(Some(&reading.refreshed()), writer.states.last(), "{told}");
                    if is_over {
                        assert!(look >= 7, "{look}");
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn an_opening_is_right_whatever_a_writer_does_at_any_look_of_it_at_the_disk() {
    for (name, act) in ACTS {
        for look in 0..MANY {
            let writer = Writer::new();
            let (fs, machine) = (writer.machine.fs.clone(), writer.machine.clone());
            let earliest = writer.states.len() - 1;
            let writer = Arc::new(Mutex::new(writer));
            let acting = Arc::clone(&writer);
            fs.at_look(look, move || act(&mut acting.lock()));
            let reading = Reading::open(&machine).unwrap_or_else(|error| {
                panic!("{name} at look {look}: {error}");
            });
            let is_over = fs.forget_look();
            let found = contents(&reading.store);
            let writer = writer.lock();
            let told = format!("{name} at look {look}: {found:?}");
            assert!(writer.states[earliest..].contains(&found), "{told}");
            assert_eq!(Some(&reading.refreshed()), writer.states.last(), "{told}");
            if is_over {
                assert!(look >= 7, "{look}");
                break;
            }
        }
    }
}

#[test]
fn files_without_a_manifest_are_read_right_whatever_a_writer_does_at_any_look_at_the_disk() {
    let acts: [fn(&mut Writer); 3] = [
        |_| {},
        |writer| writer.put(1, 100),
        |writer| {
            (0..5).for_each(|key| writer.delete(key));
            writer.put(9, 100);
            writer.compact();
        },
    ];
    for act in acts {
        for look in 0..MANY {
            let machine = Machine::new(150);
            for n in 0..4u8 {
                let (key, value) = (format!("key {n}"), format!("{n} ").repeat(9));
                let records = [
                    Record::plain(1, b"key 4", value.as_bytes()),
                    Record::plain(1, key.as_bytes(), value.as_bytes()),
                ];
                machine.write_records(&format!("0000000{}.data", n + 1), &records);
            }
            let before = contents(&Reading::open(&machine).unwrap().store);
            let (acting, writer) = (machine.clone(), Arc::new(Mutex::new(None)));
            let (taken_over, states) = (Arc::clone(&writer), vec![before.clone()]);
            machine.fs.at_look(look, move || {
                let store = acting.open().unwrap();
                let writer = Writer { machine: acting, store, states };
                act(taken_over.lock().insert(writer));
            });
            let reading = Reading::open(&machine).unwrap();
            let is_over = machine.fs.forget_look();
            let found = contents(&reading.store);
            let writer = writer.lock();
            let states = writer.as_ref().map_or(std::slice::from_ref(&before), |w| &w.states);
            assert!(states.contains(&found), "at look {look}: {found:?}");
            assert_eq!(Some(&reading.refreshed()), states.last(), "at look {look}");
            if is_over {
                assert!(look >= 7, "{look}");
                break;
            }
        }
    }
}

/// Lets `act` happen at each look at the disk. Those that it takes itself do not count.
pub(super) fn at_each_look(fs: &SimFs, act: impl Fn() + Send + 'static) {
    let next = fs.clone();
    fs.at_look(0, move || {
        act();
        at_each_look(&next, act);
    });
}

/// A compaction begins and ends between two looks, and writes come in its middle: from its look on, readers watch
/// at every one.
#[test]
fn no_key_goes_back_at_any_look_when_writes_come_in_the_middle_of_a_compaction() {
    for mode in [ReadMode::Mapped, ReadMode::Copy] {
        for (op, name) in [(Op::Create, ".data.tmp"), (Op::Rename, ".data")] {
            for deletes in [false, true] {
                for look in 0..MANY {
                    let mut writer = Writer::new();
                    writer.machine.options = writer.machine.options.read_mode(mode);
                    let reading = Reading::open(&writer.machine).unwrap();
                    writer.put(1, 100);
                    let before = writer.states.len();
                    let (fs, store) = (writer.machine.fs.clone(), reading.store.clone());
                    let (compacting, writer) = (writer.store.clone(), Arc::new(Mutex::new(writer)));
                    let (watch, watched) = (Arc::<Mutex<Watch>>::default(), Arc::clone(&writer));
                    let check = move || watch.lock().look(&store, &watched.lock().states);
                    let (beside, checks, disk) = (Arc::clone(&writer), check.clone(), fs.clone());
                    fs.at_look(look, move || {
                        disk.before(op, name, move || {
                            let mut writer = beside.lock();
                            for n in 0..6 {
                                writer.put(n % 3 + 1, 200 + n);
                                if deletes {
                                    writer.delete(n % 4);
                                }
                            }
                            writer.delete(4);
                        });
                        assert!(compacting.compact().unwrap().segments_removed > 0);
                        checks();
                        at_each_look(&disk, checks);
                    });
                    reading.refresh();
                    fs.forget_look();
                    check();
                    let writer = writer.lock();
                    assert!(writer.states.contains(&contents(&reading.store)), "look {look}");
                    assert_eq!(Some(&reading.refreshed()), writer.states.last(), "look {look}");
                    if writer.states.len() == before {
                        assert!(look >= 7, "{look}");
                        break;
                    }
                }
            }
        }
    }
}

/// Lets `act` happen again and again, with so many looks at the disk between, until it is over.
fn again_and_again(
    fs: &SimFs,
    looks: u64,
    over: &Arc<AtomicBool>,
    act: impl Fn() + Send + 'static,
) {
    let (next, over) = (fs.clone(), Arc::clone(over));
    fs.at_look(looks, move || {
        if !over.load(Ordering::Relaxed) {
            act();
            again_and_again(&next, looks, &over, act);
        }
    });
}

#[test]
fn a_writer_that_rotates_all_the_time_holds_nobody_up() {
    let machine = Machine::new(64);
    let writer = machine.open().unwrap();
    writer.put("key", "x".repeat(64)).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let busy = writer.clone();
    // Each look at all the files takes more looks at the disk, and so finds another manifest.
    again_and_again(&machine.fs, 5, &over, move || {
        busy.put(format!("{}", busy.len()), "x".repeat(64)).unwrap();
    });
    let reading = Reading::open(&machine).unwrap();
    let mut before = 0;
    for _ in 0..2 {
        assert!(writer.len() > before + 99, "it was busy");
        before = writer.len();
        reading.refresh();
        assert!(reading.store.len() >= before, "all that was there is seen");
    }
    over.store(true, Ordering::Relaxed);
    assert_eq!(reading.refreshed(), contents(&writer));
}

#[test]
fn files_that_go_at_each_look_are_an_error_in_the_end_and_no_hang() {
    let machine = Machine::new(64);
    let writer = machine.open().unwrap();
    for n in 0..4 {
        writer.put(format!("{n}"), "x".repeat(64)).unwrap();
    }
    let reading = Reading::open(&machine).unwrap();
    let before = contents(&reading.store);
    let over = Arc::new(AtomicBool::new(false));
    let busy = writer.clone();
    again_and_again(&machine.fs, 0, &over, move || {
        busy.put("key", "x".repeat(64)).unwrap();
        busy.put("key", "y".repeat(64)).unwrap();
        busy.compact().unwrap();
    });
    assert!(matches!(Reading::open(&machine), Err(Error::Unsettled { looks: 100, .. })));
    assert!(matches!(reading.store.refresh(), Err(Error::Unsettled { .. })));
    assert_eq!(contents(&reading.store), before);
    over.store(true, Ordering::Relaxed);
    assert_eq!(reading.refreshed(), contents(&writer));
}
