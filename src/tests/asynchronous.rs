//! Stores among tasks: what waits for the disk holds up no executor, and what nobody waits for any more does no
//! harm. The disk waits for the test at a gate; no test waits for time to pass.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

use super::support::{Contents, Machine, contents, value};
use crate::asynchronous::AsyncStore;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::fs::sim::Op;
use crate::options::{Durability, Options};

/// After this a gate opens by itself, so that what it holds up by mistake fails and does not hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// Holds the next sync of a data file back until it is opened, or dropped.
struct Gate(Sender<()>);

impl Gate {
    fn new(machine: &Machine) -> Self {
        let (sender, opened) = mpsc::channel();
        machine.fs.before(Op::Sync, ".data", move || {
            let _ = opened.recv_timeout(PATIENCE);
        });
        Gate(sender)
    }

    fn open(self) {
        // It would be gone.
        self.0.send(()).expect("something waited for the gate that should not");
    }
}

fn machine(durability: Durability) -> Machine {
    let mut machine = Machine::new(1 << 20);
    machine.options = machine.options.durability(durability);
    machine
}

fn open(machine: &Machine) -> AsyncStore {
    AsyncStore::from(machine.open().unwrap())
}

/// The store, as soon as whoever closes it has.
fn reopen(machine: &Machine) -> crate::Store {
    loop {
        match machine.open() {
            Err(Error::Locked { .. }) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

/// One thread, which does nothing while anything blocks it, and one for what may wait, in the order in which it
/// was asked for.
pub(super) fn one_thread() -> Runtime {
    Builder::new_current_thread().max_blocking_threads(1).build().unwrap()
}

fn data_syncs(machine: &Machine) -> usize {
    let is_one = |(op, path): &(Op, std::path::PathBuf)| {
        *op == Op::Sync && path.to_string_lossy().ends_with(".data")
    };
    machine.fs.trace().iter().filter(|done| is_one(done)).count()
}

async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Tells when the future is waiting.
async fn told<T>(future: impl Future<Output = T>, waiting: &AtomicUsize) -> T {
    let mut future = pin!(future);
    match poll_once(future.as_mut()).await {
        Poll::Ready(output) => output,
        Poll::Pending => {
            waiting.fetch_add(1, Ordering::SeqCst);
            future.await
        }
    }
}

/// A thousand writes wait for one sync, and the executor's two threads go on running another task.
fn durable_writes_hold_up_no_executor(blocking_threads: usize) {
    const WRITES: usize = 1000;
    const BEATS: usize = 1000;
    let machine = machine(Durability::Synced);
    let mut threads = Builder::new_multi_thread();
    threads.worker_threads(2).max_blocking_threads(blocking_threads).thread_stack_size(256 << 10);
    let runtime = threads.build().unwrap();
    let store = open(&machine);
    runtime.block_on(store.put("first", "x")).unwrap();
    let (syncs, gate) = (data_syncs(&machine), Gate::new(&machine));
    let (waiting, done) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let write = |n: usize| {
        let (store, waiting, done) = (store.clone(), Arc::clone(&waiting), Arc::clone(&done));
        runtime.spawn(async move {
            let written = told(store.put(n.to_be_bytes(), "value"), &waiting).await;
            done.fetch_add(1, Ordering::SeqCst);
            written
        })
    };
    let writes: Vec<_> = (0..WRITES).map(write).collect();
    // As many are in the log as threads can be there to wait.
    let in_log = 1 + WRITES.min(blocking_threads);
    let heartbeat = runtime.spawn({
        let (store, waiting, done) = (store.clone(), Arc::clone(&waiting), Arc::clone(&done));
        async move {
            let load = |count: &AtomicUsize| count.load(Ordering::SeqCst);
            while load(&waiting) + load(&done) < WRITES || store.store().len() < in_log {
                yield_now().await;
            }
            for _ in 0..BEATS {
                assert_eq!(store.get("first").await.unwrap().unwrap(), "x");
                yield_now().await;
            }
            assert_eq!((load(&waiting), load(&done)), (WRITES, 0));
            gate.open();
        }
    });
    runtime.block_on(async {
        heartbeat.await.unwrap();
        for write in writes {
            write.await.unwrap().unwrap();
        }
    });
    // The one at the gate, one for all who were in the log by then, and those that were made later.
    let later = WRITES.saturating_sub(blocking_threads);
    assert!(data_syncs(&machine) - syncs <= 2 + later);
    assert!(data_syncs(&machine) - syncs < WRITES);
    let expected = contents(store.store());
    assert_eq!(expected.len(), 1 + WRITES);
    for seed in 0..3 {
        assert_eq!(contents(&machine.crash(seed).open().unwrap()), expected);
    }
}

#[test]
fn a_thousand_durable_writes_hold_up_no_executor_and_share_syncs() {
    durable_writes_hold_up_no_executor(1000);
}

#[test]
fn more_durable_writes_than_threads_wait_for_their_turn() {
    durable_writes_hold_up_no_executor(8);
}

#[test]
fn tasks_are_answered_as_threads_are() {
    let machine = machine(Durability::Buffered);
    one_thread().block_on(async {
        let store = open(&machine);
        assert_eq!(store.db_directory(), Machine::dir());
        for key in ["a", "b", "c"] {
            store.put(key, format!("of {key}")).await.unwrap();
        }
        assert!(store.delete("b").await.unwrap() && !store.delete("b").await.unwrap());
        let mut batch = Batch::new();
        batch.put("d", "of d").delete("a");
        store.write(batch).await.unwrap();
        for (key, expected) in [("a", None), ("b", None), ("c", Some("of c")), ("d", Some("of d"))]
        {
            assert_eq!(value(store.store(), key).as_deref(), expected);
            assert_eq!(store.contains_key(key).await.unwrap(), expected.is_some());
            let found = [store.get(key).await, store.get_off_thread(key).await];
            for found in found {
                assert!(found.unwrap().as_deref() == expected.map(str::as_bytes));
            }
        }
        let mut keys = store.keys().await.unwrap();
        keys.sort_by(|a, b| a.cmp(b));
        assert_eq!(keys, ["c", "d"]);
        assert!(store.store().stats().buffered_bytes > 0);
        store.flush().await.unwrap();
        assert_eq!(store.store().stats().buffered_bytes, 0);
        assert!(store.store().stats().unsynced_bytes > 0);
        store.sync().await.unwrap();
        assert_eq!(store.store().stats().unsynced_bytes, 0);
        assert_eq!(store.compact().await.unwrap().records_after, 2);
        let other = store.clone();
        store.close().await.unwrap();
        assert!(matches!(other.get("c").await, Err(Error::Closed)));
        assert!(matches!(other.put("c", "").await, Err(Error::Closed)));
    });
}

type Doing = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Something to ask of a store, and what becomes of "target" by it, which was "old".
struct Act {
    ask: fn(AsyncStore) -> Doing,
    after: Option<&'static str>,
}

/// Everything that leaves the thread. Each future can be sent.
const ACTS: &[Act] = &[
    Act {
        ask: |store| Box::pin(async move { store.put("target", "new").await }),
        after: Some("new"),
    },
    Act {
        ask: |store| Box::pin(async move { store.delete("target").await.map(drop) }),
        after: None,
    },
    Act {
        ask: |store| {
            let mut batch = Batch::new();
            batch.put("target", "newer").delete("another");
            Box::pin(async move { store.write(batch).await })
        },
        after: Some("newer"),
    },
    Act {
        ask: |store| Box::pin(async move { store.get_off_thread("target").await.map(drop) }),
        after: Some("old"),
    },
    Act { ask: |store| Box::pin(async move { store.keys().await.map(drop) }), after: Some("old") },
    Act { ask: |store| Box::pin(async move { store.flush().await }), after: Some("old") },
    Act { ask: |store| Box::pin(async move { store.sync().await }), after: Some("old") },
    Act {
        ask: |store| Box::pin(async move { store.compact().await.map(drop) }),
        after: Some("old"),
    },
    #[cfg(feature = "serde")]
    Act {
        ask: |store| {
            let typed = crate::AsyncTyped::<Raw>::from(store);
            Box::pin(async move { typed.insert(&Raw(*b"target"), &Raw(*b"newest")).await })
        },
        after: Some("newest"),
    },
    #[cfg(feature = "serde")]
    Act {
        ask: |store| {
            let typed = crate::AsyncTyped::<Raw>::from(store);
            Box::pin(async move { typed.remove(&Raw(*b"target")).await.map(drop) })
        },
        after: None,
    },
];

/// Bytes that postcard leaves as they are.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize, Debug)]
struct Raw([u8; 6]);

/// Polls a future so many times, or until it answers.
async fn polled<T>(
    mut future: Pin<&mut (impl Future<Output = T> + ?Sized)>,
    times: usize,
) -> Option<T> {
    for _ in 0..times {
        if let Poll::Ready(output) = poll_once(future.as_mut()).await {
            return Some(output);
        }
        yield_now().await;
    }
    None
}

/// A future that was polled any number of times, or none, is dropped; the disk stands still meanwhile, or does not.
#[test]
fn a_future_that_is_dropped_takes_nothing_with_it() {
    for (Act { ask, after }, polls, held) in
        ACTS.iter().flat_map(|act| (0..4).flat_map(move |n| [(act, n, false), (act, n, true)]))
    {
        let machine = machine(Durability::Synced);
        let runtime = one_thread();
        let store = runtime.block_on(async {
            let store = open(&machine);
            store.put("target", "old").await.unwrap();
            store.put("another", "x").await.unwrap();
            store.put("acknowledged", "x").await.unwrap();
            let before = contents(store.store());
            let gate = held.then(|| Gate::new(&machine));
            let mut future = ask(store.clone());
            let answer = polled(future.as_mut(), polls).await;
            drop(future);
            drop(gate);
            if polls == 0 {
                assert_eq!(contents(store.store()), before);
            }
            store.put("later", "y").await.unwrap();
            answer.map(Result::unwrap);
            store.compact().await.unwrap();
            store
        });
        let expected = contents(store.store());
        assert_eq!(value(store.store(), "acknowledged").as_deref(), Some("x"));
        assert_eq!(value(store.store(), "later").as_deref(), Some("y"));
        // What had begun has gone on by itself.
        let target = if polls == 0 { Some("old") } else { *after };
        assert_eq!(value(store.store(), "target").as_deref(), target);
        for seed in 0..3 {
            assert_eq!(contents(&machine.crash(seed).open().unwrap()), expected);
        }
    }
}

#[test]
fn a_closing_whose_future_is_dropped_closes_all_the_same() {
    for (polls, held) in (0..4).flat_map(|n| [(n, false), (n, true)]) {
        let machine = machine(Durability::Buffered);
        let runtime = one_thread();
        let expected = runtime.block_on(async {
            let store = open(&machine);
            store.put("key", "buffered").await.unwrap();
            let expected = contents(store.store());
            let gate = held.then(|| Gate::new(&machine));
            let mut future = Box::pin(store.close());
            polled(future.as_mut(), polls).await.map(Result::unwrap);
            drop(future);
            gate.into_iter().for_each(Gate::open);
            expected
        });
        assert_eq!(contents(&reopen(&machine)), expected);
        drop(runtime);
    }
}

#[test]
fn an_opening_whose_future_is_dropped_holds_nothing() {
    for polls in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let runtime = one_thread();
        runtime.block_on(async {
            let mut future = Box::pin(AsyncStore::new(dir.path(), Options::new()));
            polled(future.as_mut(), polls).await.map(Result::unwrap);
            drop(future);
            // Whatever has it may still be at it.
            let store = loop {
                match AsyncStore::new(dir.path(), Options::new()).await {
                    Err(Error::Locked { .. }) => yield_now().await,
                    opened => break opened.unwrap(),
                }
            };
            store.put("key", "x").await.unwrap();
            store.close().await.unwrap();
        });
    }
}

/// A store with a write that only this process knows of.
async fn unflushed(machine: &Machine) -> (AsyncStore, Contents) {
    let store = open(machine);
    store.put("key", "buffered").await.unwrap();
    assert!(store.store().stats().buffered_bytes > 0);
    let expected = contents(store.store());
    (store, expected)
}

#[test]
fn the_last_handle_closes_the_store_on_another_thread() {
    let machine = machine(Durability::Buffered);
    let runtime = one_thread();
    let (gate, expected) = runtime.block_on(async {
        let (store, expected) = unflushed(&machine).await;
        let gate = Gate::new(&machine);
        let other = store.clone();
        drop(store);
        assert_eq!(other.get("key").await.unwrap().unwrap(), "buffered");
        drop(other);
        // This one thread is here, and the store is not closed.
        assert!(matches!(machine.open(), Err(Error::Locked { .. })));
        (gate, expected)
    });
    gate.open();
    drop(runtime);
    assert_eq!(contents(&machine.open().unwrap()), expected);
}

#[cfg(feature = "serde")]
#[test]
fn the_last_handle_of_types_closes_the_store_on_another_thread() {
    let machine = machine(Durability::Buffered);
    let runtime = one_thread();
    let (gate, expected) = runtime.block_on(async {
        let (store, expected) = unflushed(&machine).await;
        let typed = crate::AsyncTyped::<String>::from(store);
        let gate = Gate::new(&machine);
        drop(typed.clone());
        drop(typed);
        assert!(matches!(machine.open(), Err(Error::Locked { .. })));
        (gate, expected)
    });
    gate.open();
    drop(runtime);
    assert_eq!(contents(&machine.open().unwrap()), expected);
}

#[test]
fn without_a_runtime_the_last_handle_closes_the_store_there_and_then() {
    let machine = machine(Durability::Buffered);
    let (store, expected) = one_thread().block_on(unflushed(&machine));
    drop(store);
    let store = machine.open().unwrap();
    assert_eq!(contents(&store), expected);
    // In a runtime that is gone, too.
    let runtime = one_thread();
    let gone = runtime.handle().clone();
    drop(runtime);
    let _entered = gone.enter();
    let store = AsyncStore::from(store);
    store.store().put("more", "buffered").unwrap();
    let expected = contents(store.store());
    drop(store);
    assert_eq!(contents(&machine.open().unwrap()), expected);
}

#[test]
fn a_panic_and_a_missing_runtime_are_errors() {
    let machine = machine(Durability::Synced);
    let store = open(&machine);
    let runtime = one_thread();
    let panicked = runtime.block_on(store.off_thread(|_| -> Result<()> { panic!("on purpose") }));
    let error = panicked.unwrap_err();
    assert!(matches!(error, Error::Unfinished { .. }) && error.to_string().contains("on purpose"));
    runtime.block_on(store.put("key", "x")).unwrap();

    let mut context = Context::from_waker(Waker::noop());
    let refused = pin!(store.put("key", "y")).poll(&mut context);
    assert!(matches!(refused, Poll::Ready(Err(Error::NoRuntime { .. }))), "{refused:?}");
    // A read needs none.
    let read = pin!(store.get("key")).poll(&mut context);
    assert!(matches!(read, Poll::Ready(Ok(Some(value))) if value == "x"));
}

/// What has been given to a thread ends with it or is told not to; what comes later is told.
#[test]
fn a_runtime_that_is_shut_down_loses_no_answer() {
    let machine = machine(Durability::Synced);
    let runtime = one_thread();
    let store = open(&machine);
    runtime.block_on(store.put("first", "x")).unwrap();
    let gate = Gate::new(&machine);
    let mut under_way = Box::pin(store.put("under way", "x"));
    let mut in_line = Box::pin(store.put("in line", "x"));
    runtime.block_on(async {
        assert!(polled(under_way.as_mut(), 1).await.is_none());
        while store.store().len() < 2 {
            yield_now().await;
        }
        assert!(polled(in_line.as_mut(), 1).await.is_none());
    });
    let gone = runtime.handle().clone();
    runtime.shutdown_background();
    {
        let _entered = gone.enter();
        let mut context = Context::from_waker(Waker::noop());
        let refused = pin!(store.put("too late", "x")).poll(&mut context);
        assert!(matches!(refused, Poll::Ready(Err(Error::Unfinished { .. }))), "{refused:?}");
    }
    gate.open();
    let other = one_thread();
    other.block_on(under_way).unwrap();
    let answer = other.block_on(in_line);
    assert!(matches!(answer, Ok(()) | Err(Error::Unfinished { .. })), "{answer:?}");
    assert_eq!(value(store.store(), "in line").is_some(), answer.is_ok());
    assert_eq!(value(store.store(), "too late"), None);
    other.block_on(store.put("later", "x")).unwrap();
    let expected = contents(store.store());
    assert!(expected.contains_key(&b"under way"[..]) && expected.contains_key(&b"later"[..]));
    for seed in 0..3 {
        assert_eq!(contents(&machine.crash(seed).open().unwrap()), expected);
    }
}
