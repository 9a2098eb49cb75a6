//! Studies in PostgreSQL databases, for workers on many machines.
//!
//! Locks belong to the session of the connection, so the server takes them away from a process that
//! ends or that it has lost: one per study that is held while a trial is proposed, and one for each
//! process that evaluates trials. Commits become visible in another order than their transactions
//! began in; what has changed is therefore asked for by the oldest transaction that was still open at
//! the last look, and a few changes may be told twice.

mod server;

use std::time::Duration;

use luthier_space::Values;
use luthier_tune::{Step, Trial};
use postgres::error::{DbError, Severity};
use postgres::types::ToSql;
use postgres::{Client, GenericClient, Transaction};

use super::{
    COLUMNS, Changes, Held, Lease, NO_VALUES, NewRow, PAUSED, RUNNING, Record, RecordRow, Records,
    Row, STUDY, StepRow, Storage, WAITING, now, outlived, state_name, to_integer, to_numbers,
};
use crate::{Locator, StudyError, StudySpec};
use server::{Server, detail};

/// The format that this release writes, kept beside each study.
const FORMAT: i32 = 2;
/// Guards the making of tables; any number that nobody else uses.
const TABLES_LOCK: i64 = 0x4c75_7468_6965_7200;
/// Before the second number of a lock that guards proposing; workers have numbers from 1.
const PROPOSING: i32 = 0;
/// How often a broken connection is opened anew before an error is told, and the first pause.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(200);

const TABLES: &str = "
    CREATE TABLE luthier_studies (
        id SERIAL PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        format INTEGER NOT NULL,
        spec TEXT NOT NULL
    );
    CREATE TABLE luthier_trials (
        study INTEGER NOT NULL REFERENCES luthier_studies ON DELETE CASCADE,
        number BIGINT NOT NULL,
        state TEXT NOT NULL,
        trial_values TEXT NOT NULL,
        proposed TEXT,
        sampler TEXT NOT NULL,
        pruner TEXT,
        scores TEXT,
        violations TEXT,
        margin DOUBLE PRECISION,
        loss DOUBLE PRECISION,
        reason TEXT,
        seconds DOUBLE PRECISION,
        attempt BIGINT NOT NULL,
        deaths BIGINT NOT NULL DEFAULT 0,
        failures BIGINT NOT NULL DEFAULT 0,
        worker INTEGER,
        started BIGINT,
        ended BIGINT,
        changed XID8 NOT NULL DEFAULT pg_current_xact_id(),
        PRIMARY KEY (study, number)
    );
    CREATE INDEX luthier_trials_changed ON luthier_trials (study, changed);
    CREATE TABLE luthier_steps (
        study INTEGER NOT NULL REFERENCES luthier_studies ON DELETE CASCADE,
        number BIGINT NOT NULL,
        step BIGINT NOT NULL,
        scores TEXT NOT NULL,
        changed XID8 NOT NULL DEFAULT pg_current_xact_id(),
        PRIMARY KEY (study, number, step)
    );
    CREATE INDEX luthier_steps_changed ON luthier_steps (study, changed);
    CREATE TABLE luthier_workers (
        study INTEGER NOT NULL REFERENCES luthier_studies ON DELETE CASCADE,
        id INTEGER NOT NULL,
        host TEXT,
        pid BIGINT NOT NULL,
        seen TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (study, id)
    );
    CREATE SEQUENCE luthier_worker_ids AS INTEGER;
    CREATE TABLE luthier_attributes (
        study INTEGER NOT NULL REFERENCES luthier_studies ON DELETE CASCADE,
        number BIGINT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (study, number, key)
    );
";

/// Brings tables of format 1 to this one; whoever comes second changes nothing.
const RENEWAL: &str = "
    ALTER TABLE luthier_trials ADD COLUMN IF NOT EXISTS proposed TEXT;
    UPDATE luthier_studies SET format = 2 WHERE format = 1;
";

/// A study of a database.
pub(super) struct Postgres {
    locator: Locator,
    server: Server,
    client: Client,
    study: i32,
    /// The oldest transaction that was open when changes were last told.
    told: String,
    proposing: bool,
    worker: Option<i32>,
}

type Answer<T> = Result<T, postgres::Error>;

impl Postgres {
    /// Opens the study with the name in `spec`, and creates it if there is none.
    pub(super) fn open(url: &str, spec: &StudySpec) -> Result<Self, StudyError> {
        let (locator, server, mut client) = connected(url)?;
        let json = serde_json::to_string(spec).unwrap_or_default();
        let mut create = || -> Answer<i32> {
            if tables(&mut client)? != Tables::Present {
                // Two processes may have seen that.
                client.execute("SELECT pg_advisory_lock($1)", &[&TABLES_LOCK])?;
                match tables(&mut client)? {
                    Tables::Absent => client.batch_execute(TABLES)?,
                    Tables::Old => client.batch_execute(RENEWAL)?,
                    Tables::Present => {}
                }
                client.execute("SELECT pg_advisory_unlock($1)", &[&TABLES_LOCK])?;
            }
            let insert = "INSERT INTO luthier_studies (name, format, spec) VALUES ($1, $2, $3)
                          ON CONFLICT (name) DO NOTHING";
            client.execute(insert, &[&spec.name, &FORMAT, &json])?;
            let select = "SELECT id FROM luthier_studies WHERE name = $1";
            Ok(client.query_one(select, &[&spec.name])?.get(0))
        };
        let study = create().map_err(|error| database(&locator, &error))?;
        Self::of(locator, server, client, study)
    }

    /// Opens the study called `name`, or the only one there is.
    pub(super) fn existing(url: &str, name: Option<&str>) -> Result<Self, StudyError> {
        let (locator, server, mut client) = connected(url)?;
        let mut find = || -> Answer<Vec<(i32, String)>> {
            match tables(&mut client)? {
                Tables::Absent => return Ok(Vec::new()),
                Tables::Old => client.batch_execute(RENEWAL)?,
                Tables::Present => {}
            }
            let rows = client.query("SELECT id, name FROM luthier_studies ORDER BY name", &[])?;
            Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
        };
        let studies = find().map_err(|error| database(&locator, &error))?;
        let fits = |(_, found): &&(i32, String)| name.is_none_or(|name| name == found);
        let found: Vec<i32> = studies.iter().filter(fits).map(|(id, _)| *id).collect();
        let [study] = found.as_slice() else {
            let known = studies.into_iter().map(|(_, name)| name).collect();
            return Err(StudyError::Absent {
                storage: locator,
                name: name.map(str::to_owned),
                known,
            });
        };
        Self::of(locator, server, client, *study)
    }

    fn of(
        locator: Locator,
        server: Server,
        client: Client,
        study: i32,
    ) -> Result<Self, StudyError> {
        let told = "0".to_owned();
        let mut storage =
            Self { locator, server, client, study, told, proposing: false, worker: None };
        let select = "SELECT format FROM luthier_studies WHERE id = $1";
        let format = storage.ask(|client, study| client.query_one(select, &[&study]))?;
        let format: i32 = format.get(0);
        if format > FORMAT {
            let (format, known) = (i64::from(format), i64::from(FORMAT));
            return Err(StudyError::Newer { storage: storage.locator.clone(), format, known });
        }
        Ok(storage)
    }

    /// Asks for something, once more over a new connection if this one has broken.
    fn ask<T>(
        &mut self,
        mut ask: impl FnMut(&mut Client, i32) -> Answer<T>,
    ) -> Result<T, StudyError> {
        let mut pause = PAUSE;
        for _ in 0..TRIES {
            match ask(&mut self.client, self.study) {
                Ok(answer) => return Ok(answer),
                Err(error) if !self.client.is_closed() && !is_fatal(&error) => {
                    return Err(database(&self.locator, &error));
                }
                Err(_) => {}
            }
            std::thread::sleep(pause);
            pause *= 2;
            if let Ok(client) = self.server.connect() {
                self.client = client;
                // The locks of the old session are gone, and with them this worker.
                self.worker = None;
                if std::mem::take(&mut self.proposing) {
                    let detail = "the connection broke while a trial was being proposed".to_owned();
                    return Err(StudyError::Database { storage: self.locator.clone(), detail });
                }
            }
        }
        ask(&mut self.client, self.study).map_err(|error| database(&self.locator, &error))
    }

    /// Changes the study in one transaction.
    fn write<T>(
        &mut self,
        work: impl Fn(&mut Transaction<'_>, i32) -> Answer<T>,
    ) -> Result<T, StudyError> {
        self.ask(|client, study| {
            let mut transaction = client.transaction()?;
            let done = work(&mut transaction, study)?;
            transaction.commit()?;
            Ok(done)
        })
    }

    /// The worker that this process is; from the first call on it is one.
    fn worker(&mut self) -> Result<i32, StudyError> {
        if let Some(worker) = self.worker {
            return Ok(worker);
        }
        let pid = i64::from(std::process::id());
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let host = host.as_deref().map(str::trim);
        let worker = self.ask(|client, study| {
            let next = client.query_one("SELECT nextval('luthier_worker_ids')::int", &[])?;
            let worker: i32 = next.get(0);
            // Locked before it is in the table: whoever finds it there finds it alive.
            client.execute("SELECT pg_advisory_lock($1, $2)", &[&study, &worker])?;
            let insert = "INSERT INTO luthier_workers (study, id, host, pid, seen)
                          VALUES ($1, $2, $3, $4, now())";
            client.execute(insert, &[&study, &worker, &host, &pid])?;
            Ok(worker)
        })?;
        self.worker = Some(worker);
        Ok(worker)
    }

    fn bury(&mut self, worker: i32, retries: u32) -> Result<(), StudyError> {
        let retries = i64::from(retries);
        self.write(|transaction, study| {
            let select = "SELECT number, deaths FROM luthier_trials
                          WHERE study = $1 AND worker = $2 AND state = $3 FOR UPDATE";
            for row in transaction.query(select, &[&study, &worker, &RUNNING])? {
                let (number, deaths): (i64, i64) = (row.get(0), row.get::<_, i64>(1) + 1);
                let failed = deaths > retries;
                let state = if failed { "failed" } else { WAITING };
                let reason = failed.then(|| outlived(u32::try_from(deaths).unwrap_or(u32::MAX)));
                let ended = failed.then(time);
                let update = "UPDATE luthier_trials SET state = $3, reason = $4, ended = $5,
                              deaths = $6, worker = NULL, changed = pg_current_xact_id()
                              WHERE study = $1 AND number = $2";
                transaction
                    .execute(update, &[&study, &number, &state, &reason, &ended, &deaths])?;
            }
            let delete = "DELETE FROM luthier_workers WHERE study = $1 AND id = $2";
            transaction.execute(delete, &[&study, &worker])
        })?;
        Ok(())
    }
}

fn connected(url: &str) -> Result<(Locator, Server, Client), StudyError> {
    let locator = Locator::Postgres(url.to_owned());
    let server = Server::of(url).map_err(|detail| {
        let storage = locator.clone();
        StudyError::Database { storage, detail }
    })?;
    let client = server.connect().map_err(|error| database(&locator, &error))?;
    Ok((locator, server, client))
}

/// Tables in a database, all of which are made at once.
#[derive(PartialEq, Eq)]
enum Tables {
    Absent,
    /// As they were in format 1, before trials could ask.
    Old,
    Present,
}

fn tables(client: &mut Client) -> Answer<Tables> {
    let there = "SELECT to_regclass('luthier_studies') IS NOT NULL, EXISTS (
                     SELECT FROM pg_attribute
                     WHERE attrelid = to_regclass('luthier_trials') AND attname = 'proposed'
                 )";
    let row = client.query_one(there, &[])?;
    Ok(match (row.get(0), row.get(1)) {
        (false, _) => Tables::Absent,
        (true, false) => Tables::Old,
        (true, true) => Tables::Present,
    })
}

/// Whether the server ends the session with this error; it closes the connection a moment later.
fn is_fatal(error: &postgres::Error) -> bool {
    let severity = error.as_db_error().and_then(DbError::parsed_severity);
    matches!(severity, Some(Severity::Fatal | Severity::Panic))
}

fn database(locator: &Locator, error: &postgres::Error) -> StudyError {
    let detail = match error.as_db_error() {
        Some(error) => error.message().to_owned(),
        None => detail(error),
    };
    StudyError::Database { storage: locator.clone(), detail }
}

fn time() -> i64 {
    to_integer(now())
}

fn insert(
    client: &mut impl GenericClient,
    study: i32,
    row: &NewRow<'_>,
    worker: Option<i32>,
) -> Answer<()> {
    let NewRow { ref values, ref proposed, origin, state, .. } = *row;
    let (number, attempt) = (to_integer(row.number), i64::from(row.attempt));
    let started = row.started.map(to_integer);
    let insert = "INSERT INTO luthier_trials
                  (study, number, state, trial_values, proposed, sampler, attempt, worker, started)
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let columns: [&(dyn ToSql + Sync); 9] =
        [&study, &number, &state, values, proposed, &origin, &attempt, &worker, &started];
    client.execute(insert, &columns)?;
    Ok(())
}

/// Writes steps that may be there already.
fn write_steps(
    client: &mut impl GenericClient,
    study: i32,
    number: u64,
    steps: &[Step],
) -> Answer<()> {
    for step in steps {
        let scores = to_numbers(&step.scores).unwrap_or_else(|| "[]".to_owned());
        let insert = "INSERT INTO luthier_steps (study, number, step, scores)
                      VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        client.execute(insert, &[&study, &to_integer(number), &to_integer(step.step), &scores])?;
    }
    Ok(())
}

fn write_attribute(
    client: &mut impl GenericClient,
    study: i32,
    number: i64,
    key: &str,
    value: &serde_json::Value,
) -> Answer<()> {
    if value.is_null() {
        let delete = "DELETE FROM luthier_attributes WHERE study = $1 AND number = $2 AND key = $3";
        client.execute(delete, &[&study, &number, &key])?;
        return Ok(());
    }
    let insert = "INSERT INTO luthier_attributes (study, number, key, value)
                  VALUES ($1, $2, $3, $4)
                  ON CONFLICT (study, number, key) DO UPDATE SET value = excluded.value";
    client.execute(insert, &[&study, &number, &key, &value.to_string()])?;
    Ok(())
}

/// The outcome of a trial that a lease holds.
fn write_outcome(
    client: &mut impl GenericClient,
    study: i32,
    (lease, trial, pruner, ended): (Lease, &Trial, Option<&str>, Option<i64>),
) -> Answer<u64> {
    let update = "UPDATE luthier_trials SET state = $4, scores = $5, violations = $6, margin = $7,
                  loss = $8, reason = $9, seconds = $10, pruner = $11, ended = $12, worker = NULL,
                  changed = pg_current_xact_id()
                  WHERE study = $1 AND number = $2 AND attempt = $3
                  AND state IN ('running', 'waiting')";
    let columns: [&(dyn ToSql + Sync); 12] = [
        &study,
        &to_integer(lease.number),
        &i64::from(lease.attempt),
        &state_name(trial.state),
        &to_numbers(&trial.scores),
        &to_numbers(&trial.violations),
        &trial.tiebreak.map(|tiebreak| tiebreak.margin),
        &trial.tiebreak.map(|tiebreak| tiebreak.loss),
        &trial.reason,
        &trial.seconds,
        &pruner,
        &ended,
    ];
    client.execute(update, &columns)
}

fn unsigned(row: &postgres::Row, column: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(column)).unwrap_or(u64::MAX)
}

fn read_row(row: &postgres::Row) -> Row {
    Row {
        number: unsigned(row, 0),
        state: row.get(1),
        values: row.get(2),
        scores: row.get(3),
        violations: row.get(4),
        tiebreak: (row.get(5), row.get(6)),
        reason: row.get(7),
        seconds: row.get(8),
        attempt: u32::try_from(unsigned(row, 9)).unwrap_or(u32::MAX),
        started: time_of(row, 10),
        proposed: row.get(11),
    }
}

fn time_of(row: &postgres::Row, column: usize) -> Option<u64> {
    u64::try_from(row.get::<_, Option<i64>>(column)?).ok()
}

fn read_step(row: &postgres::Row) -> StepRow {
    (unsigned(row, 0), unsigned(row, 1), row.get(2))
}

fn read_record(row: &postgres::Row) -> RecordRow {
    (read_row(row), row.get(12), time_of(row, 13))
}

impl Storage for Postgres {
    fn spec(&mut self) -> Result<StudySpec, StudyError> {
        let select = "SELECT spec FROM luthier_studies WHERE id = $1";
        let row = self.ask(|client, study| client.query_one(select, &[&study]))?;
        StudySpec::from_json(row.get(0))
            .map_err(|detail| self.corrupt(format!("its setup: {detail}")))
    }

    fn set_spec(&mut self, spec: &StudySpec, trials: &[Trial]) -> Result<(), StudyError> {
        let json = serde_json::to_string(spec).unwrap_or_default();
        self.write(|transaction, study| {
            let update = "UPDATE luthier_studies SET spec = $2 WHERE id = $1";
            transaction.execute(update, &[&study, &json])?;
            let update = "UPDATE luthier_trials SET trial_values = $3,
                          changed = pg_current_xact_id() WHERE study = $1 AND number = $2";
            for trial in trials {
                let values = serde_json::to_string(&trial.values).unwrap_or_default();
                transaction.execute(update, &[&study, &to_integer(trial.number), &values])?;
            }
            Ok(())
        })
    }

    fn changes(&mut self) -> Result<Changes, StudyError> {
        let told = self.told.clone();
        let (horizon, rows, steps) = self.ask(|client, study| {
            let mut transaction = client
                .build_transaction()
                .isolation_level(postgres::IsolationLevel::RepeatableRead)
                .read_only(true)
                .start()?;
            let horizon = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text";
            let horizon: String = transaction.query_one(horizon, &[])?.get(0);
            let select = format!(
                "SELECT {COLUMNS} FROM luthier_trials
                 WHERE study = $1 AND changed >= $2::text::xid8 ORDER BY number"
            );
            let rows = transaction.query(&select, &[&study, &told])?;
            let select = "SELECT number, step, scores FROM luthier_steps
                          WHERE study = $1 AND changed >= $2::text::xid8 ORDER BY number, step";
            let steps = transaction.query(select, &[&study, &told])?;
            transaction.commit()?;
            Ok((horizon, rows, steps))
        })?;
        let changes = Changes::of(rows.iter().map(read_row), steps.iter().map(read_step));
        let changes = changes.map_err(|detail| self.corrupt(detail))?;
        self.told = horizon;
        Ok(changes)
    }

    fn begin_proposing(&mut self) -> Result<(), StudyError> {
        let lock = "SELECT pg_advisory_lock($1, $2)";
        self.ask(|client, study| client.execute(lock, &[&study, &PROPOSING]))?;
        self.proposing = true;
        Ok(())
    }

    fn end_proposing(&mut self) -> Result<Held, StudyError> {
        if !std::mem::take(&mut self.proposing) {
            return Ok(Held::No);
        }
        let unlock = "SELECT pg_advisory_unlock($1, $2)";
        self.ask(|client, study| client.execute(unlock, &[&study, &PROPOSING]))?;
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
        let (number, started) = (trial.number, worker.map(|_| now()));
        let values = serde_json::to_string(&trial.values).unwrap_or_default();
        let proposed = proposed.map(|values| serde_json::to_string(values).unwrap_or_default());
        let row = NewRow { number, values, proposed, origin, state, attempt, started };
        self.ask(|client, study| insert(client, study, &row, worker))?;
        Ok(Lease { number, attempt })
    }

    fn import(&mut self, records: &[Record]) -> Result<(), StudyError> {
        self.write(|transaction, study| {
            for record in records {
                let Record { ref trial, attempts: attempt, started, ended, .. } = *record;
                let (number, state, origin) = (trial.number, WAITING, record.origin.as_str());
                let values = serde_json::to_string(&trial.values).unwrap_or_default();
                let proposed = None;
                let row = NewRow { number, values, proposed, origin, state, attempt, started };
                insert(transaction, study, &row, None)?;
                let lease = Lease { number, attempt };
                let outcome = (lease, trial, None, ended.map(to_integer));
                write_outcome(transaction, study, outcome)?;
                write_steps(transaction, study, trial.number, &trial.steps)?;
                for (key, value) in &record.attributes {
                    write_attribute(transaction, study, to_integer(trial.number), key, value)?;
                }
            }
            Ok(())
        })
    }

    fn take(&mut self, number: u64) -> Result<Option<Lease>, StudyError> {
        let worker = self.worker()?;
        let row = to_integer(number);
        let attempt = self.write(|transaction, study| {
            let delete = "DELETE FROM luthier_steps USING luthier_trials AS trials
                          WHERE luthier_steps.study = $1 AND luthier_steps.number = $2
                          AND trials.study = $1 AND trials.number = $2 AND trials.state = $3";
            transaction.execute(delete, &[&study, &row, &WAITING])?;
            let update = "UPDATE luthier_trials SET trial_values = CASE
                          WHEN state = $6 AND proposed IS NOT NULL THEN $8 ELSE trial_values END,
                          state = $3, attempt = attempt + 1, worker = $4,
                          started = coalesce(started, $5), changed = pg_current_xact_id()
                          WHERE study = $1 AND number = $2 AND state IN ($6, $7)
                          RETURNING attempt";
            let taken = transaction.query_opt(
                update,
                &[&study, &row, &RUNNING, &worker, &time(), &WAITING, &PAUSED, &NO_VALUES],
            )?;
            Ok(taken.map(|row| row.get::<_, i64>(0)))
        })?;
        Ok(attempt
            .map(|attempt| Lease { number, attempt: u32::try_from(attempt).unwrap_or(u32::MAX) }))
    }

    fn resume(&mut self, lease: Lease) -> Result<Held, StudyError> {
        let worker = self.worker()?;
        let (number, attempt) = (to_integer(lease.number), i64::from(lease.attempt));
        let changed = self.write(|transaction, study| {
            let update = "UPDATE luthier_trials SET state = $4, worker = $5,
                          changed = pg_current_xact_id()
                          WHERE study = $1 AND number = $2 AND attempt = $3
                          AND (state = $6 OR state = $4 AND worker = $5)";
            let changed = transaction
                .execute(update, &[&study, &number, &attempt, &RUNNING, &worker, &WAITING])?;
            if changed > 0 {
                // They are told again: who gave the trial up has forgotten them.
                let tell = "UPDATE luthier_steps SET changed = pg_current_xact_id()
                            WHERE study = $1 AND number = $2";
                transaction.execute(tell, &[&study, &number])?;
            }
            Ok(changed)
        })?;
        Ok(Held::if_changed(changed))
    }

    fn set_values(&mut self, lease: Lease, values: &Values) -> Result<Held, StudyError> {
        let values = serde_json::to_string(values).unwrap_or_default();
        let (number, attempt) = (to_integer(lease.number), i64::from(lease.attempt));
        let update = "UPDATE luthier_trials SET trial_values = $4, changed = pg_current_xact_id()
                      WHERE study = $1 AND number = $2 AND attempt = $3 AND state = $5";
        let changed = self.ask(|client, study| {
            client.execute(update, &[&study, &number, &attempt, &values, &RUNNING])
        })?;
        Ok(Held::if_changed(changed))
    }

    fn step(&mut self, lease: Lease, step: &Step) -> Result<Held, StudyError> {
        let scores = to_numbers(&step.scores).unwrap_or_else(|| "[]".to_owned());
        // In one statement, which is one journey to the server.
        let insert = "INSERT INTO luthier_steps (study, number, step, scores)
                      SELECT study, number, $4, $5 FROM luthier_trials
                      WHERE study = $1 AND number = $2 AND attempt = $3 AND state = 'running'
                      ON CONFLICT (study, number, step) DO UPDATE SET scores = excluded.scores";
        let (number, attempt) = (to_integer(lease.number), i64::from(lease.attempt));
        let at = to_integer(step.step);
        let written = self.ask(|client, study| {
            client.execute(insert, &[&study, &number, &attempt, &at, &scores])
        })?;
        Ok(Held::if_changed(written))
    }

    fn finish(&mut self, lease: Lease, trial: &Trial, pruner: &str) -> Result<Held, StudyError> {
        let changed = self.write(|transaction, study| {
            let changed =
                write_outcome(transaction, study, (lease, trial, Some(pruner), Some(time())))?;
            if changed > 0 {
                write_steps(transaction, study, lease.number, &trial.steps)?;
            }
            Ok(changed)
        })?;
        Ok(Held::if_changed(changed))
    }

    fn release(&mut self, lease: Lease, paused: Option<&[Step]>) -> Result<Held, StudyError> {
        let state = if paused.is_some() { PAUSED } else { WAITING };
        let (number, attempt) = (to_integer(lease.number), i64::from(lease.attempt));
        let changed = self.write(|transaction, study| {
            let update = "UPDATE luthier_trials SET state = $4, worker = NULL,
                          changed = pg_current_xact_id()
                          WHERE study = $1 AND number = $2 AND attempt = $3 AND state = $5";
            let changed =
                transaction.execute(update, &[&study, &number, &attempt, &state, &RUNNING])?;
            if changed > 0 {
                write_steps(transaction, study, lease.number, paused.unwrap_or(&[]))?;
            }
            Ok(changed)
        })?;
        Ok(Held::if_changed(changed))
    }

    fn retry(&mut self, lease: Lease, retries: u32) -> Result<bool, StudyError> {
        let (number, attempt) = (to_integer(lease.number), i64::from(lease.attempt));
        let retries = i64::from(retries);
        let update = "UPDATE luthier_trials SET state = $4, failures = failures + 1, worker = NULL,
                      changed = pg_current_xact_id()
                      WHERE study = $1 AND number = $2 AND attempt = $3 AND state = $5
                      AND failures < $6";
        let changed = self.ask(|client, study| {
            client.execute(update, &[&study, &number, &attempt, &WAITING, &RUNNING, &retries])
        })?;
        Ok(changed > 0)
    }

    fn beat(&mut self, grace: Duration, retries: u32) -> Result<(), StudyError> {
        let own = self.worker()?;
        let grace = grace.as_secs_f64();
        let (alive, others) = self.ask(|client, study| {
            let update = "UPDATE luthier_workers SET seen = now() WHERE study = $1 AND id = $2";
            let alive = client.execute(update, &[&study, &own])? > 0;
            let select = "SELECT id, seen < now() - make_interval(secs => $3)
                          FROM luthier_workers WHERE study = $1 AND id <> $2
                          UNION SELECT worker, TRUE FROM luthier_trials
                          WHERE study = $1 AND state = $4 AND worker NOT IN
                          (SELECT id FROM luthier_workers WHERE study = $1)";
            let rows = client.query(select, &[&study, &own, &grace, &RUNNING])?;
            let others: Vec<(i32, bool)> =
                rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            Ok((alive, others))
        })?;
        if !alive {
            // It was taken for dead. Its trials are gone; the next one is taken under a new name.
            self.worker = None;
        }
        for (worker, silent) in others {
            let gone = self.ask(|client, study| {
                let lock = "SELECT pg_try_advisory_lock($1, $2)";
                let gone: bool = client.query_one(lock, &[&study, &worker])?.get(0);
                if gone {
                    let unlock = "SELECT pg_advisory_unlock($1, $2)";
                    client.execute(unlock, &[&study, &worker])?;
                }
                Ok(gone)
            })?;
            if gone || silent {
                self.bury(worker, retries)?;
            }
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), StudyError> {
        let Some(worker) = self.worker.take() else { return Ok(()) };
        self.write(|transaction, study| {
            let held = "UPDATE luthier_trials SET state = $3, worker = NULL,
                        changed = pg_current_xact_id()
                        WHERE study = $1 AND worker = $2 AND state = $4";
            transaction.execute(held, &[&study, &worker, &WAITING, &RUNNING])?;
            let delete = "DELETE FROM luthier_workers WHERE study = $1 AND id = $2";
            transaction.execute(delete, &[&study, &worker])
        })?;
        let unlock = "SELECT pg_advisory_unlock($1, $2)";
        self.ask(|client, study| client.execute(unlock, &[&study, &worker]))?;
        Ok(())
    }

    fn set_attribute(
        &mut self,
        number: Option<u64>,
        key: &str,
        value: &serde_json::Value,
    ) -> Result<(), StudyError> {
        let number = number.map_or(STUDY, to_integer);
        self.ask(|client, study| write_attribute(client, study, number, key, value))
    }

    fn records(&mut self) -> Result<Records, StudyError> {
        let spec = self.spec()?;
        let (trials, steps, attributes) = self.ask(|client, study| {
            let mut transaction = client
                .build_transaction()
                .isolation_level(postgres::IsolationLevel::RepeatableRead)
                .read_only(true)
                .start()?;
            let select = format!(
                "SELECT {COLUMNS}, sampler, ended FROM luthier_trials
                 WHERE study = $1 ORDER BY number"
            );
            let trials = transaction.query(&select, &[&study])?;
            let select = "SELECT number, step, scores FROM luthier_steps WHERE study = $1
                          ORDER BY number, step";
            let steps = transaction.query(select, &[&study])?;
            let select = "SELECT number, key, value FROM luthier_attributes WHERE study = $1";
            let attributes = transaction.query(select, &[&study])?;
            transaction.commit()?;
            Ok((trials, steps, attributes))
        })?;
        let attributes = attributes.iter().map(|row| (row.get(0), row.get(1), row.get(2)));
        let (trials, steps) = (trials.iter().map(read_record), steps.iter().map(read_step));
        Records::of(spec, trials, steps, attributes).map_err(|detail| self.corrupt(detail))
    }

    fn corrupt(&self, detail: String) -> StudyError {
        StudyError::Corrupt { storage: self.locator.clone(), detail }
    }

    #[cfg(test)]
    fn abandon(&mut self) {
        if let Some(worker) = self.worker.take() {
            let unlock = "SELECT pg_advisory_unlock($1, $2)";
            let freed = self.ask(|client, study| client.execute(unlock, &[&study, &worker]));
            assert!(freed.is_ok());
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The server does the same when the connection ends.
        let _ = self.leave();
    }
}
