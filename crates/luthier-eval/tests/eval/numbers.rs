//! Predicted numbers: scores, uncertainty, reports and rows worth a look.

use std::collections::HashMap;

use luthier_eval::{
    Bootstrap, EvalError, Interval, Metric, NonInferiorityVerdict, NumberBin, Predictions, Report,
    ResidualBin, Verdict, compare, interval, largest_errors, non_inferiority, standard_error,
    suspect_labels, suspect_numbers, worst_mistakes,
};
use luthier_test::assert_close;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use crate::binary;

#[derive(Deserialize)]
struct Case {
    name: String,
    truth: Vec<f64>,
    predicted: Vec<f64>,
    weights: Option<Vec<f64>>,
    scores: HashMap<Metric, Option<f64>>,
}

fn fixture() -> Vec<Case> {
    serde_json::from_str(include_str!("../fixtures/numbers.json")).unwrap()
}

fn numbers(truth: &[f64], predicted: &[f64]) -> Predictions {
    Predictions::of_numbers(truth.to_vec(), predicted.to_vec(), None).unwrap()
}

/// Truths of a standard normal distribution, predicted with normal errors of this deviation.
fn drawn(rows: usize, deviation: f64, seed: u64) -> Predictions {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = || {
        let (radius, turn): (f64, f64) = (rng.random(), rng.random());
        (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * turn).cos()
    };
    let truth: Vec<f64> = (0..rows).map(|_| normal()).collect();
    let predicted: Vec<f64> = truth.iter().map(|truth| truth + deviation * normal()).collect();
    numbers(&truth, &predicted)
}

#[track_caller]
fn check(name: &str, actual: Option<f64>, expected: Option<f64>) {
    match (actual, expected) {
        (Some(actual), Some(expected)) => assert_close(actual, expected, 1e-9, name),
        _ => assert_eq!(actual, expected, "{name}"),
    }
}

#[test]
fn every_metric_equals_scikit_learn() {
    let cases = fixture();
    assert!(cases.len() > 30);
    for case in cases {
        let predictions =
            Predictions::of_numbers(case.truth, case.predicted, case.weights).unwrap();
        for metric in Metric::NUMBERS {
            assert!(case.scores.contains_key(&metric), "{}: {metric}", case.name);
        }
        for (metric, expected) in case.scores {
            check(&format!("{}: {metric}", case.name), metric.score(&predictions, None), expected);
        }
    }
}

#[test]
fn weights_are_repeated_rows() {
    // Of fewer than two different rows repetition makes several.
    for case in fixture().into_iter().filter(|case| case.truth.len() > 3) {
        let times: Vec<usize> = (0..case.truth.len()).map(|row| (row * 7 + 1) % 4).collect();
        let repeat = |values: &[f64]| -> Vec<f64> {
            let each = values.iter().zip(&times);
            each.flat_map(|(value, times)| vec![*value; *times]).collect()
        };
        let repeated = numbers(&repeat(&case.truth), &repeat(&case.predicted));
        let weights = times.iter().map(|times| *times as f64).collect();
        let weighted = Predictions::of_numbers(case.truth, case.predicted, Some(weights)).unwrap();
        for metric in case.scores.into_keys() {
            let name = format!("{}: {metric}", case.name);
            check(&name, metric.score(&weighted, None), metric.score(&repeated, None));
        }
    }
}

/// The mean of n absolute values of normal errors has the standard error σ √((1 − 2/π) / n).
#[test]
fn the_standard_error_is_that_of_theory() {
    let predictions = drawn(2_000, 0.5, 1);
    let expected = 0.5 * ((1.0 - 2.0 / std::f64::consts::PI) / 2_000.0).sqrt();
    let found = standard_error(&predictions, Metric::Mae, None, &Bootstrap::default()).unwrap();
    assert!((found / expected - 1.0).abs() < 0.1, "{found} instead of {expected}");
}

#[test]
fn intervals_cover_the_true_score_as_often_as_they_say() {
    let bootstrap = Bootstrap { resamples: 300, ..Bootstrap::default() };
    let covered = (0..400)
        .filter(|seed| {
            let found = interval(&drawn(150, 0.5, *seed), Metric::Rmse, None, &bootstrap);
            let Interval { low, high } = found.unwrap();
            (low..=high).contains(&0.5)
        })
        .count();
    // 95 % of 400 is 380 with a standard deviation of 4.4, less what a percentile interval of a
    // skewed statistic lacks.
    assert!((360..=395).contains(&covered), "{covered} of 400");
}

#[test]
fn models_are_compared_in_pairs() {
    let (good, bad) = (drawn(800, 0.4, 5), drawn(800, 0.6, 5));
    let verdict = |candidate, baseline, metric| {
        compare(candidate, baseline, metric, None, &Bootstrap::default()).unwrap().verdict
    };
    for metric in Metric::NUMBERS.into_iter().chain(Metric::pinball(0.8)).filter(|metric| {
        // The truths are not above zero, and some are next to it.
        !metric.name().contains("poisson") && !metric.name().contains("gamma")
    }) {
        if metric != Metric::MaxError && metric != Metric::Mape {
            assert_eq!(verdict(&good, &bad, metric), Verdict::Better, "{metric}");
            assert_eq!(verdict(&bad, &good, metric), Verdict::Worse, "{metric}");
        }
        assert_eq!(verdict(&good, &good, metric), Verdict::Undecided, "{metric}");
    }
    let error = compare(&good, &bad, Metric::GammaDeviance, None, &Bootstrap::default());
    assert_eq!(error, Err(EvalError::Undefined { metric: Metric::GammaDeviance }));
}

/// P-values by scipy 1.17, `binomtest(3, 13).pvalue` and the same less `binom.pmf(3, 13, 0.5)`.
#[test]
fn signs_are_tested_and_decisions_are_not() {
    let truth = vec![1.0; 15];
    let candidate: Vec<f64> = (0..15).map(|row| if row < 3 { 1.1 } else { 1.2 }).collect();
    let baseline: Vec<f64> = (0..15)
        .map(|row| match row {
            0..3 => 0.8,
            3..13 => 0.9,
            _ => 0.8,
        })
        .collect();
    let (mut candidate, mut baseline) = (candidate, baseline);
    (candidate[13], candidate[14], baseline[13], baseline[14]) = (1.0, 1.5, 1.0, 1.5);
    let (candidate, baseline) = (numbers(&truth, &candidate), numbers(&truth, &baseline));
    let found = compare(&candidate, &baseline, Metric::Mae, None, &Bootstrap::default()).unwrap();
    let test = found.sign_test.unwrap();
    assert_eq!((found.mcnemar, test.candidate_nearer, test.baseline_nearer), (None, 3, 10));
    assert_close(test.exact, 0.092_285_156_25, 1e-12, "exact");
    assert_close(test.mid, 0.057_373_046_875, 1e-12, "mid-p");
    let json = serde_json::to_value(&found).unwrap();
    assert!(json.get("mcnemar").is_none() && json["sign_test"]["exact"].is_number());
}

#[test]
fn a_gate_holds_fails_or_asks_for_rows() {
    let gate = |rows: usize, candidate: f64, max_drop: f64| {
        let (candidate, baseline) = (drawn(rows, candidate, 3), drawn(rows, 0.5, 3));
        let found = non_inferiority(
            &candidate,
            &baseline,
            Metric::Mae,
            None,
            max_drop,
            &Bootstrap::default(),
        );
        found.unwrap().verdict
    };
    // Errors that are a tenth larger raise the mean absolute one by 0.04.
    assert_eq!(gate(2_000, 0.55, 0.06), NonInferiorityVerdict::Holds);
    assert_eq!(gate(2_000, 0.55, 0.02), NonInferiorityVerdict::Fails);
    // Models that agree everywhere leave room for rows as bad as their worst.
    let few = gate(100, 0.5, 0.01);
    let NonInferiorityVerdict::Undecidable { rows: 100, needed: Some(needed) } = few else {
        panic!("{few:?}");
    };
    assert!((101..1_000).contains(&needed), "{needed}");
    assert_eq!(gate(2_000, 0.5, 0.01), NonInferiorityVerdict::Holds);
}

#[test]
fn a_report_of_numbers_has_residuals_and_bins() {
    let predictions = drawn(1_000, 0.5, 9);
    let report = Report::build(&predictions, &[], None, &Bootstrap::default()).unwrap();
    for metric in Metric::NUMBERS {
        let line = report.metric(metric).unwrap();
        let alone = interval(&predictions, metric, None, &Bootstrap::default());
        assert_eq!(line.low.zip(line.high), alone.map(|alone| (alone.low, alone.high)));
        assert_eq!(line.value, metric.score(&predictions, None));
    }
    assert_eq!((report.rows, report.confusion.len(), report.reliability.len()), (1_000, 0, 0));
    let pinball = Metric::pinball(0.9).unwrap();
    assert_eq!(report.metric(pinball), None);
    let report = report.with_metric(pinball, &predictions, &Bootstrap::default()).unwrap();
    assert_eq!(report.metric(pinball).unwrap().value, pinball.score(&predictions, None));

    let found = report.numbers.unwrap();
    assert_eq!(found.bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), [100; 10]);
    // What regression to the mean does: truth is 1 / (1 + 0.5²) of the prediction.
    let (low, high) = (found.bins[0], found.bins[9]);
    assert!((low.truth / low.predicted - 0.8).abs() < 0.1, "{low:?}");
    assert!((high.truth / high.predicted - 0.8).abs() < 0.1, "{high:?}");
    let shares: Vec<f64> = found.residuals.iter().map(|residual| residual.share).collect();
    assert_eq!(shares, [0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0]);
    // The quartile of a normal distribution is 0.674 deviations out.
    assert_close(found.residuals[5].value, 0.5 * 0.674, 0.06, "third quartile");
    assert!(found.residuals.is_sorted_by(|a, b| a.value <= b.value));
    // All rows have a bin, and the normal distribution its most in the middle.
    let counts: Vec<usize> = found.histogram.iter().map(|bin| bin.count).collect();
    assert_eq!((counts.len(), counts.iter().sum::<usize>()), (40, 1_000));
    assert!(counts[18] > 30 && counts[1] < 15, "{counts:?}");
    let same = numbers(&[1.0, 2.0], &[1.0, 2.0]);
    let same = Report::build(&same, &[], None, &Bootstrap::default()).unwrap().numbers.unwrap();
    assert_eq!(same.histogram, [ResidualBin { lower: 0.0, upper: 0.0, count: 2 }]);
}

#[test]
fn equal_predictions_share_a_bin() {
    let truth: Vec<f64> = (0..20).map(f64::from).collect();
    let predicted: Vec<f64> = (0..20).map(|row| if row < 15 { 2.0 } else { 17.0 }).collect();
    let predictions = numbers(&truth, &predicted);
    let report = Report::build(&predictions, &[], None, &Bootstrap::default()).unwrap();
    let bin = |at, count, truth| NumberBin { lower: at, upper: at, count, predicted: at, truth };
    assert_eq!(report.numbers.unwrap().bins, [bin(2.0, 15, 7.0), bin(17.0, 5, 17.0)]);
}

#[test]
fn large_errors_and_outliers_are_found() {
    let truth: Vec<f64> = (0..50).map(f64::from).collect();
    let mut predicted: Vec<f64> = (0..50).map(|row| f64::from(row) + f64::from(row % 5)).collect();
    predicted[7] = 60.0;
    predicted[30] = -5.0;
    let predictions = numbers(&truth, &predicted);
    let rows = |found: Vec<luthier_eval::NumberError>| -> Vec<usize> {
        found.iter().map(|error| error.row).collect()
    };
    assert_eq!(rows(largest_errors(&predictions, 3)), [7, 30, 4]);
    assert_eq!(rows(suspect_numbers(&predictions, 9)), [7, 30]);
    let first = suspect_numbers(&predictions, 1)[0];
    // Residuals have the median −2, and a median distance to it of 1.
    assert_close(first.deviation.unwrap(), 51.0 * 0.674_489_75, 1e-6, "deviation");
    assert_eq!(
        (worst_mistakes(&predictions, 9), suspect_labels(&predictions, 9)),
        (vec![], vec![])
    );
    let classes = binary(&[0, 1], &[0.9, 0.2]);
    assert_eq!((largest_errors(&classes, 9), suspect_numbers(&classes, 9)), (vec![], vec![]));
    let perfect = largest_errors(&numbers(&truth, &truth), 1)[0];
    assert_eq!((perfect.row, perfect.deviation), (0, None));
}

#[test]
fn the_kinds_are_kept_apart() {
    let (classes, numbers) = (binary(&[0, 1], &[0.1, 0.9]), numbers(&[0.0, 1.0], &[0.0, 1.0]));
    assert_eq!(Metric::Mae.score(&classes, None), None);
    assert_eq!(Metric::Accuracy.score(&numbers, None), None);
    let error = compare(&classes, &classes, Metric::Mae, None, &Bootstrap::default()).unwrap_err();
    assert_eq!(error, EvalError::OtherKind { metric: Metric::Mae });
    assert_eq!(error.to_string(), "mae is for numbers, which these rows have not");
    let error = compare(&numbers, &classes, Metric::Mae, None, &Bootstrap::default());
    let expected = EvalError::Length { what: "baseline classes", expected: 0, found: 2 };
    assert_eq!(error, Err(expected));
    assert_eq!(Metric::Mae.score(&numbers, Some(1)), None);
    let threshold = numbers.with_threshold(1, 0.5);
    assert_eq!(threshold, Err(EvalError::Positive { positive: 1, classes: 0 }));
}

#[test]
fn bad_numbers_are_refused_with_their_place() {
    let check = |truth: &[f64], predicted: &[f64], weights: Option<Vec<f64>>, expected: &str| {
        let found = Predictions::of_numbers(truth.to_vec(), predicted.to_vec(), weights);
        assert_eq!(found.unwrap_err().to_string(), expected);
    };
    check(&[], &[], None, "there are no rows");
    check(&[1.0], &[1.0, 2.0], None, "predicted: 2 values where 1 are expected");
    check(&[1.0, f64::NAN], &[1.0, 2.0], None, "row 1: the true number is NaN");
    check(&[1.0], &[f64::INFINITY], None, "row 0: the predicted number is inf");
    check(&[1.0], &[1.0], Some(vec![0.0]), "all weights are zero");
}

#[test]
fn extreme_numbers_give_no_nan() {
    let extremes = [1e150, -1e150, 5e-324, 0.0];
    for (truth, predicted) in
        [([1e150; 4], [-1e150; 4]), (extremes, [0.0; 4]), ([5e-324; 4], extremes)]
    {
        let predictions = numbers(&truth, &predicted);
        let report = Report::build(&predictions, &[], None, &Bootstrap::default()).unwrap();
        for line in report.metrics {
            for value in [line.value, line.low, line.high].into_iter().flatten() {
                assert!(value.is_finite(), "{}: {value}", line.name);
            }
        }
        for name in ["tweedie_deviance_1.5", "tweedie_deviance_3.5", "d2_pinball_0.3"] {
            let score = name.parse::<Metric>().unwrap().score(&predictions, None);
            assert!(score.is_none_or(f64::is_finite), "{name}: {score:?}");
        }
    }
}
