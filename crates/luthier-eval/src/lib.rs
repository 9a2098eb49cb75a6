//! Metrics, reports and comparisons with uncertainty.
//!
//! Start from [`Predictions`]: what a classifier said about labelled rows, checked once. A
//! [`Metric`] turns them into a score, [`interval`] says how far the score may be trusted,
//! [`CrossValidated`] the same of scores over folds,
//! [`Report::build`] gathers all that a reader wants of one model, and [`compare()`] and
//! [`non_inferiority`] judge two models on the same rows. [`best_threshold`], [`suspect_labels`]
//! and [`worst_mistakes`] look back at the decision and at the rows themselves.
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
//! confusion, bins) and McNemar's test ignore weights.
//!
//! The crate is given predictions. It knows nothing of models, engines, files or the clock.

mod bootstrap;
mod calibration;
mod compare;
mod counts;
mod error;
mod folds;
mod halves;
mod metric;
mod predictions;
mod ranking;
mod report;
mod rows;
mod scorer;
mod temperature;
mod threshold;

pub use bootstrap::{Bootstrap, Interval, interval, standard_error};
pub use compare::{
    Comparison, McNemar, NonInferiority, NonInferiorityVerdict, Verdict, compare, non_inferiority,
};
pub use error::EvalError;
pub use folds::CrossValidated;
pub use metric::{Metric, Score};
pub use predictions::Predictions;
pub use report::{ClassReport, MetricReport, ReliabilityBin, Report};
pub use rows::{Mistake, Suspect, suspect_labels, worst_mistakes};
pub use temperature::{calibrated_log_loss, temperature, temperature_and_shift};
pub use threshold::best_threshold;
