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
    let outputs: Vec<Option<&Path>> = outputs.iter().map(|path| Some(path.as_path())).collect();
    write_some(source, assignment, &outputs)
}

/// [`write_split`] without the rows of outputs that are `None`.
pub(crate) fn write_some(
    source: &Source,
    assignment: &[u8],
    outputs: &[Option<&Path>],
) -> Result<Vec<u64>, DataError> {
    let format = written_as(source.format());
    for path in outputs.iter().flatten() {
        if Format::of(path).ok() != Some(format) {
            let expected = format.extension();
            return Err(DataError::OutputFormat { path: path.to_path_buf(), expected });
        }
    }
    let create = |path: &Option<&Path>| path.map(Output::create).transpose();
    let mut outputs = outputs.iter().map(create).collect::<Result<Vec<_>, _>>()?;
    if format == Format::JsonLines {
        copy_lines(source, assignment, &mut outputs)?;
    } else {
        copy_records(source, format, assignment, &mut outputs)?;
    }
    for output in outputs.iter_mut().flatten() {
        output.flush()?;
    }
    outputs.into_iter().map(|output| output.map_or(Ok(0), Output::publish)).collect()
}

/// The format of what is written of a source.
pub(crate) fn written_as(source: Format) -> Format {
    match source {
        Format::Parquet => Format::Csv,
        other => other,
    }
}

fn copy_lines(
    source: &Source,
    assignment: &[u8],
    outputs: &mut [Option<Output>],
) -> Result<(), DataError> {
    let mut reader = JsonLines::open(source.path())?;
    let mut router = Router::new(source, assignment);
    while let Some(line) = reader.line()? {
        if let Some(output) = router.next(outputs)? {
            output.write(|file| {
                file.write_all(line.as_bytes())?;
                file.write_all(b"\n")
            })?;
        }
    }
    router.finish(outputs.len())
}

fn copy_records(
    source: &Source,
    format: Format,
    assignment: &[u8],
    outputs: &mut [Option<Output>],
) -> Result<(), DataError> {
    let delimiter = if format == Format::Tsv { b'\t' } else { b',' };
    let header = source.columns().iter().map(String::as_str).collect::<Vec<_>>();
    for output in outputs.iter_mut().flatten() {
        output.write(|file| write_record(file, delimiter, header.iter().copied()))?;
    }
    let mut router = Router::new(source, assignment);
    for row in source.rows(source.columns())? {
        let row = row?;
        if let Some(output) = router.next(outputs)? {
            let cells = row.cells.iter().map(|cell| cell.as_deref().unwrap_or_default());
            output.write(|file| write_record(file, delimiter, cells))?;
        }
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

    /// The output of the next row; `None` if the row is left out.
    fn next<'o>(
        &mut self,
        outputs: &'o mut [Option<Output>],
    ) -> Result<Option<&'o mut Output>, DataError> {
        let count = outputs.len();
        let part = self.assignment.get(self.row).copied().map(usize::from);
        self.row += 1;
        let output = part.and_then(|part| outputs.get_mut(part));
        let mut output = output.ok_or_else(|| self.misfit(self.row, count))?.as_mut();
        if let Some(output) = &mut output {
            output.rows += 1;
        }
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
