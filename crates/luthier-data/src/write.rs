//! Splits and folds as files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::delimited::write_record;
use crate::json_lines::JsonLines;
use crate::{DataError, Format, Source};

/// Streams row *n* of `source` to `outputs[assignment[n]]`, all columns, in the order of the file;
/// how many rows each output got. Outputs have the format of the source, except that Parquet
/// becomes CSV. JSON lines are copied as they stand; fields of delimited files are quoted where
/// they need it, whatever the source did.
///
/// Every output is written beside its final place and moved there when all are complete, so an
/// output may replace the source, and an error leaves nothing behind.
pub fn write_split(
    source: &Source,
    assignment: &[u8],
    outputs: &[PathBuf],
) -> Result<Vec<u64>, DataError> {
    let format = match source.format() {
        Format::Parquet => Format::Csv,
        other => other,
    };
    for path in outputs {
        if Format::of(path).ok() != Some(format) {
            let expected = format.extension();
            return Err(DataError::OutputFormat { path: path.clone(), expected });
        }
    }
    let mut outputs =
        outputs.iter().map(|path| Output::create(path)).collect::<Result<Vec<_>, _>>()?;
    if format == Format::JsonLines {
        copy_lines(source, assignment, &mut outputs)?;
    } else {
        copy_records(source, format, assignment, &mut outputs)?;
    }
    for output in &mut outputs {
        output.flush()?;
    }
    outputs.into_iter().map(Output::publish).collect()
}

fn copy_lines(source: &Source, assignment: &[u8], outputs: &mut [Output]) -> Result<(), DataError> {
    let mut reader = JsonLines::open(source.path())?;
    let mut router = Router::new(source, assignment);
    while let Some(line) = reader.line()? {
        let output = router.next(outputs)?;
        output.write(|file| {
            file.write_all(line.as_bytes())?;
            file.write_all(b"\n")
        })?;
    }
    router.finish(outputs.len())
}

fn copy_records(
    source: &Source,
    format: Format,
    assignment: &[u8],
    outputs: &mut [Output],
) -> Result<(), DataError> {
    let delimiter = if format == Format::Tsv { b'\t' } else { b',' };
    let header = source.columns().iter().map(String::as_str).collect::<Vec<_>>();
    for output in &mut *outputs {
        output.write(|file| write_record(file, delimiter, header.iter().copied()))?;
    }
    let mut router = Router::new(source, assignment);
    for row in source.rows(source.columns())? {
        let row = row?;
        let cells = row.cells.iter().map(|cell| cell.as_deref().unwrap_or_default());
        router.next(outputs)?.write(|file| write_record(file, delimiter, cells))?;
    }
    router.finish(outputs.len())
}

/// Follows the assignment and counts.
struct Router<'a> {
    source: &'a Path,
    assignment: &'a [u8],
    row: usize,
}

impl<'a> Router<'a> {
    fn new(source: &'a Source, assignment: &'a [u8]) -> Self {
        Self { source: source.path(), assignment, row: 0 }
    }

    /// The output of the next row.
    fn next<'o>(&mut self, outputs: &'o mut [Output]) -> Result<&'o mut Output, DataError> {
        let count = outputs.len();
        let part = self.assignment.get(self.row).copied().map(usize::from);
        self.row += 1;
        let output = part.and_then(|part| outputs.get_mut(part));
        let output = output.ok_or_else(|| self.misfit(self.row, count))?;
        output.rows += 1;
        Ok(output)
    }

    fn finish(&self, outputs: usize) -> Result<(), DataError> {
        match self.row == self.assignment.len() {
            true => Ok(()),
            false => Err(self.misfit(self.row + 1, outputs)),
        }
    }

    fn misfit(&self, row: usize, outputs: usize) -> DataError {
        DataError::BadAssignment {
            path: self.source.to_owned(),
            row: row as u64,
            rows: self.assignment.len() as u64,
            outputs,
        }
    }
}

/// A file that takes its place only when it is complete.
struct Output {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    rows: u64,
}

impl Output {
    fn create(path: &Path) -> Result<Self, DataError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let file = File::create_new(&partial).map_err(DataError::io(&partial))?;
        Ok(Self { path: path.to_owned(), partial, file: BufWriter::new(file), rows: 0 })
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
    ) -> Result<(), DataError> {
        write(&mut self.file).map_err(DataError::io(&self.path))
    }

    fn flush(&mut self) -> Result<(), DataError> {
        self.file.flush().map_err(DataError::io(&self.path))
    }

    fn publish(self) -> Result<u64, DataError> {
        std::fs::rename(&self.partial, &self.path).map_err(DataError::io(&self.path))?;
        Ok(self.rows)
    }
}

impl Drop for Output {
    /// Removes what was not published; after publishing there is nothing to remove.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.partial);
    }
}

#[cfg(test)]
mod tests;
