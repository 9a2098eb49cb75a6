//! The crate as its users meet it.

mod calibration;
mod costs;
mod errors;
mod gate;
mod numbers;
mod oracle;
mod rows;
mod uncertainty;

use luthier_eval::Predictions;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Two-class predictions from the probabilities of class 1.
fn binary(truth: &[u32], scores: &[f64]) -> Predictions {
    let probabilities = scores.iter().flat_map(|p| [1.0 - p, *p]).collect();
    Predictions::new(2, truth.to_vec(), probabilities, None, None).unwrap()
}

/// Two-class predictions from decisions alone, all equally sure.
fn decided(truth: &[u32], predicted: &[u32]) -> Predictions {
    let sure = |class: &u32| if *class == 1 { 0.9 } else { 0.1 };
    binary(truth, &predicted.iter().map(sure).collect::<Vec<_>>())
}

/// `rows` predictions over `classes` classes, of which `skill` (0 to 1) are near the truth.
fn drawn(rows: usize, classes: usize, skill: f64, seed: u64) -> Predictions {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut truth = Vec::with_capacity(rows);
    let mut probabilities = Vec::with_capacity(rows * classes);
    for _ in 0..rows {
        let class = rng.random_range(0..classes);
        let mut row: Vec<f64> = (0..classes).map(|_| rng.random::<f64>()).collect();
        if rng.random::<f64>() < skill {
            row[class] += 1.0;
        }
        let sum: f64 = row.iter().sum();
        probabilities.extend(row.iter().map(|p| p / sum));
        truth.push(class as u32);
    }
    Predictions::new(classes, truth, probabilities, None, None).unwrap()
}
