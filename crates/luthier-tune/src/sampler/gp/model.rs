//! Gaussian process regression (Rasmussen and Williams 2006).

use super::super::linear_algebra::{Factor, Inverse, add_scaled, dot};
use super::features::Kind;
use super::kernel::{Columns, matern, matern_with_slopes};
use super::minimise::minimise;

/// Steps of the search for hyperparameters.
const STEPS: usize = 24;
/// Bounds of the logarithms of hyperparameters: weights, scale, noise.
const WEIGHT: (f64, f64) = (-9.0, 7.0);
const SCALE: (f64, f64) = (-5.0, 4.0);
const NOISE: (f64, f64) = (-13.8, 0.0);

/// The shape of a process: a Matérn kernel of smoothness 5/2 over a weighted distance, and noise.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    /// One over the squared length scale of each dimension.
    weights: Vec<f64>,
    /// Variance of the process.
    scale: f64,
    /// Variance of the noise.
    noise: f64,
}

/// A process that has seen values at some points.
pub(super) struct Model<'a> {
    kinds: &'a [Kind],
    shape: Shape,
    /// Points that were seen, by their features.
    points: Vec<Vec<f64>>,
    /// The same, feature by feature.
    columns: Columns,
    inverse: Inverse,
    /// The inverse times the values.
    loads: Vec<f64>,
}

/// A process with values at some more points that are not known yet, in several versions.
pub(super) struct Imagined<'a> {
    /// With all points; its values are those of no version.
    model: Model<'a>,
    versions: Vec<Version>,
}

struct Version {
    /// The inverse times the values of this version.
    loads: Vec<f64>,
    /// The highest value imagined.
    highest: f64,
}

/// What a process says of a point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Belief {
    pub(super) mean: f64,
    pub(super) deviation: f64,
}

impl Shape {
    /// The shape under which `values` at `points` are most probable, with the priors of Optuna 5's
    /// sampler: weights neither vanish nor grow without reason, a scale around 1, little noise.
    pub(super) fn fit(kinds: &[Kind], points: &[Vec<f64>], values: &[f64]) -> Self {
        let evidence = Evidence::new(kinds, points, values);
        let dimensions = kinds.len();
        let bounds = |pick: fn((f64, f64)) -> f64| -> Vec<f64> {
            let ends = std::iter::repeat_n(WEIGHT, dimensions).chain([SCALE, NOISE]);
            ends.map(pick).collect()
        };
        let (low, high) = (bounds(|b| b.0), bounds(|b| b.1));
        let mut start = vec![0.0; dimensions + 2];
        start[dimensions + 1] = -4.6;
        let (found, _) = minimise(&start, (&low, &high), STEPS, |at, gradient| {
            evidence.negative_log(at, gradient)
        });
        Self::of(&found)
    }

    /// The deviation that a variance is the square of, which rounding may have made negative.
    fn deviation(&self, variance: f64) -> f64 {
        variance.max(1e-12 * self.scale).sqrt()
    }

    fn of(logs: &[f64]) -> Self {
        let dimensions = logs.len() - 2;
        Self {
            weights: logs[..dimensions].iter().map(|log| log.exp()).collect(),
            scale: logs[dimensions].exp(),
            noise: logs[dimensions + 1].exp(),
        }
    }
}

/// What the hyperparameters are judged by.
struct Evidence<'a> {
    /// For each dimension its contribution to the distance of each pair of points: of point 1 with
    /// point 0, of 2 with 0, of 2 with 1, and so on.
    distances: Vec<Vec<f64>>,
    values: &'a [f64],
}

impl<'a> Evidence<'a> {
    fn new(kinds: &[Kind], points: &[Vec<f64>], values: &'a [f64]) -> Self {
        let of_dimension = |(dimension, kind): (usize, &Kind)| {
            let pairs = points.iter().enumerate().flat_map(|(i, a)| {
                points[..i].iter().map(move |b| kind.distance(a[dimension], b[dimension]))
            });
            pairs.collect()
        };
        let distances = kinds.iter().enumerate().map(of_dimension).collect();
        Self { distances, values }
    }

    /// The negative logarithm of the posterior of hyperparameters, which come as logarithms, and its
    /// gradient; infinite where the kernel cannot be inverted.
    fn negative_log(&self, logs: &[f64], gradient: &mut [f64]) -> f64 {
        let Shape { weights, scale, noise } = Shape::of(logs);
        let size = self.values.len();
        let mut squared = vec![0.0; size * size.saturating_sub(1) / 2];
        for (weight, distances) in weights.iter().zip(&self.distances) {
            add_scaled(&mut squared, *weight, distances);
        }
        let (mut kernel, mut slopes) = (squared, vec![0.0; size * size.saturating_sub(1) / 2]);
        matern_with_slopes(&mut kernel, &mut slopes, scale);
        let mut rest = kernel.as_slice();
        let factor = Factor::of(size, |i, row| {
            let (own, later) = rest.split_at(i);
            row[..i].copy_from_slice(own);
            row[i] = scale + noise;
            rest = later;
        });
        let Some(factor) = factor else { return f64::INFINITY };
        let half_log_determinant = factor.half_log_determinant();
        let inverse = Inverse::of(factor);
        let loads = inverse.times(self.values);
        let (mut by_scale, mut by_noise, mut pair) = (0.0, 0.0, 0);
        for i in 0..size {
            let row = inverse.row(i);
            for (inverse, load) in row[..i].iter().zip(&loads) {
                let rest = inverse - loads[i] * load;
                by_scale += rest * kernel[pair];
                slopes[pair] *= rest;
                pair += 1;
            }
            let rest = 0.5 * (row[i] - loads[i] * loads[i]);
            by_scale += rest * scale;
            by_noise += rest * noise;
        }
        let mut prior = 0.0;
        for ((slot, weight), distances) in gradient.iter_mut().zip(&weights).zip(&self.distances) {
            *slot = weight * dot(&slopes, distances) - 0.1 / weight + 0.1 * weight;
            prior += 0.1 / weight + 0.1 * weight;
        }
        let dimensions = weights.len();
        gradient[dimensions] = by_scale - 1.0 + scale;
        gradient[dimensions + 1] = by_noise - 0.1 + 30.0 * noise;
        prior += scale - scale.ln() + 30.0 * noise - 0.1 * noise.ln();
        0.5 * dot(self.values, &loads) + half_log_determinant + prior
    }
}

impl<'a> Model<'a> {
    /// A process of some shape that has seen `values` at `points`; `None` where points are so close
    /// that nothing can be said.
    pub(super) fn new(
        kinds: &'a [Kind],
        shape: Shape,
        points: Vec<Vec<f64>>,
        values: &[f64],
    ) -> Option<Self> {
        let columns = Columns::new(kinds.len(), &points);
        let factor = Factor::of(points.len(), |i, row| {
            columns.add_distances(kinds, &shape.weights, &points[i], &mut row[..i]);
            matern(&mut row[..i], shape.scale);
            row[i] = shape.scale + shape.noise;
        });
        let inverse = Inverse::of(factor?);
        let loads = inverse.times(values);
        Some(Self { kinds, shape, points, columns, inverse, loads })
    }

    /// The same with values at `more` points that are not known yet: as if they were what is
    /// believed now, so that there is less to learn there.
    pub(super) fn pretending(self, more: Vec<Vec<f64>>) -> Option<Self> {
        if more.is_empty() {
            return Some(self);
        }
        let believed: Vec<f64> = more.iter().map(|point| self.mean(point)).collect();
        let seen = self.values();
        let values: Vec<f64> = seen.into_iter().chain(believed).collect();
        let points = self.points.into_iter().chain(more).collect();
        Self::new(self.kinds, self.shape, points, &values)
    }

    /// The same with values at `more` points that are not known yet, drawn from what is believed of
    /// them together. `draws` are draws from the standard normal distribution, a version each.
    pub(super) fn imagining(self, more: Vec<Vec<f64>>, draws: &[Vec<f64>]) -> Option<Imagined<'a>> {
        let size = more.len();
        let kernels: Vec<Vec<f64>> = more.iter().map(|point| self.kernel(point)).collect();
        let solved: Vec<Vec<f64>> = kernels.iter().map(|k| self.inverse.times(k)).collect();
        let columns = Columns::new(self.kinds.len(), &more);
        let factor = Factor::of(size, |i, row| {
            columns.add_distances(self.kinds, &self.shape.weights, &more[i], row);
            matern(row, self.shape.scale);
            row.iter_mut()
                .zip(&solved)
                .for_each(|(entry, solved)| *entry -= dot(&kernels[i], solved));
            row[i] += 1e-6 * self.shape.scale;
        })?;
        let means: Vec<f64> = kernels.iter().map(|kernel| dot(kernel, &self.loads)).collect();
        let seen = self.values();
        let points = self.points.into_iter().chain(more).collect();
        let model = Self::new(self.kinds, self.shape, points, &vec![0.0; seen.len() + size])?;
        let version = |draw: &Vec<f64>| {
            let steps = factor.times(draw);
            let imagined: Vec<f64> = means.iter().zip(steps).map(|(m, step)| m + step).collect();
            let highest = imagined.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let values: Vec<f64> = seen.iter().copied().chain(imagined).collect();
            Version { loads: model.inverse.times(&values), highest }
        };
        let versions = draws.iter().map(version).collect();
        Some(Imagined { versions, model })
    }

    /// The values that were seen: the kernel with its noise, times the loads.
    fn values(&self) -> Vec<f64> {
        let noise = self.loads.iter().map(|load| self.shape.noise * load);
        self.points.iter().zip(noise).map(|(point, noise)| self.mean(point) + noise).collect()
    }

    fn distances(&self, point: &[f64]) -> Vec<f64> {
        let mut squared = vec![0.0; self.points.len()];
        self.columns.add_distances(self.kinds, &self.shape.weights, point, &mut squared);
        squared
    }

    fn kernel(&self, point: &[f64]) -> Vec<f64> {
        let mut kernel = self.distances(point);
        matern(&mut kernel, self.shape.scale);
        kernel
    }

    /// The value that is believed of a point.
    pub(super) fn mean(&self, point: &[f64]) -> f64 {
        dot(&self.kernel(point), &self.loads)
    }

    /// What is believed of some points.
    pub(super) fn beliefs(&self, points: &[Vec<f64>]) -> Vec<Belief> {
        let kernels: Vec<Vec<f64>> = points.iter().map(|point| self.kernel(point)).collect();
        let deviations = self.deviations(&kernels);
        let beliefs = kernels.iter().zip(deviations);
        beliefs
            .map(|(kernel, deviation)| Belief { mean: dot(kernel, &self.loads), deviation })
            .collect()
    }

    fn deviations(&self, kernels: &[Vec<f64>]) -> Vec<f64> {
        let known = self.inverse.quadratics(kernels).into_iter();
        known.map(|known| self.shape.deviation(self.shape.scale - known)).collect()
    }

    /// What is believed of a point, with the gradients of mean and deviation by the features in
    /// `dimensions`, which are numbers.
    pub(super) fn slopes(
        &self,
        point: &[f64],
        dimensions: &[usize],
    ) -> (Belief, Vec<f64>, Vec<f64>) {
        self.slopes_with(point, dimensions, &self.loads)
    }

    fn slopes_with(
        &self,
        point: &[f64],
        dimensions: &[usize],
        loads: &[f64],
    ) -> (Belief, Vec<f64>, Vec<f64>) {
        let shape = &self.shape;
        let mut kernel = self.distances(point);
        let mut steepness = vec![0.0; kernel.len()];
        matern_with_slopes(&mut kernel, &mut steepness, shape.scale);
        let solved = self.inverse.times(&kernel);
        let deviation = shape.deviation(shape.scale - dot(&kernel, &solved));
        let times_steepness = |factors: &[f64]| -> Vec<f64> {
            steepness.iter().zip(factors).map(|(steepness, factor)| steepness * factor).collect()
        };
        let (by_mean, by_variance) = (times_steepness(loads), times_steepness(&solved));
        // The squared distance in one dimension has twice the difference as its derivative.
        let slopes = |factors: &[f64]| -> Vec<f64> {
            let sum: f64 = factors.iter().sum();
            let slope = |&dimension: &usize| {
                let beside = dot(factors, &self.columns.0[dimension]);
                2.0 * shape.weights[dimension] * (point[dimension] * sum - beside)
            };
            dimensions.iter().map(slope).collect()
        };
        let mut of_deviation = slopes(&by_variance);
        of_deviation.iter_mut().for_each(|slope| *slope /= -deviation);
        (Belief { mean: dot(&kernel, loads), deviation }, slopes(&by_mean), of_deviation)
    }
}

impl Imagined<'_> {
    /// What is believed of each of some points in each version, with the highest value imagined there.
    pub(super) fn beliefs(&self, points: &[Vec<f64>]) -> Vec<Vec<(Belief, f64)>> {
        let kernels: Vec<Vec<f64>> = points.iter().map(|point| self.model.kernel(point)).collect();
        let deviations = self.model.deviations(&kernels);
        let of_point = |(kernel, deviation): (&Vec<f64>, f64)| {
            let belief = |version: &Version| {
                (Belief { mean: dot(kernel, &version.loads), deviation }, version.highest)
            };
            self.versions.iter().map(belief).collect()
        };
        kernels.iter().zip(deviations).map(of_point).collect()
    }

    /// The gradients of the mean, summed over the versions with these weights, and of the deviation.
    pub(super) fn slopes(
        &self,
        point: &[f64],
        dimensions: &[usize],
        weights: &[f64],
    ) -> (Vec<f64>, Vec<f64>) {
        let mut loads = vec![0.0; self.model.points.len()];
        for (version, weight) in self.versions.iter().zip(weights) {
            add_scaled(&mut loads, *weight, &version.loads);
        }
        let (_, of_mean, of_deviation) = self.model.slopes_with(point, dimensions, &loads);
        (of_mean, of_deviation)
    }
}

#[cfg(test)]
mod tests;
