//! The file of a study.
//!
//! SQLite with a write-ahead log. A commit is in the operating system's hands when it returns, so it
//! survives the death of the process (`synchronous = NORMAL`; after a power cut the last few may be
//! missing, the file stays sound). Trials and steps are rows, the setup and the values of a trial are
//! JSON; what is in the file is format [`FORMAT`], whatever becomes of the types in memory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use luthier_tune::{State, Step, Tiebreak, Trial};
use rusqlite::{Connection, OpenFlags, Row, params};

use crate::{StudyError, StudySpec};

/// The format that this release writes, kept in SQLite's `user_version`.
const FORMAT: i64 = 2;
/// Marks the file as a study, in SQLite's `application_id`.
const APPLICATION: i64 = 0x4c75_7468;

const TABLES: &str = "
    CREATE TABLE studies (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        spec TEXT NOT NULL
    ) STRICT;
    CREATE TABLE trials (
        number INTEGER PRIMARY KEY,
        state TEXT NOT NULL,
        trial_values TEXT NOT NULL,
        sampler TEXT NOT NULL,
        pruner TEXT,
        scores TEXT,
        violations TEXT,
        margin REAL,
        loss REAL,
        reason TEXT,
        seconds REAL
    ) STRICT;
    CREATE TABLE steps (
        number INTEGER NOT NULL,
        step INTEGER NOT NULL,
        scores TEXT NOT NULL,
        PRIMARY KEY (number, step)
    ) STRICT, WITHOUT ROWID;
";

/// State of a trial whose evaluation was cut short and has to start over.
const WAITING: &str = "waiting";
const RUNNING: &str = "running";

/// An open file.
pub(crate) struct Storage {
    path: PathBuf,
    connection: Connection,
}

impl Storage {
    /// Opens the file for writing, and makes it a study with `spec` if it is new. Returns the spec
    /// that is in it.
    pub(crate) fn open(path: &Path, spec: &StudySpec) -> Result<(Self, StudySpec), StudyError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut storage = Self::connect(path, flags)?;
        if storage.is_new()? {
            storage.create(spec)?;
        }
        storage.check_format()?;
        storage.guard(|connection| {
            connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
            connection.execute_batch("PRAGMA synchronous = NORMAL")
        })?;
        let found = storage.spec()?;
        Ok((storage, found))
    }

    /// Opens an existing study for reading, whoever writes to it.
    pub(crate) fn read(path: &Path) -> Result<Self, StudyError> {
        std::fs::metadata(path).map_err(|error| StudyError::io(path, error))?;
        let storage = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        storage.check_format()?;
        Ok(storage)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, StudyError> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .map_err(|error| StudyError::sqlite(path, error))?;
        let storage = Self { path: path.to_owned(), connection };
        // A reader and the writer meet only for moments, as when the log is folded in.
        storage.guard(|connection| connection.busy_timeout(Duration::from_secs(10)))?;
        Ok(storage)
    }

    /// Runs `work` and says which file its error comes from.
    fn guard<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StudyError> {
        work(&self.connection).map_err(|error| StudyError::sqlite(&self.path, error))
    }

    fn pragma(&self, name: &str) -> Result<i64, StudyError> {
        self.guard(|connection| connection.pragma_query_value(None, name, |row| row.get(0)))
    }

    fn is_new(&self) -> Result<bool, StudyError> {
        let tables: i64 = self.guard(|connection| {
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        })?;
        Ok(tables == 0 && self.pragma("user_version")? == 0)
    }

    fn check_format(&self) -> Result<(), StudyError> {
        if self.pragma("application_id")? != APPLICATION {
            return Err(StudyError::corrupt(&self.path, "an SQLite file of some other program"));
        }
        match self.pragma("user_version")? {
            FORMAT => Ok(()),
            format if format > FORMAT => {
                Err(StudyError::Newer { path: self.path.clone(), format, known: FORMAT })
            }
            format => Err(StudyError::corrupt(&self.path, format!("unknown format {format}"))),
        }
    }

    /// Creates the tables and the study, all or nothing.
    fn create(&mut self, spec: &StudySpec) -> Result<(), StudyError> {
        let json = self.to_json(spec)?;
        let create = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            transaction.execute_batch(TABLES)?;
            transaction.execute("INSERT INTO studies (id, spec) VALUES (1, ?1)", [json])?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
            transaction.commit()
        };
        create(&mut self.connection).map_err(|error| StudyError::sqlite(&self.path, error))
    }

    fn to_json(&self, value: &impl serde::Serialize) -> Result<String, StudyError> {
        serde_json::to_string(value).map_err(|error| StudyError::io(&self.path, error.into()))
    }

    /// A list of numbers as JSON, where NaN is null; nothing for an empty one.
    fn numbers(&self, numbers: &[f64]) -> Result<Option<String>, StudyError> {
        (!numbers.is_empty()).then(|| self.to_json(&numbers)).transpose()
    }

    /// The setup of the study.
    pub(crate) fn spec(&self) -> Result<StudySpec, StudyError> {
        let json: String = self.guard(|connection| {
            connection.query_row("SELECT spec FROM studies", [], |row| row.get(0))
        })?;
        let corrupt = |detail| StudyError::corrupt(&self.path, format!("its setup: {detail}"));
        let spec: StudySpec =
            serde_json::from_str(&json).map_err(|error| corrupt(error.to_string()))?;
        match spec.fault() {
            Some((parameter, fault)) => Err(corrupt(format!("parameter `{parameter}`: {fault}"))),
            None => Ok(spec),
        }
    }

    /// Replaces the setup of the study.
    pub(crate) fn set_spec(&self, spec: &StudySpec) -> Result<(), StudyError> {
        let json = self.to_json(spec)?;
        self.guard(|connection| connection.execute("UPDATE studies SET spec = ?1", [json]))?;
        Ok(())
    }

    /// All trials in the order of their numbers, checked: numbered from 0 without gaps, and with
    /// values that fit the space.
    pub(crate) fn trials(&self, spec: &StudySpec) -> Result<Vec<Trial>, StudyError> {
        // One transaction, so that steps and trials are of the same moment.
        let mut trials = self.guard(|connection| {
            let transaction = connection.unchecked_transaction()?;
            let mut trials = read_trials(&transaction)?;
            read_steps(&transaction, &mut trials)?;
            Ok(trials)
        })?;
        for (place, trial) in trials.iter_mut().enumerate() {
            let corrupt = |detail: String| StudyError::corrupt(&self.path, detail);
            if trial.number != place as u64 {
                return Err(corrupt(format!("trial {place} is missing")));
            }
            if let Err(error) = spec.space.check(&trial.values) {
                return Err(corrupt(format!("trial {place}: {error}")));
            }
            if (trial.state == State::Complete) != !trial.scores.is_empty() {
                return Err(corrupt(format!("trial {place}: its score and state disagree")));
            }
        }
        Ok(trials)
    }

    /// Adds a trial that is about to run.
    pub(crate) fn add(&self, trial: &Trial, sampler: &str) -> Result<(), StudyError> {
        let values = self.to_json(&trial.values)?;
        self.guard(|connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO trials (number, state, trial_values, sampler) VALUES (?1, ?2, ?3, ?4)",
            )?;
            insert.execute(params![trial.number, RUNNING, values, sampler])
        })?;
        Ok(())
    }

    /// Marks a trial as running again.
    pub(crate) fn start_over(&self, number: u64) -> Result<(), StudyError> {
        self.set_state(number, RUNNING)
    }

    /// Marks a trial as cut short.
    pub(crate) fn put_back(&self, number: u64) -> Result<(), StudyError> {
        self.set_state(number, WAITING)
    }

    fn set_state(&self, number: u64, state: &str) -> Result<(), StudyError> {
        self.guard(|connection| {
            let mut update =
                connection.prepare_cached("UPDATE trials SET state = ?2 WHERE number = ?1")?;
            update.execute(params![number, state])
        })?;
        Ok(())
    }

    /// Writes how a trial ended, with its steps.
    pub(crate) fn finish(&self, trial: &Trial, pruner: &str) -> Result<(), StudyError> {
        let scores = self.numbers(&trial.scores)?;
        let violations = self.numbers(&trial.violations)?;
        let steps: Vec<(u64, Option<String>)> = trial
            .steps
            .iter()
            .map(|step| Ok((step.step, self.numbers(&step.scores)?)))
            .collect::<Result<_, StudyError>>()?;
        self.guard(|connection| {
            let transaction = connection.unchecked_transaction()?;
            transaction
                .prepare_cached(
                    "UPDATE trials SET state = ?2, scores = ?3, reason = ?4, seconds = ?5,
                     pruner = ?6, margin = ?7, loss = ?8, violations = ?9 WHERE number = ?1",
                )?
                .execute(params![
                    trial.number,
                    state_name(trial.state),
                    scores,
                    trial.reason,
                    trial.seconds,
                    pruner,
                    trial.tiebreak.map(|tiebreak| tiebreak.margin),
                    trial.tiebreak.map(|tiebreak| tiebreak.loss),
                    violations,
                ])?;
            let mut insert = transaction
                .prepare_cached("INSERT INTO steps (number, step, scores) VALUES (?1, ?2, ?3)")?;
            for (step, scores) in &steps {
                insert.execute(params![trial.number, step, scores])?;
            }
            drop(insert);
            transaction.commit()
        })
    }
}

fn read_trials(connection: &Connection) -> rusqlite::Result<Vec<Trial>> {
    let mut select = connection.prepare(
        "SELECT number, state, trial_values, scores, reason, seconds, margin, loss, violations
         FROM trials ORDER BY number",
    )?;
    select.query_map([], read_trial)?.collect()
}

fn read_trial(row: &Row<'_>) -> rusqlite::Result<Trial> {
    let state: String = row.get(1)?;
    let state = state_of(&state).ok_or_else(|| conversion(1, format!("state `{state}`").into()))?;
    let values: String = row.get(2)?;
    let tiebreak: (Option<f64>, Option<f64>) = (row.get(6)?, row.get(7)?);
    Ok(Trial {
        number: row.get(0)?,
        state,
        values: serde_json::from_str(&values).map_err(|error| conversion(2, error.into()))?,
        scores: numbers(row, 3)?,
        violations: numbers(row, 8)?,
        tiebreak: tiebreak.0.zip(tiebreak.1).map(|(margin, loss)| Tiebreak { margin, loss }),
        steps: Vec::new(),
        reason: row.get(4)?,
        seconds: row.get(5)?,
    })
}

/// The list of numbers in a column; see [`Storage::numbers`].
fn numbers(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<f64>> {
    let Some(text) = row.get::<_, Option<String>>(column)? else { return Ok(Vec::new()) };
    let numbers: Vec<Option<f64>> =
        serde_json::from_str(&text).map_err(|error| conversion(column, error.into()))?;
    Ok(numbers.into_iter().map(|number| number.unwrap_or(f64::NAN)).collect())
}

fn conversion(column: usize, error: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
}

fn read_steps(connection: &Connection, trials: &mut [Trial]) -> rusqlite::Result<()> {
    let mut select =
        connection.prepare("SELECT number, step, scores FROM steps ORDER BY number, step")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let number: usize = row.get(0)?;
        if let Some(trial) = trials.get_mut(number) {
            trial.steps.push(Step { step: row.get(1)?, scores: numbers(row, 2)? });
        }
    }
    Ok(())
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Running => RUNNING,
        State::Complete => "complete",
        State::Pruned => "pruned",
        State::Paused => "paused",
        State::Failed => "failed",
    }
}

fn state_of(name: &str) -> Option<State> {
    match name {
        RUNNING | WAITING => Some(State::Running),
        "complete" => Some(State::Complete),
        "pruned" => Some(State::Pruned),
        "paused" => Some(State::Paused),
        "failed" => Some(State::Failed),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
