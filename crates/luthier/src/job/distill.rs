//! `[distill]`: the model that students learn from.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use luthier_bundle::Bundle;
use luthier_train::{EncoderNetwork, TeacherSource};
use serde::Deserialize;

use super::Task;
use crate::failure::Failure;

/// Texts that are made of each training text where the job does not say.
const AUGMENTED: u32 = 10;
/// More are taken for a slip.
const MOST_AUGMENTED: u32 = 1000;

/// What students learn from besides their labels.
pub(crate) struct Distill {
    /// The bundle that answers.
    pub(crate) teacher: PathBuf,
    /// A file of more texts, which need no labels.
    pub(crate) unlabelled: Option<PathBuf>,
    /// How many texts are made of each training text.
    pub(crate) augment: u32,
}

/// `[distill]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DistillForm {
    teacher: PathBuf,
    unlabelled: Option<PathBuf>,
    augment: Option<u32>,
}

impl Distill {
    /// The teacher's encoder, read once, where it is a transformer of our own that was not compressed.
    pub(super) fn encoder(&self) -> TeacherSource {
        let path = self.teacher.clone();
        let read = move || {
            let bundle = Bundle::open(&path).map_err(|error| error.to_string())?;
            let model = bundle.model().map_err(|error| error.to_string())?;
            let network = EncoderNetwork::from_model(&model).map_err(|error| error.to_string())?;
            Ok(Arc::new(network))
        };
        let known: OnceLock<Result<Arc<EncoderNetwork>, String>> = OnceLock::new();
        Arc::new(move || known.get_or_init(&read).clone())
    }
}

impl DistillForm {
    pub(super) fn check(self, task: Option<Task>, folder: &Path) -> Result<Distill, Failure> {
        let task = task.ok_or_else(|| {
            Failure::input("[distill] is given, and there is no [data] for a student to learn")
                .hint("name labelled rows in [data]")
        })?;
        let of_text = task == Task::TextClassification;
        let only_texts = |key: &str| {
            Failure::input(format!("`distill.{key}` is given, and `task` is \"{task}\""))
                .hint("leave it out: only texts are made or taken without labels")
        };
        if let (Some(_), false) = (&self.unlabelled, of_text) {
            return Err(only_texts("unlabelled"));
        }
        let augment = match self.augment {
            Some(1..) if !of_text => return Err(only_texts("augment")),
            Some(count) if count > MOST_AUGMENTED => {
                let what = format!("`distill.augment` is {count}");
                return Err(Failure::input(what).hint(format!(
                    "it is the number of texts made of each training text, up to {MOST_AUGMENTED}"
                )));
            }
            Some(count) => count,
            None => {
                if of_text {
                    AUGMENTED
                } else {
                    0
                }
            }
        };
        Ok(Distill {
            teacher: folder.join(self.teacher),
            unlabelled: self.unlabelled.map(|path| folder.join(path)),
            augment,
        })
    }
}
