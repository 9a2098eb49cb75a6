//! Metrics, reports and comparisons with uncertainty.
//!
//! Start from [`Predictions`]: what a model said about labelled rows, checked once, be it class
//! probabilities and decisions or numbers. A
//! [`Metric`] turns them into a score, [`interval`] says how far the score may be trusted,
//! [`CrossValidated`] the same of scores over folds,
//! [`Report::build`] gathers all that a reader wants of one model, and [`compare()`] and
//! [`non_inferiority`] judge two models on the same rows. [`Costs`] say what wrong decisions cost.
//! [`best_threshold`], [`choose_threshold`], [`suspect_labels`] and [`worst_mistakes`], of numbers [`suspect_numbers`] and
//! [`largest_errors`], look back at the decision and at the rows themselves. [`Calibration`] makes
//! probabilities honest.
//!
//! ```
//! use luthier_eval::{Bootstrap, Metric, Predictions, interval};
//!
//! let probabilities = vec![0.9, 0.1, 0.2, 0.8, 0.6, 0.4, 0.3, 0.7];
//! let predictions = Predictions::new(2, vec![0, 1, 1, 1], probabilities, None, None)?;
//! assert_eq!(Metric::Accuracy.score(&predictions, Some(1)), Some(0.75));
//!
//! let range = interval(&predictions, Metric::Accuracy, Some(1), &Bootstrap::default());
//! assert!(range.is_some_and(|range| range.low < 0.75 && range.high > 0.75));
//! # Ok::<(), luthier_eval::EvalError>(())
//! ```
//!
//! Three rules hold everywhere.
//! - Scores are scikit-learn's, undefined cases included (`zero_division=0`); a score that has no
//!   value at all is `None`, never NaN.
//! - Whatever is random is a bootstrap over rows with an explicit seed ([`Bootstrap`]): the same
//!   inputs give the same bytes.
//! - Too few rows is said, not hidden: a difference is claimed, or ruled out, only where the rows
//!   could have shown the opposite.
//!
//! **Positive.** `positive` is the class that a two-class task speaks of; without it, the ranking,
//! Brier and calibration metrics of two classes speak of class 1, as scikit-learn's do. With more
//! classes it narrows `precision`, `recall` and `f1` to that class and changes nothing else.
//!
//! **Weights.** A row's weight multiplies its part in every score; a row of weight zero is absent.
//! The bootstrap draws rows uniformly, and a drawn row brings its weight. Counts of rows (support,
//! confusion, bins), the largest error and the tests of McNemar and of signs ignore weights.
//!
//! The crate is given predictions. It knows nothing of models, engines, files or the clock.

mod bootstrap;
mod calibration;
mod compare;
mod costs;
mod counts;
mod error;
mod folds;
mod halves;
mod losses;
mod metric;
mod numbers;
mod ordered;
mod predictions;
mod ranking;
mod reliability;
mod report;
mod rows;
mod scorer;
mod threshold;

pub use bootstrap::{Bootstrap, Interval, interval, standard_error};
pub use calibration::{
    Calibration, CalibrationChoice, CalibrationMethod, IsotonicTable, calibrated_log_loss,
    temperature, temperature_and_shift, temperature_and_shifts,
};
pub use compare::{
    Comparison, McNemar, NonInferiority, NonInferiorityVerdict, SignTest, Verdict, compare,
    non_inferiority,
};
pub use costs::Costs;
pub use error::EvalError;
pub use folds::CrossValidated;
pub use metric::{Decimal, Metric, Score};
pub use numbers::{NumberBin, NumberReport, ResidualBin, ResidualQuantile};
pub use predictions::Predictions;
pub use report::{ClassReport, MetricReport, ReliabilityBin, Report};
pub use rows::{
    Mistake, NumberError, Suspect, largest_errors, suspect_labels, suspect_numbers, worst_mistakes,
};
pub use threshold::{ThresholdChoice, best_threshold, choose_threshold};
