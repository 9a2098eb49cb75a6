//! Comma- and tab-separated records.
//!
//! The reader is our own because the labels at stake need three things that the `csv` crate, which
//! "will always find *a* parse", does not give: a quote that never closes is an error with its line
//! instead of a field that swallows the rest of the file; memory is bounded before a field has been
//! read, not after; and the line of a record is exact after blank lines and embedded newlines.
//! What it accepts is what Python's `csv` module accepts: LF, CRLF and CR end a record, doubled
//! quotes stand for one, a quote inside an unquoted field is itself, characters after a closing
//! quote are appended, blank lines are skipped.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::DataError;
use crate::source::{MAX_FIELD_BYTES, MAX_RECORD_BYTES, Row};

/// Opens `path` behind its byte order mark, if it has one.
pub(crate) fn open_text(path: &Path) -> Result<BufReader<File>, DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    let mut input = BufReader::with_capacity(1 << 16, file);
    let marked = input.fill_buf().map_err(DataError::io(path))?.starts_with(b"\xEF\xBB\xBF");
    if marked {
        input.seek(SeekFrom::Start(3)).map_err(DataError::io(path))?;
    }
    Ok(input)
}

/// A delimited file, behind its header.
pub(crate) struct Delimited {
    path: PathBuf,
    input: BufReader<File>,
    machine: Machine,
    header: Vec<String>,
}

impl Delimited {
    /// Opens `path` and reads the header.
    pub(crate) fn open(path: &Path, delimiter: u8) -> Result<Self, DataError> {
        let mut reader = Self {
            path: path.to_owned(),
            input: open_text(path)?,
            machine: Machine::new(delimiter),
            header: Vec::new(),
        };
        if !reader.next_record()? {
            return Err(DataError::EmptyFile { path: path.to_owned() });
        }
        let text = reader.text()?;
        let mut header = Vec::with_capacity(reader.machine.ends.len());
        for index in 0..reader.machine.ends.len() {
            header.push(reader.field(text, index)?.to_owned());
        }
        reader.machine.expected = header.len();
        reader.header = header;
        Ok(reader)
    }

    pub(crate) fn into_header(self) -> Vec<String> {
        self.header
    }

    /// The next record with the cells of the columns `wanted`.
    pub(crate) fn row(&mut self, wanted: &[usize]) -> Result<Option<Row>, DataError> {
        if !self.next_record()? {
            return Ok(None);
        }
        let (path, line) = (&self.path, self.machine.record_line);
        if self.machine.found != self.header.len() {
            return Err(DataError::FieldCount {
                path: path.clone(),
                line,
                found: self.machine.found,
                expected: self.header.len(),
            });
        }
        let text = self.text()?;
        let cell = |&index: &usize| {
            self.field(text, index).map(|field| (!field.is_empty()).then(|| field.to_owned()))
        };
        let cells = wanted.iter().map(cell).collect::<Result<_, _>>()?;
        Ok(Some(Row { line, cells }))
    }

    fn next_record(&mut self) -> Result<bool, DataError> {
        self.machine.clear();
        loop {
            let chunk = self.input.fill_buf().map_err(DataError::io(&self.path))?;
            let at_end = chunk.is_empty();
            let step = if at_end { self.machine.finish() } else { self.machine.feed(chunk) };
            match step {
                Ok(Step::More(used)) => self.input.consume(used),
                Ok(Step::Record(used)) => {
                    self.input.consume(used);
                    return Ok(true);
                }
                Ok(Step::End) => return Ok(false),
                Err(fault) => return Err(self.explain(fault)),
            }
        }
    }

    fn explain(&self, fault: Fault) -> DataError {
        let (path, line) = (self.path.clone(), self.machine.record_line);
        match fault {
            Fault::UnclosedQuote => {
                DataError::UnclosedQuote { path, line: self.machine.quote_line }
            }
            Fault::RecordTooLong => {
                DataError::RecordTooLong { path, line, limit: MAX_RECORD_BYTES }
            }
            Fault::FieldTooLong => {
                let index = self.machine.found;
                let name = self.header.get(index).cloned();
                let column = name.unwrap_or_else(|| (index + 1).to_string());
                DataError::FieldTooLong { path, line, column, limit: MAX_FIELD_BYTES }
            }
        }
    }

    /// All fields of the record, one behind the other.
    fn text(&self) -> Result<&str, DataError> {
        std::str::from_utf8(&self.machine.bytes).map_err(|e| self.invalid(e.valid_up_to()))
    }

    fn field<'a>(&self, text: &'a str, index: usize) -> Result<&'a str, DataError> {
        let start = index.checked_sub(1).map_or(0, |before| self.machine.ends[before]);
        // Halves of a character in two neighbouring fields are valid only when joined.
        text.get(start..self.machine.ends[index]).ok_or_else(|| self.invalid(start))
    }

    fn invalid(&self, offset: usize) -> DataError {
        let before = &self.machine.bytes[..offset];
        let line = self.machine.record_line + before.iter().filter(|b| **b == b'\n').count() as u64;
        DataError::InvalidUtf8 { path: self.path.clone(), line }
    }
}

/// Writes one record, with quotes around what the reader would misread without.
pub(crate) fn write_record<'a>(
    output: &mut impl Write,
    delimiter: u8,
    cells: impl Iterator<Item = &'a str>,
) -> std::io::Result<()> {
    let special = |byte: u8| byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r');
    let (mut count, mut length) = (0, 0);
    for cell in cells {
        if count > 0 {
            output.write_all(&[delimiter])?;
        }
        if cell.bytes().any(special) {
            write!(output, "\"{}\"", cell.replace('"', "\"\""))?;
        } else {
            output.write_all(cell.as_bytes())?;
        }
        count += 1;
        length += cell.len();
    }
    if count == 1 && length == 0 {
        // A lone empty field would be a blank line, which is no record.
        output.write_all(b"\"\"")?;
    }
    output.write_all(b"\n")
}

/// The parser proper: a state machine that is fed chunks of any size.
struct Machine {
    delimiter: u8,
    state: State,
    /// Line of the next byte.
    line: u64,
    /// Whether the last byte was a carriage return, whose line feed may still come.
    after_return: bool,
    /// Contents of the fields, unquoted.
    bytes: Vec<u8>,
    /// Where each field ends in `bytes`; never more than `expected`.
    ends: Vec<usize>,
    /// Number of fields seen, kept or not.
    found: usize,
    /// Number of columns; fields past it are counted but not kept.
    expected: usize,
    /// First line of the record.
    record_line: u64,
    /// Line of the last opening quote.
    quote_line: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing of the record has been read.
    RecordStart,
    /// Behind a delimiter.
    FieldStart,
    Unquoted,
    Quoted,
    /// Behind a quote inside quotes: the end of the field or the first half of a doubled quote.
    QuoteInQuoted,
}

enum Step {
    /// So many bytes were used; the record goes on.
    More(usize),
    /// So many bytes were used; the record is complete.
    Record(usize),
    /// The file ended between records.
    End,
}

#[derive(Clone, Copy)]
enum Fault {
    UnclosedQuote,
    FieldTooLong,
    RecordTooLong,
}

impl Machine {
    fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            state: State::RecordStart,
            line: 1,
            after_return: false,
            bytes: Vec::new(),
            ends: Vec::new(),
            found: 0,
            expected: usize::MAX,
            record_line: 1,
            quote_line: 1,
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.found = 0;
        self.state = State::RecordStart;
    }

    /// Reads from a chunk that is not empty.
    fn feed(&mut self, chunk: &[u8]) -> Result<Step, Fault> {
        let mut at = 0;
        while let Some(&byte) = chunk.get(at) {
            let second_half = std::mem::take(&mut self.after_return) && byte == b'\n';
            match self.state {
                State::RecordStart if second_half => at += 1,
                State::RecordStart if matches!(byte, b'\n' | b'\r') => {
                    self.count_line(byte);
                    at += 1;
                }
                State::RecordStart => {
                    self.record_line = self.line;
                    self.state = State::FieldStart;
                }
                State::FieldStart if byte == b'"' => {
                    self.quote_line = self.line;
                    self.state = State::Quoted;
                    at += 1;
                }
                State::FieldStart => self.state = State::Unquoted,
                State::Unquoted => {
                    at += self.push_until(&chunk[at..], self.delimiter)?;
                    let Some(&stop) = chunk.get(at) else { break };
                    at += 1;
                    self.end_field()?;
                    self.state = State::FieldStart;
                    if stop != self.delimiter {
                        self.count_line(stop);
                        return Ok(Step::Record(at));
                    }
                }
                State::Quoted if byte == b'"' => {
                    self.state = State::QuoteInQuoted;
                    at += 1;
                }
                State::Quoted if matches!(byte, b'\n' | b'\r') => {
                    self.push(&[byte])?;
                    if !second_half {
                        self.count_line(byte);
                    }
                    at += 1;
                }
                State::Quoted => at += self.push_until(&chunk[at..], b'"')?,
                State::QuoteInQuoted if byte == b'"' => {
                    self.push(b"\"")?;
                    self.state = State::Quoted;
                    at += 1;
                }
                State::QuoteInQuoted => self.state = State::Unquoted,
            }
        }
        Ok(Step::More(at))
    }

    /// Takes the end of the file for the end of the record.
    fn finish(&mut self) -> Result<Step, Fault> {
        match self.state {
            State::RecordStart => return Ok(Step::End),
            State::Quoted => return Err(Fault::UnclosedQuote),
            State::FieldStart | State::Unquoted | State::QuoteInQuoted => self.end_field()?,
        }
        Ok(Step::Record(0))
    }

    /// Adds the bytes before the first line end or `stop` to the field; how many they were.
    fn push_until(&mut self, chunk: &[u8], stop: u8) -> Result<usize, Fault> {
        let ends = |byte: &u8| *byte == stop || *byte == b'\n' || *byte == b'\r';
        let length = chunk.iter().position(ends).unwrap_or(chunk.len());
        self.push(&chunk[..length])?;
        Ok(length)
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let start = self.ends.last().copied().unwrap_or(0);
        if self.bytes.len() - start + bytes.len() > MAX_FIELD_BYTES {
            return Err(Fault::FieldTooLong);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn end_field(&mut self) -> Result<(), Fault> {
        self.found += 1;
        if self.found > self.expected {
            self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
            return Ok(());
        }
        self.ends.push(self.bytes.len());
        // Empty fields count too: each costs an entry in `ends`.
        if self.bytes.len() + self.ends.len() > MAX_RECORD_BYTES {
            return Err(Fault::RecordTooLong);
        }
        Ok(())
    }

    fn count_line(&mut self, byte: u8) {
        self.line += 1;
        self.after_return = byte == b'\r';
    }
}
