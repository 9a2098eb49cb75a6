//! The rows that choices are made on, and who answers them.

use luthier_bundle::Predictor;
use luthier_data::{Dataset, Part};

use super::Prepared;
use super::inputs::Inputs;
use super::measure::{Answers, Truth, answer};
use crate::failure::Failure;

/// The validation rows or, where there are folds, all training rows, each of which is answered by the
/// model of its fold, which has not seen it.
pub(super) struct HeldOut {
    pub(super) inputs: Inputs,
    pub(super) truth: Truth,
    /// The fold of each row; none if there are no folds.
    fold_of_row: Vec<u8>,
}

/// The part of the data that the rows are of.
pub(super) fn part(dataset: &Dataset) -> Part {
    if dataset.folds() > 0 { Part::Train } else { Part::Valid }
}

/// Those who answer the rows: what was made without each fold, or the only one.
pub(super) fn answering<'a, T>(only: &'a T, folds: &'a [T]) -> &'a [T] {
    if folds.is_empty() { std::slice::from_ref(only) } else { folds }
}

impl HeldOut {
    pub(super) fn of(prepared: &Prepared<'_>) -> Result<Self, Failure> {
        let Prepared { dataset, decision, .. } = prepared;
        let (part, fold_of_row) = (part(dataset), dataset.fold_of_row());
        Ok(Self {
            inputs: Inputs::of(dataset, part)?,
            truth: Truth::of(dataset, decision, part)?,
            fold_of_row,
        })
    }

    /// The one of `of_folds` that is right for a row: that of its fold, or the only one.
    pub(super) fn of_row<'a, T>(&self, row: usize, of_folds: &'a [T]) -> &'a T {
        &of_folds[self.fold_of_row.get(row).copied().map_or(0, usize::from)]
    }

    /// What models give for all rows, by the predictors of the folds or the only one.
    pub(super) fn answer(&self, predictors: &[Predictor]) -> Result<Answers, Failure> {
        let (mut outputs, mut decided) = (Vec::new(), Vec::new());
        for (fold, predictor) in predictors.iter().enumerate() {
            let found = answer(predictor, &self.inputs.at(self.rows_of(fold)))?;
            outputs.push(found.outputs);
            decided.extend(found.decided);
        }
        let is_decided = !decided.is_empty();
        Ok(Answers {
            outputs: self.in_order(self.truth.outputs(), &outputs),
            decided: is_decided.then(|| self.in_order(1, &decided)),
        })
    }

    /// What there is for each row, `width` numbers, in the order of the rows, from what there is for
    /// those of each fold.
    pub(super) fn in_order<T: Copy + Default>(&self, width: usize, of_folds: &[Vec<T>]) -> Vec<T> {
        let mut ordered = vec![T::default(); self.truth.len() * width];
        for (fold, numbers) in of_folds.iter().enumerate() {
            for (row, numbers) in self.rows_of(fold).zip(numbers.chunks_exact(width.max(1))) {
                ordered[row * width..][..width].copy_from_slice(numbers);
            }
        }
        ordered
    }

    /// The rows of a fold, all if there are no folds.
    fn rows_of(&self, fold: usize) -> impl Iterator<Item = usize> + '_ {
        let is_in = move |row: &usize| {
            self.fold_of_row.get(*row).is_none_or(|of_row| usize::from(*of_row) == fold)
        };
        (0..self.truth.len()).filter(is_in)
    }
}
