//! What is shown to the processes.

use super::super::frame::Frame;
use super::super::history::{History, Observation};
use super::acquisition::Goal;
use super::boxes::free_boxes;
use super::features::features;
use super::model::Model;
use super::warp::{fenced_values_of, quartile, standardise, values_of};
use crate::rank::{crowding, fronts};

/// Trials as features and values.
pub(super) struct Observed<'a> {
    points: Vec<&'a [f64]>,
    pub(super) numbers: Vec<u64>,
    pub(super) features: Vec<Vec<f64>>,
    /// For each objective the values of all trials, to be maximised, with mean 0 and variance 1.
    pub(super) values: Vec<Vec<f64>>,
    /// How far each trial is beyond its limits; infinite if that is not known though there are any.
    violation: Vec<f64>,
    /// How far it is beyond each; empty if that is not known.
    violations: Vec<&'a [f64]>,
}

/// A limit as a process sees it.
pub(super) struct Limit {
    pub(super) features: Vec<Vec<f64>>,
    pub(super) values: Vec<f64>,
    /// The value from which the limit is kept.
    pub(super) least: f64,
}

impl<'a> Observed<'a> {
    /// Complete and partial trials, or `most` of them.
    pub(super) fn new(frame: &Frame<'_>, history: &'a History<'_>, most: usize) -> Self {
        let seen: Vec<&Observation<'_>> = history.complete.iter().chain(&history.partial).collect();
        let values = values(history);
        let kept = kept(&merits(&values), most);
        let pick = |all: &Vec<f64>| -> Vec<f64> { kept.iter().map(|at| all[*at]).collect() };
        let seen: Vec<&Observation<'_>> = kept.iter().map(|at| seen[*at]).collect();
        let limited = history.complete.iter().any(|seen| !seen.trial.violations.is_empty());
        let violation = |seen: &&Observation<'_>| match seen.trial.violations.is_empty() && limited
        {
            true => f64::INFINITY,
            false => seen.trial.violation(),
        };
        Self {
            points: seen.iter().map(|seen| seen.point).collect(),
            numbers: seen.iter().map(|seen| seen.trial.number).collect(),
            features: seen.iter().map(|seen| features(frame, seen.point)).collect(),
            values: values.iter().map(pick).collect(),
            violation: seen.iter().map(violation).collect(),
            violations: seen.iter().map(|seen| seen.trial.violations.as_slice()).collect(),
        }
    }

    /// The limits with what is known of each.
    pub(super) fn limits(&self) -> Vec<Limit> {
        let count = self.violations.iter().map(|violations| violations.len()).max().unwrap_or(0);
        (0..count).filter_map(|limit| self.limit(limit)).collect()
    }

    fn limit(&self, limit: usize) -> Option<Limit> {
        let all = self.violations.iter().zip(&self.features);
        let known = all.filter_map(|(violations, features)| {
            let beyond = violations.get(limit).filter(|beyond| !beyond.is_nan())?;
            Some((*beyond, features.clone()))
        });
        let (beyond, features): (Vec<f64>, Vec<_>) = known.unzip();
        let mut sizes: Vec<f64> = beyond.iter().map(|beyond| beyond.abs()).collect();
        sizes.retain(|size| *size > 0.0 && size.is_finite());
        sizes.sort_by(f64::total_cmp);
        let typical = sizes.get(sizes.len() / 2).copied().unwrap_or(1.0);
        // A few that are very far beyond would decide the scale; the limit itself stays where it is.
        let drawn_in = |beyond: &f64| -(beyond / typical).clamp(-1e6, 1e6).asinh();
        let mut values: Vec<f64> = beyond.iter().map(drawn_in).chain([0.0]).collect();
        standardise(&mut values);
        let least = values.pop()?;
        (!values.is_empty()).then_some(Limit { features, values, least })
    }

    /// What each process believes of the trials, as losses.
    pub(super) fn believed(&self, objectives: &[Model<'_>]) -> Vec<Vec<f64>> {
        let of_point =
            |point: &Vec<f64>| objectives.iter().map(|model| -model.mean(point)).collect();
        self.features.iter().map(of_point).collect()
    }

    /// What is to be gained beyond the trials that keep the limits.
    pub(super) fn goal(&self, believed: &[Vec<f64>]) -> Goal<'static> {
        let kept = believed.iter().zip(&self.violation).filter(|(_, beyond)| **beyond <= 0.0);
        let kept: Vec<Vec<f64>> = kept.map(|(losses, _)| losses.clone()).collect();
        let Some(first) = kept.first() else { return Goal::Limits };
        if let [_] = first.as_slice() {
            let best = kept.iter().map(|losses| losses[0]).fold(f64::INFINITY, f64::min);
            return Goal::Best(-best);
        }
        let front = fronts(&kept).into_iter().next().unwrap_or_default();
        let front: Vec<Vec<f64>> = front.into_iter().map(|at| kept[at].clone()).collect();
        Goal::Front(free_boxes(&front, &reference(&front, &kept)))
    }

    /// The trials, the best first: those that keep the limits before others, front by front, of one
    /// front those with the most space around them.
    pub(super) fn best_first(&self, believed: &[Vec<f64>]) -> Vec<&'a [f64]> {
        let mut places = vec![(0, 0.0); believed.len()];
        for (rank, front) in fronts(believed).into_iter().enumerate() {
            let losses: Vec<Vec<f64>> = front.iter().map(|at| believed[*at].clone()).collect();
            for (at, space) in front.into_iter().zip(crowding(&losses)) {
                places[at] = (rank, space);
            }
        }
        let mut order: Vec<usize> = (0..believed.len()).collect();
        order.sort_by(|a, b| {
            let ((a_rank, a_space), (b_rank, b_space)) = (places[*a], places[*b]);
            let by_limits = self.violation[*a].total_cmp(&self.violation[*b]);
            by_limits.then(a_rank.cmp(&b_rank)).then(b_space.total_cmp(&a_space))
        });
        order.into_iter().map(|at| self.points[at]).collect()
    }
}

/// The point up to which the volume counts: the worst of three quarters of the trials, or a tenth of
/// the front's extent beyond its worst where that is farther, so that the ends of the front gain
/// something and points beyond them too.
fn reference(front: &[Vec<f64>], all: &[Vec<f64>]) -> Vec<f64> {
    let sorted = |losses: &[Vec<f64>], objective: usize| {
        let mut sorted: Vec<f64> = losses.iter().map(|losses| losses[objective]).collect();
        sorted.sort_by(f64::total_cmp);
        sorted
    };
    let beyond = |objective: usize| {
        let on_front = sorted(front, objective);
        let (best, worst) = (on_front[0], on_front[on_front.len() - 1]);
        // The values have variance 1, which says what is far if the front does not.
        let extent = if worst > best { worst - best } else { 1.0 };
        quartile(&sorted(all, objective), 3).max(worst + 0.1 * extent)
    };
    (0..front.first().map_or(0, Vec::len)).map(beyond).collect()
}

/// The values of the complete trials, then of the partial ones, for each objective.
fn values(history: &History<'_>) -> Vec<Vec<f64>> {
    let losses: Vec<Vec<f64>> =
        (0..history.objectives()).map(|objective| losses(history, objective)).collect();
    if let [only] = losses.as_slice() {
        return vec![values_of(only)];
    }
    let count = losses.first().map_or(0, Vec::len);
    let point = |at: usize| losses.iter().map(|losses| losses[at]).collect();
    let points: Vec<Vec<f64>> = (0..count).map(point).collect();
    let front = fronts(&points).into_iter().next().unwrap_or_default();
    let of_objective = |losses: &Vec<f64>| {
        let worst = front.iter().map(|at| losses[*at]).filter(|loss| loss.is_finite());
        fenced_values_of(losses, worst.fold(f64::NEG_INFINITY, f64::max))
    };
    losses.iter().map(of_objective).collect()
}

/// By which trials are chosen if there are too many: the value, or with several objectives how many
/// fronts are better.
fn merits(values: &[Vec<f64>]) -> Vec<f64> {
    let [first, _, ..] = values else { return values.first().cloned().unwrap_or_default() };
    let losses = |at: usize| values.iter().map(|values| -values[at]).collect();
    let points: Vec<Vec<f64>> = (0..first.len()).map(losses).collect();
    let mut merits = vec![0.0; first.len()];
    for (rank, front) in fronts(&points).into_iter().enumerate() {
        front.into_iter().for_each(|at| merits[at] = -(rank as f64));
    }
    merits
}

/// Places of at most `most` values, in order: the best half of them, and of the others the newest.
fn kept(values: &[f64], most: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    if values.len() <= most {
        return order;
    }
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    let (best, others) = order.split_at(most / 2);
    let (mut best, mut others) = (best.to_vec(), others.to_vec());
    others.sort_unstable_by(|a, b| b.cmp(a));
    best.extend(others.into_iter().take(most - most / 2));
    best.sort_unstable();
    best
}

/// Losses of the complete trials, then of the partial ones.
fn losses(history: &History<'_>, objective: usize) -> Vec<f64> {
    let finals: Vec<f64> =
        history.complete.iter().map(|seen| history.loss(&seen.trial.scores, objective)).collect();
    let partial = history.partial.iter().map(|seen| expected(history, seen, objective, &finals));
    let partial: Vec<f64> = partial.collect();
    finals.into_iter().chain(partial).collect()
}

/// Complete trials that have to have been at a step for others to be judged there.
const PEERS: usize = 3;

/// The loss that a trial would have ended with: of the complete trials that came past its last step,
/// the final loss of those that have the same rank among them as it has there. Where there are too
/// few, it is its last loss, but no better than the median of final ones.
fn expected(
    history: &History<'_>,
    partial: &Observation<'_>,
    objective: usize,
    finals: &[f64],
) -> f64 {
    let last = partial.trial.steps.last();
    let loss = history.loss(last.map_or(&[], |last| &last.scores), objective);
    let at_step = |seen: &Observation<'_>| {
        Some(history.loss(&seen.trial.at_step(last?.step)?.scores, objective))
    };
    let peers = history.complete.iter().zip(finals);
    let (then, mut ends): (Vec<f64>, Vec<f64>) =
        peers.filter_map(|(seen, end)| Some((at_step(seen)?, *end))).unzip();
    if then.len() < PEERS {
        let mut finals = finals.to_vec();
        finals.sort_by(f64::total_cmp);
        return loss.max(finals.get(finals.len() / 2).copied().unwrap_or(f64::NEG_INFINITY));
    }
    ends.sort_by(f64::total_cmp);
    let better = then.iter().filter(|other| **other < loss).count();
    ends[better.min(ends.len() - 1)]
}

#[cfg(test)]
mod tests;
