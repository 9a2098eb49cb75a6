//! Linear layers, and adapters of low rank beside them.

use rayon::prelude::*;

use crate::kernels;
use crate::matmul::{Matrix, MatrixMut, Write, block_rows, multiply};
use crate::noise::{self, Noise, Site};

/// x · weightsᵀ + bias.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Linear {
    /// `[outputs, inputs]`, as PyTorch keeps them.
    pub weights: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
}

impl Linear {
    /// Weights that are even between −`bound` and `bound`, and no bias.
    pub fn uniform(inputs: usize, outputs: usize, bound: f32, seed: u64) -> Self {
        let weights = noise::uniform(inputs * outputs, bound, seed);
        Self { weights, bias: vec![0.0; outputs] }
    }

    /// Numbers of a row that goes in.
    pub fn inputs(&self) -> usize {
        self.weights.len().checked_div(self.bias.len()).unwrap_or(0)
    }

    /// Numbers of a row that comes out.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Rows of outputs for rows of inputs, on the calling thread.
    pub(crate) fn forward(&self, x: &[f32], out: &mut [f32]) {
        kernels::fill_rows(out, &self.bias);
        let weights = Matrix::new(&self.weights, self.inputs()).transposed();
        let out = MatrixMut::new(out, self.outputs());
        multiply(out, Write::Onto, 1.0, Matrix::new(x, self.inputs()), weights);
    }

    /// The gradient by the inputs, on the calling thread.
    pub(crate) fn backward(&self, gradient: &[f32], write: Write, input_gradient: &mut [f32]) {
        let weights = Matrix::new(&self.weights, self.inputs());
        let out = MatrixMut::new(input_gradient, self.inputs());
        multiply(out, write, 1.0, Matrix::new(gradient, self.outputs()), weights);
    }

    /// Takes this for gradients: those by the weights, from rows of inputs and the gradient by the
    /// outputs, by the threads of the pool. Nothing is done where there are none.
    pub(crate) fn take_gradient(&mut self, x: &[f32], gradient: &[f32], write: Write) {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        if outputs == 0 {
            return;
        }
        let block = block_rows(outputs);
        let weights = self.weights.par_chunks_mut(block * inputs);
        let parts = weights.zip(self.bias.par_chunks_mut(block)).enumerate();
        parts.for_each(|(index, (weights, bias))| {
            take_part((weights, bias), (index * block, outputs), x, gradient, write);
        });
    }

    /// The same on the calling thread.
    pub(crate) fn take_gradient_alone(&mut self, x: &[f32], gradient: &[f32], write: Write) {
        let outputs = self.outputs();
        take_part((&mut self.weights, &mut self.bias), (0, outputs), x, gradient, write);
    }
}

/// Takes the weights and biases of a layer's outputs from `first` on, of `outputs` in all, for their
/// gradients.
fn take_part(
    (weights, bias): (&mut [f32], &mut [f32]),
    (first, outputs): (usize, usize),
    x: &[f32],
    gradient: &[f32],
    write: Write,
) {
    let rows = gradient.len() / outputs;
    let part = &gradient[first.min(gradient.len())..];
    let columns = Matrix::part(part, rows, bias.len(), outputs);
    let inputs = weights.len() / bias.len();
    let x = Matrix::new(x, inputs);
    multiply(MatrixMut::new(weights, inputs), write, 1.0, columns.transposed(), x);
    if write == Write::Over {
        bias.fill(0.0);
    }
    kernels::add_column_sums(gradient, outputs, first, bias);
}

/// What is added to a linear layer's weights: `up · down`, times a factor (LoRA, Hu et al. 2021).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Adapter {
    /// `[rank, inputs]`.
    pub(crate) down: Vec<f32>,
    /// `[outputs, rank]`.
    pub(crate) up: Vec<f32>,
}

/// An adapter with all that does not change while it is trained.
#[derive(Clone, Copy)]
pub(crate) struct Beside<'a> {
    pub(crate) adapter: &'a Adapter,
    pub(crate) rank: usize,
    pub(crate) factor: f32,
    pub(crate) site: Site,
    pub(crate) noise: &'a Noise,
}

impl Beside<'_> {
    fn inputs(&self) -> usize {
        self.adapter.down.len() / self.rank
    }

    fn outputs(&self) -> usize {
        self.adapter.up.len() / self.rank
    }

    /// Adds what the adapter makes of rows of inputs, the first of which is row `first`.
    pub(crate) fn forward(&self, x: &[f32], first: usize, out: &mut [f32]) {
        let inner = self.inner(x, first);
        let up = Matrix::new(&self.adapter.up, self.rank).transposed();
        let out = MatrixMut::new(out, self.outputs());
        multiply(out, Write::Onto, self.factor, Matrix::new(&inner, self.rank), up);
    }

    /// Adds to the gradient by the inputs.
    pub(crate) fn backward(&self, gradient: &[f32], first: usize, input_gradient: &mut [f32]) {
        let inner = self.inner_gradient(gradient);
        let inner = Matrix::new(&inner, self.rank);
        let down = Matrix::new(&self.adapter.down, self.inputs());
        if self.noise.rate(self.site) == 0.0 {
            let out = MatrixMut::new(input_gradient, self.inputs());
            return multiply(out, Write::Onto, 1.0, inner, down);
        }
        let mut dropped = vec![0.0; input_gradient.len()];
        multiply(MatrixMut::new(&mut dropped, self.inputs()), Write::Over, 1.0, inner, down);
        self.noise.drop(self.site, &mut dropped, self.inputs(), first);
        kernels::add(input_gradient, &dropped);
    }

    /// The gradients by the adapter, from all rows of inputs and the gradient by all outputs.
    pub(crate) fn gradient(&self, x: &[f32], gradient: &[f32], write: Write, into: &mut Adapter) {
        let dropped = self.dropped(x, 0);
        let x = dropped.as_deref().unwrap_or(x);
        let inner = self.product(x);
        let up = MatrixMut::new(&mut into.up, self.rank);
        let columns = Matrix::new(gradient, self.outputs()).transposed();
        multiply(up, write, self.factor, columns, Matrix::new(&inner, self.rank));
        let inner = self.inner_gradient(gradient);
        let down = MatrixMut::new(&mut into.down, self.inputs());
        let inner = Matrix::new(&inner, self.rank).transposed();
        multiply(down, write, 1.0, inner, Matrix::new(x, self.inputs()));
    }

    fn inner(&self, x: &[f32], first: usize) -> Vec<f32> {
        let dropped = self.dropped(x, first);
        self.product(dropped.as_deref().unwrap_or(x))
    }

    fn product(&self, x: &[f32]) -> Vec<f32> {
        let x = Matrix::new(x, self.inputs());
        let mut inner = vec![0.0; x.rows() * self.rank];
        let down = Matrix::new(&self.adapter.down, self.inputs()).transposed();
        multiply(MatrixMut::new(&mut inner, self.rank), Write::Over, 1.0, x, down);
        inner
    }

    fn inner_gradient(&self, gradient: &[f32]) -> Vec<f32> {
        let gradient = Matrix::new(gradient, self.outputs());
        let mut inner = vec![0.0; gradient.rows() * self.rank];
        let up = Matrix::new(&self.adapter.up, self.rank);
        multiply(MatrixMut::new(&mut inner, self.rank), Write::Over, self.factor, gradient, up);
        inner
    }

    fn dropped(&self, x: &[f32], first: usize) -> Option<Vec<f32>> {
        (self.noise.rate(self.site) > 0.0).then(|| {
            let mut x = x.to_vec();
            self.noise.drop(self.site, &mut x, self.inputs(), first);
            x
        })
    }
}
