//! Racing over folds.

use serde::{Deserialize, Serialize};

use super::{Pruner, Verdict};
use crate::rank::best;
use crate::sampler::normal::probability_below;
use crate::{Direction, Folds, Step, Trial};

/// Stops a trial that is worse than the best one on the steps that both have, which are folds or
/// instances rather than epochs, by a one-sided signed-rank test (Wilcoxon 1945; Optuna's
/// `WilcoxonPruner`). A trial whose mean over these steps is better is never stopped. With several
/// objectives it has to be worse in each.
///
/// Trials that are cross-validated are compared on the folds that both have done.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wilcoxon {
    /// The probability of stopping a trial that is just as good, between 0 and 1.
    pub p: f64,
    /// Number of steps or folds below which nothing is stopped.
    pub startup_steps: usize,
    /// How trials go over folds, if they are cross-validated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folds: Option<Folds>,
}

impl Default for Wilcoxon {
    fn default() -> Self {
        Self { p: 0.1, startup_steps: 2, folds: None }
    }
}

impl Pruner for Wilcoxon {
    fn judge(&self, directions: &[Direction], trials: &[Trial], trial: &Trial) -> Verdict {
        // The trial itself has no final score yet, so it is not the best.
        let Some(best) = best(trials, directions) else { return Verdict::Continue };
        let worse = |(objective, direction): (usize, &Direction)| {
            let mut differences = self.differences(best, trial, objective, *direction);
            differences.retain(|difference| !difference.is_nan());
            let mean = differences.iter().sum::<f64>() / differences.len() as f64;
            differences.len() >= self.startup_steps.max(2)
                && mean >= 0.0
                && greater(&differences) < self.p
        };
        Verdict::prune_if(directions.iter().enumerate().all(worse))
    }
}

impl Wilcoxon {
    /// By how much the loss of `trial` is above that of `best` wherever both have one.
    fn differences(
        &self,
        best: &Trial,
        trial: &Trial,
        objective: usize,
        direction: Direction,
    ) -> Vec<f64> {
        // Two infinities of one sign are level.
        let level = |own: f64, best: f64| if own == best { 0.0 } else { own - best };
        let Some(folds) = self.folds else {
            let loss = |step: &Step| Some(direction.loss(*step.scores.get(objective)?));
            let at = |step: &Step| Some(level(loss(step)?, loss(best.at_step(step.step)?)?));
            return trial.steps.iter().filter_map(at).collect();
        };
        let best = folds.losses(best, objective, direction);
        let on = |(fold, own): (u8, f64)| {
            let difference = level(own, *best.get(&fold)?);
            Some(if difference.abs() < ROUNDING * own.abs().max(1.0) { 0.0 } else { difference })
        };
        folds.losses(trial, objective, direction).into_iter().filter_map(on).collect()
    }
}

/// Differences of losses of folds that are none, as shares of the losses.
const ROUNDING: f64 = 1e-10;

/// Differences up to which the distribution of the statistic is counted out.
const COUNTED: usize = 60;

/// The probability that differences whose signs are left to chance have a rank sum as high as these,
/// where ranks of zeros are split between both sides. Counted out for few differences, ties
/// included; by the normal distribution for many.
fn greater(differences: &[f64]) -> f64 {
    let mut order: Vec<f64> = differences.to_vec();
    order.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    // Twice the rank, so that those of ties are whole numbers.
    let mut ranks: Vec<(usize, f64)> = Vec::with_capacity(order.len());
    let mut place = 0;
    while place < order.len() {
        let size = order[place].abs();
        let same = order[place..].iter().take_while(|d| d.abs() == size).count();
        ranks.extend(order[place..place + same].iter().map(|d| (2 * place + same + 1, *d)));
        place += same;
    }
    let moving: Vec<(usize, bool)> = ranks
        .iter()
        .filter(|(_, difference)| *difference != 0.0)
        .map(|(rank, difference)| (*rank, *difference > 0.0))
        .collect();
    let sum: usize = moving.iter().filter(|(_, up)| *up).map(|(rank, _)| rank).sum();
    if moving.len() > COUNTED {
        return by_normal(&moving, sum);
    }
    let most: usize = moving.iter().map(|(rank, _)| rank).sum();
    let mut ways = vec![0.0; most + 1];
    ways[0] = 1.0;
    for (rank, _) in &moving {
        for total in (*rank..=most).rev() {
            ways[total] += ways[total - rank];
        }
    }
    ways[sum..].iter().sum::<f64>() / 2f64.powi(i32::try_from(moving.len()).unwrap_or(i32::MAX))
}

fn by_normal(ranks: &[(usize, bool)], sum: usize) -> f64 {
    let half = |(rank, _): &(usize, bool)| *rank as f64 / 4.0;
    let mean: f64 = ranks.iter().map(half).sum();
    let variance: f64 = ranks.iter().map(|rank| half(rank).powi(2)).sum();
    probability_below((mean - sum as f64 / 2.0) / variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::greater;

    /// Expected values by scipy 1.17: `wilcoxon(d, alternative="greater", zero_method="zsplit",
    /// method="exact")` where there are neither ties nor zeros, over all signs where there are, and
    /// with `method="approx"` for many.
    #[test]
    fn probabilities_are_those_of_scipy() {
        let check = |differences: &[f64], expected: f64, tolerance: f64| {
            let found = greater(differences);
            assert!((found - expected).abs() < tolerance, "{differences:?}: {found} {expected}");
        };
        check(&[1.0, 2.0], 0.25, 1e-12);
        check(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.031_25, 1e-12);
        check(&[-1.0, 2.0, 3.0, -4.0, 5.0], 0.3125, 1e-12);
        check(&[0.5, 0.5, 0.5], 0.125, 1e-12);
        check(&[0.0, 0.0, 1.0], 0.5, 1e-12);
        check(&[0.0, 0.0], 1.0, 1e-12);
        check(&[1.0, -1.0, 2.0, 2.0, -3.0], 0.468_75, 1e-12);
        let many: Vec<f64> =
            (1..=80).map(|x| f64::from(x) * if x % 3 == 0 { -1.0 } else { 1.0 }).collect();
        check(&many, 0.003_269_085_774_882_575_8, 1e-12);
    }
}
