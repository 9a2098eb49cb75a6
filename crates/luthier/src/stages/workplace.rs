//! Where fits run: what each may take of the machine, and where it keeps its state.

use std::fs;
use std::path::{Path, PathBuf};

use luthier_train::Host;
use luthier_tune::Trial;

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

    /// The folder of the fit of a trial that has this seed.
    pub(super) fn fit(&self, trial: u64, seed: u64) -> PathBuf {
        self.trial(trial).join(seed.to_string())
    }

    fn trial(&self, trial: u64) -> PathBuf {
        self.folder.join(trial.to_string())
    }

    /// What is said to a fit that keeps its state in `folder`.
    pub(super) fn host<'a>(
        &self,
        folder: &'a Path,
        stop: &'a (dyn Fn() -> bool + Sync),
    ) -> Host<'a> {
        Host { stop: Some(stop), memory: self.memory, state: Some(folder) }
    }

    /// Whether fits of a trial have left something.
    pub(super) fn has(&self, trial: u64) -> bool {
        self.trial(trial).exists()
    }

    /// Removes what a fit of a trial has left, which nobody will take up.
    pub(super) fn remove_fit(&self, trial: u64, seed: u64) {
        // What cannot be removed is overwritten or ignored.
        let _ = fs::remove_dir_all(self.fit(trial, seed));
        let _ = fs::remove_dir(self.trial(trial));
    }

    /// The same for all fits of a trial.
    pub(super) fn remove(&self, trial: u64) {
        let _ = fs::remove_dir_all(self.trial(trial));
        let _ = fs::remove_dir(&self.folder);
    }

    /// The same for all `trials` but those to `keep`.
    pub(super) fn remove_all_but(&self, trials: &[Trial], keep: impl Fn(&Trial) -> bool) {
        trials.iter().filter(|trial| !keep(trial)).for_each(|trial| self.remove(trial.number));
    }
}

/// Removes what all fits in a run folder have left.
pub(super) fn clear(run: &Path) {
    let _ = fs::remove_dir_all(run.join(FITS));
}
