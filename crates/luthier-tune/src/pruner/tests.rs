use luthier_space::Values;

use super::*;

fn trial(number: u64, state: State, scores: &[f64]) -> Trial {
    let steps = (1..).zip(scores.iter().copied()).map(Step::from).collect();
    Trial { state, steps, ..Trial::running(number, Values::default()) }
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

#[test]
fn the_median_is_compared_with_the_best_so_far() {
    use Direction::{Maximize, Minimize};
    let median = Median { startup_trials: 3, warmup_steps: 2 };
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
}

#[test]
fn halving_lets_the_best_third_pass_each_rung() {
    use Direction::{Maximize, Minimize};
    let halving = SuccessiveHalving::default();
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
    check(&halving, Maximize, &[], &[0.0], false);
    check(&halving, Maximize, &[], &[f64::NAN], true);
    check(&halving, Maximize, &others, &[], false);
}

#[test]
fn a_leap_over_rungs_is_judged_at_each() {
    let halving = SuccessiveHalving { min_resource: 2, reduction_factor: 2 };
    let judge = |others: &[Trial], own: &Trial| halving.judge(&[Direction::Maximize], others, own);
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
fn pruners_are_found_by_name() {
    for name in PRUNERS {
        let pruner = pruner_by_name(name).unwrap();
        check(pruner.as_ref(), Direction::Maximize, &[], &[0.0], false);
    }
    let error = pruner_by_name("medain").err().unwrap();
    assert_eq!((error.kind, error.nearest), ("pruner", Some("median")));
    assert_eq!(error.known, PRUNERS);
    assert_eq!(pruner_by_name("xyz").err().unwrap().nearest, None);
}
