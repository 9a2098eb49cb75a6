//! The page of a study: all of its trials, from every side.

mod contour;
mod distribution;
mod importance;
mod parallel;
mod timeline;

use serde_json::{Map, Value};

use crate::front::{self, Point, Tradeoff};
use crate::headline::card;
use crate::html::{Column, Html, Table, element, folded};
use crate::page::{Section, compose};
use crate::tuning::{self, Search};
use crate::{Objective, Parameter, ParameterKind, Trial, TrialState, Tuning, number};

/// A study as [`render_study`](crate::render_study) shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct StudyView {
    /// Name of the study.
    pub name: String,
    /// Release of the program that made the page.
    pub release: String,
    /// When the page was made, RFC 3339.
    pub created: String,
    /// What is scored, at least one thing.
    pub objectives: Vec<Objective>,
    /// Name of the sampler.
    pub sampler: String,
    /// Name of the pruner.
    pub pruner: String,
    /// Parameters of the space, parents before children.
    pub space: Vec<Parameter>,
    /// All trials, by ascending number.
    pub trials: Vec<StudyTrial>,
    /// Number of the best trial, or the numbers of those on the front of several objectives.
    pub best: Vec<u64>,
    /// Parameters with their shares of importance, the largest first.
    pub importance: Vec<(String, f64)>,
    /// Why the shares are not to be relied on, if so.
    pub doubt: Option<String>,
    /// The two parameters of the contour plot.
    pub contour: Option<(String, String)>,
}

/// One trial of a study.
#[derive(Debug, Clone, PartialEq)]
pub struct StudyTrial {
    /// Number, from 0.
    pub number: u64,
    /// Where it stands.
    pub state: TrialState,
    /// Final scores, one for each objective; none unless complete.
    pub scores: Vec<f64>,
    /// Values of the active parameters, by name.
    pub values: Map<String, Value>,
    /// Scores reported on the way, as (step, one for each objective), by ascending step.
    pub steps: Vec<(u64, Vec<f64>)>,
    /// Wall time, in seconds.
    pub seconds: Option<f64>,
    /// When it began, in seconds since the first of all began.
    pub started: Option<f64>,
    /// When it was over, likewise.
    pub ended: Option<f64>,
    /// Why it failed.
    pub reason: Option<String>,
}

impl StudyView {
    /// The search for one of the objectives.
    fn tuning(&self, objective: usize) -> Tuning {
        let trial = |trial: &StudyTrial| Trial {
            number: trial.number,
            state: trial.state,
            score: trial.scores.get(objective).copied(),
            loss: None,
            seconds: trial.seconds,
            values: trial.values.clone(),
            steps: trial.steps.iter().map(|(step, s)| (*step, s.get(objective).copied())).collect(),
            reason: trial.reason.clone(),
            reported: false,
            again: None,
            also: Vec::new(),
            violations: Vec::new(),
        };
        Tuning {
            trials: self.trials.iter().map(trial).collect(),
            space: self.space.clone(),
            best: self.best.first().copied().filter(|_| self.objectives.len() == 1),
            also: Vec::new(),
            front: Vec::new(),
            limits: Vec::new(),
            margin: None,
            sampler: self.sampler.clone(),
            pruner: self.pruner.clone(),
            seconds: self.seconds(),
        }
    }

    fn tradeoff(&self) -> Tradeoff<'_> {
        let complete = self.trials.iter().filter(|trial| trial.state == TrialState::Complete);
        let points = complete.map(|trial| {
            let StudyTrial { number, ref scores, ref values, .. } = *trial;
            Point { number, scores: scores.iter().copied().map(Some).collect(), values }
        });
        Tradeoff {
            objectives: self.objectives.iter().collect(),
            points: points.collect(),
            front: &self.best,
        }
    }

    /// How long after the first trial began the last one did or ended.
    fn seconds(&self) -> Option<f64> {
        let times = self.trials.iter().flat_map(|trial| [trial.started, trial.ended]);
        times.flatten().reduce(f64::max)
    }
}

/// The whole page.
pub(crate) fn page(study: &StudyView) -> String {
    let searches: Vec<(&Objective, Tuning)> = study
        .objectives
        .iter()
        .enumerate()
        .map(|(at, metric)| (metric, study.tuning(at)))
        .collect();
    let searches: Vec<Search<'_>> =
        searches.iter().map(|(metric, tuning)| Search { metric, tuning, score: "Score" }).collect();
    let sections = [
        section("history", "History", each(&searches, tuning::history)),
        section("front", "Pareto front", front::figures(&study.tradeoff())),
        section("importance", "Importance", importance::figure(study)),
        section("parameters", "Parameters", parameters(study, &searches)),
        section("steps", "Scores on the way", each(&searches, tuning::curves)),
        section("distribution", "Distribution", each(&searches, distribution::figure)),
        section("timeline", "Timeline", timeline::figure(study)),
        section("trials", "Trials", all_trials(study)),
    ];
    let sections = sections.into_iter().flatten().collect();
    compose(&format!("{} – Luthier study", study.name), header(study), sections)
}

fn section(id: &'static str, title: &'static str, body: Option<Html>) -> Option<Section> {
    Section { id, title, body: body? }.unless_empty()
}

/// A plot for each objective; where there are several, under its name.
fn each(searches: &[Search<'_>], plot: impl Fn(Search<'_>) -> Option<Html>) -> Option<Html> {
    let plots = searches.iter().filter_map(|search| {
        let plot = plot(*search)?;
        Some(match searches.len() {
            1 => plot,
            _ => element("h3", &[], Html::clipped(&search.metric.name)).then(plot),
        })
    });
    let plots: Html = plots.collect();
    (!plots.as_str().is_empty()).then_some(plots)
}

fn header(study: &StudyView) -> Html {
    let about = [
        Html::text("study, sampler ").then(Html::isolated(&study.sampler)),
        Html::text("pruner ").then(Html::isolated(&study.pruner)),
        Html::isolated(&study.created),
        Html::text("Luthier ").then(Html::isolated(&study.release)),
    ];
    let about = about.into_iter().map(|piece| element("span", &[], piece)).collect();
    let title = element("h1", &[], Html::isolated(&study.name));
    let cards = element("div", &[("class", "cards")], cards(study).into_iter().collect());
    element("header", &[], title.then(element("p", &[("class", "about")], about)).then(cards))
}

fn cards(study: &StudyView) -> Vec<Html> {
    let mut cards = Vec::new();
    let best = study.best.first().and_then(|n| study.trials.iter().find(|t| t.number == *n));
    if let (Some(best), [metric]) = (best, study.objectives.as_slice()) {
        let goal = if metric.higher_is_better { "higher" } else { "lower" };
        let detail = format!("trial {}; {goal} is better", best.number);
        let name = Html::text("Best ").then(Html::isolated(&metric.name));
        cards.push(card(name, &number::score(best.scores.first().copied()), &detail));
    } else if !study.best.is_empty() {
        let detail = "nothing is better in one objective and as good in all";
        let count = number::count(study.best.len() as u64);
        cards.push(card(Html::text("Trials on the front"), &count, detail));
    }
    let states: Vec<TrialState> = study.trials.iter().map(|trial| trial.state).collect();
    let trials = number::count(study.trials.len() as u64);
    cards.push(card(Html::text("Trials"), &trials, &tuning::states(&states)));
    if let Some(seconds) = study.seconds() {
        let time = number::duration(Some(seconds));
        cards.push(card(Html::text("Time"), &time, "from the first trial to the latest"));
    }
    cards
}

fn parameters(study: &StudyView, searches: &[Search<'_>]) -> Option<Html> {
    let slices = each(searches, tuning::slices);
    let first = searches.first().copied();
    let contour = first.and_then(|search| contour::figure(study, search));
    let parallel = first.and_then(|search| parallel::figure(study, search));
    let titled = |title: &str, plot: Option<Html>| Some(tuning::js_heading(title).then(plot?));
    let pieces = [slices, titled("Two parameters", contour), titled("All parameters", parallel)];
    Some(pieces.into_iter().flatten().collect())
}

fn all_trials(study: &StudyView) -> Option<Html> {
    let metrics = study.objectives.iter().map(|metric| (metric.name.as_str(), Column::Number));
    let parameters = study.space.iter().map(|parameter| {
        let numeric = parameter.kind != ParameterKind::Choice;
        (parameter.name.as_str(), if numeric { Column::Number } else { Column::Words })
    });
    let head = [("Trial", Column::Number), ("State", Column::Words)].into_iter().chain(metrics);
    let tail = [("Reason", Column::Text)];
    let head = head.chain([("Time", Column::Number)]).chain(parameters).chain(tail);
    let mut table = Table::new(head);
    for trial in &study.trials {
        let score = |at| Html::text(&number::score(trial.scores.get(at).copied()));
        let value = |parameter: &Parameter| match trial.values.get(&parameter.name) {
            Some(value) => Html::clipped(&number::value(value)),
            None => Html::default(),
        };
        let cells =
            [Html::text(&trial.number.to_string()), Html::text(tuning::state_name(trial.state))];
        let cells = cells.into_iter().chain((0..study.objectives.len()).map(score));
        let cells = cells.chain([Html::text(&number::duration(trial.seconds))]);
        let cells = cells.chain(study.space.iter().map(value));
        let reason = Html::clipped(trial.reason.as_deref().unwrap_or_default());
        let class = if study.best.contains(&trial.number) { "chosen" } else { "" };
        table.push(class, cells.chain([reason]));
    }
    Some(folded("All trials as a table", table.html()))
}

#[cfg(test)]
mod tests;
