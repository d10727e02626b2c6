//! What is looked at: the store as it is, or as it was when a snapshot was made.

use crate::error::Result;
use crate::index::{Extent, Hit, Pair};
use crate::log::Log;
use crate::past::Past;
use crate::value::Value;

#[derive(Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) log: &'a Log,
    pub(crate) past: Option<&'a Past>,
}

/// A key and its value, where they are.
pub(crate) struct KeyValue {
    pub(crate) key: Value,
    pub(crate) value: Value,
}

impl<'a> Sight<'a> {
    pub(crate) fn now(log: &'a Log) -> Self {
        Sight { log, past: None }
    }

    pub(crate) fn of(log: &'a Log, past: &'a Past) -> Self {
        Sight { log, past: Some(past) }
    }

    /// The value of a key, with the key as it is stored.
    pub(crate) fn find(self, key: &[u8]) -> Result<Option<KeyValue>> {
        let index = &self.log.index;
        let hit = match self.past {
            None => index.see(key, |extent| self.is_live(extent))?.into_hit(),
            Some(past) => index.find_past(past, key)?,
        };
        match hit {
            Some(hit) => {
                let pair = index.pair(hit)?;
                Ok(self.is_live(&pair.hit.extent).then(|| KeyValue::of(pair)))
            }
            None => Ok(None),
        }
    }

    pub(crate) fn is_now(self) -> bool {
        self.past.is_none()
    }

    /// Whether a record counts.
    pub(crate) fn is_live(self, extent: &Extent) -> bool {
        match self.past {
            None => self.log.is_live(extent),
            Some(past) => extent.expires_at.is_none_or(|at| at > past.time),
        }
    }
}

impl KeyValue {
    #[inline]
    pub(crate) fn of(pair: Pair<'_>) -> Self {
        let Pair { key, hit: Hit { region, extent, .. } } = pair;
        let region = region.into_owned();
        KeyValue { key: Value::new(region.clone(), key), value: Value::new(region, extent.value) }
    }
}
