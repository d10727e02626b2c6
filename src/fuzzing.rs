//! What the fuzz targets of `fuzz/` run that only the crate itself can reach. Not part of the interface:
//! it is there under `--cfg fuzzing`, which cargo-fuzz sets, and in the tests.

use crate::manifest::Manifest;
use crate::model;

/// Takes the bytes for a run of the store beside a map on a simulated disk that fails, fills up, and loses power.
pub fn store_model(bytes: &[u8]) {
    let (setup, steps) = model::bytes::decode(bytes);
    model::run(setup, &steps);
}

/// Takes the bytes for a manifest.
///
/// ```text
/// input = [mend:1] [flip:1] [at:2, big-endian] [manifest]
/// ```
///
/// Nothing panics. What decodes is encoded to the very bytes that it came from, if they are of the newest version; with a byte longer or
/// shorter, or with bits of a byte flipped, it does not decode. `mend` says what is made to fit before, so that
/// the fuzzer gets behind it: bit 0 the checksum, bit 1 the counts and the length.
pub fn manifest_decode(bytes: &[u8]) {
    let Some((&[mend, flip, high, low], bytes)) = bytes.split_first_chunk() else { return };
    let mut bytes = mended(bytes, mend);
    let Ok(manifest) = Manifest::decode(&bytes) else { return };
    match bytes[VERSION] {
        1 => assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest)),
        _ => assert_eq!(manifest.encode(), bytes),
    }
    assert_eq!(Manifest::check_len(&bytes, bytes.len() as u64), Ok(()));

    assert!(Manifest::decode(&bytes[..bytes.len() - 1]).is_err());
    bytes.push(flip);
    assert!(Manifest::decode(&bytes).is_err());
    bytes.pop();
    let at = usize::from(u16::from_be_bytes([high, low])) % bytes.len();
    bytes[at] ^= flip.max(1);
    assert!(Manifest::decode(&bytes).is_err());
}

/// Where the manifest's parts are and how long, from docs/format.md.
const VERSION: usize = 11;
/// What the second version has between the head and the counts.
const HISTORY: std::ops::Range<usize> = 44..108;
const COUNTS_LEN: usize = 8;
const SEALED_LEN: usize = 36;
const TAIL_LEN: usize = 8;
const CRC_LEN: usize = 4;

fn mended(bytes: &[u8], mend: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let counts_at = match bytes.get(VERSION) {
        Some(1) => HISTORY.start,
        _ => HISTORY.end,
    };
    let counts = counts_at..counts_at + COUNTS_LEN;
    if bytes.len() < counts.end + CRC_LEN {
        return bytes;
    }
    if mend & 2 != 0 {
        // As many sealed segments as are asked for and fit, and as much of a tail as fits then.
        let rest = bytes.len() - counts.end - CRC_LEN;
        let sealed = usize::from(bytes[counts.start + 3]).min(rest / SEALED_LEN);
        let tail = (rest - sealed * SEALED_LEN) / TAIL_LEN;
        let numbers = (sealed as u64) << 32 | tail as u64;
        bytes[counts.clone()].copy_from_slice(&numbers.to_be_bytes());
        bytes.truncate(counts.end + sealed * SEALED_LEN + tail * TAIL_LEN + CRC_LEN);
    }
    if mend & 1 != 0 {
        let end = bytes.len() - CRC_LEN;
        let crc = crc32fast::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}
