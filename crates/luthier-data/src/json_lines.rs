//! One JSON object a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Number, Value};

use crate::DataError;
use crate::delimited::open_text;
use crate::source::{MAX_FIELD_BYTES, MAX_RECORD_BYTES, Row};

/// Objects whose keys are taken for the columns.
const HEADER_OBJECTS: usize = 1000;

pub(crate) struct JsonLines {
    path: PathBuf,
    input: BufReader<File>,
    /// Number of lines read.
    line: u64,
    bytes: Vec<u8>,
}

impl JsonLines {
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        Ok(Self { path: path.to_owned(), input: open_text(path)?, line: 0, bytes: Vec::new() })
    }

    /// The keys of the first objects, in the order of appearance.
    pub(crate) fn keys(mut self) -> Result<Vec<String>, DataError> {
        let mut seen = std::collections::HashSet::new();
        let mut keys = Vec::new();
        let mut objects = 0;
        while objects < HEADER_OBJECTS
            && let Some(object) = self.object()?
        {
            objects += 1;
            keys.extend(object.into_iter().map(|(key, _)| key).filter(|k| seen.insert(k.clone())));
        }
        match objects {
            0 => Err(DataError::EmptyFile { path: self.path }),
            _ => Ok(keys),
        }
    }

    /// The next object's cells under the keys `wanted`.
    pub(crate) fn row(&mut self, wanted: &[String]) -> Result<Option<Row>, DataError> {
        let Some(object) = self.object()? else {
            return Ok(None);
        };
        let mut cells = Vec::with_capacity(wanted.len());
        for key in wanted {
            let cell = object.get(key).and_then(render);
            if cell.as_ref().is_some_and(|cell| cell.len() > MAX_FIELD_BYTES) {
                return Err(DataError::FieldTooLong {
                    path: self.path.clone(),
                    line: self.line,
                    column: key.clone(),
                    limit: MAX_FIELD_BYTES,
                });
            }
            cells.push(cell);
        }
        Ok(Some(Row { line: self.line, cells }))
    }

    /// The next line that is not blank, without its line end.
    pub(crate) fn line(&mut self) -> Result<Option<&str>, DataError> {
        loop {
            self.bytes.clear();
            let mut bounded = self.input.by_ref().take(MAX_RECORD_BYTES as u64 + 1);
            let length = bounded.read_until(b'\n', &mut self.bytes);
            if length.map_err(DataError::io(&self.path))? == 0 {
                return Ok(None);
            }
            self.line += 1;
            if self.bytes.len() > MAX_RECORD_BYTES {
                return Err(DataError::RecordTooLong {
                    path: self.path.clone(),
                    line: self.line,
                    limit: MAX_RECORD_BYTES,
                });
            }
            if !self.bytes.trim_ascii().is_empty() {
                break;
            }
        }
        let text = std::str::from_utf8(&self.bytes)
            .map_err(|_| DataError::InvalidUtf8 { path: self.path.clone(), line: self.line })?;
        Ok(Some(text.trim_end_matches(['\n', '\r'])))
    }

    fn object(&mut self) -> Result<Option<Map<String, Value>>, DataError> {
        let Some(text) = self.line()? else {
            return Ok(None);
        };
        serde_json::from_str(text).map(Some).map_err(|error| {
            // The parser sees one line only, so what it says of the line would mislead.
            let message = error.to_string();
            let end = message.rfind(" at line ").unwrap_or(message.len());
            DataError::MalformedJson {
                path: self.path.clone(),
                line: self.line,
                column: error.column().max(1),
                message: message[..end].to_owned(),
            }
        })
    }
}

/// The text of a value; lists and objects stay JSON.
fn render(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(render_number(number)),
        other => Some(other.to_string()),
    }
}

fn render_number(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => render_float(float),
        _ => number.to_string(),
    }
}

/// The shortest decimal that reads back as `float`; a whole number has no decimal point, since
/// tools that meet a missing cell write a column of integers as floats.
pub(crate) fn render_float(float: f64) -> String {
    // Every whole number below 2⁵³ is exact.
    if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 {
        return (float as i64).to_string();
    }
    format!("{float:?}")
}
