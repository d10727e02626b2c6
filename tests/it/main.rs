//! Tests of the public interface, in one binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bus_error;
mod concurrency;
#[cfg(target_os = "linux")]
mod disk_full;
mod golden;
#[cfg(target_os = "linux")]
mod hostile;
mod kill;
#[cfg(feature = "cli")]
mod kv;
#[cfg(feature = "cli")]
mod kv_import;
#[cfg(feature = "cli")]
mod kv_maintenance;
#[cfg(feature = "cli")]
mod kv_session;
#[cfg(feature = "cli")]
mod kv_shell;
#[cfg(feature = "cli")]
mod kv_tree;
#[cfg(feature = "cli")]
mod kv_ttl;
#[cfg(feature = "cli")]
mod kv_watch;
mod lock;
mod maintenance;
#[cfg(target_os = "linux")]
mod modes;
mod open_files;
mod read_only;
mod reading;
mod support;
#[cfg(feature = "json")]
mod typed;
mod upkeep;
mod values;
mod views;
