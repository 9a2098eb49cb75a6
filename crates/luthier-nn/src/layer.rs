//! One layer of an encoder, forward and backward, by the threads of the pool.

use std::ops::Range;

use rayon::prelude::*;

use crate::attention::{Attention, Known, Projections};
use crate::kernels;
use crate::linear::{Adapter, Beside};
use crate::lora::LayerAdapters;
use crate::matmul::{UNIT, Write, block_rows};
use crate::noise::{Noise, Site};
use crate::{Activation, EncoderConfig, EncoderLayer, Norm};

/// Places of the linear layers of a layer.
pub(crate) const QUERY: usize = 0;
pub(crate) const KEY: usize = 1;
pub(crate) const VALUE: usize = 2;
pub(crate) const OUTPUT: usize = 3;
pub(crate) const UP: usize = 4;
pub(crate) const DOWN: usize = 5;

/// A layer at work on one batch.
#[derive(Clone, Copy)]
pub(crate) struct LayerPass<'a> {
    pub(crate) index: usize,
    pub(crate) config: &'a EncoderConfig,
    pub(crate) weights: &'a EncoderLayer,
    pub(crate) adapters: Option<LayerAdapters<'a>>,
    pub(crate) noise: &'a Noise,
    /// The tokens of each sequence.
    pub(crate) sequences: &'a [Range<usize>],
    /// Where the output of the first token of each sequence is all that is needed: the rows of those
    /// alone, one for each sequence.
    pub(crate) first: Option<&'a [Range<usize>]>,
}

/// What the forward pass of a layer leaves for the backward pass, which works in the same place.
/// Buffers grow and are never given back.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    log_sums: Vec<f32>,
    context: Vec<f32>,
    /// Standardized, as its norm leaves it before scale and shift.
    attention: Standard,
    up: Vec<f32>,
    /// The same of the layer's output.
    pub(crate) output: Standard,
}

/// Rows that a norm has standardized.
#[derive(Debug, Default)]
pub(crate) struct Standard {
    pub(crate) rows: Vec<f32>,
    /// One by the standard deviation that each row had.
    pub(crate) inverses: Vec<f32>,
}

/// Buffers that layers share.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Rows that a layer is given; in the forward pass its output takes their place.
    pub(crate) input: Vec<f32>,
    /// The same of first tokens alone.
    pub(crate) first: Vec<f32>,
    /// The gradient by a layer's output, and then by its input.
    pub(crate) gradient: Vec<f32>,
    /// The same of first tokens alone.
    pub(crate) first_gradient: Vec<f32>,
    attention_gradient: Vec<f32>,
    output_gradient: Vec<f32>,
    context_gradient: Vec<f32>,
    wide: Vec<f32>,
    norm_sums: [Vec<f32>; 2],
}

/// Where the gradients by a layer's weights go. Empty ones are not worked out.
pub(crate) struct LayerGradients<'a> {
    pub(crate) weights: &'a mut EncoderLayer,
    pub(crate) adapters: Option<&'a mut [Option<Adapter>; 6]>,
    pub(crate) write: Write,
}

/// A buffer's first `length` numbers; what they are is not said.
pub(crate) fn sized(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        // Not to copy what nobody needs.
        *buffer = Vec::new();
        *buffer = vec![0.0; length];
    }
    &mut buffer[..length]
}

impl LayerPass<'_> {
    fn tokens(&self) -> usize {
        self.sequences.last().map_or(0, |last| last.end)
    }

    fn queries(&self) -> usize {
        self.first.unwrap_or(self.sequences).last().map_or(0, |last| last.end)
    }

    fn attention(&self) -> Attention<'_> {
        Attention {
            heads: self.config.heads,
            hidden: self.config.hidden,
            layer: self.index,
            noise: self.noise,
            queries: self.first.unwrap_or(self.sequences),
            keys: self.sequences,
        }
    }

    fn beside(&self, place: usize) -> Option<Beside<'_>> {
        let adapters = self.adapters?;
        Some(Beside {
            adapter: adapters.of[place].as_ref()?,
            rank: adapters.rank,
            factor: adapters.factor,
            site: Site::Adapter(self.index, place),
            noise: self.noise,
        })
    }

    /// A linear layer and its adapter on rows from `first` on.
    fn linear(&self, place: usize, x: &[f32], first: usize, out: &mut [f32]) {
        self.weights.linears()[place].forward(x, out);
        if let Some(beside) = self.beside(place) {
            beside.forward(x, first, out);
        }
    }

    fn linear_backward(
        &self,
        place: usize,
        gradient: &[f32],
        first: usize,
        write: Write,
        input_gradient: &mut [f32],
    ) {
        self.weights.linears()[place].backward(gradient, write, input_gradient);
        if let Some(beside) = self.beside(place) {
            beside.backward(gradient, first, input_gradient);
        }
    }

    /// Puts the layer's output in the place of its input: in `scratch.input`, or, where first tokens
    /// are all that is needed, in `scratch.first`.
    pub(crate) fn forward(&self, activations: &mut Activations, scratch: &mut Scratch) {
        let hidden = self.config.hidden;
        let Activations { query, key, value, log_sums, context, .. } = activations;
        let input = &mut scratch.input[..self.tokens() * hidden];
        let key = sized(key, self.tokens() * hidden);
        let value = sized(value, self.tokens() * hidden);
        let query = sized(query, self.queries() * hidden);
        self.project(KEY, input, key);
        self.project(VALUE, input, value);
        let rows = match self.first {
            Some(_) => &mut scratch.first[..self.queries() * hidden],
            None => input,
        };
        self.project(QUERY, rows, query);
        let log_sums = sized(log_sums, self.queries() * self.config.heads);
        let context = sized(context, self.queries() * hidden);
        self.attention().forward(query, key, value, context, log_sums);
        self.forward_rows(activations, rows, &mut scratch.attention_gradient, &mut scratch.wide);
    }

    fn project(&self, place: usize, x: &[f32], out: &mut [f32]) {
        let hidden = self.config.hidden;
        let block = block_rows(x.len() / hidden);
        let blocks = x.par_chunks(block * hidden).zip(out.par_chunks_mut(block * hidden));
        blocks.enumerate().for_each(|(index, (x, out))| self.linear(place, x, index * block, out));
    }

    /// All that follows the heads, which is worked out row by row.
    fn forward_rows(
        &self,
        activations: &mut Activations,
        rows: &mut [f32],
        middle: &mut Vec<f32>,
        wide: &mut Vec<f32>,
    ) {
        let EncoderConfig { hidden, intermediate, .. } = *self.config;
        let count = rows.len() / hidden;
        let block = block_rows(count);
        let Activations { context, attention, up, output, .. } = activations;
        let blocks = (
            rows.par_chunks_mut(block * hidden),
            context[..count * hidden].par_chunks(block * hidden),
            attention.blocks(count, hidden, block),
            sized(middle, count * hidden).par_chunks_mut(block * hidden),
            sized(up, count * intermediate).par_chunks_mut(block * intermediate),
            sized(wide, count * intermediate).par_chunks_mut(block * intermediate),
            output.blocks(count, hidden, block),
        );
        blocks.into_par_iter().enumerate().for_each(
            |(index, (rows, context, attention, middle, up, wide, output))| {
                let first = index * block;
                self.linear(OUTPUT, context, first, attention.0);
                self.add_and_norm(
                    Site::AttentionOutput(self.index),
                    first,
                    attention,
                    rows,
                    middle,
                );
                self.linear(UP, middle, first, up);
                self.config.activation.forward(up, wide);
                self.linear(DOWN, wide, first, output.0);
                self.add_and_norm(Site::Output(self.index), first, output, middle, rows);
            },
        );
    }

    /// Dropout, the sum with what the branch was given, and the norm of that.
    fn add_and_norm(
        &self,
        site: Site,
        first: usize,
        (branch, inverses): (&mut [f32], &mut [f32]),
        given: &[f32],
        out: &mut [f32],
    ) {
        let EncoderConfig { hidden, epsilon, .. } = *self.config;
        let norm = match site {
            Site::Output(_) => &self.weights.output_norm,
            _ => &self.weights.attention_norm,
        };
        self.noise.drop(site, branch, hidden, first);
        kernels::add(branch, given);
        kernels::standardize(branch, hidden, epsilon, inverses);
        kernels::scale_and_shift(branch, &norm.scale, &norm.shift, out);
    }

    /// Turns the gradient by the layer's output into that by its input, both in `scratch.gradient`,
    /// and takes the gradients by its weights. Where first tokens are all that is needed, the former
    /// is in `scratch.first_gradient`. The layer's input is in `scratch.input`. Without `deeper` the
    /// gradient by the input is not needed.
    pub(crate) fn backward(
        &self,
        activations: &mut Activations,
        scratch: &mut Scratch,
        gradients: &mut LayerGradients<'_>,
        deeper: bool,
    ) {
        self.backward_rows(activations, scratch);
        self.take_row_gradients(activations, scratch, gradients);
        let hidden = self.config.hidden;
        let (tokens, queries) = (self.tokens() * hidden, self.queries() * hidden);
        let Activations { query, key, value, log_sums, context, .. } = activations;
        let rows = Projections {
            query: &mut query[..queries],
            key: &mut key[..tokens],
            value: &mut value[..tokens],
        };
        let known = Known {
            context: &context[..queries],
            context_gradient: &scratch.context_gradient[..queries],
            log_sums: &log_sums[..self.queries() * self.config.heads],
        };
        self.attention().backward(&known, rows);
        let input = &scratch.input[..tokens];
        let asked = if self.first.is_some() { &scratch.first[..queries] } else { input };
        gradients.take(self, QUERY, asked, &query[..queries]);
        gradients.take(self, KEY, input, &key[..tokens]);
        gradients.take(self, VALUE, input, &value[..tokens]);
        if deeper {
            self.backward_projections(activations, scratch);
        }
    }

    /// From the gradient by the output back to that by what the heads gave.
    fn backward_rows(&self, activations: &mut Activations, scratch: &mut Scratch) {
        let EncoderConfig { hidden, intermediate, .. } = *self.config;
        let count = self.queries();
        let block = block_rows(count);
        let Scratch {
            gradient,
            first_gradient,
            attention_gradient,
            output_gradient,
            context_gradient,
            wide,
            norm_sums: [attention_sums, output_sums],
            ..
        } = scratch;
        let gradient = if self.first.is_some() { first_gradient } else { gradient };
        let Activations { attention, up, output, .. } = activations;
        let sums = count.div_ceil(UNIT) * 2 * hidden;
        let blocks = (
            gradient[..count * hidden].par_chunks_mut(block * hidden),
            sized(attention_gradient, count * hidden).par_chunks_mut(block * hidden),
            sized(output_gradient, count * hidden).par_chunks_mut(block * hidden),
            sized(context_gradient, count * hidden).par_chunks_mut(block * hidden),
            sized(wide, count * intermediate).par_chunks_mut(block * intermediate),
            up[..count * intermediate].par_chunks_mut(block * intermediate),
            sized(attention_sums, sums).par_chunks_mut(block / UNIT * 2 * hidden),
            sized(output_sums, sums).par_chunks_mut(block / UNIT * 2 * hidden),
            attention.blocks(count, hidden, block),
            output.blocks(count, hidden, block),
        );
        blocks.into_par_iter().enumerate().for_each(
            |(
                index,
                (gradient, by_attention, by_output, by_context, wide, up, sums, more, middle, out),
            )| {
                let first = index * block;
                let layer = self.index;
                norm_backward(&self.weights.output_norm, (out.0, out.1), gradient, more);
                by_output.copy_from_slice(gradient);
                self.noise.drop(Site::Output(layer), by_output, hidden, first);
                self.linear_backward(DOWN, by_output, first, Write::Over, wide);
                self.config.activation.backward(up, wide);
                self.linear_backward(UP, wide, first, Write::Onto, gradient);
                let norm = &self.weights.attention_norm;
                norm_backward(norm, (middle.0, middle.1), gradient, sums);
                by_attention.copy_from_slice(gradient);
                self.noise.drop(Site::AttentionOutput(layer), by_attention, hidden, first);
                self.linear_backward(OUTPUT, by_attention, first, Write::Over, by_context);
                // From here on these are what the second half of the layer was given.
                kernels::scale_and_shift_in_place(middle.0, &norm.scale, &norm.shift);
            },
        );
    }

    /// The gradients by weights that come after the heads.
    fn take_row_gradients(
        &self,
        activations: &Activations,
        scratch: &Scratch,
        gradients: &mut LayerGradients<'_>,
    ) {
        let EncoderConfig { hidden, intermediate, .. } = *self.config;
        let (rows, wide) = (self.queries() * hidden, self.queries() * intermediate);
        let Activations { context, attention, up, .. } = activations;
        gradients.take(self, DOWN, &up[..wide], &scratch.output_gradient[..rows]);
        gradients.take(self, UP, &attention.rows[..rows], &scratch.wide[..wide]);
        gradients.take(self, OUTPUT, &context[..rows], &scratch.attention_gradient[..rows]);
        let sums = self.queries().div_ceil(UNIT) * 2 * hidden;
        let [attention_sums, output_sums] = &scratch.norm_sums;
        let write = gradients.write;
        gradients.weights.attention_norm.take_gradient(&attention_sums[..sums], write);
        gradients.weights.output_norm.take_gradient(&output_sums[..sums], write);
    }

    /// From the gradients by queries, keys and values back to that by the input.
    fn backward_projections(&self, activations: &Activations, scratch: &mut Scratch) {
        let hidden = self.config.hidden;
        let (tokens, queries) = (self.tokens() * hidden, self.queries() * hidden);
        let Activations { query, key, value, .. } = activations;
        let Scratch { gradient, first_gradient, .. } = scratch;
        let gradient = sized(gradient, tokens);
        let write = match self.first {
            None => Write::Onto,
            Some(_) => Write::Over,
        };
        self.project_backward(KEY, &key[..tokens], write, gradient);
        self.project_backward(VALUE, &value[..tokens], Write::Onto, gradient);
        match self.first {
            None => self.project_backward(QUERY, &query[..queries], Write::Onto, gradient),
            Some(_) => {
                let first_gradient = &mut first_gradient[..queries];
                self.project_backward(QUERY, &query[..queries], Write::Onto, first_gradient);
                for (tokens, row) in self.sequences.iter().zip(first_gradient.chunks(hidden)) {
                    kernels::add(&mut gradient[tokens.start * hidden..][..hidden], row);
                }
            }
        }
    }

    fn project_backward(&self, place: usize, gradient: &[f32], write: Write, out: &mut [f32]) {
        let hidden = self.config.hidden;
        let block = block_rows(gradient.len() / hidden);
        let blocks = gradient.par_chunks(block * hidden).zip(out.par_chunks_mut(block * hidden));
        blocks.enumerate().for_each(|(index, (gradient, out))| {
            self.linear_backward(place, gradient, index * block, write, out);
        });
    }
}

impl LayerGradients<'_> {
    fn take(&mut self, layer: &LayerPass<'_>, place: usize, x: &[f32], gradient: &[f32]) {
        self.weights.linears_mut()[place].take_gradient(x, gradient, self.write);
        let adapter = self.adapters.as_mut().and_then(|adapters| adapters[place].as_mut());
        if let (Some(into), Some(beside)) = (adapter, layer.beside(place)) {
            beside.gradient(x, gradient, self.write, into);
        }
    }
}

impl Standard {
    /// Blocks of `block` rows, and of one by their standard deviations.
    fn blocks(
        &mut self,
        rows: usize,
        columns: usize,
        block: usize,
    ) -> impl IndexedParallelIterator<Item = (&mut [f32], &mut [f32])> {
        let all = sized(&mut self.rows, rows * columns).par_chunks_mut(block * columns);
        all.zip(sized(&mut self.inverses, rows).par_chunks_mut(block))
    }
}

/// The gradient by a norm's input in place of that by its output. The gradients by its scale and shift
/// are summed up over every [`UNIT`] rows, so that threads do not change the order of sums.
pub(crate) fn norm_backward(
    norm: &Norm,
    (standard, inverses): (&[f32], &[f32]),
    gradient: &mut [f32],
    sums: &mut [f32],
) {
    let columns = norm.scale.len();
    let units = gradient.chunks_mut(UNIT * columns).zip(standard.chunks(UNIT * columns));
    let sums = sums.chunks_exact_mut(2 * columns);
    for (((gradient, standard), inverses), sums) in units.zip(inverses.chunks(UNIT)).zip(sums) {
        sums.fill(0.0);
        let (by_scale, by_shift) = sums.split_at_mut(columns);
        kernels::norm_backward(standard, inverses, &norm.scale, gradient, by_scale, by_shift);
    }
}

impl Norm {
    /// Takes this for gradients: the sums of those by scale and shift over all units of rows.
    pub(crate) fn take_gradient(&mut self, sums: &[f32], write: Write) {
        let columns = self.scale.len();
        if columns == 0 {
            return;
        }
        if write == Write::Over {
            self.scale.fill(0.0);
            self.shift.fill(0.0);
        }
        for sums in sums.chunks_exact(2 * columns) {
            let (by_scale, by_shift) = sums.split_at(columns);
            kernels::add(&mut self.scale, by_scale);
            kernels::add(&mut self.shift, by_shift);
        }
    }
}

impl Activation {
    /// Applies it.
    pub(crate) fn forward(self, x: &[f32], out: &mut [f32]) {
        match self {
            Self::Gelu => kernels::gelu(x, out),
            Self::GeluTanh => kernels::gelu_tanh(x, out),
            Self::Relu => kernels::relu(x, out),
        }
    }

    /// Puts its results in the place of `x`, and the gradient by `x` in that of the one by them.
    pub(crate) fn backward(self, x: &mut [f32], gradient: &mut [f32]) {
        match self {
            Self::Gelu => kernels::gelu_backward(x, gradient),
            Self::GeluTanh => kernels::gelu_tanh_backward(x, gradient),
            Self::Relu => kernels::relu_backward(x, gradient),
        }
    }
}
