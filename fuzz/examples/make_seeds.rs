//! Writes `fuzz/seeds`, from the golden vectors where there are any: `cargo run --manifest-path fuzz/Cargo.toml --example
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
    manifests(&fuzz.join("seeds/manifest_decode"));
    directories(&golden, &fuzz.join("seeds/open_directory"));
    runs(&fuzz.join("seeds/store_model"));
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

/// `zerocask::fuzzing::manifest_decode` says what stands before each.
fn manifests(seeds: &Path) {
    fs::create_dir_all(seeds).unwrap();
    let log = log(&[Record::plain(1, b"apple", b"golden"), Record::tombstone(2, b"apple")]);
    let write = |name: &str, mend: u8, manifest: &[u8]| {
        let seed = [&[mend, 1, 0, 36], manifest].concat();
        fs::write(seeds.join(name), seed).unwrap();
    };
    let (empty, all) = (manifest(2, 1, &[], &[]), manifest(2, 9, &[(1, &log), (3, &log)], &[4, 8]));
    write("empty", 0, &empty);
    write("closed", 0, &manifest(2, 3, &[(1, &log), (2, &log)], &[]));
    write("unsealed", 0, &manifest(2, 8, &[], &[7]));
    write("all", 0, &all);
    write("all_mended", 3, &all);
    write("version_1", 0, &manifest(1, 9, &[(1, &log), (3, &log)], &[4, 8]));
    write("version_1_mended", 3, &manifest(1, 9, &[(1, &log), (3, &log)], &[4, 8]));
    let mut beyond = manifest(2, 3, &[(1, &log)], &[]);
    beyond[48 + 7] = 4;
    write("whole_from", 1, &beyond);
    write("order", 1, &manifest(2, 9, &[(3, &log), (1, &log)], &[]));
    write("next_id", 1, &manifest(2, 3, &[(3, &log)], &[]));
    write("no_next_id", 1, &manifest(2, u64::MAX, &[(1, &log)], &[u64::MAX]));
    write("cut_short", 0, &all[..all.len() - 9]);
    let mut later = empty;
    later[11] += 1;
    write("later_version", 1, &later);
}

/// The steps of a run as `src/model/bytes.rs` of the crate reads them.
mod step {
    pub fn put(key: u8, len: u8) -> Vec<u8> {
        put_with(key, len, 0)
    }

    pub fn put_with(key: u8, len: u8, durability: u8) -> Vec<u8> {
        vec![0, key, len, durability]
    }

    pub fn delete(key: u8) -> Vec<u8> {
        delete_with(key, 0)
    }

    pub fn delete_with(key: u8, durability: u8) -> Vec<u8> {
        vec![1, key, durability]
    }

    /// Keys, each with the length of its value or to be deleted.
    pub fn batch(durability: u8, writes: &[(u8, Option<u8>)]) -> Vec<u8> {
        let mut step = vec![2, durability, writes.len() as u8];
        for &(key, len) in writes {
            step.push(if len.is_some() { key } else { key | 8 });
            step.extend(len);
        }
        step
    }

    pub fn flush() -> Vec<u8> {
        vec![3]
    }

    pub fn sync() -> Vec<u8> {
        vec![4]
    }

    pub fn compact() -> Vec<u8> {
        vec![5]
    }

    pub fn reopen() -> Vec<u8> {
        vec![6]
    }

    pub fn kill() -> Vec<u8> {
        vec![7]
    }

    /// `again`: one more than the operations of the recovery after which power is lost again, or 0.
    pub fn crash(seed: u8, again: u8) -> Vec<u8> {
        vec![8, seed, again]
    }

    pub fn crash_soon(operations: u8, seed: u8) -> Vec<u8> {
        vec![9, operations, seed, 0]
    }

    pub fn kill_soon(operations: u8) -> Vec<u8> {
        vec![10, operations]
    }

    pub fn fail_soon(operations: u8) -> Vec<u8> {
        vec![11, operations]
    }

    /// In steps of 8 bytes.
    pub fn room(bytes: u8) -> Vec<u8> {
        vec![12, bytes + 1]
    }

    pub fn plenty_of_room() -> Vec<u8> {
        vec![12, 0]
    }

    /// Times are in 256ths of a run.
    pub fn put_with_ttl(key: u8, len: u8, ttl: u8) -> Vec<u8> {
        vec![13, key, len, ttl]
    }

    /// `ttl`: 0 takes the time away.
    pub fn touch(key: u8, ttl: u8) -> Vec<u8> {
        vec![14, key, ttl]
    }

    pub fn clock(time: u8) -> Vec<u8> {
        vec![15, time]
    }

    pub fn put_if_absent(key: u8, len: u8) -> Vec<u8> {
        vec![16, key, len]
    }

    pub fn compare_and_swap(key: u8, len: u8, is_right: bool) -> Vec<u8> {
        vec![17, key, len, is_right.into()]
    }

    pub fn update(key: u8, len: u8) -> Vec<u8> {
        vec![18, key, len]
    }

    pub fn update_to_nothing(key: u8) -> Vec<u8> {
        vec![18, key | 8]
    }

    pub fn rename(from: u8, to: u8) -> Vec<u8> {
        vec![19, from, to]
    }

    /// The keys with a bit of one stay.
    pub fn retain(kept: u8) -> Vec<u8> {
        vec![20, kept]
    }

    pub fn clear() -> Vec<u8> {
        vec![21]
    }

    pub fn snapshot(in_place_of: u8) -> Vec<u8> {
        vec![22, in_place_of]
    }

    /// The keys from the first to the second.
    pub fn scan(start: u8, end: u8) -> Vec<u8> {
        vec![23, start, end]
    }

    pub fn scan_all() -> Vec<u8> {
        vec![23, 16, 16]
    }

    pub fn upkeep() -> Vec<u8> {
        vec![24]
    }

    pub fn checkpoint() -> Vec<u8> {
        vec![25]
    }
}

fn runs(seeds: &Path) {
    use step::*;

    const FLUSHED: u8 = 4;
    const BUFFERED: u8 = 5;
    const SYNCED: u8 = 6;
    const INTERVAL: u8 = 7;
    /// Of the modes: what the store does unless a write says otherwise.
    const STORE_BUFFERED: u8 = 1;
    const STORE_SYNCED: u8 = 2;
    const COLLISIONS: u8 = 3 << 2;
    const STORED_EMPTY: u8 = 1 << 4;
    const COPIES: u8 = 1 << 5;
    const DEFAULT_TTL: u8 = 3 << 6;

    fs::create_dir_all(seeds).unwrap();
    let write = |name: &str, [size, modes]: [u8; 2], steps: &[Vec<u8>]| {
        fs::write(seeds.join(name), [&[size, modes], &steps.concat()[..]].concat()).unwrap();
    };
    let puts = [put(1, 20), put(2, 30), put(3, 9), put(1, 25), put(4, 40), put(2, 8)];
    let puts = puts.concat();
    write("rotation", [8, 0], &[puts.clone(), delete(3), puts.clone(), reopen(), puts.clone()]);
    write(
        "compaction",
        [8, 0],
        &[puts.clone(), delete(1), compact(), puts.clone(), delete(4), compact(), reopen()],
    );
    write(
        "tombstone",
        [8, 0],
        &[put(1, 30), sync(), compact(), put(2, 50), delete(1), compact(), reopen(), put(1, 7)],
    );
    // Of a size whose first segment is damaged, and stays.
    write(
        "tombstone_of_what_stays",
        [15, 0],
        &[delete(1), put(2, 30), compact(), compact(), reopen(), put(1, 7), crash(1, 0)],
    );
    let writes = [(1, Some(20)), (2, None), (3, Some(0)), (1, None), (4, Some(9))];
    write(
        "batches",
        [30, STORED_EMPTY],
        &[puts.clone(), batch(0, &writes), kill(), batch(SYNCED, &writes), crash(3, 0)],
    );
    write(
        "durabilities",
        [60, STORE_BUFFERED],
        &[
            put(1, 9),
            put_with(2, 9, FLUSHED),
            put(3, 9),
            kill(),
            put_with(4, 9, SYNCED),
            delete_with(1, INTERVAL),
            delete(2),
            flush(),
            crash(5, 0),
            delete_with(7, SYNCED),
            put_with(5, 9, BUFFERED),
            kill(),
        ],
    );
    write(
        "expiry",
        [20, DEFAULT_TTL],
        &[
            put_with_ttl(1, 20, 10),
            put_with_ttl(2, 20, 60),
            put(3, 9),
            touch(1, 50),
            touch(3, 0),
            clock(40),
            compact(),
            kill(),
            clock(20),
            clock(80),
            compact(),
            delete(2),
            reopen(),
        ],
    );
    write(
        "conditional",
        [20, DEFAULT_TTL],
        &[
            put_if_absent(1, 20),
            put_if_absent(1, 9),
            put_with_ttl(2, 20, 200),
            compare_and_swap(1, 30, true),
            compare_and_swap(1, 9, false),
            update(2, 25),
            rename(2, 5),
            rename(2, 3),
            kill(),
            update(4, 9),
            update_to_nothing(1),
            crash(3, 0),
        ],
    );
    write(
        "removal",
        [8, STORE_SYNCED],
        &[
            puts.clone(),
            retain(0b10100),
            crash(1, 0),
            puts.clone(),
            clear(),
            crash(2, 0),
            put(1, 9),
        ],
    );
    write(
        "removal_cut_short",
        [8, 0],
        &[puts.clone(), kill_soon(2), retain(0), puts.clone(), crash_soon(5, 1), clear(), clear()],
    );
    write(
        "snapshots_and_scans",
        [9, 0],
        &[
            snapshot(0),
            puts.clone(),
            snapshot(0),
            rename(1, 6),
            delete(2),
            scan_all(),
            snapshot(0),
            puts.clone(),
            compact(),
            scan(1, 4),
            snapshot(1),
            clear(),
            scan(4, 1),
            scan_all(),
            reopen(),
            scan_all(),
        ],
    );
    write(
        "upkeep",
        [8, 0],
        &[
            puts.clone(),
            puts.clone(),
            upkeep(),
            retain(0b10100),
            upkeep(),
            puts.clone(),
            kill_soon(9),
            upkeep(),
            puts.clone(),
            crash_soon(14, 3),
            upkeep(),
            put(1, 9),
            reopen(),
            upkeep(),
        ],
    );
    write(
        "checkpoints",
        [8, 0],
        &[
            puts.clone(),
            checkpoint(),
            puts.clone(),
            kill(),
            puts.clone(),
            crash_soon(9, 5),
            checkpoint(),
            compact(),
            kill(),
            checkpoint(),
            put(1, 9),
            reopen(),
        ],
    );
    write(
        "kills",
        [20, 0],
        &[kill_soon(7), puts.clone(), kill(), puts.clone(), kill_soon(3), compact()],
    );
    write(
        "power_losses",
        [8, STORE_SYNCED],
        &[puts.clone(), crash(1, 0), puts.clone(), crash_soon(9, 2), puts.clone(), crash(4, 6)],
    );
    write(
        "power_lost_while_compacting",
        [8, 0],
        &[
            puts.clone(),
            delete(1),
            puts.clone(),
            crash_soon(18, 2),
            compact(),
            put(5, 9),
            compact(),
        ],
    );
    write(
        "failures",
        [16, 0],
        &[
            fail_soon(5),
            puts.clone(),
            fail_soon(3),
            compact(),
            fail_soon(0),
            sync(),
            put(1, 9),
            reopen(),
        ],
    );
    // All of it was done, and could not be cut off: the next process finds it.
    write(
        "failed_write_left",
        [200, 0],
        &[put(1, 9), fail_soon(0), fail_soon(0), put(2, 5), delete(7), kill()],
    );
    // All of it was done, and it is gone for good before the next is written in its place.
    write(
        "failed_write",
        [200, 0],
        &[put(1, 9), sync(), fail_soon(1), put(2, 5), put(2, 5), put(3, 5), crash(9, 0)],
    );
    write(
        "full_disk",
        [16, 0],
        &[
            puts.clone(),
            room(12),
            puts.clone(),
            compact(),
            plenty_of_room(),
            puts.clone(),
            reopen(),
        ],
    );
    write(
        "collisions_and_copies",
        [30, COLLISIONS | COPIES],
        &[puts.clone(), delete(2), compact(), kill(), puts.clone(), crash(7, 0), puts.clone()],
    );
    write("large", [255, COPIES], &[put(1, 255), put(2, 0xF0), put(1, 254), sync(), crash(0, 0)]);
}
