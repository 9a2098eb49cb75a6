//! What a classifier said about labelled rows.

use crate::EvalError;

/// Class probabilities and decisions for labelled rows, checked once and trusted from then on.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    classes: usize,
    truth: Vec<u32>,
    /// Row-major, `truth.len() × classes`.
    probabilities: Vec<f64>,
    predicted: Vec<u32>,
    /// Relative to the largest, which keeps sums and products in range; all ones where the caller
    /// gave none.
    weights: Vec<f64>,
}

impl Predictions {
    /// Checks and keeps the predictions of `truth.len()` rows over `classes` classes.
    ///
    /// `probabilities` is row-major, rows × classes, each in 0 to 1. `predicted` is the class
    /// decided for each row: by default the most probable, the first of several. `weights` are
    /// finite and not negative, by default 1; only their ratios matter.
    ///
    /// # Errors
    /// No rows or too many, lengths that differ, a class out of range, a probability that is none
    /// (with row and class), a row that does not sum to 1 (within 10⁻⁶, or one f32 rounding per
    /// class where that is more: softmax outputs arrive in f32), a weight that is none, or weights
    /// that are all zero.
    pub fn new(
        classes: usize,
        truth: Vec<u32>,
        probabilities: Vec<f64>,
        predicted: Option<Vec<u32>>,
        weights: Option<Vec<f64>>,
    ) -> Result<Self, EvalError> {
        let rows = truth.len();
        if rows == 0 {
            return Err(EvalError::NoRows);
        }
        if u32::try_from(rows).is_err() {
            return Err(EvalError::TooManyRows { rows });
        }
        check_classes("true", &truth, classes)?;
        check_length("probabilities", probabilities.len(), rows.saturating_mul(classes))?;
        check_probabilities(&probabilities, classes)?;
        let predicted = match predicted {
            Some(predicted) => {
                check_length("predicted", predicted.len(), rows)?;
                check_classes("predicted", &predicted, classes)?;
                predicted
            }
            None => probabilities.chunks_exact(classes).map(|row| first_max(row) as u32).collect(),
        };
        let weights = match weights {
            Some(weights) => {
                check_length("weights", weights.len(), rows)?;
                let largest = check_weights(&weights)?;
                weights.into_iter().map(|weight| weight / largest).collect()
            }
            None => vec![1.0; rows],
        };
        Ok(Self { classes, truth, probabilities, predicted, weights })
    }

    /// Decides anew: `positive` where its probability is at least `threshold`, else the most
    /// probable of the other classes (the first of several).
    ///
    /// # Errors
    /// `positive` is out of range, or `threshold` is NaN.
    pub fn with_threshold(mut self, positive: usize, threshold: f64) -> Result<Self, EvalError> {
        self.check_positive(Some(positive))?;
        if threshold.is_nan() {
            return Err(EvalError::Setting { name: "threshold", value: threshold });
        }
        for (row, decided) in self.probabilities.chunks_exact(self.classes).zip(&mut self.predicted)
        {
            let others = (0..row.len()).filter(|class| *class != positive);
            let best =
                others.reduce(|best, class| if row[class] > row[best] { class } else { best });
            *decided = match best {
                Some(other) if row[positive] < threshold => other as u32,
                _ => positive as u32,
            };
        }
        Ok(self)
    }

    /// Number of rows, at least 1.
    #[allow(clippy::len_without_is_empty)] // Never empty: `new` refuses it.
    pub fn len(&self) -> usize {
        self.truth.len()
    }

    /// Number of classes, at least 1.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The true class of every row.
    pub fn truth(&self) -> &[u32] {
        &self.truth
    }

    /// The decided class of every row.
    pub fn predicted(&self) -> &[u32] {
        &self.predicted
    }

    /// The probability of `class` for `row`.
    ///
    /// # Panics
    /// If either is out of range, as indexing a slice does.
    pub fn probability(&self, row: usize, class: usize) -> f64 {
        self.row(row)[class]
    }

    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.probabilities[row * self.classes..][..self.classes]
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.probabilities.chunks_exact(self.classes)
    }

    pub(crate) fn weights(&self) -> &[f64] {
        &self.weights
    }

    pub(crate) fn check_positive(&self, positive: Option<usize>) -> Result<(), EvalError> {
        match positive {
            Some(positive) if positive >= self.classes => {
                Err(EvalError::Positive { positive, classes: self.classes })
            }
            _ => Ok(()),
        }
    }

    /// The class that a two-class task speaks of; `None` with any other number of classes.
    pub(crate) fn binary_class(&self, positive: Option<usize>) -> Option<usize> {
        (self.classes == 2).then(|| positive.unwrap_or(1))
    }
}

/// Position of the largest value, the first of several; 0 for an empty slice.
pub(crate) fn first_max(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}

pub(crate) fn check_length(
    what: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), EvalError> {
    if found == expected { Ok(()) } else { Err(EvalError::Length { what, expected, found }) }
}

fn check_classes(what: &'static str, given: &[u32], classes: usize) -> Result<(), EvalError> {
    match given.iter().enumerate().find(|(_, class)| **class as usize >= classes) {
        Some((row, &class)) => Err(EvalError::Class { what, row, class, classes }),
        None => Ok(()),
    }
}

fn check_probabilities(probabilities: &[f64], classes: usize) -> Result<(), EvalError> {
    let tolerance = (f64::from(f32::EPSILON) * classes as f64).max(1e-6);
    for (row, values) in probabilities.chunks_exact(classes).enumerate() {
        if let Some(class) = values.iter().position(|value| !(0.0..=1.0).contains(value)) {
            return Err(EvalError::Probability { row, class, value: values[class] });
        }
        let sum: f64 = values.iter().sum();
        if (sum - 1.0).abs() > tolerance {
            return Err(EvalError::Sum { row, sum });
        }
    }
    Ok(())
}

/// The largest weight.
fn check_weights(weights: &[f64]) -> Result<f64, EvalError> {
    for (row, &value) in weights.iter().enumerate() {
        if !(0.0..f64::INFINITY).contains(&value) {
            return Err(EvalError::Weight { row, value });
        }
    }
    let largest = weights.iter().copied().fold(0.0, f64::max);
    if largest > 0.0 { Ok(largest) } else { Err(EvalError::NoWeight) }
}
