//! Feed-forward networks over numbers and codes, with their training.
//!
//! Each code is looked up in a table of its own; what is found stands beside the numbers. Layers follow:
//! linear, layer norm, activation, dropout, and from the second on their input is added (He et al. 2016).
//! Such networks are small, so all work is done on the calling thread, and many can be trained side by side.

use crate::kernels;
use crate::matmul::Write;
use crate::noise::{self, Noise, Site};
use crate::optimizer::{Moments, Tensor};
use crate::{Activation, AdamW, Linear, Norm};

/// What variances are added to in [`Mlp`]'s layer norms.
pub const MLP_EPSILON: f32 = 1e-5;
/// Rows that are answered as one piece of work.
const BLOCK: usize = 512;

/// The shape of an [`Mlp`].
#[derive(Debug, Clone, PartialEq)]
pub struct MlpConfig {
    /// Numbers of a row.
    pub numbers: usize,
    /// Rows and width of the table of each code of a row, both at least 1.
    pub tables: Vec<(usize, usize)>,
    /// Layers before the head, at least 1.
    pub depth: usize,
    /// Numbers that each of them gives, at least 1.
    pub width: usize,
    /// Numbers that come out, at least 1.
    pub outputs: usize,
    /// The activation.
    pub activation: Activation,
}

/// A feed-forward network.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp {
    /// One for each code of a row.
    pub tables: Vec<MlpTable>,
    /// Layers, at least one.
    pub layers: Vec<MlpLayer>,
    /// From the last layer to the outputs.
    pub head: Linear,
    /// The activation.
    pub activation: Activation,
}

/// What the codes of one kind are looked up in.
#[derive(Debug, Clone, PartialEq)]
pub struct MlpTable {
    /// Row-major `[codes, width]`.
    pub rows: Vec<f32>,
    /// Numbers for a code.
    pub width: usize,
}

/// A layer of an [`Mlp`].
#[derive(Debug, Clone, PartialEq)]
pub struct MlpLayer {
    /// The linear layer.
    pub linear: Linear,
    /// The norm of what it gives.
    pub norm: Norm,
}

/// Rows that go in.
#[derive(Debug, Clone, Copy)]
pub struct MlpRows<'a> {
    /// How many there are.
    pub count: usize,
    /// Row-major `[count, numbers]`.
    pub numbers: &'a [f32],
    /// Row-major `[count, tables]`; each is a row of its table.
    pub codes: &'a [u32],
}

/// What the passes of a batch leave for one another.
struct Pass {
    layers: Vec<LayerPass>,
    /// What goes into the head.
    last: Vec<f32>,
    outputs: Vec<f32>,
}

struct LayerPass {
    input: Vec<f32>,
    /// Rows of the linear layer's results, of mean 0 and variance 1.
    standard: Vec<f32>,
    /// One by the deviations that they had.
    inverses: Vec<f32>,
    /// What goes into the activation.
    scaled: Vec<f32>,
}

impl Mlp {
    /// Random weights; the last row of each table, which is for codes that are not known, is of zeros.
    pub fn new(config: &MlpConfig, seed: u64) -> Self {
        let MlpConfig { depth, width, outputs, activation, .. } = *config;
        let mut seeds = (0..).map(|place| noise::mix(seed ^ noise::mix(place)));
        let mut seed = || seeds.next().unwrap_or(0);
        let table = |(codes, width): (usize, usize), seed| {
            let mut rows = noise::uniform(codes * width, 1.0, seed);
            rows[(codes - 1) * width..].fill(0.0);
            MlpTable { rows, width }
        };
        let tables: Vec<MlpTable> =
            config.tables.iter().map(|shape| table(*shape, seed())).collect();
        let first = config.numbers + tables.iter().map(|table| table.width).sum::<usize>();
        // The variance of what comes out is that of what goes in.
        let linear = |inputs: usize, outputs, seed| {
            Linear::uniform(inputs, outputs, (3.0 / inputs.max(1) as f32).sqrt(), seed)
        };
        let inputs = std::iter::once(first).chain(std::iter::repeat(width)).take(depth);
        let layers = inputs.map(|inputs| MlpLayer {
            linear: linear(inputs, width, seed()),
            norm: Norm { scale: vec![1.0; width], shift: vec![0.0; width] },
        });
        let layers = layers.collect();
        let head = linear(width, outputs, seed());
        Self { tables, layers, head, activation }
    }

    /// What comes out, row-major `[count, outputs]`.
    pub fn outputs(&self, rows: MlpRows<'_>) -> Vec<f32> {
        let mut outputs = Vec::with_capacity(rows.count * self.head.outputs());
        for first in (0..rows.count).step_by(BLOCK) {
            let block = rows.part(first, BLOCK.min(rows.count - first));
            outputs.extend(self.pass(block, &Noise::NONE).outputs);
        }
        outputs
    }

    /// All numbers, and whether weight decay is for them.
    fn tensors_mut(&mut self) -> Vec<(&mut Vec<f32>, bool)> {
        let Self { tables, layers, head, .. } = self;
        let tables = tables.iter_mut().map(|table| (&mut table.rows, false));
        let layers = layers.iter_mut().flat_map(|MlpLayer { linear, norm }| {
            let Norm { scale, shift } = norm;
            [(&mut linear.weights, true), (&mut linear.bias, false), (scale, false), (shift, false)]
        });
        let head = [(&mut head.weights, true), (&mut head.bias, false)];
        tables.chain(layers).chain(head).collect()
    }

    /// The numbers of rows and what their codes are looked up as, side by side.
    fn gather(&self, rows: MlpRows<'_>) -> Vec<f32> {
        let mut inputs = Vec::with_capacity(rows.count * self.layers[0].linear.inputs());
        let (numbers, codes) = rows.widths();
        for row in 0..rows.count {
            inputs.extend_from_slice(&rows.numbers[row * numbers..][..numbers]);
            for (table, code) in self.tables.iter().zip(&rows.codes[row * codes..]) {
                inputs
                    .extend_from_slice(&table.rows[*code as usize * table.width..][..table.width]);
            }
        }
        inputs
    }

    fn pass(&self, rows: MlpRows<'_>, noise: &Noise) -> Pass {
        let mut layers = Vec::with_capacity(self.layers.len());
        let mut last = self.gather(rows);
        for (index, layer) in self.layers.iter().enumerate() {
            let width = layer.linear.outputs();
            let mut standard = vec![0.0; rows.count * width];
            layer.linear.forward(&last, &mut standard);
            let mut inverses = vec![0.0; rows.count];
            kernels::standardize(&mut standard, width, MLP_EPSILON, &mut inverses);
            let mut scaled = vec![0.0; standard.len()];
            kernels::scale_and_shift(&standard, &layer.norm.scale, &layer.norm.shift, &mut scaled);
            let mut given = vec![0.0; scaled.len()];
            self.activation.forward(&scaled, &mut given);
            noise.drop(Site::Output(index), &mut given, width, 0);
            if index > 0 {
                kernels::add(&mut given, &last);
            }
            layers.push(LayerPass { input: last, standard, inverses, scaled });
            last = given;
        }
        let mut outputs = vec![0.0; rows.count * self.head.outputs()];
        self.head.forward(&last, &mut outputs);
        Pass { layers, last, outputs }
    }

    /// The gradients by all numbers, in place of those that `into` has, from that by the outputs.
    fn gradients(
        &self,
        rows: MlpRows<'_>,
        pass: Pass,
        noise: &Noise,
        by_outputs: &[f32],
        into: &mut Self,
    ) {
        let mut gradient = vec![0.0; pass.last.len()];
        self.head.backward(by_outputs, Write::Over, &mut gradient);
        into.head.take_gradient_alone(&pass.last, by_outputs, Write::Over);
        for (index, mut passed) in pass.layers.into_iter().enumerate().rev() {
            let (layer, into) = (&self.layers[index], &mut into.layers[index]);
            let mut inner = gradient.clone();
            noise.drop(Site::Output(index), &mut inner, layer.linear.outputs(), 0);
            self.activation.backward(&mut passed.scaled, &mut inner);
            into.norm.scale.fill(0.0);
            into.norm.shift.fill(0.0);
            let Norm { scale, shift } = &mut into.norm;
            let LayerPass { input, standard, inverses, .. } = &passed;
            kernels::norm_backward(standard, inverses, &layer.norm.scale, &mut inner, scale, shift);
            into.linear.take_gradient_alone(input, &inner, Write::Over);
            if index > 0 {
                layer.linear.backward(&inner, Write::Onto, &mut gradient);
            } else if !self.tables.is_empty() {
                gradient = vec![0.0; input.len()];
                layer.linear.backward(&inner, Write::Over, &mut gradient);
            }
        }
        into.tables.iter_mut().for_each(|table| table.rows.fill(0.0));
        into.scatter(rows, &gradient);
    }

    /// Adds what belongs to the inputs of rows to the tables that they were looked up in.
    fn scatter(&mut self, rows: MlpRows<'_>, inputs: &[f32]) {
        let (numbers, codes) = rows.widths();
        let width = numbers + self.tables.iter().map(|table| table.width).sum::<usize>();
        for row in 0..if codes == 0 { 0 } else { rows.count } {
            let mut looked_up = &inputs[row * width + numbers..];
            for (table, code) in self.tables.iter_mut().zip(&rows.codes[row * codes..]) {
                let (own, rest) = looked_up.split_at(table.width);
                kernels::add(&mut table.rows[*code as usize * table.width..][..table.width], own);
                looked_up = rest;
            }
        }
    }
}

impl MlpRows<'_> {
    /// Numbers and codes of a row.
    fn widths(&self) -> (usize, usize) {
        let of_row = |all: usize| all.checked_div(self.count).unwrap_or(0);
        (of_row(self.numbers.len()), of_row(self.codes.len()))
    }

    /// `count` rows from `first` on.
    fn part(&self, first: usize, count: usize) -> Self {
        let (numbers, codes) = self.widths();
        Self {
            count,
            numbers: &self.numbers[first * numbers..][..count * numbers],
            codes: &self.codes[first * codes..][..count * codes],
        }
    }
}

/// Trains an [`Mlp`] by AdamW, with gradients that are no longer than 1.
pub struct MlpTrainer {
    mlp: Mlp,
    gradients: Mlp,
    moments: Vec<Moments>,
    adamw: AdamW,
    /// Share of what layers give that is cleared in training.
    dropout: f32,
    seed: u64,
    steps: u64,
}

/// The length that longer gradients are cut to.
const LONGEST: f64 = 1.0;

impl MlpTrainer {
    /// `dropout` is from 0 to less than 1; what it clears follows from `seed`.
    pub fn new(mut mlp: Mlp, adamw: AdamW, dropout: f32, seed: u64) -> Self {
        let moments = mlp.tensors_mut().into_iter().map(|(values, _)| Moments::new(values.len()));
        let moments = moments.collect();
        Self { gradients: mlp.clone(), mlp, moments, adamw, dropout, seed, steps: 0 }
    }

    /// The network as it is now.
    pub fn mlp(&self) -> &Mlp {
        &self.mlp
    }

    /// Takes one step on a batch at learning rate `rate`. `loss` is given the outputs, row-major, and puts
    /// the gradient by them in their place.
    pub fn step(&mut self, rows: MlpRows<'_>, rate: f32, loss: impl FnOnce(&mut [f32])) {
        self.steps += 1;
        let noise = Noise {
            key: noise::mix(self.seed ^ noise::mix(self.steps)),
            hidden: self.dropout,
            ..Noise::NONE
        };
        let mut pass = self.mlp.pass(rows, &noise);
        let mut by_outputs = std::mem::take(&mut pass.outputs);
        loss(&mut by_outputs);
        self.mlp.gradients(rows, pass, &noise, &by_outputs, &mut self.gradients);
        let gradients = self.gradients.tensors_mut();
        let squares: f64 =
            gradients.iter().map(|(gradient, _)| kernels::square_sum(gradient)).sum();
        let factor = (LONGEST / squares.sqrt()).min(1.0) as f32;
        let values = self.mlp.tensors_mut().into_iter().zip(gradients).zip(&mut self.moments);
        let tensors = values.map(|(((values, decays), (gradient, _)), moments)| Tensor {
            values,
            gradient,
            moments,
            rate: 1.0,
            decays,
            rows: None,
        });
        self.adamw.step_alone(self.steps, rate, factor, tensors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: MlpConfig = MlpConfig {
        numbers: 3,
        tables: Vec::new(),
        depth: 3,
        width: 8,
        outputs: 2,
        activation: Activation::Gelu,
    };

    fn rows<'a>(numbers: &'a [f32], codes: &'a [u32]) -> MlpRows<'a> {
        MlpRows { count: 5, numbers, codes }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let config = MlpConfig { tables: vec![(3, 2), (4, 3)], ..CONFIG };
        let mut mlp = Mlp::new(&config, 4);
        let numbers = noise::uniform(15, 2.0, 1);
        let codes = [0, 3, 1, 2, 2, 0, 0, 1, 1, 3];
        let rows = rows(&numbers, &codes);
        let noise = Noise { key: 3, hidden: 0.3, ..Noise::NONE };
        let direction = noise::uniform(10, 1.0, 2);
        let mut gradients = mlp.clone();
        mlp.gradients(rows, mlp.pass(rows, &noise), &noise, &direction, &mut gradients);
        let value = |mlp: &Mlp| -> f64 {
            let outputs = mlp.pass(rows, &noise).outputs;
            outputs.iter().zip(&direction).map(|(x, d)| f64::from(*x) * f64::from(*d)).sum()
        };
        let expected: Vec<Vec<f32>> =
            gradients.tensors_mut().into_iter().map(|(tensor, _)| tensor.clone()).collect();
        for (tensor, expected) in expected.iter().enumerate() {
            for (place, expected) in expected.iter().enumerate() {
                let mut at = |change: f32| {
                    mlp.tensors_mut()[tensor].0[place] += change;
                    let value = value(&mlp);
                    mlp.tensors_mut()[tensor].0[place] -= change;
                    value
                };
                let difference = (at(2e-3) - at(-2e-3)) / 4e-3;
                let error = (difference - f64::from(*expected)).abs();
                assert!(error < 3e-3, "{tensor} at {place}: {difference} and {expected}");
            }
        }
    }

    #[test]
    fn steps_make_the_loss_small_and_bits_follow_from_the_seed() {
        let numbers = noise::uniform(15, 2.0, 1);
        let targets = noise::uniform(10, 1.0, 9);
        let train = |seed: u64| {
            let mut trainer = MlpTrainer::new(Mlp::new(&CONFIG, seed), AdamW::default(), 0.0, seed);
            for _ in 0..300 {
                trainer.step(rows(&numbers, &[]), 1e-2, |outputs| {
                    outputs.iter_mut().zip(&targets).for_each(|(x, y)| *x -= y);
                });
            }
            trainer.mlp().outputs(rows(&numbers, &[]))
        };
        let outputs = train(1);
        let error = outputs.iter().zip(&targets).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(error < 0.02, "{error}");
        assert_eq!(outputs, train(1));
        assert_ne!(outputs, train(2));
    }
}
