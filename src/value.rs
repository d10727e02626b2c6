//! [`Value`]: bytes of the store in hand, without a copy.

use std::fmt;
use std::io;
use std::ops::{Bound, Deref, Range, RangeBounds};
use std::sync::Arc;

use crate::fs::Region;

/// A value (or a key) of the store: a slice of the mapped segment, or of the append buffer, in which
/// it was found.
///
/// Cheap to clone and free to keep or send to another thread: it stays valid and unchanged whatever
/// happens to the key, the segment or the store. What it costs is memory and disk space: as long as
/// it lives, the whole segment stays mapped, and one that compaction has removed keeps its disk
/// space ([`crate::Stats::pinned_bytes`]). To keep a few bytes for long, copy them: `value.to_vec()`.
///
/// It is a `[u8]` in all but name. Parts of it that outlive it are [`Value::slice`]s, data in it
/// [`Value::view`]s; what reads is given a [`Value::cursor`].
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

    /// A part of the value as a value of its own, without a copy: it holds what this one holds.
    /// `None` where `[u8]::get` answers `None`, for a range that ends before it begins or reaches
    /// beyond the end; never a panic.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// store.put("key", "name=value")?;
    /// let value = store.get("key")?.ok_or("it was put")?;
    /// let part = value.slice(5..).ok_or("it is longer")?;
    /// drop(value);
    /// assert_eq!(part, "value");
    /// assert_eq!(part.slice(..6), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Option<Value> {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before.checked_add(1)?,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.checked_add(1)?,
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.range.len(),
        };
        if start > end || end > self.range.len() {
            return None;
        }
        let range = self.range.start + start..self.range.start + end;
        Some(Value::new(Arc::clone(&self.region), range))
    }

    /// The value for what reads: `Read`, `BufRead` and `Seek`, from its first byte on.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// use std::io::BufRead;
    /// store.put("key", "first\nsecond\n")?;
    /// let value = store.get("key")?.ok_or("it was put")?;
    /// let lines: Result<Vec<String>, _> = value.cursor().lines().collect();
    /// assert_eq!(lines?, ["first", "second"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cursor(self) -> io::Cursor<Value> {
        io::Cursor::new(self)
    }
}

/// Without a copy, and without an allocation but where the segment's bytes are taken as `Bytes` for
/// the first time, or have grown since. The `Bytes` hold what the value holds.
#[cfg(feature = "bytes")]
impl From<Value> for bytes::Bytes {
    fn from(value: Value) -> Self {
        bytes::Bytes::from(&value)
    }
}

/// As the conversion of a `Value`.
#[cfg(feature = "bytes")]
impl From<&Value> for bytes::Bytes {
    fn from(value: &Value) -> Self {
        value.region.bytes(value.range.clone())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::options::{Durability, Options};
    use crate::store::Store;

    /// A store of one record, and the record's value, in the mapping or in the append buffer.
    fn stored(value: &[u8], durability: Durability) -> (tempfile::TempDir, Store, Value) {
        let dir = tempfile::tempdir().unwrap();
        let store = Options::new().durability(durability).open(dir.path()).unwrap();
        store.put("before", "other bytes").unwrap();
        store.put("key", value).unwrap();
        store.put("after", "other bytes").unwrap();
        let value = store.get("key").unwrap().unwrap();
        (dir, store, value)
    }

    fn bound() -> impl Strategy<Value = Bound<usize>> {
        let at = prop_oneof![9 => 0usize..20, 1 => Just(usize::MAX), 1 => Just(usize::MAX - 1)];
        prop_oneof![
            4 => at.clone().prop_map(Bound::Included),
            4 => at.prop_map(Bound::Excluded),
            1 => Just(Bound::Unbounded)
        ]
    }

    #[test]
    fn a_slice_of_a_slice_is_what_the_bytes_say_or_nothing() {
        let (_dir, _store, value) = stored(b"0123456789abcde", Durability::Flushed);
        proptest!(|(first in (bound(), bound()), second in (bound(), bound()))| {
            let expected = value.get(first);
            let found = value.slice(first);
            prop_assert_eq!(found.as_deref(), expected);
            if let (Some(found), Some(expected)) = (found, expected) {
                let part = found.slice(second);
                prop_assert_eq!(part.as_deref(), expected.get(second));
                prop_assert!(part.is_none_or(|part| Arc::ptr_eq(&part.region, &value.region)));
            }
        });
    }

    #[test]
    fn a_value_goes_wherever_its_bytes_could() {
        fn goes_anywhere<T: Send + Sync + Unpin + std::panic::UnwindSafe + 'static>(_: &T) {}
        let (_dir, _store, value) = stored(b"value", Durability::Flushed);
        goes_anywhere(&value);
    }

    /// How many hold the memory that shows the value's segment, or parts of the store that name it.
    #[cfg(feature = "bytes")]
    fn holders(value: &Value) -> usize {
        Arc::strong_count(value.region.path())
    }

    #[cfg(feature = "bytes")]
    #[test]
    fn bytes_are_the_value_s_memory_and_only_growth_makes_new_ones() {
        for durability in [Durability::Flushed, Durability::Buffered] {
            let (_dir, store, value) = stored(b"value", durability);
            let before = holders(&value);
            let first = bytes::Bytes::from(&value);
            assert_eq!((&first[..], first.as_ptr()), (&b"value"[..], value.as_ptr()));
            assert_eq!(holders(&value), before + 1, "one snapshot");
            let part = value.slice(1..3).unwrap();
            for value in [&value, &part, &store.get("before").unwrap().unwrap()] {
                let bytes = bytes::Bytes::from(value);
                assert_eq!((&bytes[..], bytes.as_ptr()), (&value[..], value.as_ptr()));
            }
            assert_eq!(holders(&value), before + 1, "the same snapshot");
            store.put("later", "published since").unwrap();
            let later = store.get("later").unwrap().unwrap();
            for _ in 0..3 {
                assert_eq!(bytes::Bytes::from(&later), "published since");
            }
            assert_eq!(holders(&value), before + 2, "one more snapshot");
            drop((first, later));
            assert_eq!(holders(&value), before + 1, "the older snapshot went with its bytes");
        }
    }

    #[cfg(feature = "bytes")]
    #[test]
    fn when_the_store_and_all_values_and_bytes_are_gone_nothing_is_left() {
        for durability in [Durability::Flushed, Durability::Buffered] {
            let (_dir, store, value) = stored(b"value", durability);
            let path = Arc::downgrade(value.region.path());
            let bytes = bytes::Bytes::from(&value);
            let more = bytes.slice(1..);
            store.put("later", "published since").unwrap();
            let later = bytes::Bytes::from(store.get("later").unwrap().unwrap());
            drop((store, value, bytes));
            assert!(path.strong_count() > 0);
            assert_eq!((&more[..], &later[..]), (&b"alue"[..], &b"published since"[..]));
            drop(more);
            assert_eq!(path.strong_count(), 1, "what was published since");
            drop(later);
            assert_eq!(path.strong_count(), 0);
        }
    }
}
