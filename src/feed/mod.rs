//! The change feed: the log as who follows it reads it.
//!
//! [`replay`] gives what has been written from a position on, with values, as far as the files still have it;
//! [`watch`] tells of what is being written, from now on and without values.
//!
//! Must not know: how a store is written or compacted; only what of its log is whole.

mod replay;
pub(crate) mod watch;

use std::sync::Arc;

pub use replay::{Entry, Replay};
use watch::Watchers;
pub use watch::{Event, Kind, Watcher};

use crate::error::Result;
use crate::position::Position;
use crate::store::Store;

/// Events that wait for a [`Watcher`] of [`Store::watch`] at most.
const CAPACITY: usize = 1024;

impl Store {
    /// Everything that has been written from a position on, in the order in which it was written: for replicas,
    /// and for old versions that no compaction has taken yet. Keep [`Entry::next`] of what has been
    /// dealt with, a batch as a whole, and ask from there the next time, be it after a crash of this store.
    ///
    /// It comes to an end when it has given what was written when it got there; asked again, it gives what has
    /// been written since. What it gives has been handed to the operating system: it flushes for that. A power loss may
    /// take what was not synced, and who has read it is told so by [`Error::Gone`](crate::Error::Gone).
    ///
    /// - **Batches** come as a whole and in one piece; [`Entry::ends_batch`] says when it is complete.
    /// - **What is left out**: a compaction, and the first write after an opening, replace segments by copies of what counts in
    ///   them. Copies come as puts (and deletes) once more, between what is new at times, which it does no harm to apply: nothing older comes behind
    ///   something newer of the same key. Who has read as far as
    ///   the last replaced segment's end misses nothing; who has not is told [`Error::Gone`](crate::Error::Gone), once the
    ///   segment in hand is finished: never is anything passed over in silence. From
    ///   [`Position::START`] on comes what counts and, in parts, how it came about.
    /// - **[`Store::clear`]** leaves out everything; who follows is told Gone.
    /// - **Gone**: take [`Store::end`], bring a replica up to all keys and values that the store has by
    ///   then or later ([`Store::iter`], or a backup made after that), then [`Store::sync`], and only then keep that end, to go on from
    ///   it. A position vouches for what stands before it: without the sync a crash may take a write that was copied and stood behind it,
    ///   and nothing would tell. A replica that was interrupted while it copied begins to copy anew.
    /// - **Expired** values come as they were written, with [`Entry::expires_at`]; that they expire is not told.
    ///
    /// An iterator, and each key and value that it gave, hold the segment that it is at ([`crate::Stats::pinned_bytes`]), and under
    /// [`crate::ReadMode::Copy`] a copy of what was left of it in memory. Writers wait while it looks what comes next, once a segment and once at
    /// the end.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// use zerocask::Position;
    /// store.put("key", "old")?;
    /// store.put("key", "new")?;
    /// store.delete("key")?;
    /// let mut position = Position::START;
    /// let mut values = Vec::new();
    /// for entry in store.log(position) {
    ///     let entry = entry?;
    ///     values.push(entry.value.map(|value| value.to_vec()));
    ///     position = entry.next;
    /// }
    /// assert_eq!(values, [Some(b"old".to_vec()), Some(b"new".to_vec()), None]);
    /// assert_eq!(position, store.end()?);
    /// assert!(store.log(position).next().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// An item is [`Error::Corrupt`](crate::Error::Corrupt) where a record is bad, with its path and offset; what follows
    /// comes after it, as far as it can be found. After any other error the iterator ends, and tries again when it is
    /// asked again: [`Error::Gone`](crate::Error::Gone), [`Error::Io`](crate::Error::Io), [`Error::Closed`](crate::Error::Closed),
    /// [`Error::Poisoned`](crate::Error::Poisoned), and [`Error::ReadOnly`](crate::Error::ReadOnly) for a store that is only to be read.
    pub fn log(&self, from: Position) -> Replay<'_> {
        Replay::new(self.inner_log(), from)
    }

    /// The position behind everything that has been written when this is called. All of it can be read by then, and has
    /// been handed to the operating system.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Closed`](crate::Error::Closed), [`Error::Poisoned`](crate::Error::Poisoned) and
    /// [`Error::ReadOnly`](crate::Error::ReadOnly).
    pub fn end(&self) -> Result<Position> {
        replay::end(self.inner_log())
    }

    /// Tells of every write from now on that touches a key with this prefix: all keys, if it is empty. As
    /// [`Store::watch_with`], with room for 1,024 events.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// use zerocask::{Event, Kind};
    /// let mut watcher = store.watch("user/")?;
    /// let thread = std::thread::spawn(move || {
    ///     let mut changes = Vec::new();
    ///     // Ends when the store is closed.
    ///     for event in &mut watcher {
    ///         if let Event::Changed { key, kind, .. } = event {
    ///             changes.push((key.to_vec(), kind));
    ///         }
    ///     }
    ///     changes
    /// });
    /// store.put("user/1", "Ada")?;
    /// store.put("page/1", "…")?;
    /// store.delete("user/1")?;
    /// store.close()?;
    /// let changes = thread.join().map_err(|_| "it panicked")?;
    /// assert_eq!(changes, [(b"user/1".to_vec(), Kind::Put), (b"user/1".to_vec(), Kind::Delete)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Store::watch_with`].
    pub fn watch(&self, prefix: impl AsRef<[u8]>) -> Result<Watcher> {
        self.watch_with(prefix, CAPACITY)
    }

    /// Tells of every write from now on that touches a key with this prefix, in the order of the log, when readers can see it: a
    /// [`Store::get`] after the event finds what was written or something newer. That says nothing of
    /// crashes: it is told before it is synced. Whoever has to know of those keeps the event's `next`, and asks [`Store::log`]. [`Store::clear`] is one event, [`Event::Cleared`]. A write that failed is not told, unless it was its sync that failed, after
    /// readers could see it. Compaction, recovery and expiry tell nothing.
    ///
    /// At most `capacity` events wait to be taken. When one more comes, all that wait are dropped with it and
    /// counted, and the watcher's next event is [`Event::Lagged`]: a writer never waits for a watcher. With a capacity of 0
    /// every event says only that something has changed. Wakers of tasks run on the writing thread, when others can write. A store that is
    /// poisoned tells nothing more until it is closed. A watcher that is dropped is told nothing any more, and where nobody
    /// watches a write costs no more than to look whether somebody does.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Closed`](crate::Error::Closed), [`Error::Poisoned`](crate::Error::Poisoned), and
    /// [`Error::ReadOnly`](crate::Error::ReadOnly) for a store that is only to be read: nobody tells it what is written; look with [`Store::refresh`].
    pub fn watch_with(&self, prefix: impl AsRef<[u8]>, capacity: usize) -> Result<Watcher> {
        let log = self.inner_log();
        let prefix = Arc::from(prefix.as_ref());
        // A write that begins after this has returned is told, and so is the closing.
        log.at_end(|| Watchers::watch(&log.watchers, prefix, capacity))
    }
}
