//! Parquet files with plain columns, read a thousand rows at a time.
//!
//! Only the wanted columns of one row group are open at once. Columns of lists or records are
//! refused: they have no one text form.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use crate::json_lines::render_float;
use crate::source::{MAX_FIELD_BYTES, Row};
use crate::{DataError, time};

const BATCH_ROWS: usize = 1024;

/// The names of the columns of `path`.
pub(crate) fn columns(path: &Path) -> Result<Vec<String>, DataError> {
    let reader = open(path)?;
    let schema = reader.metadata().file_metadata().schema();
    Ok(schema.get_fields().iter().map(|field| field.name().to_owned()).collect())
}

fn open(path: &Path) -> Result<SerializedFileReader<File>, DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    if file.metadata().map_err(DataError::io(path))?.len() == 0 {
        return Err(DataError::EmptyFile { path: path.to_owned() });
    }
    guard(path, || SerializedFileReader::new(file))
}

/// Runs a call into the `parquet` crate, which panics on some damaged files (negative offsets, a
/// dictionary that is missing): one file in five hundred with random bytes replaced. What `call`
/// has touched is not used again, since every caller gives up after an error.
fn guard<T>(path: &Path, call: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, DataError> {
    let damaged = |_| Err(ParquetError::General("the file is damaged".to_owned()));
    let answer = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(damaged);
    answer
        .map_err(|e| DataError::MalformedParquet { path: path.to_owned(), message: e.to_string() })
}

pub(crate) struct Columnar {
    path: PathBuf,
    file: SerializedFileReader<File>,
    /// The distinct columns to read.
    leaves: Vec<Leaf>,
    /// For each cell of a row, the position in `leaves`.
    picks: Vec<usize>,
    next_group: usize,
    /// Readers of the current row group, one per leaf.
    readers: Vec<ColumnReader>,
    /// Rows of the current row group that are not in `batch` yet.
    left: usize,
    /// Cells of the current batch, leaf by leaf.
    batch: Vec<Vec<Option<String>>>,
    /// Rows in the batch; it has no cells when no column is wanted.
    batch_rows: usize,
    /// Position in the batch.
    at: usize,
    /// Rows given out.
    rows: u64,
}

/// A plain column.
struct Leaf {
    /// Position among the leaf columns of the file.
    index: usize,
    name: String,
    nullable: bool,
    form: Form,
}

/// What a stored value means.
#[derive(Clone, Copy)]
enum Form {
    Boolean,
    Signed,
    Unsigned,
    Float,
    Text,
    /// Digits behind the decimal point.
    Decimal(u32),
    Date,
    /// Units in a second.
    Timestamp(i64),
}

impl Columnar {
    /// Opens `path` to read the top-level columns `wanted`.
    pub(crate) fn open(path: &Path, wanted: &[usize]) -> Result<Self, DataError> {
        let file = open(path)?;
        let mut distinct: Vec<usize> = wanted.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let leaves =
            distinct.iter().map(|root| leaf(path, &file, *root)).collect::<Result<_, _>>()?;
        let position = |root| distinct.binary_search(root).unwrap_or(0);
        Ok(Self {
            path: path.to_owned(),
            picks: wanted.iter().map(position).collect(),
            file,
            leaves,
            next_group: 0,
            readers: Vec::new(),
            left: 0,
            batch: Vec::new(),
            batch_rows: 0,
            at: 0,
            rows: 0,
        })
    }

    /// The next row.
    pub(crate) fn row(&mut self) -> Result<Option<Row>, DataError> {
        if self.at == self.batch_rows && !self.fill()? {
            return Ok(None);
        }
        self.rows += 1;
        let cells = self.picks.iter().map(|leaf| self.batch[*leaf][self.at].clone()).collect();
        self.at += 1;
        Ok(Some(Row { line: self.rows, cells }))
    }

    /// Reads the next batch; `false` at the end of the file.
    fn fill(&mut self) -> Result<bool, DataError> {
        while self.left == 0 {
            if !self.open_group()? {
                return Ok(false);
            }
        }
        let rows = self.left.min(BATCH_ROWS);
        self.batch.clear();
        for (leaf, reader) in self.leaves.iter().zip(&mut self.readers) {
            let cells = guard(&self.path, || leaf.read(reader, rows))?;
            let long = |cell: &Option<String>| {
                cell.as_ref().is_some_and(|cell| cell.len() > MAX_FIELD_BYTES)
            };
            if let Some(offset) = cells.iter().position(long) {
                return Err(DataError::FieldTooLong {
                    path: self.path.clone(),
                    line: self.rows + offset as u64 + 1,
                    column: leaf.name.clone(),
                    limit: MAX_FIELD_BYTES,
                });
            }
            self.batch.push(cells);
        }
        self.left -= rows;
        self.batch_rows = rows;
        self.at = 0;
        Ok(true)
    }

    /// Opens the next row group; `false` if there is none.
    fn open_group(&mut self) -> Result<bool, DataError> {
        let index = self.next_group;
        if index >= self.file.num_row_groups() {
            return Ok(false);
        }
        self.next_group += 1;
        (self.left, self.readers) = guard(&self.path, || {
            let group = self.file.get_row_group(index)?;
            let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
            let readers = self.leaves.iter().map(|leaf| group.get_column_reader(leaf.index));
            Ok((rows, readers.collect::<Result<_, _>>()?))
        })?;
        Ok(true)
    }
}

/// The plain column that is the top-level column `root`.
fn leaf(path: &Path, file: &SerializedFileReader<File>, root: usize) -> Result<Leaf, DataError> {
    let schema = file.metadata().file_metadata().schema_descr();
    let name = schema.root_schema().get_fields()[root].name().to_owned();
    let refuse = |found: String| DataError::UnsupportedColumn {
        path: path.to_owned(),
        column: name.clone(),
        found,
    };
    let of_root = |leaf: &usize| schema.get_column_root_idx(*leaf) == root;
    let index = (0..schema.num_columns()).find(of_root).ok_or_else(|| refuse("empty".into()))?;
    let column = schema.column(index);
    if column.path().parts().len() > 1 || column.max_rep_level() > 0 {
        return Err(refuse("nested".into()));
    }
    let form = form(&column)
        .ok_or_else(|| refuse(format!("{} {}", column.physical_type(), column.converted_type())))?;
    Ok(Leaf { index, nullable: column.max_def_level() > 0, form, name })
}

fn form(column: &ColumnDescriptor) -> Option<Form> {
    let scale = u32::try_from(column.type_scale()).ok().filter(|scale| *scale <= 38);
    let form = match (column.physical_type(), column.converted_type()) {
        (Physical::BOOLEAN, _) => Form::Boolean,
        (Physical::FLOAT | Physical::DOUBLE, _) => Form::Float,
        (Physical::INT96, _) => Form::Timestamp(1_000_000),
        (Physical::INT32, ConvertedType::DATE) => Form::Date,
        (Physical::INT64, ConvertedType::TIMESTAMP_MILLIS) => Form::Timestamp(1000),
        (Physical::INT64, ConvertedType::TIMESTAMP_MICROS) => Form::Timestamp(1_000_000),
        (Physical::BYTE_ARRAY, kind) if kind != ConvertedType::DECIMAL => Form::Text,
        (Physical::BYTE_ARRAY, _) => return None,
        (_, ConvertedType::DECIMAL) => Form::Decimal(scale?),
        (Physical::FIXED_LEN_BYTE_ARRAY, _) => return None,
        (_, ConvertedType::UINT_8 | ConvertedType::UINT_16) => Form::Unsigned,
        (_, ConvertedType::UINT_32 | ConvertedType::UINT_64) => Form::Unsigned,
        (_, ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS) => return None,
        _ => match column.logical_type_ref() {
            Some(LogicalType::Timestamp(time)) if time.unit == TimeUnit::NANOS => {
                Form::Timestamp(1_000_000_000)
            }
            Some(LogicalType::Time(_)) => return None,
            _ => Form::Signed,
        },
    };
    Some(form)
}

impl Leaf {
    /// The next `rows` cells.
    fn read(
        &self,
        reader: &mut ColumnReader,
        rows: usize,
    ) -> Result<Vec<Option<String>>, ParquetError> {
        let form = self.form;
        match reader {
            ColumnReader::BoolColumnReader(r) => self.cells(r, rows, |v| Ok(v.to_string())),
            ColumnReader::Int32ColumnReader(r) => self.cells(r, rows, |v| {
                // The stored bits of an unsigned number are those of the signed one.
                let unsigned = matches!(form, Form::Unsigned);
                Ok(form.integer(if unsigned { i64::from(*v as u32) } else { i64::from(*v) }))
            }),
            ColumnReader::Int64ColumnReader(r) => self.cells(r, rows, |v| Ok(form.integer(*v))),
            ColumnReader::Int96ColumnReader(r) => {
                self.cells(r, rows, |v| Ok(form.integer(v.to_micros())))
            }
            // Through text, since a widened f32 has digits that nobody wrote.
            ColumnReader::FloatColumnReader(r) => self.cells(r, rows, |v| {
                Ok(render_float(v.to_string().parse().unwrap_or(f64::from(*v))))
            }),
            ColumnReader::DoubleColumnReader(r) => self.cells(r, rows, |v| Ok(render_float(*v))),
            ColumnReader::ByteArrayColumnReader(r) => self.cells(r, rows, text),
            ColumnReader::FixedLenByteArrayColumnReader(r) => {
                self.cells(r, rows, |v| form.wide_decimal(v.data()))
            }
        }
    }

    /// The next `rows` cells of a reader whose value type is known.
    fn cells<T: DataType>(
        &self,
        reader: &mut ColumnReaderImpl<T>,
        rows: usize,
        render: impl Fn(&T::T) -> Result<String, ParquetError>,
    ) -> Result<Vec<Option<String>>, ParquetError> {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let mut read = 0;
        while read < rows {
            let definition = self.nullable.then_some(&mut levels);
            let (records, ..) = reader.read_records(rows - read, definition, None, &mut values)?;
            if records == 0 {
                return Err(ParquetError::EOF(format!("column `{}` is too short", self.name)));
            }
            read += records;
        }
        if !self.nullable {
            return values.iter().map(|value| render(value).map(Some)).collect();
        }
        let mut values = values.iter();
        let cell = |level: &i16| match level {
            0 => Ok(None),
            _ => values.next().map(&render).transpose(),
        };
        levels.iter().map(cell).collect()
    }
}

impl Form {
    fn integer(self, value: i64) -> String {
        match self {
            Self::Unsigned => (value as u64).to_string(),
            Self::Decimal(scale) => decimal(i128::from(value), scale),
            Self::Date => time::date(value),
            Self::Timestamp(1000) => time::date_time(value.saturating_mul(1000)),
            Self::Timestamp(units) => time::date_time(value.div_euclid(units / 1_000_000)),
            _ => value.to_string(),
        }
    }

    /// A decimal of up to sixteen bytes, big-endian two's complement.
    fn wide_decimal(self, bytes: &[u8]) -> Result<String, ParquetError> {
        let (Self::Decimal(scale), 1..=16) = (self, bytes.len()) else {
            return Err(ParquetError::NYI(format!("decimal of {} bytes", bytes.len())));
        };
        let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
        Ok(decimal(bytes.iter().fold(sign, |n: i128, b| n << 8 | i128::from(*b)), scale))
    }
}

fn decimal(unscaled: i128, scale: u32) -> String {
    if scale == 0 {
        return unscaled.to_string();
    }
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    format!("{sign}{whole}.{fraction}")
}

fn text(value: &ByteArray) -> Result<String, ParquetError> {
    let text = std::str::from_utf8(value.data());
    text.map(str::to_owned).map_err(|error| ParquetError::General(error.to_string()))
}
