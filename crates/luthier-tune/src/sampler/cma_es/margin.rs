//! The margin of probability that keeps a distribution from settling on one of discrete values.

use super::super::axis::Range;
use super::super::normal::{probability_below, quantile};
use super::evolution::Evolution;

/// How far a cell's edge may be from the end of its range by rounding.
const EDGE: f64 = 1e-9;

/// Corrects means and scales such that each discrete dimension is drawn outside of the cell that its
/// mean is in with some probability (Hamano et al. 2022).
pub(super) fn keep(evolution: &mut Evolution, ranges: &[(usize, &Range)]) {
    let least = (1.0 / (ranges.len() * evolution.population()) as f64).min(0.5);
    for (dimension, (_, range)) in ranges.iter().enumerate() {
        let (mean, old) = (evolution.mean[dimension], evolution.deviation_of(dimension));
        let known = old > 0.0 && old.is_finite();
        if !(known && range.is_discrete()) {
            continue;
        }
        let (low, high) = range.cell(range.snap(range.at(mean)));
        let (low, high) = (range.share(low), range.share(high));
        let (mean, deviation) = match (low <= EDGE, high >= 1.0 - EDGE) {
            (true, _) => (outer(mean, old, high, least), old),
            (_, true) => (outer(mean, old, low, least), old),
            _ => inner(mean, old, (low, high), 0.5 * least),
        };
        evolution.mean[dimension] = mean;
        evolution.scales[dimension] *= deviation / old;
    }
}

/// The mean in an outermost cell, moved towards the cell's inner `edge` where less than `least` of
/// the probability is beyond that.
fn outer(mean: f64, deviation: f64, edge: f64, least: f64) -> f64 {
    let farthest = -quantile(least) * deviation;
    edge + (mean - edge).clamp(-farthest, farthest)
}

/// Mean and deviation in an inner cell such that at least about `least` of the probability is on
/// either side of it.
fn inner(mean: f64, deviation: f64, (low, high): (f64, f64), least: f64) -> (f64, f64) {
    let below = probability_below((low - mean) / deviation);
    let above = probability_below((mean - high) / deviation);
    if below >= least && above >= least {
        return (mean, deviation);
    }
    let (more_below, more_above) = (below.max(least), above.max(least));
    let inside = 1.0 - below - above;
    // What was added is taken from where there is more than the margin.
    let surplus =
        (1.0 - more_below - more_above - inside) / (more_below + more_above + inside - 3.0 * least);
    let [below, above] = [more_below, more_above].map(|share| share + surplus * (share - least));
    let (left, right) = (-quantile(below), -quantile(above));
    let wide = left + right;
    ((low * right + high * left) / wide, (high - low) / wide)
}
