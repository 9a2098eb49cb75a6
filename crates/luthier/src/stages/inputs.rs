//! Rows as models take them.

use luthier_bundle::{Manifest, PredictScratch, Predictor, ProbeRow};
use luthier_data::{Cell, CellError, ColumnKind, Content, Dataset, Selection, Table};
use serde_json::{Map, Value};

use crate::failure::Failure;

/// Texts that are answered at a time.
const BATCH: usize = 256;

/// Rows as models take them.
#[derive(Debug, Clone)]
pub(crate) enum Inputs {
    /// Texts.
    Texts(Vec<String>),
    /// Numbers of so many columns of a table, row-major.
    Table(usize, Vec<f32>),
}

impl Inputs {
    /// The selected rows.
    pub(super) fn of(dataset: &Dataset, rows: impl Into<Selection>) -> Result<Self, Failure> {
        let mut inputs = Self::empty(dataset.table());
        for example in dataset.examples(rows)? {
            inputs.push(dataset.table(), &example?.content).map_err(|error| {
                Failure::fault(format!("a row has changed while it was used: {error}"))
            })?;
        }
        Ok(inputs)
    }

    /// No rows of a table, or no texts.
    pub(crate) fn empty(table: Option<&Table>) -> Self {
        match table {
            None => Self::Texts(Vec::new()),
            Some(table) => Self::Table(table.columns().len(), Vec::new()),
        }
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Table(columns, numbers) => numbers.len().checked_div(*columns).unwrap_or(0),
        }
    }

    /// Places of the rows, the shortest text first.
    pub(super) fn by_length(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.len()).collect();
        if let Self::Texts(texts) = self {
            places.sort_by_key(|place| texts[*place].len());
        }
        places
    }

    /// Adds a row.
    pub(crate) fn push(
        &mut self,
        table: Option<&Table>,
        content: &Content,
    ) -> Result<(), CellError> {
        match (self, table) {
            (Self::Texts(texts), _) => texts.extend(content.text().map(str::to_owned)),
            (Self::Table(_, numbers), Some(table)) => table.encode(content.cells(), numbers)?,
            (Self::Table(..), None) => {}
        }
        Ok(())
    }

    /// Rows as callers give them.
    pub(super) fn of_raw(table: Option<&Table>, rows: &[ProbeRow]) -> Result<Self, Failure> {
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        for row in rows {
            match (row, table) {
                (ProbeRow::Cells(cells), Some(table)) => table
                    .encode_json(cells, &mut numbers)
                    .map_err(|error| Failure::input(error.to_string()))?,
                (ProbeRow::Text(text), _) => texts.push(text.clone()),
                (ProbeRow::Cells(_), None) => {}
            }
        }
        Ok(match table {
            None => Self::Texts(texts),
            Some(table) => Self::Table(table.columns().len(), numbers),
        })
    }

    /// The same, as networks in memory take them.
    pub(super) fn borrowed(&self) -> luthier_train::Inputs<'_> {
        match self {
            Self::Texts(texts) => luthier_train::Inputs::Texts(texts),
            Self::Table(_, numbers) => luthier_train::Inputs::Table(numbers),
        }
    }

    /// The rows at `places`.
    pub(super) fn at(&self, places: impl Iterator<Item = usize>) -> Self {
        match self {
            Self::Texts(texts) => Self::Texts(places.map(|place| texts[place].clone()).collect()),
            Self::Table(columns, numbers) => {
                let row = |place: usize| &numbers[place * columns..][..*columns];
                Self::Table(*columns, places.flat_map(row).copied().collect())
            }
        }
    }

    /// What `predictor` gives for them, row-major.
    pub(crate) fn answer(
        &self,
        predictor: &Predictor,
        scratch: &mut PredictScratch,
    ) -> Result<Vec<f32>, Failure> {
        match self {
            Self::Texts(texts) => {
                let mut outputs = Vec::with_capacity(texts.len() * predictor.decision().outputs());
                for batch in texts.chunks(BATCH) {
                    outputs.extend(predictor.predict(batch, scratch)?);
                }
                Ok(outputs)
            }
            Self::Table(_, numbers) => Ok(predictor.predict_rows(numbers, scratch)?),
        }
    }
}

/// The columns of a file that a model reads: those of its `table`, or those of text.
pub(crate) fn columns<'c>(table: Option<&'c Table>, text: &'c [String]) -> Vec<&'c str> {
    match table {
        Some(table) => table.columns().iter().map(|column| column.name.as_str()).collect(),
        None => text.iter().map(String::as_str).collect(),
    }
}

/// A row of a file from the cells of those.
pub(crate) fn content(table: Option<&Table>, cells: Vec<Option<String>>) -> Content {
    match table {
        Some(_) => Content::Cells(cells),
        None => {
            let words: Vec<String> = cells.into_iter().map(Option::unwrap_or_default).collect();
            Content::Text(words.join("\n"))
        }
    }
}

/// A row of `table`, or a text, as a caller gives it.
pub(crate) fn raw(table: Option<&Table>, content: Content) -> ProbeRow {
    let cells = match content {
        Content::Text(text) => return ProbeRow::Text(text),
        cells @ Content::Cells(_) => cells,
    };
    let columns = table.into_iter().flat_map(Table::columns);
    let named = columns.zip(cells.cells()).filter_map(|(column, cell)| {
        let value = match cell {
            Cell::Missing => return None,
            Cell::Text(text) if column.kind == ColumnKind::Number => number(text),
            cell => Value::from(cell.to_string()),
        };
        Some((column.name.clone(), value))
    });
    ProbeRow::Cells(named.collect::<Map<_, _>>())
}

/// A row to ask the model of a bundle about, as JSON: of a table the probe with the most cells.
pub(crate) fn example(manifest: &Manifest) -> Value {
    let cells = manifest.probes.iter().filter_map(|probe| match &probe.row {
        ProbeRow::Cells(cells) => Some(cells),
        ProbeRow::Text(_) => None,
    });
    // What is missing can as well be left out, and Python calls it something else.
    let given = |cells: &Map<String, Value>| {
        let given = cells.iter().filter(|(_, value)| value.is_number() || value.is_string());
        given.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>()
    };
    match cells.map(given).max_by_key(Map::len) {
        Some(cells) => Value::Object(cells),
        None => Value::from("your text"),
    }
}

/// The number that a text is, or else the text.
fn number(text: &str) -> Value {
    let text = text.trim();
    let whole = || text.parse::<i64>().ok().map(Value::from);
    let real = || text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::from);
    whole().or_else(real).unwrap_or_else(|| Value::from(text))
}
