//! Linear models whose penalised loss is as small as it can be.
//!
//! Newton's method, each step of which is found by conjugate gradients (Nocedal and Wright 2006, algorithm
//! 7.1): the matrix of second derivatives is only ever multiplied, so its size does not matter, and the steps
//! converge so fast that the tolerance can be that of the arithmetic. All sums are in double precision and in
//! one order.

use super::preparation::Prepared;

/// Newton steps at most; a dozen are usual.
const MOST_STEPS: usize = 100;
/// The gradient at which the loss counts as smallest; the loss is a mean over rows.
const TOLERANCE: f64 = 1e-9;
/// Rounds of conjugate gradients in one step at most.
const MOST_ROUNDS: usize = 1000;
/// Share of the fall that a straight line promises which a step must have.
const SUFFICIENT: f64 = 1e-4;
/// Halvings of a step at most.
const MOST_HALVINGS: usize = 40;

/// What is made small, by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowLoss {
    /// Cross-entropy of two classes, of which the target says whether it is the second; one score.
    Logistic,
    /// Cross-entropy of classes, with a score for each.
    Softmax,
    /// Half of the squared error.
    Squared,
}

/// The rows that a model is fitted to.
pub(crate) struct Problem<'a> {
    pub(crate) rows: &'a Prepared,
    /// Numbers of a row.
    pub(crate) width: usize,
    /// Place of each code's first weight, counted from the weights of the first code.
    pub(crate) offsets: &'a [usize],
    /// Codes of all kinds together.
    pub(crate) codes: usize,
    /// Scores of a row.
    pub(crate) outputs: usize,
    pub(crate) loss: RowLoss,
    pub(crate) targets: &'a [f64],
    /// With a mean of 1.
    pub(crate) weights: &'a [f32],
    /// Weight of half the sum of squared weights, beside the mean loss; the bias is free.
    pub(crate) penalty: f64,
}

impl Problem<'_> {
    /// Weights, row-major `[width + codes, outputs]`, and after them the bias.
    pub(crate) fn solve(&self) -> Vec<f64> {
        let mut weights = vec![0.0; (self.width + self.codes + 1) * self.outputs];
        let mut scores = self.scores(&weights);
        let mut value = self.value(&weights, &scores);
        for _ in 0..MOST_STEPS {
            let gradient = self.gradient(&weights, &scores);
            if gradient.iter().all(|g| g.abs() <= TOLERANCE) {
                break;
            }
            let direction = self.direction(&gradient, &scores);
            let change = self.scores(&direction);
            let slope = inner(&gradient, &direction);
            let step = std::iter::successors(Some(1.0), |step| Some(step / 2.0));
            let moved = step.take(MOST_HALVINGS).find_map(|step| {
                let weights = moved(&weights, step, &direction);
                let scores = moved(&scores, step, &change);
                let next = self.value(&weights, &scores);
                (next <= value + SUFFICIENT * step * slope).then_some((weights, scores, next))
            });
            // Nothing is gained any more but what rounding takes away.
            let Some(next) = moved.filter(|(_, _, next)| *next < value) else { break };
            (weights, scores, value) = next;
        }
        weights
    }

    /// Solves `hessian · direction = −gradient` as well as the gradient is small.
    fn direction(&self, gradient: &[f64], scores: &[f64]) -> Vec<f64> {
        let length = inner(gradient, gradient).sqrt();
        let enough = length * length.sqrt().min(0.1);
        let diagonal = self.diagonal(scores);
        let mut direction = vec![0.0; gradient.len()];
        let mut rest: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let scaled = |rest: &[f64]| rest.iter().zip(&diagonal).map(|(r, d)| r / d).collect();
        let mut towards: Vec<f64> = scaled(&rest);
        let mut energy = inner(&rest, &towards);
        for _ in 0..MOST_ROUNDS {
            let product = self.curvature(&towards, scores);
            let bend = inner(&towards, &product);
            if bend <= 0.0 || !bend.is_finite() {
                break;
            }
            let step = energy / bend;
            direction = moved(&direction, step, &towards);
            rest = moved(&rest, -step, &product);
            if inner(&rest, &rest).sqrt() <= enough {
                break;
            }
            let next: Vec<f64> = scaled(&rest);
            let left = inner(&rest, &next);
            towards = moved(&next, left / energy, &towards);
            energy = left;
        }
        direction
    }

    fn value(&self, weights: &[f64], scores: &[f64]) -> f64 {
        let rows = scores.chunks_exact(self.outputs).zip(self.targets).zip(self.weights);
        let sum: f64 =
            rows.map(|((s, target), w)| f64::from(*w) * self.loss.value(s, *target)).sum();
        let penalised = self.penalised(weights);
        sum / self.targets.len() as f64 + self.penalty / 2.0 * inner(penalised, penalised)
    }

    fn gradient(&self, weights: &[f64], scores: &[f64]) -> Vec<f64> {
        let mut by_score = scores.to_vec();
        let rows = by_score.chunks_exact_mut(self.outputs).zip(self.targets);
        rows.for_each(|(scores, target)| self.loss.gradient(scores, *target));
        self.by_weights(&by_score, weights)
    }

    /// The second derivatives, times a vector.
    fn curvature(&self, vector: &[f64], scores: &[f64]) -> Vec<f64> {
        let mut by_score = self.scores(vector);
        let rows = by_score.chunks_exact_mut(self.outputs).zip(scores.chunks_exact(self.outputs));
        rows.for_each(|(along, scores)| self.loss.curvature(scores, along));
        self.by_weights(&by_score, vector)
    }

    /// The second derivatives by one weight each.
    fn diagonal(&self, scores: &[f64]) -> Vec<f64> {
        let mut diagonal = vec![0.0; (self.width + self.codes + 1) * self.outputs];
        let (mut bends, share) = (vec![0.0; self.outputs], 1.0 / self.targets.len() as f64);
        for (row, scores) in scores.chunks_exact(self.outputs).enumerate() {
            self.loss.bends(scores, &mut bends);
            let factor = share * f64::from(self.weights[row]);
            self.each(row, |place, x| {
                let of_place = &mut diagonal[place * self.outputs..][..self.outputs];
                axpy(factor * x * x, &bends, of_place);
            });
        }
        let penalised = self.penalised(&diagonal).len();
        diagonal[..penalised].iter_mut().for_each(|d| *d += self.penalty);
        diagonal.iter_mut().for_each(|d| *d = d.max(f64::MIN_POSITIVE));
        diagonal
    }

    /// All but the bias.
    fn penalised<'a>(&self, weights: &'a [f64]) -> &'a [f64] {
        &weights[..weights.len() - self.outputs]
    }

    fn scores(&self, weights: &[f64]) -> Vec<f64> {
        let mut scores = vec![0.0; self.targets.len() * self.outputs];
        for (row, scores) in scores.chunks_exact_mut(self.outputs).enumerate() {
            self.each(row, |place, x| axpy(x, &weights[place * self.outputs..], scores));
        }
        scores
    }

    /// From what belongs to the scores to what belongs to the weights, with the penalty's part for those.
    fn by_weights(&self, by_score: &[f64], weights: &[f64]) -> Vec<f64> {
        let mut by_weight = vec![0.0; weights.len()];
        let share = 1.0 / self.targets.len() as f64;
        for (row, by_score) in by_score.chunks_exact(self.outputs).enumerate() {
            let factor = share * f64::from(self.weights[row]);
            self.each(row, |place, x| {
                axpy(factor * x, by_score, &mut by_weight[place * self.outputs..][..self.outputs]);
            });
        }
        for (by_weight, weight) in by_weight.iter_mut().zip(self.penalised(weights)) {
            *by_weight += self.penalty * weight;
        }
        by_weight
    }

    /// Visits the places among the weights that a row has a number for, and the numbers.
    #[inline(always)]
    fn each(&self, row: usize, mut visit: impl FnMut(usize, f64)) {
        let numbers = &self.rows.numbers[row * self.width..][..self.width];
        for (place, x) in numbers.iter().enumerate() {
            visit(place, f64::from(*x));
        }
        let codes = &self.rows.codes[row * self.offsets.len()..][..self.offsets.len()];
        for (code, offset) in codes.iter().zip(self.offsets) {
            visit(self.width + offset + *code as usize, 1.0);
        }
        visit(self.width + self.codes, 1.0);
    }
}

impl RowLoss {
    fn value(self, scores: &[f64], target: f64) -> f64 {
        match self {
            Self::Logistic => {
                let wrong = if target > 0.5 { -scores[0] } else { scores[0] };
                wrong.max(0.0) + (-wrong.abs()).exp().ln_1p()
            }
            Self::Softmax => log_sum(scores) - scores[target as usize],
            Self::Squared => (scores[0] - target).powi(2) / 2.0,
        }
    }

    /// Puts the derivatives by the scores in their place.
    fn gradient(self, scores: &mut [f64], target: f64) {
        match self {
            Self::Logistic => scores[0] = sigmoid(scores[0]) - target,
            Self::Softmax => {
                let sum = log_sum(scores);
                scores.iter_mut().for_each(|score| *score = (*score - sum).exp());
                scores[target as usize] -= 1.0;
            }
            Self::Squared => scores[0] -= target,
        }
    }

    /// Multiplies a vector by the second derivatives.
    fn curvature(self, scores: &[f64], vector: &mut [f64]) {
        match self {
            Self::Logistic => vector[0] *= bend(sigmoid(scores[0])),
            Self::Softmax => {
                let sum = log_sum(scores);
                let pairs = scores.iter().zip(&*vector);
                let mean: f64 = pairs.map(|(score, along)| (score - sum).exp() * along).sum();
                for (score, along) in scores.iter().zip(vector) {
                    *along = (score - sum).exp() * (*along - mean);
                }
            }
            Self::Squared => {}
        }
    }

    /// The second derivatives by one score each.
    fn bends(self, scores: &[f64], bends: &mut [f64]) {
        match self {
            Self::Logistic => bends[0] = bend(sigmoid(scores[0])),
            Self::Softmax => {
                let sum = log_sum(scores);
                for (bends, score) in bends.iter_mut().zip(scores) {
                    *bends = bend((score - sum).exp());
                }
            }
            Self::Squared => bends[0] = 1.0,
        }
    }
}

fn bend(p: f64) -> f64 {
    p * (1.0 - p)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn log_sum(scores: &[f64]) -> f64 {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + scores.iter().map(|score| (score - largest).exp()).sum::<f64>().ln()
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `y += a · x`, as far as `y` goes.
#[inline(always)]
fn axpy(a: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

fn moved(from: &[f64], step: f64, direction: &[f64]) -> Vec<f64> {
    from.iter().zip(direction).map(|(x, d)| x + step * d).collect()
}
