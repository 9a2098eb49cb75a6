//! The tree-structured Parzen estimator.

use luthier_space::Values;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::frame::{Frame, Point};
use super::history::{History, Observation};
use super::lattice::Lattice;
use super::parzen::{Mixture, Weighing};
use super::points::Points;
use super::proposed::Proposed;
use super::random::draw_new;
use super::{Request, Sampler};

/// The tree-structured Parzen estimator (Bergstra et al. 2011; in the multivariate form of Falkner
/// et al. 2018) with the settings of Optuna 5.
///
/// The finished trials are split into the good ones, a tenth but at most 25, and the bad ones, to
/// which the pending trials are added so that parallel workers keep apart. A mixture of kernels is
/// fitted to each side; of some candidates drawn from the good one, the sampler proposes that with
/// the highest ratio of good to bad density that is new. Pruned trials rank behind complete ones, by
/// how far they came and then by their last score, and those beyond their limits come last. Failed
/// trials say nothing.
///
/// With several objectives the good trials are a tenth without a bound, front by front, and of the
/// last front those that dominate most (Ozaki et al. 2022); all of them have the same weight.
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

/// Points put together dimension by dimension that may repeat an earlier configuration.
const ATTEMPTS: usize = 4;
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
        let points = Points::of(&frame, request.trials.iter().map(|trial| &trial.values));
        let history = History::new(&points, request);
        if history.finished() < self.startup_trials {
            return draw_new(&frame, &proposed, &mut rng).map(|point| frame.decode(&point));
        }
        let tenth = history.finished().div_ceil(10);
        let several = request.directions.len() > 1;
        let (good, bad) = history.split(if several { tenth } else { tenth.min(25) });
        let weigh = if several { Weighing::Equal } else { Weighing::Newest };
        let fit = |side: Vec<&Observation<'_>>, weigh| {
            let points: Vec<&[f64]> = side.iter().map(|seen| seen.point).collect();
            Mixture::fit(&frame, &points, weigh)
        };
        let (good, bad) = (fit(good, weigh), fit(bad, Weighing::Newest));
        let candidates = self.candidates.max(1);
        let found = if several {
            let mut found =
                (0..ATTEMPTS).map(|_| by_dimension(&frame, &good, &bad, candidates, &mut rng));
            found.find(|point| !proposed.excludes(point))
        } else {
            best_new(drawn(&good, candidates, &mut rng), &good, &bad, &proposed)
        };
        let best = found.or_else(|| {
            let left = left_over(&frame, &proposed, &mut rng);
            best_new(left, &good, &bad, &proposed)
        });
        let point = best.or_else(|| draw_new(&frame, &proposed, &mut rng))?;
        Some(frame.decode(&point))
    }
}

/// A point whose every dimension is the one with the highest ratio of good to bad density, of some
/// candidates drawn for it alone.
fn by_dimension(
    frame: &Frame<'_>,
    good: &Mixture<'_>,
    bad: &Mixture<'_>,
    candidates: usize,
    rng: &mut ChaCha8Rng,
) -> Point {
    let point = frame.walk(|index, _| {
        let alone = |coordinate: f64| {
            let mut point = vec![f64::NAN; frame.axes.len()];
            point[index] = coordinate;
            point
        };
        let drawn = (0..candidates).map(|_| alone(good.draw_alone(index, rng))).collect();
        ranked(drawn, good, bad).first().map(|point| point[index])
    });
    point.unwrap_or_default()
}

/// The point with the highest ratio of good to bad density among those not proposed before.
fn best_new(
    points: Vec<Point>,
    good: &Mixture<'_>,
    bad: &Mixture<'_>,
    proposed: &Proposed<'_>,
) -> Option<Point> {
    ranked(points, good, bad).into_iter().find(|point| !proposed.excludes(point))
}

/// Points by the ratio of good to bad density, the highest first.
fn ranked(points: Vec<Point>, good: &Mixture<'_>, bad: &Mixture<'_>) -> Vec<Point> {
    let (good, bad) = (good.log_densities(&points), bad.log_densities(&points));
    let ratios = good.iter().zip(&bad).map(|(good, bad)| good - bad);
    let mut ranked: Vec<(f64, Point)> = ratios.zip(points).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranked.into_iter().map(|(_, point)| point).collect()
}

/// So many points drawn from the good density, or fewer where they seldom keep the constraints.
fn drawn(good: &Mixture<'_>, count: usize, rng: &mut ChaCha8Rng) -> Vec<Point> {
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
