//! What can go wrong with a study.

use std::io;
use std::path::{Path, PathBuf};

use luthier_tune::UnknownName;
use rusqlite::{ErrorCode, ffi};

use crate::spec::Change;

/// Why a study cannot be opened, read or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StudyError {
    /// Another process runs the study.
    #[error("the study is in use{}", pid.map_or_else(String::new, |pid| format!(" by process {pid}")))]
    InUse {
        /// The other process, if it has left its number yet.
        pid: Option<u32>,
    },
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
    /// The setup names a sampler or pruner that does not exist.
    #[error(transparent)]
    UnknownName(#[from] UnknownName),
    /// The file is no study, or is damaged.
    #[error("`{}` is not a sound study: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// The file was written by a newer release.
    #[error("`{}` has format {format}, the newest known is {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
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

    pub(crate) fn corrupt(path: &Path, detail: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), detail: detail.into() }
    }

    pub(crate) fn sqlite(path: &Path, error: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(failure, _) = &error else {
            // All others say that rows or columns are not what was written.
            return Self::corrupt(path, error.to_string());
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
            | ErrorCode::Unknown => Self::corrupt(path, error.to_string()),
            _ => Self::Io { path: path.to_owned(), source: io::Error::other(error) },
        }
    }
}
