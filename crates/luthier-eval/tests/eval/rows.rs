//! Thresholds, suspects and mistakes.

use luthier_eval::{
    Bootstrap, EvalError, Metric, Mistake, Predictions, Suspect, best_threshold, choose_threshold,
    suspect_labels, worst_mistakes,
};
use luthier_test::assert_close;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{binary, drawn};

#[track_caller]
fn check_threshold(truth: &[u32], scores: &[f64], metric: Metric, expected: (f64, f64)) {
    let (threshold, score) = best_threshold(&binary(truth, scores), metric, Some(1)).unwrap();
    assert_close(threshold, expected.0, 1e-12, "threshold");
    assert_close(score, expected.1, 1e-12, "score");
}

#[test]
fn thresholds_lie_midway_and_ties_go_towards_one_half() {
    let truth = [0, 0, 1, 1];
    check_threshold(&truth, &[0.1, 0.2, 0.3, 0.9], Metric::F1, (0.25, 1.0));
    check_threshold(&truth, &[0.1, 0.3, 0.7, 0.9], Metric::Accuracy, (0.5, 1.0));
    // All positive is best: midway between the lowest score and 0.
    check_threshold(&[1, 1], &[0.2, 0.6], Metric::Accuracy, (0.1, 1.0));
    // All negative is best: midway between the highest score and 1.
    check_threshold(&[0, 0], &[0.2, 0.6], Metric::Accuracy, (0.8, 1.0));
    // Three of four are right with 0.275 as with 0.925, or with 0.65 as with 0.3.
    let alternating = [0, 1, 0, 1];
    check_threshold(&alternating, &[0.1, 0.45, 0.9, 0.95], Metric::Accuracy, (0.275, 0.75));
    check_threshold(&alternating, &[0.2, 0.4, 0.6, 0.7], Metric::Accuracy, (0.65, 0.75));
    // Equal scores are on one side together.
    check_threshold(&[0, 1, 1], &[0.6, 0.6, 0.6], Metric::Accuracy, (0.3, 2.0 / 3.0));
    check_threshold(&truth, &[0.1, 0.2, 0.3, 0.9], Metric::RocAuc, (0.5, 1.0));
}

#[test]
fn the_best_threshold_is_found_among_all() {
    for (seed, positive) in [(1, 1), (2, 0)] {
        let plain = drawn(200, 2, 0.4, seed);
        let weights = (0..200).map(|row| 0.1 + f64::from(row % 7)).collect();
        let probabilities =
            (0..200).flat_map(|row| [0, 1].map(|class| plain.probability(row, class))).collect();
        let truth = plain.truth().to_vec();
        let predictions = Predictions::new(2, truth, probabilities, None, Some(weights)).unwrap();
        for metric in [Metric::F1, Metric::Accuracy, Metric::Mcc, Metric::PrecisionMacro] {
            let (threshold, score) = best_threshold(&predictions, metric, Some(positive)).unwrap();
            let at = |threshold| {
                let decided = predictions.clone().with_threshold(positive, threshold).unwrap();
                metric.score(&decided, Some(positive)).unwrap()
            };
            assert_close(at(threshold), score, 1e-12, "the score it promises");
            let best = (0..200)
                .map(|row| at(predictions.probability(row, positive)))
                .fold(f64::MIN, f64::max);
            assert_close(score, best.max(at(1.1)), 1e-12, &metric.name());
        }
    }
}

/// Where a class is rare, F1 is best far from one half; where nothing is to be had, the luckiest
/// threshold is not taken for better.
#[test]
fn a_threshold_is_chosen_where_it_is_worth_it() {
    let bootstrap = Bootstrap::default();
    let choose = |predictions: &Predictions, metric| {
        choose_threshold(predictions, metric, Some(1), &bootstrap).unwrap()
    };
    // One row in eight is positive, and the chances are honest.
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let scores: Vec<f64> = (0..8000).map(|_| rng.random::<f64>().powi(7)).collect();
    let truth: Vec<u32> = scores.iter().map(|p| u32::from(rng.random::<f64>() < *p)).collect();
    let rare = binary(&truth, &scores);
    let found = choose(&rare, Metric::F1).unwrap();
    assert!(found.is_better() && found.threshold < 0.45, "{found:?}");
    let (threshold, flattering) = best_threshold(&rare, Metric::F1, Some(1)).unwrap();
    assert_eq!(found.threshold, threshold);
    assert!(found.comparison.candidate < flattering, "other rows do not flatter");
    assert_eq!(Some(found.comparison.baseline), Metric::F1.score(&rare, Some(1)));
    // Accuracy of honest chances is best at one half.
    assert!(!choose(&rare, Metric::Accuracy).unwrap().is_better());
    // Chance alone.
    for seed in 0..20 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let scores: Vec<f64> = (0..200).map(|_| rng.random()).collect();
        let truth: Vec<u32> = (0..200).map(|row| row % 2).collect();
        let found = choose(&binary(&truth, &scores), Metric::Accuracy).unwrap();
        assert!(!found.is_better(), "seed {seed}: {found:?}");
    }
    for metric in [Metric::RocAuc, Metric::Precision, Metric::Recall, Metric::PrecisionMacro] {
        assert_eq!(choose(&rare, metric), None, "{metric}");
    }
    let three = choose_threshold(&drawn(10, 3, 0.5, 0), Metric::F1, None, &bootstrap);
    assert_eq!(three, Err(EvalError::NotBinary { classes: 3 }));
}

#[test]
fn thresholds_are_for_two_classes() {
    let three = drawn(10, 3, 0.5, 0);
    let error = best_threshold(&three, Metric::F1, Some(0));
    assert_eq!(error, Err(EvalError::NotBinary { classes: 3 }));
}

#[test]
fn a_threshold_decides() {
    let predictions = binary(&[0, 0, 1], &[0.2, 0.6, 0.7]);
    assert_eq!(predictions.predicted(), [0, 1, 1]);
    let at = |positive, threshold| predictions.clone().with_threshold(positive, threshold);
    assert_eq!(at(1, 0.6).unwrap().predicted(), [0, 1, 1]);
    assert_eq!(at(1, 0.61).unwrap().predicted(), [0, 0, 1]);
    assert_eq!(at(0, 0.35).unwrap().predicted(), [0, 0, 1]);
    assert!(matches!(at(1, f64::NAN), Err(EvalError::Setting { name: "threshold", .. })));
    assert_eq!(at(2, 0.5), Err(EvalError::Positive { positive: 2, classes: 2 }));
    let three = Predictions::new(3, vec![0], vec![0.4, 0.3, 0.3], None, None).unwrap();
    assert_eq!(three.with_threshold(0, 0.5).unwrap().predicted(), [1]);
}

#[test]
fn mistakes_are_the_surest_first() {
    let predictions = binary(&[0, 1, 1, 0, 1], &[0.8, 0.1, 0.9, 0.9, 0.1]);
    let rows: Vec<_> = worst_mistakes(&predictions, 3).iter().map(|m| m.row).collect();
    assert_eq!(rows, [3, 1, 4]);
    let first = Mistake { row: 1, truth: 1, predicted: 0, probability_truth: 0.1 };
    assert!(worst_mistakes(&predictions, 9).contains(&first));
    assert_eq!(worst_mistakes(&predictions, 9).len(), 4);
    assert_eq!(worst_mistakes(&binary(&[1], &[0.9]), 9), []);
}

#[test]
fn flipped_labels_are_suspected() {
    let truth = [0, 0, 0, 1, 1, 1];
    // Rows 2 and 5 look like the other class; row 4 is merely unsure.
    let predictions = binary(&truth, &[0.1, 0.2, 0.95, 0.9, 0.6, 0.2]);
    let suspects = suspect_labels(&predictions, 9);
    let rows: Vec<_> = suspects.iter().map(|suspect| suspect.row).collect();
    assert_eq!(rows, [2, 5]);
    let Suspect { given, suggested, probability_suggested, .. } = suspects[0];
    assert_eq!((given, suggested, probability_suggested), (0, 1, 0.95));
    assert_eq!(suspect_labels(&predictions, 1).len(), 1);
}

#[test]
fn suspicion_takes_both_thresholds() {
    // Class 0 has threshold 0.2, class 1 has 0.575. Row 2 reaches both, and stays.
    let predictions = binary(&[0, 0, 0, 1, 1], &[0.95, 0.85, 0.6, 0.9, 0.25]);
    let rows =
        |predictions| suspect_labels(predictions, 9).iter().map(|s| s.row).collect::<Vec<_>>();
    assert_eq!(rows(&predictions), [0, 1, 4]);
    // With 0.9 for class 1, row 1 no longer reaches the other's.
    let demanding = binary(&[0, 0, 0, 1, 1], &[0.95, 0.85, 0.6, 0.9, 0.9]);
    assert_eq!(rows(&demanding), [0]);
}

#[test]
fn flipped_labels_are_found_among_many() {
    let clean = drawn(600, 3, 1.0, 5);
    let flipped = |row: usize| row % 20 == 7;
    let truth: Vec<u32> = clean
        .truth()
        .iter()
        .enumerate()
        .map(|(row, class)| if flipped(row) { (class + 1) % 3 } else { *class })
        .collect();
    let probabilities =
        (0..600).flat_map(|row| [0, 1, 2].map(|class| clean.probability(row, class))).collect();
    let predictions = Predictions::new(3, truth, probabilities, None, None).unwrap();
    let suspects = suspect_labels(&predictions, 600);
    let right = suspects.iter().filter(|suspect| flipped(suspect.row)).count();
    assert!(right >= 15 && right == suspects.len(), "{right} of {}", suspects.len());
}
