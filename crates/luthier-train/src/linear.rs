//! Softmax regression on n-grams.
//!
//! AdaGrad (Duchi et al. 2011) with a linearly falling step. Each feature is scaled before
//! training by how much it tells about the class (the log-count ratio of naive Bayes: Wang and
//! Manning 2012), by how rare it is, or by both, and a text's features then to length 1. The scale
//! is folded into the exported weight; its square goes along for the length.

use std::ops::ControlFlow;

use luthier_space::{Distribution, Space, Values};

use crate::bag::{BagNetwork, Dense, softmax};
use crate::features::{Matrix, MatrixKey, Subset, TextData};
use crate::sampling::shuffled;
use crate::{Fitted, Job, Learner, Step, TrainError};

/// Hashed n-grams into softmax regression.
#[derive(Debug, Clone, Copy)]
pub struct Linear;

/// Keeps the first AdaGrad steps finite.
const EPSILON: f32 = 1e-6;
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

#[derive(Clone, Copy, PartialEq)]
enum Weighting {
    Class,
    Rarity,
    Both,
}

/// What training changes, one cell per feature and output, and what it needs beside.
struct Weights {
    cells: Vec<Cell>,
    /// Scale of each feature.
    scale: Vec<f32>,
    bias: Vec<f32>,
    outputs: usize,
}

/// A weight, the sum of its squared gradients and the scale of its feature, side by side since they
/// are always wanted together and rarely in the cache.
#[derive(Clone, Copy, Default)]
struct Cell {
    weight: f32,
    squares: f32,
    scale: f32,
}

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
            ("epochs", Distribution::int(3, 8)),
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
        values.insert("epochs", 6);
        values
    }

    fn fit(
        &self,
        job: &Job<'_>,
        report: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Fitted, TrainError> {
        let settings = Settings::read(job.values)?;
        let matrix = job.data.matrix(settings.key)?;
        if matrix.columns() == 0 {
            return Err(TrainError::NoFeatures);
        }
        let (data, classes) = (job.data, job.data.classes());
        let mut weights = Weights::new(scales(data, &matrix, &settings)?, outputs(classes));
        let lengths = [
            weights.row_weights(data, &matrix, Subset::Train)?,
            weights.row_weights(data, &matrix, Subset::Valid)?,
        ];
        let total = (settings.epochs * data.train().labels.len() as u64) as f32;
        let (mut done, mut valid) = (0u64, Vec::new());
        for epoch in 1..=settings.epochs {
            data.chunks(&matrix, Subset::Train, &mut |chunk| {
                let order = shuffled(chunk.rows.len(), job.seed, epoch, chunk.number(0));
                for row in order {
                    let rate = settings.learning_rate * (1.0 - done as f32 / total);
                    let number = chunk.number(row as usize);
                    let columns = chunk.rows.row(row as usize);
                    let target =
                        (data.train().labels[number] as usize, data.train().weights[number]);
                    weights.step(columns, lengths[0][number], target, rate, settings.alpha);
                    done += 1;
                }
            })?;
            weights.predict(data, &matrix, &lengths[1], &mut valid)?;
            if valid.iter().any(|p| !p.is_finite()) {
                return Err(TrainError::Diverged { epoch });
            }
            let step = Step { epoch, epochs: settings.epochs, valid: &valid };
            if report(step).is_break() && epoch < settings.epochs {
                return Err(TrainError::Stopped);
            }
        }
        let network = weights.into_network(&matrix, classes);
        Ok(Fitted { network, preprocess: matrix.preprocess(), valid })
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

impl Weights {
    fn new(scale: Vec<f32>, outputs: usize) -> Self {
        let cell = |scale: &f32| Cell { scale: *scale, ..Cell::default() };
        let cells = scale.iter().flat_map(|scale| std::iter::repeat_n(cell(scale), outputs));
        Self { cells: cells.collect(), bias: vec![0.0; outputs], outputs, scale }
    }

    /// What the features of each row are multiplied by: one over the length of its scaled feature
    /// vector.
    fn row_weights(
        &self,
        data: &TextData<'_>,
        matrix: &Matrix,
        subset: Subset,
    ) -> Result<Vec<f32>, TrainError> {
        let mut weights = vec![0.0; data.rows(subset)];
        data.chunks(matrix, subset, &mut |chunk| {
            for row in 0..chunk.rows.len() {
                let scales = chunk.rows.row(row).iter().map(|column| self.scale[*column as usize]);
                let squares: f32 = scales.map(|scale| scale * scale).sum();
                weights[chunk.number(row)] = 1.0 / squares.max(f32::MIN_POSITIVE).sqrt();
            }
        })?;
        Ok(weights)
    }

    /// One gradient step on a row with `columns`, each of the given `weight`, towards a label that
    /// counts as much as its own weight says.
    fn step(
        &mut self,
        columns: &[u32],
        weight: f32,
        (label, label_weight): (usize, f32),
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
        self.logits(columns, weight, gradient);
        loss_gradient(gradient, label, label_weight);
        for (bias, g) in self.bias.iter_mut().zip(&*gradient) {
            *bias -= rate * BIAS_RATE * g;
        }
        gradient.iter_mut().for_each(|g| *g *= weight);
        match gradient {
            [g] => self.update_one(columns, *g, rate, alpha),
            _ => self.update(columns, gradient, rate, alpha),
        }
    }

    fn logits(&self, columns: &[u32], weight: f32, logits: &mut [f32]) {
        if let [logit] = logits {
            *logit = self.sum(columns) * weight + self.bias[0];
            return;
        }
        logits.fill(0.0);
        for &column in columns {
            let start = column as usize * self.outputs;
            let cells = &self.cells[start..start + self.outputs];
            for (logit, cell) in logits.iter_mut().zip(cells) {
                *logit += cell.weight;
            }
        }
        for (logit, bias) in logits.iter_mut().zip(&self.bias) {
            *logit = *logit * weight + bias;
        }
    }

    /// The sum of the only weights of `columns`, in lanes, since one sum would wait for itself.
    fn sum(&self, columns: &[u32]) -> f32 {
        let (blocks, rest) = columns.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for block in blocks {
            for (lane, column) in lanes.iter_mut().zip(block) {
                *lane += self.cells[*column as usize].weight;
            }
        }
        let rest = rest.iter().map(|column| self.cells[*column as usize].weight);
        lanes.into_iter().chain(rest).sum()
    }

    /// AdaGrad steps where every feature has one cell.
    fn update_one(&mut self, columns: &[u32], gradient: f32, rate: f32, alpha: f32) {
        let (blocks, rest) = columns.as_chunks::<LANES>();
        for block in blocks {
            let (mut weights, mut squares) = ([0.0f32; LANES], [0.0f32; LANES]);
            let mut rates = [0.0f32; LANES];
            for (lane, column) in block.iter().enumerate() {
                let cell = &self.cells[*column as usize];
                weights[lane] = cell.weight;
                squares[lane] = cell.squares;
                rates[lane] = rate * cell.scale;
            }
            for lane in 0..LANES {
                let gradient = gradient + alpha * weights[lane];
                squares[lane] += gradient * gradient;
                weights[lane] -= rates[lane] * gradient / (squares[lane].sqrt() + EPSILON);
            }
            for (lane, column) in block.iter().enumerate() {
                let cell = &mut self.cells[*column as usize];
                cell.weight = weights[lane];
                cell.squares = squares[lane];
            }
        }
        for column in rest {
            self.cells[*column as usize].step(gradient, rate, alpha);
        }
    }

    fn update(&mut self, columns: &[u32], gradient: &[f32], rate: f32, alpha: f32) {
        for &column in columns {
            let start = column as usize * self.outputs;
            for (cell, g) in self.cells[start..start + self.outputs].iter_mut().zip(gradient) {
                cell.step(*g, rate, alpha);
            }
        }
    }

    /// Writes the probabilities of the validation rows.
    fn predict(
        &self,
        data: &TextData<'_>,
        matrix: &Matrix,
        weights: &[f32],
        probabilities: &mut Vec<f32>,
    ) -> Result<(), TrainError> {
        let classes = data.classes();
        probabilities.resize(data.valid().labels.len() * classes, 0.0);
        let mut logits = vec![0.0; self.outputs];
        data.chunks(matrix, Subset::Valid, &mut |chunk| {
            for row in 0..chunk.rows.len() {
                let columns = chunk.rows.row(row);
                self.logits(columns, weights[chunk.number(row)], &mut logits);
                let start = chunk.number(row) * classes;
                let out = &mut probabilities[start..start + classes];
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

    fn into_network(self, matrix: &Matrix, classes: usize) -> BagNetwork {
        let table: Vec<f32> = self.cells.iter().map(|cell| cell.weight).collect();
        let table = matrix.in_index_order(&table, self.outputs);
        let squares: Vec<f32> = self.scale.iter().map(|scale| scale * scale).collect();
        let layer = match self.bias.as_slice() {
            [bias] => Dense { weights: Some(vec![0.0, 1.0]), bias: vec![0.0, *bias], relu: false },
            _ => Dense { weights: None, bias: self.bias, relu: false },
        };
        debug_assert_eq!(layer.outputs(), classes);
        BagNetwork {
            table,
            width: self.outputs,
            squares: Some(matrix.in_index_order(&squares, 1)),
            layers: vec![layer],
            temperature: 1.0,
        }
    }
}

impl Cell {
    #[inline(always)]
    fn step(&mut self, gradient: f32, rate: f32, alpha: f32) {
        let gradient = gradient + alpha * self.weight;
        self.squares += gradient * gradient;
        self.weight -= rate * self.scale * gradient / (self.squares.sqrt() + EPSILON);
    }
}

/// Logits to the gradient of the cross-entropy, in place; a single logit is that of class 1.
fn loss_gradient(logits: &mut [f32], label: usize, weight: f32) {
    if let [logit] = logits {
        *logit = (sigmoid(*logit) - label as f32) * weight;
        return;
    }
    softmax(logits);
    logits[label] -= 1.0;
    logits.iter_mut().for_each(|g| *g *= weight);
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The scale of each feature, of mean square 1 over the features' occurrences, to the power
/// `emphasis`.
fn scales(
    data: &TextData<'_>,
    matrix: &Matrix,
    settings: &Settings,
) -> Result<Vec<f32>, TrainError> {
    let (counts, totals) = class_counts(data, matrix)?;
    let rows = data.train().labels.len();
    let logs = Logarithms::new(rows, &totals);
    let mut squares = 0.0;
    let mut occurrences = 0.0;
    let raw: Vec<f32> = counts
        .chunks_exact(data.classes())
        .map(|counts| {
            let sum: u32 = counts.iter().sum();
            let rarity = logs.of(rows as u32 + 1) - logs.of(sum + 1) + 1.0;
            let scale = match settings.weighting {
                Weighting::Rarity => rarity,
                Weighting::Class => logs.class_ratio(counts, sum),
                Weighting::Both => rarity * logs.class_ratio(counts, sum),
            };
            squares += f64::from(sum as f32 * scale * scale);
            occurrences += f64::from(sum);
            scale
        })
        .collect();
    let norm = if squares > 0.0 { (occurrences / squares).sqrt() as f32 } else { 1.0 };
    Ok(raw.into_iter().map(|scale| (scale * norm).powf(settings.emphasis)).collect())
}

/// Rows of each class that each feature occurs in, `[features, classes]`, and their sums by class.
fn class_counts(data: &TextData<'_>, matrix: &Matrix) -> Result<(Vec<u32>, Vec<u64>), TrainError> {
    let classes = data.classes();
    let mut counts = vec![0; matrix.columns() * classes];
    let mut totals = vec![0; classes];
    data.chunks(matrix, Subset::Train, &mut |chunk| {
        for row in 0..chunk.rows.len() {
            let columns = chunk.rows.row(row);
            let label = data.train().labels[chunk.number(row)] as usize;
            totals[label] += columns.len() as u64;
            for column in columns {
                counts[*column as usize * classes + label] += 1;
            }
        }
    })?;
    Ok((counts, totals))
}

/// The logarithms that the scales of millions of features are made of, taken once.
struct Logarithms {
    /// Of each number up to the rows and two.
    numbers: Vec<f32>,
    /// For each class, of the share of its occurrences over that of all others', both smoothed.
    odds: Vec<f32>,
}

impl Logarithms {
    fn new(rows: usize, totals: &[u64]) -> Self {
        let all: u64 = totals.iter().sum();
        let odds = |total: &u64| ((*total as f32 + 1.0) / ((all - total) as f32 + 1.0)).ln();
        Self {
            numbers: (0..rows + 3).map(|number| (number as f32).ln()).collect(),
            odds: totals.iter().map(odds).collect(),
        }
    }

    fn of(&self, number: u32) -> f32 {
        self.numbers[number as usize]
    }

    /// Root mean square over the classes of the smoothed log ratio between a feature's share of the
    /// class's occurrences and its share of all others'; `sum` is that of `counts`.
    fn class_ratio(&self, counts: &[u32], sum: u32) -> f32 {
        let ratio =
            |(count, odds): (&u32, &f32)| self.of(count + 1) - self.of(sum - count + 1) - odds;
        let squares: f32 = counts.iter().zip(&self.odds).map(|pair| ratio(pair).powi(2)).sum();
        (squares / counts.len() as f32).sqrt()
    }
}
