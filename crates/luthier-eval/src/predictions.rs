//! What a model said about labelled rows.

use crate::{Costs, EvalError};

/// Answers for labelled rows, checked once and trusted from then on: class probabilities and
/// decisions, or numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    answers: Answers,
    /// Relative to the largest, which keeps sums and products in range; all ones where the caller
    /// gave none.
    weights: Vec<f64>,
}

/// The two kinds of answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answers {
    Classes(Classes),
    Numbers(Numbers),
}

/// What a classifier said, with the truth.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Classes {
    classes: usize,
    truth: Vec<u32>,
    /// Row-major, `truth.len() × classes`.
    probabilities: Vec<f64>,
    predicted: Vec<u32>,
    costs: Option<Costs>,
}

/// What a regression said, with the truth.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) truth: Vec<f64>,
    pub(crate) predicted: Vec<f64>,
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
        check_rows(rows)?;
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
        let weights = relative(weights, rows)?;
        let answers = Classes { classes, truth, probabilities, predicted, costs: None };
        Ok(Self { answers: Answers::Classes(answers), weights })
    }

    /// Checks and keeps predicted numbers with the true ones; `weights` as for [`new`](Self::new).
    ///
    /// # Errors
    /// No rows or too many, lengths that differ, a number that is NaN or beyond ±10¹⁵⁰ (squares of
    /// such leave f64), a weight that is none, or weights that are all zero.
    pub fn of_numbers(
        truth: Vec<f64>,
        predicted: Vec<f64>,
        weights: Option<Vec<f64>>,
    ) -> Result<Self, EvalError> {
        let rows = truth.len();
        check_rows(rows)?;
        check_length("predicted", predicted.len(), rows)?;
        check_numbers("true", &truth)?;
        check_numbers("predicted", &predicted)?;
        let weights = relative(weights, rows)?;
        Ok(Self { answers: Answers::Numbers(Numbers { truth, predicted }), weights })
    }

    /// Decides anew: `positive` where its probability is at least `threshold`, else the most
    /// probable of the other classes (the first of several).
    ///
    /// # Errors
    /// `positive` is out of range, as it is of numbers, or `threshold` is NaN.
    pub fn with_threshold(mut self, positive: usize, threshold: f64) -> Result<Self, EvalError> {
        self.check_positive(Some(positive))?;
        if threshold.is_nan() {
            return Err(EvalError::Setting { name: "threshold", value: threshold });
        }
        self.decide(|row| {
            let others = (0..row.len()).filter(|class| *class != positive);
            let best =
                others.reduce(|best, class| if row[class] > row[best] { class } else { best });
            best.filter(|_| row[positive] < threshold).unwrap_or(positive)
        });
        Ok(self)
    }

    /// Counts `costs` from now on, as [`Metric::Cost`](crate::Metric::Cost) does. The decisions
    /// stay.
    ///
    /// # Errors
    /// The costs are for another number of classes.
    pub fn with_costs(mut self, costs: Costs) -> Result<Self, EvalError> {
        check_length("costs", costs.classes(), self.classes())?;
        if let Answers::Classes(answers) = &mut self.answers {
            answers.costs = Some(costs);
        }
        Ok(self)
    }

    /// Decides anew: for each row the class of least expected cost ([`Costs::decide`]). Without
    /// [`with_costs`](Self::with_costs) the decisions stay.
    pub fn at_least_cost(mut self) -> Self {
        if let Some(costs) = self.costs().cloned() {
            self.decide(|row| costs.decide(row));
        }
        self
    }

    /// With these decisions, known to be of its rows and classes.
    pub(crate) fn with_decisions(mut self, decided: Vec<u32>) -> Self {
        if let Answers::Classes(answers) = &mut self.answers {
            answers.predicted = decided;
        }
        self
    }

    /// The same with some rows absent; `None` where none would have a weight.
    pub(crate) fn without(&self, is_absent: impl Fn(usize) -> bool) -> Option<Self> {
        let mut left = self.clone();
        for (row, weight) in left.weights.iter_mut().enumerate() {
            if is_absent(row) {
                *weight = 0.0;
            }
        }
        left.weights.iter().any(|weight| *weight > 0.0).then_some(left)
    }

    fn decide(&mut self, mut decision: impl FnMut(&[f64]) -> usize) {
        if let Answers::Classes(Classes { classes, probabilities, predicted, .. }) =
            &mut self.answers
        {
            for (row, decided) in probabilities.chunks_exact(*classes).zip(predicted) {
                *decided = decision(row) as u32;
            }
        }
    }

    /// Number of rows, at least 1.
    #[allow(clippy::len_without_is_empty)] // Never empty: the constructors refuse it.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Number of classes, at least 1; 0 of numbers.
    pub fn classes(&self) -> usize {
        self.as_classes().map_or(0, |answers| answers.classes)
    }

    /// The true class of every row; empty of numbers.
    pub fn truth(&self) -> &[u32] {
        self.as_classes().map_or(&[], |answers| &answers.truth)
    }

    /// The decided class of every row; empty of numbers.
    pub fn predicted(&self) -> &[u32] {
        self.as_classes().map_or(&[], |answers| &answers.predicted)
    }

    /// The true and the predicted number of every row; `None` of classes.
    pub fn numbers(&self) -> Option<(&[f64], &[f64])> {
        match &self.answers {
            Answers::Numbers(Numbers { truth, predicted }) => Some((truth, predicted)),
            Answers::Classes(_) => None,
        }
    }

    /// What wrong decisions cost, where that was said.
    pub fn costs(&self) -> Option<&Costs> {
        self.as_classes()?.costs.as_ref()
    }

    /// The probability of `class` for `row`.
    ///
    /// # Panics
    /// If either is out of range, as indexing a slice does; numbers have no class.
    pub fn probability(&self, row: usize, class: usize) -> f64 {
        let probabilities = self.as_classes().map_or(&[][..], |answers| answers.row(row));
        probabilities[class]
    }

    pub(crate) fn answers(&self) -> &Answers {
        &self.answers
    }

    pub(crate) fn as_classes(&self) -> Option<&Classes> {
        match &self.answers {
            Answers::Classes(answers) => Some(answers),
            Answers::Numbers(_) => None,
        }
    }

    pub(crate) fn weights(&self) -> &[f64] {
        &self.weights
    }

    pub(crate) fn check_positive(&self, positive: Option<usize>) -> Result<(), EvalError> {
        match positive {
            Some(positive) if positive >= self.classes() => {
                Err(EvalError::Positive { positive, classes: self.classes() })
            }
            _ => Ok(()),
        }
    }
}

impl Classes {
    pub(crate) fn classes(&self) -> usize {
        self.classes
    }

    pub(crate) fn truth(&self) -> &[u32] {
        &self.truth
    }

    pub(crate) fn predicted(&self) -> &[u32] {
        &self.predicted
    }

    pub(crate) fn costs(&self) -> Option<&Costs> {
        self.costs.as_ref()
    }

    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.probabilities[row * self.classes..][..self.classes]
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.probabilities.chunks_exact(self.classes)
    }

    /// The class that a two-class task speaks of; `None` with any other number of classes.
    pub(crate) fn binary_class(&self, positive: Option<usize>) -> Option<usize> {
        (self.classes == 2).then(|| positive.unwrap_or(1))
    }
}

impl Numbers {
    /// Truth and prediction of every row.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (f64, f64)> {
        self.truth.iter().copied().zip(self.predicted.iter().copied())
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

fn check_rows(rows: usize) -> Result<(), EvalError> {
    match u32::try_from(rows) {
        Ok(0) => Err(EvalError::NoRows),
        Ok(_) => Ok(()),
        Err(_) => Err(EvalError::TooManyRows { rows }),
    }
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

fn check_numbers(what: &'static str, numbers: &[f64]) -> Result<(), EvalError> {
    match numbers.iter().position(|number| !in_range(*number)) {
        Some(row) => Err(EvalError::Number { what, row, value: numbers[row] }),
        None => Ok(()),
    }
}

/// Whether sums of squares of such numbers are finite.
pub(crate) fn in_range(number: f64) -> bool {
    number.abs() <= 1e150
}

/// The weights of `rows` rows relative to the largest.
fn relative(weights: Option<Vec<f64>>, rows: usize) -> Result<Vec<f64>, EvalError> {
    let Some(weights) = weights else { return Ok(vec![1.0; rows]) };
    check_length("weights", weights.len(), rows)?;
    let largest = check_weights(&weights)?;
    Ok(weights.into_iter().map(|weight| weight / largest).collect())
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
