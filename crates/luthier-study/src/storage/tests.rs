use luthier_space::{Distribution, Space};
use luthier_test::Scratch;

use super::*;
use crate::Objective;

fn spec() -> StudySpec {
    StudySpec {
        name: "test".into(),
        space: Space::of([("x", Distribution::float(0.0, 1.0))]),
        objectives: vec![Objective::minimize("loss")],
        constraints: Vec::new(),
        seed: u64::MAX,
        sampler: "random".into(),
        pruner: "none".into(),
        lag: None,
    }
}

fn trial(number: u64) -> Trial {
    Trial::running(number, [("x", 0.5)].into_iter().collect())
}

#[test]
fn a_full_disk_is_told_and_harms_nothing() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let (storage, _) = Storage::open(&path, &spec()).unwrap();
    let pages = storage.pragma("page_count").unwrap();
    storage
        .guard(|c| c.query_row(&format!("PRAGMA max_page_count = {}", pages + 2), [], |_| Ok(())))
        .unwrap();
    storage.add(&trial(0), "random").unwrap();
    let long = Trial {
        state: State::Failed,
        reason: Some("x".repeat(100_000)),
        steps: vec![(1, 0.5).into()],
        ..trial(0)
    };
    let error = storage.finish(&long, "none").unwrap_err();
    assert!(matches!(error, StudyError::DiskFull { .. }), "{error}");
    // The whole transaction is undone, and shorter ones still work.
    assert_eq!(storage.trials(&spec()).unwrap(), [trial(0)]);
    let short = Trial { reason: Some("short".into()), ..long };
    storage.finish(&short, "none").unwrap();
    assert_eq!(storage.trials(&spec()).unwrap(), [short]);
}

#[test]
fn commits_reach_the_system_before_they_return() {
    let scratch = Scratch::new();
    let path = scratch.path().join("study.db");
    let (storage, found) = Storage::open(&path, &spec()).unwrap();
    assert_eq!(found, spec());
    assert_eq!(storage.pragma("synchronous").unwrap(), 1);
    storage.add(&trial(0), "random").unwrap();
    storage.put_back(0).unwrap();
    // A second connection sees what the first has committed, while that one is open.
    let other = Storage::read(&path).unwrap();
    assert_eq!(other.trials(&spec()).unwrap(), [trial(0)]);
    let state: String =
        other.guard(|c| c.query_row("SELECT state FROM trials", [], |row| row.get(0))).unwrap();
    assert_eq!(state, WAITING);
}

#[test]
fn a_finished_trial_is_read_back_whole() {
    let scratch = Scratch::new();
    let (storage, _) = Storage::open(&scratch.path().join("study.db"), &spec()).unwrap();
    storage.add(&trial(0), "random").unwrap();
    let whole = Trial {
        state: State::Complete,
        scores: vec![0.1 + 0.2],
        violations: vec![-0.25],
        tiebreak: Some(Tiebreak { margin: 0.01, loss: 0.4 }),
        steps: vec![(1, 0.25).into(), (2, 0.3).into()],
        seconds: Some(1.5),
        ..trial(0)
    };
    storage.finish(&whole, "none").unwrap();
    assert_eq!(storage.trials(&spec()).unwrap(), [whole]);
}
