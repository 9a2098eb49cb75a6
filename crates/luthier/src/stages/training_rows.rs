//! The rows of a data set as training takes them.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};

use luthier_data::{Dataset, Label, Part, Selection, Table, TableColumn};
use luthier_eval::Metric;
use luthier_train::{
    Column, ColumnKind, Data, Row, Subset, TableData, TableTargets, TableTask, TextData,
};

use super::tune::interrupted;
use crate::failure::Failure;

/// The rows of a data set as training takes them, read on first use.
pub(super) struct TrainingRows<'a> {
    pub(super) dataset: &'a Dataset,
    /// What decides on the rows that trials are judged by.
    pub(super) metric: Metric,
    stop: &'a AtomicBool,
    /// All that there is to learn from.
    all: OnceCell<Data<'a>>,
    /// The rows outside of each fold, with those of the fold to be judged by.
    folds: OnceCell<Vec<Data<'a>>>,
}

impl<'a> TrainingRows<'a> {
    /// Rows whose reading ends with an error once `stop` is set.
    pub(super) fn of(dataset: &'a Dataset, metric: Metric, stop: &'a AtomicBool) -> Self {
        Self { dataset, metric, stop, all: OnceCell::new(), folds: OnceCell::new() }
    }

    /// All training rows, with the validation rows if there are any.
    pub(super) fn all(&self) -> Result<&Data<'a>, Failure> {
        if let Some(all) = self.all.get() {
            return Ok(all);
        }
        let all = self.read(Part::Train.into(), Part::Valid.into())?;
        Ok(self.all.get_or_init(|| all))
    }

    /// What models that are judged are fitted to: one set of rows for each fold or, without folds, the
    /// only one.
    pub(super) fn judged(&self) -> Result<&[Data<'a>], Failure> {
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

    fn read(&self, train: Selection, valid: Selection) -> Result<Data<'a>, Failure> {
        let data = match self.dataset.table() {
            None => self.texts(train, valid),
            Some(table) => self.table(table, train, valid),
        };
        match data {
            Err(_) if self.stop.load(Ordering::Relaxed) => Err(interrupted()),
            data => data,
        }
    }

    fn texts(&self, train: Selection, valid: Selection) -> Result<Data<'a>, Failure> {
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
                visit(Row {
                    text: example.content.text().unwrap_or_default(),
                    label: example.label.class(),
                    weight: example.weight,
                    taught: &[],
                });
            }
            Ok(())
        };
        let data = TextData::new(dataset.labels().len(), source)?;
        Ok(data.one_of(usize::from(dataset.folds()) + 1).into())
    }

    fn table(
        &self,
        table: &Table,
        train: Selection,
        valid: Selection,
    ) -> Result<Data<'a>, Failure> {
        let kind = |column: &TableColumn| match &column.kind {
            luthier_data::ColumnKind::Number | luthier_data::ColumnKind::Time => ColumnKind::Number,
            luthier_data::ColumnKind::Category(known) => ColumnKind::Category(known.values().len()),
        };
        let (train_cells, train) = self.cells(table, train)?;
        let (valid_cells, valid) = self.cells(table, valid)?;
        let columns = table.columns().iter().zip(train_cells).zip(valid_cells);
        let columns = columns.map(|((column, train), valid)| Column {
            name: column.name.clone(),
            kind: kind(column),
            train,
            valid,
        });
        let task = match self.dataset.labels().len() {
            0 => TableTask::Number,
            classes => TableTask::Classes(classes),
        };
        Ok(TableData { columns: columns.collect(), task, train, valid }.into())
    }

    /// The cells of the selected rows, column by column, and what they are labelled with.
    fn cells(
        &self,
        table: &Table,
        rows: Selection,
    ) -> Result<(Vec<Vec<f32>>, TableTargets), Failure> {
        let mut columns = vec![Vec::new(); table.columns().len()];
        let (mut targets, mut row) = (TableTargets::default(), Vec::new());
        for example in self.dataset.examples(rows)? {
            let example = example?;
            if self.stop.load(Ordering::Relaxed) {
                return Err(interrupted());
            }
            row.clear();
            table.encode(example.content.cells(), &mut row).map_err(|error| {
                Failure::fault(format!("a row has changed while it was used: {error}"))
            })?;
            columns.iter_mut().zip(&row).for_each(|(column, cell)| column.push(*cell));
            targets.values.push(match example.label {
                Label::Class(class) => class as f32,
                Label::Number(number) => number as f32,
            });
            targets.weights.push(example.weight);
        }
        targets.normalise();
        Ok((columns, targets))
    }
}
