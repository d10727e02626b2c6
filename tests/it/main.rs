//! Tests of the public interface, in one binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod golden;
#[cfg(feature = "cli")]
mod kv;
