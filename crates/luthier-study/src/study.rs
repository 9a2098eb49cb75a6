//! A study as its users hold it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use luthier_tune::{Pruner, Sampler, Trial, pruner_by_name, sampler_by_name};

use crate::ledger::Ledger;
use crate::storage::Storage;
use crate::{StudyError, StudySpec};

/// An open study. It is locked against other processes until it is dropped.
pub struct Study {
    pub(crate) spec: StudySpec,
    pub(crate) sampler: Box<dyn Sampler>,
    pub(crate) pruner: Box<dyn Pruner>,
    ledger: Mutex<Ledger>,
    _lock: Lock,
}

impl Study {
    /// Creates the study at `path`, or continues the one that is there.
    ///
    /// The sampler and the pruner may differ from those it was started with, and are from then on
    /// the new ones. Anything else that differs is [`StudyError::Changed`].
    pub fn open(path: &Path, spec: &StudySpec) -> Result<Self, StudyError> {
        if let Some((parameter, fault)) = spec.fault() {
            return Err(StudyError::Space { parameter: parameter.to_owned(), fault });
        }
        let sampler = sampler_by_name(&spec.sampler)?;
        let pruner = pruner_by_name(&spec.pruner)?;
        let lock = Lock::take(path)?;
        let (storage, found) = Storage::open(path, spec)?;
        if let Some(change) = found.change(spec) {
            return Err(StudyError::Changed(change));
        }
        if found != *spec {
            storage.set_spec(spec)?;
        }
        let trials = storage.trials(spec)?;
        let ledger = Mutex::new(Ledger::new(storage, trials, spec.directions()));
        Ok(Self { spec: spec.clone(), sampler, pruner, ledger, _lock: lock })
    }

    /// Reads the study at `path`, which another process may be running.
    pub fn load(path: &Path) -> Result<(StudySpec, Vec<Trial>), StudyError> {
        let storage = Storage::read(path)?;
        let spec = storage.spec()?;
        let trials = storage.trials(&spec)?;
        Ok((spec, trials))
    }

    /// The setup.
    pub fn spec(&self) -> &StudySpec {
        &self.spec
    }

    /// All trials so far, by number.
    pub fn trials(&self) -> Vec<Trial> {
        self.ledger().trials().to_vec()
    }

    /// The ledger. A panic elsewhere cannot leave it half changed, so poison is no concern.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lock on `<path>.lock`, which holds the number of the process that has it. The system releases
/// it when the process ends, however it ends.
struct Lock(File);

impl Lock {
    fn take(path: &Path) -> Result<Self, StudyError> {
        let mut name = OsString::from(path);
        name.push(".lock");
        let path = PathBuf::from(name);
        let io = |error| StudyError::io(&path, error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.take(32).read_to_string(&mut text).map_err(io)?;
                return Err(StudyError::InUse { pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(io)?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child process that another thread has forked, and that has not
        // replaced its program yet, holds the file open for a moment longer. If this fails, closing
        // is all there is left to do.
        let _ = self.0.unlock();
    }
}
