//! The threshold that a metric likes best.

use std::cmp::Ordering;

use crate::counts::Counts;
use crate::predictions::Classes;
use crate::{Bootstrap, Comparison, EvalError, Metric, Predictions, Verdict, compare};

/// Scores nearer than this share of them, or this, are a tie: sums in another order differ by
/// roundings.
const TIE: f64 = 1e-12;

/// Parts of the rows, each of which is decided by the threshold that is best on the others.
const FOLDS: u32 = 5;

/// A threshold, and what it is worth.
#[derive(Debug, Clone, PartialEq)]
pub struct ThresholdChoice {
    /// [`best_threshold`] of all rows.
    pub threshold: f64,
    /// What thresholds decide that are best on other rows, compared with the decisions at hand.
    pub comparison: Comparison,
}

impl ThresholdChoice {
    /// Whether it is worth more than the decisions at hand.
    pub fn is_better(&self) -> bool {
        self.comparison.verdict == Verdict::Better
    }
}

/// The best threshold of a two-class task, and whether choosing one is worth it: the score on the
/// rows that a threshold was chosen on flatters it, so that each fifth of the rows is decided by the
/// threshold that is best on the others, class by class in turn, and those decisions are compared
/// with the ones that `predictions` hold.
///
/// `None` where there is nothing to choose: the metric reads no decisions, or looks at one kind of
/// mistake alone, which it likes best at an end (precision, and recall of one class).
///
/// # Errors
/// Those of [`best_threshold`] and [`compare()`].
pub fn choose_threshold(
    predictions: &Predictions,
    metric: Metric,
    positive: Option<usize>,
    bootstrap: &Bootstrap,
) -> Result<Option<ThresholdChoice>, EvalError> {
    let (threshold, _) = best_threshold(predictions, metric, positive)?;
    if !weighs_mistakes(metric, positive) {
        return Ok(None);
    }
    let class = positive.unwrap_or(1);
    let fold_of_row = folds(predictions.truth());
    let mut decided = predictions.predicted().to_vec();
    for fold in 0..FOLDS {
        let others = predictions.without(|row| fold_of_row[row] == fold);
        let Some(others) = others else { continue };
        let (threshold, _) = best_threshold(&others, metric, positive)?;
        let by_threshold = others.with_threshold(class, threshold)?;
        for (row, decided) in decided.iter_mut().enumerate() {
            if fold_of_row[row] == fold {
                *decided = by_threshold.predicted()[row];
            }
        }
    }
    let candidate = predictions.clone().with_decisions(decided);
    let comparison = compare(&candidate, predictions, metric, positive, bootstrap)?;
    Ok(Some(ThresholdChoice { threshold, comparison }))
}

fn weighs_mistakes(metric: Metric, positive: Option<usize>) -> bool {
    match metric {
        Metric::Precision | Metric::PrecisionMacro | Metric::PrecisionWeighted => false,
        Metric::Recall => positive.is_none(),
        _ => metric.reads_decisions(),
    }
}

/// The fold of each row: of each class they come in turn.
fn folds(truth: &[u32]) -> Vec<u32> {
    let mut seen = [0; 2];
    let next = |class: &u32| {
        let seen = &mut seen[(*class as usize).min(1)];
        *seen += 1;
        *seen % FOLDS
    };
    truth.iter().map(next).collect()
}

/// The threshold in 0 to 1 that scores best in a two-class task, with its score; see
/// [`Predictions::with_threshold`] for what it decides.
///
/// One threshold is tried between any two neighbouring probabilities of the positive class (class 1
/// where none is named), midway, and one below and above them all, midway to 0 and 1. Of thresholds
/// that score the same, the one nearest to 0.5 wins, and of two equally near the higher. To a
/// metric that reads no decisions all are the same: 0.5. The score is that of the rows the
/// threshold was chosen on, hence flattering; out-of-fold predictions of all rows, together, serve
/// as well as those of one held-out part.
///
/// # Errors
/// The task has not two classes, `positive` is out of range, or the metric is undefined.
pub fn best_threshold(
    predictions: &Predictions,
    metric: Metric,
    positive: Option<usize>,
) -> Result<(f64, f64), EvalError> {
    predictions.check_positive(positive)?;
    let (answers, class) = predictions
        .as_classes()
        .and_then(|answers| answers.binary_class(positive).map(|class| (answers, class)))
        .ok_or(EvalError::NotBinary { classes: predictions.classes() })?;
    let undefined = EvalError::Undefined { metric };
    if !metric.reads_decisions() {
        return metric.score(predictions, positive).map(|score| (0.5, score)).ok_or(undefined);
    }
    let mut best: Option<(f64, f64)> = None;
    scan(answers, predictions.weights(), class, |threshold, counts| {
        let found = match (metric, answers.costs()) {
            (Metric::Cost, costs) => costs.and_then(|costs| counts.cost_of_two(costs)),
            _ => counts.score(metric, positive),
        };
        let Some(score) = found else {
            return;
        };
        let wins = best.is_none_or(|(best_threshold, best_score)| {
            let gain =
                if metric.higher_is_better() { score - best_score } else { best_score - score };
            let tie = TIE * best_score.abs().max(1.0);
            let nearer = (threshold - 0.5).abs() < (best_threshold - 0.5_f64).abs();
            gain > tie || (gain >= -tie && nearer)
        });
        if wins {
            best = Some((threshold, score));
        }
    });
    best.ok_or(undefined)
}

/// Visits every threshold worth trying, from the highest, with the counts it leads to.
fn scan(
    predictions: &Classes,
    weights: &[f64],
    positive: usize,
    mut visit: impl FnMut(f64, &Counts),
) {
    let negative = 1 - positive;
    let score = |row: usize| predictions.row(row)[positive];
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|a, b| score(*b).partial_cmp(&score(*a)).unwrap_or(Ordering::Equal));
    let below = masses_below(predictions, weights, &order);
    let mut counts = Counts::of(predictions, weights);
    counts.hits[positive] = 0.0;
    counts.predicted[positive] = 0.0;
    counts.hits[negative] = below[0][negative];
    counts.predicted[negative] = below[0].iter().sum();
    let highest = score(order[0]);
    if highest < 1.0 {
        visit(midway(highest, 1.0), &counts);
    }
    for (index, &row) in order.iter().enumerate() {
        let weight = weights[row];
        let is_positive = predictions.truth()[row] as usize == positive;
        counts.hits[positive] += if is_positive { weight } else { 0.0 };
        counts.predicted[positive] += weight;
        counts.hits[negative] = below[index + 1][negative];
        counts.predicted[negative] = below[index + 1].iter().sum();
        match order.get(index + 1).map(|next| score(*next)) {
            Some(next) if next == score(row) => {}
            Some(next) => visit(midway(next, score(row)), &counts),
            None => visit(score(row) / 2.0, &counts),
        }
    }
}

/// For each position of `order` and one past it, the mass per true class from there on. Added up
/// from the far end, so that nothing left is exactly 0: taking rows away one by one would leave
/// roundings, and a ratio of two roundings is anything.
fn masses_below(predictions: &Classes, weights: &[f64], order: &[usize]) -> Vec<[f64; 2]> {
    let mut below = vec![[0.0; 2]; order.len() + 1];
    for (index, &row) in order.iter().enumerate().rev() {
        below[index] = below[index + 1];
        below[index][predictions.truth()[row] as usize] += weights[row];
    }
    below
}

/// The middle of two numbers, and the higher where no number lies between them.
fn midway(low: f64, high: f64) -> f64 {
    let middle = low + (high - low) / 2.0;
    if middle > low { middle } else { high }
}
