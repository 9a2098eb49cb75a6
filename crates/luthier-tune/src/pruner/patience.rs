//! Stopping what does not get better.

use serde::{Deserialize, Serialize};

use super::{Pruner, PrunerSpec, Verdict, best_losses};
use crate::{Direction, Trial};

/// Stops a trial that has not improved for some steps in any objective, and that `inner`, if there
/// is one, would stop too (Optuna's `PatientPruner`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patience {
    /// How many steps without improvement are borne.
    pub steps: usize,
    /// By how much a score has to be better to count, at least 0.
    #[serde(default)]
    pub min_delta: f64,
    /// Who decides once patience is at its end; nobody else where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<Box<PrunerSpec>>,
}

impl Pruner for Patience {
    fn judge(&self, directions: &[Direction], trials: &[Trial], trial: &Trial) -> Verdict {
        // One step more, from which there could have been an improvement.
        let Some(before) = trial.steps.len().checked_sub(self.steps + 1).filter(|n| *n > 0) else {
            return Verdict::Continue;
        };
        let (before, after) = trial.steps.split_at(before);
        let (before, after) = (best_losses(before, directions), best_losses(after, directions));
        // An objective that is not known on one of the sides says nothing.
        let improved = before.iter().zip(&after).any(|(before, after)| {
            after + self.min_delta < *before || (before.is_nan() && !after.is_nan())
        });
        match &self.inner {
            _ if improved => Verdict::Continue,
            Some(inner) => inner.judge(directions, trials, trial),
            None => Verdict::Prune,
        }
    }

    fn promote(&self, directions: &[Direction], trials: &[Trial]) -> Option<u64> {
        self.inner.as_ref()?.promote(directions, trials)
    }
}
