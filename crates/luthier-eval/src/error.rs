//! What can be wrong with predictions or with a question about them.

use std::borrow::Cow;

use crate::Metric;

/// Why predictions are refused, or a question about them has no answer. Rows, classes and
/// positions count from 0.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// There is nothing to evaluate.
    #[error("there are no rows")]
    NoRows,
    /// More rows than this crate counts (2³² − 1).
    #[error("{rows} rows are more than can be evaluated at once")]
    TooManyRows {
        /// Rows given.
        rows: usize,
    },
    /// Two inputs that belong together differ in length.
    #[error("{what}: {found} values where {expected} are expected")]
    Length {
        /// The input: `probabilities`, `predicted`, `weights`, `labels`, `costs`, `baseline` (its
        /// rows) or `baseline classes` (none where the baseline predicts numbers).
        what: &'static str,
        /// Values that the other inputs call for.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A class index is not below the number of classes.
    #[error("row {row}: {what} class {class} is not one of {classes}")]
    Class {
        /// The input: `true` or `predicted`.
        what: &'static str,
        /// The row.
        row: usize,
        /// The class given.
        class: u32,
        /// Number of classes.
        classes: usize,
    },
    /// A score is NaN or outside 0 to 1.
    #[error("row {row}, class {class}: {value} is not a probability")]
    Probability {
        /// The row.
        row: usize,
        /// The class whose score it is.
        class: usize,
        /// The score.
        value: f64,
    },
    /// The scores of a row do not sum to 1.
    #[error("row {row}: the probabilities sum to {sum}")]
    Sum {
        /// The row.
        row: usize,
        /// Their sum.
        sum: f64,
    },
    /// A number is NaN or beyond ±10¹⁵⁰.
    #[error("row {row}: the {what} number is {value}")]
    Number {
        /// The input: `true` or `predicted`.
        what: &'static str,
        /// The row.
        row: usize,
        /// What is there.
        value: f64,
    },
    /// A cost is NaN or beyond ±10¹⁵⁰.
    #[error("deciding class {decided} for a row of class {truth} costs {value}")]
    Cost {
        /// The true class.
        truth: usize,
        /// The class decided.
        decided: usize,
        /// The cost.
        value: f64,
    },
    /// A weight is negative, infinite or NaN.
    #[error("row {row}: {value} is not a weight")]
    Weight {
        /// The row.
        row: usize,
        /// The weight.
        value: f64,
    },
    /// No row has a weight above 0.
    #[error("all weights are zero")]
    NoWeight,
    /// The positive class is not below the number of classes.
    #[error("positive class {positive} is not one of {classes}")]
    Positive {
        /// The class given.
        positive: usize,
        /// Number of classes.
        classes: usize,
    },
    /// The question is for two classes only.
    #[error("a threshold divides two classes, not {classes}")]
    NotBinary {
        /// Number of classes.
        classes: usize,
    },
    /// A setting is outside its range.
    #[error("`{name}` is {value}")]
    Setting {
        /// The setting: `resamples`, `confidence`, `max_drop` or `threshold`.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// Two sets of predictions to compare are not about the same rows.
    #[error("row {row}: candidate and baseline differ in truth or weight")]
    Unpaired {
        /// The first row whose truth or weight differs.
        row: usize,
    },
    /// Two sets of predictions to compare count costs differently.
    #[error("candidate and baseline differ in their costs")]
    UnpairedCosts,
    /// A table is empty, or its points do not rise, or are no probabilities.
    #[error("not a table of rising scores with probabilities that do not fall")]
    Isotonic,
    /// The metric is for predictions of the other kind.
    #[error("{metric} is for {}, which these rows have not", if metric.of_numbers() { "numbers" } else { "classes" })]
    OtherKind {
        /// The metric.
        metric: Metric,
    },
    /// The metric has no value on these rows, or on most resamples of them.
    #[error("{metric} is undefined on these rows")]
    Undefined {
        /// The metric.
        metric: Metric,
    },
    /// No metric has that name.
    #[error("there is no metric `{name}`")]
    UnknownMetric {
        /// The name as written.
        name: String,
        /// The known name nearest to it, if one is near.
        nearest: Option<Cow<'static, str>>,
        /// All known names; of metrics with a parameter an example.
        known: Vec<Cow<'static, str>>,
    },
}
