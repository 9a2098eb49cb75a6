//! What is refused, and how it is said.

use luthier_eval::{Bootstrap, EvalError, Metric, Predictions, Report, compare, non_inferiority};

use crate::{binary, decided};

struct Input {
    classes: usize,
    truth: Vec<u32>,
    probabilities: Vec<f64>,
    predicted: Option<Vec<u32>>,
    weights: Option<Vec<f64>>,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            classes: 2,
            truth: vec![0, 1],
            probabilities: vec![0.9, 0.1, 0.4, 0.6],
            predicted: None,
            weights: None,
        }
    }
}

#[track_caller]
fn check(input: Input, expected: &str) {
    let Input { classes, truth, probabilities, predicted, weights } = input;
    let error = Predictions::new(classes, truth, probabilities, predicted, weights).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn bad_predictions_are_refused_with_their_place() {
    let with = |probabilities: [f64; 4]| Input {
        probabilities: probabilities.to_vec(),
        ..Input::default()
    };
    let weighing = |weights: &[f64]| Input { weights: Some(weights.to_vec()), ..Input::default() };
    check(Input { truth: vec![], probabilities: vec![], ..Input::default() }, "there are no rows");
    check(with([0.9, 0.1, f64::NAN, 0.6]), "row 1, class 0: NaN is not a probability");
    check(with([0.9, 0.1, -0.1, 1.1]), "row 1, class 0: -0.1 is not a probability");
    check(with([0.9, 0.2, 0.5, 0.5]), "row 0: the probabilities sum to 1.1");
    check(Input { truth: vec![0, 2], ..Input::default() }, "row 1: true class 2 is not one of 2");
    check(Input { classes: 0, ..Input::default() }, "row 0: true class 0 is not one of 0");
    check(
        Input { truth: vec![0; 3], ..Input::default() },
        "probabilities: 4 values where 6 are expected",
    );
    check(
        Input { predicted: Some(vec![0]), ..Input::default() },
        "predicted: 1 values where 2 are expected",
    );
    check(
        Input { predicted: Some(vec![0, 7]), ..Input::default() },
        "row 1: predicted class 7 is not one of 2",
    );
    check(weighing(&[1.0, -1.0]), "row 1: -1 is not a weight");
    check(weighing(&[f64::INFINITY, 1.0]), "row 0: inf is not a weight");
    check(weighing(&[1.0]), "weights: 1 values where 2 are expected");
    check(weighing(&[0.0, 0.0]), "all weights are zero");
}

#[test]
fn softmax_of_f32_passes() {
    let row: Vec<f64> = vec![f64::from(0.001_f32); 1000];
    assert!((row.iter().sum::<f64>() - 1.0).abs() > 1e-8);
    Predictions::new(1000, vec![3], row, None, None).unwrap();
}

#[test]
fn extreme_weights_give_no_nan() {
    for weights in [[1e308, 1e308, 1e308], [5e-324, 5e-324, 5e-324], [1e-300, 1e308, 1e-300]] {
        let probabilities = vec![0.9, 0.1, 0.4, 0.6, 0.3, 0.7];
        let predictions =
            Predictions::new(2, vec![0, 1, 0], probabilities, None, Some(weights.to_vec()))
                .unwrap();
        let labels = ["a", "b"].map(str::to_owned);
        let report = Report::build(&predictions, &labels, Some(1), &Bootstrap::default()).unwrap();
        for line in report.metrics {
            for value in [line.value, line.low, line.high].into_iter().flatten() {
                assert!(value.is_finite(), "{} with {weights:?}: {value}", line.name);
            }
        }
    }
}

#[test]
fn unpaired_predictions_are_refused() {
    let one = decided(&[0, 1, 1], &[0, 1, 0]);
    let other = decided(&[0, 0, 1], &[0, 1, 0]);
    let short = decided(&[0, 1], &[0, 1]);
    let compared = |baseline| compare(&one, baseline, Metric::F1, Some(1), &Bootstrap::default());
    assert_eq!(compared(&other), Err(EvalError::Unpaired { row: 1 }));
    assert_eq!(
        compared(&short),
        Err(EvalError::Length { what: "baseline", expected: 3, found: 2 })
    );
}

#[test]
fn settings_are_checked() {
    let one = binary(&[0, 1], &[0.2, 0.7]);
    let labels = ["a", "b"].map(str::to_owned);
    let default = Bootstrap::default();
    let build = |bootstrap: Bootstrap| Report::build(&one, &labels, None, &bootstrap).unwrap_err();
    let none = build(Bootstrap { resamples: 0, ..default });
    assert_eq!(none, EvalError::Setting { name: "resamples", value: 0.0 });
    let sure = build(Bootstrap { confidence: 1.0, ..default });
    assert_eq!(sure, EvalError::Setting { name: "confidence", value: 1.0 });
    let error = Report::build(&one, &labels, Some(2), &default).unwrap_err();
    assert_eq!(error, EvalError::Positive { positive: 2, classes: 2 });
    assert_eq!(Metric::F1.score(&one, Some(2)), None);
    let error = Report::build(&one, &labels[..1], None, &default).unwrap_err();
    assert_eq!(error, EvalError::Length { what: "labels", expected: 2, found: 1 });
    for max_drop in [-0.1, f64::NAN] {
        let error = non_inferiority(&one, &one, Metric::F1, None, max_drop, &default).unwrap_err();
        assert!(matches!(error, EvalError::Setting { name: "max_drop", .. }));
    }
}

#[test]
fn metrics_go_by_their_names() {
    let with_parameter =
        ["pinball_0.9", "pinball_1", "pinball_0.123456", "d2_pinball_0.05", "tweedie_deviance_1.5"];
    let with_parameter = with_parameter.map(|name| name.parse().unwrap());
    for metric in Metric::CLASSES.into_iter().chain(Metric::NUMBERS).chain(with_parameter) {
        assert_eq!(metric.name().parse(), Ok(metric));
        assert_eq!(serde_json::to_value(metric).unwrap(), *metric.name());
        assert_eq!(serde_json::from_value::<Metric>(metric.name().into()).unwrap(), metric);
    }
    for name in ["pinball_1.1", "pinball_.9", "pinball_0.90", "pinball_NaN", "tweedie_deviance_0.5"]
    {
        assert!(name.parse::<Metric>().is_err(), "{name}");
    }
    let Err(EvalError::UnknownMetric { name, nearest, known }) = "f1_marco".parse::<Metric>()
    else {
        panic!("`f1_marco` parses");
    };
    assert_eq!((name.as_str(), nearest.as_deref()), ("f1_marco", Some("f1_macro")));
    assert_eq!(known, Metric::known());
    let far = "loudness".parse::<Metric>();
    assert!(matches!(far, Err(EvalError::UnknownMetric { nearest: None, .. })));
}
