//! Tests of the public interface, in one binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod concurrency;
mod golden;
mod kill;
#[cfg(feature = "cli")]
mod kv;
mod lock;
mod reading;
mod support;
mod typed;
mod values;
