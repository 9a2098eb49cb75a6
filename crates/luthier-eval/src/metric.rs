//! The metrics and their names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::scorer::Scorer;
use crate::{EvalError, Predictions};

/// A score: `None` where the metric has no value on the rows at hand, and never NaN.
pub type Score = Option<f64>;

/// A way to score predictions. It parses from, displays as and serialises to its name.
///
/// All follow scikit-learn 1.9 with `zero_division=0`. An average over classes takes those that
/// occur among the true or the decided classes, as scikit-learn's default does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of rows decided rightly.
    Accuracy,
    /// Mean recall over the classes that occur in the truth.
    BalancedAccuracy,
    /// Share of decisions for a class that are right: of the positive class where one is named,
    /// else the macro average.
    Precision,
    /// Share of a class's rows that are found: of the positive class where one is named, else the
    /// macro average.
    Recall,
    /// Harmonic mean of precision and recall: of the positive class where one is named, else the
    /// macro average.
    F1,
    /// Precision over all decisions; equal to accuracy, as every row has one class.
    PrecisionMicro,
    /// Mean of the classes' precision.
    PrecisionMacro,
    /// Mean of the classes' precision, weighted by their share of the truth.
    PrecisionWeighted,
    /// Recall over all rows; equal to accuracy, as every row has one class.
    RecallMicro,
    /// Mean of the classes' recall.
    RecallMacro,
    /// Mean of the classes' recall, weighted by their share of the truth; equal to accuracy.
    RecallWeighted,
    /// F1 over all rows; equal to accuracy, as every row has one class.
    F1Micro,
    /// Mean of the classes' F1.
    F1Macro,
    /// Mean of the classes' F1, weighted by their share of the truth.
    F1Weighted,
    /// Area under the ROC curve; with more than two classes the mean over each class against the
    /// rest. Undefined where a class, or the rest, has no row.
    RocAuc,
    /// Average precision, the step-wise area under the precision–recall curve; with more than two
    /// classes the mean over each class against the rest. 0 for a class without rows.
    PrAuc,
    /// Mean negative logarithm (base e) of the true class's probability, which is kept one f64
    /// rounding (2.2 × 10⁻¹⁶) away from 0 and 1.
    LogLoss,
    /// Mean squared error of the positive class's probability (0 to 1); with more than two
    /// classes, of all probabilities summed over the classes (0 to 2).
    Brier,
    /// Expected calibration error in 15 bins of equal width, L1: of the positive class's
    /// probability in two-class tasks (torchmetrics' `BinaryCalibrationError`), of the largest
    /// probability with more (`MulticlassCalibrationError`). Bins contain their lower edge;
    /// confidence 1 has a bin of its own.
    Ece,
    /// Matthews' correlation coefficient (Gorodkin's for more classes), −1 to 1; 0 where all rows
    /// have one true or one decided class.
    Mcc,
}

impl Metric {
    /// Every metric, in the order of reports.
    pub const ALL: [Self; 20] = [
        Self::Accuracy,
        Self::BalancedAccuracy,
        Self::Precision,
        Self::Recall,
        Self::F1,
        Self::PrecisionMicro,
        Self::PrecisionMacro,
        Self::PrecisionWeighted,
        Self::RecallMicro,
        Self::RecallMacro,
        Self::RecallWeighted,
        Self::F1Micro,
        Self::F1Macro,
        Self::F1Weighted,
        Self::RocAuc,
        Self::PrAuc,
        Self::LogLoss,
        Self::Brier,
        Self::Ece,
        Self::Mcc,
    ];

    /// The name in code, flags, files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::BalancedAccuracy => "balanced_accuracy",
            Self::Precision => "precision",
            Self::Recall => "recall",
            Self::F1 => "f1",
            Self::PrecisionMicro => "precision_micro",
            Self::PrecisionMacro => "precision_macro",
            Self::PrecisionWeighted => "precision_weighted",
            Self::RecallMicro => "recall_micro",
            Self::RecallMacro => "recall_macro",
            Self::RecallWeighted => "recall_weighted",
            Self::F1Micro => "f1_micro",
            Self::F1Macro => "f1_macro",
            Self::F1Weighted => "f1_weighted",
            Self::RocAuc => "roc_auc",
            Self::PrAuc => "pr_auc",
            Self::LogLoss => "log_loss",
            Self::Brier => "brier",
            Self::Ece => "ece",
            Self::Mcc => "mcc",
        }
    }

    /// Whether a larger score is the better one.
    pub fn higher_is_better(self) -> bool {
        !matches!(self, Self::LogLoss | Self::Brier | Self::Ece)
    }

    /// Scores `predictions`. `None` where the metric has no value on these rows, or `positive` is
    /// not one of their classes.
    pub fn score(self, predictions: &Predictions, positive: Option<usize>) -> Score {
        let scorer = Scorer::new(predictions, positive, [self]).ok()?;
        scorer.scores(predictions.weights())[0]
    }

    /// Whether the score depends on decisions alone, and not on the probabilities behind them.
    pub fn reads_decisions(self) -> bool {
        !matches!(self, Self::RocAuc | Self::PrAuc | Self::LogLoss | Self::Brier | Self::Ece)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = EvalError;

    fn from_str(name: &str) -> Result<Self, EvalError> {
        if let Some(metric) = Self::ALL.into_iter().find(|metric| metric.name() == name) {
            return Ok(metric);
        }
        let known = Self::ALL.map(Self::name).to_vec();
        let nearest = known
            .iter()
            .map(|known| (strsim::damerau_levenshtein(known, name), *known))
            .min()
            .filter(|(distance, _)| *distance <= 1 + name.len() / 3)
            .map(|(_, known)| known);
        Err(EvalError::UnknownMetric { name: name.to_owned(), nearest, known })
    }
}
