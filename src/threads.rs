//! The same done by several threads at once, which draw their work from what they share.

use std::thread;

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

/// How many can run at once.
pub(crate) fn available() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
