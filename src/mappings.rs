//! How many files this process has mapped, and how many it may have.
//!
//! Linux allows a process so many mappings (`vm.max_map_count`). Beyond them nothing can be mapped any more, not even memory
//! that a thread's stack or a large allocation needs: so the files get a part of them, and the rest is the program's.
//!
//! Invariants:
//! - A [`Permit`] lives as long as its mapping.
//!
//! Must not know: what is mapped.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Where Linux says how many mappings a process may have.
const SETTING: &str = "/proc/sys/vm/max_map_count";
/// What it says there unless somebody has changed it.
const DEFAULT: usize = 65_530;

#[derive(Debug)]
pub(crate) struct Mappings {
    limit: usize,
    held: AtomicUsize,
    /// Said once what comes of it.
    has_warned: AtomicBool,
}

/// The right to have one mapping.
#[derive(Debug)]
pub(crate) struct Permit(&'static Mappings);

impl Mappings {
    pub(crate) const fn new(limit: usize) -> Self {
        Mappings { limit, held: AtomicUsize::new(0), has_warned: AtomicBool::new(false) }
    }

    /// Those of the process. What the limit was when it was first asked for counts.
    pub(crate) fn of_process() -> &'static Self {
        static ALL: LazyLock<Mappings> = LazyLock::new(|| {
            let setting = fs::read_to_string(SETTING).ok();
            Mappings::new(share(setting.as_deref()))
        });
        &ALL
    }

    /// For a test of its own.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn apart(limit: usize) -> &'static Self {
        Box::leak(Box::new(Mappings::new(limit)))
    }

    /// The right to one more mapping, if there is one left.
    pub(crate) fn take(&'static self) -> Option<Permit> {
        let more = |held| (held < self.limit).then_some(held + 1);
        let taken = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Permit(self))
    }

    /// Says that a file is not mapped that was to be: once, because what is true of one is true of those behind it.
    pub(crate) fn warn_of_lack(&self, path: &Path) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                path = %path.display(), mapped = self.held.load(Ordering::Relaxed), limit = self.limit,
                "no mapping is left: this file and others are read as under ReadMode::Copy; \
                 compact, choose a larger Options::segment_size, or raise vm.max_map_count"
            );
        }
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The files' part of the mappings that a process may have: a half.
fn share(setting: Option<&str>) -> usize {
    setting.and_then(|setting| setting.trim().parse().ok()).unwrap_or(DEFAULT) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_handed_out_than_there_are_and_those_that_go_come_back() {
        let mappings = Mappings::apart(2);
        let [first, second] = [mappings.take(), mappings.take()];
        assert!(first.is_some() && second.is_some() && mappings.take().is_none());
        drop(first);
        assert!(mappings.take().is_some());
        assert_eq!(mappings.held(), 1);
    }

    #[test]
    fn the_files_get_half_of_what_the_system_allows() {
        assert_eq!(share(Some("65530\n")), 32_765);
        assert_eq!(share(Some("1048576\n")), 524_288);
        assert_eq!(share(Some("much")), share(None));
        assert_eq!(share(None), 32_765);
    }
}
