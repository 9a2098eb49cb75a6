//! How far the latest predictions are from the baseline.

use std::collections::VecDeque;

use luthier_data::population_stability_index;

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

#[cfg(test)]
mod tests;
