//! Where fits run: what each may take of the machine, and where it keeps its state.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use luthier_train::Host;

use crate::memory;

/// Name of the folder of all fits in a run folder.
const FITS: &str = "fits";

/// Where the fits of a process run.
pub(super) struct Workplace {
    folder: PathBuf,
    /// Bytes for each fit.
    memory: Option<u64>,
}

impl Workplace {
    /// In a run folder, for up to `at_a_time` fits side by side; what memory is left now is theirs.
    pub(super) fn of(run: &Path, at_a_time: usize) -> Self {
        let memory = memory::available().map(|bytes| bytes / at_a_time.max(1) as u64);
        Self { folder: run.join(FITS), memory }
    }

    /// The folder of all fits of a trial, or of what else has some.
    pub(super) fn folder(&self, owner: impl Display) -> PathBuf {
        self.folder.join(owner.to_string())
    }

    /// What is said to a fit that keeps its state in `folder`.
    pub(super) fn host<'a>(
        &self,
        folder: &'a Path,
        stop: &'a (dyn Fn() -> bool + Sync),
    ) -> Host<'a> {
        Host { stop: Some(stop), memory: self.memory, state: Some(folder) }
    }

    /// Removes what fits have left that nobody will go on with.
    pub(super) fn leave(&self, owner: impl Display) {
        // What cannot be removed is overwritten or ignored.
        let _ = fs::remove_dir_all(self.folder(owner));
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Removes what all fits in a run folder have left.
pub(super) fn clear(run: &Path) {
    let _ = fs::remove_dir_all(run.join(FITS));
}
