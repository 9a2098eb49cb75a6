//! Where a study is kept.

mod postgres;
mod sqlite;

use std::collections::BTreeMap;
use std::time::Duration;

use luthier_space::{Space, Values};
use luthier_tune::{State, Step, Trial};

use crate::{Locator, StudyError, StudySpec};

/// A study as several processes see it.
///
/// Each change is one short transaction that is done when the call returns. A trial that runs is
/// held by a [`Lease`]; what comes from an earlier lease of the same trial is refused, so that an
/// evaluation whose worker was taken for dead cannot end a trial twice.
pub(crate) trait Storage: Send {
    /// The setup of the study.
    fn spec(&mut self) -> Result<StudySpec, StudyError>;

    /// Replaces the setup of the study, and with it the values of these trials.
    fn set_spec(&mut self, spec: &StudySpec, trials: &[Trial]) -> Result<(), StudyError>;

    /// All that has changed since the last call, by any process; the first time everything.
    fn changes(&mut self) -> Result<Changes, StudyError>;

    /// Waits until no other process proposes, and keeps others from it until
    /// [`Storage::end_proposing`] or the end of the process.
    fn begin_proposing(&mut self) -> Result<(), StudyError>;

    /// See [`Storage::begin_proposing`]. If the storage was lost for a moment others may have
    /// proposed in between, and what was going on has failed.
    fn end_proposing(&mut self) -> Result<Held, StudyError>;

    /// Adds a trial that comes from a sampler of this name, or elsewhere, with what is proposed for it
    /// where it is going to ask. It runs under the lease that is returned, or waits for a worker.
    fn add(
        &mut self,
        trial: &Trial,
        proposed: Option<&Values>,
        origin: &str,
        run: bool,
    ) -> Result<Lease, StudyError>;

    /// Adds trials that are over, all or none.
    fn import(&mut self, records: &[Record]) -> Result<(), StudyError>;

    /// Takes a trial that waits or is paused; `None` if it does neither any more. The steps of a
    /// paused one stay, and what it has asked for.
    fn take(&mut self, number: u64) -> Result<Option<Lease>, StudyError>;

    /// Takes a trial under a lease that was given before, if it waits and nobody has taken it since,
    /// or if it runs here. Its steps stay.
    fn resume(&mut self, lease: Lease) -> Result<Held, StudyError>;

    /// Writes what a running trial has asked for so far.
    fn set_values(&mut self, lease: Lease, values: &Values) -> Result<Held, StudyError>;

    /// Writes a step of a running trial.
    fn step(&mut self, lease: Lease, step: &Step) -> Result<Held, StudyError>;

    /// Writes how a trial ended, with its steps.
    fn finish(&mut self, lease: Lease, trial: &Trial, pruner: &str) -> Result<Held, StudyError>;

    /// Gives a trial back: to wait and start over, or paused with the steps it has.
    fn release(&mut self, lease: Lease, paused: Option<&[Step]>) -> Result<Held, StudyError>;

    /// Puts a trial that failed back to wait, if that has happened at most `retries` times.
    fn retry(&mut self, lease: Lease, retries: u32) -> Result<bool, StudyError>;

    /// Says that this process lives, and takes the trials of workers that do not: each waits again,
    /// or has failed if it has outlived more than `retries` workers.
    fn beat(&mut self, grace: Duration, retries: u32) -> Result<(), StudyError>;

    /// Says that this process runs no more trials, and gives back those that it holds.
    fn leave(&mut self) -> Result<(), StudyError>;

    /// Notes something about a trial, or about the study; `null` takes a note away.
    fn set_attribute(
        &mut self,
        number: Option<u64>,
        key: &str,
        value: &serde_json::Value,
    ) -> Result<(), StudyError>;

    /// All that is known, for those who look.
    fn records(&mut self) -> Result<Records, StudyError>;

    /// What is said of a storage that does not hold what it should.
    fn corrupt(&self, detail: String) -> StudyError;

    /// Ends this process's work as a kill does: nothing is said, and its locks are free.
    #[cfg(test)]
    fn abandon(&mut self);
}

/// Opens what a locator names, and makes it a study with `spec` if it is new.
pub(crate) fn open(locator: &Locator, spec: &StudySpec) -> Result<Box<dyn Storage>, StudyError> {
    Ok(match locator {
        Locator::File(path) => Box::new(sqlite::Sqlite::open(path, spec)?),
        Locator::Postgres(url) => Box::new(postgres::Postgres::open(url, spec)?),
    })
}

/// Opens the existing study that a locator names, whoever else uses it; in a database with several
/// studies the one called `name`, which only then is needed.
pub(crate) fn existing(
    locator: &Locator,
    name: Option<&str>,
) -> Result<Box<dyn Storage>, StudyError> {
    Ok(match locator {
        Locator::File(path) => Box::new(sqlite::Sqlite::existing(path)?),
        Locator::Postgres(url) => Box::new(postgres::Postgres::existing(url, name)?),
    })
}

/// The right to end a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The trial.
    pub number: u64,
    /// How many times the trial has been taken, this time included.
    pub attempt: u32,
}

/// Whether a right was still held when it was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Held {
    Yes,
    /// It has passed to someone else, and nothing was written.
    No,
}

impl Held {
    fn if_changed(rows: u64) -> Self {
        if rows > 0 { Self::Yes } else { Self::No }
    }
}

/// What other processes and this one have done.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Trials that are new or have changed, by number, without their steps.
    pub(crate) trials: Vec<Entry>,
    /// New steps by trial, ascending.
    pub(crate) steps: Vec<(u64, Step)>,
}

impl Changes {
    /// What rows of trials and of steps say.
    fn of(
        trials: impl Iterator<Item = Row>,
        steps: impl Iterator<Item = StepRow>,
    ) -> Result<Self, String> {
        let trials = trials.map(Row::entry).collect::<Result<_, String>>()?;
        Ok(Self { trials, steps: steps.map(read_step).collect::<Result<_, String>>()? })
    }
}

/// A trial in the storage.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) trial: Trial,
    /// How many times it has been taken.
    pub(crate) attempt: u32,
    /// When it was first taken, in milliseconds since 1970.
    pub(crate) started: Option<u64>,
    /// Whether nobody holds it although it is not over.
    pub(crate) waiting: bool,
    /// What was proposed for it, if it asks.
    pub(crate) proposed: Option<Values>,
}

/// All of a study.
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    /// The setup.
    pub spec: StudySpec,
    /// All trials, by number.
    pub trials: Vec<Record>,
    /// What was noted about the study.
    pub attributes: Attributes,
}

/// A trial with its circumstances.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The trial.
    pub trial: Trial,
    /// How many times its evaluation was begun.
    pub attempts: u32,
    /// The sampler that proposed it, `given` or `imported`.
    pub origin: String,
    /// When its evaluation began, in milliseconds since 1970 (UTC).
    pub started: Option<u64>,
    /// When it was over, likewise.
    pub ended: Option<u64>,
    /// Whether nobody evaluates it although it is not over.
    pub waiting: bool,
    /// What was noted about it.
    pub attributes: Attributes,
}

impl Record {
    /// A trial that was evaluated elsewhere.
    pub fn imported(trial: Trial) -> Self {
        let (started, ended) = (None, None);
        let (origin, attributes) = ("imported".to_owned(), Attributes::new());
        Self { trial, attempts: 1, origin, started, ended, waiting: false, attributes }
    }
}

/// Notes by name.
pub type Attributes = BTreeMap<String, serde_json::Value>;

impl Records {
    /// What rows of trials, of steps and of attributes say: trials numbered from 0 without gaps, with
    /// values that fit the space.
    fn of(
        spec: StudySpec,
        trials: impl Iterator<Item = RecordRow>,
        steps: impl Iterator<Item = StepRow>,
        attributes: impl Iterator<Item = (i64, String, String)>,
    ) -> Result<Self, String> {
        let mut records = Self { spec, trials: Vec::new(), attributes: Attributes::new() };
        for (place, (row, origin, ended)) in (0..).zip(trials) {
            let Entry { trial, attempt, started, waiting, .. } = row.entry()?;
            check_trial(&trial, place, &records.spec.space)?;
            records.trials.push(Record {
                attempts: attempt,
                origin,
                started,
                ended,
                waiting,
                ..Record::imported(trial)
            });
        }
        for row in steps {
            let (number, step) = read_step(row)?;
            if let Some(record) = records.at(number) {
                record.trial.steps.push(step);
            }
        }
        for (number, key, value) in attributes {
            let value = serde_json::from_str(&value).unwrap_or(serde_json::Value::String(value));
            let attributes = match u64::try_from(number) {
                Err(_) => Some(&mut records.attributes),
                Ok(number) => records.at(number).map(|record| &mut record.attributes),
            };
            attributes.and_then(|attributes| attributes.insert(key, value));
        }
        Ok(records)
    }

    fn at(&mut self, number: u64) -> Option<&mut Record> {
        self.trials.get_mut(usize::try_from(number).unwrap_or(usize::MAX))
    }

    /// The trials alone.
    pub fn into_trials(self) -> Vec<Trial> {
        self.trials.into_iter().map(|record| record.trial).collect()
    }
}

/// States as they are written. One that waits has been proposed and nobody evaluates it.
const WAITING: &str = "waiting";
const RUNNING: &str = "running";
const PAUSED: &str = "paused";

fn state_name(state: State) -> &'static str {
    match state {
        State::Running => RUNNING,
        State::Paused => PAUSED,
        State::Complete => "complete",
        State::Pruned => "pruned",
        State::Failed => "failed",
    }
}

fn state_of(name: &str) -> Option<State> {
    match name {
        RUNNING | WAITING => Some(State::Running),
        PAUSED => Some(State::Paused),
        "complete" => Some(State::Complete),
        "pruned" => Some(State::Pruned),
        "failed" => Some(State::Failed),
        _ => None,
    }
}

/// A list of numbers as JSON, where those that JSON does not have are words; nothing for an empty
/// list.
fn to_numbers(numbers: &[f64]) -> Option<String> {
    if numbers.is_empty() {
        return None;
    }
    let texts: Vec<String> = numbers
        .iter()
        .map(|number| match number {
            number if number.is_finite() => serde_json::Value::from(*number).to_string(),
            number => format!("\"{number}\""),
        })
        .collect();
    Some(format!("[{}]", texts.join(",")))
}

/// The list behind [`to_numbers`].
fn from_numbers(text: Option<&str>) -> Result<Vec<f64>, String> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let values: Vec<serde_json::Value> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    let number = |value: &serde_json::Value| match value.as_str() {
        Some(word) => word.parse().ok(),
        None => value.as_f64(),
    };
    values.iter().map(|value| number(value).ok_or_else(|| format!("`{value}`"))).collect()
}

/// The number under which the study's own attributes are kept.
const STUDY: i64 = -1;

/// A number as databases have it.
fn to_integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The columns of a [`Row`].
const COLUMNS: &str = "number, state, trial_values, scores, violations, margin, loss, reason, \
                       seconds, attempt, started, proposed";

/// A trial with where it comes from and when it was over.
type RecordRow = (Row, String, Option<u64>);

/// A trial's number, the step and the scores.
type StepRow = (u64, u64, String);

fn read_step((number, step, scores): StepRow) -> Result<(u64, Step), String> {
    Ok((number, Step { step, scores: from_numbers(Some(&scores))? }))
}

/// The row that a trial begins with.
struct NewRow<'a> {
    number: u64,
    /// As JSON.
    values: String,
    /// Likewise.
    proposed: Option<String>,
    origin: &'a str,
    state: &'static str,
    attempt: u32,
    started: Option<u64>,
}

/// A trial as its columns tell it, without steps.
struct Row {
    number: u64,
    state: String,
    values: String,
    scores: Option<String>,
    violations: Option<String>,
    tiebreak: (Option<f64>, Option<f64>),
    reason: Option<String>,
    seconds: Option<f64>,
    attempt: u32,
    started: Option<u64>,
    proposed: Option<String>,
}

impl Row {
    /// Why it is no trial, if it is none.
    fn entry(self) -> Result<Entry, String> {
        let Self { number, .. } = self;
        let fail = |detail: String| format!("trial {number}: {detail}");
        let state =
            state_of(&self.state).ok_or_else(|| fail(format!("its state is `{}`", self.state)))?;
        let read = |text: &str| -> Result<Values, String> {
            serde_json::from_str(text).map_err(|error| fail(error.to_string()))
        };
        let values = read(&self.values)?;
        let proposed = self.proposed.as_deref().map(read).transpose()?;
        let scores = from_numbers(self.scores.as_deref()).map_err(fail)?;
        if (state == State::Complete) == scores.is_empty() {
            return Err(fail("its scores and state disagree".to_owned()));
        }
        let trial = Trial {
            number,
            values,
            state,
            scores,
            violations: from_numbers(self.violations.as_deref()).map_err(fail)?,
            tiebreak: self
                .tiebreak
                .0
                .zip(self.tiebreak.1)
                .map(|(margin, loss)| luthier_tune::Tiebreak { margin, loss }),
            steps: Vec::new(),
            reason: self.reason,
            seconds: self.seconds,
        };
        let (attempt, started) = (self.attempt, self.started);
        Ok(Entry { trial, attempt, started, waiting: self.state == WAITING, proposed })
    }
}

/// What is wrong with a trial that should have this number.
pub(crate) fn check_trial(trial: &Trial, number: u64, space: &Space) -> Result<(), String> {
    if trial.number != number {
        return Err(format!("trial {number} is missing"));
    }
    space.check(&trial.values).map_err(|error| format!("trial {number}: {error}"))
}

/// Values without any, as JSON.
const NO_VALUES: &str = "{}";

/// What a trial says that has outlived too many workers.
fn outlived(deaths: u32) -> String {
    let times = if deaths == 1 { "once".to_owned() } else { format!("{deaths} times") };
    format!("the process that evaluated it ended {times} before it had")
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
