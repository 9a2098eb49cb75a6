//! Trials as tables and as JSON.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use luthier_data::{Cells, Format as TableFormat, write_table};
use luthier_space::{Distribution, Value};
use luthier_study::{Record, Records, StudySpec};
use luthier_tune::{State, Step, Tiebreak};
use serde_json::{Map, json};

use super::Found;
use crate::cli::Format;
use crate::commands::{print, print_bytes, print_json};
use crate::failure::Failure;

pub(super) fn export(study: &Found, output: Option<&Path>, format: Format) -> Result<(), Failure> {
    let records = &study.records;
    let Some(path) = output else {
        if format == Format::Json {
            return print_json(&document(records));
        }
        let mut csv = Vec::new();
        write_table(&columns(records), TableFormat::Csv, &mut csv)
            .map_err(|error| Failure::fault(format!("writing CSV: {error}")))?;
        return print_bytes(&csv);
    };
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let table = if is_json { None } else { Some(TableFormat::of(path)?) };
    let mut file = BufWriter::new(File::create(path).map_err(Failure::io(path))?);
    let written = match table {
        Some(table) => write_table(&columns(records), table, &mut file),
        None => serde_json::to_writer_pretty(&mut file, &document(records)).map_err(Into::into),
    };
    written.and_then(|()| file.flush()).map_err(Failure::io(path))?;
    let trials = records.trials.len();
    match format {
        Format::Json => print_json(&json!({ "path": path, "trials": trials })),
        Format::Text => print(&format!("{}: {trials} trials\n", path.display())),
    }
}

/// Milliseconds since 1970 as a time.
fn time(since_1970: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(since_1970)).to_string()
}

/// All of a study.
fn document(records: &Records) -> serde_json::Value {
    let Records { spec, trials, attributes } = records;
    let trials: Vec<_> = trials.iter().map(|record| trial(record, spec)).collect();
    json!({ "setup": spec, "attributes": attributes, "trials": trials })
}

/// All of a trial; numbers that JSON does not have are null.
pub(super) fn trial(record: &Record, spec: &StudySpec) -> serde_json::Value {
    let Record { trial, attempts, origin, started, ended, attributes, .. } = record;
    let metrics = || spec.objectives.iter().map(|objective| objective.metric.as_str());
    let named = |scores: &[f64]| -> Map<String, serde_json::Value> {
        metrics().zip(scores).map(|(metric, score)| (metric.to_owned(), json!(score))).collect()
    };
    let limits = spec.constraints.iter().zip(&trial.violations);
    let steps = trial.steps.iter();
    json!({
        "number": trial.number,
        "state": standing(record),
        "values": trial.values,
        "scores": named(&trial.scores),
        "violations": limits.map(|(name, x)| (name.clone(), json!(x))).collect::<Map<_, _>>(),
        "tiebreak": trial.tiebreak,
        "steps": steps
            .map(|Step { step, scores }| json!({ "step": step, "scores": named(scores) }))
            .collect::<Vec<_>>(),
        "seconds": trial.seconds,
        "started": started.map(time),
        "ended": ended.map(time),
        "attempts": attempts,
        "origin": origin,
        "reason": trial.reason,
        "attributes": attributes,
    })
}

/// What is said of a trial that nobody evaluates although it is not over.
pub(super) const WAITING: &str = "waiting";

/// The state of a trial, or that it waits.
pub(super) fn standing(record: &Record) -> &'static str {
    if record.waiting { WAITING } else { state_name(record.trial.state) }
}

pub(super) fn state_name(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Complete => "complete",
        State::Pruned => "pruned",
        State::Paused => "paused",
        State::Failed => "failed",
    }
}

/// Trials as rows; a parameter, a metric and a note each have a column under their kind and name.
fn columns(records: &Records) -> Vec<(String, Cells)> {
    let Records { spec, trials, .. } = records;
    let int = |of: &dyn Fn(&Record) -> Option<u64>| {
        Cells::Int(trials.iter().map(|record| i64::try_from(of(record)?).ok()).collect())
    };
    let float = |of: &dyn Fn(&Record) -> Option<f64>| Cells::Float(trials.iter().map(of).collect());
    let text =
        |of: &dyn Fn(&Record) -> Option<String>| Cells::Text(trials.iter().map(of).collect());
    let mut columns = vec![
        ("number".to_owned(), int(&|record| Some(record.trial.number))),
        ("state".to_owned(), text(&|record| Some(standing(record).to_owned()))),
    ];
    for (place, objective) in spec.objectives.iter().enumerate() {
        let scores = float(&|record| record.trial.scores.get(place).copied());
        columns.push((format!("score.{}", objective.metric), scores));
    }
    for (place, constraint) in spec.constraints.iter().enumerate() {
        let beyond = float(&|record| record.trial.violations.get(place).copied());
        columns.push((format!("violation.{constraint}"), beyond));
    }
    for dimension in spec.space.dimensions() {
        let value = |record: &Record| record.trial.values.get(&dimension.name).cloned();
        let cells = match dimension.distribution {
            Distribution::Float { .. } => float(&|record| value(record)?.as_f64()),
            Distribution::Int { .. } => Cells::Int(
                trials
                    .iter()
                    .map(|record| match value(record)? {
                        Value::Int(number) => Some(number),
                        _ => None,
                    })
                    .collect(),
            ),
            _ => text(&|record| {
                Some(match value(record)? {
                    Value::Text(text) => text,
                    other => json!(other).to_string(),
                })
            }),
        };
        columns.push((format!("value.{}", dimension.name), cells));
    }
    if trials.iter().any(|record| record.trial.tiebreak.is_some()) {
        let part = |of: fn(Tiebreak) -> f64| float(&|record| record.trial.tiebreak.map(of));
        columns.push(("tiebreak.margin".to_owned(), part(|tiebreak| tiebreak.margin)));
        columns.push(("tiebreak.loss".to_owned(), part(|tiebreak| tiebreak.loss)));
    }
    columns.extend([
        ("steps".to_owned(), int(&|record| Some(record.trial.steps.len() as u64))),
        ("seconds".to_owned(), float(&|record| record.trial.seconds)),
        ("started".to_owned(), text(&|record| record.started.map(time))),
        ("ended".to_owned(), text(&|record| record.ended.map(time))),
        ("attempts".to_owned(), int(&|record| Some(record.attempts.into()))),
        ("origin".to_owned(), text(&|record| Some(record.origin.clone()))),
        ("reason".to_owned(), text(&|record| record.trial.reason.clone())),
    ]);
    let keys: BTreeSet<&String> =
        trials.iter().flat_map(|record| record.attributes.keys()).collect();
    for key in keys {
        let note = text(&|record| {
            Some(match record.attributes.get(key)? {
                serde_json::Value::String(text) if !is_json(text) => text.clone(),
                other => other.to_string(),
            })
        });
        columns.push((format!("attribute.{key}"), note));
    }
    columns
}

/// Whether a text would be taken for something else where it is read back.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}
