//! Pruners beside Optuna's, judging the same trials; see `fixtures/optuna_pruners.py`.

use luthier_space::Values;
use luthier_tune::{Direction, Pruner, PrunerSpec, State, Step, Trial, Verdict};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    histories: Vec<History>,
}

#[derive(Deserialize)]
struct History {
    pruner: PrunerSpec,
    direction: Direction,
    steps: Vec<u64>,
    trials: Vec<Told>,
}

/// A trial as Optuna has seen it: what it reported before it was pruned, if it was; nothing is NaN.
#[derive(Deserialize)]
struct Told {
    scores: Vec<Option<f64>>,
    score: Option<f64>,
    pruned: bool,
}

#[test]
fn pruners_judge_as_those_of_optuna() {
    let fixture = include_str!("../fixtures/optuna_pruners.json");
    let fixture: Fixture = serde_json::from_str(fixture).unwrap();
    for history in &fixture.histories {
        check(history);
    }
}

fn check(history: &History) {
    let History { pruner, direction, steps, trials: told } = history;
    let mut trials: Vec<Trial> = Vec::new();
    for (told, number) in told.iter().zip(0..) {
        let mut trial = Trial::running(number, Values::default());
        for (place, (score, step)) in told.scores.iter().zip(steps).enumerate() {
            trial.steps.push(Step::from((*step, score.unwrap_or(f64::NAN))));
            let verdict = pruner.judge(&[*direction], &trials, &trial);
            let is_end = told.pruned && place + 1 == told.scores.len();
            let expected = if is_end { Verdict::Prune } else { Verdict::Continue };
            assert_eq!(verdict, expected, "{pruner:?}, {direction:?}, trial {number}, step {step}");
        }
        trial.state = if told.pruned { State::Pruned } else { State::Complete };
        trial.scores = told.score.into_iter().collect();
        trials.push(trial);
    }
}
