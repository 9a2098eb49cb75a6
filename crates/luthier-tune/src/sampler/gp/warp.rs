//! Losses as values that a Gaussian process can follow.

/// Values to maximise with mean 0 and variance 1. Of losses above the median only the order counts,
/// as in Vizier's half-rank warping (Song et al., arXiv 2408.11527): a study has a few that are very
/// bad, and how bad says nothing about where the good ones are, but would decide the scale. A loss
/// that is not finite is as bad as the worst.
pub(super) fn values_of(losses: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..losses.len()).collect();
    let rank =
        |index: &usize| if losses[*index].is_finite() { losses[*index] } else { f64::INFINITY };
    order.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
    let mut sorted: Vec<f64> = order.iter().map(rank).collect();
    let worst = sorted.iter().copied().rfind(|loss| loss.is_finite()).unwrap_or(0.0);
    sorted.iter_mut().for_each(|loss| *loss = loss.min(worst));
    let middle = sorted.len() / 2;
    let median = sorted.get(middle).copied().unwrap_or(0.0);
    let good = &sorted[..middle];
    let squares: f64 = good.iter().map(|loss| (median - loss).powi(2)).sum();
    let spread = (squares / good.len().max(1) as f64).sqrt();
    let mut values = vec![0.0; losses.len()];
    let count = losses.len() as f64;
    let mut place = 0;
    while place < order.len() {
        // Equal losses get the value of the middle of their places.
        let same = sorted[place..].iter().take_while(|loss| **loss == sorted[place]).count();
        let share = (place as f64 + same as f64 / 2.0) / count;
        let value = match sorted[place] > median {
            true => -spread * logistic_quantile(share),
            false => median - sorted[place],
        };
        order[place..place + same].iter().for_each(|index| values[*index] = value);
        place += same;
    }
    standardise(&mut values);
    values
}

/// Values for one of several objectives, where a loss above the median may well be on the front: linear
/// in the losses, but those that are beyond all on the front and beyond Tukey's outer fence are drawn
/// in to it. `front` is the worst loss on the front.
pub(super) fn fenced_values_of(losses: &[f64], front: f64) -> Vec<f64> {
    let mut sorted: Vec<f64> = losses.iter().copied().filter(|loss| loss.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (quartile(&sorted, 1), quartile(&sorted, 3));
    let worst = sorted.last().copied().unwrap_or(0.0).min((high + 3.0 * (high - low)).max(front));
    let least = sorted.first().copied().unwrap_or(0.0);
    let mut values: Vec<f64> = losses.iter().map(|loss| -loss.clamp(least, worst)).collect();
    standardise(&mut values);
    values
}

/// A quartile of ascending numbers; 0 of none.
pub(super) fn quartile(sorted: &[f64], quarters: usize) -> f64 {
    sorted.get(quarters * sorted.len() / 4).copied().unwrap_or(0.0)
}

/// The quantile of a logistic distribution of variance 1, much like a normal one's.
fn logistic_quantile(share: f64) -> f64 {
    (share / (1.0 - share)).ln() * 3f64.sqrt() / std::f64::consts::PI
}

/// Shifts and scales values such that they have mean 0 and variance 1; 0 where they are all equal.
pub(super) fn standardise(values: &mut [f64]) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let scale = if variance > 0.0 && variance.is_finite() { 1.0 / variance.sqrt() } else { 0.0 };
    values.iter_mut().for_each(|value| *value = (*value - mean) * scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_outliers_are_drawn_in() {
        let values = values_of(&[1.0, 2.0, 3.0, 1e9, 4.0, f64::NAN, f64::INFINITY, 2.0]);
        assert!(values[0] > values[1] && values[1] > values[2] && values[2] > values[4]);
        assert_eq!(values[1], values[7]);
        assert!(values[4] > values[3] && values[3] >= values[5]);
        assert_eq!(values[5], values[6]);
        assert!(values[3] > -3.0, "{values:?}");
        let mean: f64 = values.iter().sum::<f64>() / 8.0;
        assert!(mean.abs() < 1e-12);
    }

    #[test]
    fn outliers_are_drawn_in_to_the_fence_unless_they_are_on_the_front() {
        let losses = [1.0, 2.0, 3.0, 4.0, 5.0, 1e9, f64::INFINITY];
        let share =
            |values: &[f64], index: usize| (values[0] - values[index]) / (values[0] - values[4]);
        let values = fenced_values_of(&losses, 3.0);
        assert!((share(&values, 2) - 0.5).abs() < 1e-9, "{values:?}");
        assert!(values[5] == values[6] && share(&values, 5) < 5.0, "{values:?}");
        let values = fenced_values_of(&losses, 1e9);
        assert!(share(&values, 5) > 1e8, "{values:?}");
        assert_eq!(fenced_values_of(&[f64::INFINITY; 2], f64::NEG_INFINITY), [0.0; 2]);
    }

    #[test]
    fn what_has_no_spread_is_level() {
        assert_eq!(values_of(&[]), [0.0; 0]);
        assert_eq!(values_of(&[3.0]), [0.0]);
        assert_eq!(values_of(&[3.0; 4]), [0.0; 4]);
        assert_eq!(values_of(&[f64::NAN; 2]), [0.0; 2]);
    }
}
