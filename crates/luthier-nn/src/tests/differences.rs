//! Gradients against differences of losses.

use super::{batch, config, model, options};
use crate::noise::{mix, uniform};
use crate::{
    Activation, Batch, Distance, EncoderConfig, HiddenLoss, LoraMatrices, LoraOptions, Loss,
    Pooling, SoftLoss, StepPart, Targets, TrainOptions, Trainer,
};

/// A network of three classes with two parts to learn from.
struct Case {
    config: EncoderConfig,
    pooling: Pooling,
    options: TrainOptions,
    lengths: [&'static [usize]; 2],
    labels: [Vec<Option<u32>>; 2],
}

const CLASSES: usize = 3;

impl Case {
    fn new() -> Self {
        Self {
            config: config(),
            pooling: Pooling::First,
            options: options(),
            lengths: [&[1, 2, 9, 4], &[3, 1]],
            labels: [vec![Some(0), Some(2), Some(1), Some(1)], vec![Some(2), None]],
        }
    }

    #[track_caller]
    fn check(self) {
        let network = model(self.config.clone(), self.pooling, CLASSES);
        let mut trainer = Trainer::new(network, self.options.clone()).unwrap();
        if let Some(adapters) = &mut trainer.weights.adapters {
            // Adapters that change nothing yet have no gradient in one half.
            for adapter in adapters.layers.iter_mut().flatten().flatten() {
                adapter.up = uniform(adapter.up.len(), 0.5, 3);
            }
        }
        let batches = self.lengths.map(|lengths| batch(&self.config, lengths));
        let teachers = batches.each_ref().map(|batch| self.teacher(batch));
        let hidden = teachers
            .each_ref()
            .map(|(_, hidden)| hidden.iter().map(Vec::as_slice).collect::<Vec<&[f32]>>());
        let weights = [&[0.5, 2.0, 1.0, 0.7][..], &[1.5, 1.0]];
        let parts = [0, 1].map(|part| StepPart {
            batch: &batches[part],
            targets: Targets {
                labels: &self.labels[part],
                weights: weights[part],
                logits: &teachers[part].0,
                hidden: &hidden[part],
            },
        });
        check_gradients(&mut trainer, &parts);
    }

    /// A teacher's logits, and its hidden states of each level that is compared.
    fn teacher(&self, batch: &Batch) -> (Vec<f32>, Vec<Vec<f32>>) {
        let logits = uniform(batch.len() * CLASSES, 2.0, 17);
        let Some(HiddenLoss { levels, width, .. }) = &self.options.loss.hidden else {
            return (logits, Vec::new());
        };
        let width = width.unwrap_or(self.config.hidden);
        let states = |level: &usize| uniform(batch.tokens() * width, 1.0, *level as u64);
        (logits, levels.iter().map(states).collect())
    }
}

/// Compares some gradients of each tensor with differences over four points.
#[track_caller]
fn check_gradients(trainer: &mut Trainer, parts: &[StepPart<'_>]) {
    const STEP: f32 = 1e-2;
    const SAMPLES: u64 = 6;
    trainer.take_gradients(parts).unwrap();
    let gradients = trainer.gradients.clone();
    let mut compared = 0;
    for (index, (place, gradient)) in gradients.tensors().into_iter().enumerate() {
        if gradient.is_empty() {
            continue;
        }
        let largest = gradient.iter().fold(0.0_f32, |largest, g| largest.max(g.abs()));
        for sample in 0..SAMPLES {
            let element = (mix(index as u64 ^ mix(sample)) % gradient.len() as u64) as usize;
            let mut loss_at = |offset: f32| {
                let whole = |trainer: &mut Trainer| {
                    let mut tensors = trainer.weights.tensors_mut();
                    let value = &mut tensors[index].1[element];
                    std::mem::replace(value, *value + offset)
                };
                let before = whole(trainer);
                let loss = trainer.take_gradients(parts).unwrap();
                trainer.weights.tensors_mut()[index].1[element] = before;
                loss
            };
            let near = loss_at(STEP) - loss_at(-STEP);
            let far = loss_at(2.0 * STEP) - loss_at(-2.0 * STEP);
            let slope = ((8.0 * near - far) / (12.0 * f64::from(STEP))) as f32;
            let off = (slope - gradient[element]).abs();
            assert!(
                off <= 2e-3 * largest + 1e-4,
                "{place}[{element}]: gradient {}, difference {slope}, largest {largest}",
                gradient[element],
            );
            compared += 1;
        }
    }
    assert!(compared > 0);
}

#[test]
fn of_first_tokens() {
    Case::new().check();
}

#[test]
fn of_means_with_the_other_gelu() {
    let mut case = Case::new();
    case.pooling = Pooling::Mean;
    case.config.activation = Activation::GeluTanh;
    case.config.types = 0;
    case.check();
}

#[test]
fn of_dropout_with_weights_and_smoothing() {
    for pooling in [Pooling::First, Pooling::Mean] {
        let mut case = Case::new();
        case.pooling = pooling;
        case.options.dropout = 0.3;
        case.options.attention_dropout = 0.2;
        case.options.loss.smoothing = 0.1;
        case.options.loss.class_weights = vec![0.5, 1.0, 3.0];
        case.check();
    }
}

#[test]
fn of_sequences_longer_than_a_block_of_queries() {
    let mut case = Case::new();
    case.config.positions = 300;
    case.lengths = [&[290, 2, 130, 4], &[129, 1]];
    case.pooling = Pooling::Mean;
    case.options.attention_dropout = 0.1;
    case.check();
}

#[test]
fn of_adapters() {
    for matrices in [LoraMatrices::QueryValue, LoraMatrices::All] {
        let mut case = Case::new();
        case.options.dropout = 0.1;
        case.options.lora = Some(LoraOptions { rank: 2, alpha: 3.0, dropout: 0.2, matrices });
        case.check();
    }
}

#[test]
fn of_layers_above_frozen_ones() {
    let mut case = Case::new();
    case.options.freeze_layers = 1;
    case.options.dropout = 0.1;
    case.check();
    let mut case = Case::new();
    case.options.freeze_embeddings = true;
    case.check();
    let mut case = Case::new();
    case.options.freeze_layers = 2;
    case.check();
}

#[test]
fn of_soft_targets() {
    let mut case = Case::new();
    case.options.loss.soft = Some(SoftLoss { weight: 0.7, temperature: 2.0 });
    case.options.loss.labels = 0.3;
    case.check();
}

#[test]
fn of_soft_targets_without_labels() {
    let mut case = Case::new();
    case.options.loss.soft = Some(SoftLoss { weight: 1.0, temperature: 3.0 });
    case.labels = [Vec::new(), Vec::new()];
    case.check();
}

#[test]
fn of_hidden_states() {
    let hidden = |distance, levels: &[usize], width| Loss {
        hidden: Some(HiddenLoss { weight: 0.5, distance, levels: levels.to_vec(), width }),
        ..Loss::default()
    };
    for (loss, freeze_layers) in [
        (hidden(Distance::Square, &[2, 1], Some(5)), 0),
        (hidden(Distance::Square, &[1], None), 0),
        (hidden(Distance::Cosine, &[1, 2], None), 0),
        (hidden(Distance::Cosine, &[2], Some(4)), 1),
    ] {
        let mut case = Case::new();
        case.options.loss = loss;
        case.options.freeze_layers = freeze_layers;
        case.options.dropout = 0.1;
        case.check();
    }
}
