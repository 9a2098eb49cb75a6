//! How one evaluation can end.

use luthier_study::{
    Failure, MAX_FAILURES_IN_A_ROW, Measured, Objective, Session, Study, StudyError, StudySpec,
};
use luthier_test::Scratch;
use luthier_tune::{PrunerSpec, State, Step, Trial};

use crate::{run, spec, trials_of};

/// Runs one trial in an asynchronous study without a pruner and returns it as it is on disk.
fn outcome(evaluate: impl Fn(&Session<'_>) -> Result<Measured, Failure> + Sync) -> Trial {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let spec = StudySpec { pruner: PrunerSpec::None, lag: None, ..spec() };
    let study = Study::open(&path, &spec).unwrap();
    study.run(&run(1, 1), &evaluate, &|_| {}).unwrap();
    assert_eq!(study.trials(), trials_of(&path));
    trials_of(&path).remove(0)
}

#[track_caller]
fn check(trial: &Trial, state: State, score: Option<f64>, reason: Option<&str>) {
    let expected = (state, score, reason, true);
    let seconds = trial.seconds.is_some();
    assert_eq!((trial.state, trial.score(), trial.reason.as_deref(), seconds), expected);
}

#[test]
fn scores_and_failures_are_recorded() {
    let bad = || Err(Failure::Error("the data is gone".into()));
    check(&outcome(|_| Ok((0.1 + 0.2).into())), State::Complete, Some(0.1 + 0.2), None);
    check(&outcome(|_| bad()), State::Failed, None, Some("the data is gone"));
    check(&outcome(|_| Err(Failure::Pruned)), State::Pruned, None, None);
    check(&outcome(|_| Ok(f64::NAN.into())), State::Failed, None, Some("the score is NaN"));
    check(&outcome(|_| Ok(f64::INFINITY.into())), State::Failed, None, Some("the score is inf"));
    let panicked = Some("the evaluation panicked: index 3");
    check(&outcome(|_| panic!("index {}", 3)), State::Failed, None, panicked);
}

#[test]
fn steps_ascend_and_are_finite() {
    let trial = outcome(|session| {
        for (step, score) in [(1, 0.5), (3, 0.25), (3, 9.0), (2, 9.0), (u64::MAX, 0.1)] {
            assert!(session.report(step, score).is_continue());
        }
        Ok(1.0.into())
    });
    assert_eq!(trial.steps, [(1, 0.5), (3, 0.25), (i64::MAX as u64, 0.1)].map(Step::from));

    let trial = outcome(|session| {
        assert!(session.report(1, 0.5).is_continue());
        assert!(session.report(2, f64::NAN).is_break());
        assert!(session.report(3, 0.5).is_break());
        Err(Failure::Pruned)
    });
    check(&trial, State::Failed, None, Some("the score at step 2 is NaN"));
}

#[test]
fn every_bit_of_values_and_scores_survives_the_file() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let spec = StudySpec { sampler: "random".into(), lag: None, ..spec() };
    let study = Study::open(&path, &spec).unwrap();
    let score = |session: &Session<'_>| Ok((session.values().float("rate").unwrap() / 3.0).into());
    study.run(&run(400, 1), &score, &|_| {}).unwrap();
    let before = study.trials();
    drop(study);
    assert_eq!(Study::open(&path, &spec).unwrap().trials(), before);
    let records = Study::load(&path.as_path().into(), None).unwrap();
    assert_eq!((&records.spec, records.trials.len()), (&spec, 400));
    assert_eq!(records.into_trials(), before);
}

#[test]
fn a_run_of_failures_ends_with_the_last_reason() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let study = Study::open(&path, &spec()).unwrap();
    let fails = |session: &Session<'_>| match session.number() {
        3 => Ok(1.0.into()),
        number => Err(Failure::Error(format!("reason {number}"))),
    };
    let error = study.run(&run(100, 1), &fails, &|_| {}).unwrap_err();
    let StudyError::Failures { in_a_row, reason } = error else { panic!("{error}") };
    assert_eq!((in_a_row, reason.as_str()), (MAX_FAILURES_IN_A_ROW, "reason 13"));
    assert_eq!(trials_of(&path).len(), 14);
    // Once the cause is gone the study goes on.
    let summary = study.run(&run(20, 2), &|_| Ok(0.0.into()), &|_| {}).unwrap();
    assert_eq!((summary.finished, summary.failed, summary.complete), (20, 13, 7));
}

#[test]
fn several_scores_and_measurements_are_recorded_as_they_are() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let objectives = vec![Objective::maximize("f1"), Objective::minimize("ms")];
    let constraints = vec!["size_mb".to_owned()];
    let spec = StudySpec { objectives, constraints, lag: None, ..spec() };
    let study = Study::open(&path, &spec).unwrap();
    let measured = |session: &Session<'_>| {
        let number = session.number() as f64;
        let _ = session.report_all(1, vec![0.5, f64::NAN]);
        let violations = if session.number() == 3 { vec![] } else { vec![number - 1.0] };
        Ok(Measured { violations, ..vec![number, number].into() })
    };
    study.run(&run(4, 1), &measured, &|_| {}).unwrap();
    let trials = trials_of(&path);
    assert_eq!(trials[2].scores, [2.0, 2.0]);
    assert_eq!((&trials[2].violations[..], trials[2].violation()), (&[1.0][..], 1.0));
    assert!(trials[2].steps[0].scores[1].is_nan());
    assert_eq!(trials[3].reason.as_deref(), Some("0 measurements for 1 constraints"));
    let front = luthier_tune::front(&trials, &spec.directions());
    assert_eq!(front.iter().map(|trial| trial.number).collect::<Vec<_>>(), [0, 1]);
}
