//! What is in a base path: `<base>/<model>/<version>/`, and the labels of versions.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::ServeError;
use crate::models::is_name;

/// File in a model's folder that gives names to versions, as in `{"stable": 3}`.
const LABELS: &str = "labels.json";
/// Most bytes of it that are read.
const MAX_LABELS_BYTES: u64 = 64 << 10;

/// Versions by label.
pub(crate) type Labels = BTreeMap<String, i64>;

/// What a look at a base path found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Models with at least one version, in order of name.
    pub(crate) models: Vec<FoundModel>,
    /// What could not be read.
    pub(crate) problems: Vec<ServeError>,
}

/// A model's folder.
#[derive(Debug)]
pub(crate) struct FoundModel {
    pub(crate) name: String,
    /// Folder of each version.
    pub(crate) versions: BTreeMap<i64, PathBuf>,
    /// `None` where they cannot be read.
    pub(crate) labels: Option<Labels>,
}

/// Names, sizes and times of a version's files: what changes when the files do.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<(OsString, u64, Option<SystemTime>)>);

/// Looks at a base path. Folders whose name starts with a dot or is no name of a model, and those
/// without a version, are passed over.
pub(crate) fn scan(base: &Path) -> Scan {
    let mut scan = Scan::default();
    let folders = match folders(base) {
        Ok(folders) => folders,
        Err(problem) => {
            scan.problems.push(problem);
            return scan;
        }
    };
    for (name, folder) in folders {
        if name.starts_with('.') || !is_name(&name) {
            continue;
        }
        match self::folders(&folder) {
            Ok(versions) => {
                let version = |(name, folder): (String, PathBuf)| Some((version(&name)?, folder));
                let versions: BTreeMap<_, _> = versions.into_iter().filter_map(version).collect();
                if !versions.is_empty() {
                    let labels = labels(&folder).map_err(|p| scan.problems.push(p)).ok();
                    scan.models.push(FoundModel { name, versions, labels });
                }
            }
            Err(problem) => scan.problems.push(problem),
        }
    }
    scan
}

impl Fingerprint {
    /// The one of the files in `folder` at this moment; empty where it cannot be read.
    pub(crate) fn of(folder: &Path) -> Self {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let print = |entry: fs::DirEntry| {
            let meta = entry.metadata().ok();
            let length = meta.as_ref().map_or(0, fs::Metadata::len);
            (entry.file_name(), length, meta.and_then(|meta| meta.modified().ok()))
        };
        let mut prints: Vec<_> = entries.map(print).collect();
        prints.sort();
        Self(prints)
    }
}

#[cfg(test)]
impl Fingerprint {
    /// One of files with these sizes.
    pub(crate) fn of_sizes(sizes: &[u64]) -> Self {
        Self(sizes.iter().map(|size| (OsString::from("a"), *size, None)).collect())
    }
}

/// The version that a folder's name is, if it is one.
fn version(name: &str) -> Option<i64> {
    name.bytes().all(|b| b.is_ascii_digit()).then(|| name.parse().ok())?
}

/// The folders in `path` with their names, in order of name; those whose name is not UTF-8 are
/// passed over.
fn folders(path: &Path) -> Result<Vec<(String, PathBuf)>, ServeError> {
    let failed = |source| ServeError::Io { path: path.to_owned(), source };
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A link to a folder is as good as a folder.
        if let (Ok(name), true) = (entry.file_name().into_string(), entry.path().is_dir()) {
            folders.push((name, entry.path()));
        }
    }
    folders.sort();
    Ok(folders)
}

/// The labels of a model's versions; none where there is no file.
fn labels(model: &Path) -> Result<Labels, ServeError> {
    let path = model.join(LABELS);
    let read = || -> io::Result<String> {
        let mut text = String::new();
        File::open(&path)?.take(MAX_LABELS_BYTES).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = match read() {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Labels::new()),
        Err(source) => return Err(ServeError::Io { path, source }),
    };
    let unreadable = |reason: String| ServeError::Labels { path: path.clone(), reason };
    let labels: Labels = serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))?;
    let is_plain = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    match labels.keys().find(|label| !is_plain(label)) {
        Some(label) => {
            Err(unreadable(format!("`{label}` is no label: letters, digits and `_` make one")))
        }
        None => Ok(labels),
    }
}

#[cfg(test)]
mod tests;
