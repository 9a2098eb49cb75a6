//! How far logits have to be stretched for honest probabilities.

/// Bounds of the logarithm of a temperature; beyond them the rows say nothing.
const RANGE: f64 = 4.0;
/// Steps of the search; each leaves the golden share of the range, so that the error is below 1e-6.
const STEPS: usize = 36;
/// Share of the range that a step of golden-section search leaves.
const GOLDEN: f64 = 0.618_033_988_749_894_9;
/// What a probability of zero stands for, since its logit was lost to rounding.
const SMALLEST: f64 = 1e-38;

/// The temperature that, dividing the logits of `probabilities` (row-major `[rows, classes]`),
/// gives `truth` the smallest log loss (Guo et al. 2017). It lies between e⁻⁴ and e⁴, and is 1
/// without rows or with classes that do not fit.
pub fn temperature(probabilities: &[f32], classes: usize, truth: &[u32]) -> f64 {
    let fits = classes > 1 && probabilities.len() == truth.len() * classes;
    if !fits || truth.is_empty() || truth.iter().any(|class| *class as usize >= classes) {
        return 1.0;
    }
    let logits: Vec<f64> = probabilities.iter().map(|p| f64::from(*p).max(SMALLEST).ln()).collect();
    let loss = |log_temperature: f64| -> f64 {
        let scale = (-log_temperature).exp();
        let rows = logits.chunks_exact(classes).zip(truth);
        rows.map(|(row, class)| row_loss(row, *class as usize, scale)).sum()
    };
    // The loss is convex in the inverse temperature, so it has one valley in its logarithm too.
    let (mut low, mut high) = (-RANGE, RANGE);
    for _ in 0..STEPS {
        let width = (high - low) * GOLDEN;
        if loss(high - width) <= loss(low + width) {
            high = low + width;
        } else {
            low = high - width;
        }
    }
    low.midpoint(high).exp()
}

/// The log loss of one row whose logits are scaled.
fn row_loss(logits: &[f64], class: usize, scale: f64) -> f64 {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| ((logit - max) * scale).exp()).sum();
    sum.ln() - (logits[class] - max) * scale
}

#[cfg(test)]
mod tests {
    use super::temperature;

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
        }
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
