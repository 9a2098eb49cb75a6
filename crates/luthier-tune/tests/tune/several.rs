//! What samplers reach with several objectives and with constraints, beside random search and
//! Optuna's; shared with `fixtures/optuna_several.py`.

use std::f64::consts::FRAC_PI_2;

use luthier_space::{Distribution, Space, Values};
use luthier_tune::{Direction, Request, Sampler, State, Trial, best, hypervolume, sampler_by_name};

/// Losses, all to be minimised, and how far each constraint is broken.
type Measured = (Vec<f64>, Vec<f64>);

struct Problem {
    name: &'static str,
    space: Space,
    measure: fn(&Values) -> Measured,
    /// The worst losses of which a volume is counted; with one objective none.
    reference: &'static [f64],
}

fn problems() -> Vec<Problem> {
    let unit = || {
        Space::of(["x0", "x1", "x2", "x3", "x4", "x5"].map(|x| (x, Distribution::float(0.0, 1.0))))
    };
    let plane =
        Space::of([("x", Distribution::float(0.0, 5.0)), ("y", Distribution::float(0.0, 3.0))]);
    let wide =
        Space::of(["x0", "x1", "x2", "x3", "x4"].map(|x| (x, Distribution::float(-5.0, 5.0))));
    vec![
        Problem { name: "zdt1", space: unit(), measure: zdt1, reference: &[1.1, 5.0] },
        Problem { name: "dtlz2", space: unit(), measure: dtlz2, reference: &[2.0; 3] },
        Problem { name: "binh_korn", space: plane, measure: binh_korn, reference: &[140.0, 50.0] },
        Problem { name: "edge", space: wide, measure: edge, reference: &[] },
    ]
}

fn numbers(values: &Values) -> Vec<f64> {
    values.iter().filter_map(|(_, x)| x.as_f64()).collect()
}

fn zdt1(values: &Values) -> Measured {
    let x = numbers(values);
    let g = 1.0 + 9.0 * x[1..].iter().sum::<f64>() / 5.0;
    (vec![x[0], g * (1.0 - (x[0] / g).sqrt())], vec![])
}

fn dtlz2(values: &Values) -> Measured {
    let x = numbers(values);
    let g = 1.0 + x[2..].iter().map(|x| (x - 0.5).powi(2)).sum::<f64>();
    let (a, b) = (x[0] * FRAC_PI_2, x[1] * FRAC_PI_2);
    (vec![g * a.cos() * b.cos(), g * a.cos() * b.sin(), g * a.sin()], vec![])
}

fn binh_korn(values: &Values) -> Measured {
    let x = numbers(values);
    let square = |x: f64| x * x;
    let near = square(x[0] - 5.0) + square(x[1]) - 25.0;
    let far = 7.7 - square(x[0] - 8.0) - square(x[1] + 3.0);
    let losses =
        vec![4.0 * square(x[0]) + 4.0 * square(x[1]), square(x[0] - 5.0) + square(x[1] - 5.0)];
    (losses, vec![near, far])
}

fn edge(values: &Values) -> Measured {
    let x = numbers(values);
    let loss = x.iter().map(|x| (x - 1.3).powi(2)).sum();
    (vec![loss], vec![x.iter().sum::<f64>() - 3.0, 0.5 - x[0] * x[1]])
}

impl Problem {
    fn directions(&self) -> Vec<Direction> {
        vec![Direction::Minimize; self.reference.len().max(1)]
    }

    fn study(&self, sampler: &dyn Sampler, seed: u64, count: u64) -> Vec<Trial> {
        let directions = self.directions();
        let mut trials = Vec::new();
        for number in 0..count {
            let (space, directions) = (&self.space, directions.as_slice());
            let request = Request { space, directions, trials: &trials, number, seed };
            let Some(values) = sampler.suggest(&request) else { break };
            let (scores, violations) = (self.measure)(&values);
            let state = State::Complete;
            trials.push(Trial { state, scores, violations, ..Trial::running(number, values) });
        }
        trials
    }

    /// The volume dominated, or the lowest loss, within the constraints.
    fn reached(&self, trials: &[Trial]) -> f64 {
        let kept: Vec<Trial> = trials.iter().filter(|t| t.violation() <= 0.0).cloned().collect();
        if self.reference.is_empty() {
            return best(&kept, &self.directions()).and_then(Trial::score).unwrap_or(100.0);
        }
        hypervolume(&kept, &self.directions(), self.reference)
    }

    fn mean_reached(&self, sampler: &dyn Sampler, seeds: u64, checkpoints: &[usize]) -> Vec<f64> {
        let most = checkpoints.iter().max().copied().unwrap_or(0) as u64;
        let mut sums = vec![0.0; checkpoints.len()];
        for seed in 0..seeds {
            let trials = self.study(sampler, seed, most);
            for (sum, count) in sums.iter_mut().zip(checkpoints) {
                *sum += self.reached(&trials[..*count]) / seeds as f64;
            }
        }
        sums
    }
}

/// Checks that a sampler gets at least to this share of where Optuna's gets, after as many trials as
/// one of the fixture's checkpoints says.
fn check(name: &str, seeds: u64, checkpoint: usize, share: f64) {
    let fixture = include_str!("../fixtures/optuna_several.json");
    let fixture: serde_json::Value = serde_json::from_str(fixture).unwrap();
    let trials = fixture["checkpoints"][checkpoint].as_u64().unwrap() as usize;
    let sampler = sampler_by_name(name).unwrap();
    for problem in problems() {
        let optuna = fixture["reached"][problem.name][name][checkpoint].as_f64().unwrap();
        let ours = problem.mean_reached(sampler.as_ref(), seeds, &[trials])[0];
        let is_loss = problem.reference.is_empty();
        let reached = if is_loss { optuna / ours } else { ours / optuna };
        assert!(reached > share, "{} {name}: {ours}, Optuna {optuna}", problem.name);
    }
}

#[test]
fn tpe_is_level_with_optunas() {
    check("tpe", 20, 0, 0.9);
}

#[test]
fn nsga2_gets_farther_than_optunas() {
    check("nsga2", 5, 1, 1.0);
}

#[test]
fn a_gaussian_process_is_level_with_optunas() {
    check("gp", 3, 0, 0.98);
}

#[test]
#[ignore = "prints what is reached"]
#[allow(clippy::print_stdout)]
fn print_what_is_reached() {
    let names = std::env::var("SAMPLERS").unwrap_or("random tpe gp".into());
    for problem in problems() {
        for name in names.split(' ') {
            let sampler = sampler_by_name(name).unwrap();
            let checkpoints: &[usize] = if name == "gp" { &[60] } else { &[60, 200] };
            let seeds = if name == "gp" { 5 } else { 20 };
            let reached = problem.mean_reached(sampler.as_ref(), seeds, checkpoints);
            println!("{} {name}: {reached:.4?}", problem.name);
        }
    }
}
