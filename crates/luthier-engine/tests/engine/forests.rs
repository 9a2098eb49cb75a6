//! Models with trees give what onnxruntime gives (`fixtures/make.py`), the same for a row alone as
//! among others, and on any number of threads.

use std::fs;
use std::path::{Path, PathBuf};

use luthier_engine::{Input, Session, Threads};
use serde::Deserialize;

const TOLERANCE: f32 = 1e-5;

/// What onnxruntime says of a model.
#[derive(Deserialize)]
struct Case {
    input: String,
    output: String,
    rows: Vec<Vec<Option<f32>>>,
    answers: Vec<Vec<f32>>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/forests")
}

impl Case {
    /// The numbers of all rows, `times` over.
    fn numbers(&self, times: usize) -> Vec<f32> {
        let rows = self.rows.iter().cycle().take(self.rows.len() * times);
        rows.flatten().map(|number| number.unwrap_or(f32::NAN)).collect()
    }

    fn answer(&self, session: &Session, threads: &Threads, numbers: &[f32]) -> Vec<f32> {
        let width = self.rows[0].len();
        let shape = [numbers.len() / width, width];
        let fed = [(self.input.as_str(), Input::F32(&shape, numbers))];
        let output = session.run_on(threads, &fed, &self.output).unwrap();
        assert_eq!(output.shape[0], shape[0]);
        output.data
    }

    fn check(&self, name: &str, session: &Session) {
        let [one, two] = [1, 2].map(Threads::new);
        let numbers = self.numbers(1);
        let found = self.answer(session, &one, &numbers);
        let expected: Vec<f32> = self.answers.iter().flatten().copied().collect();
        assert_eq!(found.len(), expected.len(), "{name}");
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let allowed = TOLERANCE * expected.abs().max(1.0);
            assert!((found - expected).abs() <= allowed, "{name}: {found} not {expected} at {at}");
        }
        let width = self.rows[0].len();
        for rows in [1, 3, 5, 33] {
            let parts = numbers.chunks(rows * width);
            let apart: Vec<f32> = parts.flat_map(|part| self.answer(session, &one, part)).collect();
            assert_eq!(apart, found, "{name}: {rows} rows at once");
        }
        let times = 20_000 / self.rows.len();
        let many = self.answer(session, &two, &self.numbers(times));
        for (at, part) in many.chunks(found.len()).enumerate() {
            assert_eq!(part, found, "{name}: part {at} on two threads");
        }
    }
}

fn check(chosen: impl Fn(&str) -> bool) {
    let mut checked = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.extension().is_some_and(|extension| extension == "json") && chosen(name) {
            let case: Case = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let onnx = fs::read(path.with_extension("onnx")).unwrap();
            let session = Session::load(onnx, &Threads::new(1));
            case.check(name, &session.unwrap_or_else(|error| panic!("{name}: {error}")));
            checked += 1;
        }
    }
    assert!(checked > 0);
}

const BY_HAND: [&str; 5] = ["mode_", "aggregate_", "transform_", "newer_", "_classes_"];

#[test]
fn every_mode_aggregate_and_transform() {
    check(|name| BY_HAND.iter().any(|part| name.contains(part)));
}

#[test]
fn models_of_converters() {
    let converted = ["boosted_", "random_", "two_targets", "large_", "lightgbm_", "xgboost_"];
    check(|name| converted.iter().any(|part| name.starts_with(part)));
}

#[test]
fn trees_among_other_operators() {
    check(|name| ["own_", "two_forests", "forest_of_"].iter().any(|part| name.starts_with(part)));
}

#[test]
fn no_rows() {
    let onnx = fs::read(fixtures().join("own_binary.onnx")).unwrap();
    let session = Session::load(onnx, &Threads::new(1)).unwrap();
    let fed = [("columns", Input::F32(&[0, 4], &[]))];
    assert_eq!(session.run(&fed, "probabilities").unwrap().shape, [0, 2]);
    assert_eq!(session.inputs().collect::<Vec<_>>(), [("columns", vec![None, Some(4)])]);
}
