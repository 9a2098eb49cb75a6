//! How far logits have to be stretched and moved for honest probabilities.

use super::HeldOut;

/// Bounds of a shift and of the logarithm of a temperature; beyond them the rows say nothing.
const RANGE: f64 = 4.0;
/// Steps of the search; each leaves the golden share of the range, so that the error is below 1e-6.
const STEPS: usize = 36;
/// Share of the range that a step of golden-section search leaves.
const GOLDEN: f64 = 0.618_033_988_749_894_9;
/// What a probability of zero stands for, since its logit was lost to rounding.
const SMALLEST: f64 = 1e-38;

/// Most Newton steps of a fit, and halvings of a step that goes too far.
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
    HeldOut::new(probabilities, classes, truth)?;
    let logits: Vec<f64> = logits(probabilities).collect();
    let rows = || logits.chunks_exact(classes).zip(truth);
    let loss = |log_temperature: f64| -> f64 {
        let scale = (-log_temperature).exp();
        rows().map(|(row, class)| row_loss(row, *class as usize, scale)).sum()
    };
    let best = valley(loss);
    Some((best.exp(), loss(best) / truth.len() as f64))
}

/// The temperature and the shifts such that the shifts, added to the logits of the classes, and the
/// temperature, dividing them then, give `truth` the smallest log loss. The temperature lies between
/// e⁻⁴ and e⁴, the shifts between −4 and 4, and that of class 0 is 0; they are 1 and 0 without rows
/// or with classes that do not fit. The work grows with the square of the classes.
pub fn temperature_and_shifts(
    probabilities: &[f32],
    classes: usize,
    truth: &[u32],
) -> (f64, Vec<f64>) {
    let Some(rows) = HeldOut::new(probabilities, classes, truth) else {
        return (1.0, vec![0.0; classes]);
    };
    let line = LogisticLine::fit(&rows);
    let slope = line.slope.clamp((-RANGE).exp(), RANGE.exp());
    let shift = |offset: f64| (offset / slope).clamp(-RANGE, RANGE);
    (1.0 / slope, line.offsets.into_iter().map(shift).collect())
}

/// [`temperature_and_shifts`] of two classes, Platt scaling (Platt 1999): the shift is that of
/// class 1.
pub fn temperature_and_shift(probabilities: &[f32], truth: &[u32]) -> (f64, f64) {
    let (temperature, shifts) = temperature_and_shifts(probabilities, 2, truth);
    (temperature, shifts[1])
}

/// Logistic regression on logits, with one slope for all classes and an offset for each.
#[derive(Debug, Clone)]
struct LogisticLine {
    slope: f64,
    /// That of class 0 is 0.
    offsets: Vec<f64>,
}

impl LogisticLine {
    /// By Newton's method with steps halved until the loss, which is convex, does not rise.
    fn fit(rows: &HeldOut<'_>) -> Self {
        // Relative to class 0, which no offset moves.
        let logits: Vec<f64> = rows
            .rows()
            .flat_map(|(row, _)| {
                let first = logits(&row[..1]).sum::<f64>();
                logits(row).map(move |logit| logit - first)
            })
            .collect();
        let mut line = Self { slope: 1.0, offsets: vec![0.0; rows.classes] };
        let mut best = line.loss(&logits, rows.truth);
        for _ in 0..NEWTON_STEPS {
            let step = line.newton_step(&logits, rows.truth);
            let moved = (0..HALVINGS)
                .map(|halvings| line.moved(&step, 0.5f64.powi(halvings as i32)))
                .map(|moved| (moved.loss(&logits, rows.truth), moved))
                .find(|(loss, _)| *loss < best);
            let Some((loss, moved)) = moved else { break };
            let done = best - loss < 1e-9 * best;
            (line, best) = (moved, loss);
            if done {
                break;
            }
        }
        line
    }

    fn scores(&self, row: &[f64]) -> Vec<f64> {
        row.iter().zip(&self.offsets).map(|(logit, offset)| self.slope * logit + offset).collect()
    }

    fn loss(&self, logits: &[f64], truth: &[u32]) -> f64 {
        let rows = logits.chunks_exact(self.offsets.len()).zip(truth);
        rows.map(|(row, class)| row_loss(&self.scores(row), *class as usize, 1.0)).sum()
    }

    /// The curvature's inverse times the gradient of the loss, of the slope and of each offset but
    /// the first.
    fn newton_step(&self, logits: &[f64], truth: &[u32]) -> Vec<f64> {
        let size = self.offsets.len();
        let mut gradient = vec![0.0; size];
        let mut curvature = vec![0.0; size * size];
        for (row, class) in logits.chunks_exact(size).zip(truth) {
            let p = softmax(self.scores(row));
            let class = *class as usize;
            let mean: f64 = p.iter().zip(row).map(|(p, logit)| p * logit).sum();
            let square: f64 = p.iter().zip(row).map(|(p, logit)| p * (logit - mean).powi(2)).sum();
            gradient[0] += mean - row[class];
            curvature[0] += square;
            for one in 1..size {
                gradient[one] += p[one] - f64::from(u8::from(one == class));
                let line = &mut curvature[one * size..][..=one];
                line[0] += p[one] * (row[one] - mean);
                for (other, value) in line.iter_mut().enumerate().skip(1) {
                    *value -= p[one] * p[other];
                }
                line[one] += p[one];
            }
        }
        for one in 0..size {
            // The ridge keeps the curvature from vanishing where all rows are decided for good.
            curvature[one * size + one] += 1e-9;
        }
        solve(&mut curvature, &mut gradient);
        gradient
    }

    fn moved(&self, step: &[f64], share: f64) -> Self {
        let mut moved = self.clone();
        moved.slope -= share * step[0];
        moved.offsets.iter_mut().zip(step).skip(1).for_each(|(offset, step)| {
            *offset -= share * step;
        });
        moved
    }
}

/// Solves a symmetric, positive definite system, of which the lower triangle is given, by Cholesky's
/// method; `right` becomes the solution. A pivot that rounding made 0 or less is skipped.
fn solve(matrix: &mut [f64], right: &mut [f64]) {
    let size = right.len();
    for row in 0..size {
        for column in 0..=row {
            let (done, rest) = matrix.split_at(row * size);
            let dot = |other: &[f64]| -> f64 {
                rest[..column].iter().zip(other).map(|(a, b)| a * b).sum()
            };
            let other = if column == row { rest } else { &done[column * size..] };
            let left = rest[column] - dot(&other[..column]);
            let pivot = if column == row { 0.0 } else { other[column] };
            matrix[row * size + column] = match column == row {
                true => left.max(0.0).sqrt(),
                false if pivot > 0.0 => left / pivot,
                false => 0.0,
            };
        }
    }
    let divided = |sum: f64, pivot: f64| if pivot > 0.0 { sum / pivot } else { 0.0 };
    for row in 0..size {
        let sum: f64 = (0..row).map(|column| matrix[row * size + column] * right[column]).sum();
        right[row] = divided(right[row] - sum, matrix[row * size + row]);
    }
    for row in (0..size).rev() {
        let sum: f64 = (row + 1..size).map(|below| matrix[below * size + row] * right[below]).sum();
        right[row] = divided(right[row] - sum, matrix[row * size + row]);
    }
}

/// The logits of a row's probabilities, up to a constant.
pub(super) fn logits(row: &[f32]) -> impl Iterator<Item = f64> {
    row.iter().map(|probability| f64::from(*probability).max(SMALLEST).ln())
}

/// Probabilities of logits.
pub(super) fn softmax(mut logits: Vec<f64>) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logits.iter_mut().for_each(|logit| *logit = (*logit - max).exp());
    let sum: f64 = logits.iter().sum();
    logits.iter_mut().for_each(|odds| *odds /= sum);
    logits
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
