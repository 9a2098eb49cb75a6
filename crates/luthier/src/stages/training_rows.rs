//! The rows of a data set as training takes them.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};

use luthier_data::{Dataset, Label, Part, Selection, Table, TableColumn};
use luthier_eval::Metric;
use luthier_model::Decision;
use luthier_train::{
    Column, ColumnKind, Data, Row, Subset, TableData, TableTargets, TableTask, TextData,
};

use super::teach::{Lessons, Taught};
use super::tune::interrupted;
use crate::failure::Failure;

/// The rows of a data set as training takes them, read on first use.
pub(super) struct TrainingRows<'a> {
    pub(super) dataset: &'a Dataset,
    /// How classes are decided for on them.
    pub(super) decision: &'a Decision,
    /// What decides on the rows that trials are judged by.
    pub(super) metric: Metric,
    stop: &'a AtomicBool,
    /// What a teacher answers for them, where they are taught.
    lessons: Option<&'a Lessons>,
    /// All that there is to learn from.
    all: OnceCell<Data<'a>>,
    /// The rows outside of each fold, with those of the fold to be judged by.
    folds: OnceCell<Vec<Data<'a>>>,
}

impl<'a> TrainingRows<'a> {
    /// Rows whose reading ends with an error once `stop` is set.
    pub(super) fn of(
        dataset: &'a Dataset,
        decision: &'a Decision,
        metric: Metric,
        stop: &'a AtomicBool,
    ) -> Self {
        let (all, folds) = (OnceCell::new(), OnceCell::new());
        Self { dataset, decision, metric, stop, lessons: None, all, folds }
    }

    /// The same rows with what a teacher, if there is one, has answered for them.
    pub(super) fn taught_by(self, taught: Option<&'a Taught>) -> Self {
        Self { lessons: taught.map(|taught| &taught.lessons), ..self }
    }

    /// The same rows without a teacher.
    pub(super) fn untaught(&self) -> Self {
        Self::of(self.dataset, self.decision, self.metric, self.stop)
    }

    /// Digest of what a teacher answers.
    pub(super) fn lessons(&self) -> Option<&str> {
        self.lessons.map(|lessons| lessons.key.as_str())
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
        let (dataset, stop, lessons) = (self.dataset, self.stop, self.lessons);
        let places = self.places(train);
        let source = move |subset, visit: &mut dyn FnMut(Row<'_>)| {
            let selection = match subset {
                Subset::Train => train,
                Subset::Valid => valid,
            };
            let lessons = lessons.filter(|_| subset == Subset::Train);
            for (number, example) in dataset.examples(selection)?.enumerate() {
                let example = example?;
                if stop.load(Ordering::Relaxed) {
                    return Err("interrupted".into());
                }
                let (text, weight) = (example.content.text().unwrap_or_default(), example.weight);
                let row = Row { text, label: example.label.class(), weight, taught: &[] };
                match lessons.zip(places.get(number)) {
                    None => visit(row),
                    Some((lessons, place)) => {
                        visit(Row { taught: lessons.of_row(*place), ..row });
                        for (made, taught) in lessons.made_of(*place, text) {
                            visit(Row { text: &made, label: None, weight, taught });
                        }
                    }
                }
            }
            for (text, taught) in lessons.into_iter().flat_map(Lessons::unlabelled) {
                visit(Row { text, label: None, weight: 1.0, taught });
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
        let places = self.places(train);
        let (train_cells, mut train) = self.cells(table, train)?;
        let (valid_cells, valid) = self.cells(table, valid)?;
        if let Some(lessons) = self.lessons {
            let taught = places.iter().flat_map(|place| lessons.of_row(*place));
            train.taught = taught.copied().collect();
        }
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

    /// Where the selected training rows are among all of them.
    fn places(&self, selection: Selection) -> Vec<usize> {
        let fold_of_row = self.dataset.fold_of_row();
        let is_selected = |place: &usize| match (selection, fold_of_row.get(*place)) {
            (Selection::Fold(fold), Some(of_row)) => *of_row == fold,
            (Selection::Outside(fold), Some(of_row)) => *of_row != fold,
            _ => true,
        };
        (0..self.dataset.len(Part::Train) as usize).filter(is_selected).collect()
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
