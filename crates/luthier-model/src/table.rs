//! The stored form of the columns of a table, and what a graph must take of them.

use luthier_data::{Categories, ColumnKind, Table, TableColumn};
use luthier_graph::{DType, Dim, Graph};
use serde::{Deserialize, Serialize};

use crate::PreprocessError;

/// Name of the input of graphs over tables: float32 `[batch, columns]`, the numbers that
/// [`Table::encode`] gives. Those of categories are their positions; what is missing or unknown is NaN.
pub const COLUMNS: &str = "columns";
/// The newest form of columns that this release reads, and the one it writes.
pub(crate) const FORMAT: u32 = 1;

/// The file that travels beside the form of a table.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableForm {
    columns: Vec<ColumnForm>,
    /// Further columns that rows may have.
    ignored: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum ColumnForm {
    Number { name: String },
    Time { name: String },
    Category { name: String, categories: Vec<String> },
}

/// The file of a table.
pub(crate) fn to_bytes(table: &Table) -> Vec<u8> {
    let column = |column: &TableColumn| {
        let name = column.name.clone();
        match &column.kind {
            ColumnKind::Number => ColumnForm::Number { name },
            ColumnKind::Time => ColumnForm::Time { name },
            ColumnKind::Category(known) => {
                ColumnForm::Category { name, categories: known.values().to_vec() }
            }
        }
    };
    let form = TableForm {
        columns: table.columns().iter().map(column).collect(),
        ignored: table.ignored().to_vec(),
    };
    // Strings always have a JSON form.
    let mut bytes = serde_json::to_vec_pretty(&form).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// The table of a file with so many `columns`.
pub(crate) fn from_bytes(bytes: &[u8], columns: usize) -> Result<Table, PreprocessError> {
    let refused = |reason: String| PreprocessError::Columns { reason };
    let form: TableForm =
        serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
    if form.columns.len() != columns {
        return Err(PreprocessError::Field { field: "columns" });
    }
    let column = |form| {
        Ok(match form {
            ColumnForm::Number { name } => TableColumn { name, kind: ColumnKind::Number },
            ColumnForm::Time { name } => TableColumn { name, kind: ColumnKind::Time },
            ColumnForm::Category { name, categories } => {
                let kind = ColumnKind::Category(Categories::new(&name, categories)?);
                TableColumn { name, kind }
            }
        })
    };
    let columns = form.columns.into_iter().map(column).collect::<Result<Vec<_>, _>>();
    let table = columns.and_then(|columns| Table::new(columns, form.ignored));
    table.map_err(|error: luthier_data::TableError| refused(error.to_string()))
}

/// Checks that `graph` takes the numbers of `table` and nothing else.
pub(crate) fn check(table: &Table, graph: &Graph) -> Result<(), PreprocessError> {
    let wrong =
        |name: &str, reason: String| Err(PreprocessError::Input { name: name.to_owned(), reason });
    let Some(input) = graph.inputs.iter().find(|input| input.name == COLUMNS) else {
        return wrong(COLUMNS, "is none of its inputs".to_owned());
    };
    if let Some(unfed) = graph.inputs.iter().find(|input| input.name != COLUMNS) {
        return wrong(&unfed.name, "is an input that a table does not give".to_owned());
    }
    let width = table.columns().len();
    match (input.dtype, input.shape.as_slice()) {
        (DType::F32, [Dim::Named(_), Dim::Fixed(columns)]) if *columns == width => Ok(()),
        (DType::F32, [Dim::Named(_), Dim::Named(_)]) => Ok(()),
        (DType::F32, [Dim::Named(_), Dim::Fixed(columns)]) => {
            wrong(COLUMNS, format!("takes {columns} columns, and the table has {width}"))
        }
        _ => wrong(COLUMNS, "is not float32 of a batch of rows by columns".to_owned()),
    }
}
