//! One fit, from a checkpoint to a classifier.

use std::hash::Hash;
use std::ops::ControlFlow;
use std::sync::Arc;

use luthier_eval::calibrated_log_loss;
use luthier_model::Tokens;
use luthier_nn::{
    AdamW, Batch, BatchSize, Distance, EncoderConfig, HiddenLoss, Linear, Loss, Schedule,
    SequenceClassifier, SoftLoss, StepPart, Targets, TrainOptions, Trainer, Workspace,
};

use super::course::{Course, Epoch, StateFile};
use super::rows::{Encoded, answer};
use super::start::{Start, TEACHER, spread};
use super::{CHECKPOINT, EncoderNetwork, Settings, Transformer, check_size};
use crate::data::{Subset, TextData};
use crate::sampling::shuffled;
use crate::{CutTexts, Host, Job, Network, Step, TrainError};

/// Bound of the head's first weights, as a share of one over the root of their number: small, since the
/// first steps would otherwise teach the encoder a head that knows nothing.
const HEAD_BOUND: f32 = 0.5;
/// The longest gradient that a step is taken by.
const CLIP: f32 = 1.0;

/// All that does not change while a network is fitted.
pub(super) struct Fit<'a> {
    learner: &'a Transformer,
    job: &'a Job<'a>,
    data: &'a TextData<'a>,
    settings: &'a Settings,
    tokens: Tokens,
    train: Encoded,
    valid: Encoded,
    options: TrainOptions,
    followed: Option<Followed>,
}

/// A teacher whose hidden states are followed.
struct Followed {
    network: Arc<EncoderNetwork>,
    /// The teacher's level for each level of the student that is compared.
    levels: Vec<usize>,
}

impl<'a> Fit<'a> {
    /// Reads the checkpoint and the rows; gives also the network as it is before training.
    pub(super) fn new(
        learner: &'a Transformer,
        job: &'a Job<'a>,
        settings: &'a Settings,
    ) -> Result<(Self, SequenceClassifier), TrainError> {
        let (data, host) = (job.data.texts()?, &job.host);
        let name = job.values.text(CHECKPOINT)?;
        // With the least that there can be in a batch, to say before weights are read what cannot be.
        let least = BatchSize { sequences: 1, tokens: 1 };
        let start = Start::read(learner, name, settings.layers, &|config| {
            check_size(config, data.classes())?;
            settings.check_memory(
                &settings.options(1, job.seed),
                config,
                data.classes(),
                least,
                host,
            )
        })?;
        let tokens = start.tokens(settings.max_length)?;
        let train = Encoded::of(data, Subset::Train, &tokens, host)?;
        let valid = Encoded::of(data, Subset::Valid, &tokens, host)?;
        let steps = settings.epochs * train.len().div_ceil(settings.batch) as u64;
        let mut options = settings.options(steps, job.seed);
        let mut followed = None;
        let taught = !data.train().taught.is_empty();
        if let Some(teaching) = settings.teaching.as_ref().filter(|_| taught) {
            options.loss.labels = 1.0 - teaching.share();
            options.loss.soft =
                Some(SoftLoss { weight: teaching.share(), temperature: teaching.temperature() });
            if settings.hidden_share > 0.0 {
                let (found, loss) = follow(learner, &start, &tokens, settings)?;
                options.loss.hidden = Some(loss);
                followed = Some(found);
            }
        }
        let largest = train.largest_part(settings.batch);
        let config = &start.encoder.config;
        settings.check_memory(&options, config, data.classes(), largest, host)?;
        let model = settings.classifier(start, data.classes(), job.seed);
        let fit = Self { learner, job, data, settings, tokens, train, valid, options, followed };
        Ok((fit, model))
    }

    /// Fits `model` and gives the best network with its answers to the validation rows.
    pub(super) fn run(
        &self,
        model: SequenceClassifier,
        report: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<(EncoderNetwork, Vec<f32>), TrainError> {
        let state = self.job.host.state.map(|folder| StateFile::new(folder, self.depends()));
        let (mut trainer, mut course) = self.begin(model, state.as_ref())?;
        let epochs = self.settings.epochs;
        for epoch in 1..=epochs {
            let count = epoch as usize;
            if course.len() < count {
                let done = self.epoch(&mut trainer, epoch);
                let done = done.map_err(|error| self.told(error, state.as_ref(), &course))?;
                course.push(done, &trainer, epoch < epochs);
                if let Some(state) = &state {
                    state.save(&trainer, &course)?;
                }
            }
            let network = || {
                let (classifier, tokens) = (course.network(&trainer), self.tokens.clone());
                Network::Encoder(Box::new(EncoderNetwork { classifier, tokens }))
            };
            let step = Step { epoch, epochs, valid: course.valid(count), network: &network };
            if report(step).is_break() && epoch < epochs {
                return Err(TrainError::Stopped);
            }
            if course.is_over(count) {
                break;
            }
        }
        let (classifier, valid) = course.into_network(trainer);
        Ok((EncoderNetwork { classifier, tokens: self.tokens.clone() }, valid))
    }

    /// The texts that are cut, if any are.
    pub(super) fn cut(&self) -> Option<CutTexts> {
        let Self { train, valid, tokens, .. } = self;
        let texts = train.cut() + valid.cut();
        let (of, max_length) = (train.len() + valid.len(), tokens.settings().max_length);
        (texts > 0).then_some(CutTexts { texts, of, max_length })
    }

    /// Goes on from what was kept, or begins.
    fn begin(
        &self,
        model: SequenceClassifier,
        state: Option<&StateFile>,
    ) -> Result<(Trainer, Course), TrainError> {
        let mut model = model;
        if let Some(state) = state.filter(|state| state.exists()) {
            if let Some(found) = state.resume(model, self.options.clone()) {
                return Ok(found);
            }
            let Settings { layers, .. } = *self.settings;
            let name = self.job.values.text(CHECKPOINT)?;
            let start = Start::read(self.learner, name, layers, &|_| Ok(()))?;
            model = self.settings.classifier(start, self.data.classes(), self.job.seed);
        }
        let trainer = Trainer::new(model, self.options.clone());
        Ok((trainer.map_err(network)?, Course::default()))
    }

    /// What decides how the fit goes, besides the network that it starts from.
    fn depends(&self) -> impl Hash {
        let Job { values, seed, .. } = *self.job;
        let targets = self.data.train();
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let truth = [&targets.labels, &self.data.valid().labels].map(Clone::clone);
        let numbers = [&targets.weights, &targets.taught].map(|numbers| bits(numbers));
        (format!("{values:?}"), seed, &self.train, &self.valid, truth, numbers)
    }

    /// An error with the state that there is to go back to.
    fn told(&self, error: TrainError, state: Option<&StateFile>, course: &Course) -> TrainError {
        match error {
            TrainError::NotFinite { step, .. } => {
                let last_good = state.and_then(|state| state.last_good(course));
                TrainError::NotFinite { step, last_good }
            }
            other => other,
        }
    }

    /// Goes over the training rows in an order of their own, and judges.
    fn epoch(&self, trainer: &mut Trainer, epoch: u64) -> Result<Epoch, TrainError> {
        let order = shuffled(self.train.len(), self.job.seed, epoch, 0);
        let (mut sum, mut steps) = (0.0, 0);
        let mut workspace = Workspace::new();
        for rows in order.chunks(self.settings.batch) {
            self.job.host.go_on()?;
            sum += self.step(trainer, rows, &mut workspace)?;
            steps += 1;
        }
        let classes = self.data.classes();
        let valid = answer(&self.valid, classes, &mut |batch| {
            self.job.host.go_on()?;
            trainer.logits(batch).map_err(|error| TrainError::Network(error.to_string()))
        })?;
        if valid.iter().any(|p| !p.is_finite()) {
            return Err(TrainError::NotFinite { step: trainer.steps(), last_good: None });
        }
        let labels = self.data.valid().labels.iter();
        let truth: Vec<u32> = labels.map(|label| label.unwrap_or_default()).collect();
        let loss = calibrated_log_loss(&valid, classes, &truth);
        Ok(Epoch { loss: loss.unwrap_or(sum / f64::from(steps.max(1))), valid })
    }

    /// Takes a step by some training rows, and gives their loss; the teacher works in `workspace`.
    fn step(
        &self,
        trainer: &mut Trainer,
        rows: &[u32],
        workspace: &mut Workspace,
    ) -> Result<f64, TrainError> {
        let parts = self.train.parts(rows);
        let parts = parts.iter().map(|rows| self.part(rows, workspace));
        let parts: Vec<Part> = parts.collect::<Result<_, _>>()?;
        // Rows that weigh nothing teach nothing.
        if parts.iter().all(|part| part.weights.iter().all(|weight| *weight == 0.0)) {
            return Ok(0.0);
        }
        let hidden: Vec<Vec<&[f32]>> = parts.iter().map(Part::hidden).collect();
        let parts = parts.iter().zip(&hidden).map(|(part, hidden)| StepPart {
            batch: &part.batch,
            targets: Targets {
                labels: &part.labels,
                weights: &part.weights,
                logits: &part.logits,
                hidden,
            },
        });
        let parts: Vec<StepPart<'_>> = parts.collect();
        Ok(trainer.step(&parts).map_err(network)?.loss)
    }

    /// Some training rows with all that is taught by them.
    fn part(&self, rows: &[u32], workspace: &mut Workspace) -> Result<Part, TrainError> {
        let (targets, classes) = (self.data.train(), self.data.classes());
        let mut batch = Batch::new();
        rows.iter().for_each(|row| self.train.put(*row as usize, &mut batch));
        let rows = || rows.iter().map(|row| *row as usize);
        let taught = |row: usize| targets.taught.chunks_exact(classes).nth(row).unwrap_or(&[]);
        // A softmax takes logarithms of probabilities for the logits that they came from.
        let logits = rows().flat_map(taught).map(|p| p.max(f32::MIN_POSITIVE).ln());
        let logits = logits.collect();
        let mut hidden = Vec::new();
        if let Some(Followed { network, levels }) = &self.followed {
            let classifier = &network.classifier;
            let shown = classifier.outputs(&batch, levels, workspace, &mut |_, states| {
                hidden.push(states.to_vec());
            });
            shown.map_err(|error| TrainError::Network(error.to_string()))?;
        }
        let labels = rows().map(|row| targets.labels[row]).collect();
        let weights = rows().map(|row| targets.weights[row]).collect();
        Ok(Part { batch, labels, weights, logits, hidden })
    }
}

/// Rows of a step with what they should come to.
struct Part {
    batch: Batch,
    labels: Vec<Option<u32>>,
    weights: Vec<f32>,
    /// The teacher's; none where there is no teacher.
    logits: Vec<f32>,
    /// The teacher's states of each level that is followed.
    hidden: Vec<Vec<f32>>,
}

impl Part {
    fn hidden(&self) -> Vec<&[f32]> {
        self.hidden.iter().map(Vec::as_slice).collect()
    }
}

/// How a student follows its teacher's hidden states: each of its trained layers is compared with one of
/// the teacher's, spread as layers are that are kept.
fn follow(
    learner: &Transformer,
    start: &Start,
    tokens: &Tokens,
    settings: &Settings,
) -> Result<(Followed, HiddenLoss), TrainError> {
    let unusable = |reason| TrainError::Checkpoint { name: TEACHER.to_owned(), reason };
    let network = learner.teacher()?;
    let (own, its) = (&start.encoder.config, &network.classifier.encoder.config);
    let reason = if own.hidden != its.hidden {
        format!("its hidden states have {} numbers, and the student's {}", its.hidden, own.hidden)
    } else if tokens.file() != network.tokens.file() {
        "its tokenizer is not the student's".to_owned()
    } else if own.layers > its.layers {
        format!("it has {} layers, and the student {}", its.layers, own.layers)
    } else if tokens.settings().max_length > its.longest() {
        format!("it takes {} tokens, and the student's texts may have more", its.longest())
    } else {
        let levels = settings.freeze.min(own.layers) + 1..=own.layers;
        let places = spread(own.layers, its.layers);
        let followed = levels.clone().map(|level| places[level - 1] + 1).collect();
        let loss = HiddenLoss {
            weight: settings.hidden_share,
            distance: Distance::Square,
            levels: levels.collect(),
            width: None,
        };
        return Ok((Followed { network, levels: followed }, loss));
    };
    Err(unusable(format!("its hidden states cannot be followed (`hidden_share`): {reason}")))
}

fn network(error: luthier_nn::TrainError) -> TrainError {
    match error {
        luthier_nn::TrainError::NotFinite { step, .. } => {
            TrainError::NotFinite { step, last_good: None }
        }
        error => TrainError::Network(error.to_string()),
    }
}

impl Settings {
    /// The encoder with a head that has learnt nothing yet.
    fn classifier(&self, start: Start, classes: usize, seed: u64) -> SequenceClassifier {
        let encoder = start.encoder;
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

    /// Whether there is memory for a fit whose parts of batches have this size at most.
    fn check_memory(
        &self,
        options: &TrainOptions,
        config: &EncoderConfig,
        classes: usize,
        largest: BatchSize,
        host: &Host<'_>,
    ) -> Result<(), TrainError> {
        let Some(available) = host.memory else { return Ok(()) };
        let mut needed = options.peak_memory(config, self.pooling, classes, largest);
        if self.epochs > 1 {
            needed += options.snapshot_memory(config, classes);
        }
        if let Some(hidden) = &options.loss.hidden {
            let states = hidden.levels.len() * largest.tokens * config.hidden;
            needed += (states * size_of::<f32>()) as u64;
        }
        match needed > available {
            true => Err(TrainError::Memory { needed, available }),
            false => Ok(()),
        }
    }
}
