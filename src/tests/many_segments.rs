//! More segments than may be mapped, on real files and on the simulated disk.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use super::support::{Machine, contents, encode, read_mode};
use crate::error::Error;
use crate::fs::sim::Op;
use crate::mappings::Mappings;
use crate::options::{Options, ReadMode};
use crate::record::Record;
use crate::stats::Stats;

const SEGMENTS: usize = 3_000;
/// The others keep a file open each: fewer than processes are allowed everywhere.
const MAPPED: usize = 2_500;

fn name(n: usize) -> String {
    format!("{:08}.data", n + 1)
}

/// Data files of a record each, which a store takes over.
fn write_bare(dir: &Path) {
    for n in 0..SEGMENTS {
        let record = encode(&[Record::plain(1, &(n as u32).to_be_bytes(), name(n).as_bytes())]);
        fs::write(dir.join(name(n)), record).unwrap();
    }
}

fn of(stats: &Stats) -> (usize, usize) {
    (stats.mapped_segments, stats.unmapped_segments)
}

#[test]
fn thousands_of_segments_are_opened_read_written_and_compacted_with_fewer_mappings() {
    // In memory where there is such a place: thousands of files take a disk seconds.
    let memory = Some(Path::new("/dev/shm")).filter(|memory| memory.is_dir());
    let dir = tempfile::tempdir_in(memory.unwrap_or(&std::env::temp_dir())).unwrap();
    write_bare(dir.path());
    let options = Options::new().segment_size(64).mappings_apart(MAPPED);
    let mappings = options.mappings.unwrap();
    let store = options.open(dir.path()).unwrap();
    assert_eq!(of(&store.stats()), (MAPPED, SEGMENTS - MAPPED));
    assert_eq!(mappings.held(), MAPPED);
    let reader = store.reader();
    for n in 0..SEGMENTS {
        let key = (n as u32).to_be_bytes();
        assert_eq!(reader.get(key).unwrap(), Some(name(n).as_bytes()));
        assert_eq!(store.get(key).unwrap().unwrap(), name(n).as_bytes());
    }
    // Each put is a rotation, and is read from its file when the next has come.
    let large = |n: usize| vec![n as u8; 100];
    (0..40).for_each(|n| store.put(format!("large {n}"), large(n)).unwrap());
    assert!((0..40).all(|n| store.get(format!("large {n}")).unwrap().unwrap() == large(n)));
    assert_eq!(of(&store.stats()), (MAPPED, SEGMENTS + 40 - MAPPED));
    drop(reader);
    store.close().unwrap();
    assert_eq!(mappings.held(), 0);

    // So that they fit into few.
    let store = options.segment_size(32 << 10).open(dir.path()).unwrap();
    assert_eq!(of(&store.stats()), (MAPPED, SEGMENTS + 40 - MAPPED));
    let held = store.get(0u32.to_be_bytes()).unwrap().unwrap();
    store.compact().unwrap();
    // The outputs were read for lack of mappings, and are mapped when the inputs' have come free, but for the one that the value
    // in hand lies in.
    let (mapped, unmapped) = of(&store.stats());
    assert!((2..10).contains(&mapped) && unmapped == 0, "{mapped} {unmapped}");
    assert_eq!(mappings.held(), mapped + 1);
    assert_eq!(held, name(0).as_bytes());
    assert_eq!(store.len(), SEGMENTS + 40);
    drop((held, store));
    assert_eq!(mappings.held(), 0);
}

#[test]
fn without_a_mapping_left_everything_is_read_as_by_copying() {
    for limit in [0, 1, 3] {
        let mut machine = Machine::new(200);
        machine.options = machine.options.mappings_apart(limit);
        let mut store = machine.open().unwrap();
        for round in 0..3 {
            for n in 0..30 {
                store.put(format!("key {n}"), format!("value {n} {round}")).unwrap();
            }
            assert!(store.delete("key 7").unwrap());
            store.warm_up(|_| ControlFlow::Continue(())).unwrap();
            let expected = contents(&store);
            assert_eq!(expected.len(), 29);
            let stats = store.stats();
            let mapped = if read_mode() == ReadMode::Copy { 0 } else { limit };
            assert_eq!(of(&stats), (mapped, stats.segments - mapped));
            store.compact().unwrap();
            assert_eq!(contents(&store), expected);
            // The first output finds a mapping that nobody has, and the newest ones have what the inputs had.
            let of_each = store.stats().per_segment;
            assert_eq!(of_each.iter().filter(|segment| segment.mapped).count(), mapped);
            let newest = of_each.iter().rev().take(mapped.saturating_sub(1));
            assert!(newest.into_iter().all(|segment| segment.mapped), "{of_each:?}");
            machine.fs = machine.fs.kill();
            drop(store);
            store = machine.open().unwrap();
            assert_eq!(contents(&store), expected);
        }
    }
}

#[test]
fn a_rotation_for_which_the_system_has_no_mapping_goes_on_by_reading() {
    const ENOMEM: i32 = 12;
    let machine = Machine::new(100);
    let store = machine.open().unwrap();
    for n in 0..20 {
        // That of the segment that is sealed, and that of the next.
        machine.fs.fail_next(Op::Map, "", ENOMEM);
        machine.fs.fail_next(Op::Map, "", ENOMEM);
        store.put(format!("key {n}"), "x".repeat(60)).unwrap();
    }
    machine.fs.disarm();
    let stats = store.stats();
    assert_eq!((stats.segments, stats.unmapped_segments), (20, 20));
    assert_eq!(contents(&store).len(), 20);
    let mut reader = store.reader();
    assert_eq!(reader.get("key 3").unwrap().unwrap().len(), 60);
    reader.refresh();
    store.compact().unwrap();
    assert_eq!(contents(&store).len(), 20);
}

#[test]
fn the_process_has_a_limit_of_its_own() {
    assert!(Mappings::of_process().take().is_some());
}

#[test]
fn without_a_descriptor_a_rotation_fails_and_writes_go_on_later_unless_the_manifest_is_in_doubt() {
    const EMFILE: i32 = 24;
    let machine = Machine::new(100);
    let store = machine.open().unwrap();
    let put = |key: &str| store.put(key, "x".repeat(60));
    put("a").unwrap();
    for op in [Op::Create, Op::SyncDir] {
        machine.fs.fail_next(op, "", EMFILE);
        assert!(matches!(put("b"), Err(Error::TooManyOpenFiles { .. })), "{op:?}");
        assert!(!machine.fs.is_armed() && store.get("b").unwrap().is_none());
    }
    put("b").unwrap();
    // The second sync of the directory comes when the manifest has its name.
    machine.fs.fail_at(1, Some(Op::SyncDir), EMFILE);
    assert!(matches!(put("c"), Err(Error::Poisoned { .. })));
    assert!(matches!(put("c"), Err(Error::Poisoned { .. })));
    let machine = machine.kill();
    drop(store);
    assert_eq!(contents(&machine.open().unwrap()).len(), 2);
}
