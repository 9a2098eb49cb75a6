//! Ensembles of decision trees: the `TreeEnsemble` operators of `ai.onnx.ml`.
//!
//! [`Forest::new`] takes a node of a graph; [`Forest::run`] answers rows. Between the two stand an
//! ensemble as it was read (`read`), its layout (`layout`), the loops (`kernel`) and what is made of
//! the sums (`scores`). Amounts are added in the order of the trees, in 32 bits, so that the answer
//! to a row depends neither on the rows around it nor on the number of threads.

mod kernel;
mod layout;
mod read;
mod scores;

use luthier_graph::Node;
use rayon::prelude::*;

use kernel::{Kinds, LANES, Line, Trees};
use layout::{Column, Layout};
use read::Ensemble;
use scores::Scores;

use crate::Threads;

pub(crate) use scores::{logistic, softmax};

/// Fewer rows than this are answered one by one.
const FEW: usize = 8;

/// The least trees times rows that are worth a thread of their own.
const LEAST_WORK: usize = 1 << 15;

/// Rows of a part that one thread answers.
const PART: usize = 8 * LANES;

/// A loaded ensemble.
#[derive(Debug)]
pub(crate) struct Forest {
    columns: Vec<Column>,
    /// The least numbers in a row, 1 or more.
    features: usize,
    trees: Trees,
    scores: Scores,
}

/// Numbers, row-major.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) count: usize,
    pub(crate) width: usize,
}

/// What is wrong with a node that holds trees.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForestError {
    /// The node uses something that is not supported.
    #[error("{what} is not supported")]
    Unsupported {
        /// The part.
        what: String,
    },
    /// The standard does not say what it means, or engines disagree.
    #[error("{what}: engines disagree on what it means")]
    Ambiguous {
        /// The part.
        what: &'static str,
    },
    /// A list is longer or shorter than those that it goes with.
    #[error("attribute `{attribute}` has {found} elements where {expected} are needed")]
    Length {
        /// The list.
        attribute: String,
        /// Elements found.
        found: usize,
        /// Elements needed.
        expected: usize,
    },
    /// An index is too large or negative.
    #[error("element {index} of attribute `{attribute}` is {value}, not within 0 and {below}")]
    Range {
        /// The list.
        attribute: &'static str,
        /// Which of its elements.
        index: usize,
        /// The element.
        value: i64,
        /// What it must be below.
        below: usize,
    },
    /// The number of targets or classes is zero or too large.
    #[error("`{attribute}` makes {found} targets or classes, not 1 to {most}")]
    Targets {
        /// The attribute that says how many.
        attribute: &'static str,
        /// How many it says.
        found: usize,
        /// The most there can be.
        most: usize,
    },
    /// A threshold is not a number.
    #[error("the threshold of branch {index} is not a number")]
    Threshold {
        /// The branch, counted in the order of the attributes.
        index: usize,
    },
    /// Two nodes of a tree have the same number.
    #[error("tree {tree} has two nodes {node}")]
    Duplicate {
        /// Number of the tree.
        tree: i64,
        /// Number of the nodes.
        node: i64,
    },
    /// A node is named that does not exist.
    #[error("tree {tree} has no node {node}")]
    Unknown {
        /// Number of the tree.
        tree: i64,
        /// Number of the node.
        node: i64,
    },
    /// A branch leads to the first node of a tree.
    #[error("a branch leads back to the first node of tree {tree}, counted from 0")]
    Root {
        /// The tree.
        tree: usize,
    },
    /// A branch leads back to where it came from.
    #[error("the branches of tree {tree}, counted from 0, lead in a circle")]
    Cycle {
        /// The tree.
        tree: usize,
    },
    /// A node is in two trees.
    #[error("trees {} and {}, counted from 0, share nodes", trees[0], trees[1])]
    Shared {
        /// The trees.
        trees: [usize; 2],
    },
}

impl Forest {
    /// Loads a node of domain `ai.onnx.ml`.
    pub(crate) fn new(node: &Node) -> Result<Self, ForestError> {
        let ensemble = Ensemble::of_node(node)?;
        let Layout { columns, slots, sets, trees, .. } = Layout::new(&ensemble)?;
        let Ensemble { leaves, scores, .. } = ensemble;
        let features = columns.iter().map(|column| column.feature as usize + 1).max();
        let aggregate = scores.aggregate;
        Ok(Self {
            columns,
            features: features.unwrap_or(1),
            trees: Trees { kinds: Kinds::of(&slots), trees, slots, sets, aggregate, leaves },
            scores,
        })
    }

    /// The least numbers that a row must have.
    pub(crate) fn features(&self) -> usize {
        self.features
    }

    /// Numbers in the answer to a row.
    pub(crate) fn width(&self) -> usize {
        self.scores.width
    }

    /// Whether classes have numbers for labels.
    pub(crate) fn labels(&self) -> bool {
        self.scores.has_labels()
    }

    /// The scores of rows, row-major, each at least as wide as [`Forest::features`]. Many rows are
    /// shared out among `threads`.
    pub(crate) fn run(&self, rows: Rows<'_>, threads: &Threads) -> Vec<f32> {
        let mut scores = self.sums(rows, threads);
        scores.chunks_exact_mut(self.width()).for_each(|row| self.scores.finish(row));
        scores
    }

    /// The labels of such rows, where [`Forest::labels`].
    pub(crate) fn run_labels(&self, rows: Rows<'_>, threads: &Threads) -> Vec<i32> {
        let mut sums = self.sums(rows, threads);
        let rows = sums.chunks_exact_mut(self.width());
        rows.map(|row| self.scores.label(row).unwrap_or_default()).collect()
    }

    /// What the trees say of rows, added up.
    fn sums(&self, rows: Rows<'_>, threads: &Threads) -> Vec<f32> {
        let mut sums = vec![self.scores.start(); rows.count * self.width()];
        match rows.count.saturating_mul(self.trees.len()) < LEAST_WORK {
            true => self.part(rows, 0, &mut sums),
            false => threads.run(|| {
                let parts = sums.par_chunks_mut(PART * self.width()).enumerate();
                parts.for_each(|(part, sums)| self.part(rows, part * PART, sums));
            }),
        }
        sums
    }

    /// Adds up what the trees say of the rows from `first` on, as many as `sums` holds.
    fn part(&self, rows: Rows<'_>, first: usize, sums: &mut [f32]) {
        let count = sums.len() / self.width();
        // The last rows are a block too where they are not few.
        let blocks = if count % LANES < FEW { count - count % LANES } else { count };
        let (blocked, single) = sums.split_at_mut(blocks * self.width());
        if !blocked.is_empty() {
            self.blocks(rows, first, blocked);
        }
        if !single.is_empty() {
            self.singles(rows, first + blocks, single);
        }
    }

    fn singles(&self, rows: Rows<'_>, first: usize, sums: &mut [f32]) {
        let mut columns = vec![f32::NAN; self.columns.len() + 1];
        for (at, sums) in sums.chunks_exact_mut(self.width()).enumerate() {
            self.fill(rows.row(first + at), columns.iter_mut().skip(1));
            self.trees.row(&columns, sums);
        }
    }

    fn blocks(&self, rows: Rows<'_>, first: usize, sums: &mut [f32]) {
        let width = self.width();
        let mut columns = vec![Line([f32::NAN; LANES]); self.columns.len() + 1];
        let start = Line([self.scores.start(); LANES]);
        let mut lines = vec![start; width];
        for (block, sums) in sums.chunks_mut(LANES * width).enumerate() {
            for lane in 0..sums.len() / width {
                let places = columns.iter_mut().skip(1).map(|column| &mut column.0[lane]);
                self.fill(rows.row(first + block * LANES + lane), places);
            }
            lines.fill(start);
            self.trees.block(&columns, &mut lines);
            for (lane, sums) in sums.chunks_exact_mut(width).enumerate() {
                sums.iter_mut().zip(&lines).for_each(|(sum, line)| *sum = line.0[lane]);
            }
        }
    }

    /// Takes the columns of a row.
    #[inline(always)]
    fn fill<'a>(&self, row: &[f32], places: impl Iterator<Item = &'a mut f32>) {
        for (column, place) in self.columns.iter().zip(places) {
            *place = column.rule.apply(row[column.feature as usize]);
        }
    }
}

impl<'a> Rows<'a> {
    fn row(&self, at: usize) -> &'a [f32] {
        &self.data[at * self.width..(at + 1) * self.width]
    }
}
