//! The ordered companion of the key directory: all keys in the order of their bytes.
//!
//! Invariant: every key that has an entry is in it, from before the write returns. One that has none may be in
//! it for a while; whoever looks it up finds it absent.

use std::collections::BTreeSet;
use std::ops::Bound;

use parking_lot::RwLock;

/// From where to where, in the order of bytes.
pub(crate) type Bounds = (Bound<Box<[u8]>>, Bound<Box<[u8]>>);

#[derive(Default)]
pub(crate) struct OrderedKeys {
    keys: RwLock<BTreeSet<Box<[u8]>>>,
}

impl OrderedKeys {
    /// After the key's entry was made.
    pub(crate) fn insert(&self, key: &[u8]) {
        self.keys.write().insert(key.into());
    }

    /// After the key's entry was removed, unless it `is_there` again. Asked under the lock: who makes the
    /// entry inserts the key after it, and so after this.
    pub(crate) fn remove_unless(&self, key: &[u8], is_there: impl FnOnce(&[u8]) -> bool) {
        let mut keys = self.keys.write();
        if !is_there(key) {
            keys.remove(key);
        }
    }

    /// The first `count` keys within the bounds, or the last ones, the outermost first.
    pub(crate) fn some(&self, bounds: &Bounds, count: usize, from_end: bool) -> Vec<Box<[u8]>> {
        if is_empty(bounds) {
            return Vec::new();
        }
        let keys = self.keys.read();
        let within = keys.range::<[u8], _>((as_slice(&bounds.0), as_slice(&bounds.1)));
        match from_end {
            false => within.take(count).cloned().collect(),
            true => within.rev().take(count).cloned().collect(),
        }
    }
}

/// The bounds of the keys that begin with `prefix`.
pub(crate) fn prefix(prefix: &[u8]) -> Bounds {
    let mut end = prefix.to_vec();
    // Behind all of them: the prefix with its last byte that can be increased increased.
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return (Bound::Included(prefix.into()), Bound::Excluded(end.into()));
        }
    }
    (Bound::Included(prefix.into()), Bound::Unbounded)
}

pub(crate) fn contains((start, end): &Bounds, key: &[u8]) -> bool {
    let after_start = match start {
        Bound::Included(start) => **start <= *key,
        Bound::Excluded(start) => **start < *key,
        Bound::Unbounded => true,
    };
    let before_end = match end {
        Bound::Included(end) => *key <= **end,
        Bound::Excluded(end) => *key < **end,
        Bound::Unbounded => true,
    };
    after_start && before_end
}

/// Whether the bounds are the wrong way round: the standard library's sets panic at such.
fn is_empty(bounds: &Bounds) -> bool {
    match bounds {
        (Bound::Excluded(start), Bound::Excluded(end)) => start >= end,
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => start > end,
        _ => false,
    }
}

fn as_slice(bound: &Bound<Box<[u8]>>) -> Bound<&[u8]> {
    bound.as_ref().map(|key| &**key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_there_again_stays() {
        let ordered = OrderedKeys::default();
        let all = || ordered.some(&(Bound::Unbounded, Bound::Unbounded), 9, false).len();
        ordered.insert(b"a");
        ordered.remove_unless(b"a", |_| true);
        assert_eq!(all(), 1);
        ordered.remove_unless(b"a", |_| false);
        assert_eq!(all(), 0);
    }
}
