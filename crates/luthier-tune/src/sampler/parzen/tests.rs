use luthier_space::{Distribution, Scale, Space, Values};
use luthier_test::{assert_all_close, assert_close};
use rand::SeedableRng;

use super::super::points::Points;
use super::*;

fn mixed() -> Space {
    Space::of([
        ("x", Distribution::float(-5.0, 5.0)),
        ("rate", Distribution::log_float(1e-5, 1.0)),
        ("count", Distribution::int(1, 20)),
        ("width", Distribution::log_int(1, 300)),
        (
            "share",
            Distribution::Float { low: 0.0, high: 1.0, scale: Scale::Linear, step: Some(0.1) },
        ),
        ("kind", Distribution::choice(["a", "b", "c", "d"])),
    ])
}

fn conditional() -> Space {
    Space::of([("branch", Distribution::choice(["a", "b"]))])
        .when("branch", "a", Space::of([("u", Distribution::int(1, 4))]))
        .when(
            "branch",
            "b",
            Space::of([("v", Distribution::int(1, 3)), ("w", Distribution::int(1, 2))]),
        )
}

fn fit<'a>(frame: &'a Frame<'a>, observations: &[Point]) -> Mixture<'a> {
    let observations: Vec<&[f64]> = observations.iter().map(Vec::as_slice).collect();
    Mixture::fit(frame, &observations, Weighing::Newest)
}

#[test]
fn densities_are_those_of_optuna() {
    let fixture = include_str!("../../../tests/fixtures/parzen.json");
    let fixture: serde_json::Value = serde_json::from_str(fixture).unwrap();
    let space = mixed();
    let frame = Frame::new(&space).unwrap();
    for case in fixture["cases"].as_array().unwrap() {
        let points = |key: &str| -> Vec<Point> {
            let rows: Vec<Values> = serde_json::from_value(case[key].clone()).unwrap();
            let points = Points::of(&frame, rows.iter());
            points.iter().map(|point| point.unwrap().to_vec()).collect()
        };
        let observations = points("observations");
        let mixture = fit(&frame, &observations);
        let expected: Vec<f64> = serde_json::from_value(case["log_densities"].clone()).unwrap();
        let actual = mixture.log_densities(&points("points"));
        assert_all_close(&actual, &expected, 1e-5, &format!("{} observations", observations.len()));
    }
}

/// All configurations of the conditional space.
fn enumerate(frame: &Frame<'_>) -> Vec<Point> {
    let lattice = crate::sampler::lattice::Lattice::all(frame).unwrap();
    (0..lattice.size()).map(|rank| lattice.point(rank)).collect()
}

#[test]
fn probabilities_of_a_conditional_space_sum_to_one_and_draws_follow_them() {
    let space = conditional();
    let frame = Frame::new(&space).unwrap();
    let points = enumerate(&frame);
    assert_eq!(points.len(), 4 + 6);
    let observations = [1, 1, 7, 2].map(|at: usize| points[at].clone());
    let mixture = fit(&frame, &observations);
    let probabilities: Vec<f64> =
        mixture.log_densities(&points).into_iter().map(f64::exp).collect();
    assert_close(probabilities.iter().sum(), 1.0, 1e-5, "sum");

    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let draws = 20_000;
    let mut counts = vec![0.0; points.len()];
    for _ in 0..draws {
        let drawn = frame.decode(&mixture.draw(&mut rng).unwrap());
        let place = points.iter().position(|point| frame.decode(point) == drawn).unwrap();
        counts[place] += 1.0 / f64::from(draws);
    }
    assert_all_close(&counts, &probabilities, 0.012, "shares of the draws");
}

#[test]
fn a_continuous_density_integrates_to_one() {
    let space = Space::of([("x", Distribution::log_float(1.0, 1e4))]);
    let frame = Frame::new(&space).unwrap();
    let observations: Vec<Point> = [0.1, 2.0, 2.1, 9.0].map(|x| vec![x]).into();
    let mixture = fit(&frame, &observations);
    let width = 1e4f64.ln();
    let steps = 4000;
    let grid: Vec<Point> =
        (0..steps).map(|i| vec![(f64::from(i) + 0.5) / f64::from(steps) * width]).collect();
    let sum: f64 = mixture.log_densities(&grid).into_iter().map(f64::exp).sum();
    assert_close(sum * width / f64::from(steps), 1.0, 1e-6, "integral");
}
