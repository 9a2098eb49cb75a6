//! Helpers for tests: scratch folders, tolerant comparison, processes that never outlive a test.

mod postgres;

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

pub use postgres::Postgres;

/// A folder that is removed when dropped.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A fresh, empty folder.
    ///
    /// # Panics
    /// If the temporary folder of the system cannot be written.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes `content` to `name` inside the folder, with the folders it needs, and returns the path.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("inside the folder")).expect("folders");
        std::fs::write(&path, content).expect("a file in the scratch folder");
        path
    }
}

/// Asserts that `actual` is `expected` to `tolerance`, relative for values above 1 and absolute
/// below; equal infinities and two NaN pass.
///
/// # Panics
/// If they differ by more, with both values and `what`.
#[track_caller]
pub fn assert_close(actual: f64, expected: f64, tolerance: f64, what: &str) {
    let same = actual == expected || (actual.is_nan() && expected.is_nan());
    let bound = tolerance * expected.abs().max(1.0);
    assert!(
        same || (actual - expected).abs() <= bound,
        "{what}: {actual} is not {expected} (difference {:e}, allowed {bound:e})",
        (actual - expected).abs()
    );
}

/// [`assert_close`] for whole slices.
///
/// # Panics
/// If lengths differ or any element does.
#[track_caller]
pub fn assert_all_close(actual: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths differ");
    for (index, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert_close(*a, *e, tolerance, &format!("{what}[{index}]"));
    }
}

/// A child process that is killed when dropped.
pub struct Process(Child);

impl Process {
    /// Starts `command`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}")))
    }

    /// The child itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Sends signal `name` (`TERM`, `INT`, `KILL`) with `kill`.
    ///
    /// # Panics
    /// If `kill` cannot be run.
    pub fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(status.expect("kill runs").success(), "kill -{name} {id}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Calls `ready` every few milliseconds until it gives a value or `limit` has passed.
pub fn wait_for<T>(limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder of real data sets, from `LUTHIER_DATA` or beside the checkout; `None` (with a word on
/// the reason) where it is absent, so that a test can skip.
pub fn real_data(set: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = std::env::var_os("LUTHIER_DATA").map_or(default, PathBuf::from);
    let folder = root.join(set);
    if folder.is_dir() {
        return Some(folder);
    }
    #[allow(clippy::print_stderr)]
    {
        eprintln!("skipped: data set `{set}` is absent (LUTHIER_DATA says where the sets are)");
    }
    None
}
