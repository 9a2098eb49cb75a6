//! Studies in SQLite files.
//!
//! A write-ahead log, so that readers and the writer do not wait for each other, and transactions
//! that say from their beginning that they write, so that none has to be given up half way. A commit
//! is in the operating system's hands when it returns and survives the death of the process
//! (`synchronous = NORMAL`; after a power cut the last few may be missing, the file stays sound).
//! What is in the file is format [`FORMAT`], whatever becomes of the types in memory.
//!
//! Beside the file are locks that the system takes away from a process that ends, however it ends:
//! `<file>.lock`, which is held while a trial is proposed, and one `<file>.worker-<id>` for each
//! process that evaluates trials.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use luthier_space::Values;
use luthier_tune::{Step, Trial};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};

use super::{
    COLUMNS, Changes, Held, Lease, NO_VALUES, NewRow, PAUSED, RUNNING, Record, RecordRow, Records,
    Row, STUDY, StepRow, Storage, WAITING, now, outlived, state_name, to_integer, to_numbers,
};
use crate::{Locator, StudyError, StudySpec};

/// The format that this release writes, kept in SQLite's `user_version`.
const FORMAT: i64 = 3;
/// The format before trials could ask, whose files get a column when they are opened.
const WITHOUT_PROPOSED: i64 = 2;
/// Marks the file as a study, in SQLite's `application_id`.
const APPLICATION: i64 = 0x4c75_7468;
/// How long a transaction waits for others. Hundreds of processes may be before it.
const PATIENCE: Duration = Duration::from_secs(120);
/// The revision before the first change.
const BEFORE_ALL: i64 = 0;
/// What the name of a worker's file ends in until it is locked.
const NEW: &str = "new";

const TABLES: &str = "
    CREATE TABLE studies (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        spec TEXT NOT NULL,
        revision INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE trials (
        number INTEGER PRIMARY KEY,
        state TEXT NOT NULL,
        trial_values TEXT NOT NULL,
        proposed TEXT,
        sampler TEXT NOT NULL,
        pruner TEXT,
        scores TEXT,
        violations TEXT,
        margin REAL,
        loss REAL,
        reason TEXT,
        seconds REAL,
        attempt INTEGER NOT NULL,
        deaths INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        worker INTEGER,
        started INTEGER,
        ended INTEGER,
        revision INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX trials_by_revision ON trials (revision);
    CREATE TABLE steps (
        number INTEGER NOT NULL,
        step INTEGER NOT NULL,
        scores TEXT NOT NULL,
        revision INTEGER NOT NULL,
        PRIMARY KEY (number, step)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX steps_by_revision ON steps (revision);
    CREATE TABLE workers (
        id INTEGER PRIMARY KEY,
        pid INTEGER NOT NULL,
        seen INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE attributes (
        number INTEGER NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (number, key)
    ) STRICT, WITHOUT ROWID;
";

/// An open file.
pub(super) struct Sqlite {
    path: PathBuf,
    connection: Connection,
    /// The columns of a row, as the file has them.
    columns: String,
    /// The revision up to which changes have been told.
    told: i64,
    /// `<file>.lock`.
    proposing: Option<File>,
    worker: Option<Worker>,
}

/// This process as one that evaluates trials.
struct Worker {
    id: i64,
    path: PathBuf,
    lock: File,
}

impl Sqlite {
    /// Opens the file for writing, and makes it a study with `spec` if it is new.
    pub(super) fn open(path: &Path, spec: &StudySpec) -> Result<Self, StudyError> {
        // SQLite does not say that it is the folder that is missing.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::metadata(folder).map_err(|error| StudyError::io(path, error))?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut storage = Self::connect(path, flags)?;
        if storage.is_new()? {
            // Another process may be about to create it too.
            storage.begin_proposing()?;
            if storage.is_new()? {
                storage.create(spec)?;
            }
            let _ = storage.end_proposing()?;
        }
        storage.ready()?;
        Ok(storage)
    }

    /// Opens an existing study for reading and notes.
    pub(super) fn existing(path: &Path) -> Result<Self, StudyError> {
        std::fs::metadata(path).map_err(|error| StudyError::io(path, error))?;
        let flags = match OpenOptions::new().write(true).open(path) {
            Ok(_) => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Err(_) => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        let mut storage = Self::connect(path, flags)?;
        if flags == OpenFlags::SQLITE_OPEN_READ_WRITE {
            storage.renew()?;
        }
        storage.check_format()?;
        if storage.pragma("user_version")? == WITHOUT_PROPOSED {
            storage.columns = COLUMNS.replace("proposed", "NULL");
        }
        Ok(storage)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, StudyError> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .map_err(|error| StudyError::sqlite(path, error))?;
        let (path, columns) = (path.to_owned(), COLUMNS.to_owned());
        let (told, proposing, worker) = (BEFORE_ALL, None, None);
        let storage = Self { path, connection, columns, told, proposing, worker };
        storage.guard(|connection| {
            connection.busy_timeout(PATIENCE)?;
            connection.execute_batch("PRAGMA synchronous = NORMAL")
        })?;
        Ok(storage)
    }

    fn ready(&mut self) -> Result<(), StudyError> {
        self.renew()?;
        self.check_format()?;
        self.guard(|connection| connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())))
    }

    /// Runs `work` and says which file its error comes from.
    fn guard<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StudyError> {
        work(&self.connection).map_err(|error| StudyError::sqlite(&self.path, error))
    }

    /// Changes the file in one transaction; `work` is given the revision that marks what it changes.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, i64) -> rusqlite::Result<T>,
    ) -> Result<T, StudyError> {
        let write = |connection: &mut Connection| {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let revision = transaction
                .prepare_cached("UPDATE studies SET revision = revision + 1 RETURNING revision")?
                .query_row([], |row| row.get(0))?;
            let done = work(&transaction, revision)?;
            transaction.commit()?;
            Ok(done)
        };
        write(&mut self.connection).map_err(|error| StudyError::sqlite(&self.path, error))
    }

    /// Leaves room for so many more pages.
    #[cfg(test)]
    pub(super) fn limit_growth(&self, pages: i64) -> Result<(), StudyError> {
        let most = self.pragma("page_count")? + pages;
        let pragma = format!("PRAGMA max_page_count = {most}");
        self.guard(|connection| connection.query_row(&pragma, [], |_| Ok(())))
    }

    pub(super) fn pragma(&self, name: &str) -> Result<i64, StudyError> {
        self.guard(|connection| connection.pragma_query_value(None, name, |row| row.get(0)))
    }

    fn is_new(&self) -> Result<bool, StudyError> {
        let tables: i64 = self.guard(|connection| {
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        })?;
        Ok(tables == 0 && self.pragma("user_version")? == 0)
    }

    /// Brings a file of the format before this one to this one.
    fn renew(&mut self) -> Result<(), StudyError> {
        let format = |connection: &Connection| -> rusqlite::Result<i64> {
            connection.pragma_query_value(None, "user_version", |row| row.get(0))
        };
        let is_old = self.guard(format)? == WITHOUT_PROPOSED;
        if !is_old || self.pragma("application_id")? != APPLICATION {
            return Ok(());
        }
        self.write(|transaction, _| {
            // Another process may have done it meanwhile.
            if format(transaction)? == WITHOUT_PROPOSED {
                transaction.execute_batch("ALTER TABLE trials ADD COLUMN proposed TEXT")?;
                transaction.pragma_update(None, "user_version", FORMAT)?;
            }
            Ok(())
        })
    }

    fn check_format(&self) -> Result<(), StudyError> {
        if self.pragma("application_id")? != APPLICATION {
            return Err(StudyError::Foreign { path: self.path.clone() });
        }
        match self.pragma("user_version")? {
            // Only where it cannot be written.
            FORMAT | WITHOUT_PROPOSED => Ok(()),
            format if format > FORMAT => {
                Err(StudyError::Newer { storage: self.locator(), format, known: FORMAT })
            }
            format => Err(self.corrupt(format!("unknown format {format}"))),
        }
    }

    fn locator(&self) -> Locator {
        Locator::File(self.path.clone())
    }

    /// Creates the tables and the study, all or nothing.
    fn create(&mut self, spec: &StudySpec) -> Result<(), StudyError> {
        let json = self.to_json(spec)?;
        let create = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            transaction.execute_batch(TABLES)?;
            let insert = "INSERT INTO studies (id, spec, revision) VALUES (1, ?1, 0)";
            transaction.execute(insert, [json])?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
            transaction.commit()
        };
        create(&mut self.connection).map_err(|error| StudyError::sqlite(&self.path, error))
    }

    fn to_json(&self, value: &impl serde::Serialize) -> Result<String, StudyError> {
        serde_json::to_string(value).map_err(|error| StudyError::io(&self.path, error.into()))
    }

    /// A file beside the study.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(suffix);
        PathBuf::from(name)
    }

    /// The worker that this process is; from the first call on it is one.
    fn worker(&mut self) -> Result<i64, StudyError> {
        if let Some(worker) = &self.worker {
            return Ok(worker.id);
        }
        let pid = std::process::id();
        // Numbers of a process are its own; an earlier process may have had the same.
        let first = i64::from(pid) << 20;
        let id = self.write(|transaction, _| {
            let insert = "INSERT OR IGNORE INTO workers (id, pid, seen) VALUES (?1, ?2, ?3)";
            let mut insert = transaction.prepare_cached(insert)?;
            let mut id = first;
            while insert.execute(params![id, pid, now()])? == 0 {
                id += 1;
            }
            Ok(id)
        })?;
        // Until the file is there, the row is as good as a beat. The file gets its name when it is
        // locked: one that is found free is that of a dead process.
        let path = self.worker_file(id);
        let io = |error| StudyError::io(&path, error);
        let new = path.with_added_extension(NEW);
        let lock = File::create(&new).map_err(io)?;
        lock.lock().map_err(io)?;
        std::fs::rename(&new, &path).map_err(io)?;
        self.worker = Some(Worker { id, path, lock });
        Ok(id)
    }

    /// The file that a worker locks.
    fn worker_file(&self, worker: i64) -> PathBuf {
        self.beside(&format!(".worker-{worker}"))
    }

    /// Whether a worker's process is known to be gone.
    fn is_gone(&self, worker: i64) -> bool {
        let file = File::open(self.worker_file(worker));
        file.is_ok_and(|file| !matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Takes the trials of a worker that is gone.
    fn bury(&mut self, worker: i64, retries: u32) -> Result<(), StudyError> {
        self.write(|transaction, revision| {
            let mut select = transaction.prepare_cached(
                "SELECT number, deaths FROM trials WHERE worker = ?1 AND state = ?2",
            )?;
            let held: Vec<(u64, u32)> = select
                .query_map(params![worker, RUNNING], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            for (number, deaths) in held {
                let deaths = deaths + 1;
                let (state, reason, ended) = match deaths > retries {
                    true => ("failed", Some(outlived(deaths)), Some(now())),
                    false => (WAITING, None, None),
                };
                transaction
                    .prepare_cached(
                        "UPDATE trials SET state = ?2, reason = ?3, ended = ?4, deaths = ?5,
                         worker = NULL, revision = ?6 WHERE number = ?1",
                    )?
                    .execute(params![number, state, reason, ended, deaths, revision])?;
            }
            transaction.execute("DELETE FROM workers WHERE id = ?1", [worker])
        })?;
        // Last: were this process killed in between, nothing would tell the next one that a worker
        // without a file is gone. Another process may have done so.
        let file = self.worker_file(worker);
        let _ = std::fs::remove_file(file.with_added_extension(NEW));
        let _ = std::fs::remove_file(file);
        Ok(())
    }
}

impl NewRow<'_> {
    fn insert(
        &self,
        transaction: &Transaction<'_>,
        worker: Option<i64>,
        revision: i64,
    ) -> rusqlite::Result<()> {
        let Self { number, ref values, ref proposed, origin, state, attempt, started } = *self;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO trials
             (number, state, trial_values, proposed, sampler, attempt, worker, started, revision)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        insert.execute(params![
            number, state, values, proposed, origin, attempt, worker, started, revision
        ])?;
        Ok(())
    }
}

/// Writes steps that may be there already.
fn write_steps(
    transaction: &Transaction<'_>,
    number: u64,
    steps: &[Step],
    revision: i64,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT OR IGNORE INTO steps (number, step, scores, revision) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for step in steps {
        let scores = to_numbers(&step.scores).unwrap_or_else(|| "[]".to_owned());
        insert.execute(params![number, step.step, scores, revision])?;
    }
    Ok(())
}

fn write_attribute(
    transaction: &Transaction<'_>,
    number: i64,
    key: &str,
    value: &serde_json::Value,
) -> rusqlite::Result<()> {
    if value.is_null() {
        let delete = "DELETE FROM attributes WHERE number = ?1 AND key = ?2";
        transaction.prepare_cached(delete)?.execute(params![number, key])?;
        return Ok(());
    }
    let insert = "INSERT OR REPLACE INTO attributes (number, key, value) VALUES (?1, ?2, ?3)";
    transaction.prepare_cached(insert)?.execute(params![number, key, value.to_string()])?;
    Ok(())
}

/// The outcome of a trial that a lease holds.
fn write_outcome(
    transaction: &Transaction<'_>,
    (lease, trial, pruner, ended): (Lease, &Trial, Option<&str>, Option<u64>),
    revision: i64,
) -> rusqlite::Result<usize> {
    let mut update = transaction.prepare_cached(
        "UPDATE trials SET state = ?3, scores = ?4, violations = ?5, margin = ?6, loss = ?7,
         reason = ?8, seconds = ?9, pruner = ?10, ended = ?11, worker = NULL, revision = ?12
         WHERE number = ?1 AND attempt = ?2 AND state IN ('running', 'waiting')",
    )?;
    update.execute(params![
        lease.number,
        lease.attempt,
        state_name(trial.state),
        to_numbers(&trial.scores),
        to_numbers(&trial.violations),
        trial.tiebreak.map(|tiebreak| tiebreak.margin),
        trial.tiebreak.map(|tiebreak| tiebreak.loss),
        trial.reason,
        trial.seconds,
        pruner,
        ended,
        revision,
    ])
}

fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        number: row.get(0)?,
        state: row.get(1)?,
        values: row.get(2)?,
        scores: row.get(3)?,
        violations: row.get(4)?,
        tiebreak: (row.get(5)?, row.get(6)?),
        reason: row.get(7)?,
        seconds: row.get(8)?,
        attempt: row.get(9)?,
        started: row.get(10)?,
        proposed: row.get(11)?,
    })
}

/// Steps that are newer than a revision, ascending.
fn read_steps(transaction: &Transaction<'_>, told: i64) -> rusqlite::Result<Vec<StepRow>> {
    let mut select = transaction.prepare_cached(
        "SELECT number, step, scores FROM steps WHERE revision > ?1 ORDER BY number, step",
    )?;
    select.query_map([told], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

impl Storage for Sqlite {
    fn spec(&mut self) -> Result<StudySpec, StudyError> {
        let json: String = self.guard(|connection| {
            connection.query_row("SELECT spec FROM studies", [], |row| row.get(0))
        })?;
        StudySpec::from_json(&json).map_err(|detail| self.corrupt(format!("its setup: {detail}")))
    }

    fn set_spec(&mut self, spec: &StudySpec, trials: &[Trial]) -> Result<(), StudyError> {
        let json = self.to_json(spec)?;
        let values = trials.iter().map(|trial| Ok((trial.number, self.to_json(&trial.values)?)));
        let values: Vec<(u64, String)> = values.collect::<Result<_, StudyError>>()?;
        self.write(|transaction, revision| {
            transaction.execute("UPDATE studies SET spec = ?1", [json])?;
            let mut update = transaction.prepare_cached(
                "UPDATE trials SET trial_values = ?2, revision = ?3 WHERE number = ?1",
            )?;
            for (number, values) in values {
                update.execute(params![number, values, revision])?;
            }
            Ok(())
        })
    }

    fn changes(&mut self) -> Result<Changes, StudyError> {
        let told = self.told;
        let columns = &self.columns;
        let read = |connection: &Connection| {
            let revision: i64 = connection
                .prepare_cached("SELECT revision FROM studies")?
                .query_row([], |row| row.get(0))?;
            if revision == told {
                return Ok(None);
            }
            // One transaction, so that steps and trials are of the same moment.
            let transaction = connection.unchecked_transaction()?;
            let revision: i64 = transaction
                .prepare_cached("SELECT revision FROM studies")?
                .query_row([], |row| row.get(0))?;
            let query = format!("SELECT {columns} FROM trials WHERE revision > ?1 ORDER BY number");
            let mut select = transaction.prepare_cached(&query)?;
            let rows: Vec<Row> =
                select.query_map([told], read_row)?.collect::<rusqlite::Result<_>>()?;
            Ok(Some((revision, rows, read_steps(&transaction, told)?)))
        };
        let Some((revision, rows, steps)) = self.guard(read)? else {
            return Ok(Changes::default());
        };
        let changes = Changes::of(rows.into_iter(), steps.into_iter());
        let changes = changes.map_err(|detail| self.corrupt(detail))?;
        self.told = revision;
        Ok(changes)
    }

    fn begin_proposing(&mut self) -> Result<(), StudyError> {
        let path = self.beside(".lock");
        let io = |error| StudyError::io(&path, error);
        if self.proposing.is_none() {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            self.proposing = Some(options.open(&path).map_err(io)?);
        }
        self.proposing.as_ref().map_or(Ok(()), |file| file.lock().map_err(io))
    }

    fn end_proposing(&mut self) -> Result<Held, StudyError> {
        if let Some(file) = &self.proposing {
            file.unlock().map_err(|error| StudyError::io(&self.beside(".lock"), error))?;
        }
        Ok(Held::Yes)
    }

    fn add(
        &mut self,
        trial: &Trial,
        proposed: Option<&Values>,
        origin: &str,
        run: bool,
    ) -> Result<Lease, StudyError> {
        let (state, worker, attempt) = match run {
            true => (RUNNING, Some(self.worker()?), 1),
            false => (WAITING, None, 0),
        };
        let started = worker.map(|_| now());
        let values = self.to_json(&trial.values)?;
        let proposed = proposed.map(|values| self.to_json(values)).transpose()?;
        let number = trial.number;
        let row = NewRow { number, values, proposed, origin, state, attempt, started };
        self.write(|transaction, revision| row.insert(transaction, worker, revision))?;
        Ok(Lease { number: trial.number, attempt })
    }

    fn import(&mut self, records: &[Record]) -> Result<(), StudyError> {
        let rows = records.iter().map(|record| {
            let Record { ref trial, attempts: attempt, ref origin, started, .. } = *record;
            let (values, proposed) = (self.to_json(&trial.values)?, None);
            let (number, state) = (trial.number, WAITING);
            Ok(NewRow { number, values, proposed, origin, state, attempt, started })
        });
        let rows = rows.collect::<Result<Vec<_>, StudyError>>()?;
        self.write(|transaction, revision| {
            for (row, record) in rows.iter().zip(records) {
                row.insert(transaction, None, revision)?;
                let Record { ref trial, attempts: attempt, ended, .. } = *record;
                let lease = Lease { number: trial.number, attempt };
                write_outcome(transaction, (lease, trial, None, ended), revision)?;
                write_steps(transaction, trial.number, &trial.steps, revision)?;
                for (key, value) in &record.attributes {
                    write_attribute(transaction, to_integer(trial.number), key, value)?;
                }
            }
            Ok(())
        })
    }

    fn take(&mut self, number: u64) -> Result<Option<Lease>, StudyError> {
        let worker = self.worker()?;
        let attempt: Option<u32> = self.write(|transaction, revision| {
            let paused: Option<bool> = transaction
                .prepare_cached(
                    "SELECT state = ?2 FROM trials WHERE number = ?1 AND state IN (?2, ?3)",
                )?
                .query_row(params![number, PAUSED, WAITING], |row| row.get(0))
                .optional()?;
            if paused == Some(false) {
                transaction
                    .prepare_cached("DELETE FROM steps WHERE number = ?1")?
                    .execute([number])?;
            }
            transaction
                .prepare_cached(
                    "UPDATE trials SET trial_values = CASE
                     WHEN state = ?6 AND proposed IS NOT NULL THEN ?8 ELSE trial_values END,
                     state = ?2, attempt = attempt + 1, worker = ?3,
                     started = coalesce(started, ?4), revision = ?5
                     WHERE number = ?1 AND state IN (?6, ?7) RETURNING attempt",
                )?
                .query_row(
                    params![number, RUNNING, worker, now(), revision, WAITING, PAUSED, NO_VALUES],
                    |row| row.get(0),
                )
                .optional()
        })?;
        Ok(attempt.map(|attempt| Lease { number, attempt }))
    }

    fn resume(&mut self, lease: Lease) -> Result<Held, StudyError> {
        let worker = self.worker()?;
        let changed = self.write(|transaction, revision| {
            let changed = transaction
                .prepare_cached(
                    "UPDATE trials SET state = ?3, worker = ?4, revision = ?5
                     WHERE number = ?1 AND attempt = ?2
                     AND (state = ?6 OR state = ?3 AND worker = ?4)",
                )?
                .execute(params![
                    lease.number,
                    lease.attempt,
                    RUNNING,
                    worker,
                    revision,
                    WAITING
                ])?;
            if changed > 0 {
                // They are told again: who gave the trial up has forgotten them.
                transaction
                    .prepare_cached("UPDATE steps SET revision = ?2 WHERE number = ?1")?
                    .execute(params![lease.number, revision])?;
            }
            Ok(changed)
        })?;
        Ok(Held::if_changed(changed as u64))
    }

    fn set_values(&mut self, lease: Lease, values: &Values) -> Result<Held, StudyError> {
        let values = self.to_json(values)?;
        let changed = self.write(|transaction, revision| {
            transaction
                .prepare_cached(
                    "UPDATE trials SET trial_values = ?3, revision = ?4
                     WHERE number = ?1 AND attempt = ?2 AND state = ?5",
                )?
                .execute(params![lease.number, lease.attempt, values, revision, RUNNING])
        })?;
        Ok(Held::if_changed(changed as u64))
    }

    fn step(&mut self, lease: Lease, step: &Step) -> Result<Held, StudyError> {
        let held = self.write(|transaction, revision| {
            let held = transaction
                .prepare_cached(
                    "SELECT 1 FROM trials WHERE number = ?1 AND attempt = ?2 AND state = ?3",
                )?
                .exists(params![lease.number, lease.attempt, RUNNING])?;
            if held {
                write_steps(transaction, lease.number, std::slice::from_ref(step), revision)?;
            }
            Ok(held)
        })?;
        Ok(Held::if_changed(u64::from(held)))
    }

    fn finish(&mut self, lease: Lease, trial: &Trial, pruner: &str) -> Result<Held, StudyError> {
        let changed = self.write(|transaction, revision| {
            let changed =
                write_outcome(transaction, (lease, trial, Some(pruner), Some(now())), revision)?;
            if changed > 0 {
                write_steps(transaction, lease.number, &trial.steps, revision)?;
            }
            Ok(changed)
        })?;
        Ok(Held::if_changed(changed as u64))
    }

    fn release(&mut self, lease: Lease, paused: Option<&[Step]>) -> Result<Held, StudyError> {
        let state = if paused.is_some() { PAUSED } else { WAITING };
        let changed = self.write(|transaction, revision| {
            let changed = transaction
                .prepare_cached(
                    "UPDATE trials SET state = ?3, worker = NULL, revision = ?4
                     WHERE number = ?1 AND attempt = ?2 AND state = ?5",
                )?
                .execute(params![lease.number, lease.attempt, state, revision, RUNNING])?;
            if changed > 0 {
                write_steps(transaction, lease.number, paused.unwrap_or(&[]), revision)?;
            }
            Ok(changed)
        })?;
        Ok(Held::if_changed(changed as u64))
    }

    fn retry(&mut self, lease: Lease, retries: u32) -> Result<bool, StudyError> {
        let changed = self.write(|transaction, revision| {
            transaction
                .prepare_cached(
                    "UPDATE trials SET state = ?3, failures = failures + 1, worker = NULL,
                     revision = ?4
                     WHERE number = ?1 AND attempt = ?2 AND state = ?5 AND failures < ?6",
                )?
                .execute(params![lease.number, lease.attempt, WAITING, revision, RUNNING, retries])
        })?;
        Ok(changed > 0)
    }

    fn beat(&mut self, grace: Duration, retries: u32) -> Result<(), StudyError> {
        let own = self.worker()?;
        let seen = now();
        let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let (alive, others) = self.guard(|connection| {
            let update = "UPDATE workers SET seen = ?2 WHERE id = ?1";
            let alive = connection.prepare_cached(update)?.execute(params![own, seen])?;
            let mut select = connection.prepare_cached(
                "SELECT id, seen FROM workers WHERE id != ?1
                 UNION SELECT worker, 0 FROM trials
                 WHERE state = ?2 AND worker NOT IN (SELECT id FROM workers)",
            )?;
            let others: Vec<(i64, u64)> = select
                .query_map(params![own, RUNNING], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            Ok((alive > 0, others))
        })?;
        if !alive {
            // It was taken for dead. Its trials are gone; the next one is taken under a new name.
            self.worker = None;
        }
        for (worker, last) in others {
            if last.saturating_add(grace) < seen || self.is_gone(worker) {
                self.bury(worker, retries)?;
            }
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), StudyError> {
        let Some(worker) = self.worker.take() else { return Ok(()) };
        let left = self.write(|transaction, revision| {
            let held = "UPDATE trials SET state = ?2, worker = NULL, revision = ?3
                        WHERE worker = ?1 AND state = ?4";
            transaction.execute(held, params![worker.id, WAITING, revision, RUNNING])?;
            transaction.execute("DELETE FROM workers WHERE id = ?1", [worker.id])
        });
        // Where that failed, as on a full disk, the file tells the next process at once that this
        // one is gone.
        if left.is_ok() {
            let _ = std::fs::remove_file(&worker.path);
        }
        // Closing is not enough: a child process that another thread has forked, and that has not
        // replaced its program yet, holds the file open for a moment longer.
        let _ = worker.lock.unlock();
        left.map(|_| ())
    }

    fn set_attribute(
        &mut self,
        number: Option<u64>,
        key: &str,
        value: &serde_json::Value,
    ) -> Result<(), StudyError> {
        let number = number.map_or(STUDY, to_integer);
        self.write(|transaction, _| write_attribute(transaction, number, key, value))
    }

    fn records(&mut self) -> Result<Records, StudyError> {
        let spec = self.spec()?;
        let columns = &self.columns;
        let read = |connection: &Connection| {
            let transaction = connection.unchecked_transaction()?;
            let query = format!("SELECT {columns}, sampler, ended FROM trials ORDER BY number");
            let mut select = transaction.prepare(&query)?;
            let trials: Vec<RecordRow> = select
                .query_map([], |row| Ok((read_row(row)?, row.get(12)?, row.get(13)?)))?
                .collect::<rusqlite::Result<_>>()?;
            let mut select = transaction.prepare("SELECT number, key, value FROM attributes")?;
            let attributes: Vec<(i64, String, String)> = select
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<rusqlite::Result<_>>()?;
            Ok((trials, read_steps(&transaction, BEFORE_ALL)?, attributes))
        };
        let (trials, steps, attributes) = self.guard(read)?;
        let (trials, steps) = (trials.into_iter(), steps.into_iter());
        Records::of(spec, trials, steps, attributes.into_iter())
            .map_err(|detail| self.corrupt(detail))
    }

    fn corrupt(&self, detail: String) -> StudyError {
        StudyError::Corrupt { storage: self.locator(), detail }
    }

    #[cfg(test)]
    fn abandon(&mut self) {
        self.worker = None;
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // Whoever finds the lock free later clears up.
        let _ = self.leave();
        let _ = self.end_proposing();
    }
}
