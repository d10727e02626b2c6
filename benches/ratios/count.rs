//! What it costs to count reads: the same gets of a store that does and of one that does not.

use std::ops::AddAssign;

use tempfile::TempDir;
use zerocask::Store;

use crate::common::{Flat, KEY_LEN, Random, buffered, fill, fresh_dir, touch};
use crate::{Rounds, VALUE_LEN, median, time};

/// Small enough for a processor's second cache, so that a get costs its instructions and little else.
const FEW: usize = 1_000;

pub(crate) fn compare(records: usize, rounds: usize) {
    println!("\n### count: gets of a store that counts them and of one that does not\n");
    println!("| | counted, ns | not, ns | more, ns (median) | rounds from | rounds |");
    println!("|---|---:|---:|---:|---|---:|");
    for (records, repeat) in [(FEW.min(records), records.div_ceil(FEW)), (records, 1)] {
        let keys = Flat::random(1, records, KEY_LEN);
        let values = Flat::random(2, records, VALUE_LEN);
        let order = Random(3).order(records);
        let [counting, other] = [true, false].map(|counts| {
            let dir = fresh_dir();
            let store = buffered().count_reads(counts).open(dir.path()).unwrap();
            fill(&store, &keys, &values, &order);
            (store, dir)
        });
        let there = keys.reordered(&Random(4).order(records));
        let absent = Flat::random(5, records, KEY_LEN);
        let compare = |what: &str, get: &dyn Fn(&Store)| {
            let of = |(store, _): &(Store, TempDir)| time(|| (0..repeat).for_each(|_| get(store)));
            let rounds = Rounds::run(3 * rounds, records * repeat, || of(&counting), || of(&other));
            print(&format!("{what}, {records} keys"), &rounds);
        };
        compare("`Reader::get`", &|store| {
            let reader = store.reader();
            there.iter().for_each(|key| {
                touch(reader.get(key).unwrap().unwrap());
            });
        });
        compare("`Reader::get` of absent keys", &|store| {
            let reader = store.reader();
            let mut found = 0;
            absent.iter().for_each(|key| found.add_assign(reader.get(key).unwrap().iter().count()));
            assert_eq!(found, 0);
        });
        compare("`Store::get`", &|store| {
            there.iter().for_each(|key| {
                touch(&store.get(key).unwrap().unwrap());
            });
        });
    }
}

fn print(what: &str, rounds: &Rounds) {
    let of = |figure: fn(&(f64, f64)) -> f64| rounds.times.iter().map(figure);
    let more = || of(|(a, b)| a - b);
    let (least, most) = (more().fold(f64::INFINITY, f64::min), more().fold(f64::MIN, f64::max));
    let [a, b, more] = [median(of(|t| t.0)), median(of(|t| t.1)), median(more())];
    println!(
        "| {what} | {a:.1} | {b:.1} | **{more:.1}** | {least:.1} to {most:.1} | {} |",
        rounds.times.len()
    );
}
