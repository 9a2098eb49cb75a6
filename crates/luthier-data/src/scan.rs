//! One pass over a file: what its rows mean, which labels there are, what decides a row's part.

use std::collections::HashMap;
use std::path::Path;

use crate::hash::{combine, hash};
use crate::split::RowKey;
use crate::{Cell, Content, DataError, Row, Source, TableColumn, Target, time};

/// Most labels a data set may have; more of them means that the label column is not one.
pub const MAX_CLASSES: usize = 10_000;

/// The columns of a row that mean something.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) content: Fields,
    pub(crate) label: String,
    pub(crate) target: Target,
    pub(crate) id: Option<String>,
    pub(crate) weight: Option<String>,
}

/// Those that are learnt from.
#[derive(Debug, Clone)]
pub(crate) enum Fields {
    Text(Vec<String>),
    /// Categories may still be without their texts.
    Table(Vec<TableColumn>),
}

/// A column that matters only to the split.
#[derive(Debug, Clone)]
pub(crate) enum Extra {
    None,
    Group(String),
    Time(String),
}

/// What a row says beside its content.
pub(crate) struct Meaning<'r> {
    /// Without white space around it; never empty.
    pub(crate) label: &'r str,
    pub(crate) id: Option<&'r str>,
    pub(crate) weight: f32,
    pub(crate) extra: Option<&'r str>,
}

impl Layout {
    /// The columns to ask a source for, in the order that [`Self::read`] expects.
    pub(crate) fn columns<'a>(&'a self, extra: &'a Extra) -> Vec<&'a str> {
        let mut columns: Vec<&str> = match &self.content {
            Fields::Text(columns) => columns.iter().map(String::as_str).collect(),
            Fields::Table(columns) => columns.iter().map(|column| column.name.as_str()).collect(),
        };
        columns.push(&self.label);
        columns.extend(self.id.as_deref());
        columns.extend(self.weight.as_deref());
        match extra {
            Extra::None => {}
            Extra::Group(column) | Extra::Time(column) => columns.push(column),
        }
        columns
    }

    /// Number of cells that are content.
    fn width(&self) -> usize {
        match &self.content {
            Fields::Text(columns) => columns.len(),
            Fields::Table(columns) => columns.len(),
        }
    }

    pub(crate) fn read<'r>(&self, path: &Path, row: &'r Row) -> Result<Meaning<'r>, DataError> {
        let line = row.line;
        let mut cells = row.cells[self.width()..].iter().map(Option::as_deref);
        let label = cells.next().flatten().unwrap_or_default().trim();
        if label.is_empty() {
            let (path, column) = (path.to_owned(), self.label.clone());
            return Err(DataError::MissingLabel { path, line, column });
        }
        let id = self.id.as_ref().and_then(|_| cells.next().flatten());
        let weight = match &self.weight {
            None => 1.0,
            Some(column) => {
                let value = cells.next().flatten().unwrap_or_default();
                parse_weight(value).ok_or_else(|| DataError::BadWeight {
                    path: path.to_owned(),
                    line,
                    column: column.clone(),
                    value: value.to_owned(),
                })?
            }
        };
        Ok(Meaning { label, id, weight, extra: cells.next().flatten() })
    }

    /// The number that a label is.
    pub(crate) fn number(&self, path: &Path, line: u64, label: &str) -> Result<f64, DataError> {
        let number = label.parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| DataError::BadLabel {
            path: path.to_owned(),
            line,
            column: self.label.clone(),
            value: label.to_owned(),
        })
    }

    /// What the row consists of.
    pub(crate) fn content(&self, row: Row) -> Content {
        let mut cells = row.cells;
        cells.truncate(self.width());
        match self.content {
            Fields::Text(_) => {
                let mut cells = cells.into_iter().map(Option::unwrap_or_default);
                let mut text = cells.next().unwrap_or_default();
                for cell in cells {
                    text.push('\n');
                    text.push_str(&cell);
                }
                Content::Text(text)
            }
            Fields::Table(_) => Content::Cells(cells),
        }
    }

    /// Checks the cells of a table.
    fn check(&self, path: &Path, row: &Row) -> Result<(), DataError> {
        let Fields::Table(columns) = &self.content else { return Ok(()) };
        for (column, cell) in columns.iter().zip(&row.cells) {
            column.encode(Cell::of(cell.as_deref())).map_err(|error| DataError::BadCell {
                path: path.to_owned(),
                line: row.line,
                error,
            })?;
        }
        Ok(())
    }
}

impl Content {
    /// A hash of it.
    pub(crate) fn hash(&self) -> u64 {
        match self {
            Self::Text(text) => combine(hash(0, text.as_bytes()), 0),
            Self::Cells(cells) => cells.iter().fold(2, |state, cell| match cell {
                Some(cell) => combine(state, hash(1, cell.as_bytes())),
                None => combine(state, 0),
            }),
        }
    }
}

fn parse_weight(text: &str) -> Option<f32> {
    text.trim().parse::<f32>().ok().filter(|weight| weight.is_finite() && *weight >= 0.0)
}

/// Labels and their numbers.
#[derive(Debug, Default)]
pub(crate) struct LabelTable {
    names: Vec<String>,
    index: HashMap<String, u16>,
}

impl LabelTable {
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn find(&self, name: &str) -> Option<u16> {
        self.index.get(name).copied()
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        self.names.get(index).map_or("", String::as_str)
    }

    /// The number of `name`, a new one if there is room.
    fn number(&mut self, name: &str) -> Option<u16> {
        if let Some(number) = self.find(name) {
            return Some(number);
        }
        if self.names.len() >= MAX_CLASSES {
            return None;
        }
        let number = self.names.len() as u16;
        self.names.push(name.to_owned());
        self.index.insert(name.to_owned(), number);
        Some(number)
    }

    /// Renumbers the labels in their final order; the new number of each old one.
    pub(crate) fn sort(&mut self) -> Vec<u16> {
        let numeric: Option<Vec<i64>> = self.names.iter().map(|name| name.parse().ok()).collect();
        let mut old: Vec<usize> = (0..self.names.len()).collect();
        match numeric {
            Some(values) => old.sort_by_key(|i| (values[*i], &self.names[*i])),
            None => old.sort_by_key(|i| &self.names[*i]),
        }
        let mut new = vec![0u16; old.len()];
        for (position, old) in old.iter().enumerate() {
            new[*old] = position as u16;
        }
        self.names = old.into_iter().map(|i| std::mem::take(&mut self.names[i])).collect();
        self.index.values_mut().for_each(|number| *number = new[usize::from(*number)]);
        new
    }
}

/// `counts` by old number, as counts by new number.
pub(crate) fn reorder(counts: &[u64], new: &[u16]) -> Vec<u64> {
    let mut ordered = vec![0; new.len()];
    for (count, new) in counts.iter().zip(new) {
        ordered[usize::from(*new)] = *count;
    }
    ordered
}

/// What one pass over a file gives.
#[derive(Default)]
pub(crate) struct Scanned {
    pub(crate) keys: Vec<RowKey>,
    pub(crate) rows: u64,
    /// Rows of each class; of labels that are numbers, all rows.
    pub(crate) counts: Vec<u64>,
    /// The labels that are numbers.
    pub(crate) numbers: Vec<f64>,
}

impl Scanned {
    /// Takes the new number of each label.
    pub(crate) fn renumber(&mut self, order: &[u16]) {
        for key in &mut self.keys {
            key.label = order[usize::from(key.label)];
        }
        self.counts = reorder(&self.counts, order);
    }

    /// The class of a label, a new one if it is.
    fn add_class(
        &mut self,
        layout: &Layout,
        (path, line): (&Path, u64),
        label: &str,
        labels: &mut LabelTable,
    ) -> Result<u16, DataError> {
        let class = labels.number(label).ok_or_else(|| DataError::TooManyClasses {
            path: path.to_owned(),
            line,
            column: layout.label.clone(),
            limit: MAX_CLASSES,
        })?;
        self.counts.resize(labels.len().max(self.counts.len()), 0);
        self.counts[usize::from(class)] += 1;
        Ok(class)
    }
}

/// Reads and checks all rows of a file, in 16 bytes a row, and 8 more for labels that are numbers.
pub(crate) fn scan(
    source: &Source,
    layout: &Layout,
    extra: &Extra,
    labels: &mut LabelTable,
) -> Result<Scanned, DataError> {
    let path = source.path();
    let mut clock = Clock::default();
    let mut scanned = Scanned::default();
    for row in source.rows(&layout.columns(extra))? {
        let row = row?;
        let line = row.line;
        layout.check(path, &row)?;
        let meaning = layout.read(path, &row)?;
        let label = match layout.target {
            Target::Class => scanned.add_class(layout, (path, line), meaning.label, labels)?,
            Target::Number => {
                scanned.numbers.push(layout.number(path, line, meaning.label)?);
                0
            }
        };
        let unit = match (extra, meaning.extra) {
            (Extra::None, _) | (Extra::Group(_), None) => layout.content(row).hash(),
            (Extra::Group(_), Some(group)) => combine(hash(0, group.as_bytes()), 1),
            (Extra::Time(column), value) => {
                let value = value.unwrap_or_default();
                clock.read(value).ok_or_else(|| DataError::BadTime {
                    path: path.to_owned(),
                    line,
                    column: column.clone(),
                    value: value.to_owned(),
                })?
            }
        };
        scanned.keys.push(RowKey { unit, label });
        scanned.rows += 1;
    }
    if layout.target == Target::Number {
        scanned.counts = vec![scanned.rows];
    }
    Ok(scanned)
}

/// Turns times into numbers of the same order; a column is either all numbers or all RFC 3339.
#[derive(Default)]
struct Clock {
    numbers: Option<bool>,
}

impl Clock {
    fn read(&mut self, text: &str) -> Option<u64> {
        let text = text.trim();
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        if *self.numbers.get_or_insert(number.is_some()) != number.is_some() {
            return None;
        }
        let ordered = match number {
            // The bits of floats order like sign and magnitude; the flip makes them two's
            // complement. Adding zero turns −0 into 0.
            Some(number) => {
                let bits = (number + 0.0).to_bits() as i64;
                bits ^ ((bits >> 63) as u64 >> 1) as i64
            }
            None => time::parse(text)?,
        };
        Some(ordered as u64 ^ (1 << 63))
    }
}
