//! A whole network at work on one batch.

use std::ops::Range;

use rayon::prelude::*;

use crate::kernels;
use crate::layer::{
    Activations, LayerGradients, LayerPass, Scratch, Standard, norm_backward, sized,
};
use crate::lora::Adapters;
use crate::matmul::{UNIT, Write, block_rows};
use crate::noise::{Noise, Site};
use crate::{Batch, Pooling, SequenceClassifier};

/// A network, a batch, and how the one is applied to the other.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) model: &'a SequenceClassifier,
    pub(crate) adapters: Option<&'a Adapters>,
    pub(crate) batch: &'a Batch,
    pub(crate) noise: &'a Noise,
    /// The first layer that a backward pass goes through; the number of layers where there will be
    /// none.
    pub(crate) reach: usize,
    /// Hidden states that are asked for: 0 are the embeddings, `n` what `n` layers make of them.
    pub(crate) levels: &'a [usize],
}

/// The buffers of a network at work. They grow with the largest batch and are used again.
#[derive(Debug, Default)]
pub struct Workspace {
    sequences: Vec<Range<usize>>,
    /// One row for each sequence.
    rows: Vec<Range<usize>>,
    embeddings: Standard,
    /// The first is of all layers that no backward pass goes through, the others are of one each.
    layers: Vec<Activations>,
    scratch: Scratch,
    pooled: Vec<f32>,
    pooled_gradient: Vec<f32>,
    logits: Vec<f32>,
    logit_gradient: Vec<f32>,
    norm_sums: Vec<f32>,
}

/// Where gradients go. Empty ones are not worked out.
pub(crate) struct Gradients<'a> {
    pub(crate) model: &'a mut SequenceClassifier,
    pub(crate) adapters: Option<&'a mut Adapters>,
    pub(crate) write: Write,
}

/// Is shown the hidden states of a level, `[tokens, hidden]`.
pub(crate) type Shown<'a> = &'a mut dyn FnMut(usize, &[f32]);

/// Is shown the hidden states of a level, and may add to the gradient by them.
pub(crate) type AtLevel<'a> = &'a mut dyn FnMut(usize, &[f32], &mut [f32]);

impl Workspace {
    /// Without memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn prepare(&mut self, pass: &Pass<'_>) {
        let batch = pass.batch;
        self.sequences.clear();
        self.sequences.extend(batch.sequences());
        self.rows.clear();
        self.rows.extend((0..batch.len()).map(|row| row..row + 1));
        let config = &pass.model.encoder.config;
        let slots = 1 + config.layers - pass.reach;
        if self.layers.len() < slots {
            self.layers.resize_with(slots, Activations::default);
        }
        sized(&mut self.scratch.input, batch.tokens() * config.hidden);
        sized(&mut self.scratch.first, batch.len() * config.hidden);
    }

    /// Logits of the last forward pass and where the gradient by them goes.
    pub(crate) fn logits(&mut self, pass: &Pass<'_>) -> (&[f32], &mut [f32]) {
        let count = pass.batch.len() * pass.model.head.outputs();
        (&self.logits[..count], sized(&mut self.logit_gradient, count))
    }
}

impl<'a> Pass<'a> {
    /// Leaves logits and what a backward pass needs; shows the hidden states that are asked for.
    pub(crate) fn forward(&self, workspace: &mut Workspace, hidden: Shown<'_>) {
        workspace.prepare(self);
        self.embed(workspace);
        self.show(0, workspace, hidden);
        for index in 0..self.model.encoder.layers.len() {
            if self.first_only(index) {
                self.gather(workspace);
            }
            let Workspace { sequences, rows, layers, scratch, .. } = workspace;
            let layer = self.layer(index, sequences, rows);
            layer.forward(&mut layers[self.slot(index)], scratch);
            self.show(index + 1, workspace, hidden);
        }
        self.pool(workspace);
        let Workspace { pooled, logits, .. } = workspace;
        let head = &self.model.head;
        let logits = sized(logits, self.batch.len() * head.outputs());
        head.forward(&pooled[..self.batch.len() * head.inputs()], logits);
    }

    fn show(&self, level: usize, workspace: &Workspace, hidden: Shown<'_>) {
        if self.levels.contains(&level) {
            hidden(level, &workspace.scratch.input[..self.numbers()]);
        }
    }

    /// Takes gradients back from that by the logits. At every hidden state that is asked for, `hidden`
    /// is shown it and may add to the gradient by it.
    pub(crate) fn backward(
        &self,
        workspace: &mut Workspace,
        gradients: &mut Gradients<'_>,
        hidden: AtLevel<'_>,
    ) {
        self.backward_head(workspace, gradients);
        let embeddings = !gradients.model.encoder.words.is_empty();
        for index in (self.reach..self.model.encoder.layers.len()).rev() {
            self.at_level(index + 1, workspace, hidden);
            self.states(index, workspace);
            if self.first_only(index) {
                self.gather(workspace);
            }
            let Workspace { sequences, rows, layers, scratch, .. } = workspace;
            let layer = self.layer(index, sequences, rows);
            let mut into = LayerGradients {
                weights: &mut gradients.model.encoder.layers[index],
                adapters: gradients.adapters.as_mut().map(|adapters| &mut adapters.layers[index]),
                write: gradients.write,
            };
            let deeper = index > self.reach || embeddings;
            layer.backward(&mut layers[self.slot(index)], scratch, &mut into, deeper);
        }
        if embeddings {
            self.at_level(0, workspace, hidden);
            self.backward_embeddings(workspace, gradients);
        }
    }

    fn at_level(&self, level: usize, workspace: &mut Workspace, hidden: AtLevel<'_>) {
        if self.levels.contains(&level) {
            self.states(level, workspace);
            let Scratch { input, gradient, .. } = &mut workspace.scratch;
            hidden(level, &input[..self.numbers()], &mut gradient[..self.numbers()]);
        }
    }

    /// Numbers of a hidden state of all tokens.
    fn numbers(&self) -> usize {
        self.batch.tokens() * self.model.encoder.config.hidden
    }

    /// Whether first tokens are all that is needed of a layer's output.
    fn first_only(&self, index: usize) -> bool {
        let layers = self.model.encoder.layers.len();
        let last = index + 1 == layers;
        last && self.model.pooling == Pooling::First && !self.levels.contains(&layers)
    }

    fn slot(&self, index: usize) -> usize {
        (index + 1).saturating_sub(self.reach)
    }

    fn layer<'b>(
        &'b self,
        index: usize,
        sequences: &'b [Range<usize>],
        rows: &'b [Range<usize>],
    ) -> LayerPass<'b> {
        LayerPass {
            index,
            config: &self.model.encoder.config,
            weights: &self.model.encoder.layers[index],
            adapters: self.adapters.map(|adapters| adapters.of_layer(index)),
            noise: self.noise,
            sequences,
            first: self.first_only(index).then_some(rows),
        }
    }

    /// Copies the rows of first tokens.
    fn gather(&self, workspace: &mut Workspace) {
        let hidden = self.model.encoder.config.hidden;
        let Scratch { input, first, .. } = &mut workspace.scratch;
        for (tokens, row) in workspace.sequences.iter().zip(first.chunks_exact_mut(hidden)) {
            row.copy_from_slice(&input[tokens.start * hidden..][..hidden]);
        }
    }

    /// Puts embeddings into `scratch.input`.
    fn embed(&self, workspace: &mut Workspace) {
        let encoder = &self.model.encoder;
        let hidden = encoder.config.hidden;
        let Workspace { sequences, embeddings, scratch, .. } = workspace;
        let (tokens, block) = (self.batch.tokens(), block_rows(self.batch.tokens()));
        let rows = sized(&mut embeddings.rows, tokens * hidden);
        for tokens in sequences.iter() {
            for (place, token) in tokens.clone().enumerate() {
                let row = |table: &'a [f32], index: usize| &table[index * hidden..][..hidden];
                let out = &mut rows[token * hidden..][..hidden];
                out.copy_from_slice(row(&encoder.words, self.batch.ids()[token] as usize));
                let position = encoder.config.first_position + place;
                kernels::add(out, row(&encoder.positions, position));
                if encoder.config.types > 0 {
                    kernels::add(out, row(&encoder.types, self.batch.types()[token] as usize));
                }
            }
        }
        let blocks = (
            rows.par_chunks_mut(block * hidden),
            sized(&mut embeddings.inverses, tokens).par_chunks_mut(block),
            scratch.input[..tokens * hidden].par_chunks_mut(block * hidden),
        );
        let norm = &encoder.norm;
        blocks.into_par_iter().enumerate().for_each(|(index, (rows, inverses, out))| {
            kernels::standardize(rows, hidden, encoder.config.epsilon, inverses);
            kernels::scale_and_shift(rows, &norm.scale, &norm.shift, out);
            self.noise.drop(Site::Embeddings, out, hidden, index * block);
        });
    }

    /// Puts the hidden states of a level into `scratch.input` once more.
    fn states(&self, level: usize, workspace: &mut Workspace) {
        let encoder = &self.model.encoder;
        let hidden = encoder.config.hidden;
        let Workspace { embeddings, layers, scratch, .. } = workspace;
        let (standard, norm) = match level.checked_sub(1) {
            None => (&*embeddings, &encoder.norm),
            Some(index) => (&layers[self.slot(index)].output, &encoder.layers[index].output_norm),
        };
        let block = block_rows(self.batch.tokens());
        let rows = standard.rows[..self.numbers()].par_chunks(block * hidden);
        let blocks = rows.zip(scratch.input[..self.numbers()].par_chunks_mut(block * hidden));
        blocks.enumerate().for_each(|(index, (rows, out))| {
            kernels::scale_and_shift(rows, &norm.scale, &norm.shift, out);
            if level == 0 {
                self.noise.drop(Site::Embeddings, out, hidden, index * block);
            }
        });
    }

    fn pool(&self, workspace: &mut Workspace) {
        let hidden = self.model.encoder.config.hidden;
        let Workspace { sequences, scratch, pooled, .. } = workspace;
        let pooled = sized(pooled, self.batch.len() * hidden);
        let row = |token: usize| &scratch.input[token * hidden..][..hidden];
        if self.first_only(self.model.encoder.layers.len() - 1) {
            pooled.copy_from_slice(&scratch.first[..pooled.len()]);
        } else {
            for (tokens, out) in sequences.iter().zip(pooled.chunks_exact_mut(hidden)) {
                out.copy_from_slice(row(tokens.start));
                if self.model.pooling == Pooling::Mean {
                    for token in tokens.clone().skip(1) {
                        kernels::add(out, row(token));
                    }
                    let share = 1.0 / tokens.len() as f32;
                    out.iter_mut().for_each(|x| *x *= share);
                }
            }
        }
        self.noise.drop(Site::Pooled, pooled, hidden, 0);
    }

    /// From the gradient by the logits back to that by the last layer's output.
    fn backward_head(&self, workspace: &mut Workspace, gradients: &mut Gradients<'_>) {
        let hidden = self.model.encoder.config.hidden;
        let Workspace { sequences, scratch, pooled, pooled_gradient, logit_gradient, .. } =
            workspace;
        let (rows, head) = (self.batch.len(), &self.model.head);
        let logit_gradient = &logit_gradient[..rows * head.outputs()];
        gradients.model.head.take_gradient(
            &pooled[..rows * hidden],
            logit_gradient,
            gradients.write,
        );
        let layers = self.model.encoder.layers.len();
        if self.reach == layers {
            return;
        }
        let by_pooled = sized(pooled_gradient, rows * hidden);
        head.backward(logit_gradient, Write::Over, by_pooled);
        self.noise.drop(Site::Pooled, by_pooled, hidden, 0);
        if self.first_only(layers - 1) {
            sized(&mut scratch.first_gradient, rows * hidden).copy_from_slice(by_pooled);
            return;
        }
        let gradient = sized(&mut scratch.gradient, self.numbers());
        gradient.fill(0.0);
        for (tokens, by_pooled) in sequences.iter().zip(by_pooled.chunks_exact(hidden)) {
            let (tokens, share) = match self.model.pooling {
                Pooling::First => (tokens.start..tokens.start + 1, 1.0),
                Pooling::Mean => (tokens.clone(), 1.0 / tokens.len() as f32),
            };
            for token in tokens {
                kernels::add_scaled(&mut gradient[token * hidden..][..hidden], share, by_pooled);
            }
        }
    }

    fn backward_embeddings(&self, workspace: &mut Workspace, gradients: &mut Gradients<'_>) {
        let encoder = &self.model.encoder;
        let hidden = encoder.config.hidden;
        let Workspace { sequences, embeddings, scratch, norm_sums, .. } = workspace;
        let gradient = &mut scratch.gradient[..self.numbers()];
        let block = block_rows(self.batch.tokens());
        let sums = sized(norm_sums, self.batch.tokens().div_ceil(UNIT) * 2 * hidden);
        let blocks = (
            gradient.par_chunks_mut(block * hidden),
            embeddings.rows[..self.numbers()].par_chunks(block * hidden),
            embeddings.inverses[..self.batch.tokens()].par_chunks(block),
            sums.par_chunks_mut(block / UNIT * 2 * hidden),
        );
        let blocks = blocks.into_par_iter().enumerate();
        blocks.for_each(|(index, (gradient, rows, inverses, sums))| {
            self.noise.drop(Site::Embeddings, gradient, hidden, index * block);
            norm_backward(&encoder.norm, (rows, inverses), gradient, sums);
        });
        let into = &mut gradients.model.encoder;
        into.norm.take_gradient(sums, gradients.write);
        if gradients.write == Write::Over {
            into.positions.fill(0.0);
            into.types.fill(0.0);
        }
        for tokens in sequences.iter() {
            for (place, token) in tokens.clone().enumerate() {
                let row = &gradient[token * hidden..][..hidden];
                let add = |table: &mut [f32], index: usize| {
                    kernels::add(&mut table[index * hidden..][..hidden], row);
                };
                add(&mut into.words, self.batch.ids()[token] as usize);
                add(&mut into.positions, encoder.config.first_position + place);
                if encoder.config.types > 0 {
                    add(&mut into.types, self.batch.types()[token] as usize);
                }
            }
        }
    }
}
