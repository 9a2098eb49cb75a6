//! Predictions that wait for labels, and labels, in SQLite.
//!
//! A write-ahead log with `synchronous = NORMAL`: a commit is in the operating system's hands when it
//! returns, so it survives the death of the process; after a power cut the last few may be missing,
//! the file stays sound. A prediction has one row, found by `(id, row)` and marked in the transaction
//! that adds its label to `labels`, so that the label counts once however often it is sent; one whose
//! prediction has gone is unknown. Labels have rows of their own because they outlive predictions
//! where there are many more of these. Classes are numbers; the names are kept with each version, so
//! that late labels find those of a version that is gone.

mod index;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use luthier_monitor::{Outcome, Window, WindowSize};
use rusqlite::{
    CachedStatement, Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior,
    params,
};

use super::{Answered, Feedback, FeedbackError, Labelled, Live, Tracked};
use index::Index;

/// The format that this release writes, kept in SQLite's `user_version`.
const FORMAT: i64 = 1;
/// Marks the file as a feedback store, in SQLite's `application_id`.
const APPLICATION: i64 = 0x4c75_7466;

const TABLES: &str = "
    CREATE TABLE models (
        key INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        classes TEXT NOT NULL,
        positive INTEGER,
        UNIQUE (name, version, classes)
    ) STRICT;
    CREATE TABLE predictions (
        number INTEGER PRIMARY KEY,
        id BLOB NOT NULL,
        row INTEGER NOT NULL,
        model INTEGER NOT NULL,
        predicted INTEGER NOT NULL,
        time INTEGER NOT NULL,
        labelled INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE labels (
        number INTEGER PRIMARY KEY,
        id BLOB NOT NULL,
        row INTEGER NOT NULL,
        model INTEGER NOT NULL,
        predicted INTEGER NOT NULL,
        truth INTEGER NOT NULL,
        time INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX labels_of_model ON labels (model);
";
const FIND: &str = "
    SELECT model, predicted, labelled FROM predictions WHERE number = ?1 AND id = ?2 AND row = ?3";
const REMEMBER: &str = "
    INSERT INTO predictions (number, id, row, model, predicted, time)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const MARK: &str = "UPDATE predictions SET labelled = 1 WHERE number = ?1 AND labelled = 0";
const LABEL: &str = "
    INSERT INTO labels (id, row, model, predicted, truth, time)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Longest wait for another process that has the file open.
const BUSY: Duration = Duration::from_secs(5);
/// Memory for pages, in KiB.
const CACHE_KIB: i64 = 16 << 10;
/// Rows that are removed at a time when they have grown old.
const OLD_ROWS: i64 = 10_000;

/// An open store.
pub(super) struct Store {
    path: PathBuf,
    connection: Connection,
    limits: Limits,
    models: HashMap<ModelKey, Arc<Model>>,
    /// Keys of the versions that are served, by serial number.
    keys: HashMap<u64, ModelKey>,
    index: Index,
    predictions: Table,
    labels: Table,
}

/// What is kept, of predictions and of labels each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Most rows; the oldest go.
    pub(super) rows: u64,
    /// Age past which rows go.
    pub(super) age: Duration,
}

/// Number of a version of a model in the store; a version that comes back with other classes gets a
/// new, higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ModelKey(i64);

/// A version of a model, as its rows need it.
struct Model {
    name: Arc<str>,
    version: i64,
    classes: Arc<[String]>,
    positive: Option<u32>,
    places: HashMap<String, u32>,
}

/// What became of one label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Accepted(ModelKey, Outcome),
    Duplicate(ModelKey),
    Unknown,
}

/// A table that is bounded.
#[derive(Debug, Clone, Copy)]
struct Table {
    name: &'static str,
    rows: u64,
}

/// Why a feedback store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite cannot read or write the file.
    #[error("{}: {reason}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// The file is something else.
    #[error("{} is no feedback store: {detail}", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// The file was written by a newer release.
    #[error("{} has format {found}; this release reads up to {FORMAT}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
    },
    /// There is no thread for it.
    #[error("the system refuses a thread: {0}")]
    Thread(io::Error),
}

impl Default for Limits {
    /// 1,000,000 rows and 30 days.
    fn default() -> Self {
        Self { rows: 1_000_000, age: Duration::from_secs(30 * 24 * 3600) }
    }
}

impl Store {
    /// Opens the file at `path`, and makes it a store where it is absent or empty.
    pub(super) fn open(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        let connection = connect(path).map_err(|error| StoreError::sqlite(path, &error))?;
        check(path, &connection)?;
        let mut store = Self {
            path: path.to_owned(),
            connection,
            limits,
            models: HashMap::new(),
            keys: HashMap::new(),
            index: Index::default(),
            predictions: Table { name: "predictions", rows: 0 },
            labels: Table { name: "labels", rows: 0 },
        };
        store.read().map_err(|error| StoreError::sqlite(path, &error))?;
        Ok(store)
    }

    fn read(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -{CACHE_KIB}"
        ))?;
        self.models = models(&self.connection)?;
        self.index.catch_up(&self.connection)?;
        for table in [&mut self.predictions, &mut self.labels] {
            let count = format!("SELECT count(*) FROM {}", table.name);
            table.rows =
                self.connection.query_row(&count, [], |row| row.get::<_, i64>(0))?.cast_unsigned();
        }
        Ok(())
    }

    /// The latest labels of each version that has any.
    pub(super) fn windows(&self, size: WindowSize) -> Result<Vec<(ModelKey, Live)>, StoreError> {
        let read = || {
            let mut live = Vec::new();
            for (key, model) in &self.models {
                let mut window = Window::new(model.positive, size);
                let latest = latest(&self.connection, *key, size.labels)?;
                if !latest.is_empty() {
                    latest.into_iter().rev().for_each(|outcome| window.add(outcome));
                    live.push((*key, Live { window, ..model.live(size) }));
                }
            }
            Ok(live)
        };
        read().map_err(|error| StoreError::sqlite(&self.path, &error))
    }

    /// An empty window for the version `key`.
    pub(super) fn live(&self, key: ModelKey, size: WindowSize) -> Option<Live> {
        self.models.get(&key).map(|model| model.live(size))
    }

    /// Writes `answers` and joins the labels of each call, all in one transaction: after an error
    /// nothing has happened. A call with a label that is no class has no effect.
    pub(super) fn work<'a>(
        &mut self,
        answers: impl Iterator<Item = &'a (Answered, i64)> + Clone,
        calls: &[&Feedback],
        now: i64,
    ) -> Result<Vec<Result<Vec<Entry>, FeedbackError>>, StoreError> {
        let result = self.try_work(answers, calls, now);
        if result.is_err() {
            self.index.roll_back();
        }
        result.map_err(|error| StoreError::sqlite(&self.path, &error))
    }

    fn try_work<'a>(
        &mut self,
        answers: impl Iterator<Item = &'a (Answered, i64)> + Clone,
        calls: &[&Feedback],
        now: i64,
    ) -> rusqlite::Result<Vec<Result<Vec<Entry>, FeedbackError>>> {
        for (answered, _) in answers.clone() {
            self.make_known(&answered.tracked)?;
        }
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        self.index.catch_up(&transaction)?;
        let (mut predictions, mut labels) = (self.predictions, self.labels);
        predictions.rows += remember(&transaction, &self.keys, &mut self.index, answers)?;
        let mut joined = Vec::with_capacity(calls.len());
        for call in calls {
            joined.push(join(&transaction, &mut self.models, &self.index, call, now)?);
        }
        let accepted = |entry: &&Entry| matches!(entry, Entry::Accepted(..));
        labels.rows += joined.iter().flatten().flatten().filter(accepted).count() as u64;
        predictions.trim(&transaction, self.limits.rows)?;
        labels.trim(&transaction, self.limits.rows)?;
        let lowest: Option<i64> =
            transaction.query_row("SELECT min(number) FROM predictions", [], |row| row.get(0))?;
        transaction.commit()?;
        self.index.commit(lowest.unwrap_or(0));
        (self.predictions, self.labels) = (predictions, labels);
        Ok(joined)
    }

    /// Removes rows that have grown old, of each table as many as take no noticeable time.
    pub(super) fn remove_old(&mut self, now: i64) -> Result<(), StoreError> {
        let age = i64::try_from(self.limits.age.as_millis()).unwrap_or(i64::MAX);
        for table in [&mut self.predictions, &mut self.labels] {
            let name = table.name;
            let oldest = format!("SELECT number FROM {name} ORDER BY number LIMIT {OLD_ROWS}");
            let remove = format!("DELETE FROM {name} WHERE number IN ({oldest}) AND time < ?1");
            let removed = self
                .connection
                .prepare_cached(&remove)
                .and_then(|mut remove| remove.execute([now.saturating_sub(age)]))
                .map_err(|error| StoreError::sqlite(&self.path, &error))?;
            table.rows = table.rows.saturating_sub(removed as u64);
        }
        Ok(())
    }

    /// Gives a served version its key.
    fn make_known(&mut self, tracked: &Tracked) -> rusqlite::Result<()> {
        if self.keys.contains_key(&tracked.serial) {
            return Ok(());
        }
        let classes = serde_json::to_string(&tracked.labels).unwrap_or_default();
        let positive = tracked.positive.map(|class| class as i64);
        let key = self.connection.query_row(
            "INSERT INTO models (name, version, classes, positive) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET positive = excluded.positive RETURNING key",
            params![&*tracked.name, tracked.version, classes, positive],
            |row| row.get(0).map(ModelKey),
        )?;
        self.models = models(&self.connection)?;
        self.keys.insert(tracked.serial, key);
        Ok(())
    }
}

impl Model {
    fn live(&self, size: WindowSize) -> Live {
        let window = Window::new(self.positive, size);
        let name = Arc::clone(&self.name);
        Live { name, version: self.version, window, accepted: 0, duplicates: 0 }
    }
}

impl Table {
    /// Removes the oldest rows above `limit`.
    fn trim(&mut self, transaction: &Transaction<'_>, limit: u64) -> rusqlite::Result<()> {
        let surplus = self.rows.saturating_sub(limit);
        if surplus > 0 {
            let name = self.name;
            let oldest = format!("SELECT number FROM {name} ORDER BY number LIMIT ?1");
            let remove = format!("DELETE FROM {name} WHERE number IN ({oldest})");
            let removed = transaction.prepare_cached(&remove)?.execute([surplus.cast_signed()])?;
            self.rows = self.rows.saturating_sub(removed as u64);
        }
        Ok(())
    }
}

impl StoreError {
    fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        Self::Sqlite { path: path.to_owned(), reason: error.to_string() }
    }

    /// What happened, without the path, which is no business of clients.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Sqlite { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 && pragma(&transaction, "user_version")? == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
    }
    transaction.commit()?;
    Ok(connection)
}

fn check(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let read = |name| pragma(connection, name).map_err(|error| StoreError::sqlite(path, &error));
    let not_a_store = |detail| StoreError::NotAStore { path: path.to_owned(), detail };
    if read("application_id")? != APPLICATION {
        return Err(not_a_store("it is an SQLite file of some other program".to_owned()));
    }
    match read("user_version")? {
        FORMAT => Ok(()),
        found if found > FORMAT => Err(StoreError::Newer { path: path.to_owned(), found }),
        found => Err(not_a_store(format!("its format is {found}"))),
    }
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// All versions. One whose classes cannot be read is passed over, as if its rows were not known.
fn models(connection: &Connection) -> rusqlite::Result<HashMap<ModelKey, Arc<Model>>> {
    let mut query =
        connection.prepare_cached("SELECT key, name, version, classes, positive FROM models")?;
    let mut rows = query.query([])?;
    let mut models = HashMap::new();
    while let Some(row) = rows.next()? {
        let classes: String = row.get(3)?;
        let Ok(classes) = serde_json::from_str::<Vec<String>>(&classes) else { continue };
        let places = (0..).zip(&classes).map(|(place, class)| (class.clone(), place)).collect();
        let positive: Option<i64> = row.get(4)?;
        let model = Model {
            name: row.get::<_, String>(1)?.into(),
            version: row.get(2)?,
            positive: positive.and_then(|class| u32::try_from(class).ok()),
            classes: classes.into(),
            places,
        };
        models.insert(ModelKey(row.get(0)?), Arc::new(model));
    }
    Ok(models)
}

/// The latest labels of a version, newest first.
fn latest(connection: &Connection, key: ModelKey, count: usize) -> rusqlite::Result<Vec<Outcome>> {
    let mut query = connection.prepare_cached(
        "SELECT time, predicted, truth FROM labels WHERE model = ?1 ORDER BY number DESC LIMIT ?2",
    )?;
    let outcome = |row: &rusqlite::Row<'_>| {
        Ok(Outcome { time: row.get(0)?, predicted: row.get(1)?, truth: row.get(2)? })
    };
    query.query_map(params![key.0, count as i64], outcome)?.collect()
}

/// Writes the rows of `answers` that are not there yet; how many they were.
fn remember<'a>(
    transaction: &Transaction<'_>,
    keys: &HashMap<u64, ModelKey>,
    index: &mut Index,
    answers: impl Iterator<Item = &'a (Answered, i64)>,
) -> rusqlite::Result<u64> {
    let mut remember = transaction.prepare_cached(REMEMBER)?;
    let mut new = 0;
    for (Answered { id, tracked, predicted, .. }, time) in answers {
        // After a commit that failed in name only, it is there.
        let (Some(key), None) = (keys.get(&tracked.serial), index.find(*id)) else { continue };
        let first = index.add(*id, predicted.len());
        new += predicted.len() as u64;
        for ((number, row), predicted) in (first..).zip(0u32..).zip(predicted) {
            remember.execute(params![number, id.to_bytes(), row, key.0, predicted, time])?;
        }
    }
    Ok(new)
}

/// Joins the labels of a call, after looking all of them up.
fn join(
    transaction: &Transaction<'_>,
    known: &mut HashMap<ModelKey, Arc<Model>>,
    index: &Index,
    call: &Feedback,
    now: i64,
) -> rusqlite::Result<Result<Vec<Entry>, FeedbackError>> {
    let mut find = transaction.prepare_cached(FIND)?;
    let mut found = Vec::with_capacity(call.labels.len());
    for (position, labelled) in call.labels.iter().enumerate() {
        let Some(row) = look_up(&mut find, index, labelled)? else {
            found.push(None);
            continue;
        };
        if !known.contains_key(&row.key) {
            // Another process that shares the file has added it.
            *known = models(transaction)?;
        }
        let is_meant = |model: &&Arc<Model>| {
            *model.name == call.model && call.version.is_none_or(|version| version == model.version)
        };
        let Some(model) = known.get(&row.key).filter(is_meant) else {
            found.push(None);
            continue;
        };
        match model.places.get(&labelled.label) {
            Some(truth) => found.push(Some((row, *truth))),
            None => return Ok(Err(model.no_class(position, &labelled.label))),
        }
    }
    let mut mark = transaction.prepare_cached(MARK)?;
    let mut label = transaction.prepare_cached(LABEL)?;
    let mut entries = Vec::with_capacity(found.len());
    for (labelled, found) in call.labels.iter().zip(found) {
        let Some((Found { number, key, predicted, is_labelled }, truth)) = found else {
            entries.push(Entry::Unknown);
            continue;
        };
        // A call may name a row twice.
        if is_labelled || mark.execute([number])? == 0 {
            entries.push(Entry::Duplicate(key));
            continue;
        }
        let id = labelled.id.to_bytes();
        label.execute(params![id, labelled.row, key.0, predicted, truth, now])?;
        entries.push(Entry::Accepted(key, Outcome { time: now, predicted, truth }));
    }
    Ok(Ok(entries))
}

/// A known row.
struct Found {
    number: i64,
    key: ModelKey,
    predicted: u32,
    is_labelled: bool,
}

fn look_up(
    find: &mut CachedStatement<'_>,
    index: &Index,
    labelled: &Labelled,
) -> rusqlite::Result<Option<Found>> {
    let Labelled { id, row, .. } = labelled;
    let Some(first) = index.find(*id) else { return Ok(None) };
    let number = first.saturating_add(i64::from(*row));
    let found = |found: &rusqlite::Row<'_>| {
        Ok(Found {
            number,
            key: ModelKey(found.get(0)?),
            predicted: found.get(1)?,
            is_labelled: found.get(2)?,
        })
    };
    find.query_row(params![number, id.to_bytes(), row], found).optional()
}

impl Model {
    fn no_class(&self, index: usize, label: &str) -> FeedbackError {
        FeedbackError::NoClass {
            index,
            label: label.to_owned(),
            model: self.name.to_string(),
            version: self.version,
            classes: Arc::clone(&self.classes),
        }
    }
}

#[cfg(test)]
mod tests;
