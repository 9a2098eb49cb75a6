//! The contract of [`Storage`], for all storages.

use std::path::Path;

use luthier_space::{Distribution, Space};
use luthier_test::{Postgres, Scratch};
use luthier_tune::{PrunerSpec, Tiebreak};

use super::*;
use crate::Objective;

const FOREVER: Duration = Duration::from_secs(3600);
const RETRIES: u32 = 1;

fn spec() -> StudySpec {
    StudySpec {
        name: "test".into(),
        space: Space::of([("x", Distribution::float(0.0, 1.0))]),
        objectives: vec![Objective::minimize("loss")],
        constraints: Vec::new(),
        seed: u64::MAX,
        sampler: "random".into(),
        pruner: PrunerSpec::None,
        lag: None,
        context: BTreeMap::new(),
    }
}

fn trial(number: u64) -> Trial {
    Trial::running(number, [("x", 0.5)].into_iter().collect())
}

fn complete(number: u64) -> Trial {
    Trial {
        state: State::Complete,
        scores: vec![0.1 + 0.2],
        violations: vec![-0.25],
        tiebreak: Some(Tiebreak { margin: 0.01, loss: 0.4 }),
        steps: vec![(1, 0.25).into(), (2, f64::INFINITY).into()],
        seconds: Some(1.5),
        ..trial(number)
    }
}

/// Calls `check` with a way to open one fresh study as often as wanted, for each kind of storage.
fn each(check: impl Fn(&dyn Fn() -> Box<dyn Storage>)) {
    let scratch = Scratch::new();
    check(&|| open(&scratch.path().join("study.db").as_path().into(), &spec()).unwrap());
    if let Some(server) = Postgres::start() {
        let locator: Locator = server.url().parse().unwrap();
        check(&|| open(&locator, &spec()).unwrap());
    }
}

/// What a fresh look at the study finds.
fn found(open: &dyn Fn() -> Box<dyn Storage>) -> Vec<Trial> {
    open().records().unwrap().into_trials()
}

#[test]
fn a_finished_trial_is_read_back_whole_and_once() {
    each(|open| {
        let mut storage = open();
        assert_eq!(storage.spec().unwrap(), spec());
        let lease = storage.add(&trial(0), None, "random", true).unwrap();
        assert_eq!(storage.finish(lease, &complete(0), "none").unwrap(), Held::Yes);
        let other = Trial { scores: vec![9.0], ..complete(0) };
        assert_eq!(storage.finish(lease, &other, "none").unwrap(), Held::No);
        assert_eq!(found(open), [complete(0)]);
        let record = storage.records().unwrap().trials.remove(0);
        assert_eq!((record.attempts, record.origin.as_str()), (1, "random"));
        assert!(record.started.unwrap() <= record.ended.unwrap());
    });
}

#[test]
fn a_new_setup_comes_with_the_values_that_it_changes() {
    each(|open| {
        let (mut one, mut two) = (open(), open());
        let lease = one.add(&trial(0), None, "random", true).unwrap();
        assert_eq!(one.finish(lease, &complete(0), "none").unwrap(), Held::Yes);
        assert_eq!(two.changes().unwrap().trials.len(), 1);
        let space = Space::of([("x", Distribution::float(0.0, 2.0))]);
        let wider = StudySpec { space, ..spec() };
        let moved = Trial { values: [("x", 1.5)].into_iter().collect(), ..complete(0) };
        one.set_spec(&wider, std::slice::from_ref(&moved)).unwrap();
        assert_eq!(two.spec().unwrap(), wider);
        assert_eq!(two.changes().unwrap().trials[0].trial.values, moved.values);
        assert_eq!(two.records().unwrap().into_trials(), [moved]);
    });
}

#[test]
fn changes_are_told_to_others() {
    each(|open| {
        let (mut one, mut two) = (open(), open());
        assert!(two.changes().unwrap().trials.is_empty());
        let lease = one.add(&trial(0), None, "random", true).unwrap();
        let told = two.changes().unwrap();
        let started = told.trials[0].started;
        assert!(started.is_some());
        let entry = Entry { trial: trial(0), attempt: 1, started, waiting: false, proposed: None };
        assert_eq!(told.trials, [entry]);
        assert_eq!(one.step(lease, &(1, 0.25).into()).unwrap(), Held::Yes);
        assert_eq!(two.changes().unwrap().steps, [(0, (1, 0.25).into())]);
        let _ = one.finish(lease, &complete(0), "none").unwrap();
        let told = two.changes().unwrap();
        assert_eq!(told.trials[0].trial, Trial { steps: Vec::new(), ..complete(0) });
        assert!(told.steps.contains(&(0, (2, f64::INFINITY).into())));
        let first = open().changes().unwrap();
        assert_eq!((first.trials.len(), first.steps.len()), (1, 2));
    });
}

#[test]
fn an_earlier_lease_can_do_nothing() {
    each(|open| {
        let (mut one, mut two) = (open(), open());
        let old = one.add(&trial(0), None, "random", true).unwrap();
        let _ = one.step(old, &(1, 0.5).into()).unwrap();
        assert_eq!(one.release(old, None).unwrap(), Held::Yes);
        let new = two.take(0).unwrap().unwrap();
        assert_eq!((new.attempt, two.take(0).unwrap()), (2, None));
        assert!(found(open)[0].steps.is_empty(), "it starts over");
        assert_eq!(one.step(old, &(2, 0.5).into()).unwrap(), Held::No);
        assert_eq!(one.finish(old, &complete(0), "none").unwrap(), Held::No);
        assert_eq!(one.release(old, None).unwrap(), Held::No);
        assert!(!one.retry(old, 9).unwrap());
        assert_eq!(two.finish(new, &complete(0), "none").unwrap(), Held::Yes);
    });
}

#[test]
fn an_earlier_lease_can_be_taken_up_again_until_there_is_another() {
    each(|open| {
        let (mut one, mut two) = (open(), open());
        let lease = one.add(&trial(0), None, "random", true).unwrap();
        let _ = one.step(lease, &(1, 0.5).into()).unwrap();
        assert_eq!(one.resume(lease).unwrap(), Held::Yes, "it runs here");
        assert_eq!(two.resume(lease).unwrap(), Held::No, "it runs elsewhere");
        assert_eq!(one.release(lease, None).unwrap(), Held::Yes);
        let _ = two.changes().unwrap();
        assert_eq!(two.resume(lease).unwrap(), Held::Yes);
        let told = two.changes().unwrap();
        assert_eq!((told.trials[0].attempt, told.trials[0].waiting), (1, false));
        assert_eq!(told.steps, [(0, (1, 0.5).into())]);
        assert_eq!(two.step(lease, &(2, 0.25).into()).unwrap(), Held::Yes);
        assert_eq!(two.release(lease, None).unwrap(), Held::Yes);
        let next = one.take(0).unwrap().unwrap();
        assert_eq!(two.resume(lease).unwrap(), Held::No, "it has been taken");
        assert_eq!(one.finish(next, &complete(0), "none").unwrap(), Held::Yes);
        assert_eq!(one.resume(next).unwrap(), Held::No, "it is over");
        assert_eq!(one.resume(Lease { number: 7, attempt: 1 }).unwrap(), Held::No);
    });
}

#[test]
fn a_paused_trial_keeps_its_steps() {
    each(|open| {
        let mut storage = open();
        let lease = storage.add(&trial(0), None, "random", true).unwrap();
        let steps = [Step::from((1, 0.5)), Step { step: 2, scores: vec![f64::NAN] }];
        assert_eq!(storage.release(lease, Some(&steps)).unwrap(), Held::Yes);
        let paused = found(open).remove(0);
        assert_eq!((paused.state, paused.steps.len()), (State::Paused, 2));
        assert!(paused.steps[1].scores[0].is_nan());
        let lease = storage.take(0).unwrap().unwrap();
        assert_eq!(lease.attempt, 2);
        assert_eq!(found(open)[0].steps[0], steps[0]);
    });
}

#[test]
fn what_was_proposed_is_kept_apart_from_what_is_asked_for() {
    each(|open| {
        let mut storage = open();
        let values = |x: f64| -> Values { [("x", x)].into_iter().collect() };
        let empty = |number| Trial::running(number, Values::default());
        storage.set_spec(&StudySpec { space: open_space(), ..spec() }, &[]).unwrap();
        let old = storage.add(&empty(0), Some(&values(0.25)), "random", true).unwrap();
        assert_eq!(storage.set_values(old, &values(0.75)).unwrap(), Held::Yes);
        let entry = open().changes().unwrap().trials.remove(0);
        assert_eq!(entry.trial.values, values(0.75));
        assert_eq!(entry.proposed, Some(values(0.25)));
        // Who starts over asks anew, and who goes on from a pause does not.
        assert_eq!(storage.release(old, None).unwrap(), Held::Yes);
        assert_eq!(found(open)[0].values, values(0.75));
        let new = storage.take(0).unwrap().unwrap();
        assert!(found(open)[0].values.is_empty());
        assert_eq!(storage.set_values(old, &values(0.5)).unwrap(), Held::No);
        assert_eq!(storage.set_values(new, &values(0.5)).unwrap(), Held::Yes);
        assert_eq!(storage.release(new, Some(&[])).unwrap(), Held::Yes);
        let again = storage.take(0).unwrap().unwrap();
        assert_eq!(found(open)[0].values, values(0.5));
        let end = Trial { values: values(0.5), ..complete(0) };
        assert_eq!(storage.finish(again, &end, "none").unwrap(), Held::Yes);
        assert_eq!(found(open), [end]);
        // Without a proposal the values are the trial.
        storage.add(&trial(1), None, "given", false).unwrap();
        storage.take(1).unwrap().unwrap();
        assert_eq!(found(open)[1].values, trial(1).values);
    });
}

fn open_space() -> Space {
    let mut space = Space::open(Vec::new());
    space.add("x", Distribution::float(0.0, 1.0));
    space
}

#[test]
fn studies_of_the_format_before_are_brought_to_this_one() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let server = Postgres::start();
    let mut locators: Vec<Locator> = vec![path.as_path().into()];
    locators.extend(server.as_ref().map(|server| server.url().parse().unwrap()));
    for locator in &locators {
        open(locator, &spec()).unwrap().add(&trial(0), None, "random", false).unwrap();
    }
    let connection = rusqlite::Connection::open(&path).unwrap();
    let old = "ALTER TABLE trials DROP COLUMN proposed; PRAGMA user_version = 2;";
    connection.execute_batch(old).unwrap();
    if let Some(server) = &server {
        let mut client = ::postgres::Client::connect(&server.url(), ::postgres::NoTls).unwrap();
        let old = "ALTER TABLE luthier_trials DROP COLUMN proposed;
                   UPDATE luthier_studies SET format = 1;";
        client.batch_execute(old).unwrap();
    }
    for locator in &locators {
        let mut storage = existing(locator, None).unwrap();
        assert_eq!(storage.changes().unwrap().trials[0].trial, trial(0));
        storage.add(&trial(1), Some(&trial(1).values), "random", true).unwrap();
        assert_eq!(open(locator, &spec()).unwrap().records().unwrap().trials.len(), 2);
    }
}

#[test]
fn trials_of_a_dead_worker_wait_again_until_there_were_too_many() {
    each(|open| {
        let mut alive = open();
        alive.beat(FOREVER, RETRIES).unwrap();
        let mut dying = open();
        dying.add(&trial(0), None, "random", true).unwrap();
        alive.beat(FOREVER, RETRIES).unwrap();
        assert!(alive.take(0).unwrap().is_none(), "its worker lives");
        // As the system does it for a process that is killed: nothing is said, the locks are freed.
        dying.abandon();
        drop(dying);
        alive.beat(FOREVER, RETRIES).unwrap();
        // An orderly end gives back what is held, and is not counted.
        assert_eq!(open().take(0).unwrap().unwrap().attempt, 2);
        let mut second = open();
        let lease = second.take(0).unwrap().unwrap();
        assert_eq!(lease.attempt, 3);
        second.abandon();
        alive.beat(FOREVER, RETRIES).unwrap();
        let trial = found(open).remove(0);
        let expected = "the process that evaluated it ended 2 times before it had";
        assert_eq!((trial.state, trial.reason.as_deref()), (State::Failed, Some(expected)));
    });
}

#[test]
fn who_is_silent_for_too_long_loses_its_trials() {
    each(|open| {
        let (mut silent, mut other) = (open(), open());
        let old = silent.add(&trial(0), None, "random", true).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        other.beat(Duration::from_millis(10), RETRIES).unwrap();
        let new = other.take(0).unwrap().unwrap();
        assert_eq!(silent.finish(old, &complete(0), "none").unwrap(), Held::No);
        // It goes on under a new name.
        silent.beat(FOREVER, RETRIES).unwrap();
        let next = silent.add(&trial(1), None, "random", true).unwrap();
        other.beat(FOREVER, RETRIES).unwrap();
        assert_eq!(silent.finish(next, &complete(1), "none").unwrap(), Held::Yes);
        assert_eq!(other.finish(new, &complete(0), "none").unwrap(), Held::Yes);
    });
}

#[test]
fn nothing_is_left_with_a_worker_that_was_taken_for_dead_and_then_dies() {
    each(|open| {
        let (mut silent, mut other) = (open(), open());
        silent.beat(FOREVER, RETRIES).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        other.beat(Duration::from_millis(10), RETRIES).unwrap();
        // It has not noticed yet.
        silent.add(&trial(0), None, "random", true).unwrap();
        silent.abandon();
        other.beat(FOREVER, RETRIES).unwrap();
        assert_eq!(other.take(0).unwrap().unwrap().attempt, 2);
    });
}

#[test]
fn failures_are_tried_again_as_often_as_wanted() {
    each(|open| {
        let mut storage = open();
        let mut lease = storage.add(&trial(0), None, "random", true).unwrap();
        for _ in 0..2 {
            assert!(storage.retry(lease, 2).unwrap());
            lease = storage.take(0).unwrap().unwrap();
        }
        assert!(!storage.retry(lease, 2).unwrap());
    });
}

#[test]
fn one_at_a_time_proposes() {
    each(|open| {
        let mut one = open();
        one.begin_proposing().unwrap();
        std::thread::scope(|scope| {
            let mut two = open();
            let second = scope.spawn(move || {
                two.begin_proposing().unwrap();
                let trials = two.changes().unwrap().trials.len();
                assert_eq!(two.end_proposing().unwrap(), Held::Yes);
                trials
            });
            std::thread::sleep(Duration::from_millis(50));
            one.add(&trial(0), None, "random", true).unwrap();
            assert_eq!(one.end_proposing().unwrap(), Held::Yes);
            assert_eq!(second.join().unwrap(), 1, "the second waits for the first");
        });
        one.begin_proposing().unwrap();
        drop(one);
        open().begin_proposing().unwrap();
    });
}

#[test]
fn notes_and_imported_trials_are_kept() {
    each(|open| {
        let mut storage = open();
        let attributes = [("commit".to_owned(), "abc".into())].into_iter().collect();
        let (started, ended) = (Some(1_000), Some(2_500));
        let record = Record { started, ended, attributes, ..Record::imported(complete(0)) };
        let failed = Trial { state: State::Failed, reason: Some("no".into()), ..trial(1) };
        let records = [record, Record::imported(failed)];
        storage.import(&records).unwrap();
        assert_eq!(open().records().unwrap().trials, records);
        storage.set_attribute(None, "owner", &"risk".into()).unwrap();
        storage.set_attribute(Some(0), "tags", &serde_json::json!(["a"])).unwrap();
        storage.set_attribute(Some(0), "tags", &serde_json::json!(["a", "b"])).unwrap();
        storage.set_attribute(Some(0), "commit", &serde_json::Value::Null).unwrap();
        let records = open().records().unwrap();
        assert_eq!(records.attributes["owner"], "risk");
        assert_eq!(records.trials[0].attributes.len(), 1);
        assert_eq!(records.trials[0].attributes["tags"], serde_json::json!(["a", "b"]));
        assert_eq!(records.into_trials()[0], complete(0));
    });
}

#[test]
fn studies_of_one_database_are_apart() {
    let Some(server) = Postgres::start() else { return };
    let locator: Locator = server.url().parse().unwrap();
    let absent = existing(&locator, None).err().unwrap();
    assert!(matches!(absent, StudyError::Absent { .. }), "{absent}");
    let mut one = open(&locator, &spec()).unwrap();
    let mut two = open(&locator, &StudySpec { name: "other".into(), ..spec() }).unwrap();
    one.add(&trial(0), None, "random", true).unwrap();
    two.add(&trial(0), None, "random", true).unwrap();
    two.add(&trial(1), None, "random", true).unwrap();
    let count = |name| existing(&locator, Some(name)).unwrap().records().unwrap().trials.len();
    assert_eq!((count("test"), count("other")), (1, 2));
    let error = existing(&locator, None).err().unwrap();
    assert!(error.to_string().ends_with("has 2 studies, name one"), "{error}");
    let StudyError::Absent { known, .. } = error else { panic!("two studies and no name") };
    assert_eq!(known, ["other", "test"]);
    let nowhere: Locator = "postgres://luthier:secret@127.0.0.1:1/x".parse().unwrap();
    let error = open(&nowhere, &spec()).err().unwrap().to_string();
    assert!(error.contains("refused") && !error.contains("secret"), "{error}");
}

#[test]
fn a_full_disk_is_told_and_harms_nothing() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let mut storage = sqlite::Sqlite::open(&path, &spec()).unwrap();
    storage.limit_growth(2).unwrap();
    let lease = storage.add(&trial(0), None, "random", true).unwrap();
    let long = Trial { state: State::Failed, reason: Some("x".repeat(100_000)), ..trial(0) };
    let error = storage.finish(lease, &long, "none").unwrap_err();
    assert!(matches!(error, StudyError::DiskFull { .. }), "{error}");
    // The whole transaction is undone, and shorter ones still work.
    assert_eq!(trials_at(&path), [trial(0)]);
    let short = Trial { reason: Some("short".into()), ..long };
    assert_eq!(storage.finish(lease, &short, "none").unwrap(), Held::Yes);
    assert_eq!(trials_at(&path), [short]);
}

#[test]
fn commits_reach_the_system_before_they_return() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let opened = sqlite::Sqlite::open(&path, &spec()).unwrap();
    let found = sqlite::Sqlite::existing(&path).unwrap();
    assert_eq!([&opened, &found].map(|storage| storage.pragma("synchronous").unwrap()), [1, 1]);
}

fn trials_at(path: &Path) -> Vec<Trial> {
    existing(&path.into(), None).unwrap().records().unwrap().into_trials()
}
