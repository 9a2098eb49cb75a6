//! The bundle: a finished model on disk.
//!
//! Start from [`Bundle::open`] and [`Draft::write`]. A bundle is a folder, or the same files
//! packed into one ([`Bundle::pack`]): `manifest.json` with what a reader needs to know, the graph
//! as `model.onnx`, the feature index, the tokenizer or the columns, and JSON documents that travel along
//! (`profile.json`, `report.json`). The manifest holds the SHA-256 of every other file and of itself; all are
//! checked before anything is used. [`Predictor`] turns a bundle into answers, and
//! [`Bundle::publish`] makes it the next version of a model that servers watch.
//!
//! Opening trusts nothing: names stay inside the folder, sizes are bounded by the manifest, JSON
//! is checked against its types, and nothing in a bundle is ever executed.

mod digest;
mod files;
mod manifest;
mod predictor;
mod publish;

use std::path::{Path, PathBuf};

use luthier_engine::{EngineError, Threads};
use luthier_eval::EvalError;
use luthier_graph::{Graph, GraphError};
use luthier_model::{CellError, DecisionError, Model, Preprocess, PreprocessError, PreprocessForm};

pub use digest::sha256_hex;
pub use manifest::{
    DataDigest, FORMAT, FileEntry, Lineage, Manifest, Probe, ProbeRow, Route, Score, TrialOrigin,
};
pub use predictor::{PredictScratch, Predictor, Took};
pub use publish::Published;

use files::Files;

const MANIFEST: &str = "manifest.json";
const MODEL: &str = "model.onnx";
/// The index of an n-gram model.
const INDEX: &str = "features.idx";
/// The tokenizer of a model of tokens.
const TOKENIZER: &str = "tokenizer.json";
/// The columns of a model of tables.
const COLUMNS: &str = "columns.json";
/// Largest difference between a probe's stored and recomputed output; for numbers above 1 a share of
/// them.
const PROBE_TOLERANCE: f32 = 1e-5;
/// The same of encoders, whose many layers add up roundings.
const DEEP_TOLERANCE: f32 = 1e-4;

/// A bundle whose files have been read and checked.
#[derive(Debug, Clone)]
pub struct Bundle {
    path: PathBuf,
    manifest: Manifest,
    files: Files,
}

/// All that goes into a bundle. `files`, `probes` and `digest` of the manifest are filled in by
/// [`Draft::write`].
#[derive(Debug, Clone)]
pub struct Draft {
    /// The model.
    pub model: Model,
    /// Rows whose answers are stored and checked whenever the bundle is loaded for serving.
    pub probes: Vec<Probe>,
    /// Name of the model, as served.
    pub name: String,
    /// Task, as in `luthier.toml`.
    pub task: String,
    /// A short route of its own that servers offer.
    pub route: Option<Route>,
    /// What it scored.
    pub scores: Vec<Score>,
    /// Where it comes from.
    pub lineage: Lineage,
    /// How often the test split has been opened for it.
    pub test_openings: u32,
    /// Further documents by file name, such as `profile.json`.
    pub documents: Vec<(String, Vec<u8>)>,
}

/// Why a bundle cannot be read, written or used. Every variant names the bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// There is nothing at the path, or no manifest in it.
    #[error("{path} is no bundle: {reason}")]
    NotABundle {
        /// The path.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A file is not what the manifest says.
    #[error("{file} in bundle {path} is damaged: its SHA-256 is not the one in the manifest")]
    Digest {
        /// The bundle.
        path: PathBuf,
        /// The file.
        file: String,
    },
    /// A file that the manifest names is absent, or has another size.
    #[error("{file} in bundle {path} has {found} bytes, the manifest says {expected}")]
    Size {
        /// The bundle.
        path: PathBuf,
        /// The file.
        file: String,
        /// Bytes found; 0 where absent.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// A document in the bundle cannot be understood.
    #[error("{file} in bundle {path} cannot be read: {reason}")]
    Document {
        /// The bundle.
        path: PathBuf,
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The bundle was written by a newer release.
    #[error("bundle {path} has format {found}; this release reads up to {FORMAT}")]
    Newer {
        /// The bundle.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The engine does not give the answers that training gave.
    #[error(
        "the engine gives {found} where {expected} was stored for probe {probe} of bundle {path}"
    )]
    Probe {
        /// The bundle.
        path: PathBuf,
        /// Position of the probe.
        probe: usize,
        /// Stored output of the graph.
        expected: f32,
        /// Output found.
        found: f32,
    },
    /// A number that was asked for is in use.
    #[error("version {version} is there already: {path}")]
    VersionTaken {
        /// Folder of the version.
        path: PathBuf,
        /// The version.
        version: i64,
    },
    /// A bundle was to be published into another.
    #[error("{path} is a bundle, and not the folder of a model's versions")]
    NotAModel {
        /// The path.
        path: PathBuf,
    },
    /// A text cannot be read as the model takes it.
    #[error(transparent)]
    Text(PreprocessError),
    /// A row of a table is not what the model's columns are.
    #[error(transparent)]
    Cells(#[from] CellError),
    /// Rows of a table were given to a model of texts.
    #[error("the model takes a text, and not the columns of a table")]
    NoTable,
    /// Numbers are no whole rows of the model's columns.
    #[error("{numbers} numbers are no rows of {columns} columns")]
    Width {
        /// How many there are.
        numbers: usize,
        /// Columns of the model.
        columns: usize,
    },
    /// The graph does not give one number for each row and class, or for each row where the answer is
    /// a number.
    #[error("the graph gives numbers of shape {found:?} and not {expected:?}")]
    Shape {
        /// Shape of what it gives.
        found: Vec<usize>,
        /// Rows and outputs.
        expected: [usize; 2],
    },
    /// A table of probabilities cannot be used.
    #[error("the model cannot be calibrated: {0}")]
    Calibration(EvalError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
}

impl Bundle {
    /// Reads the folder or packed file at `path` and checks every digest.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let files = Files::read(path)?;
        let bytes = files.get(MANIFEST).ok_or_else(|| BundleError::NotABundle {
            path: path.to_owned(),
            reason: format!("it has no {MANIFEST}"),
        })?;
        let manifest = Manifest::from_bytes(path, bytes)?;
        for entry in &manifest.files {
            files.check(path, entry)?;
        }
        Ok(Self { path: path.to_owned(), manifest, files })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Bytes of all files.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// Whether its answers are those of `other` on every row, since all that they follow from is the
    /// same, byte by byte: preprocessing, graph and decision. The rest of the bundles may differ.
    pub fn answers_as(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.manifest, &other.manifest);
        ours.decision == theirs.decision
            && ours.preprocess == theirs.preprocess
            && [MODEL, INDEX, TOKENIZER, COLUMNS]
                .iter()
                .all(|name| self.document(name) == other.document(name))
    }

    /// The document called `name`, such as `profile.json`.
    pub fn document(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name)
    }

    /// The model.
    pub fn model(&self) -> Result<Model, BundleError> {
        let damaged = |file: &str, reason: String| BundleError::Document {
            path: self.path.clone(),
            file: file.to_owned(),
            reason,
        };
        let decision = &self.manifest.decision;
        decision.check().map_err(|e: DecisionError| damaged(MANIFEST, e.to_string()))?;
        let form = &self.manifest.preprocess;
        let beside = beside(form);
        let preprocess = Preprocess::from_form(form, self.required(beside)?)
            .map_err(|e: PreprocessError| damaged(beside, e.to_string()))?;
        let graph = Graph::from_onnx(self.required(MODEL)?)
            .map_err(|e: GraphError| damaged(MODEL, e.to_string()))?;
        preprocess.check(&graph).map_err(|e| damaged(MODEL, e.to_string()))?;
        let signature = self.manifest.signature.clone();
        Ok(Model { preprocess, graph, decision: decision.clone(), signature })
    }

    /// Loads the model into the engine and checks that it answers the stored probes as stored.
    pub fn predictor(&self, threads: &Threads) -> Result<Predictor, BundleError> {
        let predictor =
            Predictor::of_parts(self.model()?, self.required(MODEL)?.to_vec(), threads)?;
        predictor.check_probes(&self.path, &self.manifest.probes)?;
        Ok(predictor)
    }

    /// The model and documents as a draft, to write a changed bundle from.
    pub fn to_draft(&self) -> Result<Draft, BundleError> {
        let carried = |name: &str| ![MANIFEST, MODEL, INDEX, TOKENIZER, COLUMNS].contains(&name);
        let documents = self.files.iter().filter(|(name, _)| carried(name));
        Ok(Draft {
            model: self.model()?,
            probes: self.manifest.probes.clone(),
            name: self.manifest.name.clone(),
            task: self.manifest.task.clone(),
            route: self.manifest.route.clone(),
            scores: self.manifest.scores.clone(),
            lineage: self.manifest.lineage.clone(),
            test_openings: self.manifest.test_openings,
            documents: documents.map(|(n, bytes)| (n.to_owned(), bytes.to_vec())).collect(),
        })
    }

    /// Writes the whole bundle into one zstd-compressed archive. Equal bundles give equal bytes.
    pub fn pack(&self, target: &Path) -> Result<u64, BundleError> {
        self.files.pack(target)
    }

    fn required(&self, name: &str) -> Result<&[u8], BundleError> {
        self.files.get(name).ok_or_else(|| BundleError::NotABundle {
            path: self.path.clone(),
            reason: format!("it has no {name}"),
        })
    }
}

/// Bytes of the files that a bundle has of `model` itself: its graph and what its preprocessing reads.
pub fn model_bytes(model: &Model) -> u64 {
    let (_, index) = model.preprocess.to_form();
    (model.graph.to_onnx().len() + index.len()) as u64
}

impl Draft {
    /// Writes the bundle to the folder `target`, whole or not at all: it is written beside the
    /// target, read back, loaded into the engine and checked against the probes, and only then
    /// renamed, replacing a bundle that was there.
    pub fn write(&self, target: &Path) -> Result<Bundle, BundleError> {
        let files = self.files()?;
        let staged = files.stage(target)?;
        let checked = Bundle::open(staged.path())?;
        checked.predictor(&Threads::new(1))?;
        staged.replace(target)?;
        Ok(Bundle { path: target.to_owned(), ..checked })
    }

    fn files(&self) -> Result<Files, BundleError> {
        let (preprocess, bytes) = self.model.preprocess.to_form();
        let mut files = Files::default();
        files.insert(MODEL, self.model.graph.to_onnx());
        files.insert(beside(&preprocess), bytes);
        for (name, bytes) in &self.documents {
            files.insert(name, bytes.clone());
        }
        let manifest = Manifest {
            format: FORMAT,
            name: self.name.clone(),
            task: self.task.clone(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            signature: self.model.signature.clone(),
            decision: self.model.decision.clone(),
            preprocess,
            route: self.route.clone(),
            scores: self.scores.clone(),
            test_openings: self.test_openings,
            lineage: self.lineage.clone(),
            probes: self.probes.clone(),
            files: files.entries(),
            digest: String::new(),
        };
        files.insert(MANIFEST, manifest.to_bytes());
        Ok(files)
    }
}

/// Name of the file with the bytes that travel beside a form.
fn beside(form: &PreprocessForm) -> &'static str {
    match form {
        PreprocessForm::NgramText { .. } => INDEX,
        PreprocessForm::Tokens { .. } => TOKENIZER,
        PreprocessForm::Table { .. } => COLUMNS,
    }
}
