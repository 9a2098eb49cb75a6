//! Columns cut into bins.
//!
//! Numbers are cut so that bins hold about equally many rows, where a value that many rows share has a
//! bin of its own (the greedy rule of LightGBM, Ke et al. 2017). A cut lies between two values that occur,
//! so that `value <= cut` in a model says the same as `bin <= k` in training.

use rand::RngExt;
use rayon::prelude::*;

use crate::sampling::generator;
use crate::table::{Column, ColumnKind};

/// Rows that the cuts of a column are found from, where there are more.
const SAMPLE: usize = 1 << 16;
/// Rows of the sample that a bin has at least.
const MIN_BIN_ROWS: usize = 3;
/// Columns of a group at most: their histograms lie in the innermost cache together.
const GROUP: usize = 16;
/// Bins that a byte tells apart.
pub(crate) const NARROW: usize = 256;
/// Rows that are put into bins as one piece of work.
const BLOCK: usize = 4096;

/// The training rows as bins, and what the bins mean.
#[derive(Debug)]
pub(crate) struct BinnedTable {
    /// Columns that tell rows apart, in the order of the table.
    pub(crate) columns: Vec<BinnedColumn>,
    /// The bins of those columns, some columns each.
    pub(crate) groups: Vec<Group>,
    /// Bins of all columns.
    pub(crate) bins: usize,
    /// Number of rows.
    pub(crate) rows: usize,
}

/// What the bins of a column mean.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BinnedColumn {
    /// The column's place in the table.
    pub(crate) source: usize,
    /// What is in its bins.
    pub(crate) content: Content,
    /// The bin of missing cells, where training rows have any.
    pub(crate) missing: Option<usize>,
    /// Number of bins.
    pub(crate) bins: usize,
    /// Where its bins begin among those of all columns.
    pub(crate) offset: usize,
    /// The group that it is in, and its place there.
    pub(crate) place: (usize, usize),
}

/// What bins hold, missing cells apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// Numbers up to and with each cut, and above the last.
    Numbers(Vec<f32>),
    /// One category each.
    Categories {
        /// The category of each bin, by falling number of rows.
        codes: Vec<u32>,
        /// The bin of all categories that have none of their own.
        rare: Option<usize>,
    },
}

/// Bins of up to [`GROUP`] columns, row by row. Rows are filled up to a width that is a multiple of 4.
#[derive(Debug)]
pub(crate) struct Group {
    /// Places of its columns among [`BinnedTable::columns`].
    pub(crate) columns: std::ops::Range<usize>,
    /// Bins of a row, with those that fill it up.
    pub(crate) width: usize,
    /// Row-major `[rows, width]`.
    pub(crate) cells: Cells,
}

/// Bins in as few bytes as tell them apart.
#[derive(Debug)]
pub(crate) enum Cells {
    Narrow(Vec<u8>),
    Wide(Vec<u16>),
}

impl Group {
    /// The bin of a row in the column at `place`.
    #[inline(always)]
    pub(crate) fn bin(&self, row: usize, place: usize) -> usize {
        let at = row * self.width + place;
        match &self.cells {
            Cells::Narrow(cells) => cells[at].into(),
            Cells::Wide(cells) => cells[at].into(),
        }
    }
}

impl BinnedTable {
    /// Cuts the training rows of `columns` into at most `most` bins each, missing cells apart.
    pub(crate) fn new(columns: &[Column], rows: usize, most: usize) -> Self {
        let sample = sample(rows);
        let cut =
            |(source, column): (usize, &Column)| BinnedColumn::new(source, column, &sample, most);
        let mut binned: Vec<_> = columns.par_iter().enumerate().filter_map(cut).collect();
        let mut bins = 0;
        for column in &mut binned {
            column.offset = bins;
            bins += column.bins;
        }
        let mut groups = Vec::new();
        for part in spans(&binned) {
            for (place, column) in binned[part.clone()].iter_mut().enumerate() {
                column.place = (groups.len(), place);
            }
            groups.push(Group::new(columns, &binned, part, rows));
        }
        Self { columns: binned, groups, bins, rows }
    }
}

/// Ranges of columns of alike width in memory, about equally long.
fn spans(columns: &[BinnedColumn]) -> Vec<std::ops::Range<usize>> {
    let mut spans = Vec::new();
    let mut start = 0;
    for run in columns.chunk_by(|a, b| (a.bins > NARROW) == (b.bins > NARROW)) {
        let parts = run.len().div_ceil(GROUP);
        spans.extend(
            (0..parts).map(|part| {
                start + part * run.len() / parts..start + (part + 1) * run.len() / parts
            }),
        );
        start += run.len();
    }
    spans
}

impl Group {
    fn new(
        columns: &[Column],
        binned: &[BinnedColumn],
        span: std::ops::Range<usize>,
        rows: usize,
    ) -> Self {
        let width = span.len().next_multiple_of(4);
        let members: Vec<_> =
            binned[span.clone()].iter().map(|b| (b, columns[b.source].train.as_slice())).collect();
        let wide = members.iter().any(|(column, _)| column.bins > NARROW);
        let cells = if wide {
            Cells::Wide(fill(&members, width, rows, |bin| bin as u16))
        } else {
            Cells::Narrow(fill(&members, width, rows, |bin| bin as u8))
        };
        Self { columns: span, width, cells }
    }
}

fn fill<T: Copy + Default + Send>(
    members: &[(&BinnedColumn, &[f32])],
    width: usize,
    rows: usize,
    narrow: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let finders: Vec<_> = members.iter().map(|(column, _)| column.finder()).collect();
    let mut cells = vec![T::default(); rows * width];
    cells.par_chunks_mut(BLOCK * width).enumerate().for_each(|(block, cells)| {
        for (place, ((_, values), finder)) in members.iter().zip(&finders).enumerate() {
            let values = values[block * BLOCK..].iter();
            let cells = cells[place..].iter_mut().step_by(width);
            cells.zip(values).for_each(|(cell, value)| *cell = narrow(finder.bin(*value)));
        }
    });
    cells
}

/// From values to bins.
enum Finder<'a> {
    Numbers { cuts: &'a [f32], missing: usize },
    Categories { bins: Vec<u32>, missing: usize },
}

impl Finder<'_> {
    #[inline(always)]
    fn bin(&self, value: f32) -> usize {
        match self {
            Self::Numbers { missing, .. } | Self::Categories { missing, .. } if value.is_nan() => {
                *missing
            }
            Self::Numbers { cuts, .. } => cuts.partition_point(|cut| *cut < value),
            Self::Categories { bins, missing } => {
                let bin = category(value).and_then(|code| bins.get(code as usize));
                bin.map_or(*missing, |bin| *bin as usize)
            }
        }
    }
}

impl BinnedColumn {
    /// `None` where all rows would be in the same bin.
    fn new(source: usize, column: &Column, sample: &[u32], most: usize) -> Option<Self> {
        let missing = column.train.iter().any(|value| value.is_nan());
        let (content, present) = match column.kind {
            ColumnKind::Number => {
                let mut values: Vec<f32> = sample
                    .iter()
                    .map(|row| column.train[*row as usize])
                    .filter(|value| !value.is_nan())
                    .collect();
                values.sort_unstable_by(f32::total_cmp);
                let cuts = cuts(&values, most);
                let present = if values.is_empty() { 0 } else { cuts.len() + 1 };
                (Content::Numbers(cuts), present)
            }
            ColumnKind::Category(count) => categories(&column.train, count, most),
        };
        let bins = present + usize::from(missing);
        (bins > 1).then_some(Self {
            source,
            content,
            missing: missing.then_some(present),
            bins,
            offset: 0,
            place: (0, 0),
        })
    }

    /// Bins that are not of missing cells.
    pub(crate) fn present(&self) -> usize {
        self.missing.unwrap_or(self.bins)
    }

    fn finder(&self) -> Finder<'_> {
        // A column without missing cells has no value that is not a number.
        let missing = self.missing.unwrap_or(0);
        match &self.content {
            Content::Numbers(cuts) => Finder::Numbers { cuts, missing },
            Content::Categories { codes, rare } => {
                let known = codes.iter().max().map_or(0, |code| *code as usize + 1);
                let mut bins = vec![rare.unwrap_or(missing) as u32; known];
                codes.iter().enumerate().for_each(|(bin, code)| bins[*code as usize] = bin as u32);
                Finder::Categories { bins, missing: rare.unwrap_or(missing) }
            }
        }
    }
}

/// Rows spread evenly, one drawn from each of [`SAMPLE`] stretches, where there are more.
fn sample(rows: usize) -> Vec<u32> {
    if rows <= SAMPLE {
        return (0..rows as u32).collect();
    }
    let mut random = generator(0, 0);
    let start = |stretch: usize| (stretch * rows / SAMPLE) as u32;
    (0..SAMPLE).map(|stretch| random.random_range(start(stretch)..start(stretch + 1))).collect()
}

/// Cuts of ascending `values` into at most `most` bins.
fn cuts(values: &[f32], most: usize) -> Vec<f32> {
    let runs: Vec<(f32, usize)> =
        values.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect();
    let counts: Vec<usize> = runs.iter().map(|(_, count)| *count).collect();
    let ends = if runs.len() <= most { few(&counts) } else { many(&counts, most) };
    ends.into_iter().map(|end| between(runs[end].0, runs[end + 1].0)).collect()
}

/// The last value of each bin but the last, where there can be a bin for each value.
fn few(counts: &[usize]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut rows = 0;
    for (at, count) in counts.iter().enumerate().take(counts.len().saturating_sub(1)) {
        rows += count;
        if rows >= MIN_BIN_ROWS {
            ends.push(at);
            rows = 0;
        }
    }
    ends
}

/// The same where there are more values than bins.
fn many(counts: &[usize], most: usize) -> Vec<usize> {
    let total: usize = counts.iter().sum();
    let most = most.min(total / MIN_BIN_ROWS).max(1);
    let share = total as f64 / most as f64;
    let big = |at: usize| counts[at] as f64 >= share;
    let big_bins = (0..counts.len()).filter(|at| big(*at)).count();
    let big_rows: usize = (0..counts.len()).filter(|at| big(*at)).map(|at| counts[at]).sum();
    let (mut rest_bins, mut rest_rows) = (most as f64 - big_bins as f64, (total - big_rows) as f64);
    let mut mean = rest_rows / rest_bins;
    let (mut ends, mut rows) = (Vec::new(), 0.0);
    for (at, count) in counts.iter().enumerate().take(counts.len() - 1) {
        if !big(at) {
            rest_rows -= *count as f64;
        }
        rows += *count as f64;
        if big(at) || rows >= mean || (big(at + 1) && rows >= (mean * 0.5).max(1.0)) {
            ends.push(at);
            rows = 0.0;
            if ends.len() + 1 >= most {
                break;
            }
            if !big(at) {
                rest_bins -= 1.0;
                mean = rest_rows / rest_bins;
            }
        }
    }
    ends
}

/// A number at or above `low` and below `high`, near their middle.
fn between(low: f32, high: f32) -> f32 {
    let finite = |x: f32| f64::from(x.clamp(f32::MIN, f32::MAX));
    let middle = ((finite(low) + finite(high)) / 2.0) as f32;
    if low <= middle && middle < high { middle } else { low }
}

/// The category that a cell names, if it does.
#[inline(always)]
pub(crate) fn category(cell: f32) -> Option<u32> {
    let code = cell as u32;
    (code as f32 == cell).then_some(code)
}

/// The categories that get a bin, and how many bins that makes.
fn categories(cells: &[f32], count: usize, most: usize) -> (Content, usize) {
    let mut rows = vec![0u32; count];
    let mut unknown = false;
    for cell in cells.iter().filter(|cell| !cell.is_nan()) {
        match category(*cell).and_then(|code| rows.get_mut(code as usize)) {
            Some(rows) => *rows += 1,
            None => unknown = true,
        }
    }
    let mut codes: Vec<u32> = (0..count as u32).filter(|code| rows[*code as usize] > 0).collect();
    codes.sort_by_key(|code| std::cmp::Reverse(rows[*code as usize]));
    let left_out = codes.len() > most || unknown;
    codes.truncate(if codes.len() > most { most - 1 } else { most });
    let rare = left_out.then_some(codes.len());
    let bins = codes.len() + usize::from(left_out);
    (Content::Categories { codes, rare }, bins)
}
