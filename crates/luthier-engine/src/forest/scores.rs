//! From what the leaves add up to, to what a node gives: base values, aggregation, transforms and
//! labels.
//!
//! Where the standard and onnxruntime say different things, or the standard nothing, a file may have
//! been checked against either; such forms are [`ForestError::Ambiguous`].

use std::f32::consts::{PI, SQRT_2};
use std::str::FromStr;

use super::ForestError;
use super::read::{Labels, unsupported};

/// What several trees say together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

/// What is done with the scores of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Transform {
    None,
    Logistic,
    Softmax,
    SoftmaxZero,
    Probit,
}

/// How sums become scores.
#[derive(Debug)]
pub(super) struct Scores {
    pub(super) aggregate: Aggregate,
    /// Targets or classes: numbers in a row of scores.
    pub(super) width: usize,
    trees: f32,
    /// Added to each target; empty for nothing.
    base: Vec<f32>,
    form: Form,
    /// Numbers of the classes, where the node classifies and they are numbers.
    labels: Option<Vec<i32>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    /// A score for each target.
    Each(Transform),
    /// One score, of the second of two classes; the first gets what it leaves.
    Second { first: First, above: f32 },
}

/// What the first of two classes gets where leaves score the second alone.
#[derive(Debug, Clone, Copy, PartialEq)]
enum First {
    /// 1 − score: the scores are probabilities.
    Rest,
    /// −score: the scores are margins.
    Negative,
    /// Both are passed through the logistic function.
    Logistic,
}

impl Scores {
    /// Of an operator that gives numbers.
    pub(super) fn of_targets(
        aggregate: Aggregate,
        trees: usize,
        base: Vec<f32>,
        targets: usize,
        transform: Transform,
    ) -> Result<Self, ForestError> {
        if !base.is_empty() && base.len() != targets {
            return Err(base_length(base.len(), targets));
        }
        // onnxruntime leaves a single target as it is; the standard does not.
        if targets == 1 && !matches!(transform, Transform::None | Transform::Probit) {
            return Err(ForestError::Ambiguous { what: "post_transform of a single target" });
        }
        let form = Form::Each(transform);
        Ok(Self { aggregate, width: targets, trees: trees as f32, base, form, labels: None })
    }

    /// Of a classifier whose leaves add `amounts` to the classes `ids`.
    pub(super) fn of_classes(
        trees: usize,
        mut base: Vec<f32>,
        ids: &[i64],
        amounts: &[f32],
        labels: Labels,
        transform: Transform,
    ) -> Result<Self, ForestError> {
        let classes = labels.count;
        let only = |class| ids.iter().all(|id| *id == class);
        let probabilities = amounts.iter().all(|amount| *amount >= 0.0);
        let above = if probabilities { 0.5 } else { 0.0 };
        let first = match transform {
            Transform::None if probabilities => Some(First::Rest),
            Transform::None => Some(First::Negative),
            Transform::Logistic => Some(First::Logistic),
            _ => None,
        };
        let form = match (classes, base.len(), first) {
            (0 | 1, ..) => {
                return Err(ForestError::Ambiguous {
                    what: "a classifier of fewer than two classes",
                });
            }
            // What stands at class 0 is, where nothing stands at class 1, the score of class 1.
            (2, 0 | 1, Some(first)) if only(0) => {
                base.resize(if base.is_empty() { 0 } else { 2 }, 0.0);
                Form::Second { first, above }
            }
            (2, _, _) if only(0) => {
                return Err(ForestError::Ambiguous { what: "these scores of one class of two" });
            }
            // onnxruntime gives the base value of class 1 to class 0, or forgets the trees.
            (2, 1.., _) if only(1) || base.len() == 1 => {
                return Err(ForestError::Ambiguous { what: "base_values of one class of two" });
            }
            (_, 0, _) => Form::Each(transform),
            (_, found, _) if found != classes => return Err(base_length(found, classes)),
            _ => Form::Each(transform),
        };
        let labels = labels.numbers;
        let aggregate = Aggregate::Sum;
        Ok(Self { aggregate, width: classes, trees: trees as f32, base, form, labels })
    }

    pub(super) fn has_labels(&self) -> bool {
        self.labels.is_some()
    }

    /// Where accumulation begins. NaN stands for "no tree has said anything".
    pub(super) fn start(&self) -> f32 {
        match self.aggregate {
            Aggregate::Sum | Aggregate::Average => 0.0,
            Aggregate::Min | Aggregate::Max => f32::NAN,
        }
    }

    /// Turns what the trees said of a row into its scores.
    pub(super) fn finish(&self, row: &mut [f32]) {
        self.total(row);
        match self.form {
            Form::Each(transform) => transform.apply(row),
            Form::Second { first, .. } => {
                let score = row[0];
                (row[0], row[1]) = match first {
                    First::Rest => (1.0 - score, score),
                    First::Negative => (-score, score),
                    First::Logistic => (logistic(-score), logistic(score)),
                };
            }
        }
    }

    /// The label of a row, from what the trees said.
    pub(super) fn label(&self, row: &mut [f32]) -> Option<i32> {
        let labels = self.labels.as_ref()?;
        self.total(row);
        let class = match self.form {
            Form::Second { above, .. } => usize::from(row[0] > above),
            Form::Each(_) => (1..row.len()).fold(0, |best, class| match row[class] > row[best] {
                true => class,
                false => best,
            }),
        };
        labels.get(class).copied()
    }

    fn total(&self, row: &mut [f32]) {
        match self.aggregate {
            Aggregate::Sum => {}
            Aggregate::Average => row.iter_mut().for_each(|score| *score /= self.trees),
            Aggregate::Min | Aggregate::Max => {
                row.iter_mut().filter(|score| score.is_nan()).for_each(|score| *score = 0.0);
            }
        }
        row.iter_mut().zip(&self.base).for_each(|(score, base)| *score += base);
    }
}

impl Aggregate {
    /// What `so_far` and one more tree say together.
    #[inline(always)]
    pub(super) fn with(self, so_far: f32, more: f32) -> f32 {
        match self {
            Self::Sum | Self::Average => so_far + more,
            Self::Min if so_far.is_nan() || more < so_far => more,
            Self::Max if so_far.is_nan() || more > so_far => more,
            Self::Min | Self::Max => so_far,
        }
    }
}

impl FromStr for Aggregate {
    type Err = ForestError;

    fn from_str(text: &str) -> Result<Self, ForestError> {
        match text {
            "SUM" => Ok(Self::Sum),
            "AVERAGE" => Ok(Self::Average),
            "MIN" => Ok(Self::Min),
            "MAX" => Ok(Self::Max),
            other => Err(unsupported(format!("aggregate_function {other}"))),
        }
    }
}

impl FromStr for Transform {
    type Err = ForestError;

    fn from_str(text: &str) -> Result<Self, ForestError> {
        match text {
            "NONE" => Ok(Self::None),
            "LOGISTIC" => Ok(Self::Logistic),
            "SOFTMAX" => Ok(Self::Softmax),
            "SOFTMAX_ZERO" => Ok(Self::SoftmaxZero),
            "PROBIT" => Ok(Self::Probit),
            other => Err(unsupported(format!("post_transform {other}"))),
        }
    }
}

impl Transform {
    fn apply(self, row: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Logistic => row.iter_mut().for_each(|score| *score = logistic(*score)),
            Self::Softmax => softmax(row, |_| true),
            // Scores of zero stay zero.
            Self::SoftmaxZero => softmax(row, |score| score.abs() > 1e-7),
            Self::Probit => row.iter_mut().for_each(|score| *score = probit(*score)),
        }
    }
}

/// Turns the scores that `counts` picks into shares of 1; the others become zero.
pub(crate) fn softmax(row: &mut [f32], counts: impl Fn(f32) -> bool) {
    let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in row.iter_mut() {
        *score = if counts(*score) { (*score - highest).exp() } else { 0.0 };
        sum += *score;
    }
    row.iter_mut().for_each(|score| *score /= sum);
}

/// 1 / (1 + e⁻ˣ), without overflow.
pub(crate) fn logistic(x: f32) -> f32 {
    let upper = 1.0 / (1.0 + (-x.abs()).exp());
    if x < 0.0 { 1.0 - upper } else { upper }
}

/// Quantile of the normal distribution, by Winitzki's approximation of the inverse error function
/// with the constant that onnxruntime has.
fn probit(share: f32) -> f32 {
    const A: f32 = 0.147;
    let x = 2.0 * share - 1.0;
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let half = 2.0 / (PI * A) + 0.5 * log;
    let root = (-half + (half * half - log / A).sqrt()).sqrt();
    SQRT_2 * if x < 0.0 { -root } else { root }
}

fn base_length(found: usize, expected: usize) -> ForestError {
    ForestError::Length { attribute: "base_values".to_owned(), found, expected }
}
