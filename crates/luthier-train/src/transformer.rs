//! Fine-tuned encoders of the BERT family.

mod course;
mod fit;
mod graph;
mod import;
mod rows;
mod start;

use std::ops::ControlFlow;

use luthier_model::Tokens;
use luthier_nn::{Decay, LoraMatrices, LoraOptions, Pooling, SequenceClassifier, Workspace};
use luthier_space::{Distribution, Space, Values};

use crate::teaching::Teaching;
use crate::{Fitted, Job, Learned, Learner, Step, TrainError};

pub use graph::{ExportError, check_size, to_model};
pub use import::ImportError;
pub use start::{Locate, TEACHER, TeacherSource};

use fit::Fit;
use rows::{Encoded, answer};

/// Fine-tunes a pretrained encoder with a linear layer on what a text's tokens are pooled to.
///
/// AdamW, whose learning rate rises and then falls. Every report, and the result, is of the epoch whose answers
/// to the validation rows have the smallest loss so far, after the best temperature, since models are
/// calibrated; without such rows, of the epoch with the smallest loss in training.
#[derive(Clone)]
pub struct Transformer {
    /// Finds the folder of a checkpoint by the name that it has in the values.
    pub locate: Locate,
    /// The encoder of the job's teacher, if it has one that is of our own.
    pub teacher: Option<TeacherSource>,
}

/// A classifier of texts by an encoder, with its tokens.
#[derive(Debug, Clone)]
pub struct EncoderNetwork {
    /// The encoder with its head.
    pub classifier: SequenceClassifier,
    /// What texts become.
    pub tokens: Tokens,
}

impl Learner for Transformer {
    fn name(&self) -> &'static str {
        "transformer"
    }

    fn space(&self) -> Space {
        let lora = Space::of([
            ("rank", Distribution::log_int(4, 32)),
            ("alpha", Distribution::log_float(4.0, 64.0)),
            ("lora_dropout", Distribution::float(0.0, 0.2)),
        ]);
        Space::of([
            (CHECKPOINT, Distribution::choice([""])),
            ("learning_rate", Distribution::log_float(1e-5, 3e-4)),
            ("epochs", Distribution::int(1, 4)),
            ("batch", Distribution::choice([16, 32])),
            ("max_length", Distribution::int(128, 128)),
            ("pooling", Distribution::choice(["mean", "first"])),
            ("warmup", Distribution::float(0.0, 0.2)),
            ("decay", Distribution::choice(["linear", "cosine"])),
            ("layer_decay", Distribution::float(0.7, 1.0)),
            ("weight_decay", Distribution::float(0.01, 0.01)),
            ("dropout", Distribution::float(0.1, 0.1)),
            ("smoothing", Distribution::float(0.0, 0.0)),
            ("freeze", Distribution::int(0, 0)),
            ("layers", Distribution::int(0, 0)),
            ("train", Distribution::choice(["all", "lora"])),
        ])
        .when("train", "lora", lora)
    }

    fn proposal(&self) -> Values {
        let mut values = Values::default();
        values.insert(CHECKPOINT, "");
        values.insert("learning_rate", 5e-5);
        values.insert("epochs", 3);
        values.insert("batch", 32);
        values.insert("max_length", 128);
        values.insert("pooling", "mean");
        values.insert("warmup", 0.1);
        values.insert("decay", "linear");
        values.insert("layer_decay", 0.9);
        values.insert("weight_decay", 0.01);
        values.insert("dropout", 0.1);
        values.insert("smoothing", 0.0);
        values.insert("freeze", 0);
        values.insert("layers", 0);
        values.insert("train", "all");
        values
    }

    fn student(&self) -> Option<(Space, Values)> {
        let space = Space::of([
            ("teacher_share", Distribution::float(0.3, 1.0)),
            ("teacher_temperature", Distribution::log_float(1.0, 8.0)),
            ("hidden_share", Distribution::float(0.0, 0.0)),
        ]);
        let mut values = Values::default();
        values.insert("teacher_share", 0.7);
        values.insert("teacher_temperature", 2.0);
        values.insert("hidden_share", 0.0);
        Some((space, values))
    }

    fn needs(&self) -> Option<&'static str> {
        Some(CHECKPOINT)
    }

    fn fit(
        &self,
        job: &Job<'_>,
        report: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Fitted, TrainError> {
        let settings = Settings::read(job.values)?;
        let (fit, model) = Fit::new(self, job, &settings)?;
        let (network, valid) = fit.run(model, report)?;
        let learned = Learned::Encoder(Box::new(network));
        Ok(Fitted { cut: fit.cut(), ..Fitted::of(learned, valid) })
    }
}

/// The parameter that names the pretrained encoder: a folder, an address of a hub, or [`TEACHER`].
const CHECKPOINT: &str = "checkpoint";

struct Settings {
    epochs: u64,
    batch: usize,
    max_length: usize,
    pooling: Pooling,
    rate: f32,
    warmup: f32,
    decay: Decay,
    layer_decay: f32,
    weight_decay: f32,
    dropout: f32,
    smoothing: f32,
    freeze: usize,
    layers: usize,
    lora: Option<LoraOptions>,
    /// None where values are of a job without a teacher.
    teaching: Option<Teaching>,
    /// What the distance of hidden states to the teacher's counts beside the rest.
    hidden_share: f32,
}

impl Settings {
    fn read(values: &Values) -> Result<Self, TrainError> {
        let count = |name| Ok::<_, TrainError>(values.int(name)?.clamp(0, 1 << 20) as usize);
        let number = |name| Ok::<_, TrainError>(values.float(name)? as f32);
        let taught = values.get("teacher_share").is_some();
        let lora = match values.text("train")? {
            "lora" => Some(LoraOptions {
                rank: count("rank")?.max(1),
                alpha: number("alpha")?,
                dropout: number("lora_dropout")?,
                matrices: LoraMatrices::All,
            }),
            _ => None,
        };
        Ok(Self {
            epochs: count("epochs")?.max(1) as u64,
            batch: count("batch")?.max(1),
            max_length: count("max_length")?.max(1),
            pooling: match values.text("pooling")? {
                "first" => Pooling::First,
                _ => Pooling::Mean,
            },
            rate: number("learning_rate")?,
            warmup: number("warmup")?,
            decay: match values.text("decay")? {
                "cosine" => Decay::Cosine,
                _ => Decay::Linear,
            },
            layer_decay: number("layer_decay")?,
            weight_decay: number("weight_decay")?,
            dropout: number("dropout")?,
            smoothing: number("smoothing")?,
            freeze: count("freeze")?,
            layers: count("layers")?,
            lora,
            teaching: taught.then(|| Teaching::read(values)).transpose()?,
            hidden_share: if taught { number("hidden_share")?.max(0.0) } else { 0.0 },
        })
    }
}

impl EncoderNetwork {
    /// Probabilities of texts, row-major.
    pub(crate) fn answer(&self, texts: &[String]) -> Result<Vec<f32>, TrainError> {
        let mut encoded = Encoded::default();
        texts.iter().try_for_each(|text| encoded.push(text, &self.tokens))?;
        let mut workspace = Workspace::new();
        answer(&encoded, self.classifier.head.outputs(), &mut |batch| {
            let logits = self.classifier.logits(batch, &mut workspace);
            logits.map_err(|error| TrainError::Network(error.to_string()))
        })
    }
}

#[cfg(test)]
mod tests;
