//! Writes `fuzz/seeds` from the golden vectors: `cargo run --manifest-path fuzz/Cargo.toml --example
//! make_seeds`. The same files every time.

use std::fs;
use std::path::Path;

use serde_json::Value;
use zerocask::record::{Alignment, BatchPart, Record};
use zerocask_fuzz::{Kind, frame, manifest};

fn main() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = fuzz.join("../tests/golden");
    records(&golden, &fuzz.join("seeds/record_decode"));
    directories(&golden, &fuzz.join("seeds/open_directory"));
}

fn records(golden: &Path, seeds: &Path) {
    fs::create_dir_all(seeds).unwrap();
    let text = fs::read_to_string(golden.join("records.json")).unwrap();
    let records: Vec<Value> = serde_json::from_str(&text).unwrap();
    for (n, record) in records.iter().enumerate() {
        let mut seed = record["offset"].as_u64().unwrap().to_be_bytes().to_vec();
        seed.extend(unhex(record["record"].as_str().unwrap()));
        fs::write(seeds.join(format!("{n:02}")), seed).unwrap();
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn log(records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        let offset = bytes.len();
        bytes.resize(offset + record.len_at(offset as u64) as usize, 0);
        record.encode_into(offset as u64, &mut bytes[offset..]);
    }
    bytes
}

fn directories(golden: &Path, seeds: &Path) {
    fs::create_dir_all(seeds).unwrap();
    let write = |name: &str, seed: Vec<u8>| fs::write(seeds.join(name), seed).unwrap();
    let plain = [(1, "00000001"), (2, "00000002"), (10, "00000010")];
    let plain =
        plain.map(|(id, name)| (id, fs::read(golden.join(format!("plain/{name}.data"))).unwrap()));
    let data = |fix| plain.each_ref().map(|(id, bytes)| (Kind::Data, *id, fix, bytes.as_slice()));
    write("empty", frame(0, &[]));
    write("plain", frame(1, &data(false)));
    write("plain_fixed", frame(3, &data(true)));
    let tmp = (Kind::ManifestTemporary, 0, false, &b"half"[..]);
    write("manifest_lost", frame(2, &[&data(false)[..], &[tmp]].concat()));

    // Everything that a record can say.
    let put = |n, key, value| Record::plain(n, key, value);
    let all = log(&[
        put(1, b"apple", b"golden"),
        Record { marked_value: true, ..put(2, b"unit", b"") },
        Record { batch: BatchPart::First, ..put(3, b"a", b"1") },
        Record { batch: BatchPart::Middle, ..put(3, b"b", b"2") },
        Record { batch: BatchPart::Last, ..Record::tombstone(3, b"unit") },
        Record { expires_at: Some(4), ..put(4, b"gone", b"by now") },
        Record { expires_at: Some(u64::MAX), ..put(5, b"stays", b"for long") },
        Record { align: Alignment::new(64), ..put(6, b"vec", &[7; 64]) },
        put(7, b"", b"nothing"),
        Record::tombstone(8, b"apple"),
    ]);
    let newer = log(&[put(9, b"apple", b"green"), put(10, b"fig", b"purple")]);
    let open_batch = log(&[
        put(11, b"fig", b"dried"),
        Record { batch: BatchPart::First, ..put(12, b"plum", b"blue") },
        Record { batch: BatchPart::Middle, ..Record::tombstone(12, b"fig") },
    ]);
    let with_manifest = |options, manifest: &[u8], files: &[(Kind, u8, bool, &[u8])]| {
        frame(options, &[&[(Kind::Manifest, 0, true, manifest)], files].concat())
    };
    let one = (Kind::Data, 1, false, all.as_slice());
    let two = (Kind::Data, 2, false, newer.as_slice());
    let closed = manifest(2, 3, &[(1, &all), (2, &newer)], &[]);
    let lock = (Kind::Lock, 0, false, &b""[..]);
    write("closed", with_manifest(3, &closed, &[one, two, lock]));
    let older = manifest(1, 3, &[(1, &all), (2, &newer)], &[]);
    write("closed_in_version_1", with_manifest(3, &older, &[one, two]));
    write("closed_small_segments", with_manifest(0, &closed, &[one, two]));
    let fixed = [(Kind::Data, 1, true, all.as_slice()), (Kind::Data, 2, true, newer.as_slice())];
    write("closed_fixed", with_manifest(1, &closed, &fixed));
    write("segment_missing", with_manifest(3, &closed, &[one]));

    let unsealed = manifest(2, 3, &[(1, &all)], &[2]);
    let torn = (Kind::Data, 2, false, &newer[..newer.len() - 3]);
    write("torn", with_manifest(2, &unsealed, &[one, torn]));
    let three = (Kind::Data, 3, false, open_batch.as_slice());
    write("new_behind_tail", with_manifest(2, &unsealed, &[one, two, three]));
    let zeros = [&newer[..], &[0; 40]].concat();
    let hint = (Kind::Hint, 1, false, &b"hint"[..]);
    let cut = (Kind::Cut, 2, false, &b"earlier"[..]);
    let zeros = (Kind::Data, 2, false, zeros.as_slice());
    write("zeros_behind_tail", with_manifest(22, &unsealed, &[one, zeros, hint, cut, tmp]));
    let orphans = manifest(2, 9, &[(4, &all)], &[]);
    let four = (Kind::Data, 4, false, all.as_slice());
    let temporary = (Kind::DataTemporary, 9, false, &newer[..10]);
    write("orphans", with_manifest(11, &orphans, &[two, three, four, temporary]));
    let first = (Kind::ManifestFirst, 0, false, closed.as_slice());
    write("adoption_interrupted", frame(2, &[first, one, two]));

    // A sealed segment with a bad record between good ones, and with bytes that are none.
    let mut bad = all.clone();
    bad[27] ^= 1;
    let bad = (Kind::Data, 1, false, bad.as_slice());
    write("bad_record", with_manifest(7, &closed, &[bad, two]));
    let mut lost = all.clone();
    lost[50..58].fill(0xFF);
    let lost = (Kind::Data, 1, false, lost.as_slice());
    write("unreadable", with_manifest(7, &closed, &[lost, two]));
    let mut reserved = newer.clone();
    reserved[12] |= 0x80;
    let reserved = (Kind::Data, 2, true, reserved.as_slice());
    write("reserved_flag", with_manifest(3, &closed, &[one, reserved]));
    write("reserved_flag_in_tail", with_manifest(3, &unsealed, &[one, reserved]));
}
