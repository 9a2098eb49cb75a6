//! Operations, and the parts that they share.

use std::collections::BTreeMap;

use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::super::{Fault, JSON, RETRY_SECONDS, says_when};
use super::schema;
use crate::access::REQUEST_ID;
use crate::front::PREDICTION_ID;
use crate::models::ServedModel;

/// A method of a path.
pub(super) struct Operation<'a> {
    pub(super) id: String,
    pub(super) tag: &'a str,
    pub(super) summary: String,
    pub(super) description: String,
    pub(super) parameters: Vec<Value>,
    pub(super) request: Option<Media>,
    pub(super) answers: Vec<Answer>,
    /// Samples of its errors, which give their statuses and texts.
    pub(super) faults: Vec<Fault>,
}

/// A body that is no error.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The same in each of these; none for an empty body.
    pub(super) media: Vec<Media>,
    /// Whether its rows can be given labels.
    pub(super) names_rows: bool,
    /// Whether a client may keep it.
    pub(super) is_kept: bool,
}

/// A body of one media type.
#[derive(Clone)]
pub(super) struct Media {
    media_type: &'static str,
    pub(super) schema: Value,
    examples: Vec<(&'static str, Value)>,
}

/// Parts that operations refer to.
#[derive(Default)]
pub(super) struct Components {
    schemas: Map<String, Value>,
    responses: Map<String, Value>,
}

impl Operation<'_> {
    /// As the document has it. A HEAD has the answers without their bodies.
    pub(super) fn into_value(self, method: &Method, components: &mut Components) -> Value {
        let mut parameters = self.parameters;
        parameters.push(schema::request_id());
        if self.answers.iter().any(|answer| answer.is_kept) {
            parameters.push(schema::if_none_match());
        }
        let mut responses = Map::new();
        for answer in self.answers {
            let status = answer.status.as_str().to_owned();
            responses.insert(status, answer.into_value(*method == Method::HEAD));
        }
        for (status, texts) in by_status(&self.faults) {
            responses.insert(status.as_str().to_owned(), components.error(status, &texts));
        }
        let mut operation = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "parameters": parameters,
        });
        if !self.description.is_empty() {
            operation["description"] = self.description.into();
        }
        if let Some(request) = self.request {
            let content = Media::content(vec![request]);
            operation["requestBody"] = json!({ "required": true, "content": content });
        }
        operation["responses"] = responses.into();
        operation
    }
}

/// The texts of errors by status, each once.
fn by_status(faults: &[Fault]) -> BTreeMap<StatusCode, Vec<String>> {
    let mut found: BTreeMap<StatusCode, Vec<String>> = BTreeMap::new();
    for fault in faults {
        let (texts, text) = (found.entry(fault.status()).or_default(), fault.to_string());
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    found
}

impl Answer {
    pub(super) fn ok(media: Media) -> Self {
        Self::ok_of(vec![media])
    }

    pub(super) fn ok_of(media: Vec<Media>) -> Self {
        Self { status: StatusCode::OK, media, names_rows: false, is_kept: false }
    }

    fn into_value(self, is_head: bool) -> Value {
        let mut headers = headers(self.status);
        if self.names_rows {
            headers[PREDICTION_ID] = schema::prediction_id_header();
        }
        if self.is_kept {
            headers["etag"] = schema::text_header("Names these bytes, for `if-none-match`.");
        }
        let description = meaning(self.status);
        let mut answer = json!({ "description": description, "headers": headers });
        if !self.media.is_empty() && !is_head {
            answer["content"] = Media::content(self.media);
        }
        answer
    }
}

impl Media {
    pub(super) fn json(
        schema: Value,
        examples: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        Self { media_type: JSON, schema, examples: examples.into_iter().collect() }
    }

    pub(super) fn text(media_type: &'static str) -> Self {
        Self { media_type, schema: json!({ "type": "string" }), examples: Vec::new() }
    }

    fn content(all: Vec<Self>) -> Value {
        let media = |media: Self| {
            let mut value = json!({ "schema": media.schema });
            if !media.examples.is_empty() {
                let examples = media.examples.into_iter();
                let example = |(name, value)| (String::from(name), json!({ "value": value }));
                value["examples"] = examples.map(example).collect::<Map<_, _>>().into();
            }
            (media.media_type.to_owned(), value)
        };
        all.into_iter().map(media).collect::<Map<_, _>>().into()
    }
}

impl Components {
    pub(super) fn into_value(self) -> Value {
        json!({ "schemas": self.schemas, "responses": self.responses })
    }

    /// A reference to a schema, which is kept as `name`.
    pub(super) fn schema(&mut self, name: &str, schema: Value) -> Value {
        let name = keep(&mut self.schemas, name, schema);
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// A reference to the schema that `make` gives for versions of a model; to each of them where
    /// versions differ.
    pub(super) fn any_of(
        &mut self,
        model: &str,
        kind: &str,
        versions: &[&ServedModel],
        make: impl Fn(&mut Self, &ServedModel) -> Value,
    ) -> Value {
        let name = format!("{}.{kind}", key(model));
        let mut references: Vec<Value> = Vec::new();
        for version in versions {
            let schema = make(self, version);
            let reference = self.schema(&name, schema);
            if !references.contains(&reference) {
                references.push(reference);
            }
        }
        match references.len() {
            1 => references.remove(0),
            _ => json!({ "anyOf": references }),
        }
    }

    /// A reference to the answer of errors with `texts`.
    fn error(&mut self, status: StatusCode, texts: &[String]) -> Value {
        let schema = schema::error(self);
        let examples = texts
            .iter()
            .enumerate()
            .map(|(index, text)| (format!("{}", index + 1), json!({ "value": { "error": text } })));
        let examples: Map<String, Value> = examples.collect();
        let response = json!({
            "description": meaning(status),
            "headers": headers(status),
            "content": { JSON: { "schema": schema, "examples": examples } },
        });
        let name = keep(&mut self.responses, &format!("Error{}", status.as_str()), response);
        json!({ "$ref": format!("#/components/responses/{name}") })
    }
}

/// Keeps `value` as `name`, or with a number behind it where the name has another value, and gives
/// the name.
fn keep(kept: &mut Map<String, Value>, name: &str, value: Value) -> String {
    let mut number = 1;
    let mut name_of = name.to_owned();
    while let Some(other) = kept.get(&name_of) {
        if *other == value {
            return name_of;
        }
        number += 1;
        name_of = format!("{name}-{number}");
    }
    kept.insert(name_of.clone(), value);
    name_of
}

/// `name` as the key of a component, which has no characters but letters, digits, `-`, `_` and `.`.
fn key(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'-' | b'_' => key.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => key.push(char::from(byte)),
            _ => key += &format!(".{byte:02X}"),
        }
    }
    key
}

/// The headers of every answer with `status`.
fn headers(status: StatusCode) -> Value {
    let mut headers = json!({ REQUEST_ID: schema::text_header("Id of the request.") });
    if says_when(status) {
        let seconds = RETRY_SECONDS;
        let schema = json!({ "type": "integer", "minimum": 0 });
        headers["retry-after"] = json!({
            "description": "Seconds after which to try again.",
            "required": true,
            "schema": schema,
            "example": seconds.to_str().unwrap_or_default().parse::<u32>().unwrap_or_default(),
        });
    }
    headers
}

/// What `status` means, and what to do.
fn meaning(status: StatusCode) -> &'static str {
    match status {
        StatusCode::OK => "The answer.",
        StatusCode::NOT_MODIFIED => "The client has it already.",
        StatusCode::BAD_REQUEST => "The request asks nothing that can be answered; mend it.",
        StatusCode::NOT_FOUND => "There is no such model or version.",
        StatusCode::REQUEST_TIMEOUT => "The body did not arrive in time.",
        StatusCode::PAYLOAD_TOO_LARGE => "The body is too large; send fewer rows at a time.",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "The body is compressed; send it as it is.",
        StatusCode::TOO_MANY_REQUESTS => "Too many requests wait; try again later.",
        StatusCode::INTERNAL_SERVER_ERROR => "The server failed on this request; its log says why.",
        StatusCode::SERVICE_UNAVAILABLE => "It cannot answer now; try again later.",
        StatusCode::GATEWAY_TIMEOUT => "The answer took too long.",
        _ => "An error.",
    }
}
