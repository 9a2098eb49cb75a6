//! Bayesian optimisation with a Gaussian process.

use luthier_space::Values;

use super::frame::{Frame, Point};
use super::history::History;
use super::lattice::Lattice;
use super::proposed::Proposed;
use super::random::draw_new;
use super::sobol;
use super::{Request, Sampler};

mod boxes;
mod features;
mod improvement;
mod minimise;
mod model;
mod search;
mod warp;

use features::{features, kinds};
use model::{Model, Shape};
use search::Search;
use warp::values_of;

/// A Gaussian process over all dimensions, options and branches included, and the point with the
/// highest expected improvement.
///
/// It begins with a Sobol sequence. Losses are warped by rank where they are bad, so that a few
/// disasters do not flatten the rest; the value to improve on is the highest that the process
/// believes in at a point that was tried, not the luckiest observation; pending trials count as if
/// they had the value believed. Pruned trials count as no better than the median of the others.
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

impl Sampler for Gp {
    fn suggest(&self, request: &Request<'_>) -> Option<Values> {
        let frame = Frame::new(request.space)?;
        let proposed = Proposed::new(&frame, request.trials, Lattice::all(&frame));
        let mut rng = request.rng();
        if proposed.left() == Some(0) {
            return None;
        }
        let history = History::new(&frame, request);
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
    fn improve(
        &self,
        frame: &Frame<'_>,
        history: &History<'_>,
        proposed: &Proposed<'_>,
        rng: &mut rand_chacha::ChaCha8Rng,
    ) -> Option<Point> {
        let observed = observed(history);
        let losses: Vec<f64> = observed.iter().map(|(loss, _)| *loss).collect();
        let values = values_of(&losses);
        let kept = kept(&values, self.most_trials);
        let seen: Vec<Vec<f64>> = kept.iter().map(|at| features(frame, observed[*at].1)).collect();
        let values: Vec<f64> = kept.iter().map(|at| values[*at]).collect();
        let kinds = kinds(frame);
        let fitted = spread(&values, self.most_fitted);
        let pick = |at: &usize| seen[*at].clone();
        let shape = Shape::fit(
            &kinds,
            &fitted.iter().map(pick).collect::<Vec<_>>(),
            &fitted.iter().map(|at| values[*at]).collect::<Vec<_>>(),
        );
        let model = Model::new(&kinds, shape, seen, &values)?;
        let believed: Vec<f64> =
            model.points().iter().map(|point| model.belief(point).mean).collect();
        let best = believed.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut order: Vec<usize> = (0..kept.len()).collect();
        order.sort_by(|a, b| believed[*b].total_cmp(&believed[*a]));
        let seen: Vec<&Point> = order.iter().map(|at| observed[kept[*at]].1).collect();
        let pending = history.pending.iter().map(|seen| features(frame, &seen.point)).collect();
        let model = model.pretending(pending)?;
        Search { frame, model: &model, best }.find(&seen, proposed, rng)
    }
}

/// Places of at most `most` values, in order: the best half of them, and of the others the newest.
fn kept(values: &[f64], most: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    if values.len() <= most {
        return order;
    }
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    let (best, others) = order.split_at(most / 2);
    let (mut best, mut others) = (best.to_vec(), others.to_vec());
    others.sort_unstable_by(|a, b| b.cmp(a));
    best.extend(others.into_iter().take(most - most / 2));
    best.sort_unstable();
    best
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

/// Losses of the first objective with their points. A trial that was stopped early is taken to be no
/// better than the median of the others.
fn observed<'a>(history: &'a History<'_>) -> Vec<(f64, &'a Point)> {
    let first = |losses: Vec<f64>| losses.first().copied().unwrap_or(f64::INFINITY);
    let complete = history.complete.iter();
    let mut observed: Vec<(f64, &Point)> =
        complete.map(|seen| (first(history.losses(seen)), &seen.point)).collect();
    let mut losses: Vec<f64> = observed.iter().map(|(loss, _)| *loss).collect();
    losses.sort_by(f64::total_cmp);
    let median = losses.get(losses.len() / 2).copied().unwrap_or(f64::NEG_INFINITY);
    let partial = history.partial.iter();
    observed
        .extend(partial.map(|seen| (first(history.last_losses(seen)).max(median), &seen.point)));
    observed
}
