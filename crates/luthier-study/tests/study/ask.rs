//! Trials that are asked and told.

use std::path::Path;
use std::time::{Duration, Instant};

use luthier_space::{Distribution, Space};
use luthier_study::{AskError, AskTell, Asked, Asking, Failure, Lease, Measured, Study, StudySpec};
use luthier_test::Scratch;
use luthier_tune::{Halving, PrunerSpec, State, Step, Threshold, Trial};

use crate::{objective, quality, run, spec, timeless, trials_of};

const BRIEF: Duration = Duration::from_millis(40);

fn desk(path: &Path, spec: &StudySpec, asking: Asking) -> AskTell {
    AskTell::new(Study::open(path, spec).unwrap(), asking).unwrap()
}

fn any() -> StudySpec {
    StudySpec { lag: None, pruner: PrunerSpec::None, ..spec() }
}

#[track_caller]
fn lease(asked: &Asked) -> Lease {
    match asked {
        Asked::Trial { lease, .. } => *lease,
        other => panic!("{other:?}"),
    }
}

/// Asks until a trial is there again, as its client has been silent for too long.
fn ask_until_free(desk: &AskTell, number: u64) -> Asked {
    let begun = Instant::now();
    loop {
        let asked = desk.ask().unwrap();
        if lease(&asked).number == number {
            return asked;
        }
        desk.tell(lease(&asked), Ok(0.0.into())).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(BRIEF / 4);
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, AskError>) -> AskError {
    answer.unwrap_err()
}

/// The trials of a client that does what the objective of a run does.
fn asked(path: &Path, spec: &StudySpec, trials: u64) -> Vec<Trial> {
    let desk = desk(path, spec, Asking { trials: Some(trials), ..Asking::default() });
    loop {
        let (lease, values, seed) = match desk.ask().unwrap() {
            Asked::Trial { lease, values, seed, .. } => (lease, values, seed),
            Asked::Enough => return trials_of(path),
            other => panic!("{other:?}"),
        };
        let score = quality(&values);
        let on = (1..=4).all(|step| {
            desk.report(lease, step, vec![score * step as f64 / 4.0]).unwrap().is_continue()
        });
        let end = match on {
            false => Err(Failure::Pruned),
            true if seed.is_multiple_of(6) => {
                Err(Failure::Error(format!("no luck with {}", lease.number)))
            }
            true => Ok(score.into()),
        };
        desk.tell(lease, end).unwrap();
    }
}

#[test]
fn a_client_gets_the_trials_of_a_run() {
    for lag in [None, Some(0)] {
        let scratch = Scratch::new();
        let spec = StudySpec { lag, ..spec() };
        let (one, other) = (scratch.path().join("run.db"), scratch.path().join("ask.db"));
        Study::open(&one, &spec).unwrap().run(&run(30, 1), &objective, &|_| {}).unwrap();
        assert_eq!(timeless(&asked(&other, &spec, 30)), timeless(&trials_of(&one)));
        let states = trials_of(&other);
        assert!(states.iter().any(|trial| trial.state == State::Pruned));
        assert!(states.iter().all(|trial| trial.seconds.is_some()));
    }
}

#[test]
fn saying_it_twice_is_no_error_and_saying_something_else_is() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let desk = desk(&path, &any(), Asking::default());
    let at = lease(&desk.ask().unwrap());
    assert!(desk.report(at, 1, vec![0.5]).unwrap().is_continue());
    assert!(desk.report(at, 1, vec![0.5]).unwrap().is_continue());
    let bad = |score: f64| refused(desk.report(at, 2, vec![score])).to_string();
    assert_eq!(bad(f64::NAN), "a score is NaN");
    let fault = refused(desk.tell(at, Ok(vec![1.0, 2.0].into()))).to_string();
    assert_eq!(fault, "2 scores for 1 objectives");
    let told = desk.tell(at, Ok(0.75.into())).unwrap();
    assert_eq!((told.state, told.scores.as_slice()), (State::Complete, [0.75].as_slice()));
    assert_eq!(desk.tell(at, Ok(0.75.into())).unwrap(), told);
    for end in [Ok(Measured::from(0.7)), Err(Failure::Pruned), Err(Failure::Error("x".into()))] {
        assert!(matches!(refused(desk.tell(at, end)), AskError::Over { number: 0 }));
    }
    assert!(matches!(refused(desk.report(at, 2, vec![0.5])), AskError::Over { .. }));
    assert!(matches!(refused(desk.keep_alive(at)), AskError::Over { .. }));
    let none = Lease { number: 9, attempt: 1 };
    assert!(matches!(refused(desk.keep_alive(none)), AskError::Unknown { number: 9 }));
    let early = Lease { number: 0, attempt: 0 };
    assert!(matches!(refused(desk.tell(early, Ok(0.75.into()))), AskError::Lost { number: 0 }));
    assert_eq!(trials_of(&path)[0], told);
}

#[test]
fn who_is_silent_loses_the_trial_and_may_come_back_until_another_has_it() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let desk = desk(&path, &any(), Asking { silence: BRIEF, ..Asking::default() });
    let first = desk.ask().unwrap();
    let at = lease(&first);
    // Whoever says something now and then keeps it.
    for _ in 0..6 {
        std::thread::sleep(BRIEF / 3);
        desk.keep_alive(at).unwrap();
    }
    let again = ask_until_free(&desk, at.number);
    let (Asked::Trial { values, .. }, Asked::Trial { values: same, lease: new, .. }) =
        (&first, &again)
    else {
        panic!("{first:?}, {again:?}")
    };
    assert_eq!((values, new.attempt), (same, 2));
    assert!(matches!(refused(desk.tell(at, Ok(1.0.into()))), AskError::Lost { .. }));
    // The second falls silent too, and comes back in time.
    let _ = desk.report(*new, 1, vec![0.25]).unwrap();
    std::thread::sleep(BRIEF * 4);
    let _ = desk.report(*new, 2, vec![0.5]).unwrap();
    let told = desk.tell(*new, Ok(1.0.into())).unwrap();
    assert_eq!(told.steps, [(1, 0.25), (2, 0.5)].map(Step::from));
    assert_eq!(trials_of(&path)[0].score(), Some(1.0));
}

#[test]
fn a_trial_that_silences_every_client_fails() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let one = StudySpec { space: Space::of([("n", Distribution::int(1, 1))]), ..any() };
    let desk = desk(&path, &one, Asking { silence: BRIEF, ..Asking::default() });
    let begun = Instant::now();
    let mut asked = 0;
    while begun.elapsed() < Duration::from_secs(20) {
        match desk.ask().unwrap() {
            Asked::Trial { .. } => asked += 1,
            Asked::Later => std::thread::sleep(BRIEF / 4),
            Asked::Exhausted => break,
            Asked::Enough => panic!("no number was given"),
        }
    }
    let trial = trials_of(&path).remove(0);
    assert_eq!((asked, trial.state), (4, State::Failed));
    assert_eq!(trial.reason.as_deref(), Some("nothing was heard of it for 0.04 s"));
}

#[test]
fn clients_outlive_the_process_that_gave_them_their_trials() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let before = desk(&path, &any(), Asking::default());
    let (at, other) = (lease(&before.ask().unwrap()), lease(&before.ask().unwrap()));
    let _ = before.report(at, 1, vec![0.5]).unwrap();
    drop(before);
    let after = desk(&path, &any(), Asking::default());
    let _ = after.report(at, 2, vec![0.75]).unwrap();
    // The first to come gets what nobody evaluates, and the earlier client is too late.
    assert_eq!(lease(&after.ask().unwrap()), Lease { attempt: 2, ..other });
    assert!(matches!(refused(after.keep_alive(other)), AskError::Lost { .. }));
    let told = after.tell(at, Ok(1.0.into())).unwrap();
    assert_eq!((told.steps.len(), told.seconds), (2, None));
}

#[test]
fn pruners_judge_what_is_reported() {
    let scratch = Scratch::new();
    let lower = PrunerSpec::Threshold(Threshold { lower: Some(0.5), ..Threshold::default() });
    let desk_of = |name: &str, pruner: PrunerSpec| {
        desk(&scratch.path().join(name), &StudySpec { pruner, ..any() }, Asking::default())
    };
    let desk = desk_of("threshold.db", lower);
    let at = lease(&desk.ask().unwrap());
    assert!(desk.report(at, 1, vec![0.75]).unwrap().is_continue());
    assert!(desk.report(at, 2, vec![0.25]).unwrap().is_break());
    assert!(desk.report(at, 2, vec![0.25]).unwrap().is_break(), "a report that is said again");
    assert_eq!(desk.tell(at, Err(Failure::Pruned)).unwrap().state, State::Pruned);

    let halving = Halving { min_resource: Some(1), promote: true, ..Halving::default() };
    let desk = desk_of("halving.db", PrunerSpec::Halving(halving));
    // Of six at a rung two pass it: the first, and the one after it once there are so many.
    let at = lease(&desk.ask().unwrap());
    assert!(desk.report(at, 1, vec![1.0]).unwrap().is_continue());
    desk.tell(at, Ok(1.0.into())).unwrap();
    for score in [0.5, 0.4, 0.3, 0.2, 0.1] {
        let at = lease(&desk.ask().unwrap());
        assert!(desk.report(at, 1, vec![score]).unwrap().is_break());
        for _ in 0..2 {
            assert_eq!(desk.tell(at, Err(Failure::Pruned)).unwrap().state, State::Paused);
        }
    }
    let Asked::Trial { lease, steps, .. } = desk.ask().unwrap() else { panic!("none is promoted") };
    assert_eq!(lease, Lease { number: 1, attempt: 2 });
    assert_eq!(steps, [(1, 0.5).into()]);
}

#[test]
fn what_there_is_to_do_comes_to_an_end() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let two = StudySpec { space: Space::of([("n", Distribution::int(1, 2))]), ..any() };
    let bounded = desk(&path, &two, Asking { trials: Some(1), ..Asking::default() });
    let at = lease(&bounded.ask().unwrap());
    assert_eq!(bounded.ask().unwrap(), Asked::Later, "the one that runs may come back");
    bounded.tell(at, Ok(1.0.into())).unwrap();
    assert_eq!(bounded.ask().unwrap(), Asked::Enough);
    drop(bounded);
    let free = desk(&path, &two, Asking::default());
    let at = lease(&free.ask().unwrap());
    free.tell(at, Ok(1.0.into())).unwrap();
    assert_eq!(free.ask().unwrap(), Asked::Exhausted);
}
