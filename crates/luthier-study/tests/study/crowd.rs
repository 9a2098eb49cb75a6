//! Many processes on one study, some of which are killed.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use luthier_space::{Distribution, Space, Value, Values};
use luthier_study::{
    Event, Failure, Locator, Measured, Record, Retries, Run, Session, Study, StudySpec,
};
use luthier_test::{Postgres, Process, Scratch, wait_for};
use luthier_tune::{PrunerSpec, State, Trial};

use crate::{run, spec};

const TRIALS: u64 = 240;
const WORKERS: usize = 12;
const KILLS: usize = 20;
/// Longer than the trials of a killed worker are looked for.
const PATIENCE: Duration = Duration::from_secs(60);
const LOCATOR: &str = "LUTHIER_STUDY_TEST_LOCATOR";
const LOG: &str = "LUTHIER_STUDY_TEST_LOG";

fn crowd_spec() -> StudySpec {
    // Just as many configurations as trials: none may be proposed twice.
    let space = Space::of([
        ("a", Distribution::int(1, 60)),
        ("b", Distribution::choice(["p", "q", "r", "s"])),
    ]);
    assert_eq!(space.cardinality(), Some(TRIALS));
    StudySpec { space, lag: None, pruner: PrunerSpec::None, sampler: "tpe".into(), ..spec() }
}

/// Works on the study that the environment names; in a normal run of the tests there is none.
#[test]
fn child() {
    let (Ok(locator), Some(log)) = (std::env::var(LOCATOR), std::env::var_os(LOG)) else { return };
    let locator: Locator = locator.parse().unwrap();
    let study = Study::open(locator, &crowd_spec()).unwrap();
    let evaluate = |session: &Session<'_>| -> Result<Measured, Failure> {
        std::thread::sleep(Duration::from_millis(session.seed() % 20));
        let _ = session.report(1, 0.5);
        Ok(session.values().float("a").unwrap().into())
    };
    let note = |event: Event| {
        if let Event::Finished { trial, .. } = event {
            let mut file = OpenOptions::new().append(true).create(true).open(&log).unwrap();
            file.write_all(format!("{}\n", trial.number).as_bytes()).unwrap();
        }
    };
    study.run(&run(TRIALS, 1), &evaluate, &note).unwrap();
}

fn worker(locator: &str, log: &Path) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "crowd::child"]).env(LOCATOR, locator).env(LOG, log);
    Process::start(command.stdout(Stdio::null()).stderr(Stdio::inherit()))
}

/// Every trial ends exactly once, and no configuration is tried twice.
fn check(locator: &str) {
    let scratch = Scratch::new();
    let log = scratch.path().join("finished.log");
    let mut workers: Vec<Process> = (0..WORKERS).map(|_| worker(locator, &log)).collect();
    let ends = || std::fs::read_to_string(&log).unwrap_or_default();
    let mut moment = 98_765u64;
    for kill in 0..KILLS {
        // Spread over the study, at moments when all are at work however slow the machine is.
        let enough = (kill + 1) * TRIALS as usize * 2 / 3 / KILLS;
        let going = || (ends().lines().count() >= enough).then_some(());
        wait_for(PATIENCE, going).expect("the workers get on");
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis((moment >> 33) % 10));
        let victim = &mut workers[kill % WORKERS];
        if victim.child().try_wait().unwrap().is_none() {
            victim.signal("KILL");
        }
        *victim = worker(locator, &log);
    }
    for worker in &mut workers {
        let ended = wait_for(PATIENCE, || worker.child().try_wait().unwrap());
        assert!(ended.expect("the workers come to an end").success());
    }
    let records = Study::load(&locator.parse().unwrap(), None).unwrap();
    assert_eq!(records.trials.len() as u64, TRIALS);
    assert!(records.trials.iter().all(|record| record.trial.state == State::Complete));
    let again = records.trials.iter().filter(|record| record.attempts > 1).count();
    assert!(again > 0, "no worker was killed in the middle of a trial");
    let log = ends();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for number in log.lines() {
        *counts.entry(number).or_default() += 1;
    }
    assert!(counts.values().all(|count| *count == 1), "a trial ended twice");
    // A worker may be killed between the end of a trial and its line.
    assert!(counts.len() + KILLS >= records.trials.len());
    let values = records.trials.iter().map(|record| record.trial.values.to_string());
    assert_eq!(values.collect::<HashSet<_>>().len() as u64, TRIALS);
}

#[test]
fn on_a_file() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    check(path.to_str().unwrap());
    let left: Vec<_> = std::fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("worker"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn on_a_server() {
    let Some(server) = Postgres::start() else { return };
    check(&server.url());
}

#[test]
fn a_broken_connection_is_no_end() {
    let Some(server) = Postgres::start() else { return };
    let locator: Locator = server.url().parse().unwrap();
    let study = Study::open(locator.clone(), &crowd_spec()).unwrap();
    let over = AtomicBool::new(false);
    let evaluate = |session: &Session<'_>| -> Result<Measured, Failure> {
        std::thread::sleep(Duration::from_millis(session.seed() % 20));
        let _ = session.report(1, 0.5);
        Ok(session.values().float("a").unwrap().into())
    };
    let breaks = std::thread::scope(|scope| {
        let breaks = scope.spawn(|| {
            let mut client = postgres::Client::connect(&server.url(), postgres::NoTls).unwrap();
            let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                             WHERE application_name = 'luthier'";
            let mut breaks = 0;
            while !over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(307));
                breaks += client.query(terminate, &[]).unwrap().len();
            }
            breaks
        });
        let summary = study.run(&run(60, 2), &evaluate, &|_| {});
        over.store(true, Ordering::SeqCst);
        assert_eq!(summary.unwrap().complete, 60);
        breaks.join().unwrap()
    });
    assert!(breaks > 2, "{breaks}");
    let trials = Study::load(&locator, None).unwrap().into_trials();
    assert!(trials.len() == 60 && trials.iter().all(|trial| trial.state == State::Complete));
}

#[test]
fn what_is_given_comes_before_what_is_proposed() {
    let scratch = Scratch::new();
    let study = Study::open(&scratch.path().join("study.db"), &spec()).unwrap();
    let given: [(&str, Value); 3] =
        [("x", 0.5.into()), ("rate", 0.25.into()), ("kind", "a".into())];
    let given: Values = given.into_iter().collect();
    assert_eq!(study.enqueue(&given).unwrap(), 0);
    assert!(study.enqueue(&Values::default()).is_err());
    let (state, scores) = (State::Complete, vec![0.75]);
    let other = Trial { state, scores, ..Trial::running(9, given.clone()) };
    assert_eq!(study.import(vec![Record::imported(other.clone())]).unwrap(), 1);
    for (wrong, said) in [
        (Trial { state: State::Running, ..other.clone() }, "it is not over"),
        (Trial { scores: vec![f64::NAN], ..other.clone() }, "the score is NaN"),
        (Trial { values: Values::default(), ..other.clone() }, "parameter `x` has no value"),
    ] {
        let records = [other.clone(), wrong].map(Record::imported).to_vec();
        let error = study.import(records).unwrap_err().to_string();
        assert_eq!(error, format!("trial 1 of those to import: {said}"));
    }
    let summary = study.run(&run(3, 1), &|_| Ok(0.1.into()), &|_| {}).unwrap();
    assert_eq!((summary.finished, summary.best.unwrap().number), (3, 1));
    assert_eq!(study.trials()[0].values, given);
}

#[test]
fn a_failure_is_tried_again() {
    let scratch = Scratch::new();
    let study = Study::open(&scratch.path().join("study.db"), &spec()).unwrap();
    let tries = AtomicUsize::new(0);
    let flaky = |_: &Session<'_>| match tries.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Err(Failure::Error("not yet".into())),
        _ => Ok(1.0.into()),
    };
    let retries = Retries { crashed: 0, failed: 2 };
    let summary = study.run(&Run { retries, ..run(1, 1) }, &flaky, &|_| {}).unwrap();
    assert_eq!((summary.complete, summary.failed, tries.into_inner()), (1, 0, 3));
}
