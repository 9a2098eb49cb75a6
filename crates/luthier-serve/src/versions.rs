//! The versions that a server knows, as they are at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Route;
use crate::models::{ModelState, ServedModel};
use crate::service::{Code, ServiceError, Version};

/// All versions and labels. It never changes: the registry puts a new one in its place, so that a
/// request sees one consistent state without taking a lock. It keeps the versions in memory that it
/// shows, so that it is looked at and not kept.
#[derive(Default)]
pub(crate) struct Versions {
    /// By name and falling version.
    pub(crate) statuses: Vec<VersionStatus>,
    /// Versions by label, for each model that has labels.
    pub(crate) labels: BTreeMap<Arc<str>, BTreeMap<String, i64>>,
    /// Alias routes.
    pub(crate) routes: Arc<[Arc<Route>]>,
    /// Whether every model has had a version that answers; stays so once it is.
    pub(crate) is_ready: bool,
}

/// A version and its state.
#[derive(Clone)]
pub(crate) struct VersionStatus {
    /// Name of the model.
    pub(crate) name: Arc<str>,
    /// Version.
    pub(crate) version: i64,
    /// The version as a label of metrics.
    pub(crate) version_label: Arc<str>,
    /// State.
    pub(crate) state: ModelState,
    /// Why it could not be loaded.
    pub(crate) error: Option<Arc<VersionError>>,
    /// What answers, where the state is [`ModelState::Available`].
    pub(crate) model: Option<Arc<ServedModel>>,
}

/// Why a version could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionError {
    /// Its kind.
    pub(crate) code: Code,
    /// What happened, and where.
    pub(crate) message: String,
}

impl Versions {
    /// Whether `other` shows the same.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let same = |(one, other): (&VersionStatus, &VersionStatus)| one.is_like(other);
        self.is_ready == other.is_ready
            && self.routes == other.routes
            && self.labels == other.labels
            && self.statuses.len() == other.statuses.len()
            && self.statuses.iter().zip(&other.statuses).all(same)
    }

    /// The model that a call means, ready to answer.
    pub(crate) fn find(
        &self,
        name: &str,
        version: Version<'_>,
    ) -> Result<&Arc<ServedModel>, ServiceError> {
        let of_name = || self.statuses.iter().filter(|status| &*status.name == name);
        let number = match version {
            Version::Latest => {
                if let Some(model) = of_name().find_map(|status| status.model.as_ref()) {
                    return Ok(model);
                }
                let highest = of_name().next();
                return Err(highest.map_or_else(
                    || ServiceError::NoModel { name: name.to_owned() },
                    VersionStatus::not_available,
                ));
            }
            Version::Specific(version) => version,
            Version::Label(label) => self.labelled(name, label)?,
        };
        let none = || ServiceError::NoVersion { name: name.to_owned(), version: number };
        let status = of_name().find(|status| status.version == number).ok_or_else(none)?;
        match (&status.model, status.state) {
            (Some(model), _) => Ok(model),
            (None, ModelState::Unloading | ModelState::End) => Err(none()),
            (None, _) => Err(status.not_available()),
        }
    }

    /// The versions that a question about status means, at least one, whatever their state.
    pub(crate) fn status(
        &self,
        name: &str,
        version: Version<'_>,
    ) -> Result<Vec<VersionStatus>, ServiceError> {
        let number = match version {
            Version::Latest => None,
            Version::Specific(version) => Some(version),
            Version::Label(label) => Some(self.labelled(name, label)?),
        };
        let is_meant = |status: &&VersionStatus| {
            &*status.name == name && number.is_none_or(|number| status.version == number)
        };
        let found: Vec<_> = self.statuses.iter().filter(is_meant).cloned().collect();
        match (found.is_empty(), number) {
            (false, _) => Ok(found),
            (true, Some(version)) => {
                Err(ServiceError::NoVersionStatus { name: name.to_owned(), version })
            }
            (true, None) => Err(ServiceError::NoStatus { name: name.to_owned() }),
        }
    }

    fn labelled(&self, name: &str, label: &str) -> Result<i64, ServiceError> {
        let found = self.labels.get(name).and_then(|labels| labels.get(label));
        found.copied().ok_or_else(|| ServiceError::NoLabel { label: label.to_owned() })
    }
}

impl VersionStatus {
    fn is_like(&self, other: &Self) -> bool {
        let model = |status: &Self| status.model.as_ref().map(Arc::as_ptr);
        self.name == other.name
            && self.version == other.version
            && self.state == other.state
            && self.error == other.error
            && model(self) == model(other)
    }

    fn not_available(&self) -> ServiceError {
        let (name, version) = (Arc::clone(&self.name), self.version);
        ServiceError::NotAvailable { name, version, state: self.state.name() }
    }
}
