//! The search: its history, each parameter against the score, and the scores on the way.

use serde_json::{Value, json};

use crate::figure::{Figure, axis, category_axis, label, level, log_axis};
use crate::front::{self, Point, Tradeoff};
use crate::html::{Column, Html, Table, element, folded, heading};
use crate::page::Section;
use crate::{Objective, Parameter, ParameterKind, RunReport, Trial, TrialState, Tuning, number};

/// Trials up to which each says all of its values under the pointer in each small plot; with more
/// of them the page would grow by tens of megabytes.
const MANY: usize = 500;

/// Trials and what their scores measure.
#[derive(Clone, Copy)]
pub(crate) struct Search<'a> {
    pub(crate) metric: &'a Objective,
    pub(crate) tuning: &'a Tuning,
    /// What a score is called in captions.
    pub(crate) score: &'static str,
}

impl<'a> Search<'a> {
    fn tradeoff(self) -> Tradeoff<'a> {
        let points = complete(self.tuning).map(|(trial, score)| Point {
            number: trial.number,
            scores: std::iter::once(Some(score)).chain(trial.also.iter().copied()).collect(),
            values: &trial.values,
        });
        Tradeoff {
            objectives: std::iter::once(self.metric).chain(&self.tuning.also).collect(),
            points: points.collect(),
            front: &self.tuning.front,
        }
    }
}

/// Everything about the search.
pub(crate) fn section(report: &RunReport) -> Option<Section> {
    let tuning = report.tuning.as_ref().filter(|tuning| !tuning.trials.is_empty())?;
    let search = Search { metric: &report.metric, tuning, score: "Validation score" };
    let pieces = [
        Some(element("p", &[], summary(tuning))),
        history(search).map(|plot| heading("History").then(plot)),
        front::figures(&search.tradeoff()).map(|plot| js_heading("Pareto front").then(plot)),
        Some(folded("All trials as a table", trials(tuning))),
        slices(search).map(|plots| js_heading("Parameters").then(plots)),
        curves(search).map(|plot| js_heading("Scores on the way").then(plot)),
    ];
    let body = pieces.into_iter().flatten().collect();
    Some(Section { id: "search", title: "Search", body })
}

fn summary(tuning: &Tuning) -> Html {
    let trial_states: Vec<TrialState> = tuning.trials.iter().map(|trial| trial.state).collect();
    let mut rest = format!("; {} trials", number::count(tuning.trials.len() as u64));
    if tuning.seconds.is_some() {
        rest.push_str(&format!(" in {}", number::duration(tuning.seconds)));
    }
    rest.push_str(&format!(": {}.", states(&trial_states)));
    if let Some(best) = tuning.best {
        rest.push_str(&format!(" Trial {best} is the best."));
        if tuning.front.len() > 1 {
            let count = number::count(tuning.front.len() as u64);
            rest.push_str(&format!(
                " That is by the first of the objectives; {count} trials are on the Pareto front."
            ));
        }
    }
    if let Some(margin) = tuning.margin {
        rest.push_str(&format!(
            " Among trials within {} of the highest score, its standard error, the log loss after \
             calibration decides.",
            number::score(Some(margin))
        ));
    }
    Html::text("Sampler ")
        .then(Html::isolated(&tuning.sampler))
        .then(Html::text(", pruner "))
        .then(Html::isolated(&tuning.pruner))
        .then(Html::text(&rest))
}

/// A heading above plots alone, which are not there without a script.
pub(crate) fn js_heading(text: &str) -> Html {
    element("div", &[("class", "js-only")], heading(text))
}

/// How many trials are in each state, for those that occur: `20 complete, 4 pruned`.
pub(crate) fn states(trials: &[TrialState]) -> String {
    let states = [
        TrialState::Complete,
        TrialState::Pruned,
        TrialState::Failed,
        TrialState::Paused,
        TrialState::Running,
    ];
    let counts = states.into_iter().filter_map(|state| {
        let count = trials.iter().filter(|trial| **trial == state).count();
        (count > 0).then(|| format!("{} {}", number::count(count as u64), state_name(state)))
    });
    counts.collect::<Vec<_>>().join(", ")
}

pub(crate) fn state_name(state: TrialState) -> &'static str {
    match state {
        TrialState::Running => "running",
        TrialState::Paused => "paused",
        TrialState::Complete => "complete",
        TrialState::Pruned => "pruned",
        TrialState::Failed => "failed",
    }
}

/// The final score, or the last one on the way of a trial that did not get there.
fn last_score(trial: &Trial) -> Option<f64> {
    let last = || trial.steps.iter().rev().find_map(|(_, score)| number::finite(*score));
    number::finite(trial.score).or_else(last)
}

pub(crate) fn complete(tuning: &Tuning) -> impl Iterator<Item = (&Trial, f64)> {
    let done = tuning.trials.iter().filter(|trial| trial.state == TrialState::Complete);
    done.filter_map(|trial| Some((trial, number::finite(trial.score)?)))
}

/// What a trial shows under the pointer.
pub(crate) fn hover(trial: &Trial, score: Option<f64>) -> String {
    let mut text = format!("trial {}, {}", trial.number, state_name(trial.state));
    if score.is_some() {
        text.push_str(&format!(": {}", number::score(score)));
    }
    for (name, value) in trial.values.iter().take(12) {
        text.push_str(&format!("<br>{} = {}", label(name), label(&number::value(value))));
    }
    text
}

/// A trace of single trials, each at its number.
fn dots<'a>(
    name: &str,
    trials: impl Iterator<Item = (&'a Trial, f64)>,
    marker: &Value,
) -> Option<Value> {
    let (mut x, mut y, mut text) = (Vec::new(), Vec::new(), Vec::new());
    for (trial, score) in trials {
        x.push(trial.number);
        y.push(score);
        text.push(hover(trial, last_score(trial)));
    }
    (!x.is_empty()).then(|| {
        json!({
            "type": "scatter", "mode": "markers", "name": name, "x": x, "y": y,
            "marker": marker, "cliponaxis": false,
            "hovertext": text, "hovertemplate": "%{hovertext}<extra></extra>",
        })
    })
}

pub(crate) fn history(search: Search<'_>) -> Option<Html> {
    let Search { metric, tuning, score } = search;
    complete(tuning).next()?;
    let unfinished = tuning.trials.iter().filter_map(|trial| {
        let ended = !matches!(trial.state, TrialState::Complete | TrialState::Failed);
        Some((trial, last_score(trial).filter(|_| ended)?))
    });
    let open = json!({ "color": "var(--muted)", "size": 7, "symbol": "circle-open" });
    let full = json!({ "color": "var(--accent)", "size": 8 });
    let data = [
        Some(best_so_far(metric, tuning)),
        dots("stopped early (last score)", unfinished, &open),
        dots("complete", complete(tuning), &full),
        failed(tuning),
    ];
    let mut x = axis("trial");
    x["rangemode"] = json!("nonnegative");
    let foot = json!({ "overlaying": "y", "range": [0, 1], "visible": false, "fixedrange": true });
    let y = axis(&label(&metric.name));
    let mut layout = json!({ "xaxis": x, "yaxis": y, "yaxis2": foot, "showlegend": true });
    if let Some(target) = number::finite(metric.target) {
        level(&mut layout, target, &["target", &number::chosen(target)]);
    }
    let data = data.into_iter().flatten().collect();
    let figure = Figure { title: "Optimisation history".to_owned(), height: 340, data, layout };
    let caption = format!("{score} of each trial, in the order they were started.");
    Some(figure.html(Html::text(&caption)))
}

/// Failed trials have no score: crosses at the foot of the plot, on an axis of their own.
fn failed(tuning: &Tuning) -> Option<Value> {
    let trials = tuning.trials.iter().filter(|trial| trial.state == TrialState::Failed);
    let line = json!({ "width": 2, "color": "var(--bad)" });
    let cross = json!({ "color": "var(--bad)", "size": 9, "symbol": "x-thin", "line": line });
    let mut trace = dots("failed", trials.map(|trial| (trial, 0.03)), &cross)?;
    trace["yaxis"] = json!("y2");
    Some(trace)
}

fn best_so_far(metric: &Objective, tuning: &Tuning) -> Value {
    let (mut x, mut y) = (Vec::new(), Vec::new());
    let mut best = None;
    for (trial, score) in complete(tuning) {
        let better = match best {
            None => true,
            Some(best) if metric.higher_is_better => score > best,
            Some(best) => score < best,
        };
        best = if better { Some(score) } else { best };
        x.push(trial.number);
        y.push(best);
    }
    json!({
        "type": "scatter", "mode": "lines", "name": "best so far", "x": x, "y": y,
        "line": { "color": "var(--good)", "width": 2, "shape": "hv" }, "hoverinfo": "skip",
    })
}

fn trials(tuning: &Tuning) -> Html {
    let head = [
        ("Trial", Column::Number),
        ("State", Column::Words),
        ("Score", Column::Number),
        ("Log loss", Column::Number),
        ("Time", Column::Number),
    ];
    let also = tuning.also.iter().map(|objective| (objective.name.clone(), Column::Number));
    let limits = tuning.limits.iter();
    let limits = limits.map(|name| (format!("{name} beyond its limit"), Column::Number));
    let more: Vec<(String, Column)> = also.chain(limits).collect();
    let more = more.iter().map(|(name, column)| (name.as_str(), *column));
    let parameters = tuning.space.iter().map(|parameter| {
        let numeric = parameter.kind != ParameterKind::Choice;
        (parameter.name.as_str(), if numeric { Column::Number } else { Column::Words })
    });
    let tail = [("Scores by step", Column::Text), ("Reason", Column::Text)];
    let mut table = Table::new(head.into_iter().chain(more).chain(parameters).chain(tail));
    for trial in &tuning.trials {
        let own = if trial.reported { ", reported score" } else { "" };
        let cells = [
            Html::text(&trial.number.to_string()),
            Html::text(state_name(trial.state)).then(Html::text(own)),
            Html::text(&score(trial)),
            Html::text(&number::score(trial.loss)),
            Html::text(&number::duration(trial.seconds)),
        ];
        let number = |list: &[Option<f64>], at: usize| {
            Html::text(&number::score(list.get(at).copied().flatten()))
        };
        let also = (0..tuning.also.len()).map(|at| number(&trial.also, at));
        let beyond = (0..tuning.limits.len()).map(|at| number(&trial.violations, at));
        let values = tuning.space.iter().map(|parameter| match trial.values.get(&parameter.name) {
            Some(value) => Html::clipped(&number::value(value)),
            None => Html::default(),
        });
        let tail = [steps(trial), Html::clipped(trial.reason.as_deref().unwrap_or_default())];
        let class = if Some(trial.number) == tuning.best { "chosen" } else { "" };
        table.push(class, cells.into_iter().chain(also).chain(beyond).chain(values).chain(tail));
    }
    table.html()
}

/// The score, and behind it that of the second evaluation.
fn score(trial: &Trial) -> String {
    let first = number::score(trial.score);
    trial.again.map_or(first.clone(), |again| format!("{first}, {}", number::score(Some(again))))
}

fn steps(trial: &Trial) -> Html {
    let steps =
        trial.steps.iter().map(|(step, score)| format!("{step}: {}", number::score(*score)));
    Html::clipped(&steps.collect::<Vec<_>>().join(", "))
}

pub(crate) fn slices(search: Search<'_>) -> Option<Html> {
    let tuning = search.tuning;
    let range = score_range(tuning)?;
    let figures = tuning.space.iter().filter_map(|parameter| {
        let mut figure = slice(search, parameter)?;
        figure.layout["yaxis"]["range"] = json!(range);
        let name = element("strong", &[], Html::clipped(&parameter.name));
        let scale = Html::raw(if parameter.log { ", logarithmic" } else { "" });
        Some(figure.html(name.then(scale)))
    });
    let figures: Vec<Html> = figures.collect();
    if figures.is_empty() {
        return None;
    }
    let figures = element("div", &[("class", "multiples")], figures.into_iter().collect());
    let ramp = element("span", &[("class", "ramp")], Html::default());
    let note = Html::text(
        "Score of the complete trials against each parameter. From the first to the last trial: ",
    )
    .then(ramp)
    .then(Html::text(" The ring marks the best."));
    let note = element("p", &[("class", "note js-only")], note);
    Some(note.then(figures))
}

/// The scores of all complete trials with a little room, so that the small plots share an axis.
fn score_range(tuning: &Tuning) -> Option<[f64; 2]> {
    let scores = complete(tuning).map(|(_, score)| (score, score));
    let (low, high) = scores.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    let room = if high > low { (high - low) * 0.08 } else { low.abs().max(1e-3) * 0.08 };
    Some([low - room, high + room])
}

fn slice(search: Search<'_>, parameter: &Parameter) -> Option<Figure> {
    let Search { metric, tuning, .. } = search;
    let trials: Vec<_> = complete(tuning)
        .filter_map(|(trial, score)| Some((trial, trial.values.get(&parameter.name)?, score)))
        .collect();
    let (places, axis) = match parameter.kind {
        ParameterKind::Choice => options(&trials),
        _ => quantities(parameter, &trials),
    };
    if places.iter().all(Option::is_none) {
        return None;
    }
    let margin = json!({ "t": 8, "b": 32, "l": 44, "r": 12 });
    Some(Figure {
        title: format!("{} against {}", metric.name, parameter.name),
        height: 220,
        data: vec![slice_trace(tuning, &trials, &places)],
        layout: json!({ "xaxis": axis, "yaxis": {}, "margin": margin }),
    })
}

fn slice_trace(tuning: &Tuning, trials: &[(&Trial, &Value, f64)], places: &[Option<f64>]) -> Value {
    let (mut y, mut text, mut size, mut edge, mut width) = (vec![], vec![], vec![], vec![], vec![]);
    for (trial, _, score) in trials {
        let best = Some(trial.number) == tuning.best;
        y.push(*score);
        text.push(match trials.len() {
            0..=MANY => hover(trial, Some(*score)),
            _ => format!("trial {}: {}", trial.number, number::score(Some(*score))),
        });
        size.push(if best { 12 } else { 8 });
        edge.push(if best { "var(--warn)" } else { "var(--ramp-edge)" });
        width.push(if best { 3 } else { 1 });
    }
    let last = tuning.trials.iter().map(|trial| trial.number).max();
    json!({
        "type": "scatter", "mode": "markers", "x": places, "y": y,
        "hovertext": text, "hovertemplate": "%{hovertext}<extra></extra>",
        "marker": {
            "size": size, "line": { "color": edge, "width": width }, "opacity": 1,
            "color": trials.iter().map(|(trial, ..)| trial.number).collect::<Vec<_>>(),
            "cmin": 0, "cmax": last.unwrap_or(0).max(1),
            "colorscale": [[0, "var(--ramp-low)"], [1, "var(--ramp-high)"]],
        },
    })
}

/// Places on a numeric axis; logarithmic where the parameter is and all values allow it.
pub(crate) fn quantities(
    parameter: &Parameter,
    trials: &[(&Trial, &Value, f64)],
) -> (Vec<Option<f64>>, Value) {
    let places: Vec<_> =
        trials.iter().map(|(_, value, _)| number::finite(value.as_f64())).collect();
    let known = places.iter().flatten().map(|place| (*place, *place));
    let Some((low, high)) = known.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
        return (places, json!({}));
    };
    let few = parameter.kind == ParameterKind::Int && high - low < 8.0;
    let axis = match parameter.log && low > 0.0 {
        true => log_axis(low, high),
        // Whole numbers only, rather than 1, 1.5, 2.
        false if few => json!({ "dtick": 1, "range": [low - 0.5, high + 0.5] }),
        false => json!({ "nticks": 5 }),
    };
    (places, axis)
}

/// Places on an axis of options in the order they first appear, spread a little around each by the
/// number of the trial, so that equal scores do not hide one another.
pub(crate) fn options(trials: &[(&Trial, &Value, f64)]) -> (Vec<Option<f64>>, Value) {
    let mut names: Vec<String> = Vec::new();
    let mut places = Vec::new();
    for (trial, value, _) in trials {
        let name = number::value(value);
        let index = names.iter().position(|known| *known == name).unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        });
        let spread = (trial.number % 7) as f64 / 6.0 - 0.5;
        places.push(Some(index as f64 + 0.4 * spread));
    }
    (places, category_axis(names.iter().map(String::as_str)))
}

/// Scores against steps; trials are joined into one trace per kind, with gaps between them.
pub(crate) fn curves(search: Search<'_>) -> Option<Html> {
    let Search { metric, tuning, score } = search;
    let drawn = |trial: &&Trial| {
        trial.steps.iter().filter(|(_, score)| number::finite(*score).is_some()).count() > 1
    };
    let drawn: Vec<&Trial> = tuning.trials.iter().filter(drawn).collect();
    if drawn.is_empty() {
        return None;
    }
    let is_best = |trial: &Trial| Some(trial.number) == tuning.best;
    let is_complete = |trial: &Trial| trial.state == TrialState::Complete;
    let faint = json!({ "color": "var(--faint)", "width": 1 });
    let plain = json!({ "color": "var(--sky)", "width": 1.5 });
    let strong = json!({ "color": "var(--accent)", "width": 3 });
    let data = [
        lines("stopped early", drawn.iter().filter(|trial| !is_complete(trial)), &faint),
        lines("complete", drawn.iter().filter(|t| is_complete(t) && !is_best(t)), &plain),
        lines("best", drawn.iter().filter(|t| is_complete(t) && is_best(t)), &strong),
    ];
    let (x, y) = (axis("step"), axis(&label(&metric.name)));
    let figure = Figure {
        title: "Scores by step".to_owned(),
        height: 340,
        data: data.into_iter().flatten().collect(),
        layout: json!({ "xaxis": x, "yaxis": y, "showlegend": true, "hovermode": "closest" }),
    };
    let caption = format!("{score} after each step.");
    Some(figure.html(Html::text(&caption)))
}

fn lines<'a>(
    name: &str,
    trials: impl Iterator<Item = &'a &'a Trial>,
    line: &Value,
) -> Option<Value> {
    let (mut x, mut y, mut text) = (Vec::new(), Vec::new(), Vec::new());
    let mut count = 0u32;
    for trial in trials {
        count += 1;
        for (step, score) in &trial.steps {
            x.push(Some(*step));
            y.push(number::finite(*score));
            text.push(format!("trial {}, step {step}: {}", trial.number, number::score(*score)));
        }
        x.push(None);
        y.push(None);
        text.push(String::new());
    }
    // Many curves would merge into one block that hides the best.
    let mode = if count > 60 { "lines" } else { "lines+markers" };
    let opacity = (40.0 / f64::from(count.max(1))).clamp(0.3, 1.0);
    (!x.is_empty()).then(|| {
        json!({
            "type": "scatter", "mode": mode, "name": name, "x": x, "y": y, "line": line,
            "opacity": opacity,
            "marker": { "size": 4 }, "hovertext": text,
            "hovertemplate": "%{hovertext}<extra></extra>",
        })
    })
}
