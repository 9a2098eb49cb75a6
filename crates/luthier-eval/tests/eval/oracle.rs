//! Equality with scikit-learn; `fixtures/make.py` says how the answers were made.

use std::collections::BTreeMap;

use luthier_eval::{Bootstrap, Metric, Predictions, Report, Verdict, compare};
use luthier_test::{assert_all_close, assert_close};
use serde::Deserialize;

use crate::decided;

const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
    sign_tests: Vec<SignTest>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    classes: usize,
    truth: Vec<u32>,
    probabilities: Vec<f64>,
    predicted: Option<Vec<u32>>,
    weights: Option<Vec<f64>>,
    positive: Option<usize>,
    scores: BTreeMap<String, Option<f64>>,
    confusion: Vec<Vec<u64>>,
    per_class: PerClass,
}

#[derive(Deserialize)]
struct PerClass {
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
}

#[derive(Deserialize)]
struct SignTest {
    a: usize,
    b: usize,
    p: f64,
}

impl Case {
    fn predictions(&self) -> Predictions {
        Predictions::new(
            self.classes,
            self.truth.clone(),
            self.probabilities.clone(),
            self.predicted.clone(),
            self.weights.clone(),
        )
        .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/scores.json")).unwrap()
}

#[track_caller]
fn check(name: &str, actual: Option<f64>, expected: Option<f64>) {
    match (actual, expected) {
        (Some(actual), Some(expected)) => assert_close(actual, expected, TOLERANCE, name),
        _ => assert_eq!(actual, expected, "{name}"),
    }
}

#[test]
fn every_metric_equals_scikit_learn() {
    let fixture = fixture();
    assert!(fixture.cases.len() > 70);
    for case in fixture.cases {
        let predictions = case.predictions();
        assert_eq!(case.scores.len() + 1, Metric::CLASSES.len(), "{}", case.name);
        for metric in Metric::CLASSES.into_iter().filter(|metric| *metric != Metric::Cost) {
            let name = format!("{}: {metric}", case.name);
            check(&name, metric.score(&predictions, case.positive), case.scores[&*metric.name()]);
        }
    }
}

#[test]
fn reports_equal_scikit_learn() {
    let bootstrap = Bootstrap { resamples: 5, ..Bootstrap::default() };
    for case in fixture().cases {
        let labels: Vec<_> = (0..case.classes).map(|class| format!("class {class}")).collect();
        let predictions = case.predictions();
        let report = Report::build(&predictions, &labels, case.positive, &bootstrap).unwrap();
        assert_eq!(report.confusion, case.confusion, "{}", case.name);
        for line in &report.metrics {
            check(&format!("{}: {}", case.name, line.name), line.value, case.scores[&line.name]);
        }
        let column = |of: fn(&luthier_eval::ClassReport) -> f64| -> Vec<f64> {
            report.classes.iter().map(of).collect()
        };
        let expected = &case.per_class;
        assert_all_close(&column(|c| c.precision), &expected.precision, TOLERANCE, &case.name);
        assert_all_close(&column(|c| c.recall), &expected.recall, TOLERANCE, &case.name);
        assert_all_close(&column(|c| c.f1), &expected.f1, TOLERANCE, &case.name);
    }
}

/// A resample is scored by how often each row was drawn; whole-number weights are the same thing,
/// and repeating rows is what both stand for.
#[test]
fn weights_are_repeated_rows() {
    for case in fixture().cases.iter().filter(|case| case.classes < 7) {
        let times: Vec<usize> = (0..case.truth.len()).map(|row| (row * 7 + 1) % 4).collect();
        let rows: Vec<usize> =
            times.iter().enumerate().flat_map(|(row, times)| vec![row; *times]).collect();
        let repeated = Predictions::new(
            case.classes,
            rows.iter().map(|row| case.truth[*row]).collect(),
            rows.iter()
                .flat_map(|row| &case.probabilities[row * case.classes..][..case.classes])
                .copied()
                .collect(),
            case.predicted.as_ref().map(|p| rows.iter().map(|row| p[*row]).collect()),
            None,
        );
        let weighted = Predictions::new(
            case.classes,
            case.truth.clone(),
            case.probabilities.clone(),
            case.predicted.clone(),
            Some(times.iter().map(|times| *times as f64).collect()),
        );
        let (repeated, weighted) = (repeated.unwrap(), weighted.unwrap());
        for metric in Metric::CLASSES {
            let name = format!("{}: {metric}", case.name);
            let expected = metric.score(&repeated, case.positive);
            check(&name, metric.score(&weighted, case.positive), expected);
        }
    }
}

#[test]
fn mcnemar_equals_scipys_binomial_test() {
    for SignTest { a, b, p } in fixture().sign_tests {
        let truth = vec![1; a + b + 4];
        let mut candidate = vec![1; a + b + 4];
        let mut baseline = candidate.clone();
        baseline[..a].fill(0);
        candidate[a..a + b].fill(0);
        (candidate[a + b], baseline[a + b]) = (0, 0);
        let bootstrap = Bootstrap { resamples: 20, ..Bootstrap::default() };
        let (candidate, baseline) = (decided(&truth, &candidate), decided(&truth, &baseline));
        let comparison =
            compare(&candidate, &baseline, Metric::Accuracy, None, &bootstrap).unwrap();
        let test = comparison.mcnemar.unwrap();
        assert_eq!((test.only_candidate, test.only_baseline), (a as u64, b as u64));
        // Relative: p-values of 1e-80 must not pass for 0.
        assert_close(test.exact / p, 1.0, TOLERANCE, &format!("{a} against {b}"));
        assert!(test.mid < test.exact, "{test:?}");
    }
}

/// Fagerland, Lydersen and Laake (2013), table 1 (airway hyper-responsiveness before and after
/// stem cell transplantation): 1 against 7 discordant pairs, exact 0.0703 and mid-p 0.0391.
#[test]
fn mid_p_equals_the_published_example() {
    let truth = [1; 21];
    let mut candidate = [1; 21];
    let mut baseline = [1; 21];
    baseline[0] = 0;
    candidate[1..8].fill(0);
    let comparison = compare(
        &decided(&truth, &candidate),
        &decided(&truth, &baseline),
        Metric::Accuracy,
        None,
        &Bootstrap::default(),
    )
    .unwrap();
    let test = comparison.mcnemar.unwrap();
    assert_close(test.exact, 0.0703, 5e-5, "exact");
    assert_close(test.mid, 0.0391, 5e-5, "mid-p");
    assert_eq!(comparison.verdict, Verdict::Worse);
}
