//! What each column contributes to an answer.
//!
//! Shapley values of the game in which a tree goes on with both children, weighed by their training rows,
//! where the column of a branch is not known (path-dependent TreeSHAP, algorithm 2 of Lundberg et al. 2018).

use rayon::prelude::*;

use super::forest::{Child, Forest, Tree};

impl Forest {
    /// What each column of each row adds to each margin, and last what all rows begin with: row-major
    /// `[rows, outputs, columns + 1]`. For each row and output these sum to the margin. `cells` is as
    /// in [`Forest::predict`].
    pub fn contributions(&self, cells: &[f32]) -> Vec<f32> {
        let columns = self.columns.max(1);
        let (width, outputs) = (self.columns + 1, self.outputs());
        let expected = self.expected();
        let row = |row: &[f32]| {
            let mut sums = vec![0.0; outputs * width];
            let mut paths = Vec::new();
            for tree in &self.trees {
                let sums = &mut sums[tree.output * width..][..width];
                Descent { tree, row, sums }.visit(Child::Branch(0), &mut paths, 0, Element::START);
            }
            for (sums, expected) in sums.chunks_exact_mut(width).zip(&expected) {
                sums[width - 1] = *expected;
            }
            sums.into_iter().map(|sum| sum as f32).collect::<Vec<_>>()
        };
        cells.par_chunks_exact(columns).flat_map_iter(row).collect()
    }

    /// The mean margin of the training rows, as far as the trees tell.
    fn expected(&self) -> Vec<f64> {
        let mut means: Vec<f64> = self.base.iter().map(|base| f64::from(*base)).collect();
        for tree in &self.trees {
            let total: f64 = tree.leaves.iter().map(|leaf| f64::from(leaf.rows)).sum();
            let sum = |leaf: &super::Leaf| f64::from(leaf.value) * f64::from(leaf.rows) / total;
            means[tree.output] += tree.leaves.iter().map(sum).sum::<f64>();
        }
        means
    }
}

/// A column on the way to a node.
#[derive(Debug, Clone, Copy)]
struct Element {
    column: u32,
    /// Share of the rows that come along where the column is not known.
    unknown: f64,
    /// 1 where the row comes along when it is known, else 0.
    known: f64,
    /// Share of the subsets of the columns so far, by their size.
    weight: f64,
}

impl Element {
    /// Stands before the first column.
    const START: Self = Self { column: u32::MAX, unknown: 1.0, known: 1.0, weight: 0.0 };
}

struct Descent<'a> {
    tree: &'a Tree,
    row: &'a [f32],
    sums: &'a mut [f64],
}

impl Descent<'_> {
    /// Goes on to `child` by way of `step`. The path to its parent is what `paths` holds from `parent` on.
    fn visit(&mut self, child: Child, paths: &mut Vec<Element>, parent: usize, step: Element) {
        let start = paths.len();
        paths.extend_from_within(parent..start);
        extend(paths, start, step);
        match child {
            Child::Leaf(leaf) => {
                let value = f64::from(self.tree.leaves[leaf as usize].value);
                let path = &paths[start..];
                for (at, element) in path.iter().enumerate().skip(1) {
                    let share = unwound_sum(path, at) * (element.known - element.unknown);
                    self.sums[element.column as usize] += share * value;
                }
            }
            Child::Branch(branch) => {
                let branch = &self.tree.branches[branch as usize];
                let known = |element: &Element| element.column == branch.column;
                let mut step = Element { column: branch.column, ..Element::START };
                if let Some(at) = paths[start..].iter().position(known) {
                    step = Element { weight: 0.0, ..paths[start + at] };
                    unwind(paths, start, at);
                }
                let hot = branch.child(self.row);
                for child in branch.children {
                    let share = f64::from(self.tree.rows(child)) / f64::from(branch.rows);
                    let known = if child == hot { step.known } else { 0.0 };
                    let step = Element { unknown: step.unknown * share, known, ..step };
                    self.visit(child, paths, start, step);
                }
            }
        }
        paths.truncate(start);
    }
}

/// Adds a column to the path that begins at `start`.
fn extend(paths: &mut Vec<Element>, start: usize, step: Element) {
    let depth = paths.len() - start;
    paths.push(Element { weight: if depth == 0 { 1.0 } else { 0.0 }, ..step });
    let path = &mut paths[start..];
    let length = (depth + 1) as f64;
    for at in (0..depth).rev() {
        path[at + 1].weight += step.known * path[at].weight * (at + 1) as f64 / length;
        path[at].weight *= step.unknown * (depth - at) as f64 / length;
    }
}

/// Takes the column at `at` out of the path that begins at `start`.
fn unwind(paths: &mut Vec<Element>, start: usize, at: usize) {
    let path = &mut paths[start..];
    let depth = path.len() - 1;
    let Element { unknown, known, .. } = path[at];
    let length = (depth + 1) as f64;
    let mut next = path[depth].weight;
    for place in (0..depth).rev() {
        let weight = path[place].weight;
        let others = (depth - place) as f64;
        if known == 0.0 {
            path[place].weight = weight * length / (unknown * others);
        } else {
            path[place].weight = next * length / ((place + 1) as f64 * known);
            next = weight - path[place].weight * unknown * others / length;
        }
    }
    for place in at..depth {
        let weight = path[place].weight;
        path[place] = Element { weight, ..path[place + 1] };
    }
    paths.pop();
}

/// The weights of `path` without the column at `at`, summed.
fn unwound_sum(path: &[Element], at: usize) -> f64 {
    let depth = path.len() - 1;
    let Element { unknown, known, .. } = path[at];
    let length = (depth + 1) as f64;
    let (mut sum, mut next) = (0.0, path[depth].weight);
    for place in (0..depth).rev() {
        let others = (depth - place) as f64;
        if known == 0.0 {
            sum += path[place].weight * length / (unknown * others);
        } else {
            let weight = next * length / ((place + 1) as f64 * known);
            sum += weight;
            next = path[place].weight - weight * unknown * others / length;
        }
    }
    sum
}
