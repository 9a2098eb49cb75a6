//! What request bodies ask.
//!
//! Messages begin as TensorFlow Serving's do (`json_tensor.cc`), without its copy of the request.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT as BASE64;

use super::json::Node;
use crate::texts::Texts;

/// A parsed body: an object.
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
    #[error("does not have named input: {found}, expected \"{input}\"")]
    Unknown { found: String, input: String },
    #[error("expected one value, found {found}")]
    Values { found: usize },
    #[error("Unable to base64 decode")]
    Base64,
    #[error("the decoded bytes are not UTF-8")]
    Utf8,
}

impl<'a> Body<'a> {
    /// Parses `bytes`.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, BodyError> {
        let node = Node::parse(bytes).map_err(|error| BodyError::Json(error.to_string()))?;
        match node {
            Node::Object(_) => Ok(Self(node)),
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

    /// The rows of a call for predictions from a model whose one input is `input`.
    pub(super) fn rows(&self, input: &str) -> Result<(Form, Texts), BodyError> {
        match (self.0.get("instances"), self.0.get("inputs")) {
            (Some(_), Some(_)) => Err(BodyError::BothForms),
            (None, None) => Err(BodyError::NoForm),
            (Some(Node::List(instances)), None) if instances.is_empty() => {
                Err(BodyError::NoInstances)
            }
            (Some(Node::List(instances)), None) => {
                let mut texts = Texts::with_capacity(instances.len());
                for (index, instance) in instances.iter().enumerate() {
                    let place = Place { list: "instances", index: Some(index) };
                    push_instance(&mut texts, instance, input, place)?;
                }
                Ok((Form::Row, texts))
            }
            (Some(_), None) => Err(BodyError::InstancesType),
            (None, Some(inputs)) => {
                let column = match inputs {
                    Node::Object(_) if inputs.base64().is_none() => inputs
                        .get(input)
                        .ok_or_else(|| BodyError::NoColumn { input: input.to_owned() })?,
                    bare => bare,
                };
                Ok((Form::Columnar, column_texts(column, "inputs")?.0))
            }
        }
    }

    /// The rows of a call for classes. An example without a text has that of the context, which a
    /// short body can repeat very often: all texts take at most `limit` bytes.
    pub(super) fn examples(&self, input: &str, limit: usize) -> Result<Texts, BodyError> {
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
        let mut texts = Texts::with_capacity(examples.len());
        for (index, example) in examples.iter().enumerate() {
            let place = Place { list: "examples", index: Some(index) };
            expect_object(example, place)?;
            let feature = example.get(input).or_else(|| context.and_then(|c| c.get(input)));
            let value = match feature {
                None => return Err(place.wrong(RowProblem::Missing { input: input.to_owned() })),
                Some(Node::List(values)) => match values.as_slice() {
                    [value] => value,
                    more => return Err(place.wrong(RowProblem::Values { found: more.len() })),
                },
                Some(value) => value,
            };
            push_text(&mut texts, value, place)?;
            if texts.bytes() > limit {
                return Err(BodyError::TooLarge { limit });
            }
        }
        Ok(texts)
    }

    /// The rows of an alias route's body, and whether they came as a list.
    pub(super) fn field(&self, field: &str) -> Result<(Texts, bool), BodyError> {
        let Node::Object(members) = &self.0 else {
            return Err(BodyError::NotObject { found: self.0.kind() });
        };
        if let Some((found, _)) = members.iter().find(|(name, _)| name != field) {
            let (found, field) = (found.to_string(), field.to_owned());
            return Err(BodyError::UnknownField { found, field });
        }
        match self.0.get(field) {
            Some(value) => column_texts(value, field),
            None => Err(BodyError::NoField { field: field.to_owned() }),
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

/// One text or a list of them, and whether it is a list.
fn column_texts(column: &Node<'_>, name: &str) -> Result<(Texts, bool), BodyError> {
    let Node::List(values) = column else {
        let mut texts = Texts::with_capacity(1);
        push_text(&mut texts, column, Place { list: name, index: None })?;
        return Ok((texts, false));
    };
    let mut texts = Texts::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        push_text(&mut texts, value, Place { list: name, index: Some(index) })?;
    }
    Ok((texts, true))
}

/// `"…"`, `{"b64": "…"}`, or `{"<input>": either}`.
fn push_instance(
    texts: &mut Texts,
    instance: &Node<'_>,
    input: &str,
    place: Place<'_>,
) -> Result<(), BodyError> {
    let Node::Object(members) = instance else { return push_text(texts, instance, place) };
    if instance.base64().is_some() {
        return push_text(texts, instance, place);
    }
    if let Some((found, _)) = members.iter().find(|(name, _)| name != input) {
        let (found, input) = (found.to_string(), input.to_owned());
        return Err(place.wrong(RowProblem::Unknown { found, input }));
    }
    match members.first() {
        Some((_, value)) => push_text(texts, value, place),
        None => Err(place.wrong(RowProblem::Missing { input: input.to_owned() })),
    }
}

/// `"…"` or `{"b64": "…"}`.
fn push_text(texts: &mut Texts, value: &Node<'_>, place: Place<'_>) -> Result<(), BodyError> {
    if let Node::Text(text) = value {
        texts.push(text);
        return Ok(());
    }
    let Some(encoded) = value.base64() else {
        return Err(place.wrong(RowProblem::Kind { expected: "a string", found: value.kind() }));
    };
    let bytes = BASE64.decode(encoded).map_err(|_| place.wrong(RowProblem::Base64))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| place.wrong(RowProblem::Utf8))?;
    texts.push(text);
    Ok(())
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
