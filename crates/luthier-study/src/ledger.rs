//! The trials of an open study, in memory and on disk alike.

use std::collections::BTreeSet;
use std::time::Duration;

use luthier_space::Values;
use luthier_tune::{Direction, Request, Sampler, State, Step, Tiebreak, Trial, View};

use crate::storage::Storage;
use crate::{Measured, StudyError, StudySpec};

/// All trials, and which of them are free to be taken up again. Every change is written to the file
/// before it is made here, so that an error leaves both as they were.
pub(crate) struct Ledger {
    storage: Storage,
    /// Trial *n* is at place *n*.
    trials: Vec<Trial>,
    /// Unfinished trials that nobody evaluates.
    waiting: BTreeSet<u64>,
    /// How many trials, counted from 0, have all finished.
    settled: u64,
    directions: Vec<Direction>,
}

/// A trial to evaluate, or why there is none.
pub(crate) enum Claim {
    /// This one, which is now marked as running.
    Trial(Trial),
    /// None before others have finished.
    Later,
    /// None at all: as many trials as wanted have been taken.
    Enough,
    /// None at all: the space has no configuration left.
    Exhausted,
}

impl Ledger {
    /// `trials` are those of the file; the unfinished ones among them have no owner.
    pub(crate) fn new(storage: Storage, trials: Vec<Trial>, directions: Vec<Direction>) -> Self {
        let unfinished = trials.iter().filter(|trial| !trial.state.is_finished());
        let waiting = unfinished.map(|trial| trial.number).collect();
        let mut ledger = Self { storage, trials, waiting, settled: 0, directions };
        ledger.settle();
        ledger
    }

    pub(crate) fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// The best complete trial.
    pub(crate) fn best(&self) -> Option<&Trial> {
        luthier_tune::best(&self.trials, &self.directions)
    }

    /// Number of trials in a state.
    pub(crate) fn count(&self, state: State) -> u64 {
        self.trials.iter().filter(|trial| trial.state == state).count() as u64
    }

    /// Number of finished trials.
    pub(crate) fn finished(&self) -> u64 {
        self.trials.len() as u64 - self.count(State::Running)
    }

    /// Takes the next trial with a number below `limit`: one that waits, or a new one, which is
    /// the configuration of that number among `first` where it fits the space.
    pub(crate) fn claim(
        &mut self,
        spec: &StudySpec,
        sampler: &dyn Sampler,
        first: &[Values],
        limit: u64,
    ) -> Result<Claim, StudyError> {
        let waiting = self.waiting.first().copied();
        let number = waiting.unwrap_or(self.trials.len() as u64);
        let view = View { number, lag: spec.lag };
        if number >= limit {
            return Ok(Claim::Enough);
        }
        if self.settled < view.settled_before() {
            return Ok(Claim::Later);
        }
        if waiting.is_some() {
            self.storage.start_over(number)?;
            self.waiting.remove(&number);
            return Ok(Claim::Trial(self.trials[number as usize].clone()));
        }
        let given = usize::try_from(number).ok().and_then(|number| first.get(number));
        let given = given.filter(|values| spec.space.check(values).is_ok()).cloned();
        let values = given.or_else(|| {
            view.pending(&mut self.trials, |trials| {
                let StudySpec { ref space, seed, .. } = *spec;
                let directions = &self.directions;
                sampler.suggest(&Request { space, directions, trials, number, seed })
            })
        });
        let Some(values) = values else { return Ok(Claim::Exhausted) };
        let trial = Trial::running(number, values);
        self.storage.add(&trial, &spec.sampler)?;
        self.trials.push(trial.clone());
        Ok(Claim::Trial(trial))
    }

    /// Notes a step of a running trial; `false` if it is not above the last one, which is then kept.
    pub(crate) fn step(&mut self, number: u64, step: Step) -> bool {
        let steps = &mut self.trials[number as usize].steps;
        let new = steps.last().is_none_or(|last| last.step < step.step);
        if new {
            steps.push(step);
        }
        new
    }

    /// Writes down how a running trial ended and returns it.
    pub(crate) fn finish(
        &mut self,
        number: u64,
        outcome: Outcome,
        spec: &StudySpec,
    ) -> Result<Trial, StudyError> {
        let trial = Trial {
            state: outcome.state,
            scores: outcome.measured.scores,
            violations: outcome.measured.violations,
            tiebreak: outcome.measured.tiebreak,
            reason: outcome.reason,
            seconds: Some(outcome.elapsed.as_secs_f64()),
            ..self.trials[number as usize].clone()
        };
        if let Err(error) = self.storage.finish(&trial, &spec.pruner) {
            self.release(number);
            return Err(error);
        }
        self.trials[number as usize] = trial.clone();
        self.settle();
        Ok(trial)
    }

    /// Gives a running trial back, to be evaluated afresh another time.
    pub(crate) fn put_back(&mut self, number: u64) -> Result<(), StudyError> {
        self.release(number);
        self.storage.put_back(number)
    }

    fn release(&mut self, number: u64) {
        self.trials[number as usize].steps.clear();
        self.waiting.insert(number);
    }

    fn settle(&mut self) {
        let rest = self.trials[self.settled as usize..].iter();
        self.settled += rest.take_while(|trial| trial.state.is_finished()).count() as u64;
    }
}

/// How a trial ended.
pub(crate) struct Outcome {
    pub(crate) state: State,
    pub(crate) measured: Measured,
    pub(crate) reason: Option<String>,
    /// Wall time of its evaluation.
    pub(crate) elapsed: Duration,
}

impl Outcome {
    pub(crate) fn complete(mut measured: Measured, elapsed: Duration) -> Self {
        let sound = |tiebreak: &Tiebreak| {
            tiebreak.margin >= 0.0 && tiebreak.margin.is_finite() && tiebreak.loss.is_finite()
        };
        measured.tiebreak = measured.tiebreak.filter(sound);
        Self { state: State::Complete, measured, reason: None, elapsed }
    }

    pub(crate) fn without_scores(state: State, reason: Option<String>, elapsed: Duration) -> Self {
        Self { state, measured: Vec::new().into(), reason, elapsed }
    }
}
