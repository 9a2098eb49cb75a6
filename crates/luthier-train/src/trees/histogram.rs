//! Sums of gradients and hessians by bin.
//!
//! Rows are added in blocks, in single precision, and blocks in double: what is lost does not grow with
//! the number of rows. Every sum is taken in the order of the rows, so that it does not depend on threads.

use std::sync::Arc;

use rayon::prelude::*;

use super::bins::{BinnedTable, Cells, Group, NARROW};
use crate::cache::prefetch;
use crate::spare::{Lent, Spare};

/// Gradient and hessian of the loss of a row.
pub(crate) type Pair = [f32; 2];
/// Sums of gradients and of hessians.
pub(crate) type Sums = [f64; 2];
/// Sums of each bin, one column after the other.
pub(crate) type Histogram = Lent<Sums>;

/// Rows that are added in single precision.
const BLOCK: usize = 1 << 14;
/// Rows times columns from which more threads than one pay.
const PARALLEL: usize = 1 << 15;
/// Rows that are called to the cache ahead.
const AHEAD: usize = 24;

/// Memory for histograms.
#[derive(Debug, Default)]
pub(crate) struct Histograms(Arc<Spare<Sums>>);

impl Histograms {
    /// Sums of `pairs`, one for each of `rows`, over the groups that `used` allows.
    pub(crate) fn build(
        &self,
        table: &BinnedTable,
        used: &[bool],
        rows: &[u32],
        pairs: &[Pair],
    ) -> Histogram {
        let mut histogram = self.0.lend();
        histogram.resize(table.bins, [0.0; 2]);
        let mut rest = histogram.as_mut_slice();
        let mut parts = Vec::with_capacity(table.groups.len());
        for group in &table.groups {
            let bins = table.columns[group.columns.clone()].iter().map(|column| column.bins).sum();
            let (part, after) = rest.split_at_mut(bins);
            rest = after;
            if used[group.columns.clone()].contains(&true) {
                parts.push((group, part));
            }
        }
        let add = |(group, part): (&Group, &mut [Sums])| group.add(table, rows, pairs, part);
        if rows.len() * table.columns.len() < PARALLEL {
            parts.into_iter().for_each(add);
        } else {
            parts.into_par_iter().for_each(add);
        }
        histogram
    }
}

/// Takes `part` from `whole`.
pub(crate) fn subtract(whole: &mut [Sums], part: &[Sums]) {
    for (whole, part) in whole.iter_mut().zip(part) {
        whole[0] -= part[0];
        whole[1] -= part[1];
    }
}

impl Group {
    fn add(&self, table: &BinnedTable, rows: &[u32], pairs: &[Pair], to: &mut [Sums]) {
        let bins: Vec<usize> =
            table.columns[self.columns.clone()].iter().map(|column| column.bins).collect();
        match &self.cells {
            Cells::Wide(cells) => add_wide(cells, self.width, &bins, rows, pairs, to),
            Cells::Narrow(cells) => match self.width {
                4 => add_narrow::<4>(cells, &bins, rows, pairs, to),
                8 => add_narrow::<8>(cells, &bins, rows, pairs, to),
                12 => add_narrow::<12>(cells, &bins, rows, pairs, to),
                _ => add_narrow::<16>(cells, &bins, rows, pairs, to),
            },
        }
    }
}

fn add_narrow<const WIDTH: usize>(
    cells: &[u8],
    bins: &[usize],
    rows: &[u32],
    pairs: &[Pair],
    to: &mut [Sums],
) {
    let (cells, _) = cells.as_chunks::<WIDTH>();
    for (rows, pairs) in rows.chunks(BLOCK).zip(pairs.chunks(BLOCK)) {
        let mut sums = [[[0.0; 2]; NARROW]; WIDTH];
        add_block(cells, rows, pairs, &mut sums);
        let mut to = &mut *to;
        for (sums, bins) in sums.iter().zip(bins) {
            let (column, after) = to.split_at_mut(*bins);
            to = after;
            flush(sums, column);
        }
    }
}

#[inline(never)]
fn add_block<const WIDTH: usize>(
    cells: &[[u8; WIDTH]],
    rows: &[u32],
    pairs: &[Pair],
    sums: &mut [[Pair; NARROW]; WIDTH],
) {
    for (at, (row, pair)) in rows.iter().zip(pairs).enumerate() {
        if let Some(next) = rows.get(at + AHEAD) {
            prefetch(&cells[*next as usize]);
        }
        for (sums, bin) in sums.iter_mut().zip(&cells[*row as usize]) {
            let sum = &mut sums[usize::from(*bin)];
            *sum = [sum[0] + pair[0], sum[1] + pair[1]];
        }
    }
}

fn add_wide(
    cells: &[u16],
    width: usize,
    bins: &[usize],
    rows: &[u32],
    pairs: &[Pair],
    to: &mut [Sums],
) {
    let mut sums = vec![[0.0; 2]; to.len()];
    for (rows, pairs) in rows.chunks(BLOCK).zip(pairs.chunks(BLOCK)) {
        sums.fill([0.0; 2]);
        for (row, pair) in rows.iter().zip(pairs) {
            let mut start = 0;
            let cells = &cells[*row as usize * width..][..bins.len()];
            for (bin, bins) in cells.iter().zip(bins) {
                let sum = &mut sums[start + usize::from(*bin)];
                *sum = [sum[0] + pair[0], sum[1] + pair[1]];
                start += bins;
            }
        }
        flush(&sums, to);
    }
}

fn flush(sums: &[Pair], to: &mut [Sums]) {
    for (to, sums) in to.iter_mut().zip(sums) {
        to[0] += f64::from(sums[0]);
        to[1] += f64::from(sums[1]);
    }
}
