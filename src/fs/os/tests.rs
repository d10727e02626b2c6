//! That what is published stays, is there, and nothing else is shown.

use super::*;

fn permit() -> Permit {
    crate::mappings::Mappings::of_process().take().unwrap()
}

fn path() -> Arc<Path> {
    Arc::from(Path::new("test"))
}

#[test]
fn m1_nothing_above_the_published_length_can_be_read() {
    let mut chunk = Chunk::new(&path(), 0, 4096).unwrap();
    chunk.spare()[..3].copy_from_slice(b"abc");
    assert_eq!(chunk.region().get(0..1), None);
    chunk.publish(3);
    assert_eq!(chunk.region().get(0..3), Some(&b"abc"[..]));
    assert_eq!(chunk.region().get(0..4), None);
    assert_eq!(chunk.region().get(4..4), None);
    #[expect(clippy::reversed_empty_ranges)]
    let reversed = chunk.region().get(2..1);
    assert_eq!(reversed, None);
    assert_eq!(chunk.region().get(usize::MAX..usize::MAX), None);
}

#[test]
fn m1_a_chunk_that_a_reader_holds_is_not_reused() {
    let mut chunk = Chunk::new(&path(), 0, 4096).unwrap();
    chunk.publish(100);
    let reader = Arc::clone(chunk.region());
    assert!(!chunk.reuse(128));
    assert_eq!(reader.published(), 100);
    drop(reader);
    assert!(chunk.reuse(128 + 5));
    assert_eq!((chunk.region().base(), chunk.region().published()), (128, 5));
    assert_eq!(chunk.spare().len(), 4096 - 5);
}

#[cfg(feature = "bytes")]
#[test]
fn m1_a_chunk_that_somebody_holds_as_bytes_is_not_reused() {
    let mut chunk = Chunk::new(&path(), 0, 4096).unwrap();
    chunk.spare()[..3].copy_from_slice(b"abc");
    chunk.publish(3);
    let bytes = chunk.region().bytes(0..3);
    assert!(!chunk.reuse(128));
    assert!(!chunk.reuse(128), "the region's own Bytes are gone, these are not");
    assert_eq!((&bytes[..], chunk.region().published()), (&b"abc"[..], 3));
    drop(bytes);
    drop(chunk.region().bytes(0..3));
    assert!(chunk.reuse(128 + 5), "the region's own Bytes alone do not stand in the way");
    chunk.spare()[..3].copy_from_slice(b"xyz");
    chunk.publish(3);
    assert_eq!(chunk.region().bytes(5..8), &b"xyz"[..]);
}

#[test]
fn m1_slices_stay_as_they_were_while_the_chunk_is_appended_to_from_another_thread() {
    let mut chunk = Chunk::new(&path(), 0, 1 << 16).unwrap();
    let region = Arc::clone(chunk.region());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..=u8::MAX {
                chunk.spare()[..256].fill(n);
                chunk.publish(256);
            }
        });
        loop {
            let bytes = region.get_from(0).unwrap();
            for (n, piece) in bytes.chunks(256).enumerate() {
                assert!(piece.iter().all(|&b| usize::from(b) == n));
            }
            if bytes.len() == 1 << 16 {
                break;
            }
        }
    });
}

#[test]
fn m2_a_file_shorter_than_asked_is_not_mapped() {
    let file = OsFile::new(tempfile::tempfile().unwrap());
    file.write_at(b"four", 0).unwrap();
    assert!(file.map(&path(), 5, permit()).is_err());
    assert_eq!(file.map(&path(), 4, permit()).unwrap().get_from(0), Some(&b"four"[..]));
    assert_eq!(file.map(&path(), 0, permit()).unwrap().get_from(0), Some(&b""[..]));
}

#[test]
fn m2_a_growing_map_shows_what_is_written_after_it_was_made() {
    let file = OsFile::new(tempfile::tempfile().unwrap());
    let map = file.map_growing(&path(), 1 << 20, permit()).unwrap();
    file.write_at(b"hello", 0).unwrap();
    assert_eq!(map.region().get(0..5), None);
    map.publish(5);
    assert_eq!(map.region().get(0..5), Some(&b"hello"[..]));
}

/// How much of the mapping at this address is mapped in, in bytes.
#[cfg(target_os = "linux")]
fn resident(region: &Region) -> usize {
    let start = format!("{:x}-", region.memory.as_ptr().addr());
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&start));
    let rss = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
    rss.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[cfg(target_os = "linux")]
#[test]
fn populating_maps_in_every_page_at_the_range_and_no_file_that_was_cut() {
    const LEN: usize = 1 << 20;
    let file = OsFile::new(tempfile::tempfile().unwrap());
    file.write_at(&vec![7; LEN], 0).unwrap();
    let by_advice = file.map(&path(), LEN as u64, permit()).unwrap();
    assert_eq!(resident(&by_advice), 0);
    by_advice.populate(0..LEN).unwrap();
    assert_eq!(resident(&by_advice), LEN);
    let by_touch = file.map(&path(), LEN as u64, permit()).unwrap();
    by_touch.touch(0..LEN);
    assert_eq!(resident(&by_touch), LEN);

    by_touch.populate(LEN..LEN + 1).unwrap();
    by_touch.will_need(0..LEN).unwrap();
    by_touch.will_need(LEN..LEN + 1).unwrap();
    file.set_len(4096).unwrap();
    // Needs Linux 5.14; before that, this is the bus error that it should not be.
    assert!(by_advice.populate(0..LEN).is_err());
}

#[test]
fn what_is_aligned_in_the_file_is_aligned_in_chunks_and_copies() {
    for start in [0u64, 1, 127, 128, 1000] {
        let mut chunk = Chunk::new(&path(), start, 4096).unwrap();
        let address = chunk.spare().as_ptr() as u64;
        assert_eq!(address % ALIGNMENT as u64, start % ALIGNMENT as u64);
        let copy = Region::copy(&path(), start, 300, |bytes| bytes.fill(7)).unwrap();
        let bytes = copy.get_from((start - copy.base()) as usize).unwrap();
        assert_eq!(bytes, [7; 300]);
        assert_eq!(bytes.as_ptr() as u64 % ALIGNMENT as u64, start % ALIGNMENT as u64);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn holes_are_skipped_and_what_is_not_there_is_no_hole() {
    const PAGE: u64 = super::PAGE as u64;
    let file = OsFile { file: tempfile::tempfile().unwrap() };
    let data = |range: Range<u64>| crate::fs::data(&file, range).collect::<Vec<_>>();
    assert_eq!(data(0..0), []);
    let beyond = 3..10;
    assert_eq!(data(beyond.clone()), [beyond]);
    file.set_len(1 << 40).unwrap();
    assert_eq!(data(0..1 << 40), []);
    assert_eq!(data(5..PAGE), []);
    for page in [3, 4, 1000] {
        file.write_at(&[7; PAGE as usize], page * PAGE).unwrap();
    }
    let (first, second) = (3 * PAGE..5 * PAGE, 1000 * PAGE..1001 * PAGE);
    assert_eq!(data(0..1 << 40), [first.clone(), second.clone()]);
    assert_eq!(
        data(3 * PAGE + 1..1000 * PAGE + 1),
        [first.start + 1..first.end, second.start..second.start + 1]
    );
    assert_eq!(data(5 * PAGE..1000 * PAGE), []);
    file.set_len(1000 * PAGE + 9).unwrap();
    assert_eq!(
        data(0..1001 * PAGE),
        [first, second.start..second.start + 9, second.start + 9..second.end]
    );
    let beyond = 1001 * PAGE..1002 * PAGE;
    assert_eq!(data(beyond.clone()), [beyond]);
}
