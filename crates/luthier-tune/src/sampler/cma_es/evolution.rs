//! A normal distribution and how a generation changes it.

use rand_chacha::ChaCha8Rng;

use super::super::linear_algebra::{Factor, add_scaled, dot};
use super::super::normal::draw_pair;

/// Deviation of a distribution that starts anew, in shares of the ranges.
const START: f64 = 0.3;
/// Deviation of each of the points that the first distribution is fitted to (Nomura et al. 2021).
const AROUND: f64 = 0.1;
/// A deviation below this is none: what so small a share of a range changes is not worth a trial.
const NARROW: f64 = 1e-4;
/// Deviations are kept below this, since there is nothing outside of the cube.
const WIDE: f64 = 1.0;

/// Members of a generation at the start.
pub(super) fn population(dimensions: usize) -> usize {
    4 + (3.0 * (dimensions as f64).ln()) as usize
}

/// The distribution N(mean, (deviation · scales)² · covariance) with its paths.
pub(super) struct Evolution {
    constants: Constants,
    pub(super) mean: Vec<f64>,
    deviation: f64,
    /// Factors of the dimensions apart from the covariance, by which margins are kept.
    pub(super) scales: Vec<f64>,
    /// Its lower triangle.
    covariance: Vec<f64>,
    /// Its Cholesky factor.
    factor: Factor,
    /// The path of the step size.
    step_path: Vec<f64>,
    /// The path of the covariance.
    path: Vec<f64>,
    generations: i32,
}

impl Evolution {
    /// Around the best points known.
    pub(super) fn around(points: &[Vec<f64>]) -> Self {
        let dimensions = points.first().map_or(0, Vec::len);
        let share = 1.0 / points.len().max(1) as f64;
        let mut mean = vec![0.0; dimensions];
        points.iter().for_each(|point| add_scaled(&mut mean, share, point));
        let mut covariance = diagonal(dimensions, AROUND * AROUND);
        for point in points {
            let from_mean: Vec<f64> = point.iter().zip(&mean).map(|(x, mean)| x - mean).collect();
            add_square(&mut covariance, share, &from_mean);
        }
        let factor = factor(&covariance, dimensions);
        let mut factor = factor.unwrap_or_else(|| Factor::diagonal(dimensions, AROUND));
        // The deviation is that of a ball of the same volume.
        let deviation = (factor.half_log_determinant() / dimensions.max(1) as f64).exp();
        covariance.iter_mut().for_each(|x| *x /= deviation * deviation);
        factor.scale(1.0 / deviation);
        let constants = Constants::new(dimensions, population(dimensions));
        Self { covariance, factor, ..Self::with(constants, mean, deviation) }
    }

    /// Around a mean, with a wide ball and so many members in each generation.
    pub(super) fn anew(mean: Vec<f64>, population: usize) -> Self {
        Self::with(Constants::new(mean.len(), population), mean, START)
    }

    fn with(constants: Constants, mean: Vec<f64>, deviation: f64) -> Self {
        let dimensions = mean.len();
        Self {
            constants,
            mean,
            deviation,
            scales: vec![1.0; dimensions],
            covariance: diagonal(dimensions, 1.0),
            factor: Factor::diagonal(dimensions, 1.0),
            step_path: vec![0.0; dimensions],
            path: vec![0.0; dimensions],
            generations: 0,
        }
    }

    /// Members of a generation.
    pub(super) fn population(&self) -> usize {
        self.constants.weights.len()
    }

    /// Standard deviation in one dimension.
    pub(super) fn deviation_of(&self, dimension: usize) -> f64 {
        let variance = self.covariance[dimension * (self.mean.len() + 1)];
        self.deviation * self.scales[dimension] * variance.sqrt()
    }

    /// Whether there is nothing left to find in a dimension where the distribution is.
    pub(super) fn is_narrow(&self, dimension: usize) -> bool {
        self.deviation_of(dimension) < NARROW
    }

    /// Draws a place.
    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let dimensions = self.mean.len();
        let mut standard = Vec::with_capacity(dimensions + 1);
        while standard.len() < dimensions {
            standard.extend(draw_pair(rng));
        }
        standard.truncate(dimensions);
        let steps = self.factor.times(&standard).into_iter().zip(&self.scales);
        let steps = steps.map(|(step, scale)| self.deviation * scale * step);
        self.mean.iter().zip(steps).map(|(mean, step)| mean + step).collect()
    }

    /// Goes on to the next generation, given the places of the members of this one, the best first.
    pub(super) fn advance(&mut self, places: &[Vec<f64>]) {
        let members: Vec<Member> = places.iter().map(|place| self.member(place)).collect();
        let dimensions = self.mean.len();
        let mut step = vec![0.0; dimensions];
        for (member, weight) in members.iter().zip(&self.constants.weights) {
            add_scaled(&mut step, weight.max(0.0), &member.step);
        }
        for ((mean, scale), step) in self.mean.iter_mut().zip(&self.scales).zip(&step) {
            *mean += self.deviation * scale * step;
        }
        let Constants { step_rate, step_damping, path_rate, effective, .. } = self.constants;
        follow(&mut self.step_path, step_rate, effective, &self.factor.solve(&step));
        let length = dot(&self.step_path, &self.step_path).sqrt() / expected_length(dimensions);
        self.generations += 1;
        // While the step size grows fast, the other path waits for it.
        let settled = (1.0 - (1.0 - step_rate).powi(2 * self.generations)).sqrt();
        let steady = length / settled < 1.4 + 2.0 / (dimensions as f64 + 1.0);
        match steady {
            true => follow(&mut self.path, path_rate, effective, &step),
            false => self.path.iter_mut().for_each(|x| *x *= 1.0 - path_rate),
        }
        self.adapt(&members, steady);
        let growth = (step_rate / step_damping * (length - 1.0)).min(1.0);
        self.deviation = (self.deviation * growth.exp()).min(WIDE);
    }

    /// The step that leads to a place, in units of the deviation; no longer than one that was drawn
    /// from this distribution is likely to be.
    fn member(&self, place: &[f64]) -> Member {
        let scales = self.scales.iter().map(|scale| 1.0 / (self.deviation * scale));
        let differences = place.iter().zip(&self.mean).map(|(x, mean)| x - mean);
        let mut step: Vec<f64> = differences.zip(scales).map(|(x, scale)| x * scale).collect();
        let standard = self.factor.solve(&step);
        let squared = dot(&standard, &standard);
        let dimensions = step.len() as f64;
        let longest = dimensions.sqrt() + 2.0 * dimensions / (dimensions + 2.0);
        let kept = (longest * longest / squared).min(1.0);
        step.iter_mut().for_each(|x| *x *= kept.sqrt());
        Member { step, squared: squared * kept }
    }

    /// Moves the covariance towards the path and the good members, and away from the bad ones.
    fn adapt(&mut self, members: &[Member], steady: bool) {
        let Constants { weights, path_rate, one_rate, many_rate, .. } = &self.constants;
        let dimensions = self.mean.len();
        let missed = if steady { 0.0 } else { path_rate * (2.0 - path_rate) };
        let kept = 1.0 + one_rate * (missed - 1.0) - many_rate * weights.iter().sum::<f64>();
        self.covariance.iter_mut().for_each(|x| *x *= kept);
        add_square(&mut self.covariance, *one_rate, &self.path);
        for (member, weight) in members.iter().zip(weights) {
            // A bad member counts the same however long its step is.
            let length = if *weight < 0.0 { dimensions as f64 / member.squared } else { 1.0 };
            if length.is_finite() {
                add_square(&mut self.covariance, many_rate * weight * length, &member.step);
            }
        }
        self.factor = factor(&self.covariance, dimensions).unwrap_or_else(|| {
            self.covariance = diagonal(dimensions, 1.0);
            Factor::diagonal(dimensions, 1.0)
        });
    }
}

/// A member of a generation, by the step that leads to it from the mean.
struct Member {
    step: Vec<f64>,
    /// The square of its length where the distribution is a unit ball.
    squared: f64,
}

/// What the number of dimensions and the size of the population decide, as in Hansen 2016.
struct Constants {
    /// Of the members, the best first; the positive ones sum to 1.
    weights: Vec<f64>,
    /// Members that count among the positive weights.
    effective: f64,
    step_rate: f64,
    step_damping: f64,
    path_rate: f64,
    /// How fast the covariance follows its path.
    one_rate: f64,
    /// How fast it follows the members.
    many_rate: f64,
}

impl Constants {
    fn new(dimensions: usize, population: usize) -> Self {
        let n = dimensions as f64;
        let middle = ((population as f64 + 1.0) / 2.0).ln();
        let mut weights: Vec<f64> =
            (1..=population).map(|place| middle - (place as f64).ln()).collect();
        let (good, bad) = (Sums::of(&weights, 1.0), Sums::of(&weights, -1.0));
        let effective = good.effective();
        let one_rate = 2.0 / ((n + 1.3).powi(2) + effective);
        let many = 2.0 * (0.25 + effective + 1.0 / effective - 2.0);
        let many_rate = (1.0 - one_rate).min(many / ((n + 2.0).powi(2) + effective));
        let most_bad = (1.0 + one_rate / many_rate)
            .min(1.0 + 2.0 * bad.effective() / (effective + 2.0))
            .min((1.0 - one_rate - many_rate) / (n * many_rate));
        for weight in &mut weights {
            *weight *= if *weight > 0.0 { 1.0 / good.sum } else { most_bad / bad.sum };
        }
        let step_rate = (effective + 2.0) / (n + effective + 5.0);
        let excess = ((effective - 1.0) / (n + 1.0)).sqrt() - 1.0;
        Self {
            weights,
            effective,
            step_rate,
            step_damping: 1.0 + 2.0 * excess.max(0.0) + step_rate,
            path_rate: (4.0 + effective / n) / (n + 4.0 + 2.0 * effective / n),
            one_rate,
            many_rate,
        }
    }
}

/// Sums over the weights of one sign, without it.
struct Sums {
    sum: f64,
    squares: f64,
}

impl Sums {
    fn of(weights: &[f64], sign: f64) -> Self {
        let sizes = weights.iter().map(|weight| (sign * weight).max(0.0));
        let sum = sizes.clone().sum();
        Self { sum, squares: sizes.map(|size| size * size).sum() }
    }

    fn effective(&self) -> f64 {
        self.sum * self.sum / self.squares
    }
}

/// How long a draw from the standard normal distribution is on average.
fn expected_length(dimensions: usize) -> f64 {
    let n = dimensions as f64;
    n.sqrt() * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n))
}

/// Lets a path follow a step so that its length stays that of a draw where steps are random.
fn follow(path: &mut [f64], rate: f64, effective: f64, step: &[f64]) {
    let share = (rate * (2.0 - rate) * effective).sqrt();
    for (path, step) in path.iter_mut().zip(step) {
        *path = (1.0 - rate) * *path + share * step;
    }
}

/// Of a matrix by its lower triangle.
fn factor(matrix: &[f64], size: usize) -> Option<Factor> {
    Factor::of(size, |i, row| row.copy_from_slice(&matrix[i * size..=i * size + i]))
}

fn diagonal(size: usize, entry: f64) -> Vec<f64> {
    let mut matrix = vec![0.0; size * size];
    matrix.iter_mut().step_by(size + 1).for_each(|x| *x = entry);
    matrix
}

/// Adds `factor · x xᵀ` to the lower triangle.
fn add_square(matrix: &mut [f64], factor: f64, x: &[f64]) {
    for (i, row) in matrix.chunks_exact_mut(x.len().max(1)).enumerate() {
        add_scaled(&mut row[..=i], factor * x[i], &x[..=i]);
    }
}
