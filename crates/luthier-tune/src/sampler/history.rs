//! The trials of a study as points.

use std::cmp::Reverse;

use super::Request;
use super::frame::{Frame, Point};
use crate::rank::{best_of, losses, ranks, within_margin};
use crate::{Direction, State, Trial};

/// A trial and where it is.
#[derive(Debug, Clone)]
pub(super) struct Observation<'a> {
    pub(super) trial: &'a Trial,
    pub(super) point: Point,
}

/// What the trials of a study say, each list by ascending number. Failed trials say nothing, and
/// values that do not fit the space, as after an import, cannot be modelled.
pub(super) struct History<'a> {
    trials: &'a [Trial],
    directions: &'a [Direction],
    /// Evaluated to the end.
    pub(super) complete: Vec<Observation<'a>>,
    /// Pruned or paused, after some of their steps.
    pub(super) partial: Vec<Observation<'a>>,
    /// Running.
    pub(super) pending: Vec<Observation<'a>>,
}

impl<'a> History<'a> {
    pub(super) fn new(frame: &Frame<'_>, request: &Request<'a>) -> Self {
        let mut history = Self {
            trials: request.trials,
            directions: request.directions,
            complete: Vec::new(),
            partial: Vec::new(),
            pending: Vec::new(),
        };
        for trial in request.trials {
            let list = match trial.state {
                State::Complete if trial.scores.is_empty() => continue,
                State::Complete => &mut history.complete,
                State::Pruned | State::Paused => &mut history.partial,
                State::Running => &mut history.pending,
                State::Failed => continue,
            };
            if let Some(point) = frame.encode(&trial.values) {
                list.push(Observation { trial, point });
            }
        }
        history
    }

    /// Number of complete and partial trials.
    pub(super) fn finished(&self) -> usize {
        self.complete.len() + self.partial.len()
    }

    /// The losses of a complete trial, one for each objective; infinite where they are not known.
    pub(super) fn losses(&self, complete: &Observation<'_>) -> Vec<f64> {
        self.losses_of(&complete.trial.scores)
    }

    /// The losses at the last step of a trial, likewise.
    pub(super) fn last_losses(&self, partial: &Observation<'_>) -> Vec<f64> {
        self.losses_of(partial.trial.steps.last().map_or(&[], |last| &last.scores))
    }

    fn losses_of(&self, scores: &[f64]) -> Vec<f64> {
        let mut losses = losses(scores, self.directions);
        losses.resize(self.directions.len(), f64::INFINITY);
        losses.iter_mut().filter(|loss| loss.is_nan()).for_each(|loss| *loss = f64::INFINITY);
        losses
    }

    /// The best `count` finished trials, and the others with the pending ones.
    pub(super) fn split(&self, count: usize) -> (Vec<&Observation<'a>>, Vec<&Observation<'a>>) {
        let mut good = self.best_first(count);
        let mut bad = good.split_off(count.min(good.len()));
        bad.extend(&self.pending);
        for side in [&mut good, &mut bad] {
            side.sort_unstable_by_key(|seen| seen.trial.number);
        }
        (good, bad)
    }

    /// All finished trials, of which the first `count` are the best ones, the best first.
    ///
    /// Complete trials within their limits come before others: with one objective as
    /// [`best`](crate::best) has it, with several front by front. Then come partial ones by how far
    /// they came and then by what they reached, and at last those beyond their limits, by how far.
    pub(super) fn best_first(&self, count: usize) -> Vec<&Observation<'a>> {
        let (kept, mut beyond): (Vec<_>, Vec<_>) =
            self.complete.iter().partition(|seen| seen.trial.violation() <= 0.0);
        let mut order = match self.directions {
            [direction] => self.by_place(kept, *direction),
            _ => self.by_front(&kept, count),
        };
        order.extend(self.by_progress());
        beyond.sort_by(|a, b| a.trial.violation().total_cmp(&b.trial.violation()));
        order.extend(beyond);
        order
    }

    fn by_place<'b>(
        &self,
        kept: Vec<&'b Observation<'a>>,
        direction: Direction,
    ) -> Vec<&'b Observation<'a>> {
        let within = within_margin(self.trials, direction);
        let places = kept.into_iter().filter_map(|seen| Some((within.place(seen.trial)?, seen)));
        let mut order: Vec<_> = places.collect();
        order.sort_by(|a, b| a.0.compare(b.0));
        order.into_iter().map(|(_, seen)| seen).collect()
    }

    fn by_front<'b>(&self, kept: &[&'b Observation<'a>], count: usize) -> Vec<&'b Observation<'a>> {
        let losses: Vec<Vec<f64>> = kept.iter().map(|seen| self.losses(seen)).collect();
        let mut order = best_of(&losses, count);
        let mut is_best = vec![false; kept.len()];
        order.iter().for_each(|index| is_best[*index] = true);
        order.extend((0..kept.len()).filter(|index| !is_best[*index]));
        order.into_iter().map(|index| kept[index]).collect()
    }

    fn by_progress(&self) -> impl Iterator<Item = &Observation<'a>> {
        let losses: Vec<Vec<f64>> =
            self.partial.iter().map(|seen| self.last_losses(seen)).collect();
        let mut order: Vec<_> = self.partial.iter().zip(ranks(&losses)).collect();
        let last = |seen: &Observation<'_>| seen.trial.steps.last().map(|last| last.step);
        order.sort_by_key(|(seen, rank)| (Reverse(last(seen)), *rank));
        order.into_iter().map(|(seen, _)| seen)
    }
}
