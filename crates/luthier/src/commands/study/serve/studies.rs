//! The studies of a storage, opened when somebody asks for them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use luthier_serve::StatusCode;
use luthier_study::{AskError, AskTell, Asking, Locator, Study, StudyError, StudySpec};

use super::form::Setup;
use crate::commands::study::Found;
use crate::commands::study::place::{Place, fault_of_name};
use crate::failure::Failure;

/// Why a client gets no answer.
#[derive(Debug)]
pub(in crate::commands::study) struct Fault {
    pub(super) status: StatusCode,
    /// What is wrong, without a full stop.
    pub(super) message: String,
    /// Which field of the body it is in.
    pub(in crate::commands::study) field: Option<String>,
    /// What to try next.
    pub(super) hint: Option<String>,
    /// The methods that there are, where the one asked for is not among them.
    pub(super) allow: Option<&'static str>,
}

impl Fault {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), field: None, hint: None, allow: None }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::bad(message) }
    }

    fn absent(name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no study `{name}`"))
    }

    /// For what was asked on the command line.
    pub(in crate::commands::study) fn into_failure(self) -> Failure {
        let failure = match self.status.is_server_error() {
            true => Failure::fault(self.message),
            false => Failure::input(self.message),
        };
        Failure { hint: self.hint, ..failure }
    }
}

impl From<StudyError> for Fault {
    fn from(error: StudyError) -> Self {
        let (status, field) = match &error {
            StudyError::Changed(_) => (StatusCode::CONFLICT, None),
            StudyError::Space { parameter, .. } => {
                (StatusCode::BAD_REQUEST, Some(format!("space.{parameter}")))
            }
            StudyError::UnknownName(unknown) => {
                (StatusCode::BAD_REQUEST, Some(unknown.kind.to_owned()))
            }
            StudyError::Values(_) => (StatusCode::BAD_REQUEST, Some("values".to_owned())),
            StudyError::Absent { .. } | StudyError::NoTrial { .. } => (StatusCode::NOT_FOUND, None),
            StudyError::Import { place, .. } => {
                (StatusCode::BAD_REQUEST, Some(format!("trials[{place}]")))
            }
            StudyError::Database { .. } | StudyError::DiskFull { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, None)
            }
            _ => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        let Failure { message, hint, .. } = error.into();
        Self { field, hint, ..Self::new(status, message) }
    }
}

impl From<AskError> for Fault {
    fn from(error: AskError) -> Self {
        let message = error.to_string();
        match error {
            AskError::Unknown { .. } => Self::new(StatusCode::NOT_FOUND, message),
            AskError::Over { .. } | AskError::Lost { .. } => {
                Self::new(StatusCode::CONFLICT, message)
            }
            AskError::Scores { .. } => Self::field("scores", message),
            AskError::Study(error) => error.into(),
        }
    }
}

/// Studies by name.
pub(super) struct Studies {
    place: Place,
    asking: Asking,
    open: Mutex<BTreeMap<String, Arc<AskTell>>>,
}

impl Studies {
    pub(super) fn new(storage: &str, asking: Asking) -> Result<Self, Failure> {
        let place = Place::of(storage)?;
        Ok(Self { place, asking, open: Mutex::default() })
    }

    /// Sets a study up, or checks that the one that is there is set up so.
    pub(super) fn set_up(&self, setup: Setup) -> Result<Arc<AskTell>, Fault> {
        check_name(&setup.name)?;
        let spec = setup.into_spec()?;
        let mut open = self.open();
        // Opening it a second time compares the setups.
        let study = Study::open(self.place.locator(&spec.name), &spec)?;
        // An open space that is the same may have grown.
        let same = |found: &&Arc<AskTell>| {
            StudySpec { space: spec.space.clone(), ..found.study().spec().clone() } == spec
        };
        if let Some(found) = open.get(&spec.name).filter(same) {
            return Ok(Arc::clone(found));
        }
        let study = Arc::new(AskTell::new(study, self.asking)?);
        open.insert(spec.name, Arc::clone(&study));
        Ok(study)
    }

    /// The study of a name.
    pub(super) fn find(&self, name: &str) -> Result<Arc<AskTell>, Fault> {
        check_name(name)?;
        let mut open = self.open();
        if let Some(found) = open.get(name) {
            return Ok(Arc::clone(found));
        }
        let study = Study::existing(&self.place.locator(name), Some(name));
        let study = study.map_err(|error| absent_or(name, error))?;
        if study.spec().name != name {
            return Err(Fault::absent(name));
        }
        let study = Arc::new(AskTell::new(study, self.asking)?);
        open.insert(name.to_owned(), Arc::clone(&study));
        Ok(study)
    }

    /// A study as it stands.
    pub(super) fn read(&self, name: &str) -> Result<Found, Fault> {
        check_name(name)?;
        let found = Found::read(self.place.locator(name), Some(name));
        let found = found.map_err(|error| absent_or(name, error))?;
        match found.records.spec.name == name {
            true => Ok(found),
            false => Err(Fault::absent(name)),
        }
    }

    /// All studies.
    pub(super) fn all(&self) -> Result<Vec<Found>, Fault> {
        let folder = match &self.place {
            Place::Folder(folder) => folder,
            Place::File(path) if !path.exists() => return Ok(Vec::new()),
            Place::File(path) => return Ok(Found::all(&Locator::File(path.clone()))?),
            Place::Database(locator) => return Ok(Found::all(locator)?),
        };
        let io = |error: io::Error| {
            Fault::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{}: {error}", folder.display()))
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|extension| extension == "db") {
                files.push(path);
            }
        }
        files.sort();
        // A file of another program is no study of ours.
        let studies = files.iter().map(|path| Found::read(Locator::from(path), None));
        let studies = studies.filter(|found| {
            !matches!(found, Err(StudyError::Corrupt { .. } | StudyError::Foreign { .. }))
        });
        Ok(studies.collect::<Result<_, _>>()?)
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, Arc<AskTell>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn absent_or(name: &str, error: StudyError) -> Fault {
    match error {
        StudyError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Fault::absent(name)
        }
        StudyError::Absent { .. } => Fault::absent(name),
        error => error.into(),
    }
}

/// Names are parts of paths and of names of files.
fn check_name(name: &str) -> Result<(), Fault> {
    fault_of_name(name).map_or(Ok(()), |fault| Err(Fault::field("name", fault)))
}
