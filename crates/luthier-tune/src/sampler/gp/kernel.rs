//! The covariance of a process at two points: a Matérn kernel of smoothness 5/2 over a weighted
//! distance, for many points at a time.

use multiversion::multiversion;

use super::features::Kind;

/// Points as a vector for each feature.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns(pub(super) Vec<Vec<f64>>);

impl Columns {
    /// Of points by their features, `dimensions` each.
    pub(super) fn new(dimensions: usize, points: &[Vec<f64>]) -> Self {
        let column = |dimension: usize| points.iter().map(|point| point[dimension]).collect();
        Self((0..dimensions).map(column).collect())
    }

    /// Adds to `sums` the weighted squared distances of a point to as many of these.
    pub(super) fn add_distances(
        &self,
        kinds: &[Kind],
        weights: &[f64],
        point: &[f64],
        sums: &mut [f64],
    ) {
        for (((kind, weight), column), at) in kinds.iter().zip(weights).zip(&self.0).zip(point) {
            add_distances(*kind, *weight, column, *at, sums);
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn add_distances(kind: Kind, weight: f64, column: &[f64], at: f64, sums: &mut [f64]) {
    let sums = sums.iter_mut().zip(column);
    match kind {
        Kind::Number => sums.for_each(|(sum, x)| *sum += weight * Kind::Number.distance(at, *x)),
        Kind::Option => sums.for_each(|(sum, x)| *sum += weight * Kind::Option.distance(at, *x)),
        Kind::Bits(_) => sums.for_each(|(sum, x)| *sum += weight * kind.distance(at, *x)),
    }
}

/// Puts the kernel's values in the place of squared distances.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2"))]
pub(super) fn matern(squared: &mut [f64], scale: f64) {
    for x in squared {
        let (t, decay) = decayed(*x);
        *x = scale * (1.0 + t + t * t / 3.0) * decay;
    }
}

/// The same, and gives the derivatives by the squared distances.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2"))]
pub(super) fn matern_with_slopes(squared: &mut [f64], slopes: &mut [f64], scale: f64) {
    for (x, slope) in squared.iter_mut().zip(slopes) {
        let (t, decay) = decayed(*x);
        *slope = scale * (-5.0 / 6.0) * (1.0 + t) * decay;
        *x = scale * (1.0 + t + t * t / 3.0) * decay;
    }
}

/// √5 times the distance, and the exponential of minus that.
#[inline(always)]
fn decayed(squared: f64) -> (f64, f64) {
    let t = (5.0 * squared).sqrt();
    (t, exp_minus(t))
}

/// exp(−t) for `t ≥ 0`, to the last bit or two: a power of two times a polynomial around zero. Unlike
/// the function of the library it is worked out for several numbers at a time. Below 1e-300 it is as
/// good as zero.
#[inline(always)]
fn exp_minus(t: f64) -> f64 {
    /// Added to a number below 2⁵¹, this leaves its nearest integer in the last bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    /// ln 2 in two parts, of which the first has 32 bits.
    const LN_2: [f64; 2] = [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10];
    /// One by the factorials from 13 down to 0.
    const TERMS: [f64; 14] = [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    let t = t.min(690.0);
    let rounded = t * std::f64::consts::LOG2_E + ROUND;
    let halvings = rounded - ROUND;
    let rest = (halvings * LN_2[0] - t) + halvings * LN_2[1];
    let mut sum = 0.0;
    for term in TERMS {
        sum = sum * rest + term;
    }
    // The exponent of 2⁻ⁿ is 1023 − n; what else is in the bits of `rounded` is shifted out.
    let power = f64::from_bits(1023u64.wrapping_sub(rounded.to_bits()) << 52);
    sum * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_that_of_the_library() {
        for t in (0..700_000).map(|n| f64::from(n) * 1e-3) {
            let (found, expected) = (exp_minus(t), (-t.min(690.0)).exp());
            assert!((found - expected).abs() <= 4e-16 * expected, "{t}: {found} {expected}");
        }
        assert_eq!(exp_minus(0.0), 1.0);
        assert!(exp_minus(f64::INFINITY) < 1e-299);
    }

    #[test]
    fn slopes_are_those_of_differences() {
        let values = |by: f64| {
            let mut found = [0.0, 0.1, 1.0, 30.0].map(|x| x + by);
            matern(&mut found, 2.0);
            found
        };
        let (mut found, mut slopes) = ([0.0, 0.1, 1.0, 30.0], [0.0; 4]);
        matern_with_slopes(&mut found, &mut slopes, 2.0);
        assert_eq!(found, values(0.0));
        let differences =
            values(1e-6).into_iter().zip(values(-1e-6)).map(|(up, down)| (up - down) / 2e-6);
        // At 0 there is no value on the other side.
        for (slope, difference) in slopes.iter().zip(differences).skip(1) {
            assert!((slope - difference).abs() < 1e-6, "{slope} {difference}");
        }
    }
}
