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

#[test]
fn deviations_are_those_of_all_observations_in_order() {
    let range = |distribution: Distribution| match Axis::of(&distribution) {
        Axis::Range(range) => range,
        _ => panic!("not a range"),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for range in [range(Distribution::float(-1.0, 3.0)), range(Distribution::int(1, 40))] {
        for count in [0, 1, 2, 7, 60, 900] {
            // Crowded at one end, and some of them not active.
            let mut draw = || match rng.random::<f64>() {
                share if share < 0.1 => f64::NAN,
                share => range.snap(range.at(share.powi(3))),
            };
            let coordinates: Vec<f64> = (0..count).map(|_| draw()).collect();
            let mut order: Vec<usize> =
                (0..count).filter(|at| !coordinates[*at].is_nan()).collect();
            order.sort_by(|a, b| coordinates[*a].total_cmp(&coordinates[*b]));
            let width = range.high - range.low;
            let narrowest = width / (order.len() as f64 + 2.0).min(100.0);
            let mut expected = vec![width; count + 1];
            for (place, &at) in order.iter().enumerate() {
                let x = coordinates[at];
                let below = place.checked_sub(1).map(|place| x - coordinates[order[place]]);
                let above = order.get(place + 1).map(|next| coordinates[*next] - x);
                let gap = match order.len() {
                    1 => (x - range.low).max(range.high - x),
                    _ => below.unwrap_or(0.0).max(above.unwrap_or(0.0)),
                };
                expected[at] = gap.clamp(narrowest, width);
            }
            assert_eq!(deviations(&range, &coordinates), expected, "{count} observations");
        }
    }
}

/// Kernels that are left out do not change the sum, however many observations there are.
#[test]
fn a_density_is_the_sum_of_all_kernels() {
    let space = mixed();
    let frame = Frame::new(&space).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let observations: Vec<Point> = (0..700).map(|_| frame.draw(&mut rng).unwrap()).collect();
    let mixture = fit(&frame, &observations);
    let drawn = (0..20).map(|_| mixture.draw(&mut rng).unwrap());
    let points: Vec<Point> = drawn.chain(observations[..20].to_vec()).collect();
    let term = |point: &Point, kernel: usize| {
        let factors = mixture.active(point).map(|(_, column, axis, x)| match (column, axis) {
            (Column::Real(normals), Axis::Range(range)) => {
                normals.log_scale(kernel, range) - 0.5 * normals.squared(kernel, x)
            }
            _ => column.log_probability(axis, x, kernel),
        });
        mixture.weights[kernel].ln() + factors.sum::<f64>()
    };
    let sum = |point: &Point| {
        let terms: Vec<f64> =
            (0..mixture.weights.len()).map(|kernel| term(point, kernel)).collect();
        log_sum_exp(&terms)
    };
    let expected: Vec<f64> = points.iter().map(sum).collect();
    assert_all_close(&mixture.log_densities(&points), &expected, 1e-12, "log densities");
}
