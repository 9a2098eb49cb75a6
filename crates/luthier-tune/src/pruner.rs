//! When to give a trial up.

mod halving;
mod hyperband;
mod patience;
mod percentile;
mod spec;
mod threshold;
mod wilcoxon;

use crate::rank::losses;
use crate::{Direction, Step, Trial};

pub use halving::Halving;
pub use hyperband::Hyperband;
pub use patience::Patience;
pub use percentile::{Median, Percentile};
pub use spec::{InvalidPruner, PRUNERS, PrunerSpec};
pub use threshold::Threshold;
pub use wilcoxon::Wilcoxon;

/// Decides, after each reported step, whether a trial is worth finishing.
///
/// Implementations keep no state: the answer follows from the arguments alone. They may be called
/// from several threads and never fail. `directions` has one direction for each objective; a score
/// that is NaN is not known, which with one objective is as bad as can be.
pub trait Pruner: Send + Sync {
    /// What becomes of `trial`, which has just reported the last of its steps. `trials` are
    /// those it may be compared with, in any state; `trial` itself, if among them, is passed over.
    fn judge(&self, directions: &[Direction], trials: &[Trial], trial: &Trial) -> Verdict;

    /// The number of the paused trial that is to go on before a new one is begun, if one is.
    fn promote(&self, directions: &[Direction], trials: &[Trial]) -> Option<u64> {
        let _ = (directions, trials);
        None
    }
}

/// What becomes of a trial that has reported a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Continue,
    /// It stops for now, until [`Pruner::promote`] names it.
    Pause,
    /// It stops for good.
    Prune,
}

impl Verdict {
    fn prune_if(hopeless: bool) -> Self {
        if hopeless { Self::Prune } else { Self::Continue }
    }
}

/// The lowest loss of each objective over some steps; NaN where none is known.
fn best_losses(steps: &[Step], directions: &[Direction]) -> Vec<f64> {
    let mut best = vec![f64::NAN; directions.len()];
    for step in steps {
        for (best, loss) in best.iter_mut().zip(losses(&step.scores, directions)) {
            *best = best.min(loss);
        }
    }
    best
}

/// Whether a trial has come to the first of its steps in an interval: intervals of `every` steps
/// follow each other from `warmup_steps` on.
fn enters_interval(trial: &Trial, warmup_steps: u64, every: u64) -> bool {
    let interval =
        |step: &Step| step.step.checked_sub(warmup_steps).map(|past| past / every.max(1));
    match trial.steps.as_slice() {
        [.., before, last] => interval(last).is_some() && interval(before) != interval(last),
        [only] => interval(only).is_some(),
        [] => false,
    }
}

#[cfg(test)]
mod tests;
