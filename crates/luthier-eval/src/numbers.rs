//! Where predicted numbers are off.

use serde::{Deserialize, Serialize};

use crate::ordered::Ordered;
use crate::predictions::Numbers;

/// Shares of the rows whose residuals are reported.
const SHARES: [f64; 9] = [0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0];
/// Bins of equal mass.
const BINS: usize = 10;
/// Bins of the histogram.
const RESIDUAL_BINS: usize = 40;
/// Share of the residuals at either end that has no bins of its own.
const BEYOND: f64 = 0.005;

/// How the errors of predicted numbers are spread. Field names are stable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NumberReport {
    /// Quantiles of the residuals, truth minus prediction, from the smallest to the largest.
    pub residuals: Vec<ResidualQuantile>,
    /// Rows by predicted number, in ten bins of about equal weight, ascending; rows that are
    /// predicted the same share a bin, and bins without rows are left out.
    pub bins: Vec<NumberBin>,
    /// Rows by residual, in bins of equal width from the smallest residual to the largest but for 0.5 % at
    /// either end, which are in the first and the last bin; one bin where all are equal.
    #[serde(default)]
    pub histogram: Vec<ResidualBin>,
}

/// Rows of like residuals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ResidualBin {
    /// Smallest residual.
    pub lower: f64,
    /// Largest residual.
    pub upper: f64,
    /// Rows in the bin.
    pub count: usize,
}

/// A residual that is not exceeded by a share of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ResidualQuantile {
    /// The share of the rows' weight, 0 to 1.
    pub share: f64,
    /// The residual.
    pub value: f64,
}

/// Rows of like predictions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NumberBin {
    /// Smallest prediction.
    pub lower: f64,
    /// Largest prediction.
    pub upper: f64,
    /// Rows in the bin.
    pub count: usize,
    /// Mean prediction.
    pub predicted: f64,
    /// Mean truth; near the prediction if that is honest.
    pub truth: f64,
}

impl NumberReport {
    pub(crate) fn of(numbers: &Numbers, weights: &[f64]) -> Self {
        let residuals =
            Ordered::of(numbers.rows().map(|(truth, predicted)| truth - predicted).collect());
        let quantile = |share| {
            residuals.quantile(share, weights).map(|value| ResidualQuantile { share, value })
        };
        Self {
            residuals: SHARES.into_iter().filter_map(quantile).collect(),
            bins: bins(numbers, weights),
            histogram: histogram(&residuals, weights),
        }
    }
}

fn histogram(residuals: &Ordered, weights: &[f64]) -> Vec<ResidualBin> {
    let ends = [BEYOND, 1.0 - BEYOND].map(|share| residuals.quantile(share, weights));
    let [Some(low), Some(high)] = ends else { return Vec::new() };
    let count = if low < high { RESIDUAL_BINS } else { 1 };
    let width = (high - low) / count as f64;
    let bin = |at: usize| ResidualBin {
        lower: low + width * at as f64,
        upper: low + width * (at + 1) as f64,
        count: 0,
    };
    let mut bins: Vec<ResidualBin> = (0..count).map(bin).collect();
    for (_, residual) in residuals.rows().filter(|(row, _)| weights[*row] > 0.0) {
        let place = if width > 0.0 { ((residual - low) / width) as usize } else { 0 };
        bins[place.min(count - 1)].count += 1;
    }
    bins
}

fn bins(numbers: &Numbers, weights: &[f64]) -> Vec<NumberBin> {
    let ordered = Ordered::of(numbers.predicted.clone());
    let rows: Vec<(usize, f64)> = ordered.rows().filter(|(row, _)| weights[*row] > 0.0).collect();
    let total: f64 = weights.iter().sum();
    let mut sums: [Option<BinSums>; BINS] = [None; BINS];
    let mut below = 0.0;
    for tied in rows.chunk_by(|a, b| a.1 == b.1) {
        let mass: f64 = tied.iter().map(|(row, _)| weights[*row]).sum();
        // The bin that the middle of the tied rows is in.
        let bin = ((below + mass / 2.0) / total * BINS as f64) as usize;
        let sums = sums[bin.min(BINS - 1)].get_or_insert(BinSums::from(tied[0].1));
        for (row, predicted) in tied {
            sums.add(*predicted, numbers.truth[*row], weights[*row]);
        }
        below += mass;
    }
    sums.into_iter().flatten().map(BinSums::bin).collect()
}

#[derive(Clone, Copy)]
struct BinSums {
    lower: f64,
    upper: f64,
    count: usize,
    mass: f64,
    predicted: f64,
    truth: f64,
}

impl BinSums {
    fn from(lower: f64) -> Self {
        Self { lower, upper: lower, count: 0, mass: 0.0, predicted: 0.0, truth: 0.0 }
    }

    fn add(&mut self, predicted: f64, truth: f64, weight: f64) {
        self.upper = predicted;
        self.count += 1;
        self.mass += weight;
        self.predicted += weight * predicted;
        self.truth += weight * truth;
    }

    fn bin(self) -> NumberBin {
        let Self { lower, upper, count, mass, predicted, truth } = self;
        NumberBin { lower, upper, count, predicted: predicted / mass, truth: truth / mass }
    }
}
