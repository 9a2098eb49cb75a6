//! Parzen estimators over a space with conditions.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::axis::{Axis, Range};
use super::frame::{Frame, Point};
use super::lists::{self, Lists};
use super::normal::{LN_SQRT_TAU, draw_truncated, log_mass};

/// A density over the configurations of a space: a mixture with one kernel per observation and one
/// for the prior, each a product over the dimensions.
///
/// A dimension that is not active in an observation has the prior's factor in that observation's
/// kernel. So every kernel is a density over the whole tree of branches, whichever branch it stems
/// from, and on a space without conditions the mixture is that of Optuna's multivariate estimator.
pub(super) struct Mixture<'a> {
    frame: &'a Frame<'a>,
    /// Weights of the kernels, the prior's last; they sum to 1.
    weights: Vec<f64>,
    columns: Vec<Column>,
}

/// All kernels' factors for one dimension.
enum Column {
    /// Of a dimension with one value.
    Fixed,
    /// Of a choice with `options` options: the observed option has probability `hit` and every other
    /// one `miss`. Kernels without an observation have `usize::MAX` and are uniform.
    Choice { observed: Vec<usize>, options: usize, hit: f64, miss: f64 },
    /// Of a continuous range: truncated normals, one per kernel, and the logarithms of their factors
    /// before the exponential.
    Real { normals: Normals, scales: Vec<f64> },
    /// Of a discrete range: truncated normals, gathered in the cell around each value, and which of
    /// them each kernel has. Kernels of equal observations share theirs.
    Discrete { normals: Normals, shares: Vec<u32> },
    /// Of permutations or subsets: their probabilities fall with the distance from the one observed.
    Lists(Near),
}

/// Distributions around observed lists, over all `count` of them.
struct Near {
    /// Coordinates of the observed lists, NaN for kernels that have none and are uniform.
    observed: Vec<f64>,
    /// Their bits, `words` for each kernel.
    bits: Vec<u64>,
    words: usize,
    /// The factor for each bit that differs.
    ratio: f64,
    /// Logarithms of what the factors add up to, over all lists.
    log_sums: Vec<f64>,
}

/// Truncated normal distributions.
#[derive(Default)]
struct Normals {
    means: Vec<f64>,
    /// One by the standard deviation.
    precisions: Vec<f64>,
    /// Logarithms of the probability that the truncation keeps.
    log_kept: Vec<f64>,
}

/// How much observations count beside the prior, which has weight 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weighing {
    /// Each has weight 1.
    Equal,
    /// The newest 25 have weight 1 and older ones less, down to 1 / n.
    Newest,
}

impl Weighing {
    /// The weights of `count` observations, the oldest first.
    fn weights(self, count: usize) -> impl Iterator<Item = f64> {
        let old = if self == Self::Newest { count.saturating_sub(25) } else { 0 };
        let first = 1.0 / count.max(1) as f64;
        let slope = (1.0 - first) / old.saturating_sub(1).max(1) as f64;
        (0..count).map(move |age| if age < old { first + slope * age as f64 } else { 1.0 })
    }
}

impl<'a> Mixture<'a> {
    /// Fits the mixture to observations, the oldest first.
    pub(super) fn fit(frame: &'a Frame<'a>, observations: &[&Point], weigh: Weighing) -> Self {
        let mut weights: Vec<f64> = weigh.weights(observations.len()).chain([1.0]).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        let columns = frame.axes.iter().enumerate().map(|(index, axis)| {
            let coordinates = observations.iter().map(|point| point[index]);
            Column::fit(axis, coordinates.collect())
        });
        Self { frame, weights, columns: columns.collect() }
    }

    /// Draws a configuration; `None` if that takes too long within the constraints.
    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> Option<Point> {
        let kernel = self.draw_kernel(rng);
        let columns = &self.columns;
        self.frame.draw_in_turn(|index, axis| columns[index].draw(axis, kernel, rng))
    }

    /// Draws a coordinate of one dimension, whatever the others are.
    pub(super) fn draw_alone(&self, index: usize, rng: &mut ChaCha8Rng) -> f64 {
        let kernel = self.draw_kernel(rng);
        self.columns[index].draw(&self.frame.axes[index], kernel, rng)
    }

    fn draw_kernel(&self, rng: &mut ChaCha8Rng) -> usize {
        let mut rest: f64 = rng.random();
        let kernel = self.weights.iter().position(|weight| {
            rest -= weight;
            rest < 0.0
        });
        kernel.unwrap_or(self.weights.len() - 1)
    }

    /// Logarithm of the density at each point: of the dimensions that are active there, so that a
    /// point with one of them has the density of that one alone.
    pub(super) fn log_densities(&self, points: &[Point]) -> Vec<f64> {
        let base: Vec<f64> = self.weights.iter().map(|weight| weight.ln()).collect();
        points.iter().map(|point| self.log_density(point, base.clone())).collect()
    }

    /// `terms` come as the logarithms of the weights.
    fn log_density(&self, point: &Point, mut terms: Vec<f64>) -> f64 {
        let columns = self.columns.iter().zip(&self.frame.axes).zip(point);
        let active = columns.filter(|(_, x)| !x.is_nan());
        let mut discrete = Vec::new();
        for ((column, axis), &x) in active {
            match column {
                Column::Real { normals, scales } => {
                    normals.add_log_densities(x, scales, &mut terms);
                }
                _ => discrete.push((column, axis, x)),
            }
        }
        // The other factors are probabilities, at most 1. So a term that is now far below what the
        // prior's will be in the end does not count, and with a few continuous dimensions that goes
        // for nearly all.
        let prior = terms.len() - 1;
        let factors =
            discrete.iter().map(|(column, axis, x)| column.log_probability(axis, *x, prior));
        let floor = terms[prior] + factors.sum::<f64>() - NEGLIGIBLE;
        let mut kernels: Vec<u32> = (0..terms.len() as u32).collect();
        kernels.retain(|&kernel| terms[kernel as usize] >= floor);
        let mut terms: Vec<f64> = kernels.iter().map(|&kernel| terms[kernel as usize]).collect();
        for (column, axis, x) in discrete {
            column.add_log_probabilities(axis, x, &kernels, &mut terms);
        }
        log_sum_exp(&terms)
    }
}

/// Terms of a sum that are smaller than the largest by more than a factor of the exponential of this
/// do not change it.
const NEGLIGIBLE: f64 = 40.0;

impl Column {
    /// `coordinates` of the observations, NaN where the dimension is not active.
    fn fit(axis: &Axis, coordinates: Vec<f64>) -> Self {
        match axis {
            Axis::Fixed(_) => Self::Fixed,
            Axis::Choice(options) => {
                let active = coordinates.iter().filter(|x| !x.is_nan()).count();
                // The prior's weight is shared between the kernels, and its share between options.
                let share = 1.0 / (active + 1) as f64;
                let sum = 1.0 + share * options.len() as f64;
                let index = |x: f64| if x.is_nan() { usize::MAX } else { x as usize };
                let observed = coordinates.into_iter().map(index).chain([usize::MAX]).collect();
                let (hit, miss) = ((1.0 + share) / sum, share / sum);
                Self::Choice { observed, options: options.len(), hit, miss }
            }
            Axis::Range(range) => Self::fit_range(range, &coordinates),
            Axis::Lists(lists) => Self::Lists(Near::fit(lists, coordinates)),
        }
    }

    fn fit_range(range: &Range, coordinates: &[f64]) -> Self {
        let width = range.high - range.low;
        // The prior stands in for inactive observations and comes last for itself.
        let prior = (range.low + width / 2.0, width);
        let sorted = ascending(range, coordinates);
        let narrowest = width / (sorted.len() as f64 + 2.0).min(100.0);
        let shapes = sorted.iter().enumerate().map(|(place, &(mean, kernel))| {
            let deviation = gap(&sorted, place, range).clamp(narrowest, width);
            ((mean, deviation), kernel as usize)
        });
        if range.is_discrete() {
            let mut normals = Normals::default();
            let mut shares = vec![0; coordinates.len() + 1];
            let mut last = prior;
            normals.push(prior, range);
            for (shape, kernel) in shapes {
                if shape != last {
                    normals.push(shape, range);
                    last = shape;
                }
                shares[kernel] = (normals.means.len() - 1) as u32;
            }
            return Self::Discrete { normals, shares };
        }
        let mut of_kernels = vec![prior; coordinates.len() + 1];
        shapes.for_each(|(shape, kernel)| of_kernels[kernel] = shape);
        let mut normals = Normals::with_capacity(of_kernels.len());
        of_kernels.into_iter().for_each(|shape| normals.push(shape, range));
        let scales = normals.log_scales();
        Self::Real { normals, scales }
    }

    fn draw(&self, axis: &Axis, kernel: usize, rng: &mut ChaCha8Rng) -> f64 {
        match (self, axis) {
            (Self::Choice { observed, options, hit, miss }, _) => {
                let observed = observed[kernel];
                if observed == usize::MAX || rng.random::<f64>() >= hit - miss {
                    // What is left after the surplus of the observed option is uniform.
                    return (rng.random::<f64>() * *options as f64).floor();
                }
                observed as f64
            }
            (Self::Real { normals, .. }, Axis::Range(range)) => normals.draw(kernel, range, rng),
            (Self::Discrete { normals, shares }, Axis::Range(range)) => {
                range.snap(normals.draw(shares[kernel] as usize, range, rng))
            }
            (Self::Lists(near), Axis::Lists(lists)) => near.draw(kernel, lists, rng),
            _ => 0.0,
        }
    }

    /// Logarithm of one kernel's probability at `x`, of a discrete dimension.
    fn log_probability(&self, axis: &Axis, x: f64, kernel: usize) -> f64 {
        match (self, axis) {
            (Self::Choice { observed, options, hit, miss }, _) => match observed[kernel] {
                usize::MAX => -(*options as f64).ln(),
                observed if observed as f64 == x => hit.ln(),
                _ => miss.ln(),
            },
            (Self::Discrete { normals, shares }, Axis::Range(range)) => {
                normals.log_probability(shares[kernel] as usize, range.cell(x))
            }
            (Self::Lists(near), Axis::Lists(lists)) => {
                near.log_probability(kernel, &bits(lists, x))
            }
            _ => 0.0,
        }
    }

    /// Adds the logarithms of the kernels' probabilities at `x`, of a discrete dimension, to their
    /// terms.
    fn add_log_probabilities(&self, axis: &Axis, x: f64, kernels: &[u32], terms: &mut [f64]) {
        let terms = terms.iter_mut().zip(kernels);
        match (self, axis) {
            (Self::Discrete { normals, shares }, Axis::Range(range)) => {
                let cell = range.cell(x);
                let count = normals.means.len();
                if kernels.len() < count {
                    return terms.for_each(|(term, &kernel)| {
                        *term += normals.log_probability(shares[kernel as usize] as usize, cell);
                    });
                }
                let shared: Vec<f64> =
                    (0..count).map(|index| normals.log_probability(index, cell)).collect();
                for (term, &kernel) in terms {
                    *term += shared[shares[kernel as usize] as usize];
                }
            }
            (Self::Choice { observed, options, hit, miss }, _) => {
                let (hit, miss, uniform) = (hit.ln(), miss.ln(), -(*options as f64).ln());
                for (term, &kernel) in terms {
                    *term += match observed[kernel as usize] {
                        usize::MAX => uniform,
                        observed if observed as f64 == x => hit,
                        _ => miss,
                    };
                }
            }
            (Self::Lists(near), Axis::Lists(lists)) => {
                let bits = bits(lists, x);
                for (term, &kernel) in terms {
                    *term += near.log_probability(kernel as usize, &bits);
                }
            }
            _ => {}
        }
    }
}

impl Near {
    fn fit(lists: &Lists, mut coordinates: Vec<f64>) -> Self {
        let active = coordinates.iter().filter(|x| !x.is_nan()).count();
        coordinates.push(f64::NAN);
        // As another option of a choice costs, but the root of it: of the many bits of a list several
        // may differ for one reason.
        let ratio = 1.0 / ((active + 2) as f64).sqrt();
        let words = lists.words().count();
        let mut bits = Vec::with_capacity(words * coordinates.len());
        let mut log_sums = Vec::with_capacity(coordinates.len());
        for &x in &coordinates {
            if x.is_nan() {
                bits.resize(bits.len() + words, 0);
                log_sums.push((lists.count() as f64).ln());
            } else {
                lists.write_bits(x as u64, &mut bits);
                log_sums.push(lists.log_sum(x as u64, ratio));
            }
        }
        Self { observed: coordinates, bits, words, ratio, log_sums }
    }

    fn draw(&self, kernel: usize, lists: &Lists, rng: &mut ChaCha8Rng) -> f64 {
        match self.observed[kernel] {
            x if x.is_nan() => rng.random_range(0..lists.count()) as f64,
            x => lists.draw_near(x as u64, self.ratio, rng) as f64,
        }
    }

    fn log_probability(&self, kernel: usize, bits: &[u64]) -> f64 {
        if self.observed[kernel].is_nan() {
            return -self.log_sums[kernel];
        }
        let own = &self.bits[kernel * self.words..(kernel + 1) * self.words];
        f64::from(lists::distance(own, bits)) * self.ratio.ln() - self.log_sums[kernel]
    }
}

fn bits(lists: &Lists, x: f64) -> Vec<u64> {
    let mut bits = Vec::new();
    lists.write_bits(x as u64, &mut bits);
    bits
}

/// Coordinates that are not NaN with their places, in ascending order.
///
/// They are spread over about as many bins as there are, of equal width, so that few share one.
fn ascending(range: &Range, coordinates: &[f64]) -> Vec<(f64, u32)> {
    let bins = coordinates.len() as f64;
    let bin = |x: f64| ((range.share(x) * bins) as usize).min(coordinates.len());
    let active = || coordinates.iter().copied().zip(0..).filter(|(x, _): &(f64, u32)| !x.is_nan());
    // Where the next of each bin goes; the upper end of the range has a bin to itself.
    let mut next = vec![0u32; coordinates.len() + 2];
    active().for_each(|(x, _)| next[bin(x) + 1] += 1);
    (1..next.len()).for_each(|at| next[at] += next[at - 1]);
    let mut sorted = vec![(0.0, 0); next[next.len() - 1] as usize];
    for seen in active() {
        let place = &mut next[bin(seen.0)];
        sorted[*place as usize] = seen;
        *place += 1;
    }
    let mut start = 0;
    for end in next.into_iter().map(|end| end as usize) {
        sorted[start..end].sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        start = end;
    }
    sorted
}

/// The larger of the distances to the neighbours of an observation among all, sorted. The ends of
/// the range count as neighbours only of an observation that has no other.
fn gap(sorted: &[(f64, u32)], place: usize, range: &Range) -> f64 {
    let x = sorted[place].0;
    let below = place.checked_sub(1).map(|place| x - sorted[place].0);
    let above = sorted.get(place + 1).map(|next| next.0 - x);
    match (below, above) {
        (None, None) => (x - range.low).max(range.high - x),
        _ => below.unwrap_or(0.0).max(above.unwrap_or(0.0)),
    }
}

impl Normals {
    fn with_capacity(count: usize) -> Self {
        let vec = || Vec::with_capacity(count);
        Self { means: vec(), precisions: vec(), log_kept: vec() }
    }

    fn push(&mut self, (mean, deviation): (f64, f64), range: &Range) {
        let precision = 1.0 / deviation;
        let ends = ((range.low - mean) * precision, (range.high - mean) * precision);
        self.means.push(mean);
        self.precisions.push(precision);
        self.log_kept.push(log_mass(ends.0, ends.1));
    }

    /// Logarithms of the densities' factors before the exponential.
    fn log_scales(&self) -> Vec<f64> {
        // Nearly all have the same deviation.
        let mut last = (1.0, 0.0);
        let log_scale = |(&precision, log_kept): (&f64, &f64)| {
            if precision != last.0 {
                last = (precision, precision.ln());
            }
            last.1 - LN_SQRT_TAU - log_kept
        };
        self.precisions.iter().zip(&self.log_kept).map(log_scale).collect()
    }

    fn draw(&self, index: usize, range: &Range, rng: &mut ChaCha8Rng) -> f64 {
        let deviation = 1.0 / self.precisions[index];
        draw_truncated(self.means[index], deviation, range.low, range.high, rng)
    }

    fn add_log_densities(&self, x: f64, scales: &[f64], terms: &mut [f64]) {
        let normals = self.means.iter().zip(&self.precisions).zip(scales);
        for (term, ((mean, precision), scale)) in terms.iter_mut().zip(normals) {
            let z = (x - mean) * precision;
            *term += scale - 0.5 * z * z;
        }
    }

    fn log_probability(&self, index: usize, (low, high): (f64, f64)) -> f64 {
        let (mean, precision) = (self.means[index], self.precisions[index]);
        log_mass((low - mean) * precision, (high - mean) * precision) - self.log_kept[index]
    }
}

/// ln Σ exp, without overflow.
pub(super) fn log_sum_exp(terms: &[f64]) -> f64 {
    let top = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return top;
    }
    let visible = terms.iter().map(|term| term - top).filter(|&term| term > -NEGLIGIBLE);
    top + visible.map(f64::exp).sum::<f64>().ln()
}

#[cfg(test)]
mod tests;
