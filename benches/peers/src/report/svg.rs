//! Bar charts, one file for each group. Written by hand: bars, whiskers, text; colours follow the reader's
//! light or dark scheme.

use std::fmt::{self, Write as _};

use super::{groups, number, with_unit};
use crate::column::Column;
use crate::keys::Shape;
use crate::measure::{Measure, Results, Spread};

const WIDTH: f64 = 860.0;
const LABELS: f64 = 190.0;
const FIGURES: f64 = 180.0;
const BAR: f64 = 18.0;
const GAP: f64 = 4.0;
const HEAD: f64 = 34.0;

const STYLE: &str = "<style>\
    text{font:13px system-ui,sans-serif;fill:#1f2328}\
    .head{font-weight:600}.bar{fill:#8c959f}.ours{fill:#0969da}.limit{fill:#d0d7de}\
    .whisker{stroke:#1f2328;stroke-width:1.2}.back{fill:#ffffff}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.bar{fill:#6e7681}.ours{fill:#4493f8}\
    .limit{fill:#3d444d}.whisker{stroke:#e6edf3}.back{fill:#0d1117}}\
    </style>";

/// File names and contents.
pub(super) fn charts(results: &Results) -> Result<Vec<(String, String)>, fmt::Error> {
    let rows = results.rows();
    let chart = |group: &'static str| {
        let rows: Vec<_> =
            rows.iter().copied().filter(|(measure, _)| measure.group() == group).collect();
        let name = format!("{}.svg", group.to_lowercase().replace(' ', "-"));
        Ok((name, chart(results, group, &rows)?))
    };
    groups(&rows).into_iter().map(chart).collect()
}

fn chart(results: &Results, group: &str, rows: &[(Measure, Shape)]) -> Result<String, fmt::Error> {
    let mut body = String::new();
    let mut y = HEAD;
    for &(measure, shape) in rows {
        let bars: Vec<(Column, Spread)> = results
            .columns()
            .into_iter()
            .filter_map(|column| Some((column, results.spread(measure, shape, column)?)))
            .collect();
        let title = format!("{shape}: {measure}{}", with_unit(measure.unit()));
        write_row(&mut body, &mut y, &title, measure, &bars)?;
    }
    let height = y + GAP;
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">{STYLE}<title>{group}</title>\
         <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>{body}</svg>\n"
    ))
}

/// The bars of one row of a table, the longest as long as there is room.
fn write_row(
    out: &mut String,
    y: &mut f64,
    title: &str,
    measure: Measure,
    bars: &[(Column, Spread)],
) -> fmt::Result {
    let better = if measure.wants_more() { "more is better" } else { "less is better" };
    let baseline = *y - 10.0;
    write!(out, "<text class=\"head\" x=\"8\" y=\"{baseline}\">{title} ({better})</text>")?;
    let most = bars.iter().map(|(_, spread)| spread.most).fold(0.0, f64::max);
    let scale = if most > 0.0 { (WIDTH - LABELS - FIGURES) / most } else { 0.0 };
    for (column, spread) in bars {
        let class = match column {
            column if column.is_limit() => "limit",
            column if column.is_zerocask() => "ours",
            _ => "bar",
        };
        let (middle, text) = (*y + BAR / 2.0, *y + BAR - 5.0);
        let end = |value: f64| LABELS + value * scale;
        write!(
            out,
            "<text x=\"{:.1}\" y=\"{text}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{LABELS}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\"/>\
             <line class=\"whisker\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>\
             <text x=\"{:.1}\" y=\"{text}\">{}</text>",
            LABELS - 8.0,
            column.label(),
            spread.median * scale,
            end(spread.least),
            end(spread.most),
            end(spread.most) + 8.0,
            number(spread.median),
        )?;
        *y += BAR + GAP;
    }
    *y += HEAD;
    Ok(())
}
