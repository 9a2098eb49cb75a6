//! Attention of many heads within each sequence of a batch (Vaswani et al. 2017).
//!
//! A head's probabilities are worked out for some queries at a time and never kept: the backward pass
//! has them again from the logarithms of the sums, as FlashAttention does (Dao et al. 2022).

use std::ops::Range;

use rayon::prelude::*;

use crate::kernels;
use crate::matmul::{Matrix, MatrixMut, Write, multiply};
use crate::noise::{Noise, Site};

/// What attention is worked out of, but for its numbers.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) heads: usize,
    pub(crate) hidden: usize,
    /// The layer, for dropout.
    pub(crate) layer: usize,
    pub(crate) noise: &'a Noise,
    /// The rows of each sequence's queries.
    pub(crate) queries: &'a [Range<usize>],
    /// The rows of its keys and values.
    pub(crate) keys: &'a [Range<usize>],
}

/// What the forward pass has left, and the gradient by what it gave.
pub(crate) struct Known<'a> {
    pub(crate) context: &'a [f32],
    pub(crate) context_gradient: &'a [f32],
    pub(crate) log_sums: &'a [f32],
}

/// The rows that attention is worked out of.
pub(crate) struct Projections<'a> {
    pub(crate) query: &'a mut [f32],
    pub(crate) key: &'a mut [f32],
    pub(crate) value: &'a mut [f32],
}

/// Queries that a head looks at together; with the keys of the longest sequences the scores fit into
/// a core's cache.
const BLOCK: usize = 128;

/// Rows of scores are as long as some whole vectors.
const LANES: usize = 16;

impl Attention<'_> {
    /// The heads' means of values, and for the backward pass the logarithms of the sums of
    /// exponentials, `[queries, heads]` of each sequence one head after the other.
    pub(crate) fn forward(
        &self,
        query: &[f32],
        key: &[f32],
        value: &[f32],
        context: &mut [f32],
        log_sums: &mut [f32],
    ) {
        let contexts = split(context, self.queries, self.hidden);
        let log_sums = split(log_sums, self.queries, self.heads);
        let sequences = self.queries.par_iter().zip(self.keys).zip(contexts).zip(log_sums);
        sequences.for_each_init(Vec::new, |scores, (((queries, keys), context), log_sums)| {
            let sequence = Sequence::new(self, queries, keys);
            let (key, value) = (self.rows(key, keys), self.rows(value, keys));
            let query = self.rows(query, queries);
            for (head, log_sums) in log_sums.chunks_exact_mut(queries.len()).enumerate() {
                for block in sequence.blocks() {
                    let scores = sequence.scores(scores, head, &block, query, key);
                    kernels::softmax(
                        scores,
                        sequence.width,
                        self.scale(),
                        &mut log_sums[block.clone()],
                    );
                    sequence.drop(scores, head, &block);
                    multiply(
                        sequence.part_mut(context, head, &block),
                        Write::Over,
                        1.0,
                        sequence.matrix(scores, block.len()),
                        sequence.part(value, head, &(0..keys.len())),
                    );
                }
            }
        });
    }

    /// Puts the gradients by queries, keys and values in their places.
    pub(crate) fn backward(&self, known: &Known<'_>, rows: Projections<'_>) {
        let Projections { query, key, value } = rows;
        let queries = split(query, self.queries, self.hidden);
        let keys = split(key, self.keys, self.hidden);
        let values = split(value, self.keys, self.hidden);
        let rows = queries.into_par_iter().zip(keys).zip(values);
        let sequences = self.queries.par_iter().zip(self.keys).zip(rows);
        sequences.for_each_init(Scratch::default, |scratch, ((queries, keys), rows)| {
            let ((query, key), value) = rows;
            let mut rows = Projections { query, key, value };
            let known = Known {
                context: self.rows(known.context, queries),
                context_gradient: self.rows(known.context_gradient, queries),
                log_sums: &known.log_sums[queries.start * self.heads..queries.end * self.heads],
            };
            let sequence = Sequence::new(self, queries, keys);
            for head in 0..self.heads {
                sequence.backward(scratch, head, &known, &mut rows);
            }
        });
    }

    fn rows<'b>(&self, data: &'b [f32], rows: &Range<usize>) -> &'b [f32] {
        &data[rows.start * self.hidden..rows.end * self.hidden]
    }

    fn width(&self) -> usize {
        self.hidden / self.heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.width() as f32).sqrt()
    }
}

/// What the backward pass of a head needs for a while.
#[derive(Default)]
struct Scratch {
    scores: Vec<f32>,
    score_gradient: Vec<f32>,
    key_gradient: Vec<f32>,
    value_gradient: Vec<f32>,
    means: Vec<f32>,
}

/// One sequence of a batch.
struct Sequence<'a> {
    attention: &'a Attention<'a>,
    queries: Range<usize>,
    keys: usize,
    /// Length of a row of scores.
    width: usize,
}

impl<'a> Sequence<'a> {
    fn new(attention: &'a Attention<'a>, queries: &Range<usize>, keys: &Range<usize>) -> Self {
        let width = keys.len().next_multiple_of(LANES);
        Self { attention, queries: queries.clone(), keys: keys.len(), width }
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let queries = self.queries.len();
        (0..queries).step_by(BLOCK).map(move |first| first..queries.min(first + BLOCK))
    }

    /// A head's columns of some rows.
    fn part<'b>(&self, data: &'b [f32], head: usize, rows: &Range<usize>) -> Matrix<'b> {
        let Attention { hidden, .. } = *self.attention;
        let width = self.attention.width();
        Matrix::part(&data[rows.start * hidden + head * width..], rows.len(), width, hidden)
    }

    fn part_mut<'b>(&self, data: &'b mut [f32], head: usize, rows: &Range<usize>) -> MatrixMut<'b> {
        let Attention { hidden, .. } = *self.attention;
        let width = self.attention.width();
        MatrixMut::part(&mut data[rows.start * hidden + head * width..], rows.len(), width, hidden)
    }

    /// Rows of scores without what fills them up.
    fn matrix<'b>(&self, scores: &'b [f32], rows: usize) -> Matrix<'b> {
        Matrix::part(scores, rows, self.keys, self.width)
    }

    /// The products of some queries with all keys. What fills the rows up has no weight.
    fn scores<'b>(
        &self,
        scratch: &'b mut Vec<f32>,
        head: usize,
        block: &Range<usize>,
        query: &[f32],
        key: &[f32],
    ) -> &'b mut [f32] {
        scratch.resize(block.len() * self.width, 0.0);
        for row in scratch.chunks_exact_mut(self.width) {
            row[self.keys..].fill(f32::NEG_INFINITY);
        }
        multiply(
            MatrixMut::part(scratch, block.len(), self.keys, self.width),
            Write::Over,
            1.0,
            self.part(query, head, block),
            self.part(key, head, &(0..self.keys)).transposed(),
        );
        scratch
    }

    fn drop(&self, scores: &mut [f32], head: usize, block: &Range<usize>) {
        let Attention { layer, noise, heads, .. } = *self.attention;
        let first = self.queries.start * heads + head * self.queries.len() + block.start;
        noise.drop(Site::Attention(layer), scores, self.width, first);
    }

    fn backward(
        &self,
        scratch: &mut Scratch,
        head: usize,
        known: &Known<'_>,
        rows: &mut Projections<'_>,
    ) {
        let (all, columns) = (0..self.keys, self.attention.width());
        let scale = self.attention.scale();
        let log_sums = &known.log_sums[head * self.queries.len()..];
        let Scratch { scores, score_gradient, key_gradient, value_gradient, means } = scratch;
        for sums in [&mut *key_gradient, &mut *value_gradient] {
            sums.clear();
            sums.resize(self.keys * columns, 0.0);
        }
        for block in self.blocks() {
            let probabilities = self.scores(scores, head, &block, rows.query, rows.key);
            kernels::softmax_again(probabilities, self.width, scale, &log_sums[block.clone()]);
            score_gradient.clear();
            score_gradient.resize(block.len() * self.width, 0.0);
            let gradient = self.part(known.context_gradient, head, &block);
            multiply(
                MatrixMut::part(score_gradient, block.len(), self.keys, self.width),
                Write::Over,
                1.0,
                gradient,
                self.part(rows.value, head, &all).transposed(),
            );
            self.drop(score_gradient, head, &block);
            self.means(means, head, &block, known);
            kernels::softmax_backward(probabilities, score_gradient, self.width, scale, means);
            self.drop(probabilities, head, &block);
            let score_gradient = self.matrix(score_gradient, block.len());
            let probabilities = self.matrix(probabilities, block.len());
            let into = |sums| MatrixMut::new(sums, columns);
            multiply(into(value_gradient), Write::Onto, 1.0, probabilities.transposed(), gradient);
            let query = self.part(rows.query, head, &block);
            multiply(into(key_gradient), Write::Onto, 1.0, score_gradient.transposed(), query);
            let key = self.part(rows.key, head, &all);
            let query = self.part_mut(rows.query, head, &block);
            multiply(query, Write::Over, 1.0, score_gradient, key);
        }
        self.put(key_gradient, head, rows.key);
        self.put(value_gradient, head, rows.value);
    }

    /// The mean of a query's score gradients under its probabilities, which is the product of what
    /// attention gave and the gradient by that.
    fn means(&self, means: &mut Vec<f32>, head: usize, block: &Range<usize>, known: &Known<'_>) {
        let Attention { hidden, .. } = *self.attention;
        let columns = self.attention.width();
        means.clear();
        means.extend(block.clone().map(|row| {
            let first = row * hidden + head * columns;
            let part = first..first + columns;
            kernels::dot(&known.context[part.clone()], &known.context_gradient[part])
        }));
    }

    /// Copies a head's columns into their places.
    fn put(&self, columns: &[f32], head: usize, rows: &mut [f32]) {
        let width = self.attention.width();
        let rows = rows.chunks_exact_mut(self.attention.hidden);
        for (row, columns) in rows.zip(columns.chunks_exact(width)) {
            row[head * width..][..width].copy_from_slice(columns);
        }
    }
}

/// Cuts rows of `columns` numbers into those of each sequence.
fn split<'a>(mut data: &'a mut [f32], rows: &[Range<usize>], columns: usize) -> Vec<&'a mut [f32]> {
    let mut parts = Vec::with_capacity(rows.len());
    for rows in rows {
        let part;
        (part, data) = data.split_at_mut(rows.len() * columns);
        parts.push(part);
    }
    parts
}
