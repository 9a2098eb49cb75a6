//! Boosted trees on tables.
//!
//! Start from [`fit_trees`]: columns and [`TreeOptions`] in, a [`Forest`] out. Trees are grown by histograms,
//! best leaf first, as in LightGBM (Ke et al. 2017), whose rules for missing cells, sets of categories and
//! leaf values they follow. Work is shared by the threads of the pool that the caller installed; the
//! forest does not depend on how many these are.

mod bins;
mod export;
mod forest;
mod grow;
mod histogram;
mod objective;
mod partition;
mod read;
mod sample;
mod shap;
mod split;

use std::ops::ControlFlow;

use rayon::prelude::*;

use crate::TrainError;
use crate::table::{TableData, TableTargets};

pub use forest::{Branch, Child, Condition, Forest, Importance, Leaf, Link, Tree};

use bins::BinnedTable;
use grow::{Ground, Grower, Grown, Seedling};
use histogram::{Histograms, Pair};
use sample::Sampler;

/// Bins of a column at most, those of missing cells apart; two more must fit.
const MOST_BINS: usize = u16::MAX as usize - 1;

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    /// Cross-entropy of two classes.
    Logistic,
    /// Cross-entropy of so many classes, with a tree for each in every round.
    Softmax(usize),
    /// Squared error.
    Squared,
    /// Absolute error.
    Absolute,
    /// Pinball loss of this quantile, above 0 and below 1.
    Quantile(f64),
    /// Deviance of counts; the forest tells their logarithm.
    Poisson,
}

/// Which rows a tree is grown on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RowSampling {
    /// A share of them, drawn anew for each round; 1 for all.
    Share(f64),
    /// Those of the greatest gradients, and a few others that count for the rest (GOSS, Ke et al. 2017).
    Gradient {
        /// Share of the rows that are taken for their gradient.
        greatest: f64,
        /// Share of the rows that are drawn from the others.
        others: f64,
    },
}

/// How trees are grown.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeOptions {
    /// What is minimised.
    pub objective: Objective,
    /// Rounds of boosting; each grows a tree per output.
    pub rounds: u64,
    /// What leaf values are multiplied by, above 0.
    pub learning_rate: f64,
    /// Leaves of a tree at most, at least 2.
    pub max_leaves: usize,
    /// Questions on the way to a leaf at most.
    pub max_depth: usize,
    /// Bins of a column at most, those of missing cells apart; 2 to 65,534.
    pub bins: usize,
    /// Which leaves there may be.
    pub leaf: LeafRules,
    /// Which rows a round sees.
    pub rows: RowSampling,
    /// Share of the columns that a tree sees, above 0 to 1.
    pub columns: f64,
    /// Share of the tree's columns that the split of a leaf is chosen from, above 0 to 1.
    pub columns_per_leaf: f64,
    /// Rounds without a smaller validation loss after which boosting ends; what came after the smallest is
    /// left out.
    pub patience: Option<u64>,
}

/// Which leaves there may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeafRules {
    /// Rows of a leaf at least, as told from their hessians.
    pub min_rows: usize,
    /// Sum of hessians of a leaf at least.
    pub min_weight: f64,
    /// What a split must gain at least.
    pub min_gain: f64,
    /// Weight of the sum of absolute leaf values.
    pub l1: f64,
    /// Weight of the sum of squared leaf values.
    pub l2: f64,
    /// How categories are parted.
    pub categories: CategoryRules,
}

/// How categories are parted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CategoryRules {
    /// Up to so many categories, one of them is parted from the rest; beyond, sets are.
    pub one_versus_rest: usize,
    /// Hessian that is added to that of each category to sort them, and rows that one must have.
    pub smoothing: f64,
    /// Added to `l2` for splits by sets.
    pub l2: f64,
    /// Categories of a set at most.
    pub most: usize,
    /// Rows by which a set grows at least from one that is tried to the next.
    pub group_rows: f64,
}

impl Default for LeafRules {
    fn default() -> Self {
        Self {
            min_rows: 20,
            min_weight: 1e-3,
            min_gain: 0.0,
            l1: 0.0,
            l2: 0.0,
            categories: CategoryRules::default(),
        }
    }
}

impl Default for CategoryRules {
    fn default() -> Self {
        Self { one_versus_rest: 4, smoothing: 10.0, l2: 10.0, most: 32, group_rows: 100.0 }
    }
}

impl TreeOptions {
    /// LightGBM's defaults for `objective`.
    pub fn new(objective: Objective) -> Self {
        Self {
            objective,
            rounds: 100,
            learning_rate: 0.1,
            max_leaves: 31,
            max_depth: usize::MAX,
            bins: 255,
            leaf: LeafRules::default(),
            rows: RowSampling::Share(1.0),
            columns: 1.0,
            columns_per_leaf: 1.0,
            patience: None,
        }
    }
}

impl TreeOptions {
    fn check(&self) -> Result<(), TrainError> {
        let share = |share: f64| share > 0.0 && share <= 1.0;
        let weight = |weight: f64| weight >= 0.0 && weight.is_finite();
        let (leaf, categories) = (&self.leaf, &self.leaf.categories);
        let rows = match self.rows {
            RowSampling::Share(rows) => share(rows),
            RowSampling::Gradient { greatest, others } => {
                share(greatest) && share(others) && share(greatest + others)
            }
        };
        let objective = match self.objective {
            Objective::Softmax(classes) => classes >= 2,
            Objective::Quantile(alpha) => alpha > 0.0 && alpha < 1.0,
            _ => true,
        };
        let options = [
            ("objective", objective),
            ("learning_rate", self.learning_rate > 0.0 && self.learning_rate.is_finite()),
            ("max_leaves", self.max_leaves >= 2),
            ("bins", (2..=MOST_BINS).contains(&self.bins)),
            ("min_weight", weight(leaf.min_weight)),
            ("min_gain", weight(leaf.min_gain)),
            ("l1", weight(leaf.l1)),
            ("l2", weight(leaf.l2)),
            ("smoothing", weight(categories.smoothing)),
            ("categories.l2", weight(categories.l2)),
            ("group_rows", weight(categories.group_rows)),
            ("rows", rows),
            ("columns", share(self.columns)),
            ("columns_per_leaf", share(self.columns_per_leaf)),
        ];
        match options.into_iter().find(|(_, good)| !good) {
            Some((name, _)) => Err(TrainError::Option { name }),
            None => Ok(()),
        }
    }
}

/// The state after a round.
#[derive(Clone, Copy)]
pub struct Round<'a> {
    /// Rounds done, from 1.
    pub round: u64,
    /// Margins of the validation rows, row-major `[rows, outputs]`.
    pub margins: &'a [f32],
    /// Mean loss of the validation rows, where there are any.
    pub loss: Option<f64>,
    /// The trees so far.
    pub forest: &'a Forest,
    /// The state after the round of the smallest validation loss so far; of this one where there are no
    /// validation rows.
    pub best: &'a Best,
}

/// The state after the best round so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Best {
    /// The round, from 1.
    pub round: u64,
    /// How many trees there were.
    pub trees: usize,
    /// As in [`Round`].
    pub margins: Vec<f32>,
}

/// Grows a forest on the training rows of `data`. After each round `report` gets its state; when it breaks,
/// fitting ends with [`TrainError::Stopped`].
pub fn fit_trees(
    data: &TableData,
    options: &TreeOptions,
    seed: u64,
    report: &mut dyn FnMut(Round<'_>) -> ControlFlow<()>,
) -> Result<Forest, TrainError> {
    options.check()?;
    data.check(|target| options.objective.takes(target))?;
    let table = BinnedTable::new(&data.columns, data.train.values.len(), options.bins);
    let mut booster = Booster::new(data, &table, options, seed);
    let (mut best, mut best_loss) = (Best::default(), f64::INFINITY);
    for round in 1..=options.rounds {
        booster.boost(round);
        let loss = booster.valid_loss();
        if loss.is_some_and(|loss| !loss.is_finite()) || !booster.finite {
            return Err(TrainError::Diverged { epoch: round });
        }
        let Booster { forest, valid_margins: margins, .. } = &booster;
        if loss.is_none_or(|loss| loss < best_loss) {
            best_loss = loss.unwrap_or(best_loss);
            (best.round, best.trees) = (round, forest.trees.len());
            best.margins.clone_from(margins);
        }
        let state = Round { round, margins, loss, forest, best: &best };
        if report(state).is_break() && round < options.rounds {
            return Err(TrainError::Stopped);
        }
        if options.patience.is_some_and(|patience| round - best.round >= patience) {
            break;
        }
    }
    let mut forest = booster.forest;
    if options.patience.is_some() {
        forest.trees.truncate(best.trees);
    }
    Ok(forest)
}

struct Booster<'a> {
    data: &'a TableData,
    options: &'a TreeOptions,
    grower: Grower<'a>,
    sampler: Sampler,
    seed: u64,
    forest: Forest,
    /// Output by output.
    margins: Vec<f32>,
    /// Output by output.
    pairs: Vec<Pair>,
    /// Cells of the validation rows, row by row.
    valid_cells: Vec<f32>,
    /// Row by row.
    valid_margins: Vec<f32>,
    ground: Ground,
    /// Whether all sums and leaf values were numbers so far.
    finite: bool,
}

impl<'a> Booster<'a> {
    fn new(
        data: &'a TableData,
        table: &'a BinnedTable,
        options: &'a TreeOptions,
        seed: u64,
    ) -> Self {
        let base = options.objective.base(&data.train);
        let rows = data.train.values.len();
        let valid = data.valid.values.len();
        let valid_cells = (0..valid).flat_map(|row| data.columns.iter().map(move |c| c.valid[row]));
        let grower = Grower {
            table,
            rules: &options.leaf,
            max_leaves: options.max_leaves,
            max_depth: options.max_depth,
            columns_per_leaf: options.columns_per_leaf,
            monotone: data.columns.iter().map(|column| column.monotone).collect(),
            histograms: Histograms::default(),
        };
        Self {
            margins: base.iter().flat_map(|base| std::iter::repeat_n(*base, rows)).collect(),
            pairs: vec![[0.0; 2]; rows * base.len()],
            valid_cells: valid_cells.collect(),
            valid_margins: base.repeat(valid),
            forest: Forest {
                columns: data.columns.len(),
                base,
                trees: Vec::new(),
                link: options.objective.link(),
            },
            grower,
            sampler: Sampler::new(options, seed),
            data,
            options,
            seed,
            ground: Ground::default(),
            finite: true,
        }
    }

    /// Grows one tree for each output.
    fn boost(&mut self, round: u64) {
        let rows = self.grower.table.rows;
        self.options.objective.gradients(&self.margins, &self.data.train, &mut self.pairs);
        let sampled = self.sampler.rows(round, rows, &mut self.pairs);
        for output in 0..self.forest.outputs() {
            let columns = self.sampler.columns(round, output, self.grower.table.columns.len());
            let seedling = Seedling {
                columns: &columns,
                pairs: &self.pairs[output * rows..][..rows],
                seed: self.seed.wrapping_add(round << 20).wrapping_add(output as u64),
            };
            self.ground.rows.clear();
            match &sampled {
                Some(sampled) => self.ground.rows.extend_from_slice(sampled),
                None => self.ground.rows.extend(0..rows as u32),
            }
            let mut grown = self.grower.grow(&seedling, &mut self.ground);
            self.finite &= grown.is_finite();
            if grown.is_stump() {
                continue;
            }
            let margins = &mut self.margins[output * rows..][..rows];
            settle(&mut grown, self.options, &self.data.train, margins);
            if let Some(sampled) = &sampled {
                self.sampler.add_others(&grown, self.grower.table, sampled, margins);
            }
            let tree = grown.tree(self.grower.table, output);
            let outputs = self.forest.outputs();
            tree.add(
                &self.valid_cells,
                self.forest.columns.max(1),
                &mut self.valid_margins,
                outputs,
            );
            self.forest.trees.push(tree);
        }
    }

    fn valid_loss(&self) -> Option<f64> {
        let rows = !self.data.valid.values.is_empty();
        rows.then(|| self.options.objective.loss(&self.valid_margins, &self.data.valid))
    }
}

/// Gives leaves their last values and adds these to the margins of their rows.
fn settle(
    grown: &mut Grown<'_>,
    options: &TreeOptions,
    targets: &TableTargets,
    margins: &mut [f32],
) {
    let mut leaves = grown.leaves_mut();
    if let Some(alpha) = options.objective.leaf_quantile() {
        leaves.par_iter_mut().for_each(|leaf| {
            let short = |row: usize| (targets.values[row] - margins[row], targets.weights[row]);
            let value = objective::quantile(leaf.rows().map(short).collect(), alpha);
            *leaf.value = value.max(leaf.bounds[0]).min(leaf.bounds[1]);
        });
    }
    for leaf in leaves {
        *leaf.value *= options.learning_rate;
        for row in leaf.rows() {
            margins[row] += *leaf.value as f32;
        }
    }
}

#[cfg(test)]
mod tests;
