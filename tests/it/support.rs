//! What all of these tests open their stores with.

use std::path::Path;

use zerocask::{Options, ReadMode, Result, Store};

/// The default options, in the mode that this run of the tests is for: `ZEROCASK_TEST_READ_MODE`,
/// "mapped" or "copy".
pub(crate) fn options() -> Options {
    Options::new().read_mode(match std::env::var("ZEROCASK_TEST_READ_MODE").as_deref() {
        Ok("copy") => ReadMode::Copy,
        Ok("mapped") | Err(std::env::VarError::NotPresent) => ReadMode::Mapped,
        other => panic!("ZEROCASK_TEST_READ_MODE is mapped or copy, not {other:?}"),
    })
}

pub(crate) fn open(dir: impl AsRef<Path>) -> Result<Store> {
    options().open(dir)
}
