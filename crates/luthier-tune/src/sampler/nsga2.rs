//! A genetic algorithm for several objectives.

use luthier_space::Values;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::axis::{Axis, Range};
use super::frame::{Frame, Point};
use super::history::History;
use super::lattice::Lattice;
use super::points::Points;
use super::proposed::Proposed;
use super::random::draw_new;
use super::{Request, Sampler, sobol};
use crate::rank::crowding;

/// The non-dominated sorting genetic algorithm (Deb et al. 2002), for many trials or many
/// objectives, which cost it next to nothing.
///
/// Parents are the best of all finished trials: front by front, of one front those with the most
/// space around them, and those beyond their limits last. A proposal is the child of two of them,
/// each the better of two drawn at random, by simulated binary crossover of numbers, with a dimension
/// changed here and there. There are no generations to wait for, so that parallel workers are kept
/// busy and the state is the trials themselves.
#[derive(Debug, Clone, Copy)]
pub struct Nsga2 {
    /// Number of complete and pruned trials below which the Sobol sequence is followed.
    pub startup_trials: usize,
    /// Number of parents, at least 1; `None` for a fifth of the trials, but from 20 to 100.
    pub population: Option<usize>,
}

impl Default for Nsga2 {
    fn default() -> Self {
        Self { startup_trials: 20, population: None }
    }
}

/// Children that may repeat an earlier configuration.
const ATTEMPTS: usize = 32;
/// How near children stay to their parents, as the index of the distributions of crossover and
/// mutation.
const NEARNESS: f64 = 5.0;
/// Share of children that have two parents.
const CROSSED: f64 = 0.9;

impl Sampler for Nsga2 {
    fn suggest(&self, request: &Request<'_>) -> Option<Values> {
        let frame = Frame::new(request.space)?;
        let proposed = Proposed::new(&frame, request.trials, Lattice::all(&frame));
        let mut rng = request.rng();
        if proposed.left() == Some(0) {
            return None;
        }
        let points = Points::of(&frame, request.trials.iter().map(|trial| &trial.values));
        let history = History::new(&points, request);
        if history.finished() < self.startup_trials.max(1) {
            return sobol::next_new(&frame, &proposed, request, &mut rng)
                .map(|point| frame.decode(&point));
        }
        let fifth = history.finished() / 5;
        let population = self.population.unwrap_or(fifth.clamp(20, 100));
        let parents = parents(&history, population.max(1));
        let mut children = (0..ATTEMPTS).map(|_| child(&frame, &parents, &mut rng));
        let point = children.find(|point| !proposed.excludes(point));
        let point = point.or_else(|| draw_new(&frame, &proposed, &mut rng))?;
        Some(frame.decode(&point))
    }
}

/// A trial that may have children.
struct Parent<'a> {
    front: usize,
    space_around: f64,
    point: &'a [f64],
}

fn parents<'a>(history: &'a History<'_>, most: usize) -> Vec<Parent<'a>> {
    let mut parents: Vec<Parent<'_>> = Vec::new();
    for (front, members) in history.fronts().into_iter().enumerate() {
        let losses: Vec<Vec<f64>> = members.iter().map(|seen| history.losses(seen)).collect();
        let with_space = members.into_iter().zip(crowding(&losses));
        let mut members: Vec<Parent<'_>> = with_space
            .map(|(seen, space_around)| Parent { front, space_around, point: seen.point })
            .collect();
        members.sort_by(|a, b| b.space_around.total_cmp(&a.space_around));
        parents.extend(members);
        if parents.len() >= most {
            break;
        }
    }
    parents.truncate(most);
    parents
}

impl Parent<'_> {
    /// The better of two drawn at random.
    fn draw<'a>(parents: &'a [Self], rng: &mut ChaCha8Rng) -> &'a Self {
        let [a, b] = [(); 2].map(|()| &parents[rng.random_range(0..parents.len())]);
        match a.front.cmp(&b.front).then(b.space_around.total_cmp(&a.space_around)).is_le() {
            true => a,
            false => b,
        }
    }
}

fn child(frame: &Frame<'_>, parents: &[Parent<'_>], rng: &mut ChaCha8Rng) -> Point {
    let (a, b) = (Parent::draw(parents, rng).point, Parent::draw(parents, rng).point);
    let b = if rng.random::<f64>() < CROSSED { b } else { a };
    let active = a.iter().filter(|x| !x.is_nan()).count();
    let changed = 1.0 / active.max(1) as f64;
    let point = frame.walk(|index, axis| {
        let inherited = match (a[index], b[index]) {
            (a, b) if a.is_nan() && b.is_nan() => return Some(axis.draw(rng)),
            (a, b) if b.is_nan() => a,
            (a, b) if a.is_nan() => b,
            (a, b) => crossed(axis, a, b, rng),
        };
        let changes = rng.random::<f64>() < changed;
        Some(if changes { mutated(axis, inherited, rng) } else { inherited })
    });
    point.unwrap_or_default()
}

/// A coordinate of a child of two parents: one of theirs, or a number near one (Deb and Agrawal
/// 1995).
fn crossed(axis: &Axis, a: f64, b: f64, rng: &mut ChaCha8Rng) -> f64 {
    let from = if rng.random() { a } else { b };
    match axis {
        Axis::Range(range) if a != b && rng.random() => {
            let beta = near_one(rng);
            let sign = if from == a { 1.0 } else { -1.0 };
            let to = 0.5 * ((1.0 + sign * beta) * a + (1.0 - sign * beta) * b);
            range.snap(to.clamp(range.low, range.high))
        }
        _ => from,
    }
}

/// A factor by which the distance of two parents is spread, around 1.
fn near_one(rng: &mut ChaCha8Rng) -> f64 {
    let u: f64 = rng.random();
    let power = 1.0 / (NEARNESS + 1.0);
    if u < 0.5 { (2.0 * u).powf(power) } else { (0.5 / (1.0 - u)).powf(power) }
}

/// Another coordinate: a number nearby (Deb and Goyal 1996), or any option.
fn mutated(axis: &Axis, x: f64, rng: &mut ChaCha8Rng) -> f64 {
    match axis {
        Axis::Range(range) => {
            let u: f64 = rng.random();
            let power = 1.0 / (NEARNESS + 1.0);
            let (low, high) = (range.share(x), 1.0 - range.share(x));
            let step = match u < 0.5 {
                true => {
                    let rest = (1.0 - low).powf(NEARNESS + 1.0);
                    (2.0 * u + (1.0 - 2.0 * u) * rest).powf(power) - 1.0
                }
                false => {
                    let rest = (1.0 - high).powf(NEARNESS + 1.0);
                    1.0 - (2.0 * (1.0 - u) + (2.0 * u - 1.0) * rest).powf(power)
                }
            };
            moved(range, x, range.share(x) + step, rng)
        }
        _ => axis.draw(rng),
    }
}

/// The value at a share of the range; a neighbour where that is the value itself.
fn moved(range: &Range, x: f64, to: f64, rng: &mut ChaCha8Rng) -> f64 {
    let found = range.snap(range.at(to.clamp(0.0, 1.0)));
    if !range.is_discrete() || found != x {
        return found;
    }
    let (low, high) = range.cell(x);
    let beyond = if rng.random() { low - (high - low) / 2.0 } else { high + (high - low) / 2.0 };
    range.snap(beyond.clamp(range.low, range.high))
}
