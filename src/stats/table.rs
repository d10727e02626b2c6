//! Figures as a table for people: one line for each, its name in the first column.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::compact::CompactionOutcome;

use super::{Latencies, SegmentStats, Stats};

/// More segments than that are not all shown unless they are asked for.
const SHOWN: usize = 20;

/// Segments are shown if there are at most 20, else the 20 with the most dead bytes; all of them with `{:#}`.
impl Display for Stats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut line =
            |name, figure: String, note: String| writeln!(f, "{}", Line(name, &figure, &note));
        let none = String::new;
        line("keys", count(self.keys as u64), none())?;
        line("key directory", size(self.key_directory_bytes as u64), "of memory".into())?;
        let unmapped = count(self.unmapped_segments as u64);
        let mapped = count(self.mapped_segments as u64);
        line(
            "segments",
            count(self.segments as u64),
            format!("{mapped} mapped, {unmapped} read piece by piece"),
        )?;
        let dead = |part, whole, dead: String| format!("{dead} dead ({})", percent(part, whole));
        let records = dead(self.dead_records, self.records, count(self.dead_records));
        line("records", count(self.records), records)?;
        line("bytes", size(self.bytes), dead(self.dead_bytes, self.bytes, size(self.dead_bytes)))?;
        line("buffered", size(self.buffered_bytes), none())?;
        line("unsynced", size(self.unsynced_bytes), none())?;
        let pinned = format!("in {} segments that are gone", count(self.pinned_segments as u64));
        line("pinned by readers", size(self.pinned_bytes), pinned)?;
        let changes = format!("that keep {} changes", count(self.snapshot_changes as u64));
        line("snapshots", count(self.snapshots as u64), changes)?;
        writeln!(f, "\nsince it was opened:")?;
        let mut line =
            |name, figure: String, note: String| writeln!(f, "{}", Line(name, &figure, &note));
        line("puts", count(self.puts), none())?;
        line("deletes", count(self.deletes), none())?;
        let gets = self.gets.map(|gets| (count(gets), count(self.misses.unwrap_or_default())));
        let (gets, misses) = gets.map_or_else(
            || ("-".to_owned(), "not counted: Options::count_reads".to_owned()),
            |(gets, misses)| (gets, format!("{misses} of keys that were not there")),
        );
        line("gets", gets, misses)?;
        line("written by users", size(self.written_bytes), none())?;
        let amplification = self.write_amplification.map_or_else(none, |amplification| {
            format!("{amplification:.2} bytes written for each by users")
        });
        line("… by compactions", size(self.compaction.bytes_written), amplification)?;
        let compaction = &self.compaction;
        let is = [(compaction.is_running, ", one runs"), (compaction.is_paused, ", paused")];
        let is = is.iter().filter(|(is_it, _)| *is_it).map(|(_, note)| *note);
        let failed = format!("{} failed{}", count(compaction.failures), is.collect::<String>());
        line("compactions", count(compaction.runs), failed)?;
        if let Some(last) = &compaction.last {
            let took = time(Duration::from_micros(last.took_micros));
            let outcome = match (last.outcome, &last.error) {
                (_, Some(error)) => format!("failed: {error}"),
                (CompactionOutcome::Stopped, _) => "stopped".to_owned(),
                _ => format!(
                    "{} -> {}, {} segments -> {}",
                    size(last.bytes_before),
                    size(last.bytes_after),
                    count(last.segments_removed as u64),
                    count(last.segments_written as u64),
                ),
            };
            line("… the last one", took, outcome)?;
        }
        for (name, latencies) in [
            ("syncs of data", &self.syncs.data),
            ("… of the directory", &self.syncs.directory),
            ("… of the manifest", &self.syncs.manifest),
        ] {
            line(name, count(latencies.count), latencies.to_string())?;
        }
        self.fmt_segments(f)
    }
}

impl Stats {
    fn fmt_segments(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut shown: Vec<_> = self.per_segment.iter().collect();
        if !f.alternate() && shown.len() > SHOWN {
            shown.sort_by_key(|segment| (std::cmp::Reverse(segment.dead_bytes), segment.id));
            shown.truncate(SHOWN);
        }
        if shown.is_empty() {
            return Ok(());
        }
        let (id, [bytes, dead, records, dead_records]) =
            ("segment", ["bytes", "dead", "records", "dead"]);
        writeln!(f, "\n{id:>12} {bytes:>12} {dead:>12} {records:>14} {dead_records:>14}")?;
        shown.iter().try_for_each(|segment| writeln!(f, "{segment}"))?;
        match self.per_segment.len() - shown.len() {
            0 => Ok(()),
            more => writeln!(f, "and {} more, with fewer dead bytes", count(more as u64)),
        }
    }
}

/// A line of the table of [`Stats`].
impl Display for SegmentStats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [bytes, dead] = [self.bytes, self.dead_bytes].map(size);
        let [records, dead_records] = [self.records, self.dead_records].map(count);
        write!(f, "{:>12} {bytes:>12} {dead:>12} {records:>14} {dead_records:>14}", self.id)?;
        let notes = [(self.active, " active"), (!self.mapped, " not mapped")];
        notes.iter().filter(|(is_it, _)| *is_it).try_for_each(|(_, note)| f.write_str(note))
    }
}

/// Below which time half of them took, and 99 of 100.
impl Display for Latencies {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return Ok(());
        }
        let below = |share| {
            self.below(share).map_or_else(
                || "more than 4 s".to_owned(),
                |below| format!("less than {}", time(below)),
            )
        };
        write!(f, "half took {}, 99 % {}", below(0.5), below(0.99))
    }
}

/// A figure with its name and what there is to say of it.
struct Line<'a>(&'a str, &'a str, &'a str);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Line(name, figure, note) = self;
        write!(f, "{name:<18} {figure:>14}")?;
        if note.is_empty() { Ok(()) } else { write!(f, "  {note}") }
    }
}

/// 1,234,567.
fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// In the largest unit of which there is at least one.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Rounded to a tenth as it will be shown, so that 1023.96 KiB become 1.0 MiB.
    let (mut tenths, mut unit) = ((bytes as f64 / 102.4).round(), 0);
    while tenths >= 10_240.0 && unit + 1 < UNITS.len() {
        (tenths, unit) = ((tenths / 1024.0).round(), unit + 1);
    }
    format!("{:.1} {}", tenths / 10.0, UNITS[unit])
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 })
}

/// To three digits or so.
fn time(time: Duration) -> String {
    match time.as_micros() {
        micros @ ..1000 => format!("{micros} µs"),
        micros @ ..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        micros => format!("{:.1} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compact::{CompactionStats, LastCompaction};
    use crate::stats::SyncStats;

    fn stats() -> Stats {
        let mut data = Latencies { count: 200, total_micros: 40_000, ..Latencies::default() };
        (data.buckets[8], data.buckets[11], data.buckets[23]) = (150, 49, 1);
        Stats {
            keys: 1_000_000,
            key_directory_bytes: 23_068_672,
            segments: 2,
            mapped_segments: 1,
            unmapped_segments: 1,
            records: 1_200_000,
            dead_records: 200_000,
            bytes: 230_000_000,
            dead_bytes: 23_000_000,
            unsynced_bytes: 1023,
            puts: 12,
            gets: Some(1234),
            misses: Some(34),
            written_bytes: 1024,
            write_amplification: Some(1.5),
            compaction: CompactionStats {
                runs: 2,
                is_paused: true,
                bytes_written: 512,
                last: Some(LastCompaction {
                    took_micros: 1_234_567,
                    bytes_before: 2048,
                    bytes_after: 1024,
                    segments_removed: 3,
                    segments_written: 1,
                    ..LastCompaction::default()
                }),
                ..CompactionStats::default()
            },
            syncs: SyncStats { data, ..SyncStats::default() },
            per_segment: vec![
                SegmentStats {
                    id: 7,
                    mapped: true,
                    records: 1_199_999,
                    bytes: 229_999_900,
                    ..SegmentStats::default()
                },
                SegmentStats {
                    id: 9,
                    active: true,
                    records: 1,
                    bytes: 100,
                    dead_records: 1,
                    dead_bytes: 100,
                    ..SegmentStats::default()
                },
            ],
            ..Stats::default()
        }
    }

    #[test]
    fn the_table_is_as_people_know_it() {
        let expected = "\
keys                    1,000,000
key directory            22.0 MiB  of memory
segments                        2  1 mapped, 1 read piece by piece
records                 1,200,000  200,000 dead (16.7 %)
bytes                   219.3 MiB  21.9 MiB dead (10.0 %)
buffered                      0 B
unsynced                   1023 B
pinned by readers             0 B  in 0 segments that are gone
snapshots                       0  that keep 0 changes

since it was opened:
puts                           12
deletes                         0
gets                        1,234  34 of keys that were not there
written by users          1.0 KiB
… by compactions            512 B  1.50 bytes written for each by users
compactions                     2  0 failed, paused
… the last one              1.2 s  2.0 KiB -> 1.0 KiB, 3 segments -> 1
syncs of data                 200  half took less than 256 µs, 99 % less than 2.0 ms
… of the directory              0
… of the manifest               0

     segment        bytes         dead        records           dead
           7    219.3 MiB          0 B      1,199,999              0
           9        100 B        100 B              1              1 active not mapped
";
        assert_eq!(stats().to_string(), expected);
    }

    #[test]
    fn of_many_segments_those_with_the_most_dead_bytes_are_shown() {
        let segment = |id| SegmentStats { id, dead_bytes: id * 7 % 31, ..SegmentStats::default() };
        let stats = Stats { per_segment: (0..31).map(segment).collect(), ..Stats::default() };
        let shown = |text: String| {
            let lines = text.lines().skip_while(|line| !line.contains("segment  "));
            lines.skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        let some = shown(stats.to_string());
        assert_eq!((some.len(), &*some[20]), (21, "and 11 more, with fewer dead bytes"));
        assert!(some[0].contains(" 30 B ") && some[19].contains(" 11 B "), "{some:?}");
        let all = shown(format!("{stats:#}"));
        assert_eq!(all.len(), 31);
        assert!(all.iter().enumerate().all(|(id, line)| line.starts_with(&format!("{id:>12} "))));
    }

    #[test]
    fn figures_are_written_as_people_read_them() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let sizes = [0, 1023, 1024, 1 << 20, (1 << 20) - 1, 1536, u64::MAX];
        let expected = ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.0 MiB", "1.5 KiB", "16.0 EiB"];
        assert_eq!(sizes.map(size), expected);
        let times = [0, 999, 1000, 1_500_000].map(|micros| time(Duration::from_micros(micros)));
        assert_eq!(times, ["0 µs", "999 µs", "1.0 ms", "1.5 s"]);
        assert_eq!((percent(0, 0), percent(1, 3)), ("0.0 %".to_owned(), "33.3 %".to_owned()));
    }
}
