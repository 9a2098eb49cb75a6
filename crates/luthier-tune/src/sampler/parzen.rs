//! Parzen estimators over a space with conditions.

use multiversion::multiversion;
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
    /// Of a continuous range: truncated normals, one per kernel.
    Real(Normals),
    /// Of a discrete range: truncated normals, gathered in the cell around each value, with the
    /// logarithms of what their truncations keep, and which of them each kernel has. Kernels of equal
    /// observations share theirs.
    Discrete { normals: Normals, log_kept: Vec<f64>, shares: Vec<u32> },
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

/// Normal distributions, truncated to a range.
#[derive(Default)]
struct Normals {
    means: Vec<f64>,
    /// One by the standard deviation.
    precisions: Vec<f64>,
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
    pub(super) fn fit(frame: &'a Frame<'a>, observations: &[&[f64]], weigh: Weighing) -> Self {
        let mut weights: Vec<f64> = weigh.weights(observations.len()).chain([1.0]).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        let mut coordinates: Vec<Vec<f64>> =
            frame.axes.iter().map(|_| Vec::with_capacity(weights.len())).collect();
        for point in observations {
            coordinates.iter_mut().zip(*point).for_each(|(column, x)| column.push(*x));
        }
        let columns = frame.axes.iter().zip(coordinates);
        let columns = columns.map(|(axis, coordinates)| Column::fit(axis, coordinates));
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
        let prior = self.weights.len() - 1;
        let of_prior = self.log_scales(points, &[prior as u32]);
        // The prior's term is a part of the sum, so what is far below it does not count. With a few
        // continuous dimensions that goes for nearly all kernels.
        let floors = points.iter().map(|point| {
            let factors = self.active(point).map(|(index, column, axis, x)| match column {
                Column::Real(normals) => of_prior[index][0] - 0.5 * normals.squared(prior, x),
                _ => column.log_probability(axis, x, prior),
            });
            self.weights[prior].ln() + factors.sum::<f64>() - NEGLIGIBLE
        });
        let floors: Vec<f64> = floors.collect();
        let near = self.near(points, &floors);
        let mut kernels: Vec<u32> = near.iter().flatten().copied().collect();
        kernels.sort_unstable();
        kernels.dedup();
        let mut places = vec![0; self.weights.len()];
        kernels.iter().zip(0..).for_each(|(kernel, place)| places[*kernel as usize] = place);
        let of_columns = self.log_scales(points, &kernels);
        let scale = |index: usize, kernel: usize| of_columns[index][places[kernel]];
        let points = points.iter().zip(floors).zip(near);
        points.map(|((point, floor), near)| self.log_density(point, floor, near, scale)).collect()
    }

    /// Columns of the dimensions that are active in a point, with their places and coordinates.
    fn active(&self, point: &Point) -> impl Iterator<Item = (usize, &Column, &Axis, f64)> {
        let columns = self.columns.iter().zip(&self.frame.axes).zip(point).enumerate();
        columns
            .filter(|(_, (_, x))| !x.is_nan())
            .map(|(index, ((column, axis), x))| (index, column, axis, *x))
    }

    /// For each point the kernels, ascending, whose terms may be above its floor, by how far they are
    /// in the continuous dimensions.
    fn near(&self, points: &[Point], floors: &[f64]) -> Vec<Vec<u32>> {
        let weight = self.weights.iter().copied().fold(0.0, f64::max);
        let limits = points.iter().zip(floors).map(|(point, floor)| {
            let highest = self.active(point).map(|(_, column, axis, _)| match (column, axis) {
                (Column::Real(_), Axis::Range(range)) => highest_log_scale(range),
                _ => 0.0,
            });
            2.0 * (weight.ln() + highest.sum::<f64>() - floor)
        });
        let limits: Vec<f64> = limits.collect();
        let mut near = vec![Vec::new(); points.len()];
        // A block of kernels stays in the cache while all points are compared with it.
        for start in (0..self.weights.len()).step_by(BLOCK) {
            let block = start..(start + BLOCK).min(self.weights.len());
            for ((point, limit), near) in points.iter().zip(&limits).zip(&mut near) {
                let mut squared = [0.0; BLOCK];
                let squared = &mut squared[..block.len()];
                for (_, column, _, x) in self.active(point) {
                    if let Column::Real(Normals { means, precisions }) = column {
                        add_squared(squared, x, &means[block.clone()], &precisions[block.clone()]);
                    }
                }
                add_below(near, start as u32, squared, *limit);
            }
        }
        near
    }

    /// For each column the logarithms of some kernels' factors before the exponential, if it is of a
    /// continuous dimension that is active in any of the points.
    fn log_scales(&self, points: &[Point], kernels: &[u32]) -> Vec<Vec<f64>> {
        let of_column = |(index, (column, axis)): (usize, (&Column, &Axis))| match (column, axis) {
            (Column::Real(normals), Axis::Range(range))
                if points.iter().any(|point| !point[index].is_nan()) =>
            {
                kernels.iter().map(|kernel| normals.log_scale(*kernel as usize, range)).collect()
            }
            _ => Vec::new(),
        };
        self.columns.iter().zip(&self.frame.axes).enumerate().map(of_column).collect()
    }

    /// Given for each column of a continuous dimension and each near kernel the logarithm of the
    /// factor before the exponential.
    fn log_density(
        &self,
        point: &Point,
        floor: f64,
        mut kernels: Vec<u32>,
        log_scale: impl Fn(usize, usize) -> f64,
    ) -> f64 {
        let mut terms: Vec<f64> =
            kernels.iter().map(|kernel| self.weights[*kernel as usize].ln()).collect();
        let mut discrete = Vec::new();
        for (index, column, axis, x) in self.active(point) {
            let Column::Real(normals) = column else {
                discrete.push((column, axis, x));
                continue;
            };
            for (term, &kernel) in terms.iter_mut().zip(&kernels) {
                let kernel = kernel as usize;
                *term += log_scale(index, kernel) - 0.5 * normals.squared(kernel, x);
            }
        }
        // The other factors are probabilities, at most 1.
        keep_above(floor, &mut terms, &mut kernels);
        for (column, axis, x) in discrete {
            column.add_log_probabilities(axis, x, floor, &kernels, &mut terms);
            keep_above(floor, &mut terms, &mut kernels);
        }
        log_sum_exp(&terms)
    }
}

/// Drops terms that are below a floor, with their kernels.
fn keep_above(floor: f64, terms: &mut Vec<f64>, kernels: &mut Vec<u32>) {
    let mut of_kernels = terms.iter();
    kernels.retain(|_| of_kernels.next().is_some_and(|term| *term >= floor));
    terms.retain(|term| *term >= floor);
}

/// Kernels that are looked at together.
const BLOCK: usize = 256;

/// Adds the squared distances of `x`, in standard deviations.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn add_squared(sums: &mut [f64], x: f64, means: &[f64], precisions: &[f64]) {
    for (sum, (mean, precision)) in sums.iter_mut().zip(means.iter().zip(precisions)) {
        let z = (x - mean) * precision;
        *sum += z * z;
    }
}

/// Adds the places, counted from `first`, of the numbers that are not above a limit.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn add_below(places: &mut Vec<u32>, first: u32, numbers: &[f64], limit: f64) {
    for (chunk, first) in numbers.chunks(16).zip((first..).step_by(16)) {
        // Mostly there are none.
        if chunk.iter().map(|number| u32::from(*number <= limit)).sum::<u32>() > 0 {
            let kept = chunk.iter().zip(first..).filter(|(number, _)| **number <= limit);
            places.extend(kept.map(|(_, place)| place));
        }
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
            Axis::Range(range) => Self::fit_range(range, coordinates),
            Axis::Lists(lists) => Self::Lists(Near::fit(lists, coordinates)),
        }
    }

    fn fit_range(range: &Range, coordinates: Vec<f64>) -> Self {
        let deviations = deviations(range, &coordinates);
        // The prior stands in for inactive observations and comes last for itself.
        let middle = range.low + (range.high - range.low) / 2.0;
        let means = coordinates.into_iter().chain([f64::NAN]);
        let means = means.map(|x| if x.is_nan() { middle } else { x }).collect();
        match range.is_discrete() {
            true => Self::of_discrete(range, means, deviations),
            false => {
                let precisions = deviations.into_iter().map(|deviation| 1.0 / deviation).collect();
                Self::Real(Normals { means, precisions })
            }
        }
    }

    /// Of the kernels' means and deviations, the prior's last.
    fn of_discrete(range: &Range, means: Vec<f64>, deviations: Vec<f64>) -> Self {
        let (mut normals, mut log_kept) = (Normals::default(), Vec::new());
        let mut made = |(mean, deviation): (f64, f64)| {
            let index = normals.push(mean, deviation);
            log_kept.push(normals.log_kept(index as usize, range));
            index
        };
        let prior = means.last().copied().zip(deviations.last().copied());
        prior.map(&mut made);
        // What was made last for each value.
        let levels = range.levels().map_or(0, |levels| levels.min(SHARED) as usize);
        let mut known = vec![None; levels];
        let shares = means.into_iter().zip(deviations).map(|shape| {
            if Some(shape) == prior {
                return 0;
            }
            let Some(last) = known.get_mut(range.level(shape.0) as usize) else {
                return made(shape);
            };
            match *last {
                Some((known, index)) if known == shape => index,
                _ => last.insert((shape, made(shape))).1,
            }
        });
        let shares = shares.collect();
        Self::Discrete { normals, log_kept, shares }
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
            (Self::Real(normals), Axis::Range(range)) => normals.draw(kernel, range, rng),
            (Self::Discrete { normals, shares, .. }, Axis::Range(range)) => {
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
            (Self::Discrete { normals, log_kept, shares }, Axis::Range(range)) => {
                let index = shares[kernel] as usize;
                normals.log_mass(index, range.cell(x)) - log_kept[index]
            }
            (Self::Lists(near), Axis::Lists(lists)) => {
                near.log_probability(kernel, &bits(lists, x))
            }
            _ => 0.0,
        }
    }

    /// Adds the logarithms of the kernels' probabilities at `x`, of a discrete dimension, to their
    /// terms. One that would be below a floor may be as low as can be instead.
    fn add_log_probabilities(
        &self,
        axis: &Axis,
        x: f64,
        floor: f64,
        kernels: &[u32],
        terms: &mut [f64],
    ) {
        let highest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let terms = terms.iter_mut().zip(kernels);
        match (self, axis) {
            (Self::Discrete { normals, log_kept, shares }, Axis::Range(range)) => {
                let cell = range.cell(x);
                let log_probability = |index: usize, term: f64| {
                    let bound = normals.log_mass_bound(index, cell) - log_kept[index];
                    if term + bound < floor {
                        return f64::NEG_INFINITY;
                    }
                    normals.log_mass(index, cell) - log_kept[index]
                };
                if kernels.len() < log_kept.len() {
                    return terms.for_each(|(term, &kernel)| {
                        *term += log_probability(shares[kernel as usize] as usize, *term);
                    });
                }
                let shared: Vec<f64> =
                    (0..log_kept.len()).map(|index| log_probability(index, highest)).collect();
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

/// Normals of so many values of a discrete range are shared.
const SHARED: u64 = 1024;

/// The deviation of a kernel is at least the width of the range by this.
const NARROWEST: usize = 100;

/// What the logarithm of a density's factor before the exponential is always below.
fn highest_log_scale(range: &Range) -> f64 {
    let highest = NARROWEST as f64 / (range.high - range.low);
    // What a truncation keeps is the least, a third, where the mean is at an end and the deviation as
    // wide as the range.
    highest.ln() - LN_SQRT_TAU + 1.1
}

/// The kernels' deviations, the prior's last, which inactive observations have too.
///
/// That of an observation is the larger of the distances to its neighbours among all. The ends of the
/// range count as neighbours only of an observation that has no other. No deviation is below a share of
/// the range's width that falls with their number.
fn deviations(range: &Range, coordinates: &[f64]) -> Vec<f64> {
    let active = coordinates.iter().filter(|x| !x.is_nan()).count();
    let parts = (active + 2).min(NARROWEST);
    let width = range.high - range.low;
    let narrowest = width / parts as f64;
    let of_kernel = |x: &f64| if x.is_nan() { width } else { narrowest };
    let mut deviations: Vec<f64> = coordinates.iter().map(of_kernel).chain([width]).collect();
    // Distances within so narrow a cell do not matter, so that only its outermost observations do.
    let cells = outermost(range, coordinates, 2 * parts);
    for (at, (lowest, highest)) in cells.iter().enumerate() {
        let below = at.checked_sub(1).map(|at| lowest.x - cells[at].1.x);
        let above = cells.get(at + 1).map(|(next, _)| next.x - highest.x);
        let alone = (active == 1).then(|| (lowest.x - range.low).max(range.high - lowest.x));
        for (end, gap) in [(lowest, below.or(alone)), (highest, above)] {
            let deviation = &mut deviations[end.kernel];
            *deviation = gap.unwrap_or(0.0).clamp(*deviation, width);
        }
    }
    deviations
}

/// One observation of a range.
#[derive(Clone, Copy)]
struct Seen {
    x: f64,
    kernel: usize,
}

/// The lowest and the highest observation in each of so many cells of the range, in which there are
/// any. Equal ones are in the order of their kernels.
fn outermost(range: &Range, coordinates: &[f64], count: usize) -> Vec<(Seen, Seen)> {
    let none = [f64::INFINITY, f64::NEG_INFINITY].map(|x| Seen { x, kernel: 0 });
    let mut cells = vec![none.into(); count];
    let scale = count as f64 / (range.high - range.low);
    for (kernel, &x) in coordinates.iter().enumerate() {
        // The cast saturates, and sends a NaN to 0, where it is neither lower nor higher.
        let cell = ((x - range.low) * scale) as u32 as usize;
        let (lowest, highest): &mut (Seen, Seen) = &mut cells[cell.min(count - 1)];
        if x < lowest.x {
            *lowest = Seen { x, kernel };
        }
        if x >= highest.x {
            *highest = Seen { x, kernel };
        }
    }
    cells.retain(|(lowest, highest)| lowest.x <= highest.x);
    cells
}

impl Normals {
    /// Adds one and gives its place.
    fn push(&mut self, mean: f64, deviation: f64) -> u32 {
        self.means.push(mean);
        self.precisions.push(1.0 / deviation);
        self.means.len() as u32 - 1
    }

    /// Logarithm of the probability between two coordinates, before the truncation.
    fn log_mass(&self, index: usize, (low, high): (f64, f64)) -> f64 {
        let (mean, precision) = (self.means[index], self.precisions[index]);
        log_mass((low - mean) * precision, (high - mean) * precision)
    }

    /// What [`Normals::log_mass`] is at most, which is quicker to tell.
    fn log_mass_bound(&self, index: usize, (low, high): (f64, f64)) -> f64 {
        let mean = self.means[index];
        let z = (low - mean).max(mean - high).max(0.0) * self.precisions[index];
        -0.5 * z * z
    }

    /// Logarithm of the probability that the truncation keeps.
    fn log_kept(&self, index: usize, range: &Range) -> f64 {
        self.log_mass(index, (range.low, range.high))
    }

    /// Logarithm of the density's factor before the exponential.
    fn log_scale(&self, index: usize, range: &Range) -> f64 {
        self.precisions[index].ln() - LN_SQRT_TAU - self.log_kept(index, range)
    }

    /// The squared distance of `x`, in standard deviations.
    fn squared(&self, index: usize, x: f64) -> f64 {
        let z = (x - self.means[index]) * self.precisions[index];
        z * z
    }

    fn draw(&self, index: usize, range: &Range, rng: &mut ChaCha8Rng) -> f64 {
        let deviation = 1.0 / self.precisions[index];
        draw_truncated(self.means[index], deviation, range.low, range.high, rng)
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
