//! The normal distribution: logarithms of its probabilities, accurate far into the tails, and draws
//! from its truncated form.

use std::f64::consts::{FRAC_1_SQRT_2, PI, TAU};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// ln √(2π).
pub(super) const LN_SQRT_TAU: f64 = 0.918_938_533_204_672_8;

/// Of the probability beyond this, nothing is left in the 53 bits of one minus it.
const ALL: f64 = 8.5;

/// Logarithm of the standard normal's probability between `a` and `b`, `a < b`.
pub(super) fn log_mass(a: f64, b: f64) -> f64 {
    // Most truncations are so far away that they keep all.
    if a < -ALL && b > ALL {
        return 0.0;
    }
    // The difference of two nearly equal probabilities loses digits. In so thin a slice the density
    // at its middle says more; the next term of its series is below 5e-6.
    let (width, middle) = (b - a, a + (b - a) / 2.0);
    if width * (1.0 + middle.abs()) < 0.3 {
        let bend = (middle * middle - 1.0) * width * width / 24.0;
        return width.ln() - LN_SQRT_TAU - 0.5 * middle * middle + bend - 0.5 * bend * bend;
    }
    if a > 0.0 {
        return log_tail(a, b);
    }
    if b <= 0.0 {
        return log_tail(-b, -a);
    }
    let outside = |x: f64| if x > ALL { 0.0 } else { 0.5 * erfc(x * FRAC_1_SQRT_2) };
    (-(outside(-a) + outside(b))).ln_1p()
}

/// [`log_mass`] for `0 ≤ a < b`: the density at `a` is taken out, so that nothing underflows.
fn log_tail(a: f64, b: f64) -> f64 {
    let decay = 0.5 * (b - a) * (a + b);
    let beyond = if decay > 40.0 { 0.0 } else { erfcx(b * FRAC_1_SQRT_2) * (-decay).exp() };
    (0.5 * (erfcx(a * FRAC_1_SQRT_2) - beyond)).ln() - 0.5 * a * a
}

/// The complementary error function of `x ≥ 0`.
fn erfc(x: f64) -> f64 {
    erfcx(x) * (-x * x).exp()
}

/// exp(x²) · erfc(x) for `x ≥ 0`, by the rational approximations of W. J. Cody, "Rational Chebyshev
/// approximations for the error function", Mathematics of Computation 23 (1969), with the
/// coefficients of his SPECFUN.
pub(super) fn erfcx(x: f64) -> f64 {
    const A: [f64; 5] = [
        3.209_377_589_138_469_4e3,
        3.774_852_376_853_02e2,
        1.138_641_541_510_501_6e2,
        3.161_123_743_870_565_6,
        1.857_777_061_846_031_5e-1,
    ];
    const B: [f64; 5] = [
        2.844_236_833_439_171e3,
        1.282_616_526_077_372_3e3,
        2.440_246_379_344_441_7e2,
        2.360_129_095_234_412_2e1,
        1.0,
    ];
    const C: [f64; 9] = [
        1.230_339_354_797_997_2e3,
        2.051_078_377_826_071_6e3,
        1.712_047_612_634_070_7e3,
        8.819_522_212_417_69e2,
        2.986_351_381_974_001e2,
        6.611_919_063_714_163e1,
        8.883_149_794_388_377,
        5.641_884_969_886_701e-1,
        2.153_115_354_744_038_3e-8,
    ];
    const D: [f64; 9] = [
        1.230_339_354_803_749_5e3,
        3.439_367_674_143_721_6e3,
        4.362_619_090_143_247e3,
        3.290_799_235_733_459_7e3,
        1.621_389_574_566_690_3e3,
        5.371_811_018_620_099e2,
        1.176_939_508_913_125e2,
        1.574_492_611_070_983_3e1,
        1.0,
    ];
    const P: [f64; 6] = [
        6.587_491_615_298_378e-4,
        1.608_378_514_874_227_5e-2,
        1.257_817_261_112_292_6e-1,
        3.603_448_999_498_044_5e-1,
        3.053_266_349_612_323_6e-1,
        1.631_538_713_730_209_7e-2,
    ];
    const Q: [f64; 6] = [
        2.335_204_976_268_691_8e-3,
        6.051_834_131_244_132e-2,
        5.279_051_029_514_285e-1,
        1.872_952_849_923_460_4,
        2.568_520_192_289_822,
        1.0,
    ];
    let square = x * x;
    if x <= 0.46875 {
        return (1.0 - x * polynomial(&A, square) / polynomial(&B, square)) * square.exp();
    }
    if x <= 4.0 {
        return polynomial(&C, x) / polynomial(&D, x);
    }
    let inverse = 1.0 / square;
    let rest = inverse * polynomial(&P, inverse) / polynomial(&Q, inverse);
    (1.0 / PI.sqrt() - rest) / x
}

/// The polynomial with these coefficients, from the constant one up.
fn polynomial(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, coefficient| sum * x + coefficient)
}

/// A draw from the normal distribution around `mean`, which lies between `low` and `high`, kept
/// within them. By rejection: with `deviation` no more than the width of the range at least a third
/// of the draws is inside.
pub(super) fn draw_truncated(
    mean: f64,
    deviation: f64,
    low: f64,
    high: f64,
    rng: &mut ChaCha8Rng,
) -> f64 {
    loop {
        for draw in draw_pair(rng).map(|standard| mean + deviation * standard) {
            if (low..=high).contains(&draw) {
                return draw;
            }
        }
    }
}

/// Two independent draws from the standard normal distribution (Box and Muller 1958).
pub(super) fn draw_pair(rng: &mut ChaCha8Rng) -> [f64; 2] {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    let (sin, cos) = (TAU * rng.random::<f64>()).sin_cos();
    [radius * cos, radius * sin]
}

/// The standard normal's probability below `x`.
pub(crate) fn probability_below(x: f64) -> f64 {
    let tail = 0.5 * erfc(x.abs() * FRAC_1_SQRT_2);
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// Below which number the standard normal's probability is `probability`, which is from 0 to 1; by
/// the algorithm AS 241 of M. J. Wichura, Applied Statistics 37 (1988).
pub(super) fn quantile(probability: f64) -> f64 {
    const A: [f64; 8] = [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ];
    const B: [f64; 8] = [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_854,
    ];
    const C: [f64; 8] = [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        0.000_774_545_014_278_341_4,
    ];
    const D: [f64; 8] = [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        0.000_547_593_808_499_534_5,
        1.050_750_071_644_416_9e-9,
    ];
    const E: [f64; 8] = [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        0.001_242_660_947_388_078_4,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ];
    const F: [f64; 8] = [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        0.000_786_869_131_145_613_3,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_7e-15,
    ];
    let from_middle = probability - 0.5;
    if from_middle.abs() <= 0.425 {
        let r = 0.180_625 - from_middle * from_middle;
        return from_middle * polynomial(&A, r) / polynomial(&B, r);
    }
    let tail = if from_middle < 0.0 { probability } else { 1.0 - probability };
    if tail <= 0.0 {
        return f64::INFINITY.copysign(from_middle);
    }
    let r = (-tail.ln()).sqrt();
    let size = match r <= 5.0 {
        true => polynomial(&C, r - 1.6) / polynomial(&D, r - 1.6),
        false => polynomial(&E, r - 5.0) / polynomial(&F, r - 5.0),
    };
    size.copysign(from_middle)
}

#[cfg(test)]
mod tests;
