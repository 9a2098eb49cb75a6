//! Gradient boosted trees on tables.

use std::ops::ControlFlow;

use luthier_space::{Distribution, Space, Values};

use crate::trees::{
    Forest, LeafRules, Link, Objective, Round, RowSampling, TreeOptions, fit_trees,
};
use crate::{Fitted, Job, Learned, Learner, Network, Step, TableTask, TrainError};

/// Trees that are grown one after another, each on what those before get wrong, by histograms.
///
/// Where there are validation rows, fitting ends when their loss has not fallen for a while, and the rounds up
/// to the smallest are kept; every report, and the result, is of these.
#[derive(Debug, Clone, Copy)]
pub struct BoostedTrees {
    /// Whether rows are labelled with numbers.
    pub(crate) numbers: bool,
}

/// Rounds between two reports.
const ROUNDS_PER_STEP: u64 = 10;
/// Rounds without a smaller validation loss after which fitting ends. At least [`ROUNDS_PER_STEP`], so that
/// the last report before is of the result.
const PATIENCE: u64 = 50;

/// Shares as in LightGBM.
const GOSS: RowSampling = RowSampling::Gradient { greatest: 0.2, others: 0.1 };

impl Learner for BoostedTrees {
    fn name(&self) -> &'static str {
        "boosted-trees"
    }

    fn space(&self) -> Space {
        let mut space = Space::of([
            ("learning_rate", Distribution::log_float(0.01, 0.3)),
            ("rounds", Distribution::log_int(20, 600)),
            ("leaves", Distribution::log_int(4, 64)),
            ("min_rows", Distribution::log_int(2, 100)),
            ("l2", Distribution::log_float(1e-3, 30.0)),
            ("rows", Distribution::float(0.5, 1.0)),
            ("columns", Distribution::float(0.3, 1.0)),
            ("sampling", Distribution::choice(["rows"])),
        ]);
        if self.numbers {
            space.add("loss", Distribution::choice(["squared", "absolute"]));
            space.add("quantile", Distribution::float(0.5, 0.5));
        }
        space
    }

    fn proposal(&self) -> Values {
        let mut values = Values::default();
        values.insert("learning_rate", 0.05);
        values.insert("rounds", 150);
        values.insert("leaves", 15);
        values.insert("min_rows", 20);
        values.insert("l2", 1.0);
        values.insert("rows", 0.8);
        values.insert("columns", 0.8);
        values.insert("sampling", "rows");
        if self.numbers {
            values.insert("loss", "squared");
            values.insert("quantile", 0.5);
        }
        values
    }

    fn more_options(&self, parameter: &str) -> &'static [&'static str] {
        match parameter {
            "loss" => &["quantile", "poisson"],
            "sampling" => &["goss"],
            _ => &[],
        }
    }

    fn keeps_monotone(&self) -> bool {
        true
    }

    fn steps(&self) -> (&'static str, u64) {
        ("rounds", ROUNDS_PER_STEP)
    }

    fn fit(
        &self,
        job: &Job<'_>,
        report: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Fitted, TrainError> {
        let table = job.data.table()?;
        let options = options(job.values, table.task)?;
        let steps = options.rounds.div_ceil(ROUNDS_PER_STEP);
        let (mut valid, mut settled) = (Vec::new(), None);
        let forest = fit_trees(table, &options, job.seed, &mut |state| {
            let Round { round, loss, forest, best, .. } = state;
            if job.host.go_on().is_err() {
                return ControlFlow::Break(());
            }
            if round % ROUNDS_PER_STEP != 0 && round != options.rounds {
                return ControlFlow::Continue(());
            }
            valid = forest.answers(&best.margins);
            settled = loss.map(|_| best.round);
            report(Step {
                epoch: round.div_ceil(ROUNDS_PER_STEP),
                epochs: steps,
                valid: &valid,
                network: &|| Network::Forest(forest.first(best.trees)),
            })
        })?;
        Ok(Fitted { settled, ..Fitted::of(Learned::Forest(forest), valid) })
    }
}

fn options(values: &Values, task: TableTask) -> Result<TreeOptions, TrainError> {
    let objective = match task {
        TableTask::Classes(2) => Objective::Logistic,
        TableTask::Classes(classes) => Objective::Softmax(classes),
        TableTask::Number => match values.text("loss")? {
            "absolute" => Objective::Absolute,
            "quantile" => Objective::Quantile(values.float("quantile")?),
            "poisson" => Objective::Poisson,
            _ => Objective::Squared,
        },
    };
    let count = |name| Ok::<_, TrainError>(values.int(name)?.max(1).cast_unsigned());
    Ok(TreeOptions {
        rounds: count("rounds")?,
        learning_rate: values.float("learning_rate")?,
        max_leaves: usize::try_from(count("leaves")?).unwrap_or(usize::MAX).max(2),
        leaf: LeafRules {
            min_rows: usize::try_from(count("min_rows")?).unwrap_or(usize::MAX),
            l2: values.float("l2")?,
            ..LeafRules::default()
        },
        rows: match values.text("sampling")? {
            "goss" => GOSS,
            _ => RowSampling::Share(values.float("rows")?),
        },
        columns: values.float("columns")?,
        patience: Some(PATIENCE),
        ..TreeOptions::new(objective)
    })
}

impl Forest {
    /// The forest of the first `trees` trees.
    fn first(&self, trees: usize) -> Self {
        Self {
            columns: self.columns,
            base: self.base.clone(),
            trees: self.trees[..trees].to_vec(),
            link: self.link,
        }
    }

    /// Probabilities, or numbers, of rows with these margins, row-major.
    pub(crate) fn answers(&self, margins: &[f32]) -> Vec<f32> {
        match (self.link, self.outputs()) {
            (Link::Softmax, 1) => {
                let of_margin = |margin: &f32| {
                    let p = 1.0 / (1.0 + (-margin).exp());
                    [1.0 - p, p]
                };
                margins.iter().flat_map(of_margin).collect()
            }
            (Link::Softmax, classes) => {
                let mut rows = margins.to_vec();
                rows.chunks_exact_mut(classes).for_each(crate::bag::softmax);
                rows
            }
            (Link::Identity, _) => margins.to_vec(),
            (Link::Exp, _) => margins.iter().map(|margin| margin.exp()).collect(),
        }
    }
}
