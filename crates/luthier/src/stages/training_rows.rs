//! The rows of a data set as training takes them.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};

use luthier_data::{Dataset, Part, Selection};
use luthier_eval::Metric;
use luthier_train::{Row, Subset, TextData};

use super::tune::interrupted;
use crate::failure::Failure;

/// The rows of a data set as training takes them, read on first use.
pub(super) struct TrainingRows<'a> {
    pub(super) dataset: &'a Dataset,
    /// What decides on the rows that trials are judged by.
    pub(super) metric: Metric,
    stop: &'a AtomicBool,
    /// All that there is to learn from.
    all: OnceCell<TextData<'a>>,
    /// The rows outside of each fold, with those of the fold to be judged by.
    folds: OnceCell<Vec<TextData<'a>>>,
}

impl<'a> TrainingRows<'a> {
    /// Rows whose reading ends with an error once `stop` is set.
    pub(super) fn of(dataset: &'a Dataset, metric: Metric, stop: &'a AtomicBool) -> Self {
        Self { dataset, metric, stop, all: OnceCell::new(), folds: OnceCell::new() }
    }

    /// All training rows, with the validation rows if there are any.
    pub(super) fn all(&self) -> Result<&TextData<'a>, Failure> {
        if let Some(all) = self.all.get() {
            return Ok(all);
        }
        let all = self.read(Part::Train.into(), Part::Valid.into())?;
        Ok(self.all.get_or_init(|| all))
    }

    /// What models that are judged are fitted to: one set of rows for each fold or, without folds, the
    /// only one.
    pub(super) fn judged(&self) -> Result<&[TextData<'a>], Failure> {
        let count = self.dataset.folds();
        if count == 0 {
            return Ok(std::slice::from_ref(self.all()?));
        }
        if let Some(folds) = self.folds.get() {
            return Ok(folds);
        }
        let read = |fold| self.read(Selection::Outside(fold), Selection::Fold(fold));
        let folds = (0..count).map(read).collect::<Result<Vec<_>, Failure>>()?;
        Ok(self.folds.get_or_init(|| folds))
    }

    fn read(&self, train: Selection, valid: Selection) -> Result<TextData<'a>, Failure> {
        let (dataset, stop) = (self.dataset, self.stop);
        let source = move |subset, visit: &mut dyn FnMut(Row<'_>)| {
            let selection = match subset {
                Subset::Train => train,
                Subset::Valid => valid,
            };
            for example in dataset.examples(selection)? {
                let example = example?;
                if stop.load(Ordering::Relaxed) {
                    return Err("interrupted".into());
                }
                visit(Row { text: &example.text, label: example.label, weight: example.weight });
            }
            Ok(())
        };
        match TextData::new(dataset.labels().len(), source) {
            Err(_) if stop.load(Ordering::Relaxed) => Err(interrupted()),
            data => Ok(data?.one_of(usize::from(dataset.folds()) + 1)),
        }
    }
}
