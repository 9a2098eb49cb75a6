//! Bayesian optimisation with a Gaussian process.

use std::collections::BTreeMap;

use luthier_space::Values;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::frame::{Frame, Point};
use super::history::History;
use super::lattice::Lattice;
use super::normal::quantile;
use super::points::Points;
use super::proposed::Proposed;
use super::random::draw_new;
use super::sobol;
use super::{Request, Sampler};

mod acquisition;
mod boxes;
mod features;
mod improvement;
mod kernel;
mod minimise;
mod model;
mod observed;
mod search;
mod warp;

use acquisition::{Acquisition, Goal};
use features::{Kind, features, kinds};
use model::{Model, Shape};
use observed::Observed;
use search::{Region, Search};

/// A Gaussian process over all dimensions, options and branches included, and the point with the
/// highest expected improvement.
///
/// It begins with a Sobol sequence. Losses are warped by rank where they are bad, so that a few
/// disasters do not flatten the rest; the value to improve on is the highest that the process
/// believes in at a point that was tried, not the luckiest observation. The values of pending trials
/// are imagined in several versions, over which the improvement is averaged. A trial that was stopped
/// is taken to end as the complete ones did that had its rank at its last step. While little is known,
/// proposals stay near what was seen.
///
/// Each of several objectives has a process of its own, and the improvement is the volume that a
/// point is expected to add to what the front dominates; no more than three are advisable. Each
/// measured limit has one too: what is expected is multiplied by the probability that all are kept.
#[derive(Debug, Clone, Copy)]
pub struct Gp {
    /// Number of complete and pruned trials below which the Sobol sequence is followed; `None` for
    /// one more than there are dimensions, but from 6 to 12.
    pub startup_trials: Option<usize>,
    /// Most trials that the process sees, the best and the newest of them.
    pub most_trials: usize,
    /// Most of these that its shape is fitted to.
    pub most_fitted: usize,
}

impl Default for Gp {
    fn default() -> Self {
        Self { startup_trials: None, most_trials: 320, most_fitted: 112 }
    }
}

/// Versions in which the values of pending trials are imagined.
const VERSIONS: u32 = 32;

impl Sampler for Gp {
    fn suggest(&self, request: &Request<'_>) -> Option<Values> {
        let frame = Frame::new(request.space)?;
        let proposed = Proposed::new(&frame, request.trials, Lattice::all(&frame));
        let mut rng = request.rng();
        if proposed.left() == Some(0) {
            return None;
        }
        let points = Points::of(&frame, request.trials.iter().map(|trial| &trial.values));
        let history = History::new(&points, request);
        let startup = self.startup_trials.unwrap_or((frame.axes.len() + 1).clamp(6, 12));
        if history.finished() < startup {
            return sobol::next_new(&frame, &proposed, request, &mut rng)
                .map(|point| frame.decode(&point));
        }
        let found = self.improve(&frame, &history, &proposed, &mut rng);
        let point = found.or_else(|| draw_new(&frame, &proposed, &mut rng))?;
        Some(frame.decode(&point))
    }
}

impl Gp {
    /// The losses, on a scale of their own, that are expected of trials with scores, by number: those
    /// that the process has seen. Of the first objective.
    pub(crate) fn expected(&self, request: &Request<'_>) -> BTreeMap<u64, f64> {
        let Some(frame) = Frame::new(request.space) else { return BTreeMap::new() };
        let points = Points::of(&frame, request.trials.iter().map(|trial| &trial.values));
        let history = History::new(&points, request);
        let kinds = kinds(&frame);
        let observed = Observed::new(&frame, &history, self.most_trials);
        let model = observed
            .values
            .first()
            .and_then(|values| self.fitted(&kinds, observed.features.clone(), values));
        let Some(model) = model else { return BTreeMap::new() };
        let losses = observed.believed(&[model]).into_iter().map(|losses| losses[0]);
        observed.numbers.iter().copied().zip(losses).collect()
    }

    fn improve(
        &self,
        frame: &Frame<'_>,
        history: &History<'_>,
        proposed: &Proposed<'_>,
        rng: &mut ChaCha8Rng,
    ) -> Option<Point> {
        let kinds = kinds(frame);
        let observed = Observed::new(frame, history, self.most_trials);
        let objectives = observed.values.iter();
        let objectives: Vec<Model<'_>> = objectives
            .map(|values| self.fitted(&kinds, observed.features.clone(), values))
            .collect::<Option<_>>()?;
        let limits = observed
            .limits()
            .into_iter()
            .map(|limit| Some((self.fitted(&kinds, limit.features, &limit.values)?, limit.least)));
        let limits: Vec<(Model<'_>, f64)> = limits.collect::<Option<_>>()?;
        let believed = observed.believed(&objectives);
        let (goal, seen) = (observed.goal(&believed), observed.best_first(&believed));
        let pending: Vec<_> =
            history.pending.iter().map(|seen| features(frame, seen.point)).collect();
        let acquisition = match goal {
            Goal::Best(best) if !pending.is_empty() => {
                let draws = normal_draws(pending.len(), rng);
                let imagined = objectives.into_iter().next()?.imagining(pending, &draws)?;
                Acquisition { objectives: Vec::new(), goal: Goal::BestOf(best, imagined), limits }
            }
            goal => {
                let objectives =
                    objectives.into_iter().map(|model| model.pretending(pending.clone()));
                let objectives = objectives.collect::<Option<_>>()?;
                Acquisition { objectives, goal, limits }
            }
        };
        let region = Region::new(frame, &seen);
        Search { frame, acquisition: &acquisition, region }.find(&seen, proposed, rng)
    }

    /// A process whose shape is fitted to some of the values.
    fn fitted<'a>(
        &self,
        kinds: &'a [Kind],
        points: Vec<Vec<f64>>,
        values: &[f64],
    ) -> Option<Model<'a>> {
        let chosen = spread(values, self.most_fitted);
        let shape = Shape::fit(
            kinds,
            &chosen.iter().map(|at| points[*at].clone()).collect::<Vec<_>>(),
            &chosen.iter().map(|at| values[*at]).collect::<Vec<_>>(),
        );
        Model::new(kinds, shape, points, values)
    }
}

/// Draws of so many numbers from the standard normal distribution, spread by the Sobol sequence.
fn normal_draws(count: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let scramble = rng.random();
    let draw = |version: u32, index: usize| {
        let share = f64::from(sobol_burley::sample(version, index as u32 % 256, scramble));
        quantile(share.clamp(1e-6, 1.0 - 1e-6))
    };
    (0..VERSIONS).map(|version| (0..count).map(|index| draw(version, index)).collect()).collect()
}

/// Places of at most `most` values, in order: the best half of them, and others evenly from the rest
/// as it is ranked.
fn spread(values: &[f64], most: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    if values.len() <= most {
        return order;
    }
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    let (best, others) = order.split_at(most / 2);
    let wanted = most - most / 2;
    let evenly = (0..wanted).map(|place| others[place * others.len() / wanted]);
    let mut places: Vec<usize> = best.iter().copied().chain(evenly).collect();
    places.sort_unstable();
    places
}
