//! The store that a command is about: opened, used, and closed whatever comes of that.

use std::path::Path;

use zerocask::{Compaction, Options, Store};

use crate::failure::{Failure, Result};

/// A command is over before a compaction would be worth it; `kv compact` is one.
pub(crate) fn any() -> Options {
    Options::new().compaction(Compaction::Manual)
}

/// A store that is there already.
pub(crate) fn existing() -> Options {
    any().create(false)
}

/// Opens the store, acts on it and closes it whatever comes of that.
pub(crate) fn on_store<T>(
    dir: &Path,
    options: &Options,
    act: impl FnOnce(&Store) -> Result<T>,
) -> Result<T> {
    let store = options.open(dir)?;
    tracing::debug!(dir = %dir.display(), found = ?store.recovery_report(), "opened");
    let outcome = act(&store);
    let closed = store.close();
    tracing::debug!(dir = %dir.display(), "closed");
    match (outcome, closed) {
        (outcome, Ok(())) => outcome,
        (Ok(_), Err(error)) => Err(error.into()),
        (Err(failure), Err(source)) => {
            Err(Failure::AndClosing { failure: Box::new(failure), source })
        }
    }
}
