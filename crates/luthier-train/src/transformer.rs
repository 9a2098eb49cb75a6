//! Fine-tuned encoders of the BERT family.

mod graph;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use luthier_model::Tokens;
use luthier_nn::{
    AdamW, Batch, Decay, Linear, LoraMatrices, LoraOptions, Loss, Pooling, Schedule,
    SequenceClassifier, StepPart, Targets, TrainOptions, Trainer, Workspace,
};
use luthier_pretrained::{Pretrained, PretrainedError};
use luthier_space::{Distribution, Space, Values};

use crate::data::{Subset, TextData};
use crate::sampling::shuffled;
use crate::{Fitted, Job, Learned, Learner, Network, Step, TrainError};

pub use graph::{ExportError, check_size, to_model};

/// Fine-tunes a pretrained encoder with a linear layer on what a text's tokens are pooled to.
#[derive(Clone)]
pub struct Transformer {
    /// Finds the folder of a checkpoint by the name that it has in the values.
    pub locate: Locate,
}

/// Finds the folder of a checkpoint by the name that it has in a job; or says why there is none.
pub type Locate = Arc<dyn Fn(&str) -> Result<PathBuf, String> + Send + Sync>;

/// Tokens that go through a network together at most; larger batches are cut into parts whose gradients
/// are added.
const MAX_TOKENS: usize = 4096;
/// Bound of the head's first weights, as a share of one over the root of their number: small, since the
/// first steps would otherwise teach the encoder a head that knows nothing.
const HEAD_BOUND: f32 = 0.5;
/// The longest gradient that a step is taken by.
const CLIP: f32 = 1.0;

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
        values.insert("train", "all");
        values
    }

    fn needs(&self) -> Option<&'static str> {
        Some(CHECKPOINT)
    }

    fn fit(
        &self,
        job: &Job<'_>,
        report: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Fitted, TrainError> {
        let data = job.data.texts()?;
        let settings = Settings::read(job.values)?;
        let name = job.values.text(CHECKPOINT)?;
        let unusable = |reason: String| TrainError::Checkpoint { name: name.to_owned(), reason };
        let folder = (self.locate)(name).map_err(unusable)?;
        let pretrained = Pretrained::open(&folder).map_err(|error| unusable(described(&error)))?;
        let longest = pretrained.tokens.settings().max_length;
        let tokens = pretrained
            .tokens(settings.max_length.min(longest))
            .map_err(|error| unusable(described(&error)))?;
        let (train, valid) =
            (encoded(data, Subset::Train, &tokens)?, encoded(data, Subset::Valid, &tokens)?);
        let steps = settings.epochs * train.len().div_ceil(settings.batch) as u64;
        let classifier = settings.classifier(pretrained, data.classes(), job.seed);
        check_size(&classifier.encoder.config, data.classes())?;
        let mut trainer = Trainer::new(classifier, settings.options(steps, job.seed))
            .map_err(|error| unusable(error.to_string()))?;
        let mut probabilities = Vec::new();
        for epoch in 1..=settings.epochs {
            let order = shuffled(train.len(), job.seed, epoch, 0);
            for rows in order.chunks(settings.batch) {
                step(&mut trainer, &train, data, rows)?;
            }
            probabilities = answer(&valid, data.classes(), |batch| trainer.logits(batch))?;
            if probabilities.iter().any(|p| !p.is_finite()) {
                return Err(TrainError::Diverged { epoch });
            }
            let network = || {
                let (classifier, tokens) = (trainer.merged(), tokens.clone());
                Network::Encoder(Box::new(EncoderNetwork { classifier, tokens }))
            };
            let (valid, epochs) = (probabilities.as_slice(), settings.epochs);
            let state = Step { epoch, epochs, valid, network: &network };
            if report(state).is_break() && epoch < settings.epochs {
                return Err(TrainError::Stopped);
            }
        }
        let network = EncoderNetwork { classifier: trainer.into_merged(), tokens };
        Ok(Fitted {
            learned: Learned::Encoder(Box::new(network)),
            valid: probabilities,
            settled: None,
        })
    }
}

/// The parameter that names the pretrained encoder: a folder, or an address of a hub.
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
    lora: Option<LoraOptions>,
}

impl Settings {
    fn read(values: &Values) -> Result<Self, TrainError> {
        let count = |name| Ok::<_, TrainError>(values.int(name)?.clamp(0, 1 << 20) as usize);
        let number = |name| Ok::<_, TrainError>(values.float(name)? as f32);
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
            lora,
        })
    }

    /// The encoder with a head that has learnt nothing yet.
    fn classifier(&self, pretrained: Pretrained, classes: usize, seed: u64) -> SequenceClassifier {
        let encoder = pretrained.encoder;
        let hidden = encoder.config.hidden;
        let bound = HEAD_BOUND / (hidden as f32).sqrt();
        let head = Linear::uniform(hidden, classes, bound, seed);
        SequenceClassifier { encoder, pooling: self.pooling, head }
    }

    fn options(&self, steps: u64, seed: u64) -> TrainOptions {
        TrainOptions {
            loss: Loss { smoothing: self.smoothing, ..Loss::default() },
            schedule: Schedule { rate: self.rate, steps, warmup: self.warmup, decay: self.decay },
            adamw: AdamW { weight_decay: self.weight_decay, ..AdamW::default() },
            clip: Some(CLIP),
            layer_decay: self.layer_decay,
            dropout: self.dropout,
            attention_dropout: self.dropout,
            freeze_embeddings: self.freeze > 0,
            freeze_layers: self.freeze,
            lora: self.lora.clone(),
            seed,
        }
    }
}

/// Texts as the ids of their tokens, one after the other.
#[derive(Default)]
struct Encoded {
    ids: Vec<u32>,
    types: Vec<u32>,
    ends: Vec<usize>,
}

impl Encoded {
    fn push(&mut self, text: &str, tokens: &Tokens) -> Result<(), TrainError> {
        tokens.encode(text, &mut self.ids, &mut self.types)?;
        self.ends.push(self.ids.len());
        Ok(())
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn tokens(&self, row: usize) -> std::ops::Range<usize> {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[row]
    }

    /// Adds a row to a batch.
    fn put(&self, row: usize, batch: &mut Batch) {
        let tokens = self.tokens(row);
        batch.push_with_types(&self.ids[tokens.clone()], &self.types[tokens]);
    }

    /// Cuts rows into runs of few enough tokens, at least a row each.
    fn parts<'r>(&self, mut rows: &'r [u32]) -> Vec<&'r [u32]> {
        let mut parts = Vec::new();
        while !rows.is_empty() {
            let mut tokens = 0;
            let fits = |row: &&u32| {
                tokens += self.tokens(**row as usize).len();
                tokens <= MAX_TOKENS
            };
            let (part, rest) = rows.split_at(rows.iter().take_while(fits).count().max(1));
            parts.push(part);
            rows = rest;
        }
        parts
    }
}

fn encoded(data: &TextData<'_>, subset: Subset, tokens: &Tokens) -> Result<Encoded, TrainError> {
    let (mut encoded, mut wrong) = (Encoded::default(), None);
    data.each_text(subset, &mut |text| {
        if wrong.is_none() {
            wrong = encoded.push(text, tokens).err();
        }
    })?;
    wrong.map_or(Ok(encoded), Err)
}

/// Takes a step by some training rows.
fn step(
    trainer: &mut Trainer,
    train: &Encoded,
    data: &TextData<'_>,
    rows: &[u32],
) -> Result<(), TrainError> {
    let part = |rows: &&[u32]| {
        let mut batch = Batch::new();
        rows.iter().for_each(|row| train.put(*row as usize, &mut batch));
        let labels = rows.iter().map(|row| data.train().labels[*row as usize]);
        let weights = rows.iter().map(|row| data.train().weights[*row as usize]);
        (batch, labels.collect::<Vec<_>>(), weights.collect::<Vec<_>>())
    };
    let parts: Vec<_> = train.parts(rows).iter().map(part).collect();
    // Rows that weigh nothing teach nothing.
    if parts.iter().all(|(_, _, weights)| weights.iter().all(|weight| *weight == 0.0)) {
        return Ok(());
    }
    let parts: Vec<StepPart<'_>> = parts
        .iter()
        .map(|(batch, labels, weights)| StepPart {
            batch,
            targets: Targets { labels, weights, ..Targets::default() },
        })
        .collect();
    match trainer.step(&parts) {
        Ok(_) => Ok(()),
        Err(luthier_nn::TrainError::NotFinite { step, .. }) => Err(TrainError::NotFinite { step }),
        Err(error) => Err(TrainError::Network(error.to_string())),
    }
}

/// Probabilities of all rows, row-major, from logits.
fn answer<E: std::fmt::Display>(
    rows: &Encoded,
    classes: usize,
    mut logits: impl FnMut(&Batch) -> Result<Vec<f32>, E>,
) -> Result<Vec<f32>, TrainError> {
    let mut probabilities = vec![0.0; rows.len() * classes];
    let mut batch = Batch::new();
    let order: Vec<u32> = (0..rows.len() as u32).collect();
    for part in rows.parts(&order) {
        batch.clear();
        part.iter().for_each(|row| rows.put(*row as usize, &mut batch));
        let mut found = logits(&batch).map_err(|error| TrainError::Network(error.to_string()))?;
        found.chunks_exact_mut(classes).for_each(crate::bag::softmax);
        let start = part.first().map_or(0, |row| *row as usize) * classes;
        probabilities[start..start + found.len()].copy_from_slice(&found);
    }
    Ok(probabilities)
}

impl EncoderNetwork {
    /// Probabilities of texts, row-major.
    pub(crate) fn answer(&self, texts: &[String]) -> Result<Vec<f32>, TrainError> {
        let mut encoded = Encoded::default();
        texts.iter().try_for_each(|text| encoded.push(text, &self.tokens))?;
        let mut workspace = Workspace::new();
        answer(&encoded, self.classifier.head.outputs(), |batch| {
            self.classifier.logits(batch, &mut workspace)
        })
    }
}

/// What is wrong with a checkpoint and what to do about it.
fn described(error: &PretrainedError) -> String {
    match error.hint() {
        Some(hint) => format!("{error}: {hint}"),
        None => error.to_string(),
    }
}
