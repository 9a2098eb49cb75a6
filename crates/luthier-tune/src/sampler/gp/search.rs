//! Where most is to be gained.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::super::axis::Axis;
use super::super::frame::{Frame, Point};
use super::super::proposed::Proposed;
use super::super::sobol::Sequence;
use super::acquisition::Acquisition;
use super::features::features;
use super::minimise::minimise;

/// Points spread over the space that are looked at first.
const SPREAD: u32 = 512;
/// Where fewer of the first points keep the constraints, some are drawn that do.
const FEWEST: usize = 64;
/// Of the best points seen, so many have so many variants each looked at.
const PARENTS: usize = 8;
const VARIANTS: usize = 24;
/// Points from which the improvement is climbed.
const STARTS: usize = 5;
/// Rounds over all dimensions of a climb, and steps of each over the continuous ones.
const ROUNDS: usize = 4;
const STEPS: usize = 15;
/// Halvings of a step that breaks a constraint.
const HALVINGS: i32 = 8;
/// Discrete values up to which all are tried.
const LEVELS: u64 = 16;
/// Neighbours of a list that are tried where there are more lists than that.
const NEIGHBOURS: usize = 32;

/// A search of one space for the point of which most is expected.
pub(super) struct Search<'a> {
    pub(super) frame: &'a Frame<'a>,
    pub(super) acquisition: &'a Acquisition<'a>,
    pub(super) region: Region<'a>,
}

/// Where a process that has seen little is trusted: near the points that it has seen (as in Vizier;
/// Song et al., arXiv 2408.11527). Far from all of them nothing but the prior speaks, which is wrong
/// about the corners of a space of many dimensions.
pub(super) struct Region<'a> {
    frame: &'a Frame<'a>,
    seen: &'a [&'a [f64]],
    /// How far from the nearest of them numbers may be, in shares of their ranges.
    reach: f64,
}

impl<'a> Region<'a> {
    pub(super) fn new(frame: &'a Frame<'a>, seen: &'a [&'a [f64]]) -> Self {
        let numbers = frame.axes.iter().filter(|axis| matches!(axis, Axis::Range(_))).count();
        let reach = 0.2 + 0.3 * seen.len() as f64 / (5.0 * (numbers + 1) as f64);
        Self { frame, seen, reach }
    }

    fn holds(&self, point: &[f64]) -> bool {
        self.reach > 0.5 || self.seen.iter().any(|seen| self.is_near(seen, point))
    }

    fn is_near(&self, seen: &[f64], point: &[f64]) -> bool {
        let mut dimensions = self.frame.axes.iter().zip(seen.iter().zip(point));
        dimensions.all(|(axis, (a, b))| match axis {
            // What is active in one of them only is no measure.
            Axis::Range(range) if !a.is_nan() && !b.is_nan() => {
                (range.share(*a) - range.share(*b)).abs() <= self.reach
            }
            _ => true,
        })
    }
}

impl Search<'_> {
    /// The best point found that was not proposed before. `seen` are points that were evaluated, the
    /// best first.
    pub(super) fn find(
        &self,
        seen: &[&[f64]],
        proposed: &Proposed<'_>,
        rng: &mut ChaCha8Rng,
    ) -> Option<Point> {
        let sequence = Sequence::new(rng.random());
        let mut points: Vec<Point> =
            (0..SPREAD).map(|index| sequence.point(self.frame, index, rng)).collect();
        for parent in seen.iter().take(PARENTS) {
            points.extend((0..VARIANTS).map(|_| self.variant(parent, rng)));
        }
        points.retain(|point| self.allows(point));
        points.extend((points.len()..FEWEST).map_while(|_| self.frame.draw(rng)));
        let mut ranked = self.with_gains(points);
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        let climbed: Vec<(f64, Point)> =
            ranked.iter().take(STARTS).map(|(gain, point)| self.climb(*gain, point, rng)).collect();
        ranked.extend(climbed);
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        ranked.into_iter().map(|(_, point)| point).find(|point| !proposed.excludes(point))
    }

    /// Whether a point keeps the constraints and is near enough to what was seen.
    fn allows(&self, point: &[f64]) -> bool {
        self.frame.allows(point) && self.region.holds(point)
    }

    fn with_gains(&self, points: Vec<Point>) -> Vec<(f64, Point)> {
        let features: Vec<Vec<f64>> =
            points.iter().map(|point| features(self.frame, point)).collect();
        self.acquisition.logs(&features).into_iter().zip(points).collect()
    }

    /// A point near another: some of its dimensions are drawn anew, numbers mostly close by.
    fn variant(&self, parent: &[f64], rng: &mut ChaCha8Rng) -> Point {
        let active = parent.iter().filter(|x| !x.is_nan()).count();
        let share = (1.5 / active.max(1) as f64).clamp(0.15, 1.0);
        let point = self.frame.walk(|index, axis| {
            let old = parent[index];
            if old.is_nan() {
                return Some(axis.draw(rng));
            }
            if rng.random::<f64>() >= share {
                return Some(old);
            }
            Some(match axis {
                Axis::Range(range) => {
                    let reach = 0.3 * rng.random::<f64>().powi(2) * (range.high - range.low);
                    let to = old + reach * (2.0 * rng.random::<f64>() - 1.0);
                    range.snap(to.clamp(range.low, range.high))
                }
                Axis::Lists(lists) => lists.draw_neighbour(old as u64, rng) as f64,
                _ => axis.draw(rng),
            })
        });
        point.unwrap_or_default()
    }

    /// Climbs from a point, over the continuous dimensions together and over the others in turn,
    /// until nothing is gained.
    fn climb(&self, gain: f64, start: &[f64], rng: &mut ChaCha8Rng) -> (f64, Point) {
        let mut best = (gain, start.to_vec());
        for _ in 0..ROUNDS {
            let before = best.0;
            self.slide(&mut best);
            for index in 0..self.frame.axes.len() {
                self.switch(index, &mut best, rng);
            }
            if best.0 <= before + 1e-6 {
                break;
            }
        }
        best
    }

    /// Moves along the continuous dimensions.
    fn slide(&self, best: &mut (f64, Point)) {
        let axes = self.frame.axes.iter().zip(&best.1).enumerate();
        let ranges: Vec<_> = axes
            .filter_map(|(index, (axis, x))| match axis {
                Axis::Range(range) if !range.is_discrete() && !x.is_nan() => Some((index, range)),
                _ => None,
            })
            .collect();
        if ranges.is_empty() {
            return;
        }
        let dimensions: Vec<usize> = ranges.iter().map(|(index, _)| *index).collect();
        let mut at = features(self.frame, &best.1);
        let start: Vec<f64> = dimensions.iter().map(|index| at[*index]).collect();
        let (low, high) = (vec![0.0; start.len()], vec![1.0; start.len()]);
        let (found, _) = minimise(&start, (&low, &high), STEPS, |x, gradient| {
            dimensions.iter().zip(x).for_each(|(index, x)| at[*index] = *x);
            let (log, slopes) = self.acquisition.slopes(&at, &dimensions);
            gradient.iter_mut().zip(slopes).for_each(|(slot, slope)| *slot = -slope);
            -log
        });
        // What breaks a constraint is drawn back towards what does not.
        let points = (0..HALVINGS).map(|halvings| {
            let mut point = best.1.clone();
            for (((index, range), share), from) in ranges.iter().zip(&found).zip(&start) {
                let share = from + (share - from) * 0.5f64.powi(halvings);
                point[*index] = range.snap(range.low + share * (range.high - range.low));
            }
            point
        });
        self.take_better(points.filter(|point| self.allows(point)).take(1).collect(), best);
    }

    /// Tries other values of a discrete dimension.
    fn switch(&self, index: usize, best: &mut (f64, Point), rng: &mut ChaCha8Rng) {
        let axis = &self.frame.axes[index];
        let (Some(levels), false) = (axis.levels(), best.1[index].is_nan()) else { return };
        let here = axis.level(best.1[index]);
        let tried: Vec<u64> = match axis {
            _ if levels <= LEVELS => (0..levels).collect(),
            Axis::Lists(lists) => {
                (0..NEIGHBOURS).map(|_| lists.draw_neighbour(here, rng)).collect()
            }
            _ => (0..12)
                .map(|power| levels >> power)
                .take_while(|step| *step > 0)
                .chain([1])
                .flat_map(|step| [here.saturating_sub(step), here.saturating_add(step)])
                .map(|level| level.min(levels - 1))
                .collect(),
        };
        let old = &best.1;
        let others = tried.into_iter().filter(|level| *level != here).filter_map(|level| {
            self.frame.walk(|dimension, axis| {
                Some(match dimension == index {
                    true => axis.at_level(level),
                    false if old[dimension].is_nan() => axis.draw(rng),
                    false => old[dimension],
                })
            })
        });
        self.take_better(others.filter(|point| self.allows(point)).collect(), best);
    }

    fn take_better(&self, points: Vec<Point>, best: &mut (f64, Point)) {
        for (gain, point) in self.with_gains(points) {
            if gain > best.0 {
                *best = (gain, point);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use luthier_space::{Distribution, Space};

    use super::*;

    #[test]
    fn little_known_is_trusted_nearby_and_more_everywhere() {
        let number = || Distribution::float(0.0, 1.0);
        let kind = Distribution::choice(["a", "b"]);
        let space = Space::of([("x", number()), ("y", number()), ("kind", kind)]);
        let frame = Frame::new(&space).unwrap();
        let seen: &[f64] = &[0.2, 0.2, 0.0];
        let few = [seen; 3];
        let region = Region::new(&frame, &few);
        assert!(region.holds(&[0.4, 0.1, 1.0]));
        assert!(!region.holds(&[0.4, 0.7, 0.0]));
        let many = [seen; 16];
        assert!(Region::new(&frame, &many).holds(&[1.0, 1.0, 0.0]));
    }
}
