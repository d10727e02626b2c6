//! From results to files. Each file is written anew whenever there is more to tell.

mod json;
mod markdown;
mod svg;
mod targets;

use std::fs;
use std::path::Path;

use crate::machine::Facts;
use crate::measure::{Measure, Results, Spread, Unit};
use crate::peer::Result;
use crate::plan::Shapes;

/// Writes the report of `results` into `dir`.
pub(crate) fn write(dir: &Path, results: &Results, facts: &Facts, shapes: Shapes) -> Result<()> {
    let judged = targets::judge(results, shapes);
    fs::write(dir.join("peers.md"), markdown::report(results, facts, &judged, shapes)?)?;
    fs::write(dir.join("peers.json"), json::report(results, facts, &judged)?)?;
    for (name, chart) in svg::charts(results)? {
        fs::write(dir.join(name), chart)?;
    }
    Ok(())
}

/// Groups in the order of their first rows.
fn groups(rows: &[(Measure, crate::keys::Shape)]) -> Vec<&'static str> {
    let mut groups: Vec<&str> = Vec::new();
    for (measure, _) in rows {
        if !groups.contains(&measure.group()) {
            groups.push(measure.group());
        }
    }
    groups
}

/// Three digits or so.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => {
            let digits = format!("{value:.0}");
            let mut grouped = String::new();
            for (n, digit) in digits.chars().enumerate() {
                if n > 0 && (digits.len() - n).is_multiple_of(3) {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Which of some spreads is best by its median.
fn best(spreads: impl Iterator<Item = Spread>, measure: Measure) -> Option<f64> {
    let medians = spreads.map(|spread| spread.median);
    if measure.wants_more() { medians.reduce(f64::max) } else { medians.reduce(f64::min) }
}

fn with_unit(unit: Unit) -> String {
    if unit.name().is_empty() { String::new() } else { format!(", {}", unit.name()) }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_three_digits_or_so() {
        assert_eq!(number(0.123), "0.12");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(123.4), "123");
        assert_eq!(number(1_234_567.0), "1,234,567");
    }
}
