//! Labelled rows of a file, and what bundles say of them.

use std::collections::HashMap;
use std::path::Path;

use luthier_bundle::{Bundle, PredictScratch, ProbeRow};
use luthier_data::{DataError, Source};
use luthier_engine::Threads;
use luthier_eval::Predictions;
use luthier_model::Decision;

use crate::failure::Failure;
use crate::stages::{Answers, Inputs, TIMED_ROWS, Truth, answer_as, columns, content, raw};

/// Labels that a message lists.
const SHOWN_LABELS: usize = 5;

/// Rows with what they are labelled with.
pub(super) struct LabelledRows {
    inputs: Inputs,
    /// The first [`TIMED_ROWS`] of a table as callers give them.
    cells: Vec<ProbeRow>,
    truth: Truth,
}

impl LabelledRows {
    /// The rows of a file, as `bundle` takes them: its columns, or those called `text`. Labels must be
    /// among its own, or numbers.
    pub(super) fn read(
        bundle: &Bundle,
        path: &Path,
        text: &[String],
        label: &str,
    ) -> Result<Self, Failure> {
        let model = bundle.model()?;
        let (table, labels) = (model.preprocess.table(), model.decision.labels());
        let source = Source::open(path)?;
        let classes: HashMap<&str, u32> = labels.iter().map(String::as_str).zip(0..).collect();
        let mut rows = Self {
            inputs: Inputs::empty(table),
            cells: Vec::new(),
            truth: Truth::none(&model.decision),
        };
        let mut wanted = columns(table, text);
        wanted.push(label);
        for row in source.rows(&wanted)? {
            let mut row = row?;
            let found = row.cells.pop().flatten().unwrap_or_default();
            let found = found.trim();
            if found.is_empty() {
                let (path, column) = (path.to_owned(), label.to_owned());
                return Err(DataError::MissingLabel { path, line: row.line, column }.into());
            }
            let place = || format!("{}:{}", path.display(), row.line);
            match &mut rows.truth {
                Truth::Classes(_, of_rows) => {
                    of_rows.push(classes.get(found).copied().ok_or_else(|| {
                        let what =
                            format!("{}: label `{found}` is not one of the model's", place());
                        Failure::input(what).hint(format!("the model knows {}", labels.join(", ")))
                    })?);
                }
                Truth::Numbers(of_rows) => {
                    let number = found.parse().ok().filter(|number: &f64| number.is_finite());
                    of_rows.push(number.ok_or_else(|| {
                        Failure::input(format!("{}: label `{found}` is not a number", place()))
                    })?);
                }
            }
            let content = content(table, row.cells);
            rows.inputs
                .push(table, &content)
                .map_err(|error| Failure::input(format!("{}: {error}", place())))?;
            if table.is_some() && rows.cells.len() < TIMED_ROWS {
                rows.cells.push(raw(table, content));
            }
        }
        if rows.len() == 0 {
            return Err(Failure::input(format!("{}: no rows", path.display())));
        }
        Ok(rows)
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.truth.len()
    }

    /// As many as [`TIMED_ROWS`] of them as callers give them: texts evenly from all, since they take
    /// unlike times.
    pub(super) fn timed(&self) -> Vec<ProbeRow> {
        match &self.inputs {
            Inputs::Texts(texts) => {
                let step = texts.len().div_ceil(TIMED_ROWS).max(1);
                texts.iter().step_by(step).cloned().map(ProbeRow::Text).collect()
            }
            Inputs::Table(..) => self.cells.clone(),
        }
    }

    /// What a bundle says of the rows, its classes in the order of `labels`, which are its own.
    pub(super) fn score(&self, bundle: &Bundle, labels: &[String]) -> Result<Predictions, Failure> {
        let predictor = bundle.predictor(&Threads::new(1))?;
        let scratch = &mut PredictScratch::default();
        let Answers { outputs, decided } = answer_as(&predictor, &self.inputs, labels, scratch)?;
        Ok(self.truth.predictions(&outputs, decided)?)
    }
}

/// Opens the bundle at `path`, which must take the same columns as `bundle` and be about the same labels,
/// in any order, with the same positive one.
pub(super) fn beside(bundle: &Bundle, path: &Path) -> Result<Bundle, Failure> {
    let other = Bundle::open(path)?;
    let (here, there) = (&bundle.manifest().signature, &other.manifest().signature);
    if here.inputs != there.inputs || bundle.manifest().task != other.manifest().task {
        let message =
            format!("{} takes other rows than {}", path.display(), bundle.path().display());
        return Err(Failure::input(message).hint("only models of the same inputs can be compared"));
    }
    let (ours, theirs) = (&bundle.manifest().decision, &other.manifest().decision);
    let lacking = |of: &[String], among: &[String]| -> Vec<String> {
        of.iter().filter(|label| !among.contains(label)).map(|l| format!("`{l}`")).collect()
    };
    let told = |path: &Path, labels: &[String]| {
        let some = labels[..labels.len().min(SHOWN_LABELS)].join(", ");
        let more = match labels.len().saturating_sub(SHOWN_LABELS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{} alone knows {some}{more}", path.display())
    };
    let sides = [
        (bundle.path(), lacking(ours.labels(), theirs.labels())),
        (path, lacking(theirs.labels(), ours.labels())),
    ];
    let differences: Vec<String> = sides
        .iter()
        .filter(|(_, labels)| !labels.is_empty())
        .map(|(path, labels)| told(path, labels))
        .collect();
    if !differences.is_empty() {
        let message = format!("the bundles have different labels: {}", differences.join("; "));
        return Err(Failure::input(message).hint("only models of the same classes can be compared"));
    }
    let positive = |decision: &Decision| {
        decision.positive().and_then(|class| decision.labels().get(class).cloned())
    };
    match (positive(ours), positive(theirs)) {
        (ours, theirs) if ours == theirs => Ok(other),
        (ours, theirs) => {
            let named =
                |label: Option<String>| label.map_or("none".to_owned(), |l| format!("`{l}`"));
            let (ours, theirs) = (named(ours), named(theirs));
            Err(Failure::input(format!("the positive label is {ours} here and {theirs} there"))
                .hint("set `data.positive` alike in both jobs"))
        }
    }
}
