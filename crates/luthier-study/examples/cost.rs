//! What keeping a study costs, as lines of JSON: the benchmarks run it.
//!
//! ```text
//! cost FILE fill TRIALS      makes a study with so many trials
//! cost FILE open             time to load it; memory of the process, which adds a trial
//! cost FILE commit TRIALS    times to write steps and trials of a new study
//! ```

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use luthier_space::{Distribution, Space, Value};
use luthier_study::{
    Event, Failure, Measured, Objective, Record, Retries, Run, Session, Study, StudySpec,
};
use luthier_tune::{PrunerSpec, State, Trial};
use serde_json::json;

const PARAMETERS: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
const STEPS: u64 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let figures = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [file, "fill", trials] => fill(Path::new(file), trials.parse()?)?,
        [file, "open"] => open(Path::new(file))?,
        [file, "commit", trials] => commit(Path::new(file), trials.parse()?)?,
        _ => return Err("usage: cost FILE fill TRIALS | open | commit TRIALS".into()),
    };
    writeln!(std::io::stdout(), "{figures}")?;
    Ok(())
}

fn spec(sampler: &str) -> StudySpec {
    StudySpec {
        name: "cost".into(),
        space: Space::of(PARAMETERS.map(|name| (name, Distribution::float(0.0, 1.0)))),
        objectives: vec![Objective::minimize("loss")],
        constraints: Vec::new(),
        seed: 1,
        sampler: sampler.into(),
        pruner: PrunerSpec::None,
        lag: None,
        context: BTreeMap::new(),
    }
}

fn fill(file: &Path, trials: u64) -> Result<serde_json::Value, Box<dyn Error>> {
    let study = Study::open(file, &spec("tpe"))?;
    let start = Instant::now();
    let trials = (0..trials).map(|number| {
        let value = |index| Value::Float((number * 10 + index) as f64 / (trials * 10) as f64);
        let values = PARAMETERS.into_iter().zip((0..).map(value)).collect();
        let steps = (1..=STEPS).map(|step| (step, 0.1 * step as f64).into()).collect();
        let (state, scores) = (State::Complete, vec![number as f64 / 3.0]);
        Trial { state, scores, steps, ..Trial::running(number, values) }
    });
    study.import(trials.map(Record::imported).collect())?;
    Ok(json!({"seconds": start.elapsed().as_secs_f64()}))
}

fn open(file: &Path) -> Result<serde_json::Value, Box<dyn Error>> {
    let start = Instant::now();
    let study = Study::open(file, &spec("tpe"))?;
    let seconds = start.elapsed().as_secs_f64();
    let objective = |_: &Session<'_>| Ok(0.5.into());
    let trials = study.trials().len() as u64;
    run(&study, trials + 1, &objective, &|_| {})?;
    Ok(json!({"trials": trials, "seconds": seconds, "peak_mib": peak()?}))
}

/// Every other trial reports steps.
fn commit(file: &Path, trials: u64) -> Result<serde_json::Value, Box<dyn Error>> {
    let study = Study::open(file, &spec("random"))?;
    let (steps, ends) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let note = |times: &Mutex<Vec<f64>>, start: Instant| {
        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
        times.push(start.elapsed().as_secs_f64() * 1e3);
    };
    let objective = |session: &Session<'_>| {
        for step in (1..=STEPS).filter(|_| session.number() % 2 == 1) {
            let start = Instant::now();
            let _ = session.report(step, 0.5);
            note(&steps, start);
        }
        Ok(0.5.into())
    };
    let last = Mutex::new(Instant::now());
    run(&study, trials, &objective, &|event| {
        if let Event::Finished { trial, .. } = event {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if trial.steps.is_empty() {
                note(&ends, *last);
            }
            *last = Instant::now();
        }
    })?;
    let counts = |times: &Mutex<Vec<f64>>| {
        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
        times.sort_by(f64::total_cmp);
        (times.len(), times.get(times.len() / 2).copied())
    };
    let ((steps, step_ms), (trials, trial_ms)) = (counts(&steps), counts(&ends));
    Ok(json!({"steps": steps, "step_ms": step_ms, "trials": trials, "trial_ms": trial_ms}))
}

fn run(
    study: &Study,
    trials: u64,
    objective: &(dyn Fn(&Session<'_>) -> Result<Measured, Failure> + Sync),
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<(), Box<dyn Error>> {
    let (stop, retries) = (AtomicBool::new(false), Retries::default());
    let (deadline, first) = (None, &[][..]);
    let run = Run {
        trials: Some(trials),
        deadline,
        workers: 1,
        stop: &stop,
        retries,
        first,
        within: None,
    };
    study.run(&run, objective, on_event)?;
    Ok(())
}

/// The most memory that this process has had, in MiB.
fn peak() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes / 1024.0)
}
