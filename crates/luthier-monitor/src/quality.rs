//! Quality over the latest labels.

use std::collections::VecDeque;
use std::time::Duration;

use luthier_eval::{Metric, Predictions};

/// The 97.5 % quantile of the normal distribution, for two-sided intervals of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// A prediction whose label has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// When the label came, in milliseconds since the Unix epoch.
    pub time: i64,
    /// The class that was predicted.
    pub predicted: u32,
    /// The class that the label names.
    pub truth: u32,
}

/// How many labels a window holds, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Most labels, at least 1; the oldest go.
    pub labels: usize,
    /// Age past which a label does not count.
    pub age: Duration,
}

/// The latest outcomes of one version of a model, 16 bytes each.
#[derive(Debug, Clone)]
pub struct Window {
    positive: Option<u32>,
    size: WindowSize,
    /// In the order in which they were added.
    outcomes: VecDeque<Outcome>,
}

/// How good a model was on the labels of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// Number of labels, at least 1.
    pub labels: usize,
    /// Share of them that was predicted, 0 to 1.
    pub accuracy: f64,
    /// Lower end of the accuracy's 95 % interval ([`wilson_interval`]).
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// F1 as [`Metric::F1`] has it: of the positive class where one is named, else the mean over the
    /// classes that occur.
    pub f1: f64,
}

impl Default for WindowSize {
    /// 1,000 labels and 7 days.
    fn default() -> Self {
        Self { labels: 1_000, age: Duration::from_secs(7 * 24 * 3600) }
    }
}

impl Window {
    /// An empty window for a model whose positive class is `positive`, if it has one.
    pub fn new(positive: Option<u32>, size: WindowSize) -> Self {
        Self { positive, size, outcomes: VecDeque::new() }
    }

    /// Adds an outcome, in place of the oldest where the window is full.
    pub fn add(&mut self, outcome: Outcome) {
        if self.outcomes.len() >= self.size.labels.max(1) {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back(outcome);
    }

    /// The quality at `now`; `None` where no label is young enough.
    ///
    /// It depends on the outcomes and on `now` alone, not on when it was asked before, so that a
    /// clock that is set back and forth leaves no trace. A label from the future counts.
    pub fn quality(&self, now: i64) -> Option<Quality> {
        let age = i64::try_from(self.size.age.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.saturating_sub(age);
        let young: Vec<Outcome> =
            self.outcomes.iter().filter(|outcome| outcome.time >= oldest).copied().collect();
        let hits = young.iter().filter(|outcome| outcome.predicted == outcome.truth).count();
        let (low, high) = wilson_interval(hits, young.len())?;
        let accuracy = hits as f64 / young.len() as f64;
        let f1 = f1(&young, self.positive)?;
        Some(Quality { labels: young.len(), accuracy, low, high, f1 })
    }
}

/// The 95 % interval of a share of which `hits` of `rows` were seen; `None` without rows.
///
/// Wilson's score interval (Wilson 1927, "Probable inference, the law of succession, and statistical
/// inference"), which stays within 0 and 1 and keeps its coverage for few rows and for shares near
/// the ends, where the usual ± 1.96 standard errors fail (Brown, Cai and DasGupta 2001).
pub fn wilson_interval(hits: usize, rows: usize) -> Option<(f64, f64)> {
    if rows == 0 {
        return None;
    }
    let (n, hits) = (rows as f64, hits.min(rows) as f64);
    let share = hits / n;
    let scale = 1.0 + Z * Z / n;
    let centre = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    // The ends are 0 and 1 exactly where the share is; rounding would miss them.
    let low = if hits == 0.0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if hits == n { 1.0 } else { (centre + half).min(1.0) };
    Some((low, high))
}

/// F1 by the code that judged the model before it was served. Classes that do not occur have no part
/// in it, so those that do are numbered anew and the work is bounded by the window.
fn f1(outcomes: &[Outcome], positive: Option<u32>) -> Option<f64> {
    let decided = |outcome: &Outcome| [outcome.predicted, outcome.truth];
    let mut classes: Vec<u32> = outcomes.iter().flat_map(decided).chain(positive).collect();
    classes.sort_unstable();
    classes.dedup();
    let place = |class: u32| classes.binary_search(&class).unwrap_or_default();
    let predicted: Vec<u32> = outcomes.iter().map(|o| place(o.predicted) as u32).collect();
    let truth = outcomes.iter().map(|o| place(o.truth) as u32).collect();
    // F1 reads decisions alone; the probabilities only have to agree with them.
    let mut certain = vec![0.0; outcomes.len() * classes.len()];
    for (row, class) in certain.chunks_exact_mut(classes.len().max(1)).zip(&predicted) {
        row[*class as usize] = 1.0;
    }
    let decided = Predictions::new(classes.len(), truth, certain, Some(predicted), None).ok()?;
    Metric::F1.score(&decided, positive.map(place))
}

#[cfg(test)]
mod tests;
