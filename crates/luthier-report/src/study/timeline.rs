//! When each trial ran.

use serde_json::{Value, json};

use super::{StudyTrial, StudyView};
use crate::figure::{Figure, axis};
use crate::html::Html;
use crate::{TrialState, number};

/// States with their names and colours.
const STATES: [(TrialState, &str, &str); 5] = [
    (TrialState::Complete, "complete", "var(--accent)"),
    (TrialState::Pruned, "stopped early", "var(--muted)"),
    (TrialState::Failed, "failed", "var(--bad)"),
    (TrialState::Paused, "paused", "var(--sky)"),
    (TrialState::Running, "running", "var(--good)"),
];

/// A bar for each trial from its begin to its end; `None` where times are not known.
pub(super) fn figure(study: &StudyView) -> Option<Html> {
    let end = study.seconds()?;
    let (unit, length) = match end {
        0.0..600.0 => ("s", 1.0),
        600.0..36_000.0 => ("min", 60.0),
        _ => ("h", 3600.0),
    };
    let traces = STATES.into_iter().filter_map(|(state, name, color)| {
        let trials = study.trials.iter().filter(|trial| trial.state == state);
        bars(trials, end, length, name, color, study.trials.len())
    });
    let data: Vec<Value> = traces.collect();
    if data.is_empty() {
        return None;
    }
    let mut x = axis(&format!("time since the first trial began, {unit}"));
    x["rangemode"] = json!("tozero");
    let mut y = axis("trial");
    y["autorange"] = json!("reversed");
    let figure = Figure {
        title: "When each trial ran".to_owned(),
        height: 340,
        data,
        layout: json!({ "xaxis": x, "yaxis": y, "showlegend": true }),
    };
    let caption = "One bar for each trial, from its begin to its end.";
    Some(figure.html(Html::text(caption)))
}

fn bars<'a>(
    trials: impl Iterator<Item = &'a StudyTrial>,
    end: f64,
    length: f64,
    name: &str,
    color: &str,
    count: usize,
) -> Option<Value> {
    let (mut x, mut y, mut text) = (Vec::new(), Vec::new(), Vec::new());
    for trial in trials {
        let Some(from) = number::finite(trial.started) else { continue };
        let to = number::finite(trial.ended).unwrap_or(end).max(from);
        let about = format!("trial {}: {}", trial.number, number::duration(Some(to - from)));
        x.extend([Some(from / length), Some(to / length), None]);
        y.extend([Some(trial.number), Some(trial.number), None]);
        text.extend([about.clone(), about, String::new()]);
    }
    let width = (280.0 / count.max(1) as f64).clamp(1.5, 8.0);
    (!x.is_empty()).then(|| {
        json!({
            "type": "scatter", "mode": "lines", "name": name, "x": x, "y": y,
            "line": { "color": color, "width": width },
            "hovertext": text, "hovertemplate": "%{hovertext}<extra></extra>",
        })
    })
}
