//! Successive halving, one trial at a time.

use serde::{Deserialize, Serialize};

use super::{Pruner, Verdict};
use crate::rank::{crowding, fronts, losses};
use crate::{Direction, State, Step, Trial};

/// Asynchronous successive halving (ASHA; Li et al., arXiv 1810.05934): at the rungs
/// `min_resource · reduction_factorᵏ`, *k* = 0, 1, …, a trial goes on only if it is in the top
/// 1 / `reduction_factor` of all that reached the rung so far, itself included. While fewer than
/// `reduction_factor` have, only the best goes on.
///
/// In its stopping form the others end there. With `promote` they are paused, and one that is in the
/// top part later, because worse ones have followed, goes on then: nothing is lost to an unlucky
/// beginning. A study with a lag stops them all the same, for it would depend on the workers when a
/// trial comes back.
///
/// With several objectives a trial stands behind those that dominate it, front by front, and on the
/// same front behind those in less crowded places (as in MO-ASHA; Schmucker et al.,
/// arXiv 2106.12639).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Halving {
    /// The step of the first rung, at least 1.
    pub min_resource: u64,
    /// How many reach a rung for one that passes it, at least 2.
    pub reduction_factor: u64,
    /// Whether the others are paused rather than stopped.
    pub promote: bool,
}

impl Default for Halving {
    fn default() -> Self {
        Self { min_resource: 1, reduction_factor: 3, promote: false }
    }
}

impl Halving {
    /// Steps of the rungs, ascending.
    fn rungs(&self) -> impl Iterator<Item = u64> {
        let factor = self.reduction_factor.max(2);
        std::iter::successors(Some(self.min_resource.max(1)), move |rung| rung.checked_mul(factor))
    }

    /// Whether a trial with these losses is among the part of those at its rung that goes on.
    fn passes(&self, own: &[f64], others: &[Vec<f64>]) -> bool {
        let reached = others.len() as u64 + 1;
        (better(own, others) as u64) < (reached / self.reduction_factor.max(2)).max(1)
    }
}

impl Pruner for Halving {
    fn judge(&self, directions: &[Direction], trials: &[Trial], trial: &Trial) -> Verdict {
        let Some((last, before)) = trial.steps.split_last() else { return Verdict::Continue };
        let reached = before.last().map(|before| before.step);
        let own = losses(&last.scores, directions);
        if own.iter().all(|loss| loss.is_nan()) && own.len() > 1 {
            return Verdict::Continue;
        }
        let new = self
            .rungs()
            .take_while(|rung| *rung <= last.step)
            .filter(|rung| reached.is_none_or(|reached| reached < *rung));
        let fails = |rung| {
            let others = trials.iter().filter(|other| other.number != trial.number);
            let others: Vec<Vec<f64>> =
                others.filter_map(|other| at_rung(other, rung, directions)).collect();
            !self.passes(&own, &others)
        };
        match new.into_iter().any(fails) {
            false => Verdict::Continue,
            true if self.promote && own.iter().any(|loss| !loss.is_nan()) => Verdict::Pause,
            true => Verdict::Prune,
        }
    }

    fn promote(&self, directions: &[Direction], trials: &[Trial]) -> Option<u64> {
        let furthest = trials.iter().filter_map(|trial| Some(trial.steps.last()?.step)).max()?;
        let rungs: Vec<u64> = self.rungs().take_while(|rung| *rung <= furthest).collect();
        // Those who have come far come first.
        rungs.into_iter().rev().find_map(|rung| {
            let next = rung.saturating_mul(self.reduction_factor.max(2));
            let there: Vec<(&Trial, Vec<f64>)> = trials
                .iter()
                .filter_map(|trial| Some((trial, at_rung(trial, rung, directions)?)))
                .collect();
            let waits = |trial: &Trial| {
                let here = trial.steps.last().is_some_and(|last| last.step < next);
                trial.state == State::Paused && here
            };
            let promoted = there.iter().enumerate().filter(|(_, (trial, _))| waits(trial));
            let promoted = promoted.filter_map(|(place, (trial, own))| {
                let others = there.iter().enumerate().filter(|(other, _)| *other != place);
                let others: Vec<Vec<f64>> = others.map(|(_, (_, losses))| losses.clone()).collect();
                let passes = self.passes(own, &others);
                passes.then(|| (better(own, &others), trial.number))
            });
            promoted.min().map(|(_, number)| number)
        })
    }
}

/// The losses with which a trial reached a rung: the first at or above it.
fn at_rung(trial: &Trial, rung: u64, directions: &[Direction]) -> Option<Vec<f64>> {
    let index = trial.steps.partition_point(|step| step.step < rung);
    trial.steps.get(index).map(|Step { scores, .. }| losses(scores, directions))
}

/// How many of the others stand before one with these losses.
fn better(own: &[f64], others: &[Vec<f64>]) -> usize {
    if let [own] = own {
        return match own.is_nan() {
            true => others.len() + 1,
            false => others.iter().filter(|other| other[0] < *own).count(),
        };
    }
    // What is not known counts as the worst there is.
    let known = |losses: &[f64]| -> Vec<f64> {
        losses.iter().map(|loss| if loss.is_nan() { f64::INFINITY } else { *loss }).collect()
    };
    let points: Vec<Vec<f64>> =
        std::iter::once(own).chain(others.iter().map(Vec::as_slice)).map(known).collect();
    let mut before = 0;
    for front in fronts(&points) {
        if let Some(place) = front.iter().position(|index| *index == 0) {
            let front: Vec<Vec<f64>> = front.iter().map(|index| points[*index].clone()).collect();
            let space = crowding(&front);
            return before + space.iter().filter(|other| **other > space[place]).count();
        }
        before += front.len();
    }
    before
}
