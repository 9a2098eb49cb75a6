//! Studies and trials as tables.

use std::time::{Duration, UNIX_EPOCH};

use luthier_space::Values;
use luthier_study::{Attributes, Record, Records};
use luthier_tune::State;
use serde_json::{Value, json};

use super::note::{has_tag, is_own, note_of, shown, tags_of};
use super::{Found, export, locate};
use crate::cli::Format;
use crate::commands::{print, print_json};
use crate::failure::Failure;
use crate::term::{milliseconds, table};

pub(super) fn list(storages: &[String], tag: Option<&str>, format: Format) -> Result<(), Failure> {
    let mut found = Vec::new();
    for storage in storages {
        found.extend(Found::all(&locate(storage)?)?);
    }
    found.retain(|study| has_tag(&study.records.attributes, tag));
    if format == Format::Json {
        return print_json(&found.iter().map(summary).collect::<Vec<_>>());
    }
    let mut lines = vec![
        ["study", "trials", "best", "of", "last change", "storage", "tags"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for study in &found {
        let Found { locator, records, .. } = study;
        let best = match study.best().as_slice() {
            [] => "–".to_owned(),
            [best] => scores(best).join(" "),
            front => format!("front of {}", front.len()),
        };
        lines.push(vec![
            records.spec.name.clone(),
            records.trials.len().to_string(),
            best,
            objectives(records),
            span(records).map_or_else(|| "–".to_owned(), |(_, last)| time(last)),
            locator.to_string(),
            tags_of(&records.attributes).join(", "),
        ]);
    }
    print(&table(&lines))
}

/// Shows the study, and of its trials the last ones, or the last ones with a tag.
pub(super) fn show(
    study: &Found,
    last: usize,
    tag: Option<&str>,
    format: Format,
) -> Result<(), Failure> {
    let Found { records, .. } = study;
    let trials = records.trials.iter().filter(|record| has_tag(&record.attributes, tag));
    let mut latest: Vec<&Record> = trials.collect();
    latest.drain(..latest.len().saturating_sub(last));
    if format == Format::Json {
        let mut document = summary(study);
        document["setup"] = json!(records.spec);
        document["attributes"] = json!(records.attributes);
        let latest = latest.iter().map(|record| export::trial(record, &records.spec));
        document["latest"] = latest.collect();
        return print_json(&document);
    }
    let mut text = table(&facts(study));
    if !latest.is_empty() {
        text = text + "\n" + &trials_table(&study.records, &latest);
    }
    print(&text)
}

/// Shows one trial.
pub(super) fn trial(study: &Found, number: u64, format: Format) -> Result<(), Failure> {
    let record = study.trial(number)?;
    match format {
        Format::Json => print_json(&export::trial(record, &study.records.spec)),
        Format::Text => print(&one(&study.records, record)),
    }
}

pub(super) fn best(study: &Found, format: Format) -> Result<(), Failure> {
    let best = study.best();
    if format == Format::Json {
        let spec = &study.records.spec;
        return print_json(
            &best.iter().map(|record| export::trial(record, spec)).collect::<Vec<_>>(),
        );
    }
    match best.as_slice() {
        [] => Err(Failure::no("no trial is complete yet")),
        [best] => print(&one(&study.records, best)),
        front => print(&trials_table(&study.records, front)),
    }
}

/// A study in a few words.
pub(super) fn summary(study: &Found) -> Value {
    let Found { locator, records, .. } = study;
    let times = span(records);
    json!({
        "name": records.spec.name,
        "storage": locator.to_string(),
        "objectives": records.spec.objectives,
        "trials": records.trials.len(),
        "states": counts(records).into_iter().collect::<serde_json::Map<_, _>>(),
        "first_start": times.map(|(first, _)| time(first)),
        "last_change": times.map(|(_, last)| time(last)),
        "best": study.best().iter().map(|r| export::trial(r, &records.spec)).collect::<Vec<_>>(),
    })
}

fn facts(study: &Found) -> Vec<Vec<String>> {
    let records = &study.records;
    let spec = &records.spec;
    let parameters: Vec<&str> = spec.space.dimensions().iter().map(|d| d.name.as_str()).collect();
    let asked = if spec.space.is_open() { ", as trials ask for them" } else { "" };
    let space = format!("{} parameters{asked}: {}", parameters.len(), parameters.join(", "));
    let states: Vec<String> =
        counts(records).iter().map(|(state, count)| format!("{count} {state}")).collect();
    let mut facts = vec![
        ("study", spec.name.clone()),
        ("storage", study.locator.to_string()),
        ("objective", objectives(records)),
        ("space", space),
        ("sampler", format!("{}, seed {}", spec.sampler, spec.seed)),
        ("pruner", spec.pruner.to_string()),
        ("trials", format!("{}: {}", records.trials.len(), states.join(", "))),
    ];
    if !spec.constraints.is_empty() {
        facts.insert(3, ("limits on", spec.constraints.join(", ")));
    }
    if let Some(lag) = spec.lag {
        facts.push(("lag", lag.to_string()));
    }
    if let Some((first, last)) = span(records) {
        let work: f64 = records.trials.iter().filter_map(|record| record.trial.seconds).sum();
        let (from, to) = (time(first), time(last));
        facts.push(("time", format!("{from} to {to}, {} of work", seconds(Some(work)))));
    }
    facts.extend(noted(&records.attributes));
    match study.best().as_slice() {
        [] => {}
        [best] => {
            facts.push(("best", format!("trial {}: {}", best.trial.number, named(best, records))));
        }
        front => facts.push(("best", format!("{} trials, see `luthier study best`", front.len()))),
    }
    facts.into_iter().map(|(key, value)| vec![key.to_owned(), value]).collect()
}

/// One trial with its values, each on a line.
fn one(records: &Records, best: &Record) -> String {
    let mut lines = vec![
        vec!["trial".to_owned(), best.trial.number.to_string()],
        vec!["state".to_owned(), export::standing(best).to_owned()],
        vec!["origin".to_owned(), best.origin.clone()],
    ];
    for (objective, score) in records.spec.objectives.iter().zip(&best.trial.scores) {
        lines.push(vec![objective.metric.clone(), score.to_string()]);
    }
    for (constraint, beyond) in records.spec.constraints.iter().zip(&best.trial.violations) {
        lines.push(vec![format!("{constraint} beyond its limit"), beyond.to_string()]);
    }
    let noted = noted(&best.attributes).map(|(key, value)| vec![key.to_owned(), value]);
    lines.extend(noted);
    if let Some(reason) = &best.trial.reason {
        let reasons = reason.lines().map(|line| vec!["reason".to_owned(), line.to_owned()]);
        lines.extend(reasons);
    }
    let scores = table(&lines);
    // As exact as they have to be to be written down elsewhere.
    let value = |(name, value)| vec![format!("{name}"), json!(value).to_string()];
    let head = vec!["parameter".to_owned(), "value".to_owned()];
    let values: Vec<Vec<String>> =
        std::iter::once(head).chain(best.trial.values.iter().map(value)).collect();
    scores + "\n" + &table(&values)
}

fn trials_table(records: &Records, trials: &[&Record]) -> String {
    let metrics = records.spec.objectives.iter().map(|objective| objective.metric.clone());
    let head = ["trial", "state"].map(str::to_owned).into_iter().chain(metrics);
    let head = head.chain(["time", "origin"].map(str::to_owned));
    let are_noted = trials.iter().any(|record| !remarks(record).is_empty());
    let head = head.chain(are_noted.then(|| "noted".to_owned())).chain(["values".to_owned()]);
    let lines = trials.iter().map(|record| {
        let trial = &record.trial;
        let mut line = vec![trial.number.to_string(), export::standing(record).to_owned()];
        let mut scores = scores(record);
        scores.resize(records.spec.objectives.len(), "–".to_owned());
        line.extend(scores);
        line.extend([seconds(trial.seconds), record.origin.clone()]);
        line.extend(are_noted.then(|| remarks(record)));
        line.push(joined(&trial.values));
        if let Some(reason) = &trial.reason {
            line.push(reason.lines().next().unwrap_or_default().to_owned());
        }
        line
    });
    table(&std::iter::once(head.collect()).chain(lines).collect::<Vec<_>>())
}

/// What people have noted about a trial, on a line.
fn remarks(record: &Record) -> String {
    let attributes = record.attributes.iter().filter(|(key, _)| is_own(key, &record.attributes));
    shown(&attributes.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// All that was noted, by name.
fn noted(attributes: &Attributes) -> impl Iterator<Item = (&'static str, String)> {
    let tags = tags_of(attributes);
    let tags = (!tags.is_empty()).then(|| ("tags", tags.join(", ")));
    let note = note_of(attributes).into_iter().flat_map(str::lines);
    let note = note.map(|line| ("note", line.to_owned()));
    let others = attributes.iter().filter(|(key, _)| !is_own(key, attributes));
    let others = others.map(|(key, value)| ("noted", format!("{key}: {value}")));
    tags.into_iter().chain(note).chain(others)
}

fn joined(values: &Values) -> String {
    let values: Vec<String> =
        values.iter().map(|(name, value)| format!("{name}={value}")).collect();
    values.join(" ")
}

fn scores(record: &Record) -> Vec<String> {
    record.trial.scores.iter().map(|score| format!("{score:.4}")).collect()
}

fn named(record: &Record, records: &Records) -> String {
    let metrics = records.spec.objectives.iter().map(|objective| &objective.metric);
    let scores: Vec<String> =
        metrics.zip(scores(record)).map(|(metric, score)| format!("{metric} {score}")).collect();
    scores.join(", ")
}

fn objectives(records: &Records) -> String {
    let objectives = records.spec.objectives.iter();
    objectives.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How many trials there are in each state that occurs.
fn counts(records: &Records) -> Vec<(String, Value)> {
    let states = [State::Complete, State::Pruned, State::Failed, State::Paused, State::Running];
    let names = states.map(export::state_name).into_iter().chain([export::WAITING]);
    let count =
        |name| records.trials.iter().filter(|record| export::standing(record) == name).count();
    let counts = names.map(|name| (name, count(name)));
    counts.filter(|(_, n)| *n > 0).map(|(state, n)| (state.to_owned(), n.into())).collect()
}

/// When the first trial began and when the last of them began or ended, in milliseconds since 1970.
pub(super) fn span(records: &Records) -> Option<(u64, u64)> {
    let first = records.trials.iter().filter_map(|record| record.started).min()?;
    let last =
        records.trials.iter().flat_map(|record| [record.started, record.ended]).flatten().max()?;
    Some((first, last))
}

/// Milliseconds since 1970 as a time to the second.
fn time(since_1970: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(since_1970);
    humantime::format_rfc3339_seconds(time).to_string()
}

fn seconds(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds.filter(|seconds| seconds.is_finite()) else {
        return "–".to_owned();
    };
    match seconds {
        0.0..0.1 => milliseconds(seconds * 1e3),
        0.1..10.0 => format!("{seconds:.2} s"),
        _ => humantime::format_duration(Duration::from_secs(seconds.abs() as u64)).to_string(),
    }
}
