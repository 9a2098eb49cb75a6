//! Many scores of the same predictions, for any resample of their rows.

use crate::calibration::Calibration;
use crate::counts::Counts;
use crate::ranking::Ranking;
use crate::{EvalError, Metric, Predictions, Score};

/// Predictions prepared for a list of metrics. Sorting, logarithms and binning happen once here;
/// after that a resample is only a mass per row (weight times how often it was drawn), and every
/// metric is one pass over the rows.
pub(crate) struct Scorer<'a, const N: usize> {
    predictions: &'a Predictions,
    positive: Option<usize>,
    metrics: [Metric; N],
    /// Empty unless [`Metric::LogLoss`] is asked for.
    log_losses: Vec<f64>,
    /// Empty unless [`Metric::Brier`] is asked for.
    squared_errors: Vec<f64>,
    /// Empty unless an area is asked for: one in a two-class task, else one per class.
    rankings: Vec<Ranking>,
    calibration: Option<Calibration>,
}

impl<'a, const N: usize> Scorer<'a, N> {
    /// # Errors
    /// `positive` is not one of the classes.
    pub(crate) fn new(
        predictions: &'a Predictions,
        positive: Option<usize>,
        metrics: [Metric; N],
    ) -> Result<Self, EvalError> {
        predictions.check_positive(positive)?;
        let asked = |metric| metrics.contains(&metric);
        let binary = predictions.binary_class(positive);
        let mut scorer = Self {
            predictions,
            positive,
            metrics,
            log_losses: Vec::new(),
            squared_errors: Vec::new(),
            rankings: Vec::new(),
            calibration: None,
        };
        let rows = || predictions.rows().zip(predictions.truth().iter().map(|t| *t as usize));
        if asked(Metric::LogLoss) {
            scorer.log_losses = rows().map(|(row, truth)| log_loss(row[truth])).collect();
        }
        if asked(Metric::Brier) {
            let error = |(row, truth)| squared_error(row, truth, binary);
            scorer.squared_errors = rows().map(error).collect();
        }
        if asked(Metric::RocAuc) || asked(Metric::PrAuc) {
            let classes = binary.map_or(0..predictions.classes(), |class| class..class + 1);
            scorer.rankings = classes.map(|class| Ranking::of(predictions, class)).collect();
        }
        if asked(Metric::Ece) {
            scorer.calibration = Some(Calibration::of(predictions, positive));
        }
        Ok(scorer)
    }

    /// The score of each metric, in their order, for rows of the masses `mass`.
    pub(crate) fn scores(&self, mass: &[f64]) -> [Score; N] {
        let total: f64 = mass.iter().sum();
        if total <= 0.0 {
            return [None; N];
        }
        let counts = self
            .metrics
            .iter()
            .any(|metric| metric.reads_decisions())
            .then(|| Counts::of(self.predictions, mass));
        let (roc_auc, pr_auc) = self.areas(mass);
        self.metrics.map(|metric| match metric {
            Metric::RocAuc => roc_auc,
            Metric::PrAuc => Some(pr_auc),
            Metric::LogLoss => Some(weighted_sum(&self.log_losses, mass) / total),
            Metric::Brier => Some(weighted_sum(&self.squared_errors, mass) / total),
            Metric::Ece => self.calibration.as_ref().map(|c| c.error(mass, total)),
            decided => counts.as_ref()?.score(decided, self.positive),
        })
    }

    /// The areas under the ROC and the precision–recall curve, averaged over the rankings. The
    /// former is undefined as soon as one of them is.
    fn areas(&self, mass: &[f64]) -> (Score, f64) {
        let (mut roc, mut precision) = (Some(0.0), 0.0);
        for ranking in &self.rankings {
            let (this_roc, this_precision) = ranking.areas(mass);
            roc = roc.zip(this_roc).map(|(sum, this)| sum + this);
            precision += this_precision;
        }
        let count = self.rankings.len().max(1) as f64;
        (roc.map(|sum| sum / count), precision / count)
    }
}

/// scikit-learn's clipping, which keeps the loss of a certain mistake finite (36.04).
fn log_loss(probability: f64) -> f64 {
    -probability.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
}

fn squared_error(row: &[f64], truth: usize, binary: Option<usize>) -> f64 {
    let square = |class: usize| (row[class] - f64::from(u8::from(class == truth))).powi(2);
    match binary {
        Some(class) => square(class),
        None => (0..row.len()).map(square).sum(),
    }
}

fn weighted_sum(values: &[f64], mass: &[f64]) -> f64 {
    values.iter().zip(mass).map(|(value, mass)| value * mass).sum()
}
