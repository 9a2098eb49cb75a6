//! What the columns of a file look like.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::hash::hash;
use crate::{DataError, Source, time};

/// Distinct values are counted exactly up to this number.
const MAX_DISTINCT: usize = 10_000;

/// Rows from which "all values differ" says something.
const IDENTIFIER_ROWS: u64 = 20;

/// Longest example, in characters.
const EXAMPLE_CHARACTERS: usize = 80;

/// The columns of a file, as far as it was read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Schema {
    /// Rows the statements below rest on.
    pub rows_seen: u64,
    /// The columns in the order of the file.
    pub columns: Vec<Column>,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its values seem to be.
    pub kind: Kind,
    /// Rows without a value.
    pub missing: u64,
    /// How many different values there are, missing ones aside.
    pub distinct: Distinct,
    /// Length of the longest value in bytes.
    pub longest_bytes: usize,
    /// Smallest value of an integer or float column.
    pub min: Option<f64>,
    /// Largest value of an integer or float column.
    pub max: Option<f64>,
    /// The first value, shortened to eighty characters.
    pub example: Option<String>,
}

/// A number of distinct values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distinct {
    /// Exactly so many.
    Exactly(u64),
    /// More than so many; counting stopped there.
    MoreThan(u64),
}

/// What the values of a column seem to be. The first kind that fits all of them, in this order:
/// booleans, timestamps, identifiers, integers, floats, categories, texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `true` or `false`, `yes` or `no`, in any case.
    Boolean,
    /// Whole numbers of 64 bits.
    Integer,
    /// Finite numbers.
    Float,
    /// RFC 3339 dates or date-times.
    Timestamp,
    /// Few values that repeat: at most 50 that occur twice on average, or at most one in twenty
    /// rows.
    Category,
    /// Anything else, and columns without any value.
    Text,
    /// A name of the row: from twenty rows on, values that are UUIDs, integers that only grow, or
    /// words with digits, and that never repeat.
    Identifier,
}

impl Source {
    /// Reads the first `limit_rows` rows, or all, and says what each column looks like.
    pub fn schema(&self, limit_rows: Option<u64>) -> Result<Schema, DataError> {
        let mut trackers = vec![Tracker::default(); self.columns().len()];
        let mut rows_seen = 0;
        let limit = limit_rows.unwrap_or(u64::MAX);
        let mut rows = self.rows(self.columns())?;
        while rows_seen < limit
            && let Some(row) = rows.next().transpose()?
        {
            rows_seen += 1;
            for (tracker, cell) in trackers.iter_mut().zip(&row.cells) {
                tracker.see(cell.as_deref());
            }
        }
        let describe = |(name, tracker): (&String, Tracker)| tracker.describe(name, rows_seen);
        Ok(Schema {
            rows_seen,
            columns: self.columns().iter().zip(trackers).map(describe).collect(),
        })
    }
}

/// What is remembered of a column; bounded, whatever the number of rows.
#[derive(Debug, Clone)]
pub(crate) struct Tracker {
    present: u64,
    missing: u64,
    hashes: HashSet<u64>,
    overflowed: bool,
    /// Whether a value came twice while all were remembered.
    repeats: bool,
    longest_bytes: usize,
    min: f64,
    max: f64,
    last_integer: Option<i64>,
    example: Option<String>,
    all: Fits,
}

/// Which kinds fit all values so far.
#[derive(Debug, Clone, Copy)]
struct Fits {
    boolean: bool,
    integer: bool,
    increasing: bool,
    float: bool,
    timestamp: bool,
    uuid: bool,
    code: bool,
}

impl Default for Tracker {
    fn default() -> Self {
        Self {
            present: 0,
            missing: 0,
            hashes: HashSet::new(),
            overflowed: false,
            repeats: false,
            longest_bytes: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            last_integer: None,
            example: None,
            all: Fits {
                boolean: true,
                integer: true,
                increasing: true,
                float: true,
                timestamp: true,
                uuid: true,
                code: true,
            },
        }
    }
}

impl Tracker {
    /// Takes in the cell of one more row.
    pub(crate) fn see(&mut self, cell: Option<&str>) {
        let Some(text) = cell else {
            self.missing += 1;
            return;
        };
        self.present += 1;
        self.longest_bytes = self.longest_bytes.max(text.len());
        if self.example.is_none() {
            self.example = Some(text.chars().take(EXAMPLE_CHARACTERS).collect());
        }
        if !self.overflowed {
            self.repeats |= !self.hashes.insert(hash(0, text.as_bytes()));
            self.overflowed = self.hashes.len() > MAX_DISTINCT;
        }
        self.fit(text.trim());
    }

    fn fit(&mut self, text: &str) {
        let fits = &mut self.all;
        let words = ["true", "false", "yes", "no"];
        fits.boolean = fits.boolean && words.iter().any(|word| text.eq_ignore_ascii_case(word));
        fits.timestamp = fits.timestamp && time::parse(text).is_some();
        fits.uuid = fits.uuid && is_uuid(text);
        fits.code = fits.code && is_code(text);
        if fits.integer {
            let value = text.parse::<i64>().ok();
            fits.integer = value.is_some();
            fits.increasing = fits.increasing && fits.integer && value > self.last_integer;
            self.last_integer = value;
        }
        if fits.float {
            match text.parse::<f64>() {
                Ok(value) if value.is_finite() => {
                    self.min = self.min.min(value);
                    self.max = self.max.max(value);
                }
                _ => fits.float = false,
            }
        }
    }

    fn describe(self, name: &str, rows: u64) -> Column {
        let kind = self.kind(rows);
        let numeric = self.present > 0 && self.all.float;
        Column {
            name: name.to_owned(),
            kind,
            missing: self.missing,
            distinct: match self.overflowed {
                true => Distinct::MoreThan(MAX_DISTINCT as u64),
                false => Distinct::Exactly(self.hashes.len() as u64),
            },
            longest_bytes: self.longest_bytes,
            min: numeric.then_some(self.min),
            max: numeric.then_some(self.max),
            example: self.example,
        }
    }

    /// Whether there were no values.
    pub(crate) fn is_empty(&self) -> bool {
        self.present == 0
    }

    /// Whether all values were whole numbers.
    pub(crate) fn is_integer(&self) -> bool {
        self.all.integer
    }

    /// What the values of `rows` rows seem to be.
    pub(crate) fn kind(&self, rows: u64) -> Kind {
        let all = self.all;
        let increasing = all.integer && all.increasing;
        let named = !self.repeats && self.missing == 0 && rows >= IDENTIFIER_ROWS;
        let distinct = self.hashes.len() as u64;
        let few = distinct <= 50 && distinct * 2 <= self.present || distinct * 20 <= self.present;
        match () {
            () if self.present == 0 => Kind::Text,
            () if all.boolean => Kind::Boolean,
            () if all.timestamp => Kind::Timestamp,
            () if named && (all.uuid || increasing) => Kind::Identifier,
            () if all.integer => Kind::Integer,
            () if all.float => Kind::Float,
            () if named && all.code => Kind::Identifier,
            () if !self.overflowed && few => Kind::Category,
            () => Kind::Text,
        }
    }
}

/// 8-4-4-4-12 hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// One short ASCII word with a digit in it, such as `ID-00017` or a digest.
fn is_code(text: &str) -> bool {
    text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && text.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
