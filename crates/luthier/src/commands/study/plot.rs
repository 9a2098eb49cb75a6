//! A page of plots.

use std::path::Path;

use luthier_report::{Objective, StudyTrial, StudyView, render_study};
use luthier_study::Record;
use luthier_tune::Direction;
use serde_json::json;

use super::show::span;
use super::{Found, importance};
use crate::cli::Format;
use crate::commands::{print, print_json};
use crate::failure::{Failure, meant_or_known, nearest};
use crate::stages::{parameters, trial_state, values};

pub(super) fn plot(
    study: &Found,
    output: &Path,
    contour: &[String],
    format: Format,
) -> Result<(), Failure> {
    let page = render_study(&view(study, contour)?);
    std::fs::write(output, page).map_err(Failure::io(output))?;
    match format {
        Format::Json => print_json(&json!({ "path": output })),
        Format::Text => print(&format!("{}\n", output.display())),
    }
}

fn view(study: &Found, contour: &[String]) -> Result<StudyView, Failure> {
    let spec = &study.records.spec;
    let found = importance::of(study);
    let objective = |objective: &luthier_study::Objective| Objective {
        name: objective.metric.clone(),
        higher_is_better: objective.direction == Direction::Maximize,
        target: None,
    };
    let first = span(&study.records).map_or(0, |(first, _)| first);
    Ok(StudyView {
        name: spec.name.clone(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        created: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
        objectives: spec.objectives.iter().map(objective).collect(),
        sampler: spec.sampler.clone(),
        pruner: spec.pruner.to_string(),
        space: parameters(&spec.space),
        trials: study.records.trials.iter().map(|record| trial(record, first)).collect(),
        best: study.best().iter().map(|record| record.trial.number).collect(),
        doubt: (!found.is_certain()).then(|| importance::sentence(&found)),
        contour: two_of(study, contour, &found.shares)?,
        importance: found.shares,
    })
}

/// A trial whose times count from `first`, in milliseconds since 1970.
fn trial(record: &Record, first: u64) -> StudyTrial {
    let since = |time: u64| time.saturating_sub(first) as f64 / 1000.0;
    let trial = &record.trial;
    StudyTrial {
        number: trial.number,
        state: trial_state(trial.state),
        scores: trial.scores.clone(),
        values: values(&trial.values),
        steps: trial.steps.iter().map(|step| (step.step, step.scores.clone())).collect(),
        seconds: trial.seconds,
        started: record.started.map(since),
        ended: record.ended.map(since),
        reason: trial.reason.clone(),
    }
}

/// The parameters of the contour plot: those that were asked for, or the most important ones.
fn two_of(
    study: &Found,
    asked: &[String],
    shares: &[(String, f64)],
) -> Result<Option<(String, String)>, Failure> {
    let known: Vec<&str> =
        study.records.spec.space.dimensions().iter().map(|d| d.name.as_str()).collect();
    for name in asked {
        if !known.contains(&name.as_str()) {
            let nearest = nearest(name, known.iter().copied());
            return Err(Failure::input(format!("the study has no parameter `{name}`"))
                .hint(meant_or_known(nearest, &known)));
        }
    }
    match (asked, shares) {
        ([first, second], _) => Ok(Some((first.clone(), second.clone()))),
        ([], [(first, _), (second, _), ..]) => Ok(Some((first.clone(), second.clone()))),
        ([], _) => Ok(None),
        _ => {
            Err(Failure::input("a contour plot is over two parameters").hint("as in --contour a,b"))
        }
    }
}
