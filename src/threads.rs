//! The same done by several threads at once, which draw their work from what they share; and one that is ahead of another.

use std::sync::mpsc;
use std::thread;

use parking_lot::Mutex;

/// Does it in so many threads, one of them this, or in as many as the system allows.
pub(crate) fn together<T: Send>(threads: usize, act: impl Fn() -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let begin = |_| thread::Builder::new().spawn_scoped(scope, &act).ok();
        let others: Vec<_> = (1..threads).map_while(begin).collect();
        let mut done = vec![act()];
        // A panic goes on here.
        let resume = |panic| std::panic::resume_unwind(panic);
        done.extend(others.into_iter().map(|other| other.join().unwrap_or_else(resume)));
        done
    })
}

/// Lets `take` have the items, each made in another thread while `take` is at the one before; where the system allows no
/// thread, when it asks for it.
pub(crate) fn ahead<T: Send, R>(
    items: impl Iterator<Item = T> + Send,
    take: impl FnOnce(&mut dyn Iterator<Item = T>) -> R,
) -> R {
    let items = Mutex::new(items);
    let (send, receive) = mpsc::sync_channel(0);
    let make = || {
        let send = send;
        let mut items = items.lock();
        // Who takes nothing more is gone.
        while items.next().is_some_and(|item| send.send(item).is_ok()) {}
    };
    thread::scope(|scope| match thread::Builder::new().spawn_scoped(scope, make) {
        Ok(_) => take(&mut receive.into_iter()),
        Err(_) => take(&mut *items.lock()),
    })
}

/// How many can run at once.
pub(crate) fn available() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
