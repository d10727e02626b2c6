//! What many segments cost: opening them, rotating behind them, reading, compacting them away.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use zerocask::record::Record;

use crate::common::{Random, buffered, fresh_dir, touch};
use crate::median;

const VALUE_LEN: usize = 150;
/// A put of that much is a rotation.
const LARGE_LEN: usize = 4 << 10;

pub(crate) fn measure(counts: &[usize], rotations: usize) {
    println!("\n### segments: of one record each, and {rotations} rotations behind them\n");
    println!(
        "| segments | opening, ms | a rotation, ms (median) | slowest, ms | `Reader::get`, ns | `stats`, ms | compaction, ms |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    for &count in counts {
        let dir = fresh_dir();
        write_bare(dir.path(), count);
        let options = buffered().segment_size(LARGE_LEN as u64);
        // Takes them over; the next opening is one as any other.
        options.open(dir.path()).unwrap().close().unwrap();
        let (store, opening) = timed(|| options.open(dir.path()).unwrap());
        let rotated: Vec<_> = (0..rotations)
            .map(|n| timed(|| store.put(format!("large {n}"), vec![7; LARGE_LEN]).unwrap()).1)
            .collect();
        let reader = store.reader();
        let order = Random(4).order(count);
        let read_all = || {
            order.iter().for_each(|n| {
                touch(reader.get(key(*n)).unwrap().unwrap());
            })
        };
        // Checks each record.
        read_all();
        let gets = 100_000usize.div_ceil(count);
        let reading = timed(|| (0..gets).for_each(|_| read_all())).1.as_nanos() as f64;
        drop(reader);
        let (stats, asking) = timed(|| store.stats());
        // The first append takes the newest one up.
        assert_eq!(stats.segments, count - 1 + rotations);
        let compacting = timed(|| store.compact().unwrap()).1;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "| {count} | {:.1} | **{:.2}** | {:.1} | {:.0} | {:.2} | {:.0} |",
            ms(opening),
            median(rotated[1..].iter().map(|time| ms(*time))),
            ms(*rotated.iter().max().unwrap()),
            reading / (gets * count) as f64,
            ms(asking),
            ms(compacting),
        );
    }
}

fn key(n: u32) -> [u8; 4] {
    n.to_be_bytes()
}

/// Data files without a manifest, which a store takes over.
fn write_bare(dir: &Path, count: usize) {
    for n in 0..count as u32 {
        let key = key(n);
        let record = Record::plain(0, &key, &[1; VALUE_LEN]);
        let mut bytes = vec![0; record.len_at(0) as usize];
        record.encode_into(0, &mut bytes);
        fs::write(dir.join(format!("{:08}.data", n + 1)), bytes).unwrap();
    }
}

fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let done = act();
    (done, began.elapsed())
}
