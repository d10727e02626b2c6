//! `kv log`: what has been written, in its order.

use zerocask::{Error, Position, Store};

use crate::answer::{Answer, Outcome, Shape, to_stdout};
use crate::change::{Change, spelt};
use crate::expiry;
use crate::failure::{Failure, Result};

/// What is wanted of the log.
pub(crate) struct Wanted {
    pub(crate) from: Position,
    pub(crate) values: bool,
    pub(crate) limit: usize,
}

pub(crate) fn log(shape: Shape, store: &Store, wanted: &Wanted) -> Result<Outcome> {
    to_stdout(|out| {
        let (mut left, mut within_batch) = (wanted.limit, false);
        for entry in store.log(wanted.from) {
            if left == 0 && !within_batch {
                break;
            }
            let entry = entry.map_err(gone)?;
            (left, within_batch) = (left.saturating_sub(1), !entry.ends_batch());
            let change = Change {
                kind: entry.kind,
                key: &entry.key,
                value: entry.value.as_deref().filter(|_| wanted.values),
                expires_at: expiry::micros(entry.expires_at),
            };
            change.write(shape, Some(entry.next), out).map_err(Failure::Stdout)?;
        }
        Ok(())
    })?;
    Ok(Outcome::Done)
}

/// That the log has been left out, with what to do about it here.
fn gone(error: Error) -> Failure {
    match error {
        Error::Gone { asked, oldest } => Failure::Gone { asked, oldest },
        error => error.into(),
    }
}

/// Writes the position behind all that has been written.
pub(crate) fn end(shape: Shape, store: &Store) -> Result<Outcome> {
    let end = spelt(store.end()?);
    let mut answer = Answer::default();
    answer.add("end", &*end);
    answer.print_or(shape, |out| writeln!(out, "{end}"))?;
    Ok(Outcome::Done)
}
