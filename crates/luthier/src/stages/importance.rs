//! What the columns of a table do in a forest.

use luthier_bundle::Bundle;
use luthier_data::{Dataset, Table};
use luthier_train::{Forest, Network};
use serde::{Deserialize, Serialize};

use super::held_out;
use super::inputs::Inputs;
use super::measure::some_rows;
use crate::failure::Failure;

/// Name of the document in bundles.
pub(super) const DOCUMENT: &str = "importance.json";
/// Held-out rows whose contributions are told.
const ROWS: usize = 512;

/// What a column does in a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ColumnImportance {
    pub(super) column: String,
    /// Share of what all splits have lowered the loss of the training rows by.
    pub(super) gain: f64,
    /// The mean absolute contribution to the margins of rows that were held out, all margins together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) contribution: Option<f64>,
}

/// What the columns of `table` do in `network` as far as training tells, if it is a forest.
pub(super) fn by_gain(network: &Network, table: Option<&Table>) -> Option<Vec<ColumnImportance>> {
    let (Network::Forest(forest), Some(table)) = (network, table) else { return None };
    let importance = forest.importance();
    let total: f64 = importance.iter().map(|column| column.gain).sum();
    let columns = table.columns().iter().zip(importance).map(|(column, importance)| {
        let gain = if total > 0.0 { importance.gain / total } else { 0.0 };
        ColumnImportance { column: column.name.clone(), gain, contribution: None }
    });
    Some(columns.collect())
}

/// The same with contributions to rows that were held out, the greatest first, if the bundle is of a forest.
pub(super) fn with_contributions(
    bundle: &Bundle,
    dataset: &Dataset,
) -> Result<Vec<ColumnImportance>, Failure> {
    let known = bundle.document(DOCUMENT).and_then(|json| serde_json::from_slice(json).ok());
    let mut columns: Vec<ColumnImportance> = known.unwrap_or_default();
    if columns.is_empty() {
        return Ok(columns);
    }
    let rows = some_rows(dataset, held_out::part(dataset), ROWS)?;
    let inputs = Inputs::of_raw(dataset.table(), &rows)?;
    let forest = Forest::of_graph(&bundle.model()?.graph);
    if let (Some(forest), Inputs::Table(_, cells)) = (forest, &inputs) {
        let width = columns.len() + 1;
        let mut sums = vec![0.0; columns.len()];
        for contributions in forest.contributions(cells).chunks_exact(width) {
            let of_columns = sums.iter_mut().zip(contributions);
            of_columns.for_each(|(sum, part)| *sum += f64::from(part.abs()));
        }
        for (column, sum) in columns.iter_mut().zip(sums) {
            column.contribution = Some(sum / rows.len().max(1) as f64);
        }
    }
    columns.sort_by(|a, b| {
        b.contribution.unwrap_or(b.gain).total_cmp(&a.contribution.unwrap_or(a.gain))
    });
    Ok(columns)
}
