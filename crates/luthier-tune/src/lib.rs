//! Samplers, pruners, trials: the thinking part of a study.
//!
//! Start from [`Sampler`]: given a space, a direction and the trials so far ([`Request`]), it names
//! the configuration to try next. A [`Pruner`] says when a running [`Trial`] is not worth finishing.
//! [`Tpe`] is the default sampler and follows the tree-structured Parzen estimator of Optuna 5, with
//! two differences: conditional dimensions are part of the joint model, and no configuration that
//! was already tried is proposed again. [`Gp`] costs more per proposal and needs far fewer of them
//! where scores are smooth.
//!
//! Everything here is a pure function of its arguments. A sampler keeps no state between calls and
//! draws from a generator keyed by the study's seed and the trial's number, so a study can be
//! stopped, continued or spread over workers and propose the same trials. The crate knows nothing of
//! models, threads, clocks, files or databases.

mod name;
mod pruner;
mod rank;
mod sampler;
mod trial;
mod view;

pub use name::UnknownName;
pub use pruner::{
    Halving, Hyperband, InvalidPruner, Median, PRUNERS, Patience, Percentile, Pruner, PrunerSpec,
    Threshold, Verdict, Wilcoxon,
};
pub use rank::{best, front, hypervolume, margin};
pub use sampler::{
    CmaEs, Gp, Grid, Nsga2, Random, Request, SAMPLERS, Sampler, Sobol, Tpe, sampler_by_name,
    trial_seed,
};
pub use trial::{Direction, State, Step, Tiebreak, Trial};
pub use view::View;
