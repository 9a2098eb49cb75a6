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
    /// Held at a step, with what it has reported so far, until it is promoted or the study ends.
    Paused,
    /// Ended with an error; it has a reason.
    Failed,
}

impl State {
    /// Whether the trial is over.
    pub fn is_finished(self) -> bool {
        !matches!(self, Self::Running | Self::Paused)
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

/// Scores on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The step: epochs, rounds, folds or whatever the trial counts.
    pub step: u64,
    /// One score for each objective of the study; NaN where one is not measured at this step.
    pub scores: Vec<f64>,
}

impl Step {
    /// The score of the first objective.
    pub fn score(&self) -> f64 {
        self.scores.first().copied().unwrap_or(f64::NAN)
    }
}

impl From<(u64, f64)> for Step {
    fn from((step, score): (u64, f64)) -> Self {
        Self { step, scores: vec![score] }
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
    /// The final scores when complete, one for each objective of the study; else none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<f64>,
    /// How far each measured constraint of the study is beyond its limit when complete, in its own
    /// unit: kept at 0 and below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<f64>,
    /// What decides between this trial and others of about the same score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiebreak: Option<Tiebreak>,
    /// Scores reported on the way, with their steps ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
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
            scores: Vec::new(),
            violations: Vec::new(),
            tiebreak: None,
            steps: Vec::new(),
            reason: None,
            seconds: None,
        }
    }

    /// The final score of the first objective, when complete.
    pub fn score(&self) -> Option<f64> {
        self.scores.first().copied().filter(|_| self.state == State::Complete)
    }

    /// The scores reported at `step`.
    pub fn at_step(&self, step: u64) -> Option<&Step> {
        let index = self.steps.binary_search_by_key(&step, |step| step.step).ok()?;
        self.steps.get(index)
    }

    /// How far the trial is beyond its limits in all: 0 if it keeps them, infinite if that is not
    /// known.
    pub fn violation(&self) -> f64 {
        let sum: f64 = self.violations.iter().map(|beyond| beyond.max(0.0)).sum();
        match self.violations.iter().any(|beyond| beyond.is_nan()) {
            true => f64::INFINITY,
            false => sum,
        }
    }
}
