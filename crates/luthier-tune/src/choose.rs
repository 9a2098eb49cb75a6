//! The choice of one trial at the end of a search.
//!
//! The best of many noisy scores is mostly the luckiest. So the few trials that may be the best are
//! evaluated once more, and what both evaluations say together decides.

use std::collections::BTreeMap;

use crate::rank::{best, within_margin};
use crate::sampler::{Gp, Request};
use crate::{State, Trial};

/// The `count` trials that are worth a second evaluation, the most promising first.
///
/// Where scores have a [`Tiebreak`](crate::Tiebreak), these are the first in the order of [`best`].
/// Otherwise they are those of which a Gaussian process over all trials expects most: a trial whose
/// neighbours are bad was probably lucky. With several objectives there are none.
pub fn finalists<'a>(request: &Request<'a>, count: usize) -> Vec<&'a Trial> {
    let [direction] = *request.directions else { return Vec::new() };
    let complete = request.trials.iter().filter(|trial| trial.score().is_some_and(f64::is_finite));
    let mut complete: Vec<&Trial> = complete.collect();
    let within = within_margin(request.trials, direction);
    complete.sort_by(|a, b| match (within.place(a), within.place(b)) {
        (Some(a), Some(b)) => a.compare(b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    let expected = match complete.iter().any(|trial| trial.tiebreak.is_some()) {
        true => BTreeMap::new(),
        false => Gp::default().expected(request),
    };
    // What keeps the limits comes before what does not; a trial that the process has not seen last.
    let standing = |trial: &Trial| {
        (trial.violation(), expected.get(&trial.number).copied().unwrap_or(f64::INFINITY))
    };
    complete.sort_by(|a, b| {
        let (a, b) = (standing(a), standing(b));
        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    complete.truncate(count);
    complete
}

/// The best trial, given what some came to when they were evaluated `again`, as trials of the same
/// numbers. It is one of these, where there are any, and its scores are the means of both times.
///
/// The means are compared as by [`best`] where scores have a tiebreak. Otherwise the trial is chosen
/// of which a Gaussian process over all evaluations expects most.
pub fn choose(request: &Request<'_>, again: &[Trial]) -> Option<Trial> {
    let original = |trial: &Trial| request.trials.iter().find(|t| t.number == trial.number);
    let means: Vec<Trial> =
        again.iter().filter_map(|trial| Some(mean(original(trial)?, trial))).collect();
    if means.is_empty() {
        return best(request.trials, request.directions).cloned();
    }
    let tied = means.iter().any(|trial| trial.tiebreak.is_some());
    let least = means.iter().map(Trial::violation).fold(f64::INFINITY, f64::min);
    let first = request.trials.iter().map(|trial| trial.number + 1).max().unwrap_or(0);
    let more = (first..).zip(again).map(|(number, trial)| Trial { number, ..trial.clone() });
    let trials: Vec<Trial> = request.trials.iter().cloned().chain(more).collect();
    let expected = match tied || request.directions.len() > 1 {
        true => BTreeMap::new(),
        false => Gp::default().expected(&Request { trials: &trials, ..*request }),
    };
    let known = means.iter().filter(|trial| trial.violation() <= least);
    let known = known.filter_map(|trial| Some((expected.get(&trial.number)?, trial)));
    let chosen = known.min_by(|a, b| a.0.total_cmp(b.0)).map(|(_, trial)| trial);
    chosen.or_else(|| best(&means, request.directions)).cloned()
}

/// A trial with the means of two evaluations.
fn mean(first: &Trial, second: &Trial) -> Trial {
    let means = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a + b) / 2.0).collect();
    let tiebreak = first.tiebreak.zip(second.tiebreak).map(|(mut tiebreak, second)| {
        tiebreak.loss = (tiebreak.loss + second.loss) / 2.0;
        tiebreak.margin = (tiebreak.margin + second.margin) / 2.0;
        tiebreak
    });
    Trial {
        state: State::Complete,
        scores: means(&first.scores, &second.scores),
        violations: means(&first.violations, &second.violations),
        tiebreak,
        ..first.clone()
    }
}

#[cfg(test)]
mod tests;
