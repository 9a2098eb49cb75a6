//! Open studies: trials that ask for what they need.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use luthier_space::{Distribution, Scale, Space, Value, Values};
use luthier_study::{
    AskError, AskTell, Asked, Asking, Failure, Lease, Locator, Measured, Objective, Session, Study,
    StudyError, StudySpec,
};
use luthier_test::{Postgres, Process, Scratch, wait_for};
use luthier_tune::{PrunerSpec, State, Trial};

use crate::{run, spec, timeless, trials_of};

pub(crate) fn open_spec() -> StudySpec {
    let objectives = vec![Objective::minimize("loss")];
    StudySpec { space: Space::open(Vec::new()), objectives, ..spec() }
}

/// Asks on two branches, and as often as another value says.
pub(crate) fn branching(session: &Session<'_>) -> Result<Measured, Failure> {
    let optimizer = session.suggest_choice("optimizer", &["adam", "sgd"])?;
    let rate = session.suggest_log_float("rate", 1e-5, 1.0)?;
    let mut loss = (rate.log10() + 2.0).abs();
    loss += match optimizer == "sgd".into() {
        true => (session.suggest_float("momentum", 0.0, 1.0)? - 0.9).abs(),
        false => 0.5,
    };
    for layer in 0..session.suggest_int("layers", 1, 3)? {
        let units = session.suggest_int(&format!("units_{layer}"), 1, 64)?;
        loss += (units - 20).abs() as f64 / 64.0 + 0.1;
        if session.report(layer.unsigned_abs() + 1, loss).is_break() {
            return Err(Failure::Pruned);
        }
    }
    if session.seed().is_multiple_of(9) {
        return Err(Failure::Error(format!("no luck with {}", session.number())));
    }
    Ok(loss.into())
}

#[test]
fn a_trial_is_what_it_asked_for() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let spec = StudySpec { pruner: PrunerSpec::None, ..open_spec() };
    let study = Study::open(&path, &spec).unwrap();
    study.run(&run(40, 1), &branching, &|_| {}).unwrap();
    let names = |trial: &Trial| trial.values.iter().map(|(name, _)| name.to_owned()).collect();
    for trial in study.trials() {
        let layers = trial.values.int("layers").unwrap();
        let mut expected = vec!["optimizer".to_owned(), "rate".to_owned()];
        if trial.values.text("optimizer").unwrap() == "sgd" {
            expected.push("momentum".to_owned());
        }
        expected.push("layers".to_owned());
        expected.extend((0..layers).map(|layer| format!("units_{layer}")));
        let found: Vec<String> = names(&trial);
        assert_eq!(found, expected);
    }
    // Another look finds the same, and the space with it.
    let records = Study::load(&path.as_path().into(), None).unwrap();
    assert_eq!(records.spec.space, study.space());
    assert_eq!(study.space().len(), 7);
    assert_eq!(timeless(&records.into_trials()), timeless(&study.trials()));
}

#[test]
fn workers_and_stops_change_nothing() {
    let slow = |session: &Session<'_>| {
        std::thread::sleep(Duration::from_millis(session.seed() % 7));
        branching(session)
    };
    let scratch = Scratch::new();
    for sampler in ["tpe", "auto"] {
        let spec = StudySpec { sampler: sampler.into(), ..open_spec() };
        let at = |name: &str| scratch.path().join(format!("{sampler}-{name}.db"));
        let study = Study::open(&at("one"), &spec).unwrap();
        study.run(&run(30, 1), &branching, &|_| {}).unwrap();
        for trials in [7, 8, 19, 30] {
            // As a program that is started again and again: what it knows is the empty space.
            let study = Study::open(&at("four"), &spec).unwrap();
            study.run(&run(trials, 4), &slow, &|_| {}).unwrap();
        }
        assert_eq!(timeless(&trials_of(&at("four"))), timeless(&study.trials()), "{sampler}");
        assert!(study.trials().iter().any(|trial| trial.state == State::Pruned));
    }
}

#[test]
fn samplers_do_better_than_chance() {
    let scratch = Scratch::new();
    let mean_best = |sampler: &str| {
        let best = (0..8).map(|seed| {
            let pruner = PrunerSpec::None;
            let spec =
                StudySpec { seed, pruner, sampler: sampler.into(), lag: None, ..open_spec() };
            let path = scratch.path().join(format!("{}-{seed}.db", spec.sampler));
            let summary = Study::open(&path, &spec).unwrap().run(&run(50, 1), &branching, &|_| {});
            summary.unwrap().best.unwrap().score().unwrap()
        });
        best.sum::<f64>() / 8.0
    };
    let chance = mean_best("random");
    for (sampler, share) in [("tpe", 0.75), ("auto", 0.5)] {
        let found = mean_best(sampler);
        assert!(found < share * chance, "{sampler}: {found}, by chance {chance}");
    }
}

#[test]
fn another_distribution_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let of_width =
        |high: f64| move |session: &Session<'_>| Ok(session.suggest_float("x", 0.0, high)?.into());
    let study = Study::open(&path, &open_spec()).unwrap();
    study.run(&run(3, 1), &of_width(1.0), &|_| {}).unwrap();
    let said = "the study was started with another setup: parameter `x` was a number from 0 to 1, is \
                now a number from 0 to 2";
    for study in [study, Study::open(&path, &open_spec()).unwrap()] {
        let error = study.run(&run(6, 1), &of_width(2.0), &|_| {}).unwrap_err();
        assert!(matches!(error, StudyError::Changed(_)) && error.to_string() == said, "{error}");
    }
    // The trial is put back, and evaluated by whoever asks for what is there.
    let study = Study::open(&path, &open_spec()).unwrap();
    let summary = study.run(&run(6, 1), &of_width(1.0), &|_| {}).unwrap();
    assert_eq!((summary.complete, summary.failed), (6, 0));
    let faulty = |session: &Session<'_>| Ok(session.suggest_float("y", 2.0, 1.0)?.into());
    let error = study.run(&run(7, 1), &faulty, &|_| {}).unwrap_err().to_string();
    assert_eq!(error, "parameter `y`: the first bound is above the second");

    let given = Space::of([("x", Distribution::float(0.0, 1.0))]);
    let closed = StudySpec { space: given, ..open_spec() };
    for error in [Study::open(&path, &closed), Study::extend(&path, &closed, &Values::default())] {
        let error = error.err().expect("an error").to_string();
        assert!(error.ends_with("space was open, is now given"), "{error}");
    }
    // What a study that is not open has may be asked for, too.
    let study = Study::open(&scratch.path().join("closed.db"), &closed).unwrap();
    study.run(&run(3, 1), &of_width(1.0), &|_| {}).unwrap();
    assert!(study.run(&run(4, 1), &of_width(2.0), &|_| {}).is_err());
    let error = study.run(&run(4, 1), &faulty_name, &|_| {}).unwrap_err().to_string();
    assert!(error.ends_with("parameter `z` was absent, is now an integer from 0 to 1"), "{error}");
}

fn faulty_name(session: &Session<'_>) -> Result<Measured, Failure> {
    Ok((session.suggest_int("z", 0, 1)? as f64).into())
}

fn desk(path: &Path) -> AskTell {
    let spec = StudySpec { lag: None, pruner: PrunerSpec::None, ..open_spec() };
    AskTell::new(Study::open(path, &spec).unwrap(), Asking::default()).unwrap()
}

fn asked(desk: &AskTell) -> Lease {
    match desk.ask().unwrap() {
        Asked::Trial { lease, values, .. } => {
            assert!(values.is_empty());
            lease
        }
        other => panic!("{other:?}"),
    }
}

fn forms() -> Vec<(&'static str, Distribution)> {
    let odds = Distribution::Float { low: 0.01, high: 0.99, scale: Scale::Logit, step: None };
    vec![
        ("odds", odds),
        ("even", Distribution::Int { low: 0, high: 8, scale: Scale::Linear, step: 2 }),
        ("batch", Distribution::ordinal([16, 32, 64])),
        ("steps", Distribution::permutation(["clip", "scale", "rotate"])),
        ("features", Distribution::subset(["age", "income", "region"], 1, 2)),
        ("kind", Distribution::choice([true, false])),
    ]
}

#[test]
fn a_client_asks_for_what_it_needs() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let before = desk(&path);
    let at = asked(&before);
    let ask = |desk: &AskTell, at: Lease| -> Vec<Value> {
        let ask = |(name, form): (&str, Distribution)| {
            let value = desk.suggest(at, name, &form).unwrap();
            assert!(form.contains(&value), "{name}: {value}");
            value
        };
        forms().into_iter().map(ask).collect()
    };
    let values = ask(&before, at);
    assert_eq!(ask(&before, at), values, "the same value whenever it is asked for");
    drop(before);
    // Its client knows nothing of the process having ended.
    let after = desk(&path);
    let last = after.suggest(at, "last", &Distribution::float(0.0, 1.0)).unwrap();
    let told = after.tell(at, Ok(1.0.into())).unwrap();
    let names: Vec<&str> = told.values.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["odds", "even", "batch", "steps", "features", "kind", "last"]);
    assert_eq!(told.values.get("last"), Some(&last));
    let over = after.suggest(at, "odds", &forms()[0].1).unwrap_err();
    assert!(matches!(over, AskError::Over { .. }), "{over}");
    assert_eq!(trials_of(&path), [told]);

    // What is given goes to the parameters of these names, where it fits.
    let given: [(&str, Value); 3] = [("even", 4.into()), ("new", 0.25.into()), ("off", 9.0.into())];
    let given: Values = given.into_iter().collect();
    assert_eq!(after.study().enqueue(&given).unwrap(), 1);
    assert!(after.study().enqueue(&[("even", 3)].into_iter().collect()).is_err());
    let at = asked(&after);
    assert_eq!(ask(&after, at)[1], 4.into());
    let new = |name: &str| after.suggest(at, name, &Distribution::float(0.0, 1.0)).unwrap();
    assert_eq!(new("new"), 0.25.into());
    assert!(new("off").as_f64().unwrap() < 1.0);
}

#[test]
fn who_starts_over_gets_the_same_and_keeps_what_it_asks_for_then() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let before = desk(&path);
    let x = Distribution::float(0.0, 1.0);
    for _ in 0..12 {
        let at = asked(&before);
        let loss = before.suggest(at, "x", &x).unwrap().as_f64().unwrap();
        before.tell(at, Ok(loss.into())).unwrap();
    }
    let at = asked(&before);
    let known = before.suggest(at, "x", &x).unwrap();
    let new = before.suggest(at, "y", &x).unwrap();
    drop(before);
    let after = desk(&path);
    let again = asked(&after);
    assert_eq!(again, Lease { attempt: 2, ..at });
    assert!(trials_of(&path)[12].values.is_empty());
    assert_eq!(after.suggest(again, "y", &x).unwrap(), new);
    let told = after.tell(again, Ok(1.0.into())).unwrap();
    assert_eq!(told.values, [("y", new)].into_iter().collect());
    assert_ne!(Some(&known), trials_of(&path)[12].values.get("x"));
}

#[test]
fn a_second_look_gets_the_same_values() {
    let scratch = Scratch::new();
    let study = Study::open(&scratch.path().join("study.db"), &open_spec()).unwrap();
    let objective = |session: &Session<'_>| Ok(session.suggest_float("x", 0.0, 1.0)?.into());
    study.run(&run(5, 1), &objective, &|_| {}).unwrap();
    let trials = study.trials();
    study.evaluate_again(&trials, &run(5, 1), &objective).unwrap();
    let again = study.again().unwrap();
    assert!(trials.iter().all(|trial| again[&trial.number].scores == trial.scores));
    assert_eq!(again.len(), 5);
}

const TRIALS: u64 = 60;
const PATIENCE: Duration = Duration::from_secs(60);
const LOCATOR: &str = "LUTHIER_STUDY_TEST_OPEN";
const OWN: &str = "LUTHIER_STUDY_TEST_OWN";
const LOG: &str = "LUTHIER_STUDY_TEST_OPEN_LOG";

/// Works on the study that the environment names and asks for a parameter of its own; in a normal run
/// of the tests there is none.
#[test]
fn child() {
    let (Ok(locator), Ok(own)) = (std::env::var(LOCATOR), std::env::var(OWN)) else { return };
    let log = std::env::var_os(LOG).unwrap();
    let locator: Locator = locator.parse().unwrap();
    let spec = StudySpec { lag: None, pruner: PrunerSpec::None, ..open_spec() };
    let study = Study::open(locator, &spec).unwrap();
    let evaluate = |session: &Session<'_>| -> Result<Measured, Failure> {
        let mut loss = 0.0;
        for name in ["shared", &own, "later"] {
            let value = session.suggest_float(name, 0.0, 1.0)?;
            let mut log = OpenOptions::new().append(true).create(true).open(&log).unwrap();
            log.write_all(format!("{} {name} {value}\n", session.number()).as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(session.seed() % 12));
            loss += value;
        }
        Ok(loss.into())
    };
    study.run(&run(TRIALS, 1), &evaluate, &|_| {}).unwrap();
}

/// Processes that ask for different names let the space grow together, and one that is killed leaves
/// trials that get the same values elsewhere.
fn check_processes(locator: &str) {
    let scratch = Scratch::new();
    let log = scratch.path().join("asked.log");
    let worker = |own: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--nocapture", "open::child"]);
        command.env(LOCATOR, locator).env(OWN, own).env(LOG, &log);
        Process::start(command.stdout(Stdio::null()).stderr(Stdio::inherit()))
    };
    let names = ["a", "b", "c", "d"];
    let mut workers: Vec<Process> = names.iter().map(|own| worker(own)).collect();
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    for kill in 0..6 {
        let going = || (lines().lines().count() >= 20 * (kill + 1)).then_some(());
        wait_for(PATIENCE, going).expect("the workers get on");
        let victim = &mut workers[kill % names.len()];
        if victim.child().try_wait().unwrap().is_none() {
            victim.signal("KILL");
        }
        *victim = worker(names[kill % names.len()]);
    }
    for worker in &mut workers {
        let ended = wait_for(PATIENCE, || worker.child().try_wait().unwrap());
        assert!(ended.expect("the workers come to an end").success());
    }
    let records = Study::load(&locator.parse().unwrap(), None).unwrap();
    let mut space: Vec<&str> =
        records.spec.space.dimensions().iter().map(|d| d.name.as_str()).collect();
    space.sort_unstable();
    assert_eq!(space, ["a", "b", "c", "d", "later", "shared"]);
    assert!(records.trials.iter().any(|record| record.attempts > 1));
    assert_eq!(records.trials.len() as u64, TRIALS);
    for record in &records.trials {
        let trial = &record.trial;
        assert_eq!((trial.state, trial.values.len()), (State::Complete, 3));
        let sum: f64 = trial.values.iter().filter_map(|(_, value)| value.as_f64()).sum();
        assert!((sum - trial.score().unwrap()).abs() < 1e-12, "{trial:?}");
    }
    let lines = lines();
    let mut seen: HashMap<(&str, &str), &str> = HashMap::new();
    for line in lines.lines() {
        let [number, name, value] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        assert_eq!(*seen.entry((number, name)).or_insert(value), value, "{line}");
    }
}

#[test]
fn processes_on_a_file() {
    let scratch = Scratch::new();
    check_processes(scratch.path().join("study.db").to_str().unwrap());
}

#[test]
fn processes_on_a_server() {
    let Some(server) = Postgres::start() else { return };
    check_processes(&server.url());
}
