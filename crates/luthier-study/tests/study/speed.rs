//! What bookkeeping costs. Run with
//! `cargo test --release -p luthier-study -- --ignored --nocapture speed`.

use std::time::Instant;

use luthier_space::{Distribution, Space, Value};
use luthier_study::{Record, Session, Study, StudySpec};
use luthier_test::Scratch;
use luthier_tune::{PrunerSpec, State, Trial};

use crate::{run, spec};

#[test]
#[ignore = "prints timings"]
#[allow(clippy::print_stdout)]
fn microseconds_per_trial_and_step() {
    const TRIALS: u64 = 1000;
    for (sampler, pruner, steps) in [
        ("random", "none", 0),
        ("random", "none", 50),
        ("random", "median", 50),
        ("tpe", "none", 0),
    ] {
        let scratch = Scratch::new();
        let spec = StudySpec {
            sampler: sampler.into(),
            pruner: PrunerSpec::from_name(pruner).unwrap(),
            ..spec()
        };
        let study = Study::open(&scratch.path().join("study.db"), &spec).unwrap();
        let reports = |session: &Session<'_>| {
            for step in 0..steps {
                let _ = session.report(step, 0.5);
            }
            Ok(session.values().float("x").unwrap().into())
        };
        let start = Instant::now();
        study.run(&run(TRIALS, 1), &reports, &|_| {}).unwrap();
        let micros = start.elapsed().as_secs_f64() * 1e6 / TRIALS as f64;
        println!("{sampler}, {pruner}, {steps} steps: {micros:.0} µs per trial");
    }
}

#[test]
#[ignore = "prints timings"]
#[allow(clippy::print_stdout)]
fn milliseconds_to_load_and_mebibytes_to_hold() {
    const TRIALS: u64 = 5000;
    let names: Vec<String> = (0..10).map(|index| format!("parameter_{index}")).collect();
    let names: [&str; 10] = std::array::from_fn(|index| names[index].as_str());
    let space = Space::of(names.map(|name| (name, Distribution::float(0.0, 1.0))));
    let spec = StudySpec { space, ..spec() };
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let study = Study::open(&path, &spec).unwrap();
    let (before, start) = (resident(), Instant::now());
    let trials = (0..TRIALS).map(|number| {
        let value = |index| Value::Float((number * 10 + index) as f64 / 5e4 + 1e-9);
        let values = names.iter().zip((0..).map(value)).map(|(name, value)| (*name, value));
        let (state, scores) = (State::Complete, vec![1.0 / 3.0]);
        let steps = (1..=5).map(|step| (step, 0.1 * step as f64).into()).collect();
        Trial { state, scores, steps, ..Trial::running(number, values.collect()) }
    });
    study.import(trials.map(Record::imported).collect()).unwrap();
    let micros = start.elapsed().as_secs_f64() * 1e6 / TRIALS as f64;
    println!("{micros:.0} µs to import a trial");
    drop(study);
    let start = Instant::now();
    let study = Study::open(&path, &spec).unwrap();
    let millis = start.elapsed().as_secs_f64() * 1e3;
    println!("{millis:.0} ms to load, at most {:.1} MiB to hold", resident() - before);
    assert_eq!(study.trials().len() as u64, TRIALS);
}

/// Memory of this process, in MiB.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096.0 / f64::from(1 << 20)
}
