//! Softmax regression on n-grams.
//!
//! AdaGrad (Duchi et al. 2011) with a linearly falling step. Each feature is scaled before
//! training, and a text's features then to length 1. The scale is folded into the exported weight;
//! its square goes along for the length.

use std::ops::ControlFlow;

use luthier_space::{Distribution, Space, Values};
use wide::f32x4;

use crate::bag::{BagNetwork, Dense, softmax};
use crate::cache::prefetch;
use crate::data::{Subset, TextData};
use crate::matrix::{Matrix, MatrixKey};
use crate::sampling::shuffled;
use crate::scale::{Weighting, scales};
use crate::spare::Lent;
use crate::teaching::{Goal, Goals, Teaching};
use crate::{Fitted, Job, Learned, Learner, Network, Step, TextNetwork, TrainError};

/// Hashed n-grams into softmax regression.
#[derive(Debug, Clone, Copy)]
pub struct Linear;

/// What the sums of squared gradients begin with: about the square of one at the start of training. A
/// row that is told right already then moves what it alone has by little, where sums from 0 would
/// make it a full step however small the gradient.
const INITIAL_SQUARES: f32 = 1e-3;
/// Outputs up to which a row's gradient needs no allocation.
const INLINE_OUTPUTS: usize = 32;
/// The bias learns this much slower than a weight.
const BIAS_RATE: f32 = 0.1;

struct Settings {
    key: MatrixKey,
    learning_rate: f32,
    epochs: u64,
    weighting: Weighting,
    emphasis: f32,
    alpha: f32,
}

/// What training changes, with what it needs beside.
///
/// Each column has one run of numbers: its scale, how many features it stands for, then for each
/// output the weight of each of these and the sum of its squared gradients. They stand side by side
/// since they are always wanted together and rarely in the cache.
pub(crate) struct Weights {
    numbers: Lent<f32>,
    bias: Vec<f32>,
    outputs: usize,
}

/// Places in a column's run of numbers.
const SCALE: usize = 0;
const MEMBERS: usize = 1;
const WEIGHT: usize = 2;
const SQUARES: usize = 3;

/// The run of a column with a single output.
type Cell = [f32; 4];

/// Cells that are worked on at a time, so that roots and quotients are taken several at once.
const LANES: usize = 8;

impl Learner for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn space(&self) -> Space {
        let alpha = Space::of([("alpha", Distribution::log_float(1e-8, 1e-4))]);
        Space::of([
            ("learning_rate", Distribution::log_float(0.02, 0.5)),
            ("ngrams", Distribution::int(1, 3)),
            ("chars", Distribution::choice([0, 3, 4, 5, 6])),
            ("min_rows", Distribution::int(1, 2)),
            ("weighting", Distribution::choice(["class", "rarity", "both"])),
            ("emphasis", Distribution::float(0.2, 1.2)),
            ("penalty", Distribution::choice(["none", "l2"])),
            ("epochs", Distribution::int(2, 5)),
        ])
        .when("penalty", "l2", alpha)
    }

    fn proposal(&self) -> Values {
        let mut values = Values::default();
        values.insert("learning_rate", 0.1);
        values.insert("ngrams", 2);
        values.insert("chars", 5);
        values.insert("min_rows", 1);
        values.insert("weighting", "both");
        values.insert("emphasis", 0.8);
        values.insert("penalty", "none");
        values.insert("epochs", 5);
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
        let mut weights = Weights::new(data, &matrix);
        let stride = weights.stride();
        let mut runs = weights.numbers.chunks_exact_mut(stride);
        scales(data, &matrix, settings.weighting, settings.emphasis, &mut |scale| {
            runs.next().into_iter().for_each(|run| run[SCALE] = scale);
        })?;
        // One over the length of each row's scaled feature vector; 0 until the row is first seen.
        let mut lengths = [Subset::Train, Subset::Valid].map(|subset| vec![0.0; data.rows(subset)]);
        let goals = Goals::of(data.train(), data.classes(), job.values)?;
        let total = (settings.epochs * data.train().labels.len() as u64) as f32;
        let (mut done, mut valid) = (0u64, Vec::new());
        for epoch in 1..=settings.epochs {
            data.chunks(&matrix, Subset::Train, &mut |chunk| {
                let order = shuffled(chunk.rows.len(), job.seed, epoch, chunk.number(0));
                let columns = |place: usize| match order.get(place) {
                    Some(row) => chunk.rows.row(*row as usize),
                    None => &[],
                };
                for (place, row) in order.iter().enumerate() {
                    columns(place + 2).iter().step_by(COLUMNS_PER_LINE).for_each(prefetch);
                    let (columns, next) = (columns(place), columns(place + 1));
                    let rate = settings.learning_rate * (1.0 - done as f32 / total);
                    let number = chunk.number(*row as usize);
                    let target = (goals.of_row(number), data.train().weights[number]);
                    let length = weights.known_length(&mut lengths[0][number], columns, tied);
                    weights.step((columns, next), length, target, rate, settings.alpha);
                    done += 1;
                }
            })?;
            weights.predict(data, &matrix, &mut lengths[1], &mut valid)?;
            if valid.iter().any(|p| !p.is_finite()) {
                return Err(TrainError::Diverged { epoch });
            }
            let network = || {
                let (preprocess, columns) = matrix.features();
                Network::Bag(TextNetwork { network: weights.network(&columns), preprocess })
            };
            let step = Step { epoch, epochs: settings.epochs, valid: &valid, network: &network };
            if report(step).is_break() && epoch < settings.epochs {
                return Err(TrainError::Stopped);
            }
        }
        Ok(Fitted::of(Learned::Linear(weights, matrix), valid))
    }
}

impl Settings {
    fn read(values: &Values) -> Result<Self, TrainError> {
        let weighting = match values.text("weighting")? {
            "class" => Weighting::Class,
            "rarity" => Weighting::Rarity,
            _ => Weighting::Both,
        };
        Ok(Self {
            key: MatrixKey::read(values)?,
            learning_rate: values.float("learning_rate")? as f32,
            epochs: values.int("epochs")?.max(1).cast_unsigned(),
            weighting,
            emphasis: values.float("emphasis")? as f32,
            alpha: match values.text("penalty")? {
                "l2" => values.float("alpha")? as f32,
                _ => 0.0,
            },
        })
    }
}

/// Outputs per feature: two classes need only the difference of their logits.
fn outputs(classes: usize) -> usize {
    if classes == 2 { 1 } else { classes }
}

/// How often the column with a run counts in a training row, which has it once: for all the features
/// it stands for.
#[inline(always)]
fn tied(run: &[f32]) -> f32 {
    run[MEMBERS]
}

/// The same for a validation row, which has a column once for each feature.
#[inline(always)]
fn single(_: &[f32]) -> f32 {
    1.0
}

impl Weights {
    fn new(data: &TextData<'_>, matrix: &Matrix) -> Self {
        let outputs = outputs(data.classes());
        let stride = WEIGHT + 2 * outputs;
        let mut numbers = data.zeros(matrix.columns() * stride);
        for (run, members) in numbers.chunks_exact_mut(stride).zip(matrix.members()) {
            run[MEMBERS] = *members as f32;
            run[SQUARES..].iter_mut().step_by(2).for_each(|squares| *squares = INITIAL_SQUARES);
        }
        Self { numbers, bias: vec![0.0; outputs], outputs }
    }

    fn stride(&self) -> usize {
        WEIGHT + 2 * self.outputs
    }

    #[inline(always)]
    fn run(&self, column: u32) -> &[f32] {
        let start = column as usize * self.stride();
        &self.numbers[start..start + self.stride()]
    }

    /// `length`, found now if it is not known: one over the length of the scaled feature vector of
    /// a row that has `columns`.
    #[inline(always)]
    fn known_length(
        &self,
        length: &mut f32,
        columns: &[u32],
        times: impl Fn(&[f32]) -> f32,
    ) -> f32 {
        if *length == 0.0 {
            let runs = columns.iter().map(|column| self.run(*column));
            let squares: f32 = runs.map(|run| times(run) * run[SCALE] * run[SCALE]).sum();
            *length = 1.0 / squares.max(f32::MIN_POSITIVE).sqrt();
        }
        *length
    }

    /// One gradient step on a training row with `columns`, whose features have the given `weight`,
    /// towards a goal that counts as much as its own weight says.
    fn step(
        &mut self,
        (columns, next): (&[u32], &[u32]),
        weight: f32,
        (goal, goal_weight): (Goal<'_>, f32),
        rate: f32,
        alpha: f32,
    ) {
        let mut buffer = [0.0; INLINE_OUTPUTS];
        let mut heap = Vec::new();
        let gradient = match buffer.get_mut(..self.outputs) {
            Some(gradient) => gradient,
            None => {
                heap.resize(self.outputs, 0.0);
                heap.as_mut_slice()
            }
        };
        self.logits(columns, tied, weight, gradient);
        loss_gradient(gradient, goal, goal_weight);
        for (bias, g) in self.bias.iter_mut().zip(&*gradient) {
            *bias -= rate * BIAS_RATE * g;
        }
        gradient.iter_mut().for_each(|g| *g *= weight);
        match gradient {
            [g] => self.update_one(columns, next, *g, rate, alpha),
            _ => self.update(columns, gradient, rate, alpha),
        }
    }

    #[inline(always)]
    fn logits(
        &self,
        columns: &[u32],
        times: impl Fn(&[f32]) -> f32,
        weight: f32,
        logits: &mut [f32],
    ) {
        if let [logit] = logits {
            *logit = self.sum(columns, times) * weight + self.bias[0];
            return;
        }
        logits.fill(0.0);
        for &column in columns {
            let run = self.run(column);
            let (times, weights) = (times(run), run[WEIGHT..].iter().step_by(2));
            for (logit, weight) in logits.iter_mut().zip(weights) {
                *logit += times * weight;
            }
        }
        for (logit, bias) in logits.iter_mut().zip(&self.bias) {
            *logit = *logit * weight + bias;
        }
    }

    /// The sum of the only weights of `columns`, in lanes, since one sum would wait for itself.
    #[inline(always)]
    fn sum(&self, columns: &[u32], times: impl Fn(&[f32]) -> f32) -> f32 {
        let (cells, _) = self.numbers.as_chunks();
        let weight = |column: &u32| {
            let cell: &Cell = &cells[*column as usize];
            times(cell) * cell[WEIGHT]
        };
        let (blocks, rest) = columns.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for block in blocks {
            for (lane, column) in lanes.iter_mut().zip(block) {
                *lane += weight(column);
            }
        }
        lanes.into_iter().chain(rest.iter().map(weight)).sum()
    }

    /// AdaGrad steps where every column has a single output, four columns at a time, whose runs are
    /// turned into one vector each of scales, members, weights and squares. Meanwhile the runs of
    /// `next`, the columns of the row that comes after, are on their way to the cache.
    fn update_one(&mut self, columns: &[u32], next: &[u32], gradient: f32, rate: f32, alpha: f32) {
        let (cells, _): (&mut [Cell], _) = self.numbers.as_chunks_mut();
        let (blocks, rest) = columns.as_chunks::<4>();
        let (gradients, rates) = (f32x4::splat(gradient), f32x4::splat(rate));
        let mut next = next.iter();
        for block in blocks {
            for column in next.by_ref().take(PREFETCHED) {
                prefetch(&cells[*column as usize]);
            }
            let runs = block.map(|column| f32x4::new(cells[column as usize]));
            let [scales, members, mut weights, mut squares] = f32x4::transpose(runs);
            let gradients = (gradients + alpha * weights) * scales;
            squares += gradients * gradients;
            weights -= rates * scales * gradients / squares.sqrt();
            let runs = f32x4::transpose([scales, members, weights, squares]);
            for (column, run) in block.iter().zip(runs) {
                cells[*column as usize] = run.to_array();
            }
        }
        for column in rest {
            let [scale, _, weight, squares] = &mut cells[*column as usize];
            adagrad(weight, squares, (gradient + alpha * *weight) * *scale, rate * *scale);
        }
    }

    fn update(&mut self, columns: &[u32], gradient: &[f32], rate: f32, alpha: f32) {
        let stride = self.stride();
        for &column in columns {
            let start = column as usize * stride;
            let (head, outputs) = self.numbers[start..start + stride].split_at_mut(WEIGHT);
            for ([weight, squares], g) in outputs.as_chunks_mut().0.iter_mut().zip(gradient) {
                adagrad(weight, squares, (g + alpha * *weight) * head[SCALE], rate * head[SCALE]);
            }
        }
    }

    /// Writes the probabilities of the validation rows.
    fn predict(
        &self,
        data: &TextData<'_>,
        matrix: &Matrix,
        lengths: &mut [f32],
        probabilities: &mut Vec<f32>,
    ) -> Result<(), TrainError> {
        let classes = data.classes();
        probabilities.resize(data.valid().labels.len() * classes, 0.0);
        let mut logits = vec![0.0; self.outputs];
        data.chunks(matrix, Subset::Valid, &mut |chunk| {
            for row in 0..chunk.rows.len() {
                let (number, columns) = (chunk.number(row), chunk.rows.row(row));
                let length = self.known_length(&mut lengths[number], columns, single);
                self.logits(columns, single, length, &mut logits);
                let out = &mut probabilities[number * classes..(number + 1) * classes];
                match logits.as_slice() {
                    [logit] => {
                        out[1] = sigmoid(*logit);
                        out[0] = 1.0 - out[1];
                    }
                    _ => {
                        out.copy_from_slice(&logits);
                        softmax(out);
                    }
                }
            }
        })
    }

    /// The network with a table row for each of `columns`.
    pub(crate) fn network(&self, columns: &[u32]) -> BagNetwork {
        let mut table = Vec::with_capacity(columns.len() * self.outputs);
        let mut squares = Vec::with_capacity(columns.len());
        for column in columns {
            let run = self.run(*column);
            table.extend(run[WEIGHT..].iter().step_by(2));
            squares.push(run[SCALE] * run[SCALE]);
        }
        let layer = match self.bias.as_slice() {
            [bias] => Dense { weights: Some(vec![0.0, 1.0]), bias: vec![0.0, *bias], relu: false },
            bias => Dense { weights: None, bias: bias.to_vec(), relu: false },
        };
        BagNetwork { table, width: self.outputs, squares: Some(squares), layers: vec![layer] }
    }
}

/// Columns of a row that come to the cache together.
const COLUMNS_PER_LINE: usize = 64 / size_of::<u32>();
/// Runs that are called to the cache for every four that are worked on.
const PREFETCHED: usize = 16;

/// One AdaGrad step (Duchi et al. 2011) of a weight that has its feature's scale in it: `gradient` is
/// that of the unscaled one, and `rate` has the scale in it.
#[inline(always)]
fn adagrad(weight: &mut f32, squares: &mut f32, gradient: f32, rate: f32) {
    *squares += gradient * gradient;
    *weight -= rate * gradient / squares.sqrt();
}

/// Logits to the gradient of the cross-entropy, in place; a single logit is that of class 1.
fn loss_gradient(logits: &mut [f32], goal: Goal<'_>, weight: f32) {
    if let [logit] = logits {
        *logit = (sigmoid(*logit) - goal.share(1)) * weight;
        return;
    }
    softmax(logits);
    goal.subtract_from(logits);
    logits.iter_mut().for_each(|g| *g *= weight);
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
