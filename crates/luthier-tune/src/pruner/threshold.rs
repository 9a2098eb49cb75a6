//! Stopping what leaves its bounds.

use serde::{Deserialize, Serialize};

use super::{Pruner, Verdict, enters_interval};
use crate::{Direction, Trial};

/// Stops a trial whose score of the first objective leaves fixed bounds or is not a number (Optuna's
/// `ThresholdPruner`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Threshold {
    /// Scores below this one stop a trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// Scores above this one stop a trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// Steps below this one stop nothing.
    pub warmup_steps: u64,
    /// The distance of steps at which trials are judged, at least 1.
    pub every: u64,
}

impl Default for Threshold {
    fn default() -> Self {
        Self { lower: None, upper: None, warmup_steps: 0, every: 1 }
    }
}

impl Pruner for Threshold {
    fn judge(&self, directions: &[Direction], _: &[Trial], trial: &Trial) -> Verdict {
        let Some(last) = trial.steps.last() else { return Verdict::Continue };
        if !enters_interval(trial, self.warmup_steps, self.every) {
            return Verdict::Continue;
        }
        let score = last.score();
        let unknown = score.is_nan() && directions.len() <= 1;
        let beyond = self.lower.is_some_and(|lower| score < lower)
            || self.upper.is_some_and(|upper| score > upper);
        Verdict::prune_if(unknown || beyond)
    }
}
