//! Studies as the binary uses them, on real files and with real threads and processes.

mod ask;
mod crowd;
mod killed;
mod open;
mod opening;
mod optuna;
mod outcomes;
mod protection;
mod workers;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use luthier_space::{Distribution, Space, Values};
use luthier_study::{Failure, Measured, Objective, Retries, Run, Session, Study, StudySpec};
use luthier_tune::{PrunerSpec, Trial};

static NEVER: AtomicBool = AtomicBool::new(false);

fn spec() -> StudySpec {
    let space = Space::of([
        ("x", Distribution::float(-1.0, 1.0)),
        ("rate", Distribution::log_float(1e-6, 1.0)),
        ("kind", Distribution::choice(["a", "b"])),
    ])
    .when("kind", "b", Space::of([("depth", Distribution::int(1, 9))]));
    StudySpec {
        name: "test".into(),
        space,
        objectives: vec![Objective::maximize("f1")],
        constraints: Vec::new(),
        seed: 7,
        sampler: "tpe".into(),
        pruner: PrunerSpec::default(),
        lag: Some(3),
        context: BTreeMap::new(),
    }
}

/// A run to `trials` finished trials that nothing stops.
fn run(trials: u64, workers: usize) -> Run<'static> {
    let retries = Retries { crashed: 1000, failed: 0 };
    let (stop, first) = (&NEVER, &[][..]);
    Run { trials: Some(trials), deadline: None, workers, stop, retries, first, within: None }
}

/// Reports a few steps whose order tells nothing of the end, and fails for some seeds.
fn objective(session: &Session<'_>) -> Result<Measured, Failure> {
    let score = quality(session.values());
    for step in 1..=4 {
        if session.report(step, score * step as f64 / 4.0).is_break() {
            return Err(Failure::Pruned);
        }
    }
    if session.seed().is_multiple_of(6) {
        return Err(Failure::Error(format!("no luck with {}", session.number())));
    }
    Ok(score.into())
}

fn quality(values: &Values) -> f64 {
    let depth = values.int("depth").map_or(0.0, |depth| depth as f64 / 10.0);
    depth - values.float("x").unwrap().abs() - values.float("rate").unwrap()
}

/// Trials without what depends on the clock.
fn timeless(trials: &[Trial]) -> Vec<Trial> {
    trials.iter().map(|trial| Trial { seconds: None, ..trial.clone() }).collect()
}

fn trials_of(path: &Path) -> Vec<Trial> {
    Study::load(&path.into(), None).unwrap().into_trials()
}
