//! What request bodies ask.
//!
//! Messages begin as TensorFlow Serving's do (`json_tensor.cc`), without its copy of the request.

mod table;
mod texts;

use std::fmt;

use luthier_model::CellError;

use super::json::Node;
use crate::rows::{Rows, Takes, TooManyCells};

/// A parsed body.
pub(super) struct Body<'a>(Node<'a>);

/// How rows were given, which says how scores are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `instances`, answered as `predictions`.
    Row,
    /// `inputs`, answered as `outputs`.
    Columnar,
}

/// What is wrong with a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("JSON Parse error: {0}")]
    Json(String),
    #[error("JSON Value: {found} Is not object")]
    NotObject { found: &'static str },
    #[error("Not formatted correctly. 'signature_name' key must be a string value.")]
    SignatureType,
    #[error("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")]
    BothForms,
    #[error("Missing 'inputs' or 'instances' key")]
    NoForm,
    #[error("Excepting 'instances' to be an list/array")]
    InstancesType,
    #[error("No values in 'instances' array")]
    NoInstances,
    #[error("Missing named input: {input} in 'inputs' object.")]
    NoColumn { input: String },
    #[error("When method is classify, key 'examples' is expected and was not found")]
    NoExamplesKey,
    #[error("Expecting 'examples' value to be an list/array")]
    ExamplesType,
    #[error("'examples' value is an empty array")]
    NoExamples,
    #[error("{place}: {problem}")]
    Row { place: String, problem: RowProblem },
    #[error("the texts of all examples, with those of the context, take more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error(transparent)]
    TooManyCells(#[from] TooManyCells),
    #[error("{place}: {found} values in column `{column}` and {expected} in others")]
    Lengths { place: &'static str, column: String, found: usize, expected: usize },
    #[error("expected the field \"{field}\"")]
    NoField { field: String },
    #[error("unknown field \"{found}\", expected \"{field}\"")]
    UnknownField { found: String, field: String },
}

/// What is wrong with one row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RowProblem {
    #[error("expected {expected}, found {found}")]
    Kind { expected: &'static str, found: &'static str },
    #[error("missing input \"{input}\"")]
    Missing { input: String },
    #[error("does not have named input: {found}{}", expected(input.as_deref()))]
    Unknown { found: String, input: Option<String> },
    #[error("column `{column}`: expected one number, string, true, false or null, found {found}")]
    NoCell { column: String, found: &'static str },
    #[error(transparent)]
    Cell(CellError),
    #[error("expected one value, found {found}")]
    Values { found: usize },
    #[error("Unable to base64 decode")]
    Base64,
    #[error("the decoded bytes are not UTF-8")]
    Utf8,
}

fn expected(input: Option<&str>) -> String {
    input.map_or_else(String::new, |input| format!(", expected \"{input}\""))
}

impl From<CellError> for RowProblem {
    fn from(error: CellError) -> Self {
        match error {
            CellError::Unknown { column, nearest } => {
                Self::Unknown { found: column, input: nearest }
            }
            error => Self::Cell(error),
        }
    }
}

impl<'a> Body<'a> {
    /// Parses `bytes`.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, BodyError> {
        Node::parse(bytes).map(Self).map_err(|error| BodyError::Json(error.to_string()))
    }

    /// The body, if it is an object.
    pub(super) fn object(self) -> Result<Self, BodyError> {
        match self.0 {
            Node::Object(_) => Ok(self),
            other => Err(BodyError::NotObject { found: other.kind() }),
        }
    }

    /// The signature that is asked for, empty for the default.
    pub(super) fn signature(&self) -> Result<&str, BodyError> {
        match self.0.get("signature_name") {
            None => Ok(""),
            Some(Node::Text(name)) => Ok(name),
            Some(_) => Err(BodyError::SignatureType),
        }
    }

    /// The rows of a call for predictions; all cells of a table together are at most `limit`.
    pub(super) fn rows(&self, takes: Takes<'_>, limit: usize) -> Result<(Form, Rows), BodyError> {
        match (self.0.get("instances"), self.0.get("inputs")) {
            (Some(_), Some(_)) => Err(BodyError::BothForms),
            (None, None) => Err(BodyError::NoForm),
            (Some(Node::List(instances)), None) if instances.is_empty() => {
                Err(BodyError::NoInstances)
            }
            (Some(Node::List(instances)), None) => {
                let rows = match takes {
                    Takes::Texts(input) => Rows::Texts(texts::instances(instances, input)?),
                    Takes::Table(table) => table::rows(instances, "instances", table, limit)?,
                };
                Ok((Form::Row, rows))
            }
            (Some(_), None) => Err(BodyError::InstancesType),
            (None, Some(inputs)) => {
                let rows = match takes {
                    Takes::Texts(input) => Rows::Texts(texts::inputs(inputs, input)?),
                    Takes::Table(table) => table::columns(inputs, table, limit)?,
                };
                Ok((Form::Columnar, rows))
            }
        }
    }

    /// The rows of a call for classes or numbers. An example without a feature has that of the
    /// context, which a short body can repeat very often: all texts take at most `limit` bytes, and
    /// of a table there are at most `limit` cells.
    pub(super) fn examples(&self, takes: Takes<'_>, limit: usize) -> Result<Rows, BodyError> {
        let examples = match self.0.get("examples") {
            None => return Err(BodyError::NoExamplesKey),
            Some(Node::List(examples)) if examples.is_empty() => return Err(BodyError::NoExamples),
            Some(Node::List(examples)) => examples,
            Some(_) => return Err(BodyError::ExamplesType),
        };
        let context = self.0.get("context");
        if let Some(context) = context {
            expect_object(context, Place { list: "context", index: None })?;
        }
        match takes {
            Takes::Texts(input) => {
                texts::examples(examples, context, input, limit).map(Rows::Texts)
            }
            Takes::Table(table) => table::examples(examples, context, table, limit),
        }
    }

    /// The rows of an alias route's body, and whether they came as a list. A text is in the member
    /// called `field`; a row of a table is the body.
    pub(super) fn alias(
        &self,
        takes: Takes<'_>,
        field: &str,
        limit: usize,
    ) -> Result<(Rows, bool), BodyError> {
        match takes {
            Takes::Texts(_) => {
                let (texts, is_list) = texts::field(&self.0, field)?;
                Ok((Rows::Texts(texts), is_list))
            }
            Takes::Table(table) => match &self.0 {
                Node::List(rows) => Ok((table::rows(rows, "rows", table, limit)?, true)),
                row => Ok((table::row(row, table, limit)?, false)),
            },
        }
    }
}

/// Where in a body something is.
#[derive(Clone, Copy)]
struct Place<'a> {
    list: &'a str,
    index: Option<usize>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(formatter, "{}[{index}]", self.list),
            None => formatter.write_str(self.list),
        }
    }
}

impl Place<'_> {
    fn wrong(self, problem: RowProblem) -> BodyError {
        BodyError::Row { place: self.to_string(), problem }
    }
}

fn expect_object(value: &Node<'_>, place: Place<'_>) -> Result<(), BodyError> {
    match value {
        Node::Object(_) => Ok(()),
        other => {
            let found = other.kind();
            Err(place.wrong(RowProblem::Kind { expected: "an object", found }))
        }
    }
}
