//! When to give a trial up.

use crate::{Direction, State, Step, Trial, UnknownName};

/// Decides, after each reported step, whether a trial is worth finishing.
///
/// Implementations keep no state: the answer follows from the arguments alone. They may be called
/// from several threads and never fail. `directions` has one direction for each objective.
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

/// The names that [`pruner_by_name`] knows.
pub const PRUNERS: &[&str] = &["none", "median", "halving"];

/// The pruner called `none`, `median` or `halving`, with its default settings.
pub fn pruner_by_name(name: &str) -> Result<Box<dyn Pruner>, UnknownName> {
    match name {
        "none" => Ok(Box::new(NoPruner)),
        "median" => Ok(Box::new(Median::default())),
        "halving" => Ok(Box::new(SuccessiveHalving::default())),
        _ => Err(UnknownName::new("pruner", name, PRUNERS)),
    }
}

/// Never stops a trial.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPruner;

impl Pruner for NoPruner {
    fn judge(&self, _: &[Direction], _: &[Trial], _: &Trial) -> Verdict {
        Verdict::Continue
    }
}

/// Stops a trial whose best score so far is worse than the median of the complete trials' scores at
/// the same step (Optuna's `MedianPruner`; the rule of Google Vizier's median stopping).
#[derive(Debug, Clone, Copy)]
pub struct Median {
    /// Number of complete trials below which nothing is stopped.
    pub startup_trials: usize,
    /// Steps below this one stop nothing.
    pub warmup_steps: u64,
}

impl Default for Median {
    fn default() -> Self {
        Self { startup_trials: 5, warmup_steps: 1 }
    }
}

impl Pruner for Median {
    fn judge(&self, directions: &[Direction], trials: &[Trial], trial: &Trial) -> Verdict {
        let (Some(last), [direction, ..]) = (trial.steps.last(), directions) else {
            return Verdict::Continue;
        };
        let complete = || trials.iter().filter(|t| t.state == State::Complete);
        if last.step < self.warmup_steps || complete().count() < self.startup_trials.max(1) {
            return Verdict::Continue;
        }
        let losses = trial.steps.iter().map(|step| direction.loss(step.score()));
        let own = losses.fold(f64::NAN, f64::min);
        let others = complete().filter_map(|t| Some(t.at_step(last.step)?.score()));
        let others = others.filter(|score| !score.is_nan()).map(|score| direction.loss(score));
        let median = median(others.collect());
        Verdict::prune_if(median.is_some_and(|median| own.is_nan() || own > median))
    }
}

/// The middle value, or the mean of the two middle ones.
fn median(mut values: Vec<f64>) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    let odd = values.len() % 2 == 1;
    let (below, &mut upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if odd {
        return Some(upper);
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(lower + (upper - lower) / 2.0)
}

/// Asynchronous successive halving (Li et al., arXiv 1810.05934, in its stopping form): at the rungs
/// `min_resource · reduction_factorᵏ`, *k* = 0, 1, …, a trial goes on only if it is in the top
/// 1 / `reduction_factor` of all that reached the rung so far, itself included. While fewer than
/// `reduction_factor` have, only the best goes on.
#[derive(Debug, Clone, Copy)]
pub struct SuccessiveHalving {
    /// The step of the first rung, at least 1.
    pub min_resource: u64,
    /// How many reach a rung for one that passes it, at least 2.
    pub reduction_factor: u64,
}

impl Default for SuccessiveHalving {
    fn default() -> Self {
        Self { min_resource: 1, reduction_factor: 3 }
    }
}

impl Pruner for SuccessiveHalving {
    fn judge(&self, directions: &[Direction], trials: &[Trial], trial: &Trial) -> Verdict {
        let (Some((last, before)), [direction, ..]) = (trial.steps.split_last(), directions) else {
            return Verdict::Continue;
        };
        let reached = before.last().map(|before| before.step);
        let factor = self.reduction_factor.max(2);
        let rungs =
            std::iter::successors(Some(self.min_resource.max(1)), |rung| rung.checked_mul(factor));
        let new = rungs
            .take_while(|&rung| rung <= last.step)
            .filter(|&rung| reached.is_none_or(|reached| reached < rung));
        let own = direction.loss(last.score());
        let fails = |rung| {
            let others = trials.iter().filter(|t| t.number != trial.number);
            let losses = others.filter_map(|t| at_rung(t, rung)).map(|score| direction.loss(score));
            !passes(own, losses, factor)
        };
        Verdict::prune_if(new.into_iter().any(fails))
    }
}

/// The score with which a trial reached a rung: the first at or above it.
fn at_rung(trial: &Trial, rung: u64) -> Option<f64> {
    let index = trial.steps.partition_point(|step| step.step < rung);
    trial.steps.get(index).map(Step::score)
}

/// Whether `own` is among the best 1 / `factor` of itself and the `others`.
fn passes(own: f64, others: impl Iterator<Item = f64>, factor: u64) -> bool {
    let (mut reached, mut better) = (1u64, 0u64);
    for loss in others {
        reached += 1;
        better += u64::from(loss < own);
    }
    !own.is_nan() && better < (reached / factor).max(1)
}

#[cfg(test)]
mod tests;
