use luthier_space::{Distribution, Space};

use super::*;
use crate::{Direction, State, Trial};

/// Lowest losses of the first so many trials, for each of some numbers of them.
fn lowest(space: &Space, seed: u64, counts: &[usize], loss: fn(&Values) -> f64) -> Vec<f64> {
    let (directions, mut trials) = (&[Direction::Minimize], Vec::new());
    for number in 0..counts.iter().max().copied().unwrap_or(0) as u64 {
        let request = Request { space, directions, trials: &trials, number, seed };
        let values = CmaEs::default().suggest(&request).unwrap();
        let (state, scores) = (State::Complete, vec![loss(&values)]);
        trials.push(Trial { state, scores, ..Trial::running(number, values) });
    }
    let lowest = |count: &usize| {
        trials[..*count].iter().filter_map(Trial::score).fold(f64::INFINITY, f64::min)
    };
    counts.iter().map(lowest).collect()
}

fn numbers(values: &Values) -> Vec<f64> {
    values.iter().filter_map(|(_, x)| x.as_f64()).collect()
}

fn floats<const N: usize>(names: [&str; N]) -> Space {
    Space::of(names.map(|name| (name, Distribution::float(-5.0, 5.0))))
}

#[test]
fn a_narrow_bent_valley_is_followed_to_its_end() {
    let rosenbrock = |values: &Values| -> f64 {
        let x = numbers(values);
        x.windows(2).map(|x| 100.0 * (x[1] - x[0] * x[0]).powi(2) + (1.0 - x[0]).powi(2)).sum()
    };
    let reached = lowest(&floats(["a", "b", "c", "d"]), 3, &[300, 1500], rosenbrock);
    assert!(reached[0] < 30.0 && reached[1] < 1e-6, "{reached:?}");
}

#[test]
fn an_ill_conditioned_bowl_is_learned() {
    let ellipsoid = |values: &Values| -> f64 {
        let x = numbers(values);
        (0..).zip(&x).map(|(i, x)| 1e6f64.powf(f64::from(i) / 4.0) * (x - 1.0).powi(2)).sum()
    };
    let reached = lowest(&floats(["a", "b", "c", "d", "e"]), 1, &[1200], ellipsoid);
    assert!(reached[0] < 1e-3, "{reached:?}");
}

#[test]
fn integers_are_moved_to_their_optimum_though_the_distribution_is_narrow() {
    let int = |low, high| Distribution::int(low, high);
    let space = Space::of([
        ("a", int(-10, 10)),
        ("b", int(0, 1)),
        ("c", int(0, 100)),
        ("x", Distribution::float(-5.0, 5.0)),
        ("y", Distribution::float(-5.0, 5.0)),
    ]);
    let bowl = |values: &Values| -> f64 {
        let optimum = [7.0, 1.0, 31.0, 1.3, -2.2];
        let x = numbers(values);
        x.iter().zip(optimum).map(|(x, optimum)| (x - optimum).powi(2)).sum()
    };
    for seed in 0..5 {
        let reached = lowest(&space, seed, &[1000], bowl);
        assert!(reached[0] < 1e-6, "{seed}: {reached:?}");
    }
}

#[test]
fn it_starts_anew_where_many_valleys_mislead_it() {
    let rastrigin = |values: &Values| -> f64 {
        let wave = |x: f64| x * x - 10.0 * (std::f64::consts::TAU * x).cos() + 10.0;
        numbers(values).into_iter().map(|x| wave(x - 0.7)).sum()
    };
    // The global minimum, 0, is in one valley of a hundred; the best of its neighbours has 0.995.
    let reached: Vec<f64> =
        (0..3).map(|seed| lowest(&floats(["a", "b"]), seed, &[1500], rastrigin)[0]).collect();
    assert!(reached.iter().filter(|loss| **loss < 1e-3).count() >= 2, "{reached:?}");
}

#[test]
fn it_goes_on_from_what_others_have_found() {
    let space = floats(["a", "b", "c", "d", "e"]);
    let directions = &[Direction::Minimize];
    let bowl = |values: &Values| numbers(values).iter().map(|x| (x - 3.1).powi(2)).sum::<f64>();
    let mut trials: Vec<Trial> = Vec::new();
    for number in 0..140 {
        let request = Request { space: &space, directions, trials: &trials, number, seed: 4 };
        let warm = CmaEs { startup_trials: 100 };
        let sampler: &dyn Sampler = if number < 100 { &Tpe::default() } else { &warm };
        let values = sampler.suggest(&request).unwrap();
        let (state, scores) = (State::Complete, vec![bowl(&values)]);
        trials.push(Trial { state, scores, ..Trial::running(number, values) });
    }
    let mean = |range: std::ops::Range<usize>| {
        let count = range.len() as f64;
        trials[range].iter().filter_map(Trial::score).sum::<f64>() / count
    };
    assert!(mean(100..120) < 0.5 * mean(0..100), "{} {}", mean(100..120), mean(0..100));
}
