//! What decisions cost.

use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::predictions::{check_length, in_range};

/// What it costs to decide a class for a row of another, or of the same, in any unit: a matrix with
/// a row per true class and a column per decided class. Gains are costs below 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Vec<Vec<f64>>", try_from = "Vec<Vec<f64>>")]
pub struct Costs {
    classes: usize,
    /// Row-major, true × decided.
    costs: Vec<f64>,
}

impl Costs {
    /// Costs by true (outer) and decided class (inner).
    ///
    /// # Errors
    /// The matrix is empty or not square, or a cost is NaN or beyond ±10¹⁵⁰.
    pub fn new(costs: &[Vec<f64>]) -> Result<Self, EvalError> {
        let classes = costs.len();
        check_length("costs", classes, classes.max(1))?;
        for (truth, row) in costs.iter().enumerate() {
            check_length("costs", row.len(), classes)?;
            if let Some(decided) = row.iter().position(|cost| !in_range(*cost)) {
                return Err(EvalError::Cost { truth, decided, value: row[decided] });
            }
        }
        Ok(Self { classes, costs: costs.concat() })
    }

    /// Number of classes, at least 1.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// What it costs to decide `decided` for a row of class `truth`.
    ///
    /// # Panics
    /// If either is out of range, as indexing a slice does.
    pub fn cost(&self, truth: usize, decided: usize) -> f64 {
        self.costs[truth * self.classes..][..self.classes][decided]
    }

    /// The decision of least expected cost for a row whose classes have these probabilities (Elkan
    /// 2001), the first of several.
    pub fn decide(&self, probabilities: &[f64]) -> usize {
        let expected = |decided: usize| -> f64 {
            let each = probabilities.iter().zip(self.costs.chunks_exact(self.classes));
            each.map(|(probability, costs)| probability * costs[decided]).sum()
        };
        let first = (0, expected(0));
        (1..self.classes)
            .map(|decided| (decided, expected(decided)))
            .fold(first, |least, next| if next.1 < least.1 { next } else { least })
            .0
    }

    /// In a task of two classes, the probability from which `positive` is the cheaper decision:
    /// what a false alarm costs, over the sum of that and what a miss costs, each beyond the right
    /// decision (Elkan 2001). `None` with another number of classes, or where a wrong decision
    /// costs no more than the right one.
    pub fn threshold(&self, positive: usize) -> Option<f64> {
        if self.classes != 2 || positive > 1 {
            return None;
        }
        let negative = 1 - positive;
        let false_alarm = self.cost(negative, positive) - self.cost(negative, negative);
        let miss = self.cost(positive, negative) - self.cost(positive, positive);
        (false_alarm > 0.0 && miss > 0.0).then(|| false_alarm / (false_alarm + miss))
    }

    /// By how much two decisions for one row may differ in cost at most.
    pub(crate) fn spread(&self) -> f64 {
        let of_row = |row: &[f64]| {
            let (low, high) =
                row.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
                    (low.min(*x), high.max(*x))
                });
            high - low
        };
        self.costs.chunks_exact(self.classes).map(of_row).fold(0.0, f64::max)
    }
}

impl From<Costs> for Vec<Vec<f64>> {
    fn from(costs: Costs) -> Self {
        costs.costs.chunks_exact(costs.classes).map(<[f64]>::to_vec).collect()
    }
}

impl TryFrom<Vec<Vec<f64>>> for Costs {
    type Error = EvalError;

    fn try_from(costs: Vec<Vec<f64>>) -> Result<Self, EvalError> {
        Self::new(&costs)
    }
}
