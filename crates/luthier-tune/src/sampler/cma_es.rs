//! Evolution by an adapted normal distribution.

use luthier_space::Values;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::axis::{Axis, Range};
use super::frame::{Frame, Point};
use super::history::{History, Observation};
use super::lattice::Lattice;
use super::points::Points;
use super::proposed::Proposed;
use super::random::draw_new;
use super::{Request, Sampler, Tpe, sobol, trial_rng};
use crate::State;

mod evolution;
mod margin;

use evolution::Evolution;

/// The covariance matrix adaptation evolution strategy (Hansen 2016, with negative weights), for
/// many trials of numbers: a normal distribution that follows the good ones, in coordinates in which
/// every range is 1 wide.
///
/// It starts from the best of the first trials, whoever proposed them (Nomura et al. 2021), keeps a
/// margin of probability for the neighbours of a discrete value (Hamano et al. 2022), and when it
/// has converged starts anew elsewhere with twice the trials per generation (Auger and Hansen 2005).
///
/// It keeps no state: all generations are gone through again for each proposal. As many finished
/// trials, by ascending number, make a generation as the population has members, whatever
/// distribution they were drawn from; those that are far from the present one are drawn nearer
/// (Hansen 2011). So pending and failed trials hold up nothing. Choices and several objectives are
/// not its business and left to [`Tpe`].
#[derive(Debug, Clone, Copy)]
pub struct CmaEs {
    /// Number of complete and pruned trials that the first distribution is fitted to. Until there
    /// are so many, the Sobol sequence is followed.
    pub startup_trials: usize,
}

impl Default for CmaEs {
    fn default() -> Self {
        Self { startup_trials: 10 }
    }
}

/// Draws that may repeat an earlier configuration.
const ATTEMPTS: usize = 32;

impl Sampler for CmaEs {
    fn suggest(&self, request: &Request<'_>) -> Option<Values> {
        let frame = Frame::new(request.space)?;
        if !can_search(&frame, request) {
            return Tpe::default().suggest(request);
        }
        let proposed = Proposed::new(&frame, request.trials, Lattice::all(&frame));
        let mut rng = request.rng();
        if proposed.left() == Some(0) {
            return None;
        }
        let points = Points::of(&frame, request.trials.iter().map(|trial| &trial.values));
        let history = History::new(&points, request);
        let cube = Cube::new(&frame);
        if cube.ranges.is_empty() || history.finished() < self.startup_trials.max(1) {
            return sobol::next_new(&frame, &proposed, request, &mut rng)
                .map(|point| frame.decode(&point));
        }
        let evolution = self.replay(&cube, &history, request.seed);
        let mut drawn = (0..ATTEMPTS).map(|_| cube.point(&draw(&evolution, &mut rng)));
        let point = drawn.find(|point| !proposed.excludes(point));
        let point = point.or_else(|| draw_new(&frame, &proposed, &mut rng))?;
        Some(frame.decode(&point))
    }
}

/// Whether a space is all numbers, which all trials with scores have, and there is one thing to
/// minimise.
pub(super) fn can_search(frame: &Frame<'_>, request: &Request<'_>) -> bool {
    let choice = frame.axes.iter().any(|axis| matches!(axis, Axis::Choice(_) | Axis::Lists(_)));
    let partly = || {
        let ended = |state| matches!(state, State::Complete | State::Pruned | State::Paused);
        let mut ended = request.trials.iter().filter(|trial| ended(trial.state));
        ended.any(|trial| trial.values.len() < frame.axes.len())
    };
    !choice && request.directions.len() == 1 && !(frame.space.is_open() && partly())
}

impl CmaEs {
    /// The distribution after all generations that are full.
    fn replay(&self, cube: &Cube<'_>, history: &History<'_>, seed: u64) -> Evolution {
        let mut trials: Vec<_> = history.best_first(0).into_iter().enumerate().collect();
        trials.sort_unstable_by_key(|(_, seen)| seen.trial.number);
        let (first, mut rest) = trials.split_at(self.startup_trials.max(1));
        let mut evolution = Evolution::around(&best_of(first, cube));
        let (mut starts, mut best, mut vain) = (0, usize::MAX, 0);
        while let Some((generation, later)) = rest.split_at_checked(evolution.population()) {
            let mut generation = generation.to_vec();
            generation.sort_unstable_by_key(|(rank, _)| *rank);
            let drawn: Vec<Vec<f64>> =
                generation.iter().map(|(_, seen)| cube.drawn(seen, &evolution, seed)).collect();
            evolution.advance(&drawn);
            margin::keep(&mut evolution, &cube.ranges);
            vain = if generation[0].0 < best { 0 } else { vain + 1 };
            best = best.min(generation[0].0);
            if vain >= cube.patience(evolution.population()) || cube.is_narrow(&evolution) {
                starts += 1;
                evolution = cube.elsewhere(seed, starts, 2 * evolution.population());
                (best, vain) = (usize::MAX, 0);
            }
            rest = later;
        }
        evolution
    }
}

/// The best tenth of ranked trials, but at least half a population, in the cube.
fn best_of(trials: &[(usize, &Observation<'_>)], cube: &Cube<'_>) -> Vec<Vec<f64>> {
    let mut ranked = trials.to_vec();
    ranked.sort_unstable_by_key(|(rank, _)| *rank);
    let count = trials.len().div_ceil(10).max(evolution::population(cube.ranges.len()) / 2);
    ranked.iter().take(count).map(|(_, seen)| cube.place(seen.point)).collect()
}

/// A place drawn from the distribution, put on the bounds where it is outside of them.
fn draw(evolution: &Evolution, rng: &mut ChaCha8Rng) -> Vec<f64> {
    evolution.draw(rng).into_iter().map(|x| x.clamp(0.0, 1.0)).collect()
}

/// A space of numbers as a cube, each of its ranges from 0 to 1.
struct Cube<'a> {
    /// Dimensions with more than one value.
    ranges: Vec<(usize, &'a Range)>,
    dimensions: usize,
}

impl<'a> Cube<'a> {
    fn new(frame: &'a Frame<'_>) -> Self {
        let ranges = frame.axes.iter().enumerate().filter_map(|(index, axis)| match axis {
            Axis::Range(range) => Some((index, range)),
            _ => None,
        });
        Self { ranges: ranges.collect(), dimensions: frame.axes.len() }
    }

    fn place(&self, point: &[f64]) -> Vec<f64> {
        self.ranges.iter().map(|(index, range)| range.share(point[*index])).collect()
    }

    fn point(&self, place: &[f64]) -> Point {
        let mut point = vec![0.0; self.dimensions];
        for ((index, range), share) in self.ranges.iter().zip(place) {
            point[*index] = range.snap(range.at(*share));
        }
        point
    }

    /// The place that a trial was drawn at, before it was moved to the nearest of discrete values.
    /// It is drawn again; where that leads to another value, as it does for trials that were drawn
    /// from an earlier distribution or by another sampler, the value itself is taken.
    fn drawn(&self, seen: &Observation<'_>, evolution: &Evolution, seed: u64) -> Vec<f64> {
        let mut place = self.place(seen.point);
        if !self.ranges.iter().any(|(_, range)| range.is_discrete()) {
            return place;
        }
        let again = draw(evolution, &mut trial_rng(seed, seen.trial.number));
        for (((index, range), share), again) in self.ranges.iter().zip(&mut place).zip(again) {
            if range.is_discrete() && range.snap(range.at(again)) == seen.point[*index] {
                *share = again;
            }
        }
        place
    }

    /// Generations without a new best trial after which a distribution is given up.
    fn patience(&self, population: usize) -> usize {
        20 + 30 * self.ranges.len() / population
    }

    /// Whether a distribution is done in all continuous dimensions, of which there is one.
    fn is_narrow(&self, evolution: &Evolution) -> bool {
        let ranges = self.ranges.iter().enumerate();
        let mut continuous = ranges.filter(|(_, (_, range))| !range.is_discrete()).peekable();
        continuous.peek().is_some() && continuous.all(|(at, _)| evolution.is_narrow(at))
    }

    /// A distribution around a place drawn at random.
    fn elsewhere(&self, seed: u64, starts: u64, population: usize) -> Evolution {
        // A stream far from those of the trials.
        let mut rng = trial_rng(seed, u64::MAX - starts);
        let mean = self.ranges.iter().map(|_| rng.random()).collect();
        Evolution::anew(mean, population)
    }
}

#[cfg(test)]
mod tests;
