//! Many scores of the same predictions, for any resample of their rows.

use crate::counts::Counts;
use crate::losses::Losses;
use crate::predictions::{Answers, Classes};
use crate::ranking::Ranking;
use crate::reliability::Reliability;
use crate::{EvalError, Metric, Predictions, Score};

/// Predictions prepared for a list of metrics. Sorting, logarithms and binning happen once here;
/// after that a resample is only a mass per row (weight times how often it was drawn), and every
/// metric is one pass over the rows.
pub(crate) enum Scorer<'a, const N: usize> {
    Classes(ClassScorer<'a, N>),
    Numbers([Losses<'a>; N]),
}

impl<'a, const N: usize> Scorer<'a, N> {
    /// # Errors
    /// `positive` is not one of the classes, or a metric is for the other kind of predictions.
    pub(crate) fn new(
        predictions: &'a Predictions,
        positive: Option<usize>,
        metrics: [Metric; N],
    ) -> Result<Self, EvalError> {
        predictions.check_positive(positive)?;
        let of_numbers = predictions.numbers().is_some();
        if let Some(metric) = metrics.into_iter().find(|metric| metric.of_numbers() != of_numbers) {
            return Err(EvalError::OtherKind { metric });
        }
        Ok(match predictions.answers() {
            Answers::Classes(answers) => {
                Self::Classes(ClassScorer::new(answers, positive, metrics))
            }
            Answers::Numbers(answers) => {
                Self::Numbers(metrics.map(|metric| Losses::of(answers, metric)))
            }
        })
    }

    /// The score of each metric, in their order, for rows of the masses `mass`.
    pub(crate) fn scores(&self, mass: &[f64]) -> [Score; N] {
        let total: f64 = mass.iter().sum();
        if total <= 0.0 {
            return [None; N];
        }
        match self {
            Self::Classes(scorer) => scorer.scores(mass, total),
            Self::Numbers(losses) => losses.each_ref().map(|losses| losses.score(mass, total)),
        }
    }
}

/// The part that knows classes.
pub(crate) struct ClassScorer<'a, const N: usize> {
    predictions: &'a Classes,
    positive: Option<usize>,
    metrics: [Metric; N],
    /// Empty unless [`Metric::LogLoss`] is asked for.
    log_losses: Vec<f64>,
    /// Empty unless [`Metric::Brier`] is asked for.
    squared_errors: Vec<f64>,
    /// Empty unless an area is asked for: one in a two-class task, else one per class.
    rankings: Vec<Ranking>,
    reliability: Option<Reliability>,
    /// What each row's decision costs, if [`Metric::Cost`] is asked for and that is known.
    costs: Option<Vec<f64>>,
}

impl<'a, const N: usize> ClassScorer<'a, N> {
    fn new(predictions: &'a Classes, positive: Option<usize>, metrics: [Metric; N]) -> Self {
        let asked = |metric| metrics.contains(&metric);
        let binary = predictions.binary_class(positive);
        let mut scorer = Self {
            predictions,
            positive,
            metrics,
            log_losses: Vec::new(),
            squared_errors: Vec::new(),
            rankings: Vec::new(),
            reliability: None,
            costs: None,
        };
        let truth = || predictions.truth().iter().map(|truth| *truth as usize);
        let rows = || predictions.rows().zip(truth());
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
            scorer.reliability = Some(Reliability::of(predictions, positive));
        }
        if asked(Metric::Cost) {
            let decided = || truth().zip(predictions.predicted());
            let costs = predictions.costs();
            scorer.costs = costs.map(|costs| {
                decided().map(|(truth, decided)| costs.cost(truth, *decided as usize)).collect()
            });
        }
        scorer
    }

    fn scores(&self, mass: &[f64], total: f64) -> [Score; N] {
        let counts = self
            .metrics
            .iter()
            .any(|metric| metric.reads_decisions())
            .then(|| Counts::of(self.predictions, mass));
        let (roc_auc, pr_auc) = self.areas(mass);
        let mean = |values: &Vec<f64>| weighted_sum(values, mass) / total;
        self.metrics.map(|metric| match metric {
            Metric::RocAuc => roc_auc,
            Metric::PrAuc => Some(pr_auc),
            Metric::LogLoss => Some(mean(&self.log_losses)),
            Metric::Brier => Some(mean(&self.squared_errors)),
            Metric::Ece => self.reliability.as_ref().map(|r| r.error(mass, total)),
            Metric::Cost => self.costs.as_ref().map(mean),
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
pub(crate) fn log_loss(probability: f64) -> f64 {
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
