//! Learners: values and labelled rows in, a model out.
//!
//! Start from [`Learner`] and [`learner_by_name`]. A learner declares the [`Space`] of its values,
//! fits a model to [`TextData`] and reports after every epoch, so that a caller can stop it; it
//! does not know that tuning exists, and it never runs the graph that it exports: the caller
//! compares the engine's answers with [`TextNetwork::probes`].
//!
//! Both learners train a [`BagNetwork`]: the rows of a table that a text's n-grams point to are
//! summed, and dense layers follow. While they learn, one table row stands for all n-grams that
//! occur in the same training rows; [`Fitted::text_network`] gives each its own again. Fitting uses one thread, so that trials can run side by side,
//! and gives the same bits for the same values, rows, order and seed.

mod bag;
mod cache;
mod columns;
mod data;
mod embedding;
mod linear;
mod matrix;
mod sampling;
mod scale;
mod spare;

use std::ops::ControlFlow;
use std::sync::Arc;

use luthier_model::{Model, NgramText};
use luthier_space::{Space, ValueError, Values};

pub use bag::{BagNetwork, Dense};
pub use data::{Row, RowSource, SourceError, Subset, Targets, TextData};
pub use embedding::Embedding;
pub use linear::Linear;

use matrix::Matrix;

/// Fits models of one kind.
///
/// `fit` may be called from several threads at once; it neither prints nor touches files.
pub trait Learner: Send + Sync {
    /// Name, as in `luthier.toml`.
    fn name(&self) -> &'static str;

    /// The values that [`Learner::fit`] takes, with ranges that suit most tasks.
    fn space(&self) -> Space;

    /// Values of [`Learner::space`] that do well on most tasks; a search does well to start there.
    fn proposal(&self) -> Values;

    /// Fits to the training rows of `job`. After each epoch `report` gets the probabilities of the
    /// validation rows; when it breaks, fitting ends with [`TrainError::Stopped`].
    fn fit(
        &self,
        job: &Job<'_>,
        report: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Fitted, TrainError>;
}

/// What a learner is asked to do.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Rows.
    pub data: &'a TextData<'a>,
    /// Values, one for each active parameter of the learner's space.
    pub values: &'a Values,
    /// Seed of all that is random: initial weights, order of rows, dropout.
    pub seed: u64,
}

/// The state after an epoch.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// Epochs done, from 1.
    pub epoch: u64,
    /// Epochs in all.
    pub epochs: u64,
    /// Probabilities of the validation rows, row-major `[rows, classes]`.
    pub valid: &'a [f32],
    /// Gives the network as it is now, as [`Fitted::text_network`] does at the end.
    pub network: &'a dyn Fn() -> TextNetwork,
}

/// What fitting gives; [`Fitted::text_network`] makes it fit for export.
pub struct Fitted {
    learned: Learned,
    matrix: Arc<Matrix>,
    classes: usize,
    temperature: f32,
    /// Probabilities of the validation rows, row-major `[rows, classes]`.
    pub valid: Vec<f32>,
}

/// What a learner has learnt, with a table row for each column of the matrix.
pub(crate) enum Learned {
    Linear(linear::Weights),
    Embedding(BagNetwork),
}

/// A network with the preprocessing that turns text into rows of its table.
#[derive(Debug, Clone)]
pub struct TextNetwork {
    /// The network.
    pub network: BagNetwork,
    /// The preprocessing.
    pub preprocess: NgramText,
}

/// A text and the probabilities that the network in memory gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// The text.
    pub text: String,
    /// One probability per class.
    pub probabilities: Vec<f32>,
}

/// Why there is no fitted model.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The values do not suit the learner.
    #[error(transparent)]
    Values(#[from] ValueError),
    /// The rows could not be read.
    #[error("the rows could not be read: {0}")]
    Source(SourceError),
    /// There are no training rows.
    #[error("there must be at least one training row")]
    NoRows,
    /// A label is not below the number of classes.
    #[error("a label is not below {classes}, the number of classes")]
    Label {
        /// Number of classes.
        classes: usize,
    },
    /// The source gave other rows than the first time.
    #[error("the rows changed while they were being used")]
    RowsChanged,
    /// No n-gram is left to learn from.
    #[error("no n-gram occurs in enough training rows")]
    NoFeatures,
    /// The weights stopped being finite.
    #[error("training diverged in epoch {epoch}: a smaller learning_rate may help")]
    Diverged {
        /// The epoch, from 1.
        epoch: u64,
    },
    /// The report asked to stop.
    #[error("training was stopped")]
    Stopped,
}

impl Fitted {
    pub(crate) fn new(
        learned: Learned,
        matrix: Arc<Matrix>,
        classes: usize,
        valid: Vec<f32>,
    ) -> Self {
        Self { learned, matrix, classes, temperature: 1.0, valid }
    }

    /// The same network with its logits divided by `temperature`, above 0.
    #[must_use]
    pub fn calibrated(mut self, temperature: f32) -> Self {
        self.temperature *= temperature;
        for row in self.valid.chunks_exact_mut(self.classes) {
            row.iter_mut().for_each(|p| *p = p.max(f32::MIN_POSITIVE).ln() / temperature);
            bag::softmax(row);
        }
        self
    }

    /// The network with a table row for each n-gram.
    pub fn text_network(&self) -> TextNetwork {
        let (preprocess, columns) = self.matrix.features();
        let mut network = match &self.learned {
            Learned::Linear(weights) => weights.network(&columns),
            Learned::Embedding(network) => network.with_rows(&columns),
        };
        network.temperature = self.temperature;
        TextNetwork { network, preprocess }
    }
}

impl TextNetwork {
    /// Exports the model, with class names and, for binary tasks, the positive class.
    pub fn to_model(&self, labels: Vec<String>, positive: Option<usize>) -> Model {
        self.network.to_model(self.preprocess.clone(), labels, positive)
    }

    /// Up to `count` validation texts, of training where there are none, with the probabilities of the
    /// network in memory.
    pub fn probes(&self, data: &TextData<'_>, count: usize) -> Result<Vec<Probe>, TrainError> {
        let mut scratch = luthier_model::Scratch::default();
        let texts = data.probe_texts(count)?;
        let probe = |text: String| {
            let (rows, weight) = self.preprocess.features(&text, &mut scratch);
            let probabilities = self.network.predict(rows, weight);
            Probe { text, probabilities }
        };
        Ok(texts.into_iter().map(probe).collect())
    }
}

/// All learners.
pub fn learners() -> Vec<Box<dyn Learner>> {
    vec![Box::new(Linear), Box::new(Embedding)]
}

/// The learner called `name`.
pub fn learner_by_name(name: &str) -> Option<Box<dyn Learner>> {
    learners().into_iter().find(|learner| learner.name() == name)
}

#[cfg(test)]
mod tests;
