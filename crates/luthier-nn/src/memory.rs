//! How much memory a training will take, before it begins.

use crate::lora::LoraMatrices;
use crate::{EncoderConfig, Pooling, TrainOptions};

/// The largest batch that will go through a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSize {
    /// Number of sequences.
    pub sequences: usize,
    /// Tokens of all of them.
    pub tokens: usize,
}

impl TrainOptions {
    /// Bytes that a [`Trainer`](crate::Trainer) of such a network takes at its peak, within a quarter
    /// of what it does take as soon as it has seen most of the vocabulary; batches and the program
    /// itself come on top.
    pub fn peak_memory(
        &self,
        config: &EncoderConfig,
        pooling: Pooling,
        classes: usize,
        largest: BatchSize,
    ) -> u64 {
        let (weights, trained) = self.count_weights(config, classes);
        // Each trained one has a gradient and two moments.
        let state = weights + 3 * trained;
        let BatchSize { sequences, tokens } = largest;
        let rows = |rows: usize| Rows { rows, config };
        let kept = config.layers - self.freeze_layers.min(config.layers);
        let last = if pooling == Pooling::First { sequences } else { tokens };
        let layers = match kept {
            0 => 0,
            // Of the last layer all tokens have keys and values.
            _ => {
                let last = rows(last).kept() + 2 * (tokens - last) * config.hidden;
                (kept - 1) * rows(tokens).kept() + last
            }
        };
        // One more layer is for those that keep nothing, and for logits between steps.
        let numbers = state + layers + rows(tokens).kept() + rows(tokens).shared();
        numbers as u64 * size_of::<f32>() as u64
    }

    /// Bytes of a [`Snapshot`](crate::Snapshot).
    pub fn snapshot_memory(&self, config: &EncoderConfig, classes: usize) -> u64 {
        self.count_weights(config, classes).1 as u64 * size_of::<f32>() as u64
    }

    /// Numbers of all weights, and of those that are trained.
    fn count_weights(&self, config: &EncoderConfig, classes: usize) -> (usize, usize) {
        let EncoderConfig { hidden, intermediate, layers, .. } = *config;
        let tables = config.vocabulary + config.positions + config.types;
        let embeddings = (tables + 2) * hidden;
        let matrices = 4 * hidden * hidden + 2 * hidden * intermediate;
        let layer = matrices + 9 * hidden + intermediate;
        let head = (hidden + 1) * classes;
        let open = layers - self.freeze_layers.min(layers);
        let widths =
            self.loss.hidden.as_ref().and_then(|loss| Some((loss.levels.len(), loss.width?)));
        let projections = widths.map_or(0, |(levels, width)| levels * (hidden + 1) * width);
        let mut whole = embeddings + layers * layer + head + projections;
        let mut trained = head + projections;
        if let Some(lora) = &self.lora {
            let rows = match lora.matrices {
                LoraMatrices::QueryValue => 4 * hidden,
                LoraMatrices::All => 10 * hidden + 2 * intermediate,
            };
            trained += open * lora.rank * rows;
            whole += open * lora.rank * rows;
        } else {
            trained += open * layer;
            if self.freeze_layers == 0 && !self.freeze_embeddings {
                trained += embeddings;
            }
        }
        (whole, trained)
    }
}

/// Rows of a layer at work.
struct Rows<'a> {
    rows: usize,
    config: &'a EncoderConfig,
}

impl Rows<'_> {
    /// Numbers that stay for the backward pass.
    fn kept(&self) -> usize {
        let EncoderConfig { hidden, intermediate, heads, .. } = *self.config;
        self.rows * (6 * hidden + intermediate + heads + 2)
    }

    /// Numbers of buffers that layers share.
    fn shared(&self) -> usize {
        let EncoderConfig { hidden, intermediate, .. } = *self.config;
        self.rows * (6 * hidden + intermediate)
    }
}
