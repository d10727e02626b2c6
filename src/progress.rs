//! How far something long has come, and how it is told to stop.

use std::ops::ControlFlow;

use crate::error::{Error, Result};

/// How far something that takes long has come, in bytes of the store's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Progress {
    /// What is done with, files included that have gone meanwhile.
    pub done: u64,
    /// What there was to do when it began, and what has turned up since.
    pub total: u64,
}

/// Counts what is done, and tells.
pub(crate) struct Teller<F> {
    progress: Progress,
    told: F,
}

impl<F: FnMut(Progress) -> ControlFlow<()>> Teller<F> {
    pub(crate) fn new(told: F) -> Self {
        Teller { progress: Progress::default(), told }
    }

    /// There are more bytes to do.
    pub(crate) fn expect(&mut self, bytes: u64) {
        self.progress.total = self.progress.total.saturating_add(bytes);
    }

    /// As many bytes more are done. Fails if whoever is told wants it to stop.
    pub(crate) fn step(&mut self, bytes: u64) -> Result<()> {
        self.progress.done = self.progress.done.saturating_add(bytes);
        match (self.told)(self.progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Stopped),
        }
    }
}
