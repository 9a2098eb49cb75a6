//! `manifest.json`, format 1.

use std::path::Path;

use luthier_model::{Decision, PreprocessForm, Signature};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{BundleError, sha256_hex};

/// The newest format of bundles that this release reads, and the one it writes.
pub const FORMAT: u32 = 1;

/// What a bundle says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format of the bundle.
    pub format: u32,
    /// Name of the model, as served.
    pub name: String,
    /// Task, as in `luthier.toml`.
    pub task: String,
    /// Release of the program that wrote it.
    pub release: String,
    /// What goes in and out.
    pub signature: Signature,
    /// Labels, tables of calibration, threshold and costs; or what number is answered.
    pub decision: Decision,
    /// How rows become tensors.
    pub preprocess: PreprocessForm,
    /// A short route of its own that servers offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// What it scored, with intervals.
    pub scores: Vec<Score>,
    /// How often the test split has been opened for it.
    pub test_openings: u32,
    /// Where it comes from.
    pub lineage: Lineage,
    /// Rows with the answers that must come out.
    pub probes: Vec<Probe>,
    /// Every other file of the bundle.
    pub files: Vec<FileEntry>,
    /// SHA-256 of this document with the digits of this field as zeros.
    pub digest: String,
}

/// A short route to a model: one field in, or a row of a table, and one field out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Path, such as `/sentiment`.
    pub path: String,
    /// Field of the request that holds the text; none where a request is a row of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Field of the answer that holds the score or number.
    pub output: String,
}

/// A score with its uncertainty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Part of the data: `valid` or `test`.
    pub part: String,
    /// Metric.
    pub metric: String,
    /// Value.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub high: Option<f64>,
    /// Number of rows.
    pub rows: u64,
    /// Whether larger is better.
    pub higher_is_better: bool,
}

/// Where a model comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// The data it was trained and judged on.
    pub data: Vec<DataDigest>,
    /// The trial it was trained by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialOrigin>,
    /// Digest of the bundle that it was made smaller from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compressed_from: Option<String>,
    /// What compression did, such as `int8, 30 % of rows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
}

/// A data file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataDigest {
    /// What it was used for: `train`, `valid`, `test`.
    pub part: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Rows taken from it.
    pub rows: u64,
}

/// A trial of a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialOrigin {
    /// Name of the study.
    pub study: String,
    /// Number of the trial.
    pub number: u64,
    /// Its values, by name.
    pub values: serde_json::Map<String, serde_json::Value>,
    /// Seed of the training.
    pub seed: u64,
}

/// A row with the answer that must come out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ProbeForm", into = "ProbeForm")]
pub struct Probe {
    /// The row.
    pub row: ProbeRow,
    /// What the graph gives: one probability per class, or the one number; before any tables of the
    /// decision.
    pub outputs: Vec<f32>,
}

/// A row as a caller gives it.
#[derive(Debug, Clone, PartialEq)]
pub enum ProbeRow {
    /// A text.
    Text(String),
    /// Cells of a table by name.
    Cells(Map<String, Value>),
}

impl Probe {
    /// A text with its probabilities, or its number.
    pub fn of_text(text: String, outputs: Vec<f32>) -> Self {
        Self { row: ProbeRow::Text(text), outputs }
    }

    /// Cells of a table with their probabilities, or their number.
    pub fn of_cells(cells: Map<String, Value>, outputs: Vec<f32>) -> Self {
        Self { row: ProbeRow::Cells(cells), outputs }
    }
}

/// A probe in the manifest: a text or cells, and probabilities or a number.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cells: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probabilities: Option<Vec<f32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<f32>,
}

impl From<Probe> for ProbeForm {
    fn from(probe: Probe) -> Self {
        let (text, cells) = match probe.row {
            ProbeRow::Text(text) => (Some(text), None),
            ProbeRow::Cells(cells) => (None, Some(cells)),
        };
        // There are two classes or more.
        let (probabilities, number) = match probe.outputs[..] {
            [number] => (None, Some(number)),
            _ => (Some(probe.outputs), None),
        };
        Self { text, cells, probabilities, number }
    }
}

impl TryFrom<ProbeForm> for Probe {
    type Error = &'static str;

    fn try_from(form: ProbeForm) -> Result<Self, Self::Error> {
        let row = match (form.text, form.cells) {
            (Some(text), None) => ProbeRow::Text(text),
            (None, Some(cells)) => ProbeRow::Cells(cells),
            _ => return Err("a probe has either `text` or `cells`"),
        };
        let outputs = match (form.probabilities, form.number) {
            (Some(probabilities), None) => probabilities,
            (None, Some(number)) => vec![number],
            _ => return Err("a probe has either `probabilities` or `number`"),
        };
        Ok(Self { row, outputs })
    }
}

/// A file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name; never a path out of the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl Manifest {
    /// The document, with its own digest filled in.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let blank = Self { digest: BLANK.to_owned(), ..self.clone() };
        let mut text = serde_json::to_string_pretty(&blank).unwrap_or_default();
        text.push('\n');
        let digest = sha256_hex(text.as_bytes());
        let at = text.rfind(BLANK).unwrap_or_default();
        text.replace_range(at..at + BLANK.len(), &digest);
        text.into_bytes()
    }

    /// Reads the document and checks its own digest.
    pub(crate) fn from_bytes(bundle: &Path, bytes: &[u8]) -> Result<Self, BundleError> {
        let unreadable = |reason: String| BundleError::Document {
            path: bundle.to_owned(),
            file: crate::MANIFEST.to_owned(),
            reason,
        };
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version =
            serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
        if version.format > FORMAT {
            return Err(BundleError::Newer { path: bundle.to_owned(), found: version.format });
        }
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
        match blanked(bytes, &manifest.digest) {
            Some(blank) if sha256_hex(&blank) == manifest.digest => Ok(manifest),
            _ => Err(BundleError::Digest {
                path: bundle.to_owned(),
                file: crate::MANIFEST.to_owned(),
            }),
        }
    }
}

/// The document with its own digest replaced by zeros.
fn blanked(bytes: &[u8], digest: &str) -> Option<Vec<u8>> {
    if digest.len() != BLANK.len() {
        return None;
    }
    let at = bytes.windows(digest.len()).rposition(|window| window == digest.as_bytes())?;
    let mut blank = bytes.to_vec();
    blank[at..at + BLANK.len()].copy_from_slice(BLANK.as_bytes());
    Some(blank)
}
