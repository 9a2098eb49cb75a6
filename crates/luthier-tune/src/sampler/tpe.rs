//! The tree-structured Parzen estimator.

use std::cmp::Ordering;

use luthier_space::Values;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::frame::{Frame, Point};
use super::lattice::Lattice;
use super::parzen::Mixture;
use super::proposed::Proposed;
use super::random::draw_new;
use super::{Request, Sampler};
use crate::rank::{Place, Within, within_margin};
use crate::{Direction, State, Trial};

/// The tree-structured Parzen estimator (Bergstra et al. 2011; in the multivariate form of Falkner
/// et al. 2018) with the settings of Optuna 5.
///
/// The finished trials are split into the good ones, a tenth but at most 25, and the bad ones, to
/// which the pending trials are added so that parallel workers keep apart. A mixture of kernels is
/// fitted to each side; of some candidates drawn from the good one, the sampler proposes that with
/// the highest ratio of good to bad density that is new. Pruned trials rank behind complete ones, by
/// how far they came and then by their last score. Failed trials say nothing.
#[derive(Debug, Clone, Copy)]
pub struct Tpe {
    /// Number of complete and pruned trials below which sampling is random.
    pub startup_trials: usize,
    /// Number of candidates that compete for a proposal, at least 1.
    pub candidates: usize,
}

impl Default for Tpe {
    fn default() -> Self {
        Self { startup_trials: 10, candidates: 24 }
    }
}

/// Most configurations that are compared when those drawn from the mixture are all taken.
const LEFT_OVER: u64 = 256;

impl Sampler for Tpe {
    fn suggest(&self, request: &Request<'_>) -> Option<Values> {
        let frame = Frame::new(request.space)?;
        let proposed = Proposed::new(&frame, request.trials, Lattice::all(&frame));
        let mut rng = request.rng();
        if proposed.left() == Some(0) {
            return None;
        }
        let history = History::new(&frame, request.trials, request.direction());
        if history.finished() < self.startup_trials {
            return draw_new(&frame, &proposed, &mut rng).map(|point| frame.decode(&point));
        }
        let (good, bad) = history.split();
        let good = Mixture::fit(&frame, &good);
        let bad = Mixture::fit(&frame, &bad);
        let drawn = candidates(&good, self.candidates.max(1), &mut rng);
        let best = best_new(drawn, &good, &bad, &proposed).or_else(|| {
            let left = left_over(&frame, &proposed, &mut rng);
            best_new(left, &good, &bad, &proposed)
        });
        let point = best.or_else(|| draw_new(&frame, &proposed, &mut rng))?;
        Some(frame.decode(&point))
    }
}

/// The point with the highest ratio of good to bad density among those not proposed before.
fn best_new(
    points: Vec<Point>,
    good: &Mixture<'_>,
    bad: &Mixture<'_>,
    proposed: &Proposed<'_>,
) -> Option<Point> {
    let (good, bad) = (good.log_densities(&points), bad.log_densities(&points));
    let ratios = good.iter().zip(&bad).map(|(good, bad)| good - bad);
    let mut ranked: Vec<(f64, Point)> = ratios.zip(points).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranked.into_iter().map(|(_, point)| point).find(|point| !proposed.excludes(point))
}

/// So many points drawn from the good density, or fewer where they seldom keep the constraints.
fn candidates(good: &Mixture<'_>, count: usize, rng: &mut ChaCha8Rng) -> Vec<Point> {
    (0..count.saturating_mul(4)).filter_map(|_| good.draw(rng)).take(count).collect()
}

/// Configurations of a finite space that are left: all, or so many drawn at random.
fn left_over(frame: &Frame<'_>, proposed: &Proposed<'_>, rng: &mut ChaCha8Rng) -> Vec<Point> {
    match proposed.left() {
        Some(left) if left <= LEFT_OVER => {
            (0..left).filter_map(|index| proposed.nth_left(index)).collect()
        }
        Some(left) => {
            (0..LEFT_OVER).filter_map(|_| proposed.nth_left(rng.random_range(0..left))).collect()
        }
        None => (0..LEFT_OVER).map_while(|_| frame.draw(rng)).collect(),
    }
}

/// The trials as points, with what is known of them.
struct History {
    /// Complete and pruned trials, each with its place in the order of trials.
    finished: Vec<(Rank, usize, Point)>,
    /// Pending trials, likewise.
    pending: Vec<(usize, Point)>,
}

/// What finished trials are ordered by, the best first: complete ones as [`best`](crate::best) has
/// it, then pruned ones by their last step, descending, and their loss there.
enum Rank {
    Complete(Place),
    Pruned(u64, f64),
}

impl Rank {
    fn of(trial: &Trial, direction: Direction, within: &Within) -> Self {
        if let Some(place) = within.place(trial) {
            return Self::Complete(place);
        }
        match trial.steps.last() {
            Some(last) if !last.score().is_nan() => {
                Self::Pruned(last.step, direction.loss(last.score()))
            }
            Some(last) => Self::Pruned(last.step, f64::INFINITY),
            None => Self::Pruned(0, f64::INFINITY),
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Complete(a), Self::Complete(b)) => a.compare(*b),
            (Self::Complete(_), Self::Pruned(..)) => Ordering::Less,
            (Self::Pruned(..), Self::Complete(_)) => Ordering::Greater,
            (Self::Pruned(a, x), Self::Pruned(b, y)) => b.cmp(a).then(x.total_cmp(y)),
        }
    }
}

impl History {
    fn new(frame: &Frame<'_>, trials: &[Trial], direction: Direction) -> Self {
        let mut history = Self { finished: Vec::new(), pending: Vec::new() };
        let within = within_margin(trials, direction);
        for (place, trial) in trials.iter().enumerate() {
            if trial.state == State::Failed {
                continue;
            }
            // Values that do not fit the space, as after an import, cannot be modelled.
            let Some(point) = frame.encode(&trial.values) else { continue };
            match trial.state {
                State::Running => history.pending.push((place, point)),
                _ => history.finished.push((Rank::of(trial, direction, &within), place, point)),
            }
        }
        history.finished.sort_by(|a, b| a.0.compare(&b.0));
        history
    }

    fn finished(&self) -> usize {
        self.finished.len()
    }

    /// Good and bad points, each in the order of trials.
    fn split(&self) -> (Vec<&Point>, Vec<&Point>) {
        let count = self.finished.len().div_ceil(10).min(25);
        let (good, bad) = self.finished.split_at(count);
        let good = good.iter().map(|(_, place, point)| (*place, point));
        let pending = self.pending.iter().map(|(place, point)| (*place, point));
        let bad = bad.iter().map(|(_, place, point)| (*place, point)).chain(pending);
        (in_order(good), in_order(bad))
    }
}

fn in_order<'a>(points: impl Iterator<Item = (usize, &'a Point)>) -> Vec<&'a Point> {
    let mut points: Vec<_> = points.collect();
    points.sort_unstable_by_key(|&(place, _)| place);
    points.into_iter().map(|(_, point)| point).collect()
}
