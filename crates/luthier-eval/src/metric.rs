//! The metrics and their names.

use std::borrow::Cow;
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
/// occur among the true or the decided classes, as scikit-learn's default does. The metrics from
/// [`Mae`](Self::Mae) on are of numbers, the others of classes; on predictions of the other kind a
/// metric has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
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
    /// Mean cost of a row's decision, by the [`Costs`](crate::Costs) of the predictions; undefined
    /// without them.
    Cost,
    /// Mean absolute error, in units of the truth.
    Mae,
    /// Mean squared error.
    Mse,
    /// Square root of the mean squared error, in units of the truth.
    Rmse,
    /// Share of the variance that is explained: 1 less the squared errors over those of the mean.
    /// With a truth that does not vary 1 if every row is right, else 0; undefined on one row.
    R2,
    /// Median absolute error, in units of the truth.
    MedianError,
    /// Largest absolute error, in units of the truth, whatever the rows weigh.
    MaxError,
    /// Mean absolute error as a share of the truth (1 is 100 %), whose absolute value counts as
    /// 2.2 × 10⁻¹⁶ at least.
    Mape,
    /// Mean pinball loss of predicted quantiles of this level, 0 to 1; half of [`Mae`](Self::Mae)
    /// at 0.5. Its name ends in the level: `pinball_0.9`.
    Pinball(Decimal),
    /// Mean Poisson deviance. Undefined where a truth is below 0, or a prediction not above.
    PoissonDeviance,
    /// Mean gamma deviance. Undefined where a truth or a prediction is not above 0.
    GammaDeviance,
    /// Mean Tweedie deviance of this power, 0 or at least 1: that of the normal distribution (0),
    /// Poisson (1), compound Poisson (between 1 and 2), gamma (2), inverse Gaussian (3). Undefined
    /// where a prediction is not above 0, or a truth below 0 (not above it from power 2 on), power
    /// 0 aside. Its name ends in the power: `tweedie_deviance_1.5`.
    TweedieDeviance(Decimal),
    /// Share of the absolute error of the median that is explained; as [`R2`](Self::R2) where the
    /// truth does not vary and on one row.
    D2Absolute,
    /// Share of the pinball loss of the truth's quantile that is explained; as [`R2`](Self::R2)
    /// where the truth does not vary and on one row. Its name ends in the level: `d2_pinball_0.9`.
    D2Pinball(Decimal),
    /// Share of the Poisson deviance of the mean that is explained. Undefined as that is, where the
    /// truth does not vary, and on one row.
    D2Poisson,
    /// Share of the gamma deviance of the mean that is explained. Undefined as that is, where the
    /// truth does not vary, and on one row.
    D2Gamma,
}

/// A number in a metric's name: at most 4, with at most six decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decimal {
    millionths: u32,
}

impl Decimal {
    const MILLION: f64 = 1e6;

    fn new(value: f64) -> Option<Self> {
        let millionths = (value * Self::MILLION).round();
        let fits = (0.0..=4.0 * Self::MILLION).contains(&millionths);
        let found = fits.then_some(Self { millionths: millionths as u32 })?;
        (found.value() == value).then_some(found)
    }

    /// The number itself.
    pub fn value(self) -> f64 {
        f64::from(self.millionths) / Self::MILLION
    }
}

impl Metric {
    /// Every metric of classes, in the order of reports.
    pub const CLASSES: [Self; 21] = [
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
        Self::Cost,
    ];

    /// Every metric of numbers that needs no parameter, in the order of reports.
    pub const NUMBERS: [Self; 12] = [
        Self::Mae,
        Self::Mse,
        Self::Rmse,
        Self::R2,
        Self::MedianError,
        Self::MaxError,
        Self::Mape,
        Self::PoissonDeviance,
        Self::GammaDeviance,
        Self::D2Absolute,
        Self::D2Poisson,
        Self::D2Gamma,
    ];

    /// [`Pinball`](Self::Pinball) of this level; `None` if it is outside 0 to 1, or has more than
    /// six decimals.
    pub fn pinball(level: f64) -> Option<Self> {
        level_of(level).map(Self::Pinball)
    }

    /// [`D2Pinball`](Self::D2Pinball) of this level; `None` as for [`pinball`](Self::pinball).
    pub fn d2_pinball(level: f64) -> Option<Self> {
        level_of(level).map(Self::D2Pinball)
    }

    /// [`TweedieDeviance`](Self::TweedieDeviance) of this power; `None` if it is neither 0 nor in
    /// 1 to 4, or has more than six decimals.
    pub fn tweedie_deviance(power: f64) -> Option<Self> {
        let known = power == 0.0 || power >= 1.0;
        Decimal::new(power).filter(|_| known).map(Self::TweedieDeviance)
    }

    /// The names that parse, those with a parameter by an example.
    pub fn known() -> Vec<Cow<'static, str>> {
        let examples = [Self::pinball(0.9), Self::d2_pinball(0.9), Self::tweedie_deviance(1.5)];
        let examples = examples.into_iter().flatten();
        Self::CLASSES.into_iter().chain(Self::NUMBERS).chain(examples).map(Self::name).collect()
    }

    /// The name in code, flags, files and reports.
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
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
            Self::Cost => "cost",
            Self::Mae => "mae",
            Self::Mse => "mse",
            Self::Rmse => "rmse",
            Self::R2 => "r2",
            Self::MedianError => "median_error",
            Self::MaxError => "max_error",
            Self::Mape => "mape",
            Self::PoissonDeviance => "poisson_deviance",
            Self::GammaDeviance => "gamma_deviance",
            Self::D2Absolute => "d2_absolute",
            Self::D2Poisson => "d2_poisson",
            Self::D2Gamma => "d2_gamma",
            Self::Pinball(level) => return format!("{PINBALL}{}", level.value()).into(),
            Self::D2Pinball(level) => return format!("{D2_PINBALL}{}", level.value()).into(),
            Self::TweedieDeviance(power) => return format!("{TWEEDIE}{}", power.value()).into(),
        })
    }

    /// Whether it scores predictions of numbers; the others score those of classes.
    pub fn of_numbers(self) -> bool {
        !Self::CLASSES.contains(&self)
    }

    /// Whether a larger score is the better one.
    pub fn higher_is_better(self) -> bool {
        match self {
            Self::LogLoss | Self::Brier | Self::Ece | Self::Cost => false,
            Self::R2 | Self::D2Absolute | Self::D2Pinball(_) | Self::D2Poisson | Self::D2Gamma => {
                true
            }
            _ => !self.of_numbers(),
        }
    }

    /// Scores `predictions`. `None` where the metric has no value on these rows or is not for their
    /// kind, or `positive` is not one of their classes.
    pub fn score(self, predictions: &Predictions, positive: Option<usize>) -> Score {
        let scorer = Scorer::new(predictions, positive, [self]).ok()?;
        scorer.scores(predictions.weights())[0]
    }

    /// Whether the score depends on decisions alone, and not on the probabilities behind them.
    /// Numbers are no decisions.
    pub fn reads_decisions(self) -> bool {
        let reads_probabilities =
            matches!(self, Self::RocAuc | Self::PrAuc | Self::LogLoss | Self::Brier | Self::Ece);
        !reads_probabilities && !self.of_numbers()
    }
}

/// What the names of metrics with a parameter start with.
const PINBALL: &str = "pinball_";
const D2_PINBALL: &str = "d2_pinball_";
const TWEEDIE: &str = "tweedie_deviance_";

fn level_of(level: f64) -> Option<Decimal> {
    Decimal::new(level).filter(|_| level <= 1.0)
}

/// The metric that a name with a parameter means. Only the shortest way to write a number counts,
/// so that every metric has one name.
fn with_parameter(name: &str) -> Option<Metric> {
    type Maker = fn(f64) -> Option<Metric>;
    let makers: [(&str, Maker); 3] = [
        (PINBALL, Metric::pinball),
        (D2_PINBALL, Metric::d2_pinball),
        (TWEEDIE, Metric::tweedie_deviance),
    ];
    let of = |(prefix, make): (&str, Maker)| {
        name.strip_prefix(prefix).and_then(|number| number.parse().ok()).and_then(make)
    };
    makers.into_iter().find_map(of).filter(|metric| metric.name() == name)
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl FromStr for Metric {
    type Err = EvalError;

    fn from_str(name: &str) -> Result<Self, EvalError> {
        let plain = Self::CLASSES.into_iter().chain(Self::NUMBERS);
        let found = plain.into_iter().find(|metric| metric.name() == name);
        if let Some(metric) = found.or_else(|| with_parameter(name)) {
            return Ok(metric);
        }
        let known = Self::known();
        let nearest = known
            .iter()
            .map(|known| (strsim::damerau_levenshtein(known, name), known))
            .min()
            .filter(|(distance, _)| *distance <= 1 + name.len() / 3)
            .map(|(_, known)| known.clone());
        Err(EvalError::UnknownMetric { name: name.to_owned(), nearest, known })
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.name().into_owned()
    }
}

impl TryFrom<String> for Metric {
    type Error = EvalError;

    fn try_from(name: String) -> Result<Self, EvalError> {
        name.parse()
    }
}
