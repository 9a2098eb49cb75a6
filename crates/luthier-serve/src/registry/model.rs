//! One model: which of its versions are there, in what state, and what should become of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::folder::{Fingerprint, FoundModel, Labels};
use crate::VersionPolicy;
use crate::models::{ModelState, ServedModel};
use crate::versions::{VersionError, VersionStatus};

/// Pause after which a version that could not be loaded is tried again though its files are the
/// same, since what was wrong may lie elsewhere; TensorFlow Serving's `load_retry_interval`.
const RETRY_PAUSE: Duration = Duration::from_secs(60);

/// What is known of a model.
#[derive(Default)]
pub(super) struct Model {
    /// The base path that it is in; `None` for bundles that are served as they are.
    pub(super) base: Option<PathBuf>,
    /// Folder of each version that is there.
    pub(super) folders: BTreeMap<i64, PathBuf>,
    /// Versions by label.
    pub(super) labels: Labels,
    /// Versions that are or were wanted.
    states: BTreeMap<i64, State>,
}

/// State of a version.
pub(super) enum State {
    Start,
    Loading,
    Available(Arc<ServedModel>),
    Unloading,
    Ended,
    Failed(Failure),
}

/// A version that could not be loaded.
pub(super) struct Failure {
    pub(super) error: Arc<VersionError>,
    /// Whether the folder is no bundle yet; it may still be written.
    pub(super) is_partial: bool,
    pub(super) tried: Instant,
    /// The files as they were before it was tried.
    pub(super) files: Fingerprint,
    /// The files as they were seen last.
    seen: Fingerprint,
    /// Whether it is to be tried again.
    is_due: bool,
}

impl Model {
    /// A model in a base path, of which nothing is known yet.
    pub(super) fn within(base: &Path) -> Self {
        Self { base: Some(base.to_owned()), ..Self::default() }
    }

    /// Where it comes from.
    pub(super) fn place(&self) -> PathBuf {
        let bundle = || self.folders.values().next().cloned();
        self.base.clone().or_else(bundle).unwrap_or_default()
    }

    /// Takes in what a look at the base path found, `None` where the model was not there.
    pub(super) fn see(
        &mut self,
        found: Option<FoundModel>,
        now: Instant,
        fingerprint: impl Fn(&Path) -> Fingerprint,
    ) {
        let (folders, labels) = found.map_or_else(Default::default, |f| (f.versions, f.labels));
        self.folders = folders;
        self.labels = labels.unwrap_or_else(|| std::mem::take(&mut self.labels));
        self.states.retain(|version, state| match (state, self.folders.get(version)) {
            (State::Failed(failure), Some(folder)) => {
                failure.see(fingerprint(folder), now);
                true
            }
            (State::Start | State::Failed(_) | State::Ended, None) => false,
            _ => true,
        });
    }

    /// Whether there is nothing of it any more.
    pub(super) fn is_gone(&self) -> bool {
        self.folders.is_empty() && self.states.is_empty()
    }

    /// The versions to be served: what the policy and the labels ask for, of what is there and can
    /// be loaded. All of them for bundles that are served as they are.
    pub(super) fn wanted(&self, policy: &VersionPolicy) -> BTreeSet<i64> {
        let usable = || self.folders.keys().copied().filter(|version| self.is_usable(*version));
        let mut wanted: BTreeSet<i64> = match policy {
            _ if self.base.is_none() => usable().collect(),
            VersionPolicy::All => usable().collect(),
            VersionPolicy::Latest(count) => usable().rev().take(*count).collect(),
            VersionPolicy::Specific(versions) => {
                usable().filter(|v| versions.contains(v)).collect()
            }
        };
        let is_labelled = |version: &i64| self.labels.values().any(|labelled| labelled == version);
        wanted.extend(usable().filter(is_labelled));
        wanted
    }

    /// Notes that the wanted versions are to be loaded, and gives the highest that is not.
    pub(super) fn next_to_load(&mut self, policy: &VersionPolicy) -> Option<i64> {
        let wanted = self.wanted(policy);
        for version in &wanted {
            self.states.entry(*version).or_insert(State::Start);
        }
        wanted.into_iter().rev().find(|version| !self.is_available(*version))
    }

    /// The versions that are no longer wanted and can go, since all that are wanted answer.
    pub(super) fn leaving(&self, policy: &VersionPolicy) -> Vec<i64> {
        let wanted = self.wanted(policy);
        if wanted.is_empty() || !wanted.iter().all(|version| self.is_available(*version)) {
            return Vec::new();
        }
        self.available().map(|model| model.version).filter(|v| !wanted.contains(v)).collect()
    }

    /// Why the model is served though no version is wanted, or is not served.
    pub(super) fn problem(&self, policy: &VersionPolicy) -> Option<String> {
        if !self.wanted(policy).is_empty() {
            return None;
        }
        let reason = match self.folders.len() {
            0 => "its folder holds no version any more",
            _ if self.folders.keys().any(|version| !self.is_usable(*version)) => {
                "no other version can be loaded"
            }
            _ => "the version policy asks for none of those that are there",
        };
        Some(match self.available().next() {
            // A folder that vanishes is more often a lost mount than a wish to stop.
            Some(model) => format!("version {} goes on answering: {reason}", model.version),
            None => format!("no version answers: {reason}"),
        })
    }

    /// The versions that answer, falling.
    pub(super) fn available(&self) -> impl Iterator<Item = &Arc<ServedModel>> {
        self.states.values().rev().filter_map(|state| match state {
            State::Available(model) => Some(model),
            _ => None,
        })
    }

    /// The version's last failure, if it has failed.
    pub(super) fn failure(&self, version: i64) -> Option<&Failure> {
        match self.states.get(&version) {
            Some(State::Failed(failure)) => Some(failure),
            _ => None,
        }
    }

    /// The failure of the highest version that has failed.
    pub(super) fn last_failure(&self) -> Option<&Failure> {
        self.states.keys().rev().find_map(|version| self.failure(*version))
    }

    /// Changes the state of a version, and gives the one before.
    pub(super) fn set(&mut self, version: i64, state: State) -> Option<State> {
        self.states.insert(version, state)
    }

    /// Notes that a version has left.
    pub(super) fn end(&mut self, version: i64) {
        if let Some(state @ State::Unloading) = self.states.get_mut(&version) {
            *state = State::Ended;
        }
    }

    /// The states by falling version.
    pub(super) fn statuses(&self, name: &Arc<str>) -> impl Iterator<Item = VersionStatus> {
        self.states.iter().rev().map(|(version, state)| VersionStatus {
            name: Arc::clone(name),
            version: *version,
            version_label: version.to_string().into(),
            state: state.kind(),
            error: match state {
                State::Failed(failure) => Some(Arc::clone(&failure.error)),
                _ => None,
            },
            model: match state {
                State::Available(model) => Some(Arc::clone(model)),
                _ => None,
            },
        })
    }

    fn is_usable(&self, version: i64) -> bool {
        self.failure(version).is_none_or(|failure| failure.is_due)
    }

    fn is_available(&self, version: i64) -> bool {
        matches!(self.states.get(&version), Some(State::Available(_)))
    }
}

impl State {
    fn kind(&self) -> ModelState {
        match self {
            Self::Start => ModelState::Start,
            Self::Loading => ModelState::Loading,
            Self::Available(_) => ModelState::Available,
            Self::Unloading => ModelState::Unloading,
            Self::Failed(failure) if failure.is_partial => ModelState::Start,
            Self::Ended | Self::Failed(_) => ModelState::End,
        }
    }
}

impl Failure {
    pub(super) fn new(
        error: VersionError,
        is_partial: bool,
        tried: Instant,
        files: Fingerprint,
    ) -> Self {
        let (error, seen) = (Arc::new(error), files.clone());
        Self { error, is_partial, tried, files, seen, is_due: false }
    }

    /// Whether `other` would tell a reader of the log nothing new.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.error == other.error && self.files == other.files
    }

    /// It is tried again when its files have changed and then stayed as they are from one look to
    /// the next, since they may still be copied; and after a pause.
    fn see(&mut self, files: Fingerprint, now: Instant) {
        let has_settled = files != self.files && files == self.seen;
        self.is_due = has_settled || now.saturating_duration_since(self.tried) >= RETRY_PAUSE;
        self.seen = files;
    }
}

#[cfg(test)]
mod tests;
