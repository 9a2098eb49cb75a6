use luthier_test::assert_close;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;

#[test]
fn masses_agree_with_scipy_far_into_the_tails() {
    let fixture = include_str!("../../../tests/fixtures/parzen.json");
    let fixture: serde_json::Value = serde_json::from_str(fixture).unwrap();
    let masses = fixture["masses"].as_array().unwrap();
    assert_eq!(masses.len(), 72);
    for mass in masses {
        let [low, high, expected] = [0, 1, 2].map(|i| mass[i].as_f64().unwrap());
        // Thin slices go by the series, the others are exact.
        let tolerance = if high - low < 0.3 { 5e-6 } else { 1e-11 };
        assert_close(log_mass(low, high), expected, tolerance, &format!("[{low}, {high}]"));
    }
}

#[test]
fn the_thinnest_slices_keep_their_digits() {
    for middle in [0.0, 1.0, -7.0, 60.0] {
        let expected = 1e-9f64.ln() - 0.5 * middle * middle - LN_SQRT_TAU;
        assert_close(log_mass(middle - 5e-10, middle + 5e-10), expected, 1e-7, "slice");
    }
}

#[test]
fn truncated_draws_have_the_moments_of_their_distribution() {
    // Expected: scipy.stats.truncnorm(-0.25, 1, loc=1, scale=4), mean and standard deviation.
    let (mean, deviation) = (2.315_278_171_761_195, 1.399_061_240_248_817_2);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let draws: Vec<f64> =
        (0..40_000).map(|_| draw_truncated(1.0, 4.0, 0.0, 5.0, &mut rng)).collect();
    assert!(draws.iter().all(|x| (0.0..=5.0).contains(x)));
    let count = draws.len() as f64;
    let sum: f64 = draws.iter().sum();
    let squares: f64 = draws.iter().map(|x| (x - sum / count).powi(2)).sum();
    assert_close(sum / count, mean, 0.02, "mean");
    assert_close((squares / count).sqrt(), deviation, 0.02, "deviation");
}

/// Expected values by `scipy.stats.norm.ppf`.
#[test]
fn quantiles_agree_with_scipy() {
    let cases = [
        (1e-300, -37.0470962993612),
        (1e-20, -9.262340089798409),
        (1e-6, -4.753424308822899),
        (0.02, -2.053748910631823),
        (0.3, -0.5244005127080409),
        (0.5, 0.0),
        (0.61, 0.27931903444745415),
        (0.93, 1.475791028179171),
        (0.99999, 4.264890793923841),
    ];
    for (probability, expected) in cases {
        assert_close(quantile(probability), expected, 1e-14, &probability.to_string());
        if probability > 1e-30 {
            assert_close(probability_below(expected), probability, 1e-13, &expected.to_string());
        }
    }
    assert_eq!([0.0, 1.0].map(quantile), [f64::NEG_INFINITY, f64::INFINITY]);
}
