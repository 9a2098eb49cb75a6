//! Loops over single numbers and rows, compiled for several kinds of processors, which do the same
//! arithmetic in the same order and so give the same bits.

use multiversion::multiversion;

/// Numbers that are added at a time, so that no sum waits for the one before it.
const LANES: usize = 16;

/// The exponential to 2 units in the last place, at most e⁸⁸, and 0 below e⁻⁸⁷. Unlike the standard
/// library's it is worked out for several numbers at a time where it stands in a loop.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// Added to a number below 2²², this leaves its nearest integer in the last bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, of which the first has 9 bits.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let tiny = x < -87.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2[0] - n * LN_2[1];
    // The polynomial of Cephes' expf.
    let p = 1.987_569_2e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if tiny { 0.0 } else { (p * r * r + r + 1.0) * power }
}

/// The sum of a function of two rows' numbers.
#[inline(always)]
fn sum_by(a: &[f32], b: &[f32], of: impl Fn(f32, f32) -> f32) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += of(*a, *b);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| of(*a, *b)).sum();
    lanes.iter().sum::<f32>() + rest
}

/// Copies `row` to each row of `rows`.
pub(crate) fn fill_rows(rows: &mut [f32], row: &[f32]) {
    for out in rows.chunks_exact_mut(row.len()) {
        out.copy_from_slice(row);
    }
}

/// Adds number by number.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn add(sum: &mut [f32], x: &[f32]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += x;
    }
}

/// Adds `factor · x`.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn add_scaled(sum: &mut [f32], factor: f32, x: &[f32]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += factor * x;
    }
}

/// The inner product of two rows.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_by(a, b, |a, b| a * b)
}

/// The sum of squares, in double precision.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn square_sum(x: &[f32]) -> f64 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(*x) * f64::from(*x);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>()
}

/// Adds, to each of `sums`, a column of `rows`: that of its place, counted from `first`, of rows of
/// `columns` numbers.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn add_column_sums(rows: &[f32], columns: usize, first: usize, sums: &mut [f32]) {
    for row in rows.chunks_exact(columns) {
        for (sum, x) in sums.iter_mut().zip(&row[first..]) {
            *sum += x;
        }
    }
}

/// Brings each row to mean 0 and variance 1 in place, and notes one by its standard deviation.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn standardize(rows: &mut [f32], columns: usize, epsilon: f32, inverses: &mut [f32]) {
    let count = columns as f32;
    for (row, inverse) in rows.chunks_exact_mut(columns).zip(inverses) {
        let mean = sum_by(row, row, |x, _| x) / count;
        let variance = sum_by(row, row, |x, _| (x - mean) * (x - mean)) / count;
        *inverse = 1.0 / (variance + epsilon).sqrt();
        for x in row {
            *x = (*x - mean) * *inverse;
        }
    }
}

/// `x · scale + shift` for each row.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn scale_and_shift(rows: &[f32], scale: &[f32], shift: &[f32], out: &mut [f32]) {
    let rows = rows.chunks_exact(scale.len()).zip(out.chunks_exact_mut(scale.len()));
    for (row, out) in rows {
        for (((out, x), scale), shift) in out.iter_mut().zip(row).zip(scale).zip(shift) {
            *out = x * scale + shift;
        }
    }
}

/// The same in place.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn scale_and_shift_in_place(rows: &mut [f32], scale: &[f32], shift: &[f32]) {
    for row in rows.chunks_exact_mut(scale.len()) {
        for ((x, scale), shift) in row.iter_mut().zip(scale).zip(shift) {
            *x = *x * scale + shift;
        }
    }
}

/// The gradient by the input of a layer norm in place of that by its output, from the standardized
/// rows; adds the gradients by scale and by shift.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn norm_backward(
    standard: &[f32],
    inverses: &[f32],
    scale: &[f32],
    gradient: &mut [f32],
    scale_gradient: &mut [f32],
    shift_gradient: &mut [f32],
) {
    let columns = scale.len();
    let count = columns as f32;
    let rows = standard.chunks_exact(columns).zip(gradient.chunks_exact_mut(columns));
    for ((standard, gradient), inverse) in rows.zip(inverses) {
        for (((by_scale, by_shift), g), x) in
            scale_gradient.iter_mut().zip(&mut *shift_gradient).zip(&*gradient).zip(standard)
        {
            *by_scale += g * x;
            *by_shift += g;
        }
        for (g, scale) in gradient.iter_mut().zip(scale) {
            *g *= scale;
        }
        let mean = sum_by(gradient, gradient, |g, _| g) / count;
        let along = sum_by(gradient, standard, |g, x| g * x) / count;
        for (g, x) in gradient.iter_mut().zip(standard) {
            *g = inverse * (*g - mean - x * along);
        }
    }
}

/// Softmax of `scale` times each row in place, and the logarithms of the sums that it divides by.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn softmax(rows: &mut [f32], columns: usize, scale: f32, log_sums: &mut [f32]) {
    for (row, log_sum) in rows.chunks_exact_mut(columns).zip(log_sums) {
        let largest = scale * largest(row);
        for x in row.iter_mut() {
            *x = exp(*x * scale - largest);
        }
        let sum = sum_by(row, row, |x, _| x);
        *log_sum = largest + sum.ln();
        let factor = 1.0 / sum;
        for x in row {
            *x *= factor;
        }
    }
}

/// The same once more from the logarithms of the sums.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn softmax_again(rows: &mut [f32], columns: usize, scale: f32, log_sums: &[f32]) {
    for (row, log_sum) in rows.chunks_exact_mut(columns).zip(log_sums) {
        for x in row {
            *x = exp(*x * scale - log_sum);
        }
    }
}

/// The gradient by what a softmax is of, in place of that by its results: `scale · p · (g − mean)`,
/// where `mean` is the mean of the row's gradients under the row's probabilities.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn softmax_backward(
    probabilities: &[f32],
    gradient: &mut [f32],
    columns: usize,
    scale: f32,
    means: &[f32],
) {
    let rows = probabilities.chunks_exact(columns).zip(gradient.chunks_exact_mut(columns));
    for ((probabilities, gradient), mean) in rows.zip(means) {
        for (g, p) in gradient.iter_mut().zip(probabilities) {
            *g = scale * p * (*g - mean);
        }
    }
}

#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *x);
        }
    }
    lanes.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, larger)
}

/// Φ(x) and e to the −x²/2. Φ by Abramowitz and Stegun 7.1.26, within 1e-7.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let bell = exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let p = 1.061_405_4 * t - 1.453_152_1;
    let p = p * t + 1.421_413_8;
    let p = p * t - 0.284_496_72;
    let p = p * t + 0.254_829_6;
    let tail = 0.5 * p * t * bell;
    (if x < 0.0 { tail } else { 1.0 - tail }, bell)
}

/// x · Φ(x).
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn gelu(x: &[f32], out: &mut [f32]) {
    for (x, out) in x.iter().zip(out) {
        *out = x * normal(*x).0;
    }
}

/// x · Φ(x) in place of x, and the gradient by x in place of that by the result.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn gelu_backward(x: &mut [f32], gradient: &mut [f32]) {
    /// One by the square root of 2π.
    const HEIGHT: f32 = 0.398_942_3;
    for (x, g) in x.iter_mut().zip(gradient) {
        let (below, bell) = normal(*x);
        *g *= below + *x * HEIGHT * bell;
        *x *= below;
    }
}

/// The logistic function that stands for Φ in the approximation of GELU by tanh, and the derivative
/// of what it is of.
#[inline(always)]
fn logistic(x: f32) -> (f32, f32) {
    /// Twice the square root of 2/π.
    const STEEP: f32 = 1.595_769;
    const CUBIC: f32 = 0.044_715;
    let z = STEEP * (x + CUBIC * x * x * x);
    (1.0 / (1.0 + exp(-z)), STEEP * (1.0 + 3.0 * CUBIC * x * x))
}

/// The approximation of x · Φ(x) by tanh.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn gelu_tanh(x: &[f32], out: &mut [f32]) {
    for (x, out) in x.iter().zip(out) {
        *out = x * logistic(*x).0;
    }
}

/// That in place of x, and the gradient by x in place of that by the result.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn gelu_tanh_backward(x: &mut [f32], gradient: &mut [f32]) {
    for (x, g) in x.iter_mut().zip(gradient) {
        let (below, slope) = logistic(*x);
        *g *= below + *x * slope * below * (1.0 - below);
        *x *= below;
    }
}

/// max(x, 0).
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn relu(x: &[f32], out: &mut [f32]) {
    for (x, out) in x.iter().zip(out) {
        *out = x.max(0.0);
    }
}

/// max(x, 0) in place of x, and the gradient by x in place of that by the result.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn relu_backward(x: &mut [f32], gradient: &mut [f32]) {
    for (x, g) in x.iter_mut().zip(gradient) {
        if *x <= 0.0 {
            *g = 0.0;
        }
        *x = x.max(0.0);
    }
}

/// Clears numbers of a row by chance and multiplies the others by `factor`. Which ones follows from
/// `keys` and the place in the row: a number is cleared where the hash of both is below `limit`.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn drop_by_hash(row: &mut [f32], keys: [u32; 2], limit: u32, factor: f32) {
    for (place, x) in (0_u32..).zip(row) {
        // Wellons' lowbias32 with a key before each half.
        let mut hash = place.wrapping_mul(0x9E37_79B9) ^ keys[0];
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x21F0_AAAD);
        hash = (hash ^ (hash >> 15) ^ keys[1]).wrapping_mul(0x735A_2D97);
        hash ^= hash >> 15;
        *x *= if hash < limit { 0.0 } else { factor };
    }
}

/// What a step of AdamW is taken by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adam {
    /// β₁ and β₂.
    pub(crate) betas: [f32; 2],
    /// What the root of the second moment is added to.
    pub(crate) epsilon: f32,
    /// What gradients are multiplied by first.
    pub(crate) gradient_factor: f32,
    /// What weights are multiplied by first.
    pub(crate) keep: f32,
    /// The learning rate over `1 − β₁ᵗ`.
    pub(crate) rate: f32,
    /// One over the root of `1 − β₂ᵗ`.
    pub(crate) root_factor: f32,
}

/// A step of AdamW (Loshchilov and Hutter 2019).
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(crate) fn adamw(
    values: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    adam: &Adam,
) {
    let [beta_1, beta_2] = adam.betas;
    let Adam { epsilon, gradient_factor, keep, rate, root_factor, .. } = *adam;
    for (((x, g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
        let g = gradient_factor * g;
        *m = beta_1 * *m + (1.0 - beta_1) * g;
        *v = beta_2 * *v + (1.0 - beta_2) * g * g;
        *x = *x * keep - rate * *m / (v.sqrt() * root_factor + epsilon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_right_to_two_units_in_the_last_place() {
        for step in -8700..8800 {
            let x = step as f32 * 0.01;
            let expected = f64::from(x).exp();
            let off = (f64::from(exp(x)) / expected - 1.0).abs();
            assert!(off < 2.5e-7, "exp({x}) is {off} off");
        }
        assert_eq!((exp(-88.0), exp(f32::NEG_INFINITY), exp(0.0)), (0.0, 0.0, 1.0));
    }

    #[test]
    fn gelu_is_right_in_both_tails() {
        // x · erfc(−x / √2) / 2 by Python's `math.erfc`.
        let expected = [
            (-5.0, -1.433_258e-6),
            (-3.0, -4.049_694e-3),
            (-1.0, -0.158_655_25),
            (0.0, 0.0),
            (0.5, 0.345_731_23),
            (3.0, 2.995_950_3),
        ];
        for (x, expected) in expected {
            let mut found = [0.0];
            gelu(&[x], &mut found);
            let off = (found[0] - expected).abs();
            assert!(off <= 3e-7 * x.abs(), "{x}: {} for {expected}", found[0]);
        }
    }

    #[test]
    fn softmax_gives_nothing_to_what_fills_rows_up() {
        let filled = |length: usize| {
            let mut row = vec![f32::NEG_INFINITY; 32];
            row[..length].iter_mut().zip(0_u8..).for_each(|(x, index)| *x = f32::from(index));
            row
        };
        for length in [1, 15, 16, 17, 32] {
            let scores = filled(length);
            let (mut first, mut again, mut log_sums) = (scores.clone(), scores, [0.0]);
            softmax(&mut first, 32, 0.5, &mut log_sums);
            softmax_again(&mut again, 32, 0.5, &log_sums);
            let sum: f64 = (0..length).map(|index| (0.5 * index as f64).exp()).sum();
            for (index, (first, again)) in first.iter().zip(&again).enumerate() {
                let share = if index < length { (0.5 * index as f64).exp() / sum } else { 0.0 };
                assert!((f64::from(*first) - share).abs() < 1e-6, "{first} for {share}");
                assert!((first - again).abs() < 2e-6, "{first} and {again}");
            }
        }
    }
}
