//! How far a write gets before it returns, and who syncs.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::support::{Machine, contents, value};
use crate::batch::Batch;
use crate::error::Error;
use crate::fs::sim::{Op, SimFs};
use crate::options::Durability;
use crate::store::Store;

#[test]
fn a_call_may_ask_for_another_durability_than_the_store() {
    let writes: [fn(&Store, Durability) -> crate::Result<()>; 3] = [
        |store, durability| store.put_with("new", "x", durability),
        |store, durability| store.delete_with("old", durability).map(drop),
        |store, durability| {
            store.write_with(Batch::new().put("new", "x").delete("old"), durability)
        },
    ];
    for write in writes {
        let after = |durability| {
            let machine = Machine::new(4096);
            let store = machine.open().unwrap();
            store.put_with("old", "x", Durability::Synced).unwrap();
            let before = contents(&store);
            write(&store, durability).unwrap();
            let after = contents(&store);
            assert_ne!(before, after);
            // Dropping it would close it.
            (machine, store.stats(), before, after, store)
        };
        let (machine, stats, before, _, _store) = after(Durability::Buffered);
        assert!(stats.buffered_bytes > 0 && stats.unsynced_bytes >= stats.buffered_bytes);
        assert_eq!(contents(&machine.kill().open().unwrap()), before);

        let (machine, stats, _, after_it, _store) = after(Durability::Flushed);
        assert!(stats.buffered_bytes == 0 && stats.unsynced_bytes > 0);
        assert_eq!(contents(&machine.kill().open().unwrap()), after_it);

        let (machine, stats, _, after_it, _store) = after(Durability::Synced);
        assert_eq!(stats.unsynced_bytes, 0);
        for seed in 0..20 {
            assert_eq!(contents(&machine.crash(seed).open().unwrap()), after_it);
        }
    }
}

#[test]
fn what_an_interval_lets_return_is_durable_soon_after() {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    for round in 0..3u8 {
        for n in 0..3u8 {
            store.put_with([round, n], "x", Durability::Interval(Duration::ZERO)).unwrap();
        }
        while store.stats().unsynced_bytes > 0 {
            std::thread::yield_now();
        }
    }
    // What nobody has handed to the system, nobody waits for.
    store.put_with("flushed", "x", Durability::Interval(Duration::ZERO)).unwrap();
    let expected = contents(&store);
    store.put_with("buffered", "x", Durability::Buffered).unwrap();
    while store.stats().unsynced_bytes > store.stats().buffered_bytes {
        std::thread::yield_now();
    }
    for seed in 0..20 {
        assert_eq!(contents(&machine.crash(seed).open().unwrap()), expected);
    }
}

#[test]
fn a_sync_that_is_not_due_yet_keeps_no_closing_waiting() {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    for interval in [Duration::from_secs(1 << 40), Duration::from_secs(3600), Duration::MAX] {
        store.put_with("later", "x", Durability::Interval(interval)).unwrap();
    }
    assert!(store.stats().unsynced_bytes > 0);
    store.close().unwrap();
}

#[test]
fn an_interval_s_sync_that_fails_is_told_by_the_next_write() {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.sync().unwrap();
    store.put("named", "x").unwrap();
    store.sync().unwrap();
    machine.fs.fail_next(Op::Sync, ".data", ErrorKind::Other);
    store.put_with("a", "x", Durability::Interval(Duration::ZERO)).unwrap();
    let refused = loop {
        if let Err(error) = store.put("b", "x") {
            break error;
        }
        std::thread::yield_now();
    };
    assert!(matches!(refused, Error::Poisoned { .. }), "{refused}");
    assert_eq!(value(&store, "a").as_deref(), Some("x"));
}

fn count_syncs(fs: SimFs, count: Arc<AtomicUsize>) {
    let again = fs.clone();
    fs.before(Op::Sync, ".data", move || {
        count.fetch_add(1, Ordering::SeqCst);
        count_syncs(again, count);
    });
}

/// While a sync runs, others write; all of them are durable by one sync more.
#[test]
fn those_who_wait_share_a_sync() {
    const WRITERS: usize = 6;
    let mut machine = Machine::new(1 << 20);
    machine.options = machine.options.durability(Durability::Synced);
    let store = machine.open().unwrap();
    store.put("first", "x").unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let writers = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let (others, counted, started) = (store.clone(), Arc::clone(&syncs), Arc::clone(&writers));
    let fs = machine.fs.clone();
    machine.fs.before(Op::Sync, ".data", move || {
        let before = others.stats().bytes;
        for n in 0..WRITERS {
            let store = others.clone();
            started.lock().push(std::thread::spawn(move || store.put([n as u8], "together")));
        }
        // A writer that waits for a sync keeps nobody from appending.
        while others.len() < 2 + WRITERS {
            std::thread::yield_now();
        }
        assert!(others.stats().bytes > before);
        count_syncs(fs, counted);
    });
    store.put("second", "x").unwrap();
    for writer in std::mem::take(&mut *writers.lock()) {
        writer.join().unwrap().unwrap();
    }
    assert_eq!(syncs.load(Ordering::SeqCst), 1);
    // What counts them holds the machine that holds it.
    machine.fs.before(Op::Rename, "nothing", || {});
    let expected = contents(&store);
    for seed in 0..20 {
        assert_eq!(contents(&machine.crash(seed).open().unwrap()), expected);
    }
}

/// A file that is synced while it grows is longer than its records, and nobody minds.
#[test]
fn zeros_behind_the_log_are_cut_where_it_is_sealed_and_no_damage_after_a_kill() {
    let mut machine = Machine::new(1 << 24);
    machine.options = machine.options.durability(Durability::Synced);
    let store = machine.open().unwrap();
    let records = |store: &Store| store.stats().bytes;
    for n in 0..3u8 {
        store.put([n], "x").unwrap();
    }
    assert!(machine.total_len(".data") > records(&store) + 1000);
    let expected = contents(&store);
    let killed = machine.kill();
    let reopened = killed.open().unwrap();
    assert_eq!(contents(&reopened), expected);
    assert!(reopened.recovery_report().cuts.is_empty());
    assert_eq!(killed.total_len(".data"), records(&reopened));
    reopened.put("more", "x").unwrap();
    reopened.put("more", "y").unwrap();
    let bytes = records(&reopened);
    reopened.close().unwrap();
    assert_eq!(killed.total_len(".data"), bytes);
}

/// Who is told that a key is gone may rely on it as on a write.
#[test]
fn a_delete_that_finds_nothing_is_as_durable_as_one_that_does() {
    for durability in [Durability::Flushed, Durability::Synced] {
        let machine = Machine::new(4096);
        let store = machine.open().unwrap();
        store.put_with("key", "x", Durability::Synced).unwrap();
        assert!(store.delete_with("key", Durability::Buffered).unwrap());
        assert!(!store.delete_with("key", durability).unwrap());
        assert_eq!(store.stats().buffered_bytes, 0);
        if durability == Durability::Synced {
            for seed in 0..20 {
                assert!(machine.crash(seed).open().unwrap().is_empty());
            }
        } else {
            assert!(machine.kill().open().unwrap().is_empty());
        }
    }
}

#[test]
fn what_an_interval_has_let_return_is_durable_also_if_closing_fails() {
    let machine = Machine::new(4096);
    let store = machine.open().unwrap();
    store.put_with("a", "x", Durability::Interval(Duration::from_secs(3600))).unwrap();
    store.put_with("b", "x", Durability::Buffered).unwrap();
    machine.fs.set_capacity(Some(machine.fs.total_len()));
    assert!(matches!(store.close(), Err(Error::Io { .. })));
    machine.fs.set_capacity(None);
    for seed in 0..20 {
        let found = contents(&machine.crash(seed).open().unwrap());
        assert_eq!(found.into_keys().collect::<Vec<_>>(), [b"a"]);
    }
}

#[test]
fn the_system_is_told_of_every_page_once_to_begin_to_write_it() {
    let mut machine = Machine::new(8 << 20);
    machine.options = machine.options.durability(Durability::Buffered);
    let store = machine.open().unwrap();
    for n in 0..15_000u32 {
        store.put(n.to_be_bytes(), [b'#'; 150]).unwrap();
    }
    store.put("large", [b'#'; 300_000]).unwrap();
    store.put("larger", vec![b'#'; 1_500_000]).unwrap();
    assert!(machine.fs.started().len() > 2, "beside what is appended");
    let mut batch = Batch::new();
    (0..1000u32).for_each(|n| _ = batch.put(n.to_le_bytes(), [b'#'; 150]));
    store.write_with(&batch, Durability::Synced).unwrap();
    let started = machine.fs.started();
    assert_eq!(started[0].start, 0);
    assert!(started.windows(2).all(|two| two[0].end == two[1].start), "{started:?}");
    assert!(started.iter().all(|part| part.end % 4096 == 0), "{started:?}");
    let len = machine.total_len("data");
    let rest = len - started.last().unwrap().end;
    assert!(len > 4 << 20 && rest < 8 << 10, "before the batch's sync: {len} {started:?}");
}
