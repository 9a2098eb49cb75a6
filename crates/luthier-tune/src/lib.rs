//! Samplers, pruners, trials: the thinking part of a study.
//!
//! Start from [`Sampler`]: given a space, which scores are better and the trials so far ([`Request`]),
//! it names the configuration to try next. A [`Pruner`] says when a running [`Trial`] is not worth
//! finishing. [`Auto`], the default sampler, hands over between the others: [`Gp`], a Gaussian process,
//! needs the fewest trials where scores are smooth; [`Tpe`] follows the tree-structured Parzen
//! estimator of Optuna 5, but takes conditional dimensions into the joint model; [`CmaEs`] and
//! [`Nsga2`] are for long searches. None proposes again what was already tried.
//!
//! Everything here is a pure function of its arguments. A sampler keeps no state between calls and
//! draws from a generator keyed by the study's seed and the trial's number, so a study can be
//! stopped, continued or spread over workers and propose the same trials. The crate knows nothing of
//! models, threads, clocks, files or databases.

mod choose;
mod folds;
mod mix;
mod name;
mod pruner;
mod rank;
mod sampler;
mod trial;
mod view;

pub use choose::{choose, finalists};
pub use folds::Folds;
pub use name::UnknownName;
pub use pruner::{
    Halving, Hyperband, InvalidPruner, Median, PRUNERS, Patience, Percentile, Pruner, PrunerSpec,
    Threshold, Verdict, Wilcoxon,
};
pub use rank::{best, front, hypervolume, margin};
pub use sampler::{
    Auto, CmaEs, Gp, Grid, Nsga2, Random, Request, SAMPLERS, Sampler, Sobol, Tpe, around_best,
    draw, sampler_by_name, trial_seed,
};
pub use trial::{Direction, State, Step, Tiebreak, Trial};
pub use view::View;
