//! An embedding per n-gram, summed, then a small dense head, all trained together.
//!
//! Stochastic gradient steps of one row at a time, AdaGrad with one accumulator per table row and
//! per dense weight, a linearly falling step, and dropout of whole features.

use std::ops::ControlFlow;

use luthier_model::feature_weight;
use luthier_space::{Distribution, Space, Values};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::bag::{BagNetwork, Dense, axpy, softmax};
use crate::data::{Chunk, Subset};
use crate::matrix::{Matrix, MatrixKey};
use crate::sampling::{generator, shuffled, symmetric};
use crate::teaching::{Goal, Goals, Teaching};
use crate::{Fitted, Job, Learned, Learner, Network, Step, TextNetwork, TrainError};

/// N-gram embeddings, summed, into a small dense head.
#[derive(Debug, Clone, Copy)]
pub struct Embedding;

/// AdaGrad's first accumulator: large enough that the first steps do not jump.
const INITIAL_SQUARES: f32 = 1e-3;

struct Settings {
    key: MatrixKey,
    learning_rate: f32,
    epochs: u64,
    width: usize,
    hidden: usize,
    dropout: f32,
}

/// What one pass goes over.
struct Pass<'a> {
    chunk: Chunk<'a>,
    goals: &'a Goals<'a>,
    /// Weight of each row.
    weights: &'a [f32],
    matrix: &'a Matrix,
    order: &'a [u32],
    settings: &'a Settings,
    /// Rows that have been learnt from before, in this and earlier epochs.
    done: u64,
}

/// The network in training: its weights, AdaGrad's sums, and buffers for one row.
struct Trainer {
    network: BagNetwork,
    /// Mean squared gradient sums, one per table row.
    table_squares: Vec<f32>,
    /// Squared gradient sums of each layer's weights and biases.
    layer_squares: Vec<(Vec<f32>, Vec<f32>)>,
    /// Input of each layer, then the logits.
    states: Vec<Vec<f32>>,
    /// Gradient of each state.
    gradients: Vec<Vec<f32>>,
    kept: Vec<u32>,
}

impl Learner for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn space(&self) -> Space {
        Space::of([
            ("learning_rate", Distribution::log_float(0.02, 0.4)),
            ("ngrams", Distribution::int(1, 3)),
            ("chars", Distribution::choice([0, 3, 4, 5, 6])),
            ("min_rows", Distribution::int(1, 2)),
            ("width", Distribution::choice([8, 16, 32])),
            ("hidden", Distribution::choice([0, 16])),
            ("dropout", Distribution::float(0.0, 0.7)),
            ("epochs", Distribution::int(3, 10)),
        ])
    }

    fn proposal(&self) -> Values {
        let mut values = Values::default();
        values.insert("learning_rate", 0.04);
        values.insert("ngrams", 2);
        values.insert("chars", 4);
        values.insert("min_rows", 1);
        values.insert("width", 16);
        values.insert("hidden", 0);
        values.insert("dropout", 0.4);
        values.insert("epochs", 6);
        values
    }

    fn student(&self) -> Option<(Space, Values)> {
        Some(Teaching::parameters())
    }

    fn fit(
        &self,
        job: &Job<'_>,
        report: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Fitted, TrainError> {
        let settings = Settings::read(job.values)?;
        let data = job.data.texts()?;
        let matrix = data.matrix(settings.key)?;
        if matrix.columns() == 0 {
            return Err(TrainError::NoFeatures);
        }
        let goals = Goals::of(data.train(), data.classes(), job.values)?;
        let weights = data.train().weights.as_slice();
        let mut trainer = Trainer::new(matrix.columns(), data.classes(), &settings, job.seed);
        let (mut done, mut valid) = (0, Vec::new());
        for epoch in 1..=settings.epochs {
            let mut dropout = generator(job.seed ^ DROPOUT_STREAMS, epoch);
            data.chunks(&matrix, Subset::Train, &mut |chunk| {
                let order = shuffled(chunk.rows.len(), job.seed, epoch, chunk.number(0));
                let (goals, matrix, order, settings) = (&goals, &*matrix, &*order, &settings);
                let pass = Pass { chunk, goals, weights, matrix, order, settings, done };
                trainer.pass(&pass, &mut dropout);
                done += order.len() as u64;
            })?;
            trainer.network.predict_valid(data, &matrix, &mut valid)?;
            if valid.iter().any(|p| !p.is_finite()) {
                return Err(TrainError::Diverged { epoch });
            }
            let network = || {
                let (preprocess, columns) = matrix.features();
                Network::Bag(TextNetwork {
                    network: trainer.network.with_rows(&columns),
                    preprocess,
                })
            };
            let step = Step { epoch, epochs: settings.epochs, valid: &valid, network: &network };
            if report(step).is_break() && epoch < settings.epochs {
                return Err(TrainError::Stopped);
            }
        }
        Ok(Fitted::of(Learned::Embedding(trainer.network, matrix), valid))
    }
}

/// Sets the seeds of dropout apart from those of the row order.
const DROPOUT_STREAMS: u64 = 0x6472_6f70_6f75_7400;

impl Settings {
    fn read(values: &Values) -> Result<Self, TrainError> {
        let size = |name| Ok::<_, TrainError>(values.int(name)?.clamp(0, 4096) as usize);
        Ok(Self {
            key: MatrixKey::read(values)?,
            learning_rate: values.float("learning_rate")? as f32,
            epochs: values.int("epochs")?.max(1).cast_unsigned(),
            width: size("width")?.max(1),
            hidden: size("hidden")?,
            dropout: values.float("dropout")?.clamp(0.0, 0.95) as f32,
        })
    }
}

impl Trainer {
    fn new(features: usize, classes: usize, settings: &Settings, seed: u64) -> Self {
        let mut generator = generator(seed, 0);
        let width = settings.width;
        let table =
            (0..features * width).map(|_| symmetric(&mut generator) / width as f32).collect();
        let mut layers = Vec::new();
        let mut inputs = width;
        for (outputs, relu) in [(settings.hidden, true), (classes, false)] {
            if outputs > 0 {
                let bound = (6.0 / (inputs + outputs) as f32).sqrt();
                let weights =
                    (0..inputs * outputs).map(|_| bound * symmetric(&mut generator)).collect();
                layers.push(Dense { weights: Some(weights), bias: vec![0.0; outputs], relu });
                inputs = outputs;
            }
        }
        Self::of(BagNetwork { table, width, squares: None, layers })
    }

    fn of(network: BagNetwork) -> Self {
        let sizes: Vec<usize> = std::iter::once(network.width)
            .chain(network.layers.iter().map(Dense::outputs))
            .collect();
        let buffers: Vec<Vec<f32>> = sizes.iter().map(|size| vec![0.0; *size]).collect();
        let squares = |layer: &Dense| {
            let weights = layer.weights.as_ref().map_or(0, Vec::len);
            (vec![INITIAL_SQUARES; weights], vec![INITIAL_SQUARES; layer.outputs()])
        };
        Self {
            table_squares: vec![INITIAL_SQUARES; network.table.len() / network.width],
            layer_squares: network.layers.iter().map(squares).collect(),
            states: buffers.clone(),
            gradients: buffers,
            kept: Vec::new(),
            network,
        }
    }

    /// One pass over the rows of a chunk. The loops are compiled a second time for processors with
    /// AVX2, which do the same arithmetic in the same order and so give the same bits.
    fn pass(&mut self, pass: &Pass<'_>, dropout: &mut ChaCha8Rng) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has just been found to have the feature.
            #[allow(unsafe_code)]
            return unsafe { self.pass_avx2(pass, dropout) };
        }
        self.pass_loops(pass, dropout);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn pass_avx2(&mut self, pass: &Pass<'_>, dropout: &mut ChaCha8Rng) {
        self.pass_loops(pass, dropout);
    }

    #[inline(always)]
    fn pass_loops(&mut self, pass: &Pass<'_>, dropout: &mut ChaCha8Rng) {
        let Pass { chunk, goals, weights, matrix, order, settings, done } = pass;
        let total = (settings.epochs * weights.len() as u64) as f32;
        for (done, &row) in (*done..).zip(*order) {
            let rate = settings.learning_rate * (1.0 - done as f32 / total);
            self.keep(chunk.rows.row(row as usize), settings.dropout, dropout);
            let weight = feature_weight(matrix.features_of(&self.kept));
            self.forward(matrix.members(), weight);
            let number = chunk.number(row as usize);
            self.backward(goals.of_row(number), weights[number]);
            self.update(weight, rate);
        }
    }

    /// Draws the features that stay.
    #[inline(always)]
    fn keep(&mut self, columns: &[u32], dropout: f32, generator: &mut ChaCha8Rng) {
        self.kept.clear();
        if dropout == 0.0 {
            self.kept.extend_from_slice(columns);
            return;
        }
        let threshold = (dropout * 65536.0) as u32;
        for pair in columns.chunks(2) {
            let mut draw = generator.next_u32();
            for column in pair {
                if draw & 0xffff >= threshold {
                    self.kept.push(*column);
                }
                draw >>= 16;
            }
        }
    }

    #[inline(always)]
    fn forward(&mut self, members: &[u32], weight: f32) {
        let pooled = &mut self.states[0];
        pooled.fill(0.0);
        for &row in &self.kept {
            axpy(members[row as usize] as f32, self.network.row(row), pooled);
        }
        pooled.iter_mut().for_each(|x| *x *= weight);
        for (index, layer) in self.network.layers.iter().enumerate() {
            let [input, output] = &mut self.states[index..index + 2] else { return };
            layer.forward(input, output);
        }
    }

    /// Gradients of the cross-entropy, times `weight`, with respect to every state.
    #[inline(always)]
    fn backward(&mut self, goal: Goal<'_>, weight: f32) {
        let depth = self.network.layers.len();
        let last = &mut self.gradients[depth];
        last.copy_from_slice(&self.states[depth]);
        softmax(last);
        goal.subtract_from(last);
        last.iter_mut().for_each(|g| *g *= weight);
        for (index, layer) in self.network.layers.iter().enumerate().rev() {
            let [input, output] = &mut self.gradients[index..index + 2] else { return };
            layer.backward(&self.states[index + 1], output, input);
        }
    }

    #[inline(always)]
    fn update(&mut self, weight: f32, rate: f32) {
        let layers = self.network.layers.iter_mut().zip(&mut self.layer_squares);
        for (index, (layer, (weight_squares, bias_squares))) in layers.enumerate() {
            let (input, gradient) = (&self.states[index], &self.gradients[index + 1]);
            adagrad(&mut layer.bias, bias_squares, gradient, 1.0, rate);
            let Some(weights) = &mut layer.weights else { continue };
            let outputs = gradient.len();
            let rows = weights.chunks_exact_mut(outputs);
            for ((row, squares), x) in rows.zip(weight_squares.chunks_exact_mut(outputs)).zip(input)
            {
                adagrad(row, squares, gradient, *x, rate);
            }
        }
        let gradient = &self.gradients[0];
        let square = gradient.iter().map(|g| g * g).sum::<f32>() / gradient.len() as f32;
        for &row in &self.kept {
            let squares = &mut self.table_squares[row as usize];
            *squares += square * weight * weight;
            let step = -rate * weight / squares.sqrt();
            let start = row as usize * self.network.width;
            axpy(step, gradient, &mut self.network.table[start..start + self.network.width]);
        }
    }
}

/// One AdaGrad step against `gradient · x`.
#[inline(always)]
fn adagrad(weights: &mut [f32], squares: &mut [f32], gradient: &[f32], x: f32, rate: f32) {
    for ((weight, square), gradient) in weights.iter_mut().zip(squares).zip(gradient) {
        let gradient = gradient * x;
        *square += gradient * gradient;
        *weight -= rate * gradient / square.sqrt();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(trainer: &mut Trainer, columns: &[u32], label: usize) -> f64 {
        trainer.kept = columns.to_vec();
        trainer.forward(&[1; 4], feature_weight(columns.len()));
        let mut last = trainer.states.last().unwrap().clone();
        softmax(&mut last);
        -f64::from(last[label]).ln()
    }

    /// Every gradient against central differences of the loss.
    #[test]
    fn gradients_match_finite_differences() {
        let columns = [0u32, 2, 3];
        let weight = feature_weight(columns.len());
        for hidden in [0, 5] {
            let settings = Settings {
                key: MatrixKey { words: 1, chars: 0, min_rows: 1 },
                learning_rate: 0.1,
                epochs: 1,
                width: 4,
                hidden,
                dropout: 0.0,
            };
            let mut trainer = Trainer::new(4, 3, &settings, 7);
            // Keeps every ReLU away from its kink, some on and some off.
            for (index, bias) in trainer.network.layers[0].bias.iter_mut().enumerate() {
                *bias = if index % 2 == 0 { 0.8 } else { -0.8 };
            }
            loss(&mut trainer, &columns, 1);
            trainer.backward(Goal::Class(1), 1.0);
            let gradients = trainer.gradients.clone();
            let states = trainer.states.clone();
            let mut check = |cell: fn(&mut Trainer, usize) -> &mut f32, index, expected: f32| {
                const STEP: f32 = 1e-2;
                *cell(&mut trainer, index) += STEP;
                let above = loss(&mut trainer, &columns, 1);
                *cell(&mut trainer, index) -= 2.0 * STEP;
                let below = loss(&mut trainer, &columns, 1);
                *cell(&mut trainer, index) += STEP;
                let numeric = (above - below) / f64::from(2.0 * STEP);
                luthier_test::assert_close(f64::from(expected), numeric, 2e-3, "gradient");
            };
            for index in 0..16 {
                let used = columns.contains(&(index as u32 / 4));
                let expected = if used { gradients[0][index % 4] * weight } else { 0.0 };
                check(|t, i| &mut t.network.table[i], index, expected);
            }
            for (index, state) in states[0].iter().enumerate() {
                let outputs = gradients[1].len();
                for (output, gradient) in gradients[1].iter().enumerate() {
                    check(
                        |t, i| &mut t.network.layers[0].weights.as_mut().unwrap()[i],
                        index * outputs + output,
                        state * gradient,
                    );
                }
            }
            for (output, gradient) in gradients[1].iter().enumerate() {
                check(|t, i| &mut t.network.layers[0].bias[i], output, *gradient);
            }
        }
    }

    /// The loops for AVX2 and those for any processor give the same bits.
    #[test]
    fn processors_agree() {
        let data = crate::TextData::new(2, |_, visit| {
            for row in 0..200u32 {
                let text = format!("row {} is {} of {}", row % 7, row % 11, row % 2);
                visit(crate::Row::labelled(&text, row % 2));
            }
            Ok(())
        })
        .unwrap();
        let settings = Settings {
            key: MatrixKey { words: 2, chars: 4, min_rows: 1 },
            learning_rate: 0.1,
            epochs: 1,
            width: 16,
            hidden: 16,
            dropout: 0.3,
        };
        let matrix = data.matrix(settings.key).unwrap();
        let goals = Goals::of(data.train(), 2, &Values::default()).unwrap();
        let order: Vec<u32> = (0..200).collect();
        let trained = |train: fn(&mut Trainer, &Pass<'_>, &mut ChaCha8Rng)| {
            let mut trainer = Trainer::new(matrix.columns(), 2, &settings, 5);
            data.chunks(&matrix, Subset::Train, &mut |chunk| {
                let (goals, weights) = (&goals, data.train().weights.as_slice());
                let (matrix, order, settings) = (&*matrix, &*order, &settings);
                let pass = Pass { chunk, goals, weights, matrix, order, settings, done: 0 };
                train(&mut trainer, &pass, &mut generator(1, 1));
            })
            .unwrap();
            trainer.network
        };
        assert_eq!(trained(Trainer::pass), trained(Trainer::pass_loops));
    }
}
