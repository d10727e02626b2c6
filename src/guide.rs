#![doc = include_str!("../docs/guide/README.md")]

/// What the pages link to.
#[cfg(doc)]
#[allow(unused_imports)]
use crate::*;

#[doc = include_str!("../docs/guide/durability.md")]
pub mod durability {}

#[doc = include_str!("../docs/guide/expiry.md")]
pub mod expiry {}

#[doc = include_str!("../docs/guide/feed.md")]
pub mod feed {}

#[doc = include_str!("../docs/guide/keys.md")]
pub mod keys {}

#[doc = include_str!("../docs/guide/limits.md")]
pub mod limits {}

#[doc = include_str!("../docs/guide/reading.md")]
pub mod reading {}

#[doc = include_str!("../docs/guide/scans.md")]
pub mod scans {}

#[doc = include_str!("../docs/guide/sharing.md")]
pub mod sharing {}

#[cfg(feature = "tokio")]
#[doc = include_str!("../docs/guide/tasks.md")]
pub mod tasks {}

#[cfg(feature = "serde")]
#[doc = include_str!("../docs/guide/types.md")]
pub mod types {}

#[doc = include_str!("../docs/guide/upkeep.md")]
pub mod upkeep {}

#[doc = include_str!("../docs/guide/writing.md")]
pub mod writing {}
