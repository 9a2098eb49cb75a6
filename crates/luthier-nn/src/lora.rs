//! Adapters of low rank for all layers (LoRA, Hu et al. 2021).

use crate::linear::Adapter;
use crate::matmul::{Matrix, MatrixMut, Write, multiply};
use crate::noise::{mix, uniform};
use crate::{Encoder, Linear};

/// Instead of its weights, train a product of two narrow matrices that is added to each.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraOptions {
    /// Rows of the narrow matrices, at least 1.
    pub rank: usize,
    /// The products are multiplied by `alpha / rank`.
    pub alpha: f32,
    /// Share of the numbers that dropout clears of what the adapters are given.
    pub dropout: f32,
    /// Which linear layers get one.
    pub matrices: LoraMatrices,
}

/// The linear layers that get an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoraMatrices {
    /// Those of queries and values.
    QueryValue,
    /// All of a layer.
    All,
}

/// The adapters of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Adapters {
    rank: usize,
    factor: f32,
    /// Of each layer, in the places of its linear layers.
    pub(crate) layers: Vec<[Option<Adapter>; 6]>,
}

/// Those of one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerAdapters<'a> {
    pub(crate) of: &'a [Option<Adapter>; 6],
    pub(crate) rank: usize,
    pub(crate) factor: f32,
}

impl Adapters {
    /// Adapters that change nothing yet, for all layers from `first` on.
    pub(crate) fn new(encoder: &Encoder, options: &LoraOptions, first: usize, seed: u64) -> Self {
        let adapter = |place: usize, linear: &Linear, seed| {
            let wanted = options.matrices == LoraMatrices::All || [0, 2].contains(&place);
            wanted.then(|| Adapter::new(linear, options.rank, mix(seed ^ place as u64)))
        };
        let layers = encoder.layers.iter().enumerate().map(|(index, layer)| {
            let linears = layer.linears();
            let seed = mix(seed ^ mix(index as u64));
            std::array::from_fn(|place| {
                (index >= first).then(|| adapter(place, linears[place], seed)).flatten()
            })
        });
        let factor = options.alpha / options.rank as f32;
        Self { rank: options.rank, factor, layers: layers.collect() }
    }

    /// The same adapters without numbers.
    pub(crate) fn hollow(&self) -> Self {
        let empty = || Adapter { down: Vec::new(), up: Vec::new() };
        let layers = self
            .layers
            .iter()
            .map(|layer| std::array::from_fn(|place| layer[place].as_ref().map(|_| empty())));
        Self { layers: layers.collect(), ..*self }
    }

    pub(crate) fn of_layer(&self, index: usize) -> LayerAdapters<'_> {
        LayerAdapters { of: &self.layers[index], rank: self.rank, factor: self.factor }
    }

    /// Adds what the adapters are worth to the weights beside them.
    pub(crate) fn merge(&self, encoder: &mut Encoder) {
        for (layer, adapters) in encoder.layers.iter_mut().zip(&self.layers) {
            for (linear, adapter) in layer.linears_mut().into_iter().zip(adapters) {
                let Some(adapter) = adapter else { continue };
                let inputs = linear.inputs();
                let up = Matrix::new(&adapter.up, self.rank);
                let down = Matrix::new(&adapter.down, inputs);
                let weights = MatrixMut::new(&mut linear.weights, inputs);
                multiply(weights, Write::Onto, self.factor, up, down);
            }
        }
    }
}

impl Adapter {
    /// Of no effect: the half that is nearer to the output is zero. The other is drawn as PyTorch
    /// draws a linear layer's weights.
    fn new(linear: &Linear, rank: usize, seed: u64) -> Self {
        let bound = 1.0 / (linear.inputs() as f32).sqrt();
        let down = uniform(rank * linear.inputs(), bound, seed);
        Self { down, up: vec![0.0; linear.outputs() * rank] }
    }
}
