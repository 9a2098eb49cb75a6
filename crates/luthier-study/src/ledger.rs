//! The trials of a study in memory, and their standing in the storage.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use luthier_space::{Distribution, Space, Value, ValueError, Values};
use luthier_tune::{
    Direction, Pruner, Request, Sampler, State, Step, Tiebreak, Trial, Verdict, View,
};

use crate::open::Asked;
use crate::overview::{Overview, Running};
use crate::run::Retries;
use crate::spec::{distribution_change, filled};
use crate::storage::{Changes, Entry, Held, Lease, Record, Storage, check_trial, now};
use crate::{Measured, StudyError, StudySpec};

/// A worker that has not been heard of for so long is taken for dead, even if its lock is held.
const GRACE: Duration = Duration::from_secs(60);

/// How often a parameter is declared where the storage is lost on the way.
const DECLARATIONS: u32 = 3;

/// All trials as far as this process knows, and which of them are free to be taken up. Every change
/// is written to the storage before it is made here, so that an error leaves both as they were.
pub(crate) struct Ledger {
    storage: Box<dyn Storage>,
    /// Trial *n* is at place *n*.
    trials: Vec<Trial>,
    /// How often each has been taken, as far as is known.
    attempts: Vec<u32>,
    /// When each was first taken, in milliseconds since 1970, as far as is known.
    started: Vec<Option<u64>>,
    /// Unfinished trials that nobody evaluates.
    waiting: BTreeSet<u64>,
    /// Trials that this process evaluates.
    leases: BTreeMap<u64, Lease>,
    /// How many trials, counted from 0, have all finished.
    settled: u64,
    directions: Vec<Direction>,
    /// The space of the study, which another process may have let grow if it is open.
    space: Space,
    /// Of an open study: what was proposed for its trials.
    proposals: BTreeMap<u64, Values>,
    /// Likewise: what finished trials have asked for.
    asked: Asked,
}

/// A trial to evaluate, or why there is none.
pub(crate) enum Claim {
    /// This one, which is now marked as running. It has the steps that it was paused with.
    Trial(Trial),
    /// None at present: others have to finish first, or the storage was lost for a moment.
    Later,
    /// None at all: as many trials as wanted have been taken, and none of them can come back.
    Enough,
    /// None at all: the space has no configuration left.
    Exhausted,
}

/// What a new trial is made from.
pub(crate) struct Proposer<'a> {
    pub(crate) spec: &'a StudySpec,
    pub(crate) sampler: &'a dyn Sampler,
    /// Configurations that come before those of the sampler.
    pub(crate) first: &'a [Values],
    /// Where the sampler searches; `None` for all that is known.
    pub(crate) within: Option<&'a Space>,
    /// The number below which trials are wanted.
    pub(crate) limit: u64,
}

impl Ledger {
    pub(crate) fn new(storage: Box<dyn Storage>, spec: &StudySpec) -> Result<Self, StudyError> {
        let mut ledger = Self {
            storage,
            trials: Vec::new(),
            attempts: Vec::new(),
            started: Vec::new(),
            waiting: BTreeSet::new(),
            leases: BTreeMap::new(),
            settled: 0,
            directions: spec.directions(),
            space: spec.space.clone(),
            proposals: BTreeMap::new(),
            asked: Asked::default(),
        };
        ledger.sync(spec)?;
        Ok(ledger)
    }

    pub(crate) fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// Whether there is a trial of this number, as far as is known.
    pub(crate) fn has(&self, number: u64) -> bool {
        number < self.trials.len() as u64
    }

    /// The best complete trial by the first objective.
    pub(crate) fn best(&self) -> Option<&Trial> {
        luthier_tune::best(&self.trials, std::slice::from_ref(self.directions.first()?))
    }

    /// Number of trials in a state.
    pub(crate) fn count(&self, state: State) -> u64 {
        self.trials.iter().filter(|trial| trial.state == state).count() as u64
    }

    /// Number of finished trials.
    pub(crate) fn finished(&self) -> u64 {
        self.trials.iter().filter(|trial| trial.state.is_finished()).count() as u64
    }

    /// How the study stands.
    pub(crate) fn overview(&self) -> Overview {
        let is_running =
            |trial: &&Trial| trial.state == State::Running && !self.waiting.contains(&trial.number);
        let running = self.trials.iter().filter(is_running).map(|trial| Running {
            number: trial.number,
            values: trial.values.clone(),
            last: trial.steps.last().cloned(),
            elapsed: self.started[trial.number as usize].map(|started| {
                // Clocks of other machines may be ahead.
                Duration::from_millis(now().saturating_sub(started))
            }),
        });
        Overview {
            complete: self.count(State::Complete),
            pruned: self.count(State::Pruned),
            failed: self.count(State::Failed),
            best: self.best().and_then(|best| Some((best.number, best.score()?))),
            running: running.collect(),
        }
    }

    /// Learns what other processes have done.
    pub(crate) fn sync(&mut self, spec: &StudySpec) -> Result<(), StudyError> {
        let Changes { trials, steps } = self.storage.changes()?;
        for Entry { trial, attempt, started, waiting, proposed } in trials {
            let number = trial.number;
            let place = (number as usize).min(self.trials.len());
            self.check(&trial, place as u64, spec)?;
            if let Some(proposed) = proposed {
                self.proposals.insert(number, proposed);
            }
            if waiting {
                self.waiting.insert(number)
            } else {
                self.waiting.remove(&number)
            };
            if place == self.trials.len() {
                self.trials.push(trial);
                self.attempts.push(attempt);
                self.started.push(started);
                continue;
            }
            let same = self.attempts[place] == attempt && !waiting;
            let kept =
                if same { std::mem::take(&mut self.trials[place].steps) } else { Vec::new() };
            self.trials[place] = Trial { steps: kept, ..trial };
            (self.attempts[place], self.started[place]) = (attempt, started);
        }
        for (number, step) in steps {
            self.note(number, step);
        }
        self.settle();
        Ok(())
    }

    /// Checks a trial that was read, in the space as it may have become meanwhile.
    fn check(&mut self, trial: &Trial, number: u64, spec: &StudySpec) -> Result<(), StudyError> {
        if check_trial(trial, number, &self.space).is_ok() {
            return Ok(());
        }
        let found = self.storage.spec()?;
        if let Some(change) = found.change(spec) {
            return Err(StudyError::Changed(change));
        }
        self.space = found.space;
        check_trial(trial, number, &self.space).map_err(|detail| self.storage.corrupt(detail))
    }

    /// Takes the next trial with a number below the limit: one that waits, one that is promoted, or
    /// a new one, which is the configuration of that number among the first where it fits the space.
    pub(crate) fn claim(&mut self, proposer: &Proposer<'_>) -> Result<Claim, StudyError> {
        self.storage.begin_proposing()?;
        let claim = self.sync(proposer.spec).and_then(|()| self.propose(proposer));
        match (claim, self.storage.end_proposing()?) {
            (Err(_), Held::No) => Ok(Claim::Later),
            (claim, _) => claim,
        }
    }

    fn propose(&mut self, proposer: &Proposer<'_>) -> Result<Claim, StudyError> {
        let Proposer { spec, limit, .. } = *proposer;
        let waiting = self.waiting.first().copied().filter(|number| *number < limit);
        let number = waiting.unwrap_or(self.trials.len() as u64);
        let view = View { number, lag: spec.lag };
        if self.settled < view.settled_before().min(limit) {
            return Ok(Claim::Later);
        }
        if let Some(number) = waiting.or_else(|| self.promoted(proposer)) {
            return Ok(match self.take(number)? {
                Some(trial) => Claim::Trial(trial),
                None => Claim::Later,
            });
        }
        let values = match number < limit {
            true => self.values(proposer, view),
            false => None,
        };
        let Some(values) = values else {
            // A trial that runs may come back to be evaluated again.
            return Ok(match self.trials.iter().any(|trial| trial.state == State::Running) {
                true => Claim::Later,
                false if number < limit => Claim::Exhausted,
                false => Claim::Enough,
            });
        };
        let (trial, proposed) = self.beginning(number, values);
        let lease = self.storage.add(&trial, proposed.as_ref(), &spec.sampler, true)?;
        if let Some(proposed) = proposed {
            self.proposals.insert(number, proposed);
        }
        self.leases.insert(number, lease);
        self.trials.push(trial.clone());
        self.attempts.push(lease.attempt);
        self.started.push(Some(now()));
        Ok(Claim::Trial(trial))
    }

    fn promoted(&self, proposer: &Proposer<'_>) -> Option<u64> {
        proposer.spec.pruner.promote(&self.directions, &self.trials)
    }

    fn take(&mut self, number: u64) -> Result<Option<Trial>, StudyError> {
        let Some(lease) = self.storage.take(number)? else { return Ok(None) };
        let waited = self.waiting.remove(&number);
        self.leases.insert(number, lease);
        self.attempts[number as usize] = lease.attempt;
        self.started[number as usize].get_or_insert_with(now);
        let trial = &mut self.trials[number as usize];
        trial.state = State::Running;
        if waited && self.space.is_open() {
            // It starts over, and asks again.
            trial.values = Values::default();
        }
        Ok(Some(trial.clone()))
    }

    /// A trial that gets these values, or where it asks may get them.
    fn beginning(&self, number: u64, values: Values) -> (Trial, Option<Values>) {
        match self.space.is_open() {
            true => (Trial::running(number, Values::default()), Some(values)),
            false => (Trial::running(number, values), None),
        }
    }

    /// The configuration of a new trial; `None` if the space has none left, which an open one always
    /// has.
    fn values(&mut self, proposer: &Proposer<'_>, view: View) -> Option<Values> {
        let Proposer { spec, sampler, first, within, .. } = *proposer;
        let (number, seed) = (view.number, spec.seed);
        let given = usize::try_from(number).ok().and_then(|number| first.get(number));
        if let Some(values) = given.filter(|values| self.check_given(values).is_ok()) {
            return Some(values.clone());
        }
        let open = self.space.is_open();
        let asked = open.then(|| self.asked_before(view));
        let mut pending = if open { self.pending(view) } else { Vec::new() };
        self.swap_values(&mut pending);
        let (directions, whole) = (&self.directions, asked.as_ref().unwrap_or(&self.space));
        let space = within.unwrap_or(whole);
        let suggested = view.pending(&mut self.trials, |trials| {
            sampler.suggest(&Request { space, directions, trials, number, seed })
        });
        self.swap_values(&mut pending);
        suggested.or_else(|| open.then(Values::default))
    }

    /// What the trials have asked for that a new one may know of.
    fn asked_before(&mut self, view: View) -> Space {
        let settled = view.settled_before().min(self.trials.len() as u64) as usize;
        let seen = if view.lag.is_some() { settled } else { self.trials.len() };
        self.asked.count(&self.trials[..seen], &self.space);
        self.asked.space(&self.space)
    }

    /// The places of trials that are pending for a new one, with what was proposed for them: what they
    /// have asked for by now is less, and depends on how fast they are.
    fn pending(&self, view: View) -> Vec<(usize, Values)> {
        let settled = view.settled_before();
        let is_pending = |trial: &Trial| match view.lag {
            Some(_) => trial.number >= settled,
            None => trial.state == State::Running,
        };
        let pending = self.trials.iter().enumerate().filter(|(_, trial)| is_pending(trial));
        let proposed = |trial: &Trial| self.proposals.get(&trial.number).cloned();
        pending.filter_map(|(place, trial)| Some((place, proposed(trial)?))).collect()
    }

    fn swap_values(&mut self, trials: &mut [(usize, Values)]) {
        for (place, values) in trials {
            std::mem::swap(&mut self.trials[*place].values, values);
        }
    }

    /// Checks values that a new trial is to get, of which those of an open study may be for parameters
    /// that nobody has asked for yet.
    fn check_given(&self, values: &Values) -> Result<(), ValueError> {
        if !self.space.is_open() {
            return self.space.check(values);
        }
        let is_known = |(name, _): &(&str, &Value)| self.space.get(name).is_some();
        let known = values.iter().filter(is_known);
        self.space.check(&known.map(|(name, value)| (name.to_owned(), value.clone())).collect())
    }

    /// The space as it is by now.
    pub(crate) fn space(&self) -> &Space {
        &self.space
    }

    /// The value of a parameter that a trial of this process asks for; the same whenever it does.
    pub(crate) fn suggest(
        &mut self,
        number: u64,
        (name, distribution): (&str, &Distribution),
        spec: &StudySpec,
    ) -> Result<Suggested, StudyError> {
        self.declare(name, distribution, spec)?;
        let place = number as usize;
        let lease = self.leases.get(&number).copied();
        let Some(lease) = lease.filter(|lease| lease.attempt == self.attempts[place]) else {
            return Ok(Suggested::Lost);
        };
        if let Some(value) = self.trials[place].values.get(name) {
            return Ok(Suggested::Value(value.clone()));
        }
        if !self.space.is_open() {
            return Err(ValueError::Inactive { name: name.to_owned() }.into());
        }
        let proposed = self.proposals.get(&number).and_then(|proposed| proposed.get(name));
        let proposed = proposed.filter(|value| distribution.contains(value)).cloned();
        let drawn = || luthier_tune::draw(name, distribution, spec.seed, number);
        let missing = || ValueError::Missing { name: name.to_owned() };
        let value = proposed.or_else(drawn).ok_or_else(missing)?;
        let mut values = self.trials[place].values.clone();
        values.insert(name, value.clone());
        if self.storage.set_values(lease, &values)? == Held::No {
            return Ok(Suggested::Lost);
        }
        self.trials[place].values = values;
        Ok(Suggested::Value(value))
    }

    /// The value of a parameter in a trial that is over, which is evaluated once more.
    pub(crate) fn suggest_again(
        &mut self,
        trial: &Trial,
        (name, distribution): (&str, &Distribution),
        spec: &StudySpec,
    ) -> Result<Value, StudyError> {
        self.declare(name, distribution, spec)?;
        let known = trial.values.get(name).cloned();
        let drawn = || luthier_tune::draw(name, distribution, spec.seed, trial.number);
        let value = known.or_else(|| drawn().filter(|_| self.space.is_open()));
        Ok(value.ok_or_else(|| ValueError::Inactive { name: name.to_owned() })?)
    }

    /// Makes a parameter part of an open space, unless it is. Any other space has to have it.
    fn declare(
        &mut self,
        name: &str,
        distribution: &Distribution,
        spec: &StudySpec,
    ) -> Result<(), StudyError> {
        if let Some(fault) = distribution.fault() {
            return Err(StudyError::Space { parameter: name.to_owned(), fault });
        }
        let mut broken = None;
        for _ in 0..DECLARATIONS {
            if !self.space.is_open() || self.space.get(name).is_some() {
                let change = distribution_change(&self.space, name, distribution);
                return change.map_or(Ok(()), |change| Err(StudyError::Changed(change)));
            }
            self.storage.begin_proposing()?;
            let grown = self.grow(name, distribution, spec);
            match (grown, self.storage.end_proposing()?) {
                (Err(error), Held::No) => broken = Some(error),
                (grown, _) => grown?,
            }
        }
        broken.map_or(Ok(()), Err)
    }

    /// Adds a parameter to the space, unless another process has.
    fn grow(
        &mut self,
        name: &str,
        distribution: &Distribution,
        spec: &StudySpec,
    ) -> Result<(), StudyError> {
        let mut found = self.storage.spec()?;
        if let Some(change) = found.change(spec) {
            return Err(StudyError::Changed(change));
        }
        if found.space.get(name).is_none() {
            found.space.add(name, distribution.clone());
            self.storage.set_spec(&found, &[])?;
        }
        self.space = found.space;
        Ok(())
    }

    /// Adds a configuration that waits to be evaluated.
    pub(crate) fn enqueue(&mut self, values: Values, spec: &StudySpec) -> Result<u64, StudyError> {
        self.check_given(&values)?;
        let (trial, proposed) = self.beginning(0, values);
        self.append(spec, |storage, number| {
            let trial = Trial { number, ..trial };
            storage.add(&trial, proposed.as_ref(), "given", false).map(|_| ())
        })
    }

    /// Adds trials that are over, under new numbers from the one that is returned on.
    pub(crate) fn import(
        &mut self,
        mut records: Vec<Record>,
        spec: &StudySpec,
    ) -> Result<u64, StudyError> {
        self.append(spec, |storage, first| {
            for (number, record) in (first..).zip(&mut records) {
                record.trial.number = number;
            }
            storage.import(&records)
        })
    }

    /// Replaces the setup by one whose space has all of the present one.
    pub(crate) fn extend(
        &mut self,
        present: &StudySpec,
        spec: &StudySpec,
        added: &Values,
    ) -> Result<(), StudyError> {
        self.storage.begin_proposing()?;
        let extended = self.sync(present).and_then(|()| {
            let mut changed = Vec::new();
            for trial in &self.trials {
                let values = filled(&trial.values, &spec.space, added);
                let values = values.map_err(StudyError::Changed)?;
                spec.space.check(&values)?;
                if values != trial.values {
                    changed.push(Trial { values, ..trial.clone() });
                }
            }
            self.storage.set_spec(spec, &changed)
        });
        let _ = self.storage.end_proposing()?;
        extended
    }

    fn append(
        &mut self,
        spec: &StudySpec,
        add: impl FnOnce(&mut dyn Storage, u64) -> Result<(), StudyError>,
    ) -> Result<u64, StudyError> {
        self.storage.begin_proposing()?;
        let added = self.sync(spec).and_then(|()| {
            let number = self.trials.len() as u64;
            add(self.storage.as_mut(), number)?;
            self.sync(spec)?;
            Ok(number)
        });
        let _ = self.storage.end_proposing()?;
        added
    }

    /// Notes a step of a trial that this process evaluates, shares it with others where they look at
    /// trials that run, and asks the pruner.
    pub(crate) fn step(
        &mut self,
        number: u64,
        step: &Step,
        spec: &StudySpec,
    ) -> Result<Noted, StudyError> {
        let place = number as usize;
        let lease = self.leases.get(&number).copied();
        // Taken by someone else, it is theirs that is known here.
        let Some(lease) = lease.filter(|lease| lease.attempt == self.attempts[place]) else {
            return Ok(Noted::Lost);
        };
        if !follows(&self.trials[place], step) {
            return Ok(Noted::Known);
        }
        let shared = spec.lag.is_none();
        if shared && self.storage.step(lease, step)? == Held::No {
            return Ok(Noted::Lost);
        }
        self.note(number, step.clone());
        if shared {
            self.sync(spec)?;
        }
        let others = View { number, lag: spec.lag }.finished(&self.trials);
        Ok(Noted::New(match spec.pruner.judge(&self.directions, others, &self.trials[place]) {
            // A trial that is promoted comes back at a time that depends on the others.
            Verdict::Pause if !shared => Verdict::Prune,
            verdict => verdict,
        }))
    }

    /// Notes a step of a trial, unless it is known.
    fn note(&mut self, number: u64, step: Step) {
        let trial = self.trials.get_mut(number as usize);
        if let Some(trial) = trial.filter(|trial| follows(trial, &step)) {
            trial.steps.push(step);
        }
    }

    /// The lease of a trial that this process evaluates.
    pub(crate) fn lease(&self, number: u64) -> Option<Lease> {
        self.leases.get(&number).copied()
    }

    /// How many times a trial has been taken, as far as is known.
    pub(crate) fn attempts(&self, number: u64) -> Option<u32> {
        self.attempts.get(usize::try_from(number).ok()?).copied()
    }

    /// Goes on with a trial under a lease that this process may have lost, unless someone else has
    /// taken the trial since or it is over.
    pub(crate) fn resume(&mut self, lease: Lease, spec: &StudySpec) -> Result<Held, StudyError> {
        let Lease { number, .. } = lease;
        if self.lease(number) == Some(lease) && !self.waiting.contains(&number) {
            return Ok(Held::Yes);
        }
        let held = self.storage.resume(lease)?;
        if held == Held::Yes {
            self.leases.insert(number, lease);
        }
        self.sync(spec)?;
        Ok(held)
    }

    /// Writes down how a running trial ended and returns it, unless it has been given to someone
    /// else or fails and is to be tried again.
    pub(crate) fn finish(
        &mut self,
        number: u64,
        outcome: Outcome,
        (spec, retries): (&StudySpec, Retries),
    ) -> Result<Option<Trial>, StudyError> {
        let Some(lease) = self.leases.remove(&number) else { return Ok(None) };
        let known = &self.trials[number as usize];
        let trial = Trial {
            number,
            values: known.values.clone(),
            state: outcome.state,
            scores: outcome.measured.scores,
            violations: outcome.measured.violations,
            tiebreak: outcome.measured.tiebreak,
            steps: known.steps.clone(),
            reason: outcome.reason,
            seconds: outcome.elapsed.map(|elapsed| elapsed.as_secs_f64()),
        };
        let again = trial.state == State::Failed && retries.failed > 0;
        if again && self.storage.retry(lease, retries.failed)? {
            self.give_back(number);
            return Ok(None);
        }
        match self.storage.finish(lease, &trial, spec.pruner.name()) {
            Err(error) => {
                self.give_back(number);
                return Err(error);
            }
            Ok(Held::No) => return Ok(None),
            Ok(Held::Yes) => {}
        }
        self.trials[number as usize] = trial.clone();
        self.settle();
        Ok(Some(trial))
    }

    /// Gives a running trial back, to be evaluated afresh another time.
    pub(crate) fn put_back(&mut self, number: u64) -> Result<(), StudyError> {
        let Some(lease) = self.leases.remove(&number) else { return Ok(()) };
        self.give_back(number);
        let _ = self.storage.release(lease, None)?;
        Ok(())
    }

    /// Holds a running trial where it stands.
    pub(crate) fn pause(&mut self, number: u64) -> Result<(), StudyError> {
        let Some(lease) = self.leases.remove(&number) else { return Ok(()) };
        let trial = &mut self.trials[number as usize];
        if self.storage.release(lease, Some(&trial.steps))? == Held::Yes {
            trial.state = State::Paused;
        }
        Ok(())
    }

    fn give_back(&mut self, number: u64) {
        self.trials[number as usize].steps.clear();
        self.waiting.insert(number);
    }

    /// Says that this process lives, and takes over from those that do not.
    pub(crate) fn beat(&mut self, spec: &StudySpec, retries: Retries) -> Result<(), StudyError> {
        self.storage.beat(GRACE, retries.crashed)?;
        self.sync(spec)
    }

    /// Says that this process evaluates nothing any more.
    pub(crate) fn leave(&mut self) -> Result<(), StudyError> {
        self.storage.leave()
    }

    pub(crate) fn storage(&mut self) -> &mut dyn Storage {
        self.storage.as_mut()
    }

    fn settle(&mut self) {
        let rest = self.trials[self.settled as usize..].iter();
        self.settled += rest.take_while(|trial| trial.state.is_finished()).count() as u64;
    }
}

/// Whether a step is above those that a trial has.
fn follows(trial: &Trial, step: &Step) -> bool {
    trial.steps.last().is_none_or(|last| last.step < step.step)
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It is written, and this becomes of the trial.
    New(Verdict),
    /// It is not above the last one, which is kept.
    Known,
    /// The trial has been given to someone else.
    Lost,
}

/// What a trial that asks gets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Suggested {
    Value(Value),
    /// Nothing: it has been given to someone else.
    Lost,
}

/// How a trial ended.
pub(crate) struct Outcome {
    pub(crate) state: State,
    pub(crate) measured: Measured,
    pub(crate) reason: Option<String>,
    /// Wall time of its evaluation, where it is known.
    pub(crate) elapsed: Option<Duration>,
}

impl Outcome {
    pub(crate) fn complete(mut measured: Measured, elapsed: Option<Duration>) -> Self {
        let sound = |tiebreak: &Tiebreak| {
            tiebreak.margin >= 0.0 && tiebreak.margin.is_finite() && tiebreak.loss.is_finite()
        };
        measured.tiebreak = measured.tiebreak.filter(sound);
        Self { state: State::Complete, measured, reason: None, elapsed }
    }

    pub(crate) fn without_scores(
        state: State,
        reason: Option<String>,
        elapsed: Option<Duration>,
    ) -> Self {
        Self { state, measured: Vec::new().into(), reason, elapsed }
    }
}
