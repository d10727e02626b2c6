//! Watchers: what is written is told, in its order, when readers see it; and what is missed is said.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::model::calm_step;
use super::support::Machine;
use crate::batch::Batch;
use crate::error::Error;
use crate::feed::{Event, Kind, Watcher};
use crate::fs::sim::Op;
use crate::model::{Run, Step};
use crate::options::Durability;
use crate::store::Store;

/// Nothing takes as long that comes at all.
const LONG: Duration = Duration::from_secs(60);

fn store() -> (Machine, Store) {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    (machine, store)
}

/// Key and kind of everything that waits.
fn told(watcher: &mut Watcher) -> Vec<(String, Kind)> {
    let next = || match watcher.try_next() {
        Ok(Some(Event::Changed { key, kind, .. })) => {
            Some((String::from_utf8(key.to_vec()).unwrap(), kind))
        }
        Ok(None) | Err(Error::Closed) => None,
        other => panic!("{other:?}"),
    };
    std::iter::from_fn(next).collect()
}

fn put(key: &str) -> (String, Kind) {
    (key.to_owned(), Kind::Put)
}

fn delete(key: &str) -> (String, Kind) {
    (key.to_owned(), Kind::Delete)
}

#[test]
fn every_write_of_a_prefix_is_told_in_its_order() {
    let (_machine, store) = store();
    store.put("a/before", "x").unwrap();
    let mut all = store.watch("").unwrap();
    let mut some = store.watch("a/").unwrap();
    let mut none = store.watch("a/b/c").unwrap();
    store.put("a/1", "x").unwrap();
    store.put_with("b/2", "x", Durability::Synced).unwrap();
    store
        .write(Batch::new().put("a/3", "x").put("b/4", "x").delete("a/none").put("a/", ""))
        .unwrap();
    store.put_as("a/5", &7u64).unwrap();
    store.delete("a/1").unwrap();
    store.delete("a/not there").unwrap();
    store.put("a", "no prefix").unwrap();
    assert!(store.put_if_absent("a/6", "x").unwrap());
    assert!(!store.put_if_absent("a/6", "y").unwrap());
    assert!(store.rename("a/6", "b/6").unwrap());
    let expected = [
        put("a/1"),
        put("b/2"),
        put("a/3"),
        put("b/4"),
        delete("a/none"),
        delete("a/"),
        put("a/5"),
        delete("a/1"),
        put("a"),
        put("a/6"),
        put("b/6"),
        delete("a/6"),
    ];
    assert_eq!(told(&mut all), expected);
    let is_a = |(key, _): &(String, Kind)| key.starts_with("a/");
    assert_eq!(told(&mut some), expected.into_iter().filter(is_a).collect::<Vec<_>>());
    assert_eq!(told(&mut none), []);
}

#[test]
fn the_log_has_what_was_told_at_the_position_that_was_told() {
    let machine = Machine::new(150);
    let store = machine.open().unwrap();
    let mut watcher = store.watch("").unwrap();
    for n in 0..10 {
        store.put(format!("{n}"), "x").unwrap();
        store.write(Batch::new().delete(format!("{n}")).put("b", "y")).unwrap();
    }
    assert!(machine.data().len() > 3);
    for _ in 0..30 {
        let Some(Event::Changed { key, kind, position, .. }) = watcher.try_next().unwrap() else {
            panic!("30 writes");
        };
        let mut run = store.log(position).map(Result::unwrap);
        let first = run.next().unwrap();
        assert_eq!(first.position, position);
        let mut is_there = (&*first.key, first.kind) == (&*key, kind);
        if !first.ends_batch() {
            let second = run.next().unwrap();
            is_there |= (&*second.key, second.kind) == (&*key, kind);
        }
        assert!(is_there);
    }
}

#[test]
fn what_there_is_no_room_for_is_counted_and_said_before_what_comes_after_it() {
    let (_machine, store) = store();
    let mut small = store.watch_with("", 3).unwrap();
    let mut large = store.watch("").unwrap();
    let mut nothing = store.watch_with("", 0).unwrap();
    for n in 0..3 {
        store.put(format!("{n}"), "x").unwrap();
    }
    assert_eq!(told(&mut small).len(), 3, "it has room for three");
    for n in 0..9 {
        store.put(format!("{n}"), "x").unwrap();
    }
    let start = small.try_next().unwrap();
    let Some(Event::Lagged { missed, position }) = start else { panic!("{start:?}") };
    // Four and four; one is left.
    assert_eq!(missed, 8);
    assert_eq!(told(&mut small), [put("8")]);
    let again: Vec<_> = store.log(position).map(|entry| entry.unwrap().key.to_vec()).collect();
    let expected: Vec<_> = (0..9).map(|n| format!("{n}").into_bytes()).collect();
    assert_eq!(again, expected, "from there on the log has what is missing");
    assert_eq!(told(&mut large).len(), 12, "others miss nothing");
    let first = nothing.try_next().unwrap().unwrap();
    assert!(matches!(first, Event::Lagged { missed: 12, .. }), "{first:?}");
    assert_eq!(nothing.try_next().unwrap(), None);
}

#[test]
fn a_store_that_is_cleared_is_told_to_all() {
    let (_machine, store) = store();
    let mut watcher = store.watch("a").unwrap();
    let mut small = store.watch_with("none", 0).unwrap();
    store.put("a", "1").unwrap();
    store.put("b", "1").unwrap();
    store.clear().unwrap();
    store.put("c", "1").unwrap();
    assert!(matches!(watcher.try_next(), Ok(Some(Event::Changed { .. }))));
    let Ok(Some(Event::Cleared { position })) = watcher.try_next() else {
        panic!("it was cleared")
    };
    assert_eq!(watcher.try_next().unwrap(), None);
    assert!(matches!(small.try_next(), Ok(Some(Event::Lagged { missed: 1, .. }))));
    let keys: Vec<_> = store.log(position).map(|entry| entry.unwrap().key.to_vec()).collect();
    assert_eq!(keys, [b"c"]);
}

#[test]
fn what_is_lost_of_a_batch_is_found_at_its_beginning() {
    let (_machine, store) = store();
    let mut watcher = store.watch_with("", 2).unwrap();
    store.put("before", "x").unwrap();
    told(&mut watcher);
    store.write(Batch::new().put("a", "1").put("b", "2").put("c", "3").put("d", "4")).unwrap();
    let lagged = watcher.try_next().unwrap().unwrap();
    assert!(matches!(lagged, Event::Lagged { missed: 3, .. }), "{lagged:?}");
    assert_eq!(store.log(lagged.position()).count(), 4);
    assert_eq!(told(&mut watcher), [put("d")]);
}

#[test]
fn watchers_end_when_the_store_is_closed_and_do_not_keep_it_open() {
    let endings: [fn(Store); 2] = [|store| store.close().unwrap(), drop];
    for end in endings {
        let (machine, store) = store();
        let mut waiting = store.watch("").unwrap();
        let mut full = store.watch("").unwrap();
        let mut timed = store.watch("other").unwrap();
        let (counted, count) = mpsc::channel();
        thread::spawn(move || counted.send(waiting.by_ref().count()));
        let (ended, end_of_timed) = mpsc::channel();
        thread::spawn(move || ended.send(timed.next_timeout(Duration::MAX)));
        store.put("a", "1").unwrap();
        store.put("b", "2").unwrap();
        end(store);
        assert_eq!(count.recv_timeout(LONG).unwrap(), 2);
        assert!(matches!(end_of_timed.recv_timeout(LONG).unwrap(), Err(Error::Closed)));
        assert_eq!(
            full.next_timeout(Duration::MAX).unwrap().map(|e| matches!(e, Event::Changed { .. })),
            Some(true)
        );
        assert_eq!(told(&mut full), [put("b")]);
        assert!(matches!(full.try_next(), Err(Error::Closed)));
        assert!(matches!(full.next_timeout(Duration::ZERO), Err(Error::Closed)));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(full.poll_next(&mut cx), Poll::Ready(None));
        assert_eq!(full.next(), None);
        machine.open().unwrap();
    }
}

#[test]
fn closed_and_read_only_stores_are_not_watched() {
    let (machine, store) = store();
    let reading = machine.read_only().open().unwrap();
    assert!(matches!(reading.watch(""), Err(Error::ReadOnly)));
    store.clone().close().unwrap();
    assert!(matches!(store.watch(""), Err(Error::Closed)));
}

#[test]
fn who_has_left_is_told_nothing_and_when_all_have_nothing_is_kept() {
    let (_machine, store) = store();
    let watchers = Arc::clone(&store.inner_log().watchers);
    assert!(!watchers.is_any());
    let first = store.watch("").unwrap();
    let mut second = store.watch("").unwrap();
    drop(first);
    assert!(watchers.is_any());
    store.put("a", "1").unwrap();
    assert_eq!(told(&mut second), [put("a")]);
    drop(second);
    assert!(!watchers.is_any());
    store.put("b", "2").unwrap();
    assert_eq!(told(&mut store.watch("").unwrap()), []);
}

#[test]
fn only_what_was_written_is_told() {
    let (machine, store) = store();
    store.put("a", "1").unwrap();
    store.put("a", "2").unwrap();
    let mut watcher = store.watch("").unwrap();
    store.compact().unwrap();
    assert_eq!(told(&mut watcher), []);
    machine.fs.fail_next(Op::Create, ".data", ErrorKind::StorageFull);
    assert!(store.put("b", "no room").is_err());
    assert!(store.put("c".repeat(1 << 24), "too long").is_err());
    assert!(store.write(Batch::new().put("b", "1").put_aligned("c", "1", 3)).is_err());
    store.put("b", "there is now").unwrap();
    machine.fs.fail_next(Op::Write, ".data", ErrorKind::StorageFull);
    assert!(store.write(Batch::new().put("c", "1").put("d", "1")).is_err());
    store.put("g", "what failed is cut off").unwrap();
    assert_eq!(told(&mut watcher), [put("b"), put("g")]);
    // It is not known whether it survives; but it can be read.
    machine.fs.fail_next(Op::Sync, ".data", ErrorKind::Other);
    assert!(matches!(store.put_with("e", "1", Durability::Synced), Err(Error::Poisoned { .. })));
    assert!(store.contains_key("e").unwrap());
    assert_eq!(told(&mut watcher), [put("e")]);
    assert!(store.put("f", "1").is_err());
    assert_eq!(told(&mut watcher), []);
}

#[test]
fn a_time_out_ends_the_waiting_and_no_more() {
    let (_machine, store) = store();
    let mut watcher = store.watch("").unwrap();
    assert_eq!(watcher.next_timeout(Duration::from_millis(1)).unwrap(), None);
    store.put("a", "1").unwrap();
    assert!(watcher.next_timeout(Duration::ZERO).unwrap().is_some());
    assert_eq!(watcher.next_timeout(Duration::ZERO).unwrap(), None);
}

/// Looks at the store when it is woken, and writes to it.
struct Looking {
    store: Store,
    seen: Mutex<Vec<Option<Vec<u8>>>>,
}

impl Wake for Looking {
    fn wake(self: Arc<Self>) {
        let value = self.store.get("key").unwrap().map(|value| value.to_vec());
        // It would wait for itself otherwise.
        if self.store.inner_log().is_free() {
            self.seen.lock().push(value);
            self.store.put("woken", "x").unwrap();
        }
    }
}

struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("the task's own affair");
    }
}

#[test]
fn a_waker_that_panics_harms_no_one_else() {
    let (_machine, store) = store();
    let mut watchers = [(); 3].map(|()| store.watch("").unwrap());
    let looking = Arc::new(Looking { store: store.clone(), seen: Mutex::default() });
    let wakers = [looking.clone().into(), Arc::new(Panicking).into(), looking.clone().into()];
    let wait = |watchers: &mut [Watcher]| {
        for (watcher, waker) in watchers.iter_mut().zip(&wakers) {
            while watcher.poll_next(&mut Context::from_waker(waker)).is_ready() {}
        }
    };
    wait(&mut watchers);
    store.put("key", "value").unwrap();
    let seen = || std::mem::take(&mut *looking.seen.lock()).len();
    assert_eq!(seen(), 2);
    wait(&mut watchers);
    store.clear().unwrap();
    assert_eq!(seen(), 2);
}

#[test]
fn a_prefix_may_write_to_the_store_that_it_watches() {
    struct Writing(Store);
    impl AsRef<[u8]> for Writing {
        fn as_ref(&self) -> &[u8] {
            self.0.put("beside", "value").unwrap();
            b"key"
        }
    }
    let (_machine, store) = store();
    let mut watcher = store.watch(Writing(store.clone())).unwrap();
    store.put("key", "value").unwrap();
    assert_eq!(told(&mut watcher), [put("key")]);
}

#[test]
fn who_keeps_what_comes_next_is_told_that_a_crash_took_it() {
    let mut machine = Machine::new(4096);
    machine.options = machine.options.durability(Durability::Buffered);
    let store = machine.open().unwrap();
    store.put("key", "old").unwrap();
    store.flush().unwrap();
    let mut watcher = store.watch("").unwrap();
    store.put("key", "new").unwrap();
    let event = watcher.try_next().unwrap();
    let Some(Event::Changed { next, .. }) = event else { panic!("{event:?}") };
    let machine = machine.kill();
    let store = machine.open().unwrap();
    assert_eq!(store.get("key").unwrap().unwrap(), "old");
    assert!(matches!(store.log(next).next(), Some(Err(Error::Gone { .. }))));
}

#[test]
fn a_task_is_woken_when_readers_see_what_is_told_and_may_write() {
    let (_machine, store) = store();
    let mut watcher = store.watch("key").unwrap();
    let looking = Arc::new(Looking { store: store.clone(), seen: Mutex::default() });
    let waker = Waker::from(Arc::clone(&looking));
    let mut cx = Context::from_waker(&waker);
    assert_eq!(watcher.poll_next(&mut cx), Poll::Pending);
    store.put("another", "1").unwrap();
    store.put("key", "1").unwrap();
    assert!(matches!(watcher.poll_next(&mut cx), Poll::Ready(Some(Event::Changed { .. }))));
    store.put("key", "2").unwrap();
    assert!(watcher.poll_next(&mut cx).is_ready(), "there was nobody to wake");
    assert_eq!(watcher.poll_next(&mut cx), Poll::Pending);
    store.write(Batch::new().put("first", "x").put("key", "3")).unwrap();
    assert!(watcher.poll_next(&mut cx).is_ready());
    assert_eq!(watcher.poll_next(&mut cx), Poll::Pending);
    store.delete("key").unwrap();
    let values = ["1", "3"].map(|value| Some(value.as_bytes().to_vec()));
    assert_eq!(*looking.seen.lock(), [&values[..], &[None]].concat());
    assert!(watcher.poll_next(&mut cx).is_ready());
    assert_eq!(watcher.poll_next(&mut cx), Poll::Pending);
    // Only the task's own handle can close it now.
    let looking_at_the_end = Arc::new(Counting::default());
    let waker = Waker::from(Arc::clone(&looking_at_the_end));
    assert_eq!(watcher.poll_next(&mut Context::from_waker(&waker)), Poll::Pending);
    store.close().unwrap();
    assert_eq!(*looking_at_the_end.0.lock(), 1);
    assert_eq!(watcher.poll_next(&mut cx), Poll::Ready(None));
}

#[derive(Default)]
struct Counting(Mutex<usize>);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        *self.0.lock() += 1;
    }
}

#[test]
fn what_is_told_can_be_read_beside_writers() {
    let mut machine = Machine::new(4096);
    machine.options = machine.options.durability(Durability::Buffered);
    let store = machine.open().unwrap();
    let mut watcher = store.watch_with("", 1 << 20).unwrap();
    thread::scope(|scope| {
        let writers: Vec<_> = ["a", "b"]
            .map(|key| {
                let store = &store;
                scope.spawn(move || {
                    (0..2000u32).for_each(|n| store.put(key, n.to_be_bytes()).unwrap())
                })
            })
            .into();
        scope.spawn(|| {
            let mut counts: HashMap<Vec<u8>, u32> = HashMap::new();
            for event in watcher.by_ref().take(4000) {
                let Event::Changed { key, .. } = event else { panic!("{event:?}") };
                let value = store.get(&key).unwrap().unwrap();
                let value = u32::from_be_bytes(value.as_ref().try_into().unwrap());
                let count = counts.entry(key.to_vec()).or_default();
                assert!(value >= *count, "{value} after event {count}");
                *count += 1;
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
}

proptest! {
    #[test]
    fn a_watcher_is_told_what_the_log_shows(steps in prop::collection::vec(calm_step(), 1..60)) {
        let mut run = Run::new(super::model::plain_setup());
        let mut watcher = run.store.watch("kk").unwrap();
        let (mut from_log, mut from_watcher) = (Vec::new(), Vec::new());
        for step in &steps {
            if matches!(step, Step::Reopen | Step::Compact | Step::Clear) {
                continue;
            }
            let before = run.store.end().unwrap();
            run.take(step);
            let entries = run.store.log(before).map(Result::unwrap);
            let entries = entries.filter(|entry| entry.key.starts_with(b"kk"));
            from_log.extend(entries.map(|e| (e.key.to_vec(), e.kind, e.position)));
            let mut told = None;
            while let Some(event) = watcher.try_next().unwrap() {
                let Event::Changed { key, kind, position, next } = event else {
                    panic!("{event:?}")
                };
                from_watcher.push((key.to_vec(), kind, position));
                // Who has dealt with all that is told of a write goes on behind it, who has not begins it anew.
                if let Some((before, after)) = told.replace((position, next)) {
                    prop_assert_eq!(before == position, before == after);
                }
            }
            prop_assert!(told.is_none_or(|(position, next)| position < next));
        }
        prop_assert_eq!(from_log, from_watcher);
    }
}
