//! Bodies for models of tables. A cell that is null or not there is missing; a list of one value, as
//! clients of models with inputs of two dimensions send them, is that value.

use std::borrow::Cow;
use std::collections::HashSet;
use std::slice;

use luthier_model::{Cell, CellError, Table};

use super::super::json::Node;
use super::{BodyError, Place, RowProblem, expect_object};
use crate::rows::{Rows, cells};

/// Members of an object.
type Members<'a> = [(Cow<'a, str>, Node<'a>)];

/// The rows of a list called `list`: objects, or bare cells where there is one column.
pub(super) fn rows(
    rows: &[Node<'_>],
    list: &str,
    table: &Table,
    limit: usize,
) -> Result<Rows, BodyError> {
    let mut encoder = Encoder::new(table, rows.len(), limit)?;
    for (index, row) in rows.iter().enumerate() {
        encoder.push(row, &[], Place { list, index: Some(index) })?;
    }
    Ok(encoder.finish())
}

/// The row that a body is.
pub(super) fn row(row: &Node<'_>, table: &Table, limit: usize) -> Result<Rows, BodyError> {
    let Node::Object(_) = row else { return Err(BodyError::NotObject { found: row.kind() }) };
    let mut encoder = Encoder::new(table, 1, limit)?;
    encoder.push(row, &[], Place { list: "row", index: None })?;
    Ok(encoder.finish())
}

/// The rows of examples; what an example does not have is that of the context.
pub(super) fn examples(
    examples: &[Node<'_>],
    context: Option<&Node<'_>>,
    table: &Table,
    limit: usize,
) -> Result<Rows, BodyError> {
    let shared = match context {
        Some(Node::Object(members)) => members.as_slice(),
        _ => &[],
    };
    let mut encoder = Encoder::new(table, examples.len(), limit)?;
    for (index, example) in examples.iter().enumerate() {
        let place = Place { list: "examples", index: Some(index) };
        expect_object(example, place)?;
        encoder.push(example, shared, place)?;
    }
    Ok(encoder.finish())
}

/// The rows of an object of columns, each a list or a bare cell; the object may be left out around
/// the only one.
pub(super) fn columns(inputs: &Node<'_>, table: &Table, limit: usize) -> Result<Rows, BodyError> {
    const PLACE: &str = "inputs";
    let mut columns: Vec<(usize, &[Node<'_>])> = Vec::new();
    match (inputs, table.columns()) {
        (Node::Object(members), _) => {
            let place = Place { list: PLACE, index: None };
            let mut seen = HashSet::new();
            for (name, values) in members {
                let position = table.position(name).map_err(|error| place.wrong(error.into()))?;
                let Some(position) = position else { continue };
                if !seen.insert(position) {
                    return Err(place.wrong(CellError::Repeated(name.to_string()).into()));
                }
                columns.push((position, listed(values)));
            }
        }
        (bare, [_]) => columns.push((0, listed(bare))),
        (other, _) => {
            let problem = RowProblem::Kind { expected: "an object", found: other.kind() };
            return Err(Place { list: PLACE, index: None }.wrong(problem));
        }
    }
    let Some((_, first)) = columns.first() else {
        let input = table.columns().first().map(|column| column.name.clone());
        return Err(BodyError::NoColumn { input: input.unwrap_or_default() });
    };
    let (rows, width) = (first.len(), table.columns().len());
    let mut numbers = vec![f32::NAN; cells(table, rows, limit)?];
    for (position, values) in columns {
        let column = &table.columns()[position];
        if values.len() != rows {
            let (column, found) = (column.name.clone(), values.len());
            return Err(BodyError::Lengths { place: PLACE, column, found, expected: rows });
        }
        let places = numbers[position..].iter_mut().step_by(width);
        for (index, (value, number)) in values.iter().zip(places).enumerate() {
            let encoded = cell(&column.name, value).and_then(|cell| Ok(column.encode(cell)?));
            let place = Place { list: PLACE, index: Some(index) };
            *number = encoded.map_err(|problem| place.wrong(problem))?;
        }
    }
    Ok(Rows::of_table(table, numbers))
}

fn listed<'n, 'a>(values: &'n Node<'a>) -> &'n [Node<'a>] {
    match values {
        Node::List(values) => values,
        bare => slice::from_ref(bare),
    }
}

/// Rows in the making.
struct Encoder<'t, 'n> {
    table: &'t Table,
    numbers: Vec<f32>,
    /// Those of one row.
    cells: Vec<(&'n str, Cell<'n>)>,
}

impl<'t, 'n> Encoder<'t, 'n> {
    fn new(table: &'t Table, rows: usize, limit: usize) -> Result<Self, BodyError> {
        let numbers = Vec::with_capacity(cells(table, rows, limit)?);
        Ok(Self { table, numbers, cells: Vec::new() })
    }

    fn push(
        &mut self,
        row: &'n Node<'_>,
        shared: &'n Members<'_>,
        place: Place<'_>,
    ) -> Result<(), BodyError> {
        self.read(row, shared).map_err(|problem| place.wrong(problem))
    }

    fn read(&mut self, row: &'n Node<'_>, shared: &'n Members<'_>) -> Result<(), RowProblem> {
        let members = match (row, self.table.columns()) {
            (Node::Object(members), _) => members,
            (bare, [column]) => {
                self.numbers.push(column.encode(cell(&column.name, bare)?)?);
                return Ok(());
            }
            (other, _) => {
                return Err(RowProblem::Kind { expected: "an object", found: other.kind() });
            }
        };
        self.cells.clear();
        for (name, value) in members {
            self.cells.push((name, cell(name, value)?));
        }
        if !shared.is_empty() {
            let own: HashSet<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
            for (name, value) in shared.iter().filter(|(name, _)| !own.contains(name.as_ref())) {
                self.cells.push((name, cell(name, value)?));
            }
        }
        Ok(self.table.encode_named(self.cells.iter().copied(), &mut self.numbers)?)
    }

    fn finish(self) -> Rows {
        Rows::of_table(self.table, self.numbers)
    }
}

/// The value of `column`.
fn cell<'n>(column: &str, value: &'n Node<'_>) -> Result<Cell<'n>, RowProblem> {
    Ok(match value {
        Node::Null => Cell::Missing,
        Node::Bool(truth) => Cell::Bool(*truth),
        Node::Number(number) => Cell::Number(*number),
        Node::Text(text) => Cell::Text(text),
        Node::List(values) => match values.as_slice() {
            [value @ (Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_))] => {
                return cell(column, value);
            }
            _ => return Err(no_cell(column, value)),
        },
        Node::Object(_) => return Err(no_cell(column, value)),
    })
}

fn no_cell(column: &str, value: &Node<'_>) -> RowProblem {
    RowProblem::NoCell { column: column.to_owned(), found: value.kind() }
}
