//! What was tried, and how it went.

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

/// The complete trial with the best score; among equals the one with the lowest number.
pub fn best(trials: &[Trial], direction: Direction) -> Option<&Trial> {
    let complete = trials.iter().filter(|trial| trial.state == State::Complete);
    let scored = complete.filter_map(|trial| Some((trial, trial.score?)));
    let winner = scored.reduce(|best, next| {
        let tie = best.1 == next.1 && next.0.number < best.0.number;
        if direction.better(next.1, best.1) || tie { next } else { best }
    });
    winner.map(|(trial, _)| trial)
}
