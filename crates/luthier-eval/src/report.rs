//! All that a reader wants to know of one model's predictions.

use serde::{Deserialize, Serialize};

use crate::bootstrap::Sample;
use crate::counts::Counts;
use crate::numbers::NumberReport;
use crate::predictions::{Answers, Classes, check_length};
use crate::reliability::Reliability;
use crate::scorer::Scorer;
use crate::{Bootstrap, EvalError, Metric, Predictions};

/// Every metric with its uncertainty, and what lies behind them. Field names are stable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Rows evaluated.
    pub rows: usize,
    /// Names of the classes, by index.
    pub labels: Vec<String>,
    /// Index of the positive class, where the task has one.
    pub positive: Option<usize>,
    /// Confidence of the metrics' intervals.
    pub confidence: f64,
    /// Every metric of the predictions' kind, in the order of [`Metric::CLASSES`] (the cost only
    /// where costs are known) or [`Metric::NUMBERS`].
    pub metrics: Vec<MetricReport>,
    /// Every class, in the order of `labels`.
    pub classes: Vec<ClassReport>,
    /// Rows by true class (outer) and decided class (inner).
    pub confusion: Vec<Vec<u64>>,
    /// The reliability diagram, 15 bins of equal width; none of numbers. Confidence is the positive
    /// class's probability in two-class tasks, the largest probability with more.
    pub reliability: Vec<ReliabilityBin>,
    /// Where numbers are off; `None` of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<NumberReport>,
}

/// One score with its interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricReport {
    /// Name of the metric.
    pub name: String,
    /// The score; `None` where the metric is undefined.
    pub value: Option<f64>,
    /// Lower end of the percentile-bootstrap interval, as [`interval`](crate::interval) gives it.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Whether a larger score is the better one.
    pub higher_is_better: bool,
}

/// How one class fares against the rest; 0 where a ratio has no denominator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassReport {
    /// Name of the class.
    pub label: String,
    /// Rows of the class.
    pub support: u64,
    /// Share of decisions for the class that are right.
    pub precision: f64,
    /// Share of its rows that are found.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
}

/// Rows whose confidence lies in `[lower, upper)`; 1 belongs to the last bin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Lower edge.
    pub lower: f64,
    /// Upper edge.
    pub upper: f64,
    /// Rows in the bin.
    pub count: usize,
    /// Their mean confidence; `None` where there are none.
    pub confidence: Option<f64>,
    /// Share of them that are of the class; `None` where there are none.
    pub accuracy: Option<f64>,
}

impl Report {
    /// Evaluates `predictions`, whose classes are called `labels`; numbers have none.
    ///
    /// # Errors
    /// There is not one label per class, or `positive` or `bootstrap` is out of range.
    pub fn build(
        predictions: &Predictions,
        labels: &[String],
        positive: Option<usize>,
        bootstrap: &Bootstrap,
    ) -> Result<Self, EvalError> {
        check_length("labels", labels.len(), predictions.classes())?;
        bootstrap.check()?;
        let mut report = Self {
            rows: predictions.len(),
            labels: labels.to_vec(),
            positive,
            confidence: bootstrap.confidence,
            metrics: Vec::new(),
            classes: Vec::new(),
            confusion: Vec::new(),
            reliability: Vec::new(),
            numbers: None,
        };
        let weights = predictions.weights();
        match predictions.answers() {
            Answers::Classes(answers) => {
                report.metrics = lines(predictions, positive, Metric::CLASSES, bootstrap)?;
                if answers.costs().is_none() {
                    report.metrics.retain(|line| line.name != Metric::Cost.name());
                }
                report.confusion = confusion(answers);
                report.classes = classes(answers, weights, labels, &report.confusion);
                report.reliability = Reliability::of(answers, positive).bins(weights);
            }
            Answers::Numbers(answers) => {
                report.metrics = lines(predictions, positive, Metric::NUMBERS, bootstrap)?;
                report.numbers = Some(NumberReport::of(answers, weights));
            }
        }
        Ok(report)
    }

    /// With a line of `metric`, if that is missing: those with a parameter are. The other arguments
    /// are those of [`build`](Self::build).
    ///
    /// # Errors
    /// As [`build`](Self::build), or the metric is for the other kind of predictions.
    pub fn with_metric(
        mut self,
        metric: Metric,
        predictions: &Predictions,
        bootstrap: &Bootstrap,
    ) -> Result<Self, EvalError> {
        if self.metric(metric).is_none() {
            bootstrap.check()?;
            self.metrics.extend(lines(predictions, self.positive, [metric], bootstrap)?);
        }
        Ok(self)
    }

    /// The line of `metric`.
    pub fn metric(&self, metric: Metric) -> Option<&MetricReport> {
        self.metrics.iter().find(|line| line.name == metric.name())
    }
}

fn lines<const N: usize>(
    predictions: &Predictions,
    positive: Option<usize>,
    metrics: [Metric; N],
    bootstrap: &Bootstrap,
) -> Result<Vec<MetricReport>, EvalError> {
    let scorer = Scorer::new(predictions, positive, metrics)?;
    let values = scorer.scores(predictions.weights());
    let samples = bootstrap.samples(predictions.weights(), |mass| scorer.scores(mass));
    let line = |((metric, value), sample): ((Metric, _), &Sample)| {
        let interval = sample.interval(bootstrap.confidence);
        MetricReport {
            name: metric.name().into_owned(),
            value,
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            higher_is_better: metric.higher_is_better(),
        }
    };
    Ok(metrics.into_iter().zip(values).zip(&samples).map(line).collect())
}

fn confusion(predictions: &Classes) -> Vec<Vec<u64>> {
    let classes = predictions.classes();
    let mut rows = vec![vec![0; classes]; classes];
    for (&truth, &predicted) in predictions.truth().iter().zip(predictions.predicted()) {
        rows[truth as usize][predicted as usize] += 1;
    }
    rows
}

fn classes(
    predictions: &Classes,
    weights: &[f64],
    labels: &[String],
    confusion: &[Vec<u64>],
) -> Vec<ClassReport> {
    let counts = Counts::of(predictions, weights);
    let class = |(class, (label, row)): (usize, (&String, &Vec<u64>))| ClassReport {
        label: label.clone(),
        support: row.iter().sum(),
        precision: counts.precision(class),
        recall: counts.recall(class),
        f1: counts.f1(class),
    };
    labels.iter().zip(confusion).enumerate().map(class).collect()
}
