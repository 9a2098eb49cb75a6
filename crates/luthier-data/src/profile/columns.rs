//! The columns of a table: values, how far they moved between parts, what they say of the label.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::association::{Labels, association};
use super::population_stability_index;
use crate::hash::combine;
use crate::{Categories, Cell, CellError, ColumnKind, Distinct, Table};

/// Most rows of a sample, and most cells of one.
const SAMPLE_ROWS: usize = 16_384;
const SAMPLE_CELLS: usize = 1 << 22;
/// Distinct numbers are counted exactly up to this number.
const MAX_DISTINCT: usize = 10_000;
/// Categories that a profile lists.
const LISTED_CATEGORIES: usize = 20;
/// Bins of numbers whose shares are compared.
const DRIFT_BINS: usize = 10;
const QUANTILES: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];

/// The columns of a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableProfile {
    /// Rows whose cells are those of an earlier row of the part, byte by byte.
    pub duplicates: u64,
    /// Each column that is learnt from.
    pub columns: Vec<ColumnProfile>,
}

/// One column of a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnProfile {
    /// Its name.
    pub name: String,
    /// Rows without a value.
    pub missing: u64,
    /// How many different values there are, missing and unknown ones aside.
    pub distinct: Distinct,
    /// Its values.
    #[serde(flatten)]
    pub values: ValuesProfile,
    /// Of other parts than train: the population stability index of the column against train, where
    /// missing and unknown values are bins of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<f64>,
    /// Of train: how much of the label the column alone tells, from 0 to 1, by up to 16,384 rows. For
    /// classes Goodman and Kruskal's λ (1954), the share of the errors of the commonest class that it
    /// saves, or, of two classes and a number, Gini's index where that is larger; for numbers the
    /// correlation ratio η², or the square of Spearman's correlation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub association: Option<f64>,
}

/// The values of a column, by its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ValuesProfile {
    /// Numbers; nothing where all are missing.
    Number {
        /// What they are like.
        numbers: Option<NumberProfile>,
    },
    /// Times, in days since 1970.
    Time {
        /// What they are like.
        numbers: Option<NumberProfile>,
    },
    /// Categories.
    Category(CategoryProfile),
}

/// Numbers, as those of a column or the labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NumberProfile {
    /// The smallest.
    pub min: f64,
    /// Their mean.
    pub mean: f64,
    /// The largest.
    pub max: f64,
    /// Quantiles, by up to 16,384 rows.
    pub quantiles: Vec<NumberQuantile>,
    /// Fisher's skewness, the third standardised moment, by the same rows; 0 where all are equal.
    pub skewness: f64,
}

/// A quantile of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NumberQuantile {
    /// The quantile, in [0, 1].
    pub q: f64,
    /// The smallest number such that at least a share `q` is no larger.
    pub value: f64,
}

/// The values of a column of categories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CategoryProfile {
    /// The twenty most frequent categories of train, with their rows.
    pub top: Vec<CategoryCount>,
    /// Rows of values that are no category: beyond the 255 of train, or not in train.
    pub unknown: u64,
}

/// A category and how often it occurs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CategoryCount {
    /// The text, cut to 40 characters.
    pub value: String,
    /// Rows that have it.
    pub rows: u64,
}

/// Rows drawn evenly from those of a part, in a bounded number: Vitter's algorithm R (1985), with
/// draws that follow from the number of the row.
pub(super) struct Sample {
    width: usize,
    capacity: usize,
    /// Rows that were seen.
    seen: u64,
    /// Row-major.
    cells: Vec<f32>,
    labels: Vec<f64>,
}

impl Sample {
    /// A sample of rows of `width` numbers and a label.
    pub(super) fn new(width: usize) -> Self {
        let capacity = (SAMPLE_CELLS / width.max(1)).min(SAMPLE_ROWS);
        Self { width, capacity, seen: 0, cells: Vec::new(), labels: Vec::new() }
    }

    pub(super) fn add(&mut self, cells: &[f32], label: f64) {
        self.seen += 1;
        if self.labels.len() < self.capacity {
            self.cells.extend_from_slice(cells);
            self.labels.push(label);
            return;
        }
        let place = (combine(1, self.seen) % self.seen) as usize;
        if place < self.capacity {
            self.cells[place * self.width..][..self.width].copy_from_slice(cells);
            self.labels[place] = label;
        }
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = f64> {
        self.labels.iter().copied()
    }

    /// The numbers of a column, NaN where they are missing.
    fn column(&self, column: usize) -> impl Iterator<Item = f32> {
        self.cells.iter().skip(column).step_by(self.width.max(1)).copied()
    }
}

/// What is seen of numbers, besides a sample.
pub(super) struct NumberStats {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Default for NumberStats {
    fn default() -> Self {
        Self { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl NumberStats {
    pub(super) fn add(&mut self, number: f64) {
        self.count += 1;
        self.sum += number;
        self.min = self.min.min(number);
        self.max = self.max.max(number);
    }

    /// What the numbers are like, of which `sample` is a part; nothing if there were none.
    pub(super) fn describe(&self, mut sample: Vec<f64>) -> Option<NumberProfile> {
        sample.sort_unstable_by(f64::total_cmp);
        let last = sample.len().checked_sub(1)?;
        let at =
            |q: f64| sample[((q * sample.len() as f64).ceil() as usize).clamp(1, last + 1) - 1];
        let rows = sample.len() as f64;
        let mean = sample.iter().sum::<f64>() / rows;
        let moment = |power| sample.iter().map(|x| (x - mean).powi(power)).sum::<f64>() / rows;
        let spread = moment(2);
        Some(NumberProfile {
            min: self.min,
            mean: self.sum / self.count as f64,
            max: self.max,
            quantiles: QUANTILES.iter().map(|&q| NumberQuantile { q, value: at(q) }).collect(),
            skewness: if spread > 0.0 { moment(3) / spread.powf(1.5) } else { 0.0 },
        })
    }
}

/// What is seen of the columns of a part.
pub(super) struct TableStats<'a> {
    table: &'a Table,
    columns: Vec<ColumnStats>,
    /// The numbers of the latest row.
    latest: Vec<f32>,
}

/// What is seen of one column.
#[derive(Default)]
struct ColumnStats {
    missing: u64,
    numbers: NumberStats,
    /// The bits of the distinct numbers, up to [`MAX_DISTINCT`].
    distinct: HashSet<u32>,
    /// Rows of each category.
    counts: Vec<u64>,
    /// Rows of values that are no category.
    unknown: u64,
}

impl<'a> TableStats<'a> {
    pub(super) fn new(table: &'a Table) -> Self {
        let stats = |column: &crate::TableColumn| ColumnStats {
            counts: match &column.kind {
                ColumnKind::Category(categories) => vec![0; categories.values().len()],
                ColumnKind::Number | ColumnKind::Time => Vec::new(),
            },
            ..ColumnStats::default()
        };
        Self { table, columns: table.columns().iter().map(stats).collect(), latest: Vec::new() }
    }

    /// Takes in the cells of a row.
    pub(super) fn add(&mut self, cells: &[Option<String>]) -> Result<(), CellError> {
        self.latest.clear();
        for ((column, stats), cell) in self.table.columns().iter().zip(&mut self.columns).zip(cells)
        {
            let number = column.encode(Cell::of(cell.as_deref()))?;
            self.latest.push(number);
            match &column.kind {
                ColumnKind::Category(_) if !number.is_nan() => stats.counts[number as usize] += 1,
                ColumnKind::Category(_) if is_present(cell) => stats.unknown += 1,
                _ if number.is_nan() => stats.missing += 1,
                _ => {
                    stats.numbers.add(f64::from(number));
                    if stats.distinct.len() <= MAX_DISTINCT {
                        stats.distinct.insert((number + 0.0).to_bits());
                    }
                }
            }
        }
        Ok(())
    }

    /// The numbers of the row that was taken in last.
    pub(super) fn latest(&self) -> &[f32] {
        &self.latest
    }

    /// Describes the columns of a part with `sample`, beside those of `train`; without them it is
    /// train, and columns are compared with the labels: numbers, or so many `classes`.
    pub(super) fn describe(
        &self,
        duplicates: u64,
        sample: &Sample,
        classes: Option<usize>,
        train: Option<(&Self, &Sample)>,
    ) -> TableProfile {
        let labels = match (train, classes) {
            (Some(_), _) => None,
            (None, Some(classes)) => Some(Labels::classes(&sample.labels, classes)),
            (None, None) => Some(Labels::numbers(&sample.labels)),
        };
        let describe = |(place, column): (usize, &crate::TableColumn)| {
            let stats = &self.columns[place];
            let values: Vec<f32> = sample.column(place).collect();
            let is_category = matches!(column.kind, ColumnKind::Category(_));
            ColumnProfile {
                name: column.name.clone(),
                missing: stats.missing,
                distinct: stats.distinct(&column.kind),
                association: labels.as_ref().and_then(|l| association(&values, is_category, l)),
                drift: train.map(|(train, sample)| {
                    let of_train: Vec<f32> = sample.column(place).collect();
                    drift((&train.columns[place], stats), is_category, &of_train, &values)
                }),
                values: stats.describe(&column.kind, &values),
            }
        };
        let columns = self.table.columns().iter().enumerate().map(describe).collect();
        TableProfile { duplicates, columns }
    }
}

impl ColumnStats {
    fn distinct(&self, kind: &ColumnKind) -> Distinct {
        match kind {
            ColumnKind::Category(_) => {
                Distinct::Exactly(self.counts.iter().filter(|count| **count > 0).count() as u64)
            }
            _ if self.distinct.len() > MAX_DISTINCT => Distinct::MoreThan(MAX_DISTINCT as u64),
            _ => Distinct::Exactly(self.distinct.len() as u64),
        }
    }

    fn describe(&self, kind: &ColumnKind, values: &[f32]) -> ValuesProfile {
        let numbers = || {
            let present = values.iter().filter(|value| !value.is_nan());
            self.numbers.describe(present.map(|value| f64::from(*value)).collect())
        };
        match kind {
            ColumnKind::Number => ValuesProfile::Number { numbers: numbers() },
            ColumnKind::Time => ValuesProfile::Time { numbers: numbers() },
            ColumnKind::Category(categories) => ValuesProfile::Category(CategoryProfile {
                top: top(categories, &self.counts),
                unknown: self.unknown,
            }),
        }
    }
}

fn top(categories: &Categories, counts: &[u64]) -> Vec<CategoryCount> {
    let listed = categories.values().iter().zip(counts).take(LISTED_CATEGORIES);
    let count = |(value, rows): (&String, &u64)| CategoryCount {
        value: value.chars().take(40).collect(),
        rows: *rows,
    };
    listed.map(count).collect()
}

/// Whether there is more than white space.
fn is_present(cell: &Option<String>) -> bool {
    cell.as_deref().is_some_and(|cell| !cell.trim().is_empty())
}

/// The population stability index of a column: of categories by all rows, of numbers by the samples'
/// in the tenths of those of train.
fn drift(
    (train, part): (&ColumnStats, &ColumnStats),
    is_category: bool,
    of_train: &[f32],
    of_part: &[f32],
) -> f64 {
    if is_category {
        let counts = |stats: &ColumnStats| {
            let others = [stats.unknown, stats.missing];
            stats.counts.iter().copied().chain(others).collect::<Vec<u64>>()
        };
        return population_stability_index(&counts(train), &counts(part));
    }
    let ends = ends(of_train, DRIFT_BINS);
    let counts = |values: &[f32]| {
        let mut counts = vec![0; ends.len() + 2];
        values.iter().for_each(|value| counts[bin(&ends, *value)] += 1);
        counts
    };
    population_stability_index(&counts(of_train), &counts(of_part))
}

/// The distinct last numbers of the first `bins` − 1 of as many equal shares of `values`; missing ones
/// aside.
pub(super) fn ends(values: &[f32], bins: usize) -> Vec<f32> {
    let mut values: Vec<f32> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    values.sort_unstable_by(f32::total_cmp);
    let last = |share: usize| values[(values.len() * share).div_ceil(bins).max(1) - 1];
    let mut ends: Vec<f32> = (1..bins).filter(|_| !values.is_empty()).map(last).collect();
    ends.dedup();
    ends
}

/// The bin of a value among those that `ends` are the ends of; missing ones are in the last.
pub(super) fn bin(ends: &[f32], value: f32) -> usize {
    match value.is_nan() {
        true => ends.len() + 1,
        false => ends.partition_point(|end| *end < value),
    }
}
