//! How far logits have to be stretched for honest probabilities.

/// Bounds of a shift and of the logarithm of a temperature; beyond them the rows say nothing.
const RANGE: f64 = 4.0;
/// Steps of the search; each leaves the golden share of the range, so that the error is below 1e-6.
const STEPS: usize = 36;
/// Share of the range that a step of golden-section search leaves.
const GOLDEN: f64 = 0.618_033_988_749_894_9;
/// What a probability of zero stands for, since its logit was lost to rounding.
const SMALLEST: f64 = 1e-38;

/// Most Newton steps of a fit of two numbers, and halvings of a step that goes too far.
const NEWTON_STEPS: usize = 30;
const HALVINGS: usize = 20;

/// The temperature that, dividing the logits of `probabilities` (row-major `[rows, classes]`),
/// gives `truth` the smallest log loss (Guo et al. 2017). It lies between e⁻⁴ and e⁴, and is 1
/// without rows or with classes that do not fit.
pub fn temperature(probabilities: &[f32], classes: usize, truth: &[u32]) -> f64 {
    stretched(probabilities, classes, truth).map_or(1.0, |(temperature, _)| temperature)
}

/// The log loss per row, in nats, that is left at the best [`temperature`]: how well the classes
/// are told apart, whatever the logits are scaled by. `None` without rows or with classes that do
/// not fit.
pub fn calibrated_log_loss(probabilities: &[f32], classes: usize, truth: &[u32]) -> Option<f64> {
    stretched(probabilities, classes, truth).map(|(_, loss)| loss)
}

/// The best temperature, and the mean log loss at it.
fn stretched(probabilities: &[f32], classes: usize, truth: &[u32]) -> Option<(f64, f64)> {
    let logits = logits(probabilities, classes, truth)?;
    let rows = || logits.chunks_exact(classes).zip(truth);
    let loss = |log_temperature: f64| -> f64 {
        let scale = (-log_temperature).exp();
        rows().map(|(row, class)| row_loss(row, *class as usize, scale)).sum()
    };
    let best = valley(loss);
    Some((best.exp(), loss(best) / truth.len() as f64))
}

/// Platt scaling of two classes (Platt 1999): the temperature and the shift such that the shift,
/// added to the logit of class 1, and the temperature, dividing both logits then, give `truth` the
/// smallest log loss. The temperature lies between e⁻⁴ and e⁴, the shift between −4 and 4; they are
/// 1 and 0 without rows or with classes that do not fit.
pub fn temperature_and_shift(probabilities: &[f32], truth: &[u32]) -> (f64, f64) {
    let Some(logits) = logits(probabilities, 2, truth) else { return (1.0, 0.0) };
    let margins: Vec<(f64, f64)> = logits
        .chunks_exact(2)
        .zip(truth)
        .map(|(row, class)| (row[1] - row[0], f64::from(*class)))
        .collect();
    let (slope, offset) = logistic_line(&margins);
    let slope = slope.clamp((-RANGE).exp(), RANGE.exp());
    (1.0 / slope, (offset / slope).clamp(-RANGE, RANGE))
}

/// Slope and offset of the logistic regression of `y` on `x`, by Newton's method with steps halved
/// until the loss, which is convex, does not rise.
fn logistic_line(rows: &[(f64, f64)]) -> (f64, f64) {
    let loss = |slope: f64, offset: f64| -> f64 {
        rows.iter().map(|(x, y)| row_loss(&[0.0, slope * x + offset], *y as usize, 1.0)).sum()
    };
    let (mut slope, mut offset) = (1.0, 0.0);
    let mut best = loss(slope, offset);
    for _ in 0..NEWTON_STEPS {
        // The ridge keeps the curvature from vanishing where all rows are decided for good.
        let (mut g, mut h) = ([0.0; 2], [1e-9, 0.0, 1e-9]);
        for (x, y) in rows {
            let p = 1.0 / (1.0 + (-slope * x - offset).exp());
            let (error, weight) = (p - y, p * (1.0 - p));
            g = [g[0] + error * x, g[1] + error];
            h = [h[0] + weight * x * x, h[1] + weight * x, h[2] + weight];
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        let step =
            [(h[2] * g[0] - h[1] * g[1]) / determinant, (h[0] * g[1] - h[1] * g[0]) / determinant];
        let shorter = (0..HALVINGS).map(|halvings| 0.5f64.powi(halvings as i32));
        let moved = shorter
            .map(|share| (slope - share * step[0], offset - share * step[1]))
            .map(|(slope, offset)| (slope, offset, loss(slope, offset)))
            .find(|(_, _, loss)| *loss < best);
        let Some((new_slope, new_offset, new_best)) = moved else { break };
        let done = best - new_best < 1e-9 * best;
        (slope, offset, best) = (new_slope, new_offset, new_best);
        if done {
            break;
        }
    }
    (slope, offset)
}

/// The logits up to a constant per row; `None` where there are no rows or the classes do not fit.
fn logits(probabilities: &[f32], classes: usize, truth: &[u32]) -> Option<Vec<f64>> {
    let fits = classes > 1 && probabilities.len() == truth.len() * classes && !truth.is_empty();
    let known = truth.iter().all(|class| (*class as usize) < classes);
    let logit = |p: &f32| f64::from(*p).max(SMALLEST).ln();
    (fits && known).then(|| probabilities.iter().map(logit).collect())
}

/// Where a function with one valley in `[-RANGE, RANGE]` has it, by golden-section search. The log
/// loss has one in a shift and in an inverse temperature, and so in the logarithm of the latter.
fn valley(loss: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (-RANGE, RANGE);
    let width = (high - low) * GOLDEN;
    let [mut left, mut right] = [high - width, low + width].map(|x| (x, loss(x)));
    for _ in 0..STEPS {
        if left.1 <= right.1 {
            (high, right) = (right.0, left);
            let x = high - (high - low) * GOLDEN;
            left = (x, loss(x));
        } else {
            (low, left) = (left.0, right);
            let x = low + (high - low) * GOLDEN;
            right = (x, loss(x));
        }
    }
    low.midpoint(high)
}

/// The log loss of one row whose logits are scaled.
fn row_loss(logits: &[f64], class: usize, scale: f64) -> f64 {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| ((logit - max) * scale).exp()).sum();
    sum.ln() - (logits[class] - max) * scale
}

#[cfg(test)]
mod tests {
    use super::{calibrated_log_loss, temperature, temperature_and_shift};

    /// Rows whose classes occur exactly as often as probabilities of temperature 1 say, given with
    /// logits stretched by `stretch`.
    fn rows(stretch: f64) -> (Vec<f32>, Vec<u32>) {
        let (mut probabilities, mut truth) = (Vec::new(), Vec::new());
        for honest in [0.6f64, 0.75, 0.9] {
            let odds = (honest / (1.0 - honest)).ln() * stretch;
            let given = 1.0 / (1.0 + (-odds).exp());
            for row in 0..100u32 {
                probabilities.extend([(1.0 - given) as f32, given as f32]);
                truth.push(u32::from(f64::from(row) < honest * 100.0));
            }
        }
        (probabilities, truth)
    }

    #[test]
    fn the_stretch_is_found() {
        for stretch in [0.25, 1.0, 3.0, 8.0] {
            let (probabilities, truth) = rows(stretch);
            let found = temperature(&probabilities, 2, &truth);
            assert!((found / stretch - 1.0).abs() < 1e-3, "{found} instead of {stretch}");
            let loss = calibrated_log_loss(&probabilities, 2, &truth).unwrap();
            let entropy = |p: f64| -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
            let least = [0.6, 0.75, 0.9].map(entropy).iter().sum::<f64>() / 3.0;
            assert!((loss - least).abs() < 1e-6, "{loss} instead of {least}");
        }
    }

    #[test]
    fn stretch_and_shift_are_found_together() {
        for (stretch, shift) in [(1.0, 0.0), (3.0, 0.7), (0.5, -1.2)] {
            let (mut probabilities, truth) = rows(stretch);
            for row in probabilities.chunks_exact_mut(2) {
                let logit = (f64::from(row[1]) / f64::from(row[0])).ln() - shift;
                let moved = 1.0 / (1.0 + (-logit).exp());
                row.copy_from_slice(&[(1.0 - moved) as f32, moved as f32]);
            }
            let found = temperature_and_shift(&probabilities, &truth);
            assert!((found.0 / stretch - 1.0).abs() < 0.02, "{found:?} for {stretch}, {shift}");
            assert!((found.1 - shift).abs() < 0.02, "{found:?} for {stretch}, {shift}");
        }
        assert_eq!(temperature_and_shift(&[], &[]), (1.0, 0.0));
    }

    #[test]
    fn odd_rows_give_a_finite_temperature() {
        assert_eq!(temperature(&[], 2, &[]), 1.0);
        assert_eq!(temperature(&[0.5, 0.5], 2, &[2]), 1.0);
        assert_eq!(temperature(&[0.5, 0.5], 2, &[0, 1]), 1.0);
        let certain = temperature(&[1.0, 0.0, 0.0, 1.0], 2, &[0, 0]);
        assert!(certain.is_finite() && certain > 1.0);
        let right = temperature(&[0.9, 0.1], 2, &[0]);
        assert!(right > 0.0 && right < 1.0);
    }
}
