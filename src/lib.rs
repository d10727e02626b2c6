#![doc = include_str!("../README.md")]

#[cfg(not(all(unix, target_pointer_width = "64")))]
compile_error!("zerocask maps files and packs 64-bit words: it needs a 64-bit Unix");

mod clock;
mod commit;
mod compact;
mod directory;
mod error;
mod fs;
mod index;
mod keydir;
mod keys;
mod location;
mod log;
mod manifest;
mod options;
pub mod record;
mod recover;
mod segment;
mod stats;
mod store;
#[cfg(test)]
mod tests;
mod value;

pub use compact::CompactionReport;
pub use error::{Damage, Error, Result};
pub use keys::Keys;
pub use options::{Durability, EmptyValues, Options, Recovery, Verify};
pub use recover::{Cut, DamagedRecord, RecoveryReport};
pub use stats::Stats;
pub use store::Store;
pub use value::Value;
