//! Errors as a user reads them: what happened, and what to do next.

use std::borrow::Borrow;
use std::fmt;
use std::io;
use std::path::Path;

use luthier_bundle::BundleError;
use luthier_data::{CellError, DataError};
use luthier_eval::EvalError;
use luthier_hub::HubError;
use luthier_serve::ServeError;
use luthier_ship::ShipError;
use luthier_space::{ConstraintError, FormError};
use luthier_study::StudyError;
use luthier_train::TrainError;

/// Exit codes, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// A check that was asked for said no.
    No = 1,
    /// Something in the user's input is wrong.
    Input = 2,
    /// Something in this program or its surroundings failed.
    Fault = 3,
    /// Stopped by Ctrl-C or SIGTERM; the same command goes on where it stopped.
    Interrupted = 130,
}

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// What happened and where, without a full stop.
    pub(crate) message: String,
    /// What to try next.
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self { code: Code::Input, message: message.into(), hint: None }
    }

    pub(crate) fn fault(message: impl Into<String>) -> Self {
        Self { code: Code::Fault, message: message.into(), hint: None }
    }

    pub(crate) fn no(message: impl Into<String>) -> Self {
        Self { code: Code::No, message: message.into(), hint: None }
    }

    pub(crate) fn interrupted(hint: impl Into<String>) -> Self {
        let message = "interrupted".to_owned();
        Self { code: Code::Interrupted, message, hint: Some(hint.into()) }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says where it happened, ahead of what did.
    #[must_use]
    pub(crate) fn within(self, place: impl fmt::Display) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
    }

    /// For `map_err` on anything that touches `path`.
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |error| {
            let failure = Self::fault(format!("{}: {error}", path.display()));
            match error.kind() {
                io::ErrorKind::StorageFull => failure.hint(FREE_SPACE),
                io::ErrorKind::NotFound => Self { code: Code::Input, ..failure },
                _ => failure,
            }
        }
    }
}

const FREE_SPACE: &str = "free some space and run the same command again; finished work is kept";

/// `did you mean …`, for a name that is near a known one.
pub(crate) fn did_you_mean(nearest: &str) -> String {
    format!("did you mean `{nearest}`?")
}

/// `did you mean …` where a known name is near, and all known names otherwise.
pub(crate) fn meant_or_known<S: Borrow<str>>(nearest: Option<&str>, known: &[S]) -> String {
    nearest.map_or_else(|| format!("known are {}", known.join(", ")), did_you_mean)
}

/// The known name nearest to `name`, if it is near.
pub(crate) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(candidate, name), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= 1 + name.chars().count() / 3)
        .map(|(_, candidate)| candidate)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        let failure = Self::input(error.to_string());
        match error {
            DataError::Io { path, source } => Self::io(&path)(source),
            DataError::MissingColumn { nearest: Some(nearest), .. } => {
                failure.hint(did_you_mean(&nearest))
            }
            DataError::FieldCount { .. } => {
                failure.hint("a field that holds the separator or a line break must be quoted")
            }
            DataError::InvalidUtf8 { .. } => {
                failure.hint("convert the file, for example with `iconv -t UTF-8`")
            }
            DataError::BadCell { error: CellError::Number { ref column, .. }, .. } => failure.hint(
                format!("correct the cell or leave it empty, or say that `{column}` is a category"),
            ),
            DataError::UnseenClass { .. } => {
                failure.hint("add rows of this class to the training data, or drop these rows")
            }
            DataError::EmptySplit { .. } => {
                failure.hint("give a file for this part, or a larger fraction in `data.split`")
            }
            DataError::Changed { .. } => failure.hint("run the command again"),
            _ => failure,
        }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        let failure = Self::input(error.to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        let message = error.to_string();
        match error {
            BundleError::Io { path, source } => Self::io(&path)(source),
            BundleError::Engine(_) | BundleError::Probe { .. } => Self::fault(message),
            BundleError::Digest { .. } | BundleError::Size { .. } => Self::input(message)
                .hint("copy the bundle again from where it was made, or make it again"),
            BundleError::Newer { .. } => Self::input(message).hint("update luthier"),
            BundleError::VersionTaken { .. } => {
                Self::input(message).hint("leave --version out to get the next free one")
            }
            BundleError::NotAModel { .. } => {
                Self::input(message).hint("give <base>/<model>, as in `models/sentiment`")
            }
            _ => Self::input(message),
        }
    }
}

impl From<StudyError> for Failure {
    fn from(error: StudyError) -> Self {
        let message = error.to_string();
        match error {
            StudyError::DiskFull { .. } => Self::fault(message).hint(FREE_SPACE),
            StudyError::Io { path, source } => Self::io(&path)(source),
            StudyError::Database { .. } => Self::fault(message),
            StudyError::Changed(_) => Self::input(message)
                .hint("keep the setup, or give the study another `name` or storage"),
            StudyError::Foreign { .. } => {
                Self::input(message).hint("`luthier study import` takes in studies of Optuna")
            }
            StudyError::Absent { known, .. } if known.is_empty() => Self::input(message),
            StudyError::Absent { known, .. } => {
                Self::input(message).hint(format!("there are {}", known.join(", ")))
            }
            _ => Self::input(message),
        }
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Source(source) => match source.downcast::<DataError>() {
                Ok(error) => Self::from(*error),
                Err(error) => Self::fault(error.to_string()),
            },
            other => Self::input(other.to_string()),
        }
    }
}

impl From<EvalError> for Failure {
    fn from(error: EvalError) -> Self {
        let failure = Self::input(error.to_string());
        match error {
            EvalError::UnknownMetric { nearest, known, .. } => {
                failure.hint(meant_or_known(nearest.as_deref(), &known))
            }
            _ => failure,
        }
    }
}

impl From<FormError> for Failure {
    fn from(error: FormError) -> Self {
        let failure = Self::input(error.to_string());
        match error {
            FormError::Unknown { nearest, known, .. } => {
                failure.hint(meant_or_known(nearest.as_deref(), &known))
            }
            FormError::Constraint(ConstraintError { nearest: Some(name), .. }) => {
                failure.hint(did_you_mean(&name))
            }
            FormError::Constraint(_) | FormError::Parameter { .. } => failure,
        }
    }
}

impl From<ShipError> for Failure {
    fn from(error: ShipError) -> Self {
        let failure = Self::input(error.to_string());
        match error {
            ShipError::Name { .. } => failure
                .hint("change `name` in luthier.toml, remove the run folder and run the job again"),
            ShipError::NoAccuracy => failure.hint("give the limit with --min-accuracy"),
            ShipError::Setting { .. } => failure,
        }
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let message = error.to_string();
        match error {
            ServeError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Self::fault(message)
                    .hint("another program uses the port; choose one with --rest-port")
            }
            ServeError::Model { source, .. } => Self { message, ..Self::from(source) },
            ServeError::Io { path, source } => Self::io(&path)(source),
            ServeError::Bind { .. }
            | ServeError::WarmUp { .. }
            | ServeError::Loader
            | ServeError::System(_) => Self::fault(message),
            _ => Self::input(message),
        }
    }
}
