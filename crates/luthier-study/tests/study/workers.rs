//! What many workers share, and that they change nothing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use luthier_space::{Distribution, Value, Values};
use luthier_study::{Event, Failure, Measured, Run, Session, Study, StudySpec};
use luthier_test::Scratch;
use luthier_tune::{Halving, PrunerSpec, State, Trial};

use crate::{objective, run, spec, timeless, trials_of};

#[test]
fn with_a_lag_the_trials_are_the_same_for_any_number_of_workers() {
    for sampler in ["tpe", "random", "grid"] {
        for pruner in ["median", "halving"] {
            let spec = StudySpec {
                sampler: sampler.into(),
                pruner: PrunerSpec::from_name(pruner).unwrap(),
                ..spec()
            };
            let trials = [1, 2, 4].map(|workers| trials(&spec, workers));
            assert_eq!(trials[0].len(), 30);
            assert!(trials[0].iter().any(|trial| trial.state == State::Pruned));
            assert!(trials[0].iter().any(|trial| trial.state == State::Failed));
            assert_eq!(trials[0], trials[1], "{sampler} {pruner}");
            assert_eq!(trials[0], trials[2], "{sampler} {pruner}");
        }
    }
}

/// The trials of a study whose evaluations take times that have nothing to do with their numbers.
fn trials(spec: &StudySpec, workers: usize) -> Vec<Trial> {
    let scratch = Scratch::new();
    let study = Study::open(&scratch.path().join("study.db"), spec).unwrap();
    let slow = |session: &Session<'_>| {
        std::thread::sleep(Duration::from_micros(session.seed() % 3000));
        objective(session)
    };
    study.run(&run(30, workers), &slow, &|_| {}).unwrap();
    timeless(&study.trials())
}

#[test]
fn as_many_workers_as_the_lag_allows_are_busy_at_once() {
    for (lag, workers, expected) in [(Some(2), 8, 3), (Some(0), 8, 1), (None, 4, 4)] {
        let scratch = Scratch::new();
        let spec = StudySpec { lag, sampler: "random".into(), ..spec() };
        let study = Study::open(&scratch.path().join("study.db"), &spec).unwrap();
        let (busy, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let count = |_: &Session<'_>| {
            most.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(30));
            busy.fetch_sub(1, Ordering::SeqCst);
            Ok(0.0.into())
        };
        study.run(&run(12, workers), &count, &|_| {}).unwrap();
        assert_eq!(most.into_inner(), expected, "lag {lag:?}");
    }
}

#[test]
fn the_space_runs_out_once() {
    let space = luthier_space::Space::of([("n", luthier_space::Distribution::int(1, 7))]);
    for lag in [None, Some(3)] {
        let scratch = Scratch::new();
        let spec = StudySpec { lag, space: space.clone(), ..spec() };
        let study = Study::open(&scratch.path().join("study.db"), &spec).unwrap();
        let summary = study
            .run(&run(50, 4), &|s| Ok(s.values().float("n").unwrap().into()), &|_| {})
            .unwrap();
        assert_eq!((summary.finished, summary.exhausted, summary.stopped), (7, true, false));
        let best = summary.best.unwrap();
        assert_eq!((best.score(), best.values.int("n")), (Some(7.0), Ok(7)));
    }
}

#[test]
fn what_is_interrupted_is_put_back_and_comes_first_the_next_time() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let stop = AtomicBool::new(false);
    let started: Mutex<Vec<u64>> = Mutex::default();
    let stops = |session: &Session<'_>| {
        if session.number() == 7 {
            stop.store(true, Ordering::SeqCst);
        }
        objective(session)
    };
    let note = |event: Event| {
        if let Event::Started { number, .. } = event {
            started.lock().unwrap().push(number);
        }
    };
    let study = Study::open(&path, &spec()).unwrap();
    let summary = study.run(&Run { stop: &stop, ..run(12, 1) }, &stops, &note).unwrap();
    assert_eq!((summary.finished, summary.stopped), (7, true));
    let interrupted = study.trials();
    assert_eq!((interrupted.len(), interrupted[7].state), (8, State::Running));
    drop(study);
    assert_eq!(trials_of(&path), interrupted);

    started.lock().unwrap().clear();
    let study = Study::open(&path, &spec()).unwrap();
    let summary = study.run(&run(12, 1), &objective, &note).unwrap();
    assert_eq!((summary.finished, summary.stopped), (12, false));
    assert_eq!(*started.lock().unwrap(), [7, 8, 9, 10, 11]);
    assert_eq!(study.trials()[7].values, interrupted[7].values);

    let whole = Study::open(&scratch.path().join("whole.db"), &spec()).unwrap();
    whole.run(&run(12, 1), &objective, &|_| {}).unwrap();
    assert_eq!(timeless(&study.trials()), timeless(&whole.trials()));
}

#[test]
fn a_deadline_interrupts_too() {
    let scratch = Scratch::new();
    let study = Study::open(&scratch.path().join("study.db"), &spec()).unwrap();
    let endless = |session: &Session<'_>| {
        for step in 1.. {
            std::thread::sleep(Duration::from_millis(1));
            if session.report(step, 1.0).is_break() {
                break;
            }
        }
        Err(Failure::Pruned)
    };
    let deadline = Some(Instant::now() + Duration::from_millis(60));
    let summary = study.run(&Run { deadline, ..run(9, 2) }, &endless, &|_| {}).unwrap();
    assert_eq!((summary.finished, summary.stopped), (0, true));
    assert!(study.trials().iter().all(|t| t.state == State::Running && t.steps.is_empty()));
}

#[test]
fn what_reports_nothing_is_interrupted_when_it_asks() {
    let scratch = Scratch::new();
    let study = Study::open(&scratch.path().join("study.db"), &spec()).unwrap();
    let waits = |session: &Session<'_>| {
        while session.check().is_continue() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(Failure::Error("ended from outside".into()))
    };
    let deadline = Some(Instant::now() + Duration::from_millis(30));
    let summary = study.run(&Run { deadline, ..run(9, 2) }, &waits, &|_| {}).unwrap();
    assert_eq!((summary.finished, summary.stopped), (0, true));
    assert!(study.trials().iter().all(|trial| trial.state == State::Running));
}

#[test]
fn events_of_a_trial_come_in_order_and_the_best_only_improves() {
    let scratch = Scratch::new();
    let study = Study::open(&scratch.path().join("study.db"), &spec()).unwrap();
    let events: Mutex<Vec<Event>> = Mutex::default();
    let note = |event| events.lock().unwrap().push(event);
    let summary = study.run(&run(20, 1), &objective, &note).unwrap();
    let events = events.into_inner().unwrap();
    let mut best = None;
    for trial in study.trials() {
        let own: Vec<&Event> =
            events.iter().filter(|event| number(event) == trial.number).collect();
        assert!(matches!(own[0], Event::Started { values, .. } if *values == trial.values));
        let steps = own[1..own.len() - 1].iter().map(|event| match event {
            Event::Step { step, .. } => step.clone(),
            other => panic!("{other:?}"),
        });
        assert_eq!(steps.collect::<Vec<_>>(), trial.steps);
        let Event::Finished { trial: finished, best: now, finished: count } = own[own.len() - 1]
        else {
            panic!("the last event of trial {}", trial.number)
        };
        assert_eq!((finished, *count), (&trial, trial.number + 1));
        assert!(now.map(|(_, score)| score) >= best, "{now:?} after {best:?}");
        best = now.map(|(_, score)| score);
    }
    assert_eq!(summary.best.and_then(|trial| trial.score()), best);
}

fn number(event: &Event) -> u64 {
    match event {
        Event::Started { number, .. } | Event::Step { number, .. } => *number,
        Event::Finished { trial, .. } => trial.number,
    }
}

#[test]
fn a_panic_of_the_listener_ends_the_run_and_hangs_nobody() {
    let scratch = Scratch::new();
    let study = Study::open(&scratch.path().join("study.db"), &spec()).unwrap();
    let note = |event: Event| {
        assert!(!matches!(event, Event::Started { number: 2, .. }), "enough");
    };
    let run = || study.run(&run(30, 3), &objective, &note);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
}

#[test]
fn given_configurations_come_first_where_they_fit() {
    let scratch = Scratch::new();
    let spec = spec();
    let lowest = spec.space.pick(|_, dimension| match &dimension.distribution {
        Distribution::Float { low, .. } => Value::Float(*low),
        Distribution::Int { low, .. } => Value::Int(*low),
        other => other.options()[0].clone(),
    });
    let first = [lowest.clone(), Values::default(), lowest.clone()];
    let study = Study::open(&scratch.path().join("study.db"), &spec).unwrap();
    study.run(&Run { first: &first, ..run(5, 1) }, &objective, &|_| {}).unwrap();
    let values: Vec<Values> = study.trials().into_iter().map(|trial| trial.values).collect();
    assert_eq!((&values[0], &values[2]), (&lowest, &lowest));
    assert_ne!(values[1], lowest, "what does not fit is left to the sampler");
    assert!(values.iter().all(|values| spec.space.check(values).is_ok()));
}

#[test]
fn what_was_paused_goes_on_from_where_it_stood() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let pruner =
        PrunerSpec::Halving(Halving { min_resource: Some(1), promote: true, ..Halving::default() });
    let spec = StudySpec { pruner, lag: None, sampler: "random".into(), ..spec() };
    let study = Study::open(&path, &spec).unwrap();
    let resumed = AtomicUsize::new(0);
    let climbs = |session: &Session<'_>| {
        let first = session.earlier_steps().last().map_or(1, |last| last.step + 1);
        resumed.fetch_add(usize::from(first > 1), Ordering::SeqCst);
        for step in first..=8 {
            // Later trials are worse, so that earlier ones come to the top after their pause.
            if session.report(step, -(session.number() as f64)).is_break() {
                return Err(Failure::Pruned);
            }
        }
        Ok((-(session.number() as f64)).into())
    };
    study.run(&run(27, 2), &climbs, &|_| {}).unwrap();
    let records = Study::load(&path.as_path().into(), None).unwrap().trials;
    let paused = records.iter().filter(|record| record.trial.state == State::Paused).count();
    assert!(paused > 9, "{paused}");
    assert!(resumed.into_inner() > 1);
    for record in &records {
        let steps: Vec<u64> = record.trial.steps.iter().map(|step| step.step).collect();
        assert_eq!(steps, (1..=steps.len() as u64).collect::<Vec<_>>());
        assert_eq!(record.trial.state == State::Complete, steps.len() == 8);
    }
    let again = |record: &&luthier_study::Record| record.attempts > 1 && record.trial.number > 0;
    assert!(records.iter().any(|record| again(&record) && record.trial.state == State::Complete));
    // The same study with a lag stops what it would have paused.
    let spec = StudySpec { lag: Some(3), ..spec };
    let study = Study::open(&scratch.path().join("lag.db"), &spec).unwrap();
    let summary = study.run(&run(27, 2), &climbs_anew, &|_| {}).unwrap();
    assert_eq!((summary.finished, summary.pruned > 9), (27, true));
}

fn climbs_anew(session: &Session<'_>) -> Result<Measured, Failure> {
    let score = -(session.number() as f64);
    match (1..=8).any(|step| session.report(step, score).is_break()) {
        true => Err(Failure::Pruned),
        false => Ok(score.into()),
    }
}

#[test]
fn trials_that_are_over_can_be_evaluated_once_more() {
    let folder = Scratch::new();
    let path = folder.path().join("study.db");
    let study = Study::open(path.as_path(), &spec()).unwrap();
    let seeds = Mutex::new(Vec::new());
    let objective = |session: &Session<'_>| {
        seeds.lock().unwrap().push((session.number(), session.seed(), session.is_again()));
        let _ = session.report(1, 0.5);
        match (session.is_again(), session.number()) {
            (true, 2) => Err(Failure::Error("not again".to_owned())),
            (true, 3) => panic!("at all"),
            (_, number) => Ok(Measured::from(number as f64)),
        }
    };
    study.run(&run(6, 2), &objective, &|_| {}).unwrap();
    let before = study.trials();
    assert!(study.again().unwrap().is_empty());
    study.evaluate_again(&before[1..5], &run(6, 2), &objective).unwrap();
    assert_eq!(study.trials(), before);
    let again = study.again().unwrap();
    assert_eq!(again.keys().copied().collect::<Vec<_>>(), [1, 4]);
    assert_eq!(again[&4], Measured::from(4.0));
    assert_eq!(Study::open(path.as_path(), &spec()).unwrap().again().unwrap(), again);
    static STOPPED: AtomicBool = AtomicBool::new(true);
    let stopped = Run { stop: &STOPPED, ..run(6, 2) };
    study.evaluate_again(&before[..1], &stopped, &objective).unwrap();
    assert_eq!(study.again().unwrap().len(), 2);
    let seeds = seeds.lock().unwrap();
    let distinct: std::collections::HashSet<u64> = seeds.iter().map(|(_, seed, _)| *seed).collect();
    assert_eq!((seeds.len(), distinct.len()), (10, 10));
}

#[test]
fn trials_that_run_are_seen_from_everywhere() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let spec = StudySpec { lag: None, ..spec() };
    let study = Study::open(&path, &spec).unwrap();
    let watcher = Study::existing(&path.as_path().into(), None).unwrap();
    let seen = Mutex::new(Vec::new());
    study
        .run(
            &run(3, 1),
            &|session| {
                let _ = session.report(4, 0.5);
                watcher.refresh().unwrap();
                seen.lock().unwrap().push((study.overview(), watcher.overview()));
                Ok(0.5.into())
            },
            &|_| {},
        )
        .unwrap();
    for (number, (own, other)) in (0..).zip(seen.into_inner().unwrap()) {
        assert_eq!((own.finished(), own.complete, own.running.len()), (number, number, 1));
        let running = &own.running[0];
        assert_eq!(
            (running.number, running.last.as_ref().map(|step| step.step)),
            (number, Some(4))
        );
        assert!(running.elapsed.unwrap().as_secs() < 60);
        assert_eq!((&own.best, own.best.is_some()), (&other.best, number > 0));
        assert_eq!(
            (&running.values, &running.last),
            (&other.running[0].values, &other.running[0].last)
        );
    }
    assert!(study.overview().running.is_empty());
}
