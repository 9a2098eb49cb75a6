//! Which models are served, and in what state they are.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use luthier_bundle::{Bundle, Manifest};
use luthier_model::{Decision, Signature};

use crate::ServeError;

/// File that makes a folder a bundle.
const MANIFEST: &str = "manifest.json";
/// Longest name of a model, in bytes.
const MAX_NAME: usize = 128;

/// Where a model comes from, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSource {
    /// Name in paths and metrics.
    pub name: String,
    /// Version, not negative; a request that names none gets the highest.
    pub version: i64,
    /// A bundle, folder or packed file.
    pub path: PathBuf,
}

/// Bundles that have been read and checked, ready to be loaded into the engine.
#[derive(Debug)]
pub struct Models(Vec<(ModelSource, Bundle)>);

/// A served model, as protocols see it.
#[derive(Debug)]
pub(crate) struct ServedModel {
    /// Name.
    pub(crate) name: Arc<str>,
    /// Version.
    pub(crate) version: i64,
    /// The version as a label of metrics.
    pub(crate) version_label: Arc<str>,
    /// Position among the bundles, and so among each worker's predictors.
    pub(crate) index: usize,
    /// Labels and positive class.
    pub(crate) decision: Decision,
    /// What goes in and out.
    pub(crate) signature: Signature,
    available: AtomicBool,
}

/// State of a served model, with TensorFlow Serving's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModelState {
    /// It is being loaded or warmed up.
    Loading,
    /// It answers.
    Available,
}

impl ModelSource {
    /// The models under `base`: `base` itself, where it is a bundle (version 1, called as its
    /// manifest says), else the newest version of each model in a registry,
    /// `<base>/<model>/<version>/`. Folders whose name is no version are passed over.
    pub fn discover(base: &Path) -> Result<Vec<Self>, ServeError> {
        if base.is_file() || base.join(MANIFEST).is_file() {
            let opened = Bundle::open(base).map_err(|source| ServeError::Model {
                name: base.display().to_string(),
                version: 1,
                source,
            })?;
            let name = opened.manifest().name.clone();
            return Ok(vec![Self { name, version: 1, path: base.to_owned() }]);
        }
        let mut found = Vec::new();
        for model in folders(base)? {
            let newest =
                folders(&model)?.into_iter().filter_map(|path| Some((version(&path)?, path)));
            let name = model.file_name().and_then(OsStr::to_str);
            if let (Some((version, path)), Some(name)) = (newest.max(), name) {
                found.push(Self { name: name.to_owned(), version, path });
            }
        }
        match found.is_empty() {
            true => Err(ServeError::NoBundle { path: base.to_owned() }),
            false => Ok(found),
        }
    }
}

impl Models {
    /// Reads every bundle and checks its digests, names and versions.
    pub fn load(sources: &[ModelSource]) -> Result<Self, ServeError> {
        if sources.is_empty() {
            return Err(ServeError::NoModel);
        }
        let mut models: Vec<(ModelSource, Bundle)> = Vec::with_capacity(sources.len());
        for source in sources {
            let ModelSource { name, version, path } = source;
            let (name, version) = (name.clone(), *version);
            if !is_name(&name) {
                return Err(ServeError::Name { name });
            }
            if version < 0 {
                return Err(ServeError::Version { name, version });
            }
            if models.iter().any(|(other, _)| other.name == name && other.version == version) {
                return Err(ServeError::Duplicate { name, version });
            }
            let bundle =
                Bundle::open(path).map_err(|source| ServeError::Model { name, version, source })?;
            models.push((source.clone(), bundle));
        }
        Ok(Self(models))
    }

    /// Name, version and manifest of each model.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64, &Manifest)> {
        self.0
            .iter()
            .map(|(source, bundle)| (source.name.as_str(), source.version, bundle.manifest()))
    }

    /// The models as protocols see them, by name and falling version, and the bundles they index.
    pub(crate) fn into_served(self) -> (Vec<Arc<ServedModel>>, Vec<Bundle>) {
        let (sources, bundles): (Vec<_>, Vec<_>) = self.0.into_iter().unzip();
        let served = |(index, (source, bundle)): (usize, (ModelSource, &Bundle))| {
            let Manifest { decision, signature, .. } = bundle.manifest();
            let (decision, signature) = (decision.clone(), signature.clone());
            ServedModel::new(&source.name, source.version, index, decision, signature)
        };
        let mut models: Vec<_> =
            sources.into_iter().zip(&bundles).enumerate().map(served).collect();
        models.sort_by(|a, b| a.name.cmp(&b.name).then(b.version.cmp(&a.version)));
        (models.into_iter().map(Arc::new).collect(), bundles)
    }
}

impl ServedModel {
    /// A model that is being loaded.
    pub(crate) fn new(
        name: &str,
        version: i64,
        index: usize,
        decision: Decision,
        signature: Signature,
    ) -> Self {
        Self {
            name: name.into(),
            version,
            version_label: version.to_string().into(),
            index,
            decision,
            signature,
            available: AtomicBool::new(false),
        }
    }

    pub(crate) fn state(&self) -> ModelState {
        match self.available.load(Ordering::Acquire) {
            true => ModelState::Available,
            false => ModelState::Loading,
        }
    }

    pub(crate) fn set_available(&self) {
        self.available.store(true, Ordering::Release);
    }

    /// Name of the one input.
    pub(crate) fn input(&self) -> &str {
        self.signature.inputs.first().map_or("text", |field| &field.name)
    }
}

impl ModelState {
    /// All states.
    pub(crate) const ALL: [Self; 2] = [Self::Loading, Self::Available];

    /// Name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Loading => "LOADING",
            Self::Available => "AVAILABLE",
        }
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| !c.is_control() && !matches!(c, '/' | ':');
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(plain)
}

/// The version that a folder's name is, if it is one.
fn version(folder: &Path) -> Option<i64> {
    let name = folder.file_name()?.to_str()?;
    name.bytes().all(|b| b.is_ascii_digit()).then(|| name.parse().ok())?
}

/// The folders in `path`, in order of name.
fn folders(path: &Path) -> Result<Vec<PathBuf>, ServeError> {
    let failed = |source| ServeError::Io { path: path.to_owned(), source };
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let folder = entry.map_err(failed)?.path();
        if folder.is_dir() {
            folders.push(folder);
        }
    }
    folders.sort();
    Ok(folders)
}
