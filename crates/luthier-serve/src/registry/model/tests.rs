use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Failure, Model, RETRY_PAUSE, State};
use crate::VersionPolicy;
use crate::models::ModelState;
use crate::registry::folder::{Fingerprint, FoundModel};
use crate::service::Code;
use crate::service::tests::model;
use crate::versions::VersionError;

const LATEST: VersionPolicy = VersionPolicy::Latest(1);
const SECOND: Duration = Duration::from_secs(1);

/// A model with folders for `versions`.
fn with(versions: &[i64]) -> Model {
    let mut model = Model::within(Path::new("base"));
    see(&mut model, versions, Instant::now());
    model
}

fn see(model: &mut Model, versions: &[i64], now: Instant) {
    let versions = versions.iter().map(|version| (*version, PathBuf::new())).collect();
    let found = FoundModel { name: "a".to_owned(), versions, labels: None };
    model.see(Some(found), now, |_| Fingerprint::default());
}

fn load(model: &mut Model, version: i64) {
    model.set(version, State::Available(self::model("a", version)));
}

fn fail(model: &mut Model, version: i64, now: Instant) {
    let error = VersionError { code: Code::DataLoss, message: "broken".to_owned() };
    let failure = Failure::new(error, false, now, Fingerprint::default());
    model.set(version, State::Failed(failure));
}

fn available(model: &Model) -> Vec<i64> {
    model.available().map(|served| served.version).collect()
}

#[test]
fn policies_and_labels_choose_versions() {
    let mut model = with(&[1, 2, 3, 10]);
    let check = |model: &Model, policy: &str, expected: &[i64]| {
        let wanted = model.wanted(&policy.parse().unwrap());
        assert_eq!(wanted, expected.iter().copied().collect::<BTreeSet<i64>>(), "{policy}");
    };
    check(&model, "latest", &[10]);
    check(&model, "latest:2", &[3, 10]);
    check(&model, "latest:9", &[1, 2, 3, 10]);
    check(&model, "all", &[1, 2, 3, 10]);
    check(&model, "specific:2,4", &[2]);
    model.labels = [("stable".to_owned(), 2), ("gone".to_owned(), 7)].into();
    check(&model, "latest", &[2, 10]);
    fail(&mut model, 10, Instant::now());
    check(&model, "latest", &[2, 3]);
    check(&model, "all", &[1, 2, 3]);
    check(&model, "specific:10", &[2]);
}

#[test]
fn the_old_version_goes_once_the_new_one_answers() {
    let now = Instant::now();
    let mut model = with(&[1]);
    assert_eq!(model.next_to_load(&LATEST), Some(1));
    load(&mut model, 1);
    assert_eq!(model.next_to_load(&LATEST), None);
    see(&mut model, &[1, 2], now);
    assert_eq!((model.next_to_load(&LATEST), model.leaving(&LATEST)), (Some(2), Vec::new()));
    load(&mut model, 2);
    assert_eq!((model.next_to_load(&LATEST), model.leaving(&LATEST)), (None, vec![1]));
    model.set(1, State::Unloading);
    model.end(1);
    let states: Vec<_> = model.statuses(&"a".into()).map(|s| (s.version, s.state)).collect();
    assert_eq!(states, [(2, ModelState::Available), (1, ModelState::End)]);
    see(&mut model, &[2], now);
    assert_eq!(model.statuses(&"a".into()).count(), 1, "what has left and vanished is forgotten");
}

#[test]
fn a_version_that_fails_changes_nothing() {
    let now = Instant::now();
    let mut model = with(&[1]);
    load(&mut model, 1);
    see(&mut model, &[1, 2], now);
    fail(&mut model, 2, now);
    assert_eq!((model.next_to_load(&LATEST), model.leaving(&LATEST)), (None, Vec::new()));
    assert_eq!(model.problem(&LATEST), None);
    see(&mut model, &[2], now);
    assert_eq!((model.next_to_load(&LATEST), model.leaving(&LATEST)), (None, Vec::new()));
    let problem = "version 1 goes on answering: no other version can be loaded";
    assert_eq!(model.problem(&LATEST).as_deref(), Some(problem));
}

#[test]
fn the_last_version_stays_when_its_folder_vanishes() {
    let now = Instant::now();
    let mut model = with(&[1, 2]);
    load(&mut model, 2);
    see(&mut model, &[1], now);
    assert_eq!((model.next_to_load(&LATEST), model.leaving(&LATEST)), (Some(1), Vec::new()));
    load(&mut model, 1);
    assert_eq!(model.leaving(&LATEST), [2]);
    model.set(2, State::Unloading);
    model.see(None, now, |_| Fingerprint::default());
    assert_eq!((available(&model), model.leaving(&LATEST)), (vec![1], Vec::new()));
    let problem = "version 1 goes on answering: its folder holds no version any more";
    assert_eq!(model.problem(&LATEST).as_deref(), Some(problem));
    assert!(!model.is_gone());
}

#[test]
fn a_policy_that_asks_for_nothing_is_a_problem() {
    let model = with(&[1]);
    let policy = "specific:2".parse().unwrap();
    let problem = "no version answers: the version policy asks for none of those that are there";
    assert_eq!(model.problem(&policy).as_deref(), Some(problem));
}

#[test]
fn failures_are_tried_again_when_files_settle_or_after_a_pause() {
    let start = Instant::now();
    let print = |size: u64| Fingerprint::of_sizes(&[size]);
    let mut model = with(&[1]);
    let error = VersionError { code: Code::DataLoss, message: "broken".to_owned() };
    model.set(1, State::Failed(Failure::new(error, false, start, print(1))));
    let mut check = |seconds: u32, size: u64, expected: Option<i64>| {
        let found = FoundModel {
            name: "a".to_owned(),
            versions: [(1, PathBuf::new())].into(),
            labels: None,
        };
        model.see(Some(found), start + SECOND * seconds, |_| print(size));
        assert_eq!(model.next_to_load(&LATEST), expected, "after {seconds} s with {size} bytes");
    };
    check(1, 1, None);
    check(2, 2, None);
    check(3, 3, None);
    check(4, 3, Some(1));
    check(5, 1, None);
    check(u32::try_from(RETRY_PAUSE.as_secs()).unwrap(), 1, Some(1));
}
