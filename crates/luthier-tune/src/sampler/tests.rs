//! The contract of [`Sampler`], for all samplers.

use std::collections::HashSet;

use luthier_space::{Distribution, Scale};

use super::*;
use crate::{State, Step};

fn finite() -> Space {
    let deep = Space::of([("deep", Distribution::choice(["p", "q"]))]).when(
        "deep",
        "q",
        Space::of([("steps", Distribution::int(1, 3))]),
    );
    Space::of([
        ("branch", Distribution::choice(["a", "b", "c"])),
        ("flag", Distribution::ordinal([true, false])),
    ])
    .when("branch", "a", Space::of([("share", stepped(0.1, 0.5, 0.2))]))
    .when("branch", "b", deep)
    .when_one_of("branch", ["a", "c"], Space::of([("shared", Distribution::int(1, 2))]))
}

fn stepped(low: f64, high: f64, step: f64) -> Distribution {
    Distribution::Float { low, high, scale: Scale::Linear, step: Some(step) }
}

fn scaled(low: f64, high: f64, scale: Scale) -> Distribution {
    Distribution::Float { low, high, scale, step: None }
}

fn spaces() -> Vec<Space> {
    let wild = Space::of([
        ("branch", Distribution::choice(["a", "b"])),
        ("huge", Distribution::int(-(1 << 61), 1 << 61)),
        ("long", Distribution::Int { low: -7, high: 1 << 61, scale: Scale::Linear, step: 1 << 40 }),
        ("one", Distribution::float(2.5, 2.5)),
        ("narrow", Distribution::log_float(1.0, 1.0 + f64::EPSILON)),
        ("wide", Distribution::float(-f64::MAX, f64::MAX)),
        ("uneven", stepped(0.0, 1.0, 0.3)),
    ])
    .when("branch", "b", Space::of([("rate", Distribution::log_float(1e-300, 1e300))]));
    let ints = Space::of([
        ("even", Distribution::Int { low: 2, high: 11, scale: Scale::Linear, step: 2 }),
        ("log", Distribution::log_int(1, 1_000_000)),
        ("x", Distribution::float(-1.0, 1.0)),
    ]);
    let scales = Space::of([
        ("momentum", scaled(0.5, 0.999, Scale::ReverseLog)),
        ("share", scaled(1e-6, 1.0 - 1e-9, Scale::Logit)),
        ("late", Distribution::Int { low: 1, high: 900, scale: Scale::ReverseLog, step: 1 }),
        ("batch", Distribution::ordinal([16, 32, 64, 128])),
    ]);
    let only = Space::of([("only", Distribution::float(0.0, 1.0))]);
    let mut spaces = vec![finite(), wild, ints, scales, only, lists()];
    spaces.extend(CONSTRAINTS.map(constrained));
    spaces
}

fn lists() -> Space {
    let letters = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];
    Space::of([
        ("order", Distribution::permutation(letters)),
        ("some", Distribution::subset(letters, 2, 5)),
        ("first", Distribution::choice(["order", "other"])),
        ("single", Distribution::permutation(["a"])),
        ("all", Distribution::subset(["a", "b"], 2, 2)),
        ("x", Distribution::float(0.0, 1.0)),
    ])
    .when("first", "other", Space::of([("other", Distribution::permutation(["p", "q", "r"]))]))
    .subject_to("position(order, 'a') < position(order, 'b') and 'c' not in some")
    .unwrap()
}

/// From those that most points keep to those that hardly any does.
const CONSTRAINTS: [&str; 6] = [
    "low < high and high < top",
    "units * layers <= 4096 and units != layers",
    "mode == 'slow' or rate < 1e-3",
    "rest > 2 or high - low > 0.9",
    "abs(low - high) < 1e-3",
    "low + units + layers == 40 + low and abs(top - 0.75) < 0.01",
];

fn constrained(constraint: &str) -> Space {
    Space::of([
        ("low", Distribution::float(0.0, 1.0)),
        ("high", Distribution::float(0.0, 1.0)),
        ("top", Distribution::float(0.0, 1.0)),
        ("units", Distribution::log_int(1, 4096)),
        ("layers", Distribution::int(1, 64)),
        ("mode", Distribution::choice(["fast", "slow"])),
        ("rate", Distribution::log_float(1e-5, 1.0)),
    ])
    .when("mode", "slow", Space::of([("rest", Distribution::float(1.0, 3.0))]))
    .subject_to(constraint)
    .unwrap()
}

/// The trials of a study with one objective; see [`study_of`].
fn study(sampler: &dyn Sampler, space: &Space, seed: u64, count: u64) -> Vec<Trial> {
    study_of(sampler, space, &[Direction::Maximize], seed, count)
}

/// The trials of a study of which every fifth fails, every seventh is pruned and the last two are
/// always pending. With several objectives there is a limit too, which half of the trials break.
fn study_of(
    sampler: &dyn Sampler,
    space: &Space,
    directions: &[Direction],
    seed: u64,
    count: u64,
) -> Vec<Trial> {
    let mut trials: Vec<Trial> = Vec::new();
    for number in 0..count {
        let request = Request { space, directions, trials: &trials, number, seed };
        let Some(values) = sampler.suggest(&request) else { break };
        trials.push(Trial::running(number, values));
        if let Some(trial) = trials.iter_mut().rev().nth(2) {
            let score = |objective| (trial.number * (37 + 11 * objective) % 101) as f64;
            let scores: Vec<f64> = (0..directions.len() as u64).map(score).collect();
            trial.steps = vec![Step { step: 1, scores: scores.clone() }];
            trial.state = match trial.number {
                n if n % 5 == 4 => State::Failed,
                n if n % 7 == 6 => State::Pruned,
                _ => State::Complete,
            };
            if trial.state == State::Complete {
                let broken = trial.number as f64 % 4.0 - 1.0;
                trial.violations = if scores.len() > 1 { vec![broken, -1.0] } else { vec![] };
                trial.scores = scores;
            }
        }
    }
    trials
}

fn each(check: impl Fn(&str, &dyn Sampler)) {
    for name in SAMPLERS {
        check(name, sampler_by_name(name).unwrap().as_ref());
    }
}

#[test]
fn proposals_always_fit_the_space() {
    each(|name, sampler| {
        for space in spaces() {
            let trials = study(sampler, &space, 5, 60);
            assert!(!trials.is_empty(), "{name}");
            for trial in trials {
                space.check(&trial.values).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    });
}

#[test]
fn several_objectives_with_limits_get_proposals_that_fit() {
    let directions = [Direction::Maximize, Direction::Minimize, Direction::Minimize];
    each(|name, sampler| {
        for space in spaces() {
            for count in 2..=directions.len() {
                let trials = study_of(sampler, &space, &directions[..count], 5, 40);
                assert_eq!(
                    trials,
                    study_of(sampler, &space, &directions[..count], 5, 40),
                    "{name}"
                );
                for trial in trials {
                    space.check(&trial.values).unwrap_or_else(|error| panic!("{name}: {error}"));
                }
            }
        }
    });
}

/// Scores without an order, or without a value, are as good as any.
#[test]
fn degenerate_scores_do_not_stop_a_study() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let patterns: [&[f64]; 5] =
        [&[1.0], &[nan], &[inf, -inf], &[nan, 1.0, inf, 2.0], &[1e308, -1e308]];
    each(|name, sampler| {
        for (scores, objectives) in patterns.iter().flat_map(|p| [(p, 1), (p, 2)]) {
            for space in spaces() {
                let directions = vec![Direction::Minimize; objectives];
                let mut trials: Vec<Trial> = Vec::new();
                for number in 0..30 {
                    let (space, directions) = (&space, directions.as_slice());
                    let request = Request { space, directions, trials: &trials, number, seed: 3 };
                    let Some(values) = sampler.suggest(&request) else { break };
                    space.check(&values).unwrap_or_else(|error| panic!("{name}: {error}"));
                    let at = |objective| scores[(number as usize + objective) % scores.len()];
                    let scores = (0..objectives).map(at).collect();
                    let violations = vec![[nan, 0.0, 1.0, inf][number as usize % 4]];
                    let state = State::Complete;
                    trials.push(Trial {
                        state,
                        scores,
                        violations,
                        ..Trial::running(number, values)
                    });
                }
            }
        }
    });
}

#[test]
fn the_same_request_gets_the_same_answer_and_another_seed_another() {
    each(|name, sampler| {
        for space in spaces() {
            let trials = study(sampler, &space, 5, 30);
            assert_eq!(trials, study(sampler, &space, 5, 30), "{name}");
            assert_ne!(trials, study(sampler, &space, 6, 30), "{name}");
        }
    });
}

#[test]
fn a_finite_space_is_exhausted_exactly() {
    let space = finite();
    assert_eq!(space.cardinality(), Some(2 * (3 * 2 + (1 + 3) + 2)));
    each(|name, sampler| {
        let trials = study(sampler, &space, 11, 1000);
        let distinct: HashSet<String> = trials.iter().map(|t| t.values.to_string()).collect();
        assert_eq!((trials.len(), distinct.len()), (24, 24), "{name}");
    });
}

#[test]
fn a_finite_space_is_exhausted_exactly_within_its_constraints() {
    let of = |constraint| finite().subject_to(constraint).unwrap();
    let constraints = [
        "flag or branch == 'b'",
        "steps >= 2",
        "share < 0.4 and flag",
        "branch == 'c' or deep == 'p' or share > 0.4",
        "branch == 'a' and branch == 'b'",
    ];
    for constraint in constraints {
        let space = of(constraint);
        // The whole space, counted by another way than the samplers'.
        let all = study(&Random, &finite(), 3, 100);
        let count = all.iter().filter(|trial| space.check(&trial.values).is_ok()).count();
        each(|name, sampler| {
            let trials = study(sampler, &space, 11, 1000);
            let distinct: HashSet<String> = trials.iter().map(|t| t.values.to_string()).collect();
            assert_eq!((trials.len(), distinct.len()), (count, count), "{name}: {constraint}");
        });
    }
}

#[test]
fn permutations_and_subsets_are_exhausted_exactly() {
    let space = Space::of([
        ("order", Distribution::permutation([1, 2, 3])),
        ("some", Distribution::subset(["a", "b", "c"], 1, 2)),
    ]);
    let within = space.clone().subject_to("position(order, 2) > 0 and 'b' in some").unwrap();
    for (space, count) in [(space, 36), (within, 4 * 3)] {
        each(|name, sampler| {
            let trials = study(sampler, &space, 11, 1000);
            let distinct: HashSet<String> = trials.iter().map(|t| t.values.to_string()).collect();
            assert_eq!((trials.len(), distinct.len()), (count, count), "{name}");
        });
    }
}

#[test]
fn contradictory_constraints_leave_nothing() {
    for constraint in ["low < high and high < low", "units > layers and layers > units * 2"] {
        each(|name, sampler| {
            assert_eq!(study(sampler, &constrained(constraint), 1, 3), [], "{name}: {constraint}");
        });
    }
}

#[test]
fn large_finite_spaces_end_where_few_configurations_keep_the_constraints() {
    let side = || Distribution::int(1, 2000);
    let space = Space::of([("a", side()), ("b", side()), ("c", side())])
        .subject_to("a <= 3 and b == 4 * a and 5 == c - b")
        .unwrap();
    each(|name, sampler| {
        let trials = study(sampler, &space, 4, 20);
        let distinct: HashSet<String> = trials.iter().map(|t| t.values.to_string()).collect();
        assert_eq!((trials.len(), distinct.len()), (3, 3), "{name}");
    });
}

#[test]
fn a_sampler_carries_on_where_another_stopped() {
    let space = finite();
    each(|name, sampler| {
        let mut trials = study(&Random, &space, 1, 9);
        for number in 9.. {
            let directions = &[Direction::Minimize];
            let request = Request { space: &space, directions, trials: &trials, number, seed: 2 };
            let Some(values) = sampler.suggest(&request) else { break };
            assert!(trials.iter().all(|trial| trial.values != values), "{name}");
            trials.push(Trial::running(number, values));
        }
        assert_eq!(trials.len(), 24, "{name}");
    });
}

#[test]
fn a_space_without_sense_has_no_proposals() {
    let json = [
        r#"[{"name":"x","distribution":{"kind":"float","low":1.0,"high":0.0}}]"#,
        r#"[{"name":"x","distribution":{"kind":"choice","options":[]}}]"#,
        r#"[{"name":"x","distribution":{"kind":"int","low":0,"high":3,"step":1},
             "condition":{"parent":0,"option":0}}]"#,
    ];
    each(|name, sampler| {
        for json in json {
            let space: Space = serde_json::from_str(json).unwrap();
            assert_eq!(study(sampler, &space, 1, 3), [], "{name}: {json}");
        }
        // Without dimensions there is one configuration.
        assert_eq!(study(sampler, &Space::default(), 1, 3).len(), 1, "{name}");
    });
}

#[test]
fn a_grid_has_the_ends_and_even_distances_on_the_scale() {
    let space = Space::of([
        ("rate", Distribution::log_float(1e-4, 1.0)),
        ("units", Distribution::log_int(1, 100)),
        ("depth", Distribution::int(1, 2)),
    ]);
    let trials = study(&Grid { points_per_float: 3 }, &space, 1, 100);
    assert_eq!(trials.len(), 3 * 3 * 2);
    let mut pairs: Vec<(f64, i64)> = trials
        .iter()
        .map(|trial| (trial.values.float("rate").unwrap(), trial.values.int("units").unwrap()))
        .collect();
    pairs.sort_by(|a, b| a.partial_cmp(b).unwrap());
    pairs.dedup();
    let expected = [1e-4f64, 1e-2, 1.0].map(|rate| [1, 10, 100].map(|units| (rate, units)));
    for (pair, expected) in pairs.iter().zip(expected.concat()) {
        luthier_test::assert_close(pair.0.ln(), expected.0.ln(), 1e-9, "rate");
        assert_eq!(pair.1, expected.1);
    }
}

#[test]
fn names_are_known_or_corrected() {
    let error = sampler_by_name("tpr").err().unwrap();
    assert_eq!((error.kind, error.nearest, error.known), ("sampler", Some("tpe"), SAMPLERS));
}

#[test]
fn seeds_of_trials_differ_and_stay() {
    assert_eq!(trial_seed(1, 2), trial_seed(1, 2));
    let seeds: HashSet<u64> =
        (0..10).flat_map(|seed| (0..10).map(move |number| trial_seed(seed, number))).collect();
    assert_eq!(seeds.len(), 100);
}
