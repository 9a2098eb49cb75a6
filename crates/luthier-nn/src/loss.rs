//! What training makes small: functions of logits and hidden states with their gradients.

use crate::matmul::Write;
use crate::{Linear, kernels};

/// What is made small. The terms are means over all rows (or tokens) of a step, and are added.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// Weight of cross-entropy against labels.
    pub labels: f32,
    /// Share of a label that goes to all classes alike, from 0 to less than 1.
    pub smoothing: f32,
    /// Weights of the classes' rows; none are all 1.
    pub class_weights: Vec<f32>,
    /// Against a teacher's logits.
    pub soft: Option<SoftLoss>,
    /// Against a teacher's hidden states.
    pub hidden: Option<HiddenLoss>,
}

/// The divergence of a teacher's probabilities from the student's, both at a temperature, times its
/// square (Hinton et al. 2015).
#[derive(Debug, Clone, PartialEq)]
pub struct SoftLoss {
    /// Weight of the term.
    pub weight: f32,
    /// What logits are divided by; above 0.
    pub temperature: f32,
}

/// How far hidden states are from a teacher's, token by token.
#[derive(Debug, Clone, PartialEq)]
pub struct HiddenLoss {
    /// Weight of the term, a mean over the levels.
    pub weight: f32,
    /// How distance is measured.
    pub distance: Distance,
    /// The student's levels that are compared: `n` is what `n` layers make of the embeddings.
    pub levels: Vec<usize>,
    /// Where the teacher's states are of another width: that width. A linear layer for each level,
    /// trained alongside, then comes between.
    pub width: Option<usize>,
}

/// A distance of two rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distance {
    /// The mean of squared differences (Jiao et al. 2020).
    Square,
    /// One minus the cosine of the angle between them (Sanh et al. 2019).
    Cosine,
}

impl Default for Loss {
    fn default() -> Self {
        Self { labels: 1.0, smoothing: 0.0, class_weights: Vec::new(), soft: None, hidden: None }
    }
}

/// What a batch should come to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Targets<'a> {
    /// The class of each sequence, where it is known; none are known if this is empty.
    pub labels: &'a [Option<u32>],
    /// The weight of each sequence; all are 1 if this is empty.
    pub weights: &'a [f32],
    /// The teacher's logits, `[sequences, classes]`.
    pub logits: &'a [f32],
    /// The teacher's hidden states of each level, `[tokens, width]`.
    pub hidden: &'a [&'a [f32]],
}

/// What sums over a step are divided by.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Totals {
    /// Weights of rows with a label, times those of their classes.
    labelled: f64,
    /// Weights of rows.
    rows: f64,
    tokens: f64,
}

impl Totals {
    /// Adds a batch.
    pub(crate) fn add(&mut self, loss: &Loss, targets: &Targets<'_>, rows: usize, tokens: usize) {
        self.tokens += tokens as f64;
        for row in 0..rows {
            let weight = f64::from(targets.weight(row));
            self.rows += weight;
            if let Some(class) = targets.label(row) {
                self.labelled += weight * f64::from(loss.class_weight(class));
            }
        }
    }

    fn share(total: f64) -> f32 {
        if total > 0.0 { (1.0 / total) as f32 } else { 0.0 }
    }
}

impl Targets<'_> {
    fn label(&self, row: usize) -> Option<usize> {
        self.labels.get(row).copied().flatten().map(|label| label as usize)
    }

    fn weight(&self, row: usize) -> f32 {
        self.weights.get(row).copied().unwrap_or(1.0)
    }
}

impl Loss {
    fn class_weight(&self, class: usize) -> f32 {
        self.class_weights.get(class).copied().unwrap_or(1.0)
    }

    /// The terms of logits `[rows, classes]`, and in `gradient` their gradient.
    pub(crate) fn of_logits(
        &self,
        classes: usize,
        logits: &[f32],
        targets: &Targets<'_>,
        totals: &Totals,
        gradient: &mut [f32],
    ) -> f64 {
        let mut sum = 0.0;
        gradient.fill(0.0);
        let rows = logits.chunks_exact(classes).zip(gradient.chunks_exact_mut(classes));
        for (row, (logits, gradient)) in rows.enumerate() {
            let weight = targets.weight(row);
            if let Some(class) = targets.label(row) {
                let factor = self.labels * weight * Totals::share(totals.labelled);
                sum += self.of_label(class, factor, logits, gradient);
            }
            if let (Some(soft), Some(teacher)) =
                (&self.soft, targets.logits.chunks_exact(classes).nth(row))
            {
                let factor = soft.weight * weight * Totals::share(totals.rows);
                sum += soft.of_row(factor, logits, teacher, gradient);
            }
        }
        sum
    }

    /// Cross-entropy, of which the classes' weights and smoothing are as in PyTorch.
    fn of_label(&self, class: usize, factor: f32, logits: &[f32], gradient: &mut [f32]) -> f64 {
        let logarithms = log_softmax(logits, 1.0);
        let spread = self.smoothing / logits.len() as f32;
        let target = |other: usize| {
            let own = if other == class { 1.0 - self.smoothing } else { 0.0 };
            (own + spread) * self.class_weight(other)
        };
        let mass: f32 = (0..logits.len()).map(target).sum();
        let mut sum = 0.0;
        for (other, (logarithm, gradient)) in logarithms.iter().zip(gradient).enumerate() {
            sum -= f64::from(target(other)) * logarithm;
            *gradient += factor * (mass * logarithm.exp() as f32 - target(other));
        }
        f64::from(factor) * sum
    }
}

impl SoftLoss {
    fn of_row(&self, factor: f32, logits: &[f32], teacher: &[f32], gradient: &mut [f32]) -> f64 {
        let student = log_softmax(logits, self.temperature);
        let teacher = log_softmax(teacher, self.temperature);
        let mut sum = 0.0;
        for ((student, teacher), gradient) in student.iter().zip(&teacher).zip(gradient) {
            sum += teacher.exp() * (teacher - student);
            *gradient += factor * self.temperature * (student.exp() - teacher.exp()) as f32;
        }
        f64::from(factor * self.temperature * self.temperature) * sum
    }
}

/// Logarithms of the probabilities of logits over a temperature.
fn log_softmax(logits: &[f32], temperature: f32) -> Vec<f64> {
    let scaled = logits.iter().map(|x| f64::from(*x) / f64::from(temperature));
    let scaled: Vec<f64> = scaled.collect();
    let largest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = largest + scaled.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
    scaled.iter().map(|x| x - log_sum).collect()
}

/// A linear layer between a student's hidden states and a teacher's, with its gradient.
pub(crate) struct Projection<'a> {
    pub(crate) linear: &'a Linear,
    pub(crate) gradient: &'a mut Linear,
    pub(crate) write: Write,
}

impl HiddenLoss {
    /// The term of one level's `states`, whose gradient is added to `gradient`.
    pub(crate) fn of_level(
        &self,
        hidden: usize,
        states: &[f32],
        teacher: &[f32],
        totals: &Totals,
        projection: Option<Projection<'_>>,
        gradient: &mut [f32],
    ) -> f64 {
        let factor = self.weight * Totals::share(totals.tokens * self.levels.len() as f64);
        let Some(Projection { linear, gradient: into, write }) = projection else {
            return self.distance.of_rows(hidden, factor, states, teacher, gradient);
        };
        let mut projected = vec![0.0; teacher.len()];
        linear.forward(states, &mut projected);
        let mut by_projected = vec![0.0; teacher.len()];
        let width = linear.outputs();
        let sum = self.distance.of_rows(width, factor, &projected, teacher, &mut by_projected);
        into.take_gradient(states, &by_projected, write);
        linear.backward(&by_projected, Write::Onto, gradient);
        sum
    }
}

impl Distance {
    /// The sum over rows, and its gradient by `x` added to `gradient`.
    fn of_rows(self, width: usize, factor: f32, x: &[f32], y: &[f32], gradient: &mut [f32]) -> f64 {
        let rows = x.chunks_exact(width).zip(y.chunks_exact(width));
        let sums =
            rows.zip(gradient.chunks_exact_mut(width)).map(|((x, y), gradient)| match self {
                Self::Square => square(factor / width as f32, x, y, gradient),
                Self::Cosine => cosine(factor, x, y, gradient),
            });
        sums.sum()
    }
}

fn square(factor: f32, x: &[f32], y: &[f32], gradient: &mut [f32]) -> f64 {
    let mut sum = 0.0;
    for ((x, y), gradient) in x.iter().zip(y).zip(gradient) {
        sum += f64::from((x - y) * (x - y));
        *gradient += 2.0 * factor * (x - y);
    }
    f64::from(factor) * sum
}

fn cosine(factor: f32, x: &[f32], y: &[f32], gradient: &mut [f32]) -> f64 {
    /// Rows of zeros point nowhere.
    const SMALLEST: f32 = 1e-12;
    let (xx, yy) = (kernels::dot(x, x).max(SMALLEST), kernels::dot(y, y).max(SMALLEST));
    let lengths = (xx * yy).sqrt();
    let cosine = kernels::dot(x, y) / lengths;
    kernels::add_scaled(gradient, -factor / lengths, y);
    kernels::add_scaled(gradient, factor * cosine / xx, x);
    f64::from(factor) * (1.0 - f64::from(cosine))
}
