//! The run folder and what is finished in it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use luthier_bundle::{Bundle, sha256_hex};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Name of the file that says what is finished.
const LEDGER: &str = "stages.json";

/// The folder of one job's results.
pub(crate) struct RunFolder {
    path: PathBuf,
    ledger: Ledger,
    /// Held for as long as the folder is used; one run at a time.
    _lock: File,
}

#[derive(Default, Serialize, Deserialize)]
struct Ledger {
    /// Key of each finished stage.
    stages: BTreeMap<String, String>,
    /// How often the test split has been opened in this folder.
    #[serde(default)]
    test_openings: u32,
    /// Key of the stage that opened it last.
    #[serde(default)]
    test_opened_by: Option<String>,
}

/// The digest of all that a stage depends on, its release included.
pub(crate) fn key(parts: &[&str]) -> String {
    let release = env!("CARGO_PKG_VERSION");
    sha256_hex(format!("{release}\0{}", parts.join("\0")).as_bytes())
}

impl RunFolder {
    /// Opens or makes the folder.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(path).map_err(Failure::io(path))?;
        let lock_path = path.join(".lock");
        let lock = File::create(&lock_path).map_err(Failure::io(&lock_path))?;
        if lock.try_lock().is_err() {
            let message = format!("{} is in use by another run", path.display());
            return Err(Failure::input(message).hint("wait for it to end, or stop it"));
        }
        let ledger = fs::read(path.join(LEDGER))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Ok(Self { path: path.to_owned(), ledger, _lock: lock })
    }

    /// The path of `name` in the folder.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Whether `stage` has been finished with this `key`.
    pub(crate) fn finished(&self, stage: &str, key: &str) -> bool {
        self.ledger.stages.get(stage).is_some_and(|known| known == key)
    }

    /// The key with which `stage` was finished or begun last.
    pub(crate) fn key_of(&self, stage: &str) -> Option<&str> {
        self.ledger.stages.get(stage).map(String::as_str)
    }

    /// Notes that `stage` is finished with `key`.
    pub(crate) fn finish(&mut self, stage: &str, key: &str) -> Result<(), Failure> {
        self.ledger.stages.insert(stage.to_owned(), key.to_owned());
        self.write(LEDGER, &self.ledger)
    }

    /// Counts an opening of the test split by the stage of this `key`, before it happens, and gives
    /// the count. A stage that was stopped opens it again for the same look, which counts once.
    pub(crate) fn open_test(&mut self, key: &str) -> Result<u32, Failure> {
        // `luthier eval` counts in the bundle, since it may know of no run folder.
        let bundle = Bundle::open(&self.join("bundle"));
        let admitted = bundle.map_or(0, |bundle| bundle.manifest().test_openings);
        let known = self.ledger.test_openings.max(admitted);
        let again = self.ledger.test_opened_by.as_deref() == Some(key);
        self.ledger.test_openings = if again { known } else { known + 1 };
        self.ledger.test_opened_by = Some(key.to_owned());
        self.write(LEDGER, &self.ledger)?;
        Ok(self.ledger.test_openings)
    }

    /// Writes `value` as JSON, whole or not at all.
    pub(crate) fn write(&self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::fault(format!("{name}: {error}")))?;
        text.push('\n');
        self.write_bytes(name, text.as_bytes())
    }

    /// Writes bytes, whole or not at all.
    pub(crate) fn write_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.join(name);
        let partial = self.join(format!(".{name}.partial"));
        let write = || {
            let mut file = File::create(&partial)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&partial, &path)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&partial);
            Failure::io(&path)(error)
        })
    }

    /// Reads a JSON value.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, Failure> {
        let path = self.join(name);
        let bytes = fs::read(&path).map_err(Failure::io(&path))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Failure::fault(format!("{}: {error}", path.display())))
    }
}
