//! Training: batches and targets in, better weights out.

use crate::lora::Adapters;
use crate::loss::{Projection, Totals};
use crate::matmul::Write;
use crate::noise::{Noise, mix};
use crate::optimizer::{self, Moments, Tensor};
use crate::pass::{Gradients, Pass};
use crate::weights::{Part, Place, Weights};
use crate::{
    AdamW, Batch, BatchError, Linear, LoraOptions, Loss, SequenceClassifier, Targets, TrainError,
    Workspace,
};

/// How a network is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// What is made small.
    pub loss: Loss,
    /// The learning rate of each step.
    pub schedule: Schedule,
    /// How steps are taken.
    pub adamw: AdamW,
    /// The longest gradient that a step is taken by; longer ones are shortened to it.
    pub clip: Option<f32>,
    /// What the learning rate is multiplied by from the head to the last layer, from each layer to
    /// the one before it, and from the first to the embeddings; above 0, at most 1.
    pub layer_decay: f32,
    /// Share of hidden numbers that dropout clears, from 0 to less than 1.
    pub dropout: f32,
    /// The same for the weights of attention.
    pub attention_dropout: f32,
    /// Whether embeddings stay as they are.
    pub freeze_embeddings: bool,
    /// How many of the first layers, and with them embeddings, stay as they are.
    pub freeze_layers: usize,
    /// Trains adapters instead of the encoder's own weights.
    pub lora: Option<LoraOptions>,
    /// Of dropout and of what is drawn to begin with.
    pub seed: u64,
}

/// The learning rate over the steps of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The highest.
    pub rate: f32,
    /// Number of steps.
    pub steps: u64,
    /// Share of the steps in which the rate rises evenly to the highest, from 0 to 1.
    pub warmup: f32,
    /// How it falls from there.
    pub decay: Decay,
}

/// How a learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// Not at all.
    Constant,
    /// Evenly, to zero after the last step.
    Linear,
    /// Along half a wave, to zero after the last step.
    Cosine,
}

/// A network that is trained.
#[derive(Debug)]
pub struct Trainer {
    pub(crate) options: TrainOptions,
    pub(crate) weights: Weights,
    pub(crate) gradients: Weights,
    /// Of each tensor, empty where it is not trained.
    pub(crate) moments: Vec<Moments>,
    /// Steps taken.
    pub(crate) step: u64,
    /// The fingerprint of the network before the first step.
    pub(crate) origin: u64,
    words: Words,
    workspace: Workspace,
}

/// Rows of the table of words.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// Those that have a gradient in this step, in order.
    touched: Vec<u32>,
    /// Whether a row has ever had one.
    alive: Vec<bool>,
}

/// Some rows of a step; a step of several such parts has the gradient of all their rows together.
#[derive(Debug, Clone, Copy)]
pub struct StepPart<'a> {
    /// The sequences.
    pub batch: &'a Batch,
    /// What they should come to.
    pub targets: Targets<'a>,
}

/// What a step was like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Counted from 1.
    pub step: u64,
    /// The loss before it.
    pub loss: f64,
    /// The length of the gradient before it was shortened.
    pub gradient_norm: f64,
    /// Its learning rate.
    pub rate: f32,
}

/// Weights at one time, of those tensors that are trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot(pub(crate) Vec<Vec<f32>>);

impl Schedule {
    /// The rate of a step, counted from 1.
    pub fn at(&self, step: u64) -> f32 {
        let warmup = (f64::from(self.warmup) * self.steps as f64).round();
        let done = step.saturating_sub(1) as f64;
        let share = if done < warmup {
            (done + 1.0) / warmup
        } else {
            let left = self.steps as f64 - warmup;
            let progress = if left > 0.0 { ((done - warmup) / left).min(1.0) } else { 0.0 };
            match self.decay {
                Decay::Constant => 1.0,
                Decay::Linear => 1.0 - progress,
                Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            }
        };
        (f64::from(self.rate) * share) as f32
    }
}

impl TrainOptions {
    /// Whether a tensor is trained.
    fn trains(&self, place: &Place) -> bool {
        match place.part {
            Part::Embeddings => {
                !self.freeze_embeddings && self.freeze_layers == 0 && self.lora.is_none()
            }
            Part::Layer(layer) => layer >= self.freeze_layers && self.lora.is_none(),
            Part::Adapter(_) | Part::Head | Part::Projection(_) => true,
        }
    }

    /// What the learning rate of a tensor is multiplied by.
    fn rate_factor(&self, place: &Place, layers: usize) -> f32 {
        let depth = match place.part {
            Part::Embeddings => layers + 1,
            Part::Layer(layer) | Part::Adapter(layer) => layers - layer,
            Part::Head | Part::Projection(_) => 0,
        };
        f64::from(self.layer_decay).powf(depth as f64) as f32
    }

    fn check(&self, layers: usize, classes: usize) -> Result<(), TrainError> {
        let share = |x: f32| (0.0..1.0).contains(&x);
        let lora = self.lora.as_ref();
        let soft = self.loss.soft.as_ref();
        let levels = self.loss.hidden.as_ref().map_or(&[][..], |hidden| &hidden.levels);
        let rules = [
            ("rate", "a finite number", self.schedule.rate.is_finite()),
            ("warmup", "from 0 to 1", (0.0..=1.0).contains(&self.schedule.warmup)),
            ("betas", "from 0 to less than 1", self.adamw.betas.into_iter().all(share)),
            ("epsilon", "above 0", self.adamw.epsilon > 0.0),
            ("weight_decay", "a finite number", self.adamw.weight_decay.is_finite()),
            ("clip", "above 0", self.clip.is_none_or(|clip| clip > 0.0)),
            (
                "layer_decay",
                "above 0, at most 1",
                self.layer_decay > 0.0 && self.layer_decay <= 1.0,
            ),
            ("dropout", "from 0 to less than 1", share(self.dropout)),
            ("attention_dropout", "from 0 to less than 1", share(self.attention_dropout)),
            ("freeze_layers", "at most the number of layers", self.freeze_layers <= layers),
            ("rank", "at least 1", lora.is_none_or(|lora| lora.rank > 0)),
            ("alpha", "a finite number", lora.is_none_or(|lora| lora.alpha.is_finite())),
            ("lora.dropout", "from 0 to less than 1", lora.is_none_or(|lora| share(lora.dropout))),
            ("smoothing", "from 0 to less than 1", share(self.loss.smoothing)),
            (
                "class_weights",
                "one for each class, or none",
                [0, classes].contains(&self.loss.class_weights.len()),
            ),
            ("temperature", "above 0", soft.is_none_or(|soft| soft.temperature > 0.0)),
            (
                "levels",
                "different, above the frozen layers and at most the number of layers",
                levels.iter().enumerate().all(|(index, level)| {
                    (self.freeze_layers + 1..=layers).contains(level)
                        && !levels[..index].contains(level)
                }),
            ),
        ];
        match rules.into_iter().find(|(.., holds)| !holds) {
            Some((option, range, _)) => Err(TrainError::Option { option, range }),
            None => Ok(()),
        }
    }
}

impl Trainer {
    /// Of a network that has not been trained yet, or not for this.
    pub fn new(model: SequenceClassifier, options: TrainOptions) -> Result<Self, TrainError> {
        model.check()?;
        let config = &model.encoder.config;
        options.check(config.layers, model.head.outputs())?;
        let adapters = options.lora.as_ref().map(|lora| {
            Adapters::new(&model.encoder, lora, options.freeze_layers, mix(options.seed))
        });
        let projections = options.projections(config.hidden);
        let vocabulary = config.vocabulary;
        let weights = Weights { model, adapters, projections };
        let gradients = weights.zeros(|place| options.trains(place));
        let tensors = gradients.tensors();
        let moments: Vec<_> =
            tensors.into_iter().map(|(_, zeros)| Moments::new(zeros.len())).collect();
        let origin = weights.fingerprint(|tensor| !moments[tensor].first.is_empty());
        let words = Words { touched: Vec::new(), alive: vec![false; vocabulary] };
        Ok(Self {
            options,
            weights,
            gradients,
            moments,
            step: 0,
            origin,
            words,
            workspace: Workspace::new(),
        })
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// The logits of a batch as it stands, `[sequences, classes]`.
    pub fn logits(&mut self, batch: &Batch) -> Result<Vec<f32>, BatchError> {
        let Weights { model, adapters, .. } = &self.weights;
        model.logits_beside(adapters.as_ref(), batch, &mut self.workspace)
    }

    /// A copy of the network as it stands, with the adapters merged into its weights.
    pub fn merged(&self) -> SequenceClassifier {
        self.weights.clone().merged()
    }

    /// The same with earlier weights of this trainer.
    pub fn merged_at(&self, snapshot: &Snapshot) -> SequenceClassifier {
        let mut weights = self.weights.clone();
        weights.restore(&self.options, snapshot);
        weights.merged()
    }

    /// The network as it stands, with the adapters merged into its weights.
    pub fn into_merged(self) -> SequenceClassifier {
        self.weights.merged()
    }

    /// Takes one step by all rows of some parts.
    pub fn step(&mut self, parts: &[StepPart<'_>]) -> Result<Step, TrainError> {
        let loss = self.take_gradients(parts)?;
        let gradient_norm = self.gradient_square_sum().sqrt();
        let step = self.step + 1;
        if !loss.is_finite() || !gradient_norm.is_finite() {
            return Err(TrainError::NotFinite { step, loss, gradient_norm });
        }
        let factor = match self.options.clip {
            Some(clip) if gradient_norm > f64::from(clip) => {
                (f64::from(clip) / gradient_norm) as f32
            }
            _ => 1.0,
        };
        let rate = self.options.schedule.at(step);
        self.update(step, rate, factor);
        self.step = step;
        Ok(Step { step, loss, gradient_norm, rate })
    }

    /// The loss of some parts, whose gradients it leaves.
    pub(crate) fn take_gradients(&mut self, parts: &[StepPart<'_>]) -> Result<f64, TrainError> {
        if parts.is_empty() {
            return Err(BatchError::Empty.into());
        }
        let mut totals = Totals::default();
        for part in parts {
            self.check_part(part)?;
            let (rows, tokens) = (part.batch.len(), part.batch.tokens());
            totals.add(&self.options.loss, &part.targets, rows, tokens);
        }
        if !self.gradients.model.encoder.words.is_empty() {
            let ids = parts.iter().flat_map(|part| part.batch.ids());
            let width = self.weights.model.encoder.config.hidden;
            self.words.touch(ids, &mut self.gradients.model.encoder.words, width);
        }
        let mut loss = 0.0;
        for (index, part) in parts.iter().enumerate() {
            loss += self.take_part(index, part, &totals);
        }
        Ok(loss)
    }

    fn take_part(&mut self, index: usize, part: &StepPart<'_>, totals: &Totals) -> f64 {
        let Self { options, weights, gradients, workspace, .. } = self;
        let noise = options.noise(self.step, index);
        let matching = options.loss.hidden.as_ref();
        let pass = Pass {
            model: &weights.model,
            adapters: weights.adapters.as_ref(),
            batch: part.batch,
            noise: &noise,
            reach: options.freeze_layers,
            levels: matching.map_or(&[], |matching| &matching.levels),
        };
        pass.forward(workspace, &mut |_, _| ());
        let (logits, gradient) = workspace.logits(&pass);
        let classes = weights.model.head.outputs();
        let mut loss = options.loss.of_logits(classes, logits, &part.targets, totals, gradient);
        let write = if index == 0 { Write::Over } else { Write::Onto };
        let Weights { model, adapters, projections } = gradients;
        let mut into = Gradients { model, adapters: adapters.as_mut(), write };
        pass.backward(workspace, &mut into, &mut |level, states, gradient| {
            let Some(matching) = matching else { return };
            let Some(place) = matching.levels.iter().position(|other| *other == level) else {
                return;
            };
            let projection = weights.projections.get(place).zip(projections.get_mut(place));
            let projection =
                projection.map(|(linear, gradient)| Projection { linear, gradient, write });
            let hidden = weights.model.encoder.config.hidden;
            let teacher = part.targets.hidden[place];
            loss += matching.of_level(hidden, states, teacher, totals, projection, gradient);
        });
        loss
    }

    fn check_part(&self, part: &StepPart<'_>) -> Result<(), TrainError> {
        let StepPart { batch, targets } = part;
        let config = &self.weights.model.encoder.config;
        config.check_batch(batch)?;
        let classes = self.weights.model.head.outputs();
        let size = |targets, expected: usize, found: usize, optional: bool| {
            if found == expected || (optional && found == 0) {
                return Ok(());
            }
            Err(TrainError::Targets { targets, expected, found })
        };
        size("labels", batch.len(), targets.labels.len(), true)?;
        size("weights", batch.len(), targets.weights.len(), true)?;
        size(
            "logits",
            batch.len() * classes,
            targets.logits.len(),
            self.options.loss.soft.is_none(),
        )?;
        if let Some(hidden) = &self.options.loss.hidden {
            size("hidden", hidden.levels.len(), targets.hidden.len(), false)?;
            let width = hidden.width.unwrap_or(config.hidden);
            for states in targets.hidden {
                size("hidden", batch.tokens() * width, states.len(), false)?;
            }
        }
        for (sequence, label) in targets.labels.iter().enumerate() {
            if let Some(label) = label.filter(|label| *label as usize >= classes) {
                return Err(TrainError::Label { sequence, label, classes });
            }
        }
        Ok(())
    }

    fn gradient_square_sum(&self) -> f64 {
        let width = self.weights.model.encoder.config.hidden;
        let sums = self.gradients.tensors().into_iter().map(|(place, gradient)| {
            if place.is_words() && !gradient.is_empty() {
                return self.words.square_sum(gradient, width);
            }
            optimizer::square_sum(gradient)
        });
        sums.sum()
    }

    fn update(&mut self, step: u64, rate: f32, gradient_factor: f32) {
        let Self { options, weights, gradients, moments, words, .. } = self;
        let config = &weights.model.encoder.config;
        let (width, layers) = (config.hidden, config.layers);
        let gradients = gradients.tensors().into_iter();
        let tensors = weights.tensors_mut().into_iter().zip(gradients).zip(moments);
        let trained = tensors.filter(|((_, (_, gradient)), _)| !gradient.is_empty());
        let tensors = trained.map(|(((place, values), (_, gradient)), moments)| Tensor {
            values,
            gradient,
            moments,
            rate: options.rate_factor(&place, layers),
            decays: place.decays(),
            rows: place.is_words().then_some((width, words.alive.as_slice())),
        });
        options.adamw.step(step, rate, gradient_factor, tensors);
    }

    /// Notes which rows of the table of words have had a gradient, by their moments.
    pub(crate) fn revive_words(&mut self) {
        let width = self.weights.model.encoder.config.hidden;
        // The table of words comes first.
        let Some(Moments { first, second }) = self.moments.first() else { return };
        let rows = first.chunks(width).zip(second.chunks(width));
        for ((first, second), alive) in rows.zip(&mut self.words.alive) {
            *alive = first.iter().chain(second).any(|moment| *moment != 0.0);
        }
    }

    /// The weights as they stand.
    pub fn snapshot(&self) -> Snapshot {
        let tensors = self.weights.tensors().into_iter();
        let trained = tensors.filter(|(place, _)| self.options.trains(place));
        Snapshot(trained.map(|(_, values)| values.clone()).collect())
    }

    /// Goes back to weights of this trainer. All else, the moments and the number of steps, stays.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.weights.restore(&self.options, snapshot);
    }
}

impl Weights {
    fn restore(&mut self, options: &TrainOptions, snapshot: &Snapshot) {
        let trained = self.tensors_mut().into_iter().filter(|(place, _)| options.trains(place));
        for ((_, values), kept) in trained.zip(&snapshot.0) {
            values.clone_from(kept);
        }
    }

    fn merged(self) -> SequenceClassifier {
        let Self { mut model, adapters, .. } = self;
        if let Some(adapters) = adapters {
            adapters.merge(&mut model.encoder);
        }
        model
    }
}

impl TrainOptions {
    fn noise(&self, step: u64, part: usize) -> Noise {
        Noise {
            key: mix(mix(self.seed ^ mix(step)) ^ part as u64),
            hidden: self.dropout,
            attention: self.attention_dropout,
            adapter: self.lora.as_ref().map_or(0.0, |lora| lora.dropout),
        }
    }

    /// Linear layers from the network's hidden states to a teacher's of another width, drawn as
    /// PyTorch draws them.
    fn projections(&self, hidden: usize) -> Vec<Linear> {
        let Some((levels, width)) =
            self.loss.hidden.as_ref().and_then(|loss| Some((loss.levels.len(), loss.width?)))
        else {
            return Vec::new();
        };
        let bound = 1.0 / (hidden as f32).sqrt();
        let seeds = (0..levels as u64).map(|index| mix(self.seed ^ mix(!index)));
        seeds.map(|seed| Linear::uniform(hidden, width, bound, seed)).collect()
    }
}

impl Words {
    /// Clears the gradients of rows that had one, and notes which will have one.
    fn touch<'a>(
        &mut self,
        ids: impl Iterator<Item = &'a u32>,
        gradient: &mut [f32],
        width: usize,
    ) {
        for row in &self.touched {
            gradient[*row as usize * width..][..width].fill(0.0);
        }
        self.touched.clear();
        self.touched.extend(ids);
        self.touched.sort_unstable();
        self.touched.dedup();
        for row in &self.touched {
            self.alive[*row as usize] = true;
        }
    }

    fn square_sum(&self, gradient: &[f32], width: usize) -> f64 {
        let rows = self.touched.iter().map(|row| &gradient[*row as usize * width..][..width]);
        rows.map(crate::kernels::square_sum).sum()
    }
}
