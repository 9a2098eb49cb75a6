use luthier_space::{Scale, Values};

use super::*;
use crate::{Direction, Random, Sampler, State, Trial, sampler_by_name};

fn space() -> Space {
    let momentum = Space::of([("momentum", Distribution::float(0.0, 1.0))]);
    Space::of([
        ("optimizer", Distribution::choice(["sgd", "adam"])),
        ("net.learning_rate", Distribution::log_float(1e-4, 1.0)),
        ("units", Distribution::int(1, 100)),
        ("size", Distribution::ordinal(["s", "m", "l", "xl"])),
        ("keep", Distribution::Float { low: 0.5, high: 0.999, scale: Scale::Logit, step: None }),
    ])
    .when("optimizer", "sgd", momentum)
}

/// How far from a learning rate of 0.01 and 70 units, with `adam`.
fn loss(values: &Values) -> f64 {
    let rate: f64 = values.float("net.learning_rate").unwrap();
    let units = values.float("units").unwrap();
    let other = if values.text("optimizer").unwrap() == "sgd" { 2.0 } else { 0.0 };
    (rate / 0.01).ln().abs() + (units - 70.0).abs() / 10.0 + other
}

fn trials(space: &Space, count: u64, sampler: &dyn Sampler) -> Vec<Trial> {
    let mut trials: Vec<Trial> = Vec::new();
    for number in 0..count {
        let request =
            Request { space, directions: &[Direction::Minimize], trials: &trials, number, seed: 5 };
        let values = sampler.suggest(&request).unwrap();
        let scores = vec![loss(&values)];
        trials.push(Trial { state: State::Complete, scores, ..Trial::running(number, values) });
    }
    trials
}

fn around(space: &Space, trials: &[Trial]) -> Option<Space> {
    let directions = &[Direction::Minimize];
    around_best(&Request { space, directions, trials, number: trials.len() as u64, seed: 5 })
}

#[test]
fn the_part_holds_the_best_and_leaves_out_the_bad() {
    let space = space();
    let trials = trials(&space, 40, &Random);
    let part = around(&space, &trials).unwrap();
    let mut ranked: Vec<&Trial> = trials.iter().collect();
    ranked.sort_by(|a, b| a.scores[0].total_cmp(&b.scores[0]));
    let best = &ranked[0].values;
    assert!(part.check(best).is_ok(), "{part:?}");
    let worst = ranked[20..].iter().filter(|trial| part.check(&trial.values).is_ok());
    assert_eq!(worst.count(), 0);
    // All that is possible in the part is so in the whole.
    for trial in self::trials(&part, 30, &Random) {
        assert!(space.check(&trial.values).is_ok(), "{:?}", trial.values);
    }
    let rate = best.float("net.learning_rate").unwrap();
    let Distribution::Float { low, high, scale, .. } =
        part.get("net.learning_rate").unwrap().distribution
    else {
        panic!()
    };
    let rates = ranked[..8].iter().map(|t| t.values.float("net.learning_rate").unwrap());
    assert_eq!((high, scale), (rates.fold(0.0, f64::max), Scale::Log));
    assert_eq!(low, (rate / 10.0).max(1e-4));
}

#[test]
fn a_part_can_be_searched_with_what_is_known() {
    let space = space();
    let mut trials = trials(&space, 20, &Random);
    let part = around(&space, &trials).unwrap();
    let before = trials.iter().map(|trial| trial.scores[0]).fold(f64::INFINITY, f64::min);
    let sampler = sampler_by_name("auto").unwrap();
    for number in 20..40 {
        let directions = &[Direction::Minimize];
        let request = Request { space: &part, directions, trials: &trials, number, seed: 5 };
        let values = sampler.suggest(&request).unwrap();
        let scores = vec![loss(&values)];
        trials.push(Trial { state: State::Complete, scores, ..Trial::running(number, values) });
    }
    let after = trials.iter().map(|trial| trial.scores[0]).fold(f64::INFINITY, f64::min);
    assert!(after < 0.5 * before, "{before} {after}");
}

#[test]
fn few_and_odd_trials_are_no_obstacle() {
    let space = space();
    assert!(around(&space, &[]).is_none());
    let mut one = trials(&space, 1, &Random);
    one[0].scores = vec![f64::NAN];
    assert!(around(&space, &one).is_some_and(|part| part.check(&one[0].values).is_ok()));
    one[0].state = State::Failed;
    assert!(around(&space, &one).is_none());
}
