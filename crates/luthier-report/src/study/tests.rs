use serde_json::{Map, Value, json};

use super::*;
use crate::ParameterKind::{Choice, Float, Int};

const HOSTILE: &str = "</script><img src=x onerror=alert(1)>\"'&<b>";

fn objective(name: &str, higher_is_better: bool) -> Objective {
    Objective { name: name.to_owned(), higher_is_better, target: None }
}

fn parameter(name: &str, log: bool, kind: crate::ParameterKind) -> Parameter {
    Parameter { name: name.to_owned(), log, kind }
}

/// A study of 40 trials with `objectives` objectives, whose texts begin with `prefix`.
fn study(objectives: usize, prefix: &str) -> StudyView {
    let name = |name: &str| format!("{prefix}{name}");
    let trial = |number: u64| {
        let share = number as f64 * 0.618 % 1.0;
        let mut values: Map<String, Value> = Map::new();
        values.insert(name("rate"), json!(10f64.powf(-4.0 * share)));
        values.insert(name("depth"), json!(number % 5 + 1));
        values.insert(name("kind"), json!(name(["a", "b", "c"][number as usize % 3])));
        let states =
            [TrialState::Pruned, TrialState::Failed, TrialState::Running, TrialState::Paused];
        let state = match number % 10 {
            at @ 6..=9 => states[at as usize - 6],
            _ => TrialState::Complete,
        };
        let score = |at: usize| (share - 0.4 * at as f64).abs() + 0.01 * (number % 5) as f64;
        let scores: Vec<f64> = (0..objectives).map(score).collect();
        StudyTrial {
            number,
            state,
            steps: (1..=4)
                .map(|step| (step, scores.iter().map(|s| s / step as f64).collect()))
                .collect(),
            scores: if state == TrialState::Complete { scores } else { Vec::new() },
            values,
            seconds: Some(2.0),
            started: Some(number as f64),
            ended: (state != TrialState::Running).then_some(number as f64 + 2.0),
            reason: (state == TrialState::Failed).then(|| name("broken")),
        }
    };
    StudyView {
        name: name("study"),
        release: "0.1.0".to_owned(),
        created: "2026-03-14T09:26:53Z".to_owned(),
        objectives: (0..objectives)
            .map(|at| objective(&name(&format!("loss{at}")), at == 1))
            .collect(),
        sampler: "auto".to_owned(),
        pruner: "median".to_owned(),
        space: vec![
            parameter(&name("rate"), true, Float),
            parameter(&name("depth"), false, Int),
            parameter(&name("kind"), false, Choice),
        ],
        trials: (0..40).map(trial).collect(),
        best: if objectives == 1 { vec![13] } else { vec![0, 13, 21] },
        importance: [("rate", 0.6), ("depth", 0.3), ("kind", 0.1)]
            .map(|(n, s)| (name(n), s))
            .to_vec(),
        doubt: Some(name("few trials")),
        contour: Some((name("rate"), name("depth"))),
    }
}

fn between<'a>(page: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    page.split(start).skip(1).map(|rest| rest.split(end).next().unwrap_or_default()).collect()
}

fn figures(page: &str) -> Vec<Value> {
    let json = between(page, "<script type=\"application/json\">", "</script>");
    json.into_iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

#[test]
fn every_side_has_its_section() {
    let one = page(&study(1, ""));
    let sections = |page: &str| between(page, "<section id=\"", "\"").join(" ");
    assert_eq!(sections(&one), "history importance parameters steps distribution timeline trials");
    // History, importance, three slices, contour, parallel, steps, distribution, timeline.
    assert_eq!(figures(&one).len(), 10);
    let three = page(&study(3, ""));
    assert!(sections(&three).starts_with("history front importance"));
    let empty =
        StudyView { trials: Vec::new(), best: Vec::new(), importance: Vec::new(), ..study(1, "") };
    assert_eq!(sections(&page(&empty)), "trials");
}

#[test]
fn figures_hold_what_was_tried() {
    let shown = figures(&page(&study(2, "")));
    let front = shown.iter().find(|figure| figure["data"][1]["name"] == "front").unwrap();
    assert_eq!(front["data"][1]["x"].as_array().map(Vec::len), Some(3));
    let contour = shown.iter().find(|figure| figure["data"][0]["type"] == "contour").unwrap();
    assert_eq!(contour["data"][1]["x"].as_array().map(Vec::len), Some(24));
    assert_eq!(contour["layout"]["xaxis"]["type"], "log");
    let timeline = shown.last().unwrap();
    let names: Vec<&Value> =
        timeline["data"].as_array().unwrap().iter().map(|trace| &trace["name"]).collect();
    assert_eq!(names, ["complete", "stopped early", "failed", "paused", "running"]);
}

#[test]
fn what_users_write_stays_text() {
    let page = page(&study(2, HOSTILE));
    assert!(!page.contains("<img"));
    for figure in figures(&page) {
        assert!(!figure.to_string().contains("<b>"), "{figure}");
    }
}

#[test]
fn odd_numbers_leave_plots_out_and_do_no_harm() {
    for odd in [f64::NAN, f64::INFINITY, f64::MAX, f64::MIN_POSITIVE, 0.0] {
        let mut study = study(2, "");
        for trial in &mut study.trials {
            trial.scores = trial.scores.iter().map(|_| odd).collect();
            trial.values.insert("rate".to_owned(), json!(odd));
            trial.started = Some(odd);
            trial.steps = vec![(u64::MAX, vec![odd])];
        }
        study.importance = vec![("rate".to_owned(), odd)];
        for figure in figures(&page(&study)) {
            assert!(figure["data"].is_array());
        }
    }
}
