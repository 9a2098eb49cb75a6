//! The logarithm of expected improvement (Ament et al. 2023).

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::super::normal::{LN_SQRT_TAU, erfcx};
use super::model::Belief;

/// Logarithm of the expected improvement over `best`, with its derivatives by the mean and by the
/// deviation of the belief. It says which of two hopeless points is less so, where the improvement
/// itself would be 0.
pub(super) fn log_expected_improvement(belief: Belief, best: f64) -> (f64, f64, f64) {
    let Belief { mean, deviation } = belief;
    let z = (mean - best) / deviation;
    if z > -1.0 {
        let density = (-0.5 * z * z - LN_SQRT_TAU).exp();
        let below = 1.0 - 0.5 * upper(z);
        let gain = density + z * below;
        return (
            deviation.ln() + gain.ln(),
            below / (deviation * gain),
            density / (deviation * gain),
        );
    }
    // The density is taken out; the rest falls like 1 / z².
    let below = (PI / 2.0).sqrt() * erfcx(-z * FRAC_1_SQRT_2);
    let rest = if z < -1e3 { 1.0 / (z * z) } else { 1.0 + z * below };
    let log = deviation.ln() - 0.5 * z * z - LN_SQRT_TAU + rest.ln();
    (log, below / (deviation * rest), 1.0 / (deviation * rest))
}

/// erfc(z / √2): twice the probability above `z`.
fn upper(z: f64) -> f64 {
    let above = |z: f64| erfcx(z * FRAC_1_SQRT_2) * (-0.5 * z * z).exp();
    if z >= 0.0 { above(z) } else { 2.0 - above(-z) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(mean: f64, deviation: f64, best: f64) -> f64 {
        log_expected_improvement(Belief { mean, deviation }, best).0
    }

    /// Expected values by mpmath with 200 digits: ln(s · (φ(z) + z · Φ(z))).
    #[test]
    fn values_are_those_of_the_formula() {
        let check = |found: f64, expected: f64| {
            let error = (found - expected).abs();
            assert!(error < 1e-9 * expected.abs().max(1.0), "{found} {expected}");
        };
        check(log(0.0, 1.0, 0.0), -LN_SQRT_TAU);
        check(log(3.0, 1.0, 0.0), 1.098_739_665_327_707_8);
        check(log(-2.0, 1.0, 0.0), -4.768_783_523_917_114);
        check(log(-1.0, 0.5, 1.0), -12.542_208_758_110_608);
        check(log(-30.0, 1.0, 0.0), -457.724_653_760_598);
        assert!(log(-1e6, 1.0, 0.0).is_finite());
    }

    #[test]
    fn derivatives_are_those_of_differences() {
        for (mean, deviation) in [(0.5, 0.3), (-0.2, 1.0), (-3.0, 0.7), (-30.0, 1.0), (-900.0, 2.0)]
        {
            let (_, by_mean, by_deviation) =
                log_expected_improvement(Belief { mean, deviation }, 0.1);
            let step = 1e-5;
            let mean_slope = (log(mean + step, deviation, 0.1) - log(mean - step, deviation, 0.1))
                / (2.0 * step);
            let deviation_slope = (log(mean, deviation + step, 0.1)
                - log(mean, deviation - step, 0.1))
                / (2.0 * step);
            assert!((by_mean / mean_slope - 1.0).abs() < 1e-4, "{mean} {deviation}");
            assert!((by_deviation / deviation_slope - 1.0).abs() < 1e-4, "{mean} {deviation}");
        }
    }
}
