//! [`Watcher`]: a bounded queue of what is being written.
//!
//! Invariants:
//! - Who watches is entered under the writer's lock, and events are pushed under it, when their entries have changed: in
//!   the order of the log, and every write after that is told.
//! - A push waits for nothing but a queue's lock, under which nobody does anything else. Wakers, which may do
//!   anything, run when the writer's lock has been let go.
//! - What does not fit is counted, never dropped in silence.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::position::Position;
use crate::record::Record;

/// Events that there is always room for between an append and its telling.
const UNTOLD: usize = 64;

/// What a write did to a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// Gave it a value.
    Put,
    /// Removed it.
    Delete,
}

/// What a [`Watcher`] is told.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A key was written, and readers can see it.
    Changed {
        /// The key.
        key: Arc<[u8]>,
        /// What happened to it.
        kind: Kind,
        /// From here [`crate::Store::log`] gives the write, or the batch that it is of.
        position: Position,
        /// Where [`crate::Store::log`] goes on for who has dealt with it: behind it, and behind all of a batch if this is the last
        /// of it that is told. Until then that is where the batch begins.
        next: Position,
    },
    /// All keys were removed at once, by [`crate::Store::clear`]. Told whatever the prefix.
    Cleared {
        /// From here [`crate::Store::log`] gives what was written after it; what came before is gone.
        position: Position,
    },
    /// More was written than there was room for. What comes after this was written after what is missing.
    Lagged {
        /// How many events there would have been.
        missed: u64,
        /// From here [`crate::Store::log`] gives what is missing, until a compaction takes it.
        position: Position,
    },
}

impl Event {
    /// That a record was written, by itself or in a batch, which begins and ends at these positions.
    pub(crate) fn of(record: &Record<'_>, position: Position, end: Position) -> Self {
        let kind = if record.is_tombstone() { Kind::Delete } else { Kind::Put };
        Event::Changed { key: Arc::from(record.key), kind, position, next: end }
    }

    /// The same, of a batch of which more is told.
    fn before_more(&self) -> Self {
        let mut event = self.clone();
        if let Event::Changed { position, next, .. } = &mut event {
            *next = *position;
        }
        event
    }

    /// Where what it tells of begins. Not to be kept as how far one has come, once it has been dealt with: a crash may take the
    /// write, and from where it began nothing would be missing.
    pub fn position(&self) -> Position {
        match *self {
            Event::Changed { position, .. }
            | Event::Cleared { position }
            | Event::Lagged { position, .. } => position,
        }
    }
}

/// All who watch a store.
#[derive(Default)]
pub(crate) struct Watchers {
    /// How many.
    count: AtomicUsize,
    queues: Mutex<Vec<Arc<Queue>>>,
}

/// What is told one of them.
struct Queue {
    prefix: Arc<[u8]>,
    capacity: usize,
    state: Mutex<State>,
    told: Condvar,
}

#[derive(Default)]
struct State {
    /// What came before the events and was dropped: how many, and where the first was.
    missed: Option<(u64, Position)>,
    events: VecDeque<Event>,
    closed: bool,
    waker: Option<Waker>,
}

impl Watchers {
    /// Whether anybody watches. The writer's lock makes that what it is for the next write.
    #[inline]
    pub(crate) fn is_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Enters one who watches. The caller has the writer's lock.
    pub(super) fn watch(self: &Arc<Self>, prefix: Arc<[u8]>, capacity: usize) -> Watcher {
        let (state, told) = (Mutex::default(), Condvar::new());
        let queue = Arc::new(Queue { prefix, capacity, state, told });
        let mut queues = self.queues.lock();
        queues.push(Arc::clone(&queue));
        self.count.store(queues.len(), Ordering::Relaxed);
        Watcher { queue, watchers: Arc::clone(self) }
    }

    /// Whether anybody wants to know of this key.
    #[cold]
    pub(crate) fn want(&self, key: &[u8]) -> bool {
        self.queues.lock().iter().any(|queue| key.starts_with(&queue.prefix))
    }

    /// Tells these events, which are told then. Answers whom to wake when the writer's lock is let go.
    #[cold]
    pub(crate) fn tell(&self, events: &mut Vec<Event>) -> Woken {
        let queues = self.queues.lock();
        let woken = queues.iter().filter_map(|queue| queue.push(events)).collect();
        events.clear();
        // A large batch is no reason to hold as much for good.
        events.shrink_to(UNTOLD);
        Woken(woken)
    }

    /// Tells all that nothing more will come.
    pub(crate) fn close(&self) {
        let queues = self.queues.lock().clone();
        for queue in queues {
            let woken = {
                let mut state = queue.state.lock();
                state.closed = true;
                state.waker.take()
            };
            queue.told.notify_all();
            Woken(Vec::from_iter(woken)).wake();
        }
    }

    fn leave(&self, queue: &Arc<Queue>) {
        let mut queues = self.queues.lock();
        queues.retain(|other| !Arc::ptr_eq(other, queue));
        self.count.store(queues.len(), Ordering::Relaxed);
    }
}

/// Tasks that have something to look at.
#[derive(Default)]
pub(crate) struct Woken(Vec<Waker>);

impl Woken {
    /// Runs their wakers, which may do anything, this store's writes too: so the caller has no lock. One that panics
    /// keeps neither the others from being woken nor the caller from what it has promised.
    pub(crate) fn wake(self) {
        for waker in self.0 {
            if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                tracing::error!("the waker of a task that watches panicked");
            }
        }
    }
}

impl Queue {
    /// Takes over what is of interest. Answers whom to wake.
    fn push(&self, events: &[Event]) -> Option<Waker> {
        let is_wanted = |event: &&Event| match event {
            Event::Changed { key, .. } => key.starts_with(&self.prefix),
            Event::Cleared { .. } => true,
            Event::Lagged { .. } => false,
        };
        let mut wanted = events.iter().filter(is_wanted).peekable();
        wanted.peek()?;
        let mut state = self.state.lock();
        while let Some(event) = wanted.next() {
            match wanted.peek().is_some_and(|more| more.position() == event.position()) {
                true => state.push(event.before_more(), self.capacity),
                false => state.push(event.clone(), self.capacity),
            }
        }
        self.told.notify_all();
        state.waker.take()
    }
}

impl State {
    fn push(&mut self, event: Event, capacity: usize) {
        if self.events.len() < capacity {
            self.events.push_back(event);
            return;
        }
        let first = self.events.front().unwrap_or(&event).position();
        let (missed, _) = self.missed.get_or_insert((0, first));
        *missed += self.events.len() as u64 + 1;
        self.events.clear();
    }

    fn pop(&mut self) -> Option<Event> {
        match self.missed.take() {
            Some((missed, position)) => Some(Event::Lagged { missed, position }),
            None => self.events.pop_front(),
        }
    }
}

/// What is being written to a store, told when it can be read. Made by [`crate::Store::watch`], which says what
/// it promises. As an iterator it waits for what comes next and ends when the store is
/// closed; it does not keep the store open. Dropped, it leaves.
pub struct Watcher {
    queue: Arc<Queue>,
    watchers: Arc<Watchers>,
}

impl Watcher {
    /// What comes next, if it is there already; `None` if nothing is.
    ///
    /// # Errors
    /// [`Error::Closed`] if nothing more will come.
    pub fn try_next(&mut self) -> Result<Option<Event>> {
        self.queue.state.lock().next()
    }

    /// What comes next, if it comes in this time; `None` if nothing does.
    ///
    /// # Errors
    /// [`Error::Closed`] if nothing more will come.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Event>> {
        let until = Instant::now().checked_add(timeout);
        let mut state = self.queue.state.lock();
        loop {
            let next = state.next()?;
            if next.is_some() || !self.wait(&mut state, until) {
                return Ok(next);
            }
        }
    }

    /// What comes next, or `Pending` until it is there, when the task is woken; `None` if nothing more will come. For async code, on any
    /// executor:
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// # fn block_on<F: Future>(future: F) -> F::Output {
    /// #     let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut cx) {
    /// #             return output;
    /// #         }
    /// #     }
    /// # }
    /// let mut watcher = store.watch("")?;
    /// let changed = async { std::future::poll_fn(|cx| watcher.poll_next(cx)).await };
    /// store.put("key", "value")?;
    /// assert!(block_on(changed).is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        // Like the old one's end, it may do anything.
        let waker = cx.waker().clone();
        let mut state = self.queue.state.lock();
        match state.next() {
            Ok(Some(event)) => Poll::Ready(Some(event)),
            Err(_) => Poll::Ready(None),
            Ok(None) => {
                let old = state.waker.replace(waker);
                drop(state);
                drop(old);
                Poll::Pending
            }
        }
    }

    /// Waits until something was told; false if the time is up.
    fn wait(&self, state: &mut MutexGuard<'_, State>, until: Option<Instant>) -> bool {
        match until {
            Some(until) => !self.queue.told.wait_until(state, until).timed_out(),
            None => {
                self.queue.told.wait(state);
                true
            }
        }
    }
}

impl State {
    /// What comes next, unless nothing will.
    fn next(&mut self) -> Result<Option<Event>> {
        match self.pop() {
            None if self.closed => Err(Error::Closed),
            next => Ok(next),
        }
    }
}

impl Iterator for Watcher {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let mut state = self.queue.state.lock();
        loop {
            match state.next() {
                Ok(Some(event)) => return Some(event),
                Ok(None) => self.wait(&mut state, None),
                Err(_) => return None,
            };
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.watchers.leave(&self.queue);
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("prefix", &self.queue.prefix).finish_non_exhaustive()
    }
}
