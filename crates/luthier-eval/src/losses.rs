//! Scores of predicted numbers.

use crate::ordered::Ordered;
use crate::predictions::Numbers;
use crate::{Metric, Score};

/// A truth whose absolute value is smaller counts as this in a share of it, as in scikit-learn.
const SMALLEST_TRUTH: f64 = f64::EPSILON;

/// Predicted numbers prepared for one metric.
pub(crate) enum Losses<'a> {
    /// The mean of the rows' losses.
    Mean(Vec<f64>),
    /// The root of that.
    RootMean(Vec<f64>),
    Median(Ordered),
    Largest(Vec<f64>),
    /// The share of the loss of one best number for all rows that is explained.
    Explained {
        losses: Vec<f64>,
        loss: Loss,
        truth: &'a [f64],
        ordered: Option<Ordered>,
    },
}

/// What one row loses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Loss {
    Absolute,
    /// The absolute error as a share of the truth.
    Share,
    /// Of a quantile of this level.
    Pinball(f64),
    /// Unit deviance of this power; the squared error at 0.
    Tweedie(f64),
}

impl<'a> Losses<'a> {
    /// `metric` is one of numbers; for any other the losses are absolute errors.
    pub(crate) fn of(numbers: &'a Numbers, metric: Metric) -> Self {
        let losses = |loss: Loss| -> Vec<f64> {
            numbers.rows().map(|(truth, predicted)| loss.of(truth, predicted)).collect()
        };
        let explained = |loss: Loss| {
            let ordered = matches!(loss, Loss::Pinball(_));
            Self::Explained {
                losses: losses(loss),
                loss,
                truth: &numbers.truth,
                ordered: ordered.then(|| Ordered::of(numbers.truth.clone())),
            }
        };
        match metric {
            Metric::Mse => Self::Mean(losses(Loss::Tweedie(0.0))),
            Metric::Rmse => Self::RootMean(losses(Loss::Tweedie(0.0))),
            Metric::R2 => explained(Loss::Tweedie(0.0)),
            Metric::MedianError => Self::Median(Ordered::of(losses(Loss::Absolute))),
            Metric::MaxError => Self::Largest(losses(Loss::Absolute)),
            Metric::Mape => Self::Mean(losses(Loss::Share)),
            Metric::Pinball(level) => Self::Mean(losses(Loss::Pinball(level.value()))),
            Metric::PoissonDeviance => Self::Mean(losses(Loss::Tweedie(1.0))),
            Metric::GammaDeviance => Self::Mean(losses(Loss::Tweedie(2.0))),
            Metric::TweedieDeviance(power) => Self::Mean(losses(Loss::Tweedie(power.value()))),
            Metric::D2Absolute => explained(Loss::Pinball(0.5)),
            Metric::D2Pinball(level) => explained(Loss::Pinball(level.value())),
            Metric::D2Poisson => explained(Loss::Tweedie(1.0)),
            Metric::D2Gamma => explained(Loss::Tweedie(2.0)),
            _ => Self::Mean(losses(Loss::Absolute)),
        }
    }

    /// The score for rows of the masses `mass`, whose sum is `total`, above 0. `None` if it is not
    /// finite: a row that is there has no loss, or an error is beyond f64.
    pub(crate) fn score(&self, mass: &[f64], total: f64) -> Score {
        match self {
            Self::Mean(losses) => Some(sum(losses, mass) / total),
            Self::RootMean(losses) => Some((sum(losses, mass) / total).sqrt()),
            Self::Median(ordered) => ordered.quantile(0.5, mass),
            Self::Largest(losses) => {
                Some(present(losses, mass).map(|(loss, _)| loss).fold(0.0, f64::max))
            }
            Self::Explained { losses, loss, truth, ordered } => {
                let best = match (loss, ordered) {
                    (Loss::Pinball(level), Some(ordered)) => ordered.quantile(*level, mass)?,
                    _ => mean(truth, mass, total)?,
                };
                let of_best: f64 =
                    present(truth, mass).map(|(truth, mass)| mass * loss.of(truth, best)).sum();
                let several = present(truth, mass).nth(1).is_some();
                explained(sum(losses, mass), of_best, loss).filter(|_| several)
            }
        }
        .filter(|score| score.is_finite())
    }
}

/// 1 less the share of the losses over those of the best number, by scikit-learn's convention where
/// the latter are 0.
fn explained(losses: f64, of_best: f64, loss: &Loss) -> Score {
    match loss {
        _ if of_best > 0.0 => Some(1.0 - losses / of_best),
        Loss::Tweedie(power) if *power > 0.0 => None,
        _ if losses.is_nan() || of_best.is_nan() => None,
        _ => Some(if losses > 0.0 { 0.0 } else { 1.0 }),
    }
}

impl Loss {
    /// NaN where there is none.
    pub(crate) fn of(self, truth: f64, predicted: f64) -> f64 {
        let error = truth - predicted;
        match self {
            Self::Absolute => error.abs(),
            Self::Share => error.abs() / truth.abs().max(SMALLEST_TRUTH),
            Self::Pinball(level) => level * error.max(0.0) + (1.0 - level) * (-error).max(0.0),
            Self::Tweedie(power) => deviance(power, truth, predicted),
        }
    }
}

/// The unit deviance of a Tweedie distribution (Jørgensen 1987), NaN outside its domain.
fn deviance(power: f64, truth: f64, predicted: f64) -> f64 {
    let of_zero = truth == 0.0 && power < 2.0;
    if power == 0.0 {
        (truth - predicted).powi(2)
    } else if predicted <= 0.0 || !(truth > 0.0 || of_zero) {
        f64::NAN
    } else if power == 1.0 {
        let logarithm = if of_zero { 0.0 } else { truth * (truth / predicted).ln() };
        2.0 * (logarithm - truth + predicted)
    } else if power == 2.0 {
        2.0 * ((predicted / truth).ln() + truth / predicted - 1.0)
    } else {
        let (one, two) = (1.0 - power, 2.0 - power);
        let of_truth = truth.powf(two) / (one * two);
        2.0 * (of_truth - truth * predicted.powf(one) / one + predicted.powf(two) / two)
    }
}

/// Values of the rows that are there, with their masses: a row without mass may have no value.
fn present<'a>(values: &'a [f64], mass: &'a [f64]) -> impl Iterator<Item = (f64, f64)> + 'a {
    values.iter().copied().zip(mass.iter().copied()).filter(|(_, mass)| *mass > 0.0)
}

fn sum(values: &[f64], mass: &[f64]) -> f64 {
    present(values, mass).map(|(value, mass)| value * mass).sum()
}

/// The mean, from the distances to the first value there, which leaves equal values exactly as they
/// are.
fn mean(values: &[f64], mass: &[f64], total: f64) -> Option<f64> {
    let (first, _) = present(values, mass).next()?;
    let distance: f64 = present(values, mass).map(|(value, mass)| mass * (value - first)).sum();
    Some(first + distance / total)
}
