//! How far the latest predictions are from the baseline.

use std::collections::VecDeque;

use crate::Baseline;
use crate::baseline::{Bins, Feature, MAX_BINS, Observation};

/// Predictions that are compared with the baseline: the latest ones.
const WINDOW: usize = 1_000;
/// Fewest predictions that say anything. Of a feature that does not drift the index is about
/// 9 (1/n + 1/m) in ten bins for n predictions and m baseline rows (Yurdakul and Naranjo 2020,
/// "Statistical properties of the population stability index"): 0.09 here, where 0.25 is drift.
const FEWEST: usize = 100;

/// The latest 1,000 predictions of one version of a model, three bytes each, beside its baseline.
#[derive(Debug, Clone)]
pub struct Drift {
    bins: Bins,
    latest: VecDeque<[u8; Feature::ALL.len()]>,
    /// The latest by feature and bin.
    counts: [[u64; MAX_BINS]; Feature::ALL.len()],
}

impl Drift {
    /// Most predictions that have a part in the comparison.
    pub const WINDOW: usize = WINDOW;

    /// No predictions yet.
    pub fn new(baseline: &Baseline) -> Self {
        let counts = [[0; MAX_BINS]; Feature::ALL.len()];
        Self { bins: baseline.bins(), latest: VecDeque::with_capacity(WINDOW), counts }
    }

    /// Adds a prediction, in place of the oldest where there are 1,000. One for a class that the
    /// baseline does not know is left out.
    pub fn add(&mut self, row: &Observation) {
        let Some(added) = self.bins.of(row) else { return };
        if self.latest.len() == WINDOW
            && let Some(oldest) = self.latest.pop_front()
        {
            for (counts, bin) in self.counts.iter_mut().zip(oldest) {
                counts[usize::from(bin)] -= 1;
            }
        }
        for (counts, bin) in self.counts.iter_mut().zip(added) {
            counts[usize::from(bin)] += 1;
        }
        self.latest.push_back(added);
    }

    /// The population stability index of each feature; `None` with fewer than 100 predictions.
    pub fn indices(&self) -> Option<[(Feature, f64); Feature::ALL.len()]> {
        let index = |feature: Feature| {
            let place = feature as usize;
            population_stability_index(&self.bins.counts[place], &self.counts[place])
        };
        (self.latest.len() >= FEWEST).then(|| Feature::ALL.map(|feature| (feature, index(feature))))
    }
}

/// The population stability index of `actual` against `expected`, counts of the same bins; further
/// bins of the longer one are left out.
///
/// Σ (aᵢ − eᵢ) ln(aᵢ / eᵢ) over the bins' shares (Siddiqi 2006, "Credit risk scorecards"), which is
/// Jeffreys's divergence (Kullback and Leibler 1951). It is 0 for equal shares, has no upper bound,
/// and is read by custom as: below 0.1 alike, above 0.25 moved. Each count is raised by ½, as by
/// Jeffreys's prior, so that an empty bin has a finite part; bins that are empty on both sides have
/// none.
pub fn population_stability_index(expected: &[u64], actual: &[u64]) -> f64 {
    let used = || expected.iter().zip(actual).filter(|(e, a)| **e > 0 || **a > 0);
    let (mut bins, mut expected_rows, mut actual_rows) = (0.0, 0.0, 0.0);
    for (e, a) in used() {
        bins += 1.0;
        expected_rows += *e as f64;
        actual_rows += *a as f64;
    }
    let share = |count: u64, rows: f64| (count as f64 + 0.5) / (rows + 0.5 * bins);
    let part = |(e, a): (&u64, &u64)| {
        let (e, a) = (share(*e, expected_rows), share(*a, actual_rows));
        (a - e) * (a / e).ln()
    };
    used().map(part).sum()
}

#[cfg(test)]
mod tests;
