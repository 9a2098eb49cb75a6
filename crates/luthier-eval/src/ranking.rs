//! Areas under the curves of one class against the rest.

use std::cmp::Ordering;

use crate::Score;
use crate::predictions::Classes;

/// Rows by descending probability of one class: sorted once, walked once per resample.
pub(crate) struct Ranking(Vec<Step>);

struct Step {
    row: u32,
    /// Whether the row is of the class.
    positive: bool,
    /// Whether the next row has another probability. Rows in between are tied, and a curve has no
    /// point among them.
    last: bool,
}

impl Ranking {
    pub(crate) fn of(predictions: &Classes, class: usize) -> Self {
        let score = |row: &u32| predictions.row(*row as usize)[class];
        let mut order: Vec<u32> = (0..predictions.truth().len() as u32).collect();
        order.sort_unstable_by(|a, b| {
            score(b).partial_cmp(&score(a)).unwrap_or(Ordering::Equal).then(a.cmp(b))
        });
        let step = |(index, row): (usize, &u32)| Step {
            row: *row,
            positive: predictions.truth()[*row as usize] as usize == class,
            last: order.get(index + 1).is_none_or(|next| score(next) != score(row)),
        };
        Self(order.iter().enumerate().map(step).collect())
    }

    /// Area under the ROC curve, and average precision, of rows with the masses `mass`.
    ///
    /// The former is undefined where the class or the rest has no mass; the latter is then 0 or 1,
    /// as in scikit-learn.
    pub(crate) fn areas(&self, mass: &[f64]) -> (Score, f64) {
        let (mut hits, mut misses) = (0.0, 0.0);
        let (mut tied_hits, mut tied_misses) = (0.0, 0.0);
        let (mut below_roc, mut below_precision) = (0.0, 0.0);
        for step in &self.0 {
            let mass = mass[step.row as usize];
            tied_hits += if step.positive { mass } else { 0.0 };
            tied_misses += if step.positive { 0.0 } else { mass };
            if step.last {
                below_roc += tied_misses * (hits + 0.5 * tied_hits);
                hits += tied_hits;
                misses += tied_misses;
                if tied_hits > 0.0 {
                    below_precision += tied_hits * hits / (hits + misses);
                }
                (tied_hits, tied_misses) = (0.0, 0.0);
            }
        }
        let defined = hits > 0.0 && misses > 0.0;
        // Two divisions, since the product of two tiny masses may be 0.
        let roc = defined.then(|| below_roc / hits / misses);
        let precision = if hits > 0.0 { below_precision / hits } else { 0.0 };
        (roc, precision)
    }
}
