//! What bookkeeping costs. Run with
//! `cargo test --release -p luthier-study -- --ignored --nocapture speed`.

use std::time::Instant;

use luthier_study::{Session, Study, StudySpec};
use luthier_test::Scratch;
use luthier_tune::PrunerSpec;

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
