//! A bar on stderr for what takes long, on a terminal only.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressStyle};
use zerocask::Progress;

/// Runs `act`, which says how far it has come, under a bar that goes when it is done.
pub(crate) fn with_bar<T>(
    what: &'static str,
    act: impl FnOnce(&mut dyn FnMut(Progress) -> ControlFlow<()>) -> T,
) -> T {
    let bar = match io::stderr().is_terminal() {
        true => ProgressBar::new(0).with_style(style()).with_message(what),
        false => ProgressBar::hidden(),
    };
    let outcome = act(&mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    outcome
}

fn style() -> ProgressStyle {
    let template = "{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
