//! A repository's files as of one commit, in the cache.
//!
//! `<cache>/<owner>/<name>/` has a folder for each commit, `refs/<revision>` with the commits that
//! branches and tags stood for, and `.partial/` with what came of broken downloads. In a commit's
//! folder, `.absent/<file>` stands for a file that the repository does not have.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::download::{Fetched, Request};
use crate::reference::{is_commit, is_path};
use crate::{Hub, HubError, Progress, Reference, Report};

/// How often a lock that another process holds is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// The files of a repository at a revision.
pub struct Snapshot<'h> {
    hub: &'h Hub,
    reference: Reference,
    /// Folder of the repository.
    folder: PathBuf,
    commit: Option<String>,
}

impl<'h> Snapshot<'h> {
    pub(crate) fn open(hub: &'h Hub, reference: &Reference) -> Result<Self, HubError> {
        let folder = hub.settings.cache.join(reference.owner()).join(reference.name());
        let mut snapshot = Self { hub, reference: reference.clone(), folder, commit: None };
        snapshot.commit = snapshot.known_commit()?;
        Ok(snapshot)
    }

    /// The commit that the revision stands for, once a file was fetched.
    pub fn commit(&self) -> Option<&str> {
        self.commit.as_deref()
    }

    /// Where the files are, once one was fetched.
    pub fn folder(&self) -> Option<PathBuf> {
        self.commit.as_ref().map(|commit| self.folder.join(commit))
    }

    /// The path of `file`, which is fetched if it is not in the cache; nothing if the repository has
    /// no such file.
    pub fn fetch(
        &mut self,
        file: &str,
        report: &mut Report<'_>,
    ) -> Result<Option<PathBuf>, HubError> {
        if !is_path(file) {
            return Err(HubError::Name { file: file.to_owned() });
        }
        if let Some(known) = self.cached(file) {
            return Ok(known);
        }
        if self.hub.settings.is_offline {
            let (reference, file) = (self.reference.clone(), file.to_owned());
            return Err(HubError::Offline { reference, file });
        }
        let _lock = self.lock(report)?;
        self.commit = self.known_commit()?;
        match self.cached(file) {
            Some(known) => Ok(known),
            None => self.download(file, report),
        }
    }

    /// What is known of a file without asking.
    fn cached(&self, file: &str) -> Option<Option<PathBuf>> {
        let folder = self.folder()?;
        let path = folder.join(file);
        match path.is_file() {
            true => Some(Some(path)),
            false => absent(&folder, file).exists().then_some(None),
        }
    }

    fn download(
        &mut self,
        file: &str,
        report: &mut Report<'_>,
    ) -> Result<Option<PathBuf>, HubError> {
        let partials = self.folder.join(".partial");
        create(&partials)?;
        let request = Request {
            reference: &self.reference,
            revision: self.commit.as_deref().unwrap_or(self.reference.revision()),
            file,
            partials: &partials,
        };
        let Fetched { commit, path } = self.hub.client().fetch(&request, report)?;
        let from = match (path, &commit) {
            (Some(path), _) => path,
            // Any server answers so, even one that is no hub.
            (None, None) => return Ok(None),
            (None, Some(_)) => {
                let nothing = partials.join("nothing");
                File::create(&nothing).map_err(io(&nothing))?;
                let folder = self.pinned(commit)?;
                return self.keep(&nothing, &absent(&folder, file)).map(|()| None);
            }
        };
        let to = self.pinned(commit)?.join(file);
        self.keep(&from, &to)?;
        Ok(Some(to))
    }

    fn keep(&self, from: &Path, to: &Path) -> Result<(), HubError> {
        create(to.parent().unwrap_or(&self.folder))?;
        fs::rename(from, to).map_err(io(to))
    }

    /// The commit, as the reference or an earlier look-up says.
    fn known_commit(&self) -> Result<Option<String>, HubError> {
        if let Some(commit) = self.reference.commit() {
            return Ok(Some(commit.to_owned()));
        }
        let path = self.pin_path();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| is_commit(text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io(&path)(error)),
        }
    }

    /// The folder of the commit, which is that of the server where none is known yet; it is kept.
    fn pinned(&mut self, given: Option<String>) -> Result<PathBuf, HubError> {
        if self.commit.is_none() {
            let no_commit = || HubError::NoCommit { reference: self.reference.clone() };
            let commit = given.ok_or_else(no_commit)?;
            let (path, new) = (self.pin_path(), self.folder.join(".partial/ref"));
            fs::write(&new, &commit).map_err(io(&new))?;
            self.keep(&new, &path)?;
            self.commit = Some(commit);
        }
        Ok(self.folder().unwrap_or_default())
    }

    fn pin_path(&self) -> PathBuf {
        self.folder.join("refs").join(self.reference.revision())
    }

    /// Held while something of the repository is fetched, so that two processes do not fetch it both.
    fn lock(&self, report: &mut Report<'_>) -> Result<File, HubError> {
        create(&self.folder)?;
        let path = self.folder.join(".lock");
        let lock = File::create(&path).map_err(io(&path))?;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(error)) => return Err(io(&path)(error)),
                Err(TryLockError::WouldBlock) if report(Progress::Waiting).is_break() => {
                    return Err(HubError::Stopped);
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            }
        }
    }
}

fn absent(folder: &Path, file: &str) -> PathBuf {
    folder.join(".absent").join(file)
}

fn create(folder: &Path) -> Result<(), HubError> {
    fs::create_dir_all(folder).map_err(io(folder))
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> HubError + '_ {
    |source| HubError::Io { path: path.to_owned(), source }
}
