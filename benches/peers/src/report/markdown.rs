//! The report to read.

use std::fmt::{self, Write as _};

use super::targets::Judged;
use super::{best, groups, number, with_unit};
use crate::column::Column;
use crate::keys::Shape;
use crate::machine::Facts;
use crate::measure::{Measure, Results, Spread};
use crate::plan::Shapes;

pub(super) fn report(
    results: &Results,
    facts: &Facts,
    targets: &[Judged],
    shapes: Shapes,
) -> Result<String, fmt::Error> {
    let mut text = String::new();
    write_report(&mut text, results, facts, targets, shapes)?;
    Ok(text)
}

fn write_report(
    out: &mut String,
    results: &Results,
    facts: &Facts,
    targets: &[Judged],
    shapes: Shapes,
) -> fmt::Result {
    out.push_str(
        "# zerocask beside other stores\n\n\
         Medians of the rounds of one run, with the least and the most; **bold** is the best of its row. \
         Within a row only ratios mean anything. The bare limit is no store and never bold.\n",
    );
    if shapes.are_quick {
        out.push_str("\n**A quick run: everything works, and no figure means anything.**\n");
    }
    write_targets(out, targets)?;
    let rows = results.rows();
    for group in groups(&rows) {
        let rows: Vec<_> = rows.iter().filter(|(measure, _)| measure.group() == group).collect();
        write_group(out, results, group, &rows)?;
    }
    write_machine(out, facts)?;
    out.push_str("\n## How each store is set up\n\n");
    for column in results.columns() {
        if let Some(settings) = column.settings() {
            writeln!(out, "- {}: {settings}", column.label())?;
        }
    }
    if !results.failures.is_empty() {
        out.push_str("\n## What failed\n\n");
        for failure in &results.failures {
            writeln!(out, "- {failure}")?;
        }
    }
    Ok(())
}

fn write_targets(out: &mut String, targets: &[Judged]) -> fmt::Result {
    if targets.is_empty() {
        return Ok(());
    }
    out.push_str(
        "\n## Targets\n\nMedians of the ratios of the rounds.\n\n| | against | ratio | rounds from | target | |\n\
         |---|---|---:|---|---:|---|\n",
    );
    for target in targets {
        let Judged { what, against, spread, wanted, is_met, .. } = target;
        let Spread { median, least, most } = spread;
        let met = if *is_met { "met" } else { "**missed**" };
        writeln!(
            out,
            "| {what} | {against} | {} | {} to {} | {wanted} | {met} |",
            number(*median),
            number(*least),
            number(*most)
        )?;
    }
    Ok(())
}

fn write_group(
    out: &mut String,
    results: &Results,
    group: &str,
    rows: &[&(Measure, Shape)],
) -> fmt::Result {
    let has = |column: &Column| {
        rows.iter().any(|(measure, shape)| results.spread(*measure, *shape, *column).is_some())
    };
    let columns: Vec<Column> = results.columns().into_iter().filter(has).collect();
    write!(out, "\n## {group}\n\n| |")?;
    for column in &columns {
        write!(out, " {} |", column.label())?;
    }
    out.push_str("\n|---|");
    out.push_str(&"---:|".repeat(columns.len()));
    for &&(measure, shape) in rows {
        write!(out, "\n| {shape}: {measure}{} |", with_unit(measure.unit()))?;
        let stores = columns.iter().filter(|column| !column.is_limit());
        let spreads = stores.filter_map(|column| results.spread(measure, shape, *column));
        let best = best(spreads, measure);
        for &column in &columns {
            match results.spread(measure, shape, column) {
                Some(spread) => write!(out, " {} |", cell(spread, best, column))?,
                None => write!(out, " {} |", column.lacks(measure).unwrap_or("failed"))?,
            }
        }
    }
    out.push('\n');
    Ok(())
}

fn cell(spread: Spread, best: Option<f64>, column: Column) -> String {
    let median = number(spread.median);
    let is_best = !column.is_limit() && best.is_some_and(|best| number(best) == median);
    let median = if is_best { format!("**{median}**") } else { median };
    if spread.least == spread.most {
        return median;
    }
    format!("{median} ({} to {})", number(spread.least), number(spread.most))
}

fn write_machine(out: &mut String, facts: &Facts) -> fmt::Result {
    let gib = facts.memory_bytes as f64 / f64::from(1 << 30);
    out.push_str("\n## The machine\n\n");
    writeln!(out, "- {} with {} processors, {gib:.0} GiB of memory", facts.cpu, facts.cores)?;
    writeln!(out, "- Linux {}, data in {} on {}", facts.kernel, facts.data_dir, facts.filesystem)?;
    writeln!(
        out,
        "- transparent huge pages: {}; of shared memory: {}",
        facts.huge_pages, facts.shmem_huge_pages
    )?;
    let crates: Vec<_> =
        facts.crates.iter().map(|(name, version)| format!("{name} {version}")).collect();
    writeln!(out, "- {}; {}", facts.compiler, crates.join(", "))
}
