//! Trials that are cross-validated, and how their steps are numbered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::mix::mix;
use crate::{Direction, Step, Trial};

/// How trials go over the folds of a cross-validation: each takes them in an order of its own and fits
/// a model for each. Its score at a step is the mean over the folds that are done and the one that it
/// is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folds {
    /// Number of folds.
    pub count: u8,
    /// Number of steps of each fold. The model of the fold at place `p`, from 0, is done at step
    /// `(p + 1) · steps`, in however few of them it was.
    pub steps: u64,
    /// Seed of the orders.
    pub seed: u64,
}

impl Folds {
    /// The folds in the order in which trial `number` takes them: orders differ, so that the first fold
    /// does not decide which trials are given up.
    pub fn order(self, number: u64) -> Vec<u8> {
        let draw = |fold: &u8| mix(mix(self.seed ^ mix(number + 1)) ^ u64::from(*fold + 1));
        let mut order: Vec<u8> = (0..self.count).collect();
        order.sort_by_key(draw);
        order
    }

    /// The number of a trial's step that is step `within` of the fold at `place`, from 0; `None` if
    /// the fold's steps are used up.
    pub fn step(self, place: usize, within: u64) -> Option<u64> {
        (within < self.steps).then(|| place as u64 * self.steps + within)
    }

    /// The number of the step at which the fold at `place` is done.
    pub fn end(self, place: usize) -> u64 {
        (place as u64 + 1) * self.steps
    }

    /// The loss of one objective on each fold that is done, by fold. They are taken apart from means,
    /// so that equal ones may differ in the last digits.
    pub(crate) fn losses(
        self,
        trial: &Trial,
        objective: usize,
        direction: Direction,
    ) -> BTreeMap<u8, f64> {
        let mut before = 0.0;
        let sum =
            |place: usize, step: &Step| Some(step.scores.get(objective)? * (place + 1) as f64);
        let of_fold = |(place, fold): (usize, u8)| {
            let sum = sum(place, trial.at_step(self.end(place))?)?;
            let score = sum - std::mem::replace(&mut before, sum);
            Some((fold, direction.loss(score)))
        };
        self.order(trial.number).into_iter().enumerate().map_while(of_fold).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use luthier_space::Values;

    use super::Folds;
    use crate::{Direction, Trial};

    const FOLDS: Folds = Folds { count: 5, steps: 10, seed: 3 };

    #[test]
    fn orders_are_permutations_and_differ() {
        let orders: BTreeSet<Vec<u8>> = (0..200).map(|number| FOLDS.order(number)).collect();
        assert!(orders.len() > 90, "of 120 that there are: {}", orders.len());
        let mut firsts = [0; 5];
        for number in 0..1000 {
            let order = FOLDS.order(number);
            assert_eq!(order.iter().copied().collect::<BTreeSet<u8>>(), (0..5).collect());
            firsts[usize::from(order[0])] += 1;
        }
        assert!(firsts.iter().all(|count| (150..250).contains(count)), "{firsts:?}");
    }

    #[test]
    fn steps_ascend_over_the_folds() {
        assert_eq!(FOLDS.step(0, 1), Some(1));
        assert_eq!(FOLDS.step(0, 9), Some(9));
        assert_eq!(FOLDS.step(0, 10), None);
        assert_eq!(FOLDS.end(0), 10);
        assert_eq!(FOLDS.step(1, 1), Some(11));
        assert_eq!(FOLDS.end(4), 50);
    }

    #[test]
    fn losses_of_folds_are_taken_from_means() {
        let mut trial = Trial::running(7, Values::default());
        let scores = [0.9, 0.5, 0.7];
        for (place, score) in scores.iter().enumerate() {
            let mean = scores[..=place].iter().sum::<f64>() / (place + 1) as f64;
            trial.steps.push((FOLDS.step(place, 4).unwrap(), score / 2.0).into());
            trial.steps.push((FOLDS.end(place), mean).into());
        }
        let losses = FOLDS.losses(&trial, 0, Direction::Maximize);
        assert_eq!(losses.len(), 3);
        for (fold, score) in FOLDS.order(7).iter().zip(scores) {
            assert!((losses[fold] + score).abs() < 1e-12);
        }
    }
}
