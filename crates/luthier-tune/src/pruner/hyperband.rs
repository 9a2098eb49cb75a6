//! Hyperband.

use serde::{Deserialize, Serialize};

use super::{Halving, Pruner, Verdict, last_step};
use crate::mix::mix;
use crate::{Direction, Trial};

/// Several forms of [`Halving`] side by side, from one that stops early to one that stops nothing
/// (Li et al., JMLR 2018): a hedge where early scores may mislead. Each trial belongs to a *bracket*
/// by its number and is compared within it alone; brackets that begin early have more trials, so
/// that each costs about the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hyperband {
    /// The step of the first rung of the bracket that stops earliest, at least 1.
    pub min_resource: u64,
    /// The last step of a trial; `None` for the last that a complete trial has come to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_resource: Option<u64>,
    /// How many reach a rung for one that passes it, at least 2.
    pub reduction_factor: u64,
}

impl Default for Hyperband {
    fn default() -> Self {
        Self { min_resource: 1, max_resource: None, reduction_factor: 3 }
    }
}

impl Hyperband {
    /// The index of the last bracket, which has one rung: the one at which trials end.
    fn last_bracket(&self, last_step: u64) -> u32 {
        (last_step / self.min_resource.max(1)).max(1).ilog(self.reduction_factor.max(2))
    }

    /// The bracket of a trial, 0 for the one that stops earliest.
    fn bracket(&self, number: u64, last: u32) -> u32 {
        let factor = self.reduction_factor.max(2) as f64;
        // As many as begin in a bracket of the synchronous form.
        let begin = |bracket: u32| {
            let rungs = f64::from(last - bracket);
            (f64::from(last + 1) / (rungs + 1.0) * factor.powf(rungs)).ceil().min(1e15) as u64
        };
        let all: u64 = (0..=last).map(begin).sum();
        let mut place = mix(number.wrapping_add(1)) % all.max(1);
        for bracket in 0..last {
            if place < begin(bracket) {
                return bracket;
            }
            place -= begin(bracket);
        }
        last
    }
}

impl Pruner for Hyperband {
    fn judge(&self, directions: &[Direction], trials: &[Trial], trial: &Trial) -> Verdict {
        let Some(last_step) = self.max_resource.or_else(|| last_step(trials)) else {
            return Verdict::Continue;
        };
        let last = self.last_bracket(last_step);
        let bracket = self.bracket(trial.number, last);
        let reduction_factor = self.reduction_factor.max(2);
        let min_resource =
            Some(self.min_resource.max(1).saturating_mul(reduction_factor.saturating_pow(bracket)));
        let beside = trials.iter().filter(|other| self.bracket(other.number, last) == bracket);
        let halving = Halving { min_resource, reduction_factor, promote: false };
        halving.judge_beside(directions, halving.rungs(&[]), &beside, trial)
    }
}
