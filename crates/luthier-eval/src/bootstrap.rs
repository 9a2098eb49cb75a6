//! Uncertainty by resampling rows.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::scorer::Scorer;
use crate::{EvalError, Metric, Predictions, Score};

/// Rows that all resamples together may visit, per resample asked for.
const FULL_ROWS: usize = 50_000;
/// Resamples that large data are never cut below.
const FEWEST_RESAMPLES: usize = 100;

/// How to bootstrap: rows are drawn uniformly, with replacement, as many as there are.
///
/// Above 50,000 rows only `resamples × 50,000 / rows` resamples are drawn, but 100 or as many as
/// asked for at least: intervals are then narrow, and nearly normal, so that their ends matter less
/// than the time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Resamples to draw, at least 1.
    pub resamples: usize,
    /// Seed of the ChaCha8 generator. The same seed draws the same rows for every metric and model.
    pub seed: u64,
    /// Confidence of intervals, between 0 and 1.
    pub confidence: f64,
}

impl Default for Bootstrap {
    /// 1,000 resamples at 95 %.
    fn default() -> Self {
        Self { resamples: 1_000, seed: 0, confidence: 0.95 }
    }
}

/// A two-sided interval, `low ≤ high`, in units of its metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The percentile-bootstrap interval of a score (Efron 1979).
///
/// It has no width where no resample can differ, as with a perfect score: such an interval says
/// nothing about rows unseen. A calibration error grows by resampling, so that a small one may lie
/// below its own interval. `None` where the metric is undefined on at least half of the
/// resamples, or `positive` or `bootstrap` is out of range.
pub fn interval(
    predictions: &Predictions,
    metric: Metric,
    positive: Option<usize>,
    bootstrap: &Bootstrap,
) -> Option<Interval> {
    bootstrap.check().ok()?;
    let scorer = Scorer::new(predictions, positive, [metric]).ok()?;
    let [sample] = bootstrap.samples(predictions.weights(), |mass| scorer.scores(mass));
    sample.interval(bootstrap.confidence)
}

/// The standard error of a score: the standard deviation over resamples. `None` as for
/// [`interval`].
pub fn standard_error(
    predictions: &Predictions,
    metric: Metric,
    positive: Option<usize>,
    bootstrap: &Bootstrap,
) -> Option<f64> {
    bootstrap.check().ok()?;
    let scorer = Scorer::new(predictions, positive, [metric]).ok()?;
    let [sample] = bootstrap.samples(predictions.weights(), |mass| scorer.scores(mass));
    sample.deviation()
}

impl Bootstrap {
    pub(crate) fn check(&self) -> Result<(), EvalError> {
        if self.resamples == 0 {
            return Err(EvalError::Setting { name: "resamples", value: 0.0 });
        }
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            return Err(EvalError::Setting { name: "confidence", value: self.confidence });
        }
        Ok(())
    }

    /// Scores every resample of rows that weigh `weights`. `score` is given each row's mass: its
    /// weight times how often it was drawn.
    pub(crate) fn samples<const N: usize>(
        &self,
        weights: &[f64],
        mut score: impl FnMut(&[f64]) -> [Score; N],
    ) -> [Sample; N] {
        let resamples = self.resamples_of(weights.len());
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut mass = vec![0.0; weights.len()];
        let mut samples = std::array::from_fn(|_| Sample { values: Vec::new(), resamples });
        for _ in 0..resamples {
            mass.fill(0.0);
            for _ in 0..weights.len() {
                let row = rng.random_range(0..weights.len());
                mass[row] += weights[row];
            }
            for (sample, value) in samples.iter_mut().zip(score(&mass)) {
                sample.values.extend(value);
            }
        }
        for sample in &mut samples {
            sample.values.sort_unstable_by(f64::total_cmp);
        }
        samples
    }

    pub(crate) fn resamples_of(&self, rows: usize) -> usize {
        let affordable = self.resamples.saturating_mul(FULL_ROWS) / rows.max(1);
        self.resamples.min(affordable.max(FEWEST_RESAMPLES))
    }
}

/// A statistic's values over resamples, ascending, where it is defined.
pub(crate) struct Sample {
    values: Vec<f64>,
    resamples: usize,
}

impl Sample {
    /// The central interval; `None` where at most half of the resamples have a value.
    pub(crate) fn interval(&self, confidence: f64) -> Option<Interval> {
        let tail = (1.0 - confidence) / 2.0;
        Some(Interval { low: self.quantile(tail)?, high: self.quantile(1.0 - tail)? })
    }

    /// The standard deviation; `None` where at most half of the resamples have a value.
    fn deviation(&self) -> Option<f64> {
        if 2 * self.values.len() <= self.resamples {
            return None;
        }
        let count = self.values.len() as f64;
        let mean = self.values.iter().sum::<f64>() / count;
        let squares: f64 = self.values.iter().map(|value| (value - mean).powi(2)).sum();
        Some((squares / (count - 1.0).max(1.0)).sqrt())
    }

    /// The value below which `share` of the distribution lies, between neighbours linearly (type 7
    /// of Hyndman and Fan 1996, NumPy's default); `None` where at most half of the resamples have
    /// a value.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        if 2 * self.values.len() <= self.resamples {
            return None;
        }
        let position = share * (self.values.len() - 1) as f64;
        let below = *self.values.get(position.floor() as usize)?;
        let above = *self.values.get(position.ceil() as usize)?;
        Some(below + (above - below) * position.fract())
    }
}
