//! Fitted trees.

use rayon::prelude::*;

use super::bins::category;

/// A sum of trees: what boosting gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    /// Columns of a row.
    pub columns: usize,
    /// What the trees add to, one number per output.
    pub base: Vec<f32>,
    /// The trees, in the order in which they are added.
    pub trees: Vec<Tree>,
    /// From margins to what is told.
    pub link: Link,
}

/// From margins to what is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// One margin is the logit of class 1; several are those of the classes.
    Softmax,
    /// The margin is the number.
    Identity,
    /// The margin is the number's logarithm.
    Exp,
}

/// A binary tree that adds to one output. The first branch is the root.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// The output.
    pub output: usize,
    /// Questions; there is at least one, and children come after their parents.
    pub branches: Vec<Branch>,
    /// Answers.
    pub leaves: Vec<Leaf>,
}

/// A question that a row answers with left or right.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// The column that it looks at.
    pub column: u32,
    /// Which cells go left, where they are not missing.
    pub condition: Condition,
    /// Whether missing cells go left.
    pub missing_left: bool,
    /// Left, right.
    pub children: [Child; 2],
    /// By how much it lowers the loss of the training rows.
    pub gain: f32,
    /// Training rows that come here.
    pub rows: u32,
}

/// Which cells go left.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Numbers up to and with this.
    UpTo(f32),
    /// These categories, ascending. All others, also such as training has not seen, go right.
    Among(Vec<u32>),
}

/// What follows a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    /// The branch of this number.
    Branch(u32),
    /// The leaf of this number.
    Leaf(u32),
}

/// What a tree adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leaf {
    /// The number added.
    pub value: f32,
    /// Training rows that come here.
    pub rows: u32,
}

/// How much a column does in a forest.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Importance {
    /// The gains of its branches, summed.
    pub gain: f64,
    /// Number of its branches.
    pub branches: u64,
}

/// Rows that are answered as one piece of work.
const BLOCK: usize = 512;

impl Branch {
    /// The child that a row goes to.
    #[inline]
    pub(crate) fn child(&self, row: &[f32]) -> Child {
        self.children[usize::from(!self.goes_left(row[self.column as usize]))]
    }

    fn goes_left(&self, cell: f32) -> bool {
        match &self.condition {
            _ if cell.is_nan() => self.missing_left,
            Condition::UpTo(last) => cell <= *last,
            Condition::Among(members) => {
                category(cell).is_some_and(|code| members.binary_search(&code).is_ok())
            }
        }
    }
}

impl Tree {
    /// Training rows that come to `child`.
    pub(crate) fn rows(&self, child: Child) -> u32 {
        match child {
            Child::Branch(branch) => self.branches[branch as usize].rows,
            Child::Leaf(leaf) => self.leaves[leaf as usize].rows,
        }
    }

    /// Share of the rows of a branch that goes left.
    pub(crate) fn left_share(&self, branch: &Branch) -> f32 {
        (f64::from(self.rows(branch.children[0])) / f64::from(branch.rows)) as f32
    }

    /// What the tree adds for a row.
    pub(crate) fn answer(&self, row: &[f32]) -> f32 {
        let mut child = Child::Branch(0);
        loop {
            match child {
                Child::Leaf(leaf) => return self.leaves[leaf as usize].value,
                Child::Branch(branch) => child = self.branches[branch as usize].child(row),
            }
        }
    }
}

impl Forest {
    /// Number of outputs: one for numbers and for two classes, else one per class.
    pub fn outputs(&self) -> usize {
        self.base.len()
    }

    /// Margins of rows, row-major `[rows, outputs]`. `cells` is row-major `[rows, columns]`, missing
    /// cells are not a number; cells that do not make up a row are left out.
    pub fn predict(&self, cells: &[f32]) -> Vec<f32> {
        let columns = self.columns.max(1);
        let mut margins = self.base.repeat(cells.len() / columns);
        let blocks = margins.par_chunks_mut(BLOCK * self.outputs());
        blocks.zip(cells.par_chunks(BLOCK * columns)).for_each(|(margins, cells)| {
            for tree in &self.trees {
                tree.add(cells, columns, margins, self.outputs());
            }
        });
        margins
    }

    /// How much each column does.
    pub fn importance(&self) -> Vec<Importance> {
        let mut columns = vec![Importance::default(); self.columns];
        for branch in self.trees.iter().flat_map(|tree| &tree.branches) {
            let column = &mut columns[branch.column as usize];
            column.gain += f64::from(branch.gain);
            column.branches += 1;
        }
        columns
    }
}

impl Tree {
    /// Adds to the margins of rows.
    pub(crate) fn add(&self, cells: &[f32], columns: usize, margins: &mut [f32], outputs: usize) {
        for (row, margins) in cells.chunks_exact(columns).zip(margins.chunks_exact_mut(outputs)) {
            margins[self.output] += self.answer(row);
        }
    }
}
