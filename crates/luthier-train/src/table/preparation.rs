//! From the cells of a table to numbers of like size and whole codes: in memory, and as nodes of a graph.
//!
//! What is learnt here is learnt on training rows alone. A missing number becomes the median, and a
//! column of zeros and ones says where it was missing; a missing or unknown category is one category
//! more. Columns that have one value in all training rows are left out.

use luthier_graph::{Attribute, DType, GraphBuilder, TensorData};
use luthier_space::Values;

use super::{Column, ColumnKind, TableData};
use crate::TrainError;

/// How numbers are brought to mean 0 and variance 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scaling {
    /// By their mean and standard deviation.
    Standard,
    /// By their rank, to about a normal distribution.
    Quantile,
}

/// Standard deviations from the mean beyond which [`Scaling::Standard`] tells numbers no longer apart;
/// infinite ones become this.
const MOST_DEVIATIONS: f32 = 1e4;
/// Straight pieces that the ranks of a column are made of at most.
const MOST_RAMPS: usize = 48;
/// The largest number whose differences are finite in any case.
const LARGEST: f32 = 1e37;

/// How the cells of a table are prepared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Preparation {
    /// Columns of the table.
    columns: usize,
    numbers: Vec<NumberColumn>,
    /// Number columns that some training rows lack.
    flags: Vec<usize>,
    categories: Vec<CategoryColumn>,
}

#[derive(Debug, Clone, PartialEq)]
struct NumberColumn {
    column: usize,
    median: f32,
    scale: Scale,
}

#[derive(Debug, Clone, PartialEq)]
struct CategoryColumn {
    column: usize,
    /// Known categories.
    count: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Scale {
    Standard {
        mean: f32,
        /// One by the standard deviation.
        inverse: f32,
    },
    /// A function of straight pieces, flat before the first and after the last.
    Ramps { start: f32, ramps: Vec<Ramp> },
}

/// Rises by `slope` from `from` on, for `length`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Ramp {
    from: f32,
    length: f32,
    slope: f32,
}

/// Rows after preparation.
pub(crate) struct Prepared {
    rows: usize,
    /// Row-major `[rows, Preparation::width]`.
    pub(crate) numbers: Vec<f32>,
    /// Row-major `[rows, Preparation::counts]`.
    pub(crate) codes: Vec<u32>,
}

/// Names of what the nodes of a preparation give, of those that there are.
pub(crate) struct PreparedNodes {
    /// float32 `[batch, width]`.
    pub(crate) numbers: Option<String>,
    /// int32 `[batch, categories]`.
    pub(crate) codes: Option<String>,
}

impl Scaling {
    /// By the name in a learner's values.
    pub(crate) fn read(values: &Values) -> Result<Self, TrainError> {
        Ok(match values.text("scaling")? {
            "standard" => Self::Standard,
            _ => Self::Quantile,
        })
    }
}

impl Preparation {
    /// Learns from the training rows of `data`, each as often as its weight says.
    pub(crate) fn fit(data: &TableData, scaling: Scaling) -> Self {
        let mut preparation = Self {
            columns: data.columns.len(),
            numbers: Vec::new(),
            flags: Vec::new(),
            categories: Vec::new(),
        };
        for (column, cells) in data.columns.iter().enumerate() {
            preparation.add(column, cells, &data.train.weights, scaling);
        }
        preparation
    }

    fn add(&mut self, column: usize, cells: &Column, weights: &[f32], scaling: Scaling) {
        match cells.kind {
            ColumnKind::Number => {
                let spread = Spread::of(&cells.train, weights);
                if spread.missing > 0.0 && !spread.values.is_empty() {
                    self.flags.push(column);
                }
                let median = spread.median();
                if let Some(scale) = Scale::of(&spread, median, scaling) {
                    self.numbers.push(NumberColumn { column, median, scale });
                }
            }
            ColumnKind::Category(count) => {
                let mut codes = cells.train.iter().map(|cell| code(*cell, count));
                let first = codes.next();
                if codes.any(|code| Some(code) != first) {
                    self.categories.push(CategoryColumn { column, count });
                }
            }
        }
    }

    /// Columns of the table.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Numbers of a prepared row.
    pub(crate) fn width(&self) -> usize {
        self.numbers.len() + self.flags.len()
    }

    /// For each code of a prepared row, how many there are, of which the last is for what is missing.
    pub(crate) fn counts(&self) -> impl Iterator<Item = usize> {
        self.categories.iter().map(|category| category.count + 1)
    }

    /// Whether no column is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.width() == 0 && self.categories.is_empty()
    }

    /// The training rows, and the validation rows.
    pub(crate) fn subsets(&self, data: &TableData) -> [Prepared; 2] {
        let columns = &data.columns;
        [
            self.prepare(data.train.values.len(), |row, column| columns[column].train[row]),
            self.prepare(data.valid.values.len(), |row, column| columns[column].valid[row]),
        ]
    }

    /// So many rows of a table with the given cells, by row and column.
    pub(crate) fn prepare(&self, rows: usize, cell: impl Fn(usize, usize) -> f32) -> Prepared {
        let mut numbers = Vec::with_capacity(rows * self.width());
        let mut codes = Vec::with_capacity(rows * self.categories.len());
        for row in 0..rows {
            numbers
                .extend(self.numbers.iter().map(|number| number.scaled(cell(row, number.column))));
            numbers.extend(self.flags.iter().map(|flag| f32::from(cell(row, *flag).is_nan())));
            let of_row = self.categories.iter();
            codes.extend(of_row.map(|category| code(cell(row, category.column), category.count)));
        }
        Prepared { rows, numbers, codes }
    }

    /// The same as nodes, from the table's cells, `[batch, columns]`.
    pub(crate) fn nodes(&self, builder: &mut GraphBuilder, cells: &str) -> PreparedNodes {
        let mut parts = Vec::new();
        if !self.numbers.is_empty() {
            parts.push(self.number_nodes(builder, cells));
        }
        if !self.flags.is_empty() {
            let flagged = gather(builder, cells, "flagged", self.flags.iter().copied());
            let missing = builder.node("IsNaN", &[&flagged], "flagged.missing");
            parts.push(cast(builder, &missing, DType::F32, "flags"));
        }
        let numbers = match parts.as_slice() {
            [] => None,
            [part] => Some(part.clone()),
            parts => {
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                let axis = vec![("axis", Attribute::Int(1))];
                Some(builder.node_with("Concat", &parts, "prepared", axis))
            }
        };
        let codes = (!self.categories.is_empty()).then(|| self.code_nodes(builder, cells));
        PreparedNodes { numbers, codes }
    }

    fn number_nodes(&self, builder: &mut GraphBuilder, cells: &str) -> String {
        let columns = self.numbers.iter().map(|number| number.column);
        let cells = gather(builder, cells, "numbers", columns);
        let medians = self.numbers.iter().map(|number| number.median).collect();
        let medians = vector(builder, "numbers.medians", medians);
        let missing = builder.node("IsNaN", &[&cells], "numbers.missing");
        let known = builder.node("Where", &[&missing, &medians, &cells], "numbers.known");
        let standard = self.numbers.iter().map(|number| match number.scale {
            Scale::Standard { mean, inverse } => Some((mean, inverse)),
            Scale::Ramps { .. } => None,
        });
        match standard.collect::<Option<Vec<_>>>() {
            Some(scales) => standard_nodes(builder, &known, scales),
            None => self.ramp_nodes(builder, &known),
        }
    }

    /// Each number against all ramps of its column, of which the shorter lists are filled up with flat ones.
    fn ramp_nodes(&self, builder: &mut GraphBuilder, known: &str) -> String {
        let of_column = self.numbers.iter().map(|number| match &number.scale {
            Scale::Ramps { start, ramps } => (*start, ramps.as_slice()),
            Scale::Standard { .. } => (0.0, [].as_slice()),
        });
        let (starts, lists): (Vec<f32>, Vec<&[Ramp]>) = of_column.unzip();
        let most = lists.iter().map(|ramps| ramps.len()).max().unwrap_or(0);
        let filled = |ramps: &&[Ramp]| {
            let flat = std::iter::repeat(Ramp::default());
            ramps.iter().copied().chain(flat).take(most).collect::<Vec<_>>()
        };
        let ramps: Vec<Ramp> = lists.iter().flat_map(filled).collect();
        let mut matrix = |name: &str, of: fn(&Ramp) -> f32| {
            let data = TensorData::F32(ramps.iter().map(of).collect());
            builder.constant(name, vec![lists.len(), most], data)
        };
        let froms = matrix("ramps.from", |ramp| ramp.from);
        let lengths = matrix("ramps.length", |ramp| ramp.length);
        let slopes = matrix("ramps.slope", |ramp| ramp.slope);
        let axis = builder.constant("ramps.axis", vec![1], TensorData::I64(vec![2]));
        let starts = vector(builder, "ramps.start", starts);
        let known = builder.node("Unsqueeze", &[known, &axis], "ramps.numbers");
        let along = builder.node("Sub", &[&known, &froms], "ramps.along");
        let along = builder.node("Relu", &[&along], "ramps.begun");
        let along = builder.node("Min", &[&along, &lengths], "ramps.done");
        let rises = builder.node("Mul", &[&along, &slopes], "ramps.rises");
        let keep = vec![("keepdims", Attribute::Int(0))];
        let sums = builder.node_with("ReduceSum", &[&rises, &axis], "ramps.sums", keep);
        builder.node("Add", &[&sums, &starts], "scaled")
    }

    fn code_nodes(&self, builder: &mut GraphBuilder, cells: &str) -> String {
        let columns = self.categories.iter().map(|category| category.column);
        let cells = gather(builder, cells, "categories", columns);
        let counts = self.categories.iter().map(|category| category.count as f32).collect();
        let counts = vector(builder, "categories.counts", counts);
        let zero = vector(builder, "categories.zero", vec![0.0]);
        // What is not a number is neither.
        let from = builder.node("GreaterOrEqual", &[&cells, &zero], "categories.from");
        let below = builder.node("Less", &[&cells, &counts], "categories.below");
        let known = builder.node("And", &[&from, &below], "categories.known");
        let codes = builder.node("Where", &[&known, &cells, &counts], "categories.codes");
        cast(builder, &codes, DType::I32, "codes")
    }
}

impl Prepared {
    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Some of the rows.
    pub(crate) fn select(&self, rows: &[u32]) -> Self {
        Self {
            rows: rows.len(),
            numbers: of_rows(&self.numbers, self.rows, rows),
            codes: of_rows(&self.codes, self.rows, rows),
        }
    }
}

impl NumberColumn {
    fn scaled(&self, cell: f32) -> f32 {
        self.scale.of_number(if cell.is_nan() { self.median } else { cell })
    }
}

impl Scale {
    /// `None` where all numbers, with the median for missing ones, are as good as equal.
    fn of(spread: &Spread, median: f32, scaling: Scaling) -> Option<Self> {
        match scaling {
            Scaling::Standard => {
                let (mean, deviation) = spread.moments(median, |value| value);
                let inverse = (1.0 / deviation) as f32;
                (deviation > 0.0 && inverse.is_normal())
                    .then_some(Self::Standard { mean: mean as f32, inverse })
            }
            Scaling::Quantile => {
                let mut scale = Self::Ramps { start: 0.0, ramps: ramps(&spread.knots()) };
                let (mean, deviation) = spread.moments(median, |value| scale.of_number(value));
                if deviation.is_nan() || deviation <= 0.0 {
                    return None;
                }
                if let Self::Ramps { start, ramps } = &mut scale {
                    *start = (-mean / deviation) as f32;
                    ramps.iter_mut().for_each(|ramp| ramp.slope /= deviation as f32);
                }
                Some(scale)
            }
        }
    }

    fn of_number(&self, number: f32) -> f32 {
        match self {
            Self::Standard { mean, inverse } => {
                ((number - mean) * inverse).clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)
            }
            Self::Ramps { start, ramps } => {
                let rise =
                    |ramp: &Ramp| (number - ramp.from).max(0.0).min(ramp.length) * ramp.slope;
                ramps.iter().map(rise).sum::<f32>() + start
            }
        }
    }
}

/// The finite numbers of a column, ascending, each value once, with the weights of its rows.
struct Spread {
    values: Vec<(f32, f64)>,
    /// Weight of rows without a number.
    missing: f64,
}

impl Spread {
    fn of(cells: &[f32], weights: &[f32]) -> Self {
        let rows = || cells.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
        let finite = rows().filter(|(cell, _)| cell.is_finite());
        let bounded = finite.map(|(x, weight)| (x.clamp(-LARGEST, LARGEST), f64::from(*weight)));
        let mut values: Vec<(f32, f64)> = bounded.collect();
        values.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        values.dedup_by(|(next, more), (value, weight)| {
            let same = next == value;
            *weight += if same { *more } else { 0.0 };
            same
        });
        let missing = rows().filter(|(cell, _)| cell.is_nan());
        Self { values, missing: missing.map(|(_, weight)| f64::from(*weight)).sum() }
    }

    fn total(&self) -> f64 {
        self.values.iter().map(|(_, weight)| weight).sum()
    }

    /// The value in the middle, or the mean of the two that are; 0 of none.
    fn median(&self) -> f32 {
        let (half, mut below) = (self.total() / 2.0, 0.0);
        let mut values = self.values.iter();
        while let Some((value, weight)) = values.next() {
            below += weight;
            if below > half {
                return *value;
            }
            if below == half {
                return values.next().map_or(*value, |(next, _)| (value + next) / 2.0);
            }
        }
        0.0
    }

    /// Mean and standard deviation of a function of the numbers, missing ones being `median`.
    fn moments(&self, median: f32, of: impl Fn(f32) -> f32) -> (f64, f64) {
        let missing = (median, self.missing);
        let all = || self.values.iter().chain([&missing]);
        let total = self.total() + self.missing;
        let mean = all().map(|(x, weight)| weight * f64::from(of(*x))).sum::<f64>() / total;
        let square = |(x, weight): &(f32, f64)| weight * (f64::from(of(*x)) - mean).powi(2);
        (mean, (all().map(square).sum::<f64>() / total).sqrt())
    }

    /// Values that are spread evenly by rank, the first and the last among them, and about the numbers that
    /// have the same ranks in a normal distribution.
    fn knots(&self) -> Vec<(f32, f64)> {
        let (total, last) = (self.total(), self.values.len().saturating_sub(1));
        let step = if last <= MOST_RAMPS { 0.0 } else { total / MOST_RAMPS as f64 };
        let (mut below, mut next) = (0.0, 0.0);
        let mut knots = Vec::new();
        for (index, (value, weight)) in self.values.iter().enumerate() {
            if index == 0 || index == last || below + weight >= next {
                knots.push((*value, normal_quantile((below + weight / 2.0) / total)));
                next = below + weight + step;
            }
            below += weight;
        }
        knots
    }
}

/// About the number that a normal one is below with probability `p`: Tukey's lambda distribution of 0.14,
/// which differs little (Joiner and Rosenblatt 1971).
fn normal_quantile(p: f64) -> f64 {
    4.91 * (p.powf(0.14) - (1.0 - p).powf(0.14))
}

/// From knot to knot; a knot too near to the one before for a finite slope is left out.
fn ramps(knots: &[(f32, f64)]) -> Vec<Ramp> {
    let mut ramps = Vec::with_capacity(knots.len());
    let Some(&(mut from, mut height)) = knots.first() else { return ramps };
    for &(to, top) in &knots[1..] {
        let length = to - from;
        let slope = ((top - height) / f64::from(length)) as f32;
        if slope.is_finite() {
            ramps.push(Ramp { from, length, slope });
            (from, height) = (to, top);
        }
    }
    ramps
}

/// Some of `count` rows of a matrix, row-major.
fn of_rows<T: Copy>(matrix: &[T], count: usize, rows: &[u32]) -> Vec<T> {
    let width = matrix.len() / count;
    rows.iter().flat_map(|row| &matrix[*row as usize * width..][..width]).copied().collect()
}

/// The code of a category; `count` where it is missing or unknown.
fn code(cell: f32, count: usize) -> u32 {
    if cell >= 0.0 && cell < count as f32 { cell as u32 } else { count as u32 }
}

fn standard_nodes(builder: &mut GraphBuilder, known: &str, scales: Vec<(f32, f32)>) -> String {
    let (means, inverses) = scales.into_iter().unzip();
    let means = vector(builder, "scale.means", means);
    let inverses = vector(builder, "scale.inverses", inverses);
    let mut bound =
        |name: &str, value| builder.constant(name, Vec::new(), TensorData::F32(vec![value]));
    let (low, high) =
        (bound("scale.lowest", -MOST_DEVIATIONS), bound("scale.highest", MOST_DEVIATIONS));
    let centred = builder.node("Sub", &[known, &means], "scale.centred");
    let scaled = builder.node("Mul", &[&centred, &inverses], "scale.scaled");
    builder.node("Clip", &[&scaled, &low, &high], "scaled")
}

/// Columns of `cells` by their places.
fn gather(
    builder: &mut GraphBuilder,
    cells: &str,
    name: &str,
    columns: impl Iterator<Item = usize>,
) -> String {
    let columns: Vec<i64> = columns.map(|column| column as i64).collect();
    let (places, shape) = (format!("{name}.columns"), vec![columns.len()]);
    let places = builder.constant(&places, shape, TensorData::I64(columns));
    let axis = vec![("axis", Attribute::Int(1))];
    builder.node_with("Gather", &[cells, &places], &format!("{name}.cells"), axis)
}

fn cast(builder: &mut GraphBuilder, input: &str, to: DType, output: &str) -> String {
    builder.node_with("Cast", &[input], output, vec![("to", Attribute::Int(to as i64))])
}

/// A constant of one dimension.
pub(crate) fn vector(builder: &mut GraphBuilder, name: &str, values: Vec<f32>) -> String {
    builder.constant(name, vec![values.len()], TensorData::F32(values))
}
