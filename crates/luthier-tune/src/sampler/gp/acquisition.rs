//! What a point promises.

use super::super::linear_algebra::add_scaled;
use super::super::normal::{LN_SQRT_TAU, log_mass};
use super::super::parzen::log_sum_exp;
use super::boxes::LossBox;
use super::improvement::log_expected_improvement;
use super::model::{Belief, Imagined, Model};

/// The logarithm of the gain expected of a point, times the probability that it keeps the limits.
pub(super) struct Acquisition<'a> {
    /// What is maximised: a process for each objective.
    pub(super) objectives: Vec<Model<'a>>,
    pub(super) goal: Goal<'a>,
    /// Processes with the value that each has to be above.
    pub(super) limits: Vec<(Model<'a>, f64)>,
}

/// What counts as a gain.
pub(super) enum Goal<'a> {
    /// To improve on this value of the only objective.
    Best(f64),
    /// The same while trials are pending, whose values are imagined in several versions: the mean over
    /// these, in each of which the highest value imagined is to be improved on if it is higher
    /// (Wilson et al. 2018; Ament et al. 2023).
    BestOf(f64, Imagined<'a>),
    /// To add to the volume that is dominated: these boxes, of negative values, are not. The processes
    /// are taken to be independent, so that what is expected of each box is a product (Yang et al.
    /// 2019).
    Front(Vec<LossBox>),
    /// Nothing is known that keeps the limits, so that to keep them is all.
    Limits,
}

/// A function of a belief with its derivatives by the mean and by the deviation.
#[derive(Clone, Copy)]
struct Sloped {
    log: f64,
    by_mean: f64,
    by_deviation: f64,
}

impl Acquisition<'_> {
    /// At some points, by their features.
    pub(super) fn logs(&self, points: &[Vec<f64>]) -> Vec<f64> {
        let of_models: Vec<Vec<Belief>> =
            self.models().map(|model| model.beliefs(points)).collect();
        let of_point =
            |at: usize| -> Vec<Belief> { of_models.iter().map(|beliefs| beliefs[at]).collect() };
        let mut logs: Vec<f64> =
            (0..points.len()).map(|at| self.of_beliefs(&of_point(at)).0).collect();
        if let Goal::BestOf(best, imagined) = &self.goal {
            for (log, versions) in logs.iter_mut().zip(imagined.beliefs(points)) {
                *log += mean_improvement(&versions, *best).0;
            }
        }
        logs
    }

    /// The same with its gradient by the features in `dimensions`, which are numbers.
    pub(super) fn slopes(&self, point: &[f64], dimensions: &[usize]) -> (f64, Vec<f64>) {
        let slopes = self.models().map(|model| model.slopes(point, dimensions));
        let slopes: Vec<(Belief, Vec<f64>, Vec<f64>)> = slopes.collect();
        let beliefs: Vec<Belief> = slopes.iter().map(|(belief, _, _)| *belief).collect();
        let (log, sloped) = self.of_beliefs(&beliefs);
        let mut gradient = vec![0.0; dimensions.len()];
        for ((_, of_mean, of_deviation), by) in slopes.iter().zip(sloped) {
            add_scaled(&mut gradient, by.by_mean, of_mean);
            add_scaled(&mut gradient, by.by_deviation, of_deviation);
        }
        let Goal::BestOf(best, imagined) = &self.goal else { return (log, gradient) };
        let (more, by) = mean_improvement(&imagined.beliefs(&[point.to_vec()])[0], *best);
        let weights: Vec<f64> = by.iter().map(|by| by.by_mean).collect();
        let (of_mean, of_deviation) = imagined.slopes(point, dimensions, &weights);
        add_scaled(&mut gradient, 1.0, &of_mean);
        add_scaled(&mut gradient, by.iter().map(|by| by.by_deviation).sum(), &of_deviation);
        (log + more, gradient)
    }

    fn models(&self) -> impl Iterator<Item = &Model<'_>> {
        self.objectives.iter().chain(self.limits.iter().map(|(model, _)| model))
    }

    /// Of the beliefs of all models, with the derivatives by each.
    fn of_beliefs(&self, beliefs: &[Belief]) -> (f64, Vec<Sloped>) {
        let (objectives, limits) = beliefs.split_at(self.objectives.len());
        let (mut log, mut sloped) = match &self.goal {
            Goal::Best(best) => {
                let gain = Sloped::improvement(objectives[0], *best);
                (gain.log, vec![gain])
            }
            Goal::Front(boxes) => log_volume(objectives, boxes),
            Goal::BestOf(..) | Goal::Limits => {
                (0.0, vec![Sloped { log: 0.0, by_mean: 0.0, by_deviation: 0.0 }; objectives.len()])
            }
        };
        for (belief, (_, least)) in limits.iter().zip(&self.limits) {
            let kept = Sloped::above(*belief, *least);
            log += kept.log;
            sloped.push(kept);
        }
        (log, sloped)
    }
}

/// The logarithm of the mean over several versions of the improvement expected on `best`, or on the
/// value that comes with the belief; and its derivatives by the beliefs of each.
fn mean_improvement(versions: &[(Belief, f64)], best: f64) -> (f64, Vec<Sloped>) {
    let gains =
        versions.iter().map(|(belief, highest)| Sloped::improvement(*belief, best.max(*highest)));
    let mut gains: Vec<Sloped> = gains.collect();
    let logs: Vec<f64> = gains.iter().map(|gain| gain.log).collect();
    let log = log_sum_exp(&logs);
    for gain in &mut gains {
        let weight = (gain.log - log).exp();
        gain.by_mean *= weight;
        gain.by_deviation *= weight;
    }
    (log - (versions.len() as f64).ln(), gains)
}

/// The logarithm of the volume expected to be added in all boxes.
fn log_volume(beliefs: &[Belief], boxes: &[LossBox]) -> (f64, Vec<Sloped>) {
    let of_box = |free: &LossBox| -> Vec<Sloped> {
        let sides = free.low.iter().zip(&free.high);
        let sides = sides.map(|(low, high)| (-high, -low));
        beliefs.iter().zip(sides).map(|(belief, side)| Sloped::within(*belief, side)).collect()
    };
    let parts: Vec<Vec<Sloped>> = boxes.iter().map(of_box).collect();
    let logs: Vec<f64> = parts.iter().map(|part| part.iter().map(|s| s.log).sum()).collect();
    let log = log_sum_exp(&logs);
    let mut sum = vec![Sloped { log, by_mean: 0.0, by_deviation: 0.0 }; beliefs.len()];
    for (part, part_log) in parts.iter().zip(logs) {
        let weight = (part_log - log).exp();
        for (sum, part) in sum.iter_mut().zip(part).filter(|_| weight > 0.0) {
            sum.by_mean += weight * part.by_mean;
            sum.by_deviation += weight * part.by_deviation;
        }
    }
    (log, sum)
}

impl Sloped {
    fn improvement(belief: Belief, best: f64) -> Self {
        let (log, by_mean, by_deviation) = log_expected_improvement(belief, best);
        Self { log, by_mean, by_deviation }
    }

    /// Of what is expected of a value above `low`, where nothing above `high` counts.
    fn within(belief: Belief, (low, high): (f64, f64)) -> Self {
        let above = Self::improvement(belief, low);
        if high == f64::INFINITY {
            return above;
        }
        let beyond = Self::improvement(belief, high);
        let ratio = (beyond.log - above.log).exp().min(1.0 - 1e-12);
        let rest = 1.0 / (1.0 - ratio);
        Self {
            log: above.log + (-ratio).ln_1p(),
            by_mean: (above.by_mean - ratio * beyond.by_mean) * rest,
            by_deviation: (above.by_deviation - ratio * beyond.by_deviation) * rest,
        }
    }

    /// Of the probability that a value is above `least`.
    fn above(belief: Belief, least: f64) -> Self {
        let z = (belief.mean - least) / belief.deviation;
        let log = log_mass(-z, f64::INFINITY);
        let slope = (-0.5 * z * z - LN_SQRT_TAU - log).exp() / belief.deviation;
        Self { log, by_mean: slope, by_deviation: -z * slope }
    }
}

#[cfg(test)]
mod tests {
    use luthier_test::assert_close;

    use super::super::super::normal::quantile;
    use super::super::boxes::free_boxes;
    use super::super::features::Kind;
    use super::super::model::Shape;
    use super::*;

    fn beliefs() -> [Belief; 2] {
        [Belief { mean: -0.6, deviation: 0.4 }, Belief { mean: -1.1, deviation: 0.7 }]
    }

    #[test]
    fn the_volume_expected_is_the_mean_over_what_may_come() {
        let front = [vec![0.2, 1.5], vec![0.7, 0.9], vec![1.2, 0.1]];
        let reference = [2.0, 2.0];
        let boxes = free_boxes(&front, &reference);
        let (log, _) = log_volume(&beliefs(), &boxes);
        let before = crate::rank::volume(&front, &reference);
        let shares: Vec<f64> = (0..200).map(|i| quantile((f64::from(i) + 0.5) / 200.0)).collect();
        let mut sum = 0.0;
        for (a, b) in shares.iter().flat_map(|a| shares.iter().map(move |b| (a, b))) {
            let [first, second] = beliefs();
            let point =
                vec![-first.mean - first.deviation * a, -second.mean - second.deviation * b];
            let with: Vec<Vec<f64>> = front.iter().cloned().chain([point]).collect();
            sum += (crate::rank::volume(&with, &reference) - before) / 40_000.0;
        }
        assert_close(log.exp(), sum, 1e-3, "volume");
    }

    #[test]
    fn derivatives_are_those_of_differences() {
        fn check(index: usize, of: impl Fn(&[Belief]) -> (f64, Vec<Sloped>)) {
            let at = |mean: f64, deviation: f64| {
                let mut beliefs = beliefs();
                beliefs[index].mean += mean;
                beliefs[index].deviation += deviation;
                of(&beliefs).0
            };
            let found = of(&beliefs()).1[index];
            let step = 1e-6;
            let by_mean = (at(step, 0.0) - at(-step, 0.0)) / (2.0 * step);
            let by_deviation = (at(0.0, step) - at(0.0, -step)) / (2.0 * step);
            assert_close(found.by_mean, by_mean, 1e-6, "by mean");
            assert_close(found.by_deviation, by_deviation, 1e-6, "by deviation");
        }
        let boxes = free_boxes(&[vec![0.2, 1.5], vec![0.7, 0.9]], &[2.0, 2.0]);
        for index in 0..2 {
            check(index, |beliefs| log_volume(beliefs, &boxes));
            check(index, |beliefs| {
                let kept: Vec<Sloped> = beliefs.iter().map(|b| Sloped::above(*b, -0.8)).collect();
                (kept.iter().map(|kept| kept.log).sum(), kept)
            });
        }
    }

    #[test]
    fn hopeless_points_still_have_an_order() {
        let boxes = free_boxes(&[vec![0.0, 0.0]], &[1.0, 1.0]);
        let far = |mean| {
            let belief = Belief { mean, deviation: 0.01 };
            log_volume(&[belief, belief], &boxes).0 + Sloped::above(belief, 0.0).log
        };
        assert!(far(-30.0) > far(-40.0) && far(-40.0).is_finite());
    }

    /// Of the whole, with a limit, while two trials are pending.
    #[test]
    fn the_gradient_is_that_of_differences() {
        let kinds = [Kind::Number; 2];
        let points: Vec<Vec<f64>> =
            (0..12).map(|i| vec![f64::from(i * 5 % 12) / 12.0, f64::from(i) / 12.0]).collect();
        let values: Vec<f64> = points.iter().map(|p| (6.0 * p[0]).sin() - p[1]).collect();
        let model = |values: &[f64]| {
            let shape = Shape::fit(&kinds, &points, values);
            Model::new(&kinds, shape, points.clone(), values).unwrap()
        };
        let draws = [vec![0.7, -0.2], vec![-1.1, 0.4], vec![0.1, 1.6]];
        let pending = vec![vec![0.3, 0.2], vec![0.9, 0.6]];
        let imagined = model(&values).imagining(pending, &draws).unwrap();
        let turned: Vec<f64> = values.iter().map(|value| -value).collect();
        let acquisition = Acquisition {
            objectives: Vec::new(),
            goal: Goal::BestOf(0.5, imagined),
            limits: vec![(model(&turned), -0.2)],
        };
        let log_at = |at: [f64; 2]| acquisition.logs(&[at.to_vec()])[0];
        let at = [0.41, 0.37];
        let (log, gradient) = acquisition.slopes(&at, &[0, 1]);
        assert_close(log, log_at(at), 1e-12, "log");
        for (dimension, slope) in gradient.into_iter().enumerate() {
            let near = |by: f64| {
                let mut near = at;
                near[dimension] += by;
                log_at(near)
            };
            assert_close(slope, (near(1e-5) - near(-1e-5)) / 2e-5, 1e-4, "slope");
        }
    }
}
