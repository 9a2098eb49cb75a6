//! Losses: where boosting begins, which way it goes, how far it has come.

use multiversion::multiversion;
use rayon::prelude::*;

use super::Objective;
use super::forest::Link;
use super::histogram::Pair;
use crate::table::TableTargets;

/// Rows that are worked on as one piece.
const BLOCK: usize = 4096;
/// Added to the margin in the hessian of Poisson's loss, which keeps steps short (LightGBM's
/// `poisson_max_delta_step`).
const POISSON_DAMPING: f32 = 0.7;
/// The least share of a class or mean count that boosting begins at.
const SMALLEST_SHARE: f64 = 1e-15;
/// The least hessian of a row; probabilities of 0 and 1 have none.
const SMALLEST_HESSIAN: f32 = 1e-16;

impl Objective {
    /// Number of outputs.
    pub fn outputs(self) -> usize {
        match self {
            Self::Softmax(classes) => classes,
            _ => 1,
        }
    }

    /// From margins to what is told.
    pub fn link(self) -> Link {
        match self {
            Self::Logistic | Self::Softmax(_) => Link::Softmax,
            Self::Poisson => Link::Exp,
            Self::Squared | Self::Absolute | Self::Quantile(_) => Link::Identity,
        }
    }

    /// Whether a target is one that the loss is made for.
    pub(crate) fn takes(self, target: f32) -> bool {
        let class =
            |classes: usize| target.fract() == 0.0 && target >= 0.0 && (target as usize) < classes;
        match self {
            Self::Logistic => class(2),
            Self::Softmax(classes) => class(classes),
            Self::Poisson => target.is_finite() && target >= 0.0,
            Self::Squared | Self::Absolute | Self::Quantile(_) => target.is_finite(),
        }
    }

    /// The quantile that leaves take of what is left of their rows, where the loss has no curvature.
    pub(crate) fn leaf_quantile(self) -> Option<f64> {
        match self {
            Self::Absolute => Some(0.5),
            Self::Quantile(alpha) => Some(alpha),
            _ => None,
        }
    }

    /// The constant margins of the smallest loss.
    pub(crate) fn base(self, targets: &TableTargets) -> Vec<f32> {
        let total: f64 = targets.weights.iter().map(|w| f64::from(*w)).sum();
        let rows = || targets.values.iter().zip(&targets.weights);
        let mean = || rows().map(|(y, w)| f64::from(*y) * f64::from(*w)).sum::<f64>() / total;
        let base = match self {
            Self::Logistic => {
                let share = mean().clamp(SMALLEST_SHARE, 1.0 - SMALLEST_SHARE);
                (share / (1.0 - share)).ln()
            }
            Self::Softmax(classes) => {
                let mut shares = vec![0.0; classes];
                rows().for_each(|(y, w)| shares[*y as usize] += f64::from(*w) / total);
                return shares.iter().map(|s: &f64| s.max(SMALLEST_SHARE).ln() as f32).collect();
            }
            Self::Squared => mean(),
            Self::Poisson => mean().max(SMALLEST_SHARE).ln(),
            Self::Absolute => quantile(rows().map(|(y, w)| (*y, *w)).collect(), 0.5),
            Self::Quantile(alpha) => quantile(rows().map(|(y, w)| (*y, *w)).collect(), alpha),
        };
        vec![base as f32]
    }

    /// Gradients and hessians by margin, both times the weight of the row. `margins` and `pairs` have one
    /// run of rows per output.
    pub(crate) fn gradients(self, margins: &[f32], targets: &TableTargets, pairs: &mut [Pair]) {
        if let Self::Softmax(classes) = self {
            return softmax_gradients(classes, margins, targets, pairs);
        }
        let rows = margins.par_chunks(BLOCK).zip(pairs.par_chunks_mut(BLOCK));
        let targets = targets.values.par_chunks(BLOCK).zip(targets.weights.par_chunks(BLOCK));
        rows.zip(targets).for_each(|((margins, pairs), (values, weights))| match self {
            Self::Logistic => logistic(margins, values, weights, pairs),
            Self::Poisson => poisson(margins, values, weights, pairs),
            Self::Absolute => sloped(0.5, 2.0, [margins, values, weights], pairs),
            Self::Quantile(alpha) => {
                sloped(alpha as f32, 1.0, [margins, values, weights], pairs);
            }
            Self::Squared | Self::Softmax(_) => squared(margins, values, weights, pairs),
        });
    }

    /// The mean loss of rows by their `margins`, row-major `[rows, outputs]`.
    pub(crate) fn loss(self, margins: &[f32], targets: &TableTargets) -> f64 {
        let rows = targets.values.iter().zip(&targets.weights);
        let (mut sum, mut total) = (0.0, 0.0);
        for (margins, (target, weight)) in margins.chunks_exact(self.outputs()).zip(rows) {
            sum += self.row_loss(margins, f64::from(*target)) * f64::from(*weight);
            total += f64::from(*weight);
        }
        sum / total
    }

    fn row_loss(self, margins: &[f32], target: f64) -> f64 {
        let margin = f64::from(margins[0]);
        match self {
            Self::Logistic => log_one_plus_exp(if target > 0.5 { -margin } else { margin }),
            Self::Softmax(_) => {
                let greatest = margins.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f64 = margins.iter().map(|m| f64::from(m - greatest).exp()).sum();
                sum.ln() - f64::from(margins[target as usize] - greatest)
            }
            Self::Squared => (margin - target).powi(2),
            Self::Absolute => (margin - target).abs(),
            Self::Quantile(alpha) => {
                let short = target - margin;
                if short >= 0.0 { alpha * short } else { (alpha - 1.0) * short }
            }
            Self::Poisson => margin.exp() - target * margin,
        }
    }
}

fn log_one_plus_exp(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn logistic(margins: &[f32], values: &[f32], weights: &[f32], pairs: &mut [Pair]) {
    let rows = margins.iter().zip(values).zip(weights);
    for (pair, ((margin, target), weight)) in pairs.iter_mut().zip(rows) {
        let p = 1.0 / (1.0 + exp(-*margin));
        *pair = [(p - target) * weight, (p * (1.0 - p)).max(SMALLEST_HESSIAN) * weight];
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn poisson(margins: &[f32], values: &[f32], weights: &[f32], pairs: &mut [Pair]) {
    let rows = margins.iter().zip(values).zip(weights);
    for (pair, ((margin, target), weight)) in pairs.iter_mut().zip(rows) {
        let mean = exp(*margin);
        *pair = [(mean - target) * weight, exp(*margin + POISSON_DAMPING) * weight];
    }
}

fn squared(margins: &[f32], values: &[f32], weights: &[f32], pairs: &mut [Pair]) {
    let rows = margins.iter().zip(values).zip(weights);
    for (pair, ((margin, target), weight)) in pairs.iter_mut().zip(rows) {
        *pair = [(margin - target) * weight, *weight];
    }
}

/// The loss falls by `alpha` times `scale` for each unit towards a target above, and by the rest of 1
/// towards one below.
fn sloped(alpha: f32, scale: f32, rows: [&[f32]; 3], pairs: &mut [Pair]) {
    let [margins, values, weights] = rows;
    let rows = margins.iter().zip(values).zip(weights);
    for (pair, ((margin, target), weight)) in pairs.iter_mut().zip(rows) {
        let slope = match margin.partial_cmp(target) {
            Some(std::cmp::Ordering::Greater) => 1.0 - alpha,
            Some(std::cmp::Ordering::Less) => -alpha,
            Some(std::cmp::Ordering::Equal) => 0.0,
            None => f32::NAN,
        };
        *pair = [slope * scale * weight, *weight];
    }
}

/// The hessian is the one that Friedman's (2001) step of all classes at once asks for.
fn softmax_gradients(classes: usize, margins: &[f32], targets: &TableTargets, pairs: &mut [Pair]) {
    let rows = targets.values.len();
    let margins: Vec<&[f32]> = margins.chunks_exact(rows).collect();
    let mut shares = vec![[0.0f32; 2]; rows];
    let factor = classes as f32 / (classes as f32 - 1.0);
    // The greatest margin of each row, and one over the sum of the exponentials.
    shares.par_chunks_mut(BLOCK).enumerate().for_each(|(block, shares)| {
        let start = block * BLOCK;
        for (at, share) in shares.iter_mut().enumerate() {
            let all = || margins.iter().map(|margins| margins[start + at]);
            let greatest = all().fold(f32::NEG_INFINITY, f32::max);
            *share = [greatest, 1.0 / all().map(|margin| exp(margin - greatest)).sum::<f32>()];
        }
    });
    for (class, (pairs, margins)) in pairs.chunks_exact_mut(rows).zip(&margins).enumerate() {
        let rows = pairs.par_chunks_mut(BLOCK).zip(margins.par_chunks(BLOCK));
        let shares = shares.par_chunks(BLOCK);
        let targets = targets.values.par_chunks(BLOCK).zip(targets.weights.par_chunks(BLOCK));
        rows.zip(shares).zip(targets).for_each(
            |(((pairs, margins), shares), (values, weights))| {
                let rows = margins.iter().zip(shares).zip(values.iter().zip(weights));
                for (pair, ((margin, [greatest, scale]), (target, weight))) in
                    pairs.iter_mut().zip(rows)
                {
                    let p = exp(margin - greatest) * scale;
                    let hit = f32::from(*target == class as f32);
                    let hessian = (factor * p * (1.0 - p)).max(SMALLEST_HESSIAN);
                    *pair = [(p - hit) * weight, hessian * weight];
                }
            },
        );
    }
}

/// The smallest number that at least the share `alpha` of the weight is at or below, or, where that share
/// is met exactly, the middle between it and the next.
pub(crate) fn quantile(mut rows: Vec<(f32, f32)>, alpha: f64) -> f64 {
    rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    rows.retain(|(_, weight)| *weight > 0.0);
    let total: f64 = rows.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let mut below = 0.0;
    for (at, (value, weight)) in rows.iter().enumerate() {
        below += f64::from(*weight);
        if below > alpha * total {
            return (*value).into();
        }
        if below == alpha * total {
            let next = rows.get(at + 1).map_or(*value, |row| row.0);
            return f64::midpoint((*value).into(), next.into());
        }
    }
    rows.last().map_or(0.0, |row| row.0.into())
}

/// The exponential, 0 never being reached: hessians stay above it.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Not by `max`, which would make a number of none.
    luthier_nn::exp(if x < -87.0 { -87.0 } else { x })
}
