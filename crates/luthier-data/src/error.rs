//! What can be wrong with files, rows and plans.

use std::path::{Path, PathBuf};

use crate::{CellError, Part, TableError};

/// Why a data set could not be read, split or written. Lines are 1-based and name the first line
/// of a record; in Parquet files, which have none, they are 1-based row numbers.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// There is no such file.
    #[error("{}: no such file", path.display())]
    MissingFile {
        /// The file.
        path: PathBuf,
    },
    /// The path is a folder or a device.
    #[error("{}: not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The extension says nothing about the format.
    #[error("{}: unknown format, expected one of {}", path.display(), known.join(", "))]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// The extensions that are known.
        known: &'static [&'static str],
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file has neither header nor rows.
    #[error("{}: the file is empty", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// A column that is needed is not there.
    #[error("{}: no column `{column}` among {}", path.display(), known.join(", "))]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column asked for.
        column: String,
        /// The most similar name in the file, if any is similar.
        nearest: Option<String>,
        /// The columns of the file.
        known: Vec<String>,
    },
    /// Two columns share a name.
    #[error("{}: column `{column}` appears twice", path.display())]
    DuplicateColumn {
        /// The file.
        path: PathBuf,
        /// The name.
        column: String,
    },
    /// A column holds lists, records or a type that has no text form.
    #[error("{}: column `{column}` is not made of plain values ({found})", path.display())]
    UnsupportedColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type, in the words of the file format.
        found: String,
    },
    /// A record has too few or too many fields.
    #[error("{}:{line}: {found} fields, expected {expected}", path.display())]
    FieldCount {
        /// The file.
        path: PathBuf,
        /// The record's first line.
        line: u64,
        /// Number of fields in the record.
        found: usize,
        /// Number of columns of the file.
        expected: usize,
    },
    /// A quoted field never ends.
    #[error("{}:{line}: the quoted field that begins here never ends", path.display())]
    UnclosedQuote {
        /// The file.
        path: PathBuf,
        /// The line of the opening quote.
        line: u64,
    },
    /// Bytes that are not UTF-8.
    #[error("{}:{line}: invalid UTF-8", path.display())]
    InvalidUtf8 {
        /// The file.
        path: PathBuf,
        /// The line of the first bad byte.
        line: u64,
    },
    /// A field is longer than [`crate::MAX_FIELD_BYTES`].
    #[error("{}:{line}: column `{column}` is longer than {limit} bytes", path.display())]
    FieldTooLong {
        /// The file.
        path: PathBuf,
        /// The record's first line.
        line: u64,
        /// The column, or its number where it has no name.
        column: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// A record or header is longer than [`crate::MAX_RECORD_BYTES`].
    #[error("{}:{line}: the record is longer than {limit} bytes", path.display())]
    RecordTooLong {
        /// The file.
        path: PathBuf,
        /// The record's first line.
        line: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// A line of a JSON Lines file is not an object.
    #[error("{}:{line}:{column}: {message}", path.display())]
    MalformedJson {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The byte in the line, 1-based.
        column: usize,
        /// The parser's words.
        message: String,
    },
    /// A Parquet file is damaged or uses what the reader lacks.
    #[error("{}: {message}", path.display())]
    MalformedParquet {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        message: String,
    },
    /// A row has no label.
    #[error("{}:{line}: no label in column `{column}`", path.display())]
    MissingLabel {
        /// The file.
        path: PathBuf,
        /// The record's first line.
        line: u64,
        /// The label column.
        column: String,
    },
    /// A label that is to be a number is not a finite one.
    #[error("{}:{line}: label `{value}` in column `{column}` is not a number", path.display())]
    BadLabel {
        /// The file.
        path: PathBuf,
        /// The record's first line.
        line: u64,
        /// The label column.
        column: String,
        /// The cell.
        value: String,
    },
    /// A cell of a table is not what its column holds.
    #[error("{}:{line}: {error}", path.display())]
    BadCell {
        /// The file.
        path: PathBuf,
        /// The record's first line.
        line: u64,
        /// The column, the cell and what is wrong with it.
        error: CellError,
    },
    /// Columns are too many, or one is named twice.
    #[error("{}: {error}", path.display())]
    BadTable {
        /// The file.
        path: PathBuf,
        /// Why they are no table.
        error: TableError,
    },
    /// No column of a table is left to learn from.
    #[error("{}: there is no column to learn from", path.display())]
    NoColumns {
        /// The file.
        path: PathBuf,
    },
    /// All training rows have the same number for a label, so nothing can be learned.
    #[error("{}: only one label in train, {value}", path.display())]
    OneValue {
        /// The file of the training rows.
        path: PathBuf,
        /// The number.
        value: f64,
    },
    /// A class of the validation or test part does not occur in training.
    #[error("{}:{line}: class `{class}` of the {part} part is absent from train", path.display())]
    UnseenClass {
        /// The file.
        path: PathBuf,
        /// The first line of the class in that part.
        line: u64,
        /// The class.
        class: String,
        /// The part.
        part: Part,
    },
    /// All training rows have the same label, so nothing can be learned.
    #[error("{}: only one class in train, `{class}`", path.display())]
    OneClass {
        /// The file of the training rows.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// The label column has more distinct values than a classifier can use.
    #[error("{}:{line}: column `{column}` has more than {limit} labels", path.display())]
    TooManyClasses {
        /// The file.
        path: PathBuf,
        /// The line with the first label too many.
        line: u64,
        /// The label column.
        column: String,
        /// The limit.
        limit: usize,
    },
    /// A part that was asked for got no rows.
    #[error("{}: the {part} part has no rows", path.display())]
    EmptySplit {
        /// The file the part comes from.
        path: PathBuf,
        /// The part.
        part: Part,
    },
    /// A weight is not a finite number of at least zero.
    #[error("{}:{line}: weight `{value}` in column `{column}` is not a finite number >= 0", path.display())]
    BadWeight {
        /// The file.
        path: PathBuf,
        /// The record's first line.
        line: u64,
        /// The weight column.
        column: String,
        /// The cell, empty when missing.
        value: String,
    },
    /// A time is neither a number nor RFC 3339, or mixes the two kinds in one column.
    #[error("{}:{line}: time `{value}` in column `{column}` cannot be ordered", path.display())]
    BadTime {
        /// The file.
        path: PathBuf,
        /// The record's first line.
        line: u64,
        /// The time column.
        column: String,
        /// The cell, empty when missing.
        value: String,
    },
    /// The positive class is not among the labels.
    #[error("{}: positive class `{positive}` is not a label among {}", path.display(), labels.join(", "))]
    UnknownPositive {
        /// The file of the training rows.
        path: PathBuf,
        /// The class asked for.
        positive: String,
        /// The labels (the first hundred).
        labels: Vec<String>,
    },
    /// Fractions that are negative, not finite, or leave nothing to train on.
    #[error("cannot split off {valid} for valid and {test} for test")]
    BadFractions {
        /// The validation fraction.
        valid: f64,
        /// The test fraction.
        test: f64,
    },
    /// A plan that asks for two orders at once: whole groups and oldest first.
    #[error("a split is either by group `{group}` or by time `{time}`")]
    GroupAndTime {
        /// The group column.
        group: String,
        /// The time column.
        time: String,
    },
    /// A number of folds outside `2..=255`, or more folds than groups of rows to deal.
    #[error("cannot deal {units} separable groups of rows into {folds} folds")]
    BadFolds {
        /// Number of folds asked for.
        folds: u32,
        /// Groups of rows that may be parted from each other.
        units: u64,
    },
    /// All training rows of a class are in one fold.
    #[error("{}:{line}: all rows of class `{class}` are in one of {folds} folds", path.display())]
    LoneClass {
        /// The file.
        path: PathBuf,
        /// The first line of the class.
        line: u64,
        /// The class.
        class: String,
        /// Number of folds.
        folds: u32,
    },
    /// Folds beside a file of validation rows.
    #[error("folds take the place of validation rows, and a file of these is given too")]
    FoldsBesideValid,
    /// Folds beside a plan by time.
    #[error("folds have no order, and the split is by time `{time}`")]
    FoldsByTime {
        /// The time column.
        time: String,
    },
    /// The file is not the one that was opened before: its rows have changed in between.
    #[error("{}: the file changed while it was in use", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The assignment names an output that is not given, or has another number of rows than the
    /// source.
    #[error("{}: the assignment does not fit: row {row} of {rows}, {outputs} outputs", path.display())]
    BadAssignment {
        /// The source.
        path: PathBuf,
        /// The first row (1-based) that does not fit.
        row: u64,
        /// Number of rows assigned.
        rows: u64,
        /// Number of outputs.
        outputs: usize,
    },
    /// The extension of an output is not that of the format written to it.
    #[error("{}: this output is written as .{expected}", path.display())]
    OutputFormat {
        /// The output.
        path: PathBuf,
        /// The extension it should have.
        expected: &'static str,
    },
}

impl DataError {
    /// For `map_err` on anything that touches `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }
}
