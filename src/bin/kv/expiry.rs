//! When keys expire: the commands that tell and change it, and times as they are told.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value as Json;
use zerocask::{Expiry, Store};

use crate::answer::{Answer, Outcome, Shape};
use crate::failure::Result;

/// In microseconds since the Unix epoch, as the store keeps it.
pub(crate) fn micros(expiry: Expiry) -> Option<u64> {
    let Expiry::At(time) = expiry else { return None };
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// How long it is from now until then; zero if it has passed.
pub(crate) fn left(micros: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_micros(micros).saturating_sub(now)
}

/// Writes how long a key stays.
pub(crate) fn ttl(shape: Shape, store: &Store, key: &[u8]) -> Result<Outcome> {
    let expiry = store.expires_at(key)?;
    let expires_at = expiry.and_then(micros);
    // Rounded up: one that is there has some time left.
    let left_ms = expires_at.map(|at| left(at).as_micros().div_ceil(1000).max(1));
    let left_ms = left_ms.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX));
    let mut answer = Answer::default();
    answer.add("found", expiry.is_some());
    answer.add("ttl_ms", left_ms.map_or(Json::Null, Json::from));
    answer.add("expires_at_us", expires_at.map_or(Json::Null, Json::from));
    answer.print_or(shape, |out| match (expiry, left_ms) {
        (None, _) => Ok(()),
        (Some(_), None) => writeln!(out, "never"),
        (Some(_), Some(ms)) => {
            writeln!(out, "{}", humantime::format_duration(Duration::from_millis(ms)))
        }
    })?;
    Ok(if expiry.is_some() { Outcome::Done } else { Outcome::Absent })
}

/// Lets a key stay for a time from now on, or for good.
pub(crate) fn keep(
    shape: Shape,
    store: &Store,
    key: &[u8],
    ttl: Option<Duration>,
) -> Result<Outcome> {
    let (name, found) = match ttl {
        Some(ttl) => ("touched", store.touch(key, ttl)?),
        None => ("persisted", store.persist(key)?),
    };
    Answer::of_key(name, found, shape)
}
