//! Tests of the public interface, in one binary.

mod golden;
#[cfg(feature = "cli")]
mod kv;
