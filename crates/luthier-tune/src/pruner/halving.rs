//! Successive halving, one trial at a time.

use serde::{Deserialize, Serialize};

use super::{Pruner, Verdict, last_step};
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
    /// The step of the first rung, at least 1; `None` for a twentieth of the last that a complete
    /// trial has come to, before which none is stopped. Earlier steps tell little of the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_resource: Option<u64>,
    /// How many reach a rung for one that passes it, at least 2.
    pub reduction_factor: u64,
    /// Whether the others are paused rather than stopped.
    pub promote: bool,
}

impl Default for Halving {
    fn default() -> Self {
        Self { min_resource: None, reduction_factor: 3, promote: false }
    }
}

impl Halving {
    /// Steps of the rungs, ascending; none where the first is not known yet.
    pub(super) fn rungs(&self, trials: &[Trial]) -> impl Iterator<Item = u64> {
        let first = self.min_resource.or_else(|| Some(last_step(trials)?.div_ceil(20)));
        let factor = self.reduction_factor.max(2);
        std::iter::successors(first.map(|rung| rung.max(1)), move |rung| rung.checked_mul(factor))
    }

    /// Of so many trials at a rung, how many pass it.
    fn places(&self, reached: usize) -> usize {
        let factor = usize::try_from(self.reduction_factor.max(2)).unwrap_or(usize::MAX);
        (reached / factor).max(1)
    }

    /// [`Pruner::judge`] beside `others`, all of which count but the trial itself.
    pub(super) fn judge_beside<'a>(
        &self,
        directions: &[Direction],
        rungs: impl Iterator<Item = u64>,
        others: &(impl Iterator<Item = &'a Trial> + Clone),
        trial: &Trial,
    ) -> Verdict {
        let Some((last, before)) = trial.steps.split_last() else { return Verdict::Continue };
        let reached = before.last().map(|before| before.step);
        let own = losses(&last.scores, directions);
        let unknown = own.iter().all(|loss| loss.is_nan());
        if unknown && own.len() > 1 {
            return Verdict::Continue;
        }
        let new = rungs
            .take_while(|rung| *rung <= last.step)
            .filter(|rung| reached.is_none_or(|reached| reached < *rung));
        let fails = |rung| {
            let others = others.clone().filter(|other| other.number != trial.number);
            let others = others.filter_map(|other| at_rung(other, rung, directions));
            let points: Vec<Vec<f64>> = std::iter::once(own.clone()).chain(others).collect();
            unknown || standings(&points)[0] >= self.places(points.len())
        };
        match new.into_iter().any(fails) {
            false => Verdict::Continue,
            true if self.promote && !unknown => Verdict::Pause,
            true => Verdict::Prune,
        }
    }
}

impl Pruner for Halving {
    fn judge(&self, directions: &[Direction], trials: &[Trial], trial: &Trial) -> Verdict {
        self.judge_beside(directions, self.rungs(trials), &trials.iter(), trial)
    }

    fn promote(&self, directions: &[Direction], trials: &[Trial]) -> Option<u64> {
        let paused = || trials.iter().filter(|trial| trial.state == State::Paused);
        let furthest = paused().filter_map(|trial| Some(trial.steps.last()?.step)).max()?;
        let rungs: Vec<u64> = self.rungs(trials).take_while(|rung| *rung <= furthest).collect();
        // Those who have come far come first.
        rungs.into_iter().rev().find_map(|rung| {
            let next = rung.saturating_mul(self.reduction_factor.max(2));
            let there: Vec<(&Trial, Vec<f64>)> = trials
                .iter()
                .filter_map(|trial| Some((trial, at_rung(trial, rung, directions)?)))
                .collect();
            let points: Vec<Vec<f64>> = there.iter().map(|(_, losses)| losses.clone()).collect();
            let waits = |trial: &Trial| {
                let here = trial.steps.last().is_some_and(|last| last.step < next);
                trial.state == State::Paused && here
            };
            let places = self.places(there.len());
            let standings = standings(&points).into_iter().zip(&there);
            let promoted = standings
                .filter(|(standing, (trial, _))| *standing < places && waits(trial))
                .map(|(standing, (trial, _))| (standing, trial.number));
            promoted.min().map(|(_, number)| number)
        })
    }
}

/// The losses with which a trial reached a rung: the first at or above it.
fn at_rung(trial: &Trial, rung: u64, directions: &[Direction]) -> Option<Vec<f64>> {
    let index = trial.steps.partition_point(|step| step.step < rung);
    trial.steps.get(index).map(|Step { scores, .. }| losses(scores, directions))
}

/// How many of the others stand before each of these losses. What is not known counts as the worst
/// there is.
fn standings(points: &[Vec<f64>]) -> Vec<usize> {
    let known = |losses: &Vec<f64>| -> Vec<f64> {
        losses.iter().map(|loss| if loss.is_nan() { f64::INFINITY } else { *loss }).collect()
    };
    let points: Vec<Vec<f64>> = points.iter().map(known).collect();
    let mut standings = vec![0; points.len()];
    let mut before = 0;
    for front in fronts(&points) {
        let losses: Vec<Vec<f64>> = front.iter().map(|index| points[*index].clone()).collect();
        // With one objective all of a front are equal.
        let space = if losses[0].len() > 1 { crowding(&losses) } else { vec![0.0; losses.len()] };
        let mut sorted = space.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        for (index, own) in front.iter().zip(&space) {
            standings[*index] = before + sorted.partition_point(|other| other > own);
        }
        before += front.len();
    }
    standings
}
