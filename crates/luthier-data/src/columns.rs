//! What the columns of a table are to a model, and how a row of them becomes numbers.
//!
//! The same code reads the cells of files and of requests, so that a served row means what a row of
//! the training file meant.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::json_lines::render_float;
use crate::source::nearest;
use crate::time;

/// Most categories that a column may have. Those beyond are taken for missing values, as are
/// categories that were not seen in training.
pub const MAX_CATEGORIES: usize = 255;
/// Longest category in bytes. Longer texts are no categories.
pub const MAX_CATEGORY_BYTES: usize = 256;
/// Most columns that a table may have.
pub const MAX_COLUMNS: usize = 10_000;

const MICROS_PER_DAY: f64 = 86_400e6;
/// Characters of a cell that an error shows.
const SHOWN_CHARACTERS: usize = 80;

/// What stands for a missing number, in any case: what pandas takes for one by default, and `?`,
/// which the sets of the UCI repository use.
const NO_NUMBER: [&str; 17] = [
    "", "?", "na", "n/a", "#na", "#n/a", "#n/a n/a", "<na>", "nan", "-nan", "nat", "null", "none",
    "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan",
];

/// The value in a column of a row, as a file or a request has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// None: an empty field, a null, a key that is not there.
    Missing,
    /// A number.
    Number(f64),
    /// A text, which may be that of a number.
    Text(&'a str),
    /// True or false.
    Bool(bool),
}

/// The columns that a model reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    columns: Vec<TableColumn>,
    ignored: Vec<String>,
    /// Position of each column by name; those of ignored ones are past the end.
    positions: HashMap<String, usize>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// What its cells are.
    pub kind: ColumnKind,
}

/// What the cells of a column are, and what numbers they become. Missing ones become NaN.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnKind {
    /// Numbers, which stay what they are, to the precision of 32 bits. True is 1 and false is 0. Of
    /// texts those that are no number for pandas are missing too: the empty one, `NA`, `n/a`, `NaN`,
    /// `NaT`, `null`, `None` and the like in any case; and `?`.
    Number,
    /// RFC 3339 dates and times, which become days since 1970. 32 bits keep dates exactly and times
    /// of this century to three minutes. What is missing is as for numbers.
    Time,
    /// One of several texts, which becomes its position. Those that are not known are missing; so is
    /// white space, and nothing else: `NA` may be a country.
    Category(Categories),
}

/// The texts that a column of categories may hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Categories {
    values: Vec<String>,
    /// The position of each text.
    codes: HashMap<String, u32>,
    /// The position of a number by its shortest text, where that is not itself a category: `1` for
    /// `1.0`. Where two categories are the same number it is neither.
    numbers: HashMap<String, Option<u32>>,
}

/// Why columns are no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// There are none, or more than [`MAX_COLUMNS`].
    #[error("a table has 1 to {MAX_COLUMNS} columns, and not {0}")]
    Columns(usize),
    /// Two have the same name.
    #[error("two columns are called `{0}`")]
    Name(String),
    /// A column has more than [`MAX_CATEGORIES`] categories, one of white space, one with white space
    /// around it, one of more than [`MAX_CATEGORY_BYTES`] or one twice.
    #[error("the categories of column `{0}` cannot be told apart")]
    Categories(String),
}

/// Why a row has no numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// A cell of a column of numbers is not a finite one of 32 bits.
    #[error("`{value}` in column `{column}` is not a number")]
    Number {
        /// The column.
        column: String,
        /// The cell.
        value: String,
    },
    /// A cell of a column of times is none.
    #[error("`{value}` in column `{column}` is not a date or time as RFC 3339 writes it")]
    Time {
        /// The column.
        column: String,
        /// The cell.
        value: String,
    },
    /// A value of JSON is a list or an object.
    #[error("`{value}` in column `{column}` is neither a number nor a text, true, false or null")]
    Json {
        /// The column.
        column: String,
        /// The value.
        value: String,
    },
    /// The row has a column that the table does not know.
    #[error("there is no column `{column}`")]
    Unknown {
        /// Its name.
        column: String,
        /// The known name that is most like it, if one is.
        nearest: Option<String>,
    },
    /// The row has a column twice.
    #[error("column `{0}` appears twice")]
    Repeated(String),
}

impl ColumnKind {
    /// `number`, `time` or `category`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Time => "time",
            Self::Category(_) => "category",
        }
    }
}

impl Table {
    /// A table of `columns`, in this order. A row may also have columns that are `ignored`.
    pub fn new(columns: Vec<TableColumn>, ignored: Vec<String>) -> Result<Self, TableError> {
        if columns.is_empty() || columns.len() + ignored.len() > MAX_COLUMNS {
            return Err(TableError::Columns(columns.len() + ignored.len()));
        }
        let mut positions = HashMap::new();
        let names = columns.iter().map(|column| &column.name).chain(&ignored);
        for (position, name) in names.enumerate() {
            if positions.insert(name.clone(), position).is_some() {
                return Err(TableError::Name(name.clone()));
            }
        }
        Ok(Self { columns, ignored, positions })
    }

    /// The columns, in the order of the numbers.
    pub fn columns(&self) -> &[TableColumn] {
        &self.columns
    }

    /// Names of further columns that a row may have and that play no part.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Appends the numbers of the cells of one row, in the order of the columns; those that are left
    /// out at the end are missing.
    pub fn encode<'a>(
        &self,
        cells: impl IntoIterator<Item = Cell<'a>>,
        numbers: &mut Vec<f32>,
    ) -> Result<(), CellError> {
        let mut cells = cells.into_iter();
        for column in &self.columns {
            numbers.push(column.encode(cells.next().unwrap_or(Cell::Missing))?);
        }
        Ok(())
    }

    /// The same for cells that come by name in any order. A column that the row does not have is
    /// missing; one that the table does not know is an error.
    pub fn encode_named<'a>(
        &self,
        cells: impl IntoIterator<Item = (&'a str, Cell<'a>)>,
        numbers: &mut Vec<f32>,
    ) -> Result<(), CellError> {
        let start = numbers.len();
        numbers.resize(start + self.columns.len(), f32::NAN);
        let mut seen = vec![false; self.columns.len()];
        for (name, cell) in cells {
            let Some(position) = self.position(name)? else { continue };
            if std::mem::replace(&mut seen[position], true) {
                return Err(CellError::Repeated(name.to_owned()));
            }
            numbers[start + position] = self.columns[position].encode(cell)?;
        }
        Ok(())
    }

    /// The position of a column by its name, `None` for one that is ignored.
    pub fn position(&self, name: &str) -> Result<Option<usize>, CellError> {
        match self.positions.get(name) {
            Some(position) => Ok(Some(*position).filter(|place| *place < self.columns.len())),
            None => Err(self.unknown(name)),
        }
    }

    /// The same for a JSON object, in which null is missing.
    pub fn encode_json(
        &self,
        row: &Map<String, Value>,
        numbers: &mut Vec<f32>,
    ) -> Result<(), CellError> {
        let mut cells = Vec::with_capacity(row.len());
        for (column, value) in row {
            cells.push((
                column.as_str(),
                match value {
                    Value::Null => Cell::Missing,
                    Value::Bool(truth) => Cell::Bool(*truth),
                    Value::Number(number) => Cell::Number(number.as_f64().unwrap_or(f64::NAN)),
                    Value::String(text) => Cell::Text(text),
                    Value::Array(_) | Value::Object(_) => {
                        let (column, value) = (column.clone(), clipped(&value.to_string()));
                        return Err(CellError::Json { column, value });
                    }
                },
            ));
        }
        self.encode_named(cells, numbers)
    }

    fn unknown(&self, name: &str) -> CellError {
        let names = self.columns.iter().map(|column| column.name.as_str());
        CellError::Unknown { column: clipped(name), nearest: nearest(name, names) }
    }
}

impl TableColumn {
    /// The number that a cell becomes.
    pub fn encode(&self, cell: Cell<'_>) -> Result<f32, CellError> {
        let shown = || clipped(&cell.to_string());
        match &self.kind {
            ColumnKind::Number => cell
                .number()
                .ok_or_else(|| CellError::Number { column: self.name.clone(), value: shown() }),
            ColumnKind::Time => cell
                .days()
                .ok_or_else(|| CellError::Time { column: self.name.clone(), value: shown() }),
            ColumnKind::Category(categories) => {
                Ok(categories.code(cell).map_or(f32::NAN, |code| code as f32))
            }
        }
    }
}

impl Categories {
    /// The categories of the column called `column`, at most [`MAX_CATEGORIES`].
    pub fn new(column: &str, values: Vec<String>) -> Result<Self, TableError> {
        let wrong = || TableError::Categories(column.to_owned());
        let is_fine = |value: &String| {
            (1..=MAX_CATEGORY_BYTES).contains(&value.len()) && value.trim() == value
        };
        if values.len() > MAX_CATEGORIES || !values.iter().all(is_fine) {
            return Err(wrong());
        }
        let count = values.len();
        Some(Self::of(values)).filter(|known| known.codes.len() == count).ok_or_else(wrong)
    }

    /// Categories of texts that differ.
    pub(crate) fn of(values: Vec<String>) -> Self {
        let codes: HashMap<String, u32> = values.iter().cloned().zip(0..).collect();
        let mut numbers = HashMap::new();
        for (value, code) in values.iter().zip(0..) {
            let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
            if let Some(number) = number.map(render_float).filter(|text| !codes.contains_key(text))
            {
                numbers.entry(number).and_modify(|code| *code = None).or_insert(Some(code));
            }
        }
        Self { values, codes, numbers }
    }

    /// The texts, in the order of their numbers: the most frequent first where they were learnt.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// The position of a cell. A number is the category that is written like it, or else that which
    /// is the same number; true and false are written in any case.
    pub fn code(&self, cell: Cell<'_>) -> Option<u32> {
        match cell {
            Cell::Missing => None,
            Cell::Text(text) => {
                let text = text.trim();
                self.codes.get(text).copied().or_else(|| {
                    // Few texts get here: those that are not known.
                    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
                    number.and_then(|number| self.code_of_number(number))
                })
            }
            Cell::Number(number) => self.code_of_number(number),
            Cell::Bool(truth) => ["true", "True", "TRUE"]
                .into_iter()
                .zip(["false", "False", "FALSE"])
                .find_map(|(yes, no)| self.codes.get(if truth { yes } else { no }).copied()),
        }
    }

    fn code_of_number(&self, number: f64) -> Option<u32> {
        let text = render_float(number);
        let code = self.codes.get(&text).copied();
        code.or_else(|| self.numbers.get(&text).copied().flatten())
    }
}

impl<'a> Cell<'a> {
    /// The cell of a row of a file.
    pub fn of(cell: Option<&'a str>) -> Self {
        cell.map_or(Self::Missing, Self::Text)
    }

    /// The number, NaN where it is missing; `None` where the cell is something else.
    fn number(self) -> Option<f32> {
        match self {
            Self::Missing => Some(f32::NAN),
            Self::Number(number) if number.is_nan() => Some(f32::NAN),
            Self::Number(number) => finite(number),
            Self::Bool(truth) => Some(f32::from(u8::from(truth))),
            Self::Text(text) => match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => finite(number),
                _ => is_no_number(text).then_some(f32::NAN),
            },
        }
    }

    /// Days since 1970, NaN where the time is missing; `None` where the cell is something else.
    fn days(self) -> Option<f32> {
        match self {
            Self::Missing => Some(f32::NAN),
            Self::Text(text) => match time::parse(text.trim()) {
                Some(micros) => Some((micros as f64 / MICROS_PER_DAY) as f32),
                None => is_no_number(text).then_some(f32::NAN),
            },
            Self::Number(_) | Self::Bool(_) => None,
        }
    }
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => Ok(()),
            Self::Number(number) => f.write_str(&render_float(*number)),
            Self::Text(text) => f.write_str(text),
            Self::Bool(truth) => write!(f, "{truth}"),
        }
    }
}

/// As much of a cell as an error shows.
fn clipped(cell: &str) -> String {
    cell.chars().take(SHOWN_CHARACTERS).collect()
}

/// Whether a text stands for a missing number.
pub(crate) fn is_no_number(text: &str) -> bool {
    let text = text.trim();
    NO_NUMBER.iter().any(|known| text.eq_ignore_ascii_case(known))
}

/// `number` in 32 bits, if it fits.
fn finite(number: f64) -> Option<f32> {
    Some(number as f32).filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests;
