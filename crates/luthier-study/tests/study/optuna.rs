//! Studies of Optuna; what Optuna itself reads from the same file is the measure.

use std::path::{Path, PathBuf};

use luthier_space::{Condition, Distribution, Scale, Value};
use luthier_study::{Imported, LeftOut, Objective, Record, Study, StudyError, read_optuna};
use luthier_test::Scratch;
use luthier_tune::State;
use serde_json::Value as Json;

/// The file that `tests/fixtures/optuna_study.py` has made.
fn file(scratch: &Scratch) -> PathBuf {
    let path = scratch.path().join("optuna.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    // The dump names tables before it makes them.
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    connection.execute_batch(include_str!("../fixtures/optuna_study.sql")).unwrap();
    path
}

fn answers(study: &str) -> Json {
    let answers: Json =
        serde_json::from_str(include_str!("../fixtures/optuna_study.json")).unwrap();
    answers[study].clone()
}

fn read(study: &str) -> Imported {
    read_optuna(&file(&Scratch::new()), Some(study)).unwrap()
}

#[test]
fn the_space_is_what_the_trials_have_asked_for() {
    let space = read("single").records.spec.space;
    let option = |parent, option| Some(Condition::new(parent, [option]));
    let (scale, step) = (Scale::Linear, Some(0.2));
    let expected = [
        ("rate", Distribution::log_float(1e-5, 0.1), None),
        ("learner", Distribution::choice(["svm", "forest", "None"]), None),
        ("share", Distribution::Float { low: 0.1, high: 0.9, scale, step }, None),
        ("switch", Distribution::choice([true, false]), None),
        ("late", Distribution::int(1, 12), None),
        ("trees", Distribution::log_int(8, 512), option(1, 1)),
        ("kernel", Distribution::choice(["rbf", "poly"]), option(1, 0)),
        ("degree", Distribution::Int { low: 2, high: 6, scale, step: 2 }, option(6, 1)),
    ];
    for (name, distribution, condition) in &expected {
        let dimension = space.get(name).unwrap();
        let parent = |c: &Condition| (expected[c.parent()].0.to_owned(), c.options().to_vec());
        let found = dimension.condition.as_ref();
        let found =
            found.map(|c| (space.dimensions()[c.parent()].name.clone(), c.options().to_vec()));
        assert_eq!(dimension.distribution, *distribution, "{name}");
        assert_eq!(found, condition.as_ref().map(parent), "{name}");
    }
    assert_eq!(space.len(), expected.len());
}

#[test]
fn trials_are_as_optuna_reads_them() {
    for (study, trials) in [("single", 40), ("front", 6)] {
        let Imported { records, left_out } = read(study);
        let answers = answers(study);
        let expected: Vec<&Json> = answers["trials"].as_array().unwrap().iter().collect();
        let (ended, others): (Vec<&Json>, Vec<&Json>) = expected.iter().partition(|trial| {
            ["COMPLETE", "PRUNED", "FAIL"].contains(&trial["state"].as_str().unwrap())
        });
        assert_eq!((records.trials.len(), ended.len()), (trials, trials));
        for (record, expected) in records.trials.iter().zip(ended) {
            check(record, expected, &records.spec.constraints);
        }
        let numbers = others.iter().map(|trial| trial["number"].as_u64().unwrap());
        let unfinished: Vec<_> = numbers.map(|number| (number, LeftOut::Unfinished)).collect();
        assert_eq!(left_out, unfinished);
        assert_eq!(Json::from_iter(records.attributes), answers["attributes"]);
    }
}

fn check(record: &Record, expected: &Json, constraints: &[String]) {
    let (trial, number) = (&record.trial, &expected["number"]);
    let unsound = expected["values"] == Json::from(vec![Json::Null]);
    let state = match expected["state"].as_str().unwrap() {
        "COMPLETE" if !unsound => State::Complete,
        "PRUNED" => State::Pruned,
        _ => State::Failed,
    };
    assert_eq!(trial.state, state, "{number}");
    assert_eq!(trial.reason.is_some(), state == State::Failed, "{number}");
    let params = expected["params"].as_object().unwrap();
    assert_eq!(trial.values.len(), params.len(), "{number}");
    for (name, value) in trial.values.iter() {
        let none = *value == Value::from("None");
        let value = if none { Json::Null } else { serde_json::to_value(value).unwrap() };
        assert_eq!(value, params[name], "{number} {name}");
    }
    let steps = trial.steps.iter().map(|step| serde_json::json!([step.step, step.score()]));
    assert_eq!(Json::from_iter(steps), expected["steps"], "{number}");
    if state == State::Complete {
        assert_eq!(Json::from(trial.scores.clone()), expected["values"], "{number}");
        for (name, violation) in constraints.iter().zip(&trial.violations) {
            let expected = expected["constraints"].get(name).and_then(Json::as_f64);
            assert_eq!((!violation.is_nan()).then_some(*violation), expected, "{number} {name}");
        }
    }
    assert_eq!(record.started, expected["started"].as_u64(), "{number}");
    assert_eq!(record.ended, expected["ended"].as_u64(), "{number}");
    assert_eq!(Json::from_iter(record.attributes.clone()), expected["attributes"], "{number}");
}

#[test]
fn objectives_and_constraints_keep_their_names() {
    let single = read("single").records.spec;
    assert_eq!(single.objectives, [Objective::minimize("value")]);
    assert_eq!(single.constraints, ["0", "1"]);
    let front = read("front").records.spec;
    assert_eq!(front.objectives, [Objective::maximize("f1"), Objective::minimize("latency")]);
    assert_eq!(front.constraints, ["memory"]);
}

#[test]
fn a_search_goes_on_where_optuna_has_stopped() {
    let scratch = Scratch::new();
    let found = read("single").records;
    let path = scratch.path().join("study.db");
    let study = Study::open(&path, &found.spec).unwrap();
    study.import(found.trials.clone()).unwrap();
    let rate = |session: &luthier_study::Session<'_>| {
        let measured = session.values().float("rate").unwrap();
        Ok(luthier_study::Measured { violations: vec![0.0, 0.0], ..measured.into() })
    };
    let summary = study.run(&crate::run(45, 1), &rate, &|_| {}).unwrap();
    assert_eq!(summary.finished, 45);
    let records = Study::load(&path.as_path().into(), None).unwrap().trials;
    for (record, imported) in records.iter().zip(found.trials) {
        // Some numbers are NaN.
        assert_eq!(format!("{record:?}"), format!("{imported:?}"));
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let scratch = Scratch::new();
    let path = file(&scratch);
    let absent = |name| match read_optuna(&path, name) {
        Err(StudyError::Absent { known, .. }) => known,
        other => panic!("{other:?}"),
    };
    assert_eq!(absent(None), ["front", "single"]);
    assert_eq!(absent(Some("other")), ["front", "single"]);
    assert!(matches!(read_optuna(Path::new("/no/such.db"), None), Err(StudyError::Io { .. })));

    let change = |statement: &str| {
        let scratch = Scratch::new();
        let path = file(&scratch);
        rusqlite::Connection::open(&path).unwrap().execute_batch(statement).unwrap();
        read_optuna(&path, Some("single"))
    };
    for (statement, said) in [
        ("UPDATE alembic_version SET version_num = 'v2.6.0.a'", "optuna storage upgrade"),
        ("DROP TABLE trial_params", "no such table"),
        ("UPDATE trial_params SET distribution_json = '{}' WHERE param_id = 3", "parameter `share`"),
        (
            "UPDATE trial_params SET distribution_json = replace(distribution_json, 'true', 'false')
             WHERE param_id = 1",
            "parameter `rate` was asked for in two ways",
        ),
    ] {
        let error = change(statement).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    // A value that its parameter does not have.
    let found = change(
        "UPDATE trial_params SET param_value = 7 WHERE param_name = 'switch' AND
                        trial_id = 2",
    )
    .unwrap();
    assert!(matches!(found.left_out[0], (1, LeftOut::Values(_))), "{:?}", found.left_out);
    assert_eq!(found.records.trials.len(), 39);
}
