//! Examples as rows, and what is given for them as classes or numbers.

use luthier_model::{Cell, CellError, Decision, Table};

use super::wire::{
    Class, ClassificationResult, Classifications, Example, ExampleList, Feature, FeatureKind,
    Input, InputKind, Regression, RegressionResult,
};
use crate::rows::{Rows, Takes, TooManyCells, cells};
use crate::texts::Texts;

/// What is wrong with the examples of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExampleError {
    #[error("Input is empty.")]
    Empty,
    #[error("examples[{index}]: {problem}")]
    Row { index: usize, problem: RowProblem },
    #[error("the texts of all examples, with those of the context, take more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error(transparent)]
    TooManyCells(#[from] TooManyCells),
}

/// What is wrong with one example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RowProblem {
    #[error("missing input \"{input}\"")]
    Missing { input: String },
    #[error("expected a string, found {found}")]
    Kind { found: &'static str },
    #[error("expected one value, found {found}")]
    Values { found: usize },
    #[error("the bytes are not UTF-8")]
    Utf8,
    #[error("column `{column}`: {problem}")]
    Column { column: String, problem: Box<RowProblem> },
    #[error(transparent)]
    Cell(#[from] CellError),
}

/// The examples of an input, at least one, with their context.
pub(super) fn examples(input: Option<Input>) -> Result<ExampleList, ExampleError> {
    let list = match input.and_then(|input| input.kind) {
        Some(InputKind::ExampleList(list)) => ExampleList { context: None, ..list },
        Some(InputKind::ExampleListWithContext(list)) => list,
        None => return Err(ExampleError::Empty),
    };
    if list.examples.is_empty() { Err(ExampleError::Empty) } else { Ok(list) }
}

/// The rows that examples are. What an example does not have is that of the context: all texts take
/// at most `limit` bytes, and of a table there are at most `limit` cells.
pub(super) fn rows(
    list: &ExampleList,
    takes: Takes<'_>,
    limit: usize,
) -> Result<Rows, ExampleError> {
    match takes {
        Takes::Texts(input) => texts(list, input, limit).map(Rows::Texts),
        Takes::Table(table) => table_rows(list, table, limit),
    }
}

/// The text of each example: its feature `input`, or that of the context where it has none.
fn texts(list: &ExampleList, input: &str, limit: usize) -> Result<Texts, ExampleError> {
    let mut texts = Texts::with_capacity(list.examples.len());
    let mut left = limit;
    for (index, example) in list.examples.iter().enumerate() {
        let text = match feature(example, input).or_else(|| feature(list.context.as_ref()?, input))
        {
            Some(kind) => text(kind),
            None => Err(RowProblem::Missing { input: input.to_owned() }),
        };
        let text = text.map_err(|problem| ExampleError::Row { index, problem })?;
        left = left.checked_sub(text.len()).ok_or(ExampleError::TooLarge { limit })?;
        texts.push(text);
    }
    Ok(texts)
}

/// The features of each example, and those of the context that it has not.
fn table_rows(list: &ExampleList, table: &Table, limit: usize) -> Result<Rows, ExampleError> {
    let mut numbers = Vec::with_capacity(cells(table, list.examples.len(), limit)?);
    let shared = list.context.as_ref().and_then(|context| context.features.as_ref());
    let mut row = Vec::new();
    for (index, example) in list.examples.iter().enumerate() {
        let own = example.features.as_ref();
        let is_own = |name: &String| own.is_some_and(|own| own.feature.contains_key(name));
        let own_features = own.iter().flat_map(|features| &features.feature);
        let shared_features = shared.iter().flat_map(|features| &features.feature);
        let features = own_features.chain(shared_features.filter(|(name, _)| !is_own(name)));
        row.clear();
        let encode = || {
            for (name, feature) in features {
                row.push((name.as_str(), cell(name, feature)?));
            }
            Ok(table.encode_named(row.iter().copied(), &mut numbers)?)
        };
        encode().map_err(|problem| ExampleError::Row { index, problem })?;
    }
    Ok(Rows::of_table(table, numbers))
}

/// The one value of a feature; missing where it has none.
fn cell<'e>(column: &str, feature: &'e Feature) -> Result<Cell<'e>, RowProblem> {
    let of_column = |problem| {
        let (column, problem) = (column.to_owned(), Box::new(problem));
        RowProblem::Column { column, problem }
    };
    let many = |found| Err(of_column(RowProblem::Values { found }));
    match &feature.kind {
        None => Ok(Cell::Missing),
        Some(FeatureKind::BytesList(list)) => match list.value.as_slice() {
            [] => Ok(Cell::Missing),
            [value] => {
                let text = std::str::from_utf8(value).map_err(|_| of_column(RowProblem::Utf8))?;
                Ok(Cell::Text(text))
            }
            more => many(more.len()),
        },
        Some(FeatureKind::FloatList(list)) => match list.value.as_slice() {
            [] => Ok(Cell::Missing),
            [value] => Ok(Cell::Number(f64::from(*value))),
            more => many(more.len()),
        },
        Some(FeatureKind::Int64List(list)) => match list.value.as_slice() {
            [] => Ok(Cell::Missing),
            [value] => Ok(Cell::Number(*value as f64)),
            more => many(more.len()),
        },
    }
}

fn feature<'e>(example: &'e Example, name: &str) -> Option<&'e FeatureKind> {
    example.features.as_ref()?.feature.get(name)?.kind.as_ref()
}

fn text(kind: &FeatureKind) -> Result<&str, RowProblem> {
    let list = match kind {
        FeatureKind::BytesList(list) => list,
        FeatureKind::FloatList(_) => return Err(RowProblem::Kind { found: "floats" }),
        FeatureKind::Int64List(_) => return Err(RowProblem::Kind { found: "integers" }),
    };
    match list.value.as_slice() {
        [value] => std::str::from_utf8(value).map_err(|_| RowProblem::Utf8),
        more => Err(RowProblem::Values { found: more.len() }),
    }
}

/// Every label with its score, in the model's order, for each row of `probabilities`.
pub(super) fn classes(decision: &Decision, probabilities: &[f32]) -> ClassificationResult {
    let class = |(label, score): (&String, &f32)| Class { label: label.clone(), score: *score };
    let row = |row: &[f32]| Classifications {
        classes: decision.labels().iter().zip(row).map(class).collect(),
    };
    let rows = probabilities.chunks_exact(decision.outputs().max(1)).map(row);
    ClassificationResult { classifications: rows.collect() }
}

/// The number of each row.
pub(super) fn numbers(numbers: &[f32]) -> RegressionResult {
    RegressionResult {
        regressions: numbers.iter().map(|number| Regression { value: *number }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hyper::body::Bytes;

    use super::super::wire::{BytesList, Features, FloatList, Int64List};
    use super::*;

    fn example(kind: Option<FeatureKind>) -> Example {
        let feature = kind.map(|kind| ("text".to_owned(), Feature { kind: Some(kind) }));
        Example { features: Some(Features { feature: BTreeMap::from_iter(feature) }) }
    }

    fn bytes(values: &[&'static [u8]]) -> Example {
        let value = values.iter().map(|value| Bytes::from_static(value)).collect();
        example(Some(FeatureKind::BytesList(BytesList { value })))
    }

    fn read(list: ExampleList) -> Result<Vec<String>, String> {
        let input = Input { kind: Some(InputKind::ExampleListWithContext(list)) };
        let list = examples(Some(input)).map_err(|error| error.to_string())?;
        let texts = texts(&list, "text", 8).map_err(|error| error.to_string())?;
        Ok(texts.iter().map(str::to_owned).collect())
    }

    #[test]
    fn texts_of_examples() {
        let check = |examples: Vec<Example>, expected: Result<&[&str], &str>| {
            let context = Some(bytes(&[b"ctx"]));
            let found = read(ExampleList { examples, context });
            let expected = expected.map(|texts| texts.iter().map(|t| (*t).to_owned()).collect());
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        check(vec![], Err("Input is empty."));
        let empty = Example { features: None };
        check(vec![bytes(&[b"a"]), empty, example(None)], Ok(&["a", "ctx", "ctx"]));
        let floats = example(Some(FeatureKind::FloatList(FloatList::default())));
        check(vec![floats], Err("examples[0]: expected a string, found floats"));
        let integers = example(Some(FeatureKind::Int64List(Int64List::default())));
        check(vec![integers], Err("examples[0]: expected a string, found integers"));
        check(vec![bytes(&[])], Err("examples[0]: expected one value, found 0"));
        let two = vec![bytes(&[b"a"]), bytes(&[b"a", b"b"])];
        check(two, Err("examples[1]: expected one value, found 2"));
        check(vec![bytes(&[b"\xff"])], Err("examples[0]: the bytes are not UTF-8"));
        let large = "the texts of all examples, with those of the context, take more than 8 bytes";
        check(vec![example(None), example(None), example(None)], Err(large));
    }

    #[test]
    fn a_list_without_context_has_none() {
        let list = ExampleList { examples: vec![example(None)], context: Some(bytes(&[b"a"])) };
        let input = Input { kind: Some(InputKind::ExampleList(list)) };
        let found = texts(&examples(Some(input)).unwrap(), "text", 8);
        let problem = RowProblem::Missing { input: "text".to_owned() };
        assert_eq!(found, Err(ExampleError::Row { index: 0, problem }));
        assert_eq!(examples(None), Err(ExampleError::Empty));
    }
}
