//! Which columns of a file a model reads, and what they are.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::columns::is_no_number;
use crate::scan::Fields;
use crate::schema::Tracker;
use crate::{
    Categories, ColumnKind, ContentSpec, DataError, Kind, MAX_CATEGORIES, MAX_CATEGORY_BYTES,
    Source, TableColumn,
};

/// Distinct texts of a column that are counted to find the most frequent; later ones are not.
const MAX_COUNTED: usize = 100_000;

/// The columns of a table that a model reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TableSpec {
    /// Their names; all columns of the train file where absent, but for those that have another part
    /// to play (label, id, weight, group and time of the split).
    ///
    /// Without names, columns that are of no use as they are get left out: texts and identifiers.
    /// With names, they are categories, or numbers where they are whole ones.
    pub columns: Option<Vec<String>>,
    /// What columns are, where that is not to be found from their cells.
    pub kinds: BTreeMap<String, ColumnChoice>,
}

/// What a column is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnChoice {
    /// A number, or a time where all cells are RFC 3339.
    Number,
    /// A category, such as a code that is written as a number.
    Category,
    /// Nothing; it plays no part.
    Ignore,
}

/// A column that is not read though nobody said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name.
    pub column: String,
    /// Why.
    pub reason: Reason,
}

/// Why a column is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// It has no values.
    Empty,
    /// Its values name the rows; see [`Kind::Identifier`].
    Identifier,
    /// Its values are too many to be categories; see [`Kind::Text`].
    Text,
}

/// The columns that are read of each row.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    /// Those that are, categories still without their texts.
    pub(crate) fields: Fields,
    pub(crate) left_out: Vec<LeftOut>,
    /// All other columns of the file; of texts none.
    pub(crate) ignored: Vec<String>,
}

impl ContentSpec {
    /// Chooses from the columns of `source`, of which those that are `taken` have another part.
    pub(crate) fn choose(
        &self,
        source: &Source,
        taken: &[Option<&String>],
    ) -> Result<Chosen, DataError> {
        let taken: Vec<&str> = taken.iter().flatten().map(|name| name.as_str()).collect();
        match self {
            Self::Text(columns) => Ok(Chosen {
                fields: Fields::Text(columns.clone()),
                left_out: Vec::new(),
                ignored: Vec::new(),
            }),
            Self::Table(table) => table.choose(source, &taken),
        }
    }
}

impl TableSpec {
    /// What a column is follows from all rows of the file, also those that are split off later: the
    /// split goes by the cells that are read, so it cannot come first. Categories are learnt from
    /// training rows alone.
    fn choose(&self, source: &Source, taken: &[&str]) -> Result<Chosen, DataError> {
        let candidates = self.candidates(source, taken)?;
        let mut trackers = vec![Tracker::default(); candidates.len()];
        let mut rows = 0;
        for row in source.rows(&candidates)? {
            rows += 1;
            for (tracker, cell) in trackers.iter_mut().zip(&row?.cells) {
                tracker.see(cell.as_deref().filter(|cell| !is_no_number(cell)));
            }
        }
        let (mut columns, mut left_out) = (Vec::new(), Vec::new());
        for (name, tracker) in candidates.into_iter().zip(trackers) {
            let choice = self.kinds.get(name).copied();
            match kind_of(&tracker, rows, choice, self.columns.is_some()) {
                Ok(kind) => columns.push(TableColumn { name: name.clone(), kind }),
                Err(reason) => left_out.push(LeftOut { column: name.clone(), reason }),
            }
        }
        if columns.is_empty() {
            return Err(DataError::NoColumns { path: source.path().to_owned() });
        }
        let is_chosen = |name: &String| columns.iter().any(|column| column.name == *name);
        let ignored = source.columns().iter().filter(|name| !is_chosen(name)).cloned().collect();
        Ok(Chosen { fields: Fields::Table(columns), left_out, ignored })
    }

    /// The columns that may be read.
    fn candidates<'a>(
        &'a self,
        source: &'a Source,
        taken: &[&str],
    ) -> Result<Vec<&'a String>, DataError> {
        for name in self.columns.iter().flatten().chain(self.kinds.keys()) {
            source.position(name)?;
        }
        let is_read = |name: &&String| self.kinds.get(*name) != Some(&ColumnChoice::Ignore);
        let is_free = |name: &&String| !taken.contains(&name.as_str());
        Ok(match &self.columns {
            Some(columns) => columns.iter().filter(is_read).collect(),
            None => source.columns().iter().filter(is_free).filter(is_read).collect(),
        })
    }
}

/// What a column is, or why it is left out. Cells that stand for a missing number have not been
/// seen: a column is one of numbers if all others are.
fn kind_of(
    seen: &Tracker,
    rows: u64,
    choice: Option<ColumnChoice>,
    is_named: bool,
) -> Result<ColumnKind, Reason> {
    let found = seen.kind(rows);
    if seen.is_empty() {
        return Err(Reason::Empty);
    }
    let category = || Ok(ColumnKind::Category(Categories::default()));
    match found {
        _ if choice == Some(ColumnChoice::Category) => category(),
        Kind::Timestamp => Ok(ColumnKind::Time),
        _ if choice == Some(ColumnChoice::Number) => Ok(ColumnKind::Number),
        Kind::Integer | Kind::Float => Ok(ColumnKind::Number),
        Kind::Boolean | Kind::Category => category(),
        Kind::Identifier if is_named && seen.is_integer() => Ok(ColumnKind::Number),
        Kind::Identifier | Kind::Text if is_named => category(),
        Kind::Identifier => Err(Reason::Identifier),
        Kind::Text => Err(Reason::Text),
    }
}

/// Counts texts to learn the categories of a column from, in bounded memory.
#[derive(Default)]
pub(crate) struct CategoryCounts {
    counts: HashMap<String, u64>,
}

impl CategoryCounts {
    pub(crate) fn see(&mut self, cell: Option<&str>) {
        let text = cell.unwrap_or_default().trim();
        if !(1..=MAX_CATEGORY_BYTES).contains(&text.len()) {
            return;
        }
        if let Some(count) = self.counts.get_mut(text) {
            *count += 1;
        } else if self.counts.len() < MAX_COUNTED {
            self.counts.insert(text.to_owned(), 1);
        }
    }

    /// The most frequent first, equals in byte order.
    pub(crate) fn learn(self) -> Categories {
        let mut counts: Vec<(String, u64)> = self.counts.into_iter().collect();
        counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts.truncate(MAX_CATEGORIES);
        Categories::of(counts.into_iter().map(|(text, _)| text).collect())
    }
}
