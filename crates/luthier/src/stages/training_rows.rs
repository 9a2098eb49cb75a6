//! The rows of a data set as training takes them.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use luthier_data::{Dataset, Label, Part, Selection, Table, TableColumn};
use luthier_eval::Metric;
use luthier_model::Decision;
use luthier_train::{
    Column, ColumnKind, Data, Monotone, Row, Subset, TableData, TableTargets, TableTask, TextData,
};

use super::teach::{Lessons, Taught};
use super::tune::interrupted;
use crate::failure::{Failure, did_you_mean, meant_or_known, nearest};
use crate::job::{self, ClassWeights, NamedWeights, Way};

/// The rows of a data set as training takes them, read on first use.
pub(super) struct TrainingRows<'a> {
    pub(super) dataset: &'a Dataset,
    /// How classes are decided for on them.
    pub(super) decision: &'a Decision,
    /// What decides on the rows that trials are judged by.
    pub(super) metric: Metric,
    /// How much the rows of each class count besides their own weights.
    class_weights: Vec<f32>,
    /// How answers may change with each column of a table.
    monotone: Vec<Monotone>,
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
        data: &job::Data,
        stop: &'a AtomicBool,
    ) -> Result<Self, Failure> {
        Ok(Self {
            dataset,
            decision,
            metric: data.metric,
            class_weights: class_weights(dataset, data.learning.class_weights.as_ref())?,
            monotone: monotone(dataset, &data.learning.monotone)?,
            stop,
            lessons: None,
            all: OnceCell::new(),
            folds: OnceCell::new(),
        })
    }

    /// The same rows with what a teacher, if there is one, has answered for them.
    pub(super) fn taught_by(self, taught: Option<&'a Taught>) -> Self {
        Self { lessons: taught.map(|taught| &taught.lessons), ..self }
    }

    /// The same rows without a teacher.
    pub(super) fn untaught(&self) -> Self {
        Self {
            class_weights: self.class_weights.clone(),
            monotone: self.monotone.clone(),
            lessons: None,
            all: OnceCell::new(),
            folds: OnceCell::new(),
            ..*self
        }
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
        let class_weights = self.class_weights.clone();
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
                let text = example.content.text().unwrap_or_default();
                let label = example.label.class();
                let of_class = label.map_or(1.0, |class| class_weights[class as usize]);
                let row = Row { text, label, weight: example.weight * of_class, taught: &[] };
                match lessons.zip(places.get(number)) {
                    None => visit(row),
                    Some((lessons, place)) => {
                        visit(Row { taught: lessons.of_row(*place), ..row });
                        for (made, taught) in lessons.made_of(*place, text) {
                            visit(Row { text: &made, label: None, weight: row.weight, taught });
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
        let columns = table.columns().iter().zip(&self.monotone).zip(train_cells).zip(valid_cells);
        let columns = columns.map(|(((column, monotone), train), valid)| Column {
            name: column.name.clone(),
            kind: kind(column),
            monotone: *monotone,
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
            let (value, weight) = match example.label {
                Label::Class(class) => (class as f32, self.class_weights[class as usize]),
                Label::Number(number) => (number as f32, 1.0),
            };
            targets.values.push(value);
            targets.weights.push(example.weight * weight);
        }
        targets.normalise();
        Ok((columns, targets))
    }
}

/// What rows of each class count besides their own weights.
fn class_weights(dataset: &Dataset, wanted: Option<&ClassWeights>) -> Result<Vec<f32>, Failure> {
    let labels = dataset.labels();
    let mut weights = vec![1.0; labels.len()];
    match wanted {
        None => {}
        Some(ClassWeights::Named(NamedWeights::Balanced)) => {
            let counts = dataset.class_counts(Part::Train);
            let even = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
            let of_class = counts.iter().map(|count| (even / (*count).max(1) as f64) as f32);
            weights = of_class.collect();
        }
        Some(ClassWeights::Given(given)) => {
            for (label, weight) in given {
                let class = labels.iter().position(|known| known == label).ok_or_else(|| {
                    let what = format!("`data.class_weights`: no row is labelled `{label}`");
                    let known = labels.iter().map(String::as_str);
                    Failure::input(what).hint(meant_or_known(nearest(label, known), labels))
                })?;
                weights[class] = *weight as f32;
            }
        }
    }
    Ok(weights)
}

/// How answers may change with each column of the table, as learners see it.
fn monotone(dataset: &Dataset, ways: &BTreeMap<String, Way>) -> Result<Vec<Monotone>, Failure> {
    let columns = dataset.table().map_or(&[][..], Table::columns);
    let mut monotone = vec![Monotone::Free; columns.len()];
    let classes = dataset.labels().len();
    if !ways.is_empty() && classes > 2 {
        let what = format!("`data.monotone` is given, and there are {classes} classes");
        return Err(Failure::input(what).hint("what rises must be a number, or one of two classes"));
    }
    // To learners it is the probability of class 1 that rises.
    let turned = dataset.positive() == Some(0);
    for (name, way) in ways {
        let place = columns.iter().position(|column| column.name == *name).ok_or_else(|| {
            let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let failure = Failure::input(format!(
                "`data.monotone`: there is no column `{name}` to learn from"
            ));
            match nearest(name, known) {
                Some(nearest) => failure.hint(did_you_mean(nearest)),
                None => failure,
            }
        })?;
        if let luthier_data::ColumnKind::Category(_) = columns[place].kind {
            let what =
                format!("`data.monotone`: column `{name}` has categories, which have no order");
            return Err(Failure::input(what).hint(format!(
                "leave it out, or say `kinds = {{ {name} = \"number\" }}` where they are numbers"
            )));
        }
        monotone[place] = match (way, turned) {
            (Way::Rising, false) | (Way::Falling, true) => Monotone::Rising,
            (Way::Falling, false) | (Way::Rising, true) => Monotone::Falling,
        };
    }
    Ok(monotone)
}
