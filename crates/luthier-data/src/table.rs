//! Tables of results as files.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::Result as ParquetResult;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use crate::Format;
use crate::delimited::write_record;

/// The cells of one column, `None` where there is nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Cells {
    /// Integers.
    Int(Vec<Option<i64>>),
    /// Real numbers; in JSON Lines there is nothing where one is not finite.
    Float(Vec<Option<f64>>),
    /// Texts.
    Text(Vec<Option<String>>),
}

/// Writes columns of one length under their names. Empty cells are empty fields in CSV and TSV, nulls
/// in Parquet, and left out in JSON Lines; real numbers are as short as brings them back.
pub fn write_table(
    columns: &[(String, Cells)],
    format: Format,
    output: &mut (impl Write + Send),
) -> io::Result<()> {
    match format {
        Format::Csv => write_delimited(columns, b',', output),
        Format::Tsv => write_delimited(columns, b'\t', output),
        Format::JsonLines => write_lines(columns, output),
        Format::Parquet => write_parquet(columns, output).map_err(io::Error::other),
    }
}

impl Cells {
    fn len(&self) -> usize {
        match self {
            Self::Int(cells) => cells.len(),
            Self::Float(cells) => cells.len(),
            Self::Text(cells) => cells.len(),
        }
    }

    fn text(&self, row: usize) -> String {
        let text = match self {
            Self::Int(cells) => cells[row].map(|number| number.to_string()),
            Self::Float(cells) => cells[row].map(|number| format!("{number:?}")),
            Self::Text(cells) => cells[row].clone(),
        };
        text.unwrap_or_default()
    }

    fn json(&self, row: usize) -> Option<Value> {
        match self {
            Self::Int(cells) => cells[row].map(Value::from),
            Self::Float(cells) => cells[row].filter(|number| number.is_finite()).map(Value::from),
            Self::Text(cells) => cells[row].clone().map(Value::from),
        }
    }
}

fn rows(columns: &[(String, Cells)]) -> usize {
    columns.iter().map(|(_, cells)| cells.len()).min().unwrap_or(0)
}

fn write_delimited(
    columns: &[(String, Cells)],
    delimiter: u8,
    output: &mut impl Write,
) -> io::Result<()> {
    write_record(output, delimiter, columns.iter().map(|(name, _)| name.as_str()))?;
    for row in 0..rows(columns) {
        let cells: Vec<String> = columns.iter().map(|(_, cells)| cells.text(row)).collect();
        write_record(output, delimiter, cells.iter().map(String::as_str))?;
    }
    Ok(())
}

fn write_lines(columns: &[(String, Cells)], output: &mut impl Write) -> io::Result<()> {
    for row in 0..rows(columns) {
        let cells =
            columns.iter().filter_map(|(name, cells)| Some((name.clone(), cells.json(row)?)));
        writeln!(output, "{}", Value::Object(cells.collect::<Map<_, _>>()))?;
    }
    Ok(())
}

fn write_parquet(
    columns: &[(String, Cells)],
    output: &mut (impl Write + Send),
) -> ParquetResult<()> {
    let field = |(name, cells): &(String, Cells)| {
        let (physical, logical) = match cells {
            Cells::Int(_) => (Physical::INT64, None),
            Cells::Float(_) => (Physical::DOUBLE, None),
            Cells::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let field = Type::primitive_type_builder(name, physical).with_logical_type(logical);
        field.with_repetition(Repetition::OPTIONAL).build().map(Arc::new)
    };
    let fields = columns.iter().map(field).collect::<ParquetResult<Vec<_>>>()?;
    let schema = Arc::new(Type::group_type_builder("table").with_fields(fields).build()?);
    let properties = Arc::new(WriterProperties::default());
    let mut writer = SerializedFileWriter::new(output, schema, properties)?;
    let mut group = writer.next_row_group()?;
    let mut columns = columns.iter();
    while let Some(mut column) = group.next_column()? {
        if let Some((_, cells)) = columns.next() {
            write_cells(&mut column, cells)?;
        }
        column.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(())
}

fn write_cells(column: &mut SerializedColumnWriter<'_>, cells: &Cells) -> ParquetResult<()> {
    /// Which cells there are.
    fn levels<T>(cells: &[Option<T>]) -> Vec<i16> {
        cells.iter().map(|cell| i16::from(cell.is_some())).collect()
    }
    match cells {
        Cells::Int(cells) => {
            let values: Vec<i64> = cells.iter().flatten().copied().collect();
            column.typed::<Int64Type>().write_batch(&values, Some(&levels(cells)), None)?;
        }
        Cells::Float(cells) => {
            let values: Vec<f64> = cells.iter().flatten().copied().collect();
            column.typed::<DoubleType>().write_batch(&values, Some(&levels(cells)), None)?;
        }
        Cells::Text(cells) => {
            let values = cells.iter().flatten().map(|text| ByteArray::from(text.as_str()));
            let values: Vec<ByteArray> = values.collect();
            column.typed::<ByteArrayType>().write_batch(&values, Some(&levels(cells)), None)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use luthier_test::Scratch;

    use super::*;
    use crate::Source;

    fn columns() -> Vec<(String, Cells)> {
        vec![
            ("number".to_owned(), Cells::Int(vec![Some(0), Some(-1), None])),
            ("score".to_owned(), Cells::Float(vec![Some(0.1), None, Some(1e-9)])),
            (
                "note".to_owned(),
                Cells::Text(vec![Some("a, \"b\"".to_owned()), None, Some("ü".to_owned())]),
            ),
        ]
    }

    #[test]
    fn tables_are_read_back_as_they_were() {
        let scratch = Scratch::new();
        for format in [Format::Csv, Format::Tsv, Format::JsonLines, Format::Parquet] {
            let path = scratch.path().join(format!("table.{}", format.extension()));
            let mut file = std::fs::File::create(&path).unwrap();
            write_table(&columns(), format, &mut file).unwrap();
            let source = Source::open(&path).unwrap();
            let mut names = source.columns().to_vec();
            names.sort();
            assert_eq!(names, ["note", "number", "score"], "{format:?}");
            let wanted = ["number", "score", "note"].map(str::to_owned);
            let rows = source.rows(&wanted).unwrap().map(|row| row.unwrap().cells);
            let rows: Vec<Vec<String>> = rows
                .map(|cells| {
                    cells.iter().map(|c| c.as_deref().unwrap_or_default().to_owned()).collect()
                })
                .collect();
            let number = rows[2][1].parse::<f64>().unwrap();
            assert_eq!((rows.len(), number), (3, 1e-9), "{format:?}");
            assert_eq!(rows[0], ["0", "0.1", "a, \"b\""], "{format:?}");
            assert_eq!(rows[1], ["-1", "", ""], "{format:?}");
            assert_eq!((rows[2][0].as_str(), rows[2][2].as_str()), ("", "ü"), "{format:?}");
        }
    }
}
