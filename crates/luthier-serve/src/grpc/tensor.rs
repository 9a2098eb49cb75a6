//! Tensors as rows, and what is given for them as tensors.
//!
//! Messages are those of TensorFlow Serving (`predict_util.cc`, `tfrt_predict_util.cc`) where it
//! has one; what values a tensor has is TensorFlow's rule (`Tensor::FromProto` in `tensor.cc`).

use std::collections::BTreeMap;

use hyper::body::Bytes;
use luthier_model::{CellError, Table};
use prost::{Message, decode_length_delimiter};

use super::columns;
use super::wire::{DT_FLOAT, DT_STRING, Dim, TensorProto, TensorShapeProto};
use crate::models::ServedModel;
use crate::rows::{Rows, Takes, TooManyCells};
use crate::texts::Texts;

/// TensorFlow's names of its types by number (`types.cc`).
const TYPES: [&str; 24] = [
    "INVALID",
    "float",
    "double",
    "int32",
    "uint8",
    "int16",
    "int8",
    "string",
    "complex64",
    "int64",
    "bool",
    "qint8",
    "quint8",
    "qint32",
    "bfloat16",
    "qint16",
    "quint16",
    "uint16",
    "complex128",
    "half",
    "resource",
    "variant",
    "uint32",
    "uint64",
];

/// What is wrong with the inputs or the output filter of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TensorError {
    #[error(
        "input size does not match signature: {}!={} len({{{}}}) != len({{{}}}). \
         Sent extra: {{{}}}. Missing but required: {{{}}}.",
        found.len(),
        expected.len(),
        found.join(","),
        expected.join(","),
        without(found, expected),
        without(expected, found),
    )]
    Count { found: Vec<String>, expected: Vec<String> },
    #[error(
        "input tensor alias not found in signature: {found}. \
         Inputs expected to be in the set {{{}}}.",
        expected.join(","),
    )]
    Input { found: String, expected: Vec<String> },
    #[error("tensor parsing error: {input}")]
    Parse { input: String },
    #[error("Expected input {input} to be {expected} but get {found}.")]
    Type { input: String, expected: &'static str, found: &'static str },
    #[error("Expected input {input} to have the shape [-1] but get {found:?}.")]
    Shape { input: String, found: Vec<i64> },
    #[error("{input} has {found} rows, and other inputs have {expected}")]
    Lengths { input: String, found: usize, expected: usize },
    #[error("tensor parsing error: {input}: {found} values for {rows} rows")]
    Values { input: String, found: usize, rows: usize },
    #[error("{input}[{row}]: the bytes are not UTF-8")]
    Utf8 { input: String, row: usize },
    #[error("{input}: a value repeated for all rows takes more than {limit} bytes")]
    Repeated { input: String, limit: usize },
    #[error(
        "output tensor alias not found in signature: {found} \
         Outputs expected to be in the set {{{output}}}."
    )]
    Output { found: String, output: String },
    #[error("duplicate output tensor alias: {output}")]
    OutputTwice { output: String },
    #[error("row {row}: {error}")]
    Cell { row: usize, error: CellError },
    #[error(transparent)]
    TooManyCells(#[from] TooManyCells),
}

fn without(names: &[String], others: &[String]) -> String {
    let left: Vec<&str> =
        names.iter().filter(|name| !others.contains(name)).map(String::as_str).collect();
    left.join(",")
}

/// The inputs of a request, each a tensor with a value for each row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Inputs {
    rows: usize,
    /// By name; for a model of texts there is one.
    tensors: Vec<(String, TensorProto)>,
}

/// The inputs for a model that takes rows of `takes`: its one text, or the columns of a table that
/// are not missing in all rows.
pub(super) fn inputs(
    inputs: BTreeMap<String, TensorProto>,
    takes: Takes<'_>,
) -> Result<Inputs, TensorError> {
    match takes {
        Takes::Texts(input) => text_input(inputs, input),
        Takes::Table(table) => table_inputs(inputs, table),
    }
}

fn text_input(
    mut inputs: BTreeMap<String, TensorProto>,
    input: &str,
) -> Result<Inputs, TensorError> {
    let expected = || vec![input.to_owned()];
    let (name, tensor) = match inputs.pop_first() {
        Some(first) if inputs.is_empty() => first,
        first => {
            let names = first.map(|(name, _)| name).into_iter();
            let found = names.chain(inputs.into_keys()).collect();
            return Err(TensorError::Count { found, expected: expected() });
        }
    };
    if name != input {
        return Err(TensorError::Input { found: name, expected: expected() });
    }
    let sizes = checked(&name, &tensor, "string", |dtype| dtype == DT_STRING)?;
    match sizes[..] {
        [rows] => Ok(Inputs { rows, tensors: vec![(name, tensor)] }),
        _ => Err(shape(name, &tensor)),
    }
}

fn table_inputs(
    inputs: BTreeMap<String, TensorProto>,
    table: &Table,
) -> Result<Inputs, TensorError> {
    let expected = || table.columns().iter().map(|column| column.name.clone()).collect();
    let found: Vec<String> = inputs.keys().cloned().collect();
    let (mut tensors, mut rows) = (Vec::with_capacity(inputs.len()), None);
    for (name, tensor) in inputs {
        match table.position(&name) {
            Ok(Some(_)) => {}
            Ok(None) => continue,
            Err(_) => return Err(TensorError::Input { found: name, expected: expected() }),
        }
        let sizes = checked(&name, &tensor, "a number or string", columns::is_read)?;
        let ([found] | [found, 1]) = sizes[..] else { return Err(shape(name, &tensor)) };
        let expected = *rows.get_or_insert(found);
        if found != expected {
            return Err(TensorError::Lengths { input: name, found, expected });
        }
        tensors.push((name, tensor));
    }
    match rows {
        Some(rows) => Ok(Inputs { rows, tensors }),
        None => Err(TensorError::Count { found, expected: expected() }),
    }
}

/// The sizes of a tensor, if it says them and has a type that `is_read`.
fn checked(
    name: &str,
    tensor: &TensorProto,
    expected: &'static str,
    is_read: impl Fn(i32) -> bool,
) -> Result<Vec<usize>, TensorError> {
    let broken = || TensorError::Parse { input: name.to_owned() };
    let kind = usize::try_from(tensor.dtype).ok().and_then(|number| TYPES.get(number));
    match kind {
        Some(_) if is_read(tensor.dtype) => {}
        Some(found) if tensor.dtype != 0 => {
            return Err(TensorError::Type { input: name.to_owned(), expected, found });
        }
        _ => return Err(broken()),
    }
    let Some(shape) = &tensor.tensor_shape else { return Ok(Vec::new()) };
    let sizes = shape.dim.iter().map(|dim| usize::try_from(dim.size));
    match sizes.collect() {
        Ok(sizes) if !shape.unknown_rank => Ok(sizes),
        _ => Err(broken()),
    }
}

fn shape(input: String, tensor: &TensorProto) -> TensorError {
    let dims = tensor.tensor_shape.iter().flat_map(|shape| &shape.dim);
    TensorError::Shape { input, found: dims.map(|dim| dim.size).collect() }
}

impl Inputs {
    /// Number of rows that they say to have.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// Size of the values that they have.
    pub(super) fn bytes(&self) -> usize {
        self.tensors.iter().map(|(_, tensor)| tensor.encoded_len()).sum()
    }

    /// The rows. Where values of a tensor are missing, the last stands for the rest, and where all
    /// are, the empty text or 0 does; all repeated texts take at most `limit` bytes, and of a table
    /// there are at most `limit` cells.
    pub(super) fn rows(self, takes: Takes<'_>, limit: usize) -> Result<Rows, TensorError> {
        let Self { rows, tensors } = self;
        if let Takes::Table(table) = takes {
            return columns::rows(rows, tensors, table, limit);
        }
        let mut texts = Texts::default();
        for (name, tensor) in tensors {
            texts = self::texts(name, rows, tensor, limit)?;
        }
        Ok(Rows::Texts(texts))
    }
}

/// A text for each row.
fn texts(
    name: String,
    rows: usize,
    tensor: TensorProto,
    limit: usize,
) -> Result<Texts, TensorError> {
    let values = strings(&name, rows, tensor)?;
    let mut texts = Texts::with_capacity(rows);
    let mut last = "";
    for (row, value) in values.iter().enumerate() {
        last = text(&name, row, value)?;
        texts.push(last);
    }
    let missing = rows - values.len();
    if last.len().saturating_mul(missing) > limit {
        return Err(TensorError::Repeated { input: name, limit });
    }
    (0..missing).for_each(|_| texts.push(last));
    Ok(texts)
}

/// A value as text.
pub(super) fn text<'v>(input: &str, row: usize, value: &'v [u8]) -> Result<&'v str, TensorError> {
    std::str::from_utf8(value).map_err(|_| TensorError::Utf8 { input: input.to_owned(), row })
}

/// The values of a tensor of strings, at most one for each row.
pub(super) fn strings(
    name: &str,
    rows: usize,
    tensor: TensorProto,
) -> Result<Vec<Bytes>, TensorError> {
    let values = match tensor.tensor_content.is_empty() {
        true => tensor.string_val,
        false => unpacked(tensor.tensor_content, rows)
            .ok_or_else(|| TensorError::Parse { input: name.to_owned() })?,
    };
    check_values(name, rows, values.len())?;
    Ok(values)
}

/// Checks that there are not more values than rows.
pub(super) fn check_values(name: &str, rows: usize, found: usize) -> Result<(), TensorError> {
    match found > rows {
        true => Err(TensorError::Values { input: name.to_owned(), found, rows }),
        false => Ok(()),
    }
}

/// Strings as `tensor_content` has them: the length of each as a varint, then their bytes; `None`
/// where these are no `rows` strings.
fn unpacked(mut content: Bytes, rows: usize) -> Option<Vec<Bytes>> {
    // Each length takes at least a byte.
    if rows > content.len() {
        return None;
    }
    let lengths: Result<Vec<usize>, _> =
        (0..rows).map(|_| decode_length_delimiter(&mut content)).collect();
    let take = |length| (length <= content.len()).then(|| content.split_to(length));
    let strings: Option<Vec<Bytes>> = lengths.ok()?.into_iter().map(take).collect();
    strings.filter(|_| content.is_empty())
}

/// Checks that the outputs asked for, all where `filter` is empty, are the one called `output`.
pub(super) fn check_outputs(filter: &[String], output: &str) -> Result<(), TensorError> {
    let output = output.to_owned();
    match filter {
        [] => Ok(()),
        [name, ..] if *name != output => Err(TensorError::Output { found: name.clone(), output }),
        [_] => Ok(()),
        [_, name, ..] if *name == output => Err(TensorError::OutputTwice { output }),
        [_, name, ..] => Err(TensorError::Output { found: name.clone(), output }),
    }
}

/// The one output: float32, of shape `[rows]` with the scores of the positive class or the numbers
/// that are answered, or `[rows, classes]` where no class is positive.
pub(super) fn outputs(
    model: &ServedModel,
    probabilities: Vec<f32>,
) -> BTreeMap<String, TensorProto> {
    let classes = model.decision.outputs();
    let rows = probabilities.len() / classes.max(1);
    let (shape, scores) = match model.decision.given_output() {
        Some(given) => {
            let scores = probabilities.into_iter().skip(given).step_by(classes.max(1));
            (vec![rows], scores.collect())
        }
        None => (vec![rows, classes], probabilities),
    };
    let dim = shape.into_iter().map(|size| Dim { size: i64::try_from(size).unwrap_or(i64::MAX) });
    let tensor = TensorProto {
        dtype: DT_FLOAT,
        tensor_shape: Some(TensorShapeProto { dim: dim.collect(), unknown_rank: false }),
        float_val: scores,
        ..TensorProto::default()
    };
    BTreeMap::from([(model.output().to_owned(), tensor)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(sizes: &[i64], values: &[&'static [u8]]) -> TensorProto {
        TensorProto {
            dtype: DT_STRING,
            tensor_shape: Some(TensorShapeProto {
                dim: sizes.iter().map(|size| Dim { size: *size }).collect(),
                unknown_rank: false,
            }),
            string_val: values.iter().map(|value| Bytes::from_static(value)).collect(),
            ..TensorProto::default()
        }
    }

    fn read(inputs: Vec<(&str, TensorProto)>) -> Result<Vec<String>, String> {
        let inputs = inputs.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        let takes = Takes::Texts("text");
        let rows = super::inputs(inputs, takes).and_then(|inputs| inputs.rows(takes, 100));
        let texts = rows.map_err(|error| error.to_string())?.take_texts();
        Ok(texts.iter().map(str::to_owned).collect())
    }

    #[test]
    fn values() {
        let check = |tensor: TensorProto, expected: &[&str]| {
            assert_eq!(read(vec![("text", tensor)]).unwrap(), expected);
        };
        check(tensor(&[2], &[b"a", "é".as_bytes()]), &["a", "é"]);
        check(tensor(&[0], &[]), &[]);
        check(tensor(&[3], &[b"a", b"b"]), &["a", "b", "b"]);
        check(tensor(&[2], &[]), &["", ""]);
        let content = |content: &'static [u8]| TensorProto {
            tensor_content: Bytes::from_static(content),
            ..tensor(&[3], &[])
        };
        check(content(b"\x01\x00\x02abc"), &["a", "", "bc"]);
        for broken in ["\x01", "\x01\x00\x02ab", "\x01\x00\x02abcd", "\u{7f}\x00\x02abc"] {
            let found = read(vec![("text", content(broken.as_bytes()))]);
            assert_eq!(found.unwrap_err(), "tensor parsing error: text", "{broken:?}");
        }
        let huge = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x02abc";
        assert!(read(vec![("text", content(huge))]).is_err());
    }

    #[test]
    fn inputs_that_do_not_fit() {
        let good = || tensor(&[1], &[b"a"]);
        let check = |inputs: Vec<(&str, TensorProto)>, expected: &str| {
            assert_eq!(read(inputs), Err(expected.to_owned()));
        };
        check(
            vec![],
            "input size does not match signature: 0!=1 len({}) != len({text}). \
             Sent extra: {}. Missing but required: {text}.",
        );
        check(
            vec![("text", good()), ("more", good())],
            "input size does not match signature: 2!=1 len({more,text}) != len({text}). \
             Sent extra: {more}. Missing but required: {}.",
        );
        check(
            vec![("txt", good())],
            "input tensor alias not found in signature: txt. \
             Inputs expected to be in the set {text}.",
        );
        let check = |tensor: TensorProto, expected: &str| {
            check(vec![("text", tensor)], expected);
        };
        let of_type = |dtype: i32| TensorProto { dtype, ..good() };
        check(of_type(1), "Expected input text to be string but get float.");
        check(of_type(23), "Expected input text to be string but get uint64.");
        for dtype in [0, -1, 24, 107, i32::MAX] {
            check(of_type(dtype), "tensor parsing error: text");
        }
        let no_shape = TensorProto { tensor_shape: None, ..good() };
        check(no_shape, "Expected input text to have the shape [-1] but get [].");
        let table = tensor(&[1, 2], &[b"a", b"b"]);
        check(table, "Expected input text to have the shape [-1] but get [1, 2].");
        check(tensor(&[-1], &[b"a"]), "tensor parsing error: text");
        let mut unknown = good();
        unknown.tensor_shape.as_mut().unwrap().unknown_rank = true;
        check(unknown, "tensor parsing error: text");
        let more = tensor(&[1], &[b"a", b"b"]);
        check(more, "tensor parsing error: text: 2 values for 1 rows");
        check(tensor(&[2], &[b"a", b"\xff"]), "text[1]: the bytes are not UTF-8");
        let repeated = "text: a value repeated for all rows takes more than 100 bytes";
        check(tensor(&[30], &[b"a", b"abcd"]), repeated);
        assert_eq!(read(vec![("text", tensor(&[26], &[b"abcd"]))]).unwrap().len(), 26);
    }

    #[test]
    fn output_filters() {
        let check = |filter: &[&str], expected: Result<(), &str>| {
            let filter: Vec<String> = filter.iter().map(|name| (*name).to_owned()).collect();
            let found = check_outputs(&filter, "scores").map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        check(&[], Ok(()));
        check(&["scores"], Ok(()));
        check(&["scores", "scores"], Err("duplicate output tensor alias: scores"));
        let unknown = "output tensor alias not found in signature: x \
                       Outputs expected to be in the set {scores}.";
        check(&["x"], Err(unknown));
        check(&["scores", "x"], Err(unknown));
    }
}
