//! The thread that keeps the served versions as the base paths want them.
//!
//! It looks at the base paths, loads and warms up what is new, and only then lets it answer; what
//! is no longer wanted gets no further requests, finishes those that it has, and goes. A version
//! that cannot be loaded changes nothing for the others. All of it happens beside the requests:
//! they meet the registry only in [`Registry::versions`].
//!
//! One rule keeps a model answering: a version is let go only once every version that is wanted
//! instead of it answers. So a broken version, a folder that is half written, and a base path that
//! is empty for a moment leave everything as it is.

pub(crate) mod folder;
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use luthier_bundle::{Bundle, BundleError};
use luthier_engine::Threads;
use tokio::sync::oneshot;

use crate::models::{MANIFEST, ModelSource, PredictError, ServedModel};
use crate::service::Code;
use crate::versions::{VersionError, Versions};
use crate::{Models, Route, RouteProblem, ServeConfig, ServeError, VersionPolicy};

use folder::{Fingerprint, FoundModel, Scan};
use model::{Failure, Model, State};

/// Pause between two looks at whether a version that goes has finished its requests.
const RELEASE_PAUSE: Duration = Duration::from_millis(10);

/// Says whether a protocol can serve an alias route at a path.
pub(crate) type RouteCheck = fn(&str) -> Result<(), RouteProblem>;

/// The served versions. Its thread ends when it is dropped.
pub(crate) struct Registry {
    current: Arc<ArcSwap<Versions>>,
    _stop: Sender<Infallible>,
}

/// The first versions, while they are being loaded.
pub(crate) struct Loading(oneshot::Receiver<Result<(), ServeError>>);

/// What the thread owns.
struct Loader {
    models: BTreeMap<Arc<str>, Model>,
    /// The bundles that are served as they are, until they are loaded.
    bundles: BTreeMap<(Arc<str>, i64), Bundle>,
    bases: Vec<PathBuf>,
    policy: VersionPolicy,
    poll: Option<Duration>,
    /// Versions that get no more requests.
    leaving: Vec<Arc<ServedModel>>,
    routes: Vec<Arc<Route>>,
    route_check: RouteCheck,
    /// What the last look could not read.
    unread: Vec<String>,
    /// What has been logged and is still so.
    problems: BTreeSet<String>,
    is_ready: bool,
    /// Where versions are loaded and warmed up; workers run them on threads of their own.
    threads: Threads,
    current: Arc<ArcSwap<Versions>>,
}

impl Registry {
    /// Takes `models` in and starts to load them.
    pub(crate) fn start(
        models: Models,
        config: &ServeConfig,
        route_check: RouteCheck,
    ) -> Result<(Self, Loading), ServeError> {
        let current = Arc::new(ArcSwap::from_pointee(Versions::default()));
        let loader = Loader::new(models, config, route_check, Arc::clone(&current));
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (report, reported) = oneshot::channel();
        let thread = thread::Builder::new().name("luthier-loader".to_owned());
        thread.spawn(move || loader.run(&stopped, report)).map_err(ServeError::System)?;
        Ok((Self { current, _stop: stop }, Loading(reported)))
    }

    /// One that shows `versions` for ever.
    #[cfg(test)]
    pub(crate) fn of(versions: Versions) -> Self {
        let (stop, _) = crossbeam_channel::bounded(0);
        Self { current: Arc::new(ArcSwap::from_pointee(versions)), _stop: stop }
    }

    /// The versions as they are now.
    pub(crate) fn versions(&self) -> Arc<Versions> {
        self.current.load_full()
    }
}

impl Loading {
    /// Waits until every model has a version that answers. Fails where that cannot come to be: for
    /// a bundle without a base path, and for a base path that is looked at only once.
    pub(crate) async fn finished(self) -> Result<(), ServeError> {
        self.0.await.unwrap_or(Err(ServeError::Loader))
    }
}

impl Loader {
    fn new(
        models: Models,
        config: &ServeConfig,
        route_check: RouteCheck,
        current: Arc<ArcSwap<Versions>>,
    ) -> Self {
        let mut loader = Self {
            models: BTreeMap::new(),
            bundles: BTreeMap::new(),
            bases: models.bases,
            policy: config.version_policy.clone(),
            poll: config.poll,
            leaving: Vec::new(),
            routes: config.routes.iter().cloned().map(Arc::new).collect(),
            route_check,
            unread: Vec::new(),
            problems: BTreeSet::new(),
            is_ready: false,
            threads: Threads::new(1),
            current,
        };
        for (ModelSource { name, version, path }, bundle) in models.bundles {
            let name: Arc<str> = name.into();
            let model = loader.models.entry(Arc::clone(&name)).or_default();
            model.folders.insert(version, path);
            loader.bundles.insert((name, version), bundle);
        }
        loader.look();
        loader
    }

    /// Works until the registry is dropped.
    fn run(mut self, stop: &Receiver<Infallible>, report: oneshot::Sender<Result<(), ServeError>>) {
        let mut report = Some(report);
        loop {
            let looked = Instant::now();
            let settled = self.settle();
            let has_failed = settled.is_err();
            if has_failed || self.is_ready {
                let _ = report.take().map(|report| report.send(settled));
            }
            if has_failed || !self.wait(stop, self.poll.map(|poll| looked + poll)) {
                return;
            }
            self.look();
        }
    }

    /// Waits for the time of the next look, and meanwhile frees the versions that have left.
    /// `false` when the registry is gone.
    fn wait(&mut self, stop: &Receiver<Infallible>, next_look: Option<Instant>) -> bool {
        loop {
            self.release();
            let now = Instant::now();
            if next_look.is_some_and(|time| time <= now) {
                return true;
            }
            let release = (!self.leaving.is_empty()).then_some(now + RELEASE_PAUSE);
            let waited = match [next_look, release].into_iter().flatten().min() {
                Some(time) => stop.recv_deadline(time),
                None => stop.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            if waited == Err(RecvTimeoutError::Disconnected) {
                return false;
            }
        }
    }

    /// Notes what is in the base paths, and which versions are to be loaded.
    fn look(&mut self) {
        let mut problems = Vec::new();
        let mut found: BTreeMap<Arc<str>, FoundModel> = BTreeMap::new();
        for base in &self.bases {
            let Scan { models, problems: unread } = folder::scan(base);
            problems.extend(unread);
            for model in models {
                let name: Arc<str> = model.name.as_str().into();
                let known =
                    self.models.entry(Arc::clone(&name)).or_insert_with(|| Model::within(base));
                if known.base.as_ref() == Some(base) && !found.contains_key(&name) {
                    found.insert(name, model);
                } else {
                    let (name, first, second) = (model.name, known.place(), base.clone());
                    problems.push(ServeError::TwoPlaces { name, first, second });
                }
            }
        }
        let now = Instant::now();
        for (name, model) in self.models.iter_mut().filter(|(_, model)| model.base.is_some()) {
            model.see(found.remove(name), now, Fingerprint::of);
        }
        self.models.retain(|_, model| !model.is_gone());
        for model in self.models.values_mut() {
            model.next_to_load(&self.policy);
        }
        self.unread = problems.iter().map(ToString::to_string).collect();
        self.publish();
    }

    /// Brings the versions to what is wanted. Fails where a model that will not be looked at again
    /// does not answer.
    fn settle(&mut self) -> Result<(), ServeError> {
        let names: Vec<Arc<str>> = self.models.keys().cloned().collect();
        for name in &names {
            self.bring(name)?;
        }
        self.is_ready |= self.models.values().all(|model| model.available().next().is_some());
        let route_problems = self.publish();
        self.tell(route_problems);
        if self.poll.is_none() && !self.is_ready {
            return Err(self.unserved());
        }
        Ok(())
    }

    /// Brings one model to the versions that are wanted of it.
    fn bring(&mut self, name: &Arc<str>) -> Result<(), ServeError> {
        loop {
            let Some(model) = self.models.get_mut(name) else { return Ok(()) };
            let Some(version) = model.next_to_load(&self.policy) else { break };
            self.load(name, version)?;
        }
        let Some(model) = self.models.get_mut(name) else { return Ok(()) };
        for version in model.leaving(&self.policy) {
            if let Some(State::Available(served)) = model.set(version, State::Unloading) {
                tracing::info!(model = %name, version, "version leaves");
                self.leaving.push(served);
            }
        }
        self.publish();
        Ok(())
    }

    /// Loads a version, so that it is either available or has failed. A failure of a bundle that
    /// is served as it is will not mend.
    fn load(&mut self, name: &Arc<str>, version: i64) -> Result<(), ServeError> {
        let is_leaving = |served: &Arc<ServedModel>| served.is(name, version);
        if let Some(position) = self.leaving.iter().position(is_leaving) {
            let served = self.leaving.swap_remove(position);
            self.set(name, version, State::Available(served));
            return Ok(());
        }
        let Some(model) = self.models.get_mut(name) else { return Ok(()) };
        let Some(folder) = model.folders.get(&version).cloned() else { return Ok(()) };
        let is_watched = model.base.is_some();
        let before = model.set(version, State::Loading);
        self.publish();
        let started = Instant::now();
        let files = if is_watched { Fingerprint::of(&folder) } else { Fingerprint::default() };
        let bundle = self.bundles.remove(&(Arc::clone(name), version));
        let error = match self.open(name, version, &folder, bundle) {
            Ok(served) => {
                let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(model = %name, version, took_ms, "version answers");
                self.set(name, version, State::Available(Arc::new(served)));
                return Ok(());
            }
            Err(error) if is_watched => error,
            Err(error) => return Err(error),
        };
        let is_partial = !folder.join(MANIFEST).is_file();
        let failure = Failure::new(describe(&error), is_partial, Instant::now(), files);
        if !matches!(before, Some(State::Failed(before)) if before.is_like(&failure)) {
            tracing::error!(model = %name, version, %error, "version cannot be loaded");
        }
        self.set(name, version, State::Failed(failure));
        Ok(())
    }

    /// Reads a bundle where it has not been read, and loads it.
    fn open(
        &self,
        name: &str,
        version: i64,
        folder: &Path,
        bundle: Option<Bundle>,
    ) -> Result<ServedModel, ServeError> {
        let load = || {
            let bundle = bundle.map_or_else(|| Bundle::open(folder), Ok)?;
            ServedModel::load(name, version, &bundle, &self.threads)
        };
        let name = || name.to_owned();
        match catch_unwind(AssertUnwindSafe(load)) {
            Ok(loaded) => loaded.map_err(|error| match error {
                PredictError::Engine(source) => ServeError::Model { name: name(), version, source },
                PredictError::NoScores => {
                    ServeError::WarmUp { name: name(), version, reason: error.to_string() }
                }
            }),
            Err(_) => {
                let reason = "the engine panicked".to_owned();
                Err(ServeError::WarmUp { name: name(), version, reason })
            }
        }
    }

    /// Frees the versions whose last request has ended. Their memory goes here, and not in a
    /// worker in the middle of its requests.
    fn release(&mut self) {
        let (gone, leaving) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition(|served: &Arc<ServedModel>| Arc::strong_count(served) == 1);
        self.leaving = leaving;
        if gone.is_empty() {
            return;
        }
        for served in gone {
            let (name, version) = (Arc::clone(&served.name), served.version);
            drop(served);
            if let Some(model) = self.models.get_mut(&name) {
                model.end(version);
            }
            tracing::info!(model = %name, version, "version has left");
        }
        self.publish();
    }

    fn set(&mut self, name: &Arc<str>, version: i64, state: State) {
        if let Some(model) = self.models.get_mut(name) {
            model.set(version, state);
        }
        self.publish();
    }

    /// Shows the versions as they are now, and gives what is wrong with routes. Where nothing has
    /// changed, the list stays, so that what is made from it does, too.
    fn publish(&self) -> Vec<String> {
        let (routes, problems) = self.routes();
        let models = self.models.iter();
        let labels = models.clone().filter(|(_, model)| !model.labels.is_empty());
        let versions = Versions {
            statuses: models.flat_map(|(name, model)| model.statuses(name)).collect(),
            labels: labels.map(|(name, m)| (Arc::clone(name), m.labels.clone())).collect(),
            routes: routes.into(),
            is_ready: self.is_ready,
        };
        if !self.current.load().is_like(&versions) {
            self.current.store(Arc::new(versions));
        }
        problems
    }

    /// The configured routes and those of the highest versions that answer; the first to name a
    /// path has it.
    fn routes(&self) -> (Vec<Arc<Route>>, Vec<String>) {
        let mut routes = self.routes.clone();
        let mut problems = Vec::new();
        let highest = self.models.values().filter_map(|model| model.available().next());
        for route in highest.filter_map(|served| served.route.as_ref()) {
            let is_taken = routes.iter().any(|other| other.path == route.path);
            let check = if is_taken { Err(RouteProblem::Duplicate) } else { Ok(()) };
            match check.and_then(|()| (self.route_check)(&route.path)) {
                Ok(()) => routes.push(Arc::clone(route)),
                Err(problem) => problems
                    .push(ServeError::Route { path: route.path.clone(), problem }.to_string()),
            }
        }
        (routes, problems)
    }

    /// Logs each problem when it comes up, and not again while it lasts.
    fn tell(&mut self, route_problems: Vec<String>) {
        let of_models = self.models.iter().filter_map(|(name, model)| {
            Some(format!("model {name}: {}", model.problem(&self.policy)?))
        });
        let problems: BTreeSet<String> =
            of_models.chain(route_problems).chain(self.unread.drain(..)).collect();
        for problem in problems.difference(&self.problems) {
            tracing::warn!("{problem}");
        }
        self.problems = problems;
    }

    /// Says that a model is not served.
    fn unserved(&self) -> ServeError {
        let is_unserved = |(_, model): &(&Arc<str>, &Model)| model.available().next().is_none();
        let Some((name, model)) = self.models.iter().find(is_unserved) else {
            return ServeError::NoModel;
        };
        let failure = model.last_failure().map(|failure| failure.error.message.clone());
        let reason = failure.or_else(|| model.problem(&self.policy)).unwrap_or_default();
        ServeError::Unserved { name: name.to_string(), reason }
    }
}

/// An error as the status of a version says it.
fn describe(error: &ServeError) -> VersionError {
    let code = match error {
        ServeError::Model { source, .. } => match source {
            BundleError::NotABundle { .. } | BundleError::Newer { .. } => Code::FailedPrecondition,
            BundleError::Digest { .. }
            | BundleError::Size { .. }
            | BundleError::Document { .. } => Code::DataLoss,
            BundleError::Io { .. } => Code::Unavailable,
            _ => Code::Internal,
        },
        _ => Code::Internal,
    };
    VersionError { code, message: error.to_string() }
}

#[cfg(test)]
mod tests;
