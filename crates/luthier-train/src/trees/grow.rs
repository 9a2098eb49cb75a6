//! Growing one tree, leaf by leaf.
//!
//! The leaf whose split gains most is split next. Where threads are free, the next best leaf is *prepared*
//! meanwhile: its rows are parted and its children searched. Preparing changes nothing that the choice of
//! the next leaf sees, so the tree is the same for any number of threads.

use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::LeafRules;
use super::bins::{BinnedColumn, BinnedTable, Cells, Content, Group};
use super::forest::{Branch, Child, Condition, Leaf as ForestLeaf, Tree};
use super::histogram::{Histogram, Histograms, Pair, Sums, subtract};
use super::partition::partition;
use super::split::{self, LeafState, Split, Test, UNBOUNDED};
use crate::sampling::generator;
use crate::table::Monotone;

/// Rows that are parted as one piece of work.
const BLOCK: usize = 1 << 14;
/// Bins from which more threads than one pay in a search.
const PARALLEL_BINS: usize = 1 << 11;

/// What all trees of a fit have in common.
pub(crate) struct Grower<'a> {
    pub(crate) table: &'a BinnedTable,
    pub(crate) rules: &'a LeafRules,
    pub(crate) max_leaves: usize,
    pub(crate) max_depth: usize,
    /// Share of the tree's columns that a leaf is searched by.
    pub(crate) columns_per_leaf: f64,
    /// For each column of the table.
    pub(crate) monotone: Vec<Monotone>,
    pub(crate) histograms: Histograms,
}

/// What one tree is grown from.
pub(crate) struct Seedling<'a> {
    /// Columns that it may use.
    pub(crate) columns: &'a [bool],
    /// Gradient and hessian of each row of the table.
    pub(crate) pairs: &'a [Pair],
    /// Makes the draws of columns differ from tree to tree.
    pub(crate) seed: u64,
}

/// Memory that is used again for each tree.
#[derive(Default)]
pub(crate) struct Ground {
    /// The rows that the tree is grown on; in the end those of a leaf lie together.
    pub(crate) rows: Vec<u32>,
    spare: Vec<u32>,
    pairs: Vec<Pair>,
}

/// A tree, and which rows are in its leaves.
pub(crate) struct Grown<'r> {
    branches: Vec<GrownBranch>,
    leaves: Vec<Leaf<'r>>,
}

struct GrownBranch {
    split: Split,
    children: [Child; 2],
    rows: usize,
}

/// A leaf that may become a branch.
struct Leaf<'r> {
    plot: Plot<'r>,
    state: LeafState,
    depth: usize,
    value: f64,
    /// Names the way from the root.
    path: u64,
    /// The branch above, and whether this is its right child.
    parent: Option<(usize, usize)>,
    histogram: Option<Histogram>,
    split: Option<Split>,
    children: Option<Box<[Leaf<'r>; 2]>>,
}

/// A leaf of a grown tree.
pub(crate) struct LeafMut<'a> {
    rows: [&'a [u32]; 2],
    /// What it adds.
    pub(crate) value: &'a mut f64,
    /// What its value may be.
    pub(crate) bounds: [f64; 2],
}

impl LeafMut<'_> {
    /// Its rows.
    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().flat_map(|rows| rows.iter()).map(|row| *row as usize)
    }
}

impl Leaf<'_> {
    /// The rows of a leaf that was prepared, and then not split, are in its children.
    fn view(&mut self) -> LeafMut<'_> {
        let rows: [&[u32]; 2] = match self.children.as_deref() {
            Some([left, right]) => [left.plot.rows, right.plot.rows],
            None => [self.plot.rows, &[]],
        };
        LeafMut { rows, value: &mut self.value, bounds: self.state.bounds }
    }
}

/// The rows of a leaf, with as much room beside.
#[derive(Default)]
struct Plot<'r> {
    rows: &'r mut [u32],
    spare: &'r mut [u32],
    pairs: &'r mut [Pair],
}

impl<'r> Plot<'r> {
    fn split_at(self, at: usize) -> [Self; 2] {
        let (left, right) = self.rows.split_at_mut(at);
        let (left_spare, right_spare) = self.spare.split_at_mut(at);
        let (left_pairs, right_pairs) = self.pairs.split_at_mut(at);
        [
            Self { rows: left, spare: left_spare, pairs: left_pairs },
            Self { rows: right, spare: right_spare, pairs: right_pairs },
        ]
    }
}

impl Grower<'_> {
    /// Grows a tree on the rows of `ground`.
    pub(crate) fn grow<'r>(&self, seedling: &Seedling<'_>, ground: &'r mut Ground) -> Grown<'r> {
        let mut grown = Grown { branches: Vec::new(), leaves: vec![self.root(seedling, ground)] };
        while grown.leaves.len() < self.max_leaves {
            let room = self.max_leaves - grown.leaves.len();
            let mut best = grown.ranked(room);
            let Some(next) = best.first().copied() else { break };
            if grown.leaves[next].children.is_none() {
                best.retain(|leaf| grown.leaves[*leaf].children.is_none());
                best.truncate(rayon::current_num_threads());
                self.prepare(seedling, &mut grown.leaves, &best, room == 1);
            }
            grown.commit(next);
        }
        grown
    }

    fn root<'r>(&self, seedling: &Seedling<'_>, ground: &'r mut Ground) -> Leaf<'r> {
        let rows = ground.rows.len();
        ground.spare.resize(rows, 0);
        ground.pairs.resize(rows, [0.0; 2]);
        let (ground_rows, pairs) = (&mut ground.rows[..], &mut ground.pairs[..rows]);
        gather(ground_rows, seedling.pairs, pairs);
        let block = |pairs: &[Pair]| {
            pairs.iter().fold([0.0; 2], |sums: Sums, pair| {
                [sums[0] + f64::from(pair[0]), sums[1] + f64::from(pair[1])]
            })
        };
        let blocks: Vec<Sums> = pairs.par_chunks(BLOCK).map(block).collect();
        let sums = blocks.iter().fold([0.0; 2], |a, b| [a[0] + b[0], a[1] + b[1]]);
        let state = LeafState { sums, rows, bounds: UNBOUNDED };
        let mut root = Leaf {
            plot: Plot { rows: ground_rows, spare: &mut ground.spare[..rows], pairs },
            state,
            depth: 0,
            value: split::value(sums, self.rules.l1, self.rules.l2, UNBOUNDED),
            path: 1,
            parent: None,
            histogram: None,
            split: None,
            children: None,
        };
        if self.may_split(&root) {
            let plot = &root.plot;
            root.histogram =
                Some(self.histograms.build(self.table, seedling.columns, plot.rows, plot.pairs));
            root.split = self.search(seedling, &root);
        }
        root
    }

    fn may_split(&self, leaf: &Leaf<'_>) -> bool {
        leaf.depth < self.max_depth && leaf.state.rows >= 2 * self.rules.min_rows.max(1)
    }

    /// Prepares the given leaves side by side.
    fn prepare(
        &self,
        seedling: &Seedling<'_>,
        leaves: &mut [Leaf<'_>],
        which: &[usize],
        last: bool,
    ) {
        let mut chosen: Vec<_> =
            leaves.iter_mut().enumerate().filter(|(at, _)| which.contains(at)).collect();
        match chosen.as_mut_slice() {
            [(_, leaf)] => self.prepare_one(seedling, leaf, last),
            chosen => chosen
                .par_iter_mut()
                .with_max_len(1)
                .for_each(|(_, leaf)| self.prepare_one(seedling, leaf, last)),
        }
    }

    /// Parts the rows of a leaf and searches the children for splits, unless these are the `last`.
    fn prepare_one(&self, seedling: &Seedling<'_>, leaf: &mut Leaf<'_>, last: bool) {
        let Some(split) = &leaf.split else { return };
        let plot = std::mem::take(&mut leaf.plot);
        let left_rows = self.part(split, plot.rows, plot.spare);
        if left_rows == 0 || left_rows == plot.rows.len() {
            // Where weights differ by orders of magnitude, what is lost in sums can look like rows.
            (leaf.plot, leaf.split, leaf.histogram) = (plot, None, None);
            return;
        }
        let smaller = usize::from(left_rows * 2 > plot.rows.len());
        let sums = [split.left, [0, 1].map(|at| leaf.state.sums[at] - split.left[at])];
        let bounds = self.child_bounds(split, leaf.state.bounds);
        let mut side = 0;
        let mut children = plot.split_at(left_rows).map(|plot| {
            let rows = plot.rows.len();
            let child = Leaf {
                plot,
                state: LeafState { sums: sums[side], rows, bounds: bounds[side] },
                depth: leaf.depth + 1,
                value: split.values[side],
                path: path(leaf.path, side),
                parent: None,
                histogram: None,
                split: None,
                children: None,
            };
            side += 1;
            child
        });
        if !last && children.iter().any(|child| self.may_split(child)) {
            self.sum_children(seedling, leaf.histogram.take(), &mut children, smaller);
            let search = |child: &mut Leaf<'_>| {
                if self.may_split(child) {
                    child.split = self.search(seedling, child);
                }
            };
            let [left, right] = &mut children;
            if self.table.bins < PARALLEL_BINS {
                search(left);
                search(right);
            } else {
                rayon::join(|| search(left), || search(right));
            }
        }
        leaf.histogram = None;
        leaf.children = Some(Box::new(children));
    }

    /// The smaller child's sums are added up, the larger one's are what remains of the parent's.
    fn sum_children(
        &self,
        seedling: &Seedling<'_>,
        parent: Option<Histogram>,
        children: &mut [Leaf<'_>; 2],
        smaller: usize,
    ) {
        let Some(mut histogram) = parent else { return };
        let plot = &mut children[smaller].plot;
        gather(plot.rows, seedling.pairs, plot.pairs);
        let sums = self.histograms.build(self.table, seedling.columns, plot.rows, plot.pairs);
        subtract(&mut histogram, &sums);
        children[smaller].histogram = Some(sums);
        children[1 - smaller].histogram = Some(histogram);
    }

    /// What the values of the children may be: the middle parts them where the split is monotone.
    fn child_bounds(&self, split: &Split, bounds: [f64; 2]) -> [[f64; 2]; 2] {
        let middle = f64::midpoint(split.values[0], split.values[1]);
        match self.monotone_of(split.column) {
            Monotone::Free => [bounds; 2],
            Monotone::Rising => [[bounds[0], middle], [middle, bounds[1]]],
            Monotone::Falling => [[middle, bounds[1]], [bounds[0], middle]],
        }
    }

    fn monotone_of(&self, column: usize) -> Monotone {
        let source = self.table.columns[column].source;
        self.monotone.get(source).copied().unwrap_or_default()
    }

    /// The best split by any column; by the first of those that are equally good.
    fn search(&self, seedling: &Seedling<'_>, leaf: &Leaf<'_>) -> Option<Split> {
        let histogram = leaf.histogram.as_ref()?;
        let mut columns: Vec<usize> =
            (0..self.table.columns.len()).filter(|place| seedling.columns[*place]).collect();
        if self.columns_per_leaf < 1.0 {
            columns.shuffle(&mut generator(seedling.seed ^ leaf.path, u64::MAX));
            columns.truncate(share(columns.len(), self.columns_per_leaf));
            columns.sort_unstable();
        }
        let mut found: Option<Split> = None;
        for place in columns {
            let column = &self.table.columns[place];
            let bins = &histogram[column.offset..column.offset + column.bins];
            let sign = self.monotone_of(place).sign();
            let split = split::best(place, column, bins, &leaf.state, self.rules, sign);
            if let Some(split) = split
                && found.as_ref().is_none_or(|found| split.gain > found.gain)
            {
                found = Some(split);
            }
        }
        found
    }

    /// Puts the rows that go left first, both sides in the order that they had; gives how many those are.
    fn part(&self, split: &Split, rows: &mut [u32], spare: &mut [u32]) -> usize {
        let column = &self.table.columns[split.column];
        let left = split.test.left_bins(column);
        let (group, place) = column.place;
        let Group { width, cells, .. } = &self.table.groups[group];
        match cells {
            Cells::Narrow(cells) => {
                partition(rows, spare, |row| left[usize::from(cells[row as usize * width + place])])
            }
            Cells::Wide(cells) => {
                partition(rows, spare, |row| left[usize::from(cells[row as usize * width + place])])
            }
        }
    }
}

/// The gradients and hessians of `rows`, in their order.
fn gather(rows: &[u32], pairs: &[Pair], to: &mut [Pair]) {
    let gather = |(rows, to): (&[u32], &mut [Pair])| {
        to.iter_mut().zip(rows).for_each(|(to, row)| *to = pairs[*row as usize]);
    };
    if rows.len() <= BLOCK {
        gather((rows, to));
    } else {
        rows.par_chunks(BLOCK).zip(to.par_chunks_mut(BLOCK)).for_each(gather);
    }
}

/// A number for each way from the root, which tells the draws of one leaf from those of others.
fn path(above: u64, side: usize) -> u64 {
    (above ^ (side as u64 + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31)
}

/// A share of `count`, at least 1 of them.
pub(crate) fn share(count: usize, share: f64) -> usize {
    ((count as f64 * share).round() as usize).clamp(1, count.max(1))
}

impl<'r> Grown<'r> {
    /// Up to `most` leaves that can be split, those that gain most first.
    fn ranked(&self, most: usize) -> Vec<usize> {
        let gain = |leaf: &usize| self.leaves[*leaf].split.as_ref().map_or(0.0, |split| split.gain);
        let splits = |leaf: &usize| self.leaves[*leaf].split.is_some();
        let mut ranked: Vec<usize> = (0..self.leaves.len()).filter(splits).collect();
        ranked.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
        ranked.truncate(most);
        ranked
    }

    /// Makes a prepared leaf a branch: its left child takes its place, the right one comes last.
    fn commit(&mut self, at: usize) {
        let leaf = &mut self.leaves[at];
        let (Some(split), Some(children)) = (leaf.split.take(), leaf.children.take()) else {
            return;
        };
        let branch = self.branches.len();
        if let Some((above, side)) = leaf.parent {
            self.branches[above].children[side] = Child::Branch(branch as u32);
        }
        let [mut left, mut right] = *children;
        (left.parent, right.parent) = (Some((branch, 0)), Some((branch, 1)));
        let rows = leaf.state.rows;
        let children = [Child::Leaf(at as u32), Child::Leaf(self.leaves.len() as u32)];
        self.branches.push(GrownBranch { split, children, rows });
        self.leaves[at] = left;
        self.leaves.push(right);
    }

    /// Whether the rows could not be parted.
    pub(crate) fn is_stump(&self) -> bool {
        self.branches.is_empty()
    }

    /// Whether the sums that leaf values come from are within what single precision holds.
    pub(crate) fn is_finite(&self) -> bool {
        let sums = self.leaves.iter().flat_map(|leaf| leaf.state.sums);
        sums.map(|sum| sum as f32).all(f32::is_finite)
    }

    /// The leaves, of which the values may still change.
    pub(crate) fn leaves_mut(&mut self) -> Vec<LeafMut<'_>> {
        self.leaves.iter_mut().map(Leaf::view).collect()
    }

    /// The value of the leaf that a row of `table` is in.
    pub(crate) fn value_of(&self, table: &BinnedTable, row: usize) -> f32 {
        let mut child = if self.is_stump() { Child::Leaf(0) } else { Child::Branch(0) };
        loop {
            match child {
                Child::Leaf(leaf) => return self.leaves[leaf as usize].value as f32,
                Child::Branch(branch) => {
                    let branch = &self.branches[branch as usize];
                    let column = &table.columns[branch.split.column];
                    let (group, place) = column.place;
                    let bin = table.groups[group].bin(row, place);
                    child = branch.children
                        [usize::from(!branch.split.test.goes_left(bin, column.missing))];
                }
            }
        }
    }

    /// The tree for rows as they are, without bins.
    pub(crate) fn tree(&self, table: &BinnedTable, output: usize) -> Tree {
        let branch = |branch: &GrownBranch| {
            let column = &table.columns[branch.split.column];
            let (condition, missing_left) = branch.split.test.condition(column);
            Branch {
                column: column.source as u32,
                condition,
                missing_left,
                children: branch.children,
                gain: branch.split.gain as f32,
                rows: branch.rows as u32,
            }
        };
        let leaf =
            |leaf: &Leaf<'_>| ForestLeaf { value: leaf.value as f32, rows: leaf.state.rows as u32 };
        Tree {
            output,
            branches: self.branches.iter().map(branch).collect(),
            leaves: self.leaves.iter().map(leaf).collect(),
        }
    }
}

impl Test {
    fn goes_left(&self, bin: usize, missing: Option<usize>) -> bool {
        match self {
            Self::UpTo { missing: left, .. } if Some(bin) == missing => *left,
            Self::UpTo { bin: last, .. } => bin <= *last,
            Self::Among(bins) => bins.contains(&bin),
        }
    }

    /// For each bin of `column`, whether it goes left.
    fn left_bins(&self, column: &BinnedColumn) -> Vec<bool> {
        (0..column.bins).map(|bin| self.goes_left(bin, column.missing)).collect()
    }

    /// The same for cells, and whether missing ones go left.
    fn condition(&self, column: &BinnedColumn) -> (Condition, bool) {
        match (self, &column.content) {
            (Self::UpTo { bin, missing }, Content::Numbers(cuts)) => {
                // After the last cut there are only missing cells.
                (Condition::UpTo(cuts.get(*bin).copied().unwrap_or(f32::INFINITY)), *missing)
            }
            (Self::Among(bins), Content::Categories { codes, .. }) => {
                let known = bins.iter().filter_map(|bin| codes.get(*bin).copied());
                let mut members: Vec<u32> = known.collect();
                members.sort_unstable();
                let missing = column.missing.is_some_and(|missing| bins.contains(&missing));
                (Condition::Among(members), missing)
            }
            // A search asks of a column only what its content can answer.
            _ => (Condition::Among(Vec::new()), false),
        }
    }
}
