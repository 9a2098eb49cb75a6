//! How a fit goes from epoch to epoch, kept in a file so that it can go on.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use luthier_nn::{Resumed, SequenceClassifier, Snapshot, TrainOptions, Trainer};

use crate::{LastGood, TrainError};

/// Epochs without a smaller loss after which a fit ends. With the few epochs that are usual none is left
/// by then; it is for those who ask for many.
const PATIENCE: usize = 2;

/// Name of the file in a fit's folder.
const STATE: &str = "state";

/// The epochs of a fit so far.
#[derive(Debug, Default)]
pub(super) struct Course {
    epochs: Vec<Epoch>,
    /// The weights of the best epoch, once later ones have changed them.
    kept: Option<Snapshot>,
}

/// What an epoch has come to.
#[derive(Debug, PartialEq)]
pub(super) struct Epoch {
    /// By which epochs are compared.
    pub(super) loss: f64,
    /// What the validation rows are answered.
    pub(super) valid: Vec<f32>,
}

impl Course {
    /// Number of epochs.
    pub(super) fn len(&self) -> usize {
        self.epochs.len()
    }

    /// The place of the best among the first `count` epochs, of equal ones the first.
    fn best(&self, count: usize) -> Option<usize> {
        let places = 0..count.min(self.epochs.len());
        places.min_by(|a, b| self.epochs[*a].loss.total_cmp(&self.epochs[*b].loss))
    }

    /// What the best of the first `count` epochs answers.
    pub(super) fn valid(&self, count: usize) -> &[f32] {
        self.best(count).map_or(&[], |place| &self.epochs[place].valid)
    }

    /// Whether the best of the first `count` epochs lies so far back that there is no point in more.
    pub(super) fn is_over(&self, count: usize) -> bool {
        self.best(count).is_some_and(|best| count - (best + 1) >= PATIENCE)
    }

    /// Adds an epoch, after which the weights are those of `trainer`. A copy of the best is made only
    /// where there is `more` to come.
    pub(super) fn push(&mut self, epoch: Epoch, trainer: &Trainer, more: bool) {
        self.epochs.push(epoch);
        if self.is_last_best() {
            self.kept = more.then(|| trainer.snapshot());
        }
    }

    fn is_last_best(&self) -> bool {
        self.best(self.len()).map(|place| place + 1) == Some(self.len())
    }

    /// The network of the best epoch.
    pub(super) fn network(&self, trainer: &Trainer) -> SequenceClassifier {
        match &self.kept {
            Some(kept) if !self.is_last_best() => trainer.merged_at(kept),
            _ => trainer.merged(),
        }
    }

    /// The same at the end.
    pub(super) fn into_network(self, mut trainer: Trainer) -> (SequenceClassifier, Vec<f32>) {
        if let Some(kept) = self.kept.as_ref().filter(|_| !self.is_last_best()) {
            trainer.restore(kept);
        }
        let best = self.best(self.len());
        let valid = self.epochs.into_iter().nth(best.unwrap_or(0)).map(|epoch| epoch.valid);
        (trainer.into_merged(), valid.unwrap_or_default())
    }

    /// As bytes, after `key`.
    fn note(&self, key: u64) -> Vec<u8> {
        let rows = self.epochs.first().map_or(0, |epoch| epoch.valid.len());
        let mut note: Vec<u8> = [key, rows as u64].into_iter().flat_map(u64::to_le_bytes).collect();
        for Epoch { loss, valid } in &self.epochs {
            note.extend(loss.to_le_bytes());
            note.extend(valid.iter().flat_map(|p| p.to_le_bytes()));
        }
        note
    }

    /// Takes [`Self::note`] apart; `None` if it is of another fit.
    fn read(note: &[u8], key: u64, kept: Option<Snapshot>) -> Option<Self> {
        let (head, rest) = note.split_first_chunk::<16>()?;
        let [found, rows] = *head.as_chunks::<8>().0 else { return None };
        if u64::from_le_bytes(found) != key {
            return None;
        }
        let rows = usize::try_from(u64::from_le_bytes(rows)).ok()?;
        let epochs = rest.chunks(rows.checked_mul(4)?.checked_add(8)?).map(|epoch| {
            let (loss, valid) = epoch.split_first_chunk()?;
            let valid = valid.as_chunks().0.iter().map(|p| f32::from_le_bytes(*p)).collect();
            Some(Epoch { loss: f64::from_le_bytes(*loss), valid })
        });
        Some(Self { epochs: epochs.collect::<Option<_>>()?, kept })
    }
}

/// Where a fit keeps its state between epochs.
pub(super) struct StateFile {
    path: PathBuf,
    /// Of all that the course of the fit depends on, its network aside.
    key: u64,
}

impl StateFile {
    /// In a folder that is this fit's alone; `depends` are the values, rows and whatever else makes it
    /// another fit.
    pub(super) fn new(folder: &Path, depends: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        depends.hash(&mut hasher);
        Self { path: folder.join(STATE), key: hasher.finish() }
    }

    /// Goes on from what was kept, if it is of the same fit and undamaged.
    pub(super) fn resume(
        &self,
        model: SequenceClassifier,
        options: TrainOptions,
    ) -> Option<(Trainer, Course)> {
        let file = File::open(&self.path).ok()?;
        let resumed = Trainer::resume(model, options, BufReader::with_capacity(1 << 16, file));
        let Resumed { trainer, note, kept } = resumed.ok()?;
        let mut course = Course::read(&note, self.key, kept)?;
        if course.is_last_best() {
            // Its weights are the trainer's, and are not kept twice in the file.
            course.kept = Some(trainer.snapshot());
        }
        Some((trainer, course))
    }

    /// Whether there may be something to go on from.
    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Keeps the state, whole or not at all.
    pub(super) fn save(&self, trainer: &Trainer, course: &Course) -> Result<(), TrainError> {
        let write = || -> io::Result<()> {
            let partial = self.path.with_extension("partial");
            fs::create_dir_all(self.path.parent().unwrap_or(Path::new("")))?;
            let mut out = BufWriter::with_capacity(1 << 16, File::create(&partial)?);
            let kept = course.kept.as_ref().filter(|_| !course.is_last_best());
            trainer.save(&course.note(self.key), kept, &mut out)?;
            out.flush()?;
            fs::rename(&partial, &self.path)
        };
        write().map_err(|source| TrainError::State { path: self.path.clone(), source })
    }

    /// What there is to go back to after `course`.
    pub(super) fn last_good(&self, course: &Course) -> Option<LastGood> {
        (course.len() > 0).then(|| LastGood { epoch: course.len() as u64, path: self.path.clone() })
    }
}
