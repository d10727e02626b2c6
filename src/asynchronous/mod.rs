//! Stores for tasks of tokio's: thin adapters. What may wait for the disk is done by the runtime's threads for
//! blocking work; reads are done where they are asked for.
//!
//! Invariants:
//! - No thread of the executor waits for the disk, but for a page of a mapping that a read touches.
//! - What has been given to another thread comes to its end there, whether or not anybody still waits for it.
//!
//! Must not know: records, segments, files.

mod closing;
mod off_thread;
mod store;
#[cfg(feature = "serde")]
mod typed;

pub use store::AsyncStore;
#[cfg(feature = "serde")]
pub use typed::AsyncTyped;
