//! [`Value`]: bytes of the store in hand, without a copy.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::fs::Region;

/// A value (or a key) of the store: a slice of the mapped segment, or of the append buffer, in which
/// it was found.
///
/// Cheap to clone and free to keep or send to another thread: it stays valid and unchanged whatever
/// happens to the key, the segment or the store. What it costs is memory and disk space: as long as
/// it lives, the whole segment stays mapped, and one that compaction has removed keeps its disk
/// space ([`crate::Stats::pinned_bytes`]). To keep a few bytes for long, copy them.
#[derive(Clone)]
pub struct Value {
    region: Arc<Region>,
    /// Lies below the region's published length.
    range: Range<usize>,
}

impl Value {
    pub(crate) fn new(region: Arc<Region>, range: Range<usize>) -> Self {
        Value { region, range }
    }
}

impl Deref for Value {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.region.get(self.range.clone()).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Value {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::borrow::Borrow<[u8]> for Value {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Value {
    /// As the bytes, printable ones as characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        **self == **other
    }
}

impl Eq for Value {}

impl std::hash::Hash for Value {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

/// Equality by bytes with the types that bytes come in, in both directions.
macro_rules! eq_bytes {
    ($([$($generics:tt)*] $other:ty),* $(,)?) => {$(
        impl<$($generics)*> PartialEq<$other> for Value {
            fn eq(&self, other: &$other) -> bool {
                **self == *AsRef::<[u8]>::as_ref(other)
            }
        }

        impl<$($generics)*> PartialEq<Value> for $other {
            fn eq(&self, other: &Value) -> bool {
                other == self
            }
        }
    )*};
}

eq_bytes!([] [u8], [] &[u8], [const N: usize] [u8; N], [const N: usize] &[u8; N], [] Vec<u8>, [] str, [] &str);
