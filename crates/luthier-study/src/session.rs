//! One evaluation, as the closure that does it sees it.

use std::ops::ControlFlow;
use std::sync::OnceLock;

use luthier_space::Values;
use luthier_tune::{Tiebreak, Trial, View, trial_seed};

use crate::run::{Crew, Event};

/// One trial being evaluated.
pub struct Session<'a> {
    crew: &'a Crew<'a>,
    trial: &'a Trial,
    cause: OnceLock<Cause>,
    tiebreak: OnceLock<Tiebreak>,
}

/// Why an evaluation gives no score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It broke off because [`Session::report`] said so, or found by itself that the trial is not
    /// worth finishing.
    Pruned,
    /// It went wrong. The trial is recorded as failed, for this reason, and the study goes on.
    Error(String),
}

/// Why a session was told to break off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cause {
    /// The pruner gave it up.
    Pruned,
    /// The run ends; the trial is to be evaluated afresh another time.
    Interrupted,
    /// It reported a score that is no number.
    NotFinite { step: u64, score: f64 },
}

impl<'a> Session<'a> {
    pub(crate) fn new(crew: &'a Crew<'a>, trial: &'a Trial) -> Self {
        Self { crew, trial, cause: OnceLock::new(), tiebreak: OnceLock::new() }
    }

    /// Number of the trial.
    pub fn number(&self) -> u64 {
        self.trial.number
    }

    /// The configuration to evaluate.
    pub fn values(&self) -> &Values {
        &self.trial.values
    }

    /// The seed to evaluate it with, the same whenever this trial is evaluated.
    pub fn seed(&self) -> u64 {
        trial_seed(self.crew.study.spec.seed, self.trial.number)
    }

    /// Reports the score at `step`, in the study's metric; steps ascend, and one that does not is
    /// passed over. On [`ControlFlow::Break`] the evaluation should end soon with
    /// [`Failure::Pruned`], whatever the cause: the session knows whether the trial was pruned, is
    /// no longer worth it for another reason, or has to be put back because the run ends.
    pub fn report(&self, step: u64, score: f64) -> ControlFlow<()> {
        // What SQLite can store.
        let step = step.min(i64::MAX.unsigned_abs());
        let cause = if score.is_finite() {
            let pruned = self.note(step, score);
            match pruned {
                true => Some(Cause::Pruned),
                false => self.crew.interrupted().then_some(Cause::Interrupted),
            }
        } else {
            Some(Cause::NotFinite { step, score })
        };
        if let Some(cause) = cause {
            self.cause.get_or_init(|| cause);
        }
        if self.cause.get().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Says what decides between this trial and others of about the same score. Only the first word
    /// counts, and none that is not finite or has a negative margin.
    pub fn break_ties_by(&self, tiebreak: Tiebreak) {
        if tiebreak.margin >= 0.0 && tiebreak.margin.is_finite() && tiebreak.loss.is_finite() {
            self.tiebreak.get_or_init(|| tiebreak);
        }
    }

    pub(crate) fn tiebreak(&self) -> Option<Tiebreak> {
        self.tiebreak.get().copied()
    }

    /// Records a step and asks the pruner.
    fn note(&self, step: u64, score: f64) -> bool {
        let study = self.crew.study;
        let number = self.trial.number;
        let mut ledger = study.ledger();
        if !ledger.step(number, step, score) {
            return false;
        }
        let trials = ledger.trials();
        let others = View { number, lag: study.spec.lag }.finished(trials);
        let trial = &trials[number as usize];
        let pruned = study.pruner.should_prune(study.spec.direction, others, trial);
        drop(ledger);
        self.crew.emit(Event::Step { number, step, score });
        pruned
    }

    /// Why the evaluation was told to break off, if it was.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause.get().copied()
    }
}
