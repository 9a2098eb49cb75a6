//! AdamW over any number of tensors.

use rayon::prelude::*;

use crate::kernels::{self, Adam};

/// How AdamW takes steps (Loshchilov and Hutter 2019).
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// β₁ and β₂, from 0 to less than 1: what is kept of the moments.
    pub betas: [f32; 2],
    /// What the root of the second moment is added to; above 0.
    pub epsilon: f32,
    /// Times the learning rate: the share that a step takes away of weights; biases and norms keep
    /// theirs.
    pub weight_decay: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { betas: [0.9, 0.999], epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// The moments of a tensor's gradient.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Moments {
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
}

/// A tensor and all that a step needs of it.
pub(crate) struct Tensor<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) gradient: &'a [f32],
    pub(crate) moments: &'a mut Moments,
    /// What the learning rate is multiplied by.
    pub(crate) rate: f32,
    /// Whether weight decay takes its share.
    pub(crate) decays: bool,
    /// Of a table of which most rows have never had a gradient: the length of a row, and which have.
    pub(crate) rows: Option<(usize, &'a [bool])>,
}

/// Numbers that a task works on at most, but for whole rows.
const CHUNK: usize = 1 << 16;

impl Moments {
    pub(crate) fn new(count: usize) -> Self {
        Self { first: vec![0.0; count], second: vec![0.0; count] }
    }
}

impl AdamW {
    /// Takes step number `step`, from 1, by the threads of the pool. Gradients are multiplied by
    /// `gradient_factor` first.
    pub(crate) fn step<'a>(
        &self,
        step: u64,
        rate: f32,
        gradient_factor: f32,
        tensors: impl IntoIterator<Item = Tensor<'a>>,
    ) {
        let chunks: Vec<Chunk<'a>> = self.chunks(step, rate, gradient_factor, tensors).collect();
        chunks.into_par_iter().for_each(Chunk::step);
    }

    /// The same on the calling thread.
    pub(crate) fn step_alone<'a>(
        &self,
        step: u64,
        rate: f32,
        gradient_factor: f32,
        tensors: impl IntoIterator<Item = Tensor<'a>>,
    ) {
        self.chunks(step, rate, gradient_factor, tensors).for_each(Chunk::step);
    }

    fn chunks<'a>(
        &self,
        step: u64,
        rate: f32,
        gradient_factor: f32,
        tensors: impl IntoIterator<Item = Tensor<'a>>,
    ) -> impl Iterator<Item = Chunk<'a>> {
        let corrections = self.betas.map(|beta| 1.0 - f64::from(beta).powf(step as f64));
        tensors.into_iter().flat_map(move |tensor| {
            let rate = rate * tensor.rate;
            let decay = if tensor.decays { self.weight_decay } else { 0.0 };
            let adam = Adam {
                betas: self.betas,
                epsilon: self.epsilon,
                gradient_factor,
                keep: 1.0 - rate * decay,
                rate: (f64::from(rate) / corrections[0]) as f32,
                root_factor: (1.0 / corrections[1].sqrt()) as f32,
            };
            Chunk::of(tensor, adam)
        })
    }
}

/// A part of a tensor.
struct Chunk<'a> {
    values: &'a mut [f32],
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    rows: Option<(usize, &'a [bool])>,
    adam: Adam,
}

impl<'a> Chunk<'a> {
    fn of(tensor: Tensor<'a>, adam: Adam) -> impl Iterator<Item = Self> {
        let (size, alive) = match tensor.rows {
            Some((width, alive)) => ((CHUNK / width).max(1) * width, alive),
            None => (CHUNK, [].as_slice()),
        };
        let width = tensor.rows.map_or(1, |(width, _)| width);
        let moments = tensor.moments;
        let parts = tensor.values.chunks_mut(size).zip(tensor.gradient.chunks(size));
        let moments = moments.first.chunks_mut(size).zip(moments.second.chunks_mut(size));
        let alive = alive.chunks(size / width).map(move |alive| Some((width, alive)));
        let rows = alive.chain(std::iter::repeat(None));
        parts.zip(moments).zip(rows).map(move |(((values, gradient), (first, second)), rows)| {
            Self { values, gradient, first, second, rows, adam }
        })
    }

    fn step(self) {
        let Self { values, gradient, first, second, rows, adam } = self;
        let Some((width, alive)) = rows else {
            return kernels::adamw(values, gradient, first, second, &adam);
        };
        let parts = values.chunks_mut(width).zip(gradient.chunks(width));
        let moments = first.chunks_mut(width).zip(second.chunks_mut(width));
        for (((values, gradient), (first, second)), alive) in parts.zip(moments).zip(alive) {
            if *alive {
                kernels::adamw(values, gradient, first, second, &adam);
            } else if adam.keep != 1.0 {
                // All that is left of a step where both moments are zero.
                values.iter_mut().for_each(|x| *x *= adam.keep);
            }
        }
    }
}

/// The sum of squares, by the threads of the pool; the order of the sum does not depend on them.
pub(crate) fn square_sum(x: &[f32]) -> f64 {
    let sums: Vec<f64> = x.par_chunks(CHUNK).map(kernels::square_sum).collect();
    sums.iter().sum()
}
