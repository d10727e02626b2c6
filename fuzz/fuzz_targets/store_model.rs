//! Arbitrary bytes as a run of the store beside a map, on a simulated disk: `src/model/` of the crate, whose
//! `bytes.rs` says which bytes are which step.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| zerocask::fuzzing::store_model(input));
