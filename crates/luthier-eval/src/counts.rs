//! Scores of decisions, from sums per class.

use crate::predictions::Classes;
use crate::{Costs, Metric, Score};

/// Mass of rows per class: all that a metric of decisions needs of them. Mass is weight times
/// multiplicity.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    /// Rows of the class that are decided rightly.
    pub(crate) hits: Vec<f64>,
    /// Rows of the class.
    pub(crate) truth: Vec<f64>,
    /// Rows decided for the class.
    pub(crate) predicted: Vec<f64>,
    total: f64,
}

impl Counts {
    /// The sums of `predictions`, whose rows have the masses `mass`.
    pub(crate) fn of(predictions: &Classes, mass: &[f64]) -> Self {
        let zeros = || vec![0.0; predictions.classes()];
        let (mut hits, mut truth, mut predicted) = (zeros(), zeros(), zeros());
        let decided = predictions.truth().iter().zip(predictions.predicted());
        for ((&is, &said), &mass) in decided.zip(mass) {
            hits[is as usize] += if is == said { mass } else { 0.0 };
            truth[is as usize] += mass;
            predicted[said as usize] += mass;
        }
        let total = truth.iter().sum();
        Self { hits, truth, predicted, total }
    }

    /// The mean cost of two classes; more have counts that say too little.
    pub(crate) fn cost_of_two(&self, costs: &Costs) -> Score {
        let sum: f64 = (0..2)
            .map(|truth| {
                let (hits, misses) = (self.hits[truth], self.truth[truth] - self.hits[truth]);
                hits * costs.cost(truth, truth) + misses * costs.cost(truth, 1 - truth)
            })
            .sum();
        (self.total > 0.0).then(|| sum / self.total)
    }

    /// The score of `metric`; `None` for one that needs more than counts, or if there is no mass.
    pub(crate) fn score(&self, metric: Metric, positive: Option<usize>) -> Score {
        if self.total <= 0.0 {
            return None;
        }
        let of_positive = |statistic: fn(&Self, usize) -> f64| match positive {
            Some(class) => statistic(self, class),
            None => self.macro_mean(statistic),
        };
        Some(match metric {
            Metric::Accuracy
            | Metric::PrecisionMicro
            | Metric::RecallMicro
            | Metric::RecallWeighted
            | Metric::F1Micro => self.hits.iter().sum::<f64>() / self.total,
            Metric::BalancedAccuracy => self.balanced_accuracy(),
            Metric::Precision => of_positive(Self::precision),
            Metric::Recall => of_positive(Self::recall),
            Metric::F1 => of_positive(Self::f1),
            Metric::PrecisionMacro => self.macro_mean(Self::precision),
            Metric::RecallMacro => self.macro_mean(Self::recall),
            Metric::F1Macro => self.macro_mean(Self::f1),
            Metric::PrecisionWeighted => self.weighted_mean(Self::precision),
            Metric::F1Weighted => self.weighted_mean(Self::f1),
            Metric::Mcc => self.mcc(),
            _ => return None,
        })
    }

    pub(crate) fn precision(&self, class: usize) -> f64 {
        ratio(self.hits[class], self.predicted[class])
    }

    pub(crate) fn recall(&self, class: usize) -> f64 {
        ratio(self.hits[class], self.truth[class])
    }

    pub(crate) fn f1(&self, class: usize) -> f64 {
        ratio(2.0 * self.hits[class], self.truth[class] + self.predicted[class])
    }

    fn macro_mean(&self, statistic: fn(&Self, usize) -> f64) -> f64 {
        let occurs = |class: &usize| self.truth[*class] + self.predicted[*class] > 0.0;
        mean((0..self.truth.len()).filter(occurs).map(|class| statistic(self, class)))
    }

    fn weighted_mean(&self, statistic: fn(&Self, usize) -> f64) -> f64 {
        let sum = |sum, class| sum + self.truth[class] * statistic(self, class);
        (0..self.truth.len()).fold(0.0, sum) / self.total
    }

    fn balanced_accuracy(&self) -> f64 {
        let occurs = |class: &usize| self.truth[*class] > 0.0;
        mean((0..self.truth.len()).filter(occurs).map(|class| self.recall(class)))
    }

    /// Gorodkin's R_K. The variances are summed as x (n − x), which is exactly 0 for a single
    /// class where n² − Σx² may be left with a rounding.
    fn mcc(&self) -> f64 {
        let spread = |sums: &[f64]| -> f64 {
            let n: f64 = sums.iter().sum();
            sums.iter().map(|x| x * (n - x)).sum()
        };
        let hits: f64 = self.hits.iter().sum();
        let chance: f64 = self.truth.iter().zip(&self.predicted).map(|(t, p)| t * p).sum();
        let scale = (spread(&self.truth) * spread(&self.predicted)).sqrt();
        ratio(hits * self.total - chance, scale).clamp(-1.0, 1.0)
    }
}

/// `part / whole`, and 0 where the whole is 0.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// The mean, and 0 of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    ratio(sum, count)
}
