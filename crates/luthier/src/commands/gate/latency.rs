//! The time of one row on two bundles, side by side.

use std::time::Instant;

use luthier_bundle::{Bundle, PredictScratch, Predictor, ProbeRow};
use luthier_engine::Threads;

use crate::failure::Failure;
use crate::stages::median_and_p99;

/// How often each row is timed.
const ROUNDS: usize = 7;

/// Milliseconds from one raw row to its answer, on one thread.
pub(super) struct Latency {
    pub(super) median: f64,
    pub(super) p99: f64,
}

/// The latency of both bundles on the same rows. They take turns, and of each row the fastest round
/// counts: what else the machine does makes rounds slower and never faster.
pub(super) fn side_by_side(
    bundles: [&Bundle; 2],
    rows: &[ProbeRow],
) -> Result<[Latency; 2], Failure> {
    let threads = Threads::new(1);
    let predictors = [bundles[0].predictor(&threads)?, bundles[1].predictor(&threads)?];
    let mut scratches = [PredictScratch::default(), PredictScratch::default()];
    let mut fastest = [Vec::new(), Vec::new()];
    for row in rows {
        let mut best = [f64::INFINITY; 2];
        for round in 0..2 * ROUNDS {
            // The one that begins gets the row cold, so both begin equally often.
            let side = (round + round / 2) % 2;
            let time = time(&predictors[side], row, &mut scratches[side])?;
            best[side] = best[side].min(time);
        }
        fastest.iter_mut().zip(best).for_each(|(times, best)| times.push(best));
    }
    Ok(fastest.map(Latency::of))
}

fn time(
    predictor: &Predictor,
    row: &ProbeRow,
    scratch: &mut PredictScratch,
) -> Result<f64, Failure> {
    let start = Instant::now();
    predictor.predict_row(row, scratch)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

impl Latency {
    fn of(times: Vec<f64>) -> Self {
        let (median, p99) = median_and_p99(times);
        Self { median, p99 }
    }
}
