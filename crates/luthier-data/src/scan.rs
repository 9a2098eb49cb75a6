//! One pass over a file: what its rows mean, which labels there are, what decides a row's part.

use std::collections::HashMap;
use std::path::Path;

use crate::hash::{combine, hash};
use crate::split::RowKey;
use crate::{DataError, DatasetSpec, Row, Source, time};

/// Most labels a data set may have; more of them means that the label column is not one.
pub const MAX_CLASSES: usize = 10_000;

/// The columns of a row that mean something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    pub(crate) text: Vec<String>,
    pub(crate) label: String,
    pub(crate) id: Option<String>,
    pub(crate) weight: Option<String>,
}

/// A column that matters only to the split.
#[derive(Debug, Clone)]
pub(crate) enum Extra {
    None,
    Group(String),
    Time(String),
}

/// A row by its meaning.
pub(crate) struct Cells {
    pub(crate) line: u64,
    pub(crate) text: String,
    pub(crate) label: String,
    pub(crate) id: Option<String>,
    pub(crate) weight: f32,
    pub(crate) extra: Option<String>,
}

impl Layout {
    pub(crate) fn of(spec: &DatasetSpec) -> Self {
        Self {
            text: spec.text.clone(),
            label: spec.label.clone(),
            id: spec.id.clone(),
            weight: spec.weight.clone(),
        }
    }

    /// The columns to ask a source for, in the order that [`Self::read`] expects.
    pub(crate) fn columns<'a>(&'a self, extra: &'a Extra) -> Vec<&'a str> {
        let mut columns: Vec<&str> = self.text.iter().map(String::as_str).collect();
        columns.push(&self.label);
        columns.extend(self.id.as_deref());
        columns.extend(self.weight.as_deref());
        match extra {
            Extra::None => {}
            Extra::Group(column) | Extra::Time(column) => columns.push(column),
        }
        columns
    }

    pub(crate) fn read(&self, path: &Path, row: Row) -> Result<Cells, DataError> {
        let line = row.line;
        let mut cells = row.cells.into_iter();
        let mut text = String::new();
        for index in 0..self.text.len() {
            let cell = cells.next().flatten().unwrap_or_default();
            if index == 0 {
                text = cell;
            } else {
                text.push('\n');
                text.push_str(&cell);
            }
        }
        let label = cells.next().flatten().filter(|label| !label.trim().is_empty());
        let label = label.ok_or_else(|| DataError::MissingLabel {
            path: path.to_owned(),
            line,
            column: self.label.clone(),
        })?;
        let id = self.id.as_ref().and_then(|_| cells.next().flatten());
        let weight = match &self.weight {
            None => 1.0,
            Some(column) => {
                let value = cells.next().flatten().unwrap_or_default();
                parse_weight(&value).ok_or_else(|| DataError::BadWeight {
                    path: path.to_owned(),
                    line,
                    column: column.clone(),
                    value,
                })?
            }
        };
        Ok(Cells { line, text, label, id, weight, extra: cells.next().flatten() })
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
pub(crate) struct Scanned {
    pub(crate) keys: Vec<RowKey>,
    pub(crate) rows: u64,
    pub(crate) counts: Vec<u64>,
}

impl Scanned {
    /// Takes the new number of each label.
    pub(crate) fn renumber(&mut self, order: &[u16]) {
        for key in &mut self.keys {
            key.label = order[usize::from(key.label)];
        }
        self.counts = reorder(&self.counts, order);
    }
}

/// Reads and checks all rows of a file, in 16 bytes a row.
pub(crate) fn scan(
    source: &Source,
    layout: &Layout,
    extra: &Extra,
    labels: &mut LabelTable,
) -> Result<Scanned, DataError> {
    let path = source.path();
    let mut clock = Clock::default();
    let mut scanned = Scanned { keys: Vec::new(), rows: 0, counts: Vec::new() };
    for row in source.rows(&layout.columns(extra))? {
        let cells = layout.read(path, row?)?;
        let label = labels.number(cells.label.trim());
        let label = label.ok_or_else(|| DataError::TooManyClasses {
            path: path.to_owned(),
            line: cells.line,
            column: layout.label.clone(),
            limit: MAX_CLASSES,
        })?;
        let text = || combine(hash(0, cells.text.as_bytes()), 0);
        let unit = match (extra, &cells.extra) {
            (Extra::None, _) | (Extra::Group(_), None) => text(),
            (Extra::Group(_), Some(group)) => combine(hash(0, group.as_bytes()), 1),
            (Extra::Time(column), value) => {
                let value = value.as_deref().unwrap_or_default();
                clock.read(value).ok_or_else(|| DataError::BadTime {
                    path: path.to_owned(),
                    line: cells.line,
                    column: column.clone(),
                    value: value.to_owned(),
                })?
            }
        };
        scanned.keys.push(RowKey { unit, label });
        scanned.rows += 1;
        scanned.counts.resize(labels.len().max(scanned.counts.len()), 0);
        scanned.counts[usize::from(label)] += 1;
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
