//! Rows of a table, as learners take them.

mod linear;
mod loss;
mod mlp;
mod network;
mod newton;
mod preparation;

use crate::TrainError;
use crate::data::normalise;

pub use linear::TableLinear;
pub use mlp::TableMlp;
pub use network::TableNetwork;

/// Labelled rows of numbers and categories for training, column by column.
#[derive(Debug, Clone)]
pub struct TableData {
    /// The columns, each with as many cells as there are rows.
    pub columns: Vec<Column>,
    /// What is learnt.
    pub task: TableTask,
    /// Rows to learn from.
    pub train: TableTargets,
    /// Rows to judge by; there need not be any.
    pub valid: TableTargets,
}

impl TableData {
    /// Checks that there are rows that count, as many cells in each column, and targets that are taken.
    pub(crate) fn check(&self, takes: impl Fn(f32) -> bool) -> Result<(), TrainError> {
        let subset = |targets: &TableTargets, cells: fn(&Column) -> &[f32]| {
            let rows = targets.values.len();
            if targets.weights.len() != rows {
                return Err(TrainError::Cells { column: "weight".to_owned() });
            }
            if let Some(column) = self.columns.iter().find(|column| cells(column).len() != rows) {
                return Err(TrainError::Cells { column: column.name.clone() });
            }
            let bad = targets.values.iter().position(|target| !takes(*target));
            bad.map_or(Ok(()), |row| Err(TrainError::Target { row }))
        };
        subset(&self.train, |column| &column.train)?;
        subset(&self.valid, |column| &column.valid)?;
        let weighs = self.train.weights.iter().any(|weight| *weight > 0.0);
        if weighs { Ok(()) } else { Err(TrainError::NoRows) }
    }
}

/// What rows of a table are labelled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableTask {
    /// A class below their number, at least 2.
    Classes(usize),
    /// A number.
    Number,
}

impl TableTask {
    /// Whether a target is one of the task.
    pub(crate) fn takes(self, target: f32) -> bool {
        match self {
            Self::Classes(classes) => {
                target.fract() == 0.0 && target >= 0.0 && (target as usize) < classes
            }
            Self::Number => target.is_finite(),
        }
    }
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its cells are.
    pub kind: ColumnKind,
    /// How answers may change with it, where it is of numbers.
    pub monotone: Monotone,
    /// Cells of the training rows; not a number where there is none.
    pub train: Vec<f32>,
    /// Cells of the validation rows.
    pub valid: Vec<f32>,
}

/// What the cells of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Numbers.
    Number,
    /// Categories, as whole numbers below their count; those that are not known are missing.
    Category(usize),
}

/// How the number, or the probability of class 1 of two, may change with a column. Learners for which
/// [`Learner::keeps_monotone`](crate::Learner::keeps_monotone) holds see to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Monotone {
    /// Any way.
    #[default]
    Free,
    /// It never falls where the column rises.
    Rising,
    /// It never rises where the column rises.
    Falling,
}

/// What the rows of a subset are labelled with, and how much they count.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableTargets {
    /// The number, or the class as a number, of each row.
    pub values: Vec<f32>,
    /// Weight of each row, finite and not negative; their mean is 1.
    pub weights: Vec<f32>,
    /// What a teacher answers, row-major: probabilities of the classes, or a number; empty where there is
    /// none.
    pub taught: Vec<f32>,
}

impl Monotone {
    pub(crate) fn sign(self) -> i8 {
        match self {
            Self::Free => 0,
            Self::Rising => 1,
            Self::Falling => -1,
        }
    }
}

impl TableTargets {
    /// Rows of weight 1 that no one has taught.
    pub fn of(values: Vec<f32>) -> Self {
        Self { weights: vec![1.0; values.len()], values, taught: Vec::new() }
    }

    /// Gives the weights a mean of 1.
    pub fn normalise(&mut self) {
        normalise(&mut self.weights);
    }

    /// Mean and standard deviation of the numbers; those that are all equal have a deviation of 1.
    pub(crate) fn moments(&self) -> (f64, f64) {
        let rows = || self.values.iter().zip(&self.weights);
        let total: f64 = self.weights.iter().map(|weight| f64::from(*weight)).sum();
        let sum: f64 = rows().map(|(y, weight)| f64::from(*weight) * f64::from(*y)).sum();
        let mean = sum / total;
        let square =
            |(y, weight): (&f32, &f32)| f64::from(*weight) * (f64::from(*y) - mean).powi(2);
        let deviation = (rows().map(square).sum::<f64>() / total).sqrt();
        (mean, if deviation > 0.0 { deviation } else { 1.0 })
    }
}

#[cfg(test)]
mod tests;
