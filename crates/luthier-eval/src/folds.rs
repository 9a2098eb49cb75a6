//! Scores over the folds of a cross-validation.

use std::f64::consts::PI;

use crate::Interval;

/// The score of a model that was fitted once for each fold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossValidated {
    /// The mean over the folds.
    pub mean: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Where the mean over other rows would lie.
    pub interval: Interval,
}

impl CrossValidated {
    /// Of the scores of all folds, at least two and finite ones; `confidence` is between 0 and 1.
    ///
    /// Fits that share most of their rows vary together, so that the variance of the mean is not the
    /// `1/k` of independent scores but about `1/k + 1/(k − 1)` of theirs, the second being the ratio
    /// of held-out rows to the others (Nadeau and Bengio 2003); the interval is that of a t
    /// distribution with `k − 1` degrees of freedom.
    pub fn of(scores: &[f64], confidence: f64) -> Option<Self> {
        let count = scores.len() as f64;
        let sensible = confidence > 0.0 && confidence < 1.0;
        if scores.len() < 2 || !scores.iter().all(|score| score.is_finite()) || !sensible {
            return None;
        }
        let mean = scores.iter().sum::<f64>() / count;
        let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
        let variance = squares / (count - 1.0);
        let standard_error = ((1.0 / count + 1.0 / (count - 1.0)) * variance).sqrt();
        let reach = standard_error * student(confidence, scores.len() as u32 - 1);
        let interval = Interval { low: mean - reach, high: mean + reach };
        Some(Self { mean, standard_error, interval })
    }
}

/// The number within which, on both sides of 0, a t variable with `freedom` degrees of freedom, at
/// least 1, falls with this probability.
fn student(probability: f64, freedom: u32) -> f64 {
    // `within` rises with the angle, whose tangent this is in units of the root of `freedom`.
    let (mut low, mut high) = (0.0, PI / 2.0);
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if within(middle, freedom) < probability { low = middle } else { high = middle }
    }
    low.tan() * f64::from(freedom).sqrt()
}

/// The probability that a t variable is at most `tan(angle)·√freedom` away from 0 (Abramowitz and
/// Stegun 1964, 26.7.3 and 26.7.4).
fn within(angle: f64, freedom: u32) -> f64 {
    let (sine, cosine) = angle.sin_cos();
    let odd = freedom % 2 == 1;
    // Powers of the cosine up to `freedom − 2`, each with the product of all fractions so far.
    let (mut term, mut sum) = if odd { (cosine, 0.0) } else { (1.0, 0.0) };
    let mut power = u32::from(odd);
    while power + 2 <= freedom {
        sum += term;
        term *= f64::from(power + 1) / f64::from(power + 2) * cosine * cosine;
        power += 2;
    }
    if odd { 2.0 / PI * (angle + sine * sum) } else { sine * sum }
}

#[cfg(test)]
mod tests {
    use super::{CrossValidated, student};

    /// Expected values by scipy 1.17: `scipy.stats.t.ppf((1 + confidence) / 2, freedom)`.
    #[test]
    fn quantiles_are_those_of_scipy() {
        let cases = [
            (0.95, 1, 12.706_204_736_174_694),
            (0.95, 2, 4.302_652_729_749_462),
            (0.95, 3, 3.182_446_305_283_707_8),
            (0.95, 4, 2.776_445_105_197_793_4),
            (0.9, 5, 2.015_048_373_333_023_3),
            (0.99, 9, 3.249_835_541_592_126),
            (0.95, 254, 1.969_347_540_219_181),
        ];
        for (confidence, freedom, expected) in cases {
            let found = student(confidence, freedom);
            assert!((found - expected).abs() < 1e-9, "{confidence} {freedom}: {found}");
        }
    }

    #[test]
    fn the_interval_is_wider_than_that_of_independent_scores() {
        let scores = [0.81, 0.84, 0.79, 0.83, 0.82];
        let found = CrossValidated::of(&scores, 0.95).unwrap();
        assert!((found.mean - 0.818).abs() < 1e-12);
        // Of five scores with a standard deviation of 0.019235: √(1/5 + 1/4) of it.
        assert!((found.standard_error - 0.012_903).abs() < 1e-6, "{found:?}");
        let reach = found.interval.high - found.mean;
        assert!((reach - found.standard_error * 2.776_445).abs() < 1e-6);
        assert!((found.mean - found.interval.low - reach).abs() < 1e-12);
        assert_eq!(CrossValidated::of(&[0.8], 0.95), None);
        assert_eq!(CrossValidated::of(&[0.8, f64::NAN], 0.95), None);
        assert_eq!(CrossValidated::of(&[0.8, 0.8], 0.95).unwrap().standard_error, 0.0);
    }
}
