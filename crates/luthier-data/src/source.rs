//! One file of rows, whatever its format.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::DataError;
use crate::columnar::{self, Columnar};
use crate::delimited::Delimited;
use crate::json_lines::JsonLines;

/// Longest cell that is read, in bytes.
pub const MAX_FIELD_BYTES: usize = 1 << 20;

/// Longest record (one line of JSON Lines, the header of a delimited file) that is read, in bytes.
pub const MAX_RECORD_BYTES: usize = 16 << 20;

/// How rows are laid out in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180: fields between commas, quoted where needed; the first record names the columns.
    Csv,
    /// The same between tabs.
    Tsv,
    /// One JSON object a line.
    JsonLines,
    /// Apache Parquet with plain columns.
    Parquet,
}

const EXTENSIONS: [(&str, Format); 5] = [
    ("csv", Format::Csv),
    ("tsv", Format::Tsv),
    ("jsonl", Format::JsonLines),
    ("ndjson", Format::JsonLines),
    ("parquet", Format::Parquet),
];

impl Format {
    /// The format that the extension of `path` promises, in any case.
    pub fn of(path: &Path) -> Result<Self, DataError> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        let known = EXTENSIONS.iter().find(|(name, _)| extension.as_deref() == Some(name));
        known.map(|(_, format)| *format).ok_or_else(|| DataError::UnknownFormat {
            path: path.to_owned(),
            known: &[".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"],
        })
    }

    /// The usual extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::JsonLines => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

/// A file of rows whose columns are known.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    format: Format,
    columns: Vec<String>,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The record's first line in the file, 1-based; the row number in a Parquet file.
    pub line: u64,
    /// The cells in the order asked for. `None` is an empty field of a delimited file, a null or
    /// absent key of a JSON object, a null of Parquet. Numbers, booleans and times are rendered as
    /// text: integers without a decimal point, times as RFC 3339.
    pub cells: Vec<Option<String>>,
}

impl Source {
    /// Opens `path` and reads its header. JSON Lines have none: there the columns are the keys of
    /// the first thousand objects, in the order of appearance.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        check_file(path)?;
        let format = Format::of(path)?;
        let columns = match format {
            Format::Csv => Delimited::open(path, b',')?.into_header(),
            Format::Tsv => Delimited::open(path, b'\t')?.into_header(),
            Format::JsonLines => JsonLines::open(path)?.keys()?,
            Format::Parquet => columnar::columns(path)?,
        };
        check_unique(path, &columns)?;
        Ok(Self { path: path.to_owned(), format, columns })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The names of the columns, in the order of the file.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Streams all rows from the start, with the cells of `columns` in that order; a name may be
    /// asked for twice. After an error the iterator ends.
    pub fn rows<S: AsRef<str>>(&self, columns: &[S]) -> Result<Rows, DataError> {
        let wanted = columns.iter().map(|c| self.position(c.as_ref())).collect::<Result<_, _>>()?;
        let reader = match self.format {
            Format::Csv => Reader::Delimited(Delimited::open(&self.path, b',')?, wanted),
            Format::Tsv => Reader::Delimited(Delimited::open(&self.path, b'\t')?, wanted),
            Format::JsonLines => {
                let names = columns.iter().map(|c| c.as_ref().to_owned()).collect();
                Reader::JsonLines(JsonLines::open(&self.path)?, names)
            }
            Format::Parquet => Reader::Columnar(Columnar::open(&self.path, &wanted)?),
        };
        Ok(Rows { reader, done: false })
    }

    /// The position of a column in the file.
    pub(crate) fn position(&self, column: &str) -> Result<usize, DataError> {
        let found = self.columns.iter().position(|known| known == column);
        found.ok_or_else(|| DataError::MissingColumn {
            path: self.path.clone(),
            column: column.to_owned(),
            nearest: nearest(column, self.columns.iter().map(String::as_str)),
            known: self.columns.clone(),
        })
    }
}

/// A stream of rows; see [`Source::rows`].
pub struct Rows {
    reader: Reader,
    done: bool,
}

/// The reader of each format and what it needs to pick the wanted cells.
enum Reader {
    Delimited(Delimited, Vec<usize>),
    JsonLines(JsonLines, Vec<String>),
    Columnar(Columnar),
}

impl Iterator for Rows {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let row = match &mut self.reader {
            Reader::Delimited(reader, wanted) => reader.row(wanted),
            Reader::JsonLines(reader, wanted) => reader.row(wanted),
            Reader::Columnar(reader) => reader.row(),
        };
        self.done = !matches!(row, Ok(Some(_)));
        row.transpose()
    }
}

/// That `path` is there and is a file.
fn check_file(path: &Path) -> Result<(), DataError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(DataError::NotAFile { path: path.to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(DataError::MissingFile { path: path.to_owned() })
        }
        Err(error) => Err(DataError::io(path)(error)),
    }
}

fn check_unique(path: &Path, columns: &[String]) -> Result<(), DataError> {
    let mut seen = std::collections::HashSet::new();
    match columns.iter().find(|column| !seen.insert(column.as_str())) {
        Some(column) => {
            Err(DataError::DuplicateColumn { path: path.to_owned(), column: column.clone() })
        }
        None => Ok(()),
    }
}

/// The known name most like `name`, regardless of case, if it is alike at all.
pub(crate) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    // Under this Jaro-Winkler similarity names share little more than a letter or two.
    const ALIKE: f64 = 0.75;
    // Comparing takes time with the length, and names may come from a request.
    const LONGEST: usize = 256;
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_lowercase();
    let scored = known.map(|other| (strsim::jaro_winkler(&name, &other.to_lowercase()), other));
    let (score, best) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (score >= ALIKE).then(|| best.to_owned())
}

#[cfg(test)]
pub(crate) mod tests;
