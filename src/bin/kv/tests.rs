//! What the tests of several files need.

use proptest::prelude::*;

/// Bytes that are text at times, and have what is escaped in it.
pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        &b"a"[..],
        b"\t",
        b"\n",
        b"\r",
        b"\\",
        b"\\x",
        b"41",
        b"\"",
        b"%",
        b"/",
        b"{",
        b"}",
        b",",
        b"\0",
        b"\x1b",
        b"\x7f",
        b"\xc2\x85",
        b"\xc3\xa4",
        b"\xff",
        b"\xc3",
    ];
    prop_oneof![
        prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..24)
            .prop_map(|pieces| pieces.concat()),
        prop::collection::vec(any::<u8>(), 0..64),
        ".{0,16}".prop_map(String::into_bytes),
    ]
}
