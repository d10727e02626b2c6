//! Arbitrary bytes as a manifest. `zerocask::fuzzing` says how, and what holds; it can reach the decoder.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| zerocask::fuzzing::manifest_decode(input));
