//! The trials of a study as points.

use std::cmp::{Ordering, Reverse};

use super::Request;
use super::points::Points;
use crate::rank::{Place, fronts, subset, within_margin};
use crate::{Direction, State, Trial};

/// A trial and where it is.
#[derive(Debug, Clone)]
pub(super) struct Observation<'a> {
    pub(super) trial: &'a Trial,
    pub(super) point: &'a [f64],
    /// Its place among the trials, which are by ascending number.
    place: usize,
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
    /// `points` are those of the request's trials.
    pub(super) fn new(points: &'a Points, request: &Request<'a>) -> Self {
        let mut history = Self {
            trials: request.trials,
            directions: request.directions,
            complete: Vec::new(),
            partial: Vec::new(),
            pending: Vec::new(),
        };
        for (place, (trial, point)) in request.trials.iter().zip(points.iter()).enumerate() {
            let list = match trial.state {
                State::Complete if trial.scores.is_empty() => continue,
                State::Complete => &mut history.complete,
                State::Pruned | State::Paused => &mut history.partial,
                State::Running => &mut history.pending,
                State::Failed => continue,
            };
            if let Some(point) = point {
                list.push(Observation { trial, point, place });
            }
        }
        history
    }

    /// Number of complete and partial trials.
    pub(super) fn finished(&self) -> usize {
        self.complete.len() + self.partial.len()
    }

    /// Number of objectives.
    pub(super) fn objectives(&self) -> usize {
        self.directions.len()
    }

    /// The losses of a complete trial, one for each objective; infinite where they are not known.
    pub(super) fn losses(&self, complete: &Observation<'_>) -> Vec<f64> {
        (0..self.objectives())
            .map(|objective| self.loss(&complete.trial.scores, objective))
            .collect()
    }

    /// The losses at the last step of a trial, likewise.
    fn last_losses(&self, partial: &Observation<'_>) -> Vec<f64> {
        let last = partial.trial.steps.last().map_or(&[][..], |last| &last.scores);
        (0..self.objectives()).map(|objective| self.loss(last, objective)).collect()
    }

    /// The loss in one objective of a trial or of one of its steps, likewise.
    pub(super) fn loss(&self, scores: &[f64], objective: usize) -> f64 {
        let scores = scores.get(objective).zip(self.directions.get(objective));
        // A negative zero would come before a zero that it is equal to.
        let loss = scores.map_or(f64::NAN, |(score, direction)| direction.loss(*score) + 0.0);
        if loss.is_nan() { f64::INFINITY } else { loss }
    }

    /// The best `count` finished trials, and the others with the pending ones.
    pub(super) fn split(&self, count: usize) -> (Vec<&Observation<'a>>, Vec<&Observation<'a>>) {
        let mut good = self.best(count);
        good.sort_unstable_by_key(|seen| seen.place);
        let mut is_good = vec![false; self.trials.len()];
        good.iter().for_each(|seen| is_good[seen.place] = true);
        let others = self.complete.iter().chain(&self.partial).chain(&self.pending);
        let mut bad: Vec<_> = others.filter(|seen| !is_good[seen.place]).collect();
        // Each list is in order already, which a stable sort makes use of.
        bad.sort_by_key(|seen| seen.place);
        (good, bad)
    }

    /// The first `count` of [`History::best_first`], in any order.
    fn best(&self, count: usize) -> Vec<&Observation<'a>> {
        if let [direction] = self.directions {
            let mut kept = self.by_place(*direction);
            if kept.len() > count {
                kept.select_nth_unstable_by(count, Placed::compare);
                return kept.into_iter().take(count).map(|placed| placed.seen).collect();
            }
        }
        let mut best = self.best_first(count);
        best.truncate(count);
        best
    }

    /// All finished trials, of which the first `count` are the best ones, the best first.
    ///
    /// Complete trials within their limits come before others: with one objective as
    /// [`best`](crate::best) has it, with several front by front. Then come partial ones by how far
    /// they came and then by what they reached, and at last those beyond their limits, by how far.
    pub(super) fn best_first(&self, count: usize) -> Vec<&Observation<'a>> {
        let mut order = match self.directions {
            [direction] => {
                let mut kept = self.by_place(*direction);
                kept.sort_unstable_by(Placed::compare);
                kept.into_iter().map(|placed| placed.seen).collect()
            }
            _ => self.by_front(&self.kept(), count),
        };
        order.extend(self.by_progress());
        order.extend(self.beyond());
        order
    }

    /// Complete trials within their limits.
    fn kept(&self) -> Vec<&Observation<'a>> {
        self.complete.iter().filter(|seen| seen.trial.violation() <= 0.0).collect()
    }

    /// Complete trials beyond their limits, those that are so the least first.
    fn beyond(&self) -> Vec<&Observation<'a>> {
        let beyond = self.complete.iter().filter(|seen| seen.trial.violation() > 0.0);
        let mut beyond: Vec<_> = beyond.collect();
        beyond.sort_by(|a, b| a.trial.violation().total_cmp(&b.trial.violation()));
        beyond
    }

    /// Complete trials within their limits with their places, where there is one objective.
    fn by_place(&self, direction: Direction) -> Vec<Placed<'_, 'a>> {
        let within = within_margin(self.trials, direction);
        let kept = self.complete.iter().filter(|seen| seen.trial.violation() <= 0.0);
        kept.filter_map(|seen| Some(Placed { place: within.place(seen.trial)?, seen })).collect()
    }

    fn by_front<'b>(&self, kept: &[&'b Observation<'a>], count: usize) -> Vec<&'b Observation<'a>> {
        let losses: Vec<Vec<f64>> = kept.iter().map(|seen| self.losses(seen)).collect();
        let mut order: Vec<&Observation<'_>> = Vec::with_capacity(kept.len());
        for front in fronts(&losses) {
            let missing = count.saturating_sub(order.len());
            let mut chosen = vec![false; front.len()];
            if missing < front.len() {
                let points: Vec<Vec<f64>> = front.iter().map(|at| losses[*at].clone()).collect();
                for at in subset(&points, missing) {
                    chosen[at] = true;
                    order.push(kept[front[at]]);
                }
            }
            let others = front.iter().zip(chosen).filter(|(_, chosen)| !chosen);
            order.extend(others.map(|(at, _)| kept[*at]));
        }
        order
    }

    /// All finished trials in groups of which each is better than the next: front by front within
    /// the limits, then as in [`History::best_first`].
    pub(super) fn fronts(&self) -> Vec<Vec<&Observation<'a>>> {
        let kept = self.kept();
        let losses: Vec<Vec<f64>> = kept.iter().map(|seen| self.losses(seen)).collect();
        let groups = fronts(&losses).into_iter();
        let mut groups: Vec<Vec<_>> =
            groups.map(|front| front.into_iter().map(|at| kept[at]).collect()).collect();
        groups.extend(self.by_progress().chain(self.beyond()).map(|seen| vec![seen]));
        groups
    }

    fn by_progress(&self) -> impl Iterator<Item = &Observation<'a>> {
        let losses: Vec<Vec<f64>> =
            self.partial.iter().map(|seen| self.last_losses(seen)).collect();
        let order = fronts(&losses).into_iter().flatten();
        let mut order: Vec<_> = order.map(|index| &self.partial[index]).collect();
        // A stable order, so that those of the same step stay in the order of their losses.
        order.sort_by_key(|seen| Reverse(seen.trial.steps.last().map(|last| last.step)));
        order.into_iter()
    }
}

struct Placed<'b, 'a> {
    place: Place,
    seen: &'b Observation<'a>,
}

impl Placed<'_, '_> {
    /// Among equals the earlier trial comes first.
    fn compare(&self, other: &Self) -> Ordering {
        let numbers = self.seen.trial.number.cmp(&other.seen.trial.number);
        self.place.compare(other.place).then(numbers)
    }
}
