//! What each column adds to an answer.

use luthier_bundle::Bundle;
use luthier_data::Table;
use luthier_model::Decision;
use luthier_train::{Forest, Link};
use serde::{Serialize, Serializer};

use crate::failure::Failure;
use crate::stages::Inputs;

/// Tells what columns add to answers.
pub(super) struct Explainer {
    forest: Forest,
    columns: Vec<String>,
    /// What the margins speak of, by output.
    of: Vec<String>,
    unit: &'static str,
}

/// What the columns of a row add to an answer: they sum to `margin` with `base`, before calibration.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    /// The class or number that is explained.
    of: String,
    unit: &'static str,
    /// The mean over the training rows.
    base: f32,
    #[serde(serialize_with = "as_map")]
    columns: Vec<(String, f32)>,
    margin: f32,
}

impl Explainer {
    /// For the model of a bundle, if that is of trees that training has kept the shares of rows of.
    pub(super) fn of(bundle: &Bundle, table: Option<&Table>) -> Result<Self, Failure> {
        let model = bundle.model()?;
        let explainer = Forest::of_graph(&model.graph)
            .zip(table)
            .map(|(forest, table)| Self::new(forest, table, &model.decision))
            .filter(Self::is_sound);
        explainer.ok_or_else(|| {
            Failure::input(format!("{} cannot be explained", bundle.path().display()))
                .hint("what columns add is told of models of trees that `boosted-trees` has learnt")
        })
    }

    fn new(forest: Forest, table: &Table, decision: &Decision) -> Self {
        let (of, unit) = match decision {
            Decision::Class(class) if forest.outputs() == 1 => {
                (class.labels.iter().skip(1).cloned().collect(), "log-odds")
            }
            Decision::Class(class) => (class.labels.clone(), "logit"),
            Decision::Number(number) if forest.link == Link::Exp => {
                (vec![number.number.clone()], "logarithm")
            }
            Decision::Number(number) => (vec![number.number.clone()], "number"),
        };
        let columns = table.columns().iter().map(|column| column.name.clone()).collect();
        Self { forest, columns, of, unit }
    }

    /// Whether the forest is one for the columns and what is decided.
    fn is_sound(&self) -> bool {
        self.forest.columns == self.columns.len() && self.forest.outputs() == self.of.len()
    }

    /// Names of the columns.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The explanations of rows; of several classes, that of the one in `decided`.
    pub(super) fn explain(
        &self,
        inputs: &Inputs,
        decided: impl Iterator<Item = Option<usize>>,
    ) -> Vec<Explanation> {
        let Inputs::Table(_, cells) = inputs else { return Vec::new() };
        let contributions = self.forest.contributions(cells);
        let width = self.columns.len() + 1;
        let rows = contributions.chunks_exact(width * self.of.len());
        let explanation = |(row, decided): (&[f32], Option<usize>)| {
            let output = decided.unwrap_or(0).min(self.of.len() - 1);
            let parts = &row[output * width..][..width];
            let columns = self.columns.iter().zip(parts);
            Explanation {
                of: self.of[output].clone(),
                unit: self.unit,
                base: parts[width - 1],
                columns: columns.map(|(name, part)| (name.clone(), *part)).collect(),
                margin: parts.iter().sum(),
            }
        };
        rows.zip(decided).map(explanation).collect()
    }
}

impl Explanation {
    /// `base` and what each column adds, in their order, as fields of CSV.
    pub(super) fn fields(&self) -> impl Iterator<Item = String> + '_ {
        let columns = self.columns.iter().map(|(_, part)| part);
        std::iter::once(&self.base).chain(columns).map(f32::to_string)
    }

    /// What is explained, then the base and the columns that add most.
    pub(super) fn lines(&self) -> Vec<Vec<String>> {
        let number = |part: f32| format!("{part:+.4}");
        let mut columns: Vec<&(String, f32)> = self.columns.iter().collect();
        columns.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        let head = vec![format!("{} of {}", self.unit, self.of), number(self.margin)];
        let base = vec!["  base".to_owned(), number(self.base)];
        let columns =
            columns.into_iter().map(|(name, part)| vec![format!("  {name}"), number(*part)]);
        [head, base].into_iter().chain(columns).collect()
    }
}

fn as_map<S: Serializer>(columns: &[(String, f32)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(columns.iter().map(|(name, part)| (name, part)))
}
