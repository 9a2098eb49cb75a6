//! Which trials are better.

use std::cmp::Ordering;

use crate::{Direction, Trial};

mod hypervolume;

pub(crate) use hypervolume::{subset, volume};

/// The best complete trial. Trials that keep their limits come before those that do not, and of the
/// latter the one that is the least beyond them.
///
/// With one objective it is, of those whose score is within the margin of the highest one's
/// [`Tiebreak`](crate::Tiebreak), the one with the lowest loss; without tiebreaks the one with the
/// best score. With several it is the trial of the [`front`] that is nearest to the best of each
/// objective, where all are scaled to the range that they have on the front. Among equals it is the
/// one with the lowest number.
pub fn best<'a>(trials: &'a [Trial], directions: &[Direction]) -> Option<&'a Trial> {
    let [direction] = directions else { return knee(front(trials, directions), directions) };
    let within = within_margin(trials, *direction);
    let complete = trials.iter().filter_map(|trial| Some((within.place(trial)?, trial)));
    complete
        .min_by(|a, b| a.0.compare(b.0).then(a.1.number.cmp(&b.1.number)))
        .map(|(_, trial)| trial)
}

/// The complete trials to which no other is better in one objective and as good in all, by number.
/// They keep their limits where any trial does; otherwise they are those that are the least beyond.
pub fn front<'a>(trials: &'a [Trial], directions: &[Direction]) -> Vec<&'a Trial> {
    let whole = |trial: &&Trial| {
        trial.score().is_some()
            && trial.scores.len() == directions.len()
            && !trial.scores.iter().any(|score| score.is_nan())
    };
    let whole: Vec<&Trial> = trials.iter().filter(whole).collect();
    let least = whole.iter().map(|trial| trial.violation()).fold(f64::INFINITY, f64::min);
    let kept: Vec<&Trial> = whole.into_iter().filter(|trial| trial.violation() <= least).collect();
    let losses: Vec<Vec<f64>> =
        kept.iter().map(|trial| losses(&trial.scores, directions)).collect();
    let mut front = fronts(&losses).into_iter().next().unwrap_or_default();
    front.sort_unstable();
    front.into_iter().map(|index| kept[index]).collect()
}

/// The volume of all scores that are worse than those of some trial of the [`front`] and better than
/// `reference`, which has one score for each objective.
pub fn hypervolume(trials: &[Trial], directions: &[Direction], reference: &[f64]) -> f64 {
    let front = front(trials, directions).into_iter();
    let losses_of = |scores: &[f64]| losses(scores, directions);
    let points: Vec<Vec<f64>> = front.map(|trial| losses_of(&trial.scores)).collect();
    volume(&points, &losses_of(reference))
}

/// Places of `points`, which are losses and not NaN, front by front: the second front is that of what
/// is left when the first is taken away, and so on.
///
/// Sorted lexicographically, a point is dominated only by earlier ones; the fronts found so far are
/// searched by halving, since what a front dominates all before it do (Zhang et al. 2015).
pub(crate) fn fronts(points: &[Vec<f64>]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| lexicographic(&points[*a], &points[*b]));
    let mut fronts: Vec<Vec<usize>> = Vec::new();
    for index in order {
        let point = &points[index];
        // With two objectives, the newest of a front has the lowest second loss of all.
        let looked_at = if point.len() <= 2 { 1 } else { usize::MAX };
        let rank = fronts.partition_point(|front| {
            front.iter().rev().take(looked_at).any(|other| dominates(&points[*other], point))
        });
        match fronts.get_mut(rank) {
            Some(front) => front.push(index),
            None => fronts.push(vec![index]),
        }
    }
    fronts
}

/// How far apart the neighbours of each point are, summed over the objectives in shares of their
/// ranges (Deb et al. 2002); infinite at the ends of an objective.
pub(crate) fn crowding(points: &[Vec<f64>]) -> Vec<f64> {
    let mut distances = vec![0.0; points.len()];
    for objective in 0..points.first().map_or(0, Vec::len) {
        let loss = |index: usize| points[index][objective];
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|a, b| loss(*a).total_cmp(&loss(*b)));
        let (first, last) = (order[0], order[order.len() - 1]);
        let width = loss(last) - loss(first);
        for around in order.windows(3) {
            let gap = (loss(around[2]) - loss(around[0])) / width;
            distances[around[1]] += if gap.is_finite() { gap } else { 0.0 };
        }
        distances[first] = f64::INFINITY;
        distances[last] = f64::INFINITY;
    }
    distances
}

/// Scores as numbers to minimise.
pub(crate) fn losses(scores: &[f64], directions: &[Direction]) -> Vec<f64> {
    // A negative zero would come before a zero that it is equal to.
    scores.iter().zip(directions).map(|(score, direction)| direction.loss(*score) + 0.0).collect()
}

/// Whether `a` is nowhere worse than `b` and better somewhere.
pub(crate) fn dominates(a: &[f64], b: &[f64]) -> bool {
    let pairs = || a.iter().zip(b);
    pairs().all(|(a, b)| a <= b) && pairs().any(|(a, b)| a < b)
}

fn lexicographic(a: &[f64], b: &[f64]) -> Ordering {
    let differences = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
    differences.fold(Ordering::Equal, Ordering::then)
}

fn knee<'a>(front: Vec<&'a Trial>, directions: &[Direction]) -> Option<&'a Trial> {
    let losses: Vec<Vec<f64>> =
        front.iter().map(|trial| losses(&trial.scores, directions)).collect();
    let ends = |objective: usize| {
        let all = losses.iter().map(|losses| losses[objective]);
        let low = all.clone().fold(f64::INFINITY, f64::min);
        (low, all.fold(f64::NEG_INFINITY, f64::max))
    };
    let ends: Vec<(f64, f64)> = (0..directions.len()).map(ends).collect();
    let distance = |losses: &[f64]| -> f64 {
        let scaled = losses.iter().zip(&ends).map(|(loss, (low, high))| {
            let width = high - low;
            // An objective that is the same on all of the front, or infinite, decides nothing.
            if width > 0.0 && width.is_finite() { (loss - low) / width } else { 0.0 }
        });
        scaled.map(|share| share * share).sum()
    };
    let mut nearest: Option<(f64, &Trial)> = None;
    for (trial, losses) in front.into_iter().zip(&losses) {
        let distance = distance(losses);
        if nearest.is_none_or(|(least, _)| distance < least) {
            nearest = Some((distance, trial));
        }
    }
    nearest.map(|(_, trial)| trial)
}

/// How far below the best score of a study with one objective others count as equal to it; see
/// [`best`].
pub fn margin(trials: &[Trial], direction: Direction) -> Option<f64> {
    Some(top(trials, direction)?.1.tiebreak?.margin)
}

/// The complete trial within its limits that has the best score, and that score as a loss.
fn top(trials: &[Trial], direction: Direction) -> Option<(f64, &Trial)> {
    trials
        .iter()
        .filter(|trial| trial.violation() <= 0.0)
        .filter_map(|trial| Some((direction.loss(trial.score()?), trial)))
        .min_by(|a, b| nan_last(a.0, b.0).then(a.1.number.cmp(&b.1.number)))
}

/// Which losses count as equal to the least.
pub(crate) struct Within {
    direction: Direction,
    worst: f64,
}

/// Losses that count as equal to the least among those of the complete `trials`.
pub(crate) fn within_margin(trials: &[Trial], direction: Direction) -> Within {
    let worst =
        top(trials, direction).and_then(|(loss, trial)| Some(loss + trial.tiebreak?.margin));
    Within { direction, worst: worst.unwrap_or(f64::NEG_INFINITY) }
}

/// A place among complete trials with one objective, by which they are ordered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    violation: f64,
    beyond: bool,
    loss: f64,
}

impl Within {
    /// The place of a complete trial; `None` of another.
    pub(crate) fn place(&self, trial: &Trial) -> Option<Place> {
        let loss = self.direction.loss(trial.score()?);
        let violation = trial.violation();
        Some(match trial.tiebreak {
            Some(tiebreak) if violation <= 0.0 && loss <= self.worst => {
                Place { violation, beyond: false, loss: tiebreak.loss }
            }
            _ => Place { violation, beyond: true, loss },
        })
    }
}

impl Place {
    pub(crate) fn compare(self, other: Self) -> Ordering {
        self.violation
            .total_cmp(&other.violation)
            .then(self.beyond.cmp(&other.beyond))
            .then(nan_last(self.loss, other.loss))
    }
}

fn nan_last(a: f64, b: f64) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then(a.partial_cmp(&b).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use luthier_space::Values;

    use super::Direction::{Maximize, Minimize};
    use super::*;
    use crate::{State, Tiebreak};

    fn complete(number: u64, scores: &[f64]) -> Trial {
        let (state, scores) = (State::Complete, scores.to_vec());
        Trial { state, scores, ..Trial::running(number, Values::default()) }
    }

    fn trial(number: u64, score: f64, tiebreak: Option<(f64, f64)>) -> Trial {
        let tiebreak = tiebreak.map(|(margin, loss)| Tiebreak { margin, loss });
        Trial { tiebreak, ..complete(number, &[score]) }
    }

    fn best_of(scores: &[(f64, Option<(f64, f64)>)], direction: Direction) -> u64 {
        let trials = (0..).zip(scores).map(|(number, (score, tie))| trial(number, *score, *tie));
        best(&trials.collect::<Vec<_>>(), &[direction]).unwrap().number
    }

    #[test]
    fn the_best_score_wins_and_the_earlier_of_equals() {
        let scores = [(0.5, None), (0.7, None), (0.7, None), (f64::NAN, None)];
        assert_eq!(best_of(&scores, Maximize), 1);
        assert_eq!(best_of(&scores, Minimize), 0);
        assert_eq!(best(&[], &[Maximize]), None);
        assert_eq!(best(&[Trial::running(0, Values::default())], &[Maximize]), None);
    }

    #[test]
    fn the_loss_decides_within_the_margin_of_the_best() {
        let scores = [
            (0.80, Some((0.01, 0.40))),
            (0.84, Some((0.02, 0.45))),
            (0.83, Some((0.02, 0.41))),
            (0.82, Some((0.02, 0.43))),
            (0.81, Some((0.09, 0.10))),
        ];
        assert_eq!(best_of(&scores, Maximize), 2);
        let lower: Vec<_> = scores.iter().map(|(score, tie)| (-score, *tie)).collect();
        assert_eq!(best_of(&lower, Minimize), 2);
    }

    #[test]
    fn limits_come_before_scores() {
        let beyond = |number, score, violations: &[f64]| Trial {
            violations: violations.to_vec(),
            ..complete(number, &[score])
        };
        let mut trials = vec![
            beyond(0, 0.9, &[-1.0, 0.5]),
            beyond(1, 0.8, &[0.2, 0.2]),
            beyond(2, 0.99, &[f64::NAN, 0.0]),
        ];
        assert_eq!(best(&trials, &[Maximize]).unwrap().number, 1);
        assert_eq!(front(&trials, &[Maximize])[0].number, 1);
        trials.push(beyond(3, 0.1, &[-3.0, 0.0]));
        assert_eq!(best(&trials, &[Maximize]).unwrap().number, 3);
        assert_eq!(margin(&trials, Maximize), None);
    }

    #[test]
    fn the_front_has_what_nothing_dominates() {
        let points = [
            [0.9, 10.0],
            [0.8, 5.0],
            [0.8, 6.0],
            [0.7, 5.0],
            [0.5, 1.0],
            [f64::NAN, 0.0],
            [0.9, 10.0],
        ];
        let trials: Vec<Trial> = (0..).zip(&points).map(|(n, p)| complete(n, p)).collect();
        let directions = [Maximize, Minimize];
        let numbers: Vec<u64> = front(&trials, &directions).iter().map(|t| t.number).collect();
        assert_eq!(numbers, [0, 1, 4, 6]);
        assert_eq!(best(&trials, &directions).unwrap().number, 1);
        assert_eq!(best(&[], &directions), None);
    }
}
