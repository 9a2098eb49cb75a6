//! Which rows and columns a tree sees.

use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::bins::BinnedTable;
use super::grow::{Grown, share};
use super::histogram::Pair;
use super::{RowSampling, TreeOptions};
use crate::sampling::generator;

pub(crate) struct Sampler {
    sampling: RowSampling,
    columns: f64,
    seed: u64,
}

/// Streams of the generator for rows and for columns.
const ROWS: u64 = 1 << 62;
const COLUMNS: u64 = 1 << 61;

impl Sampler {
    pub(crate) fn new(options: &TreeOptions, seed: u64) -> Self {
        Self { sampling: options.rows, columns: options.columns, seed }
    }

    /// The rows of a round, ascending; `None` for all. Weighs those up that stand for others.
    pub(crate) fn rows(&self, round: u64, rows: usize, pairs: &mut [Pair]) -> Option<Vec<u32>> {
        match self.sampling {
            RowSampling::Share(share) if share >= 1.0 => None,
            RowSampling::Share(wanted) => {
                Some(self.draw((0..rows as u32).collect(), wanted, round))
            }
            RowSampling::Gradient { greatest, others } => {
                Some(self.by_gradient(round, rows, pairs, [greatest, others]))
            }
        }
    }

    /// A share of `rows`, in their order.
    fn draw(&self, mut rows: Vec<u32>, wanted: f64, round: u64) -> Vec<u32> {
        let mut random = generator(self.seed, ROWS + round);
        let (mut left, mut missing) = (rows.len(), share(rows.len(), wanted));
        rows.retain(|_| {
            let taken = random.random_range(0..left) < missing;
            left -= 1;
            missing -= usize::from(taken);
            taken
        });
        rows
    }

    fn by_gradient(
        &self,
        round: u64,
        rows: usize,
        pairs: &mut [Pair],
        [greatest, others]: [f64; 2],
    ) -> Vec<u32> {
        let size = |row: usize| {
            let outputs = pairs.iter().skip(row).step_by(rows);
            outputs.map(|[gradient, hessian]| (gradient * hessian).abs()).sum::<f32>()
        };
        let sizes: Vec<f32> = (0..rows).map(size).collect();
        let top = share(rows, greatest);
        let mut sorted = sizes.clone();
        let (_, threshold, _) = sorted.select_nth_unstable_by(rows - top, f32::total_cmp);
        let threshold = *threshold;
        let rest = (0..rows as u32).filter(|row| sizes[*row as usize] < threshold).collect();
        let mut taken = self.draw(rest, others / (1.0 - greatest), round);
        let factor = ((1.0 - greatest) / others) as f32;
        for output in pairs.chunks_exact_mut(rows) {
            taken
                .iter()
                .for_each(|row| output[*row as usize].iter_mut().for_each(|x| *x *= factor));
        }
        taken.extend((0..rows as u32).filter(|row| sizes[*row as usize] >= threshold));
        taken.sort_unstable();
        taken
    }

    /// For each column whether a tree may use it.
    pub(crate) fn columns(&self, round: u64, output: usize, columns: usize) -> Vec<bool> {
        if self.columns >= 1.0 {
            return vec![true; columns];
        }
        let mut order: Vec<usize> = (0..columns).collect();
        let mut random = generator(self.seed, COLUMNS + round);
        random.set_word_pos(output as u128 * (columns as u128 + 1) * 4);
        order.shuffle(&mut random);
        let mut used = vec![false; columns];
        let wanted = share(columns, self.columns).min(columns);
        order[..wanted].iter().for_each(|column| used[*column] = true);
        used
    }

    /// Adds a tree to the margins of the rows that it was not grown on; `grown_on` is ascending.
    pub(crate) fn add_others(
        &self,
        grown: &Grown<'_>,
        table: &BinnedTable,
        grown_on: &[u32],
        margins: &mut [f32],
    ) {
        const BLOCK: usize = 4096;
        margins.par_chunks_mut(BLOCK).enumerate().for_each(|(block, margins)| {
            let start = block * BLOCK;
            let from = grown_on.partition_point(|row| (*row as usize) < start);
            let mut known = grown_on[from..].iter().map(|row| *row as usize).peekable();
            for (at, margin) in margins.iter_mut().enumerate() {
                if known.next_if_eq(&(start + at)).is_none() {
                    *margin += grown.value_of(table, start + at);
                }
            }
        });
    }
}
