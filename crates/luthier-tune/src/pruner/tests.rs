use luthier_space::Values;
use serde_json::json;

use super::Direction::{Maximize, Minimize};
use super::*;
use crate::{Folds, State};

fn trial(number: u64, state: State, scores: &[f64]) -> Trial {
    let steps = (1..).zip(scores.iter().copied()).map(Step::from).collect();
    let scores = match state {
        State::Complete => scores.last().copied().into_iter().collect(),
        _ => Vec::new(),
    };
    Trial { state, steps, scores, ..Trial::running(number, Values::default()) }
}

/// Asserts what `pruner` says of a trial with these scores at steps 1, 2, …, beside complete ones.
#[track_caller]
fn check(pruner: &dyn Pruner, direction: Direction, others: &[&[f64]], own: &[f64], prune: bool) {
    let mut trials: Vec<Trial> =
        (0..).zip(others).map(|(number, scores)| trial(number, State::Complete, scores)).collect();
    let running = trial(trials.len() as u64, State::Running, own);
    // A trial may find itself among those that it is compared with.
    trials.push(running.clone());
    let verdict = pruner.judge(&[direction], &trials, &running);
    assert_eq!(verdict, Verdict::prune_if(prune), "{own:?}");
}

fn spec(value: serde_json::Value) -> PrunerSpec {
    PrunerSpec::from_value(value).unwrap()
}

/// One of each kind, with settings that let it judge early.
fn each() -> Vec<PrunerSpec> {
    vec![
        spec(json!("none")),
        spec(json!({"kind": "median", "startup_trials": 1})),
        spec(json!({"kind": "percentile", "startup_trials": 1, "percent": 10})),
        spec(json!({"kind": "threshold", "upper": 0.5})),
        spec(json!({"kind": "patience", "steps": 1})),
        spec(json!({"kind": "patience", "steps": 1, "inner": "halving"})),
        spec(json!("halving")),
        spec(json!({"kind": "halving", "promote": true})),
        spec(json!({"kind": "hyperband", "max_resource": 9})),
        spec(json!("wilcoxon")),
    ]
}

#[test]
fn nothing_is_stopped_without_a_step_and_nothing_panics() {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, 0.0];
    for pruner in each() {
        let name = pruner.name();
        for directions in [&[Maximize][..], &[Minimize, Maximize]] {
            let blank = trial(3, State::Running, &[]);
            assert_eq!(pruner.judge(directions, &[], &blank), Verdict::Continue, "{name}");
            assert_eq!(pruner.promote(directions, &[]), None, "{name}");
            let scores = |at: usize| odd.iter().cycle().skip(at).take(directions.len()).copied();
            let of = |number: u64, state: State| {
                let step =
                    |step: u64| Step { step: 1 << step, scores: scores(step as usize).collect() };
                let steps: Vec<Step> = (0..number % 5).map(step).collect();
                let scores = match state {
                    State::Complete => scores(number as usize).collect(),
                    _ => Vec::new(),
                };
                Trial { state, steps, scores, ..Trial::running(number, Values::default()) }
            };
            let states = [State::Complete, State::Pruned, State::Paused, State::Failed];
            let trials: Vec<Trial> =
                (0..40).map(|number| of(number, states[number as usize % 4])).collect();
            for number in 40..50 {
                let running = of(number, State::Running);
                let first = pruner.judge(directions, &trials, &running);
                assert_eq!(first, pruner.judge(directions, &trials, &running), "{name}");
            }
            let promoted = pruner.promote(directions, &trials);
            let paused = |n: u64| trials[n as usize].state == State::Paused;
            assert!(promoted.is_none_or(paused), "{name}");
        }
    }
}

#[test]
fn the_median_is_compared_with_the_best_so_far() {
    let median = Median { startup_trials: 3, warmup_steps: 2, ..Median::default() };
    let others: [&[f64]; 4] = [&[0.1, 0.2, 0.9], &[0.3, 0.4], &[0.5, 0.6], &[0.7, 0.8]];
    // The median at step 2 is 0.5.
    check(&median, Maximize, &others, &[0.0, 0.49], true);
    check(&median, Maximize, &others, &[0.0, 0.50], false);
    check(&median, Maximize, &others, &[0.6, 0.10], false);
    check(&median, Minimize, &others, &[0.9, 0.51], true);
    check(&median, Minimize, &others, &[0.4, 0.51], false);
    // Warm-up, too few trials, and a step that nobody else reached.
    check(&median, Maximize, &others, &[0.0], false);
    check(&median, Maximize, &others[..2], &[0.0, 0.0], false);
    check(&median, Maximize, &others, &[0.0, 0.0, 0.0, 0.0], false);
    check(&median, Maximize, &others, &[], false);
    check(&median, Maximize, &others, &[f64::NAN, f64::NAN], true);
    let rarely = Median { startup_trials: 1, warmup_steps: 0, every: 3, ..Median::default() };
    check(&rarely, Maximize, &others, &[0.0, 0.0], false);
    check(&rarely, Maximize, &others, &[0.0, 0.0, 0.0], true);
}

#[test]
fn a_percentile_is_a_share_from_the_top() {
    let quarter = Percentile { startup_trials: 1, ..Percentile::default() };
    let others: [&[f64]; 5] = [&[0.1], &[0.2], &[0.3], &[0.4], &[0.5]];
    // Three quarters of the way up are 0.4, a quarter 0.2.
    check(&quarter, Maximize, &others, &[0.39], true);
    check(&quarter, Maximize, &others, &[0.40], false);
    check(&quarter, Minimize, &others, &[0.21], true);
    check(&quarter, Minimize, &others, &[0.20], false);
    let many = Percentile { least_trials: 6, ..quarter };
    check(&many, Maximize, &others, &[0.0], false);
}

#[test]
fn bounds_are_kept_and_patience_ends() {
    let threshold =
        spec(json!({"kind": "threshold", "lower": 0.2, "upper": 0.8, "warmup_steps": 2}));
    check(&threshold, Maximize, &[], &[0.1], false);
    check(&threshold, Maximize, &[], &[0.1, 0.2], false);
    check(&threshold, Minimize, &[], &[0.1, 0.81], true);
    check(&threshold, Minimize, &[], &[0.1, f64::NAN], true);

    let patience = spec(json!({"kind": "patience", "steps": 2, "min_delta": 0.1}));
    check(&patience, Maximize, &[], &[0.5, 0.5, 0.5], false);
    check(&patience, Maximize, &[], &[0.5, 0.5, 0.5, 0.5], true);
    check(&patience, Maximize, &[], &[0.5, 0.5, 0.5, 0.61], false);
    check(&patience, Maximize, &[], &[0.5, 0.5, 0.5, 0.59], true);
    check(&patience, Minimize, &[], &[0.5, 0.4, 0.6, 0.2], false);
    let inner = json!({"kind": "median", "startup_trials": 1});
    let both = spec(json!({"kind": "patience", "steps": 1, "inner": inner}));
    check(&both, Maximize, &[&[0.1, 0.1, 0.1]], &[0.5, 0.5, 0.5], false);
    check(&both, Maximize, &[&[0.9, 0.9, 0.9]], &[0.5, 0.5, 0.5], true);
}

#[test]
fn halving_lets_the_best_third_pass_each_rung() {
    let halving = Halving::default();
    let others: [&[f64]; 5] = [&[0.1], &[0.2], &[0.3], &[0.4], &[0.5, 0.5, 0.5]];
    // Six reached step 1, so two pass.
    check(&halving, Maximize, &others, &[0.45], false);
    check(&halving, Maximize, &others, &[0.35], true);
    check(&halving, Minimize, &others, &[0.15], false);
    check(&halving, Minimize, &others, &[0.25], true);
    // Step 2 is no rung; at step 3 there are two, so only the best passes.
    check(&halving, Maximize, &others, &[0.6, 0.0], false);
    check(&halving, Maximize, &others, &[0.6, 0.0, 0.4], true);
    check(&halving, Maximize, &others, &[0.6, 0.0, 0.6], false);
    check(&halving, Maximize, &[], &[f64::NAN], false);
    let from_the_start = Halving { min_resource: Some(1), ..halving };
    check(&from_the_start, Maximize, &[], &[0.0], false);
    check(&from_the_start, Maximize, &[], &[f64::NAN], true);
    check(&halving, Maximize, &others, &[], false);
}

#[test]
fn a_leap_over_rungs_is_judged_at_each() {
    let halving = Halving { min_resource: Some(2), reduction_factor: 2, promote: false };
    let judge = |others: &[Trial], own: &Trial| halving.judge(&[Maximize], others, own);
    let mut others: Vec<Trial> =
        (0..3).map(|n| trial(n, State::Pruned, &[0.0, 0.5, 0.5, 0.1])).collect();
    let mut own = trial(9, State::Running, &[]);
    own.steps = vec![(8, 0.4).into()];
    // First of two at rung 8 and at rung 4, but behind three at rung 2.
    assert_eq!(judge(&others, &own), Verdict::Prune);
    others.truncate(1);
    assert_eq!(judge(&others, &own), Verdict::Prune);
    own.steps = vec![(8, 0.6).into()];
    assert_eq!(judge(&others, &own), Verdict::Continue);
}

#[test]
fn the_first_rung_is_a_twentieth_of_the_way() {
    let halving = Halving::default();
    let long = Trial {
        steps: vec![(1, 0.5).into(), (900, 0.9).into()],
        ..trial(0, State::Complete, &[0.9])
    };
    let own =
        |step: u64| Trial { steps: vec![(step, 0.1).into()], ..trial(1, State::Running, &[]) };
    let judge = |others: &[Trial], own: &Trial| halving.judge(&[Maximize], others, own);
    assert_eq!(judge(&[], &own(45)), Verdict::Continue);
    assert_eq!(judge(std::slice::from_ref(&long), &own(44)), Verdict::Continue);
    assert_eq!(judge(std::slice::from_ref(&long), &own(45)), Verdict::Prune);
}

#[test]
fn what_is_paused_is_promoted_when_it_comes_to_the_top() {
    let halving = Halving { promote: true, ..Halving::default() };
    let mut trials: Vec<Trial> = Vec::new();
    let mut report = |score: f64| {
        let number = trials.len() as u64;
        let mut own = trial(number, State::Running, &[score]);
        let verdict = halving.judge(&[Maximize], &trials, &own);
        own.state = if verdict == Verdict::Continue { State::Complete } else { State::Paused };
        trials.push(own);
        (verdict, halving.promote(&[Maximize], &trials))
    };
    assert_eq!(report(0.5), (Verdict::Continue, None));
    assert_eq!(report(0.4), (Verdict::Pause, None));
    assert_eq!(report(0.3), (Verdict::Pause, None));
    assert_eq!(report(0.2), (Verdict::Pause, None));
    assert_eq!(report(0.1), (Verdict::Pause, None));
    // Two of six go on: the second best of all has waited for it.
    assert_eq!(report(0.0), (Verdict::Pause, Some(1)));
}

#[test]
fn several_objectives_are_ranked_front_by_front() {
    let directions = [Minimize, Minimize];
    let of = |number: u64, scores: [f64; 2]| Trial {
        state: State::Complete,
        scores: scores.to_vec(),
        steps: vec![Step { step: 1, scores: scores.to_vec() }],
        ..Trial::running(number, Values::default())
    };
    let others: Vec<Trial> = [[0.0, 1.0], [1.0, 0.0], [0.5, 0.5], [0.9, 0.9], [0.8, 0.95]]
        .into_iter()
        .zip(0..)
        .map(|(scores, number)| of(number, scores))
        .collect();
    let verdict = |pruner: &dyn Pruner, scores: [f64; 2]| {
        pruner.judge(&directions, &others, &Trial { state: State::Running, ..of(9, scores) })
    };
    let halving = Halving { reduction_factor: 2, ..Halving::default() };
    // Three of six go on.
    assert_eq!(verdict(&halving, [0.4, 0.4]), Verdict::Continue);
    assert_eq!(verdict(&halving, [0.95, 0.95]), Verdict::Prune);
    assert_eq!(verdict(&halving, [f64::NAN, 0.99]), Verdict::Prune);
    assert_eq!(verdict(&halving, [f64::NAN, f64::NAN]), Verdict::Continue);
    // Bad in one objective alone is not bad.
    let median = Median { startup_trials: 1, ..Median::default() };
    assert_eq!(verdict(&median, [0.9, 0.1]), Verdict::Continue);
    assert_eq!(verdict(&median, [0.9, 0.95]), Verdict::Prune);
    assert_eq!(verdict(&median, [0.9, f64::NAN]), Verdict::Prune);
    assert_eq!(verdict(&median, [0.1, f64::NAN]), Verdict::Continue);
}

#[test]
fn brackets_of_hyperband_hold_what_their_sizes_say() {
    let hyperband = spec(json!({"kind": "hyperband", "max_resource": 27}));
    // Alone in its bracket nothing is stopped; among many that are better, the last bracket alone
    // stops nothing before its only rung.
    let better: Vec<Trial> = (0..2000).map(|n| trial(n, State::Pruned, &[0.9; 9])).collect();
    let stopped_at = |number: u64| {
        (1..=9).find(|steps| {
            let own = trial(number, State::Running, &vec![0.1; *steps]);
            hyperband.judge(&[Maximize], &better, &own) == Verdict::Prune
        })
    };
    let ends: Vec<Option<usize>> = (5000..5540).map(stopped_at).collect();
    let share = |end: Option<usize>| ends.iter().filter(|e| **e == end).count() as f64 / 540.0;
    // Sizes 27, 12, 6 and 4 of 49.
    for (end, size) in [(Some(1), 27.0), (Some(3), 12.0), (Some(9), 6.0), (None, 4.0)] {
        assert!((share(end) - size / 49.0).abs() < 0.05, "{end:?}: {}", share(end));
    }
    let unknown = spec(json!("hyperband"));
    check(&unknown, Maximize, &[], &[0.0], false);
}

#[test]
fn a_race_ends_when_the_folds_agree() {
    let wilcoxon = Wilcoxon::default();
    let best: &[f64] = &[0.8, 0.7, 0.9, 0.85, 0.75];
    check(&wilcoxon, Maximize, &[best], &[0.7], false);
    check(&wilcoxon, Maximize, &[best], &[0.7, 0.6, 0.8], false);
    check(&wilcoxon, Maximize, &[best], &[0.7, 0.6, 0.8, 0.7], true);
    check(&wilcoxon, Maximize, &[best], &[0.7, 0.6, 0.8, 0.9], false);
    check(&wilcoxon, Minimize, &[best], &[0.9, 0.8, 0.95, 0.9], true);
    check(&wilcoxon, Maximize, &[best, &[0.1; 5]], &[0.5, 0.5, 0.5, 0.5], true);
    check(&wilcoxon, Maximize, &[], &[0.5, 0.5, 0.5, 0.5], false);
}

#[test]
fn pruners_are_read_from_names_and_tables() {
    for name in PRUNERS {
        let needs = matches!(*name, "threshold" | "patience");
        assert_eq!(PrunerSpec::from_name(name).is_err(), needs, "{name}");
    }
    for pruner in each() {
        let json = serde_json::to_value(&pruner).unwrap();
        assert_eq!(json["kind"], pruner.name());
        assert_eq!(serde_json::from_value::<PrunerSpec>(json).unwrap(), pruner);
    }
    let InvalidPruner::Name(unknown) = PrunerSpec::from_name("medain").unwrap_err() else {
        panic!("an unknown name");
    };
    assert_eq!((unknown.kind, unknown.nearest, unknown.known), ("pruner", Some("median"), PRUNERS));
    let fault = |value: serde_json::Value| PrunerSpec::from_value(value).unwrap_err().to_string();
    let cases = [
        (json!(3), "a pruner is a name"),
        (json!({"warmup_steps": 3}), "a name as `kind`"),
        (json!({"kind": "median", "warmup": 3}), "pruner `median`: unknown field `warmup`"),
        (json!({"kind": "none", "warmup": 3}), "unknown field `warmup`"),
        (json!({"kind": "median", "warmup_steps": -1}), "pruner `median`: invalid value"),
        (json!({"kind": "percentile", "percent": 101}), "between 0 and 100"),
        (json!({"kind": "halving", "reduction_factor": 1}), "at least 2"),
        (json!({"kind": "hyperband", "min_resource": 0}), "at least 1"),
        (json!({"kind": "wilcoxon", "p": 2}), "`p` must be between 0 and 1"),
        (json!("threshold"), "give `lower`, `upper` or both"),
        (json!({"kind": "patience", "steps": 1, "inner": "madian"}), "no pruner `madian`"),
    ];
    for (value, expected) in cases {
        let message = fault(value.clone());
        assert!(message.contains(expected), "{value}: {message}");
    }
}

#[test]
fn folds_are_raced_whatever_their_order() {
    let folds = Folds { count: 5, steps: 10, seed: 1 };
    let pruner = PrunerSpec::Wilcoxon(Wilcoxon::default()).over(folds);
    // What a fold gives differs far more than what trials do.
    let of_fold = [0.9, 0.5, 0.7, 0.3, 0.8];
    let trial = |number: u64, better: f64, done: usize| {
        let mut trial = Trial::running(number, Values::default());
        let mut sum = 0.0;
        for (place, fold) in folds.order(number).into_iter().take(done).enumerate() {
            sum += of_fold[usize::from(fold)] + better;
            trial.steps.push((folds.end(place), sum / (place + 1) as f64).into());
        }
        if done == 5 {
            trial.scores = vec![sum / 5.0];
            trial.state = State::Complete;
        }
        trial
    };
    let best = [trial(0, 0.0, 5)];
    for number in 1..20 {
        let judge = |better, done| {
            pruner.judge(&[Direction::Maximize], &best, &trial(number, better, done))
        };
        assert_eq!(judge(-0.01, 3), Verdict::Continue, "1/8 is above 0.1");
        assert_eq!(judge(-0.01, 4), Verdict::Prune);
        assert_eq!(judge(0.01, 4), Verdict::Continue);
        assert_eq!(judge(0.0, 4), Verdict::Continue, "rounding is no difference");
    }
}
