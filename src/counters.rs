//! What is counted while a store is open: what is written, read and synced.
//!
//! Invariants:
//! - Writes are counted under the writer's lock, by plain additions.
//! - A reader counts for itself and hands over what it has counted now and then, so that nothing on the way of its gets is
//!   locked or shared.
//! - Nothing depends on a figure.
//!
//! Must not know: what is written, read or synced.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// Writes that have been appended, whatever came of their syncs.
#[derive(Default)]
pub(crate) struct Writes {
    puts: AtomicU64,
    deletes: AtomicU64,
    bytes: AtomicU64,
}

impl Writes {
    /// Under the writer's lock.
    pub(crate) fn note(&self, is_put: bool, bytes: u64) {
        let count = if is_put { &self.puts } else { &self.deletes };
        for (figure, more) in [(count, 1), (&self.bytes, bytes)] {
            figure.store(figure.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        }
    }

    pub(crate) fn puts(&self) -> u64 {
        self.puts.load(Ordering::Relaxed)
    }

    pub(crate) fn deletes(&self) -> u64 {
        self.deletes.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Gets, and those among them that found nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gets {
    pub(crate) gets: u64,
    pub(crate) misses: u64,
}

/// How many threads count side by side before two of them share a place.
const STRIPES: usize = 32;

/// Reads of all threads, if they are counted.
pub(crate) struct Reads(Option<Box<[Stripe; STRIPES]>>);

/// No two of them in what the processor fetches at once.
#[derive(Default)]
#[repr(align(128))]
struct Stripe {
    gets: AtomicU64,
    misses: AtomicU64,
}

thread_local! {
    static STRIPE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES
    };
}

impl Reads {
    pub(crate) fn new(are_counted: bool) -> Self {
        Reads(are_counted.then(Box::default))
    }

    #[inline(always)]
    pub(crate) fn are_counted(&self) -> bool {
        self.0.is_some()
    }

    /// A get has found something, or nothing.
    #[inline(always)]
    pub(crate) fn note(&self, is_miss: bool) {
        if self.are_counted() {
            self.add(Gets { gets: 1, misses: is_miss.into() });
        }
    }

    fn add(&self, Gets { gets, misses }: Gets) {
        let Some(stripes) = &self.0 else { return };
        let stripe = &stripes[STRIPE.with(|stripe| *stripe)];
        stripe.gets.fetch_add(gets, Ordering::Relaxed);
        if misses > 0 {
            stripe.misses.fetch_add(misses, Ordering::Relaxed);
        }
    }

    /// All so far, if they are counted.
    pub(crate) fn sum(&self) -> Option<Gets> {
        let of = |figure: fn(&Stripe) -> &AtomicU64| {
            let stripes = self.0.as_ref()?.iter();
            Some(stripes.map(|stripe| figure(stripe).load(Ordering::Relaxed)).sum())
        };
        Some(Gets { gets: of(|stripe| &stripe.gets)?, misses: of(|stripe| &stripe.misses)? })
    }
}

/// What one reader counts for itself.
pub(crate) struct Tally {
    is_on: bool,
    gets: Cell<u64>,
    misses: Cell<u64>,
}

impl Tally {
    /// A reader hands over what it has counted after so many gets.
    const MOST: u64 = 1024;

    pub(crate) fn new(reads: &Reads) -> Self {
        Tally { is_on: reads.are_counted(), gets: Cell::new(0), misses: Cell::new(0) }
    }

    /// A get begins.
    #[inline(always)]
    pub(crate) fn note_get(&self, reads: &Reads) {
        if self.is_on {
            if self.gets.get() == Self::MOST {
                self.hand_over(reads);
            }
            self.gets.set(self.gets.get() + 1);
        }
    }

    /// It has found nothing.
    #[inline(always)]
    pub(crate) fn note_miss(&self) {
        if self.is_on {
            self.misses.set(self.misses.get() + 1);
        }
    }

    /// Lets the store know.
    #[cold]
    #[inline(never)]
    pub(crate) fn hand_over(&self, reads: &Reads) {
        let gets = Gets { gets: self.gets.take(), misses: self.misses.take() };
        if gets != Gets::default() {
            reads.add(gets);
        }
    }
}

/// How many intervals a histogram of times has.
pub(crate) const BUCKETS: usize = 24;

/// How long things took, by powers of two of microseconds.
#[derive(Default)]
pub(crate) struct Times {
    micros: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Times {
    /// Does something that is to be counted, be it that it fails.
    pub(crate) fn of<T>(&self, act: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = act();
        self.note(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        done
    }

    pub(crate) fn note(&self, micros: u64) {
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// The sum of all, and how many there were in each interval.
    pub(crate) fn sums(&self) -> (u64, [u64; BUCKETS]) {
        let buckets = self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed));
        (self.micros.load(Ordering::Relaxed), buckets)
    }
}

/// The first bucket is of less than a microsecond, each other of less than twice what the one before it is; the last of all
/// that is longer.
fn bucket(micros: u64) -> usize {
    let bits = u64::BITS - micros.leading_zeros();
    (bits as usize).min(BUCKETS - 1)
}

/// What has been made durable: the data files, the names in the directory, the manifests.
#[derive(Default)]
pub(crate) struct Syncs {
    pub(crate) data: Times,
    pub(crate) directory: Times,
    pub(crate) manifest: Times,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_below_a_power_of_two() {
        let of = [0, 1, 2, 3, 4, 7, 8, 1 << 21, (1 << 22) - 1, 1 << 22, u64::MAX].map(bucket);
        assert_eq!(of, [0, 1, 2, 2, 3, 3, 4, 22, 22, 23, 23]);
    }

    #[test]
    fn a_tally_hands_over_after_so_many_gets_and_nothing_where_none_are_counted() {
        let (on, off) = (Reads::new(true), Reads::new(false));
        let (tally, idle) = (Tally::new(&on), Tally::new(&off));
        for n in 0..Tally::MOST + 3 {
            assert_eq!(on.sum().unwrap().gets, if n <= Tally::MOST { 0 } else { Tally::MOST });
            for (tally, reads) in [(&tally, &on), (&idle, &off)] {
                tally.note_get(reads);
                if n % 2 == 0 {
                    tally.note_miss();
                }
            }
        }
        let half = Tally::MOST / 2;
        assert_eq!(on.sum(), Some(Gets { gets: Tally::MOST, misses: half }));
        tally.hand_over(&on);
        tally.hand_over(&on);
        assert_eq!(on.sum(), Some(Gets { gets: Tally::MOST + 3, misses: half + 2 }));
        idle.hand_over(&off);
        assert_eq!((off.sum(), idle.gets.get()), (None, 0));
    }

    #[test]
    fn reads_of_many_threads_add_up() {
        let reads = Reads::new(true);
        std::thread::scope(|scope| {
            for _ in 0..STRIPES + 3 {
                scope.spawn(|| (0..100).for_each(|n| reads.note(n % 4 == 0)));
            }
        });
        let threads = STRIPES as u64 + 3;
        assert_eq!(reads.sum(), Some(Gets { gets: 100 * threads, misses: 25 * threads }));
    }
}
