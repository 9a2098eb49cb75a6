//! At most 256 pairs of a weight and a square that stand for those of all rows.
//!
//! What an error does: the logit is `W / √S` and a bias, with `W` the sum of a text's weights and
//! `S` that of its squares. A weight that is off by `d` moves it by `d / √S`; a square that is off
//! by `e` moves it by `-W / 2S · e / √S`, as a weight would that is off by `W / 2S · e`. So what is
//! kept small is the sum of `d² + (W / 2S)² e²` over rows, each as often as it is used.
//!
//! Squares are parted into a few levels first, then the weights of each level into cells. Each cell
//! is a code, which stands for the means of what is in it.

use std::iter::once;

/// Codes that a byte can tell apart.
const CODES: usize = 256;
/// How many levels of squares are tried; the more, the fewer weights are left to each.
const SQUARE_LEVELS: [usize; 5] = [4, 8, 12, 16, 32];
/// Rounds of k-means at most.
const ROUNDS: usize = 50;
/// How far the weights of a text pull the same way, 1 where they are all alike; on held-out rows of
/// four sets of texts it was 0.27 to 1.
const PULL: f64 = 0.5;

/// A code for each row, and what codes stand for.
#[derive(Debug)]
pub(crate) struct Codebook {
    /// The code of each row.
    pub(crate) codes: Vec<u8>,
    /// The weight of each code.
    pub(crate) weights: Vec<f32>,
    /// The square of each code.
    pub(crate) squares: Vec<f32>,
}

impl Codebook {
    /// Finds codes for rows of the given `weights` and `squares`, finite and as many as `usage` has
    /// counts of texts; a row counts as one at least. Where there are at most 256 different pairs,
    /// each is kept as it is.
    pub(crate) fn new(weights: &[f32], squares: &[f32], usage: &[u32]) -> Self {
        let pairs = pairs(weights, squares, usage);
        let price = square_price(&pairs);
        let squares_line = squares_line(&pairs);
        let counts = if pairs.len() <= CODES { &[CODES] } else { SQUARE_LEVELS.as_slice() };
        let plans = counts.iter().map(|count| Plan::new(&pairs, &squares_line, *count, price));
        let plan = plans.max_by(|a, b| a.explained.total_cmp(&b.explained)).unwrap_or_default();
        plan.codebook(weights, squares, usage)
    }
}

/// A weight and a square that rows have.
struct Pair {
    weight: f32,
    square: f32,
    /// How often these rows are used.
    mass: f64,
}

/// How much a row counts.
fn mass(usage: u32) -> f64 {
    f64::from(usage.max(1))
}

/// The different pairs, by weight.
fn pairs(weights: &[f32], squares: &[f32], usage: &[u32]) -> Vec<Pair> {
    let rows = weights.iter().zip(squares).zip(usage);
    let mut pairs: Vec<Pair> = rows
        .map(|((weight, square), usage)| Pair {
            weight: *weight,
            square: *square,
            mass: mass(*usage),
        })
        .collect();
    pairs
        .sort_unstable_by(|a, b| a.weight.total_cmp(&b.weight).then(a.square.total_cmp(&b.square)));
    pairs.dedup_by(|next, kept| {
        let same = next.weight == kept.weight && next.square == kept.square;
        kept.mass += if same { next.mass } else { 0.0 };
        same
    });
    pairs
}

/// What the squared error of a square counts beside that of a weight, `(W / 2S)²`. In a text of `n`
/// features like all others, `S` is `n` mean squares and `W` at most `n` times the root mean square
/// of weights (Cauchy and Schwarz), of which it is the part [`PULL`].
fn square_price(pairs: &[Pair]) -> f64 {
    let mean = |value: fn(&Pair) -> f64| {
        let sum: f64 = pairs.iter().map(|pair| pair.mass * value(pair)).sum();
        sum / pairs.iter().map(|pair| pair.mass).sum::<f64>()
    };
    let weight = mean(|pair| f64::from(pair.weight).powi(2)).sqrt();
    (PULL * weight / (2.0 * mean(|pair| pair.square.into()))).powi(2)
}

fn squares_line(pairs: &[Pair]) -> Line {
    let mut squares: Vec<(f32, f64)> = pairs.iter().map(|pair| (pair.square, pair.mass)).collect();
    squares.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    Line::new(squares)
}

/// Which code a pair gets.
#[derive(Default)]
struct Plan {
    /// The least square of each level.
    levels: Vec<f32>,
    /// For each level, the first of its codes and the least weight of each of its cells.
    cells: Vec<(usize, Vec<f32>)>,
    /// How much less the error is than with zeros in the place of weights and squares.
    explained: f64,
}

impl Plan {
    /// Parts the squares into at most `count` levels and shares the codes out over them.
    fn new(pairs: &[Pair], squares: &Line, count: usize, price: f64) -> Self {
        let ends = squares.cells(count);
        let mut explained = price * squares.explained(&ends);
        let levels = squares.starts(&ends);
        let mut parts = vec![Vec::new(); levels.len()];
        for pair in pairs {
            parts[place(&levels, pair.square)].push((pair.weight, pair.mass));
        }
        let lines: Vec<Line> = parts.into_iter().map(Line::new).collect();
        let (mut cells, mut code) = (Vec::new(), 0);
        for (line, count) in lines.iter().zip(share_out(&lines)) {
            let ends = line.cells(count);
            explained += line.explained(&ends);
            cells.push((code, line.starts(&ends)));
            code += ends.len();
        }
        Self { levels, cells, explained }
    }

    fn code(&self, weight: f32, square: f32) -> usize {
        let (first, cells) = &self.cells[place(&self.levels, square)];
        first + place(cells, weight)
    }

    fn codebook(&self, weights: &[f32], squares: &[f32], usage: &[u32]) -> Codebook {
        let mut codes = Vec::with_capacity(weights.len());
        let mut sums = vec![[0.0; 3]; self.cells.iter().map(|(_, cells)| cells.len()).sum()];
        for ((weight, square), usage) in weights.iter().zip(squares).zip(usage) {
            let code = self.code(*weight, *square);
            let mass = mass(*usage);
            let row = [mass, mass * f64::from(*weight), mass * f64::from(*square)];
            sums[code].iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            codes.push(code as u8);
        }
        let mean = |part: usize| sums.iter().map(|sum| (sum[part] / sum[0]) as f32).collect();
        Codebook { codes, weights: mean(1), squares: mean(2) }
    }
}

/// The part of a line that has `value`, by the least value of each part.
fn place(starts: &[f32], value: f32) -> usize {
    starts.partition_point(|start| *start <= value).saturating_sub(1)
}

/// Shares the codes out over lines, at least one to each and at most one for each of its values.
/// With many cells the squared error of a line is as its spread, cubed, over the square of their
/// number (Panter and Dite 1951; Gersho and Gray 1992); in sum it is least where the numbers are as
/// the spreads. Each code goes where it lowers the sum most.
fn share_out(lines: &[Line]) -> Vec<usize> {
    let errors: Vec<f64> = lines.iter().map(|line| line.spread().powi(3)).collect();
    let mut counts = vec![1; lines.len()];
    let gain = |line: usize, count: usize| {
        let error = |count: usize| errors[line] / (count as f64).powi(2);
        error(count) - error(count + 1)
    };
    for _ in lines.len()..CODES {
        let open = (0..lines.len()).filter(|line| counts[*line] < lines[*line].values.len());
        let best = open.max_by(|a, b| gain(*a, counts[*a]).total_cmp(&gain(*b, counts[*b])));
        let Some(best) = best else { break };
        counts[best] += 1;
    }
    counts
}

/// Values in rising order, each once, with what they count.
struct Line {
    values: Vec<f32>,
    /// What comes before each value, and at last what all come to.
    sums: Vec<Sums>,
}

/// Sums over values.
#[derive(Clone, Copy, Default)]
struct Sums {
    mass: f64,
    /// Of mass times value.
    moment: f64,
    /// Of the cube root of mass times squared distance to the neighbours: the integral of the cube
    /// root of the density, since that is mass over distance. Cells are best where each holds as
    /// much of it (Panter and Dite 1951).
    spread: f64,
}

impl Line {
    /// Of values in rising order and their masses; masses of equal values add up.
    fn new(mut points: Vec<(f32, f64)>) -> Self {
        points.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0.0 };
            same
        });
        let value = |index: usize| f64::from(points[index.min(points.len() - 1)].0);
        let mut sums = Vec::with_capacity(points.len() + 1);
        sums.push(Sums::default());
        for (index, (_, mass)) in points.iter().enumerate() {
            let (x, before) = (value(index), sums[index]);
            let gap = (value(index + 1) - value(index.saturating_sub(1))) / 2.0;
            sums.push(Sums {
                mass: before.mass + mass,
                moment: before.moment + mass * x,
                spread: before.spread + f64::from(((mass * gap * gap) as f32).cbrt()),
            });
        }
        Self { values: points.iter().map(|(value, _)| *value).collect(), sums }
    }

    fn spread(&self) -> f64 {
        self.sums[self.values.len()].spread
    }

    /// Parts the line into at most `count` cells and gives the end of each: k-means (Lloyd 1982)
    /// from cells of equal spread, which are nearly best where there are many.
    fn cells(&self, count: usize) -> Vec<usize> {
        let all = self.values.len();
        if count >= all {
            return (1..=all).collect();
        }
        let part = |cell: usize| self.spread() * cell as f64 / count as f64;
        let end = |cell: usize| self.sums.partition_point(|sums| sums.spread < part(cell));
        let mut ends: Vec<usize> = (1..count).map(end).chain([all]).collect();
        for _ in 0..ROUNDS {
            let means: Vec<f64> = spans(&ends).map(|span| self.mean(span)).collect();
            let middles = means.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0);
            let end = |middle: f64| self.values.partition_point(|x| f64::from(*x) < middle);
            let moved: Vec<usize> = middles.map(end).chain([all]).collect();
            if moved == ends {
                break;
            }
            ends = moved;
        }
        ends.dedup();
        ends.retain(|end| *end > 0);
        ends
    }

    /// The mean of a cell, kept inside it against rounding; that of an empty cell is the value
    /// after it, so that it gets some.
    fn mean(&self, (start, end): (usize, usize)) -> f64 {
        let value = |index: usize| f64::from(self.values[index.min(self.values.len() - 1)]);
        if start == end {
            return value(start);
        }
        let (before, after) = (self.sums[start], self.sums[end]);
        let mean = (after.moment - before.moment) / (after.mass - before.mass);
        mean.max(value(start)).min(value(end - 1))
    }

    /// How much less the squared error is about the means of cells than about 0.
    fn explained(&self, ends: &[usize]) -> f64 {
        let explained = |(start, end): (usize, usize)| {
            let (before, after) = (self.sums[start], self.sums[end]);
            (after.moment - before.moment).powi(2) / (after.mass - before.mass)
        };
        spans(ends).map(explained).sum()
    }

    /// The least value of each cell.
    fn starts(&self, ends: &[usize]) -> Vec<f32> {
        spans(ends).map(|(start, _)| self.values[start]).collect()
    }
}

/// Where each cell starts and ends.
fn spans(ends: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    once(0).chain(ends.iter().copied()).zip(ends.iter().copied())
}

#[cfg(test)]
mod tests;
