//! Stopping what is worse than most.

use serde::{Deserialize, Serialize};

use super::{Pruner, Verdict, best_losses, enters_interval};
use crate::rank::losses;
use crate::{Direction, State, Trial};

/// Stops a trial whose best score so far is not among the best `percent` of the complete trials'
/// scores at the same step (Optuna's `PercentilePruner`). With several objectives it stops when
/// that is so in each of those that are known: good in one of them, it may end on the front.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Percentile {
    /// The share that goes on, from 0 to 100.
    pub percent: f64,
    /// Number of complete trials below which nothing is stopped.
    pub startup_trials: usize,
    /// Steps below this one stop nothing.
    pub warmup_steps: u64,
    /// The distance of steps at which trials are judged, at least 1.
    pub every: u64,
    /// Number of complete trials with a score at the step below which nothing is stopped.
    pub least_trials: usize,
}

impl Default for Percentile {
    fn default() -> Self {
        Self { percent: 25.0, startup_trials: 5, warmup_steps: 1, every: 1, least_trials: 1 }
    }
}

impl Pruner for Percentile {
    fn judge(&self, directions: &[Direction], trials: &[Trial], trial: &Trial) -> Verdict {
        let Some(last) = trial.steps.last() else { return Verdict::Continue };
        let complete = || trials.iter().filter(|t| t.state == State::Complete);
        let too_early = !enters_interval(trial, self.warmup_steps, self.every);
        if too_early || complete().count() < self.startup_trials.max(1) {
            return Verdict::Continue;
        }
        let own = best_losses(&trial.steps, directions);
        let others: Vec<Vec<f64>> = complete()
            .filter_map(|other| Some(losses(&other.at_step(last.step)?.scores, directions)))
            .collect();
        let mut judged = own.iter().enumerate().filter_map(|(objective, own)| {
            let others = others.iter().filter_map(|losses| losses.get(objective).copied());
            let others: Vec<f64> = others.filter(|loss| !loss.is_nan()).collect();
            if others.len() < self.least_trials.max(1) || (own.is_nan() && directions.len() > 1) {
                return None;
            }
            let bound = quantile(others, self.percent / 100.0);
            Some(own.is_nan() || *own > bound)
        });
        let worse = judged.next().is_some_and(|first| first && judged.all(|worse| worse));
        Verdict::prune_if(worse)
    }
}

/// Stops a trial whose best score so far is worse than the median of the complete trials' scores at
/// the same step (Optuna's `MedianPruner`; the rule of Google Vizier's median stopping); see
/// [`Percentile`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Median {
    /// Number of complete trials below which nothing is stopped.
    pub startup_trials: usize,
    /// Steps below this one stop nothing.
    pub warmup_steps: u64,
    /// The distance of steps at which trials are judged, at least 1.
    pub every: u64,
    /// Number of complete trials with a score at the step below which nothing is stopped.
    pub least_trials: usize,
}

impl Default for Median {
    fn default() -> Self {
        let Percentile { startup_trials, warmup_steps, every, least_trials, .. } =
            Percentile::default();
        Self { startup_trials, warmup_steps, every, least_trials }
    }
}

impl Pruner for Median {
    fn judge(&self, directions: &[Direction], trials: &[Trial], trial: &Trial) -> Verdict {
        let Self { startup_trials, warmup_steps, every, least_trials } = *self;
        let half = Percentile { percent: 50.0, startup_trials, warmup_steps, every, least_trials };
        half.judge(directions, trials, trial)
    }
}

/// The value below which a share of the values lies, between two of them where it falls there.
/// There is at least one value, and none is NaN.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = share.clamp(0.0, 1.0) * (values.len() - 1) as f64;
    let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
    // Infinities have no middle.
    if low == high { low } else { low + (high - low) * place.fract() }
}
