//! Bodies for models of texts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT as BASE64;

use super::super::json::Node;
use super::{BodyError, Place, RowProblem, expect_object};
use crate::texts::Texts;

/// The texts of a list of rows, of a model whose one input is `input`.
pub(super) fn instances(instances: &[Node<'_>], input: &str) -> Result<Texts, BodyError> {
    let mut texts = Texts::with_capacity(instances.len());
    for (index, instance) in instances.iter().enumerate() {
        let place = Place { list: "instances", index: Some(index) };
        push_instance(&mut texts, instance, input, place)?;
    }
    Ok(texts)
}

/// The texts of a column, which may be bare.
pub(super) fn inputs(inputs: &Node<'_>, input: &str) -> Result<Texts, BodyError> {
    let column = match inputs {
        Node::Object(_) if inputs.base64().is_none() => {
            inputs.get(input).ok_or_else(|| BodyError::NoColumn { input: input.to_owned() })?
        }
        bare => bare,
    };
    Ok(column_texts(column, "inputs")?.0)
}

/// The texts of examples.
pub(super) fn examples(
    examples: &[Node<'_>],
    context: Option<&Node<'_>>,
    input: &str,
    limit: usize,
) -> Result<Texts, BodyError> {
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

/// The texts in the one member of an object, and whether they came as a list.
pub(super) fn field(body: &Node<'_>, field: &str) -> Result<(Texts, bool), BodyError> {
    let Node::Object(members) = body else {
        return Err(BodyError::NotObject { found: body.kind() });
    };
    if let Some((found, _)) = members.iter().find(|(name, _)| name != field) {
        let (found, field) = (found.to_string(), field.to_owned());
        return Err(BodyError::UnknownField { found, field });
    }
    match body.get(field) {
        Some(value) => column_texts(value, field),
        None => Err(BodyError::NoField { field: field.to_owned() }),
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
        let (found, input) = (found.to_string(), Some(input.to_owned()));
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
