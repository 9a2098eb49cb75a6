//! What can go wrong with a study.

use std::io;
use std::path::{Path, PathBuf};

use luthier_tune::UnknownName;
use rusqlite::{ErrorCode, ffi};

use crate::Locator;
use crate::spec::Change;

/// Why a study cannot be opened, read or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StudyError {
    /// The file holds a study that was set up otherwise.
    #[error("the study was started with another setup: {0}")]
    Changed(Change),
    /// A parameter of the space has no sensible values.
    #[error("parameter `{parameter}`: {fault}")]
    Space {
        /// The parameter.
        parameter: String,
        /// What is wrong with its distribution.
        fault: String,
    },
    /// Given values do not fit the space.
    #[error(transparent)]
    Values(#[from] luthier_space::ValueError),
    /// There is no such trial.
    #[error("there is no trial {number}")]
    NoTrial {
        /// Its number.
        number: u64,
    },
    /// A trial that was evaluated elsewhere has no place in the study.
    #[error("trial {place} of those to import: {fault}")]
    Import {
        /// Its place among those that were given, from 0.
        place: usize,
        /// What is wrong with it.
        fault: String,
    },
    /// The setup names a sampler that does not exist.
    #[error(transparent)]
    UnknownName(#[from] UnknownName),
    /// What is there is no study, or is damaged.
    #[error("`{storage}` is not a sound study: {detail}")]
    Corrupt {
        /// Where the study is kept.
        storage: Locator,
        /// What does not fit.
        detail: String,
    },
    /// It is an SQLite file, of some other program.
    #[error("`{}` is an SQLite file of some other program", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The study was written by a newer release.
    #[error("`{storage}` has format {format}, the newest known is {known}")]
    Newer {
        /// Where the study is kept.
        storage: Locator,
        /// Its format.
        format: i64,
        /// The newest format that this release reads.
        known: i64,
    },
    /// There is no room for the file to grow.
    #[error("no space left for `{}`", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system or SQLite said.
        source: io::Error,
    },
    /// There is no such study in the database, or several and no word on which is meant.
    #[error("`{storage}` has {}", match name {
        Some(name) => format!("no study `{name}`"),
        None if known.is_empty() => "no study".to_owned(),
        None => format!("{} studies, name one", known.len()),
    })]
    Absent {
        /// The database.
        storage: Locator,
        /// The study that was asked for.
        name: Option<String>,
        /// Those that are there.
        known: Vec<String>,
    },
    /// The database cannot be reached, or refuses.
    #[error("`{storage}`: {detail}")]
    Database {
        /// The database.
        storage: Locator,
        /// What it or the system said.
        detail: String,
    },
    /// Trial after trial failed, so the run was given up.
    #[error("{in_a_row} trials in a row failed, the last one with: {reason}")]
    Failures {
        /// Number of failures without a success in between.
        in_a_row: u32,
        /// Reason of the last one.
        reason: String,
    },
}

impl StudyError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.to_owned() }
            }
            _ => Self::Io { path: path.to_owned(), source },
        }
    }

    pub(crate) fn sqlite(path: &Path, error: rusqlite::Error) -> Self {
        let corrupt = |error: rusqlite::Error| Self::Corrupt {
            storage: path.into(),
            detail: error.to_string(),
        };
        let rusqlite::Error::SqliteFailure(failure, _) = &error else {
            // All others say that rows or columns are not what was written.
            return corrupt(error);
        };
        match failure.code {
            ErrorCode::DiskFull => Self::DiskFull { path: path.to_owned() },
            // The file beside the study that connections share cannot grow. SQLite does not say
            // why, but on a sound disk there is one reason.
            _ if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE => {
                Self::DiskFull { path: path.to_owned() }
            }
            // "Unknown" is an error in a statement: a table or column is missing.
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::Unknown => corrupt(error),
            _ => Self::Io { path: path.to_owned(), source: io::Error::other(error) },
        }
    }
}
