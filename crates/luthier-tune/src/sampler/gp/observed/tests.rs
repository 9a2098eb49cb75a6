use luthier_space::{Distribution, Space};

use super::super::super::points::Points;
use super::*;
use crate::{Direction, Request, State, Step, Trial};

fn with_steps(number: u64, state: State, steps: &[(u64, f64)], end: Option<f64>) -> Trial {
    let values = [("x".to_owned(), luthier_space::Value::Float(number as f64 / 100.0))]
        .into_iter()
        .collect();
    let steps = steps.iter().map(|step| Step::from(*step)).collect();
    let scores = end.into_iter().collect();
    Trial { state, steps, scores, ..Trial::running(number, values) }
}

#[test]
fn a_stopped_trial_is_expected_to_end_as_its_peers_did() {
    let space = Space::of([("x", Distribution::float(0.0, 1.0))]);
    let complete = |number, at_one: f64, end: f64| {
        with_steps(number, State::Complete, &[(1, at_one), (2, 0.0)], Some(end))
    };
    let stopped = |number, at_one| with_steps(number, State::Pruned, &[(1, at_one)], None);
    let trials = [
        complete(0, 0.9, 0.1),
        complete(1, 0.8, 0.2),
        complete(2, 0.7, 0.4),
        complete(3, 0.6, 0.3),
        stopped(4, 0.85),
        stopped(5, 0.1),
        stopped(6, 0.95),
        with_steps(7, State::Paused, &[(3, 0.05)], None),
    ];
    let frame = Frame::new(&space).unwrap();
    let directions = &[Direction::Minimize];
    let request = Request { space: &space, directions, trials: &trials, number: 8, seed: 0 };
    let points = Points::of(&frame, trials.iter().map(|trial| &trial.values));
    let losses = losses(&History::new(&points, &request), 0);
    // At step 1 three peers are better than number 4, none better than 5, and all better than 6;
    // nobody knows what becomes of number 7.
    assert_eq!(losses, [0.1, 0.2, 0.4, 0.3, 0.4, 0.1, 0.4, 0.3]);
}
