//! What was tried, and how it went.

use std::cmp::Ordering;

use luthier_space::Values;
use serde::{Deserialize, Serialize};

/// Which scores are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Higher scores are better.
    Maximize,
    /// Lower scores are better.
    Minimize,
}

impl Direction {
    /// Whether score `a` is strictly better than `b`. A NaN is better than nothing.
    pub fn better(self, a: f64, b: f64) -> bool {
        let (a, b) = (self.loss(a), self.loss(b));
        a < b || (b.is_nan() && !a.is_nan())
    }

    /// The score as a number to minimise.
    pub(crate) fn loss(self, score: f64) -> f64 {
        match self {
            Self::Maximize => -score,
            Self::Minimize => score,
        }
    }
}

/// Where a trial stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Being evaluated, or put back to be evaluated again: its values count as taken, its score is
    /// not known.
    Running,
    /// Evaluated to the end; it has a score.
    Complete,
    /// Given up early because its steps were poor.
    Pruned,
    /// Ended with an error; it has a reason.
    Failed,
}

impl State {
    /// Whether the trial is over.
    pub fn is_finished(self) -> bool {
        self != Self::Running
    }
}

/// What decides among trials whose scores cannot be told apart.
///
/// The best of many noisy scores is the luckiest rather than the best; among those that luck alone
/// may have put in order, a loss that sees every row's probability says more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tiebreak {
    /// How far below the best a score counts as equal to it, at least 0: the standard error of the
    /// best score, so that this is the one-standard-error rule (Breiman et al. 1984).
    pub margin: f64,
    /// Lower is better.
    pub loss: f64,
}

/// One configuration and its fate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Position in the study, from 0, without gaps.
    pub number: u64,
    /// The configuration.
    pub values: Values,
    /// Where it stands.
    pub state: State,
    /// The final score, in the study's metric, when complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// What decides between this trial and others of about the same score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiebreak: Option<Tiebreak>,
    /// Scores reported on the way, with their steps ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<(u64, f64)>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it took, in seconds of wall time, when finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl Trial {
    /// A trial that has just begun.
    pub fn running(number: u64, values: Values) -> Self {
        Self {
            number,
            values,
            state: State::Running,
            score: None,
            tiebreak: None,
            steps: Vec::new(),
            reason: None,
            seconds: None,
        }
    }

    /// The score reported at `step`.
    pub fn score_at(&self, step: u64) -> Option<f64> {
        let index = self.steps.binary_search_by_key(&step, |&(step, _)| step).ok()?;
        Some(self.steps[index].1)
    }
}

/// The best complete trial: of those whose score is within the margin of the highest one's
/// [`Tiebreak`], the one with the lowest loss; without tiebreaks the one with the best score. Among
/// equals it is the one with the lowest number.
pub fn best(trials: &[Trial], direction: Direction) -> Option<&Trial> {
    let within = within_margin(trials, direction);
    let complete = trials.iter().filter_map(|trial| {
        let loss = direction.loss(complete_score(trial)?);
        Some((within.place(trial, loss), trial))
    });
    complete
        .min_by(|a, b| a.0.compare(b.0).then(a.1.number.cmp(&b.1.number)))
        .map(|(_, trial)| trial)
}

fn complete_score(trial: &Trial) -> Option<f64> {
    trial.score.filter(|_| trial.state == State::Complete)
}

/// Which losses count as equal to the least.
pub(crate) struct Within {
    worst: f64,
}

/// Losses that count as equal to the least among those of the complete `trials`.
pub(crate) fn within_margin(trials: &[Trial], direction: Direction) -> Within {
    let worst =
        top(trials, direction).and_then(|(loss, trial)| Some(loss + trial.tiebreak?.margin));
    Within { worst: worst.unwrap_or(f64::NEG_INFINITY) }
}

/// How far below the best score others count as equal to it; see [`best`].
pub fn margin(trials: &[Trial], direction: Direction) -> Option<f64> {
    Some(top(trials, direction)?.1.tiebreak?.margin)
}

/// The complete trial with the best score, and that score as a loss.
fn top(trials: &[Trial], direction: Direction) -> Option<(f64, &Trial)> {
    trials
        .iter()
        .filter_map(|trial| Some((direction.loss(complete_score(trial)?), trial)))
        .min_by(|a, b| nan_last(a.0, b.0).then(a.1.number.cmp(&b.1.number)))
}

/// A place among complete trials, by which they are ordered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    beyond: bool,
    loss: f64,
}

impl Within {
    /// The place of a complete trial whose score gives the `loss`.
    pub(crate) fn place(&self, trial: &Trial, loss: f64) -> Place {
        match trial.tiebreak {
            Some(tiebreak) if loss <= self.worst => Place { beyond: false, loss: tiebreak.loss },
            _ => Place { beyond: true, loss },
        }
    }
}

impl Place {
    pub(crate) fn compare(self, other: Self) -> Ordering {
        self.beyond.cmp(&other.beyond).then(nan_last(self.loss, other.loss))
    }
}

fn nan_last(a: f64, b: f64) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then(a.partial_cmp(&b).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(number: u64, score: f64, tiebreak: Option<(f64, f64)>) -> Trial {
        let tiebreak = tiebreak.map(|(margin, loss)| Tiebreak { margin, loss });
        let state = State::Complete;
        let score = Some(score);
        Trial { state, score, tiebreak, ..Trial::running(number, Values::default()) }
    }

    fn best_of(scores: &[(f64, Option<(f64, f64)>)], direction: Direction) -> u64 {
        let trials = (0..).zip(scores).map(|(number, (score, tie))| trial(number, *score, *tie));
        best(&trials.collect::<Vec<_>>(), direction).unwrap().number
    }

    #[test]
    fn the_best_score_wins_and_the_earlier_of_equals() {
        let scores = [(0.5, None), (0.7, None), (0.7, None), (f64::NAN, None)];
        assert_eq!(best_of(&scores, Direction::Maximize), 1);
        assert_eq!(best_of(&scores, Direction::Minimize), 0);
        assert_eq!(best(&[], Direction::Maximize), None);
        assert_eq!(best(&[Trial::running(0, Values::default())], Direction::Maximize), None);
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
        assert_eq!(best_of(&scores, Direction::Maximize), 2);
        let lower: Vec<_> = scores.iter().map(|(score, tie)| (-score, *tie)).collect();
        assert_eq!(best_of(&lower, Direction::Minimize), 2);
    }
}
