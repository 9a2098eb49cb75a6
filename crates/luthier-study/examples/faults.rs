//! Many worker processes on one study, some of which are killed at random: what became of the trials.
//!
//! ```text
//! faults sqlite|postgres [WORKERS [TRIALS]]
//! ```
//!
//! Prints one line of JSON, or nothing where PostgreSQL is not installed. `lost` are trials without an end, `twice` those that were recorded as
//! complete more than once, `repeated` configurations beyond the first of each. The space has as many
//! configurations as there are trials, so that none may be proposed twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::env;
use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use luthier_space::{Distribution, Space};
use luthier_study::{
    Event, Failure, Locator, Measured, Objective, Retries, Run, Session, Study, StudySpec,
};
use luthier_test::{Postgres, Process, Scratch};
use luthier_tune::{PrunerSpec, State};
use serde_json::json;

/// In the environment of a worker: the study, the file that it notes ends in, the number of trials.
const LOCATOR: &str = "LUTHIER_FAULTS_LOCATOR";
const LOG: &str = "LUTHIER_FAULTS_LOG";
const TRIALS: &str = "LUTHIER_FAULTS_TRIALS";

/// Mean time between two kills, and the longest evaluation.
const KILLS: Duration = Duration::from_millis(30);
const EVALUATION_MS: u64 = 400;

fn main() -> Result<(), Box<dyn Error>> {
    if let (Ok(locator), Ok(log), Ok(trials)) = (env::var(LOCATOR), env::var(LOG), env::var(TRIALS))
    {
        return work(&locator, Path::new(&log), trials.parse()?);
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |place: usize, default: u64| {
        arguments.get(place).map_or(Ok(default), |text| text.parse::<u64>())
    };
    let (workers, trials) = (number(1, 32)?, number(2, 2000)?);
    let scratch = Scratch::new();
    let file = scratch.path().join("study.db").display().to_string();
    let figures = match arguments.first().map(String::as_str) {
        Some("sqlite") => watch(&file, workers, trials)?,
        Some("postgres") => {
            let Some(server) = Postgres::start() else { return Ok(()) };
            watch(&server.url(), workers, trials)?
        }
        _ => return Err("usage: faults sqlite|postgres [WORKERS [TRIALS]]".into()),
    };
    writeln!(std::io::stdout(), "{figures}")?;
    Ok(())
}

fn spec(trials: u64) -> StudySpec {
    let high = i64::try_from(trials).unwrap_or(i64::MAX);
    StudySpec {
        name: "faults".into(),
        space: Space::of([("n", Distribution::int(1, high))]),
        objectives: vec![Objective::maximize("n")],
        constraints: Vec::new(),
        seed: 1,
        sampler: "random".into(),
        pruner: PrunerSpec::default(),
        lag: None,
        context: BTreeMap::new(),
    }
}

/// The life of a worker.
fn work(locator: &str, log: &Path, trials: u64) -> Result<(), Box<dyn Error>> {
    let locator: Locator = locator.parse()?;
    let study = Study::open(locator, &spec(trials))?;
    let evaluate = |session: &Session<'_>| -> Result<Measured, Failure> {
        let score =
            session.values().float("n").map_err(|error| Failure::Error(error.to_string()))?;
        for step in 1..=4 {
            std::thread::sleep(Duration::from_millis(session.seed() % EVALUATION_MS / 4));
            if session.report(step, score).is_break() {
                return Err(Failure::Pruned);
            }
        }
        Ok(score.into())
    };
    let mut file = OpenOptions::new().append(true).create(true).open(log)?;
    let note = std::sync::Mutex::new(&mut file);
    let stop = AtomicBool::new(false);
    // A worker that is killed says nothing of the trial, which so often runs again as there are kills.
    let retries = Retries { crashed: u32::MAX - 1, failed: 0 };
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
    study.run(&run, &evaluate, &|event| {
        if let (Event::Finished { trial, .. }, Ok(mut file)) = (event, note.lock()) {
            // One call, so that lines of several processes do not mix.
            let _ = file.write_all(format!("{}\n", trial.number).as_bytes());
        }
    })?;
    Ok(())
}

/// Keeps workers going, kills some until most trials are done, and counts.
fn watch(locator: &str, workers: u64, trials: u64) -> Result<serde_json::Value, Box<dyn Error>> {
    let scratch = Scratch::new();
    let log = scratch.path().join("ends.log");
    let start_worker = || -> Result<Process, Box<dyn Error>> {
        let mut command = Command::new(env::current_exe()?);
        command.env(LOCATOR, locator).env(LOG, &log).env(TRIALS, trials.to_string());
        Ok(Process::start(command.stdout(Stdio::null()).stderr(Stdio::inherit())))
    };
    let ends = || std::fs::read_to_string(&log).unwrap_or_default();
    let start = Instant::now();
    let mut crew = (0..workers).map(|_| start_worker()).collect::<Result<Vec<_>, _>>()?;
    let (mut kills, mut errors, mut random) = (0, 0, 12_345u64);
    while (ends().lines().count() as u64) < trials * 9 / 10 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(KILLS.mul_f64((random >> 40) as f64 / f64::from(1 << 23)));
        let victim = &mut crew[(random >> 33) as usize % workers as usize];
        match victim.child().try_wait()? {
            Some(status) => errors += u64::from(!status.success()),
            None => {
                victim.signal("KILL");
                victim.child().wait()?;
                kills += 1;
            }
        }
        *victim = start_worker()?;
    }
    for worker in &mut crew {
        errors += u64::from(!worker.child().wait()?.success());
    }
    let seconds = start.elapsed().as_secs_f64();

    let records = Study::load(&locator.parse()?, None)?;
    let finished = records.trials.iter().filter(|record| record.trial.state.is_finished());
    let finished = finished.count() as u64;
    let failed = records.trials.iter().filter(|record| record.trial.state == State::Failed);
    let mut counts: HashMap<&str, u64> = HashMap::new();
    let ends = ends();
    for number in ends.lines() {
        *counts.entry(number).or_default() += 1;
    }
    let values: HashSet<String> =
        records.trials.iter().map(|record| record.trial.values.to_string()).collect();
    Ok(json!({
        "workers": workers,
        "trials": records.trials.len(),
        "finished": finished,
        "failed": failed.count(),
        "lost": trials - finished,
        "twice": counts.values().filter(|count| **count > 1).count(),
        "repeated": records.trials.len() - values.len(),
        "again": records.trials.iter().filter(|record| record.attempts > 1).count(),
        "kills": kills,
        "errors": errors,
        "seconds": (seconds * 1e3).round() / 1e3,
    }))
}
