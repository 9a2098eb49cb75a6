//! How far values have moved.

/// The population stability index of `actual` against `expected`, counts of the same bins; further
/// bins of the longer one are left out.
///
/// Σ (aᵢ − eᵢ) ln(aᵢ / eᵢ) over the bins' shares (Siddiqi 2006, "Credit risk scorecards"), which is
/// Jeffreys's divergence (Kullback and Leibler 1951). It is 0 for equal shares, has no upper bound,
/// and is read by custom as: below 0.1 alike, above 0.25 moved. Each count is raised by ½, as by
/// Jeffreys's prior, so that an empty bin has a finite part; bins that are empty on both sides have
/// none.
pub fn population_stability_index(expected: &[u64], actual: &[u64]) -> f64 {
    let used = || expected.iter().zip(actual).filter(|(e, a)| **e > 0 || **a > 0);
    let (mut bins, mut expected_rows, mut actual_rows) = (0.0, 0.0, 0.0);
    for (e, a) in used() {
        bins += 1.0;
        expected_rows += *e as f64;
        actual_rows += *a as f64;
    }
    let share = |count: u64, rows: f64| (count as f64 + 0.5) / (rows + 0.5 * bins);
    let part = |(e, a): (&u64, &u64)| {
        let (e, a) = (share(*e, expected_rows), share(*a, actual_rows));
        (a - e) * (a / e).ln()
    };
    used().map(part).sum()
}
