//! Importance of parameters beside Optuna's; see `tests/fixtures/optuna_importance.py`.

use std::collections::BTreeMap;

use luthier_space::{Distribution, Scale, Space, Value, Values};
use luthier_tune::{Direction, State, Trial};
use serde::Deserialize;

use super::of_trials;

#[derive(Deserialize)]
struct Fixture {
    studies: Vec<Study>,
}

#[derive(Deserialize)]
struct Study {
    trials: Vec<Told>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Told {
    values: Values,
    scores: Vec<f64>,
}

#[derive(Deserialize)]
struct Case {
    directions: Vec<Direction>,
    shares: BTreeMap<String, f64>,
}

fn space() -> Space {
    let stepped =
        Distribution::Float { low: 0.0, high: 1.0, scale: Scale::Linear, step: Some(0.05) };
    Space::of([
        ("rate", Distribution::log_float(1e-5, 1.0)),
        ("share", stepped),
        ("slope", Distribution::float(-3.0, 5.0)),
        ("depth", Distribution::int(1, 12)),
        ("units", Distribution::log_int(4, 1000)),
        ("width", Distribution::Int { low: 16, high: 2048, scale: Scale::Linear, step: 16 }),
        ("kind", Distribution::choice(["a", "b", "c"])),
    ])
    .when("kind", "b", Space::of([("alpha", Distribution::float(0.0, 1.0))]))
}

fn complete(number: u64, values: Values, scores: &[f64]) -> Trial {
    let scores = scores.to_vec();
    Trial { state: State::Complete, scores, ..Trial::running(number, values) }
}

#[test]
fn shares_are_those_of_optuna() {
    let fixture = include_str!("../../../../tests/fixtures/optuna_importance.json");
    let fixture: Fixture = serde_json::from_str(fixture).unwrap();
    for Study { trials: told, cases } in &fixture.studies {
        for Case { directions, shares } in cases {
            let of = |(told, number): (&Told, u64)| {
                complete(number, told.values.clone(), &told.scores[..directions.len()])
            };
            let trials: Vec<Trial> = told.iter().zip(0..).map(of).collect();
            let found = of_trials(space().dimensions(), directions, &trials);
            assert_eq!((found.trials, found.shares.len()), (trials.len(), shares.len()));
            for (name, share) in &found.shares {
                let expected = shares[name];
                let context = format!("{} trials, {directions:?}: {name}", trials.len());
                assert!((share - expected).abs() < 1e-9, "{context} {share}, Optuna {expected}");
            }
        }
    }
}

#[test]
fn few_trials_are_no_ground_for_shares() {
    let space = space();
    let nothing = of_trials(space.dimensions(), &[Direction::Minimize], &[]);
    assert_eq!((nothing.good, nothing.trials, nothing.is_certain()), (0, 0, false));
    assert!(nothing.shares.iter().all(|(_, share)| *share == 0.0));
    let mut values = Values::default();
    values.insert("slope", 0.5);
    let trials: Vec<Trial> =
        (0..3).map(|n| complete(n, values.clone(), &[f64::from(n as u32)])).collect();
    assert!(!of_trials(space.dimensions(), &[Direction::Minimize], &trials).is_certain());
    let unknown = [complete(0, values.clone(), &[f64::NAN]), complete(1, values, &[f64::INFINITY])];
    assert_eq!(of_trials(space.dimensions(), &[Direction::Minimize], &unknown).trials, 0);
}

#[test]
fn lists_count_by_what_they_hold() {
    let items: Vec<Value> = ["a", "b", "c"].map(Value::from).to_vec();
    let space = Space::of([
        ("set", Distribution::Subset { items: items.clone(), least: 0, most: 3 }),
        ("order", Distribution::Permutation { items: items.clone() }),
        ("noise", Distribution::float(0.0, 1.0)),
    ]);
    let trial = |number: u64| {
        let mut values = Values::default();
        let taken = |bit: &u64| number >> bit & 1 == 1;
        let set: Vec<Value> = (0..3).filter(taken).map(|at| items[at as usize].clone()).collect();
        let mut order = items.clone();
        order.rotate_left(number as usize / 8 % 3);
        values.insert("set", Value::List(set));
        values.insert("order", Value::List(order));
        values.insert("noise", (number * 29 % 101) as f64 / 101.0);
        let found = f64::from(u32::from(!taken(&1))) + 0.001 * (number * 13 % 97) as f64;
        complete(number, values, &[found])
    };
    let trials: Vec<Trial> = (0..96).map(trial).collect();
    let found = of_trials(space.dimensions(), &[Direction::Minimize], &trials);
    assert!(found.is_certain());
    assert_eq!(found.shares[0].0, "set");
    assert!(found.shares[0].1 > 0.5, "{found:?}");
}
