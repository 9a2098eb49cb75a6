//! Learners: values and labelled rows in, a model out.
//!
//! Start from [`Learner`] and [`learners`]. A learner declares the [`Space`] of its values,
//! fits a model to [`Data`] and reports after every epoch, so that a caller can stop it; it
//! does not know that tuning exists, and it never runs the graph that it exports: the caller
//! compares the engine's answers with [`Network::answer`].
//!
//! There are learners for each [`TaskKind`]. Of texts, `linear` and `embedding` train a [`BagNetwork`]:
//! the rows of a table that a text's n-grams point to are summed, and dense layers follow; while they
//! learn, one table row stands for all n-grams that occur in the same training rows, and
//! [`Fitted::network`] gives each its own again. [`Transformer`] fine-tunes an encoder that was trained
//! before. Of tables, [`BoostedTrees`], [`TableMlp`] and [`TableLinear`] take the columns of [`TableData`].
//!
//! Trials can run side by side: small learners use one thread, and the others those of the pool that they
//! are called in. The same values, rows, order and seed give the same bits.

mod augment;
mod bag;
mod boosted_trees;
mod cache;
mod columns;
mod data;
mod embedding;
mod layers;
mod linear;
mod matrix;
mod sampling;
mod scale;
mod spare;
mod table;
mod teaching;
mod transformer;
mod trees;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use luthier_model::{Decision, Model, NgramText, Preprocess, PreprocessError, Signature, Table};
use luthier_space::{Space, ValueError, Values};

pub use augment::augmented;
pub use bag::{BagNetwork, Dense};
pub use boosted_trees::BoostedTrees;
pub use data::{Row, RowSource, SourceError, Subset, Targets, TextData};
pub use embedding::Embedding;
pub use linear::Linear;
pub use table::{
    Column, ColumnKind, Monotone, TableData, TableLinear, TableMlp, TableNetwork, TableTargets,
    TableTask,
};
pub use transformer::{
    EncoderNetwork, ExportError, ImportError, Locate, TEACHER, TeacherSource, Transformer,
    check_size, to_model,
};
pub use trees::{
    Best, Branch, CategoryRules, Child, Condition, Forest, Importance, Leaf, LeafRules, Link,
    Objective, Round, RowSampling, Tree, TreeOptions, fit_trees,
};

use matrix::Matrix;

/// Fits models of one kind.
///
/// `fit` may be called from several threads at once; it prints nothing, and reads no files but those of
/// what it starts from.
pub trait Learner: Send + Sync {
    /// Name, as in `luthier.toml`; learners of other tasks may have the same.
    fn name(&self) -> &'static str;

    /// The values that [`Learner::fit`] takes, with ranges that suit most tasks.
    fn space(&self) -> Space;

    /// Values of [`Learner::space`] that do well on most tasks; a search does well to start there.
    fn proposal(&self) -> Values;

    /// A parameter that only a job can give, such as what was trained before.
    fn needs(&self) -> Option<&'static str> {
        None
    }

    /// What [`Learner::fit`] takes besides where training rows are [taught](Targets::taught), with values that
    /// do well on most tasks; none if the learner cannot be a student.
    fn student(&self) -> Option<(Space, Values)> {
        None
    }

    /// Options of a parameter that a job may name besides those of [`Learner::space`], which suit few tasks.
    fn more_options(&self, _parameter: &str) -> &'static [&'static str] {
        &[]
    }

    /// Whether answers change with columns only as these are [`Monotone`].
    fn keeps_monotone(&self) -> bool {
        false
    }

    /// The parameter that says how many steps a fit reports at most, and how much of it is one step.
    fn steps(&self) -> (&'static str, u64) {
        ("epochs", 1)
    }

    /// Fits to the training rows of `job`. After each epoch `report` gets what the validation rows are
    /// answered; when it breaks, fitting ends with [`TrainError::Stopped`].
    fn fit(
        &self,
        job: &Job<'_>,
        report: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Fitted, TrainError>;
}

/// What a learner is asked to do.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Rows of the kind that the learner is for.
    pub data: &'a Data<'a>,
    /// Values, one for each active parameter of the learner's space.
    pub values: &'a Values,
    /// Seed of all that is random: initial weights, order of rows, dropout.
    pub seed: u64,
    /// Where it runs.
    pub host: Host<'a>,
}

/// What a fit may use and has to heed of where it runs; by default all it likes, and nothing.
#[derive(Clone, Copy, Default)]
pub struct Host<'a> {
    /// Whether to end soon, with [`TrainError::Stopped`]; it is asked often, and quick to answer.
    pub stop: Option<&'a (dyn Fn() -> bool + Sync)>,
    /// Bytes of memory that the fit may take.
    pub memory: Option<u64>,
    /// A folder, which need not exist yet, that this fit has to itself. A learner whose fits are long
    /// keeps its state there; the same job with the same folder then goes on from it, reports what was
    /// reported before once more, and gives what it gives undisturbed. The state at the end stays there
    /// too, so that the same is given without fitting again; the folder is the caller's to remove.
    pub state: Option<&'a Path>,
}

impl<'a> Job<'a> {
    /// A job that nothing is known of where it runs.
    pub fn new(data: &'a Data<'a>, values: &'a Values, seed: u64) -> Self {
        Self { data, values, seed, host: Host::default() }
    }
}

impl Host<'_> {
    /// [`TrainError::Stopped`] once the fit is to end.
    pub(crate) fn go_on(&self) -> Result<(), TrainError> {
        match self.stop {
            Some(stop) if stop() => Err(TrainError::Stopped),
            _ => Ok(()),
        }
    }
}

/// Labelled rows for training.
pub enum Data<'a> {
    /// Texts with classes.
    Text(TextData<'a>),
    /// Rows of a table with classes or numbers.
    Table(TableData),
}

/// What a learner learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// The class of a text.
    TextClasses,
    /// The class of a row of a table.
    TableClasses,
    /// A number for a row of a table.
    TableNumbers,
}

/// The state after an epoch.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// Epochs done, from 1.
    pub epoch: u64,
    /// Epochs in all.
    pub epochs: u64,
    /// Probabilities of the validation rows, row-major `[rows, classes]`, or the number for each.
    pub valid: &'a [f32],
    /// Gives the network as it is now, as [`Fitted::network`] does at the end.
    pub network: &'a dyn Fn() -> Network,
}

/// What fitting gives; [`Fitted::network`] makes it fit for export.
pub struct Fitted {
    learned: Learned,
    /// What the validation rows are answered, as in the last [`Step`].
    pub valid: Vec<f32>,
    /// How much of the parameter of [`Learner::steps`] was best for the validation rows, where they decide
    /// when to end. A fit without validation rows does well to take as much.
    pub settled: Option<u64>,
    /// The training and validation texts whose ends the learner has not looked at, if there are any.
    pub cut: Option<CutTexts>,
}

/// Texts that are too long for a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutTexts {
    /// How many.
    pub texts: usize,
    /// Of how many.
    pub of: usize,
    /// Tokens of a text that count.
    pub max_length: usize,
}

/// What a learner has learnt.
pub(crate) enum Learned {
    /// With a row for each column of the matrix.
    Linear(linear::Weights, Arc<Matrix>),
    /// The same.
    Embedding(BagNetwork, Arc<Matrix>),
    /// As it is exported.
    Forest(Forest),
    /// The same.
    Table(TableNetwork),
    /// The same.
    Encoder(Box<EncoderNetwork>),
}

/// A network that can be exported.
#[derive(Debug, Clone)]
pub enum Network {
    /// Over the n-grams of texts.
    Bag(TextNetwork),
    /// Trees over the columns of a table.
    Forest(Forest),
    /// Layers over the columns of a table.
    Table(TableNetwork),
    /// An encoder over the tokens of texts.
    Encoder(Box<EncoderNetwork>),
}

/// A network with the preprocessing that turns text into rows of its table.
#[derive(Debug, Clone)]
pub struct TextNetwork {
    /// The network.
    pub network: BagNetwork,
    /// The preprocessing.
    pub preprocess: NgramText,
}

/// Rows without labels.
#[derive(Debug, Clone, Copy)]
pub enum Inputs<'a> {
    /// Texts.
    Texts(&'a [String]),
    /// Numbers of a table's columns, row-major.
    Table(&'a [f32]),
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
    /// The learner is for rows of another kind.
    #[error("the learner is for {0}")]
    Kind(&'static str),
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
    /// No column is left to learn from.
    #[error("every column has the same value in all training rows, or none")]
    NoColumns,
    /// Some rows have more or fewer answers of a teacher than others.
    #[error("a teacher must answer all training rows, with a number for each class")]
    Taught,
    /// A column has more or fewer cells than there are rows.
    #[error("column `{column}` does not have one cell for each row")]
    Cells {
        /// The column's name.
        column: String,
    },
    /// The loss is not made for a target.
    #[error("the objective does not take the target of row {row}")]
    Target {
        /// The row in its subset, from 0.
        row: usize,
    },
    /// An option is out of its range.
    #[error("`{name}` is out of its range")]
    Option {
        /// The option's name.
        name: &'static str,
    },
    /// The weights stopped being finite.
    #[error("training diverged in epoch {epoch}: a smaller learning_rate may help")]
    Diverged {
        /// The epoch, from 1.
        epoch: u64,
    },
    /// The loss or its gradient stopped being finite.
    #[error(
        "the loss is no number in step {step}: a smaller learning_rate may help{}",
        LastGood::told(.last_good)
    )]
    NotFinite {
        /// The step, from 1.
        step: u64,
        /// The state before, if it was kept.
        last_good: Option<LastGood>,
    },
    /// The fit would take more memory than there is for it.
    #[error(
        "fitting takes about {} of memory, and there are {} for it: fewer workers, `train = \"lora\"`, \
         a larger `freeze`, fewer `layers`, a smaller `max_length` or `batch`, or a smaller checkpoint \
         take less",
        megabytes(*.needed),
        megabytes(*.available)
    )]
    Memory {
        /// Bytes that it would take at its peak.
        needed: u64,
        /// Bytes that it may take.
        available: u64,
    },
    /// The state of the fit could not be kept.
    #[error("{}: {source}", .path.display())]
    State {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was trained before cannot be used.
    #[error("checkpoint `{name}`: {reason}")]
    Checkpoint {
        /// Its name in the values.
        name: String,
        /// Why.
        reason: String,
    },
    /// A text has no tokens.
    #[error(transparent)]
    Tokens(#[from] PreprocessError),
    /// The network cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A network cannot be trained.
    #[error("{0}")]
    Network(String),
    /// The report asked to stop.
    #[error("training was stopped")]
    Stopped,
}

/// The state of a fit that has gone wrong, from before it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    /// The epoch after which it was kept, from 1.
    pub epoch: u64,
    /// Its file.
    pub path: PathBuf,
}

impl LastGood {
    fn told(last: &Option<Self>) -> String {
        last.as_ref().map_or(String::new(), |Self { epoch, path }| {
            format!("; the state after epoch {epoch} is in {}", path.display())
        })
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

impl Fitted {
    /// What has learnt until its last step, from whole rows.
    pub(crate) fn of(learned: Learned, valid: Vec<f32>) -> Self {
        Self { learned, valid, settled: None, cut: None }
    }

    /// The network, with a table row for each n-gram if it is over n-grams.
    pub fn network(&self) -> Network {
        match &self.learned {
            Learned::Linear(weights, matrix) => {
                let (preprocess, columns) = matrix.features();
                Network::Bag(TextNetwork { network: weights.network(&columns), preprocess })
            }
            Learned::Embedding(network, matrix) => {
                let (preprocess, columns) = matrix.features();
                Network::Bag(TextNetwork { network: network.with_rows(&columns), preprocess })
            }
            Learned::Forest(forest) => Network::Forest(forest.clone()),
            Learned::Table(network) => Network::Table(network.clone()),
            Learned::Encoder(network) => Network::Encoder(network.clone()),
        }
    }
}

impl<'a> Data<'a> {
    /// Number of classes; 0 where rows are labelled with numbers.
    pub fn classes(&self) -> usize {
        match self {
            Self::Text(data) => data.classes(),
            Self::Table(TableData { task: TableTask::Classes(classes), .. }) => *classes,
            Self::Table(TableData { task: TableTask::Number, .. }) => 0,
        }
    }

    /// The texts, for learners of those.
    pub(crate) fn texts(&self) -> Result<&TextData<'a>, TrainError> {
        match self {
            Self::Text(data) => Ok(data),
            Self::Table(_) => Err(TrainError::Kind("texts")),
        }
    }

    /// The table, for learners of those.
    pub(crate) fn table(&self) -> Result<&TableData, TrainError> {
        match self {
            Self::Text(_) => Err(TrainError::Kind("tables")),
            Self::Table(data) => Ok(data),
        }
    }
}

impl<'a> From<TextData<'a>> for Data<'a> {
    fn from(data: TextData<'a>) -> Self {
        Self::Text(data)
    }
}

impl From<TableData> for Data<'_> {
    fn from(data: TableData) -> Self {
        Self::Table(data)
    }
}

impl Network {
    /// Exports the model; `table` has the columns that a network of tables was fitted to, and none that
    /// one of texts was.
    pub fn to_model(&self, decision: Decision, table: Option<&Table>) -> Result<Model, TrainError> {
        let (graph, table) = match (self, table) {
            (Self::Bag(TextNetwork { network, preprocess }), None) => {
                return Ok(network.to_model(preprocess.clone(), decision));
            }
            (Self::Encoder(network), None) => {
                let EncoderNetwork { classifier, tokens } = network.as_ref();
                return Ok(to_model(classifier.clone(), tokens.clone(), decision)?);
            }
            (Self::Forest(forest), Some(table)) => (forest.graph(), table),
            (Self::Table(network), Some(table)) => (network.graph(), table),
            (Self::Bag(_) | Self::Encoder(_), Some(_)) => return Err(TrainError::Kind("texts")),
            (Self::Forest(_) | Self::Table(_), None) => return Err(TrainError::Kind("tables")),
        };
        Ok(Model {
            preprocess: Preprocess::Table(table.clone()),
            graph,
            signature: Signature::of_table(table, &decision),
            decision,
        })
    }

    /// What the network in memory answers: probabilities, row-major `[rows, classes]`, or the number for
    /// each row.
    pub fn answer(&self, rows: Inputs<'_>) -> Result<Vec<f32>, TrainError> {
        match (self, rows) {
            (Self::Bag(network), Inputs::Texts(texts)) => Ok(network.answer(texts)),
            (Self::Forest(forest), Inputs::Table(cells)) => {
                Ok(forest.answers(&forest.predict(cells)))
            }
            (Self::Table(network), Inputs::Table(cells)) => Ok(network.answer(cells)),
            (Self::Encoder(network), Inputs::Texts(texts)) => network.answer(texts),
            (Self::Bag(_) | Self::Encoder(_), Inputs::Table(_)) => Err(TrainError::Kind("texts")),
            (Self::Forest(_) | Self::Table(_), Inputs::Texts(_)) => Err(TrainError::Kind("tables")),
        }
    }
}

impl TextNetwork {
    fn answer(&self, texts: &[String]) -> Vec<f32> {
        let mut scratch = luthier_model::Scratch::default();
        let of_text = |text: &String| {
            let (rows, weight) = self.preprocess.features(text, &mut scratch);
            self.network.predict(rows, weight)
        };
        texts.iter().flat_map(of_text).collect()
    }
}

/// All learners for a task; `locate` finds what was trained before, `teacher` is the encoder that students
/// may start from or follow.
pub fn learners(
    task: TaskKind,
    locate: &Locate,
    teacher: Option<&TeacherSource>,
) -> Vec<Box<dyn Learner>> {
    match task {
        TaskKind::TextClasses => vec![
            Box::new(Linear),
            Box::new(Embedding),
            Box::new(Transformer { locate: Arc::clone(locate), teacher: teacher.cloned() }),
        ],
        TaskKind::TableClasses => {
            vec![
                Box::new(TableLinear),
                Box::new(TableMlp::default()),
                Box::new(BoostedTrees { numbers: false }),
            ]
        }
        TaskKind::TableNumbers => {
            vec![
                Box::new(TableLinear),
                Box::new(TableMlp { numbers: true }),
                Box::new(BoostedTrees { numbers: true }),
            ]
        }
    }
}

#[cfg(test)]
mod tests;
