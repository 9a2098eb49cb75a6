//! What a bundle is worth: its answers on a part of the data, its time for one row, its size.

use std::time::Instant;

use luthier_bundle::{PredictScratch, Predictor};
use luthier_data::{Dataset, Part, Selection};
use luthier_eval::{EvalError, Predictions};

use crate::failure::Failure;

/// Rows that are answered one by one to measure latency, after a tenth of them to warm up.
const TIMED_ROWS: usize = 400;
/// Rows that are answered at a time.
const BATCH: usize = 256;

/// Class names as a model keeps them.
pub(super) fn labels(dataset: &Dataset) -> Vec<String> {
    dataset.labels().to_vec()
}

/// The positive class where there are two.
pub(super) fn binary(dataset: &Dataset) -> Option<usize> {
    dataset.positive().filter(|_| dataset.labels().len() == 2)
}

/// Labels of the selected rows.
pub(super) fn truth(dataset: &Dataset, rows: impl Into<Selection>) -> Result<Vec<u32>, Failure> {
    dataset.examples(rows)?.map(|example| Ok(example?.label)).collect()
}

/// Texts of all rows of a part.
pub(super) fn texts(dataset: &Dataset, part: Part) -> Result<Vec<String>, Failure> {
    dataset.examples(part)?.map(|example| Ok(example?.text)).collect()
}

/// Float32 probabilities, row-major, as predictions to score.
pub(crate) fn predictions(
    classes: usize,
    truth: Vec<u32>,
    probabilities: &[f32],
    predicted: Option<Vec<u32>>,
) -> Result<Predictions, EvalError> {
    let probabilities = probabilities.iter().map(|p| f64::from(*p)).collect();
    Predictions::new(classes, truth, probabilities, predicted, None)
}

/// Answers `texts` in batches: probabilities and the labels that the decision gives.
pub(crate) fn answer<T: AsRef<str>>(
    predictor: &Predictor,
    texts: &[T],
) -> Result<(Vec<f32>, Vec<u32>), Failure> {
    let mut scratch = PredictScratch::default();
    let classes = predictor.decision().classes();
    let mut probabilities = Vec::with_capacity(texts.len() * classes);
    for batch in texts.chunks(BATCH) {
        probabilities.extend(predictor.predict(batch, &mut scratch)?);
    }
    let label = |row: &[f32]| predictor.decision().answer(row).label as u32;
    let predicted = probabilities.chunks_exact(classes).map(label).collect();
    Ok((probabilities, predicted))
}

/// Median and 99th percentile of the time from one raw text to its answer, in milliseconds, on one
/// thread.
pub(super) fn latency(predictor: &Predictor, texts: &[String]) -> Result<(f64, f64), Failure> {
    let mut scratch = PredictScratch::default();
    let mut times = Vec::with_capacity(TIMED_ROWS);
    for (round, text) in texts.iter().cycle().take(TIMED_ROWS * 11 / 10).enumerate() {
        let start = Instant::now();
        predictor.predict(&[text], &mut scratch)?;
        if round >= TIMED_ROWS / 10 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(median_and_p99(times))
}

/// Median and 99th percentile of times, by the nearest rank; 0 where there are none.
pub(crate) fn median_and_p99(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    let at = |quantile: f64| {
        let position = (times.len() as f64 * quantile).ceil() as usize;
        times.get(position.saturating_sub(1)).copied().unwrap_or(0.0)
    };
    (at(0.5), at(0.99))
}
