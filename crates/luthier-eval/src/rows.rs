//! Rows worth a second look.

use serde::{Deserialize, Serialize};

use crate::Predictions;

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

/// At most `top` rows whose labels are likely wrong, most suspicious first: confident learning
/// (Northcutt, Jiang and Chuang 2021), which wants probabilities of rows the model was not trained
/// on.
///
/// A class's threshold is its mean probability over the rows labelled with it. A row is suspect
/// when the class it was given is below its threshold while another, more probable one reaches its
/// own; the most probable of those is suggested. Rows rank by how much more probable the suggestion
/// is, ties by row. A class without rows has no threshold and is never suggested.
pub fn suspect_labels(predictions: &Predictions, top: usize) -> Vec<Suspect> {
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
fn self_confidence(predictions: &Predictions) -> Vec<f64> {
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
/// probability of the true class, ascending, ties by row.
pub fn worst_mistakes(predictions: &Predictions, top: usize) -> Vec<Mistake> {
    let decided = predictions.truth().iter().zip(predictions.predicted()).enumerate();
    let mut mistakes: Vec<Mistake> = decided
        .filter(|(_, (truth, predicted))| truth != predicted)
        .map(|(row, (&truth, &predicted))| {
            let probability_truth = predictions.probability(row, truth as usize);
            Mistake { row, truth, predicted, probability_truth }
        })
        .collect();
    mistakes.sort_by(|a, b| a.probability_truth.total_cmp(&b.probability_truth));
    mistakes.truncate(top);
    mistakes
}
