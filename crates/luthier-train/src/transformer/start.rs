//! What a fit starts from.

use std::path::PathBuf;
use std::sync::Arc;

use luthier_model::{MAX_LENGTH, Tokens};
use luthier_nn::{Encoder, EncoderConfig};
use luthier_pretrained::{Pretrained, PretrainedError};

use super::{EncoderNetwork, Transformer};
use crate::TrainError;

/// Finds the folder of a checkpoint by the name that it has in a job; or says why there is none.
pub type Locate = Arc<dyn Fn(&str) -> Result<PathBuf, String> + Send + Sync>;

/// Gives the encoder of a teacher; or says why there is none. It is asked for in every fit.
pub type TeacherSource = Arc<dyn Fn() -> Result<Arc<EncoderNetwork>, String> + Send + Sync>;

/// The name of a checkpoint that stands for the teacher's own layers and tokens.
pub const TEACHER: &str = "teacher";

/// An encoder with its tokens.
pub(super) struct Start {
    pub(super) encoder: Encoder,
    tokens: Tokens,
    /// Tokens that a text may have at most.
    longest: usize,
}

/// Of `all` layers the places of `count`, spread evenly from the first to the last (of 12, six are 0, 2, 4,
/// 7, 9 and 11, as DistilBERT took them from BERT); the first where it is one.
pub(super) fn spread(count: usize, all: usize) -> Vec<usize> {
    let last = all.saturating_sub(1);
    let steps = count.saturating_sub(1).max(1);
    (0..count).map(|place| (2 * place * last + steps) / (2 * steps)).collect()
}

impl Start {
    /// Reads a checkpoint and keeps `layers` of its layers, all where that is 0. Its shape is shown to `check`
    /// before any weights are read.
    pub(super) fn read(
        learner: &Transformer,
        name: &str,
        layers: usize,
        check: &dyn Fn(&EncoderConfig) -> Result<(), TrainError>,
    ) -> Result<Self, TrainError> {
        let unusable = |reason| TrainError::Checkpoint { name: name.to_owned(), reason };
        let origin = match name {
            TEACHER => Origin::Teacher(learner.teacher()?),
            name => Origin::Folder((learner.locate)(name).map_err(unusable)?),
        };
        let mut config = origin.config().map_err(unusable)?;
        let all = config.layers;
        if layers > all {
            return Err(unusable(format!("`layers` asks for {layers}, and it has {all}")));
        }
        config.layers = if layers == 0 { all } else { layers };
        check(&config)?;
        let mut start = origin.open().map_err(unusable)?;
        let kept = spread(config.layers, all);
        let mut places = 0..;
        start.encoder.layers.retain(|_| places.next().is_some_and(|place| kept.contains(&place)));
        start.encoder.config = config;
        Ok(start)
    }

    /// The tokens, cut to `max_length` for each text, or to what the encoder takes.
    pub(super) fn tokens(&self, max_length: usize) -> Result<Tokens, TrainError> {
        let mut settings = self.tokens.settings().clone();
        settings.max_length = max_length.min(self.longest);
        Ok(Tokens::new(self.tokens.file().to_vec(), settings)?)
    }
}

/// Where a fit starts from.
enum Origin {
    Folder(PathBuf),
    Teacher(Arc<EncoderNetwork>),
}

impl Origin {
    fn config(&self) -> Result<EncoderConfig, String> {
        match self {
            Self::Folder(folder) => Pretrained::config(folder).map_err(|error| described(&error)),
            Self::Teacher(teacher) => Ok(teacher.classifier.encoder.config.clone()),
        }
    }

    fn open(&self) -> Result<Start, String> {
        let (encoder, tokens, longest) = match self {
            Self::Folder(folder) => {
                let Pretrained { encoder, tokens, .. } =
                    Pretrained::open(folder).map_err(|error| described(&error))?;
                let longest = tokens.settings().max_length;
                (encoder, tokens, longest)
            }
            Self::Teacher(teacher) => {
                let EncoderNetwork { classifier, tokens } = teacher.as_ref();
                let longest = classifier.encoder.config.longest().min(MAX_LENGTH);
                (classifier.encoder.clone(), tokens.clone(), longest)
            }
        };
        Ok(Start { encoder, tokens, longest })
    }
}

impl Transformer {
    /// The teacher's encoder, if the job has a teacher that has one.
    pub(super) fn teacher(&self) -> Result<Arc<EncoderNetwork>, TrainError> {
        let unusable = |reason| TrainError::Checkpoint { name: TEACHER.to_owned(), reason };
        let source = self.teacher.as_ref();
        let source = source.ok_or_else(|| unusable("the job names no teacher".to_owned()))?;
        source().map_err(unusable)
    }
}

/// What is wrong with a checkpoint and what to do about it.
fn described(error: &PretrainedError) -> String {
    match error.hint() {
        Some(hint) => format!("{error}: {hint}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn layers_are_spread_from_the_first_to_the_last() {
        assert_eq!(spread(6, 12), [0, 2, 4, 7, 9, 11]);
        assert_eq!(spread(3, 6), [0, 3, 5]);
        assert_eq!(spread(2, 6), [0, 5]);
        assert_eq!(spread(1, 6), [0]);
        for all in 1..20 {
            assert_eq!(spread(all, all), (0..all).collect::<Vec<_>>());
            for count in 1..=all {
                let places = spread(count, all);
                assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "{count} of {all}");
            }
        }
    }
}
