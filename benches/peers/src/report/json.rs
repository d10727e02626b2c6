//! Every sample, for whoever wants to look closer.

use serde::Serialize;

use super::targets::Judged;
use crate::machine::Facts;
use crate::measure::{Results, Sample};
use crate::peer::Result;

#[derive(Serialize)]
struct Report<'a> {
    machine: &'a Facts,
    samples: Vec<Row<'a>>,
    targets: &'a [Judged],
    failures: &'a [String],
}

#[derive(Serialize)]
struct Row<'a> {
    group: &'static str,
    row: String,
    unit: &'static str,
    #[serde(flatten)]
    sample: &'a Sample,
}

impl<'a> Row<'a> {
    fn new(sample: &'a Sample) -> Self {
        let measure = sample.measure;
        Row {
            group: measure.group(),
            row: measure.to_string(),
            unit: measure.unit().name(),
            sample,
        }
    }
}

pub(super) fn report(results: &Results, facts: &Facts, targets: &[Judged]) -> Result<String> {
    let samples = results.samples.iter().map(Row::new).collect();
    let failures = &results.failures;
    Ok(serde_json::to_string_pretty(&Report { machine: facts, samples, targets, failures })?)
}
