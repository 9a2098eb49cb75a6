//! Which models are served, and what a loaded version of one is.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use luthier_bundle::{Bundle, BundleError, PredictScratch, Predictor};
use luthier_engine::Threads;
use luthier_model::{Decision, Signature};

use crate::example::{self, Example};
use crate::feedback::Tracked;
use crate::metrics::Meters;
use crate::registry::folder::{self, Scan};
use crate::rows::{Rows, Takes};
use crate::{Route, ServeError};

/// File that makes a folder a bundle.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Longest name of a model, in bytes.
const MAX_NAME: usize = 128;

/// A bundle that is served under one version for as long as the server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSource {
    /// Name in paths and metrics.
    pub name: String,
    /// Version, not negative; a request that names none gets the highest.
    pub version: i64,
    /// A bundle, folder or packed file.
    pub path: PathBuf,
}

/// What is to be served: bundles that have been read and checked, and base paths that are watched.
#[derive(Debug, Default)]
pub struct Models {
    pub(crate) bundles: Vec<(ModelSource, Bundle)>,
    pub(crate) bases: Vec<PathBuf>,
    /// Where each model comes from.
    names: BTreeMap<String, PathBuf>,
}

/// A version that is loaded and answers. Whoever holds it keeps it in memory after it has been
/// replaced, so that a request does and nothing that lives longer.
pub(crate) struct ServedModel {
    /// Name of the model.
    pub(crate) name: Arc<str>,
    /// Version.
    pub(crate) version: i64,
    /// The version as a label of metrics.
    pub(crate) version_label: Arc<str>,
    /// Labels and positive class, or what number is answered.
    pub(crate) decision: Decision,
    /// What goes in and out.
    pub(crate) signature: Signature,
    /// The alias route that its bundle brings.
    pub(crate) route: Option<Arc<Route>>,
    /// What live quality and drift know it by.
    pub(crate) tracked: Arc<Tracked>,
    /// What is counted of it, from its first request on.
    pub(crate) meters: OnceLock<Arc<Meters>>,
    /// What it is warmed up with.
    pub(crate) example: Example,
    predictor: Predictor,
}

/// State of a version, with TensorFlow Serving's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModelState {
    /// It is to be loaded.
    Start,
    /// It is being loaded and warmed up.
    Loading,
    /// It answers.
    Available,
    /// It finishes the requests that it has and gets no more.
    Unloading,
    /// Its memory is free again, or it could not be loaded.
    End,
}

/// Why a loaded model has no answer for some rows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PredictError {
    #[error(transparent)]
    Engine(#[from] BundleError),
    #[error("the model did not give a finite number for every output")]
    NoScores,
}

impl Models {
    /// The models at `paths`. A path that is a bundle is read and checked, and served as version 1
    /// under the name in its manifest; any other is a base path with `<model>/<version>/` inside,
    /// at least one, which the server watches.
    pub fn find(paths: &[PathBuf]) -> Result<Self, ServeError> {
        let mut models = Self::default();
        for path in paths {
            if is_bundle(path) {
                let bundle = open(path, &path.display().to_string(), 1)?;
                let name = bundle.manifest().name.clone();
                models.add_bundle(ModelSource { name, version: 1, path: path.clone() }, bundle)?;
            } else {
                models.add_base(path)?;
            }
        }
        models.checked()
    }

    /// Reads every bundle and checks its digests, names and versions.
    pub fn load(sources: &[ModelSource]) -> Result<Self, ServeError> {
        let mut models = Self::default();
        for source in sources {
            let bundle = open(&source.path, &source.name, source.version)?;
            models.add_bundle(source.clone(), bundle)?;
        }
        models.checked()
    }

    /// Names of the models, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    fn add_bundle(&mut self, source: ModelSource, bundle: Bundle) -> Result<(), ServeError> {
        let ModelSource { name, version, path } = &source;
        let (name, version) = (name.clone(), *version);
        if !is_name(&name) {
            return Err(ServeError::Name { name });
        }
        if version < 0 {
            return Err(ServeError::Version { name, version });
        }
        if self.bundles.iter().any(|(other, _)| other.name == name && other.version == version) {
            return Err(ServeError::Duplicate { name, version });
        }
        match self.names.get(&name) {
            Some(first) if self.bases.contains(first) => {
                let (first, second) = (first.clone(), path.clone());
                return Err(ServeError::TwoPlaces { name, first, second });
            }
            _ => self.names.insert(name, path.clone()),
        };
        self.bundles.push((source, bundle));
        Ok(())
    }

    fn add_base(&mut self, path: &Path) -> Result<(), ServeError> {
        let Scan { models, problems } = folder::scan(path);
        if let Some(problem) = problems.into_iter().next() {
            return Err(problem);
        }
        if models.is_empty() {
            return Err(ServeError::NoBundle { path: path.to_owned() });
        }
        for found in models {
            if let Some(first) = self.names.insert(found.name.clone(), path.to_owned()) {
                let second = path.to_owned();
                return Err(ServeError::TwoPlaces { name: found.name, first, second });
            }
        }
        self.bases.push(path.to_owned());
        Ok(())
    }

    fn checked(self) -> Result<Self, ServeError> {
        if self.names.is_empty() { Err(ServeError::NoModel) } else { Ok(self) }
    }
}

impl ServedModel {
    /// Loads a bundle into the engine, checks its probes, and runs first texts through it.
    pub(crate) fn load(
        name: &str,
        version: i64,
        bundle: &Bundle,
        threads: &Threads,
    ) -> Result<Self, PredictError> {
        let predictor = bundle.predictor(threads)?;
        let route = bundle.manifest().route.as_ref().map(|route| Route {
            path: route.path.clone(),
            model: name.to_owned(),
            input: route.input.clone().unwrap_or_else(Route::input),
            output: route.output.clone(),
        });
        let mut model = Self::new(name, version, predictor, route);
        model.tracked = Arc::new(Tracked::of(name, version, bundle)?);
        let (rows, given) = example::rows(model.takes());
        let outputs = model.predict(&given, 0..given.len(), &mut PredictScratch::default())?;
        model.example = Example { rows, outputs };
        Ok(model)
    }

    pub(crate) fn new(
        name: &str,
        version: i64,
        predictor: Predictor,
        route: Option<Route>,
    ) -> Self {
        Self {
            name: name.into(),
            version,
            version_label: version.to_string().into(),
            decision: predictor.decision().clone(),
            signature: predictor.signature().clone(),
            route: route.map(Arc::new),
            tracked: Arc::new(Tracked::new(name, version, predictor.decision(), None)),
            meters: OnceLock::new(),
            example: Example::default(),
            predictor,
        }
    }

    /// Whether it is this version of this model.
    pub(crate) fn is(&self, name: &str, version: i64) -> bool {
        *self.name == *name && self.version == version
    }

    /// What the graph gives for the rows at `places`, row-major `[rows, outputs]`, all finite.
    pub(crate) fn predict(
        &self,
        rows: &Rows,
        places: Range<usize>,
        scratch: &mut PredictScratch,
    ) -> Result<Vec<f32>, PredictError> {
        let count = places.len();
        let scores = match rows {
            Rows::Texts(texts) => {
                let texts: Vec<&str> = texts.iter_of(places).collect();
                self.predictor.predict(&texts, scratch)?
            }
            Rows::Table { columns, numbers } => {
                let numbers = &numbers[places.start * columns..places.end * columns];
                self.predictor.predict_rows(numbers, scratch)?
            }
        };
        let is_whole = scores.len() == count * self.decision.outputs();
        match is_whole && scores.iter().all(|score| score.is_finite()) {
            true => Ok(scores),
            false => Err(PredictError::NoScores),
        }
    }

    /// What its rows are.
    pub(crate) fn takes(&self) -> Takes<'_> {
        match self.predictor.table() {
            Some(table) => Takes::Table(table),
            None => Takes::Texts(self.signature.inputs.first().map_or("text", |field| &field.name)),
        }
    }

    /// Name of the one output.
    pub(crate) fn output(&self) -> &str {
        self.signature.outputs.first().map_or("scores", |field| &field.name)
    }
}

impl ModelState {
    /// All states.
    pub(crate) const ALL: [Self; 5] =
        [Self::Start, Self::Loading, Self::Available, Self::Unloading, Self::End];

    /// Name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Loading => "LOADING",
            Self::Available => "AVAILABLE",
            Self::Unloading => "UNLOADING",
            Self::End => "END",
        }
    }
}

/// Whether a model may be called `name`: it is part of paths, and a colon ends it there.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |c: char| !c.is_control() && !matches!(c, '/' | ':');
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(plain)
}

fn is_bundle(path: &Path) -> bool {
    path.is_file() || path.join(MANIFEST).is_file()
}

fn open(path: &Path, name: &str, version: i64) -> Result<Bundle, ServeError> {
    let failed = |source| ServeError::Model { name: name.to_owned(), version, source };
    Bundle::open(path).map_err(failed)
}
