//! A bar on stderr for what takes long, on a terminal only.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressStyle};
use zerocask::Progress;

/// What progress is counted in.
#[derive(Clone, Copy)]
pub(crate) enum Measure {
    Bytes,
    /// Bytes of which nobody knows how many will come.
    BytesWithoutEnd,
    Records,
}

/// Runs `act`, which says how far it has come, under a bar that goes when it is done.
pub(crate) fn with_bar<T>(
    what: &'static str,
    measure: Measure,
    act: impl FnOnce(&mut dyn FnMut(Progress) -> ControlFlow<()>) -> T,
) -> T {
    let bar = match io::stderr().is_terminal() {
        true => ProgressBar::new(0).with_style(style(measure)).with_message(what),
        false => ProgressBar::hidden(),
    };
    let outcome = act(&mut |progress| {
        if bar.length() != Some(progress.total) {
            bar.set_length(progress.total);
        }
        bar.set_position(progress.done);
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    outcome
}

/// So much of so much.
pub(crate) fn progress(done: u64, total: u64) -> Progress {
    let mut progress = Progress::default();
    (progress.done, progress.total) = (done, total);
    progress
}

fn style(measure: Measure) -> ProgressStyle {
    let template = match measure {
        Measure::Bytes => "{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left",
        Measure::BytesWithoutEnd => "{msg} {bytes}, {bytes_per_sec}",
        Measure::Records => "{msg} {wide_bar} {pos} of {len} records, {eta} left",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
