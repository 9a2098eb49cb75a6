//! What decisions cost, and those that cost least.

use luthier_eval::{
    Bootstrap, Costs, EvalError, Metric, NonInferiorityVerdict, Predictions, Report, Verdict,
    best_threshold, compare, interval, non_inferiority,
};
use luthier_test::assert_close;

use crate::{binary, decided, drawn};

/// A miss costs five false alarms.
fn five_to_one() -> Costs {
    Costs::new(&[vec![0.0, 1.0], vec![5.0, 0.0]]).unwrap()
}

#[test]
fn the_score_is_the_mean_cost() {
    let truth = [0, 0, 1, 1, 1];
    let predictions = decided(&truth, &[0, 1, 1, 0, 0]);
    assert_eq!(Metric::Cost.score(&predictions, None), None);
    let predictions = predictions.with_costs(five_to_one()).unwrap();
    assert_eq!(Metric::Cost.score(&predictions, None), Some(11.0 / 5.0));
    let probabilities = [0, 1, 1, 0, 0].map(f64::from).iter().flat_map(|p| [1.0 - p, *p]).collect();
    let weights = Some(vec![1.0, 3.0, 1.0, 2.0, 0.0]);
    let weighted = Predictions::new(2, truth.to_vec(), probabilities, None, weights).unwrap();
    let weighted = weighted.with_costs(five_to_one()).unwrap();
    assert_eq!(Metric::Cost.score(&weighted, None), Some(13.0 / 7.0));
}

/// The example of Elkan (2001): with these costs a positive is worth deciding from 1/6 on.
#[test]
fn decisions_cost_least_in_expectation() {
    let costs = five_to_one();
    assert_close(costs.threshold(1).unwrap(), 1.0 / 6.0, 1e-15, "positive 1");
    assert_close(costs.threshold(0).unwrap(), 5.0 / 6.0, 1e-15, "positive 0");
    assert_eq!((costs.decide(&[0.84, 0.16]), costs.decide(&[0.82, 0.18])), (0, 1));
    let plain = drawn(300, 2, 0.4, 3).with_costs(costs.clone()).unwrap();
    let by_costs = plain.clone().at_least_cost();
    let by_threshold = plain.with_threshold(1, costs.threshold(1).unwrap()).unwrap();
    assert_eq!(by_costs.predicted(), by_threshold.predicted());

    // The right decision costs something too, and the unsure answer is the cheapest when unsure.
    let paid = Costs::new(&[vec![1.0, 2.0], vec![9.0, 5.0]]).unwrap();
    assert_close(paid.threshold(1).unwrap(), 1.0 / 5.0, 1e-15, "paid");
    let unsure =
        Costs::new(&[vec![0.0, 1.0, 4.0], vec![2.0, 1.0, 2.0], vec![4.0, 1.0, 0.0]]).unwrap();
    let decide = |p: [f64; 3]| unsure.decide(&p);
    assert_eq!([decide([0.9, 0.05, 0.05]), decide([0.4, 0.2, 0.4])], [0, 1]);
    assert_eq!(decide([0.05, 0.05, 0.9]), 2);
    assert_eq!(unsure.threshold(1), None);
    let wrong_is_free = Costs::new(&[vec![0.0, 0.0], vec![5.0, 0.0]]).unwrap();
    assert_eq!((wrong_is_free.threshold(1), wrong_is_free.threshold(2)), (None, None));
}

#[test]
fn the_best_threshold_costs_least() {
    for (seed, positive) in [(1, 1), (2, 0)] {
        let predictions = drawn(200, 2, 0.4, seed).with_costs(five_to_one()).unwrap();
        let (threshold, cost) = best_threshold(&predictions, Metric::Cost, Some(positive)).unwrap();
        let at = |threshold| {
            let decided = predictions.clone().with_threshold(positive, threshold).unwrap();
            Metric::Cost.score(&decided, Some(positive)).unwrap()
        };
        assert_close(at(threshold), cost, 1e-12, "the cost it promises");
        let least =
            (0..200).map(|row| at(predictions.probability(row, positive))).fold(f64::MAX, f64::min);
        assert_close(cost, least.min(at(1.1)), 1e-12, "the least");
        assert!(cost < at(0.5));
    }
    let without = best_threshold(&drawn(20, 2, 0.4, 1), Metric::Cost, None);
    assert_eq!(without, Err(EvalError::Undefined { metric: Metric::Cost }));
}

#[test]
fn costs_have_intervals_verdicts_and_gates() {
    let costly = |predictions: Predictions| predictions.with_costs(five_to_one()).unwrap();
    let baseline = costly(drawn(1_000, 2, 0.6, 5));
    let candidate = baseline.clone().at_least_cost();
    let bootstrap = Bootstrap::default();
    let found = compare(&candidate, &baseline, Metric::Cost, None, &bootstrap).unwrap();
    assert_eq!(found.verdict, Verdict::Better);
    assert_close(found.difference, found.baseline - found.candidate, 1e-12, "sign");
    let report = Report::build(&baseline, &["a", "b"].map(str::to_owned), None, &bootstrap);
    let report = report.unwrap();
    let line = report.metric(Metric::Cost).unwrap();
    let alone = interval(&baseline, Metric::Cost, None, &bootstrap).unwrap();
    assert_eq!((line.low, line.high), (Some(alone.low), Some(alone.high)));
    assert!(!line.higher_is_better);
    let unknown = drawn(100, 2, 0.6, 5);
    let report = Report::build(&unknown, &["a", "b"].map(str::to_owned), None, &bootstrap);
    assert_eq!(report.unwrap().metric(Metric::Cost), None);

    let error = compare(&unknown, &costly(unknown.clone()), Metric::Cost, None, &bootstrap);
    assert_eq!(error, Err(EvalError::UnpairedCosts));

    // A row that is not among a hundred may cost five.
    let same = costly(decided(&[1; 100], &[1; 100]));
    let gate = non_inferiority(&same, &same, Metric::Cost, None, 0.1, &bootstrap).unwrap();
    assert_close(gate.lower_bound, -5.0 * 0.029_513_05, 1e-6, "bound");
    // The rule of three: 5 · 3 / 0.1, about.
    let NonInferiorityVerdict::Undecidable { rows: 100, needed: Some(148..150) } = gate.verdict
    else {
        panic!("{gate:?}");
    };
}

#[test]
fn bad_costs_are_refused() {
    let check = |costs: &[Vec<f64>], expected: &str| {
        assert_eq!(Costs::new(costs).unwrap_err().to_string(), expected);
    };
    check(&[], "costs: 0 values where 1 are expected");
    check(&[vec![0.0, 1.0], vec![1.0]], "costs: 1 values where 2 are expected");
    check(
        &[vec![0.0, 1.0], vec![f64::NAN, 0.0]],
        "deciding class 0 for a row of class 1 costs NaN",
    );
    let three = Costs::new(&vec![vec![0.0; 3]; 3]).unwrap();
    let error = binary(&[0, 1], &[0.2, 0.9]).with_costs(three).unwrap_err();
    assert_eq!(error, EvalError::Length { what: "costs", expected: 2, found: 3 });
    let json = serde_json::to_value(five_to_one()).unwrap();
    assert_eq!(json, serde_json::json!([[0.0, 1.0], [5.0, 0.0]]));
    assert_eq!(serde_json::from_value::<Costs>(json).unwrap(), five_to_one());
    assert!(serde_json::from_str::<Costs>("[[0, 1], [5]]").is_err());
}
