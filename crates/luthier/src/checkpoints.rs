//! Encoders that others trained, which jobs name by a folder or by an address of the Hugging Face hub.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use luthier_hub::{Hub, HubError, Progress, Reference, Settings, Snapshot};
use luthier_pretrained::{FILES, INDEX, Pretrained, WEIGHTS, shards};
use luthier_space::{Distribution, Value};
use luthier_train::{Locate, TEACHER};

use crate::failure::Failure;
use crate::job::Job;
use crate::term::{Bar, Reporter, size};

/// Finds checkpoints of a job whose file is in `folder`: those of the hub once they were [fetched](fetch).
pub(crate) fn locate(folder: &Path) -> Locate {
    let folder = folder.to_owned();
    Arc::new(move |name| {
        if !Reference::is_meant(name) {
            return Ok(folder.join(name));
        }
        let found = reference(name).and_then(|reference| {
            let hub = hub(true)?;
            let snapshot = hub.snapshot(&reference)?;
            Ok(snapshot.folder())
        });
        let missing = || format!("`{name}` has not been fetched");
        found.map_err(|error: HubError| error.to_string())?.ok_or_else(missing)
    })
}

/// Fetches all checkpoints of the hub that a job's search may ask for, unless they are there.
pub(crate) fn fetch(job: &Job, reporter: &Reporter, stop: &AtomicBool) -> Result<(), Failure> {
    for name in names(job) {
        if Reference::is_meant(&name) {
            let reference = reference(&name)?;
            let hub = hub(job.offline)?;
            let mut snapshot = hub.snapshot(&reference)?;
            Fetching { name: &name, reporter, stop }.all(&mut snapshot)?;
        } else if !job.folder.join(&name).is_dir() {
            let path = job.folder.join(&name);
            let what = format!("checkpoint {}: no such folder", path.display());
            return Err(Failure::input(what).hint(
                "name a folder with config.json, model.safetensors and tokenizer.json, or \
                 hf://owner/name@revision",
            ));
        }
    }
    Ok(())
}

/// For each of them its name with a digest of its files.
pub(crate) fn digests(job: &Job) -> Result<Vec<(String, String)>, Failure> {
    let locate = locate(&job.folder);
    let digest = |name: String| {
        let folder = locate(&name).map_err(Failure::input)?;
        let digest = Pretrained::digest(&folder)
            .map_err(|error| Failure::input(error.to_string()).within(&name))?;
        Ok((name, digest))
    };
    names(job).into_iter().map(digest).collect()
}

/// The checkpoints that a job's search may ask for.
fn names(job: &Job) -> Vec<String> {
    let mut names = Vec::new();
    for learner in &job.tune.learners {
        let Some(parameter) = learner.needs() else { continue };
        let dimension = job.tune.space.get(&format!("{}.{parameter}", learner.name()));
        if let Some(Distribution::Choice { options } | Distribution::Ordinal { options }) =
            dimension.map(|dimension| &dimension.distribution)
        {
            names.extend(options.iter().filter_map(|option| match option {
                // The study knows the teacher by what it answers.
                Value::Text(name) if name != TEACHER => Some(name.clone()),
                _ => None,
            }));
        }
    }
    names
}

fn hub(offline: bool) -> Result<Hub, HubError> {
    let mut settings = Settings::from_env(|name| std::env::var(name).ok())?;
    settings.is_offline |= offline;
    Ok(Hub::new(settings))
}

fn reference(name: &str) -> Result<Reference, HubError> {
    name.parse()
}

struct Fetching<'a> {
    name: &'a str,
    reporter: &'a Reporter,
    stop: &'a AtomicBool,
}

impl Fetching<'_> {
    /// Fetches what a checkpoint consists of.
    fn all(&self, snapshot: &mut Snapshot<'_>) -> Result<(), Failure> {
        for (file, may_be_absent) in FILES {
            if self.file(snapshot, file)?.is_none() && !may_be_absent {
                return Err(Failure::input(format!("{} has no {file}", self.name)));
            }
        }
        if self.file(snapshot, WEIGHTS)?.is_some() {
            return Ok(());
        }
        let missing = || {
            Failure::input(format!("{} has no {WEIGHTS}", self.name))
                .hint("convert it to safetensors; pickled weights are never opened")
        };
        self.file(snapshot, INDEX)?.ok_or_else(missing)?;
        let folder = snapshot.folder().unwrap_or_default();
        for shard in shards(&folder).map_err(|error| Failure::input(error.to_string()))? {
            self.file(snapshot, &shard)?.ok_or_else(missing)?;
        }
        Ok(())
    }

    fn file(&self, snapshot: &mut Snapshot<'_>, file: &str) -> Result<Option<PathBuf>, Failure> {
        let mut bar: Option<Bar> = None;
        let found = snapshot.fetch(file, &mut |progress| {
            if let Progress::Fetching { file, done, total: Some(total) } = progress {
                let bar = bar.get_or_insert_with(|| self.reporter.bar("fetch", 0, total));
                bar.set(done, &format!("{file} of {}, {}", self.name, size(total)));
            }
            match self.stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        match found {
            Err(_) if self.stop.load(Ordering::Relaxed) => {
                Err(Failure::interrupted("run the same command again; what came so far is kept"))
            }
            other => Ok(other?),
        }
    }
}
