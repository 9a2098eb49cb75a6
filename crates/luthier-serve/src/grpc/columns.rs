//! Tensors as the columns of a table.

use hyper::body::Bytes;
use luthier_model::{Cell, Table, TableColumn};

use super::tensor::{TensorError, check_values, strings, text};
use super::wire::{DT_BOOL, DT_DOUBLE, DT_FLOAT, DT_INT32, DT_INT64, DT_STRING, TensorProto};
use crate::rows::{Rows, cells};

/// The values of a tensor, row by row.
enum Values {
    Strings(Vec<Bytes>),
    Numbers(Vec<f64>),
    Bools(Vec<bool>),
}

/// Whether tensors of this type are read as cells.
pub(super) fn is_read(dtype: i32) -> bool {
    matches!(dtype, DT_FLOAT | DT_DOUBLE | DT_INT32 | DT_INT64 | DT_BOOL | DT_STRING)
}

/// So many rows, at most `limit` cells, from a tensor for each column of `table`; columns without are
/// missing.
pub(super) fn rows(
    rows: usize,
    tensors: Vec<(String, TensorProto)>,
    table: &Table,
    limit: usize,
) -> Result<Rows, TensorError> {
    let width = table.columns().len();
    let mut numbers = vec![f32::NAN; cells(table, rows, limit)?];
    for (name, tensor) in tensors {
        let Ok(Some(position)) = table.position(&name) else { continue };
        let values = Values::of(&name, rows, tensor)?;
        let places = numbers.iter_mut().skip(position).step_by(width);
        values.encode(&table.columns()[position], places)?;
    }
    Ok(Rows::of_table(table, numbers))
}

impl Values {
    /// The values of a tensor of a type that [`is_read`], at most one for each row.
    fn of(name: &str, rows: usize, tensor: TensorProto) -> Result<Self, TensorError> {
        let content = &tensor.tensor_content;
        let numbers = match tensor.dtype {
            DT_STRING => return strings(name, rows, tensor).map(Self::Strings),
            DT_BOOL => {
                let values = match content.is_empty() {
                    true => tensor.bool_val,
                    false => content.iter().map(|byte| *byte != 0).collect(),
                };
                check_values(name, rows, values.len())?;
                return Ok(Self::Bools(values));
            }
            DT_FLOAT => numbers(content, tensor.float_val, f32::from_le_bytes, f64::from),
            DT_DOUBLE => numbers(content, tensor.double_val, f64::from_le_bytes, |value| value),
            DT_INT32 => numbers(content, tensor.int_val, i32::from_le_bytes, f64::from),
            _ => numbers(content, tensor.int64_val, i64::from_le_bytes, |value| value as f64),
        };
        let numbers = numbers.ok_or_else(|| TensorError::Parse { input: name.to_owned() })?;
        check_values(name, rows, numbers.len())?;
        Ok(Self::Numbers(numbers))
    }

    /// Writes what `column` makes of each value, and of the last where there is no further one.
    fn encode<'n>(
        &self,
        column: &TableColumn,
        places: impl Iterator<Item = &'n mut f32>,
    ) -> Result<(), TensorError> {
        let mut last = None;
        for (row, place) in places.enumerate() {
            let number = match (self.cell(&column.name, row)?, last) {
                (None, Some(number)) => number,
                (cell, _) => column
                    .encode(cell.unwrap_or(self.zero()))
                    .map_err(|error| TensorError::Cell { row, error })?,
            };
            *place = number;
            last = Some(number);
        }
        Ok(())
    }

    fn cell(&self, name: &str, row: usize) -> Result<Option<Cell<'_>>, TensorError> {
        Ok(match self {
            Self::Numbers(values) => values.get(row).copied().map(Cell::Number),
            Self::Bools(values) => values.get(row).copied().map(Cell::Bool),
            Self::Strings(values) => match values.get(row) {
                Some(value) => Some(Cell::Text(text(name, row, value)?)),
                None => None,
            },
        })
    }

    /// What stands for all where there are no values.
    fn zero(&self) -> Cell<'static> {
        match self {
            Self::Numbers(_) => Cell::Number(0.0),
            Self::Bools(_) => Cell::Bool(false),
            Self::Strings(_) => Cell::Text(""),
        }
    }
}

/// The numbers of a tensor: its `values`, or the little-endian ones in its content; `None` where that
/// ends within one.
fn numbers<T: Copy, const BYTES: usize>(
    content: &[u8],
    values: Vec<T>,
    of_bytes: fn([u8; BYTES]) -> T,
    number: fn(T) -> f64,
) -> Option<Vec<f64>> {
    if content.is_empty() {
        return Some(values.into_iter().map(number).collect());
    }
    let (chunks, rest) = content.as_chunks::<BYTES>();
    rest.is_empty().then(|| chunks.iter().map(|bytes| number(of_bytes(*bytes))).collect())
}
