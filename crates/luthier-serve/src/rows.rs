//! The rows of a call, as its model takes them.

use luthier_model::Table;

use crate::texts::Texts;

/// Rows of which nothing is borrowed, so that they cross to a worker as they are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rows {
    /// For a model of texts.
    Texts(Texts),
    /// For a model of a table: what it makes of the cells, row-major.
    Table {
        /// Numbers of a row, at least one.
        columns: usize,
        /// Those of all rows.
        numbers: Vec<f32>,
    },
}

/// What the rows of a model are.
#[derive(Clone, Copy)]
pub(crate) enum Takes<'m> {
    /// Texts, and the name that they go by.
    Texts(&'m str),
    /// The cells of these columns.
    Table(&'m Table),
}

/// A short request can ask for many rows of which it gives few cells.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rows} rows of {columns} columns have more than {limit} cells")]
pub(crate) struct TooManyCells {
    rows: usize,
    columns: usize,
    limit: usize,
}

impl Rows {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Table { columns, numbers } => numbers.len() / (*columns).max(1),
        }
    }

    /// Takes the texts out, none where the rows are of a table.
    pub(crate) fn take_texts(&mut self) -> Texts {
        match self {
            Self::Texts(texts) => std::mem::take(texts),
            Self::Table { .. } => Texts::default(),
        }
    }

    /// Rows of `table` with these `numbers`.
    pub(crate) fn of_table(table: &Table, numbers: Vec<f32>) -> Self {
        Self::Table { columns: table.columns().len(), numbers }
    }
}

/// The number of cells in so many rows of `table`, at most `limit`. A request in which none is left
/// out has a byte for each at least, and stays within the size of the largest body.
pub(crate) fn cells(table: &Table, rows: usize, limit: usize) -> Result<usize, TooManyCells> {
    let columns = table.columns().len();
    let cells = rows.checked_mul(columns).filter(|cells| *cells <= limit);
    cells.ok_or(TooManyCells { rows, columns, limit })
}
