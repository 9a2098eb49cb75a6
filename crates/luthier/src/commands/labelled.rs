//! Labelled rows of a file, and what bundles say of them.

use std::collections::HashMap;
use std::path::Path;

use luthier_bundle::{Bundle, Predictor};
use luthier_data::{DataError, Source};
use luthier_engine::Threads;
use luthier_eval::Predictions;

use crate::failure::Failure;
use crate::stages::{answer, predictions};

/// Labels that a message lists.
const SHOWN_LABELS: usize = 5;

/// Texts with the classes of their labels.
pub(super) struct LabelledRows {
    pub(super) texts: Vec<String>,
    truth: Vec<u32>,
}

impl LabelledRows {
    /// The rows of a file, whose labels must be among `labels`, by the position of which classes are
    /// numbered.
    pub(super) fn read(
        path: &Path,
        text: &[String],
        label: &str,
        labels: &[String],
    ) -> Result<Self, Failure> {
        let source = Source::open(path)?;
        let columns: Vec<&str> = text.iter().map(String::as_str).chain([label]).collect();
        let classes: HashMap<&str, u32> = labels.iter().map(String::as_str).zip(0..).collect();
        let mut rows = Self { texts: Vec::new(), truth: Vec::new() };
        for row in source.rows(&columns)? {
            let row = row?;
            let mut cells = row.cells.into_iter();
            let words: Vec<String> =
                cells.by_ref().take(text.len()).map(Option::unwrap_or_default).collect();
            let found = cells.next().flatten().unwrap_or_default();
            let found = found.trim();
            if found.is_empty() {
                let (path, column) = (path.to_owned(), label.to_owned());
                return Err(DataError::MissingLabel { path, line: row.line, column }.into());
            }
            let class = classes.get(found).copied().ok_or_else(|| {
                let place = format!("{}:{}", path.display(), row.line);
                Failure::input(format!("{place}: label `{found}` is not one of the model's"))
                    .hint(format!("the model knows {}", labels.join(", ")))
            })?;
            rows.texts.push(words.join("\n"));
            rows.truth.push(class);
        }
        if rows.texts.is_empty() {
            return Err(Failure::input(format!("{}: no rows", path.display())));
        }
        Ok(rows)
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// What a bundle says of the rows, its classes in the order of `labels`, which are its own.
    pub(super) fn score(&self, bundle: &Bundle, labels: &[String]) -> Result<Predictions, Failure> {
        let predictor = bundle.predictor(&Threads::new(1))?;
        let (probabilities, predicted) = answer(&predictor, &self.texts)?;
        let places = places(&predictor, labels);
        let (probabilities, predicted) = match places.iter().copied().eq(0..labels.len()) {
            true => (probabilities, predicted),
            false => in_order(&places, &probabilities, &predicted),
        };
        Ok(predictions(labels.len(), self.truth.clone(), &probabilities, Some(predicted))?)
    }
}

/// For each label the class of the model that carries it.
fn places(predictor: &Predictor, labels: &[String]) -> Vec<usize> {
    let own = &predictor.decision().labels;
    labels.iter().filter_map(|label| own.iter().position(|other| other == label)).collect()
}

fn in_order(places: &[usize], probabilities: &[f32], predicted: &[u32]) -> (Vec<f32>, Vec<u32>) {
    let rows = probabilities.chunks_exact(places.len().max(1));
    let ordered = rows.flat_map(|row| places.iter().map(|place| row[*place])).collect();
    let class = |own: &u32| places.iter().position(|place| *place as u32 == *own).unwrap_or(0);
    (ordered, predicted.iter().map(|own| class(own) as u32).collect())
}

/// Opens the bundle at `path`, which must be about the same labels as `bundle`, in any order, with the
/// same positive one.
pub(super) fn beside(bundle: &Bundle, path: &Path) -> Result<Bundle, Failure> {
    let other = Bundle::open(path)?;
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
        (bundle.path(), lacking(&ours.labels, &theirs.labels)),
        (path, lacking(&theirs.labels, &ours.labels)),
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
    let positive = |decision: &luthier_model::Decision| {
        decision.positive.and_then(|class| decision.labels.get(class).cloned())
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

#[cfg(test)]
mod tests {
    use super::in_order;

    #[test]
    fn classes_come_in_the_order_of_the_labels() {
        // The model keeps c, a, b; the labels are a, b, c.
        let places = [1, 2, 0];
        let (probabilities, predicted) =
            in_order(&places, &[0.5, 0.2, 0.3, 0.1, 0.8, 0.1], &[0, 1]);
        assert_eq!(probabilities, [0.2, 0.3, 0.5, 0.8, 0.1, 0.1]);
        assert_eq!(predicted, [2, 0]);
    }
}
