//! Publishing: a bundle becomes the next version of a model that servers watch.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use luthier_engine::Threads;

use crate::files::Staged;
use crate::{Bundle, BundleError, MANIFEST};

/// Most numbers that are tried. Another publisher has taken each that fails, so that only a folder
/// that behaves like no other can get here.
const MAX_ATTEMPTS: u32 = 10_000;

/// A version that has been published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its number.
    pub version: i64,
    /// Its folder.
    pub path: PathBuf,
}

impl Bundle {
    /// Copies the bundle to `<model>/<version>/`, whole or not at all, where `model` is a folder in
    /// a base path and is made if need be. The number is the highest there plus one, at least 1,
    /// or `version`, which must be free.
    ///
    /// The bundle is loaded into the engine and checked against its probes, written to a hidden
    /// folder beside the versions, down to the disk, read back, and then renamed. A rename never
    /// replaces a folder that holds files, so that of two publishers at once each gets a number of
    /// its own.
    pub fn publish(&self, model: &Path, version: Option<i64>) -> Result<Published, BundleError> {
        let failed = |source| BundleError::Io { path: model.to_owned(), source };
        if model.join(MANIFEST).exists() {
            return Err(BundleError::NotAModel { path: model.to_owned() });
        }
        self.predictor(&Threads::new(1))?;
        fs::create_dir_all(model).map_err(failed)?;
        let mut staged = Staged::within(model)?;
        self.files.write(staged.path())?;
        Self::open(staged.path())?;
        for _ in 0..MAX_ATTEMPTS {
            let number = version.map_or_else(|| next_version(model), Ok).map_err(failed)?;
            let path = model.join(number.to_string());
            let taken = || BundleError::VersionTaken { path: path.clone(), version: number };
            // An empty folder would be replaced.
            if version.is_some() && path.exists() {
                return Err(taken());
            }
            match staged.rename(&path) {
                Ok(()) => {
                    File::open(model).and_then(|folder| folder.sync_all()).map_err(failed)?;
                    return Ok(Published { version: number, path });
                }
                Err(error) if !is_taken(&error) => return Err(failed(error)),
                Err(_) if version.is_some() => return Err(taken()),
                Err(_) => {}
            }
        }
        Err(failed(io::Error::other("no number could be had for the new version")))
    }
}

/// The highest version in the folder of a model, plus one.
fn next_version(model: &Path) -> io::Result<i64> {
    let mut highest: i64 = 0;
    for entry in fs::read_dir(model)? {
        let name = entry?.file_name();
        let digits = name.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
        highest = highest.max(digits.and_then(|digits| digits.parse().ok()).unwrap_or(0));
    }
    highest.checked_add(1).ok_or_else(|| io::Error::other("there is no higher version"))
}

fn is_taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
    matches!(error.kind(), AlreadyExists | DirectoryNotEmpty | NotADirectory)
}
