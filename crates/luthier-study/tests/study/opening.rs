//! What stands in the way of opening a study.

use std::fs;
use std::path::{Path, PathBuf};

use luthier_space::{Condition, Distribution, Space, Values};
use luthier_study::{Locator, Objective, Session, Study, StudyError, StudySpec};
use luthier_test::Scratch;
use luthier_tune::{PrunerSpec, Trial};

use crate::{objective, run, spec, trials_of};

/// A study with a few trials, closed.
fn finished(scratch: &Scratch) -> PathBuf {
    let path = scratch.path().join("study.db");
    let study = Study::open(&path, &spec()).unwrap();
    study.run(&run(6, 1), &objective, &|_| {}).unwrap();
    path
}

fn failure(path: &Path, spec: &StudySpec) -> StudyError {
    Study::open(path, spec).err().expect("an error")
}

fn constrained(space: &Space) -> Space {
    space.clone().subject_to("x < rate").unwrap()
}

#[test]
fn who_joins_a_study_changes_nothing_about_it() {
    let scratch = Scratch::new();
    let path = finished(&scratch);
    let locator = Locator::from(&path);
    let other_sampler = StudySpec { sampler: "random".into(), pruner: PrunerSpec::None, ..spec() };
    let study = Study::join(&locator, &other_sampler).unwrap();
    assert_eq!((study.spec(), study.trials().len()), (&spec(), 6));
    let error = Study::join(&locator, &StudySpec { seed: 8, ..spec() }).err().expect("an error");
    assert!(matches!(&error, StudyError::Changed(change) if change.what == "seed"), "{error}");
    let absent = scratch.path().join("absent.db");
    assert!(matches!(Study::join(&Locator::from(&absent), &spec()), Err(StudyError::Io { .. })));
    assert!(!absent.exists());

    // What others do is seen when asked for.
    Study::open(&path, &spec()).unwrap().run(&run(8, 1), &objective, &|_| {}).unwrap();
    assert_eq!(study.trials().len(), 6);
    study.refresh().unwrap();
    assert_eq!(study.trials().len(), 8);
}

#[test]
fn a_changed_setup_is_told_exactly() {
    let scratch = Scratch::new();
    let path = finished(&scratch);
    let alter = |change: fn(&mut StudySpec)| {
        let mut spec = spec();
        change(&mut spec);
        spec
    };
    let space = |kind: Distribution, depth: Distribution| {
        let x = ("x", Distribution::float(-1.0, 1.0));
        Space::of([x, ("rate", Distribution::log_float(1e-6, 1.0)), ("kind", kind)]).when(
            "kind",
            "b",
            Space::of([("depth", depth)]),
        )
    };
    let kinds = || Distribution::choice(["a", "b"]);
    let in_space = |space: Space| StudySpec { space, ..spec() };
    let cases = [
        (alter(|s| s.name = "other".into()), "name was test, is now other"),
        (
            alter(|s| s.objectives[0] = Objective::minimize("f1")),
            "objective was maximize f1, is now minimize f1",
        ),
        (alter(|s| s.constraints = vec!["ms".into()]), "constraint was none, is now ms"),
        (alter(|s| s.seed = 8), "seed was 7, is now 8"),
        (alter(|s| s.lag = None), "lag was 3, is now none"),
        (
            alter(|s| s.context = [("data".into(), "1f3c".into())].into()),
            "data was absent, is now 1f3c",
        ),
        (
            in_space(space(kinds(), Distribution::int(1, 10))),
            "parameter `depth` was an integer from 1 to 9, where `kind` is b, \
             is now an integer from 1 to 10, where `kind` is b",
        ),
        (
            in_space(space(Distribution::choice(["a", "b", "c"]), Distribution::int(1, 9))),
            "parameter `kind` was one of a, b, is now one of a, b, c",
        ),
        (
            in_space(Space::of([("x", Distribution::float(-1.0, 1.0))])),
            "parameter `rate` was a number from 0.000001 to 1 (log), is now absent",
        ),
        (
            alter(|s| s.space = constrained(&s.space)),
            "constraints between parameters was absent, is now x < rate",
        ),
    ];
    for (spec, expected) in cases {
        let StudyError::Changed(change) = failure(&path, &spec) else { panic!("{expected}") };
        assert_eq!(change.to_string(), expected);
    }
    // Nothing of this has touched the study.
    Study::open(&path, &spec()).unwrap();
}

/// The space of [`spec`] grown in every way there is.
fn grown() -> StudySpec {
    let space = Space::of([
        ("rate", Distribution::log_float(1e-7, 1.0)),
        ("kind", Distribution::choice(["c", "a", "b"])),
        ("x", Distribution::float(-1.0, 2.0)),
        ("momentum", Distribution::float(0.0, 1.0)),
    ]);
    let depth = Space::of([("depth", Distribution::int(0, 9))]);
    let space = space.when_one_of("kind", ["b", "c"], depth);
    let space = space.when("kind", "c", Space::of([("width", Distribution::int(1, 4))]));
    StudySpec { space, ..spec() }
}

#[test]
fn a_space_may_grow() {
    let scratch = Scratch::new();
    let path = finished(&scratch);
    let before = trials_of(&path);
    let added = [("momentum", 0.9)].into_iter().collect();
    let early = Study::open(&path, &spec()).unwrap();
    let study = Study::extend(&path, &grown(), &added).unwrap();
    for (old, new) in before.iter().zip(study.trials()) {
        assert_eq!(new.values.float("momentum"), Ok(0.9));
        assert!(old.values.iter().all(|(name, value)| new.values.get(name) == Some(value)));
        let values = old.values.clone();
        assert_eq!(Trial { values, ..new }, *old);
    }
    let flat = |session: &Session<'_>| Ok(session.values().float("momentum").unwrap().into());
    let summary = study.run(&run(40, 2), &flat, &|_| {}).unwrap();
    assert_eq!(summary.finished, 40);
    assert!(study.trials().iter().any(|trial| trial.values.int("width").is_ok()));
    let both = |values: &Values| values.int("depth").is_ok() && values.int("width").is_ok();
    assert!(study.trials().iter().any(|trial| both(&trial.values)));
    drop(study);
    // Once grown it is opened as any other, and what was added has been told.
    let again = Study::extend(&path, &grown(), &Values::default()).unwrap();
    assert_eq!(again.trials(), trials_of(&path));
    assert_eq!(Study::open(&path, &grown()).unwrap().trials().len(), 40);

    let error = early.run(&run(60, 1), &objective, &|_| {}).unwrap_err();
    assert!(matches!(error, StudyError::Changed(_)), "{error}");
}

#[test]
fn a_space_does_not_shrink() {
    let scratch = Scratch::new();
    let path = finished(&scratch);
    let before = trials_of(&path);
    type Alter = fn(&mut StudySpec);
    let cases: [(&str, Alter); 6] = [
        ("parameter `momentum` was absent, is now a number from 0 to 1", |_| {}),
        ("seed was 7, is now 8", |s| s.seed = 8),
        ("constraints between parameters was absent, is now x < rate", |s| {
            s.space = constrained(&s.space);
        }),
        ("parameter `rate` was a number from 0.000001 to 1 (log), is now absent", |s| {
            s.space = Space::of([("x", Distribution::float(-1.0, 1.0))]);
        }),
        ("parameter `x` was a number from -1 to 1, is now a number from -0.5 to 1", |s| {
            s.space = Space::of([("x", Distribution::float(-0.5, 1.0))]);
        }),
        (
            "parameter `depth` was an integer from 1 to 9, where `kind` is b, \
             is now an integer from 1 to 9, where `kind` is a",
            |s| {
                let mut dimensions = spec().space.dimensions().to_vec();
                dimensions[3].condition = Some(Condition::new(2, [0]));
                s.space = Space::new(dimensions);
            },
        ),
    ];
    for (expected, alter) in cases {
        let mut spec = grown();
        alter(&mut spec);
        let error = Study::extend(&path, &spec, &Values::default()).err().expect(expected);
        let StudyError::Changed(change) = error else { panic!("{error}") };
        assert_eq!(change.to_string(), expected);
    }
    let wrong = [("momentum", 7.0)].into_iter().collect();
    let error = Study::extend(&path, &grown(), &wrong).err();
    assert!(matches!(error, Some(StudyError::Values(_))), "{error:?}");
    assert_eq!(trials_of(&path), before);
    Study::open(&path, &spec()).unwrap();
}

#[test]
fn the_sampler_and_the_pruner_may_change() {
    let scratch = Scratch::new();
    let path = finished(&scratch);
    let before = trials_of(&path);
    let changed = StudySpec { sampler: "random".into(), pruner: PrunerSpec::None, ..spec() };
    let study = Study::open(&path, &changed).unwrap();
    study.run(&run(9, 1), &objective, &|_| {}).unwrap();
    let records = Study::load(&path.as_path().into(), None).unwrap();
    assert_eq!((&records.spec, records.trials.len()), (&changed, 9));
    let trials = records.into_trials();
    assert_eq!(trials[..6], before);
}

#[test]
fn names_and_distributions_are_checked_before_anything_is_written() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let wrong = StudySpec { sampler: "tpee".into(), ..spec() };
    assert!(
        matches!(failure(&path, &wrong), StudyError::UnknownName(e) if e.nearest == Some("tpe"))
    );
    let space = Space::of([("x", Distribution::float(1.0, 0.0))]);
    let error = failure(&path, &StudySpec { space, ..spec() });
    assert!(matches!(error, StudyError::Space { parameter, .. } if parameter == "x"));
    assert!(!path.exists());
}

#[test]
fn a_study_is_open_to_many() {
    let scratch = Scratch::new();
    let path = finished(&scratch);
    let one = Study::open(&path, &spec()).unwrap();
    let two = Study::open(&path, &spec()).unwrap();
    two.run(&run(9, 1), &objective, &|_| {}).unwrap();
    let summary = one.run(&run(9, 1), &objective, &|_| {}).unwrap();
    assert_eq!((summary.finished, one.trials()), (9, two.trials()));
    let third = Study::existing(&path.as_path().into(), None).unwrap();
    assert_eq!((third.spec(), third.trials()), (&spec(), two.trials()));
}

#[test]
fn damage_is_noticed() {
    let scratch = Scratch::new();
    let check = |name: &str, path: PathBuf| {
        let open = failure(&path, &spec());
        assert!(matches!(open, StudyError::Corrupt { .. }), "{name}: {open}");
        let load = Study::load(&path.as_path().into(), None).unwrap_err();
        assert!(matches!(load, StudyError::Corrupt { .. }), "{name}: {load}");
    };
    check("text", scratch.write("text.db", "not a database, but some text of a decent length"));

    let sound = fs::read(finished(&scratch)).unwrap();
    assert!(sound.len() > 3 * 4096);
    check("cut", scratch.write("cut.db", &sound[..4096 + 100]));
    let mut pages = sound.clone();
    pages[4096..].fill(0xa5);
    check("overwritten", scratch.write("overwritten.db", pages));

    let edits = [
        ("values", "UPDATE trials SET trial_values = '{\"x\": 5.0}' WHERE number = 2"),
        ("json", "UPDATE trials SET trial_values = '{' WHERE number = 2"),
        ("state", "UPDATE trials SET state = 'odd' WHERE number = 2"),
        ("score", "UPDATE trials SET state = 'complete', scores = NULL WHERE number = 2"),
        ("number", "DELETE FROM trials WHERE number = 2"),
        ("negative", "UPDATE trials SET number = -1 WHERE number = 2"),
        ("spec", "UPDATE studies SET spec = '{}'"),
        ("parent", "UPDATE studies SET spec = json_set(spec, '$.space[3].condition.parent', 9)"),
        ("step", "UPDATE studies SET spec = json_set(spec, '$.space[3].distribution.step', 0)"),
        ("study", "DELETE FROM studies"),
        ("table", "DROP TABLE steps"),
        ("format", "PRAGMA user_version = 0"),
    ];
    for (name, edit) in edits {
        let path = scratch.write(&format!("{name}.db"), &sound);
        rusqlite::Connection::open(&path).unwrap().execute_batch(edit).unwrap();
        check(name, path);
    }
}

#[test]
fn a_file_of_another_program_is_left_alone() {
    let scratch = Scratch::new();
    let path = finished(&scratch);
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "application_id", 1).unwrap();
    for error in [failure(&path, &spec()), Study::load(&path.as_path().into(), None).unwrap_err()] {
        assert!(matches!(error, StudyError::Foreign { .. }), "{error}");
    }
}

#[test]
fn a_newer_format_is_left_alone() {
    let scratch = Scratch::new();
    let path = finished(&scratch);
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
    let error = failure(&path, &spec());
    assert!(matches!(error, StudyError::Newer { format: 9, known: 3, .. }), "{error}");
}

#[test]
fn a_missing_file_or_folder_is_said() {
    let scratch = Scratch::new();
    let nowhere = scratch.path().join("none").join("study.db");
    for error in
        [failure(&nowhere, &spec()), Study::load(&nowhere.as_path().into(), None).unwrap_err()]
    {
        let StudyError::Io { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    }
}

#[test]
fn an_empty_file_becomes_a_study() {
    // A process killed at the very start leaves one.
    let scratch = Scratch::new();
    let path = scratch.write("study.db", "");
    Study::open(&path, &spec()).unwrap();
    assert_eq!(trials_of(&path), []);
}
