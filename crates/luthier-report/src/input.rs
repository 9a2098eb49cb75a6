//! What a report is made of, and what `report.json` holds.
//!
//! Plain values under stable names. A measured number is an `Option`: `None`, written as `null`,
//! says that it is undefined or was not measured; NaN and infinities are written as `null` too.
//! Lists that are absent from the file are empty.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The format that this release writes into [`RunReport::format`].
pub const FORMAT: u32 = 1;

/// One run, from labelled rows to a finished model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Format of this structure on disk, [`FORMAT`].
    pub format: u32,
    /// Name of the run, as in `luthier.toml`.
    pub name: String,
    /// Kind of task, such as `text-classification`; `None` of a search without rows.
    #[serde(default)]
    pub task: Option<String>,
    /// Release of the program that made the run.
    pub release: String,
    /// When the run finished, RFC 3339.
    pub created: String,
    /// Names of the classes, if there are any; every list of class counts and the confusion matrix
    /// follow this order.
    pub labels: Vec<String>,
    /// The class that binary metrics speak of, one of `labels`.
    #[serde(default)]
    pub positive: Option<String>,
    /// What the run optimised.
    pub metric: Objective,
    /// The figures a reader looks for first.
    pub headline: Headline,
    /// The rows it learnt from.
    #[serde(default)]
    pub data: Option<DataSummary>,
    /// How the score grew with the number of training rows.
    #[serde(default)]
    pub learning_curve: Option<LearningCurve>,
    /// The search for values.
    #[serde(default)]
    pub tuning: Option<Tuning>,
    /// Scores of the finished model.
    #[serde(default)]
    pub evaluation: Option<Evaluation>,
    /// What the columns of a table do in the model, the greatest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub importance: Vec<ColumnImportance>,
    /// Test rows the model was most wrong about, worst first.
    #[serde(default)]
    pub mistakes: Vec<Mistake>,
    /// Training and validation rows whose label may be wrong, most suspect first.
    #[serde(default)]
    pub suspects: Vec<Suspect>,
    /// What a teacher was worth.
    #[serde(default)]
    pub distillation: Option<Distillation>,
    /// The search for a smaller model.
    #[serde(default)]
    pub compression: Option<Compression>,
    /// How to use the result, in the order shown.
    #[serde(default)]
    pub commands: Vec<Snippet>,
    /// Where the result comes from (digests, study, trial, seed, release), in the order shown.
    #[serde(default)]
    pub lineage: Vec<Fact>,
}

/// The rows that a finished model is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judge {
    /// Those of the test split.
    Test,
    /// Where there is none, those of the validation split, or of all folds.
    Validation,
}

impl RunReport {
    /// The rows that the finished model is judged by.
    pub(crate) fn judge(&self) -> Judge {
        if self.headline.test_openings > 0 { Judge::Test } else { Judge::Validation }
    }
}

/// The metric that was optimised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// Name of the metric, such as `f1`.
    pub name: String,
    /// Whether larger scores are better.
    pub higher_is_better: bool,
    /// The score that was asked for.
    #[serde(default)]
    pub target: Option<f64>,
}

/// A value with its uncertainty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Point estimate; `None` where the metric is undefined.
    pub value: Option<f64>,
    /// Lower end of the 95 % interval.
    #[serde(default)]
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    #[serde(default)]
    pub high: Option<f64>,
}

/// Whether a requirement is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is met.
    Holds,
    /// It is not met.
    Fails,
    /// The rows are too few to tell.
    Undecided,
}

/// One requirement and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it is met.
    pub outcome: Outcome,
    /// One sentence with the figures, such as `f1 0.861 reaches the target 0.85`.
    pub text: String,
}

/// The figures a reader looks for first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Headline {
    /// Score of the finished model on the test split or, without one, the validation split, in the
    /// objective's metric; without a model, that of the best trial on the validation split.
    pub score: Estimate,
    /// Rows of that split.
    pub rows: u64,
    /// How often the test split has been opened, this time included.
    pub test_openings: u64,
    /// Size of the finished model on disk, in bytes.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// Median latency of one row in the serving engine, in milliseconds.
    #[serde(default)]
    pub p50_ms: Option<f64>,
    /// 99th percentile of that latency, in milliseconds.
    #[serde(default)]
    pub p99_ms: Option<f64>,
    /// Wall time of the whole run, in seconds.
    #[serde(default)]
    pub wall_seconds: Option<f64>,
    /// Requirements (target, limits, non-inferiority) and what became of them.
    #[serde(default)]
    pub verdicts: Vec<Verdict>,
}

/// The rows a run learnt from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DataSummary {
    /// Training, validation and test rows.
    pub parts: Vec<PartSummary>,
    /// What the profile found.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// The columns of a table that is learnt from, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnSummary>,
}

/// A column of a table, by its training rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ColumnSummary {
    /// Name.
    pub name: String,
    /// What its cells are, such as `number` or `category`.
    pub kind: String,
    /// Share of the rows without a value.
    pub missing: Option<f64>,
    /// Different values; where [`ColumnSummary::more`] is set, there are more than that.
    pub distinct: u64,
    /// Whether counting stopped at `distinct`.
    #[serde(default)]
    pub more: bool,
    /// Quantiles of its numbers (those of times as days since 1970), ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<NumberQuantile>,
    /// Its most frequent values, with the share of rows that have them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<(String, Option<f64>)>,
    /// How much of the label the column alone tells, from 0 to 1.
    #[serde(default)]
    pub association: Option<f64>,
    /// Population stability index of each other part against train.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shifts: Vec<(String, Option<f64>)>,
}

/// One quantile of numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct NumberQuantile {
    /// Probability, from 0 (smallest) to 1 (largest).
    pub quantile: f64,
    /// The number.
    pub value: Option<f64>,
}

/// One part of the rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PartSummary {
    /// `train`, `valid` or `test`.
    pub part: String,
    /// Number of rows.
    pub rows: u64,
    /// Rows per class, in the order of [`RunReport::labels`].
    pub classes: Vec<u64>,
    /// Quantiles of the text length, ascending; empty where there is no text.
    #[serde(default)]
    pub lengths: Vec<Quantile>,
    /// Quantiles of the labels, ascending; empty where they are classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<NumberQuantile>,
}

/// One quantile of the text length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    /// Probability, from 0 (shortest) to 1 (longest).
    pub quantile: f64,
    /// Length in characters.
    pub characters: u64,
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Likely to hurt the model or its score.
    Warning,
}

/// Something the profile found in the rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// How serious it is.
    pub severity: Severity,
    /// One sentence with the figures.
    pub message: String,
}

/// Scores of models trained on growing parts of the training rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LearningCurve {
    /// Points, by ascending number of rows.
    pub points: Vec<CurvePoint>,
    /// What the curve says, in one sentence.
    pub sentence: String,
}

/// One point of a learning curve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Training rows.
    pub rows: u64,
    /// Validation score.
    pub score: Option<f64>,
    /// Lower end of its 95 % interval.
    #[serde(default)]
    pub low: Option<f64>,
    /// Upper end of its 95 % interval.
    #[serde(default)]
    pub high: Option<f64>,
}

/// The search for values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// All trials, by ascending number.
    pub trials: Vec<Trial>,
    /// Parameters of the space, parents before children.
    pub space: Vec<Parameter>,
    /// Number of the best trial.
    #[serde(default)]
    pub best: Option<u64>,
    /// What is scored besides [`RunReport::metric`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Objective>,
    /// Numbers of the trials on the Pareto front of several objectives, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub front: Vec<u64>,
    /// Names of what trials are held to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// How far below the highest score others count as equal to it; the lowest [`Trial::loss`]
    /// decides among those.
    #[serde(default)]
    pub margin: Option<f64>,
    /// Name of the sampler.
    pub sampler: String,
    /// Name of the pruner.
    pub pruner: String,
    /// Wall time of the search, in seconds.
    #[serde(default)]
    pub seconds: Option<f64>,
}

/// One trial of the search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Number, from 0.
    pub number: u64,
    /// How it ended.
    pub state: TrialState,
    /// Final validation score; `None` unless complete.
    #[serde(default)]
    pub score: Option<f64>,
    /// Whether the score is what the trial's program has said, and was not computed from its
    /// predictions.
    #[serde(default)]
    pub reported: bool,
    /// Its score when it was evaluated once more, with another seed, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<f64>,
    /// Final scores in [`Tuning::also`]; none unless complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Option<f64>>,
    /// How far it is beyond each of [`Tuning::limits`], 0 and below where it keeps them; none unless
    /// complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Option<f64>>,
    /// Log loss after calibration, which decides among scores too close to call.
    #[serde(default)]
    pub loss: Option<f64>,
    /// Wall time, in seconds.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// Values of the active parameters, by name.
    #[serde(default)]
    pub values: Map<String, Value>,
    /// Scores reported on the way, as (step, score), by ascending step.
    #[serde(default)]
    pub steps: Vec<(u64, Option<f64>)>,
    /// Why it failed or was pruned.
    #[serde(default)]
    pub reason: Option<String>,
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialState {
    /// It has not ended.
    Running,
    /// It has a score.
    Complete,
    /// It waits at a step for its turn to go on.
    Paused,
    /// It was stopped early for lack of promise.
    Pruned,
    /// It ended with an error.
    Failed,
}

/// One parameter of the space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Name, unique within the space.
    pub name: String,
    /// Whether its scale is logarithmic.
    #[serde(default)]
    pub log: bool,
    /// What its values are.
    pub kind: ParameterKind,
}

/// What the values of a parameter are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    /// Real numbers.
    Float,
    /// Integers.
    Int,
    /// Options without an order.
    Choice,
}

/// Scores of the finished model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Metrics on the validation and the test split.
    pub metrics: Vec<MetricScores>,
    /// Scores per class, as all that follows on the test split or, without one, the validation split; in the
    /// order of [`RunReport::labels`].
    #[serde(default)]
    pub classes: Vec<ClassScores>,
    /// Rows by true class (outer) and predicted class (inner).
    #[serde(default)]
    pub confusion: Vec<Vec<u64>>,
    /// Reliability of the probabilities, bins ascending.
    #[serde(default)]
    pub reliability: Vec<ReliabilityBin>,
    /// Decision threshold on the probability of the positive class.
    #[serde(default)]
    pub threshold: Option<f64>,
    /// Where predicted numbers are off; `None` of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<NumberFit>,
}

/// Predicted numbers beside the true ones.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NumberFit {
    /// Some rows, spread evenly, as (predicted, true).
    pub points: Vec<(Option<f64>, Option<f64>)>,
    /// Rows by residual, truth minus prediction, bins ascending.
    #[serde(default)]
    pub residuals: Vec<ResidualBin>,
}

/// Rows of like residuals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ResidualBin {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Rows in the bin.
    pub count: u64,
}

/// What a column does in the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ColumnImportance {
    /// Name of the column.
    pub name: String,
    /// How far it moves the answer in the mean, either way: the mean absolute contribution to what the
    /// model adds up.
    pub contribution: Option<f64>,
    /// Its share of what all splits have lowered the loss by.
    pub gain: Option<f64>,
}

/// One metric on both splits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricScores {
    /// Name of the metric.
    pub name: String,
    /// Whether larger scores are better.
    pub higher_is_better: bool,
    /// On the validation split.
    #[serde(default)]
    pub valid: Option<Estimate>,
    /// On the test split.
    #[serde(default)]
    pub test: Option<Estimate>,
}

/// Scores of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Name of the class.
    pub label: String,
    /// Rows that truly belong to it.
    pub support: u64,
    /// Share of the rows given this label that deserve it.
    pub precision: Option<f64>,
    /// Share of the rows of this class that were given its label.
    pub recall: Option<f64>,
    /// Harmonic mean of precision and recall.
    pub f1: Option<f64>,
}

/// Rows whose predicted probability falls between two bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Lower bound, from 0.
    pub lower: f64,
    /// Upper bound, to 1.
    pub upper: f64,
    /// Rows in the bin.
    pub count: u64,
    /// Mean predicted probability; `None` in an empty bin.
    pub confidence: Option<f64>,
    /// Share of the rows for which the prediction came true; `None` in an empty bin.
    pub accuracy: Option<f64>,
}

/// A test row the model got wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    /// Row in its file, from 1.
    pub row: u64,
    /// Identifier of the row, where the data has one.
    #[serde(default)]
    pub id: Option<String>,
    /// The text, or the columns as text.
    pub text: String,
    /// True label.
    pub truth: String,
    /// Predicted label.
    pub predicted: String,
    /// Probability that the model gave to the true label.
    pub probability: Option<f64>,
    /// Of numbers: truth minus prediction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<f64>,
}

/// A row whose label may be wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// `train` or `valid`.
    pub part: String,
    /// Row in its file, from 1.
    pub row: u64,
    /// Identifier of the row, where the data has one.
    #[serde(default)]
    pub id: Option<String>,
    /// The text, or the columns as text.
    pub text: String,
    /// Label in the data.
    pub given: String,
    /// Label the model suggests.
    pub suggested: String,
    /// Probability that the model gave to the suggested label.
    pub probability: Option<f64>,
}

/// A student as trained, the same without its teacher, and the teacher, on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distillation {
    /// The split that the rows are of.
    pub part: String,
    /// Number of rows.
    pub rows: u64,
    /// The three, the student that was taught last.
    pub models: Vec<Contender>,
    /// Median latency of one row of the finished model, in milliseconds.
    #[serde(default)]
    pub finished_p50_ms: Option<f64>,
}

/// One of several models that were scored on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contender {
    /// What it is called.
    pub name: String,
    /// Score in the objective's metric.
    pub score: Estimate,
    /// Median latency of one row, in milliseconds.
    #[serde(default)]
    pub p50_ms: Option<f64>,
    /// The last model's score against this one's, positive when that is better, with the interval of a
    /// paired bootstrap; `None` for the last model.
    #[serde(default)]
    pub difference: Option<Estimate>,
    /// P-value of an exact paired test, of decisions or of errors.
    #[serde(default)]
    pub p_value: Option<f64>,
}

/// The search for a smaller model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Compression {
    /// All models that were measured, the uncompressed one included.
    pub candidates: Vec<Candidate>,
    /// Largest drop of the score that was allowed.
    pub max_drop: Option<f64>,
}

/// One model that was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Name of the recipe.
    pub name: String,
    /// Size on disk, in bytes.
    pub size_bytes: u64,
    /// Median latency of one row, in milliseconds.
    #[serde(default)]
    pub p50_ms: Option<f64>,
    /// 99th percentile of that latency, in milliseconds.
    #[serde(default)]
    pub p99_ms: Option<f64>,
    /// Validation score.
    pub score: Option<f64>,
    /// Score against the uncompressed model, positive when better; `None` for that model.
    #[serde(default)]
    pub difference: Option<f64>,
    /// One-sided 95 % lower bound of `difference`.
    #[serde(default)]
    pub lower_bound: Option<f64>,
    /// Whether it is no worse than allowed; `None` for the uncompressed model.
    #[serde(default)]
    pub verdict: Option<Outcome>,
    /// Whether it became the finished model.
    #[serde(default)]
    pub chosen: bool,
}

/// A command or a piece of code that uses the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snippet {
    /// What it does.
    pub title: String,
    /// Its text, ready to paste.
    pub command: String,
}

/// One line of the lineage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// What it is.
    pub key: String,
    /// Its value.
    pub value: String,
}
