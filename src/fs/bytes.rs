//! A region's bytes as [`bytes::Bytes`], which are made once and sliced from then on.
//!
//! Invariants:
//! - What the `Bytes` own is a snapshot of the region, not the region that keeps them: no circle of
//!   owners, which would never go.
//! - A snapshot holds all that a region does, memory and path: `Bytes` in somebody's hands keep a
//!   chunk from being reused (M1) and count as holding their segment (K3).

use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::os::Region;

/// What a region has shown as `Bytes` so far: all that was published when they were made.
#[derive(Default)]
pub(super) struct Shared {
    whole: ArcSwapOption<Bytes>,
}

impl Shared {
    /// Lets go of what the region itself keeps.
    pub(super) fn clear(&self) {
        self.whole.store(None);
    }
}

struct Owner {
    snapshot: Region,
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.snapshot.get_from(0).unwrap_or_default()
    }
}

impl Region {
    /// The readable bytes at `range`; none if it reaches beyond them. Allocates only when the range
    /// reaches beyond what was published the last time that it did.
    pub(crate) fn bytes(&self, range: Range<usize>) -> Bytes {
        if let Some(whole) = &*self.shared.whole.load()
            && let Some(bytes) = slice(whole, &range)
        {
            return bytes;
        }
        let whole = Bytes::from_owner(Owner { snapshot: self.snapshot() });
        let bytes = slice(&whole, &range).unwrap_or_default();
        self.shared.whole.store(Some(Arc::new(whole)));
        bytes
    }
}

fn slice(whole: &Bytes, range: &Range<usize>) -> Option<Bytes> {
    whole.get(range.clone()).is_some().then(|| whole.slice(range.clone()))
}
