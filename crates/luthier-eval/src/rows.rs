//! Rows worth a second look.

use serde::{Deserialize, Serialize};

use crate::Predictions;
use crate::ordered::Ordered;
use crate::predictions::Classes;

/// The median distance of a normal variable to its mean, in standard deviations.
const MEDIAN_DISTANCE: f64 = 0.674_489_750_196_081_7;
/// Deviations beyond which a residual is an outlier.
const OUTLYING: f64 = 3.5;

/// A row whose label the model doubts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// The row, from 0.
    pub row: usize,
    /// Its class as labelled.
    pub given: u32,
    /// The class that the model would have it.
    pub suggested: u32,
    /// Probability of the former.
    pub probability_given: f64,
    /// Probability of the latter.
    pub probability_suggested: f64,
}

/// A row that was decided wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    /// The row, from 0.
    pub row: usize,
    /// Its true class.
    pub truth: u32,
    /// The class decided.
    pub predicted: u32,
    /// Probability of the true class.
    pub probability_truth: f64,
}

/// A row whose number is far off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NumberError {
    /// The row, from 0.
    pub row: usize,
    /// Its true number.
    pub truth: f64,
    /// The number predicted.
    pub predicted: f64,
    /// How unusual its residual is among all: the distance to their median in units of a standard
    /// deviation, estimated by the median of those distances; `None` if that is 0.
    pub deviation: Option<f64>,
}

/// At most `top` rows whose labels are likely wrong, most suspicious first: confident learning
/// (Northcutt, Jiang and Chuang 2021), which wants probabilities of rows the model was not trained
/// on.
///
/// A class's threshold is its mean probability over the rows labelled with it. A row is suspect
/// when the class it was given is below its threshold while another, more probable one reaches its
/// own; the most probable of those is suggested. Rows rank by how much more probable the suggestion
/// is, ties by row. A class without rows has no threshold and is never suggested. Of numbers none
/// is: see [`suspect_numbers`].
pub fn suspect_labels(predictions: &Predictions, top: usize) -> Vec<Suspect> {
    let Some(predictions) = predictions.as_classes() else { return Vec::new() };
    let thresholds = self_confidence(predictions);
    let rows = predictions.rows().zip(predictions.truth()).enumerate();
    let mut suspects: Vec<Suspect> = rows
        .filter_map(|(row, (probabilities, &given))| {
            let probability_given = probabilities[given as usize];
            if probability_given >= thresholds[given as usize] {
                return None;
            }
            let suggested =
                (0..probabilities.len())
                    .filter(|class| probabilities[*class] >= thresholds[*class])
                    .reduce(|best, class| {
                        if probabilities[class] > probabilities[best] { class } else { best }
                    })?;
            let probability_suggested = probabilities[suggested];
            (probability_suggested > probability_given).then_some(Suspect {
                row,
                given,
                suggested: suggested as u32,
                probability_given,
                probability_suggested,
            })
        })
        .collect();
    let margin = |suspect: &Suspect| suspect.probability_suggested - suspect.probability_given;
    suspects.sort_by(|a, b| margin(b).total_cmp(&margin(a)));
    suspects.truncate(top);
    suspects
}

/// Mean probability of each class over the rows labelled with it; infinite where there are none.
fn self_confidence(predictions: &Classes) -> Vec<f64> {
    let mut sums = vec![(0.0, 0.0); predictions.classes()];
    for (probabilities, &given) in predictions.rows().zip(predictions.truth()) {
        let (sum, count) = &mut sums[given as usize];
        *sum += probabilities[given as usize];
        *count += 1.0;
    }
    let mean = |(sum, count)| {
        if count > 0.0 { sum / count } else { f64::INFINITY }
    };
    sums.into_iter().map(mean).collect()
}

/// At most `top` rows that were decided wrongly, the most confidently wrong first: by the
/// probability of the true class, ascending, ties by row. Of numbers none: see [`largest_errors`].
pub fn worst_mistakes(predictions: &Predictions, top: usize) -> Vec<Mistake> {
    let Some(predictions) = predictions.as_classes() else { return Vec::new() };
    let decided = predictions.truth().iter().zip(predictions.predicted()).enumerate();
    let mut mistakes: Vec<Mistake> = decided
        .filter(|(_, (truth, predicted))| truth != predicted)
        .map(|(row, (&truth, &predicted))| {
            let probability_truth = predictions.row(row)[truth as usize];
            Mistake { row, truth, predicted, probability_truth }
        })
        .collect();
    mistakes.sort_by(|a, b| a.probability_truth.total_cmp(&b.probability_truth));
    mistakes.truncate(top);
    mistakes
}

/// At most `top` rows with the largest absolute errors, ties by row; of classes none.
pub fn largest_errors(predictions: &Predictions, top: usize) -> Vec<NumberError> {
    let error = |row: &NumberError| (row.truth - row.predicted).abs();
    let mut errors = number_errors(predictions);
    errors.sort_by(|a, b| error(b).total_cmp(&error(a)));
    errors.truncate(top);
    errors
}

/// At most `top` rows whose true numbers are likely wrong, most suspicious first: those with a
/// deviation above 3.5 (Iglewicz and Hoaglin 1993), ties by row. It wants predictions for rows the
/// model was not trained on, and says little where errors vary from row to row. Of classes none.
pub fn suspect_numbers(predictions: &Predictions, top: usize) -> Vec<NumberError> {
    let deviation = |row: &NumberError| row.deviation.unwrap_or(0.0);
    let mut suspects = number_errors(predictions);
    suspects.retain(|row| deviation(row) > OUTLYING);
    suspects.sort_by(|a, b| deviation(b).total_cmp(&deviation(a)));
    suspects.truncate(top);
    suspects
}

fn number_errors(predictions: &Predictions) -> Vec<NumberError> {
    let Some((truth, predicted)) = predictions.numbers() else { return Vec::new() };
    let median = |values: &[f64]| {
        Ordered::of(values.to_vec()).quantile(0.5, predictions.weights()).unwrap_or(0.0)
    };
    let residuals: Vec<f64> = truth.iter().zip(predicted).map(|(t, p)| t - p).collect();
    let middle = median(&residuals);
    let distances: Vec<f64> = residuals.iter().map(|residual| (residual - middle).abs()).collect();
    let deviation = median(&distances) / MEDIAN_DISTANCE;
    let error = |(row, distance): (usize, &f64)| NumberError {
        row,
        truth: truth[row],
        predicted: predicted[row],
        deviation: Some(distance / deviation).filter(|found| found.is_finite()),
    };
    distances.iter().enumerate().map(error).collect()
}
