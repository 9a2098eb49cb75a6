//! How well probabilities keep their word.

use crate::ReliabilityBin;
use crate::predictions::{Classes, first_max};

/// Number of bins of equal width.
pub(crate) const BINS: usize = 15;

/// Every row's confidence and whether it was justified: of the positive class in a two-class
/// task, of the most probable class (whatever was decided) with more.
pub(crate) struct Reliability(Vec<Claim>);

struct Claim {
    /// `0..=BINS`; confidence 1 comes last, on its own.
    bin: usize,
    confidence: f64,
    holds: bool,
}

impl Reliability {
    pub(crate) fn of(predictions: &Classes, positive: Option<usize>) -> Self {
        let class = predictions.binary_class(positive);
        let claim = |(row, &truth): (&[f64], &u32)| {
            let class = class.unwrap_or_else(|| first_max(row));
            let confidence = row[class];
            let bin = (1..=BINS).take_while(|bin| edge(*bin) <= confidence).count();
            Claim { bin, confidence, holds: truth as usize == class }
        };
        Self(predictions.rows().zip(predictions.truth()).map(claim).collect())
    }

    /// Σ over bins of |Σ mass (confidence − holds)|, over `total`: the expected calibration error.
    pub(crate) fn error(&self, mass: &[f64], total: f64) -> f64 {
        let mut gaps = [0.0; BINS + 1];
        for (claim, mass) in self.0.iter().zip(mass) {
            gaps[claim.bin] += mass * (claim.confidence - f64::from(u8::from(claim.holds)));
        }
        gaps.iter().map(|gap: &f64| gap.abs()).sum::<f64>() / total
    }

    /// The bins of a reliability diagram, where confidence 1 belongs to the last.
    pub(crate) fn bins(&self, mass: &[f64]) -> Vec<ReliabilityBin> {
        let mut sums = [(0, 0.0, 0.0, 0.0); BINS];
        for (claim, mass) in self.0.iter().zip(mass) {
            let (count, total, confidence, holds) = &mut sums[claim.bin.min(BINS - 1)];
            *count += 1;
            *total += mass;
            *confidence += mass * claim.confidence;
            *holds += if claim.holds { *mass } else { 0.0 };
        }
        let bin = |(index, (count, total, confidence, holds)): (usize, (usize, f64, f64, f64))| {
            let mean = |sum: f64| (total > 0.0).then(|| sum / total);
            ReliabilityBin {
                lower: edge(index),
                upper: edge(index + 1),
                count,
                confidence: mean(confidence),
                accuracy: mean(holds),
            }
        };
        sums.into_iter().enumerate().map(bin).collect()
    }
}

fn edge(index: usize) -> f64 {
    index as f64 / BINS as f64
}
