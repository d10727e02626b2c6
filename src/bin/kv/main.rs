//! The `kv` command line.
fn main() {}
