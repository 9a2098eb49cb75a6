//! Functions with known optima, shared with `fixtures/optuna_tpe.py`, and a study without storage.

use std::f64::consts::PI;

use luthier_space::{Distribution, Scale, Space, Values};
use luthier_tune::{Direction, Request, Sampler, State, Trial, best};

/// A function to minimise; its minimum is 0.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) space: Space,
    pub(crate) value: fn(&Values) -> f64,
}

pub(crate) fn all() -> Vec<Function> {
    let float = Distribution::float;
    let number = |low, high| float(low, high);
    let sphere = ["x0", "x1", "x2", "x3", "x4"].map(|name| (name, number(-5.0, 5.0)));
    let mixed = Space::of([
        ("x", float(-5.0, 5.0)),
        ("rate", Distribution::log_float(1e-5, 1.0)),
        ("count", Distribution::int(1, 20)),
        (
            "share",
            Distribution::Float { low: 0.0, high: 1.0, scale: Scale::Linear, step: Some(0.1) },
        ),
        ("kind", Distribution::choice(["d", "c", "b", "a"])),
    ]);
    let conditional = Space::of([("branch", Distribution::choice(["a", "b"]))])
        .when(
            "branch",
            "a",
            Space::of([("x", float(-5.0, 5.0)), ("rate", Distribution::log_float(1e-4, 1.0))]),
        )
        .when("branch", "b", Space::of(["u", "v", "w"].map(|name| (name, float(0.0, 1.0)))));
    let branin = Space::of([("x", float(-5.0, 10.0)), ("y", float(0.0, 15.0))]);
    vec![
        Function { name: "sphere", space: Space::of(sphere), value: sphere_value },
        Function { name: "branin", space: branin, value: branin_value },
        Function { name: "mixed", space: mixed, value: mixed_value },
        Function { name: "conditional", space: conditional, value: conditional_value },
    ]
}

fn sphere_value(values: &Values) -> f64 {
    values.iter().filter_map(|(_, x)| x.as_f64()).map(|x| (x - 1.3).powi(2)).sum()
}

fn branin_value(values: &Values) -> f64 {
    let (x, y) = (values.float("x").unwrap(), values.float("y").unwrap());
    let bowl = y - 5.1 / (4.0 * PI * PI) * x * x + 5.0 / PI * x - 6.0;
    bowl.powi(2) + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * x.cos() + 10.0 - 0.397_887_357_729_738_16
}

fn mixed_value(values: &Values) -> f64 {
    let number = |name: &str| values.float(name).unwrap();
    let kind = match values.text("kind").unwrap() {
        "a" => 0.0,
        "b" => 0.5,
        "c" => 1.0,
        _ => 1.5,
    };
    (number("x") - 1.0).powi(2) / 5.0
        + (number("rate").log10() + 3.0).powi(2) / 2.0
        + ((number("count") - 7.0) / 5.0).powi(2)
        + 4.0 * (number("share") - 0.3).powi(2)
        + kind
}

fn conditional_value(values: &Values) -> f64 {
    let number = |name: &str| values.float(name).unwrap();
    if values.text("branch").unwrap() == "a" {
        return (number("x") - 2.0).powi(2) / 4.0 + (number("rate").log10() + 2.0).powi(2) + 0.3;
    }
    let squares =
        [("u", 0.2), ("v", 0.7), ("w", 0.5)].map(|(name, at)| (number(name) - at).powi(2));
    4.0 * squares.iter().sum::<f64>()
}

/// The trials of a study in which each sees all before it.
fn study(sampler: &dyn Sampler, function: &Function, seed: u64, count: u64) -> Vec<Trial> {
    study_of_workers(sampler, function, seed, count, 1)
}

/// The trials of a study of so many workers, each of which begins a trial when its last one is
/// finished: all others are pending then. All trials take equally long.
pub(crate) fn study_of_workers(
    sampler: &dyn Sampler,
    function: &Function,
    seed: u64,
    count: u64,
    workers: usize,
) -> Vec<Trial> {
    let mut trials: Vec<Trial> = Vec::new();
    for number in 0..count {
        let directions = &[Direction::Minimize];
        let request = Request { space: &function.space, directions, trials: &trials, number, seed };
        let Some(values) = sampler.suggest(&request) else { break };
        trials.push(Trial::running(number, values));
        if let Some(trial) = trials.iter_mut().rev().nth(workers - 1) {
            trial.scores = vec![(function.value)(&trial.values)];
            trial.state = State::Complete;
        }
    }
    for trial in trials.iter_mut().filter(|trial| trial.state == State::Running) {
        trial.scores = vec![(function.value)(&trial.values)];
        trial.state = State::Complete;
    }
    trials
}

/// What the best of so many trials falls short of the minimum, on average over seeds.
pub(crate) fn mean_regret(
    sampler: &dyn Sampler,
    function: &Function,
    trials: u64,
    seeds: u64,
) -> f64 {
    let regret = |seed| {
        let trials = study(sampler, function, seed, trials);
        best(&trials, &[Direction::Minimize]).and_then(Trial::score).unwrap()
    };
    (0..seeds).map(regret).sum::<f64>() / seeds as f64
}
