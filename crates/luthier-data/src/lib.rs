//! Labelled rows: readers, schema, splits, folds and profiles.
//!
//! Start from [`Dataset::open`], which reads the files a [`DatasetSpec`] names, checks every row,
//! learns the labels and decides which part each row belongs to; [`Dataset::examples`] then streams
//! one part as often as wanted. Below it lies [`Source`], one file of rows in any [`Format`], whose
//! cells are text whatever the file held.
//!
//! Two choices shape the crate. Rows are streamed, never held: a data set is what can be said of it
//! in a few bytes per row, so files larger than memory work. And splits follow from the seed and
//! the *content* of a row, not from its position, so that shuffling, sorting or appending to a file
//! does not move the rows that were there between parts more than the fractions demand.
//!
//! Rows are texts, or cells of a table ([`ContentSpec`]); a [`Table`] says what the columns are and turns
//! the cells of a row, in a file or a request, into numbers. Labels are classes or numbers ([`Target`]).
//!
//! [`Source::schema`] describes the columns of a file, [`Dataset::profile`] a whole data set,
//! [`assign_folds`] deals rows for cross-validation and [`write_split`] makes files of an
//! assignment; [`write_table`] writes results. The crate knows no models or engines and
//! prints nothing; a problem in a file is a [`DataError`] that says where.

mod choice;
mod columnar;
mod columns;
mod dataset;
mod delimited;
mod error;
mod hash;
mod json_lines;
mod profile;
mod scan;
mod schema;
mod source;
mod split;
mod table;
mod time;
mod write;

pub use choice::{ColumnChoice, LeftOut, Reason, TableSpec};
pub use columns::{
    Categories, Cell, CellError, ColumnKind, MAX_CATEGORIES, MAX_CATEGORY_BYTES, MAX_COLUMNS,
    Table, TableColumn, TableError,
};
pub use dataset::{
    Content, ContentSpec, Dataset, DatasetSpec, Example, Examples, FileDigest, Label, Part,
    Selection, Target,
};
pub use error::DataError;
pub use profile::{
    CategoryCount, CategoryProfile, ColumnProfile, ContentProfile, Finding, Leakage,
    LengthQuantile, NumberProfile, NumberQuantile, PartProfile, Profile, RowRef, Scripts, Severity,
    TableProfile, TextProfile, Twins, ValuesProfile, WeightProfile, population_stability_index,
};
pub use scan::MAX_CLASSES;
pub use schema::{Column, Distinct, Kind, Schema};
pub use source::{Format, MAX_FIELD_BYTES, MAX_RECORD_BYTES, Row, Rows, Source};
pub use split::{FoldSpec, Folds, SplitPlan, assign_folds};
pub use table::{Cells, write_table};
pub use write::write_split;
