//! One evaluation, as the closure that does it sees it.

use std::ops::ControlFlow;
use std::sync::OnceLock;

use luthier_space::{Distribution, Value, Values};
use luthier_tune::{Step, Tiebreak, Trial, Verdict, trial_seed};
use serde::{Deserialize, Serialize};

use crate::ledger::{Noted, Suggested};
use crate::run::{Crew, Event};

/// One trial being evaluated.
pub struct Session<'a> {
    crew: &'a Crew<'a>,
    trial: &'a Trial,
    /// Whether the trial is over and is evaluated once more, which is not part of the study's course.
    again: bool,
    cause: OnceLock<Cause>,
}

/// What an evaluation has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// One score for each objective of the study.
    pub scores: Vec<f64>,
    /// How far each constraint of the study is beyond its limit; kept at 0 and below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<f64>,
    /// What decides between this trial and others of about the same score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiebreak: Option<Tiebreak>,
}

impl From<f64> for Measured {
    fn from(score: f64) -> Self {
        vec![score].into()
    }
}

impl From<Vec<f64>> for Measured {
    fn from(scores: Vec<f64>) -> Self {
        Self { scores, violations: Vec::new(), tiebreak: None }
    }
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
    /// The pruner holds it for now.
    Paused,
    /// It was given to someone else, because its worker had not been heard of.
    Lost,
    /// Its steps could not be written.
    Broken,
    /// It reported a score that is no number.
    NotFinite { step: u64, score: f64 },
}

impl<'a> Session<'a> {
    pub(crate) fn new(crew: &'a Crew<'a>, trial: &'a Trial) -> Self {
        Self { crew, trial, again: false, cause: OnceLock::new() }
    }

    pub(crate) fn again(crew: &'a Crew<'a>, trial: &'a Trial) -> Self {
        Self { again: true, ..Self::new(crew, trial) }
    }

    /// Number of the trial.
    pub fn number(&self) -> u64 {
        self.trial.number
    }

    /// The configuration to evaluate; of an open study it is asked for by [`Session::suggest`].
    pub fn values(&self) -> &Values {
        &self.trial.values
    }

    /// The value of a parameter that may be what `distribution` says; the same whenever the trial asks
    /// for it. An open study takes up what is new to it. The value is the one that was proposed for the
    /// trial when it began, from what earlier trials had asked for, or drawn where nothing was.
    ///
    /// A study that is not open has to have this parameter, and the trial to have it active.
    ///
    /// What ends the evaluation should be passed on: the trial was given to someone else, or the
    /// parameter is another than it was, which ends the run with
    /// [`StudyError::Changed`](crate::StudyError::Changed).
    pub fn suggest(&self, name: &str, distribution: &Distribution) -> Result<Value, Failure> {
        let study = self.crew.study;
        let (asked, number) = ((name, distribution), self.trial.number);
        let mut ledger = study.ledger();
        let suggested = match self.again {
            true => ledger.suggest_again(self.trial, asked, &study.spec).map(Suggested::Value),
            false => ledger.suggest(number, asked, &study.spec),
        };
        drop(ledger);
        let (cause, reason) = match suggested {
            Ok(Suggested::Value(value)) => return Ok(value),
            Ok(Suggested::Lost) => (Cause::Lost, "the trial was given to someone else".to_owned()),
            Err(error) => {
                let reason = error.to_string();
                self.crew.halt(error);
                (Cause::Broken, reason)
            }
        };
        self.cause.get_or_init(|| cause);
        Err(Failure::Error(reason))
    }

    /// A number in `[low, high]`; see [`Session::suggest`].
    pub fn suggest_float(&self, name: &str, low: f64, high: f64) -> Result<f64, Failure> {
        self.suggest_number(name, &Distribution::float(low, high))
    }

    /// A number in `[low, high]` on a logarithmic scale; see [`Session::suggest`].
    pub fn suggest_log_float(&self, name: &str, low: f64, high: f64) -> Result<f64, Failure> {
        self.suggest_number(name, &Distribution::log_float(low, high))
    }

    /// An integer in `[low, high]`; see [`Session::suggest`].
    pub fn suggest_int(&self, name: &str, low: i64, high: i64) -> Result<i64, Failure> {
        match self.suggest(name, &Distribution::int(low, high))? {
            Value::Int(value) => Ok(value),
            other => Err(Failure::Error(format!("`{name}` is {other}"))),
        }
    }

    /// One of `options`, which have no order; see [`Session::suggest`].
    pub fn suggest_choice<V: Into<Value> + Clone>(
        &self,
        name: &str,
        options: &[V],
    ) -> Result<Value, Failure> {
        let options = options.iter().cloned().map(Into::into).collect();
        self.suggest(name, &Distribution::Choice { options })
    }

    fn suggest_number(&self, name: &str, distribution: &Distribution) -> Result<f64, Failure> {
        let value = self.suggest(name, distribution)?;
        value.as_f64().ok_or_else(|| Failure::Error(format!("`{name}` is {value}")))
    }

    /// Whether the trial is over and is evaluated once more; see [`Study::evaluate_again`].
    ///
    /// [`Study::evaluate_again`]: crate::Study::evaluate_again
    pub fn is_again(&self) -> bool {
        self.again
    }

    /// The seed to evaluate it with, the same whenever this trial is evaluated, but for an evaluation
    /// once more.
    pub fn seed(&self) -> u64 {
        let seed = trial_seed(self.crew.study.spec.seed, self.trial.number);
        if self.again { trial_seed(seed, self.trial.number) } else { seed }
    }

    /// Reports the score at `step` of a study with one objective; see [`Session::report_all`].
    pub fn report(&self, step: u64, score: f64) -> ControlFlow<()> {
        self.report_all(step, vec![score])
    }

    /// Reports the scores at `step`, one for each objective, NaN for one that is not known yet;
    /// steps ascend, and one that does not is passed over. On [`ControlFlow::Break`] the evaluation
    /// should end soon with [`Failure::Pruned`], whatever the cause: the session knows whether the
    /// trial was pruned, is no longer worth it for another reason, or has to be put back because the
    /// run ends.
    pub fn report_all(&self, step: u64, scores: Vec<f64>) -> ControlFlow<()> {
        // What SQLite can store.
        let step = step.min(i64::MAX.unsigned_abs());
        let cause = match not_a_score(&scores) {
            Some(score) => Some(Cause::NotFinite { step, score }),
            None if self.again => None,
            None => self.note(Step { step, scores }),
        };
        if let Some(cause) = cause {
            self.cause.get_or_init(|| cause);
        }
        self.check()
    }

    /// Whether to go on, for an evaluation that may have nothing to report for long;
    /// [`ControlFlow::Break`] means what it does from [`Session::report_all`].
    pub fn check(&self) -> ControlFlow<()> {
        if self.crew.interrupted() {
            self.cause.get_or_init(|| Cause::Interrupted);
        }
        if self.cause.get().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Steps that were reported before the trial was paused, the last of which it may go on from;
    /// reporting them once more does no harm.
    pub fn earlier_steps(&self) -> &[Step] {
        if self.again { &[] } else { &self.trial.steps }
    }

    /// Records a step and asks the pruner.
    fn note(&self, step: Step) -> Option<Cause> {
        let study = self.crew.study;
        let number = self.trial.number;
        let noted = study.ledger().step(number, &step, &study.spec);
        let verdict = match noted {
            Ok(Noted::New(verdict)) => verdict,
            Ok(Noted::Known) => return None,
            Ok(Noted::Lost) => return Some(Cause::Lost),
            Err(error) => {
                self.crew.halt(error);
                return Some(Cause::Broken);
            }
        };
        self.crew.emit(Event::Step { number, step });
        match verdict {
            Verdict::Continue => None,
            Verdict::Pause => Some(Cause::Paused),
            Verdict::Prune => Some(Cause::Pruned),
        }
    }

    /// Why the evaluation was told to break off, if it was.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause.get().copied()
    }
}

/// The first of the scores at a step that is none: one that is not finite, or of several an infinite
/// one, since some may not be known yet.
pub(crate) fn not_a_score(scores: &[f64]) -> Option<f64> {
    match scores {
        [only] => (!only.is_finite()).then_some(*only),
        several => several.iter().copied().find(|score| score.is_infinite()),
    }
}
