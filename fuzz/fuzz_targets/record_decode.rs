//! Arbitrary bytes as a record at an arbitrary offset. Input: the offset, 8 bytes, then the bytes.
//!
//! Nothing panics; what is read lies within the bytes; a record that verifies and whose padding is
//! zero is encoded to the very bytes that it came from.

#![no_main]

use libfuzzer_sys::fuzz_target;
use zerocask::Damage;
use zerocask::record::Frame;

fuzz_target!(|input: &[u8]| {
    let Some((offset, bytes)) = input.split_first_chunk() else { return };
    let offset = u64::from_be_bytes(*offset);
    check(bytes, offset);

    // Again with the right checksum, as far as there is a record.
    let mut bytes = bytes.to_vec();
    if let Ok(frame) = Frame::read(&bytes, offset) {
        let crc = crc32fast::hash(&bytes[4..frame.len() as usize]);
        bytes[..4].copy_from_slice(&crc.to_be_bytes());
        assert!(!matches!(check(&bytes, offset), Some(Damage::Checksum { .. })));
    }
});

/// Answers what is wrong.
fn check(bytes: &[u8], offset: u64) -> Option<Damage> {
    let frame = match Frame::read(bytes, offset) {
        Ok(frame) => frame,
        Err(damage) => {
            let Damage::Length { expected, found } = damage else { panic!("{damage:?}") };
            assert!(found == bytes.len() as u64 && expected > found);
            return Some(damage);
        }
    };
    let len = frame.len() as usize;
    let (key, value) = (frame.key_range(), frame.value_range());
    assert!(20 <= key.start && key.start <= key.end && key.end <= value.start);
    assert!(value.start <= value.end && value.end == len && len <= bytes.len());
    assert!(value.start - key.end < 128);

    let record = frame.record();
    assert_eq!((frame.key(), record.key), (&bytes[key.clone()], &bytes[key.clone()]));
    assert_eq!(record.value, &bytes[value.clone()]);
    assert_eq!(record.is_tombstone(), frame.is_tombstone());
    assert_eq!(record.expires_at, frame.expires_at());
    assert_eq!(record.batch, frame.batch());
    assert_eq!(record.expires_at.is_some(), key.start == 28);
    if let Some(align) = record.align {
        assert_eq!(offset.wrapping_add(value.start as u64) % align.bytes() as u64, 0);
    } else {
        assert_eq!(key.end, value.start);
    }
    record.check_sizes().unwrap();

    // One byte less is no record; what follows a record plays no part.
    assert!(Frame::read(&bytes[..len - 1], offset).is_err());
    let alone = Frame::read(&bytes[..len], offset).unwrap_or_else(|damage| panic!("{damage:?}"));
    assert_eq!(alone.record(), record);
    assert_eq!(alone.verify(), frame.verify());

    let verified = frame.verify();
    if verified != Err(Damage::ReservedFlag) {
        assert_eq!(record.len_at(offset), frame.len());
    }
    if verified.is_ok() && bytes[key.end..value.start].iter().all(|&byte| byte == 0) {
        let mut encoded = vec![0xFF; len];
        assert_eq!(record.encode_into(offset, &mut encoded), frame.checksum());
        assert_eq!(encoded, bytes[..len]);
    }
    verified.err()
}
