//! The rows that choices are made on, and who answers them.

use luthier_bundle::Predictor;
use luthier_data::{Dataset, Part};

use super::measure::{answer, texts, truth};
use crate::failure::Failure;

/// The validation rows or, where there are folds, all training rows, each of which is answered by the
/// model of its fold, which has not seen it.
pub(super) struct HeldOut {
    pub(super) texts: Vec<String>,
    pub(super) truth: Vec<u32>,
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
    pub(super) fn of(dataset: &Dataset) -> Result<Self, Failure> {
        let (part, fold_of_row) = (part(dataset), dataset.fold_of_row());
        Ok(Self { texts: texts(dataset, part)?, truth: truth(dataset, part)?, fold_of_row })
    }

    /// The one of `of_folds` that is right for a row: that of its fold, or the only one.
    pub(super) fn of_row<'a, T>(&self, row: usize, of_folds: &'a [T]) -> &'a T {
        &of_folds[self.fold_of_row.get(row).copied().map_or(0, usize::from)]
    }

    /// Probabilities of all rows, row-major, and the labels that decisions give, by the predictors of
    /// the folds or the only one.
    pub(super) fn answer(&self, predictors: &[Predictor]) -> Result<(Vec<f32>, Vec<u32>), Failure> {
        let (mut probabilities, mut labels) = (Vec::new(), Vec::new());
        for (fold, predictor) in predictors.iter().enumerate() {
            let texts = self.rows_of(fold).map(|row| self.texts[row].as_str());
            let (of_fold, found) = answer(predictor, &texts.collect::<Vec<_>>())?;
            probabilities.push(of_fold);
            labels.push(found);
        }
        let classes = predictors.first().map_or(0, |first| first.decision().classes());
        Ok((self.in_order(classes, &probabilities), self.in_order(1, &labels)))
    }

    /// What there is for each row, `width` numbers, in the order of the rows, from what there is for
    /// those of each fold.
    pub(super) fn in_order<T: Copy + Default>(&self, width: usize, of_folds: &[Vec<T>]) -> Vec<T> {
        let mut ordered = vec![T::default(); self.texts.len() * width];
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
        (0..self.texts.len()).filter(is_in)
    }
}
